//! Postgres' types for Arrow's: which one stands for which, and the form in which Arrow holds what is written.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As text.
    Text,
    /// As bytes.
    Binary,
}

impl Format {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A type of Postgres: one value, or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    One(Scalar),
    Many(Scalar),
}

/// A type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
}

/// Each type with its number, the number of its array, and its size in bytes; -1 where that varies.
const NUMBERS: [(Scalar, u32, u32, i16); 15] = [
    (Scalar::Bool, 16, 1000, 1),
    (Scalar::Int2, 21, 1005, 2),
    (Scalar::Int4, 23, 1007, 4),
    (Scalar::Int8, 20, 1016, 8),
    (Scalar::Float4, 700, 1021, 4),
    (Scalar::Float8, 701, 1022, 8),
    (Scalar::Numeric, 1700, 1231, -1),
    (Scalar::Text, 25, 1009, -1),
    (Scalar::Bytea, 17, 1001, -1),
    (Scalar::Date, 1082, 1182, 4),
    (Scalar::Time, 1083, 1183, 8),
    (Scalar::Timestamp, 1114, 1115, 8),
    (Scalar::TimestampTz, 1184, 1185, 8),
    (Scalar::Interval, 1186, 1187, 16),
    (Scalar::Json, 114, 199, -1),
];

/// Other numbers that clients give parameters: what they stand for here.
const ALIASES: [(u32, Scalar); 9] = [
    (18, Scalar::Text),
    (19, Scalar::Text),
    (26, Scalar::Int8),
    (705, Scalar::Text),
    (1042, Scalar::Text),
    (1043, Scalar::Text),
    (2950, Scalar::Text),
    (2205, Scalar::Int8),
    (3802, Scalar::Json),
];

impl Scalar {
    fn numbers(self) -> (u32, u32, i16) {
        let found = NUMBERS.into_iter().find(|(scalar, ..)| *scalar == self);
        found.map_or((25, 1009, -1), |(_, oid, array, size)| (oid, array, size))
    }

    /// Returns the Arrow type that stands for this one.
    fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric => DataType::Decimal128(38, 9),
            Self::Text | Self::Json => DataType::Utf8,
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        }
    }
}

impl Kind {
    /// Returns the type for Arrow's. What Postgres has no type for is JSON.
    pub(super) fn of(data_type: &DataType) -> Self {
        if let Some(scalar) = scalar(data_type) {
            return Self::One(scalar);
        }
        match data_type {
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::RunEndEncoded(_, value) => Self::of(value.data_type()),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                scalar(item.data_type()).map_or(Self::One(Scalar::Json), Self::Many)
            }
            _ => Self::One(Scalar::Json),
        }
    }

    /// Returns the type with this number, as far as it is known.
    pub(super) fn with_oid(oid: u32) -> Option<Self> {
        let alias = || ALIASES.into_iter().find(|(number, _)| *number == oid).map(|(_, scalar)| Self::One(scalar));
        let own = NUMBERS.into_iter().find_map(|(scalar, one, many, _)| match oid {
            _ if oid == one => Some(Self::One(scalar)),
            _ if oid == many => Some(Self::Many(scalar)),
            _ => None,
        });
        own.or_else(alias)
    }

    pub(super) fn oid(self) -> u32 {
        match self {
            Self::One(scalar) => scalar.numbers().0,
            Self::Many(scalar) => scalar.numbers().1,
        }
    }

    pub(super) fn size(self) -> i16 {
        match self {
            Self::One(scalar) => scalar.numbers().2,
            Self::Many(_) => -1,
        }
    }

    /// Returns the Arrow type in which values of this kind are written, where `found` is what they come in. Decimals
    /// keep their digits.
    pub(super) fn canonical(self, found: &DataType) -> DataType {
        match self {
            Self::One(scalar) => canonical(scalar, found),
            Self::Many(scalar) => {
                let item = match found {
                    DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                        item.data_type()
                    }
                    other => other,
                };
                DataType::List(Arc::new(Field::new("item", canonical(scalar, item), true)))
            }
        }
    }

    /// Returns what Postgres keeps beside the type: the digits of a numeric.
    pub(super) fn modifier(data_type: &DataType) -> i32 {
        match data_type {
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale)
                if *scale >= 0 =>
            {
                (i32::from(*digits) << 16 | i32::from(*scale)) + 4
            }
            _ => -1,
        }
    }
}

fn scalar(data_type: &DataType) -> Option<Scalar> {
    Some(match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Scalar::Int2,
        DataType::Int32 | DataType::UInt16 => Scalar::Int4,
        DataType::Int64 | DataType::UInt32 => Scalar::Int8,
        DataType::Float16 | DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Scalar::Numeric,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Scalar::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Scalar::Bytea,
        DataType::Date32 | DataType::Date64 => Scalar::Date,
        DataType::Time32(_) | DataType::Time64(_) => Scalar::Time,
        DataType::Timestamp(_, None) => Scalar::Timestamp,
        DataType::Timestamp(_, Some(_)) => Scalar::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => Scalar::Interval,
        _ => return None,
    })
}

fn canonical(scalar: Scalar, found: &DataType) -> DataType {
    match (scalar, found) {
        (Scalar::Numeric, DataType::Decimal128(..) | DataType::Decimal256(..)) => found.clone(),
        (Scalar::Numeric, DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale)) => {
            DataType::Decimal128(*digits, *scale)
        }
        (Scalar::Numeric, DataType::UInt64) => DataType::Decimal128(20, 0),
        (Scalar::TimestampTz, DataType::Timestamp(_, Some(zone))) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone)))
        }
        _ => scalar.arrow(),
    }
}

#[cfg(test)]
mod tests {
    use hambar_query::{POSTGRES_TYPES, postgres_type};

    use super::*;

    #[test]
    fn types_are_those_of_the_catalogue() {
        let item = |kind: DataType| Arc::new(Field::new("item", kind, true));
        for data_type in [
            DataType::Boolean,
            DataType::Int32,
            DataType::Int64,
            DataType::UInt64,
            DataType::Float64,
            DataType::Decimal128(12, 2),
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::List(item(DataType::Utf8)),
            DataType::List(item(DataType::List(item(DataType::Utf8)))),
            DataType::Struct(vec![item(DataType::Utf8)].into()),
        ] {
            let kind = Kind::of(&data_type);
            assert_eq!((kind.oid(), Kind::modifier(&data_type)), postgres_type(&data_type), "{data_type}");
        }
        for (scalar, oid, array, size) in NUMBERS {
            let known = POSTGRES_TYPES.iter().find(|known| known.oid == oid).unwrap();
            assert_eq!((known.array, known.size), (array, size), "{scalar:?}");
        }
    }
}
