//! Refresh of a large keyed table in snapshot mode: everything arrives again, one row in a thousand has another value.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use hambar_core::{
    Checkpoint, ColumnSpec, CommitOutcome, CommitRequest, Licence, OnDrift, Origin, Redistribution, RunId, RunStamp,
    TableSpec, TableStore, WriteMode,
};
use hambar_lake::{Access, Lake};

const BATCH_ROWS: u64 = 65_536;

pub(crate) async fn refresh(rows: u64, work: &Path) -> Result<()> {
    if work.exists() {
        std::fs::remove_dir_all(work)?;
    }
    let lake = Lake::open(&work.display().to_string(), &BTreeMap::new(), Access::ReadWrite, crate::clock()).await?;
    let spec = spec()?;
    match release(&lake, &spec, rows, false, "first").await? {
        CommitOutcome::Committed { .. } => {}
        other => bail!("the first load ended as {other:?}"),
    }
    let before = peak();
    let begin = Instant::now();
    let outcome = release(&lake, &spec, rows, true, "second").await?;
    let seconds = begin.elapsed().as_secs_f64();
    let CommitOutcome::Committed { revised, .. } = outcome else { bail!("the refresh ended as {outcome:?}") };
    let facts = serde_json::json!({ "seconds": seconds, "revised": revised, "peak_bytes": peak(), "peak_bytes_after_first": before });
    println!("{facts}");
    Ok(())
}

async fn release(lake: &Lake, spec: &TableSpec, rows: u64, is_changed: bool, run: &str) -> Result<CommitOutcome> {
    let state = lake.open(spec).await?;
    let stamp = RunStamp { run: RunId(run.to_owned()), recorded_at: crate::clock().now() };
    let mut writer = lake.writer(spec, &state, stamp).await?;
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + BATCH_ROWS);
        writer.write(batch(start, end, is_changed)?, run).await?;
        start = end;
    }
    Ok(writer.commit(CommitRequest { checkpoint: Checkpoint::default(), rows_expected: rows }).await?)
}

#[expect(clippy::cast_precision_loss, reason = "made-up values")]
fn batch(start: u64, end: u64, is_changed: bool) -> Result<RecordBatch> {
    let value = |id: u64| id as f64 * 1.5 + if is_changed && id % 1000 == 7 { 1.0 } else { 0.0 };
    let columns: [(&str, ArrayRef, bool); 3] = [
        (
            "id",
            Arc::new(Int64Array::from_iter_values((start..end).map(|id| i64::try_from(id).unwrap_or(i64::MAX)))),
            true,
        ),
        ("country", Arc::new(StringArray::from_iter_values((start..end).map(|id| format!("C{:03}", id % 200)))), true),
        ("value", Arc::new(Float64Array::from_iter_values((start..end).map(value))), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn spec() -> Result<TableSpec> {
    let column = |name: &str, kind: &str| -> Result<ColumnSpec> { Ok(ColumnSpec::new(&name.parse()?, kind.parse()?)) };
    Ok(TableSpec {
        name: "bench.refresh".parse()?,
        columns: vec![column("id", "int64")?, column("country", "string")?, column("value", "float64")?],
        key: vec!["id".parse()?],
        partition_by: Vec::new(),
        write: WriteMode::Snapshot,
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
