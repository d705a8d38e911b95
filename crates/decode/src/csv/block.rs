//! What splitting finds in a block of text: which bytes are records and cells, and which records broke a rule.

use crate::csv::cell::Span;
use crate::spec::Ragged;

/// What a record must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Cells of a record.
    pub(crate) columns: usize,
    /// The header ends with a delimiter: one more cell is allowed if it is empty.
    pub(crate) empty_last: bool,
    /// What to do otherwise.
    pub(crate) ragged: Ragged,
}

/// Bytes of the window that belong to a record, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Extent {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Returns the record as received.
    pub(crate) fn bytes(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Why a record did not become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    /// It has more or fewer cells than the header.
    Cells { found: usize },
    /// There is text between a closing quote and the next delimiter.
    AfterQuote { cell: usize },
    /// A quote inside an unquoted cell and another one at the end of a later cell enclose a delimiter.
    AroundDelimiter { cell: usize },
    /// A quote is not closed within `CELL_BYTES_MAX` or before the end; the window position where it opened.
    Unclosed { cell: usize, at: usize },
    /// A cell is larger than `CELL_BYTES_MAX`.
    CellBytes { cell: usize, bytes: usize },
    /// It contains the byte 0.
    Nul,
    /// It contains bytes that are not in the encoding.
    Encoding,
}

/// A record that broke a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Its number, counted from 0 in the block.
    pub(crate) index: u32,
    pub(crate) breach: Breach,
    pub(crate) extent: Extent,
}

/// A run of consecutive records, as they lie in one window of text.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The cells, row by row.
    pub(crate) spans: Vec<Span>,
    /// The rows' extents.
    pub(crate) rows: Vec<Extent>,
    /// Records that are no rows, in order.
    pub(crate) broken: Vec<Broken>,
    /// Position after the last record's line end.
    pub(crate) end: usize,
    /// Some cells are absent.
    pub(crate) absent: bool,
    /// The footer was met: no record follows.
    pub(crate) footer: bool,
}

impl Split {
    /// Empties it and sets where it begins.
    pub(super) fn restart(&mut self, from: usize) {
        self.spans.clear();
        self.rows.clear();
        self.broken.clear();
        self.end = from;
        self.absent = false;
        self.footer = false;
    }

    /// Returns the number of records, broken ones included.
    pub(crate) fn records(&self) -> usize {
        self.rows.len() + self.broken.len()
    }
}
