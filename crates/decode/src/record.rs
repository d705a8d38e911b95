//! What flows between readers, the conform step and their caller.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::error::DecodeError;

/// A record that a reader could not turn into cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// 1-based number of the record in its file or member.
    pub record: u64,
    /// The source's name of the cell at fault, if it is one cell.
    pub column: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// The record as received, cut to `REJECT_RAW_BYTES_MAX`.
    pub raw: String,
}

/// Rows in the source's own names and types. Text formats deliver every cell as `Utf8` (NULL only where a cell is
/// absent), so that nothing is lost before the contract is known.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// 1-based record numbers of the rows, if they are not `first_record`, `first_record + 1` …
    pub records: Option<Vec<u64>>,
    /// 1-based number of the first row's record in its file or member.
    pub first_record: u64,
    /// The archive member it comes from.
    pub member: Option<Arc<str>>,
    /// Records that did not become rows.
    pub faults: Vec<Fault>,
}

impl SourceBatch {
    /// Makes a batch of consecutive records without faults.
    pub(crate) fn consecutive(batch: RecordBatch, first_record: u64, member: Option<Arc<str>>) -> Self {
        Self { batch, records: None, first_record, member, faults: Vec::new() }
    }

    /// Keeps the first `rows` rows, and all faults, and returns the others, if there are any.
    pub(crate) fn split_off(&mut self, rows: usize) -> Option<Self> {
        let left = self.batch.num_rows().checked_sub(rows).filter(|left| *left > 0)?;
        let records = self.records.as_mut().map(|records| records.split_off(rows));
        let first_record = match &records {
            Some(records) => records.first().copied().unwrap_or(self.first_record),
            None => self.first_record + rows as u64,
        };
        let rest = self.batch.slice(rows, left);
        self.batch = self.batch.slice(0, rows);
        Some(Self { batch: rest, records, first_record, member: self.member.clone(), faults: Vec::new() })
    }
}

/// A reader of one format. After an error it is finished.
pub trait RecordSource: Send {
    /// Returns the next rows, or `None` at the end of the input.
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError>;
}

/// Rows that fit the table, and those that do not.
#[derive(Debug, Clone)]
pub struct Conformed {
    /// Rows in the table's declared schema.
    pub rows: RecordBatch,
    /// Rejected rows in the schema of `provenance::reject_fields`; `run`, `recorded_at` and `source` are NULL and
    /// filled in by the runner.
    pub rejected: Option<RecordBatch>,
}

/// What a decode job found. Always `records == rows / fan-out + rejected`: nothing vanishes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecodeReport {
    /// Records in the source.
    pub records: u64,
    /// Rows delivered (more than records where wide columns became rows).
    pub rows: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Place and reason of the first of them.
    pub first_reject: Option<String>,
    /// Bytes after decompression.
    pub decoded_bytes: u64,
    /// Archive members read, in order.
    pub members: Vec<String>,
    /// Source columns that are neither declared nor ignored.
    pub columns_added: Vec<String>,
    /// Declared columns that the source no longer has.
    pub columns_missing: Vec<String>,
    /// The character encoding found or declared.
    pub encoding: Option<String>,
}
