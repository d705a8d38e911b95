//! A limit on the texts of a JSON message while it is read: serde_json holds a text as a whole, however long it is.

use std::fmt;
use std::io::{self, Read};

use hambar_core::limits::CELL_BYTES_MAX;

/// Bytes of one text, escapes as they are written; a cell has no more.
pub(super) const TEXT_BYTES_MAX: usize = CELL_BYTES_MAX;

/// The error of a text beyond the limit.
#[derive(Debug)]
pub(super) struct TextTooLong;

impl fmt::Display for TextTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a text of more than {TEXT_BYTES_MAX} bytes")
    }
}

impl std::error::Error for TextTooLong {}

/// Passes bytes of JSON on until a text is too long. Looks at quotes only, the parser judges the rest.
pub(super) struct Texts<R> {
    inner: R,
    /// Bytes of the text that is open.
    open: Option<usize>,
    is_escaped: bool,
}

impl<R: Read> Texts<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, open: None, is_escaped: false }
    }

    fn look_at(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(first) = bytes.first() {
            let Some(length) = self.open else {
                let Some(quote) = memchr::memchr(b'"', bytes) else { return Ok(()) };
                self.open = Some(0);
                bytes = &bytes[quote + 1..];
                continue;
            };
            let step = if self.is_escaped {
                self.is_escaped = false;
                1
            } else if *first == b'\\' {
                self.is_escaped = true;
                1
            } else if *first == b'"' {
                self.open = None;
                bytes = &bytes[1..];
                continue;
            } else {
                memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())
            };
            if length + step > TEXT_BYTES_MAX {
                return Err(io::Error::other(TextTooLong));
            }
            self.open = Some(length + step);
            bytes = &bytes[step..];
        }
        Ok(())
    }
}

impl<R: Read> Read for Texts<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.look_at(&into[..read])?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_fit: bool) {
        for step in [1, 7, 100_000] {
            let mut texts = Texts::new(text.as_bytes());
            let (mut block, mut outcome) = (vec![0; step], Ok(1));
            while matches!(outcome, Ok(1..)) {
                outcome = texts.read(&mut block);
            }
            assert_eq!(outcome.is_ok(), is_fit, "in steps of {step}");
        }
    }

    #[test]
    fn only_long_texts_are_refused_wherever_they_are_cut() {
        let most = "x".repeat(TEXT_BYTES_MAX);
        check(&format!("{{\"a\\\"\": \"{most}\", \"b\": \"{most}\"}}"), true);
        check(&format!("{{\"a\": \"{most}y\"}}"), false);
        check(&format!("{{\"{most}\\\"\": 1}}"), false);
        check(&" ".repeat(2 * TEXT_BYTES_MAX), true);
    }
}
