//! Walks one JSON document to its records without ever holding more than one record: the containers above the records
//! are a short explicit stack, everything beside the record path is skipped, and the document is read to its end.

use std::io::Read;

use hambar_core::limits::{BATCH_ROWS, REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX};
use serde_json::value::RawValue;

use super::cut::{CHUNK_BYTES, Chunk, Cuts, Cutter, Place};
use super::plan::pointer;
use crate::error::DecodeError;
use crate::json::DEPTH_MAX;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Names of top-level members that a message lists.
const NAMES_SHOWN: usize = 10;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Splits `format.record_path`.
pub(super) fn record_path(text: &str) -> Result<Vec<String>, DecodeError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if !text.starts_with('/') {
        let what = format!("`{text}` is no JSON Pointer: it must be empty or start with `/`");
        return Err(DecodeError::Setting { setting: "format.record_path", what });
    }
    Ok(pointer(text))
}

/// The cutter.
pub(super) struct Walker {
    bytes: Bytes,
    path: Vec<String>,
    frames: Vec<Frame>,
    started: bool,
    /// The record path led somewhere.
    matched: bool,
    records: u64,
    top_names: Vec<String>,
}

/// A container on the record path.
struct Frame {
    close: u8,
    /// Its values are the records.
    holds_records: bool,
    /// The segment of the path that selects among its values.
    segment: usize,
    values: usize,
    selected: bool,
}

impl Walker {
    pub(super) fn new(stream: Box<dyn Read + Send>, path: Vec<String>, file: String) -> Self {
        Self {
            bytes: Bytes::new(stream, file),
            path,
            frames: Vec::new(),
            started: false,
            matched: false,
            records: 0,
            top_names: Vec::new(),
        }
    }

    /// Appends the next record to `out` and returns where it starts, or `None` at the document's end.
    fn next_record(&mut self, out: &mut Vec<u8>) -> Result<Option<(u64, u64)>, DecodeError> {
        loop {
            if self.frames.is_empty() {
                if self.started {
                    return self.end().map(|()| None);
                }
                self.started = true;
                self.bytes.skip_bom()?;
                if let Some(place) = self.value(0, out)? {
                    return Ok(Some(place));
                }
                continue;
            }
            if let Some(place) = self.next_value(out)? {
                return Ok(Some(place));
            }
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if self.bytes.skip_space()?.is_some() {
            return Err(self.bytes.wrong("something follows the end of the document"));
        }
        if self.matched {
            return Ok(());
        }
        let names = if self.top_names.is_empty() {
            String::new()
        } else {
            format!("; its members are `{}`", self.top_names.join("`, `"))
        };
        let path = self.path.join("/");
        Err(self.bytes.wrong(&format!("the document has nothing at the record path `/{path}`{names}")))
    }

    /// Goes on in the innermost container.
    fn next_value(&mut self, out: &mut Vec<u8>) -> Result<Option<(u64, u64)>, DecodeError> {
        let byte = self.bytes.need()?;
        let Some(frame) = self.frames.last_mut() else {
            return Ok(None);
        };
        if byte == frame.close {
            self.bytes.advance(1);
            self.frames.pop();
            return Ok(None);
        }
        if frame.values > 0 {
            if byte != b',' {
                return Err(self.bytes.wrong(&format!("expected `,` or `{}`", char::from(frame.close))));
            }
            self.bytes.advance(1);
            self.bytes.need()?;
        }
        let index = frame.values;
        frame.values += 1;
        let (is_object, holds_records, segment) = (frame.close == b'}', frame.holds_records, frame.segment);
        let key = if is_object { self.key()? } else { String::new() };
        if self.frames.len() == 1 && is_object && self.top_names.len() < NAMES_SHOWN {
            self.top_names.push(key.clone());
        }
        if holds_records {
            return self.record(out).map(Some);
        }
        let wanted = self.path[segment].as_str();
        let is_selected = wanted == "*" || if is_object { wanted == key } else { wanted == index.to_string() };
        if !is_selected {
            self.bytes.skip_value()?;
            return Ok(None);
        }
        if wanted != "*" {
            let again = self.frames.last_mut().is_some_and(|frame| std::mem::replace(&mut frame.selected, true));
            if again {
                return Err(self.bytes.wrong(&format!("the member `{key}` of the record path appears twice")));
            }
        }
        self.value(segment + 1, out)
    }

    fn key(&mut self) -> Result<String, DecodeError> {
        if self.bytes.need()? != b'"' {
            return Err(self.bytes.wrong("expected a member's name in quotes"));
        }
        let mut raw = Vec::new();
        self.bytes.capture(&mut raw)?;
        let key = serde_json::from_slice(&raw);
        let key = key.map_err(|error| self.bytes.wrong(&format!("a member's name is broken: {error}")))?;
        if self.bytes.need()? != b':' {
            return Err(self.bytes.wrong("expected `:`"));
        }
        self.bytes.advance(1);
        self.bytes.need()?;
        Ok(key)
    }

    /// At a value on the path: `segment` selects among its members, or it holds the records.
    fn value(&mut self, segment: usize, out: &mut Vec<u8>) -> Result<Option<(u64, u64)>, DecodeError> {
        let byte = self.bytes.need()?;
        let is_last = segment == self.path.len();
        let close = match byte {
            b'[' => b']',
            b'{' if !is_last => b'}',
            b'n' => {
                // `null` stands for "no records" with many providers.
                self.matched |= is_last;
                self.bytes.skip_value()?;
                return Ok(None);
            }
            _ if is_last => {
                self.matched = true;
                return self.record(out).map(Some);
            }
            _ => {
                self.bytes.skip_value()?;
                return Ok(None);
            }
        };
        self.matched |= is_last || self.path[segment] == "*";
        self.bytes.advance(1);
        self.frames.push(Frame { close, holds_records: is_last, segment, values: 0, selected: false });
        Ok(None)
    }

    fn record(&mut self, out: &mut Vec<u8>) -> Result<(u64, u64), DecodeError> {
        let place = self.bytes.place();
        self.records += 1;
        let start = out.len();
        if self.bytes.capture(out)? {
            return Ok(place);
        }
        let hint = if self.path.is_empty() { " (is `format.record_path` missing?)" } else { "" };
        out.truncate(start + REJECT_RAW_BYTES_MAX);
        Err(DecodeError::Limit {
            file: self.bytes.file.clone(),
            limit: "record",
            value: ROW_BYTES_MAX as u64,
            unit: "bytes",
            place: format!("record {} at line {}, column {}{hint}", self.records, place.0, place.1),
        })
    }
}

impl Cutter for Walker {
    fn next_chunk(&mut self) -> Result<Option<Chunk>, DecodeError> {
        let (mut bytes, mut places) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        while bytes.len() < CHUNK_BYTES && places.len() < BATCH_ROWS {
            let Some((line, column)) = self.next_record(&mut bytes)? else {
                break;
            };
            places.push(Place { end: bytes.len(), number: self.records, line, column });
        }
        // A record may be empty (`[,]`): the parser says what is wrong with it.
        let is_end = places.is_empty();
        Ok((!is_end).then(|| Chunk { bytes, from: 0, cuts: Cuts::Records(places), faults: Vec::new() }))
    }
}

/// The document's bytes, with the place for messages.
struct Bytes {
    stream: Box<dyn Read + Send>,
    block: Vec<u8>,
    at: usize,
    /// Lines ended before `counted`, and the offset of the current line's first byte.
    lines: u64,
    line_start: u64,
    counted: usize,
    /// Bytes before the block.
    before: u64,
    ended: bool,
    file: String,
}

impl Bytes {
    fn new(stream: Box<dyn Read + Send>, file: String) -> Self {
        Self { stream, block: Vec::new(), at: 0, lines: 0, line_start: 0, counted: 0, before: 0, ended: false, file }
    }

    /// Returns the byte that comes next, or `None` at the end.
    fn peek(&mut self) -> Result<Option<u8>, DecodeError> {
        if self.at == self.block.len() && !self.ended {
            self.count_lines();
            self.before += self.block.len() as u64;
            self.block.clear();
            (self.at, self.counted) = (0, 0);
            let read = self.stream.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.block);
            let read = read.map_err(|source| DecodeError::Read { file: self.file.clone(), source })?;
            self.ended = read < READ_BYTES;
        }
        Ok(self.block.get(self.at).copied())
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
    }

    fn skip_space(&mut self) -> Result<Option<u8>, DecodeError> {
        while let Some(byte) = self.peek()? {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(Some(byte));
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Skips white space and returns the byte behind it, which must be there.
    fn need(&mut self) -> Result<u8, DecodeError> {
        self.skip_space()?.ok_or_else(|| self.wrong("the document ends in its middle"))
    }

    fn skip_bom(&mut self) -> Result<(), DecodeError> {
        self.peek()?;
        if self.block.starts_with(&BOM) {
            self.at += BOM.len();
        }
        if self.block.starts_with(&[0xff, 0xfe]) || self.block.starts_with(&[0xfe, 0xff]) {
            return Err(self.wrong("it is UTF-16, JSON is UTF-8 (RFC 8259)"));
        }
        Ok(())
    }

    fn count_lines(&mut self) {
        let at = self.at.min(self.block.len());
        for newline in memchr::memchr_iter(b'\n', &self.block[self.counted..at]) {
            self.lines += 1;
            self.line_start = self.before + (self.counted + newline) as u64 + 1;
        }
        self.counted = at;
    }

    /// Returns the line and column of the next byte, from 1.
    fn place(&mut self) -> (u64, u64) {
        self.count_lines();
        (self.lines + 1, self.before + self.at as u64 - self.line_start + 1)
    }

    fn wrong(&mut self, what: &str) -> DecodeError {
        let (line, column) = self.place();
        DecodeError::Format {
            file: self.file.clone(),
            format: "JSON",
            place: format!("line {line}, column {column}"),
            what: what.to_owned(),
        }
    }

    /// Skips one value, and checks it as far as a record's size goes.
    fn skip_value(&mut self) -> Result<(), DecodeError> {
        let mut raw = Vec::new();
        if !self.capture(&mut raw)? {
            return Ok(());
        }
        match serde_json::from_slice::<&RawValue>(&raw) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.wrong(&format!("the value before is no JSON: {error}"))),
        }
    }

    /// Reads one value to its end and appends it to `out`; false if it is larger than a record may be, and then `out`
    /// has only its beginning. Only brackets and quotes are looked at: the parser judges the rest.
    fn capture(&mut self, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let limit = out.len().saturating_add(ROW_BYTES_MAX);
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        let first = self.peek()?;
        let is_plain = !matches!(first, Some(b'{' | b'[' | b'"'));
        let mut is_whole = true;
        loop {
            if self.peek()?.is_none() {
                if is_plain {
                    return Ok(is_whole);
                }
                return Err(self.wrong("the document ends in its middle"));
            }
            let start = self.at;
            let mut done = false;
            while let Some(&byte) = self.block.get(self.at) {
                if in_string {
                    if escaped {
                        escaped = false;
                    } else if let Some(next) = memchr::memchr2(b'"', b'\\', &self.block[self.at..]) {
                        self.at += next;
                        escaped = self.block[self.at] == b'\\';
                        in_string = escaped;
                        done = !in_string && depth == 0;
                    } else {
                        self.at = self.block.len();
                        break;
                    }
                    self.at += 1;
                } else if is_plain {
                    done = matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\r' | b'\n');
                    self.at += usize::from(!done);
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => {
                            depth += 1;
                            deepest = deepest.max(depth);
                        }
                        b'}' | b']' => {
                            depth = depth.saturating_sub(1);
                            done = depth == 0;
                        }
                        _ => {}
                    }
                    self.at += 1;
                }
                if done {
                    break;
                }
            }
            if is_whole {
                out.extend_from_slice(&self.block[start..self.at]);
                is_whole = out.len() <= limit;
            }
            if deepest > DEPTH_MAX {
                return Err(self.wrong(&format!("nested deeper than {DEPTH_MAX}")));
            }
            if done {
                return Ok(is_whole);
            }
        }
    }
}
