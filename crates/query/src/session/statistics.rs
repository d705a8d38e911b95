//! What is known about a data file without opening it: rows, nulls and bounds from the table's log, as DataFusion
//! wants them. Bounds may be wider than the values, never narrower.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use hambar_lake::DataFile;
use serde_json::{Map, Value};

/// Returns the value of a partition column, from the text that the log keeps; NULL for a missing or empty one.
pub(crate) fn partition_value(field: &Field, text: Option<&str>) -> ScalarValue {
    let null = || ScalarValue::try_from(field.data_type()).unwrap_or(ScalarValue::Null);
    match text {
        None | Some("") => null(),
        Some(text) => scalar_of_text(field.data_type(), text).unwrap_or_else(null),
    }
}

fn scalar_of_text(kind: &DataType, text: &str) -> Option<ScalarValue> {
    ScalarValue::from(text).cast_to(kind).ok()
}

/// Returns what the log says about `file`. The columns are those of `schema`: first the ones in the file, then the
/// partition columns, whose values are `partition`.
pub(crate) fn file_statistics(file: &DataFile, schema: &SchemaRef, partition: &[ScalarValue]) -> Statistics {
    let rows = usize::try_from(file.rows).unwrap_or(usize::MAX);
    let stored: Value = file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let part = |name: &str| stored.get(name).and_then(Value::as_object);
    let (lowest, highest, nulls) = (part("minValues"), part("maxValues"), part("nullCount"));
    let in_file = schema.fields().len().saturating_sub(partition.len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields().iter().take(in_file) {
        columns.push(ColumnStatistics {
            null_count: null_count(nulls, field.name()),
            min_value: bound(field, lowest, Side::Low),
            max_value: bound(field, highest, Side::High),
            ..ColumnStatistics::new_unknown()
        });
    }
    for value in partition {
        let bound = if value.is_null() { Precision::Absent } else { Precision::Exact(value.clone()) };
        columns.push(ColumnStatistics {
            null_count: Precision::Exact(if value.is_null() { rows } else { 0 }),
            min_value: bound.clone(),
            max_value: bound,
            ..ColumnStatistics::new_unknown()
        });
    }
    Statistics { num_rows: Precision::Exact(rows), total_byte_size: Precision::Absent, column_statistics: columns }
}

fn null_count(nulls: Option<&Map<String, Value>>, column: &str) -> Precision<usize> {
    let count = nulls.and_then(|nulls| nulls.get(column)).and_then(Value::as_u64);
    count.and_then(|count| usize::try_from(count).ok()).map_or(Precision::Absent, Precision::Exact)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Low,
    High,
}

fn bound(field: &Field, bounds: Option<&Map<String, Value>>, side: Side) -> Precision<ScalarValue> {
    let Some(value) = bounds.and_then(|bounds| bounds.get(field.name())) else {
        return Precision::Absent;
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Precision::Absent,
    };
    let Some(scalar) = scalar_of_text(field.data_type(), &text) else {
        return Precision::Absent;
    };
    match field.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 => {
            Precision::Exact(scalar)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) if has_microseconds(&text) => Precision::Exact(scalar),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Precision::Inexact(widened(scalar, side)),
        // Texts are cut, NaN is outside the bounds of its column, other writers round decimals.
        _ => Precision::Inexact(scalar),
    }
}

/// Delta allows bounds of instants to be cut to milliseconds.
fn has_microseconds(text: &str) -> bool {
    text.rsplit_once('.').is_some_and(|(_, fraction)| fraction.trim_end_matches('Z').len() >= 6)
}

fn widened(scalar: ScalarValue, side: Side) -> ScalarValue {
    match scalar {
        ScalarValue::TimestampMicrosecond(Some(at), zone) if side == Side::High => {
            ScalarValue::TimestampMicrosecond(Some(at.saturating_add(999)), zone)
        }
        other => other,
    }
}

/// The statistics of all files of a table, for leaving files out. Inexact bounds serve as well as exact ones.
#[derive(Debug)]
pub(crate) struct FileBounds<'a> {
    pub(crate) schema: &'a SchemaRef,
    pub(crate) files: &'a [Arc<Statistics>],
}

impl FileBounds<'_> {
    fn values(&self, column: &Column, of: fn(&ColumnStatistics) -> &Precision<ScalarValue>) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        let kind = self.schema.field(index).data_type();
        // Decimals and floats of other writers may be rounded inwards.
        if matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..)) {
            return None;
        }
        let null = ScalarValue::try_from(kind).ok()?;
        let values = self.files.iter().map(|file| {
            file.column_statistics
                .get(index)
                .and_then(|column| of(column).get_value().cloned())
                .unwrap_or_else(|| null.clone())
        });
        let array = ScalarValue::iter_to_array(values).ok()?;
        if array.data_type() == kind { Some(array) } else { cast(&array, kind).ok() }
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.min_value)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.max_value)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        let counts = self.files.iter().map(|file| {
            let count = file.column_statistics.get(index)?.null_count.get_value().copied()?;
            u64::try_from(count).ok()
        });
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.files.iter().map(|file| file.num_rows.get_value().and_then(|rows| u64::try_from(*rows).ok()));
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
