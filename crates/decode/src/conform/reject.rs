//! Rejected records: place, reason and raw text, in the schema of every `__rejects` table.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hambar_core::limits::REJECT_RAW_BYTES_MAX;
use hambar_core::provenance::{instant_type, reject_fields};

use super::Failures;
use crate::record::{Fault, SourceBatch};

/// Collects the rejects of one batch.
#[derive(Debug)]
pub(super) struct Rejects {
    member: Option<Arc<str>>,
    rejects: Vec<Fault>,
}

impl Rejects {
    pub(super) fn new(member: Option<Arc<str>>) -> Self {
        Self { member, rejects: Vec::new() }
    }

    pub(super) fn push_fault(&mut self, fault: &Fault) {
        self.rejects.push(fault.clone());
    }

    /// Adds the rows that broke the contract and returns the indices (in `batch`) of all rows to leave out. Where wide
    /// columns became rows, one bad cell rejects the whole record: a record is published whole or not at all.
    pub(super) fn push_failures(
        &mut self,
        source: &SourceBatch,
        batch: &RecordBatch,
        origin: Option<&[usize]>,
        failures: Failures,
    ) -> BTreeSet<usize> {
        if failures.is_empty() {
            return BTreeSet::new();
        }
        let mut records = BTreeSet::new();
        let mut rows = BTreeSet::new();
        for (row, (column, reason)) in failures {
            let wide_row = origin.and_then(|origin| origin.get(row)).copied().unwrap_or(row);
            rows.insert(row);
            if records.insert(wide_row) {
                let record = match &source.records {
                    Some(records) => records.get(wide_row).copied().unwrap_or(0),
                    None => source.first_record + wide_row as u64,
                };
                self.rejects.push(Fault {
                    record,
                    column: Some(column),
                    reason,
                    raw: raw_text(&source.batch, wide_row),
                });
            }
        }
        if let Some(origin) = origin {
            rows.extend((0..batch.num_rows()).filter(|row| records.contains(&origin[*row])));
        }
        rows
    }

    /// Number of rejected records.
    pub(super) fn records(&self) -> u64 {
        self.rejects.len() as u64
    }

    pub(super) fn first(&self) -> Option<String> {
        self.rejects.first().map(|reject| match &reject.column {
            Some(column) => format!("record {}, column `{column}`: {}", reject.record, reject.reason),
            None => format!("record {}: {}", reject.record, reject.reason),
        })
    }

    pub(super) fn into_batch(self) -> Option<RecordBatch> {
        if self.rejects.is_empty() {
            return None;
        }
        let rows = self.rejects.len();
        let texts = |pick: &dyn Fn(&Fault) -> Option<&str>| -> ArrayRef {
            Arc::new(self.rejects.iter().map(pick).collect::<StringArray>())
        };
        let columns = vec![
            new_null_array(&DataType::Utf8, rows),
            new_null_array(&instant_type(), rows),
            new_null_array(&DataType::Utf8, rows),
            Arc::new(std::iter::repeat_n(self.member.as_deref(), rows).collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(
                self.rejects.iter().map(|reject| i64::try_from(reject.record).unwrap_or(i64::MAX)),
            )),
            texts(&|reject| reject.column.as_deref()),
            texts(&|reject| Some(&reject.reason)),
            texts(&|reject| Some(&reject.raw)),
        ];
        Some(
            RecordBatch::try_new(Arc::new(Schema::new(reject_fields())), columns)
                .expect("one column per reject field, one cell per reject"),
        )
    }
}

/// The record as a JSON object of its source cells.
fn raw_text(batch: &RecordBatch, row: usize) -> String {
    let mut record = serde_json::Map::new();
    let options = FormatOptions::default();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let text = match ArrayFormatter::try_new(column.as_ref(), &options) {
            Ok(formatter) if column.is_valid(row) => serde_json::Value::String(formatter.value(row).to_string()),
            _ => serde_json::Value::Null,
        };
        record.insert(field.name().clone(), text);
    }
    let mut raw = serde_json::Value::Object(record).to_string();
    if raw.len() > REJECT_RAW_BYTES_MAX {
        let cut = (0..=REJECT_RAW_BYTES_MAX).rev().find(|at| raw.is_char_boundary(*at)).unwrap_or(0);
        raw.truncate(cut);
    }
    raw
}
