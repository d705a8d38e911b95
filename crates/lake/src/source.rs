//! Reads one data file of a sorted table row group by row group, only the columns and rows that are asked for.
//!
//! Row groups of files that have the table's columns can be copied as they are, see [`SourceFile::chunk`].

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hambar_core::StoreError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::schema::types::SchemaDescriptor;

use crate::actions::Add;
use crate::error::damaged;
use crate::reader::adapt;

/// Rows of a batch.
const BATCH_ROWS: usize = 16 * 1024;

/// A data file, open.
#[derive(Debug)]
pub(crate) struct SourceFile {
    label: String,
    pub(crate) add: Arc<Add>,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl SourceFile {
    /// Opens the file that `add` names, which lies at `path`. Columns that `schema` has as dictionaries are read as such.
    pub(crate) fn open(label: &str, path: &Path, add: &Arc<Add>, schema: &Schema) -> Result<Self, StoreError> {
        let wrong = |what: String| damaged(label, format!("data file `{}`: {what}", add.path));
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let size = file.metadata().map_err(|error| wrong(error.to_string()))?.len();
        if size != add.size {
            return Err(wrong(format!("has {size} bytes, the log says {}", add.size)));
        }
        let metadata = load(&file, schema).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { label: label.to_owned(), add: Arc::clone(add), file, metadata })
    }

    /// Number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Facts about row group `group`.
    pub(crate) fn group(&self, group: usize) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(group)
    }

    /// Number of rows of row group `group`.
    pub(crate) fn rows(&self, group: usize) -> usize {
        usize::try_from(self.group(group).num_rows()).unwrap_or(0)
    }

    /// The columns as Parquet knows them.
    pub(crate) fn layout(&self) -> &SchemaDescriptor {
        self.metadata.parquet_schema()
    }

    /// The bytes that [`SourceFile::chunk`] points into.
    pub(crate) fn bytes(&self) -> &File {
        &self.file
    }

    /// What a writer needs to take over leaf column `leaf` of row group `group` as it is.
    pub(crate) fn chunk(&self, group: usize, leaf: usize) -> ColumnCloseResult {
        let all = self.metadata.metadata();
        let metadata = all.row_group(group).column(leaf).clone();
        let columns = all.column_index().and_then(|index| index.get(group)?.get(leaf)).cloned();
        ColumnCloseResult {
            bytes_written: u64::try_from(metadata.compressed_size()).unwrap_or(0),
            rows_written: u64::try_from(all.row_group(group).num_rows()).unwrap_or(0),
            bloom_filter: None,
            column_index: columns.filter(|index| !matches!(index, ColumnIndexMetaData::NONE)),
            offset_index: all.offset_index().and_then(|index| index.get(group)?.get(leaf)).cloned(),
            metadata,
        }
    }

    /// Reads row group `group` in the columns `wanted`: all of its rows, or those of `selection`.
    pub(crate) fn read(
        &self,
        group: usize,
        wanted: &SchemaRef,
        selection: Option<RowSelection>,
    ) -> Result<GroupReader<'_>, StoreError> {
        let layout = self.layout();
        let names: Vec<&str> = layout.root_schema().get_fields().iter().map(|field| field.name()).collect();
        let is_stored = |field: &Arc<Field>| !self.add.partition_values.contains_key(field.name());
        let roots = wanted
            .fields()
            .iter()
            .filter(|field| is_stored(field))
            .filter_map(|field| names.iter().position(|name| name == field.name()));
        let mask = ProjectionMask::roots(layout, roots);
        let wrong = |what: String| self.wrong(what);
        let file = self.file.try_clone().map_err(|error| wrong(error.to_string()))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        let builder = match selection {
            Some(selection) => builder.with_row_selection(selection),
            None => builder,
        };
        let batches = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(GroupReader { source: self, wanted: wanted.clone(), values: &self.add.partition_values, batches })
    }

    /// Reads the first and the last row of row group `group` in the columns `wanted`.
    pub(crate) fn edges(&self, group: usize, wanted: &SchemaRef) -> Result<(RecordBatch, RecordBatch), StoreError> {
        let rows = self.rows(group);
        let only = |row: usize| RowSelection::from_consecutive_ranges(std::iter::once(row..row + 1), rows);
        let read = |row: usize| {
            let batch = self.read(group, wanted, Some(only(row)))?.next();
            batch.unwrap_or_else(|| Err(self.wrong(format!("row group {group} has no row {row}"))))
        };
        Ok((read(0)?, read(rows.saturating_sub(1))?))
    }

    fn wrong(&self, what: String) -> StoreError {
        damaged(&self.label, format!("data file `{}`: {what}", self.add.path))
    }
}

fn load(file: &File, schema: &Schema) -> Result<ArrowReaderMetadata, ParquetError> {
    let options =
        ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional).with_encoding_stats_as_mask(false);
    let plain = ArrowReaderMetadata::load(file, options.clone())?;
    let wants = |name: &str| schema.field_with_name(name).ok().map(Field::data_type);
    let hinted = plain.schema().fields().iter().map(|field| match (wants(field.name()), field.data_type()) {
        (Some(kind @ DataType::Dictionary(_, _)), DataType::Utf8) => {
            field.as_ref().clone().with_data_type(kind.clone())
        }
        _ => field.as_ref().clone(),
    });
    let hinted = Schema::new_with_metadata(hinted.collect::<Vec<_>>(), plain.schema().metadata().clone());
    ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options.with_schema(Arc::new(hinted)))
}

/// The rows of one row group.
pub(crate) struct GroupReader<'a> {
    source: &'a SourceFile,
    wanted: SchemaRef,
    values: &'a BTreeMap<String, Option<String>>,
    batches: ParquetRecordBatchReader,
}

impl Iterator for GroupReader<'_> {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let adapted = batch.and_then(|batch| adapt(&batch, &self.wanted, self.values));
        Some(adapted.map_err(|error| self.source.wrong(error.to_string())))
    }
}
