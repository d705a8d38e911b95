//! Turns the cells of a piece into Arrow text columns, block by block and one column after the other.

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::error::ArrowError;

use crate::csv::block::Split;
use crate::csv::cell::Span;
use crate::csv::dialect::Dialect;
use crate::text_column::{STEP_BYTES, TextColumn};

/// Builds the columns of one batch after the other.
#[derive(Debug)]
pub(crate) struct Builder {
    columns: Vec<TextColumn>,
    scratch: Vec<u8>,
    rows: usize,
    nulls: Option<Vec<NullBufferBuilder>>,
}

impl Builder {
    /// Makes a builder for so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        let columns = std::iter::repeat_with(TextColumn::default).take(columns).collect();
        Self { columns, scratch: Vec::new(), rows: 0, nulls: None }
    }

    /// Returns the rows that were added since the last batch.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Begins a batch; rows of one that was not finished are forgotten.
    pub(crate) fn begin(&mut self) {
        self.rows = 0;
        self.nulls = None;
        self.columns.iter_mut().for_each(TextColumn::begin);
    }

    /// Adds the rows of a block.
    pub(crate) fn add(&mut self, text: &[u8], split: &Split, dialect: &Dialect) {
        let rows = split.rows.len();
        if rows == 0 {
            return;
        }
        let width = self.columns.len();
        if split.absent || self.nulls.is_some() {
            self.add_nulls(split);
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            let spans = split.spans.get(index..).unwrap_or_default().iter().step_by(width).copied();
            add_cells(column, text, spans, dialect, &mut self.scratch);
            column.look();
        }
        self.rows += rows;
    }

    fn add_nulls(&mut self, split: &Split) {
        let (width, before) = (self.columns.len(), self.rows);
        let nulls = self.nulls.get_or_insert_with(|| {
            let all_valid = || {
                let mut nulls = NullBufferBuilder::new(before);
                nulls.append_n_non_nulls(before);
                nulls
            };
            std::iter::repeat_with(all_valid).take(width).collect()
        });
        for (index, nulls) in nulls.iter_mut().enumerate() {
            let spans = split.spans.iter().skip(index).step_by(width);
            spans.for_each(|span| nulls.append(!span.is_absent()));
        }
    }

    /// Ends the batch and returns its columns.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut nulls = self.nulls.take().unwrap_or_default().into_iter();
        let columns =
            self.columns.iter_mut().map(|column| column.finish(nulls.next().and_then(|mut nulls| nulls.finish())));
        columns.collect()
    }
}

fn add_cells(
    column: &mut TextColumn,
    text: &[u8],
    spans: impl Iterator<Item = Span>,
    dialect: &Dialect,
    scratch: &mut Vec<u8>,
) {
    if !column.is_plain() {
        for span in spans {
            if span.is_repeated() {
                column.push_again();
            } else if span.is_absent() {
                column.push_null();
            } else {
                column.push(span.value(text, dialect, scratch));
            }
        }
        return;
    }
    for span in spans {
        let cell = span.value(text, dialect, scratch);
        let step = text.get(span.start()..).and_then(|rest| rest.first_chunk::<STEP_BYTES>());
        match step {
            // The cell is what stands in the text.
            Some(step) if cell.len() == span.raw_len() && !span.is_escaped() => column.push_short(cell, step),
            _ => column.push(cell),
        }
    }
}
