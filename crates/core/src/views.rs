//! Finds the different values of a text column by its views alone.
//!
//! Columns read from Parquet's dictionaries have the same view (length, buffer and offset, or the whole of a short text) in
//! all rows with one value, so that 16 bytes are compared and no text is read. Two views of equal texts may differ.

use arrow::array::{Array, Int32Array, StringViewArray, UInt32Array, UInt64Array};

/// Slots of the table of views; a power of two.
const SLOTS: usize = 4096;
/// Values above which a column has too many, so that the table stays half empty.
const VALUES_MAX: usize = SLOTS / 2;
/// Rows after which a column with mostly different values is given up.
const TRIAL_ROWS: usize = 512;

/// The different values of a column.
#[derive(Debug)]
pub struct DifferentViews {
    /// The first row of each value.
    pub first_rows: UInt32Array,
    /// The value of each row.
    pub of_rows: UInt32Array,
}

/// No text is so long that its view looks like this.
const NO_VIEW: u128 = u128::MAX;

/// The values found so far.
struct Table {
    /// Each value's number, counted from 1, at the place of its hash or behind; 0 is free.
    slots: Box<[u16; SLOTS]>,
    /// The views by number; that of number 0 is no view.
    views: Vec<u128>,
    first_rows: Vec<u32>,
}

impl DifferentViews {
    /// Finds them; `None` where there are more than about two thousand, or mostly different ones. NULL is a value, too.
    #[must_use]
    pub fn find(column: &StringViewArray) -> Option<Self> {
        let mut table = Table { slots: Box::new([0; SLOTS]), views: vec![NO_VIEW], first_rows: Vec::new() };
        let views = column.views();
        let mut of_rows = vec![0_u32; views.len()];
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => table.number_all(views, &mut of_rows)?,
            Some(nulls) => {
                let mut null = None;
                for (row, (view, value)) in views.iter().zip(&mut of_rows).enumerate() {
                    *value = match nulls.is_null(row) {
                        true => *null.get_or_insert_with(|| table.append(NO_VIEW, row)),
                        false => table.number(*view, row)?,
                    };
                }
            }
        }
        Some(Self { first_rows: table.first_rows.into(), of_rows: of_rows.into() })
    }
}

/// Returns the keys of a dictionary with `null` in place of NULL; nothing where that is too large for a key.
#[must_use]
pub fn numbers_with_null(keys: &Int32Array, null: usize) -> Option<Int32Array> {
    let null = i32::try_from(null).ok()?;
    Some(Int32Array::from_iter_values(keys.iter().map(|key| key.unwrap_or(null))))
}

/// Bits of a code in a number of several codes.
pub const PACKED_BITS: u32 = 16;

/// Returns codes side by side, row by row, the first in the lowest bits; nothing where they do not fit, are NULL, or are of
/// different lengths.
#[must_use]
pub fn packed(codes: &[&UInt32Array]) -> Option<UInt64Array> {
    let rows = codes.first()?.len();
    let mut numbers = vec![0_u64; rows];
    for (place, codes) in (0..).zip(codes) {
        let shift = PACKED_BITS * place;
        if codes.len() != rows || codes.null_count() > 0 || shift >= u64::BITS {
            return None;
        }
        let mut all = 0;
        for (number, code) in numbers.iter_mut().zip(codes.values()) {
            all |= code;
            *number |= u64::from(*code) << shift;
        }
        if all >> PACKED_BITS != 0 {
            return None;
        }
    }
    Some(numbers.into())
}

impl Table {
    /// Numbers the values of rows without NULL. Not even equal neighbours are treated apart: where values alternate, a
    /// branch that guesses wrong costs more than a look at the table.
    fn number_all(&mut self, views: &[u128], of_rows: &mut [u32]) -> Option<()> {
        for (row, (view, value)) in views.iter().zip(of_rows).enumerate() {
            *value = self.number(*view, row)?;
        }
        Some(())
    }

    #[inline]
    fn number(&mut self, view: u128, row: usize) -> Option<u32> {
        let folded = (view as u64) ^ ((view >> 64) as u64).rotate_left(29);
        // The highest bits depend on all others; a short text's last characters are among the highest themselves.
        let place = (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SLOTS.ilog2())) as usize % SLOTS;
        let number = self.slots[place];
        if self.views[number as usize] == view {
            return Some(u32::from(number) - 1);
        }
        self.number_behind(view, row, place)
    }

    /// Looks at `place` and behind it, and makes a new value of what is nowhere.
    #[cold]
    fn number_behind(&mut self, view: u128, row: usize, mut place: usize) -> Option<u32> {
        loop {
            match self.slots[place] {
                0 => break,
                number if self.views[number as usize] == view => return Some(u32::from(number) - 1),
                _ => place = (place + 1) % SLOTS,
            }
        }
        let found = self.first_rows.len();
        if found >= VALUES_MAX || (row >= TRIAL_ROWS && found > row / 2) {
            return None;
        }
        let value = self.append(view, row);
        self.slots[place] = value as u16 + 1;
        Some(value)
    }

    fn append(&mut self, view: u128, row: usize) -> u32 {
        self.views.push(view);
        self.first_rows.push(row as u32);
        self.first_rows.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[Option<String>]) {
        let column = StringViewArray::from_iter(texts.iter().map(Option::as_deref));
        let found = DifferentViews::find(&column).unwrap();
        assert_eq!(found.of_rows.len(), texts.len());
        for (text, value) in texts.iter().zip(found.of_rows.values()) {
            assert_eq!(&texts[found.first_rows.value(*value as usize) as usize], text);
        }
    }

    #[test]
    fn every_row_finds_its_value() {
        check(&[]);
        check(&[None]);
        check(&(0..5000).map(|n| Some(format!("{}", n % 10))).collect::<Vec<_>>());
        check(&(0..5000).map(|n| (n % 3 > 0).then(|| format!("{}", n / 40))).collect::<Vec<_>>());
        check(&(0..9000).map(|n| Some(format!("longer than a view holds {}", n % 2))).collect::<Vec<_>>()[..400]);
    }

    #[test]
    fn null_has_a_number_of_its_own() {
        let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
        assert_eq!(numbers_with_null(&keys, 2).unwrap(), Int32Array::from(vec![1, 2, 0]));
        assert!(numbers_with_null(&keys, usize::MAX).is_none());
    }

    #[test]
    fn codes_stand_side_by_side() {
        let (low, high) = (UInt32Array::from(vec![7, 0, 65_535]), UInt32Array::from(vec![0, 1, 65_535]));
        assert_eq!(packed(&[&low, &high]).unwrap().values().to_vec(), [7, 1 << 16, 0xffff_ffff]);
        assert!(packed(&[&UInt32Array::from(vec![65_536])]).is_none());
        assert!(packed(&[&low, &UInt32Array::from(vec![1])]).is_none());
        assert!(packed(&[&low, &low, &low, &low, &low]).is_none());
        assert!(packed(&[]).is_none());
    }

    #[test]
    fn too_many_values_are_left() {
        let many = |of: usize| StringViewArray::from_iter_values((0..20_000).map(|n| (n % of).to_string()));
        assert!(DifferentViews::find(&many(20_000)).is_none());
        assert!(DifferentViews::find(&many(VALUES_MAX + 1)).is_none());
        assert!(DifferentViews::find(&many(500)).is_some());
    }
}
