//! One run, one commit: history first, rejects, then the current table, each exactly once.
//!
//! The current table's commit decides. A history commit whose number the current table never reaches is ignored by
//! readers, and replaced by the next run with that number. Its run may live on without its lease, slow or cut off: before
//! its rows are replaced, a commit without rows takes the version that it was about to make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use hambar_core::{
    Checkpoint, CommitOutcome, CommitRequest, Fingerprint, Position, RunId, StoreError, WriteMode, provenance,
};
use serde_json::Value;

use crate::actions::{Add, Line, Metadata, Remove, Txn};
use crate::commit::{self, Put, info};
use crate::create::refuse_foreign;
use crate::error::{job, rows};
use crate::lake::missing;
use crate::layout;
use crate::log::{APP_ID, LogState, TableLog};
use crate::merge::{Absent, MergeTask};
use crate::place;
use crate::publish::{data_folder, discard, flush_entries, publish};
use crate::side::{self, SideFiles};
use crate::snapshot::{
    PROPERTY_CHECKPOINT, PROPERTY_FINGERPRINT, PROPERTY_RECORDED_AT, PROPERTY_RUN, PROPERTY_SEQUENCE, run_of, schema_of,
};
use crate::widen::content_of;
use crate::writer::{Body, Frame, LakeWriter, stored_checkpoint};

/// Table property: the version that the newest run's commit made.
const PROPERTY_VERSION: &str = "hambar.version";
/// Plans made before other writers are held responsible.
const ATTEMPTS_MAX: u32 = 20;

/// The rows of a run, ready to be planned against a version of the table.
enum Prepared {
    /// Files to add as they are.
    Files { adds: Vec<Add>, fingerprint: Fingerprint },
    /// Sorted rows to merge.
    Merge(Arc<MergeTask>),
}

/// A commit of the current table, planned against one version of it.
#[derive(Default)]
struct Planned {
    adds: Vec<Add>,
    removes: Vec<Arc<Add>>,
    history: SideFiles,
    fresh: u64,
    revised: u64,
    withdrawn: u64,
    plus: Fingerprint,
    minus: Fingerprint,
}

/// What stays the same while a commit is planned again and again.
struct Transaction {
    frame: Frame,
    request: CommitRequest,
    sequence: u64,
    rejects: SideFiles,
    /// History files under this run's number whose writer cannot commit any more: its own, and fenced ones.
    replaceable: BTreeSet<String>,
}

/// Whether the history is ready for the table's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// It holds what the plan supersedes, and nothing else under this number.
    Ready,
    /// Somebody else is, or may be, about to commit the same number: the plan no longer holds.
    Disputed,
}

/// Commits what `writer` collected.
pub(crate) async fn commit(writer: LakeWriter, request: CommitRequest) -> Result<CommitOutcome, StoreError> {
    let LakeWriter { frame, body, rejects } = writer;
    if frame.rows != request.rows_expected {
        let what = format!("the run announced {} rows, but wrote {}", request.rows_expected, frame.rows);
        return Err(rows(&frame.log.label, what));
    }
    let rejects = match rejects {
        None => Vec::new(),
        Some((appender, folder)) => {
            let appended = appender.finish().await?;
            let files: SideFiles = appended.files.into_iter().map(|(_, file)| file).collect();
            flush_entries(&frame.lake, &folder, &files).await?;
            files
        }
    };
    let sequence = frame.base + 1;
    let mut transaction = Transaction { frame, request, sequence, rejects, replaceable: BTreeSet::new() };
    let prepared = transaction.prepare(body).await?;
    transaction.run(&prepared).await
}

impl Transaction {
    async fn prepare(&self, body: Body) -> Result<Prepared, StoreError> {
        let frame = &self.frame;
        match body {
            Body::Append(appender) => {
                let appended = appender.finish().await?;
                let mut adds = Vec::with_capacity(appended.files.len());
                let columns = frame.partitioning.columns();
                for (values, file) in &appended.files {
                    adds.push(publish(&frame.lake, &frame.log, columns, values, file, BTreeMap::new()).await?);
                }
                let files = appended.files.iter().map(|(_, file)| file);
                flush_entries(&frame.lake, &frame.folder, files).await?;
                Ok(Prepared::Files { adds, fingerprint: appended.fingerprint })
            }
            Body::Sort { sorter, key, sources } => {
                let history = self.history_columns().await?;
                let absent = if frame.spec.write == WriteMode::Snapshot { Absent::Withdrawn } else { Absent::Kept };
                Ok(Prepared::Merge(Arc::new(MergeTask {
                    lake: frame.lake.clone(),
                    log: frame.log.clone(),
                    label: frame.log.label.clone(),
                    key,
                    content: frame.content.clone(),
                    full: frame.full.clone(),
                    history,
                    partitioning: frame.partitioning.clone(),
                    absent,
                    runs: sorter.finish().await?,
                    sources,
                    recorded_at: frame.recorded_at,
                    sequence: self.sequence,
                    folder: frame.folder.clone(),
                    history_folder: data_folder(&frame.lake, &self.history_log(), &frame.spool)?.of_drafts(),
                    spool: frame.spool.path().to_owned(),
                })))
            }
        }
    }

    async fn run(&mut self, prepared: &Prepared) -> Result<CommitOutcome, StoreError> {
        for attempt in 1..=ATTEMPTS_MAX {
            let state = self.newest().await?;
            if let Some(outcome) = self.settled(&state) {
                self.discard_prepared(prepared).await;
                return Ok(outcome);
            }
            refuse_foreign(&self.frame.log, &state)?;
            self.refuse_other_columns(&state)?;
            let planned = self.plan(prepared, &state).await?;
            // From here on a commit may name the files: they are deleted on purpose only.
            self.keep_drafts(prepared);
            self.commit_rejects().await?;
            if planned.fresh == 0 && planned.withdrawn == 0 && self.stands_still(&state)? {
                self.discard(&planned).await;
                return Ok(CommitOutcome::Unchanged);
            }
            if let Some(committed) = self.put(&state, &planned).await? {
                return Ok(committed);
            }
            if matches!(prepared, Prepared::Merge(_)) {
                self.discard(&planned).await;
            }
            commit::pause(attempt).await;
        }
        self.discard_prepared(prepared).await;
        Err(StoreError::Contended { table: self.frame.log.label.clone(), attempts: ATTEMPTS_MAX })
    }

    /// Commits the history, then the table; `None` where somebody else made the version, or may be about to.
    async fn put(&mut self, state: &LogState, planned: &Planned) -> Result<Option<CommitOutcome>, StoreError> {
        if self.commit_history(planned).await? == History::Disputed {
            return Ok(None);
        }
        if let Some(lease) = &self.frame.lease {
            lease.check().await?;
        }
        let version = state.version + 1;
        let lines = self.lines(state, planned)?;
        if commit::put(&self.frame.log, version, &lines).await? == Put::Lost {
            return Ok(None);
        }
        // Only warms the cache; the commit is durable whatever comes of it.
        let _ = self.frame.lake.newest(&self.frame.log).await;
        Ok(Some(CommitOutcome::Committed {
            version,
            rows: planned.fresh,
            revised: planned.revised,
            withdrawn: planned.withdrawn,
        }))
    }

    async fn newest(&self) -> Result<Arc<LogState>, StoreError> {
        let log = &self.frame.log;
        self.frame.lake.newest(log).await?.ok_or_else(|| missing(format!("table `{}`", log.label)))
    }

    /// Says how the run ended where another commit decided it: its own, or another run's.
    fn settled(&self, state: &LogState) -> Option<CommitOutcome> {
        let newest = run_of(state);
        if newest.as_ref() == Some(&self.frame.stamp.run) {
            let version = state.property(PROPERTY_VERSION).and_then(|version| version.parse().ok());
            return Some(CommitOutcome::AlreadyApplied { version: version.unwrap_or(state.version) });
        }
        let winner = newest.unwrap_or_else(|| RunId("unknown".to_owned()));
        (state.sequence() != self.frame.base).then_some(CommitOutcome::Conflict { winner })
    }

    /// Refuses to go on where the table's columns are no longer those that the rows were brought to.
    fn refuse_other_columns(&self, state: &LogState) -> Result<(), StoreError> {
        let columns = |schema: &SchemaRef| -> Vec<(String, DataType)> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        let newest = content_of(schema_of(&self.frame.log, state)?.as_ref());
        if columns(&newest) == columns(&self.frame.content) {
            return Ok(());
        }
        let what = format!("version {} has other columns than the run began with", state.version);
        Err(StoreError::Changed { table: self.frame.log.label.clone(), what })
    }

    /// Says whether the run got no further than the newest commit: what was merely seen does not count.
    fn stands_still(&self, state: &LogState) -> Result<bool, StoreError> {
        let stored = stored_checkpoint(&self.frame.log, state)?;
        let positions = |checkpoint: &Checkpoint| -> BTreeMap<_, _> {
            let slices = checkpoint.slices.iter().filter(|(_, slice)| slice.position != Position::Start);
            slices.map(|(id, slice)| (id.clone(), slice.position.clone())).collect()
        };
        Ok(positions(&stored) == positions(&self.request.checkpoint))
    }

    async fn plan(&self, prepared: &Prepared, state: &Arc<LogState>) -> Result<Planned, StoreError> {
        let task = match prepared {
            Prepared::Files { adds, fingerprint } => {
                return Ok(Planned {
                    adds: adds.clone(),
                    fresh: fingerprint.rows,
                    plus: *fingerprint,
                    ..Planned::default()
                });
            }
            Prepared::Merge(task) => Arc::clone(task),
        };
        let frame = &self.frame;
        let base = Arc::clone(state);
        let merged = tokio::task::spawn_blocking(move || task.run(&base)).await;
        let diff = merged.map_err(|error| job(&frame.log.label, &error))??;
        if diff.is_empty() {
            // The table's files stay, whatever the merge wrote on the way.
            let written = diff.files.iter().map(|file| layout::encoded(&file.encoded.name)).collect();
            discard(&frame.lake, &frame.log, written).await;
            return Ok(Planned::default());
        }
        let columns = frame.partitioning.columns();
        let mut adds = Vec::with_capacity(diff.files.len());
        for file in &diff.files {
            adds.push(publish(&frame.lake, &frame.log, columns, &file.values, &file.encoded, file.tags.clone()).await?);
        }
        flush_entries(&frame.lake, &frame.folder, diff.files.iter().map(|file| &file.encoded)).await?;
        Ok(Planned {
            adds,
            removes: diff.removed,
            history: diff.history,
            fresh: diff.fresh,
            revised: diff.revised,
            withdrawn: diff.withdrawn,
            plus: diff.plus,
            minus: diff.minus,
        })
    }

    fn history_log(&self) -> TableLog {
        let label = format!("{}{}", self.frame.log.label, place::HISTORY_SUFFIX);
        self.frame.lake.log(&place::history_root(&self.frame.spec.name), &label)
    }

    /// The columns of history files: those of the table, in the types that the history has. They are the same unless a
    /// widening died between the two tables.
    async fn history_columns(&self) -> Result<SchemaRef, StoreError> {
        let log = self.history_log();
        let state = side::current(&self.frame.lake, &log).await?;
        let stored = schema_of(&log, &state)?;
        let own = self.frame.full.fields().iter().map(|field| field.as_ref().clone());
        let fields = own.chain(provenance::history_fields()).map(|field| match stored.field_with_name(field.name()) {
            Ok(known) => field.with_data_type(known.data_type().clone()),
            Err(_) => field,
        });
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    /// Commits the rows that the plan supersedes. Without any, only what a dead run left is removed.
    async fn commit_history(&mut self, planned: &Planned) -> Result<History, StoreError> {
        let (lake, log) = (self.frame.lake.clone(), self.history_log());
        let mark = self.sequence.to_string();
        let adds = side::place_files(&lake, &log, &planned.history, side::TAG_SEQUENCE, &mark).await?;
        if !adds.is_empty() {
            flush_entries(&lake, &data_folder(&lake, &log, &self.frame.spool)?, &planned.history).await?;
        }
        for attempt in 1..=ATTEMPTS_MAX {
            let past = side::current(&lake, &log).await?;
            let stale = side::unfinished(&log, &past, self.sequence)?;
            // Whoever had the lease before may be about to write the history's next version, and find it taken.
            let took_over = self.frame.lease.as_ref().is_some_and(|lease| lease.took_over());
            if adds.is_empty() && stale.is_empty() && !took_over {
                return Ok(History::Ready);
            }
            if !self.may_replace(&stale).await? {
                discard(&lake, &log, adds.into_iter().map(|add| add.path).collect()).await;
                return Ok(History::Disputed);
            }
            if side::put_history(&lake, &log, &past, self.sequence, (&stale, &adds)).await? == Put::Won {
                self.replaceable.extend(adds.into_iter().map(|add| add.path));
                return Ok(History::Ready);
            }
            commit::pause(attempt).await;
        }
        Err(StoreError::Contended { table: log.label, attempts: ATTEMPTS_MAX })
    }

    /// Says whether the history may be written to, and `stale` be removed from it. Asked after the history was read: whoever
    /// took over before that is seen here, and whoever does so later wins the history's next version or finds ours there.
    async fn may_replace(&mut self, stale: &[Arc<Add>]) -> Result<bool, StoreError> {
        if let Some(lease) = &self.frame.lease {
            lease.check().await?;
        }
        let newest = self.newest().await?;
        if newest.sequence() != self.frame.base {
            return Ok(false);
        }
        let paths = stale.iter().map(|file| file.path.clone());
        let strange: Vec<String> = paths.filter(|path| !self.replaceable.contains(path)).collect();
        if strange.is_empty() {
            return Ok(true);
        }
        // Whoever wrote them may have checked its lease before it lost it, and its commit be on the way.
        let now = self.frame.lake.inner.clock.now().as_millisecond();
        let fence = [info("FENCE", now, [("hambar.rows", Value::from(0))])];
        if commit::put(&self.frame.log, newest.version + 1, &fence).await? == Put::Won {
            self.replaceable.extend(strange);
        }
        Ok(false)
    }

    /// Commits the rejects, once: another plan of the same run finds nothing left to do.
    async fn commit_rejects(&mut self) -> Result<(), StoreError> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        let lake = &self.frame.lake;
        let label = format!("{}{}", self.frame.log.label, place::REJECTS_SUFFIX);
        let log = lake.log(&place::rejects_root(&self.frame.spec.name), &label);
        let run = self.frame.stamp.run.to_string();
        let adds = side::place_files(lake, &log, &self.rejects, side::TAG_RUN, &run).await?;
        side::commit_rejects(lake, &log, &run, &adds).await?;
        self.rejects.clear();
        Ok(())
    }

    fn lines(&self, state: &LogState, planned: &Planned) -> Result<Vec<Line>, StoreError> {
        let frame = &self.frame;
        let now = frame.lake.inner.clock.now().as_millisecond();
        let operation = if planned.removes.is_empty() { "WRITE" } else { "MERGE" };
        let facts = [
            ("hambar.run", Value::from(frame.stamp.run.to_string())),
            ("hambar.sequence", self.sequence.into()),
            ("hambar.pipeline", frame.log.label.clone().into()),
            ("hambar.recorded_at", frame.recorded_at.to_string().into()),
            ("hambar.epoch", frame.lease.as_ref().map(|lease| lease.epoch()).into()),
            ("hambar.rows", planned.fresh.into()),
            ("hambar.revised", planned.revised.into()),
            ("hambar.withdrawn", planned.withdrawn.into()),
        ];
        let txn = Txn { app_id: APP_ID.to_owned(), version: self.sequence.cast_signed(), last_updated: Some(now) };
        let metadata = Metadata { configuration: self.configuration(state, planned)?, ..state.metadata.clone() };
        let mut lines = vec![
            info(operation, now, facts),
            Line { meta_data: Some(metadata), ..Line::default() },
            Line { txn: Some(txn), ..Line::default() },
        ];
        let removes = planned.removes.iter().map(|file| Remove::of(file, now, true));
        lines.extend(removes.map(|remove| Line { remove: Some(remove), ..Line::default() }));
        lines.extend(planned.adds.iter().map(|add| Line { add: Some(add.clone()), ..Line::default() }));
        Ok(lines)
    }

    fn configuration(&self, state: &LogState, planned: &Planned) -> Result<BTreeMap<String, String>, StoreError> {
        let checkpoint = serde_json::to_string(&self.request.checkpoint)
            .map_err(|error| rows(&self.frame.log.label, format!("checkpoint: {error}")))?;
        let mut configuration = state.metadata.configuration.clone();
        let known: Option<Fingerprint> = match configuration.get(PROPERTY_FINGERPRINT) {
            Some(text) => text.parse().ok(),
            None => state.files.is_empty().then(Fingerprint::default),
        };
        match known {
            Some(known) => {
                let content = known.plus(planned.plus).minus(planned.minus);
                configuration.insert(PROPERTY_FINGERPRINT.to_owned(), content.to_string());
            }
            // Rows of another writer are in the table: no fingerprint rather than a wrong one.
            None => {
                configuration.remove(PROPERTY_FINGERPRINT);
            }
        }
        configuration.extend([
            (PROPERTY_CHECKPOINT.to_owned(), checkpoint),
            (PROPERTY_RUN.to_owned(), self.frame.stamp.run.to_string()),
            (PROPERTY_SEQUENCE.to_owned(), self.sequence.to_string()),
            (PROPERTY_RECORDED_AT.to_owned(), self.frame.recorded_at.to_string()),
            (PROPERTY_VERSION.to_owned(), (state.version + 1).to_string()),
        ]);
        Ok(configuration)
    }

    fn keep_drafts(&self, prepared: &Prepared) {
        self.frame.folder.keep_drafts();
        if let Prepared::Merge(task) = prepared {
            task.history_folder.keep_drafts();
        }
    }

    async fn discard(&self, planned: &Planned) {
        let names = planned.adds.iter().map(|add| add.path.clone()).collect();
        discard(&self.frame.lake, &self.frame.log, names).await;
    }

    async fn discard_prepared(&self, prepared: &Prepared) {
        if let Prepared::Files { adds, .. } = prepared {
            let names = adds.iter().map(|add| add.path.clone()).collect();
            discard(&self.frame.lake, &self.frame.log, names).await;
        }
    }
}
