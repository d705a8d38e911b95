//! What is cited as schema.org has it, for the search engines that read pages.

use hambar_core::citation::Reference;
use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::signposts::licence_page;

/// Returns what is cited as a data set of schema.org.
pub(super) fn reference(reference: &Reference) -> Value {
    let licences: Vec<String> = reference.licences.iter().filter_map(|licence| licence_page(licence)).collect();
    let creators: Vec<Value> =
        reference.creators.iter().map(|name| json!({"@type": "Organization", "name": name})).collect();
    let mut item = json!({
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": reference.url,
        "url": reference.url,
        "identifier": reference.id,
        "name": reference.title,
        "description": reference.sentence(),
        "creator": creators,
        "publisher": {"@type": "Organization", "name": reference.publisher},
        "dateModified": reference.recorded_at.to_string(),
        "license": licences,
        "isBasedOn": reference.made_from,
        "creditText": reference.notes.join("; "),
    });
    if let Some(version) = &reference.version {
        item["version"] = version.as_str().into();
    }
    item
}

/// Returns JSON as a block of data in a page. Nothing in it can end the block.
pub(crate) fn data_block(value: &Value) -> Markup {
    let text = value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    html! { script type="application/ld+json" { (PreEscaped(text)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_block() {
        let value = json!({"name": "</script><script>alert(1)</script><!-- & \u{2028}"});
        let block = data_block(&value).into_string();
        assert_eq!(block.matches('<').count(), 2, "{block}");
        let inside = block.trim_start_matches("<script type=\"application/ld+json\">").trim_end_matches("</script>");
        assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), value);
    }
}
