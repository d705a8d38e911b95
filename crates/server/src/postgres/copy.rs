//! `COPY … TO STDOUT`: the rows of a query as text, CSV or Postgres' binary form.

use bytes::{BufMut, BytesMut};

use super::commands::Form;
use super::message::Column;
use super::value::Rows;
use super::wire::put;

/// Begins the binary form: a signature that damage would change, no flags, no extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Form {
    /// Says that rows follow, and writes what comes before them.
    pub(super) fn begin(&self, columns: &[Column], out: &mut BytesMut) {
        let format = u8::from(*self == Self::Binary);
        put(out, b'H', |out| {
            out.put_u8(format);
            out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
            columns.iter().for_each(|_| out.put_i16(i16::from(format)));
        });
        match self {
            Self::Csv { delimiter, quote, has_header: true, .. } => {
                let mut line = String::new();
                for (place, column) in columns.iter().enumerate() {
                    if place > 0 {
                        line.push(*delimiter);
                    }
                    put_csv(&column.name, *delimiter, *quote, "", &mut line);
                }
                line.push('\n');
                put(out, b'd', |out| out.put_slice(line.as_bytes()));
            }
            Self::Csv { .. } | Self::Text { .. } | Self::Binary => {}
        }
    }

    /// Writes one row of so many columns, before which `sent` rows were written.
    pub(super) fn row(&self, rows: &Rows, row: usize, count: usize, sent: u64, out: &mut BytesMut) {
        if *self == Self::Binary {
            return put(out, b'd', |out| {
                sign(sent, out);
                rows.put_fields(row, out);
            });
        }
        let (mut line, mut text) = (String::new(), String::new());
        for column in 0..count {
            text.clear();
            let is_there = rows.text(row, column, &mut text);
            match self {
                Self::Text { delimiter, null } => {
                    separate(column, *delimiter, &mut line);
                    if is_there { put_escaped(&text, *delimiter, &mut line) } else { line.push_str(null) }
                }
                Self::Csv { delimiter, null, quote, .. } => {
                    separate(column, *delimiter, &mut line);
                    if is_there { put_csv(&text, *delimiter, *quote, null, &mut line) } else { line.push_str(null) }
                }
                Self::Binary => {}
            }
        }
        line.push('\n');
        put(out, b'd', |out| out.put_slice(line.as_bytes()));
    }

    /// Writes what comes after so many rows.
    pub(super) fn end(&self, sent: u64, out: &mut BytesMut) {
        if *self == Self::Binary {
            put(out, b'd', |out| {
                sign(sent, out);
                out.put_i16(-1);
            });
        }
        put(out, b'c', |_| {});
    }
}

/// The signature comes in one message with what follows it, as Postgres sends it; drivers count on that.
fn sign(sent: u64, out: &mut BytesMut) {
    if sent == 0 {
        out.put_slice(SIGNATURE);
    }
}

fn separate(column: usize, delimiter: char, line: &mut String) {
    if column > 0 {
        line.push(delimiter);
    }
}

fn put_escaped(text: &str, delimiter: char, line: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{8}' => line.push_str("\\b"),
            '\u{b}' => line.push_str("\\v"),
            '\u{c}' => line.push_str("\\f"),
            other if other == delimiter => {
                line.push('\\');
                line.push(other);
            }
            other => line.push(other),
        }
    }
}

/// Quotes where the text would not be read as it is, or would be read as missing.
fn put_csv(text: &str, delimiter: char, quote: char, null: &str, line: &mut String) {
    let needs = |character: char| character == delimiter || character == quote || matches!(character, '\n' | '\r');
    if !text.contains(needs) && text != null && text != "\\." {
        return line.push_str(text);
    }
    line.push(quote);
    for character in text.chars() {
        if character == quote {
            line.push(quote);
        }
        line.push(character);
    }
    line.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were() {
        let csv = |text: &str| {
            let mut line = String::new();
            put_csv(text, ',', '"', "", &mut line);
            line
        };
        assert_eq!(csv("plain"), "plain");
        assert_eq!(
            (csv(""), csv("a,b"), csv("say \"x\"")),
            ("\"\"".into(), "\"a,b\"".into(), "\"say \"\"x\"\"\"".into())
        );
        let mut line = String::new();
        put_escaped("a\tb\\N\n", '\t', &mut line);
        assert_eq!(line, "a\\tb\\\\N\\n");
    }
}
