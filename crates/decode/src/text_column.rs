//! A text column under construction: a dictionary as long as its values repeat, plain text otherwise.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use arrow::buffer::NullBuffer;
use arrow::error::ArrowError;

use crate::dictionary::{Dictionary, strings};

/// A column is a dictionary while it has at most one distinct value in so many rows.
const ROWS_PER_VALUE_MIN: usize = 4;
/// Rows after which the number of distinct values says something.
const LOOK_ROWS: usize = 1024;
/// Batches after which a column that was no dictionary is tried again.
const RETRY_BATCHES: u8 = 8;
/// Cells up to this length are copied in one fixed step, which takes fewer instructions than an exact copy.
pub(crate) const STEP_BYTES: usize = 16;

/// Builds the column of one batch after the other.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    /// Numbers of values in the dictionary, unless it is plain.
    keys: Vec<i32>,
    dictionary: Dictionary,
    /// Bytes of the cells, if it is plain.
    values: Vec<u8>,
    /// Ends of the cells, and 0 in front, if it is plain.
    offsets: Vec<i32>,
    is_plain: bool,
    /// Batches for which no dictionary is tried.
    pause: u8,
    /// Bytes that the last plain batch needed.
    size: usize,
}

impl TextColumn {
    /// Begins a batch.
    pub(crate) fn begin(&mut self) {
        let is_plain = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        self.is_plain = false;
        self.keys.clear();
        self.dictionary.clear();
        if is_plain {
            self.begin_plain();
        }
    }

    fn begin_plain(&mut self) {
        self.is_plain = true;
        self.values = Vec::with_capacity(self.size + self.size / 8 + STEP_BYTES);
        self.offsets = Vec::with_capacity(self.keys.len() + 1);
        self.offsets.push(0);
    }

    /// Says whether cells are kept one by one.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Adds a cell; the bytes are checked when the batch ends.
    #[inline]
    pub(crate) fn push(&mut self, cell: &[u8]) {
        if self.is_plain {
            self.values.extend_from_slice(cell);
            self.offsets.push(self.values.len() as i32);
        } else {
            self.keys.push(self.dictionary.id(cell));
        }
    }

    /// Adds a row without a value; the NULLs are handed over when the batch ends.
    #[inline]
    pub(crate) fn push_null(&mut self) {
        if self.is_plain { self.offsets.push(self.values.len() as i32) } else { self.keys.push(0) }
    }

    /// Adds the same cell as before to a column that is not plain.
    #[inline]
    pub(crate) fn push_again(&mut self) {
        self.keys.push(self.dictionary.again());
    }

    /// Adds a cell to a plain column; `step` begins with it and may go on behind it.
    #[inline]
    pub(crate) fn push_short(&mut self, cell: &[u8], step: &[u8; STEP_BYTES]) {
        if cell.len() <= STEP_BYTES {
            let end = self.values.len() + cell.len();
            self.values.extend_from_slice(step);
            self.values.truncate(end);
        } else {
            self.values.extend_from_slice(cell);
        }
        self.offsets.push(self.values.len() as i32);
    }

    /// Gives the dictionary up where it does not pay.
    pub(crate) fn look(&mut self) {
        if !self.is_plain && self.keys.len() >= LOOK_ROWS && self.has_many_values() {
            self.give_up();
            self.pause = RETRY_BATCHES;
        }
    }

    fn has_many_values(&self) -> bool {
        self.dictionary.len() * ROWS_PER_VALUE_MIN > self.keys.len()
    }

    fn give_up(&mut self) {
        self.begin_plain();
        for key in &self.keys {
            self.values.extend_from_slice(self.dictionary.value(*key));
            self.offsets.push(self.values.len() as i32);
        }
    }

    /// Ends the batch.
    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        self.look();
        if !self.is_plain && self.has_many_values() {
            // A short batch says little about the next one.
            self.give_up();
        }
        if self.is_plain {
            self.size = self.values.len();
            let (values, offsets) = (std::mem::take(&mut self.values), std::mem::take(&mut self.offsets));
            return Ok(Arc::new(strings(values, offsets, nulls)?));
        }
        let keys = Int32Array::try_new(std::mem::take(&mut self.keys).into(), nulls)?;
        self.dictionary.array(keys)
    }
}
