//! Lets superseded rows go that are older than a table's declaration keeps them. The history says from then on since when
//! it is whole, so that a question about an earlier instant is refused instead of answered with gaps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use hambar_core::{Lease, StoreError, TableName, provenance};
use jiff::Timestamp;
use serde_json::Value;

use super::record::Action;
use super::vacuum::Ages;
use super::{leased, log_of};
use crate::actions::{Add, Line, Metadata, Remove};
use crate::append::Appender;
use crate::commit::{self, Put, info};
use crate::create::refuse_foreign;
use crate::encode::Encoded;
use crate::error::{damaged, job, rows};
use crate::lake::Lake;
use crate::log::{LogState, TableLog};
use crate::partition::Partitioning;
use crate::place;
use crate::publish::{Spool, data_folder, discard, flush_entries, publish};
use crate::reader::{FileReader, local_copy};
use crate::side;
use crate::snapshot::{PROPERTY_HISTORY_SINCE, schema_of};

/// Plans made before other writers are held responsible.
const ATTEMPTS_MAX: u32 = 10;

/// What went, or would go, of a history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// The version of the history that was made; `None` where nothing is old enough, and in a dry run.
    pub version: Option<u64>,
    /// Rows superseded before `since`.
    pub rows: u64,
    /// Rows that stay.
    pub kept: u64,
    /// The instant from which on the history is whole.
    pub since: Option<Timestamp>,
}

/// A data file with old rows.
struct Worn {
    add: Arc<Add>,
    path: PathBuf,
    old: u64,
}

impl Lake {
    /// Removes the rows of the history of `table` that were superseded more than `days` ago. Their files stay until
    /// [`Lake::vacuum`] of the history, a retention later.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a run writes to the table; those of [`Lake::ages`].
    pub async fn expire_history(&self, table: &TableName, days: u32, is_dry_run: bool) -> Result<Expired, StoreError> {
        let ages = self.ages().await?;
        self.expire_history_by(&ages, table, days, is_dry_run).await
    }

    /// As [`Lake::expire_history`], with ages that were counted before, for several tables.
    ///
    /// # Errors
    /// Those of [`Lake::expire_history`].
    pub async fn expire_history_by(
        &self,
        ages: &Ages,
        table: &TableName,
        days: u32,
        is_dry_run: bool,
    ) -> Result<Expired, StoreError> {
        let lease = leased(self, table, "vacuum").await?;
        let started_at = self.inner.clock.now();
        let outcome = self.expire_leased(table, ages.before(days), is_dry_run, lease.as_ref()).await;
        lease.release().await?;
        if let Ok(done) = &outcome
            && done.version.is_some()
        {
            let action =
                Action { version: done.version, rows: Some(done.rows), ..Action::new(table, "expire", started_at) };
            self.record(action).await;
        }
        outcome
    }

    async fn expire_leased(
        &self,
        table: &TableName,
        since: Timestamp,
        is_dry_run: bool,
        lease: &dyn Lease,
    ) -> Result<Expired, StoreError> {
        let label = format!("{table}{}", place::HISTORY_SUFFIX);
        let log = self.log(&place::history_root(table), &label);
        for attempt in 1..=ATTEMPTS_MAX {
            let Some(state) = self.newest(&log).await? else {
                return Ok(Expired::default());
            };
            refuse_foreign(&log, &state)?;
            let settled = self.newest(&log_of(self, table)).await?.map_or(0, |current| current.sequence());
            let spool = Spool::new(self)?;
            let (worn, kept) = self.worn(&log, &state, settled, since, &spool).await?;
            let old = worn.iter().map(|file| file.old).sum();
            let done = Expired { version: None, rows: old, kept, since: (old > 0).then_some(since) };
            if old == 0 || is_dry_run {
                return Ok(done);
            }
            let adds = self.rewrite_without(&log, &state, &worn, since, &spool).await?;
            lease.check().await?;
            let lines = self.expiry_lines(&state, &worn, &adds, since, old);
            if commit::put(&log, state.version + 1, &lines).await? == Put::Won {
                return Ok(Expired { version: Some(state.version + 1), ..done });
            }
            discard(self, &log, adds.iter().map(|add| add.path.clone()).collect()).await;
            commit::pause(attempt).await;
        }
        Err(StoreError::Contended { table: label, attempts: ATTEMPTS_MAX })
    }

    /// The files with rows superseded before `since`, and the number of rows that stay, in all files. Files of commits that
    /// the current table does not have yet are left alone: the next run may replace them.
    async fn worn(
        &self,
        log: &TableLog,
        state: &LogState,
        settled: u64,
        since: Timestamp,
        spool: &Spool,
    ) -> Result<(Vec<Worn>, u64), StoreError> {
        let (mut worn, mut kept) = (Vec::new(), 0);
        let schema = schema_of(log, state)?;
        for add in state.files.values() {
            let rows = add.rows().unwrap_or(0);
            let is_settled = side::sequences(add).is_some_and(|(_, highest)| highest <= settled);
            if !is_settled || !may_hold_before(add, since) {
                kept += rows;
                continue;
            }
            let path = local_copy(self, log, add, spool.path()).await?;
            let old = count_old(log, add, &path, &schema, since).await?;
            kept += rows.saturating_sub(old);
            if old > 0 {
                worn.push(Worn { add: Arc::clone(add), path, old });
            }
        }
        Ok((worn, kept))
    }

    /// Writes what stays of the worn files, and checks that exactly the old rows are missing.
    async fn rewrite_without(
        &self,
        log: &TableLog,
        state: &LogState,
        worn: &[Worn],
        since: Timestamp,
        spool: &Spool,
    ) -> Result<Vec<Add>, StoreError> {
        let folder = data_folder(self, log, spool)?;
        let schema = schema_of(log, state)?;
        let mut appender = Appender::new(&log.label, folder.clone(), Partitioning::new(&[])).in_turn();
        let mut expected = 0;
        for file in worn.iter().filter(|file| file.add.rows() != Some(file.old)) {
            let reader = FileReader::open(&log.label, &file.path, &file.add, &schema, None)?;
            for batch in reader {
                let young = filtered(&log.label, &batch?, since)?;
                expected += young.num_rows() as u64;
                if young.num_rows() > 0 {
                    appender.write(young).await?;
                }
            }
        }
        let appended = appender.finish().await?;
        let files: Vec<Encoded> = appended.files.into_iter().map(|(_, file)| file).collect();
        flush_entries(self, &folder, &files).await?;
        let mut adds = Vec::with_capacity(files.len());
        for file in &files {
            let add = publish(self, log, &[], &Vec::new(), file, BTreeMap::new()).await?;
            adds.push(Add { data_change: false, ..add });
        }
        let before: u64 = worn.iter().map(|file| file.add.rows().unwrap_or(0).saturating_sub(file.old)).sum();
        let after: u64 = adds.iter().filter_map(Add::rows).sum();
        if before != expected || after != expected {
            discard(self, log, adds.iter().map(|add| add.path.clone()).collect()).await;
            let what = format!("{before} rows were to stay, {after} were written; nothing was committed");
            return Err(damaged(&log.label, what));
        }
        Ok(adds)
    }

    fn expiry_lines(&self, state: &LogState, worn: &[Worn], adds: &[Add], since: Timestamp, old: u64) -> Vec<Line> {
        let now = self.inner.clock.now().as_millisecond();
        let mut configuration = state.metadata.configuration.clone();
        // A retention that became longer does not bring back what went.
        let known = state.property(PROPERTY_HISTORY_SINCE).and_then(|text| text.parse::<Timestamp>().ok());
        let since = known.map_or(since, |known| known.max(since));
        configuration.insert(PROPERTY_HISTORY_SINCE.to_owned(), since.to_string());
        let metadata = Metadata { configuration, ..state.metadata.clone() };
        let facts = [("hambar.rows", Value::from(0)), ("hambar.expired", old.into())];
        let mut lines = vec![info("EXPIRE", now, facts), Line { meta_data: Some(metadata), ..Line::default() }];
        let removes = worn.iter().map(|file| Remove::of(&file.add, now, true));
        lines.extend(removes.map(|remove| Line { remove: Some(remove), ..Line::default() }));
        lines.extend(adds.iter().map(|add| Line { add: Some(add.clone()), ..Line::default() }));
        lines
    }
}

async fn count_old(
    log: &TableLog,
    add: &Arc<Add>,
    path: &std::path::Path,
    schema: &SchemaRef,
    since: Timestamp,
) -> Result<u64, StoreError> {
    let (label, add, path, schema) = (log.label.clone(), Arc::clone(add), path.to_owned(), Arc::clone(schema));
    let counted = tokio::task::spawn_blocking(move || {
        let mut old = 0;
        for batch in FileReader::open(&label, &path, &add, &schema, None)? {
            let batch = batch?;
            old += (batch.num_rows() - filtered(&label, &batch, since)?.num_rows()) as u64;
        }
        Ok::<_, StoreError>(old)
    });
    counted.await.map_err(|error| job(&log.label, &error))?
}

/// The rows of `batch` that were superseded at `since` or later.
fn filtered(label: &str, batch: &RecordBatch, since: Timestamp) -> Result<RecordBatch, StoreError> {
    let column = batch.column_by_name(provenance::SUPERSEDED_AT);
    let instants = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let instants =
        instants.ok_or_else(|| damaged(label, format!("it has no column `{}`", provenance::SUPERSEDED_AT)))?;
    let is_young: BooleanArray =
        instants.iter().map(|instant| Some(instant.is_none_or(|instant| instant >= since.as_microsecond()))).collect();
    filter_record_batch(batch, &is_young).map_err(|error| rows(label, error.to_string()))
}

/// Says whether the file's statistics leave room for a row superseded before `since`; they cut instants to milliseconds.
fn may_hold_before(add: &Add, since: Timestamp) -> bool {
    let stats: Option<Value> = add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok());
    let lowest = stats.as_ref().and_then(|stats| stats.get("minValues")?.get(provenance::SUPERSEDED_AT)?.as_str());
    lowest.and_then(|text| text.parse::<Timestamp>().ok()).is_none_or(|lowest| lowest < since)
}
