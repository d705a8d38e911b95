//! The order in which a table's rows are kept: partition columns, then the key, then nothing else.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hambar_core::{StoreError, TableSpec};

use crate::error::rows;

/// Characters of a key value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// Columns that order rows, and whether they identify one.
#[derive(Debug, Clone)]
pub(crate) struct SortKey {
    label: String,
    columns: Vec<String>,
    converter: Arc<RowConverter>,
    /// True where no two rows of the table have the same values in these columns.
    pub(crate) unique: bool,
}

impl SortKey {
    /// The order of the table of `spec`, whose content columns are `content`. Without a key all columns count.
    pub(crate) fn of(spec: &TableSpec, content: &SchemaRef) -> Result<Self, StoreError> {
        let names = |columns: &[hambar_core::Ident]| columns.iter().map(ToString::to_string).collect::<Vec<_>>();
        Self::new(&spec.name.to_string(), &names(&spec.partition_by), &names(&spec.key), content)
    }

    /// The order of a table by the names of its partition and key columns.
    pub(crate) fn new(
        label: &str,
        partition_by: &[String],
        key: &[String],
        content: &SchemaRef,
    ) -> Result<Self, StoreError> {
        let mut columns = partition_by.to_vec();
        let unique = !key.is_empty();
        let rest =
            if unique { key.to_vec() } else { content.fields().iter().map(|field| field.name().clone()).collect() };
        for column in rest {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let converter = converter(&columns, content).map_err(|what| rows(label, what))?;
        Ok(Self { label: label.to_owned(), columns, converter: Arc::new(converter), unique })
    }

    /// The ordering columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Makes comparable rows of the ordering columns of `batch`.
    pub(crate) fn rows(&self, batch: &RecordBatch) -> Result<Rows, StoreError> {
        let columns: Option<Vec<_>> = self.columns.iter().map(|column| batch.column_by_name(column).cloned()).collect();
        let columns = columns.ok_or_else(|| rows(&self.label, "rows lack a key column"))?;
        self.converter.convert_columns(&columns).map_err(|error| rows(&self.label, error.to_string()))
    }

    /// Shows the key of one row, for messages.
    pub(crate) fn show(&self, batch: &RecordBatch, row: usize) -> String {
        let options = FormatOptions::default().with_null("NULL");
        let shown = self.columns.iter().map(|column| {
            let text = batch
                .column_by_name(column)
                .and_then(|array| {
                    ArrayFormatter::try_new(array.as_ref(), &options).ok().map(|f| f.value(row).to_string())
                })
                .unwrap_or_default();
            format!("{column} = {}", text.chars().take(SHOWN_CHARS_MAX).collect::<String>())
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn converter(columns: &[String], schema: &Schema) -> Result<RowConverter, String> {
    let fields: Result<Vec<SortField>, String> = columns
        .iter()
        .map(|column| {
            let field = schema.field_with_name(column).map_err(|error| error.to_string())?;
            Ok(SortField::new(field.data_type().clone()))
        })
        .collect();
    RowConverter::new(fields?).map_err(|error| format!("rows cannot be ordered: {error}"))
}
