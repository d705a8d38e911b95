//! Places in a JSON document (RFC 6901) and the scalars found there. Nothing here reads a whole document.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A JSON Pointer, parsed once. The segment `*` stands for every item where a place of records is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    text: String,
    segments: Vec<String>,
}

/// Why a text is no JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a JSON Pointer: it is empty or starts with `/`, for instance `/result/count`")]
pub struct PointerError {
    /// The text as given.
    pub text: String,
}

impl Pointer {
    /// The whole document.
    pub fn root() -> Self {
        Self { text: String::new(), segments: Vec::new() }
    }

    /// Returns its parts, unescaped.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Ok(Self { text: String::new(), segments: Vec::new() })
            } else {
                Err(PointerError { text: text.to_owned() })
            };
        };
        let segments = rest.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect();
        Ok(Self { text: text.to_owned(), segments })
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;
    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.text
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/.*)?$", "description": "JSON Pointer (RFC 6901)" })
    }
}

/// What was found at a place. Objects and arrays are only named: their content is never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, digit for digit.
    Number(String),
    /// A text.
    Text(String),
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Scalar {
    /// Returns a whole number that is not negative, also where it is written as text (the World Bank's `"50"`).
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::Number(text) | Self::Text(text) => text.trim().parse().ok(),
            Self::Null | Self::Bool(_) | Self::Array | Self::Object => None,
        }
    }

    /// Returns the text of a non-empty text, number or boolean.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::Number(text) | Self::Text(text) if !text.is_empty() => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(_) | Self::Text(_) | Self::Null | Self::Array | Self::Object => None,
        }
    }

    /// Says whether `self` comes after `other`: numbers by value, everything else by its text.
    pub fn is_after(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => number_is_after(left, right),
            _ => self.as_text() > other.as_text(),
        }
    }
}

fn number_is_after(left: &str, right: &str) -> bool {
    match (left.parse::<i128>(), right.parse::<i128>()) {
        (Ok(left), Ok(right)) => left > right,
        _ => left.parse::<f64>().unwrap_or(f64::NAN) > right.parse::<f64>().unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_parsed_and_refused() {
        let segments = |text: &str| text.parse::<Pointer>().map(|pointer| pointer.segments().to_vec());
        assert_eq!(segments("").unwrap(), Vec::<String>::new());
        assert_eq!(segments("/a~1b/0/m~0n").unwrap(), ["a/b", "0", "m~n"]);
        assert_eq!(segments("/").unwrap(), [""]);
        assert!(segments("result/count").unwrap_err().to_string().contains("`result/count`"));
    }

    #[test]
    fn numbers_compare_by_value() {
        let number = |text: &str| Scalar::Number(text.to_owned());
        assert!(number("10").is_after(&number("9")));
        assert!(!number("9").is_after(&number("10")));
        assert!(number("18446744073709551616").is_after(&number("18446744073709551615")));
        assert!(Scalar::Text("2024-02".into()).is_after(&Scalar::Text("2024-01".into())));
    }
}
