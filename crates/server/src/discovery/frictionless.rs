//! A table as a Frictionless data package (<https://datapackage.org/>).

use hambar_core::licence::known;
use serde_json::{Value, json};

use super::card::{Card, CardColumn};
use super::graph::is_address;
use super::kinds::Kind;
use crate::cite::{Base, Centre, licence_page};

/// Returns the package.
pub(super) fn package(card: &Card, base: &Base, centre: &Centre) -> Value {
    let mut schema = json!({"fields": card.columns.iter().map(field).collect::<Vec<_>>(), "missingValues": [""]});
    let key = card.key();
    if !key.is_empty() {
        schema["primaryKey"] = json!(key);
    }
    let mut item = json!({
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": card.table.to_string(),
        "id": base.citation(&card.table, card.version),
        "title": card.title(),
        "description": card.description(),
        "homepage": base.table(&card.table),
        "version": card.version.to_string(),
        "keywords": [card.table.namespace.as_str()],
        "sources": [source(card)],
        "contributors": [{"title": centre.publisher, "roles": ["distributor"]}],
        "resources": [{
            "$schema": "https://datapackage.org/profiles/2.0/dataresource.json",
            "name": "data",
            "type": "table",
            "path": base.at(&format!("/tables/{}/data.csv", card.table)),
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": schema,
        }],
    });
    if let Some(spdx) = &card.dataset.licence {
        let mut licence = json!({"name": spdx});
        if let Some(page) = licence_page(spdx) {
            licence["path"] = json!(page);
        }
        if let Some(known) = known(spdx) {
            licence["title"] = json!(known.title);
        }
        item["licenses"] = json!([licence]);
    }
    if let Some(instant) = card.modified {
        item["created"] = json!(instant.to_string());
    }
    item
}

fn source(card: &Card) -> Value {
    let mut source = json!({"title": card.dataset.provider.clone().unwrap_or_else(|| card.title())});
    if let Some(page) = card.dataset.landing_page.as_ref().filter(|page| is_address(page)) {
        source["path"] = json!(page);
    }
    source
}

fn field(column: &CardColumn) -> Value {
    let mut field = json!({"name": column.name, "type": Kind::of(&column.kind).frictionless()});
    if let Some(name) = &column.source_name {
        field["title"] = json!(name);
    }
    if let Some(text) = &column.description {
        field["description"] = json!(text);
    }
    if let Some(unit) = &column.unit {
        field["unit"] = json!(unit);
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_names_terms_and_columns() {
        let value = package(&Card::hostile(), &Base::known("https://h.example"), &Centre::named("C"));
        assert_eq!(value["licenses"], json!([{"name": "LicenseRef-<own> \"terms\""}]));
        assert_eq!(value["resources"][0]["schema"]["fields"][2]["type"], json!("date"));
    }
}
