//! The parent's side: starts a worker per query, watches the clock from outside, reads the answer, and kills the
//! worker when the answer is dropped.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;

use super::QueryRequest;
use super::frame::{self, Done, Header, Kind};
use crate::error::{ErrorReport, QueryError};
use crate::session::{RowStream, VersionRead};

/// A worker that says nothing is killed this long after its query's deadline.
const GRACE: Duration = Duration::from_secs(2);

/// Starts query workers.
#[derive(Debug, Clone)]
pub struct QueryWorkers {
    program: PathBuf,
    arguments: Vec<OsString>,
    spill: PathBuf,
}

/// One worker at work.
#[derive(Debug)]
pub struct QueryWorker {
    child: Child,
    output: BufReader<ChildStdout>,
    decoder: StreamDecoder,
    pending: Buffer,
    first: Option<RecordBatch>,
    deadline: Instant,
    limit: Duration,
    memory_bytes: u64,
    is_truncated: Arc<AtomicBool>,
    has_ended: bool,
    // Dropped after the child, whose files are in it.
    _spill: SpillFolder,
}

impl QueryWorkers {
    /// Makes a starter of workers: `program` with `arguments` must call [`crate::child_main`]. Each worker spills
    /// into a folder of its own inside `spill`.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, spill: PathBuf) -> Self {
        Self { program, arguments, spill }
    }

    /// Runs one statement in a worker of its own. The answer holds the worker: dropping it kills the worker.
    ///
    /// Call it on a thread that outlives the answer (not on one of a pool that shrinks): the worker dies with the
    /// thread that started it.
    ///
    /// # Errors
    /// What the worker reported before the first row, or why it could not be started or died.
    pub async fn run(&self, mut request: QueryRequest) -> Result<RowStream, QueryError> {
        let spill = SpillFolder::create(&self.spill)?;
        request.spill.clone_from(&spill.path);
        let mut worker = self.start(&request, spill)?;
        let content = serde_json::to_vec(&request).map_err(|error| failed("ask", &error))?;
        if let Some(mut input) = worker.child.stdin.take() {
            // A worker that dies before it has read everything is found dead when its answer is read.
            let _ = input.write_all(&content).await;
            let _ = input.shutdown().await;
        }
        let (versions, schema) = worker.header().await?;
        let is_truncated = Arc::clone(&worker.is_truncated);
        let batches = futures::stream::unfold(worker, |mut worker| async move {
            let next = worker.next().await?;
            Some((next, worker))
        });
        Ok(RowStream::new(schema, versions, is_truncated, batches.boxed()))
    }

    fn start(&self, request: &QueryRequest, spill: SpillFolder) -> Result<QueryWorker, QueryError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            // Memory that is only reserved must not count against the limit, should the program use mimalloc.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("start", &error))?;
        let output = child.stdout.take().ok_or_else(|| failed("start", &"its output is not a pipe"))?;
        Ok(QueryWorker {
            child,
            output: BufReader::new(output),
            decoder: StreamDecoder::new(),
            pending: Buffer::from_vec(Vec::<u8>::new()),
            first: None,
            deadline: Instant::now() + request.limits.run_time_max + GRACE,
            limit: request.limits.run_time_max,
            memory_bytes: request.limits.worker_bytes_max(),
            is_truncated: Arc::new(AtomicBool::new(false)),
            has_ended: false,
            _spill: spill,
        })
    }
}

impl QueryWorker {
    /// Reads up to the columns.
    async fn header(&mut self) -> Result<(Vec<VersionRead>, SchemaRef), QueryError> {
        let content = match self.frame().await? {
            (Kind::Header, content) => content,
            (Kind::Error, content) => return Err(reported(&content)),
            (Kind::Rows | Kind::Done, _) => return Err(failed("read", &"the answer starts without a header")),
        };
        let header: Header = serde_json::from_slice(&content).map_err(|error| failed("read", &error))?;
        while self.decoder.schema().is_none() {
            match self.frame().await? {
                (Kind::Rows, content) => {
                    self.pending = Buffer::from_vec(content);
                    // The decoder looks at the columns only once there is something after them.
                    self.first = self.decoder.decode(&mut self.pending).map_err(|error| failed("read", &error))?;
                }
                (Kind::Error, content) => return Err(reported(&content)),
                (Kind::Header | Kind::Done, _) => return Err(failed("read", &"the answer has no columns")),
            }
        }
        let schema = self.decoder.schema().ok_or_else(|| failed("read", &"the answer has no columns"))?;
        Ok((header.versions, schema))
    }

    /// Reads the next batch; nothing after the last one or after an error.
    async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.has_ended {
            return None;
        }
        let next = self.batch().await.transpose();
        if !matches!(next, Some(Ok(_))) {
            self.has_ended = true;
            // The answer is complete or lost; a worker that lingers is not waited for.
            let _ = self.child.start_kill();
        }
        next
    }

    async fn batch(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if !self.pending.is_empty() {
                let decoded = self.decoder.decode(&mut self.pending).map_err(|error| failed("read", &error))?;
                if decoded.is_some() {
                    return Ok(decoded);
                }
            }
            match self.frame().await? {
                (Kind::Rows, content) => self.pending = Buffer::from_vec(content),
                (Kind::Done, content) => {
                    let done: Done = serde_json::from_slice(&content).map_err(|error| failed("read", &error))?;
                    self.is_truncated.store(done.is_truncated, Ordering::Release);
                    return Ok(None);
                }
                (Kind::Error, content) => return Err(reported(&content)),
                (Kind::Header, _) => return Err(failed("read", &"the answer has two headers")),
            }
        }
    }

    async fn frame(&mut self) -> Result<(Kind, Vec<u8>), QueryError> {
        match tokio::time::timeout_at(self.deadline, frame::read(&mut self.output)).await {
            Ok(Ok(Some(frame))) => Ok(frame),
            Ok(Ok(None)) => Err(self.died().await),
            Ok(Err(error)) => Err(failed("read", &error)),
            Err(_) => {
                let _ = self.child.start_kill();
                Err(QueryError::RunTime { limit: self.limit })
            }
        }
    }

    /// Says how a worker ended that did not finish its answer.
    async fn died(&mut self) -> QueryError {
        let status = match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return failed("read", &error),
            Err(_) => return failed("read", &"it closed its output and went on"),
        };
        let ran_out = Instant::now() + GRACE >= self.deadline && status.signal() == Some(libc::SIGKILL);
        if ran_out || status.signal() == Some(libc::SIGXCPU) {
            return QueryError::RunTime { limit: self.limit };
        }
        QueryError::WorkerDied { how: how(status), memory_bytes: self.memory_bytes }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGABRT), _) => "aborted: out of memory".to_owned(),
        (Some(libc::SIGKILL), _) => "killed".to_owned(),
        (Some(libc::SIGSEGV), _) => "stack or memory fault".to_owned(),
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn reported(content: &[u8]) -> QueryError {
    match serde_json::from_slice::<ErrorReport>(content) {
        Ok(report) => QueryError::Reported(report),
        Err(error) => failed("read", &error),
    }
}

fn failed(step: &'static str, cause: &dyn std::fmt::Display) -> QueryError {
    QueryError::Worker { step, cause: cause.to_string() }
}

/// A folder for one worker's spilled rows, removed with everything in it.
#[derive(Debug)]
struct SpillFolder {
    path: PathBuf,
}

impl SpillFolder {
    fn create(root: &Path) -> Result<Self, QueryError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("query-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| failed("make a spill folder for", &error))?;
        Ok(Self { path })
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "spill folder not removed");
        }
    }
}
