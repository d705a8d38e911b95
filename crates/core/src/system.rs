//! The system tables, read in SQL as `system.*`, and the records that fill them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;

use crate::provenance::instant_type;

/// A table in the namespace `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemTable {
    /// One row per run, whatever became of it.
    Runs,
    /// One row per HTTP exchange.
    Fetches,
    /// One row per version of a dataset's declaration: origin, licence, columns.
    Datasets,
    /// One row per maintenance action that changed something.
    Maintenance,
    /// One row per cited version of a table, which vacuum keeps.
    Citations,
    /// One row per cited query: its statement, what it read, and the fingerprint of its rows.
    QueryCitations,
    /// One row per query, export, refused login and change of members.
    Audit,
}

impl SystemTable {
    /// All system tables.
    pub const ALL: [Self; 7] = [
        Self::Runs,
        Self::Fetches,
        Self::Datasets,
        Self::Maintenance,
        Self::Citations,
        Self::QueryCitations,
        Self::Audit,
    ];

    /// Returns the table's name in SQL, without the namespace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Fetches => "fetches",
            Self::Datasets => "datasets",
            Self::Maintenance => "maintenance",
            Self::Citations => "citations",
            Self::QueryCitations => "query_citations",
            Self::Audit => "audit",
        }
    }

    /// Returns the table's schema.
    pub fn schema(self) -> SchemaRef {
        let columns: &[(&str, Kind)] = match self {
            Self::Runs => RUNS,
            Self::Fetches => FETCHES,
            Self::Datasets => DATASETS,
            Self::Maintenance => MAINTENANCE,
            Self::Citations => CITATIONS,
            Self::QueryCitations => QUERY_CITATIONS,
            Self::Audit => AUDIT,
        };
        Arc::new(Schema::new(
            columns.iter().map(|(name, kind)| Field::new(*name, kind.data_type(), true)).collect::<Vec<_>>(),
        ))
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Instant,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Number => DataType::Int64,
            Self::Instant => instant_type(),
        }
    }
}

const RUNS: &[(&str, Kind)] = &[
    ("run", Kind::Text),
    ("pipeline", Kind::Text),
    ("started_at", Kind::Instant),
    ("finished_at", Kind::Instant),
    // committed, unchanged, already_applied, conflict, failed, cancelled, busy
    ("outcome", Kind::Text),
    // what proved it: 304, sha256, last_modified, catalogue_date, length, or the completeness evidence
    ("evidence", Kind::Text),
    ("error_class", Kind::Text),
    ("error", Kind::Text),
    ("version", Kind::Number),
    ("rows_received", Kind::Number),
    ("rows_committed", Kind::Number),
    ("rows_revised", Kind::Number),
    ("rows_withdrawn", Kind::Number),
    ("rows_rejected", Kind::Number),
    ("requests", Kind::Number),
    ("bytes_wire", Kind::Number),
    ("host", Kind::Text),
    ("pid", Kind::Number),
    ("hambar_version", Kind::Text),
    // character encoding of what was decoded, found or declared; NULL where nothing was, or where it was no text
    ("encoding", Kind::Text),
    // columns that were not as declared: new ones, those that are gone, those that became wider
    ("drift", Kind::Text),
];

const FETCHES: &[(&str, Kind)] = &[
    ("run", Kind::Text),
    ("pipeline", Kind::Text),
    ("started_at", Kind::Instant),
    ("method", Kind::Text),
    ("url", Kind::Text),
    ("status", Kind::Number),
    ("attempt", Kind::Number),
    // JSON object of chosen request and answer headers, never secrets
    ("request_headers", Kind::Text),
    ("headers", Kind::Text),
    ("bytes_wire", Kind::Number),
    ("bytes", Kind::Number),
    ("milliseconds", Kind::Number),
    ("sha256", Kind::Text),
    ("error", Kind::Text),
];

const DATASETS: &[(&str, Kind)] = &[
    ("dataset", Kind::Text),
    ("recorded_at", Kind::Instant),
    ("title", Kind::Text),
    ("description", Kind::Text),
    ("provider", Kind::Text),
    ("citation", Kind::Text),
    ("landing_page", Kind::Text),
    ("licence", Kind::Text),
    ("redistribution", Kind::Text),
    ("write_mode", Kind::Text),
    // JSON: the key, the partitioning and the columns with types, units and source names
    ("spec", Kind::Text),
];

const MAINTENANCE: &[(&str, Kind)] = &[
    ("table", Kind::Text),
    // optimize, vacuum, or expire (superseded rows let go)
    ("action", Kind::Text),
    ("started_at", Kind::Instant),
    ("finished_at", Kind::Instant),
    // the version that it made
    ("version", Kind::Number),
    // rows that were rewritten, or let go
    ("rows", Kind::Number),
    ("files_removed", Kind::Number),
    ("files_added", Kind::Number),
    ("bytes_removed", Kind::Number),
    ("bytes_added", Kind::Number),
];

const CITATIONS: &[(&str, Kind)] = &[
    // the same for every citation of this version
    ("id", Kind::Text),
    ("table", Kind::Text),
    ("version", Kind::Number),
    ("sequence", Kind::Number),
    ("run", Kind::Text),
    ("cited_at", Kind::Instant),
    // when the version's newest rows were recorded
    ("recorded_at", Kind::Instant),
    ("fingerprint", Kind::Text),
    // the origin as declared at the time
    ("title", Kind::Text),
    ("provider", Kind::Text),
    ("citation", Kind::Text),
    ("landing_page", Kind::Text),
    ("licence", Kind::Text),
    ("redistribution", Kind::Text),
    // the citation as a sentence
    ("text", Kind::Text),
];

const QUERY_CITATIONS: &[(&str, Kind)] = &[
    // the same for every citation of this statement over these versions
    ("id", Kind::Text),
    ("cited_at", Kind::Instant),
    // as whoever cited it called it
    ("title", Kind::Text),
    ("statement", Kind::Text),
    // JSON array
    ("parameters", Kind::Text),
    // JSON array of tables with versions and their origins as declared at the time
    ("reads", Kind::Text),
    // JSON array of names and types
    ("columns", Kind::Text),
    ("fingerprint", Kind::Text),
    // when the newest of the rows that it read were recorded
    ("recorded_at", Kind::Instant),
    // JSON: what the licences of its inputs ask of its result
    ("terms", Kind::Text),
];

const AUDIT: &[(&str, Kind)] = &[
    ("started_at", Kind::Instant),
    // query, login, member
    ("event", Kind::Text),
    ("member", Kind::Text),
    ("organisation", Kind::Text),
    ("token", Kind::Text),
    ("protocol", Kind::Text),
    ("address", Kind::Text),
    ("query", Kind::Text),
    // never the text: it may hold what only its author should read
    ("statement_sha256", Kind::Text),
    // JSON array of `namespace.table@version`
    ("tables", Kind::Text),
    // answered, truncated, cached, unchanged, failed, cancelled, abandoned, refused
    ("outcome", Kind::Text),
    ("error_class", Kind::Text),
    ("rows", Kind::Number),
    ("bytes", Kind::Number),
    ("queued_milliseconds", Kind::Number),
    ("milliseconds", Kind::Number),
    ("host", Kind::Text),
];

/// One cell of a system row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text, or NULL.
    Text(Option<String>),
    /// A number, or NULL.
    Number(Option<i64>),
    /// An instant, or NULL.
    Instant(Option<Timestamp>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}
impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}
impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}
impl From<Option<u64>> for Cell {
    fn from(number: Option<u64>) -> Self {
        Self::Number(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
    }
}
impl From<Timestamp> for Cell {
    fn from(instant: Timestamp) -> Self {
        Self::Instant(Some(instant))
    }
}
impl From<Option<Timestamp>> for Cell {
    fn from(instant: Option<Timestamp>) -> Self {
        Self::Instant(instant)
    }
}

/// Builds a batch of system rows; each row is a list of `(column, cell)`, columns left out are NULL.
///
/// # Panics
/// Where a column is unknown or a cell has another kind than its column: both are defects of the caller.
pub fn system_batch(table: SystemTable, rows: &[Vec<(&'static str, Cell)>]) -> RecordBatch {
    let schema = table.schema();
    for (name, _) in rows.iter().flatten() {
        assert!(schema.index_of(name).is_ok(), "system.{} has no column `{name}`", table.name());
    }
    let columns: Vec<ArrayRef> = schema.fields().iter().map(|field| system_column(field, rows)).collect();
    RecordBatch::try_new(schema, columns).expect("columns were built from the schema and have one cell per row")
}

fn system_column(field: &Field, rows: &[Vec<(&'static str, Cell)>]) -> ArrayRef {
    let cells = rows.iter().map(|row| row.iter().find(|(name, _)| name == field.name()).map(|(_, cell)| cell));
    match field.data_type() {
        DataType::Utf8 => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
            None => None,
            Some(Cell::Text(text)) => text.as_deref(),
            Some(other) => panic!("column `{}` takes text, not {other:?}", field.name()),
        }))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
            None => None,
            Some(Cell::Number(number)) => *number,
            Some(other) => panic!("column `{}` takes a number, not {other:?}", field.name()),
        }))),
        _ => Arc::new(
            TimestampMicrosecondArray::from_iter(cells.map(|cell| match cell {
                None => None,
                Some(Cell::Instant(instant)) => instant.map(|instant| instant.as_microsecond()),
                Some(other) => panic!("column `{}` takes an instant, not {other:?}", field.name()),
            }))
            .with_timezone("UTC"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_and_gaps_null() {
        let batch = system_batch(SystemTable::Runs, &[vec![("run", "r1".into()), ("version", 3_u64.into())], vec![]]);
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, RUNS.len()));
        assert_eq!(batch.column(0).null_count(), 1);
    }
}
