//! Character encodings: which one it is, and reading any of them as UTF-8.
//!
//! Without a declaration: a byte order mark decides; then NUL bytes in every other place mean UTF-16; then it is UTF-8
//! as long as the bytes are, else windows-1252. Invalid bytes of a declared encoding are an error or a rejected record,
//! never silently U+FFFD.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::error::DecodeError;

/// Bytes at the start that the detection looks at.
pub const DETECT_BYTES: usize = 64 * 1024;
/// Bytes transcoded in one step.
const STEP_BYTES: usize = 64 * 1024;

/// How bytes are to be read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8 unless a byte sequence is found that is not; then windows-1252, if everything before it was ASCII.
    Guess,
    /// UTF-8, declared or marked.
    Utf8,
    /// One byte a character, the lower half ASCII: can be cut at any byte.
    SingleByte(&'static Encoding),
    /// Anything else (UTF-16, Shift_JIS …): only readable from the start.
    Sequential(&'static Encoding),
}

impl Charset {
    /// What a guess turns into when the bytes are not UTF-8.
    pub(crate) const LEGACY: Self = Self::SingleByte(WINDOWS_1252);

    /// Returns the WHATWG name in lower case.
    pub fn name(self) -> String {
        match self {
            Self::Guess | Self::Utf8 => UTF_8.name().to_lowercase(),
            Self::SingleByte(encoding) | Self::Sequential(encoding) => encoding.name().to_lowercase(),
        }
    }
}

/// What the first bytes and the declaration say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// Bytes of the byte order mark, to be skipped.
    pub mark_bytes: usize,
    /// The encoding.
    pub charset: Charset,
}

/// Finds the encoding from the first bytes (up to [`DETECT_BYTES`]) and the declared label, if any. A byte order mark
/// wins over the declaration, because it is never the start of a text in another encoding.
pub fn detect(head: &[u8], declared: Option<&str>) -> Result<Detected, DecodeError> {
    if let Some((encoding, mark_bytes)) = Encoding::for_bom(head) {
        let charset = if encoding == UTF_8 { Charset::Utf8 } else { Charset::Sequential(encoding) };
        return Ok(Detected { mark_bytes, charset });
    }
    let Some(label) = declared else {
        return Ok(Detected { mark_bytes: 0, charset: unmarked(head) });
    };
    let known = Encoding::for_label_no_replacement(label.as_bytes());
    let encoding = known.ok_or_else(|| DecodeError::Setting {
        setting: "format.encoding",
        what: format!("`{label}` is not an encoding label of https://encoding.spec.whatwg.org/#names-and-labels"),
    })?;
    let charset = if encoding == UTF_8 {
        Charset::Utf8
    } else if encoding.is_single_byte() {
        Charset::SingleByte(encoding)
    } else {
        Charset::Sequential(encoding)
    };
    Ok(Detected { mark_bytes: 0, charset })
}

/// Tells UTF-16 without a mark from the rest: in texts with some ASCII, every other byte is often NUL.
fn unmarked(head: &[u8]) -> Charset {
    let head = head.get(..DETECT_BYTES.min(head.len())).unwrap_or_default();
    let pairs = head.len() / 2;
    let nuls = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (nuls(0), nuls(1));
    if pairs >= 2 && odd * 4 > pairs && even * 16 < pairs {
        Charset::Sequential(UTF_16LE)
    } else if pairs >= 2 && even * 4 > pairs && odd * 16 < pairs {
        Charset::Sequential(UTF_16BE)
    } else {
        Charset::Guess
    }
}

/// Reads bytes in one encoding as UTF-8, with bounded memory. Invalid bytes are an [`io::ErrorKind::InvalidData`]
/// error that names the offset.
pub struct TranscodeReader<R> {
    inner: R,
    decoder: Decoder,
    encoding: &'static Encoding,
    raw: Vec<u8>,
    raw_from: usize,
    raw_to: usize,
    out: Vec<u8>,
    out_from: usize,
    out_to: usize,
    /// Bytes of the input that were decoded.
    consumed: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    InputEnded,
    Finished,
}

impl<R> std::fmt::Debug for TranscodeReader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TranscodeReader").field("encoding", &self.encoding.name()).finish_non_exhaustive()
    }
}

impl<R: Read> TranscodeReader<R> {
    /// Reads `inner`, whose byte order mark of `skipped` bytes was already taken off.
    pub fn new(inner: R, encoding: &'static Encoding, skipped: u64) -> Self {
        Self {
            inner,
            decoder: encoding.new_decoder_without_bom_handling(),
            encoding,
            raw: vec![0; STEP_BYTES],
            raw_from: 0,
            raw_to: 0,
            out: vec![0; STEP_BYTES * 2],
            out_from: 0,
            out_to: 0,
            consumed: skipped,
            state: State::Reading,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.raw_from == self.raw_to && self.state == State::Reading {
            self.raw_from = 0;
            self.raw_to = self.inner.read(&mut self.raw)?;
            if self.raw_to == 0 {
                self.state = State::InputEnded;
            }
        }
        let last = self.state == State::InputEnded;
        let source = self.raw.get(self.raw_from..self.raw_to).unwrap_or_default();
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(source, &mut self.out, last);
        self.raw_from += read;
        self.consumed += read as u64;
        self.out_from = 0;
        self.out_to = written;
        match result {
            DecoderResult::Malformed(bytes, after) => {
                let offset = self.consumed.saturating_sub(u64::from(bytes) + u64::from(after));
                let what = format!("the bytes at offset {offset} are not {}", self.encoding.name().to_lowercase());
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
            DecoderResult::InputEmpty if last => {
                self.state = State::Finished;
                Ok(())
            }
            DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(()),
        }
    }
}

impl<R: Read> Read for TranscodeReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.out_from == self.out_to {
            if self.state == State::Finished {
                return Ok(0);
            }
            self.refill()?;
        }
        let ready = self.out.get(self.out_from..self.out_to).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(ready) {
            *to = *from;
        }
        self.out_from += count;
        Ok(count)
    }
}

/// Reads `input` as UTF-8 whatever its encoding, without the byte order mark, and returns the encoding's name. UTF-8 is
/// passed on unchecked, and so is text of no declared encoding: for formats that must be UTF-8 anyway (JSON, NDJSON).
pub fn utf8_reader(
    mut input: Box<dyn Read + Send>,
    declared: Option<&str>,
    file: &str,
) -> Result<(Box<dyn Read + Send>, String), DecodeError> {
    let mut head = Vec::new();
    let read = input.by_ref().take(DETECT_BYTES as u64).read_to_end(&mut head);
    read.map_err(|source| DecodeError::Read { file: file.to_owned(), source })?;
    let Detected { mark_bytes, charset } = detect(&head, declared)?;
    let head = head.split_off(mark_bytes.min(head.len()));
    let whole = io::Cursor::new(head).chain(input);
    let reader: Box<dyn Read + Send> = match charset {
        Charset::Guess | Charset::Utf8 => Box::new(whole),
        Charset::SingleByte(encoding) | Charset::Sequential(encoding) => {
            Box::new(TranscodeReader::new(whole, encoding, mark_bytes as u64))
        }
    };
    Ok((reader, charset.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], declared: Option<&str>, expected: Result<(&str, &str), &str>) {
        let made = utf8_reader(Box::new(io::Cursor::new(bytes.to_vec())), declared, "body");
        let got = made.map_err(|error| error.to_string()).and_then(|(mut reader, name)| {
            let mut text = String::new();
            reader.read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok((text, name))
        });
        match (got, expected) {
            (Ok((text, name)), Ok(expected)) => assert_eq!((text.as_str(), name.as_str()), expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn encodings_are_found_and_read() {
        check(b"a,b", None, Ok(("a,b", "utf-8")));
        check(b"\xef\xbb\xbfa", Some("windows-1252"), Ok(("a", "utf-8")));
        check(b"\xff\xfea\0,\0", None, Ok(("a,", "utf-16le")));
        check(b"\xfe\xff\0a\0,", None, Ok(("a,", "utf-16be")));
        check(b"a\0,\0b\0\n\0", None, Ok(("a,b\n", "utf-16le")));
        check(b"\0a\0,\0b\0\n", None, Ok(("a,b\n", "utf-16be")));
        check(b"caf\xe9 \x80", Some("latin1"), Ok(("café €", "windows-1252")));
        check(b"\x93\xfa\x96\x7b", Some("shift_jis"), Ok(("日本", "shift_jis")));
        check(b"\x81\x30\x81\x30\xd6\xd0", Some("gb18030"), Ok(("\u{80}中", "gb18030")));
        check(b"", None, Ok(("", "utf-8")));
        check(b"a", Some("klingon"), Err("`klingon` is not an encoding label"));
        check(b"a\0\0\xd8b\0", Some("utf-16le"), Err("the bytes at offset 2 are not utf-16le"));
        check(b"ab\xff\xfe", Some("shift_jis"), Err("the bytes at offset 2 are not shift_jis"));
    }
}
