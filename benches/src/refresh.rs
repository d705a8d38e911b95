//! Refresh of a large keyed table of which one row in a thousand changed: next to each other or everywhere, sent alone
//! or within the full extract. The inputs are Parquet files, so that peers read the same ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use clap::{Args, ValueEnum};
use hambar_core::{
    Checkpoint, ColumnSpec, CommitOutcome, CommitRequest, Licence, OnDrift, Origin, Redistribution, RunId, RunStamp,
    TableSpec, TableStore, WriteMode,
};
use hambar_lake::{Access, Lake};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const BATCH_ROWS: u64 = 65_536;
/// One row in so many changes.
const CHANGED_SHARE: u64 = 1_000;

/// Where the changed rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// Next to each other, in the middle.
    Clustered,
    /// Everywhere.
    Scattered,
}

/// What arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The changed rows.
    Upsert,
    /// All rows.
    Snapshot,
}

/// One measurement.
#[derive(Debug, Args)]
pub(crate) struct Refresh {
    /// Folder with the inputs that `refresh-data` writes.
    #[arg(long)]
    data: PathBuf,
    /// Which rows changed.
    #[arg(long)]
    spread: Spread,
    /// What arrives.
    #[arg(long)]
    mode: Mode,
    /// Folder for the store; made anew.
    #[arg(long)]
    work: PathBuf,
}

/// Writes the table (`base.parquet`), and for each spread the changed rows and the full extract with them.
pub(crate) fn data(rows: u64, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    write(&out.join("base.parquet"), rows, |_| false, |_| true)?;
    for spread in [Spread::Clustered, Spread::Scattered] {
        let changes = |id: u64| match spread {
            Spread::Scattered => id % CHANGED_SHARE == 7,
            Spread::Clustered => (rows / 2..rows / 2 + rows / CHANGED_SHARE).contains(&id),
        };
        write(&out.join(name(Mode::Upsert, spread)), rows, changes, changes)?;
        write(&out.join(name(Mode::Snapshot, spread)), rows, changes, |_| true)?;
    }
    Ok(())
}

fn name(mode: Mode, spread: Spread) -> String {
    format!("{mode:?}-{spread:?}.parquet").to_lowercase()
}

fn write(path: &Path, rows: u64, changes: impl Fn(u64) -> bool, sends: impl Fn(u64) -> bool) -> Result<()> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch(&[], &changes)?.schema(), None)?;
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + BATCH_ROWS);
        let ids: Vec<u64> = (start..end).filter(|id| sends(*id)).collect();
        if !ids.is_empty() {
            writer.write(&batch(&ids, &changes)?)?;
        }
        start = end;
    }
    writer.close()?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "made-up values")]
fn batch(ids: &[u64], changes: &impl Fn(u64) -> bool) -> Result<RecordBatch> {
    let value = |id: u64| {
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        mixed as f64 / 1000.0 + if changes(id) { 0.5 } else { 0.0 }
    };
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id.cast_signed()))), true),
        ("country", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("C{:03}", id % 200)))), true),
        (
            "indicator",
            Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("SP.POP.{}", id / 9_000)))),
            true,
        ),
        ("year", Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (1960 + id % 64) as i32))), true),
        ("value", Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| value(*id)))), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// Loads the table, then measures its refresh.
pub(crate) async fn refresh(task: &Refresh) -> Result<()> {
    if task.work.exists() {
        std::fs::remove_dir_all(&task.work)?;
    }
    let lake =
        Lake::open(&task.work.display().to_string(), &BTreeMap::new(), Access::ReadWrite, crate::clock()).await?;
    let spec = spec(task.mode)?;
    let begin = Instant::now();
    match release(&lake, &spec, &task.data.join("base.parquet"), "first").await? {
        CommitOutcome::Committed { .. } => {}
        other => bail!("the first load ended as {other:?}"),
    }
    let (first, before) = (begin.elapsed().as_secs_f64(), peak());
    let begin = Instant::now();
    let outcome = release(&lake, &spec, &task.data.join(name(task.mode, task.spread)), "second").await?;
    let seconds = begin.elapsed().as_secs_f64();
    let CommitOutcome::Committed { revised, .. } = outcome else { bail!("the refresh ended as {outcome:?}") };
    let facts = serde_json::json!({
        "seconds": seconds,
        "revised": revised,
        "peak_bytes": peak(),
        "first_seconds": first,
        "first_peak_bytes": before,
    });
    println!("{facts}");
    Ok(())
}

async fn release(lake: &Lake, spec: &TableSpec, input: &Path, run: &str) -> Result<CommitOutcome> {
    let state = lake.open(spec).await?;
    let stamp = RunStamp { run: RunId(run.to_owned()), recorded_at: crate::clock().now() };
    let mut writer = lake.writer(spec, &state, stamp).await?;
    let batches = ParquetRecordBatchReaderBuilder::try_new(File::open(input)?)?;
    let mut rows = 0;
    for batch in batches.with_batch_size(usize::try_from(BATCH_ROWS)?).build()? {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(batch, &format!("{run:0>64}")).await?;
    }
    Ok(writer.commit(CommitRequest { checkpoint: Checkpoint::default(), rows_expected: rows }).await?)
}

fn spec(mode: Mode) -> Result<TableSpec> {
    let column = |name: &str, kind: &str| -> Result<ColumnSpec> { Ok(ColumnSpec::new(&name.parse()?, kind.parse()?)) };
    Ok(TableSpec {
        name: "bench.refresh".parse()?,
        columns: vec![
            column("id", "int64")?,
            column("country", "string")?,
            column("indicator", "string")?,
            column("year", "int32")?,
            column("value", "float64")?,
        ],
        key: vec!["id".parse()?],
        partition_by: Vec::new(),
        write: match mode {
            Mode::Upsert => WriteMode::Upsert,
            Mode::Snapshot => WriteMode::Snapshot,
        },
        on_drift: OnDrift::Fail,
        origin: Origin {
            provider: "generated".to_owned(),
            title: "refresh".to_owned(),
            citation: "generated".to_owned(),
            landing_page: None,
            licence: Licence { spdx: "CC0-1.0".to_owned(), redistribution: Redistribution::Allowed },
        },
        description: None,
    })
}

fn peak() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0) * 1024)
}
