//! Delta's file statistics from Parquet metadata: row count, nulls, and bounds of plain columns.
//!
//! Bounds may be wider than the values (texts are cut), never narrower. A column without safe bounds has none.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use jiff::Timestamp;
use jiff::civil::Date;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value};

/// Characters of a text kept as a bound.
const TEXT_CHARS_MAX: usize = 32;
/// Columns that get bounds; further ones only count nulls.
const COLUMNS_MAX: usize = 200;

/// Returns the statistics of a file as Delta's JSON text.
pub(crate) fn to_json(schema: &Schema, metadata: &ParquetMetaData) -> String {
    let mut lowest = Map::new();
    let mut highest = Map::new();
    let mut nulls = Map::new();
    let leaves = metadata.file_metadata().schema_descr().columns();
    for (index, leaf) in leaves.iter().enumerate().take(COLUMNS_MAX) {
        let [name] = leaf.path().parts() else {
            continue;
        };
        let Ok(field) = schema.field_with_name(name) else {
            continue;
        };
        let chunks: Option<Vec<&Statistics>> =
            metadata.row_groups().iter().map(|group| group.column(index).statistics()).collect();
        let Some(chunks) = chunks else {
            continue;
        };
        if let Some(count) = chunks.iter().map(|chunk| chunk.null_count_opt()).sum::<Option<u64>>() {
            nulls.insert(name.clone(), count.into());
        }
        if let Some((low, high)) = bounds(plain_type(field.data_type()), &chunks) {
            lowest.insert(name.clone(), low);
            highest.insert(name.clone(), high);
        }
    }
    let rows: i64 = metadata.file_metadata().num_rows();
    serde_json::json!({ "numRecords": rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls }).to_string()
}

fn plain_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn bounds(data_type: &DataType, chunks: &[&Statistics]) -> Option<(Value, Value)> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text_bounds(chunks),
        DataType::Float64 | DataType::Float32 => {
            let (low, high) = fold(chunks, float_bounds, f64::total_cmp)?;
            Some((finite(low)?, finite(high)?))
        }
        DataType::Boolean | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => None,
        other => {
            let (low, high) = fold(chunks, integer_bounds, Ord::cmp)?;
            Some((integer_value(other, low)?, integer_value(other, high)?))
        }
    }
}

fn fold<T: Copy>(
    chunks: &[&Statistics],
    of: impl Fn(&Statistics) -> Option<(T, T)>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Option<(T, T)> {
    let mut whole: Option<(T, T)> = None;
    for chunk in chunks.iter().filter(|chunk| !all_null(chunk)) {
        let (low, high) = of(chunk)?;
        whole = Some(match whole {
            None => (low, high),
            Some((lowest, highest)) => (
                if compare(&low, &lowest) == Ordering::Less { low } else { lowest },
                if compare(&high, &highest) == Ordering::Greater { high } else { highest },
            ),
        });
    }
    whole
}

fn all_null(chunk: &Statistics) -> bool {
    chunk.min_bytes_opt().is_none() && chunk.null_count_opt().is_some_and(|nulls| nulls > 0)
}

fn integer_bounds(chunk: &Statistics) -> Option<(i128, i128)> {
    match chunk {
        Statistics::Int32(values) => Some((i128::from(*values.min_opt()?), i128::from(*values.max_opt()?))),
        Statistics::Int64(values) => Some((i128::from(*values.min_opt()?), i128::from(*values.max_opt()?))),
        Statistics::FixedLenByteArray(values) => {
            Some((big_endian(values.min_opt()?.data())?, big_endian(values.max_opt()?.data())?))
        }
        _ => None,
    }
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first().filter(|_| bytes.len() <= 16)?;
    let mut wide = if first & 0x80 == 0 { [0_u8; 16] } else { [0xff_u8; 16] };
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn float_bounds(chunk: &Statistics) -> Option<(f64, f64)> {
    match chunk {
        Statistics::Double(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        Statistics::Float(values) => Some((f64::from(*values.min_opt()?), f64::from(*values.max_opt()?))),
        _ => None,
    }
}

fn finite(value: f64) -> Option<Value> {
    serde_json::Number::from_f64(value).map(Value::Number)
}

fn integer_value(data_type: &DataType, value: i128) -> Option<Value> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => i64::try_from(value).ok()?.into(),
        DataType::Date32 => {
            let days = jiff::Span::new().try_days(i64::try_from(value).ok()?).ok()?;
            Date::new(1970, 1, 1).ok()?.checked_add(days).ok()?.to_string().into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instant = Timestamp::from_microsecond(i64::try_from(value).ok()?).ok()?;
            let text = instant.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
            if zone.is_some() { format!("{text}Z").into() } else { text.into() }
        }
        DataType::Decimal128(_, scale) => serde_json::from_str(&decimal_text(value, *scale)?).ok()?,
        _ => return None,
    })
}

fn decimal_text(value: i128, scale: i8) -> Option<String> {
    let scale = usize::try_from(scale).ok()?;
    if scale == 0 {
        return Some(value.to_string());
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" }))
}

fn text_bounds(chunks: &[&Statistics]) -> Option<(Value, Value)> {
    let mut whole: Option<(&str, &str)> = None;
    for chunk in chunks.iter().filter(|chunk| !all_null(chunk)) {
        let low = std::str::from_utf8(chunk.min_bytes_opt()?).ok()?;
        let high = std::str::from_utf8(chunk.max_bytes_opt()?).ok()?;
        whole = Some(whole.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high))));
    }
    let (low, high) = whole?;
    let cut: String = low.chars().take(TEXT_CHARS_MAX).collect();
    let mut capped: String = high.chars().take(TEXT_CHARS_MAX).collect();
    if capped.len() < high.len() {
        // The highest character stands above whatever was cut off.
        capped.push(char::MAX);
    }
    if capped.as_str() < high {
        return None;
    }
    Some((cut.into(), capped.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for (value, scale, text) in [(0, 2, "0.00"), (-5, 2, "-0.05"), (12345, 2, "123.45"), (-7, 0, "-7")] {
            assert_eq!(decimal_text(value, scale).as_deref(), Some(text));
        }
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
    }
}
