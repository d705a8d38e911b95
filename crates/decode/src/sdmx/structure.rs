//! The rows that a structure message gives, whatever its format. One row is one code (or component, or artefact) in one
//! language; a pipeline with these columns keeps code lists as a table with labels.
//!
//! | column | content |
//! |---|---|
//! | `artefact` | kind, in lower case: `codelist`, `valuelist`, `conceptscheme`, `categoryscheme`, `dataflow`, `datastructure`, `contentconstraint` … |
//! | `agency`, `id`, `version` | the artefact's name |
//! | `role` | `self` (the artefact itself), `code` (any item of a scheme), `dimension`, `time_dimension`, `measure_dimension`, `attribute`, `measure`; of a constraint: `value`, `annotation`, `valid_from` |
//! | `code` | the item's, component's or annotation's id; a constraint's value |
//! | `lang`, `label` | language and name; NULL where there is none; `label` of an annotation is its title |
//! | `parent` | the parent code; of a constraint's value the component it belongs to |
//! | `reference` | `AGENCY:ID(VERSION)` of a component's code list and of a dataflow's structure |
//! | `position` | 1-based place in the scheme or in the list of its role |
//!
//! Descriptions and annotations of items are not taken.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use hambar_core::limits::{BATCH_BYTES, BATCH_ROWS};

use crate::record::SourceBatch;

/// The columns of structure rows.
pub const STRUCTURE_COLUMNS: [&str; 11] =
    ["artefact", "agency", "id", "version", "role", "code", "lang", "label", "parent", "reference", "position"];

/// The name of an artefact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Artefact {
    pub(super) kind: String,
    pub(super) agency: String,
    pub(super) id: String,
    pub(super) version: String,
}

/// One item of an artefact, or the artefact itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    pub(super) role: &'static str,
    pub(super) code: String,
    pub(super) names: Vec<(String, String)>,
    pub(super) parent: String,
    pub(super) reference: String,
    pub(super) position: u64,
}

/// Collects structure rows into batches.
#[derive(Debug)]
pub(super) struct StructureRows {
    columns: [StringBuilder; STRUCTURE_COLUMNS.len()],
    rows: usize,
    bytes: usize,
    first_record: u64,
    member: Option<Arc<str>>,
}

impl StructureRows {
    pub(super) fn new(member: Option<Arc<str>>) -> Self {
        Self { columns: std::array::from_fn(|_| StringBuilder::new()), rows: 0, bytes: 0, first_record: 1, member }
    }

    /// Adds the rows of `item`: one for each language, or one without.
    pub(super) fn push(&mut self, artefact: &Artefact, item: &Item) {
        if item.names.is_empty() {
            self.row(artefact, item, "", "");
        }
        for (language, label) in &item.names {
            self.row(artefact, item, language, label);
        }
    }

    fn row(&mut self, artefact: &Artefact, item: &Item, language: &str, label: &str) {
        let position = if item.position == 0 { String::new() } else { item.position.to_string() };
        let cells = [
            artefact.kind.as_str(),
            &artefact.agency,
            &artefact.id,
            &artefact.version,
            item.role,
            &item.code,
            language,
            label,
            &item.parent,
            &item.reference,
            &position,
        ];
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            if cell.is_empty() {
                column.append_null()
            } else {
                column.append_value(cell)
            }
            self.bytes += cell.len();
        }
        self.rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Takes the rows, `None` if there are none.
    pub(super) fn take(&mut self) -> Option<SourceBatch> {
        if self.rows == 0 {
            return None;
        }
        let fields: Vec<Field> = STRUCTURE_COLUMNS.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let arrays = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .expect("every row appends one cell to every column");
        let taken = SourceBatch::consecutive(batch, self.first_record, self.member.clone());
        self.first_record += self.rows as u64;
        self.rows = 0;
        self.bytes = 0;
        Some(taken)
    }
}

/// Returns `AGENCY:ID(VERSION)` of a URN, or the text itself if it is none.
pub(super) fn short_reference(urn: &str) -> &str {
    let urn = urn.trim();
    match urn.split_once('=') {
        Some((head, reference)) if head.starts_with("urn:sdmx:") => reference,
        _ => urn,
    }
}

/// Returns the item's id of an item URN (`…=ECB:ECB_CONCEPTS(1.0).FREQ` gives `FREQ`), or the text itself.
pub(super) fn item_of_urn(urn: &str) -> &str {
    let reference = short_reference(urn);
    reference.split_once(").").map_or(reference, |(_, item)| item)
}
