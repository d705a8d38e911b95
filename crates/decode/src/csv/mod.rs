//! Delimited text (CSV and its relatives) → Arrow text columns.
//!
//! Every cell is delivered as text; columns with few distinct values come as dictionaries. Types, missing values and
//! names are the conform step's business. What counts as a record is in `split`, several threads are in `parallel`.
//! At least one batch is delivered, so that the columns are known even of a file without records.

mod block;
mod build;
mod cell;
mod cursor;
mod dialect;
mod footer;
pub(crate) mod header;
mod marks;
mod parallel;
mod sample;
mod split;
#[cfg(test)]
mod tests;
mod window;

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::limits::MIB;

use crate::csv::cursor::{Consume, Cursor, Layout, Piece};
use crate::csv::dialect::Dialect;
use crate::csv::footer::Footer;
use crate::csv::header::Header;
use crate::csv::parallel::{Parallel, Plan};
use crate::csv::window::Feed;
use crate::encoding::{Charset, TranscodeReader, detect};
use crate::error::DecodeError;
use crate::input::Input;
use crate::record::{Fault, RecordSource, SourceBatch};
use crate::spec::{DecodeLimits, FormatSpec};

pub use dialect::FOOTER_LINES_MAX;

pub(crate) use sample::{Record, Sample};

/// Bytes held back while a footer is waited for.
pub const FOOTER_BYTES_MAX: usize = 64 * MIB as usize;
/// Bytes of text that become one batch, and of a file that one thread reads at a time.
pub const CHUNK_BYTES: usize = 2 * MIB as usize;

/// Bytes read at least, to find the encoding and the header.
const HEAD_BYTES_MIN: usize = 64;

/// Opens delimited text; see [`CsvSource::open`].
pub fn open(
    input: Input,
    spec: &FormatSpec,
    member: Option<Arc<str>>,
    limits: &DecodeLimits,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    Ok(Box::new(CsvSource::open(input, spec, member, limits)?))
}

/// A reader of delimited text.
#[derive(Debug)]
pub struct CsvSource {
    pieces: Pieces,
    layout: Arc<Layout>,
    member: Option<Arc<str>>,
    footer: Footer,
    /// Encoding that the bytes were transcoded from before they got here.
    transcoded: Option<Charset>,
    records: u64,
    state: State,
}

#[derive(Debug)]
enum Pieces {
    One(Box<Cursor>),
    Many(Box<Parallel>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No batch was delivered yet.
    Fresh,
    Reading,
    /// The input is at its end, held batches are left.
    Draining,
    Finished,
}

impl CsvSource {
    /// Reads the header. A regular file is read by `limits.threads` threads, a stream by the caller's.
    pub fn open(
        input: Input,
        spec: &FormatSpec,
        member: Option<Arc<str>>,
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        Self::open_chunked(input, spec, member, limits, CHUNK_BYTES)
    }

    /// As [`CsvSource::open`], with chunks of another size: the rows are the same.
    pub fn open_chunked(
        input: Input,
        spec: &FormatSpec,
        member: Option<Arc<str>>,
        limits: &DecodeLimits,
        chunk_bytes: usize,
    ) -> Result<Self, DecodeError> {
        let dialect = Dialect::new(spec)?;
        let file = member.as_deref().unwrap_or("body").to_owned();
        let layout = Arc::new(Layout { file, dialect, names: Vec::new(), empty_last: false });
        let chunk_bytes = chunk_bytes.max(1);
        let (regular, feed) = feed(input, &layout.file)?;
        let cursor = Cursor::new(feed, Arc::clone(&layout), chunk_bytes.max(HEAD_BYTES_MIN), Charset::Guess);
        let (mut cursor, transcoded) = begin(cursor, spec.encoding.as_deref(), &layout, chunk_bytes)?;
        let Header { names, empty_last } = read_header(&mut cursor, &layout)?;
        let layout = Arc::new(Layout { file: layout.file.clone(), dialect: layout.dialect.clone(), names, empty_last });
        cursor.set_layout(Arc::clone(&layout));
        let regular = regular.filter(|_| transcoded.is_none());
        let pieces = match regular {
            Some((file, length)) if limits.threads > 1 && length > 2 * chunk_bytes as u64 => {
                let plan = Plan {
                    data_start: cursor.offset(),
                    length,
                    chunk_bytes: chunk_bytes as u64,
                    threads: limits.threads,
                    charset: cursor.charset(),
                };
                Pieces::Many(Box::new(Parallel::start(&file, &layout, plan, cursor)?))
            }
            _ => Pieces::One(Box::new(cursor)),
        };
        let footer = Footer::new(layout.dialect.footer_lines);
        Ok(Self { pieces, layout, member, footer, transcoded, records: 0, state: State::Fresh })
    }

    /// Returns the encoding found or declared, by its WHATWG name in lower case; certain once the end was reached.
    pub fn encoding(&self) -> String {
        let charset = self.transcoded.unwrap_or(match &self.pieces {
            Pieces::One(cursor) => cursor.charset(),
            Pieces::Many(parallel) => parallel.charset(),
        });
        charset.name()
    }

    /// Returns the columns' names.
    pub fn names(&self) -> &[String] {
        &self.layout.names
    }

    fn read(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        loop {
            if let State::Draining = self.state {
                return Ok(self.footer.pop_last());
            }
            if let Some(batch) = self.footer.pop() {
                return Ok(Some(batch));
            }
            let piece = match &mut self.pieces {
                Pieces::One(cursor) => cursor.next_piece(u64::MAX)?,
                Pieces::Many(parallel) => parallel.next_piece()?,
            };
            let ends = piece.as_ref().is_none_or(|piece| piece.footer);
            if let Some(piece) = piece {
                let batch = self.batch(piece)?;
                self.footer.push(batch, &self.layout.file)?;
            }
            if ends {
                self.footer.cut();
                self.state = State::Draining;
            }
        }
    }

    fn batch(&mut self, piece: Piece) -> Result<SourceBatch, DecodeError> {
        let base = self.records + 1;
        self.records += piece.records as u64;
        let faults: Vec<Fault> = piece
            .faults
            .into_iter()
            .map(|(index, reason, raw)| Fault { record: base + u64::from(index), column: None, reason, raw })
            .collect();
        let mut at_fault = faults.iter().map(|fault| fault.record).peekable();
        let records: Option<Vec<u64>> = (!faults.is_empty()).then(|| {
            let all = base..base + piece.records as u64;
            all.filter(|record| at_fault.next_if_eq(record).is_none()).collect()
        });
        let first_record = records.as_ref().and_then(|records| records.first().copied()).unwrap_or(base);
        let batch = self.record_batch(piece.columns, piece.rows)?;
        Ok(SourceBatch { batch, records, first_record, member: self.member.clone(), faults })
    }

    fn record_batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, DecodeError> {
        let named = self.layout.names.iter().zip(&columns);
        let fields: Vec<Field> = named.map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        batch.map_err(|error| format_error(&self.layout.file, "its columns", &error.to_string()))
    }
}

impl RecordSource for CsvSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        if let State::Finished = self.state {
            return Ok(None);
        }
        let fresh = self.state == State::Fresh;
        let batch = self.read().inspect_err(|_| self.state = State::Finished)?;
        match &batch {
            Some(_) if fresh && self.state == State::Fresh => self.state = State::Reading,
            Some(_) => {}
            None => self.state = State::Finished,
        }
        if batch.is_some() || !fresh {
            return Ok(batch);
        }
        let columns = self.layout.names.iter().map(|_| new_empty_array(&DataType::Utf8)).collect();
        let batch = self.record_batch(columns, 0)?;
        Ok(Some(SourceBatch { batch, records: None, first_record: 1, member: self.member.clone(), faults: Vec::new() }))
    }
}

/// A regular file and its length, if the input is one, and where the bytes come from.
type Opened = (Option<(Arc<File>, u64)>, Feed);

fn feed(input: Input, file: &str) -> Result<Opened, DecodeError> {
    let regular = match input {
        Input::Stream(stream) => return Ok((None, Feed::Stream(stream))),
        Input::File(regular) => regular,
    };
    let metadata = regular.metadata().map_err(|source| DecodeError::Read { file: file.to_owned(), source })?;
    if !metadata.is_file() {
        return Ok((None, Feed::Stream(Box::new(regular))));
    }
    let regular = Arc::new(regular);
    Ok((Some((Arc::clone(&regular), metadata.len())), Feed::File(regular, 0)))
}

/// Settles the encoding and skips the byte order mark. What cannot be cut anywhere is transcoded as a stream.
fn begin(
    mut cursor: Cursor,
    declared: Option<&str>,
    layout: &Arc<Layout>,
    chunk_bytes: usize,
) -> Result<(Cursor, Option<Charset>), DecodeError> {
    let detected = detect(cursor.peek()?, declared)?;
    let Charset::Sequential(encoding) = detected.charset else {
        cursor.begin(detected.mark_bytes, detected.charset);
        return Ok((cursor, None));
    };
    let (mut head, rest) = cursor.into_parts();
    let head = head.split_off(detected.mark_bytes.min(head.len()));
    let rest: Box<dyn Read + Send> = match rest {
        Feed::Stream(stream) => stream,
        Feed::File(file, offset) => Box::new(FileStream { file, offset }),
    };
    let whole = std::io::Cursor::new(head).chain(rest);
    let reader = TranscodeReader::new(whole, encoding, detected.mark_bytes as u64);
    let cursor = Cursor::new(Feed::Stream(Box::new(reader)), Arc::clone(layout), chunk_bytes, Charset::Utf8);
    Ok((cursor, Some(detected.charset)))
}

/// A file read from an offset on.
struct FileStream {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

fn read_header(cursor: &mut Cursor, layout: &Layout) -> Result<Header, DecodeError> {
    let dialect = &layout.dialect;
    for line in 0..dialect.preamble_lines {
        if !cursor.skip_line()? {
            let what = format!("{line} lines, fewer than the {} of `preamble_lines`", dialect.preamble_lines);
            return Err(format_error(&layout.file, "its start", &what));
        }
    }
    if dialect.header_lines == 0 {
        return match cursor.header_record(Consume::No)? {
            Some(cells) => Ok(header::numbered(cells.len())),
            None => Err(format_error(&layout.file, "its start", "no record, so the columns are unknown")),
        };
    }
    let mut lines = Vec::new();
    while lines.len() < dialect.header_lines {
        let Some(cells) = cursor.header_record(Consume::Yes)? else {
            let what = format!("{} header lines, fewer than the {} declared", lines.len(), dialect.header_lines);
            return Err(format_error(&layout.file, "its start", &what));
        };
        lines.push(cells);
    }
    Ok(header::from_lines(&lines))
}

fn format_error(file: &str, place: &str, what: &str) -> DecodeError {
    DecodeError::Format {
        file: file.to_owned(),
        format: "delimited text",
        place: place.to_owned(),
        what: what.to_owned(),
    }
}
