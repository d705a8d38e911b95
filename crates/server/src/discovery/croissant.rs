//! A table as Croissant 1.1 (<https://docs.mlcommons.org/croissant/>), from which tools load its rows.

use serde_json::{Value, json};

use super::card::{Card, CardColumn};
use super::graph::is_address;
use super::kinds::Kind;
use super::schema_org;
use crate::cite::{Base, Centre};

/// The file that fields are taken from.
const FILE: &str = "data.csv";
/// The rows.
const ROWS: &str = "rows";
/// Words of Croissant that are written without its prefix.
const WORDS: [&str; 29] = [
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
];

/// Returns the description.
pub(super) fn dataset(card: &Card, base: &Base, centre: &Centre) -> Value {
    let page = base.table(&card.table);
    let key: Vec<Value> = card.key().iter().map(|name| json!({"@id": field_id(name)})).collect();
    let mut rows = json!({
        "@type": "cr:RecordSet",
        "@id": ROWS,
        "name": ROWS,
        "description": card.description(),
        "field": card.columns.iter().map(field).collect::<Vec<_>>(),
    });
    if !key.is_empty() {
        rows["key"] = Value::Array(key);
    }
    let mut item = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "@id": format!("{page}#dataset"),
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": card.title(),
        "description": card.description(),
        "url": page,
        "version": format!("{}.0.0", card.version),
        "citeAs": cite_as(card, base),
        "keywords": [card.table.namespace.as_str()],
        // The rows behind an address change with the table: its version is above, and citations pin it.
        "isLiveDataset": true,
        "includedInDataCatalog": {"@type": "sc:DataCatalog", "name": centre.title, "url": base.at("/")},
        "distribution": [file(card, base, "csv", "text/csv"), file(card, base, "parquet", "application/x-parquet")],
        "recordSet": [rows],
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            item[key] = value;
        }
    };
    let organisation = card.dataset.provider.as_ref().map(|name| json!({"@type": "sc:Organization", "name": name}));
    set("creator", organisation.clone());
    set("publisher", organisation);
    set("license", schema_org::licence(card));
    set("datePublished", card.dataset.issued.or(card.modified).map(|instant| json!(instant.to_string())));
    set("dateModified", card.modified.map(|instant| json!(instant.to_string())));
    let origin = card.dataset.landing_page.as_ref().filter(|page| is_address(page));
    set("sameAs", origin.map(|page| json!(page)));
    item
}

fn cite_as(card: &Card, base: &Base) -> String {
    let address = base.citation(&card.table, card.version);
    match &card.dataset.citation {
        Some(citation) => format!("{citation} {address}"),
        None => format!("{}. {address}", card.title()),
    }
}

fn file(card: &Card, base: &Base, ending: &str, media_type: &str) -> Value {
    json!({
        "@type": "cr:FileObject",
        "@id": format!("data.{ending}"),
        "name": format!("data.{ending}"),
        "description": format!("All rows of {}.", card.table),
        "contentUrl": base.at(&format!("/tables/{}/data.{ending}?version={}", card.table, card.version)),
        "encodingFormat": media_type,
    })
}

fn field_id(name: &str) -> String {
    format!("{ROWS}/{name}")
}

fn field(column: &CardColumn) -> Value {
    let mut parts: Vec<String> = column.description.iter().cloned().collect();
    parts.extend(column.source_name.iter().map(|name| format!("Called `{name}` by its provider.")));
    parts.extend(column.unit.iter().map(|unit| format!("Unit: {unit}.")));
    json!({
        "@type": "cr:Field",
        "@id": field_id(&column.name),
        "name": column.name,
        "description": if parts.is_empty() { column.name.clone() } else { parts.join(" ") },
        "dataType": Kind::of(&column.kind).croissant(),
        "source": {"fileObject": {"@id": FILE}, "extract": {"column": column.name}},
    })
}

/// The context that the specification gives.
fn context() -> Value {
    let mut context = json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "description": {"@container": "@language"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    });
    for word in WORDS {
        context[word] = json!(format!("cr:{word}"));
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_a_field_of_the_file() {
        let value = dataset(&Card::hostile(), &Base::known("https://h.example"), &Centre::named("C"));
        let fields = value["recordSet"][0]["field"].as_array().unwrap();
        let kinds: Vec<&str> = fields.iter().filter_map(|field| field["dataType"].as_str()).collect();
        assert_eq!(kinds, ["sc:Integer", "sc:Float", "sc:Date", "sc:Text"]);
        assert_eq!(value["recordSet"][0]["key"], json!([{"@id": "rows/id"}]));
        assert_eq!(value["version"], json!("3.0.0"));
    }
}
