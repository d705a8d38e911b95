//! Deriving tables again from the landing zone, without the network: the rows of the last commit ([`Runner::replay`]),
//! or the whole history into an empty store ([`Runner::rebuild`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_connect::{ConnectError, Estimate, Page, Proof, Slice, SliceEvent, Source, SourcePlan};
use hambar_core::{Checkpoint, CommitOutcome, RunId, SliceId, SliceState, TableStore, WriteMode};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::{FetchError, FetchMeta, Fetcher, Landed};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::archive::{LocalFile, RunArchive};
use crate::manifest::{Line, PageLine, SliceLine, manifest_key, read_manifest};
use crate::pipeline::Pipeline;
use crate::retention::chain;
use crate::run::{Bytes, RunError, RunOutcome, RunReport, Runner};

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildReport {
    /// The report of each replayed run, oldest first.
    pub runs: Vec<RunReport>,
}

impl Runner {
    /// Derives the rows of the last commit again from the landing zone and commits what differs, for instance after a
    /// change of the pipeline file. In append mode that would double rows, so it is refused: rebuild instead.
    ///
    /// # Errors
    /// Where there is no commit, or no manifest of it, or the mode is append. What happens later is in the report.
    pub async fn replay(&self, pipeline: &Pipeline, cancel: &CancellationToken) -> Result<RunReport, RunError> {
        let refused = |what: &str| RunError::Replay { pipeline: pipeline.name.to_string(), what: what.to_owned() };
        if pipeline.table.write == WriteMode::Append {
            return Err(refused("rows of a table in append mode would come twice; use `hambar rebuild`"));
        }
        let state = self.store.open(&pipeline.table).await;
        let state = state.map_err(|source| RunError::Store { step: "open the table", source })?;
        let Some(run) = &state.run else {
            return Err(refused("nothing was committed yet"));
        };
        let manifest = self.manifest(pipeline, state.sequence, run).await?;
        let manifest = manifest.ok_or_else(|| RunError::Gone {
            pipeline: pipeline.name.to_string(),
            what: format!("the manifest of run {run} is not kept"),
        })?;
        let raw = RawSource::new(Arc::clone(&self.archive), manifest, pipeline.job.clone(), None);
        Ok(self.execute(pipeline, Bytes::Raw { source: Arc::new(raw), recorded_at: None }, cancel).await)
    }

    /// Replays every commit of the table, oldest first, into `fresh`, an empty store, with the instants at which the
    /// rows were recorded. Stops at the first run that does not commit. Comparing fingerprints is the caller's part.
    ///
    /// # Errors
    /// Where the chain of manifests has a gap, or a replayed run fails.
    pub async fn rebuild(
        &self,
        pipeline: &Pipeline,
        fresh: Arc<dyn TableStore>,
        cancel: &CancellationToken,
    ) -> Result<RebuildReport, RunError> {
        let state = self.store.open(&pipeline.table).await;
        let state = state.map_err(|source| RunError::Store { step: "open the table", source })?;
        let chain = chain(self.archive.as_ref(), &pipeline.name, state.sequence, state.run).await?;
        let scratch = Self { store: fresh, archive: Arc::new(ReadOnly(Arc::clone(&self.archive))), ..self.clone() };
        let mut runs = Vec::new();
        for (header, manifest) in chain.into_iter().rev() {
            let raw = RawSource::new(Arc::clone(&self.archive), manifest, pipeline.job.clone(), None);
            let bytes = Bytes::Raw { source: Arc::new(raw), recorded_at: Some(header.recorded_at) };
            let report = scratch.execute(pipeline, bytes, cancel).await;
            let outcome = report.outcome.clone();
            runs.push(report);
            match outcome {
                RunOutcome::Stored(
                    CommitOutcome::Committed { .. } | CommitOutcome::Unchanged | CommitOutcome::AlreadyApplied { .. },
                ) => {}
                RunOutcome::Stored(CommitOutcome::Conflict { .. })
                | RunOutcome::Cancelled
                | RunOutcome::Busy { .. } => break,
                RunOutcome::Failed(failure) => {
                    return Err(RunError::Again { run: header.run, failure: Box::new(failure) });
                }
            }
        }
        Ok(RebuildReport { runs })
    }

    async fn manifest(&self, pipeline: &Pipeline, sequence: u64, run: &RunId) -> Result<Option<LocalFile>, RunError> {
        let key = manifest_key(&pipeline.name, sequence, run);
        self.archive.get(&key).await.map_err(|source| RunError::Archive { source })
    }
}

/// A landing zone that takes nothing: a rebuild must not touch the manifests that it reads.
#[derive(Debug)]
struct ReadOnly(Arc<dyn RunArchive>);

#[async_trait]
impl RunArchive for ReadOnly {
    async fn raw(&self, sha256: &str) -> Result<Option<LocalFile>, crate::archive::ArchiveError> {
        self.0.raw(sha256).await
    }

    async fn put(&self, _key: &str, _file: &std::path::Path) -> Result<(), crate::archive::ArchiveError> {
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<LocalFile>, crate::archive::ArchiveError> {
        self.0.get(key).await
    }
}

/// Reads the pages of a manifest from the landing zone.
#[derive(Debug, Clone)]
pub(crate) struct RawSource {
    archive: Arc<dyn RunArchive>,
    manifest: LocalFile,
    job: DecodeJob,
    wanted: Option<Arc<BTreeSet<SliceId>>>,
}

impl RawSource {
    /// Reads all slices of `manifest`, or those that are `wanted`.
    pub(crate) fn new(
        archive: Arc<dyn RunArchive>,
        manifest: LocalFile,
        job: DecodeJob,
        wanted: Option<BTreeSet<SliceId>>,
    ) -> Self {
        Self { archive, manifest, job, wanted: wanted.map(Arc::new) }
    }

    /// The slices that the manifest has, among those that are wanted.
    pub(crate) fn slices(&self) -> std::io::Result<Vec<Slice>> {
        let mut slices = Vec::new();
        for line in read_manifest(&self.manifest.path)? {
            if let Line::Slice(SliceLine { slice, .. }) = line?
                && self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&slice))
            {
                slices.push(Slice { id: slice, from: SliceState::default(), detail: String::new() });
            }
        }
        Ok(slices)
    }

    async fn send(
        &self,
        slice: &SliceId,
        sender: &mpsc::Sender<Result<SliceEvent, ConnectError>>,
    ) -> Result<(), ConnectError> {
        let broken = |error: std::io::Error| ConnectError::Protocol {
            url: self.manifest.path.display().to_string(),
            what: error.to_string(),
        };
        for line in read_manifest(&self.manifest.path).map_err(broken)? {
            let event = match line.map_err(broken)? {
                Line::Page(page) if page.slice == *slice => SliceEvent::Page(Box::new(self.page(*page).await?)),
                Line::Slice(end) if end.slice == *slice => end_of(end),
                Line::Run(_) | Line::Page(_) | Line::Slice(_) => continue,
            };
            let is_end = matches!(event, SliceEvent::End { .. });
            if sender.send(Ok(event)).await.is_err() || is_end {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn page(&self, line: PageLine) -> Result<Page, ConnectError> {
        let failed = |source: FetchError| ConnectError::Fetch { step: "read raw bytes".to_owned(), source };
        let raw = self.archive.raw(&line.sha256).await;
        let raw =
            raw.map_err(|error| failed(FetchError::Landing { url: line.url.clone(), source: Box::new(error) }))?;
        let gone = || failed(FetchError::NotRecorded { method: "raw".to_owned(), url: line.url.clone() });
        let file = raw.ok_or_else(gone)?;
        let mut job = self.job.clone();
        if let Some(format) = line.format {
            job.format = format;
        }
        job.constants = line.constants;
        let meta = FetchMeta {
            started_at: Timestamp::UNIX_EPOCH,
            method: "raw".to_owned(),
            url: line.url.clone(),
            final_url: line.url,
            status: None,
            attempt: 1,
            request_headers: Vec::new(),
            headers: Vec::new(),
            bytes_wire: 0,
            bytes: line.bytes,
            milliseconds: 0,
            sha256: Some(line.sha256.clone()),
            error: None,
        };
        let landed = Landed { sha256: line.sha256, bytes: line.bytes, path: file.path, spool: file.keep, meta };
        Ok(Page { landed, job, records_announced: line.records_announced })
    }
}

fn end_of(line: SliceLine) -> SliceEvent {
    let proof = Proof { evidence: format!("raw bytes: {}", line.evidence), records_announced: line.records_announced };
    SliceEvent::End { proof, reached: line.state.position, seen: line.state.seen.unwrap_or_default() }
}

#[async_trait]
impl Source for RawSource {
    async fn plan(&self, _done: &Checkpoint, _fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        let slices = self.slices().map_err(|error| ConnectError::Protocol {
            url: self.manifest.path.display().to_string(),
            what: error.to_string(),
        })?;
        Ok(SourcePlan { slices, estimate: Estimate::default(), is_full_extract: true })
    }

    fn read(&self, slice: Slice, _fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        let (sender, receiver) = mpsc::channel(1);
        let source = self.clone();
        tokio::spawn(async move {
            if let Err(error) = source.send(&slice.id, &sender).await {
                // Where nobody listens any more, nobody needs the reason.
                let _ = sender.send(Err(error)).await;
            }
        });
        ReceiverStream::new(receiver).boxed()
    }
}
