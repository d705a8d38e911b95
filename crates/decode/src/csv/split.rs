//! Splits text into records and cells. Looks at bytes only; encodings are settled before or after.
//!
//! A record ends at LF, CRLF or a lone CR outside quotes. A quote opens only at the start of a cell; elsewhere it is
//! text. Text after a closing quote, a quote that is never closed, and quotes that enclose a delimiter without standing at
//! the start of a cell break the record, and reading goes on at the next line. Whatever the window of text, the outcome is the same: where the window ends too early to decide, the
//! answer is [`Stop::NeedMore`].

use hambar_core::limits::{BATCH_BYTES, BATCH_ROWS, CELL_BYTES_MAX, ROW_BYTES_MAX};

use crate::csv::cell::{Span, trimmed};
use crate::csv::dialect::Dialect;
use crate::csv::marks::{Marks, Needles};
use crate::spec::Ragged;

/// Cells of one piece, so that short records padded to many columns stay bounded.
const PIECE_CELLS_MAX: usize = 4 * 1024 * 1024;
/// With so many bytes after a record's start, its end or its breach is certain.
const DECIDED_BYTES: usize = ROW_BYTES_MAX + CELL_BYTES_MAX + 64;

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
    fn new(start: usize, end: usize) -> Self {
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
    /// Its number, counted from 0 in the piece.
    pub(crate) index: u32,
    pub(crate) breach: Breach,
    pub(crate) extent: Extent,
}

/// A run of consecutive records.
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
    fn restart(&mut self, from: usize) {
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

/// Why splitting stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The piece is full, or the stop position, the footer or the end of the input is reached.
    Done,
    /// The record at `Split::end` goes on after the window.
    NeedMore,
    /// The record at `Split::end` is longer than `ROW_BYTES_MAX`.
    RowBytes,
}

/// One record as found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// Number of cells.
    pub(crate) cells: usize,
    /// A cell beyond the kept ones has a value.
    pub(crate) surplus: bool,
    /// End of the text, before the line end.
    pub(crate) text_end: usize,
    /// Start of the next line.
    pub(crate) next: usize,
    /// What is wrong with it.
    pub(crate) breach: Option<Breach>,
}

/// Reads records from one window of text.
#[derive(Debug)]
pub(crate) struct Splitter<'a> {
    text: &'a [u8],
    /// The window reaches to the end of the input.
    last: bool,
    dialect: &'a Dialect,
    marks: Marks<'a>,
    /// First byte of the delimiter.
    delimiter: u8,
    /// The delimiter is one byte.
    is_single: bool,
}

impl<'a> Splitter<'a> {
    /// Starts at `from`.
    pub(crate) fn new(text: &'a [u8], from: usize, last: bool, dialect: &'a Dialect) -> Self {
        let delimiter = dialect.delimiter.first().copied().unwrap_or(b',');
        let needles = Needles([delimiter, dialect.quote.unwrap_or(b'\n'), b'\n', b'\r']);
        let is_single = dialect.delimiter.len() == 1;
        Self { text, last, dialect, marks: Marks::new(text, from, needles), delimiter, is_single }
    }

    /// Reads records that start before `stop` until a piece is full.
    pub(crate) fn piece(&mut self, from: usize, stop: usize, shape: Shape, out: &mut Split) -> Stop {
        out.restart(from);
        loop {
            let full = out.records() >= BATCH_ROWS
                || out.spans.len() >= PIECE_CELLS_MAX
                || out.end - from >= BATCH_BYTES
                || out.footer;
            if full || out.end >= stop {
                return Stop::Done;
            }
            match self.skip_blank(out.end) {
                Skip::Record => {}
                Skip::To(next) => {
                    out.end = next;
                    self.marks.seek(next);
                    continue;
                }
                Skip::End => return Stop::Done,
                Skip::NeedMore => return self.undecided(out.end),
            }
            let kept = out.spans.len();
            let Some(record) = self.record(out.end, shape.columns, &mut out.spans) else {
                out.spans.truncate(kept);
                return self.undecided(out.end);
            };
            if record.text_end - out.end > ROW_BYTES_MAX {
                out.spans.truncate(kept);
                return Stop::RowBytes;
            }
            self.settle(record, kept, shape, out);
        }
    }

    /// Reads one record from `start` and appends at most `keep` of its cells, or returns `None` if the window ends
    /// too early.
    pub(crate) fn record(&mut self, start: usize, keep: usize, spans: &mut Vec<Span>) -> Option<Record> {
        let mut cells = 0;
        let mut surplus = false;
        let mut has_stray_quote = false;
        let mut cell_start = start;
        let kept = spans.len();
        loop {
            let at = self.marks.next();
            let byte = self.text.get(at).copied();
            if byte == Some(self.delimiter) && self.is_single && cells < keep {
                // By far the most frequent case.
                spans.push(Span::new(cell_start, at));
                cells += 1;
                cell_start = at + 1;
                continue;
            }
            let (span, resume) = if byte == Some(self.delimiter) {
                if !self.is_delimiter(at)? {
                    continue;
                }
                (Span::new(cell_start, at), at)
            } else if matches!(byte, Some(b'\n' | b'\r') | None) {
                (Span::new(cell_start, at), at)
            } else {
                if !self.opens_cell(cell_start, at) {
                    has_stray_quote = true;
                    continue;
                }
                match self.quoted(at)? {
                    Quoted::Cell { span, after } => (span, after),
                    Quoted::Broken { after } => {
                        return self.broken_record(Breach::AfterQuote { cell: cells + 1 }, after);
                    }
                    Quoted::Unclosed => {
                        return self.broken_record(Breach::Unclosed { cell: cells + 1, at }, at);
                    }
                }
            };
            if cells < keep {
                spans.push(span);
            } else {
                let raw = span.raw(self.text);
                surplus |= !(if self.dialect.trim { trimmed(raw) } else { raw }).is_empty();
            }
            cells += 1;
            if self.text.get(resume).copied() == Some(self.delimiter) {
                cell_start = resume + self.dialect.delimiter.len();
                self.marks.seek(cell_start);
            } else {
                let next = self.after_line(resume)?;
                self.marks.seek(next);
                let breach =
                    if has_stray_quote { self.around_delimiter(spans.get(kept..).unwrap_or_default()) } else { None };
                return Some(Record { cells, surplus, text_end: resume, next, breach });
            }
        }
    }

    /// Decides whether the record is a row and moves behind it.
    #[inline]
    fn settle(&self, record: Record, kept: usize, shape: Shape, out: &mut Split) {
        let extent = Extent::new(out.end, record.text_end);
        if let Some(pattern) = &self.dialect.footer_pattern
            && let Some(first) = out.spans.get(kept)
            && pattern.is_match(first.value(self.text, self.dialect, &mut Vec::new()))
        {
            out.spans.truncate(kept);
            out.footer = true;
            return;
        }
        let pads = shape.ragged == Ragged::Pad;
        let fits = record.cells == shape.columns
            || (shape.empty_last && record.cells == shape.columns + 1 && !record.surplus)
            || (pads && !record.surplus);
        let breach = match record.breach {
            Some(breach) => Some(breach),
            None if !fits => Some(Breach::Cells { found: record.cells }),
            None if record.text_end - out.end > CELL_BYTES_MAX => large_cell(out.spans.get(kept..).unwrap_or_default()),
            None => None,
        };
        if let Some(breach) = breach {
            out.spans.truncate(kept);
            out.broken.push(Broken { index: out.records() as u32, breach, extent });
        } else {
            if record.cells < shape.columns {
                out.spans.resize(kept + shape.columns, Span::ABSENT);
                out.absent = true;
            }
            out.rows.push(extent);
        }
        out.end = record.next;
    }

    /// Looks for blank lines and comments at the start of a line.
    #[inline]
    pub(crate) fn skip_blank(&self, at: usize) -> Skip {
        let Some(byte) = self.text.get(at).copied() else {
            return if self.last { Skip::End } else { Skip::NeedMore };
        };
        if byte == b'\n' || byte == b'\r' {
            return self.after_line(at).map_or(Skip::NeedMore, Skip::To);
        }
        if let Some(comment) = &self.dialect.comment {
            let rest = self.text.get(at..).unwrap_or_default();
            if rest.starts_with(comment) {
                return self.next_line(at).map_or(Skip::NeedMore, |(_, next)| Skip::To(next));
            }
            if !self.last && comment.starts_with(rest) {
                return Skip::NeedMore;
            }
        }
        if self.dialect.trim && self.dialect.is_blank(byte) {
            let text = self.after_blanks(at);
            return match self.text.get(text) {
                Some(b'\n' | b'\r') => self.after_line(text).map_or(Skip::NeedMore, Skip::To),
                Some(_) => Skip::Record,
                None if self.last => Skip::To(text),
                None => Skip::NeedMore,
            };
        }
        Skip::Record
    }

    /// Finds `$9"Bike, 24""",`: where a delimiter in front of a quoted cell is missing, a comma inside the cell can make
    /// up for it in number. A quote that ends its cell (`24",30"`) is a sign for inches or seconds and opens nothing.
    #[cold]
    fn around_delimiter(&self, spans: &[Span]) -> Option<Breach> {
        let quote = self.dialect.quote?;
        let mut opened = None;
        for (index, span) in spans.iter().enumerate() {
            let raw = span.raw(self.text);
            let raw = if self.dialect.trim { trimmed(raw) } else { raw };
            let quotes = memchr::memchr_iter(quote, raw).count();
            if span.is_quoted(self.text, quote) || quotes.is_multiple_of(2) {
                continue;
            }
            let is_at_end = raw.last() == Some(&quote);
            match opened {
                Some(cell) if is_at_end => return Some(Breach::AroundDelimiter { cell }),
                _ if !is_at_end => opened = Some(index + 1),
                _ => {}
            }
        }
        None
    }

    fn undecided(&self, start: usize) -> Stop {
        if self.text.len() - start > DECIDED_BYTES { Stop::RowBytes } else { Stop::NeedMore }
    }

    fn broken_record(&mut self, breach: Breach, from: usize) -> Option<Record> {
        let (text_end, next) = self.next_line(from)?;
        self.marks.seek(next);
        Some(Record { cells: 0, surplus: false, text_end, next, breach: Some(breach) })
    }

    /// Says whether the delimiter stands at `at`, where its first byte does; `None` if the window ends too early.
    #[inline]
    fn is_delimiter(&self, at: usize) -> Option<bool> {
        let delimiter = &self.dialect.delimiter;
        if delimiter.len() == 1 {
            return Some(true);
        }
        let rest = self.text.get(at..).unwrap_or_default();
        if rest.len() < delimiter.len() && !self.last {
            return None;
        }
        Some(rest.starts_with(delimiter))
    }

    #[inline]
    fn opens_cell(&self, cell_start: usize, at: usize) -> bool {
        at == cell_start || (self.dialect.trim && self.after_blanks(cell_start) == at)
    }

    fn after_blanks(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| self.dialect.is_blank(**byte)).count()
    }

    /// Reads from the quote at `open` to its end.
    fn quoted(&self, open: usize) -> Option<Quoted> {
        let quote = self.dialect.quote?;
        let limit = (open + 1 + CELL_BYTES_MAX).min(self.text.len());
        let mut escaped = false;
        let mut from = open + 1;
        loop {
            let rest = self.text.get(from..limit).unwrap_or_default();
            let found = match self.dialect.escape {
                Some(escape) => memchr::memchr2(quote, escape, rest),
                None => memchr::memchr(quote, rest),
            };
            let Some(found) = found else {
                let certain = self.last || limit == open + 1 + CELL_BYTES_MAX;
                return certain.then_some(Quoted::Unclosed);
            };
            let at = from + found;
            let next = self.text.get(at + 1).copied();
            if next.is_none() && !self.last {
                return None;
            }
            let is_quote = self.text.get(at).copied() == Some(quote);
            if is_quote && next != Some(quote) {
                return self.closed(open, at, escaped);
            }
            if is_quote || next.is_some_and(|next| self.dialect.is_escapable(next)) {
                escaped = true;
                from = at + 2;
            } else {
                from = at + 1;
            }
        }
    }

    fn closed(&self, open: usize, close: usize, escaped: bool) -> Option<Quoted> {
        let after = if self.dialect.trim { self.after_blanks(close + 1) } else { close + 1 };
        let ends = match self.text.get(after).copied() {
            None if !self.last => return None,
            None | Some(b'\n' | b'\r') => true,
            Some(byte) => byte == self.delimiter && self.is_delimiter(after)?,
        };
        let span = Span::quoted(open + 1, close, escaped);
        Some(if ends { Quoted::Cell { span, after } } else { Quoted::Broken { after } })
    }

    /// Returns the end of the line that goes on at `from`, and the start of the next one.
    pub(crate) fn next_line(&self, from: usize) -> Option<(usize, usize)> {
        match memchr::memchr2(b'\n', b'\r', self.text.get(from..).unwrap_or_default()) {
            Some(found) => Some((from + found, self.after_line(from + found)?)),
            None => self.last.then_some((self.text.len(), self.text.len())),
        }
    }

    /// Returns the position after the line end at `at`, or the end of the input.
    #[inline]
    fn after_line(&self, at: usize) -> Option<usize> {
        match (self.text.get(at), self.text.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Some(at + 2),
            (Some(b'\r'), None) if !self.last => None,
            (None, _) => self.last.then_some(at),
            (Some(_), _) => Some(at + 1),
        }
    }
}

/// What stands at the start of a line.
#[derive(Debug)]
pub(crate) enum Skip {
    /// A record.
    Record,
    /// A blank line or comment; the next line starts here.
    To(usize),
    /// The end of the input.
    End,
    /// The window ends too early.
    NeedMore,
}

enum Quoted {
    /// A whole cell; `after` is the delimiter or line end behind it.
    Cell { span: Span, after: usize },
    /// Text follows the closing quote.
    Broken { after: usize },
    /// No closing quote.
    Unclosed,
}

fn large_cell(spans: &[Span]) -> Option<Breach> {
    let large = spans.iter().enumerate().find(|(_, span)| span.raw_len() > CELL_BYTES_MAX);
    large.map(|(index, span)| Breach::CellBytes { cell: index + 1, bytes: span.raw_len() })
}

/// Returns where the first line after `at` starts if `at` is outside quotes, or `None` if the window ends too early.
/// `at` must not be 0: the byte before it tells whether a line starts right there.
pub(crate) fn line_after(text: &[u8], at: usize, last: bool, dialect: &Dialect) -> Option<usize> {
    Splitter::new(text, at, last, dialect).next_line(at - 1).map(|(_, next)| next)
}
