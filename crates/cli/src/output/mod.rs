//! Results as text or files: each format streams, so that a result of any size needs the memory of one batch.

mod spreadsheet;
mod table;

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::AsArray;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::json::{ArrayWriter, LineDelimitedWriter};
use arrow::record_batch::RecordBatch;
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use table::TableWriter;

/// The forms in which rows can be put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people.
    Table,
    /// RFC 4180 with a header line; NULL is empty.
    Csv,
    /// CSV to be opened in a spreadsheet: texts that look like formulas get an apostrophe before them.
    Spreadsheet,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet, zstd.
    Parquet,
    /// Arrow IPC stream.
    Arrow,
}

impl Format {
    /// True for formats that must not go to a terminal.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

type Sink = Box<dyn Write + Send>;

/// Writes the batches of one result.
pub(crate) enum Output {
    Table(TableWriter<Sink>),
    Plan(Sink),
    Csv(Box<arrow::csv::Writer<Sink>>),
    Spreadsheet(Box<arrow::csv::Writer<Sink>>, SchemaRef),
    Json(ArrayWriter<Sink>),
    Ndjson(LineDelimitedWriter<Sink>),
    Parquet(Box<ArrowWriter<Sink>>),
    Arrow(Box<StreamWriter<Sink>>),
}

impl Output {
    /// Starts a result of `schema`.
    pub(crate) fn new(format: Format, sink: Sink, schema: &SchemaRef) -> Result<Self> {
        Ok(match format {
            // Plans are trees of lines, no cells.
            Format::Table if schema.fields().iter().map(|field| field.name()).eq(["plan_type", "plan"]) => {
                Self::Plan(sink)
            }
            Format::Table => Self::Table(TableWriter::new(sink, schema)),
            Format::Csv => Self::Csv(Box::new(csv(sink, schema)?)),
            Format::Spreadsheet => {
                let schema = spreadsheet::disarmed_schema(schema);
                Self::Spreadsheet(Box::new(csv(sink, &schema)?), schema)
            }
            Format::Json => Self::Json(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(sink)),
            Format::Ndjson => Self::Ndjson(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(sink)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by(concat!("hambar ", env!("CARGO_PKG_VERSION")).to_owned())
                    .build();
                Self::Parquet(Box::new(
                    ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties)).context("write parquet")?,
                ))
            }
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(sink, schema).context("write arrow")?)),
        })
    }

    /// Writes one batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Table(writer) => writer.write(batch).context("write table"),
            Self::Plan(sink) => plan(sink, batch),
            Self::Csv(writer) => writer.write(batch).context("write csv"),
            Self::Spreadsheet(writer, schema) => {
                writer.write(&spreadsheet::disarmed_batch(batch, schema)?).context("write csv")
            }
            Self::Json(writer) => writer.write(batch).context("write json"),
            Self::Ndjson(writer) => writer.write(batch).context("write ndjson"),
            Self::Parquet(writer) => writer.write(batch).context("write parquet"),
            Self::Arrow(writer) => writer.write(batch).context("write arrow"),
        }
    }

    /// Ends the result.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Table(writer) => writer.finish().context("write table"),
            Self::Plan(mut sink) => sink.flush().context("write plan"),
            Self::Csv(writer) | Self::Spreadsheet(writer, _) => writer.into_inner().flush().context("write csv"),
            Self::Json(mut writer) => {
                writer.finish().context("write json")?;
                let mut sink = writer.into_inner();
                sink.write_all(b"\n").and_then(|()| sink.flush()).context("write json")
            }
            Self::Ndjson(mut writer) => {
                writer.finish().context("write ndjson")?;
                writer.into_inner().flush().context("write ndjson")
            }
            Self::Parquet(writer) => {
                let mut sink = writer.into_inner().context("write parquet")?;
                sink.flush().context("write parquet")
            }
            Self::Arrow(mut writer) => {
                writer.finish().context("write arrow")?;
                writer.get_mut().flush().context("write arrow")
            }
        }
    }
}

/// Starts a CSV text. The header must be there even when no row follows.
fn csv(sink: Sink, schema: &SchemaRef) -> Result<arrow::csv::Writer<Sink>> {
    let mut writer = WriterBuilder::new().with_header(true).build(sink);
    writer.write(&RecordBatch::new_empty(Arc::clone(schema))).context("write csv")?;
    Ok(writer)
}

/// Writes the answer of EXPLAIN: for each kind of plan its name and its lines.
fn plan(sink: &mut Sink, batch: &RecordBatch) -> Result<()> {
    let (kinds, plans) = (batch.column(0).as_string_opt::<i32>(), batch.column(1).as_string_opt::<i32>());
    let (Some(kinds), Some(plans)) = (kinds, plans) else { anyhow::bail!("a plan that is no text") };
    for (kind, text) in kinds.iter().zip(plans.iter()) {
        writeln!(sink, "{}\n{}", kind.unwrap_or_default(), text.unwrap_or_default().trim_end())
            .context("write plan")?;
    }
    Ok(())
}

/// Prints one small result that a command made itself.
pub(crate) fn print(batch: &RecordBatch, format: Format) -> Result<()> {
    let mut output = Output::new(format, Box::new(std::io::stdout()), &batch.schema())?;
    output.write(batch)?;
    output.finish()
}
