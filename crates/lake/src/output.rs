//! Writes sorted rows to data files that are sorted, do not overlap, and hold one partition each.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::partition;
use hambar_core::StoreError;

use crate::bounds;
use crate::encode::{Encoded, FileWriter, Folder};
use crate::error::rows;
use crate::layout;
use crate::partition::{PartitionValues, Partitioning};
use crate::sortkey::SortKey;

/// Bytes of a history file at which the next one is begun.
const HISTORY_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How large the files of sorted tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortedLimits {
    /// Bytes at which a file is ended. A change rewrites its whole file, so these are smaller than appended ones.
    pub file_bytes: u64,
    /// Rows at which a file is ended.
    pub file_rows: usize,
    /// Bytes below which the last file of a partition takes in rows that come after it.
    pub small_bytes: u64,
}

impl Default for SortedLimits {
    fn default() -> Self {
        Self { file_bytes: 64 * 1024 * 1024, file_rows: 8 * 1024 * 1024, small_bytes: 16 * 1024 * 1024 }
    }
}

/// A finished sorted file.
#[derive(Debug)]
pub(crate) struct SortedFile {
    pub(crate) values: PartitionValues,
    pub(crate) encoded: Encoded,
    pub(crate) tags: BTreeMap<String, Option<String>>,
}

/// Writes rows that come in the order of a [`SortKey`].
#[derive(Debug)]
pub(crate) struct SortedOutput {
    label: String,
    folder: Folder,
    partitioning: Partitioning,
    limits: SortedLimits,
    /// The key without the partition columns.
    key: Vec<String>,
    open: Option<Open>,
    done: Vec<SortedFile>,
}

#[derive(Debug)]
struct Open {
    values: PartitionValues,
    rows: usize,
    file: FileWriter,
    first: RecordBatch,
    last: RecordBatch,
}

impl SortedOutput {
    /// Makes an output for the table `label`, whose files go to `folder`.
    pub(crate) fn new(label: &str, folder: Folder, partitioning: Partitioning, key: &SortKey) -> Self {
        let key = key.columns().iter().filter(|column| !partitioning.columns().contains(column)).cloned().collect();
        Self {
            label: label.to_owned(),
            folder,
            partitioning,
            limits: SortedLimits::default(),
            key,
            open: None,
            done: Vec::new(),
        }
    }

    /// Ends files by these limits instead of the usual ones.
    pub(crate) fn with_limits(self, limits: SortedLimits) -> Self {
        Self { limits, ..self }
    }

    /// Takes rows with all columns of the stored table, in order.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let wrong = |label: &str, error: String| rows(label, error);
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns: Vec<ArrayRef> =
            self.partitioning.columns().iter().filter_map(|column| batch.column_by_name(column).cloned()).collect();
        if columns.is_empty() {
            return self.write_partition(Vec::new(), batch);
        }
        let ranges = partition(&columns).map_err(|error| wrong(&self.label, error.to_string()))?.ranges();
        for range in ranges {
            let values = self
                .partitioning
                .values_at(batch, range.start)
                .map_err(|error| wrong(&self.label, error.to_string()))?;
            self.write_partition(values, &batch.slice(range.start, range.len()))?;
        }
        Ok(())
    }

    fn write_partition(&mut self, values: PartitionValues, batch: &RecordBatch) -> Result<(), StoreError> {
        if self.open.as_ref().is_some_and(|open| open.values != values) {
            self.close()?;
        }
        let bare = self.partitioning.file_schema(batch.schema_ref());
        let kept: Vec<usize> =
            bare.fields().iter().filter_map(|field| batch.schema_ref().index_of(field.name()).ok()).collect();
        let bare = batch.project(&kept).map_err(|error| rows(&self.label, error.to_string()))?;
        let mut start = 0;
        while start < bare.num_rows() {
            let room = self.limits.file_rows.max(1) - self.open.as_ref().map_or(0, |open| open.rows);
            let piece = bare.slice(start, room.min(bare.num_rows() - start));
            start += piece.num_rows();
            self.write_piece(&values, &piece)?;
        }
        Ok(())
    }

    fn write_piece(&mut self, values: &PartitionValues, piece: &RecordBatch) -> Result<(), StoreError> {
        let last = copy_row(piece, piece.num_rows() - 1);
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let folder = self.folder.within(layout::folder(self.partitioning.columns(), values));
                let file = FileWriter::create(&folder, piece.schema_ref())?;
                let first = copy_row(piece, 0);
                self.open.insert(Open { values: values.clone(), rows: 0, file, first, last: last.clone() })
            }
        };
        open.file.write(piece)?;
        open.last = last;
        open.rows += piece.num_rows();
        if open.file.size() >= self.limits.file_bytes || open.rows >= self.limits.file_rows {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the open file: rows that follow are not next to those that were written.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let tags = bounds::tags(&self.key, &open.first, &open.last);
        self.done.push(SortedFile { values: open.values, encoded: open.file.finish()?, tags });
        Ok(())
    }

    /// Ends the output.
    pub(crate) fn finish(mut self) -> Result<Vec<SortedFile>, StoreError> {
        self.close()?;
        Ok(self.done)
    }
}

/// Copies one row, so that it does not keep its batch alive.
fn copy_row(batch: &RecordBatch, row: usize) -> RecordBatch {
    let index = arrow::array::UInt64Array::from(vec![row as u64]);
    arrow::compute::take_record_batch(batch, &index).unwrap_or_else(|_| batch.slice(row, 1))
}

/// Writes superseded rows; they are in no order.
#[derive(Debug)]
pub(crate) struct HistoryOutput {
    folder: Folder,
    open: Option<FileWriter>,
    done: Vec<Encoded>,
}

impl HistoryOutput {
    /// Makes an output whose files go to `folder`.
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder, open: None, done: Vec::new() }
    }

    /// Takes rows with all columns of the history.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(FileWriter::create(&self.folder, batch.schema_ref())?),
        };
        file.write(batch)?;
        if file.size() >= HISTORY_FILE_BYTES
            && let Some(full) = self.open.take()
        {
            self.done.push(full.finish()?);
        }
        Ok(())
    }

    /// Ends the output.
    pub(crate) fn finish(mut self) -> Result<Vec<Encoded>, StoreError> {
        if let Some(file) = self.open.take() {
            self.done.push(file.finish()?);
        }
        Ok(self.done)
    }
}
