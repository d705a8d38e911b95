//! Rows meet the table's columns: what drift added or widened changes the table's spec, what a batch lacks is NULL.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::{ColumnSpec, ColumnType, Ident, TableSpec};
use hambar_decode::DecodeReport;
use hambar_decode::spec::DecodeJob;

/// A spec that takes a batch, and what was changed for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Widened {
    pub(crate) spec: TableSpec,
    pub(crate) changes: Vec<String>,
}

/// Returns the spec that `batch` needs, or `None` where `spec` takes it as it is. Whether the spec may change is the
/// caller's part.
pub(crate) fn widen(spec: &TableSpec, batch: &RecordBatch) -> Result<Option<Widened>, String> {
    let mut wide = spec.clone();
    let mut changes = Vec::new();
    for field in batch.schema_ref().fields() {
        let kind = ColumnType::from_arrow(field.data_type()).ok_or_else(|| {
            format!("column `{}` has the type {}, which the store cannot keep", field.name(), field.data_type())
        })?;
        match wide.columns.iter_mut().find(|column| column.name.as_str() == field.name()) {
            Some(column) if column.kind.widens_to(&kind) => {
                changes.push(format!("{}: {} → {kind}", column.name, column.kind));
                column.kind = kind;
            }
            // A narrower type is cast up by `align`.
            Some(column) if column.kind == kind || kind.widens_to(&column.kind) => {}
            Some(column) => {
                return Err(format!(
                    "column `{}` has values of type {} and of type {kind}, and neither can become the other without loss; \
                     declare it wide enough for both",
                    column.name, column.kind
                ));
            }
            None => wide.columns.push(added_column(field, kind)?),
        }
    }
    Ok((wide != *spec).then_some(Widened { spec: wide, changes }))
}

fn added_column(field: &Field, kind: ColumnType) -> Result<ColumnSpec, String> {
    let name: Ident = field.name().parse().map_err(|error| format!("an added column: {error}"))?;
    let mut column = ColumnSpec::new(&name, kind);
    if let Some(source_name) = field.metadata().get("source_name") {
        column.source_name.clone_from(source_name);
    }
    Ok(column)
}

/// Puts the columns of `batch` in the order of `spec`, with NULL for those that it lacks. [`widen`] says that it fits.
pub(crate) fn align(spec: &TableSpec, batch: &RecordBatch) -> Result<RecordBatch, String> {
    let fits = |column: &ColumnSpec, field: &Field| {
        column.name.as_str() == field.name() && ColumnType::from_arrow(field.data_type()).as_ref() == Some(&column.kind)
    };
    let is_aligned = spec.columns.len() == batch.num_columns()
        && spec.columns.iter().zip(batch.schema_ref().fields()).all(|(column, field)| fits(column, field));
    if is_aligned {
        return Ok(batch.clone());
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for column in &spec.columns {
        let field = column.to_field();
        match batch.column_by_name(column.name.as_str()) {
            Some(array) if ColumnType::from_arrow(array.data_type()).as_ref() == Some(&column.kind) => {
                fields.push(field.with_data_type(array.data_type().clone()));
                columns.push(Arc::clone(array));
            }
            Some(array) => {
                columns.push(cast(array, field.data_type()).map_err(|error| error.to_string())?);
                fields.push(field);
            }
            None => {
                columns.push(new_null_array(field.data_type(), batch.num_rows()));
                fields.push(field);
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| error.to_string())
}

/// Fills the columns of rejected rows that the decoder cannot know.
pub(crate) fn stamp_rejects(
    batch: &RecordBatch,
    run: &str,
    recorded_at: jiff::Timestamp,
    source: &str,
) -> Result<RecordBatch, String> {
    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    let rows = batch.num_rows();
    let text = |value: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))) as ArrayRef;
    let mut columns = batch.columns().to_vec();
    for (field, column) in batch.schema_ref().fields().iter().zip(&mut columns) {
        match field.name().as_str() {
            "run" => *column = text(run),
            "source" => *column = text(source),
            "recorded_at" => {
                let instants = std::iter::repeat_n(recorded_at.as_microsecond(), rows);
                *column = Arc::new(TimestampMicrosecondArray::from_iter_values(instants).with_timezone("UTC"));
            }
            _ => {}
        }
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| error.to_string())
}

/// Returns the columns of the key that a decoded body did not have, as the source calls them. In a sparse format they may be
/// empty everywhere.
pub(crate) fn lost_keys(spec: &TableSpec, job: &DecodeJob, report: &DecodeReport) -> Vec<String> {
    if job.format.kind.is_sparse() {
        return Vec::new();
    }
    let keys = job.columns.iter().filter(|rule| spec.key.contains(&rule.name));
    let names = keys.map(|rule| rule.source.clone().unwrap_or_else(|| rule.name.to_string()));
    names.filter(|name| report.columns_missing.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
    use hambar_core::{Licence, OnDrift, Origin, Redistribution, WriteMode};

    use super::*;

    fn spec(columns: &[(&str, &str)]) -> TableSpec {
        let licence = Licence { spdx: "CC0-1.0".to_owned(), redistribution: Redistribution::Allowed };
        let (provider, title, citation) = ("p".to_owned(), "t".to_owned(), "c".to_owned());
        TableSpec {
            name: "a.b".parse().unwrap(),
            columns: columns
                .iter()
                .map(|(name, kind)| ColumnSpec::new(&name.parse().unwrap(), kind.parse().unwrap()))
                .collect(),
            key: vec![],
            partition_by: vec![],
            write: WriteMode::Snapshot,
            on_drift: OnDrift::Widen,
            origin: Origin { provider, title, citation, landing_page: None, licence },
            description: None,
        }
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn added_and_wider_columns_change_the_spec_and_narrower_ones_are_cast() {
        let narrow = batch(vec![("n", Arc::new(Int32Array::from(vec![1])))]);
        let wide =
            batch(vec![("n", Arc::new(Int64Array::from(vec![2]))), ("x", Arc::new(StringArray::from(vec!["y"])))]);
        let declared = spec(&[("n", "int32")]);
        assert_eq!(widen(&declared, &narrow).unwrap(), None);
        let widened = widen(&declared, &wide).unwrap().unwrap();
        assert_eq!(widened.spec, spec(&[("n", "int64"), ("x", "string")]));
        assert_eq!(widened.changes, ["n: int32 → int64"]);
        assert_eq!(widen(&widened.spec, &narrow).unwrap(), None);
        let aligned = align(&widened.spec, &narrow).unwrap();
        assert_eq!(aligned.schema().fields().len(), 2);
        assert_eq!(aligned.column(0).as_ref(), &Int64Array::from(vec![1]) as &dyn arrow::array::Array);
        assert_eq!(aligned.column(1).null_count(), 1);
    }

    #[test]
    fn types_that_cannot_be_one_are_named() {
        let text = batch(vec![("n", Arc::new(StringArray::from(vec!["x"])))]);
        let refused = widen(&spec(&[("n", "int32")]), &text).unwrap_err();
        assert!(refused.starts_with("column `n` has values of type int32 and of type string"), "{refused}");
    }
}
