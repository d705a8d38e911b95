//! Turns the cells of a piece into Arrow text columns, one column after the other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use arrow::buffer::NullBuffer;
use arrow::error::ArrowError;

use crate::csv::cell::Span;
use crate::csv::dialect::Dialect;
use crate::csv::dictionary::{Dictionary, strings};

/// A column is a dictionary while it has at most one distinct value in so many rows.
const ROWS_PER_VALUE_MIN: usize = 4;
/// Rows between two looks at the number of distinct values; a power of two.
const LOOK_ROWS: usize = 1024;
/// Batches after which a column that was no dictionary is tried again.
const RETRY_BATCHES: u8 = 8;

/// Builds the columns of one batch after the other.
#[derive(Debug)]
pub(crate) struct Builder {
    dictionary: Dictionary,
    scratch: Vec<u8>,
    /// For each column, the batches for which no dictionary is tried.
    plain: Vec<u8>,
    /// For each column, the bytes that the last plain batch needed.
    sizes: Vec<usize>,
}

impl Builder {
    /// Makes a builder for so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            dictionary: Dictionary::default(),
            scratch: Vec::new(),
            plain: vec![0; columns],
            sizes: vec![0; columns],
        }
    }

    /// Builds the arrays. `spans` holds the cells row by row; `absent` says that some are absent.
    pub(crate) fn columns(
        &mut self,
        text: &[u8],
        spans: &[Span],
        absent: bool,
        dialect: &Dialect,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let columns = self.plain.len();
        let rows = spans.len() / columns.max(1);
        let mut arrays = Vec::with_capacity(columns);
        for column in 0..columns {
            let cells = Cells { text, spans, column, columns, rows, dialect };
            let nulls = absent.then(|| cells.nulls()).flatten();
            let array = match self.try_dictionary(&cells, nulls.as_ref())? {
                Some(array) => array,
                None => self.plain(&cells, nulls)?,
            };
            arrays.push(array);
        }
        Ok(arrays)
    }

    fn try_dictionary(&mut self, cells: &Cells, nulls: Option<&NullBuffer>) -> Result<Option<ArrayRef>, ArrowError> {
        let Some(pause) = self.plain.get_mut(cells.column) else {
            return Ok(None);
        };
        if *pause > 0 {
            *pause -= 1;
            return Ok(None);
        }
        self.dictionary.clear();
        let mut keys = Vec::with_capacity(cells.rows);
        for span in cells.spans() {
            keys.push(self.dictionary.id(span.value(cells.text, cells.dialect, &mut self.scratch)));
            if keys.len() % LOOK_ROWS == 0 && self.dictionary.len() * ROWS_PER_VALUE_MIN > keys.len() {
                *pause = RETRY_BATCHES;
                return Ok(None);
            }
        }
        if self.dictionary.len() * ROWS_PER_VALUE_MIN > keys.len() {
            return Ok(None);
        }
        let keys = Int32Array::try_new(keys.into(), nulls.cloned())?;
        self.dictionary.array(keys).map(Some)
    }

    fn plain(&mut self, cells: &Cells, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let size = self.sizes.get(cells.column).copied().unwrap_or_default();
        let mut values = Vec::with_capacity(size + size / 8);
        let mut offsets = Vec::with_capacity(cells.rows + 1);
        offsets.push(0);
        for span in cells.spans() {
            values.extend_from_slice(span.value(cells.text, cells.dialect, &mut self.scratch));
            offsets.push(values.len() as i32);
        }
        if let Some(size) = self.sizes.get_mut(cells.column) {
            *size = values.len();
        }
        Ok(Arc::new(strings(values, offsets, nulls)?))
    }
}

/// The cells of one column.
struct Cells<'a> {
    text: &'a [u8],
    spans: &'a [Span],
    column: usize,
    columns: usize,
    rows: usize,
    dialect: &'a Dialect,
}

impl<'a> Cells<'a> {
    fn spans(&self) -> impl Iterator<Item = Span> + use<'a> {
        self.spans.get(self.column..).unwrap_or_default().iter().step_by(self.columns.max(1)).copied()
    }

    fn nulls(&self) -> Option<NullBuffer> {
        let valid: Vec<bool> = self.spans().map(|span| !span.is_absent()).collect();
        let nulls = NullBuffer::from(valid);
        (nulls.null_count() > 0).then_some(nulls)
    }
}
