//! `data.csv` as CSV on the Web (<https://www.w3.org/TR/tabular-metadata/>), where that standard looks for it: beside the
//! file, with `-metadata.json` at the end of its name.

use serde_json::{Value, json};

use super::card::{Card, CardColumn};
use super::kinds::Kind;
use crate::cite::{Base, licence_page};

/// Returns the description.
pub(super) fn table(card: &Card, base: &Base) -> Value {
    let mut item = json!({
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "en"}],
        "@id": format!("{}#csv", base.table(&card.table)),
        "url": base.at(&format!("/tables/{}/data.csv", card.table)),
        "dc:title": card.title(),
        "dc:description": card.description(),
        "dc:identifier": card.table.to_string(),
        "schema:version": card.version.to_string(),
        "dc:rights": card.terms().sentence(),
        "dialect": {"delimiter": ",", "header": true, "encoding": "utf-8", "quoteChar": "\"", "doubleQuote": true},
        "tableSchema": {"columns": card.columns.iter().map(column).collect::<Vec<_>>()},
    });
    let key = card.key();
    if !key.is_empty() {
        item["tableSchema"]["primaryKey"] = json!(key);
    }
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            item[name] = value;
        }
    };
    set("dc:publisher", card.dataset.provider.as_ref().map(|provider| json!(provider)));
    set("dc:bibliographicCitation", card.dataset.citation.as_ref().map(|citation| json!(citation)));
    set("dc:modified", card.modified.map(|instant| json!({"@value": instant.to_string(), "@type": "xsd:dateTime"})));
    let licence = card.dataset.licence.as_ref().map(|spdx| match licence_page(spdx) {
        Some(page) => json!({"@id": page}),
        None => json!(spdx),
    });
    set("dc:license", licence);
    item
}

fn column(column: &CardColumn) -> Value {
    let mut item = json!({
        "name": column.name,
        "titles": column.name,
        "datatype": Kind::of(&column.kind).csvw(),
        "null": [""],
    });
    if let Some(text) = &column.description {
        item["dc:description"] = json!(text);
    }
    if let Some(name) = &column.source_name {
        item["schema:alternateName"] = json!(name);
    }
    if let Some(unit) = &column.unit {
        item["schema:unitText"] = json!(unit);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_the_header_of_the_file() {
        let value = table(&Card::hostile(), &Base::known("https://h.example"));
        let columns = value["tableSchema"]["columns"].as_array().unwrap();
        assert!(columns.iter().all(|column| column["titles"] == column["name"]));
        assert_eq!(value["tableSchema"]["primaryKey"], json!(["id"]));
        assert_eq!(value["dc:license"], json!("LicenseRef-<own> \"terms\""));
    }
}
