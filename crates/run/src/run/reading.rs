//! Reads slices into a writer: pages are decoded side by side and written in order, and each page and slice must come
//! to as many records as were announced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use hambar_connect::{ConnectError, Page, Proof, Slice, SliceEvent, Source};
use hambar_core::{
    Checkpoint, CommitRequest, OnDrift, Position, Seen, SliceId, SliceState, SystemTable, TableSpec, TableState,
    TableWriter, WriteMode,
};
use hambar_decode::DecodeReport;
use hambar_decode::spec::DecodeJob;
use hambar_fetch::FetchError;

use super::drift::{align, lost_keys, stamp_rejects, widen};
use super::error::RunError;
use super::feed::{Feed, FeedItem};
use super::log::RunLog;
use super::prepare::{Context, Interrupt, Lessons, Ready, open};
use super::report::{fetch_rows, warning};
use super::sink::{EXCHANGES_HELD_MAX, News};
use super::slice_work::{Purpose, SliceWork};
use crate::decode_pool::{DecodeFailure, DecodeFrames, DecodeTask, Decoded};
use crate::manifest::{Header, Line, ManifestWriter, PageLine, SliceLine, manifest_key};

/// Pages that are decoded side by side, as far as the pool has workers.
const PAGES_DECODING_MAX: usize = 4;
/// Pages of a slice that wait for its end in append mode, where rows that turn out to be old cannot be taken back.
const PAGES_HELD_MAX: usize = 4_096;

/// One pass: everything that was read, on its way into a writer.
pub(super) struct Reading<'a, 'b> {
    context: &'a Context<'b>,
    state: &'a TableState,
    lessons: &'a mut Lessons,
    log: &'a mut RunLog,
    spec: TableSpec,
    writer: Option<Box<dyn TableWriter>>,
    manifest: ManifestWriter,
    checkpoint: Checkpoint,
    unchanged: BTreeMap<SliceId, String>,
    work: Vec<SliceWork>,
    queue: VecDeque<InFlight>,
    rows: u64,
    slices_read: u64,
}

/// What is under way, in the order in which it must be finished.
#[derive(Debug)]
enum InFlight {
    Page(Box<PageWork>),
    End { work: usize, proof: Proof, reached: Position, seen: Seen },
}

/// A page that is being decoded.
#[derive(Debug)]
struct PageWork {
    work: usize,
    number: u64,
    page: Page,
    frames: DecodeFrames,
    rows: u64,
}

impl<'a, 'b> Reading<'a, 'b> {
    pub(super) fn start(
        context: &'a Context<'b>,
        state: &'a TableState,
        header: Header,
        lessons: &'a mut Lessons,
        log: &'a mut RunLog,
    ) -> Result<Self, RunError> {
        let spec = lessons.spec.clone().unwrap_or_else(|| context.pipeline.table.clone());
        let manifest = ManifestWriter::start(header).map_err(|source| RunError::Manifest { source })?;
        let mut checkpoint = state.checkpoint.clone();
        checkpoint.slices.extend(lessons.seen.clone());
        Ok(Self {
            context,
            state,
            lessons,
            log,
            spec,
            writer: None,
            manifest,
            checkpoint,
            unchanged: BTreeMap::new(),
            work: Vec::new(),
            queue: VecDeque::new(),
            rows: 0,
            slices_read: 0,
        })
    }

    pub(super) fn note_unchanged(&mut self, slice: &SliceId, evidence: String) {
        self.log.prove(&format!("unchanged: {evidence}"));
        self.context.sink.hear(News::SliceDone(slice));
        self.unchanged.insert(slice.clone(), evidence);
    }

    pub(super) fn unchanged(&self) -> impl Iterator<Item = &SliceId> {
        self.unchanged.keys()
    }

    pub(super) fn is_raw_gone(&self, slice: &SliceId) -> bool {
        self.lessons.raw_is_gone.contains(slice)
    }

    pub(super) fn warn(&mut self, warning: &str) {
        self.log.warn(warning.to_owned());
    }

    /// How far everything was read.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Says whether there is something to commit. Without rows that is a snapshot, a table's first commit, or a slice
    /// that moved on: a window of time in which nothing happened is not read again.
    pub(super) fn has_news(&self) -> bool {
        let is_told_by_rows = self.context.pipeline.table.write != WriteMode::Snapshot && self.state.sequence > 0;
        let has_rows = self.rows > 0 || self.log.rows_rejected > 0;
        let has_moved =
            |(id, slice): (&SliceId, &SliceState)| slice.position != self.state.checkpoint.slice(id).position;
        self.slices_read > 0 && (!is_told_by_rows || has_rows || self.checkpoint.slices.iter().any(has_moved))
    }

    /// Reads `slices` of `source` to their ends.
    pub(super) async fn read(
        &mut self,
        source: Arc<dyn Source>,
        slices: Vec<Slice>,
        purpose: Purpose,
    ) -> Result<(), Interrupt> {
        self.work = slices.iter().map(|slice| SliceWork::new(slice.clone(), purpose)).collect();
        let mut feed = Feed::start(source, slices, self.context.fetcher());
        loop {
            let item = self.next_item(&mut feed).await?;
            self.record_exchanges().await;
            match item {
                FeedItem::Finished => break,
                FeedItem::Event(work, event) => self.take_event(work, event).await?,
                FeedItem::Failed(work, error) => return Err(self.read_failure(work, error)),
                FeedItem::SliceEnded(work) if self.work[work].has_ended => {}
                FeedItem::SliceEnded(work) => {
                    return Err(RunError::NoProof { slice: self.work[work].slice.id.clone() }.into());
                }
            }
        }
        while !self.queue.is_empty() {
            self.settle()?;
            if let Some(InFlight::Page(front)) = self.queue.front_mut() {
                let frame = front.frames.next().await;
                self.take_frame(frame).await?;
            }
        }
        Ok(())
    }

    fn read_failure(&mut self, work: usize, error: ConnectError) -> Interrupt {
        let SliceWork { slice, purpose, .. } = &self.work[work];
        let is_gone = matches!(&error, ConnectError::Fetch { source: FetchError::NotRecorded { .. }, .. });
        // Raw bytes that retention has removed: start again and ask the provider for this slice.
        let is_provider = !matches!(self.context.bytes, super::Bytes::Raw { .. });
        if *purpose == Purpose::FromRaw && is_gone && is_provider && self.lessons.raw_is_gone.insert(slice.id.clone()) {
            return Interrupt::Again;
        }
        RunError::Read { slice: slice.id.clone(), source: Box::new(error) }.into()
    }

    /// Waits for the feed while the page at the front goes on being decoded and written.
    async fn next_item(&mut self, feed: &mut Feed) -> Result<FeedItem, Interrupt> {
        loop {
            self.settle()?;
            let is_full = self.queue.len() >= PAGES_DECODING_MAX;
            let item = match self.queue.front_mut() {
                Some(InFlight::Page(front)) if is_full => Err(front.frames.next().await),
                Some(InFlight::Page(front)) => tokio::select! {
                    biased;
                    frame = front.frames.next() => Err(frame),
                    item = feed.next() => Ok(item),
                },
                _ => Ok(feed.next().await),
            };
            match item {
                Ok(Some(item)) => return Ok(item),
                Ok(None) => return Err(RunError::Task { task: "reads the source" }.into()),
                Err(frame) => self.take_frame(frame).await?,
            }
        }
    }

    async fn take_event(&mut self, work: usize, event: SliceEvent) -> Result<(), Interrupt> {
        match event {
            SliceEvent::Unchanged { evidence } => {
                let slice = self.work[work].slice.id.clone();
                if self.work[work].purpose != Purpose::Collect {
                    return Err(RunError::NoProof { slice }.into());
                }
                self.work[work].has_ended = true;
                self.note_unchanged(&slice, evidence);
                Ok(())
            }
            SliceEvent::Page(page) => {
                self.context.reached("after_fetch");
                self.work[work].held.push(*page);
                if self.work[work].held.len() > self.held_max(work) {
                    self.release(work).await?;
                }
                Ok(())
            }
            SliceEvent::End { proof, reached, seen } => {
                self.work[work].has_ended = true;
                if self.is_same_as_before(work, &reached, &seen) {
                    let slice = self.work[work].slice.id.clone();
                    // The validators may be new although the bytes are not.
                    let rows = self.work[work].slice.from.seen.as_ref().map_or(0, |before| before.rows);
                    let state = SliceState { position: reached.clone(), seen: Some(Seen { rows, ..seen.clone() }) };
                    if self.work[work].pages == 0 {
                        self.work[work].held.clear();
                        self.checkpoint.slices.insert(slice.clone(), state);
                        self.note_unchanged(&slice, "sha256".to_owned());
                        return Ok(());
                    }
                    if self.spec.write == WriteMode::Append {
                        self.lessons.seen.insert(slice.clone(), state);
                        self.lessons.unchanged.insert(slice, "sha256".to_owned());
                        return Err(Interrupt::Again);
                    }
                }
                self.release(work).await?;
                self.queue.push_back(InFlight::End { work, proof, reached, seen });
                Ok(())
            }
        }
    }

    /// Pages that wait until it is clear that they are news. One is enough for a slice of one page; in append mode all
    /// wait, because written rows cannot be taken back.
    fn held_max(&self, work: usize) -> usize {
        match (&self.work[work].slice.from.seen, self.spec.write) {
            (None, _) => 0,
            (Some(_), WriteMode::Append) => PAGES_HELD_MAX,
            (Some(_), WriteMode::Snapshot | WriteMode::Upsert) => 1,
        }
    }

    fn is_same_as_before(&self, work: usize, reached: &Position, seen: &Seen) -> bool {
        let from = &self.work[work].slice.from;
        from.position == *reached && from.seen.as_ref().is_some_and(|before| before.sha256 == seen.sha256)
    }

    /// Starts to decode the pages that were held.
    async fn release(&mut self, work: usize) -> Result<(), Interrupt> {
        for page in std::mem::take(&mut self.work[work].held) {
            self.work[work].pages += 1;
            let number = self.work[work].pages;
            let mut job: DecodeJob = page.job.clone();
            job.columns.clone_from(&self.context.pipeline.job.columns);
            job.limits = self.context.pipeline.job.limits.clone();
            job.limits.rejects_max = job.limits.rejects_max.saturating_sub(self.log.rows_rejected);
            let task = DecodeTask { path: page.landed.path.clone(), keep: page.landed.spool.clone(), job };
            match self.start_decoding(task).await? {
                Ok(frames) => {
                    self.queue.push_back(InFlight::Page(Box::new(PageWork { work, number, page, frames, rows: 0 })));
                }
                Err(failure) => return Err(self.decode_error(work, number, &page, failure).into()),
            }
        }
        Ok(())
    }

    /// Waits for a free worker while the page at the front goes on: it may be the one that holds the worker.
    async fn start_decoding(&mut self, task: DecodeTask) -> Result<Result<DecodeFrames, DecodeFailure>, Interrupt> {
        let pool = Arc::clone(&self.context.runner.decoder);
        let mut starting = pool.decode(task);
        loop {
            self.settle()?;
            let frame = match self.queue.front_mut() {
                Some(InFlight::Page(front)) => tokio::select! {
                    biased;
                    started = &mut starting => return Ok(started),
                    frame = front.frames.next() => frame,
                },
                _ => return Ok(starting.await),
            };
            self.take_frame(frame).await?;
        }
    }

    fn decode_error(&self, work: usize, page: u64, body: &Page, source: DecodeFailure) -> RunError {
        let (slice, url) = (self.work[work].slice.id.clone(), body.landed.meta.url.clone());
        RunError::Decode { slice, page, url, source: Box::new(source) }
    }

    /// Takes a frame of the page at the front of the queue.
    async fn take_frame(&mut self, frame: Option<Result<Decoded, DecodeFailure>>) -> Result<(), Interrupt> {
        let Some(InFlight::Page(front)) = self.queue.front_mut() else { return Ok(()) };
        let work = front.work;
        let source = front.page.landed.sha256.clone();
        match frame {
            Some(Ok(Decoded::Rows(batch))) => {
                front.rows += batch.num_rows() as u64;
                self.write(work, &batch, &source).await
            }
            Some(Ok(Decoded::Rejected(batch))) => self.reject(work, &batch, &source).await,
            Some(Ok(Decoded::Done(report))) => {
                if let Some(InFlight::Page(page)) = self.queue.pop_front() {
                    self.finish_page(&page, &report)?;
                }
                Ok(())
            }
            Some(Err(failure)) => {
                let (number, page) = (front.number, front.page.clone());
                Err(self.decode_error(work, number, &page, failure).into())
            }
            None => Err(RunError::Task { task: "decodes a page" }.into()),
        }
    }

    async fn write(&mut self, work: usize, batch: &RecordBatch, source: &str) -> Result<(), Interrupt> {
        let wrong = |what| RunError::Rows { slice: self.work[work].slice.id.clone(), what };
        let widened = widen(&self.spec, batch).map_err(wrong)?;
        if let Some(widened) = widened {
            if !matches!(self.spec.on_drift, OnDrift::AddColumns | OnDrift::Widen) {
                return Err(wrong("columns that are not declared".to_owned()).into());
            }
            self.log.drift.widened.extend(widened.changes);
            self.spec = widened.spec;
            if self.writer.is_some() {
                // The writer has begun with fewer columns.
                self.lessons.spec = Some(self.spec.clone());
                self.lessons.drifts += 1;
                return Err(Interrupt::Again);
            }
        }
        let rows = align(&self.spec, batch).map_err(wrong)?;
        let count = rows.num_rows() as u64;
        let written = self.writer().await?.write(rows, source).await;
        written.map_err(|source| RunError::Store { step: "write rows", source })?;
        self.rows += count;
        self.context.sink.hear(News::Rows(count));
        self.context.reached("after_write");
        Ok(())
    }

    async fn reject(&mut self, work: usize, batch: &RecordBatch, source: &str) -> Result<(), Interrupt> {
        let stamp = &self.context.stamp;
        let wrong = |what| RunError::Rows { slice: self.work[work].slice.id.clone(), what };
        let rejected = stamp_rejects(batch, &stamp.run.0, stamp.recorded_at, source).map_err(wrong)?;
        self.log.rows_rejected += rejected.num_rows() as u64;
        let rejects_max = self.context.pipeline.job.limits.rejects_max;
        if self.log.rows_rejected > rejects_max {
            return Err(RunError::Rejects { rejected: self.log.rows_rejected, rejects_max }.into());
        }
        let written = self.writer().await?.reject(rejected).await;
        written.map_err(|source| RunError::Store { step: "write rejected rows", source })?;
        Ok(())
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn TableWriter>, RunError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                if self.spec != self.context.pipeline.table {
                    open(self.context, &self.spec).await?;
                }
                let started =
                    self.context.runner.store.writer(&self.spec, self.state, self.context.stamp.clone()).await;
                started.map_err(|source| RunError::Store { step: "start the commit", source })?
            }
        };
        Ok(self.writer.insert(writer))
    }

    fn finish_page(&mut self, page: &PageWork, report: &DecodeReport) -> Result<(), RunError> {
        self.context.reached("after_decode");
        let slice = self.work[page.work].slice.id.clone();
        if report.rows != page.rows {
            let (reported, delivered) = (report.rows, page.rows);
            return Err(RunError::Delivery { slice, page: page.number, reported, delivered });
        }
        if let Some(announced) = page.page.records_announced
            && announced != report.records
        {
            let place = format!("page {} of slice `{slice}`", page.number);
            return Err(RunError::Incomplete { place, announced, decoded: report.records });
        }
        let lost = lost_keys(&self.spec, &page.page.job, report);
        if !lost.is_empty() {
            return Err(RunError::KeyGone { slice, columns: lost.join("`, `") });
        }
        self.work[page.work].count(report);
        self.log.rows_received += report.records;
        let is_sparse = page.page.job.format.kind.is_sparse();
        let missing = if is_sparse { &[][..] } else { &report.columns_missing };
        self.log.drift.join(&report.columns_added, missing);
        self.log.encoded(report.encoding.as_deref());
        let (declared, landed) = (&self.context.pipeline.job.format, &page.page.landed);
        let line = PageLine {
            slice,
            sha256: landed.sha256.clone(),
            bytes: landed.bytes,
            url: landed.meta.url.clone(),
            format: (page.page.job.format != *declared).then(|| page.page.job.format.clone()),
            constants: page.page.job.constants.clone(),
            records_announced: page.page.records_announced,
        };
        self.manifest.line(&Line::Page(Box::new(line))).map_err(|source| RunError::Manifest { source })
    }

    /// Ends the slices at the front of the queue whose pages are all in.
    fn settle(&mut self) -> Result<(), RunError> {
        while matches!(self.queue.front(), Some(InFlight::End { .. })) {
            if let Some(InFlight::End { work, proof, reached, seen }) = self.queue.pop_front() {
                self.finish_slice(work, proof, reached, seen)?;
            }
        }
        Ok(())
    }

    fn finish_slice(&mut self, work: usize, proof: Proof, reached: Position, seen: Seen) -> Result<(), RunError> {
        let SliceWork { slice, records, .. } = &self.work[work];
        let (id, records) = (slice.id.clone(), *records);
        if let Some(announced) = proof.records_announced
            && announced != records
        {
            return Err(RunError::Incomplete { place: format!("slice `{id}`"), announced, decoded: records });
        }
        let before = self.state.checkpoint.slice(&id);
        let had = before.seen.map_or(0, |seen| seen.rows);
        // A slice that goes on where it stopped may well have nothing new.
        let is_whole = self.spec.write == WriteMode::Snapshot || !matches!(before.position, Position::At(_));
        if records == 0 && had > 0 && is_whole && !self.context.pipeline.allow_empty {
            return Err(RunError::Emptied { slice: id, rows: had });
        }
        if is_whole && let Some(first) = self.work[work].only_rejects() {
            return Err(RunError::NothingFits { slice: id, rejected: records, first: first.to_owned() });
        }
        self.log.prove(&proof.evidence);
        let state = SliceState { position: reached, seen: Some(Seen { rows: records, ..seen }) };
        if self.work[work].purpose != Purpose::FromRaw {
            // Raw bytes stand for what the provider has now: what was seen of that counts.
            self.checkpoint.slices.insert(id.clone(), state.clone());
        }
        self.unchanged.remove(&id);
        self.slices_read += 1;
        self.context.sink.hear(News::SliceDone(&id));
        let Proof { evidence, records_announced } = proof;
        let line = SliceLine { slice: id, state, evidence, records_announced };
        self.manifest.line(&Line::Slice(line)).map_err(|source| RunError::Manifest { source })
    }

    async fn record_exchanges(&mut self) {
        let exchanges = self.context.sink.take(EXCHANGES_HELD_MAX);
        if exchanges.is_empty() {
            return;
        }
        let rows = fetch_rows(&self.context.stamp.run, &self.context.pipeline.name, &exchanges);
        if let Err(error) = self.context.runner.store.append_system(SystemTable::Fetches, rows).await {
            self.log.warn(warning("`system.fetches` was not written", &error));
        }
    }

    /// Hands over everything for the commit; `withdrawn` slices leave the checkpoint.
    pub(super) async fn finish(mut self, withdrawn: &[SliceId]) -> Result<Ready, RunError> {
        self.writer().await?;
        let writer = self.writer.take().ok_or(RunError::Task { task: "writes rows" })?;
        for slice in withdrawn {
            self.checkpoint.slices.remove(slice);
        }
        let manifest = self.manifest.finish().map_err(|source| RunError::Manifest { source })?;
        let key = manifest_key(&self.context.pipeline.name, self.state.sequence + 1, &self.context.stamp.run);
        let request = CommitRequest { checkpoint: self.checkpoint, rows_expected: self.rows };
        Ok(Ready { writer, request, manifest, manifest_key: key, learnt: None })
    }
}
