//! `tables`, `describe`, `history`, `runs`: what the store says about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use hambar_core::{ColumnType, TableName};
use hambar_lake::{Access, Lake, TableSnapshot};
use hambar_run::schedule::Fresh;
use jiff::Timestamp;

use super::{query, schedule};
use crate::args::{ListArguments, RunsArguments, TableArguments};
use crate::context::Context;
use crate::output::{self, Format};

/// What `system.datasets` knows about a table.
#[derive(Debug, Default, Clone)]
struct Known {
    licence: Option<String>,
    title: Option<String>,
}

/// `hambar tables`
pub(crate) async fn tables(context: &Context, arguments: &ListArguments) -> Result<()> {
    let lake = context.lake(Access::ReadOnly).await?;
    let known = known(context, &lake).await?;
    let fresh = schedule::freshness(context, &lake).await?;
    let mut rows: Vec<[Option<String>; 6]> = Vec::new();
    let (mut counts, mut versions) = (Vec::new(), Vec::new());
    for table in lake.tables().await? {
        let snapshot = lake.snapshot(&table, None).await?;
        let about = known.get(&table.to_string()).cloned().unwrap_or_default();
        counts.push(row_count(&snapshot));
        versions.push(snapshot.version);
        let fresh = fresh.get(&table).copied().unwrap_or_default();
        rows.push([
            Some(table.to_string()),
            snapshot.recorded_at.map(minute),
            fresh.verified_at.map(minute),
            due(&fresh),
            about.licence,
            about.title,
        ]);
    }
    let column = |index: usize| text(rows.iter().map(|row| row[index].clone()));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("table", column(0), true),
        ("rows", numbers(&counts), true),
        ("version", numbers(&versions), true),
        ("changed", column(1), true),
        ("verified", column(2), true),
        ("due", column(3), true),
        ("licence", column(4), true),
        ("title", column(5), true),
    ])?;
    output::print(&batch, arguments.format)
}

/// `hambar describe`
pub(crate) async fn describe(context: &Context, arguments: &TableArguments) -> Result<()> {
    let table: TableName = arguments.table.parse()?;
    let lake = context.lake(Access::ReadOnly).await?;
    let snapshot = lake.snapshot(&table, None).await?;
    let fields = snapshot.schema.fields();
    let metadata = |key: &str| text(fields.iter().map(|field| field.metadata().get(key).cloned()));
    let kind =
        |data_type| ColumnType::from_arrow(data_type).map_or_else(|| data_type.to_string(), |kind| kind.to_string());
    let columns = RecordBatch::try_from_iter_with_nullable([
        ("column", text(fields.iter().map(|field| Some(field.name().clone()))), true),
        ("type", text(fields.iter().map(|field| Some(kind(field.data_type())))), true),
        ("unit", metadata("unit"), true),
        ("source_name", metadata("source_name"), true),
        ("description", metadata("description"), true),
    ])?;
    if arguments.format != Format::Table {
        return output::print(&columns, arguments.format);
    }
    println!("{table}, version {}, {} rows in {} files", snapshot.version, row_count(&snapshot), snapshot.files.len());
    for (label, value) in about(context, &lake, &table, &snapshot).await? {
        println!("{label:<14}{value}");
    }
    println!("");
    output::print(&columns, Format::Table)
}

async fn about(
    context: &Context,
    lake: &Lake,
    table: &TableName,
    snapshot: &TableSnapshot,
) -> Result<Vec<(&'static str, String)>> {
    let mut lines = Vec::new();
    if lake.exists(&"system.datasets".parse()?).await? {
        let sql = format!(
            "SELECT title, description, provider, citation, landing_page, licence, redistribution FROM system.datasets \
             WHERE dataset = '{table}' ORDER BY recorded_at DESC LIMIT 1"
        );
        for batch in query::collect(context, &sql).await? {
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                if let Some(value) = first_text(column) {
                    let label = match field.name().as_str() {
                        "title" => "title",
                        "description" => "description",
                        "provider" => "provider",
                        "citation" => "cite as",
                        "landing_page" => "landing page",
                        "licence" => "licence",
                        _ => "passing on",
                    };
                    lines.push((label, value));
                }
            }
        }
    }
    if let Some(key) = snapshot.properties.get("hambar.key").filter(|key| !key.is_empty()) {
        lines.push(("key", key.replace(',', ", ")));
    }
    if !snapshot.partition_by.is_empty() {
        lines.push(("partitions", snapshot.partition_by.join(", ")));
    }
    if let Some(instant) = snapshot.recorded_at {
        lines.push(("changed", minute(instant)));
    }
    let fresh = schedule::freshness(context, lake).await?.remove(table).unwrap_or_default();
    lines.extend(fresh.verified_at.map(|instant| ("verified", minute(instant))));
    lines.extend(due(&fresh).map(|text| ("due", text)));
    lines.push(("versions", format!("{} (hambar history {table})", snapshot.version + 1)));
    Ok(lines)
}

/// `hambar history`
pub(crate) async fn history(context: &Context, arguments: &TableArguments) -> Result<()> {
    let table: TableName = arguments.table.parse()?;
    let lake = context.lake(Access::ReadOnly).await?;
    let versions = lake.versions(&table).await?;
    let count = |pick: fn(&hambar_lake::VersionInfo) -> u64| numbers(&versions.iter().map(pick).collect::<Vec<_>>());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("version", count(|version| version.version), true),
        (
            "committed_at",
            text(versions.iter().map(|version| version.committed_at.map(|instant| instant.to_string()))),
            true,
        ),
        ("operation", text(versions.iter().map(|version| Some(version.operation.clone()))), true),
        ("rows", count(|version| version.rows_added), true),
        ("revised", count(|version| version.rows_revised), true),
        ("withdrawn", count(|version| version.rows_withdrawn), true),
        ("files_added", count(|version| version.files_added), true),
        ("files_removed", count(|version| version.files_removed), true),
        ("run", text(versions.iter().map(|version| version.run.as_ref().map(ToString::to_string))), true),
    ])?;
    output::print(&batch, arguments.format)
}

/// `hambar runs`
pub(crate) async fn runs(context: &Context, arguments: &RunsArguments) -> Result<()> {
    let only = match &arguments.table {
        Some(table) => format!("WHERE pipeline = '{}'", table.parse::<TableName>()?),
        None => String::new(),
    };
    let sql = format!(
        "SELECT started_at, pipeline, outcome, rows_committed AS rows, rows_revised AS revised, rows_withdrawn AS withdrawn, \
         rows_rejected AS rejected, requests, bytes_wire, coalesce(error, evidence) AS detail, run \
         FROM system.runs {only} ORDER BY started_at DESC LIMIT {}",
        arguments.limit
    );
    query::print(context, &sql, arguments.format).await
}

async fn known(context: &Context, lake: &Lake) -> Result<BTreeMap<String, Known>> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    if lake.exists(&"system.datasets".parse()?).await? {
        let sql = "SELECT dataset, licence, title FROM system.datasets ORDER BY recorded_at";
        for batch in query::collect(context, sql).await? {
            for row in 0..batch.num_rows() {
                let cell = |column: usize| text_at(batch.column(column), row);
                if let Some(name) = cell(0) {
                    let entry = known.entry(name).or_default();
                    (entry.licence, entry.title) = (cell(1), cell(2));
                }
            }
        }
    }
    Ok(known)
}

fn row_count(snapshot: &TableSnapshot) -> u64 {
    snapshot.files.iter().map(|file| file.rows).sum()
}

fn text(cells: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(cells.collect::<StringArray>())
}

fn numbers(cells: &[u64]) -> ArrayRef {
    Arc::new(cells.iter().map(|cell| i64::try_from(*cell).ok()).collect::<Int64Array>())
}

fn first_text(column: &ArrayRef) -> Option<String> {
    text_at(column, 0)
}

fn text_at(column: &ArrayRef, row: usize) -> Option<String> {
    let texts = column.as_string_opt::<i32>()?;
    (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row).to_owned())
}

/// When the next run is due, and since when it should have gone well already.
fn due(fresh: &Fresh) -> Option<String> {
    let late = fresh.overdue_since.map(|since| format!("overdue since {}", minute(since)));
    match (fresh.due_at.map(minute), late) {
        (Some(due), Some(late)) => Some(format!("{due}, {late}")),
        (due, late) => due.or(late),
    }
}

/// An instant to the minute, in UTC.
fn minute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
