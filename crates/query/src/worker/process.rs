//! A worker's process as its parent sees it: started, asked, watched from outside, and killed when it is dropped.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::frame::{self, Kind};
use super::{Setup, WorkerSettings};
use crate::error::QueryError;
use crate::question::Question;

/// Bytes of rows on their way: a worker makes the next ones while its parent takes these. What Linux gives to everybody
/// (`pipe(7)`, `pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE_BYTES: i32 = 1024 * 1024;

/// A worker that says nothing is killed this long after its query's deadline.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The setup until it was sent.
    setup: Option<Vec<u8>>,
    memory_bytes: u64,
    /// Questions asked so far.
    pub(super) asked: u32,
    // Dropped after the child, whose files are in it.
    _spill: SpillFolder,
}

impl Worker {
    /// Starts a process that waits for a question. It dies with the calling thread.
    pub(super) fn start(settings: &WorkerSettings) -> Result<Self, QueryError> {
        let spill = SpillFolder::create(&settings.spill)?;
        let setup = Setup { store: settings.store.clone(), spill: spill.path.clone(), limits: settings.limits.clone() };
        let setup = serde_json::to_vec(&setup).map_err(|error| failed("start", &error))?;
        let mut child = Command::new(&settings.program)
            .args(&settings.arguments)
            .env_clear()
            // Memory that is only reserved must not count against the limit, should the program use mimalloc.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            // Ctrl-C is for the parent, which lets queries end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("start", &error))?;
        let output = child.stdout.take().ok_or_else(|| failed("start", &"its output is not a pipe"))?;
        #[cfg(target_os = "linux")]
        {
            // Where a user has no more room for pipes, rows go through a small one.
            let _ = nix::fcntl::fcntl(&output, nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
        let input = child.stdin.take().ok_or_else(|| failed("start", &"its input is not a pipe"))?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            setup: Some(setup),
            memory_bytes: settings.limits.worker_bytes_max(),
            asked: 0,
            _spill: spill,
        })
    }

    /// Lets the worker confine itself and get ready, ahead of its first question.
    pub(super) async fn prepare(&mut self) -> Result<(), QueryError> {
        if let Some(setup) = self.setup.take() {
            let mut bytes = Vec::with_capacity(setup.len() + 8);
            frame::write(&mut bytes, Kind::Setup, &setup).map_err(|error| failed("start", &error))?;
            // A worker that is dead already is found dead when its answer is read.
            let _ = self.input.write_all(&bytes).await;
        }
        Ok(())
    }

    /// Sends a question.
    pub(super) async fn ask(&mut self, kind: Kind, question: &Question) -> Result<(), QueryError> {
        self.prepare().await?;
        let content = serde_json::to_vec(question).map_err(|error| failed("ask", &error))?;
        if content.len() > frame::FRAME_BYTES_MAX {
            let limit = frame::FRAME_BYTES_MAX;
            return Err(QueryError::TooLong { bytes: content.len(), limit });
        }
        self.asked = self.asked.saturating_add(1);
        let mut bytes = Vec::with_capacity(content.len() + 8);
        frame::write(&mut bytes, kind, &content).map_err(|error| failed("ask", &error))?;
        let _ = self.input.write_all(&bytes).await;
        Ok(())
    }

    /// Reads the next frame of the answer; nothing where the process ended.
    pub(super) async fn frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, QueryError> {
        frame::read(&mut self.output).await.map_err(|error| failed("read", &error))
    }

    /// Kills the process.
    pub(super) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// Says whether the process is still there.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Says how a worker ended that did not finish its answer, of which `time` was used.
    pub(super) async fn died(&mut self, time: Duration, limit: Duration) -> QueryError {
        let status = match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return failed("read", &error),
            Err(_) => return failed("read", &"it closed its output and went on"),
        };
        // Its own watchdog kills it a little after the deadline, and the system where its processor time is used up.
        let ran_out = time >= limit && status.signal() == Some(libc::SIGKILL);
        if ran_out || status.signal() == Some(libc::SIGXCPU) {
            return QueryError::RunTime { limit };
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

pub(super) fn failed(step: &'static str, cause: &dyn std::fmt::Display) -> QueryError {
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
