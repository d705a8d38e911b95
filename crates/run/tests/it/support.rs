//! A world in memory: a store, a scripted source, a decoder for lines of `key,value`, a clock that ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::Schema;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_connect::{ConnectError, Estimate, Page, Proof, Slice, SliceEvent, Source, SourcePlan};
use hambar_core::provenance::reject_fields;
use hambar_core::{
    Checkpoint, Clock, CommitOutcome, CommitRequest, Lease, LeaseOutcome, Position, RunStamp, Seen, SliceId,
    StoreError, SystemTable, TableName, TableSpec, TableState, TableStore, TableWriter, Validators, WriteMode,
};
use hambar_decode::DecodeReport;
use hambar_decode::worker::FrameWriter;
use hambar_decode::{Conformed, Input};
use hambar_fetch::{FetchError, FetchMeta, Fetched, Fetcher, Landed, Request, Transport};
use hambar_run::archive::{ArchiveError, LocalFile, RunArchive};
use hambar_run::decode_pool::InProcess;
use hambar_run::{FaultPoint, HostInfo, Pipeline, Quiet, RunOutcome, RunReport, Runner, Sources};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// One table of the memory store.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryTable {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: BTreeMap<String, String>,
    pub(crate) appended: Vec<String>,
    pub(crate) rejected: u64,
    pub(crate) state: TableState,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) tables: BTreeMap<TableName, MemoryTable>,
    pub(crate) system: Vec<(SystemTable, RecordBatch)>,
    pub(crate) is_leased: bool,
    pub(crate) winner: Option<String>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryStore(pub(crate) Arc<Mutex<Memory>>);

#[derive(Debug)]
struct MemoryLease(Arc<Mutex<Memory>>);

#[async_trait]
impl Lease for MemoryLease {
    fn epoch(&self) -> u64 {
        1
    }
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.0.lock().unwrap().is_leased = false;
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryWriter {
    memory: Arc<Mutex<Memory>>,
    spec: TableSpec,
    stamp: RunStamp,
    rows: Vec<String>,
    rejected: u64,
}

#[async_trait]
impl TableStore for MemoryStore {
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError> {
        let mut memory = self.0.lock().unwrap();
        let table = memory.tables.entry(spec.name.clone()).or_default();
        for column in &spec.columns {
            if !table.columns.contains(&column.name.to_string()) {
                table.columns.push(column.name.to_string());
            }
        }
        Ok(table.state.clone())
    }

    async fn writer(
        &self,
        spec: &TableSpec,
        _state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError> {
        let memory = Arc::clone(&self.0);
        Ok(Box::new(MemoryWriter { memory, spec: spec.clone(), stamp, rows: Vec::new(), rejected: 0 }))
    }

    async fn lease(&self, _table: &TableName, _holder: &str) -> Result<LeaseOutcome, StoreError> {
        let mut memory = self.0.lock().unwrap();
        if memory.is_leased {
            return Ok(LeaseOutcome::Busy { holder: "somebody".to_owned(), since: Timestamp::UNIX_EPOCH });
        }
        memory.is_leased = true;
        Ok(LeaseOutcome::Held(Box::new(MemoryLease(Arc::clone(&self.0)))))
    }

    async fn append_system(&self, table: SystemTable, rows: RecordBatch) -> Result<(), StoreError> {
        self.0.lock().unwrap().system.push((table, rows));
        Ok(())
    }
}

#[async_trait]
impl TableWriter for MemoryWriter {
    async fn write(&mut self, rows: RecordBatch, _source: &str) -> Result<(), StoreError> {
        let declared: Vec<&str> = self.spec.columns.iter().map(|column| column.name.as_str()).collect();
        let schema = rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, declared, "batches have the table's columns");
        for row in 0..rows.num_rows() {
            let cells = rows.columns().iter().map(|column| match column.is_null(row) {
                true => "-".to_owned(),
                false => column.as_string::<i32>().value(row).to_owned(),
            });
            self.rows.push(cells.collect::<Vec<_>>().join(","));
        }
        Ok(())
    }

    async fn reject(&mut self, rejected: RecordBatch) -> Result<(), StoreError> {
        assert_eq!(rejected.column_by_name("run").unwrap().null_count(), 0);
        assert_eq!(rejected.column_by_name("source").unwrap().null_count(), 0);
        self.rejected += rejected.num_rows() as u64;
        Ok(())
    }

    async fn commit(self: Box<Self>, request: CommitRequest) -> Result<CommitOutcome, StoreError> {
        assert_eq!(request.rows_expected, self.rows.len() as u64);
        let mut memory = self.memory.lock().unwrap();
        if let Some(winner) = memory.winner.take() {
            return Ok(CommitOutcome::Conflict { winner: hambar_core::RunId(winner) });
        }
        let table = memory.tables.get_mut(&self.spec.name).unwrap();
        let before = table.rows.clone();
        let pairs = self.rows.iter().map(|row| row.split_once(',').unwrap_or((row, "")));
        let new: BTreeMap<String, String> = pairs.map(|(key, rest)| (key.to_owned(), rest.to_owned())).collect();
        let (mut withdrawn, mut revised) = (0, 0);
        match self.spec.write {
            WriteMode::Append => table.appended.extend(self.rows.iter().cloned()),
            WriteMode::Snapshot => {
                withdrawn = before.keys().filter(|key| !new.contains_key(*key)).count() as u64;
                table.rows.clone_from(&new);
            }
            WriteMode::Upsert => table.rows.extend(new.clone()),
        }
        for (key, rest) in &new {
            revised += u64::from(before.get(key).is_some_and(|old| old != rest));
        }
        let rows = match self.spec.write {
            WriteMode::Append => self.rows.len() as u64,
            _ => new.iter().filter(|(key, rest)| before.get(*key) != Some(rest)).count() as u64,
        };
        let positions = |checkpoint: &Checkpoint| {
            checkpoint.slices.iter().map(|(id, slice)| (id.clone(), slice.position.clone())).collect::<Vec<_>>()
        };
        let stands_still = positions(&table.state.checkpoint) == positions(&request.checkpoint);
        if rows + withdrawn + self.rejected == 0 && stands_still && table.state.sequence > 0 {
            return Ok(CommitOutcome::Unchanged);
        }
        table.rejected += self.rejected;
        table.state.sequence += 1;
        table.state.version += 1;
        table.state.run = Some(self.stamp.run.clone());
        table.state.checkpoint = request.checkpoint;
        Ok(CommitOutcome::Committed { version: table.state.version, rows, revised, withdrawn })
    }
}

/// What the source says about one slice.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// Bodies, and how many records are announced for the slice.
    Pages(Vec<&'static str>, Option<u64>),
    /// A 304, if the slice was seen before; else these bodies.
    NotModified(Vec<&'static str>),
    /// A 304, if the slice was seen with this entity tag; else this body.
    Tagged(&'static str, &'static str),
    /// Pages that never end with a proof.
    NoProof(&'static str),
    /// Never answers.
    Hangs,
    /// A failed exchange.
    Fails,
}

#[derive(Debug, Clone)]
pub(crate) struct ScriptedSource {
    pub(crate) slices: Vec<(&'static str, Script)>,
    pub(crate) raw: Arc<FolderRaw>,
    pub(crate) pipeline: Pipeline,
    pub(crate) is_full: bool,
    pub(crate) position: Position,
    pub(crate) reads: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Source for ScriptedSource {
    async fn plan(&self, done: &Checkpoint, _fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        let slice = |(name, _): &(&'static str, Script)| {
            let id = SliceId((*name).to_owned());
            Slice { from: done.slice(&id), id, detail: String::new() }
        };
        let slices = self.slices.iter().map(slice).collect();
        Ok(SourcePlan { slices, estimate: Estimate::default(), is_full_extract: self.is_full })
    }

    fn read(&self, slice: Slice, _fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        let (_, script) = self.slices.iter().find(|(name, _)| *name == slice.id.0).unwrap();
        self.reads.lock().unwrap().push(slice.id.0.clone());
        let seen_tag = slice.from.seen.as_ref().and_then(|seen| seen.validators.etag.clone());
        let (bodies, announced) = match script {
            Script::Pages(bodies, announced) => (bodies.clone(), *announced),
            Script::NotModified(_) if slice.from.seen.is_some() => {
                let unchanged = SliceEvent::Unchanged { evidence: "304".to_owned() };
                return futures::stream::iter([Ok(unchanged)]).boxed();
            }
            Script::Tagged(tag, _) if seen_tag.as_deref() == Some(*tag) => {
                let unchanged = SliceEvent::Unchanged { evidence: "304".to_owned() };
                return futures::stream::iter([Ok(unchanged)]).boxed();
            }
            Script::Tagged(_, body) => (vec![*body], None),
            Script::NotModified(bodies) => (bodies.clone(), None),
            Script::NoProof(body) => {
                return futures::stream::iter([Ok(SliceEvent::Page(Box::new(self.page(body))))]).boxed();
            }
            Script::Hangs => return futures::stream::pending().boxed(),
            Script::Fails => {
                let source = FetchError::NotRecorded { method: "GET".to_owned(), url: "http://x/".to_owned() };
                return futures::stream::iter([Err(ConnectError::Fetch { step: "get it".to_owned(), source })]).boxed();
            }
        };
        let pages: Vec<Page> = bodies.iter().map(|body| self.page(body)).collect();
        let etag = if let Script::Tagged(tag, _) = script { Some((*tag).to_owned()) } else { None };
        let validators = Validators { etag, last_modified: None };
        let seen = Seen { sha256: hash(&bodies.join("|")), validators, ..Seen::default() };
        let proof = Proof { evidence: "content length".to_owned(), records_announced: announced };
        let end = SliceEvent::End { proof, reached: self.position.clone(), seen };
        let events = pages.into_iter().map(|page| SliceEvent::Page(Box::new(page))).chain([end]).map(Ok);
        futures::stream::iter(events.collect::<Vec<_>>()).boxed()
    }
}

impl ScriptedSource {
    fn page(&self, body: &str) -> Page {
        let sha256 = hash(body);
        let path = self.raw.0.path().join(&sha256);
        std::fs::write(&path, body).unwrap();
        let meta = FetchMeta {
            started_at: Timestamp::UNIX_EPOCH,
            method: "GET".to_owned(),
            url: "http://x/".to_owned(),
            final_url: "http://x/".to_owned(),
            status: Some(200),
            attempt: 1,
            request_headers: vec![],
            headers: vec![],
            bytes_wire: body.len() as u64,
            bytes: body.len() as u64,
            milliseconds: 1,
            sha256: Some(sha256.clone()),
            error: None,
        };
        let landed = Landed { sha256, bytes: body.len() as u64, path, spool: None, meta };
        Page { landed, job: self.pipeline.job.clone(), records_announced: None }
    }
}

fn hash(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// A landing zone in a temporary folder.
#[derive(Debug)]
pub(crate) struct FolderRaw(pub(crate) tempfile::TempDir);

#[async_trait]
impl RunArchive for FolderRaw {
    async fn raw(&self, sha256: &str) -> Result<Option<LocalFile>, ArchiveError> {
        let path: PathBuf = self.0.path().join(sha256);
        Ok(path.is_file().then_some(LocalFile { path, keep: None }))
    }
    async fn put(&self, key: &str, file: &Path) -> Result<(), ArchiveError> {
        std::fs::copy(file, self.0.path().join(key.replace('/', "+"))).unwrap();
        Ok(())
    }
    async fn get(&self, key: &str) -> Result<Option<LocalFile>, ArchiveError> {
        let path = self.0.path().join(key.replace('/', "+"));
        Ok(path.is_file().then_some(LocalFile { path, keep: None }))
    }
}

/// Decodes lines: `key,value` is a row, `!…` a reject; a first line `+name` adds a column to the rows that follow;
/// `DIE` ends the decoder before its last frame.
pub(crate) fn serve_lines(
    input: Input,
    _job: hambar_decode::spec::DecodeJob,
    out: Box<dyn std::io::Write + Send>,
) -> std::io::Result<()> {
    let text = std::io::read_to_string(input.into_read()?)?;
    let mut writer = FrameWriter::new(out);
    let mut report = DecodeReport::default();
    let mut names = vec!["key".to_owned(), "value".to_owned()];
    for line in text.lines() {
        if line == "DIE" {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('+') {
            names.push(name.to_owned());
            report.columns_added.push(name.to_owned());
            continue;
        }
        report.records += 1;
        let is_reject = line.starts_with('!');
        let cells: Vec<&str> = line.split(',').collect();
        let column = |(index, name): (usize, &String)| {
            let cell = cells.get(index).copied().filter(|_| !is_reject);
            (name.clone(), Arc::new(StringArray::from(vec![cell])) as ArrayRef, true)
        };
        let rows = RecordBatch::try_from_iter_with_nullable(names.iter().enumerate().map(column)).unwrap();
        let conformed = match is_reject {
            false => Conformed { rows, rejected: None },
            true => Conformed { rows: rows.slice(0, 0), rejected: Some(one_reject()) },
        };
        report.rows += conformed.rows.num_rows() as u64;
        report.rejected += u64::from(is_reject);
        report.first_reject = (report.rejected > 0).then(|| "record 1: `!`".to_owned());
        writer.conformed(&conformed)?;
    }
    writer.done(&report)
}

fn one_reject() -> RecordBatch {
    let schema = Schema::new(reject_fields());
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[derive(Debug)]
struct NoTransport;

#[async_trait]
impl Transport for NoTransport {
    async fn send(&self, request: Request, _sink: &dyn hambar_fetch::ExchangeSink) -> Result<Fetched, FetchError> {
        Err(FetchError::NotRecorded { method: request.method.to_string(), url: request.url.to_string() })
    }
}

#[derive(Debug)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reached(pub(crate) Mutex<BTreeSet<&'static str>>);

impl FaultPoint for Reached {
    fn reached(&self, point: &'static str) {
        self.0.lock().unwrap().insert(point);
    }
}

#[derive(Debug)]
struct Scripted(Arc<Mutex<ScriptedSource>>);

impl Sources for Scripted {
    fn build(&self, _pipeline: &Pipeline) -> Result<Arc<dyn Source>, ConnectError> {
        Ok(Arc::new(self.0.lock().unwrap().clone()))
    }
}

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) pipeline: Pipeline,
    pub(crate) source: Arc<Mutex<ScriptedSource>>,
    pub(crate) runner: Runner,
    pub(crate) faults: Arc<Reached>,
}

impl World {
    /// A pipeline with columns `key` and `value`; `write` is the section `[write]`.
    pub(crate) fn new(write: &str) -> Self {
        let pipeline = pipeline(write);
        let raw = Arc::new(FolderRaw(tempfile::tempdir().unwrap()));
        let source = Arc::new(Mutex::new(ScriptedSource {
            slices: vec![],
            raw: Arc::clone(&raw),
            pipeline: pipeline.clone(),
            is_full: true,
            position: Position::End,
            reads: Arc::default(),
        }));
        let (store, faults) = (MemoryStore::default(), Arc::new(Reached::default()));
        let archive: Arc<dyn RunArchive> = raw;
        let runner = Runner {
            store: Arc::new(store.clone()),
            transport: Arc::new(NoTransport),
            sources: Arc::new(Scripted(Arc::clone(&source))),
            decoder: Arc::new(InProcess::new(serve_lines, 2)),
            archive,
            clock: Arc::new(Ticks(AtomicI64::new(1_700_000_000))),
            progress: Arc::new(Quiet),
            faults: Arc::<Reached>::clone(&faults),
            host: HostInfo { host: "here".to_owned(), pid: 7, version: "0".to_owned() },
        };
        Self { store, pipeline, source, runner, faults }
    }

    pub(crate) fn script(&self, slices: &[(&'static str, Script)]) {
        self.source.lock().unwrap().slices = slices.to_vec();
    }

    pub(crate) async fn run(&self) -> RunReport {
        self.runner.run(&self.pipeline, &CancellationToken::new()).await
    }

    /// Runs and says how it ended, in one line.
    pub(crate) async fn outcome(&self) -> String {
        said(&self.run().await)
    }

    pub(crate) fn table(&self) -> MemoryTable {
        self.store.0.lock().unwrap().tables[&self.pipeline.name].clone()
    }

    /// The table's rows, in one line.
    pub(crate) fn rows(&self) -> String {
        let table = self.table();
        let current = table.rows.iter().map(|(key, rest)| format!("{key},{rest}"));
        current.chain(table.appended).collect::<Vec<_>>().join(" ")
    }

    /// The slices that were read since the last call.
    pub(crate) fn reads(&self) -> String {
        let reads = Arc::clone(&self.source.lock().unwrap().reads);
        let slices = std::mem::take(&mut *reads.lock().unwrap());
        slices.join(" ")
    }

    pub(crate) fn system_rows(&self, table: SystemTable) -> usize {
        let memory = self.store.0.lock().unwrap();
        memory.system.iter().filter(|(of, _)| *of == table).map(|(_, rows)| rows.num_rows()).sum()
    }
}

pub(crate) fn said(report: &RunReport) -> String {
    let received = format!("received {}, rejected {}", report.rows_received, report.rows_rejected);
    match &report.outcome {
        RunOutcome::Stored(CommitOutcome::Committed { version, rows, revised, withdrawn }) => {
            format!("committed {version}: {rows} rows, {revised} revised, {withdrawn} withdrawn; {received}")
        }
        RunOutcome::Failed(failure) => format!("failed ({}): {}", failure.class, failure.messages.join(": ")),
        RunOutcome::Stored(CommitOutcome::Conflict { winner }) => format!("conflict with {winner}"),
        RunOutcome::Stored(CommitOutcome::Unchanged) => format!("unchanged: {}", report.evidence_text()),
        other => other.name().to_owned(),
    }
}

pub(crate) fn pipeline(write: &str) -> Pipeline {
    let text = format!(
        r#"
        version = 1
        [source]
        kind = "http_file"
        url = "https://example.org/data.csv"
        [format]
        kind = "csv"
        [[columns]]
        name = "key"
        type = "string"
        [[columns]]
        name = "value"
        type = "string"
        [write]
        {write}
        [origin]
        provider = "Example"
        title = "Things"
        citation = "Example, Things"
        licence = "CC0-1.0"
        "#
    );
    let parsed = hambar_run::spec::parse(Path::new("a/b.toml"), "a.b".parse().unwrap(), &text);
    parsed.unwrap_or_else(|problems| panic!("{problems:?}"))
}
