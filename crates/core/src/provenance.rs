//! The columns that Hambar adds to every table. Their names start with `_`, which no declared column may.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// When the row, as it stands, was first recorded: the instant of the run that brought it, in UTC.
pub const RECORDED_AT: &str = "_recorded_at";
/// SHA-256 (hex) of the raw body that the row was decoded from; joins `system.fetches.sha256`.
pub const SOURCE: &str = "_source";
/// In `__history`: when a newer release replaced or withdrew the row.
pub const SUPERSEDED_AT: &str = "_superseded_at";
/// In `__history`: `revised` or `withdrawn`.
pub const CHANGE: &str = "_change";
/// In `__history`: the sequence number of the commit that superseded the row; readers ignore rows whose number
/// is above the current table's (a crash between the two commits is invisible).
pub const SEQUENCE: &str = "_sequence";

/// The Arrow type of an instant: microseconds in UTC.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The provenance columns of a current table.
pub fn current_fields() -> Vec<Field> {
    vec![Field::new(RECORDED_AT, instant_type(), true), Field::new(SOURCE, DataType::Utf8, true)]
}

/// The columns that a history table has after those of the current table.
pub fn history_fields() -> Vec<Field> {
    vec![
        Field::new(SUPERSEDED_AT, instant_type(), true),
        Field::new(CHANGE, DataType::Utf8, true),
        Field::new(SEQUENCE, DataType::Int64, true),
    ]
}

/// The columns of every `__rejects` table.
///
/// `run`, `source` (SHA-256), `member` (file inside an archive), `row` (1-based record number in the source),
/// `column` (the source's name, if one cell is at fault), `reason`, `raw` (the record as received, cut to 8 KiB).
pub fn reject_fields() -> Vec<Field> {
    vec![
        Field::new("run", DataType::Utf8, true),
        Field::new("recorded_at", instant_type(), true),
        Field::new("source", DataType::Utf8, true),
        Field::new("member", DataType::Utf8, true),
        Field::new("row", DataType::Int64, true),
        Field::new("column", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("raw", DataType::Utf8, true),
    ]
}
