//! Queries over a store, in this process, through the same gate and session as users' queries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use hambar_lake::{Access, Lake};
use hambar_query::{QueryEngine, QueryLimits};

/// Repetitions; the fastest counts.
const TIMES: u32 = 5;

/// What to run and how.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Only queries whose file name starts so.
    pub(crate) only: Option<String>,
    /// Bytes of the memory pool.
    pub(crate) memory_bytes: u64,
    /// Whether plans are printed instead of rows.
    pub(crate) explain: bool,
}

/// Runs every query; prints one JSON line for each, with its rows.
pub(crate) async fn scan(store: &Path, queries: &Path, settings: &Settings) -> Result<()> {
    let lake = Lake::open(&store.display().to_string(), &BTreeMap::new(), Access::ReadOnly, crate::clock()).await?;
    let spill = tempfile::tempdir()?;
    let limits = QueryLimits {
        memory_bytes_max: settings.memory_bytes,
        run_time_max: Duration::from_secs(600),
        ..QueryLimits::default()
    };
    let engine = QueryEngine::new(lake, limits, spill.path())?;
    for file in files(queries, settings)? {
        let sql = std::fs::read_to_string(&file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if settings.explain {
            let plan =
                rows(&engine, &format!("EXPLAIN ANALYZE {sql}")).await.with_context(|| format!("query `{name}`"))?;
            println!("{name}\n{}", pretty_format_batches(&plan)?);
            continue;
        }
        let mut fastest = Duration::MAX;
        let mut answer = Vec::new();
        for _ in 0..TIMES {
            let begin = Instant::now();
            answer = rows(&engine, &sql).await.with_context(|| format!("query `{name}`"))?;
            fastest = fastest.min(begin.elapsed());
        }
        let seconds = fastest.as_secs_f64();
        println!("{}", serde_json::json!({ "query": name, "seconds": seconds, "rows": json(&answer)? }));
    }
    Ok(())
}

fn files(queries: &Path, settings: &Settings) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(queries)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_wanted = settings.only.as_ref().is_none_or(|start| name.starts_with(start.as_str()));
        is_wanted && file.extension().is_some_and(|extension| extension == "sql")
    });
    files.sort();
    Ok(files)
}

async fn rows(engine: &QueryEngine, sql: &str) -> Result<Vec<RecordBatch>> {
    Ok(engine.query(sql).await?.try_collect().await?)
}

fn json(rows: &[RecordBatch]) -> Result<serde_json::Value> {
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write_batches(&rows.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text = writer.into_inner();
    Ok(if text.is_empty() { serde_json::json!([]) } else { serde_json::from_slice(&text)? })
}
