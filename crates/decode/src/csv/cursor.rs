//! Reads pieces (runs of whole records, as Arrow columns) one after the other from one input.

use std::sync::Arc;

use arrow::array::ArrayRef;
use hambar_core::limits::{CELL_BYTES_MAX, COLUMNS_MAX, REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX};

use crate::csv::build::Builder;
use crate::csv::cell::Span;
use crate::csv::dialect::Dialect;
use crate::csv::split::{Breach, Broken, Extent, Record, Shape, Skip, Split, Splitter, Stop, line_after};
use crate::csv::window::{Feed, Window};
use crate::encoding::Charset;
use crate::error::DecodeError;
use crate::spec::Ragged;

/// What is the same for the whole file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The file or member, for messages.
    pub(crate) file: String,
    pub(crate) dialect: Dialect,
    /// Names of the columns.
    pub(crate) names: Vec<String>,
    /// The header ends with a delimiter.
    pub(crate) empty_last: bool,
}

/// A run of records, numbered from 0.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Offset of its first byte.
    pub(crate) start: u64,
    /// Offset after its last record.
    pub(crate) end: u64,
    /// Records, faults included.
    pub(crate) records: usize,
    /// Number of rows.
    pub(crate) rows: usize,
    /// The columns.
    pub(crate) columns: Vec<ArrayRef>,
    /// Records that are no rows: number, reason, raw text.
    pub(crate) faults: Vec<(u32, String, String)>,
    /// It was taken as UTF-8 and is not ASCII: it reads differently in another encoding.
    pub(crate) multibyte: bool,
    /// How its bytes were read.
    pub(crate) charset: Charset,
    /// The footer follows: nothing more is data.
    pub(crate) footer: bool,
}

/// A position in an input, and what is needed to read on.
#[derive(Debug)]
pub(crate) struct Cursor {
    feed: Feed,
    window: Window,
    layout: Arc<Layout>,
    builder: Builder,
    split: Split,
    /// Position of the next record in the window.
    at: usize,
    /// Offset up to which pieces were delivered.
    delivered: u64,
    /// Text that is not ASCII was met while guessing UTF-8.
    multibyte: bool,
    /// Records before the window's next one, for messages.
    records: u64,
}

/// What the check of a range of text said.
enum Verdict {
    /// It is text.
    Text,
    /// The encoding was wrong; the range must be read again.
    ReadAgain,
    /// Some records are not text.
    Broken,
}

impl Cursor {
    /// Starts with nothing in memory.
    pub(crate) fn new(feed: Feed, layout: Arc<Layout>, window_bytes: usize, charset: Charset) -> Self {
        let mut window = Window::new(window_bytes);
        window.replace(0, &[], charset);
        let builder = Builder::new(layout.names.len());
        let split = Split::default();
        Self { feed, window, layout, builder, split, at: 0, delivered: 0, multibyte: false, records: 0 }
    }

    /// Sets the columns, which are known once the header is read.
    pub(crate) fn set_layout(&mut self, layout: Arc<Layout>) {
        self.builder = Builder::new(layout.names.len());
        self.layout = layout;
    }

    /// Moves to `offset` of a file, to read on with `charset`.
    pub(crate) fn seek(&mut self, offset: u64, charset: Charset) {
        if let Feed::File(_, next) = &mut self.feed {
            *next = offset;
        }
        self.window.restart(offset);
        if self.window.charset() != charset {
            self.window.replace(offset, &[], charset);
        }
        self.at = 0;
        self.delivered = offset;
    }

    /// Returns the offset up to which records were delivered or found to be blank.
    pub(crate) fn offset(&self) -> u64 {
        self.window.offset(self.at)
    }

    /// Returns how the bytes are read now.
    pub(crate) fn charset(&self) -> Charset {
        self.window.charset()
    }

    /// Says whether text that is not ASCII was met while guessing UTF-8.
    pub(crate) fn multibyte(&self) -> bool {
        self.multibyte
    }

    /// Tells what other readers of the same file have met.
    pub(crate) fn set_multibyte(&mut self, multibyte: bool, records: u64) {
        self.multibyte = multibyte;
        self.records = records;
    }

    /// Gives the bytes that were looked at but not consumed, and the rest of the stream, back.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Feed) {
        (self.window.text().get(self.at..).unwrap_or_default().to_vec(), self.feed)
    }

    /// Returns the text in memory from here on, reading the first bytes if there are none.
    pub(crate) fn peek(&mut self) -> Result<&[u8], DecodeError> {
        if self.window.text().is_empty() {
            self.more()?;
        }
        Ok(self.window.text().get(self.at..).unwrap_or_default())
    }

    /// Changes the encoding and skips so many bytes, before anything was read.
    pub(crate) fn begin(&mut self, skip: usize, charset: Charset) {
        self.at = skip;
        self.set_charset(charset);
    }

    /// Moves to the first line after the byte here, as if it were outside quotes. False when that is too far away.
    pub(crate) fn skip_to_line(&mut self) -> Result<bool, DecodeError> {
        loop {
            let text = self.window.text();
            if let Some(next) = line_after(text, self.at + 1, self.window.is_last(), &self.layout.dialect) {
                self.at = next;
                self.delivered = self.offset();
                return Ok(true);
            }
            if text.len() - self.at > ROW_BYTES_MAX {
                return Ok(false);
            }
            self.more()?;
        }
    }

    /// Skips one physical line; false at the end of the input.
    pub(crate) fn skip_line(&mut self) -> Result<bool, DecodeError> {
        loop {
            let splitter = self.splitter();
            if let Some((_, next)) = splitter.next_line(self.at) {
                if next == self.at {
                    return Ok(false);
                }
                if let Verdict::ReadAgain = self.check(self.at, next)? {
                    continue;
                }
                self.at = next;
                self.delivered = self.offset();
                return Ok(true);
            }
            self.more_of_record()?;
        }
    }

    /// Reads the cells of one record for the header; stays in front of it unless `consume`. `None` at the end.
    pub(crate) fn header_record(&mut self, consume: Consume) -> Result<Option<Vec<String>>, DecodeError> {
        let mut spans = Vec::new();
        loop {
            let mut splitter = self.splitter();
            match splitter.skip_blank(self.at) {
                Skip::Record => {}
                Skip::To(next) => {
                    self.at = next;
                    continue;
                }
                Skip::End => return Ok(None),
                Skip::NeedMore => {
                    self.more_of_record()?;
                    continue;
                }
            }
            spans.clear();
            let Some(record) = splitter.record(self.at, COLUMNS_MAX + 1, &mut spans) else {
                self.more_of_record()?;
                continue;
            };
            if record.cells > COLUMNS_MAX {
                return Err(self.limit("columns_max", COLUMNS_MAX as u64, "columns", "the header"));
            }
            if record.text_end - self.at > ROW_BYTES_MAX {
                return Err(self.limit("row_bytes_max", ROW_BYTES_MAX as u64, "bytes", "the header"));
            }
            match self.check(self.at, record.text_end)? {
                Verdict::Text => {}
                Verdict::ReadAgain => continue,
                Verdict::Broken => return Err(self.format("the header", "it is not in the declared encoding")),
            }
            return self.header_cells(record, &spans, consume).map(Some);
        }
    }

    fn header_cells(&mut self, record: Record, spans: &[Span], consume: Consume) -> Result<Vec<String>, DecodeError> {
        if let Some(breach) = record.breach {
            return Err(self.format("the header", &self.reason(breach)));
        }
        let mut scratch = Vec::new();
        let mut cells = Vec::with_capacity(spans.len());
        for span in spans {
            let value = span.value(self.window.text(), &self.layout.dialect, &mut scratch);
            cells.push(String::from_utf8_lossy(value).trim().to_owned());
        }
        if let Consume::Yes = consume {
            self.at = record.next;
        }
        self.delivered = self.offset();
        Ok(cells)
    }

    /// Reads the next piece of records that start before the offset `stop`; `None` when there are no more.
    pub(crate) fn next_piece(&mut self, stop: u64) -> Result<Option<Piece>, DecodeError> {
        let layout = Arc::clone(&self.layout);
        let shape = Shape { columns: layout.names.len(), empty_last: layout.empty_last, ragged: layout.dialect.ragged };
        loop {
            let stop_at = self.window.position(stop);
            let from = self.at;
            let mut splitter = Splitter::new(self.window.text(), from, self.window.is_last(), &layout.dialect);
            let stopped = splitter.piece(from, stop_at, shape, &mut self.split);
            let end = self.split.end;
            if self.split.records() > 0 || self.split.footer {
                match self.check(from, end)? {
                    Verdict::Text => {}
                    Verdict::ReadAgain => continue,
                    Verdict::Broken => self.set_broken_aside(),
                }
                return self.piece(from).map(Some);
            }
            self.at = end;
            match stopped {
                Stop::Done => {
                    self.delivered = self.offset();
                    return Ok(None);
                }
                Stop::NeedMore => self.more()?,
                Stop::RowBytes => {
                    let place = format!("record {}", self.records + 1);
                    return Err(self.limit("row_bytes_max", ROW_BYTES_MAX as u64, "bytes", &place));
                }
            }
        }
    }

    fn piece(&mut self, from: usize) -> Result<Piece, DecodeError> {
        let layout = Arc::clone(&self.layout);
        let text = self.window.text();
        let built = self.builder.columns(text, &self.split.spans, self.split.absent, &layout.dialect);
        let columns = built.map_err(|error| self.format("the text", &error.to_string()))?;
        let faults = self.split.broken.iter().map(|broken| self.fault(broken)).collect();
        let end = self.split.end;
        let multibyte = self.window.charset() == Charset::Guess && !text.get(from..end).unwrap_or_default().is_ascii();
        self.multibyte |= multibyte;
        self.at = end;
        let piece = Piece {
            start: self.delivered,
            end: self.offset(),
            records: self.split.records(),
            rows: self.split.rows.len(),
            columns,
            faults,
            multibyte,
            charset: self.window.charset(),
            footer: self.split.footer,
        };
        self.delivered = piece.end;
        self.records += piece.records as u64;
        Ok(piece)
    }

    /// Says whether the bytes are text. A guess of UTF-8 is given up here.
    fn check(&mut self, from: usize, end: usize) -> Result<Verdict, DecodeError> {
        if !self.window.is_utf8(from, end) {
            if self.window.charset() != Charset::Guess {
                return Ok(Verdict::Broken);
            }
            let bad = self.window.valid_to();
            let before = self.window.text().get(from..bad).unwrap_or_default();
            if self.multibyte || !before.is_ascii() {
                let place = format!("byte {}", self.window.offset(bad));
                let what = "it is not UTF-8, although text before it is; declare `format.encoding`, with `utf-8` to \
                            reject the records that are not";
                return Err(self.format(&place, what));
            }
            self.set_charset(Charset::LEGACY);
            return Ok(Verdict::ReadAgain);
        }
        if let Charset::Guess = self.window.charset() {
            let text = self.window.text().get(from..end).unwrap_or_default();
            let split_follows = self.layout.names.is_empty();
            // Pieces are looked at when they are made; the lines before them here.
            self.multibyte |= split_follows && !text.is_ascii();
        }
        let text = self.window.text().get(from..end).unwrap_or_default();
        if self.window.is_poisoned(from, end) || memchr::memchr(0, text).is_some() {
            return Ok(Verdict::Broken);
        }
        Ok(Verdict::Text)
    }

    fn set_charset(&mut self, charset: Charset) {
        // Everything before `at` was ASCII or a byte order mark: dropping it keeps offsets right.
        let offset = self.window.offset(self.at);
        let rest = self.window.text().get(self.at..).unwrap_or_default().to_vec();
        self.window.replace(offset, &rest, charset);
        self.at = 0;
    }

    /// Turns the rows that are not text into broken records.
    fn set_broken_aside(&mut self) {
        let columns = self.layout.names.len();
        let split = std::mem::take(&mut self.split);
        let mut kept = Split { end: split.end, absent: split.absent, footer: split.footer, ..Split::default() };
        let mut broken = split.broken.iter().peekable();
        let mut index = 0;
        for (extent, spans) in split.rows.iter().zip(split.spans.chunks(columns.max(1))) {
            while let Some(earlier) = broken.next_if(|earlier| earlier.index == index) {
                kept.broken.push(*earlier);
                index += 1;
            }
            match self.text_breach(*extent) {
                Some(breach) => kept.broken.push(Broken { index, breach, extent: *extent }),
                None => {
                    kept.rows.push(*extent);
                    kept.spans.extend_from_slice(spans);
                }
            }
            index += 1;
        }
        kept.broken.extend(broken);
        self.split = kept;
    }

    fn text_breach(&self, extent: Extent) -> Option<Breach> {
        let bytes = extent.bytes(self.window.text());
        if self.window.is_poisoned(extent.start as usize, extent.end as usize)
            || simdutf8::basic::from_utf8(bytes).is_err()
        {
            return Some(Breach::Encoding);
        }
        memchr::memchr(0, bytes).map(|_| Breach::Nul)
    }

    fn fault(&self, broken: &Broken) -> (u32, String, String) {
        let bytes = broken.extent.bytes(self.window.text());
        let cut = bytes.get(..REJECT_RAW_BYTES_MAX.min(bytes.len())).unwrap_or_default();
        let mut raw = String::from_utf8_lossy(cut).into_owned();
        if cut.len() < bytes.len() && raw.ends_with(char::REPLACEMENT_CHARACTER) {
            raw.pop();
        }
        (broken.index, self.reason(broken.breach), raw)
    }

    fn reason(&self, breach: Breach) -> String {
        let name = |cell: usize| match self.layout.names.get(cell - 1) {
            Some(name) => format!("cell {cell} (`{name}`)"),
            None => format!("cell {cell}"),
        };
        match breach {
            Breach::Cells { found } => {
                let missing = if self.layout.dialect.ragged == Ragged::Pad { "named columns" } else { "columns" };
                format!("{found} cells, but {} {missing}", self.layout.names.len())
            }
            Breach::AfterQuote { cell } => format!("{}: text after the closing quote", name(cell)),
            Breach::AroundDelimiter { cell } => format!(
                "{}: the quote inside it and the one at the end of a later cell enclose a delimiter; one may be missing \
                 in front of the first",
                name(cell)
            ),
            Breach::Unclosed { cell, at } => format!(
                "{}: the quote opened at byte {} is not closed within {CELL_BYTES_MAX} bytes or before the end",
                name(cell),
                self.window.offset(at)
            ),
            Breach::CellBytes { cell, bytes } => {
                format!("{}: {bytes} bytes, more than cell_bytes_max of {CELL_BYTES_MAX}", name(cell))
            }
            Breach::Nul => "it contains a NUL byte".to_owned(),
            Breach::Encoding => format!("it contains bytes that are not {}", self.window.charset().name()),
        }
    }

    fn splitter(&self) -> Splitter<'_> {
        Splitter::new(self.window.text(), self.at, self.window.is_last(), &self.layout.dialect)
    }

    /// Reads on in front of the first piece, where a record may not be larger than a row.
    fn more_of_record(&mut self) -> Result<(), DecodeError> {
        if self.window.text().len() - self.at > ROW_BYTES_MAX + CELL_BYTES_MAX {
            return Err(self.limit("row_bytes_max", ROW_BYTES_MAX as u64, "bytes", "the header"));
        }
        self.more()
    }

    fn more(&mut self) -> Result<(), DecodeError> {
        if self.window.is_last() {
            return Err(self.format("its end", "the text cannot be told apart into records"));
        }
        let read = self.window.advance(&mut self.feed, self.at);
        self.at = 0;
        read.map_err(|source| {
            if source.kind() == std::io::ErrorKind::InvalidData {
                self.format("its text", &source.to_string())
            } else {
                DecodeError::Read { file: self.layout.file.clone(), source }
            }
        })
    }

    fn format(&self, place: &str, what: &str) -> DecodeError {
        DecodeError::Format {
            file: self.layout.file.clone(),
            format: "delimited text",
            place: place.to_owned(),
            what: what.to_owned(),
        }
    }

    fn limit(&self, limit: &'static str, value: u64, unit: &'static str, place: &str) -> DecodeError {
        DecodeError::Limit { file: self.layout.file.clone(), limit, value, unit, place: place.to_owned() }
    }
}

/// Whether a record that was looked at is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consume {
    Yes,
    No,
}
