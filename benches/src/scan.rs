//! Queries over a store, in this process, through the same gate and session as users' queries.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::TryStreamExt;
use hambar_lake::{Access, Lake};
use hambar_query::{QueryEngine, QueryLimits};

/// Repetitions; the fastest counts.
const TIMES: u32 = 5;

pub(crate) async fn scan(store: &Path, queries: &Path) -> Result<()> {
    let lake = Lake::open(&store.display().to_string(), &BTreeMap::new(), Access::ReadOnly, crate::clock()).await?;
    let spill = tempfile::tempdir()?;
    let limits =
        QueryLimits { memory_bytes_max: 4 << 30, run_time_max: Duration::from_secs(600), ..QueryLimits::default() };
    let engine = QueryEngine::new(lake, limits, spill.path())?;
    let mut files: Vec<_> =
        std::fs::read_dir(queries)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "sql")) {
        let sql = std::fs::read_to_string(file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut fastest = Duration::MAX;
        let mut rows = 0;
        for _ in 0..TIMES {
            let begin = Instant::now();
            let answer = engine.query(&sql).await.with_context(|| format!("query `{name}`"))?;
            rows = answer
                .try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows()) })
                .await
                .with_context(|| format!("query `{name}`"))?;
            fastest = fastest.min(begin.elapsed());
        }
        println!("{}", serde_json::json!({ "query": name, "seconds": fastest.as_secs_f64(), "rows": rows }));
    }
    Ok(())
}
