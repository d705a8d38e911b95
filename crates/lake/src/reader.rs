//! Reads data files in the columns of the table, whatever columns the file has.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use hambar_core::StoreError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;

use crate::actions::Add;
use crate::encode::digest;
use crate::error::{damaged, storage};
use crate::lake::Lake;
use crate::log::TableLog;
use crate::partition::constant;
use crate::publish::TAG_DIGEST;
use crate::snapshot::{DataFile, TableSnapshot, data_path};

/// Rows of a batch, where they are narrow.
const BATCH_ROWS: usize = 16 * 1024;
/// Bytes of a batch, about: wide rows come in smaller batches.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of a batch, however wide.
const BATCH_ROWS_MIN: u64 = 16;

/// The rows of one data file.
pub(crate) struct FileReader {
    label: String,
    name: String,
    schema: SchemaRef,
    values: BTreeMap<String, Option<String>>,
    batches: ParquetRecordBatchReader,
}

impl FileReader {
    /// Opens the file that `add` names, which lies at `path`; `limit` stops after that many rows.
    pub(crate) fn open(
        label: &str,
        path: &Path,
        add: &Add,
        schema: &SchemaRef,
        limit: Option<usize>,
    ) -> Result<Self, StoreError> {
        let wrong = |what: String| damaged(label, format!("data file `{}`: {what}", add.path));
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let size = file.metadata().map_err(|error| wrong(error.to_string()))?.len();
        if size != add.size {
            return Err(wrong(format!("has {size} bytes, the log says {}", add.size)));
        }
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(error.to_string()))?;
        let size = batch_rows(builder.metadata().row_groups());
        let builder = builder.with_batch_size(size);
        let builder = if let Some(limit) = limit { builder.with_limit(limit) } else { builder };
        Ok(Self {
            label: label.to_owned(),
            name: add.path.clone(),
            schema: schema.clone(),
            values: add.partition_values.clone(),
            batches: builder.build().map_err(|error| wrong(error.to_string()))?,
        })
    }
}

/// How many rows of these row groups make a batch: memory must not grow with the width of rows.
pub(crate) fn batch_rows(groups: &[RowGroupMetaData]) -> usize {
    let widest = groups.iter().map(|group| {
        let bytes = group.columns().iter().map(|column| {
            // Repeated texts are stored once, but read as often as they occur.
            let texts = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            u64::try_from(texts.max(column.uncompressed_size())).unwrap_or(0)
        });
        bytes.sum::<u64>() / u64::try_from(group.num_rows()).unwrap_or(1).max(1)
    });
    let rows = (BATCH_BYTES / widest.max().unwrap_or(1).max(1)).max(BATCH_ROWS_MIN);
    usize::try_from(rows).unwrap_or(BATCH_ROWS).min(BATCH_ROWS)
}

impl Iterator for FileReader {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let adapted = batch.and_then(|batch| adapt(&batch, &self.schema, &self.values));
        Some(adapted.map_err(|error| damaged(&self.label, format!("data file `{}`: {error}", self.name))))
    }
}

/// Gives `batch` the columns of `schema`: partition columns from `values`, missing ones as NULL.
pub(crate) fn adapt(
    batch: &RecordBatch,
    schema: &SchemaRef,
    values: &BTreeMap<String, Option<String>>,
) -> Result<RecordBatch, ArrowError> {
    let count = batch.num_rows();
    let columns: Result<Vec<ArrayRef>, ArrowError> = schema
        .fields()
        .iter()
        .map(|field| match (values.get(field.name()), batch.column_by_name(field.name())) {
            (Some(text), _) => constant(text.as_deref(), field, count),
            (None, Some(column)) if column.data_type() == field.data_type() => Ok(column.clone()),
            (None, Some(column)) => exact_cast(column, field.data_type()),
            (None, None) => Ok(new_null_array(field.data_type(), count)),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(schema.clone(), columns?, &options)
}

/// Brings a column to another type; a value that has no form there is an error, never NULL.
pub(crate) fn exact_cast(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() })
}

impl Lake {
    /// Reads one data file of `snapshot` whole, in the snapshot's columns. For tests and checks of small tables;
    /// queries stream the files instead.
    pub async fn read_file(&self, snapshot: &TableSnapshot, file: &DataFile) -> Result<Vec<RecordBatch>, StoreError> {
        let label = snapshot.table.to_string();
        let found = self.inner.store.get_opts(&file.path, Default::default()).await;
        let found = found.map_err(|error| storage("read", &file.path, error))?;
        let bytes = found.bytes().await.map_err(|error| storage("read", &file.path, error))?;
        let (schema, values) = (snapshot.schema.clone(), file.partition_values.clone());
        let place = file.path.clone();
        let (name, expected) = (label.clone(), file.rows);
        let read = tokio::task::spawn_blocking(move || {
            let wrong = |what: String| damaged(&name, format!("data file `{place}`: {what}"));
            let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
            let batches = batches.map_err(|error| wrong(error.to_string()))?;
            let adapted: Result<Vec<RecordBatch>, ArrowError> =
                batches.map(|batch| adapt(&batch?, &schema, &values)).collect();
            let adapted = adapted.map_err(|error| wrong(error.to_string()))?;
            let rows: u64 = adapted.iter().map(|batch| batch.num_rows() as u64).sum();
            if rows != expected {
                return Err(wrong(format!("has {rows} rows, the log says {expected}")));
            }
            Ok(adapted)
        });
        read.await.map_err(|error| crate::error::job(&label, &error))?
    }
}

/// Says what is wrong with the bytes of the file of `add` at `path`, where the log knows their hash. Reads all of them.
pub(crate) fn check_bytes(label: &str, path: &Path, add: &Add) -> Result<(), StoreError> {
    let Some(known) = add.tag(TAG_DIGEST) else {
        return Ok(());
    };
    let found = digest(path).map_err(|error| damaged(label, format!("data file `{}`: {error}", add.path)))?;
    if found == known {
        return Ok(());
    }
    Err(damaged(label, format!("data file `{}`: its bytes have the hash {found}, the log says {known}", add.path)))
}

/// Brings a data file to this machine: its own path in a local lake, a copy in `folder` otherwise.
pub(crate) async fn local_copy(
    lake: &Lake,
    log: &TableLog,
    add: &Add,
    folder: &Path,
) -> Result<std::path::PathBuf, StoreError> {
    use futures::TryStreamExt;
    use tokio::io::AsyncWriteExt;

    let path = data_path(log, add)?;
    if let Some(root) = lake.local_root() {
        return Ok(path.parts().fold(root.to_owned(), |place, part| place.join(part.as_ref())));
    }
    let target = folder.join(format!("copy-{}.parquet", uuid::Uuid::new_v4()));
    let fail = |error: std::io::Error| crate::error::file("write", &target, error);
    let found = lake.inner.store.get_opts(&path, Default::default()).await;
    let mut body = found.map_err(|error| storage("read", &path, error))?.into_stream();
    let mut file = tokio::fs::File::create(&target).await.map_err(fail)?;
    while let Some(chunk) = body.try_next().await.map_err(|error| storage("read", &path, error))? {
        file.write_all(&chunk).await.map_err(fail)?;
    }
    file.flush().await.map_err(fail)?;
    Ok(target)
}
