//! What Arrow's casts lose. They cut `1.5` to the integer 1, round decimals and drop the time of a date without a word;
//! here such a value is found by casting it back.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Returns the rows of `source` whose value is missing or another one in `column`, which was cast from it, with the
/// value as text. Instants are not looked at below the microsecond: the store has nothing finer.
pub(super) fn changed_rows(source: &ArrayRef, column: &ArrayRef) -> Result<Vec<(usize, String)>, ArrowError> {
    let is_changed = changed(source, column)?;
    let rows = (0..source.len()).filter(|row| source.is_valid(*row) && (column.is_null(*row) || is_changed(*row)));
    let rows: Vec<usize> = rows.collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let options = FormatOptions::default();
    let values = ArrayFormatter::try_new(source.as_ref(), &options)?;
    Ok(rows.into_iter().map(|row| (row, values.value(row).to_string())).collect())
}

type Changed = Box<dyn Fn(usize) -> bool>;

fn changed(source: &ArrayRef, column: &ArrayRef) -> Result<Changed, ArrowError> {
    let never = || -> Changed { Box::new(|_| false) };
    let (from, to) = (source.data_type(), column.data_type());
    let is_exact = matches!((from, to), (_, DataType::Utf8) | (DataType::Timestamp(_, _), DataType::Timestamp(_, _)));
    if from == to || is_exact {
        return Ok(never());
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let back = cast_with_options(column, from, &options)?;
    if from.is_floating() {
        // Compared as numbers: -0.0 may become 0.
        let (source, back) = (cast(source, &DataType::Float64)?, cast(&back, &DataType::Float64)?);
        return Ok(Box::new(move |row| {
            let (source, back) = (source.as_primitive::<Float64Type>(), back.as_primitive::<Float64Type>());
            let (before, after) = (source.value(row), back.value(row));
            back.is_null(row) || (before != after && !(before.is_nan() && after.is_nan()))
        }));
    }
    if source.to_data() == back.to_data() {
        return Ok(never());
    }
    let source = source.clone();
    Ok(Box::new(move |row| source.slice(row, 1).to_data() != back.slice(row, 1).to_data()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date64Array, Float64Array, Int64Array, ListArray, TimestampNanosecondArray};
    use arrow::datatypes::Int64Type;
    use hambar_core::ColumnType;

    use super::*;

    fn check(source: ArrayRef, kind: &str, expected: &[&str]) {
        let kind: ColumnType = kind.parse().unwrap();
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let column = cast_with_options(&source, &kind.to_arrow(), &options).unwrap();
        let found = changed_rows(&source, &column).unwrap();
        let found: Vec<String> = found.into_iter().map(|(row, value)| format!("{row}: {value}")).collect();
        assert_eq!(found, expected, "{kind}");
    }

    #[test]
    fn values_that_a_cast_would_change_are_found() {
        let floats =
            || Arc::new(Float64Array::from(vec![Some(1.5), Some(-0.0), None, Some(0.1), Some(1e30)])) as ArrayRef;
        check(floats(), "int64", &["0: 1.5", "3: 0.1", "4: 1e30"]);
        check(floats(), "decimal(10,1)", &["4: 1e30"]);
        check(floats(), "float64", &[]);
        check(floats(), "string", &[]);
        check(Arc::new(arrow::array::Float32Array::from(vec![f32::NAN, 2.7])), "float64", &[]);
        let large = || Arc::new(Int64Array::from(vec![Some(1), Some((1 << 53) + 1), None])) as ArrayRef;
        check(large(), "float64", &["1: 9007199254740993"]);
        check(large(), "int32", &["1: 9007199254740993"]);
        check(large(), "bool", &["1: 9007199254740993"]);
        let decimal = cast(&large(), &DataType::Decimal128(20, 2)).unwrap();
        check(decimal, "int64", &[]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(1 << 40)])]);
        check(Arc::new(lists), "list<float64>", &[]);
    }

    #[test]
    fn instants_lose_their_nanoseconds_but_dates_no_time() {
        let instants = TimestampNanosecondArray::from(vec![0, 1, 86_400_000_000_000]);
        check(Arc::new(instants.clone()), "timestamp", &[]);
        check(Arc::new(instants), "date", &["1: 1970-01-01T00:00:00.000000001"]);
        check(Arc::new(Date64Array::from(vec![0, 86_400_000])), "date", &[]);
    }
}
