//! What clients of Postgres expect of SQL: `pg_catalog`, its functions, and some ways of writing. Answers are true of
//! this store; what it does not have (indexes, constraints, defaults, privileges of others) is empty.

mod calls;
mod catalog;
mod empty;
mod expressions;
mod functions;
mod information;
mod labels;
mod nothing;
mod rewrite;

use arrow::datatypes::DataType;

pub(crate) use catalog::{CLASSES, Names, is_table, tables};
pub(crate) use functions::{is_function, register};
pub(crate) use information::{INFORMATION, NEED_COLUMNS, information};
pub(crate) use rewrite::rewrite;

/// The namespace of the tables.
pub(crate) const NAMESPACE: &str = "pg_catalog";
/// The version of Postgres whose catalogue this is.
pub const POSTGRES_VERSION: &str = "15.0";

/// The settings that are the same in every session, as `current_setting` and `pg_settings` tell them.
pub const POSTGRES_SETTINGS: [(&str, &str); 17] = [
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("default_table_access_method", "delta"),
    ("default_transaction_read_only", "on"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("search_path", ""),
    ("server_encoding", "UTF8"),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
    ("transaction_read_only", "on"),
];

/// A type of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresType {
    /// Its number.
    pub oid: u32,
    /// Its name in the catalogue.
    pub name: &'static str,
    /// Its name in SQL.
    pub written: &'static str,
    /// The number of its arrays.
    pub array: u32,
    /// Its size in bytes; -1 where that varies.
    pub size: i16,
}

impl PostgresType {
    /// Its category in the catalogue: what it can be turned into.
    pub(crate) fn category(&self) -> &'static str {
        match self.name {
            "bool" => "B",
            "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid" => "N",
            "date" | "time" | "timestamp" | "timestamptz" => "D",
            "interval" => "T",
            "text" | "name" | "varchar" | "bpchar" => "S",
            "char" => "Z",
            _ => "U",
        }
    }
}

const fn known(oid: u32, name: &'static str, written: &'static str, array: u32, size: i16) -> PostgresType {
    PostgresType { oid, name, written, array, size }
}

/// The types that columns have, and those that the catalogue's own columns have in Postgres.
pub const POSTGRES_TYPES: [PostgresType; 20] = [
    known(16, "bool", "boolean", 1000, 1),
    known(17, "bytea", "bytea", 1001, -1),
    known(18, "char", "\"char\"", 1002, 1),
    known(19, "name", "name", 1003, 64),
    known(20, "int8", "bigint", 1016, 8),
    known(21, "int2", "smallint", 1005, 2),
    known(23, "int4", "integer", 1007, 4),
    known(25, "text", "text", 1009, -1),
    known(26, "oid", "oid", 1028, 4),
    known(114, "json", "json", 199, -1),
    known(700, "float4", "real", 1021, 4),
    known(701, "float8", "double precision", 1022, 8),
    known(1042, "bpchar", "character", 1014, -1),
    known(1043, "varchar", "character varying", 1015, -1),
    known(1082, "date", "date", 1182, 4),
    known(1083, "time", "time without time zone", 1183, 8),
    known(1114, "timestamp", "timestamp without time zone", 1115, 8),
    known(1184, "timestamptz", "timestamp with time zone", 1185, 8),
    known(1186, "interval", "interval", 1187, 16),
    known(1700, "numeric", "numeric", 1231, -1),
];

/// Returns the number of the Postgres type that stands for Arrow's, and what is kept beside it (digits of a numeric).
/// What Postgres has no type for is JSON.
pub fn postgres_type(data_type: &DataType) -> (u32, i32) {
    if let Some(oid) = scalar(data_type) {
        return (oid, modifier(data_type));
    }
    match data_type {
        DataType::Dictionary(_, value) => postgres_type(value),
        DataType::RunEndEncoded(_, value) => postgres_type(value.data_type()),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = scalar(item.data_type()).and_then(|oid| POSTGRES_TYPES.iter().find(|kind| kind.oid == oid));
            (item.map_or(114, |kind| kind.array), -1)
        }
        _ => (114, -1),
    }
}

fn scalar(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Boolean => 16,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => 21,
        DataType::Int32 | DataType::UInt16 => 23,
        DataType::Int64 | DataType::UInt32 => 20,
        DataType::Float16 | DataType::Float32 => 700,
        DataType::Float64 => 701,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => 1700,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => 25,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => 17,
        DataType::Date32 | DataType::Date64 => 1082,
        DataType::Time32(_) | DataType::Time64(_) => 1083,
        DataType::Timestamp(_, None) => 1114,
        DataType::Timestamp(_, Some(_)) => 1184,
        DataType::Interval(_) | DataType::Duration(_) => 1186,
        _ => return None,
    })
}

fn modifier(data_type: &DataType) -> i32 {
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

/// Returns a type's name in SQL: `numeric(12,2)`, `text[]`.
pub(crate) fn written(oid: i64, modifier: Option<i64>) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let oid = u32::try_from(oid).unwrap_or(0);
    let digits = modifier.filter(|modifier| *modifier >= 4).map(|modifier| modifier - 4);
    match (POSTGRES_TYPES.iter().find(|kind| kind.oid == oid), digits) {
        (Some(kind), Some(digits)) if oid == 1700 => {
            format!("{}({},{})", kind.written, digits >> 16, digits & 0xffff)
        }
        (Some(kind), _) => kind.written.to_owned(),
        (None, _) => match POSTGRES_TYPES.iter().find(|kind| kind.array == oid) {
            Some(kind) => format!("{}[]", kind.written),
            None => "???".to_owned(),
        },
    }
}
