//! The part of the input that is in memory, as UTF-8 text.
//!
//! UTF-8 is taken as it comes and checked later, record by record if need be; single-byte encodings are transcoded as
//! they come in. Positions count bytes of the text, offsets count bytes of the input.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use encoding_rs::Encoding;

use crate::encoding::Charset;

/// Bytes of the first read.
const START_BYTES: usize = 64 * 1024;

/// Where bytes come from.
pub(crate) enum Feed {
    /// A file read at any offset; the next one is kept here.
    File(Arc<File>, u64),
    /// A stream.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(_, offset) => write!(formatter, "File at {offset}"),
            Self::Stream(_) => formatter.write_str("Stream"),
        }
    }
}

impl Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::File(file, offset) => {
                let read = file.read_at(buffer, *offset);
                *offset += read.as_ref().map_or(0, |count| *count as u64);
                read
            }
            Self::Stream(stream) => stream.read(buffer),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(buffer),
            read => read,
        }
    }
}

/// A window of text.
#[derive(Debug)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    /// End of the text in the buffer.
    filled: usize,
    /// Bytes to have in memory at once; grows when a record does not fit.
    capacity: usize,
    /// Offset of the text's first byte in the input.
    start: u64,
    charset: Charset,
    /// The text is known to be UTF-8 up to here.
    valid_to: usize,
    /// Here the text is known to be ASCII without NUL.
    plain: Range<usize>,
    /// Positions of U+FFFD that stand for bytes which are not in the encoding.
    poison: Vec<usize>,
    /// The end of the input is in the window.
    last: bool,
    raw: Vec<u8>,
}

impl Window {
    /// Makes an empty window.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            capacity,
            start: 0,
            charset: Charset::Guess,
            valid_to: 0,
            plain: 0..0,
            poison: Vec::new(),
            last: false,
            raw: Vec::new(),
        }
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Says whether the text reaches to the end of the input.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    /// Returns how the bytes are read.
    pub(crate) fn charset(&self) -> Charset {
        self.charset
    }

    /// Empties the window and moves it to `offset`.
    pub(crate) fn restart(&mut self, offset: u64) {
        self.filled = 0;
        self.start = offset;
        self.valid_to = 0;
        self.plain = 0..0;
        self.poison.clear();
        self.last = false;
    }

    /// Replaces the text by bytes of the input that start at `offset`, to be read in another encoding.
    pub(crate) fn replace(&mut self, offset: u64, raw: &[u8], charset: Charset) {
        let last = self.last;
        self.restart(offset);
        self.last = last;
        self.charset = charset;
        if let Charset::SingleByte(encoding) = charset {
            self.transcode(raw, encoding);
        } else {
            self.buffer.clear();
            self.buffer.extend_from_slice(raw);
            self.filled = raw.len();
        }
    }

    /// Drops the text before `to` and reads on until the window is full or the input ends. A window that is full
    /// already is made larger.
    pub(crate) fn advance(&mut self, feed: &mut Feed, to: usize) -> io::Result<()> {
        self.start = self.offset(to);
        self.buffer.copy_within(to.min(self.filled)..self.filled, 0);
        self.filled -= to.min(self.filled);
        self.valid_to = self.valid_to.saturating_sub(to);
        self.plain = self.plain.start.saturating_sub(to)..self.plain.end.saturating_sub(to);
        self.poison.retain(|at| *at >= to);
        self.poison.iter_mut().for_each(|at| *at -= to);
        if self.filled * 4 > self.capacity * 3 {
            self.capacity *= 2;
        }
        while self.filled < self.capacity && !self.last {
            self.read(feed)?;
        }
        Ok(())
    }

    fn read(&mut self, feed: &mut Feed) -> io::Result<()> {
        if let Charset::SingleByte(encoding) = self.charset {
            let mut raw = std::mem::take(&mut self.raw);
            raw.resize(self.capacity - self.filled, 0);
            let count = feed.read(&mut raw)?;
            self.last = count == 0;
            self.transcode(raw.get(..count).unwrap_or_default(), encoding);
            self.raw = raw;
            return Ok(());
        }
        // Small inputs, of which an archive has thousands, do not pay for a large buffer.
        let wanted = (self.filled * 2).max(START_BYTES).min(self.capacity);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let end = self.buffer.len().min(self.capacity);
        let room = self.buffer.get_mut(self.filled..end).unwrap_or_default();
        let count = feed.read(room)?;
        self.last = count == 0;
        self.filled += count;
        Ok(())
    }

    fn transcode(&mut self, raw: &[u8], encoding: &'static Encoding) {
        self.buffer.truncate(self.filled);
        match encoding.decode_without_bom_handling_and_without_replacement(raw) {
            Some(text) => self.buffer.extend_from_slice(text.as_bytes()),
            None => {
                for byte in raw {
                    let one = std::slice::from_ref(byte);
                    match encoding.decode_without_bom_handling_and_without_replacement(one) {
                        Some(text) => self.buffer.extend_from_slice(text.as_bytes()),
                        None => {
                            self.poison.push(self.buffer.len());
                            self.buffer.extend_from_slice("\u{fffd}".as_bytes());
                        }
                    }
                }
            }
        }
        self.filled = self.buffer.len();
    }

    /// Returns the offset in the input of a position in the text.
    pub(crate) fn offset(&self, position: usize) -> u64 {
        let before = self.text().get(..position.min(self.filled)).unwrap_or_default();
        let bytes = match self.charset {
            Charset::SingleByte(_) => before.iter().filter(|byte| starts_character(**byte)).count(),
            Charset::Guess | Charset::Utf8 | Charset::Sequential(_) => before.len(),
        };
        self.start + bytes as u64
    }

    /// Returns the position in the text of an offset, or a position behind the text if it is not there yet.
    pub(crate) fn position(&self, offset: u64) -> usize {
        let bytes = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let Charset::SingleByte(_) = self.charset else {
            return bytes;
        };
        if bytes > self.filled {
            return usize::MAX;
        }
        let mut starts = self.text().iter().enumerate().filter(|(_, byte)| starts_character(**byte));
        starts.nth(bytes).map_or(usize::MAX, |(position, _)| position)
    }

    /// Says whether the text from `from` to `end` is ASCII without NUL, so that nothing else need be known about it.
    pub(crate) fn is_plain(&mut self, from: usize, end: usize) -> bool {
        const STEP: usize = 64;
        if !self.plain.contains(&from) && self.plain.end != from {
            self.plain = from..from;
        }
        if end <= self.plain.end {
            return true;
        }
        // The highest bit of `byte - 1` is set for NUL, that of `byte` for what is not ASCII.
        let odd = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte | byte.wrapping_sub(1)) & 0x80 != 0;
        let rest = self.text().get(self.plain.end..).unwrap_or_default();
        let (steps, tail) = rest.as_chunks::<STEP>();
        let plain_steps = steps.iter().take_while(|step| !odd(step.as_slice())).count();
        let mut plain = plain_steps * STEP;
        if plain_steps == steps.len() && !odd(tail) {
            plain += tail.len();
        }
        self.plain.end += plain;
        end <= self.plain.end
    }

    /// Says whether the text from `from` to `end` is UTF-8.
    pub(crate) fn is_utf8(&mut self, from: usize, end: usize) -> bool {
        if end <= self.valid_to || matches!(self.charset, Charset::SingleByte(_)) {
            return true;
        }
        let begin = self.valid_to.max(from);
        let valid = match simdutf8::compat::from_utf8(self.text().get(begin..).unwrap_or_default()) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        self.valid_to = begin + valid;
        end <= self.valid_to
    }

    /// Returns the position of the first byte that is not UTF-8, as last found by [`Window::is_utf8`].
    pub(crate) fn valid_to(&self) -> usize {
        self.valid_to
    }

    /// Says whether bytes between `from` and `end` were not in the single-byte encoding.
    pub(crate) fn is_poisoned(&self, from: usize, end: usize) -> bool {
        let next = self.poison.partition_point(|at| *at < from);
        self.poison.get(next).is_some_and(|at| *at < end)
    }
}

fn starts_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}
