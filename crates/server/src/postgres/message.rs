//! What clients say, and the short messages that they hear. Every field is checked; a message that has more or less in
//! it than it should is an error.

use bytes::{BufMut, Bytes};

use super::kind::{Format, Kind};
use super::wire::{Fields, Frame, Wire, WireError, malformed, put_text};

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Statements to be run at once.
    Query(String),
    /// A statement to be kept under a name.
    Parse { name: String, sql: String, types: Vec<u32> },
    /// Values for the parameters of a statement.
    Bind(Bind),
    /// The wish to know what a statement or portal gives.
    Describe(Target),
    /// The wish to have rows of a portal; 0 is all of them.
    Execute { portal: String, rows: usize },
    /// A statement or portal is no longer wanted.
    Close(Target),
    /// The end of a group of messages.
    Sync,
    /// The wish to have what is gathered.
    Flush,
    /// Goodbye.
    Terminate,
    /// A part of a proof.
    Proof(Bytes),
    /// A message about data that come in, or about functions by number. Neither is offered.
    Other,
}

/// A statement or a portal, by name.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// The values of a portal.
#[derive(Debug, PartialEq)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) formats: Vec<Format>,
    pub(super) values: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<Format>,
}

/// Understands a message.
pub(super) fn understand(frame: Frame) -> Result<Message, WireError> {
    let mut fields = frame.fields;
    let message = match frame.kind {
        b'Q' => Message::Query(fields.text()?),
        b'P' => {
            let (name, sql, count) = (fields.text()?, fields.text()?, fields.count()?);
            let types: Result<Vec<u32>, _> = (0..count).map(|_| fields.number().map(i32::cast_unsigned)).collect();
            Message::Parse { name, sql, types: types? }
        }
        b'B' => {
            let (portal, statement) = (fields.text()?, fields.text()?);
            let formats = formats(&mut fields)?;
            let count = fields.count()?;
            let values: Result<Vec<Option<Bytes>>, _> = (0..count).map(|_| fields.value()).collect();
            let values = values?;
            let result_formats = self::formats(&mut fields)?;
            Message::Bind(Bind { portal, statement, formats, values, result_formats })
        }
        b'D' => Message::Describe(target(&mut fields)?),
        b'C' => Message::Close(target(&mut fields)?),
        b'E' => {
            let (portal, rows) = (fields.text()?, fields.number()?);
            // Like Postgres: less than one is all of them.
            Message::Execute { portal, rows: usize::try_from(rows).unwrap_or(0) }
        }
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'X' => Message::Terminate,
        b'p' => return Ok(Message::Proof(fields.rest())),
        _ => return Ok(Message::Other),
    };
    fields.end()?;
    Ok(message)
}

fn formats(fields: &mut Fields) -> Result<Vec<Format>, WireError> {
    let count = fields.count()?;
    (0..count)
        .map(|_| match fields.short()? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => Err(malformed("a format is neither text nor binary")),
        })
        .collect()
}

fn target(fields: &mut Fields) -> Result<Target, WireError> {
    match fields.byte()? {
        b'S' => fields.text().map(Target::Statement),
        b'P' => fields.text().map(Target::Portal),
        _ => Err(malformed("the target is neither a statement nor a portal")),
    }
}

/// What of a transaction clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// There is none.
    Idle,
    /// There is one.
    Open,
    /// There is one, and something in it failed.
    Failed,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Digits of a numeric, as Postgres writes them down; -1 is none.
    pub(super) modifier: i32,
}

impl Wire {
    pub(super) fn ready(&mut self, status: Status) {
        let letter = match status {
            Status::Idle => b'I',
            Status::Open => b'T',
            Status::Failed => b'E',
        };
        self.put(b'Z', |out| out.put_u8(letter));
    }

    /// Says how a statement went: `SELECT 5`.
    pub(super) fn complete(&mut self, tag: &str) {
        self.put(b'C', |out| put_text(out, tag));
    }

    /// Says a setting's value.
    pub(super) fn setting(&mut self, name: &str, value: &str) {
        self.put(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }

    /// A message that has nothing in it.
    pub(super) fn bare(&mut self, kind: u8) {
        self.put(kind, |_| {});
    }

    /// Says which columns come; formats as for [`format_of`].
    pub(super) fn columns(&mut self, columns: &[Column], formats: &[Format]) {
        self.put(b'T', |out| {
            out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
            for (place, column) in columns.iter().enumerate() {
                put_text(out, &column.name);
                out.put_u32(0);
                out.put_u16(0);
                out.put_u32(column.kind.oid());
                out.put_i16(column.kind.size());
                out.put_i32(column.modifier);
                out.put_i16(format_of(formats, place).code());
            }
        });
    }

    /// Says which types the parameters of a statement have.
    pub(super) fn parameters(&mut self, types: &[u32]) {
        self.put(b't', |out| {
            out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
            types.iter().for_each(|oid| out.put_u32(*oid));
        });
    }
}

/// The format at a place: none are all text, one is for all places.
pub(super) fn format_of(formats: &[Format], place: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(place).copied().unwrap_or(Format::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: u8, bytes: &[u8]) -> Result<Message, WireError> {
        understand(Frame { kind, fields: Fields::of(bytes) })
    }

    #[test]
    fn messages_are_understood_whole_or_not_at_all() {
        assert_eq!(of(b'Q', b"SELECT 1\0").unwrap(), Message::Query("SELECT 1".to_owned()));
        assert!(of(b'Q', b"SELECT 1\0more").is_err() && of(b'Q', b"SELECT 1").is_err());
        let parse = Message::Parse { name: "a".to_owned(), sql: "b".to_owned(), types: vec![23] };
        assert_eq!(of(b'P', b"a\0b\0\0\x01\0\0\0\x17").unwrap(), parse);
        assert!(of(b'P', b"a\0b\0\xff\xff\0\0\0\x17").is_err());
        let bind = Bind {
            portal: String::new(),
            statement: "s".to_owned(),
            formats: vec![Format::Binary],
            values: vec![None, Some(Bytes::from_static(b"xy"))],
            result_formats: vec![Format::Text],
        };
        let bytes = b"\0s\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x02xy\0\x01\0\0";
        assert_eq!(of(b'B', bytes).unwrap(), Message::Bind(bind));
        for end in 0..bytes.len() {
            assert!(of(b'B', &bytes[..end]).is_err(), "{end}");
        }
        assert!(of(b'B', b"\0s\0\0\x01\0\x07\0\0\0\0").is_err());
        assert!(of(b'D', b"Xname\0").is_err());
        let execute = Message::Execute { portal: String::new(), rows: 0 };
        assert_eq!(of(b'E', b"\0\xff\xff\xff\xff").unwrap(), execute);
    }
}
