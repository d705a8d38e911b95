//! Rewrites small files into large ones: sorted tables stay sorted, others keep the order of their files. delta-rs'
//! `optimize` is not used: two of them from one snapshot double every row (`reliability.md` LD1). Here the rewrite is
//! planned against one version and committed as the next or planned again, and row count and content fingerprint
//! of what goes and what comes are compared before the commit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use hambar_core::{Fingerprint, Lease, StoreError, TableName};
use serde_json::Value;

use super::{lease_name, leased, log_of};
use crate::actions::{Add, Line, Remove};
use crate::append::Appender;
use crate::commit::{self, Put, info};
use crate::create::refuse_foreign;
use crate::encode::Encoded;
use crate::error::{damaged, job, rows};
use crate::external::{KeyRange, MergedRuns};
use crate::lake::Lake;
use crate::layout;
use crate::log::{LogState, TableLog};
use crate::output::{SortedFile, SortedOutput};
use crate::partition::{PartitionValues, Partitioning};
use crate::place;
use crate::publish::{Spool, data_folder, discard, flush_entries, publish};
use crate::reader::{FileReader, check_bytes, local_copy};
use crate::side;
use crate::snapshot::{PROPERTY_KEY, PROPERTY_RUN, PROPERTY_WRITE, schema_of};
use crate::sortkey::SortKey;
use crate::spill::Sorter;
use crate::widen::content_of;

/// Files below this size are small.
const SMALL_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Plans made before other writers are held responsible.
const ATTEMPTS_MAX: u32 = 10;

/// What a rewrite came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Optimized {
    /// The version that it made; `None` where nothing was worth rewriting.
    pub version: Option<u64>,
    /// Files that were replaced.
    pub files_removed: u64,
    /// Files that replaced them.
    pub files_added: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes that were replaced.
    pub bytes_removed: u64,
    /// Bytes that replaced them.
    pub bytes_added: u64,
}

/// One rewrite, planned against one version.
struct Rewrite {
    removes: Vec<Arc<Add>>,
    adds: Vec<Add>,
    rows: u64,
}

impl Lake {
    /// Rewrites the small files of `table` (current, history, rejects or system).
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a run writes to it; [`StoreError::Damaged`] where content would change, and then
    /// nothing is committed.
    pub async fn optimize(&self, table: &TableName) -> Result<Optimized, StoreError> {
        let lease = leased(self, table, "optimize").await?;
        let outcome = self.optimize_leased(table, lease.as_ref()).await;
        lease.release().await?;
        outcome
    }

    async fn optimize_leased(&self, table: &TableName, lease: &dyn Lease) -> Result<Optimized, StoreError> {
        let log = log_of(self, table);
        for attempt in 1..=ATTEMPTS_MAX {
            let state = self.state(&log, None).await?;
            refuse_foreign(&log, &state)?;
            let mut chosen = choose(&state, self.inner.sorted.file_rows);
            self.keep_unsettled(table, &state, &mut chosen).await?;
            if chosen.is_empty() {
                return Ok(Optimized::default());
            }
            let rewrite = self.rewrite(&log, &state, chosen).await?;
            match self.publish_rewrite(&log, &state, &rewrite, lease).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {
                    discard(self, &log, rewrite.adds.iter().map(|add| add.path.clone()).collect()).await;
                    commit::pause(attempt).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended { table: log.label.clone(), attempts: ATTEMPTS_MAX })
    }

    /// Takes those files out of `chosen` that the next run may have to replace, because the run that wrote them may have
    /// died before its commit to the current table.
    async fn keep_unsettled(
        &self,
        table: &TableName,
        state: &LogState,
        chosen: &mut Vec<Arc<Add>>,
    ) -> Result<(), StoreError> {
        let name = table.table.as_str();
        if name.ends_with(place::HISTORY_SUFFIX) {
            let current = log_of(self, &lease_name(table));
            let settled = self.newest(&current).await?.map_or(0, |current| current.sequence());
            chosen.retain(|add| side::sequences(add).is_some_and(|(_, highest)| highest <= settled));
        } else if name.ends_with(place::REJECTS_SUFFIX) {
            let newest = state.property(PROPERTY_RUN);
            chosen.retain(|add| newest.is_none() || add.tag(side::TAG_RUN) != newest);
        }
        if chosen.len() < 2 && !chosen.iter().any(|add| is_astray(state, add)) {
            chosen.clear();
        }
        Ok(())
    }

    /// Commits `rewrite` on `state`, or on a newer version that still has all of its files; `None` where one is gone.
    async fn publish_rewrite(
        &self,
        log: &TableLog,
        state: &LogState,
        rewrite: &Rewrite,
        lease: &dyn Lease,
    ) -> Result<Option<Optimized>, StoreError> {
        let now = self.inner.clock.now().as_millisecond();
        let mut lines =
            vec![info("OPTIMIZE", now, [("hambar.rows", Value::from(0)), ("hambar.copied", rewrite.rows.into())])];
        lines.extend(
            rewrite.removes.iter().map(|add| Line { remove: Some(Remove::of(add, now, false)), ..Line::default() }),
        );
        lines.extend(rewrite.adds.iter().map(|add| Line { add: Some(add.clone()), ..Line::default() }));
        let mut version = state.version + 1;
        for attempt in 1..=ATTEMPTS_MAX {
            lease.check().await?;
            if commit::put(log, version, &lines).await? == Put::Won {
                let _ = self.newest(log).await;
                let bytes = |sizes: &mut dyn Iterator<Item = u64>| sizes.sum();
                return Ok(Some(Optimized {
                    version: Some(version),
                    files_removed: rewrite.removes.len() as u64,
                    files_added: rewrite.adds.len() as u64,
                    rows: rewrite.rows,
                    bytes_removed: bytes(&mut rewrite.removes.iter().map(|add| add.size)),
                    bytes_added: bytes(&mut rewrite.adds.iter().map(|add| add.size)),
                }));
            }
            commit::pause(attempt).await;
            let newest = self.state(log, None).await?;
            let is_intact = rewrite.removes.iter().all(|add| newest.files.contains_key(&add.path));
            if !is_intact || newest.metadata.schema_string != state.metadata.schema_string {
                return Ok(None);
            }
            version = newest.version + 1;
        }
        Ok(None)
    }

    async fn rewrite(&self, log: &TableLog, state: &LogState, chosen: Vec<Arc<Add>>) -> Result<Rewrite, StoreError> {
        let spool = Spool::new(self)?;
        let folder = data_folder(self, log, &spool)?;
        let schema = schema_of(log, state)?;
        let partitioning = Partitioning::new(&state.metadata.partition_columns);
        let mut sources = Vec::with_capacity(chosen.len());
        for add in &chosen {
            sources.push((Arc::clone(add), local_copy(self, log, add, spool.path()).await?));
        }
        let work = Work { label: log.label.clone(), schema, sources };
        let before = work.clone().fingerprint().await?;
        let written: Vec<(PartitionValues, Encoded, Tags)> = match sort_key(log, state, &work.schema)? {
            Some(key) => {
                let output = SortedOutput::new(&log.label, folder.clone(), partitioning.clone(), &key, &work.schema)
                    .with_limits(self.inner.sorted);
                let sorter = Sorter::new(&log.label, key.clone(), spool.path());
                let sorted = work.sort(key, sorter, output).await?;
                sorted.into_iter().map(|file| (file.values, file.encoded, file.tags)).collect()
            }
            None => {
                let appender = Appender::new(&log.label, folder.clone(), partitioning.clone()).in_turn();
                let appended = work.append(appender).await?;
                appended.into_iter().map(|(values, file)| (values, file, Tags::new())).collect()
            }
        };
        flush_entries(self, &folder, written.iter().map(|(_, file, _)| file)).await?;
        let mut adds = Vec::with_capacity(written.len());
        for (values, file, tags) in &written {
            let add = publish(self, log, partitioning.columns(), values, file, tags.clone()).await?;
            adds.push(Add { data_change: false, ..add });
        }
        let mut results = Vec::with_capacity(adds.len());
        for add in &adds {
            results.push((Arc::new(add.clone()), local_copy(self, log, add, spool.path()).await?));
        }
        let after =
            Work { label: log.label.clone(), schema: schema_of(log, state)?, sources: results }.fingerprint().await?;
        if before != after {
            discard(self, log, adds.iter().map(|add| add.path.clone()).collect()).await;
            let what =
                format!("rewriting its files would change its content from {before} to {after}; nothing was committed");
            return Err(damaged(&log.label, what));
        }
        Ok(Rewrite { removes: chosen, adds, rows: before.rows })
    }
}

type Tags = BTreeMap<String, Option<String>>;

/// Files to read, with where they are on this machine.
#[derive(Clone)]
struct Work {
    label: String,
    schema: SchemaRef,
    sources: Vec<(Arc<Add>, PathBuf)>,
}

impl Work {
    fn readers(&self) -> impl Iterator<Item = Result<FileReader, StoreError>> + '_ {
        self.sources.iter().map(|(add, path)| FileReader::open(&self.label, path, add, &self.schema, None))
    }

    /// The fingerprint over all columns: provenance must survive too.
    async fn fingerprint(self) -> Result<Fingerprint, StoreError> {
        let label = self.label.clone();
        let computed = tokio::task::spawn_blocking(move || {
            let mut fingerprint = Fingerprint::default();
            for (add, path) in &self.sources {
                // Damage must not be copied into a file that looks sound.
                check_bytes(&self.label, path, add)?;
            }
            for reader in self.readers() {
                for batch in reader? {
                    fingerprint.add(&batch?, |_| true).map_err(|error| rows(&self.label, error.to_string()))?;
                }
            }
            Ok(fingerprint)
        });
        computed.await.map_err(|error| job(&label, &error))?
    }

    async fn sort(
        self,
        key: SortKey,
        mut sorter: Sorter,
        mut output: SortedOutput,
    ) -> Result<Vec<SortedFile>, StoreError> {
        let label = self.label.clone();
        let sorted = tokio::task::spawn_blocking(move || {
            for reader in self.readers() {
                for batch in reader? {
                    sorter.push_blocking(batch?)?;
                }
            }
            let runs = sorter.finish_blocking()?;
            let mut merged = MergedRuns::open(&self.label, &key, &runs, &KeyRange::default())?;
            while let Some(next) = merged.next()? {
                output.write(&next.batch)?;
            }
            output.finish()
        });
        sorted.await.map_err(|error| job(&label, &error))?
    }

    async fn append(self, mut appender: Appender) -> Result<Vec<(PartitionValues, Encoded)>, StoreError> {
        for reader in self.readers() {
            for batch in reader? {
                appender.write(batch?).await?;
            }
        }
        Ok(appender.finish().await?.files)
    }
}

/// The files of every partition that has at least two small ones, or one outside the partition's folder: all of them, so
/// that sorted partitions stay free of overlaps; a partition of large files is left alone.
fn choose(state: &LogState, file_rows: usize) -> Vec<Arc<Add>> {
    let mut partitions: BTreeMap<&BTreeMap<String, Option<String>>, Vec<&Arc<Add>>> = BTreeMap::new();
    for add in state.files.values() {
        partitions.entry(&add.partition_values).or_default().push(add);
    }
    let is_sorted = state.property(PROPERTY_WRITE).is_some_and(|mode| mode != "append");
    // A sorted file may have ended for its rows; it would come out the same.
    let is_full = |add: &Add| is_sorted && add.rows().is_some_and(|rows| rows >= file_rows as u64);
    let is_small = |add: &Add| add.size < SMALL_FILE_BYTES && !is_full(add);
    let mut chosen = Vec::new();
    for files in partitions.into_values() {
        let is_worn = files.iter().filter(|add| is_small(add)).count() >= 2;
        if is_worn || files.iter().any(|add| is_astray(state, add)) {
            let wanted = |add: &&Arc<Add>| is_sorted || is_astray(state, add) || (is_worn && is_small(add));
            chosen.extend(files.into_iter().filter(wanted).cloned());
        }
    }
    chosen
}

/// Says whether a file lies outside the folder of its partition, as files of older versions do.
fn is_astray(state: &LogState, add: &Add) -> bool {
    let columns = &state.metadata.partition_columns;
    let values = columns.iter().map(|column| add.partition_value(column).map(str::to_owned)).collect();
    !layout::is_in_place(&add.path, columns, &values)
}

/// The order in which a table of snapshot or upsert mode is kept; `None` for tables without one.
pub(crate) fn sort_key(log: &TableLog, state: &LogState, schema: &SchemaRef) -> Result<Option<SortKey>, StoreError> {
    let is_sorted = state.property(PROPERTY_WRITE).is_some_and(|mode| mode != "append");
    if !is_sorted
        || log.label.ends_with(crate::place::HISTORY_SUFFIX)
        || log.label.ends_with(crate::place::REJECTS_SUFFIX)
    {
        return Ok(None);
    }
    let content = content_of(schema);
    let key: Vec<String> = state
        .property(PROPERTY_KEY)
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    SortKey::new(&log.label, &state.metadata.partition_columns, &key, &content).map(Some)
}
