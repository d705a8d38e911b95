//! Texts that a spreadsheet would take for formulas. A cell `=HYPERLINK(…)` of somebody's data must not run where the data
//! is opened; an apostrophe before it makes it the text that it is.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

/// What begins a formula in one spreadsheet or another.
const DANGEROUS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Returns the schema of batches that were disarmed: column names are cells, too.
pub(super) fn disarmed_schema(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let kind = if is_text(field.data_type()) { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(disarmed(field.name()), kind, field.is_nullable())
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Returns the batch with its texts disarmed.
pub(super) fn disarmed_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).context("disarm formulas")
}

fn column(column: &ArrayRef) -> Result<ArrayRef> {
    if !is_text(column.data_type()) {
        return Ok(Arc::clone(column));
    }
    let texts = cast(column, &DataType::Utf8).context("disarm formulas")?;
    let disarmed: StringArray = texts.as_string::<i32>().iter().map(|cell| cell.map(disarmed)).collect();
    Ok(Arc::new(disarmed))
}

fn disarmed(text: &str) -> String {
    let prefix = if text.starts_with(DANGEROUS) { "'" } else { "" };
    format!("{prefix}{text}")
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}
