//! Parquet and Arrow IPC. Columns keep their types; a type that no table can hold is an error that names the column. The
//! rows read are compared with those announced.

mod frames;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReaderBuilder, StreamReader};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::ColumnType;
use hambar_core::limits::{BATCH_BYTES, BATCH_ROWS, COLUMNS_MAX};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use crate::error::DecodeError;
use crate::pump::{Sink, pumped};
use crate::record::{RecordSource, SourceBatch};

/// Bytes of one batch of an Arrow file, which is read as a whole.
const ARROW_BATCH_BYTES_MAX: u64 = 512 * hambar_core::limits::MIB;

/// What an Arrow IPC file starts with; a stream does not.
pub(crate) const ARROW_FILE_MAGIC: &[u8] = b"ARROW1";

/// Opens a Parquet file. Columns named in `ignore` are not read.
///
/// # Errors
/// A file that is no Parquet, and columns of a type that no table can hold.
pub fn open_parquet(
    file: File,
    ignore: &[String],
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    open("Parquet", file, ignore, member, read_parquet)
}

/// Opens an Arrow IPC file, or a stream if it does not start as a file.
///
/// # Errors
/// Bytes that are no Arrow IPC, and columns of a type that no table can hold.
pub fn open_arrow(
    file: File,
    ignore: &[String],
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    open("Arrow IPC", file, ignore, member, read_arrow)
}

fn open(
    format: &'static str,
    file: File,
    ignore: &[String],
    member: Option<Arc<str>>,
    read: fn(File, &[String], Out, Sink<'_>) -> Result<(), DecodeError>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let out = Out { format, member, rows: 0 };
    let ignore = ignore.to_vec();
    pumped(&out.name(), format, move |sink| read(file, &ignore, out, sink))
}

/// Sends batches on, in slices of the usual size.
struct Out {
    format: &'static str,
    member: Option<Arc<str>>,
    rows: u64,
}

impl Out {
    fn name(&self) -> String {
        self.member.as_deref().unwrap_or("body").to_owned()
    }

    fn wrong(&self, what: impl std::fmt::Display) -> DecodeError {
        let place = if self.rows == 0 { "its start".to_owned() } else { format!("row {}", self.rows + 1) };
        DecodeError::Format { file: self.name(), format: self.format, place, what: what.to_string() }
    }

    fn limit(&self, limit: &'static str, value: u64, unit: &'static str, place: &str) -> DecodeError {
        DecodeError::Limit { file: self.name(), limit, value, unit, place: place.to_owned() }
    }

    fn io(&self, source: std::io::Error) -> DecodeError {
        DecodeError::Read { file: self.name(), source }
    }

    fn send(&mut self, batch: RecordBatch, sink: Sink<'_>) -> Result<(), DecodeError> {
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = BATCH_ROWS.min(batch.num_rows() - start);
            sink(SourceBatch::consecutive(batch.slice(start, rows), self.rows + 1, self.member.clone()))?;
            start += rows;
            self.rows += rows as u64;
        }
        Ok(())
    }

    fn expect_rows(&self, announced: u64) -> Result<(), DecodeError> {
        if self.rows == announced {
            return Ok(());
        }
        Err(self.wrong(format!("{} rows were read, its metadata announces {announced}", self.rows)))
    }
}

fn read_parquet(file: File, ignore: &[String], mut out: Out, sink: Sink<'_>) -> Result<(), DecodeError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| out.wrong(error))?;
    let announced = builder.metadata().file_metadata().num_rows();
    let in_groups =
        builder.metadata().row_groups().iter().try_fold(0_i64, |sum, group| sum.checked_add(group.num_rows()));
    if in_groups != Some(announced) {
        return Err(out.wrong(format!("its row groups have {in_groups:?} rows, its metadata announces {announced}")));
    }
    for group in builder.metadata().row_groups() {
        expect_values(group, &out)?;
    }
    let kept = kept_columns(builder.schema(), ignore, &out)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), kept);
    let rows = rows_at_once(builder.metadata().row_groups());
    let reader = builder.with_batch_size(rows).with_projection(mask).build();
    for batch in reader.map_err(|error| out.wrong(error))? {
        let batch = batch.map_err(|error| out.wrong(error))?;
        out.send(storable(batch, &out)?, sink)?;
    }
    let announced = u64::try_from(announced).map_err(|_| out.wrong("it announces a negative number of rows"))?;
    out.expect_rows(announced)
}

/// A row group that announces fewer rows than its columns have values would lose the rest without a word.
fn expect_values(group: &RowGroupMetaData, out: &Out) -> Result<(), DecodeError> {
    let is_flat = |column: &&ColumnChunkMetaData| column.column_descr().max_rep_level() == 0;
    match group.columns().iter().filter(is_flat).find(|column| column.num_values() != group.num_rows()) {
        None => Ok(()),
        Some(column) => Err(out.wrong(format!(
            "a row group announces {} rows, and {} values of its column `{}`",
            group.num_rows(),
            column.num_values(),
            column.column_path().string()
        ))),
    }
}

/// Returns how many rows make a batch of the usual size; rows with geometries or long texts are large.
fn rows_at_once(groups: &[RowGroupMetaData]) -> usize {
    let bytes_of_row = |group: &RowGroupMetaData| {
        // A text that repeats is written once, but takes its bytes in every row.
        let bytes = group.columns().iter().map(|column| {
            let unpacked = column.unencoded_byte_array_data_bytes().unwrap_or_default();
            u64::try_from(column.uncompressed_size().max(unpacked)).unwrap_or_default()
        });
        bytes.fold(0_u64, u64::saturating_add) / u64::try_from(group.num_rows()).unwrap_or_default().max(1)
    };
    let largest = groups.iter().map(bytes_of_row).max().unwrap_or_default();
    let rows = BATCH_BYTES as u64 / largest.max(1);
    usize::try_from(rows).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
}

fn read_arrow(mut file: File, ignore: &[String], mut out: Out, sink: Sink<'_>) -> Result<(), DecodeError> {
    let mut magic = [0; ARROW_FILE_MAGIC.len()];
    file.seek(SeekFrom::Start(0)).map_err(|source| out.io(source))?;
    let is_file = file.read_exact(&mut magic).is_ok() && magic == *ARROW_FILE_MAGIC;
    file.seek(SeekFrom::Start(0)).map_err(|source| out.io(source))?;
    let largest = if is_file { frames::check_file(&file) } else { frames::check_stream(&file) };
    if largest.map_err(|what| out.wrong(what))? > ARROW_BATCH_BYTES_MAX {
        return Err(out.limit("arrow_batch_bytes_max", ARROW_BATCH_BYTES_MAX, "bytes", "one of its batches"));
    }
    let source = BufReader::new(file);
    if is_file {
        let reader = FileReaderBuilder::new().build(source).map_err(|error| out.wrong(error))?;
        let schema = reader.schema();
        send_arrow(&schema, reader, ignore, &mut out, sink)
    } else {
        let reader = StreamReader::try_new(source, None).map_err(|error| out.wrong(error))?;
        let schema = reader.schema();
        send_arrow(&schema, reader, ignore, &mut out, sink)
    }
}

fn send_arrow(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ignore: &[String],
    out: &mut Out,
    sink: Sink<'_>,
) -> Result<(), DecodeError> {
    let kept = kept_columns(schema, ignore, out)?;
    for batch in batches {
        let batch = batch.and_then(|batch| batch.project(&kept)).map_err(|error| out.wrong(error))?;
        out.send(storable(batch, out)?, sink)?;
    }
    Ok(())
}

/// Returns the indexes of the columns that are read, all of which a table can hold.
fn kept_columns(schema: &Schema, ignore: &[String], out: &Out) -> Result<Vec<usize>, DecodeError> {
    if schema.fields().len() > COLUMNS_MAX {
        return Err(out.limit("columns_max", COLUMNS_MAX as u64, "columns", "its schema"));
    }
    let mut kept = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        if ignore.contains(field.name()) {
            continue;
        }
        if !is_null(field) && ColumnType::from_arrow(field.data_type()).is_none() {
            let what = format!(
                "no table can hold column `{}` of type {}; name it in `ignore` to leave it out",
                field.name(),
                field.data_type()
            );
            return Err(out.wrong(what));
        }
        kept.push(index);
    }
    Ok(kept)
}

fn is_null(field: &Field) -> bool {
    *field.data_type() == DataType::Null
}

/// Columns of type null, which have no values, become text without values.
fn storable(batch: RecordBatch, out: &Out) -> Result<RecordBatch, DecodeError> {
    if !batch.schema_ref().fields().iter().any(|field| is_null(field)) {
        return Ok(batch);
    }
    let rows = batch.num_rows();
    let (fields, columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if is_null(field) {
                let text = Arc::new(Field::new(field.name(), DataType::Utf8, true));
                (text, new_null_array(&DataType::Utf8, rows))
            } else {
                (Arc::clone(field), Arc::clone(column))
            }
        })
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| out.wrong(error))
}
