//! A fingerprint of a table's content that depends on neither row order, file layout nor column order.
//!
//! Each cell that is not NULL is hashed (XXH3-64, seeded with its column's name); a row's hash is the wrapping sum
//! of its cells' hashes, spread to 128 bits; the fingerprint is the wrapping sum over rows, with their number. NULL
//! adds nothing, so a new column full of NULL keeps the fingerprint. It finds accidents (a lost, doubled or changed
//! row), not forgers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use arrow::error::ArrowError;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

/// The fingerprint of a set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Number of rows.
    pub rows: u64,
    /// Wrapping sum of the rows' hashes.
    pub sum: u128,
}

impl Fingerprint {
    /// Adds the rows of `batch`, looking only at columns that `wanted` names (all that do not start with `_`, for
    /// a table's content).
    ///
    /// # Errors
    /// For an Arrow type that the store never holds.
    pub fn add(&mut self, batch: &RecordBatch, wanted: impl Fn(&str) -> bool) -> Result<(), ArrowError> {
        for hash in row_hashes(batch, wanted)? {
            self.sum = self.sum.wrapping_add(xxh3_128(&hash.to_le_bytes()));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Joins the fingerprints of two disjoint sets of rows.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }

    /// Takes rows away that were part of this set.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { rows: self.rows.saturating_sub(other.rows), sum: self.sum.wrapping_sub(other.sum) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{:032x}", self.rows, self.sum)
    }
}

impl FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rows, sum) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { rows: rows.parse()?, sum: u128::from_str_radix(sum, 16)? })
    }
}

/// Returns a 64-bit hash per row over the columns that `wanted` names. Equal content gives equal hashes.
///
/// # Errors
/// For an Arrow type that the store never holds.
pub fn row_hashes(batch: &RecordBatch, wanted: impl Fn(&str) -> bool) -> Result<Vec<u64>, ArrowError> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if wanted(field.name()) {
            add_column(column, xxh3_64(field.name().as_bytes()), &mut hashes)?;
        }
    }
    Ok(hashes)
}

/// The type in which values of another one are hashed, so that equal values have equal hashes.
fn hashed_as(kind: &DataType) -> Option<DataType> {
    let micros = |zone: &Option<Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    Some(match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            DataType::Int64
        }
        DataType::Time32(_) => DataType::Int32,
        DataType::Time64(_) | DataType::Duration(_) => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => micros(&None),
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => micros(zone),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => DataType::List(Arc::clone(item)),
        _ => return None,
    })
}

fn add_column(column: &ArrayRef, seed: u64, hashes: &mut [u64]) -> Result<(), ArrowError> {
    if let Some(plain) = hashed_as(column.data_type()) {
        return add_column(&cast(column, &plain)?, seed, hashes);
    }
    let fixed = |value: i64| xxh3_64_with_seed(&value.to_le_bytes(), seed);
    match column.data_type() {
        DataType::Utf8 => {
            add_cells(column.as_string::<i32>().iter(), hashes, |text| xxh3_64_with_seed(text.as_bytes(), seed))
        }
        DataType::Binary => add_cells(column.as_binary::<i32>().iter(), hashes, |bytes| xxh3_64_with_seed(bytes, seed)),
        DataType::Int64 => add_cells(column.as_primitive::<Int64Type>().iter(), hashes, fixed),
        DataType::Date32 => {
            add_cells(column.as_primitive::<Date32Type>().iter(), hashes, |days| fixed(i64::from(days)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            add_cells(column.as_primitive::<TimestampMicrosecondType>().iter(), hashes, fixed);
        }
        DataType::Boolean => add_cells(column.as_boolean().iter(), hashes, |value| fixed(i64::from(value))),
        DataType::Float64 => add_cells(column.as_primitive::<Float64Type>().iter(), hashes, |value| {
            // -0.0 and 0.0 are equal to a reader; all NaN are one.
            let value = if value == 0.0 {
                0.0
            } else if value.is_nan() {
                f64::NAN
            } else {
                value
            };
            fixed(i64::from_le_bytes(value.to_bits().to_le_bytes()))
        }),
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            add_cells(column.as_primitive::<Decimal128Type>().iter(), hashes, |value| {
                let (value, scale) = canonical_decimal(value, scale);
                let mut bytes = [0_u8; 17];
                bytes[..16].copy_from_slice(&value.to_le_bytes());
                bytes[16] = scale.to_le_bytes()[0];
                xxh3_64_with_seed(&bytes, seed)
            });
        }
        DataType::UInt64 => {
            add_cells(column.as_primitive::<UInt64Type>().iter(), hashes, |value| match i64::try_from(value) {
                Ok(value) => fixed(value),
                Err(_) => xxh3_64_with_seed(&i128::from(value).to_le_bytes(), seed),
            })
        }
        // All NULL, which adds nothing.
        DataType::Null => {}
        DataType::Dictionary(_, value) => add_dictionary(column, value, seed, hashes)?,
        DataType::List(_) => add_list(column, seed, hashes)?,
        DataType::Struct(_) => add_struct(column, seed, hashes)?,
        other => return Err(ArrowError::NotYetImplemented(format!("fingerprint of a column of type {other}"))),
    }
    Ok(())
}

fn add_cells<T>(cells: impl Iterator<Item = Option<T>>, hashes: &mut [u64], hash: impl Fn(T) -> u64) {
    for (cell, sum) in cells.zip(hashes) {
        if let Some(cell) = cell {
            *sum = sum.wrapping_add(hash(cell));
        }
    }
}

fn canonical_decimal(mut value: i128, mut scale: i8) -> (i128, i8) {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    (value, scale)
}

fn add_dictionary(column: &ArrayRef, value: &DataType, seed: u64, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let dictionary = column.as_any_dictionary();
    let values = cast(dictionary.values(), value)?;
    let mut value_hashes = vec![0_u64; values.len()];
    add_column(&values, seed, &mut value_hashes)?;
    if let Some(keys) = dictionary.keys().as_primitive_opt::<Int32Type>() {
        let lookup = |key: i32| value_hashes.get(key as usize).copied().unwrap_or(0);
        add_cells(keys.iter(), hashes, lookup);
        return Ok(());
    }
    let keys = cast(dictionary.keys(), &DataType::Int64)?;
    let lookup = |key: i64| usize::try_from(key).ok().and_then(|key| value_hashes.get(key)).copied().unwrap_or(0);
    add_cells(keys.as_primitive::<Int64Type>().iter(), hashes, lookup);
    Ok(())
}

fn add_list(column: &ArrayRef, seed: u64, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let list = column.as_list::<i32>();
    let mut items = vec![0_u64; list.values().len()];
    add_column(list.values(), seed, &mut items)?;
    for (row, window) in list.offsets().windows(2).enumerate() {
        if list.is_null(row) {
            continue;
        }
        let range = usize::try_from(window[0]).unwrap_or(0)..usize::try_from(window[1]).unwrap_or(0);
        // Order matters inside a list, so its items are chained.
        let chained = items[range].iter().fold(seed, |hash, item| xxh3_64_with_seed(&item.to_le_bytes(), hash));
        hashes[row] = hashes[row].wrapping_add(xxh3_64_with_seed(&chained.to_le_bytes(), seed));
    }
    Ok(())
}

fn add_struct(column: &ArrayRef, seed: u64, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let record = column.as_struct();
    let mut inner = vec![seed; record.len()];
    for (field, child) in record.fields().iter().zip(record.columns()) {
        add_column(child, xxh3_64_with_seed(field.name().as_bytes(), seed), &mut inner)?;
    }
    for (row, hash) in inner.into_iter().enumerate().filter(|(row, _)| record.is_valid(*row)) {
        hashes[row] = hashes[row].wrapping_add(xxh3_64_with_seed(&hash.to_le_bytes(), seed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, DurationSecondArray, Int64Array, NullArray, StringArray, UInt64Array};

    use super::*;

    fn of(batch: &RecordBatch) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(batch, |name| !name.starts_with('_')).unwrap();
        fingerprint
    }

    fn batch(texts: Vec<Option<&str>>, numbers: Vec<Option<i64>>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(StringArray::from(texts)) as ArrayRef, true),
            ("b", Arc::new(Int64Array::from(numbers)) as ArrayRef, true),
        ])
        .unwrap()
    }

    #[test]
    fn order_and_split_do_not_matter_but_cells_do() {
        let whole = of(&batch(vec![Some("x"), Some("y"), None], vec![Some(1), None, Some(3)]));
        let shuffled = of(&batch(vec![None, Some("x"), Some("y")], vec![Some(3), Some(1), None]));
        assert_eq!(whole, shuffled);
        let first = of(&batch(vec![Some("x")], vec![Some(1)]));
        let rest = of(&batch(vec![Some("y"), None], vec![None, Some(3)]));
        assert_eq!(first.plus(rest), whole);
        assert_eq!(whole.minus(rest), first);
        assert_ne!(whole, of(&batch(vec![Some("y"), Some("x"), None], vec![Some(1), None, Some(3)])));
        assert_eq!(whole.to_string().parse::<Fingerprint>().unwrap(), whole);
    }

    #[test]
    fn dictionaries_count_as_their_values() {
        let plain =
            RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(vec!["x", "y", "x"])) as ArrayRef)]).unwrap();
        let keys: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
        let encoded = RecordBatch::try_from_iter([("a", Arc::new(keys) as ArrayRef)]).unwrap();
        assert_eq!(of(&plain), of(&encoded));
    }

    #[test]
    fn results_of_queries_have_types_that_no_table_has() {
        let of = |column: ArrayRef| of(&RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap());
        let signed = of(Arc::new(Int64Array::from(vec![1, 2])));
        assert_eq!(signed, of(Arc::new(UInt64Array::from(vec![1, 2]))));
        assert_eq!(signed, of(Arc::new(DurationSecondArray::from(vec![2, 1]))));
        assert_ne!(of(Arc::new(UInt64Array::from(vec![u64::MAX]))), of(Arc::new(Int64Array::from(vec![-1]))));
        assert_eq!(
            of(Arc::new(NullArray::new(2))).to_string(),
            of(Arc::new(Int64Array::from(vec![None, None]))).to_string()
        );
    }
}
