//! Commits to the tables beside the current one: its history and its rejects.
//!
//! Both may have been written by a run that died before its commit to the current table. Whatever such a run left
//! under the same mark is removed in the commit that writes the mark again, so nothing is ever doubled.

use std::collections::BTreeMap;
use std::sync::Arc;

use hambar_core::StoreError;
use serde_json::Value;

use crate::actions::{Add, Line, Metadata, Remove, Txn};
use crate::commit::{self, Put, info};
use crate::create::refuse_foreign;
use crate::encode::Encoded;
use crate::error::damaged;
use crate::lake::{Lake, missing};
use crate::log::{APP_ID, LogState, TableLog};
use crate::publish::publish;
use crate::snapshot::PROPERTY_RUN;

/// Tag of a history file: the sequence number of its rows.
pub(crate) const TAG_SEQUENCE: &str = "hambar.sequence";
/// Tag of a rejects file: the run that it comes from.
pub(crate) const TAG_RUN: &str = "hambar.run";
/// Rounds of reading and writing before another writer is held responsible.
const ATTEMPTS_MAX: u32 = 20;

/// Finished files for a table beside the current one.
pub(crate) type SideFiles = Vec<Encoded>;

/// Puts finished files in place and describes them, marked with `tag`.
pub(crate) async fn place_files(
    lake: &Lake,
    log: &TableLog,
    files: &SideFiles,
    tag: &str,
    mark: &str,
) -> Result<Vec<Add>, StoreError> {
    let mut adds = Vec::with_capacity(files.len());
    for file in files {
        let tags = BTreeMap::from([(tag.to_owned(), Some(mark.to_owned()))]);
        adds.push(publish(lake, log, &[], &Vec::new(), file, tags).await?);
    }
    Ok(adds)
}

/// Puts the next version of the history after `state`: rows that `sequence` supersedes come, what a dead run left goes.
pub(crate) async fn put_history(
    lake: &Lake,
    log: &TableLog,
    state: &LogState,
    sequence: u64,
    (stale, adds): (&[Arc<Add>], &[Add]),
) -> Result<Put, StoreError> {
    let now = lake.inner.clock.now().as_millisecond();
    let txn = Txn { app_id: APP_ID.to_owned(), version: sequence.cast_signed(), last_updated: Some(now) };
    let mut lines = vec![
        info("WRITE", now, [("hambar.sequence", Value::from(sequence))]),
        Line { txn: Some(txn), ..Line::default() },
    ];
    extend(&mut lines, stale, adds, now);
    commit::put(log, state.version + 1, &lines).await
}

/// Commits the rejects of `run`, in place of those that the same run committed before.
pub(crate) async fn commit_rejects(lake: &Lake, log: &TableLog, run: &str, adds: &[Add]) -> Result<(), StoreError> {
    for attempt in 1..=ATTEMPTS_MAX {
        let state = current(lake, log).await?;
        let mut stale: Vec<Arc<Add>> = Vec::new();
        if state.property(PROPERTY_RUN) == Some(run) {
            stale.extend(state.files.values().filter(|file| file.tag(TAG_RUN) == Some(run)).cloned());
        }
        let now = lake.inner.clock.now().as_millisecond();
        let mut configuration = state.metadata.configuration.clone();
        configuration.insert(PROPERTY_RUN.to_owned(), run.to_owned());
        let metadata = Metadata { configuration, ..state.metadata.clone() };
        let mut lines = vec![
            info("WRITE", now, [("hambar.run", Value::from(run))]),
            Line { meta_data: Some(metadata), ..Line::default() },
        ];
        extend(&mut lines, &stale, adds, now);
        if commit::put(log, state.version + 1, &lines).await? == Put::Won {
            return Ok(());
        }
        commit::pause(attempt).await;
    }
    Err(StoreError::Contended { table: log.label.clone(), attempts: ATTEMPTS_MAX })
}

/// The newest state of a table that must be there and take our commits.
pub(crate) async fn current(lake: &Lake, log: &TableLog) -> Result<Arc<LogState>, StoreError> {
    let state = lake.newest(log).await?.ok_or_else(|| missing(format!("table `{}`", log.label)))?;
    refuse_foreign(log, &state)?;
    Ok(state)
}

fn extend(lines: &mut Vec<Line>, removes: &[Arc<Add>], adds: &[Add], now: i64) {
    lines.extend(removes.iter().map(|file| Line { remove: Some(Remove::of(file, now, true)), ..Line::default() }));
    lines.extend(adds.iter().map(|add| Line { add: Some(add.clone()), ..Line::default() }));
}

/// Files whose rows belong to `sequence` or later: their run died before it reached the current table.
pub(crate) fn unfinished(log: &TableLog, state: &LogState, sequence: u64) -> Result<Vec<Arc<Add>>, StoreError> {
    if state.sequence() < sequence {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for file in state.files.values() {
        let (lowest, highest) = sequences(file)
            .ok_or_else(|| damaged(&log.label, format!("data file `{}` does not tell its sequence", file.path)))?;
        if lowest >= sequence {
            found.push(Arc::clone(file));
        } else if highest >= sequence {
            let what = format!("data file `{}` mixes rows of finished and unfinished commits", file.path);
            return Err(damaged(&log.label, what));
        }
    }
    Ok(found)
}

/// The lowest and highest sequence number in a file: from its tag, or its statistics after a compaction.
pub(crate) fn sequences(file: &Add) -> Option<(u64, u64)> {
    if let Some(mark) = file.tag(TAG_SEQUENCE) {
        let sequence = mark.parse().ok()?;
        return Some((sequence, sequence));
    }
    let stats: Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
    let bound = |side: &str| stats.get(side)?.get(hambar_core::provenance::SEQUENCE)?.as_u64();
    Some((bound("minValues")?, bound("maxValues")?))
}
