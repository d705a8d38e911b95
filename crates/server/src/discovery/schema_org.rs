//! A table as a data set of schema.org, for the search engines that read pages.

use hambar_core::licence::known;
use serde_json::{Value, json};

use super::card::{Card, CardColumn};
use super::graph::is_address;
use super::vocabulary::FORMS;
use crate::catalogue::Catalogue;
use crate::cite::{Base, Centre, licence_page};
use hambar_core::TableName;
use hambar_query::{QueryError, Visibility};

/// Returns the description of a table that its page embeds (with [`crate::cite::data_block`]); nothing where the table does
/// not exist for whoever asks.
///
/// # Errors
/// Where the store fails.
pub(crate) async fn dataset_json_ld(
    catalogue: &Catalogue,
    table: &TableName,
    visibility: &Visibility,
    base: &Base,
    centre: &Centre,
) -> Result<Option<Value>, QueryError> {
    let card = super::card::card(catalogue, table, visibility).await?;
    Ok(card.map(|card| dataset(&card, base, centre)))
}

/// A table as `Dataset`.
pub(super) fn dataset(card: &Card, base: &Base, centre: &Centre) -> Value {
    let page = base.table(&card.table);
    let mut item = json!({
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": format!("{page}#dataset"),
        "url": page,
        "identifier": [card.table.to_string(), base.citation(&card.table, card.version)],
        "name": card.title(),
        "description": description(card),
        "version": card.version.to_string(),
        "keywords": [card.table.namespace.as_str()],
        "isAccessibleForFree": true,
        "conditionsOfAccess": card.terms().sentence(),
        "variableMeasured": card.columns.iter().map(variable).collect::<Vec<_>>(),
        "distribution": FORMS.iter().map(|(ending, media_type, ..)| download(card, base, ending, media_type)).collect::<Vec<_>>(),
        "includedInDataCatalog": {
            "@type": "DataCatalog",
            "@id": base.at("/catalog#catalog"),
            "name": centre.title,
            "url": base.at("/"),
        },
        "provider": {"@type": "Organization", "name": centre.publisher},
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            item[key] = value;
        }
    };
    let organisation = |name: &String| json!({"@type": "Organization", "name": name});
    set("creator", card.dataset.provider.as_ref().map(organisation));
    set("publisher", card.dataset.provider.as_ref().map(organisation));
    set("license", licence(card));
    set("creditText", card.dataset.citation.as_ref().map(|text| json!(text)));
    let origin = card.dataset.landing_page.as_ref().filter(|page| is_address(page));
    set("isBasedOn", origin.map(|page| json!(page)));
    set("sameAs", origin.map(|page| json!(page)));
    set("datePublished", card.dataset.issued.map(|instant| json!(instant.to_string())));
    set("dateModified", card.modified.map(|instant| json!(instant.to_string())));
    set("temporalCoverage", card.period.as_ref().map(|period| json!(format!("{}/{}", period.from, period.to))));
    item
}

/// The page of the licence, or its name where it has none that is known.
pub(super) fn licence(card: &Card) -> Option<Value> {
    let spdx = card.dataset.licence.as_deref()?;
    Some(match (licence_page(spdx), known(spdx)) {
        (Some(page), _) => json!(page),
        (None, _) => {
            let mut work = json!({"@type": "CreativeWork", "name": spdx});
            if let Some(page) = card.dataset.landing_page.as_ref().filter(|page| is_address(page)) {
                work["url"] = json!(page);
            }
            work
        }
    })
}

/// Search engines take descriptions of 50 to 5 000 characters.
fn description(card: &Card) -> String {
    let mut text = card.description();
    if text.chars().count() < 50 {
        let names: Vec<&str> = card.columns.iter().map(|column| column.name.as_str()).collect();
        text = format!("{text} Table {} with the columns {}.", card.table, names.join(", "));
    }
    text.chars().take(5_000).collect()
}

fn variable(column: &CardColumn) -> Value {
    let mut variable = json!({"@type": "PropertyValue", "name": column.name});
    if let Some(text) = &column.description {
        variable["description"] = json!(text);
    }
    if let Some(unit) = &column.unit {
        variable["unitText"] = json!(unit);
    }
    if let Some(name) = &column.source_name {
        variable["alternateName"] = json!(name);
    }
    variable
}

fn download(card: &Card, base: &Base, ending: &str, media_type: &str) -> Value {
    let address = base.at(&format!("/tables/{}/data.{ending}", card.table));
    json!({"@type": "DataDownload", "encodingFormat": media_type, "contentUrl": address})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_described_whatever_its_texts_are() {
        let base = Base::known("https://h.example");
        let value = dataset(&Card::hostile(), &base, &Centre::named("C"));
        assert_eq!(value["@id"], json!("https://h.example/tables/demo.figures#dataset"));
        assert_eq!(value["temporalCoverage"], json!("2000/2024"));
        assert!(value.get("isBasedOn").is_none(), "an address that is none is left out: {value}");
        assert_eq!(value["license"]["name"], json!("LicenseRef-<own> \"terms\""));
        assert_eq!(value["variableMeasured"].as_array().map(Vec::len), Some(4));
    }
}
