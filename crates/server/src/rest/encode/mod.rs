//! Batches as bytes, form by form. Each encoder holds little: what is encoded is handed on at once.

mod json;
mod xlsx;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use rust_xlsxwriter::XlsxError;

use super::format::Format;
use crate::front::{Source, terms};
use json::JsonEncoder;
use xlsx::XlsxEncoder;

/// Rows of a Parquet row group, which is held while it is made.
const ROW_GROUP_ROWS_MAX: usize = 128 * 1024;
/// Bytes of a Parquet row group in memory.
const ROW_GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is known before the first row.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The query's id.
    pub(crate) query: String,
    /// The columns.
    pub(crate) schema: SchemaRef,
    /// Whom to name.
    pub(crate) sources: Vec<Source>,
}

/// What is known after the last row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    /// Why rows are missing, if any are.
    pub(crate) truncated: Option<&'static str>,
    /// Where the next page is.
    pub(crate) next: Option<String>,
}

/// Why an answer could not be put into its form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("encode the rows")]
    Arrow(#[from] ArrowError),
    #[error("encode the rows as parquet")]
    Parquet(#[from] ParquetError),
    #[error("encode the rows as a workbook")]
    Xlsx(#[from] XlsxError),
    #[error("encode the rows")]
    Io(#[from] std::io::Error),
}

/// Puts the batches of one answer into a form.
pub(crate) enum Encoder {
    Json(JsonEncoder),
    Csv { schema: SchemaRef, is_started: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Xlsx(Box<XlsxEncoder>),
}

impl Encoder {
    /// Starts an answer.
    pub(crate) fn new(format: Format, head: &Head) -> Result<Self, EncodeError> {
        let schema = described(head);
        Ok(match format {
            Format::Json => Self::Json(JsonEncoder::object(head.clone())),
            Format::Ndjson => Self::Json(JsonEncoder::lines(head.clone())),
            Format::Csv => Self::Csv { schema: Arc::clone(&head.schema), is_started: false },
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
                    .set_created_by(concat!("hambar ", env!("CARGO_PKG_VERSION")).to_owned())
                    .build();
                let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
                writer.append_key_value_metadata(KeyValue::new(SOURCES.to_owned(), sources(head)));
                writer.append_key_value_metadata(KeyValue::new(TERMS.to_owned(), terms_of(&head.sources)));
                Self::Parquet(Box::new(writer))
            }
            Format::Xlsx => Self::Xlsx(Box::new(XlsxEncoder::new(head)?)),
        })
    }

    /// Takes a batch; returns what can be sent.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Json(json) => json.batch(batch),
            Self::Csv { schema, is_started } => csv(batch, schema, is_started),
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => {
                writer.write(batch)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES_MAX {
                    writer.flush()?;
                }
                Ok(std::mem::take(writer.inner_mut()))
            }
            Self::Xlsx(workbook) => {
                workbook.batch(batch)?;
                Ok(Vec::new())
            }
        }
    }

    /// Ends the answer; returns the rest.
    pub(crate) fn finish(self, tail: &Tail) -> Result<Rest, EncodeError> {
        let bytes = match self {
            Self::Xlsx(workbook) => return workbook.finish(tail).map(Rest::File),
            Self::Json(json) => json.finish(tail)?,
            Self::Csv { schema, mut is_started } => {
                // The header must be there even where no row is.
                csv(&RecordBatch::new_empty(Arc::clone(&schema)), &schema, &mut is_started)?
            }
            Self::Arrow(mut writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
            Self::Parquet(mut writer) => {
                if let Some(reason) = tail.truncated {
                    writer.append_key_value_metadata(KeyValue::new(TRUNCATED.to_owned(), reason.to_owned()));
                }
                writer.into_inner()?
            }
        };
        Ok(Rest::Bytes(bytes))
    }
}

/// The end of an answer.
pub(crate) enum Rest {
    /// A few bytes.
    Bytes(Vec<u8>),
    /// The whole answer.
    File(std::fs::File),
}

/// The key under which Arrow and Parquet carry the sources, as JSON.
pub(crate) const SOURCES: &str = "hambar.sources";
/// The key under which Arrow and Parquet carry the terms of the answer, as JSON.
pub(crate) const TERMS: &str = "hambar.terms";
/// The key under which Parquet says that rows are missing.
const TRUNCATED: &str = "hambar.truncated";

fn described(head: &Head) -> SchemaRef {
    with_sources(&head.schema, &head.sources)
}

/// The columns with whom to name, and on which terms.
pub(crate) fn with_sources(schema: &SchemaRef, sources: &[Source]) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.insert(SOURCES.to_owned(), as_json(sources));
    metadata.insert(TERMS.to_owned(), terms_of(sources));
    Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))
}

fn sources(head: &Head) -> String {
    as_json(&head.sources)
}

fn as_json(sources: &[Source]) -> String {
    serde_json::to_string(sources).unwrap_or_default()
}

/// What the licences of the sources ask of whoever passes the answer on, as JSON.
pub(crate) fn terms_of(sources: &[Source]) -> String {
    serde_json::to_string(&terms(sources)).unwrap_or_default()
}

fn csv(batch: &RecordBatch, schema: &SchemaRef, is_started: &mut bool) -> Result<Vec<u8>, EncodeError> {
    if *is_started && batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let mut writer = WriterBuilder::new().with_header(!*is_started).build(Vec::new());
    *is_started = true;
    writer.write(&batch.clone().with_schema(Arc::clone(schema))?)?;
    Ok(writer.into_inner())
}
