//! Errors in Postgres' own terms: SQLSTATE for the class and cause of an error, and its place in the text that the client
//! sent.

use bytes::BufMut;
use hambar_core::{Chain, Classified, ErrorClass};
use hambar_query::{Cause, Position};

use super::wire::{Wire, WireError, put_text};
use crate::access::AccessError;
use crate::front::FrontError;
use crate::rest::problem::note;

/// An error as clients are told it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    message: String,
    hint: Option<String>,
    /// The character of the client's text, counted from 1.
    position: Option<usize>,
    /// Whether the connection ends with it.
    pub(super) is_fatal: bool,
}

/// Why a message was not carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is over.
    Wire(WireError),
    /// The client is told.
    Refused(Refusal),
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, position: None, is_fatal: false }
    }

    /// A client that does not keep to the protocol.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn fatal(mut self) -> Self {
        self.is_fatal = true;
        self
    }

    /// An error of a statement `sql` that begins `before` characters into the text that the client sent.
    pub(super) fn of(error: &FrontError, sql: &str, before: usize) -> Self {
        // Causes inside the store may name paths and hosts, which are for the log.
        let message = if note(error) { "the server could not answer".to_owned() } else { Chain(error).to_string() };
        let place = error.position().and_then(|position| character(sql, position));
        Self {
            code: code(error),
            message,
            hint: error.hint(),
            position: place.map(|place| before + place),
            is_fatal: matches!(error, FrontError::Stopping),
        }
    }

    /// Why somebody is not let in whose proof did not fail: none is shown, or it cannot be judged.
    pub(super) fn of_access(error: AccessError) -> Self {
        let code = if matches!(error, AccessError::Needed) { "28000" } else { "58000" };
        Self { code, ..Self::of(&FrontError::Access(error), "", 0) }
    }

    /// Why a connection is ended that does not keep to the protocol or to its limits.
    pub(super) fn of_wire(error: &WireError) -> Option<Self> {
        let code = match error {
            WireError::Io(_) | WireError::Closed => return None,
            WireError::Time { .. } => "57P05",
            WireError::Length { .. } => "54000",
            WireError::Malformed { .. } => "08P01",
        };
        Some(Self::new(code, error.to_string()).fatal())
    }
}

impl Wire {
    /// Gathers an error.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let severity = if refusal.is_fatal { "FATAL" } else { "ERROR" };
        self.put(b'E', |out| {
            let mut field = |kind: u8, text: &str| {
                out.put_u8(kind);
                put_text(out, text);
            };
            field(b'S', severity);
            field(b'V', severity);
            field(b'C', refusal.code);
            field(b'M', &refusal.message);
            if let Some(hint) = &refusal.hint {
                field(b'H', hint);
            }
            if let Some(id) = crate::trace::current().id() {
                field(b'W', &format!("trace {id}"));
            }
            if let Some(position) = refusal.position {
                field(b'P', &position.to_string());
            }
            out.put_u8(0);
        });
    }
}

/// Returns SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn code(error: &FrontError) -> &'static str {
    match error {
        FrontError::Stopping => return "57P01",
        FrontError::Access(_) => return "28000",
        FrontError::Query(error) => {
            let known = match error.cause() {
                Cause::Syntax => Some("42601"),
                Cause::Statement => Some("25006"),
                Cause::Table => Some("42P01"),
                Cause::Column => Some("42703"),
                Cause::Parameters => Some("22P02"),
                Cause::Data => Some("22000"),
                Cause::Time => Some("57014"),
                Cause::Memory => Some("53200"),
                Cause::Other => None,
            };
            if let Some(known) = known {
                return known;
            }
        }
        _ => {}
    }
    match error.class() {
        ErrorClass::Query => "42000",
        ErrorClass::Denied => "42501",
        ErrorClass::Limit => "54000",
        ErrorClass::Quota => "53400",
        ErrorClass::Cancelled => "57014",
        ErrorClass::Store => "58030",
        ErrorClass::Transient => "57P03",
        ErrorClass::Conflict => "40001",
        ErrorClass::Config => "F0000",
        ErrorClass::Internal => "XX000",
        ErrorClass::Refused | ErrorClass::Incomplete | ErrorClass::Drift | ErrorClass::Data => "XX001",
    }
}

/// Counts the characters of `sql` up to a place, from 1.
fn character(sql: &str, position: Position) -> Option<usize> {
    let line = usize::try_from(position.line.checked_sub(1)?).ok()?;
    let column = usize::try_from(position.column).ok()?;
    let before: usize = sql.split('\n').take(line).map(|text| text.chars().count() + 1).sum();
    Some(before + column)
}

#[cfg(test)]
mod tests {
    use hambar_query::QueryError;

    use super::*;

    #[test]
    fn places_are_counted_in_characters_of_the_whole_text() {
        let error = |line, column| {
            let position = Some(Position { line, column });
            FrontError::Query(QueryError::Syntax { message: "no".to_owned(), similar: Vec::new(), position })
        };
        let place = |line, column, before| Refusal::of(&error(line, column), "SELECT 'ü',\n x", before).position;
        assert_eq!(place(1, 8, 0), Some(8));
        assert_eq!(place(2, 2, 0), Some(14));
        assert_eq!(place(2, 2, 100), Some(114));
        assert_eq!(Refusal::of(&error(1, 1), "x", 0).code, "42601");
        let limit = FrontError::Query(QueryError::RunTime { limit: std::time::Duration::from_secs(1) });
        assert_eq!(Refusal::of(&limit, "x", 0).code, "57014");
    }

    #[test]
    fn what_is_wrong_inside_the_server_is_not_told() {
        let inner = Refusal::of_access(AccessError::Random);
        assert_eq!((inner.code, inner.message.as_str()), ("58000", "the server could not answer"));
        let needed = Refusal::of_access(AccessError::Needed);
        assert_eq!((needed.code, needed.message.as_str()), ("28000", "a token is needed"));
    }
}
