//! A lake in a temporary folder: GDP per country and year, partitioned by country, released three times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use hambar_core::{
    Clock, ColumnSpec, ColumnType, CommitOutcome, CommitRequest, Ident, Licence, OnDrift, Origin, Redistribution,
    RunId, RunStamp, TableSpec, TableStore, WriteMode,
};
use hambar_lake::{Access, Lake};
use hambar_query::{QueryEngine, QueryError, QueryLimits, RowStream};
use jiff::Timestamp;
use tempfile::TempDir;

#[derive(Debug)]
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2024-06-01T00:00:00Z".parse().unwrap()
    }
}

/// A lake and the folder that it lives in.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) lake: Lake,
}

type Row = (&'static str, i32, Option<f64>, &'static str);

/// The three releases; the second revises and withdraws, the third adds.
pub(crate) const RELEASES: [(&str, &[Row]); 3] = [
    (
        "2024-01-01T00:00:00Z",
        &[
            ("BG", 2020, Some(70.2), "final"),
            ("BG", 2021, Some(84.1), "provisional"),
            ("RO", 2020, Some(251.4), "final"),
            ("RO", 2021, None, "missing"),
        ],
    ),
    (
        "2024-02-01T00:00:00Z",
        &[("BG", 2020, Some(70.2), "final"), ("BG", 2021, Some(84.9), "final"), ("RO", 2021, Some(285.4), "final")],
    ),
    (
        "2024-03-01T00:00:00Z",
        &[
            ("BG", 2020, Some(70.2), "final"),
            ("BG", 2021, Some(84.9), "final"),
            ("RO", 2021, Some(285.4), "final"),
            ("GR", 2021, Some(214.7), "final"),
        ],
    ),
];

pub(crate) async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("lake").display().to_string();
    std::fs::create_dir_all(&url).unwrap();
    let lake = Lake::open(&url, &BTreeMap::new(), Access::ReadWrite, Arc::new(Fixed)).await.unwrap();
    let spec = spec();
    for (number, (instant, rows)) in RELEASES.iter().enumerate() {
        let state = lake.open(&spec).await.unwrap();
        let stamp = RunStamp { run: RunId(format!("run-{number}")), recorded_at: instant.parse().unwrap() };
        let mut writer = lake.writer(&spec, &state, stamp).await.unwrap();
        writer.write(batch(&spec, rows), "0000").await.unwrap();
        let request = CommitRequest { checkpoint: state.checkpoint, rows_expected: rows.len() as u64 };
        let outcome = writer.commit(request).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    Fixture { folder, lake }
}

/// Loads a table with these columns, texts or whole numbers, into the lake.
pub(crate) async fn load(lake: &Lake, table: &str, columns: &[(&str, ArrayRef)]) {
    load_as(lake, table, columns, "load").await;
}

/// The same as a run of this name; each run adds a file.
pub(crate) async fn load_as(lake: &Lake, table: &str, columns: &[(&str, ArrayRef)], run: &str) {
    let kind = |column: &ArrayRef| match column.data_type() {
        DataType::Int64 => ColumnType::Int64,
        _ => ColumnType::String,
    };
    let specs = columns.iter().map(|(name, column)| ColumnSpec::new(&name.parse().unwrap(), kind(column)));
    let columns_spec = specs.collect();
    let spec = TableSpec {
        name: table.parse().unwrap(),
        columns: columns_spec,
        key: Vec::new(),
        partition_by: Vec::new(),
        write: WriteMode::Append,
        ..spec()
    };
    let state = lake.open(&spec).await.unwrap();
    let stamp = RunStamp { run: RunId(run.to_owned()), recorded_at: "2024-01-01T00:00:00Z".parse().unwrap() };
    let mut writer = lake.writer(&spec, &state, stamp).await.unwrap();
    let arrays: Vec<ArrayRef> = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    let rows = RecordBatch::try_new(spec.declared_schema(), arrays).unwrap();
    let rows_expected = rows.num_rows() as u64;
    writer.write(rows, "0000").await.unwrap();
    let outcome = writer.commit(CommitRequest { checkpoint: state.checkpoint, rows_expected }).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

fn spec() -> TableSpec {
    let name = |text: &str| text.parse::<Ident>().unwrap();
    TableSpec {
        name: "demo.gdp".parse().unwrap(),
        columns: vec![
            ColumnSpec::new(&name("country"), ColumnType::String),
            ColumnSpec::new(&name("year"), ColumnType::Int32),
            ColumnSpec::new(&name("gdp"), ColumnType::Float64),
            ColumnSpec::new(&name("status"), ColumnType::String),
        ],
        key: vec![name("country"), name("year")],
        partition_by: vec![name("country")],
        write: WriteMode::Snapshot,
        on_drift: OnDrift::Fail,
        origin: Origin {
            provider: "Test".to_owned(),
            title: "GDP".to_owned(),
            citation: "Test (2024)".to_owned(),
            landing_page: None,
            licence: Licence { spdx: "CC0-1.0".to_owned(), redistribution: Redistribution::Allowed },
        },
        description: None,
    }
}

fn batch(spec: &TableSpec, rows: &[Row]) -> RecordBatch {
    RecordBatch::try_new(
        spec.declared_schema(),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.3))),
        ],
    )
    .unwrap()
}

impl Fixture {
    pub(crate) fn store(&self) -> String {
        self.folder.path().join("lake").display().to_string()
    }

    pub(crate) fn spill(&self) -> PathBuf {
        let folder = self.folder.path().join("spill");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn engine(&self) -> QueryEngine {
        QueryEngine::new(self.lake.clone(), limits(), &self.spill()).unwrap()
    }
}

/// Limits for unoptimised code on a busy machine: more time, and little memory.
pub(crate) fn limits() -> QueryLimits {
    QueryLimits {
        plan_time_max: Duration::from_secs(30),
        run_time_max: Duration::from_secs(60),
        memory_bytes_max: 64 * 1024 * 1024,
        partitions: 2,
        ..QueryLimits::default()
    }
}

/// Returns the answer as text, one line per row, cells separated by ` | `.
pub(crate) async fn text(answer: Result<RowStream, QueryError>) -> String {
    use hambar_core::Classified;
    let collected = match answer {
        Ok(rows) => rows.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    match collected {
        Ok(batches) => {
            let table = pretty_format_batches(&batches).unwrap().to_string();
            let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
            let cells = |line: &str| {
                line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ")
            };
            lines.map(cells).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("{}: {error}", error.class()),
    }
}
