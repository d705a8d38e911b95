//! Column types of the spec and their Arrow form.
//!
//! The text form is a small grammar: `string`, `bool`, `int32`, `int64`, `float64`, `decimal(p,s)`, `date`,
//! `timestamp`, `binary`, `list<T>`, `struct<name: T, …>`. Delta stores microseconds in UTC and decimals up
//! to 38 digits; nothing else is offered, so that every reader sees the same values (`reliability.md` LD17).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::name::Ident;

/// The type of a column, as declared in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// True or false.
    Bool,
    /// Signed 32-bit integer.
    Int32,
    /// Signed 64-bit integer.
    Int64,
    /// IEEE 754 double.
    Float64,
    /// Exact decimal: digits in all (1 to 38) and digits after the point (0 to the digits in all).
    Decimal(u8, i8),
    /// Calendar date.
    Date,
    /// Instant in UTC, microseconds.
    Timestamp,
    /// Bytes.
    Binary,
    /// List of one type.
    List(Box<ColumnType>),
    /// Named fields in order; names as the source spells them.
    Struct(Vec<(String, ColumnType)>),
}

/// Why a type's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a column type: use string, bool, int32, int64, float64, decimal(p,s), date, timestamp, binary, list<T> or struct<name: T>"
)]
pub struct TypeError {
    /// The text as given.
    pub text: String,
}

impl ColumnType {
    /// Returns the Arrow type in which the store keeps it.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Binary => DataType::Binary,
            Self::List(item) => DataType::List(Arc::new(Field::new("element", item.to_arrow(), true))),
            Self::Struct(fields) => DataType::Struct(
                fields.iter().map(|(name, kind)| Field::new(name, kind.to_arrow(), true)).collect::<Fields>(),
            ),
        }
    }

    /// Says whether this type may become `other`: every value stays the same value, and values keep their order.
    ///
    /// These are the changes that Delta's type widening and Spark allow, as far as both types are offered here: int32
    /// to int64 and float64; int32 to a decimal with 10 digits before the point, int64 to one with 20; a decimal to
    /// one that has as many digits before the point and after it, or more; a date to its first instant in UTC (there
    /// Delta has only the timestamp without a zone). Not int64 to float64, which loses digits, and nothing to text.
    pub fn widens_to(&self, other: &Self) -> bool {
        let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
        match (self, other) {
            (Self::Int32, Self::Int64 | Self::Float64) | (Self::Date, Self::Timestamp) => true,
            (Self::Int32, Self::Decimal(precision, scale)) => whole(*precision, *scale) >= 10,
            (Self::Int64, Self::Decimal(precision, scale)) => whole(*precision, *scale) >= 20,
            (Self::Decimal(precision, scale), Self::Decimal(wide, fine)) => {
                self != other && fine >= scale && whole(*wide, *fine) >= whole(*precision, *scale)
            }
            _ => false,
        }
    }

    /// Returns the type that stands for an Arrow type, or `None` where the store has no form for it.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Dictionary(_, value) => return Self::from_arrow(value),
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => Self::Int32,
            DataType::Int64 | DataType::UInt32 => Self::Int64,
            DataType::UInt64 => Self::Decimal(20, 0),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(_, _) => Self::Timestamp,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Binary
            }
            DataType::List(item) | DataType::LargeList(item) => {
                Self::List(Box::new(Self::from_arrow(item.data_type())?))
            }
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Some((field.name().clone(), Self::from_arrow(field.data_type())?)))
                    .collect::<Option<Vec<_>>>()?,
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => formatter.write_str("string"),
            Self::Bool => formatter.write_str("bool"),
            Self::Int32 => formatter.write_str("int32"),
            Self::Int64 => formatter.write_str("int64"),
            Self::Float64 => formatter.write_str("float64"),
            Self::Decimal(precision, scale) => write!(formatter, "decimal({precision},{scale})"),
            Self::Date => formatter.write_str("date"),
            Self::Timestamp => formatter.write_str("timestamp"),
            Self::Binary => formatter.write_str("binary"),
            Self::List(item) => write!(formatter, "list<{item}>"),
            Self::Struct(fields) => {
                formatter.write_str("struct<")?;
                for (index, (name, kind)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(formatter, "{comma}{name}: {kind}")?;
                }
                formatter.write_str(">")
            }
        }
    }
}

impl FromStr for ColumnType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        let mut rest = text.trim();
        let parsed = parse_type(&mut rest, 0);
        parsed.filter(|_| rest.trim().is_empty()).ok_or_else(|| TypeError { text: text.chars().take(200).collect() })
    }
}

/// Types nest at most this deep.
const NESTING_MAX: usize = 16;

fn parse_type(rest: &mut &str, depth: usize) -> Option<ColumnType> {
    if depth > NESTING_MAX {
        return None;
    }
    let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (word, tail) = rest.split_at(word_end);
    *rest = tail.trim_start();
    Some(match word {
        "string" => ColumnType::String,
        "bool" => ColumnType::Bool,
        "int32" => ColumnType::Int32,
        "int64" => ColumnType::Int64,
        "float64" => ColumnType::Float64,
        "date" => ColumnType::Date,
        "timestamp" => ColumnType::Timestamp,
        "binary" => ColumnType::Binary,
        "decimal" => {
            let inside = bracketed(rest, '(', ')')?;
            let (precision, scale) = inside.split_once(',')?;
            let precision: u8 = precision.trim().parse().ok()?;
            let scale: i8 = scale.trim().parse().ok()?;
            if !(1..=38).contains(&precision) || scale < 0 || scale.unsigned_abs() > precision {
                return None;
            }
            ColumnType::Decimal(precision, scale)
        }
        "list" => {
            *rest = rest.strip_prefix('<')?.trim_start();
            let item = parse_type(rest, depth + 1)?;
            *rest = rest.strip_prefix('>')?.trim_start();
            ColumnType::List(Box::new(item))
        }
        "struct" => {
            *rest = rest.strip_prefix('<')?.trim_start();
            let mut fields = Vec::new();
            loop {
                let (name, tail) = rest.split_once(':')?;
                *rest = tail.trim_start();
                fields.push((name.trim().to_owned(), parse_type(rest, depth + 1)?));
                match rest.strip_prefix(',') {
                    Some(tail) => *rest = tail.trim_start(),
                    None => break,
                }
            }
            *rest = rest.strip_prefix('>')?.trim_start();
            ColumnType::Struct(fields)
        }
        _ => return None,
    })
}

fn bracketed<'a>(rest: &mut &'a str, open: char, close: char) -> Option<&'a str> {
    let (inside, tail) = rest.strip_prefix(open)?.split_once(close)?;
    *rest = tail.trim_start();
    Some(inside)
}

impl TryFrom<String> for ColumnType {
    type Error = TypeError;
    fn try_from(text: String) -> Result<Self, TypeError> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(kind: ColumnType) -> Self {
        kind.to_string()
    }
}

/// A column of a table as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// The name in SQL.
    pub name: Ident,
    /// The type.
    pub kind: ColumnType,
    /// What the provider calls it; kept in the Arrow field's metadata as `source_name`.
    pub source_name: String,
    /// False where a missing value breaks the contract of the row.
    pub nullable: bool,
    /// What it measures and means, for people.
    pub description: Option<String>,
    /// The unit as the provider gives it, for instance `current US$`.
    pub unit: Option<String>,
}

impl ColumnSpec {
    /// Makes a nullable column whose source name is its own.
    pub fn new(name: &Ident, kind: ColumnType) -> Self {
        Self { name: name.clone(), kind, source_name: name.to_string(), nullable: true, description: None, unit: None }
    }

    /// Returns the Arrow field, with `source_name`, `description` and `unit` as metadata.
    pub fn to_field(&self) -> Field {
        let mut metadata = std::collections::HashMap::from([("source_name".to_owned(), self.source_name.clone())]);
        if let Some(description) = &self.description {
            metadata.insert("description".to_owned(), description.clone());
        }
        if let Some(unit) = &self.unit {
            metadata.insert("unit".to_owned(), unit.clone());
        }
        // Every column is nullable in the file: a later release may drop it, and then it stays as NULL.
        Field::new(self.name.as_str(), self.kind.to_arrow(), true).with_metadata(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_where_no_value_changes() {
        let kinds = [
            "string",
            "bool",
            "int32",
            "int64",
            "float64",
            "decimal(10,0)",
            "decimal(12,2)",
            "decimal(20,0)",
            "decimal(38,18)",
            "date",
            "timestamp",
            "binary",
            "list<int32>",
        ];
        let kind = |text: &str| text.parse::<ColumnType>().unwrap();
        let wider = |from: &str| {
            let wide: Vec<&str> = kinds.into_iter().filter(|to| kind(from).widens_to(&kind(to))).collect();
            wide.join(" ")
        };
        let expected = [
            ("int32", "int64 float64 decimal(10,0) decimal(12,2) decimal(20,0) decimal(38,18)"),
            ("int64", "decimal(20,0) decimal(38,18)"),
            ("decimal(10,0)", "decimal(12,2) decimal(20,0) decimal(38,18)"),
            ("decimal(12,2)", "decimal(38,18)"),
            ("decimal(20,0)", "decimal(38,18)"),
            ("date", "timestamp"),
        ];
        for from in kinds {
            let known = expected.iter().find(|(name, _)| *name == from).map_or("", |(_, wide)| wide);
            assert_eq!(wider(from), known, "{from}");
        }
    }

    #[test]
    fn types_survive_text_and_arrow() {
        for text in ["string", "decimal(18,2)", "list<struct<a: int64, b: list<string>>>", "timestamp", "bool"] {
            let kind: ColumnType = text.parse().unwrap();
            assert_eq!(kind.to_string(), text);
            assert_eq!(ColumnType::from_arrow(&kind.to_arrow()), Some(kind));
        }
    }

    #[test]
    fn broken_types_are_refused() {
        for text in ["", "int", "decimal(40,2)", "decimal(3,4)", "list<", "struct<>", "string x", &"list<".repeat(100)]
        {
            assert!(text.parse::<ColumnType>().is_err(), "{text}");
        }
    }
}
