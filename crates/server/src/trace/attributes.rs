//! What spans say about requests and queries, in OpenTelemetry's words where it has some, within limits.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// Bytes of one text; what is longer is cut off.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// The words with which statements begin that are told apart.
const OPERATIONS: [&str; 8] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "EXPLAIN", "COPY"];

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Whether something is so.
    Flag(bool),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Text(text.get(..end).unwrap_or_default().to_owned())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        if text.len() > TEXT_BYTES_MAX { Self::from(text.as_str()) } else { Self::Text(text) }
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for SpanValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for SpanValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// An attribute as OTLP has it.
pub(super) fn attribute(key: &str, value: SpanValue) -> KeyValue {
    let value = match value {
        SpanValue::Text(text) => Wire::StringValue(text),
        SpanValue::Number(number) => Wire::IntValue(number),
        SpanValue::Flag(flag) => Wire::BoolValue(flag),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The word that says what a statement does, one of a few; `OTHER` for the rest. Comments before it are passed over.
pub(crate) fn operation(sql: &str) -> &'static str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(' || letter == ';');
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            break;
        };
    }
    let word = rest.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    OPERATIONS.into_iter().find(|known| known.eq_ignore_ascii_case(word)).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_first_word() {
        for (sql, expected) in [
            ("select 1", "SELECT"),
            (" \n(SELECT 1)", "SELECT"),
            ("-- SHOW\nWITH a AS (SELECT 1) SELECT * FROM a", "WITH"),
            ("/* a */ /* b */VALUES (1)", "VALUES"),
            ("TABLE x", "TABLE"),
            ("SELECTED", "OTHER"),
            ("DROP TABLE x", "OTHER"),
            ("", "OTHER"),
            ("/* open", "OTHER"),
            ("--", "OTHER"),
            ("жук", "OTHER"),
        ] {
            assert_eq!(operation(sql), expected, "{sql}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let text = "ж".repeat(TEXT_BYTES_MAX);
        for value in [SpanValue::from(text.as_str()), SpanValue::from(format!("a{text}"))] {
            let SpanValue::Text(cut) = value else { panic!("{value:?}") };
            assert!(cut.len() <= TEXT_BYTES_MAX && cut.len() >= TEXT_BYTES_MAX - 1, "{}", cut.len());
        }
    }
}
