//! The history of a table's commits, for people.

use futures::{StreamExt, TryStreamExt};
use hambar_core::{RunId, StoreError};
use jiff::Timestamp;
use serde_json::Value;

use crate::actions::Line;
use crate::checkpoint;
use crate::log::{TableLog, parse};

/// Log files read at the same time.
const LOG_READS_MAX: usize = 16;

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its version.
    pub version: u64,
    /// When it was made, by the writer's clock.
    pub committed_at: Option<Timestamp>,
    /// `CREATE TABLE`, `WRITE`, `MERGE`, `ADD COLUMNS`, `OPTIMIZE` …; `FENCE` for a commit without rows, after a run that
    /// died or lost its lease.
    pub operation: String,
    /// The run that made it.
    pub run: Option<RunId>,
    /// Its sequence number among the commits of runs.
    pub sequence: Option<u64>,
    /// Rows in added files, less rows that were only copied, where the writer said so; else rows in added files.
    pub rows_added: u64,
    /// Rows whose earlier value went to the history.
    pub rows_revised: u64,
    /// Rows that were withdrawn.
    pub rows_withdrawn: u64,
    /// Data files added.
    pub files_added: u64,
    /// Data files removed.
    pub files_removed: u64,
}

/// Reads the commits that the log still has as JSON, oldest first.
pub(crate) async fn list(log: &TableLog) -> Result<Vec<VersionInfo>, StoreError> {
    let listing = checkpoint::list(log).await?;
    let Some(newest) = listing.newest else {
        return Ok(Vec::new());
    };
    let read = futures::stream::iter(0..=newest)
        .map(|version| async move {
            let Some(bytes) = log.read_commit(version).await? else {
                return Ok(None);
            };
            let lines = parse(&log.label, &log.commit_path(version), &bytes)?;
            Ok::<_, StoreError>(Some(describe(version, &lines)))
        })
        .buffered(LOG_READS_MAX);
    let all: Vec<Option<VersionInfo>> = read.try_collect().await?;
    Ok(all.into_iter().flatten().collect())
}

/// Reads the newest commit that the log still has as JSON; `None` where there is none.
pub(crate) async fn newest(log: &TableLog) -> Result<Option<VersionInfo>, StoreError> {
    let Some(version) = checkpoint::list(log).await?.newest else {
        return Ok(None);
    };
    let Some(bytes) = log.read_commit(version).await? else {
        return Ok(None);
    };
    let lines = parse(&log.label, &log.commit_path(version), &bytes)?;
    Ok(Some(describe(version, &lines)))
}

fn describe(version: u64, lines: &[Line]) -> VersionInfo {
    let info = lines.iter().find_map(|line| line.commit_info.as_ref());
    let text = |key: &str| info.and_then(|info| info.get(key)).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| info.and_then(|info| info.get(key)).and_then(Value::as_u64);
    let rows_in_files = lines.iter().filter_map(|line| line.add.as_ref()).filter_map(|add| add.rows()).sum();
    let instant = info.and_then(|info| info.get("timestamp")).and_then(Value::as_i64);
    VersionInfo {
        version,
        committed_at: instant.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        operation: text("operation").unwrap_or_else(|| "UNKNOWN".to_owned()),
        run: text("hambar.run").map(RunId),
        sequence: number("hambar.sequence"),
        rows_added: number("hambar.rows").unwrap_or(rows_in_files),
        rows_revised: number("hambar.revised").unwrap_or(0),
        rows_withdrawn: number("hambar.withdrawn").unwrap_or(0),
        files_added: lines.iter().filter(|line| line.add.is_some()).count() as u64,
        files_removed: lines.iter().filter(|line| line.remove.is_some()).count() as u64,
    }
}
