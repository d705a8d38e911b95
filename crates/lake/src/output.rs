//! Writes sorted rows to data files that are sorted, do not overlap, and hold one partition each.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::{Field, Schema, SchemaRef};
use hambar_core::StoreError;

use crate::bounds;
use crate::encode::{Encoded, FileWriter, Folder};
use crate::error::rows;
use crate::grouped::{Encodings, GroupedFile, Patch};
use crate::layout;
use crate::partition::{PartitionValues, Partitioning};
use crate::sortkey::SortKey;
use crate::source::SourceFile;

/// Bytes of a history file at which the next one is begun.
const HISTORY_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Rows of a row group: small enough that a change rewrites little, large enough that a scan does not notice.
const GROUP_ROWS: usize = 128 * 1024;

/// How large the files of sorted tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortedLimits {
    /// Bytes at which a file is ended. A change rewrites its whole file, so these are smaller than appended ones.
    pub file_bytes: u64,
    /// Rows at which a file is ended.
    pub file_rows: usize,
    /// Rows of a row group.
    pub group_rows: usize,
    /// Bytes below which the last file of a partition takes in rows that come after it.
    pub small_bytes: u64,
}

impl Default for SortedLimits {
    fn default() -> Self {
        Self {
            file_bytes: 64 * 1024 * 1024,
            file_rows: 1024 * 1024,
            group_rows: GROUP_ROWS,
            small_bytes: 16 * 1024 * 1024,
        }
    }
}

/// A finished sorted file.
#[derive(Debug)]
pub(crate) struct SortedFile {
    pub(crate) values: PartitionValues,
    pub(crate) encoded: Encoded,
    pub(crate) tags: BTreeMap<String, Option<String>>,
}

/// Writes rows that come in the order of a [`SortKey`], and takes over row groups of files that are in that order.
#[derive(Debug)]
pub(crate) struct SortedOutput {
    label: String,
    folder: Folder,
    partitioning: Partitioning,
    limits: SortedLimits,
    /// The key without the partition columns.
    key: Vec<String>,
    /// All columns of the table.
    schema: SchemaRef,
    /// Those of its files.
    bare: SchemaRef,
    slack: Slack,
    open: Option<Open>,
    done: Vec<SortedFile>,
}

/// How strictly the limits of files and row groups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slack {
    /// Files end where they are full.
    None,
    /// Rows of an existing file are written anew, with some more between them. Files and row groups may grow to twice
    /// their size before they end, otherwise each of them would leave a tiny one behind.
    Double,
}

impl Slack {
    fn factor(self) -> usize {
        match self {
            Self::None => 1,
            Self::Double => 2,
        }
    }
}

#[derive(Debug)]
struct Open {
    values: PartitionValues,
    rows: usize,
    file: GroupedFile,
    /// The first row of each row group.
    firsts: Vec<RecordBatch>,
    last: Option<RecordBatch>,
}

impl SortedOutput {
    /// Makes an output for the table `label` of the columns `schema`, whose files go to `folder`.
    pub(crate) fn new(
        label: &str,
        folder: Folder,
        partitioning: Partitioning,
        key: &SortKey,
        schema: &SchemaRef,
    ) -> Self {
        let key = key.columns().iter().filter(|column| !partitioning.columns().contains(column)).cloned().collect();
        Self {
            label: label.to_owned(),
            folder,
            limits: SortedLimits::default(),
            key,
            schema: schema.clone(),
            bare: partitioning.file_schema(schema),
            partitioning,
            slack: Slack::None,
            open: None,
            done: Vec::new(),
        }
    }

    /// Ends files by these limits instead of the usual ones.
    pub(crate) fn with_limits(self, limits: SortedLimits) -> Self {
        Self { limits, ..self }
    }

    /// The columns of the data files.
    pub(crate) fn file_schema(&self) -> &SchemaRef {
        &self.bare
    }

    /// Keeps limits as `slack` says from here on.
    pub(crate) fn set_slack(&mut self, slack: Slack) {
        self.slack = slack;
    }

    /// Takes rows with all columns of the table, in order.
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
        let kept: Vec<usize> =
            self.bare.fields().iter().filter_map(|field| batch.schema_ref().index_of(field.name()).ok()).collect();
        let bare = batch.project(&kept).map_err(|error| rows(&self.label, error.to_string()))?;
        let mut start = 0;
        while start < bare.num_rows() {
            // What was written with more slack may be full by now.
            self.close_if_full()?;
            let (file_rows, group_rows) = (self.file_rows(), self.group_rows());
            if let Some(open) = self.open.as_mut().filter(|open| open.file.open_rows() >= group_rows) {
                open.file.end_group()?;
            }
            let open = self.open_for(&values, || Encodings::of_rows(&bare.slice(start, bare.num_rows() - start)))?;
            let room = file_rows.saturating_sub(open.rows).min(group_rows.saturating_sub(open.file.open_rows()));
            let piece = bare.slice(start, room.clamp(1, bare.num_rows() - start));
            start += piece.num_rows();
            self.write_piece(&piece)?;
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: &RecordBatch) -> Result<(), StoreError> {
        let group_rows = self.group_rows();
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.file.open_rows() == 0 {
            open.firsts.push(copy_row(piece, 0));
        }
        let size = open.file.write(piece)?;
        open.last = Some(copy_row(piece, piece.num_rows() - 1));
        open.rows += piece.num_rows();
        if size.is_full || size.rows >= group_rows {
            open.file.end_group()?;
        }
        self.close_if_full()
    }

    /// Takes over row group `group` of `source` as it is, or its rows where its columns are not those of this table.
    pub(crate) fn copy(&mut self, source: &SourceFile, group: usize) -> Result<(), StoreError> {
        if source.rows(group) == 0 {
            return Ok(());
        }
        match self.begin_patch(source, group)? {
            Some(patch) => self.finish_patch(patch, source, group),
            None => {
                let schema = self.schema.clone();
                for batch in source.read(group, &schema, None)? {
                    self.write(&batch?)?;
                }
                Ok(())
            }
        }
    }

    /// Begins to take over row group `group` of `source` in part; `None` where its columns are not those of this table.
    pub(crate) fn begin_patch<'a>(
        &mut self,
        source: &'a SourceFile,
        group: usize,
    ) -> Result<Option<Patch<'a>>, StoreError> {
        let columns = self.partitioning.columns().iter();
        let values = columns.map(|column| source.add.partition_value(column).map(str::to_owned)).collect();
        let open = self.open_for(&values, || Encodings::of_file(source))?;
        if !open.file.takes(source) {
            return Ok(None);
        }
        open.file.patch(source, group).map(Some)
    }

    /// Ends what [`SortedOutput::begin_patch`] began. Keys are never among what is encoded anew.
    pub(crate) fn finish_patch(
        &mut self,
        patch: Patch<'_>,
        source: &SourceFile,
        group: usize,
    ) -> Result<(), StoreError> {
        let is_key = |field: &&Arc<Field>| self.key.contains(field.name());
        let key = Arc::new(Schema::new(self.bare.fields().iter().filter(is_key).cloned().collect::<Vec<_>>()));
        let (first, last) = source.edges(group, &key)?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.file.finish_patch(patch)?;
        open.firsts.push(first);
        open.last = Some(last);
        open.rows += source.rows(group);
        self.close_if_full()
    }

    fn open_for(
        &mut self,
        values: &PartitionValues,
        encodings: impl FnOnce() -> Encodings,
    ) -> Result<&mut Open, StoreError> {
        if self.open.as_ref().is_some_and(|open| open.values != *values) {
            self.close()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let folder = self.folder.within(layout::folder(self.partitioning.columns(), values));
                let file = GroupedFile::create(&folder, &self.bare, &encodings())?;
                Open { values: values.clone(), rows: 0, file, firsts: Vec::new(), last: None }
            }
        };
        Ok(self.open.insert(open))
    }

    fn file_rows(&self) -> usize {
        self.limits.file_rows.max(1) * self.slack.factor()
    }

    fn group_rows(&self) -> usize {
        self.limits.group_rows.max(1) * self.slack.factor()
    }

    fn close_if_full(&mut self) -> Result<(), StoreError> {
        let bytes = self.limits.file_bytes * self.slack.factor() as u64;
        let rows = self.file_rows();
        if self.open.as_ref().is_some_and(|open| open.rows >= rows || open.file.size() >= bytes) {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the open file where it is large enough to stand for itself; smaller ones take in what follows.
    pub(crate) fn close_if_large(&mut self) -> Result<(), StoreError> {
        let SortedLimits { file_rows, file_bytes, .. } = self.limits;
        if self.open.as_ref().is_some_and(|open| open.rows > file_rows / 2 || open.file.size() > file_bytes / 2) {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the open file: rows that follow are not next to those that were written.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let tags = open.last.as_ref().map_or_else(BTreeMap::new, |last| bounds::tags(&self.key, &open.firsts, last));
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
