//! Time travel as SQL over a table and its history: how a table was known at an instant, what was superseded, and
//! which cells changed. The texts made here name tables of the query's own catalogue and never contain user input
//! except quoted names and parsed numbers.

use std::fmt::Write;

use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use hambar_core::TableName;
use hambar_core::provenance::{CHANGE, RECORDED_AT, SEQUENCE, SOURCE, SUPERSEDED_AT};
use hambar_lake::TableSnapshot;
use jiff::Timestamp;

use crate::error::QueryError;

/// The table property that names the key columns, separated by commas.
const KEY_PROPERTY: &str = "hambar.key";

/// Returns the name under which the catalogue holds the history with the rows of unfinished commits.
pub(crate) fn raw_history(table: &TableName) -> String {
    format!("{}__history@all", table.table)
}

/// The history as readers see it: without the rows of a commit that the current table does not know yet.
pub(crate) fn history(current: &TableSnapshot) -> String {
    let table = &current.table;
    let source = qualified(table, &raw_history(table));
    format!("SELECT * FROM {source} WHERE {} <= {}", quoted(SEQUENCE), current.sequence)
}

/// The rows that were current at `instant`.
pub(crate) fn as_of(
    current: &TableSnapshot,
    history: Option<&TableSnapshot>,
    instant: Timestamp,
) -> Result<String, QueryError> {
    let table = &current.table;
    if current.schema.index_of(RECORDED_AT).is_err() {
        return Err(QueryError::Travel { what: format!("table `{table}` has no `{RECORDED_AT}` and so no past") });
    }
    if let Some(since) = history.and_then(TableSnapshot::history_since).filter(|since| instant < *since) {
        return Err(QueryError::Travel {
            what: format!(
                "the history of table `{table}` begins at {since}: what was superseded before was let go by its \
                 `retention.history_days`"
            ),
        });
    }
    let at = literal(instant);
    let recorded = quoted(RECORDED_AT);
    let mut sql = format!(
        "SELECT {} FROM {} WHERE {recorded} <= {at}",
        columns(current, current),
        qualified(table, table.table.as_str())
    );
    if let Some(past) = history {
        let _ = write!(
            sql,
            " UNION ALL SELECT {} FROM {} WHERE {recorded} <= {at} AND {} > {at} AND {} <= {}",
            columns(current, past),
            qualified(table, &raw_history(table)),
            quoted(SUPERSEDED_AT),
            quoted(SEQUENCE),
            current.sequence
        );
    }
    Ok(sql)
}

/// One row per cell that a newer release changed or withdrew.
pub(crate) fn revisions(current: &TableSnapshot, past: &TableSnapshot) -> Result<String, QueryError> {
    let table = &current.table;
    let key = key_of(current)?;
    if key.iter().any(|name| current.schema.index_of(name).is_err()) {
        return Err(QueryError::Travel {
            what: format!("not all columns of the key of table `{table}` may be seen, so its rows cannot be followed"),
        });
    }
    let own = |name: &str| key.iter().any(|column| column == name) || [RECORDED_AT, SOURCE].contains(&name);
    let cells: Vec<&str> = current
        .schema
        .fields()
        .iter()
        .filter(|field| !own(field.name()) && past.schema.index_of(field.name()).is_ok())
        .filter(|field| can_cast_types(field.data_type(), &DataType::Utf8))
        .map(|field| field.name().as_str())
        .collect();
    if cells.is_empty() {
        return Err(QueryError::Travel { what: format!("table `{table}` has no columns besides its key") });
    }
    let history = qualified(table, &raw_history(table));
    let visible = format!("{} <= {}", quoted(SEQUENCE), current.sequence);
    let used: Vec<String> =
        key.iter().map(String::as_str).chain(cells.iter().copied()).chain([RECORDED_AT]).map(quoted).collect();
    let used = used.join(", ");
    let structs: Vec<String> = cells
        .iter()
        .map(|name| {
            let text = name.replace('\'', "''");
            let cell = quoted(name);
            format!("named_struct('c', '{text}', 'o', CAST(h.{cell} AS VARCHAR), 'n', CAST(a.{cell} AS VARCHAR))")
        })
        .collect();
    let same_key: Vec<String> =
        // The parser takes everything after FROM as its operand, so each comparison stands in brackets.
        key.iter().map(|name| format!("(h.{0} IS NOT DISTINCT FROM a.{0})", quoted(name))).collect();
    let key_columns: Vec<String> = key.iter().map(|name| format!("h.{}", quoted(name))).collect();
    let key_names: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    Ok(format!(
        "WITH h AS (SELECT * FROM {history} WHERE {visible}), \
         a AS (SELECT {used} FROM {current} UNION ALL SELECT {used} FROM {history} WHERE {visible}), \
         j AS (SELECT {key_columns}, h.{change}, h.{recorded}, h.{superseded}, unnest(make_array({structs})) AS cell \
         FROM h LEFT JOIN a ON {same_key} AND h.{superseded} = a.{recorded} AND h.{change} = 'revised') \
         SELECT {key_names}, cell['c'] AS \"column\", cell['o'] AS old_value, cell['n'] AS new_value, \
         {change} AS change, {recorded} AS recorded_at, {superseded} AS superseded_at \
         FROM j WHERE cell['o'] IS DISTINCT FROM cell['n']",
        current = qualified(table, table.table.as_str()),
        key_columns = key_columns.join(", "),
        key_names = key_names.join(", "),
        change = quoted(CHANGE),
        recorded = quoted(RECORDED_AT),
        superseded = quoted(SUPERSEDED_AT),
        structs = structs.join(", "),
        same_key = same_key.join(" AND "),
    ))
}

fn key_of(current: &TableSnapshot) -> Result<Vec<String>, QueryError> {
    let text = current.properties.get(KEY_PROPERTY).map(String::as_str).unwrap_or_default();
    let key: Vec<String> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if key.is_empty() {
        let table = &current.table;
        return Err(QueryError::Travel {
            what: format!("table `{table}` has no key, so its rows cannot be followed; read `history('{table}')`"),
        });
    }
    Ok(key)
}

/// The columns of `wanted` as `source` has them; columns that it lacks are NULL.
fn columns(wanted: &TableSnapshot, source: &TableSnapshot) -> String {
    let names: Vec<String> = wanted
        .schema
        .fields()
        .iter()
        .map(|field| match source.schema.index_of(field.name()) {
            Ok(_) => quoted(field.name()),
            Err(_) => format!("NULL AS {}", quoted(field.name())),
        })
        .collect();
    names.join(", ")
}

/// The instant in the type of the provenance columns.
fn literal(instant: Timestamp) -> String {
    format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", instant.as_microsecond())
}

fn qualified(table: &TableName, name: &str) -> String {
    format!("{}.{}", quoted(table.namespace.as_str()), quoted(name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
