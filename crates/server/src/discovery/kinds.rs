//! The types of columns in the words of each vocabulary.

use arrow::datatypes::DataType;

/// What a column holds, as far as the vocabularies tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Number,
    Decimal,
    Flag,
    Day,
    Instant,
    Text,
    Nested,
}

impl Kind {
    pub(super) fn of(kind: &DataType) -> Self {
        match kind {
            kind if kind.is_integer() => Self::Whole,
            kind if kind.is_floating() => Self::Number,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Decimal,
            DataType::Boolean => Self::Flag,
            DataType::Date32 | DataType::Date64 => Self::Day,
            DataType::Timestamp(..) => Self::Instant,
            DataType::Dictionary(_, value) => Self::of(value),
            kind if kind.is_nested() => Self::Nested,
            _ => Self::Text,
        }
    }

    /// In Croissant.
    pub(super) fn croissant(self) -> &'static str {
        match self {
            Self::Whole => "sc:Integer",
            Self::Number | Self::Decimal => "sc:Float",
            Self::Flag => "sc:Boolean",
            Self::Day => "sc:Date",
            Self::Instant => "sc:DateTime",
            Self::Text | Self::Nested => "sc:Text",
        }
    }

    /// In CSV on the Web.
    pub(super) fn csvw(self) -> &'static str {
        match self {
            Self::Whole => "integer",
            Self::Number => "double",
            Self::Decimal => "decimal",
            Self::Flag => "boolean",
            Self::Day => "date",
            Self::Instant => "dateTime",
            Self::Text | Self::Nested => "string",
        }
    }

    /// In a table schema of Frictionless.
    pub(super) fn frictionless(self) -> &'static str {
        match self {
            Self::Whole => "integer",
            Self::Number | Self::Decimal => "number",
            Self::Flag => "boolean",
            Self::Day => "date",
            Self::Instant => "datetime",
            Self::Text | Self::Nested => "string",
        }
    }
}
