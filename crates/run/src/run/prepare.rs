//! From an open table to a writer that holds everything and only needs to commit: plan, read, and read again what a
//! snapshot needs although it is unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hambar_connect::{Slice, Source, SourcePlan};
use hambar_core::{
    Checkpoint, CommitRequest, Position, RunStamp, SliceId, SliceState, StoreError, TableSpec, TableState, TableWriter,
    WriteMode,
};
use hambar_fetch::Fetcher;

use super::error::RunError;
use super::log::RunLog;
use super::reading::Reading;
use super::sink::{News, RunSink};
use super::slice_work::Purpose;
use super::verified::Verified;
use super::{Bytes, Runner};
use crate::archive::LocalFile;
use crate::manifest::{Header, manifest_key, read_header};
use crate::pipeline::Pipeline;
use crate::replay::RawSource;

/// Changes of columns within one run, each of which starts the reading again.
const DRIFTS_MAX: u32 = 8;

/// What a run is about.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) runner: &'a Runner,
    pub(super) pipeline: &'a Pipeline,
    pub(super) stamp: RunStamp,
    pub(super) sink: Arc<RunSink>,
    pub(super) bytes: Bytes,
}

impl Context<'_> {
    pub(super) fn fetcher(&self) -> Fetcher {
        let sink: Arc<RunSink> = Arc::clone(&self.sink);
        Fetcher::new(Arc::clone(&self.runner.transport), sink)
    }

    pub(super) fn reached(&self, point: &'static str) {
        self.runner.faults.reached(point);
    }
}

/// What preparing came to.
#[derive(Debug)]
pub(super) enum Prepared {
    /// There is nothing to commit, but perhaps something to keep.
    Unchanged(Option<Box<Verified>>),
    /// Everything was read and proven complete.
    Ready(Box<Ready>),
}

/// A commit that only needs to be made.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) writer: Box<dyn TableWriter>,
    pub(super) request: CommitRequest,
    pub(super) manifest: tempfile::TempPath,
    pub(super) manifest_key: String,
    /// What to keep where the commit changes nothing.
    pub(super) learnt: Option<Verified>,
}

/// What an attempt found out that the next one has to know.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    /// The table with the columns that drift added.
    pub(super) spec: Option<TableSpec>,
    /// How often that happened.
    pub(super) drifts: u32,
    /// Slices that turned out to be unchanged after their rows were written in append mode, with the evidence.
    pub(super) unchanged: BTreeMap<SliceId, String>,
    /// What was seen of them.
    pub(super) seen: BTreeMap<SliceId, SliceState>,
    /// Slices whose raw bytes are gone.
    pub(super) raw_is_gone: BTreeSet<SliceId>,
}

/// Why an attempt did not come to its end.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// The run fails.
    Failed(RunError),
    /// The lessons grew: start again.
    Again,
}

impl From<RunError> for Interrupt {
    fn from(error: RunError) -> Self {
        Self::Failed(error)
    }
}

/// Opens the table, plans, and reads until everything is in a writer.
pub(super) async fn prepare(context: &Context<'_>, log: &mut RunLog) -> Result<Prepared, RunError> {
    let mut state = open(context, &context.pipeline.table).await?;
    context.reached("after_open");
    let verified = match Verified::load(context.runner.archive.as_ref(), &context.pipeline.name, &state).await {
        Ok(verified) => verified,
        Err(reason) => {
            log.warn(reason);
            None
        }
    };
    if let Some(verified) = verified.as_ref().filter(|_| !matches!(context.bytes, Bytes::Raw { .. })) {
        verified.apply(&mut state.checkpoint);
    }
    let source = match &context.bytes {
        Bytes::ProviderInFull if context.pipeline.table.write == WriteMode::Append && state.sequence > 0 => {
            return Err(RunError::Twice);
        }
        Bytes::Provider | Bytes::ProviderInFull => context
            .runner
            .sources
            .build(context.pipeline)
            .map_err(|error| RunError::Plan { source: Box::new(error) })?,
        Bytes::Raw { source, .. } => Arc::clone(source),
    };
    let last = last_manifest(context, &state, log).await;
    let done = match &context.bytes {
        Bytes::Provider | Bytes::Raw { .. } => state.checkpoint.clone(),
        Bytes::ProviderInFull => Checkpoint::default(),
    };
    let planned = source.plan(&done, &context.fetcher()).await;
    let plan = planned.map_err(|error| RunError::Plan { source: Box::new(error) })?;
    check_plan(context.pipeline, &state.checkpoint, &plan)?;
    context.sink.hear(News::Planned { slices: plan.slices.len(), estimate: &plan.estimate });
    context.reached("after_plan");
    let mut lessons = Lessons { spec: as_stored(&context.pipeline.table, &state), ..Lessons::default() };
    loop {
        let manifest_hash = last.as_ref().map(|(header, _)| header.decode_hash.as_str());
        let known_hash = verified.as_ref().map(|verified| verified.decode_hash.as_str()).or(manifest_hash);
        let attempt = Attempt { context, state: &state, source: &source, plan: &plan, last: last.as_ref(), known_hash };
        match attempt.read(&mut lessons, log).await {
            Ok(prepared) => return Ok(prepared),
            Err(Interrupt::Failed(error)) => return Err(error),
            Err(Interrupt::Again) if lessons.drifts > DRIFTS_MAX => {
                return Err(RunError::Drifting { times: lessons.drifts });
            }
            Err(Interrupt::Again) => log.start_again(),
        }
    }
}

pub(super) async fn open(context: &Context<'_>, spec: &TableSpec) -> Result<TableState, RunError> {
    let opened = context.runner.store.open(spec).await;
    opened.map_err(|source: StoreError| RunError::Store { step: "open the table", source })
}

/// The declared table in the wider types that earlier runs needed; `None` where there are none.
fn as_stored(declared: &TableSpec, state: &TableState) -> Option<TableSpec> {
    let mut stored = declared.clone();
    for (name, kind) in &state.wider {
        if let Some(column) = stored.columns.iter_mut().find(|column| column.name == *name) {
            column.kind = kind.clone();
        }
    }
    (stored != *declared).then_some(stored)
}

/// The manifest of the table's newest commit, if it is there.
async fn last_manifest(context: &Context<'_>, state: &TableState, log: &mut RunLog) -> Option<(Header, LocalFile)> {
    let key = manifest_key(&context.pipeline.name, state.sequence, state.run.as_ref()?);
    match context.runner.archive.get(&key).await {
        Ok(None) => None,
        Ok(Some(file)) => match read_header(&file.path) {
            Ok(header) => Some((header, file)),
            Err(error) => {
                log.warn(format!("the manifest `{key}` is damaged: {error}"));
                None
            }
        },
        Err(error) => {
            log.warn(super::report::warning("the last manifest was not read", &error));
            None
        }
    }
}

fn check_plan(pipeline: &Pipeline, done: &Checkpoint, plan: &SourcePlan) -> Result<(), RunError> {
    if pipeline.table.write == WriteMode::Snapshot && !plan.is_full_extract {
        return Err(RunError::NotAll);
    }
    let rows: u64 = done.slices.values().filter_map(|state| state.seen.as_ref()).map(|seen| seen.rows).sum();
    if plan.slices.is_empty() && plan.is_full_extract && rows > 0 && !pipeline.allow_empty {
        return Err(RunError::NoSlices { rows });
    }
    Ok(())
}

/// One pass over the source.
struct Attempt<'a, 'b> {
    context: &'a Context<'b>,
    state: &'a TableState,
    source: &'a Arc<dyn Source>,
    plan: &'a SourcePlan,
    last: Option<&'a (Header, LocalFile)>,
    /// The form of the declaration that is known to give the rows that are there.
    known_hash: Option<&'a str>,
}

impl Attempt<'_, '_> {
    async fn read(&self, lessons: &mut Lessons, log: &mut RunLog) -> Result<Prepared, Interrupt> {
        let pipeline = self.context.pipeline;
        let header = Header {
            run: self.context.stamp.run.clone(),
            previous: self.state.run.clone(),
            sequence: self.state.sequence + 1,
            recorded_at: self.context.stamp.recorded_at,
            decode_hash: pipeline.decode_hash(),
        };
        let known: Vec<(SliceId, String)> =
            lessons.unchanged.iter().map(|(id, why)| (id.clone(), why.clone())).collect();
        let to_read: Vec<Slice> =
            self.plan.slices.iter().filter(|slice| !lessons.unchanged.contains_key(&slice.id)).cloned().collect();
        let mut reading = Reading::start(self.context, self.state, header, lessons, log)?;
        for (slice, evidence) in known {
            reading.note_unchanged(&slice, evidence);
        }
        reading.read(Arc::clone(self.source), to_read, Purpose::Collect).await?;

        let withdrawn = self.slices_gone();
        let again = self.slices_to_read_again(&mut reading, !withdrawn.is_empty());
        if !again.is_empty() {
            self.read_again(&mut reading, &again).await?;
        }
        if !reading.has_news() && withdrawn.is_empty() {
            let learnt = Verified::of(self.context, self.state, self.known_hash, reading.checkpoint());
            return Ok(Prepared::Unchanged(learnt.map(Box::new)));
        }
        let mut ready = reading.finish(&withdrawn).await?;
        ready.learnt = Verified::of(self.context, self.state, self.known_hash, &ready.request.checkpoint);
        Ok(Prepared::Ready(Box::new(ready)))
    }

    /// In snapshot mode: slices of the last commit that the source no longer has.
    fn slices_gone(&self) -> Vec<SliceId> {
        if self.context.pipeline.table.write != WriteMode::Snapshot {
            return Vec::new();
        }
        let planned: BTreeSet<&SliceId> = self.plan.slices.iter().map(|slice| &slice.id).collect();
        self.state.checkpoint.slices.keys().filter(|id| !planned.contains(id)).cloned().collect()
    }

    /// Unchanged slices whose rows must be written all the same: beside changed ones in a snapshot, where absent rows
    /// would be withdrawn, and where the pipeline file now makes other rows of the same bytes.
    fn slices_to_read_again(&self, reading: &mut Reading<'_, '_>, is_some_gone: bool) -> Vec<SliceId> {
        let mode = self.context.pipeline.table.write;
        let hash = self.context.pipeline.decode_hash();
        let is_other_form = self.known_hash.is_some_and(|known| known != hash);
        let unchanged: Vec<SliceId> = reading.unchanged().cloned().collect();
        let is_incremental = |id: &SliceId| matches!(self.state.checkpoint.slice(id).position, Position::At(_));
        match mode {
            WriteMode::Snapshot if reading.has_news() || is_some_gone || is_other_form => unchanged,
            WriteMode::Upsert if is_other_form => {
                if self.plan.slices.iter().any(|slice| is_incremental(&slice.id)) {
                    reading.warn("the pipeline file has changed: rows of earlier runs keep their old form until `hambar rebuild`");
                }
                unchanged.into_iter().filter(|id| !is_incremental(id)).collect()
            }
            WriteMode::Append if is_other_form => {
                reading.warn(
                    "the pipeline file has changed: rows of earlier runs keep their old form until `hambar rebuild`",
                );
                Vec::new()
            }
            WriteMode::Snapshot | WriteMode::Upsert | WriteMode::Append => Vec::new(),
        }
    }

    /// From the landing zone where the raw bytes are there, else from the provider, without conditions.
    async fn read_again(&self, reading: &mut Reading<'_, '_>, again: &[SliceId]) -> Result<(), Interrupt> {
        let wanted: BTreeSet<SliceId> = again.iter().filter(|id| !reading.is_raw_gone(id)).cloned().collect();
        let mut refetch: BTreeSet<&SliceId> = again.iter().collect();
        if let Some((_, manifest)) = self.last {
            let archive = Arc::clone(&self.context.runner.archive);
            let raw = RawSource::new(archive, manifest.clone(), self.context.pipeline.job.clone(), Some(wanted));
            let slices = raw.slices().map_err(|source| RunError::Manifest { source })?;
            refetch.retain(|id| !slices.iter().any(|slice| slice.id == **id));
            reading.read(Arc::new(raw), slices, Purpose::FromRaw).await?;
        }
        let from_start = |slice: &&Slice| refetch.contains(&slice.id);
        let slices = self.plan.slices.iter().filter(from_start).cloned();
        let slices: Vec<Slice> = slices.map(|slice| Slice { from: SliceState::default(), ..slice }).collect();
        if !slices.is_empty() {
            reading.read(Arc::clone(self.source), slices, Purpose::Again).await?;
        }
        Ok(())
    }
}
