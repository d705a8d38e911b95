//! Where a cell is in the text, and what it says once quotes and white space are taken off.

use crate::csv::dialect::Dialect;

/// Marks a cell that holds doubled quotes or escapes.
const ESCAPED: u32 = 1 << 31;

/// A cell's place in a window of text; windows are far smaller than 2 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    /// Length in bytes, and [`ESCAPED`].
    length: u32,
}

impl Span {
    /// Stands for a cell that the record does not have.
    pub(crate) const ABSENT: Self = Self { start: u32::MAX, length: 0 };

    /// Makes the span of the bytes from `start` to `end`.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 }
    }

    /// Makes the span of the inside of quotes.
    pub(crate) fn quoted(start: usize, end: usize, escaped: bool) -> Self {
        let mut span = Self::new(start, end);
        if escaped {
            span.length |= ESCAPED;
        }
        span
    }

    /// Says whether the record has no such cell.
    #[inline]
    pub(crate) fn is_absent(self) -> bool {
        self == Self::ABSENT
    }

    /// Returns the bytes between the delimiters or quotes, as received.
    #[inline]
    pub(crate) fn raw(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        text.get(start..start + (self.length & !ESCAPED) as usize).unwrap_or_default()
    }

    /// Says whether it is the inside of quotes: only then a quote stands in front of it.
    pub(crate) fn is_quoted(self, text: &[u8], quote: u8) -> bool {
        (self.start as usize).checked_sub(1).and_then(|before| text.get(before)) == Some(&quote)
    }

    /// Returns the number of bytes as received.
    pub(crate) fn raw_len(self) -> usize {
        (self.length & !ESCAPED) as usize
    }

    /// Returns what the cell says; `scratch` is used when the cell must be rewritten.
    #[inline]
    pub(crate) fn value<'a>(self, text: &'a [u8], dialect: &Dialect, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let mut bytes = self.raw(text);
        if self.length & ESCAPED != 0 {
            unescape(bytes, dialect, scratch);
            bytes = scratch;
        }
        if dialect.trim { trimmed(bytes) } else { bytes }
    }
}

fn unescape(bytes: &[u8], dialect: &Dialect, out: &mut Vec<u8>) {
    out.clear();
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        // An escape in front of anything but a quote and itself is text (`C:\new`).
        if Some(byte) == dialect.escape
            && let Some(escaped) = rest.next_if(|next| dialect.is_escapable(*next))
        {
            out.push(escaped);
            continue;
        }
        out.push(byte);
        if Some(byte) == dialect.quote {
            rest.next();
        }
    }
}

/// Cuts white space off both ends: ASCII, and what Unicode calls white space (no-break spaces in French tables).
#[inline]
pub(crate) fn trimmed(bytes: &[u8]) -> &[u8] {
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return bytes;
    };
    let plain = |byte: u8| byte > b' ' && byte < 0x7f;
    if plain(*first) && plain(*last) {
        return bytes;
    }
    trimmed_slowly(bytes)
}

fn trimmed_slowly(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    // The white space characters beyond ASCII start with one of these bytes and end in 0x80 to 0xaf.
    let starts = bytes.first().is_some_and(|first| matches!(first, 0xc2 | 0xe1 | 0xe2 | 0xe3));
    let ends = bytes.last().is_some_and(|last| matches!(last, 0x80..=0xaf));
    if !starts && !ends {
        return bytes;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_all_kinds_is_cut() {
        for (text, expected) in [
            ("a", "a"),
            ("", ""),
            ("  ", ""),
            (" a b\t", "a b"),
            ("\u{a0}1\u{202f}000\u{a0}", "1\u{202f}000"),
            ("България ", "България"),
            ("\u{3000}日本\u{2003}", "日本"),
            ("é", "é"),
        ] {
            assert_eq!(trimmed(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
    }
}
