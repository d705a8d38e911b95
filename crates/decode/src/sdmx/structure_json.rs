//! SDMX-JSON structure messages → the rows of [`super::structure`]. The message is held in memory as a tree, its size
//! has a limit (`JSON_STRUCTURE_BYTES_MAX`); the rows are made artefact by artefact.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::json::wrong;
use super::json_message::plain;
use super::structure::{Artefact, Item, StructureRows, item_of_urn, short_reference};
use crate::error::DecodeError;
use crate::record::{RecordSource, SourceBatch};

/// Member of the message, kind of its artefacts, member that holds their items.
const SCHEMES: &[(&str, &str, &str)] = &[
    ("codelists", "codelist", "codes"),
    ("valueLists", "valuelist", "valueItems"),
    ("valuelists", "valuelist", "valueItems"),
    ("geographicCodelists", "geographiccodelist", "geoFeatureSetCodes"),
    ("geoGridCodelists", "geogridcodelist", "geoGridCodes"),
    ("conceptSchemes", "conceptscheme", "concepts"),
    ("categorySchemes", "categoryscheme", "categories"),
    ("agencySchemes", "agencyscheme", "agencies"),
    ("dataProviderSchemes", "dataproviderscheme", "dataProviders"),
    ("dataConsumerSchemes", "dataconsumerscheme", "dataConsumers"),
    ("organisationUnitSchemes", "organisationunitscheme", "organisationUnits"),
    ("dataflows", "dataflow", ""),
    ("dataStructures", "datastructure", ""),
    ("dataConstraints", "contentconstraint", ""),
    ("contentConstraints", "contentconstraint", ""),
];

/// The rows of a message.
#[derive(Debug)]
pub(super) struct StructureJson {
    batches: VecDeque<SourceBatch>,
}

impl StructureJson {
    /// Makes the rows of `document`.
    pub(super) fn new(document: &Value, file: &str, member: Option<Arc<str>>) -> Result<Self, DecodeError> {
        let data = document.get("data").unwrap_or(document);
        let mut walk = Walk { rows: StructureRows::new(member), batches: VecDeque::new() };
        let mut is_known = false;
        for (name, kind, items) in SCHEMES {
            let Some(artefacts) = data.get(name) else { continue };
            is_known = true;
            for artefact in list(artefacts) {
                walk.artefact(artefact, kind, items);
            }
        }
        if !is_known && document.get("meta").is_none() {
            return Err(wrong(file, "neither data nor structures are in it".to_owned()));
        }
        walk.batches.extend(walk.rows.take());
        Ok(Self { batches: walk.batches })
    }
}

impl RecordSource for StructureJson {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        Ok(self.batches.pop_front())
    }
}

struct Walk {
    rows: StructureRows,
    batches: VecDeque<SourceBatch>,
}

impl Walk {
    fn artefact(&mut self, node: &Value, kind: &str, items: &str) {
        let artefact = Artefact {
            kind: kind.to_owned(),
            agency: text(node, "agencyID"),
            id: text(node, "id"),
            version: text(node, "version"),
        };
        let reference = short_reference(&text(node, "structure")).to_owned();
        self.push(&artefact, &Item { role: "self", names: names(node), reference, ..Item::default() });
        match kind {
            "datastructure" => self.components(&artefact, node),
            "contentconstraint" => self.constraint(&artefact, node),
            _ => {
                let mut position = 0;
                self.items(&artefact, node, items, "", &mut position);
            }
        }
    }

    fn items(&mut self, artefact: &Artefact, node: &Value, member: &str, parent: &str, position: &mut u64) {
        for node in node.get(member).into_iter().flat_map(list) {
            *position += 1;
            let code = text(node, "id");
            let declared = text(node, "parent");
            let parent = if declared.is_empty() { parent.to_owned() } else { item_of_urn(&declared).to_owned() };
            let reference = enumeration(node.get("coreRepresentation"));
            let names = names(node);
            self.push(
                artefact,
                &Item { role: "code", code: code.clone(), names, parent, reference, position: *position },
            );
            // serde_json's recursion limit bounds the depth.
            self.items(artefact, node, member, &code, position);
        }
    }

    fn components(&mut self, artefact: &Artefact, node: &Value) {
        let lists = node.get("dataStructureComponents").unwrap_or(&Value::Null);
        let parts: [(&str, &[(&str, &'static str)]); 3] = [
            (
                "dimensionList",
                &[
                    ("dimensions", "dimension"),
                    ("measureDimensions", "measure_dimension"),
                    ("measureDimension", "measure_dimension"),
                    ("timeDimensions", "time_dimension"),
                    ("timeDimension", "time_dimension"),
                ],
            ),
            ("attributeList", &[("attributes", "attribute")]),
            ("measureList", &[("primaryMeasure", "measure"), ("measures", "measure")]),
        ];
        for (list_name, members) in parts {
            let mut position = 0;
            for (member, role) in members {
                for node in lists.get(list_name).and_then(|found| found.get(member)).into_iter().flat_map(list) {
                    position += 1;
                    let id = text(node, "id");
                    let concept = text(node, "conceptIdentity");
                    let code = if id.is_empty() { item_of_urn(&concept).to_owned() } else { id };
                    let reference = enumeration(node.get("localRepresentation"));
                    self.push(artefact, &Item { role, code, reference, position, ..Item::default() });
                }
            }
        }
    }

    fn constraint(&mut self, artefact: &Artefact, node: &Value) {
        let valid_from = text(node, "validFrom");
        if !valid_from.is_empty() {
            let names = vec![(String::new(), valid_from)];
            self.push(artefact, &Item { role: "valid_from", names, ..Item::default() });
        }
        let mut position = 0;
        for annotation in node.get("annotations").into_iter().flat_map(list) {
            position += 1;
            let code = text(annotation, "id");
            let title =
                ["title", "text", "value"].iter().map(|name| text(annotation, name)).find(|text| !text.is_empty());
            let names = title.map(|title| (String::new(), title)).into_iter().collect();
            self.push(artefact, &Item { role: "annotation", code, names, position, ..Item::default() });
        }
        position = 0;
        for region in node.get("cubeRegions").into_iter().flat_map(list) {
            for key in ["keyValues", "components"].iter().filter_map(|name| region.get(name)).flat_map(list) {
                for value in key.get("values").into_iter().flat_map(list) {
                    position += 1;
                    let code = value.get("value").map_or_else(|| plain(value), plain);
                    let parent = text(key, "id");
                    self.push(artefact, &Item { role: "value", code, parent, position, ..Item::default() });
                }
            }
        }
    }

    fn push(&mut self, artefact: &Artefact, item: &Item) {
        self.rows.push(artefact, item);
        if self.rows.is_full() {
            self.batches.extend(self.rows.take());
        }
    }
}

/// Returns an array's items, or a single thing as its own list.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        single => std::slice::from_ref(single),
    }
}

fn text(node: &Value, name: &str) -> String {
    node.get(name).map(plain).unwrap_or_default()
}

fn enumeration(representation: Option<&Value>) -> String {
    let urn = representation.map(|node| text(node, "enumeration")).unwrap_or_default();
    short_reference(&urn).to_owned()
}

/// Returns the names by language; a name without language stays without.
fn names(node: &Value) -> Vec<(String, String)> {
    match node.get("names") {
        Some(Value::Object(names)) if !names.is_empty() => {
            names.iter().map(|(language, name)| (language.clone(), plain(name))).collect()
        }
        _ => node.get("name").map(|name| (String::new(), plain(name))).into_iter().collect(),
    }
}
