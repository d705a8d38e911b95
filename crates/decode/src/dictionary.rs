//! Finds the few distinct values of a column while its batch is built. In statistics most columns repeat: a
//! dictionary makes them several times smaller to hand on and far cheaper to convert and write.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use xxhash_rust::xxh3::xxh3_64;

/// Slots of an empty table; a power of two.
const SLOTS_START: usize = 256;
/// No value.
const NONE: u32 = u32::MAX;

/// The distinct values seen so far, in order of appearance.
#[derive(Debug)]
pub(crate) struct Dictionary {
    values: Vec<u8>,
    /// Ends of the values, and 0 in front.
    offsets: Vec<i32>,
    hashes: Vec<u32>,
    /// For each value, the one that came after it the last time: runs and cycles are guessed right.
    successors: Vec<u32>,
    /// Open addressing by hash.
    slots: Vec<u32>,
    previous: u32,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            offsets: vec![0],
            hashes: Vec::new(),
            successors: Vec::new(),
            slots: vec![NONE; SLOTS_START],
            previous: NONE,
        }
    }
}

impl Dictionary {
    /// Forgets all values.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.offsets.truncate(1);
        self.hashes.clear();
        self.successors.clear();
        self.slots.truncate(SLOTS_START);
        self.slots.fill(NONE);
        self.previous = NONE;
    }

    /// Returns the number of distinct values.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Returns the value's number, a new one if it was not seen before.
    #[inline]
    pub(crate) fn id(&mut self, cell: &[u8]) -> i32 {
        let guess = self.successors.get(self.previous as usize).copied().unwrap_or(NONE);
        let id = if self.is(guess, cell) { guess } else { self.look_up(cell) };
        self.previous = id;
        id.cast_signed()
    }

    /// Returns the number that was returned last.
    #[inline]
    pub(crate) fn again(&self) -> i32 {
        self.previous.cast_signed()
    }

    /// Returns the value with a number.
    pub(crate) fn value(&self, id: i32) -> &[u8] {
        let id = id as usize;
        let ends = (self.offsets.get(id), self.offsets.get(id.wrapping_add(1)));
        let (Some(start), Some(end)) = ends else {
            return &[];
        };
        self.values.get(*start as usize..*end as usize).unwrap_or_default()
    }

    /// Makes the array; `keys` are numbers returned by [`Dictionary::id`] since the last [`Dictionary::clear`].
    pub(crate) fn array(&self, keys: Int32Array) -> Result<ArrayRef, ArrowError> {
        let values = strings(self.values.clone(), self.offsets.clone(), None)?;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
    }

    #[inline]
    fn is(&self, id: u32, cell: &[u8]) -> bool {
        let id = id as usize;
        match (self.offsets.get(id), self.offsets.get(id.wrapping_add(1))) {
            (Some(start), Some(end)) => {
                self.values.get(*start as usize..*end as usize).is_some_and(|value| are_equal(value, cell))
            }
            _ => false,
        }
    }

    fn look_up(&mut self, cell: &[u8]) -> u32 {
        let hash = xxh3_64(cell) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        let mut id = NONE;
        while let Some(found) = self.slots.get(slot).copied().filter(|found| *found != NONE) {
            if self.hashes.get(found as usize) == Some(&hash) && self.is(found, cell) {
                id = found;
                break;
            }
            slot = (slot + 1) & mask;
        }
        if id == NONE {
            id = self.add(cell, hash, slot);
        }
        if let Some(successor) = self.successors.get_mut(self.previous as usize) {
            *successor = id;
        }
        id
    }

    fn add(&mut self, cell: &[u8], hash: u32, slot: usize) -> u32 {
        let id = self.hashes.len() as u32;
        self.values.extend_from_slice(cell);
        self.offsets.push(self.values.len() as i32);
        self.hashes.push(hash);
        self.successors.push(id);
        if let Some(free) = self.slots.get_mut(slot) {
            *free = id;
        }
        if self.hashes.len() * 2 > self.slots.len() {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots.clear();
        self.slots.resize(mask + 1, NONE);
        for (id, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & mask;
            while self.slots.get(slot).is_some_and(|found| *found != NONE) {
                slot = (slot + 1) & mask;
            }
            if let Some(free) = self.slots.get_mut(slot) {
                *free = id as u32;
            }
        }
    }
}

/// Compares two cells. Most are short, and then a call of the system's comparison costs more than the comparison.
#[inline]
fn are_equal(left: &[u8], right: &[u8]) -> bool {
    fn ends<const N: usize>(left: &[u8], right: &[u8]) -> bool {
        left.first_chunk::<N>() == right.first_chunk::<N>() && left.last_chunk::<N>() == right.last_chunk::<N>()
    }
    if left.len() != right.len() {
        return false;
    }
    match left.len() {
        0..4 => left.iter().eq(right),
        4..8 => ends::<4>(left, right),
        8..=16 => ends::<8>(left, right),
        17..=32 => ends::<16>(left, right),
        _ => left == right,
    }
}

/// Makes a text array of values and their ends; the bytes are checked to be UTF-8.
pub(crate) fn strings(
    values: Vec<u8>,
    offsets: Vec<i32>,
    nulls: Option<arrow::buffer::NullBuffer>,
) -> Result<StringArray, ArrowError> {
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(values), nulls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_values_come_back() {
        let mut dictionary = Dictionary::default();
        for round in 0..3 {
            dictionary.clear();
            let cells: Vec<String> = (0..9000u32).map(|i| format!("v{}", (i * i) % (2000 + round))).collect();
            let keys: Vec<i32> = cells.iter().map(|cell| dictionary.id(cell.as_bytes())).collect();
            let array = dictionary.array(Int32Array::from(keys)).unwrap();
            let text = arrow::compute::cast(&array, &arrow::datatypes::DataType::Utf8).unwrap();
            let text = text.as_any().downcast_ref::<StringArray>().unwrap();
            assert!(text.iter().map(Option::unwrap).eq(cells.iter().map(String::as_str)));
            assert_eq!(dictionary.len(), cells.iter().collect::<std::collections::HashSet<_>>().len());
        }
    }
}
