//! Decoding in child processes: one confined process a body, watched from outside. Whatever a body does to its decoder,
//! the process that holds the lease and commits only sees frames, or the news that the worker died.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::limits::{DECODE_WORKER_BYTES_MAX, DECODE_WORKER_CPU_SECONDS_MAX, GIB, MIB};
use hambar_decode::worker::{Frame, FrameReader};
use nix::sys::signal::Signal;
use tokio::sync::{Semaphore, mpsc};

use super::child::{WorkerLimits, WorkerRequest};
use super::{
    DecodeFailure, DecodeFrames, DecodePool, DecodeTask, Decoded, FRAMES_AHEAD_MAX, StopOnDrop, decoded, in_words,
};

/// Bytes of a worker's error stream that its report keeps.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Time that a worker has to end after its last frame.
const END_WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes read from the pipe at a time.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that a pipe takes before its writer waits. A batch of rows has about as many; the system's own 64 KiB would
/// wake both sides up a dozen times for each.
#[cfg(target_os = "linux")]
const PIPE_BYTES: i32 = 1024 * 1024;

/// How workers are started, and what each may use.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The program: this binary.
    pub program: PathBuf,
    /// What makes it a worker.
    pub arguments: Vec<String>,
    /// Workers at a time.
    pub workers_max: usize,
    /// Bytes of private memory of a worker.
    pub memory_bytes_max: u64,
    /// CPU seconds of a worker.
    pub cpu_seconds_max: u64,
    /// Bytes of the largest file that a worker may write (a spooled archive member).
    pub file_bytes_max: u64,
    /// From start to end of a worker, waiting for its consumer included.
    pub wall_max: Duration,
}

impl ProcessSettings {
    /// The default limits for `<program> decode-worker`.
    pub fn new(program: PathBuf, workers_max: usize) -> Self {
        Self {
            program,
            arguments: vec!["decode-worker".to_owned()],
            workers_max,
            memory_bytes_max: DECODE_WORKER_BYTES_MAX,
            cpu_seconds_max: DECODE_WORKER_CPU_SECONDS_MAX,
            file_bytes_max: 100 * GIB,
            wall_max: Duration::from_secs(60 * 60),
        }
    }
}

/// Decodes each body in a child process.
#[derive(Debug)]
pub struct ProcessPool {
    settings: Arc<ProcessSettings>,
    free: Arc<Semaphore>,
}

impl ProcessPool {
    /// Makes a pool; no process is started before there is a body to decode.
    pub fn new(settings: ProcessSettings) -> Self {
        let free = Arc::new(Semaphore::new(settings.workers_max.max(1)));
        Self { settings: Arc::new(settings), free }
    }
}

#[async_trait]
impl DecodePool for ProcessPool {
    async fn decode(&self, task: DecodeTask) -> Result<DecodeFrames, DecodeFailure> {
        let closed = |error| DecodeFailure::Start { source: io::Error::other(error) };
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(closed)?;
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD_MAX);
        let worker = Arc::new(Worker::default());
        let watchdog = tokio::spawn(watch(Arc::clone(&worker), self.settings.wall_max));
        let (settings, supervised) = (Arc::clone(&self.settings), Arc::clone(&worker));
        tokio::task::spawn_blocking(move || {
            let ended = supervise(&settings, &task, &supervised, &sender);
            watchdog.abort();
            if let Err(failure) = ended {
                // A consumer that has gone needs no reason.
                let _ = sender.blocking_send(Err(failure));
            }
            drop(permit);
        });
        Ok(DecodeFrames::new(receiver, StopOnDrop::new(move || worker.stop(Why::Unwanted))))
    }
}

async fn watch(worker: Arc<Worker>, wall_max: Duration) {
    tokio::time::sleep(wall_max).await;
    worker.stop(Why::WallTime);
}

/// Why we stopped a worker ourselves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Why {
    Unwanted,
    WallTime,
}

/// A child process that several threads may stop, but that is waited for once.
#[derive(Debug, Default)]
struct Worker(Mutex<WorkerState>);

#[derive(Debug, Default)]
struct WorkerState {
    child: Option<Child>,
    stopped: Option<Why>,
}

impl Worker {
    fn state(&self) -> MutexGuard<'_, WorkerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the process; one that has not started yet will not.
    fn stop(&self, why: Why) {
        let mut state = self.state();
        state.stopped.get_or_insert(why);
        if let Some(child) = &mut state.child {
            // Fails only for a process that has ended, and then there is nothing to stop.
            let _ = child.kill();
        }
    }

    fn start(&self, settings: &ProcessSettings) -> Result<(ChildStdin, ChildStdout, ChildStderr), DecodeFailure> {
        let mut state = self.state();
        if state.stopped.is_some() {
            return Err(DecodeFailure::Start { source: io::ErrorKind::Interrupted.into() });
        }
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| DecodeFailure::Start { source })?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        state.child = Some(child);
        match pipes {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                widen(&stdout);
                Ok((stdin, stdout, stderr))
            }
            _ => Err(DecodeFailure::Start { source: io::Error::other("no pipes to the worker") }),
        }
    }

    /// Waits for the end; kills a worker that does not end by itself.
    fn wait(&self) -> (Option<ExitStatus>, Option<Why>) {
        const PAUSE: Duration = Duration::from_millis(5);
        let pauses = END_WAIT_MAX.as_millis() / PAUSE.as_millis();
        for _ in 0..pauses {
            let mut state = self.state();
            let stopped = state.stopped;
            match state.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return (Some(status), stopped),
                Some(Ok(None)) => {}
                Some(Err(_)) | None => return (None, stopped),
            }
            drop(state);
            sleep(PAUSE);
        }
        let mut state = self.state();
        let stopped = state.stopped;
        let status = state.child.as_mut().and_then(|child| {
            let _ = child.kill();
            child.wait().ok()
        });
        (status, stopped)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.state().child {
            // Both fail only for a process that was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes the pipe larger. A system that does not allow it has a slower pipe.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdout) {
    use nix::fcntl::{FcntlArg, fcntl};
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)) {
        tracing::debug!(%error, "the pipe from the decode worker keeps its size");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &ChildStdout) {}

fn supervise(
    settings: &ProcessSettings,
    task: &DecodeTask,
    worker: &Worker,
    sender: &mpsc::Sender<Result<Decoded, DecodeFailure>>,
) -> Result<(), DecodeFailure> {
    let (stdin, stdout, stderr) = worker.start(settings)?;
    let errors = std::thread::Builder::new()
        .name("decode-stderr".to_owned())
        .spawn(move || beginning_of(stderr))
        .map_err(|source| DecodeFailure::Start { source })?;
    let asked = ask(stdin, settings, task);
    let mut frames = FrameReader::new(BufReader::with_capacity(READ_BYTES, stdout));
    let end = loop {
        match frames.next_frame() {
            Ok(Some(frame @ (Frame::Rows(_) | Frame::Rejected(_)))) => {
                if sender.blocking_send(decoded(frame)).is_err() {
                    worker.stop(Why::Unwanted);
                    break Ok(None);
                }
            }
            Ok(Some(frame @ (Frame::Done(_) | Frame::Failed(_)))) => break Ok(Some(decoded(frame))),
            Ok(None) => break Ok(None),
            Err(error) => break Err(error),
        }
    };
    drop(frames);
    let (status, stopped) = worker.wait();
    let said = errors.join().unwrap_or_default();
    match end {
        Ok(None) => Ok(()),
        Ok(Some(last)) => {
            // The last frame says that everything was said; how the process ended after it changes nothing.
            let _ = sender.blocking_send(last);
            Ok(())
        }
        Err(error) => {
            let broken = asked.err().unwrap_or(error);
            Err(cause_of_death(settings, status, stopped, &said, &broken))
        }
    }
}

fn ask(mut stdin: ChildStdin, settings: &ProcessSettings, task: &DecodeTask) -> io::Result<()> {
    let request = WorkerRequest {
        body: std::path::absolute(&task.path)?,
        job: task.job.clone(),
        limits: WorkerLimits {
            memory_bytes_max: settings.memory_bytes_max,
            cpu_seconds_max: settings.cpu_seconds_max,
            file_bytes_max: settings.file_bytes_max,
            descriptors_max: 256,
        },
    };
    stdin.write_all(&serde_json::to_vec(&request)?)?;
    stdin.flush()
}

/// Reads to the end and keeps the beginning.
fn beginning_of(mut stream: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0_u8; 1024]);
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let room = STDERR_BYTES_MAX.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

fn cause_of_death(
    settings: &ProcessSettings,
    status: Option<ExitStatus>,
    stopped: Option<Why>,
    said: &str,
    broken: &io::Error,
) -> DecodeFailure {
    let died = |how: String| DecodeFailure::Died { how, stderr: said.to_owned() };
    let memory = in_mebibytes(settings.memory_bytes_max);
    if stopped == Some(Why::WallTime) {
        return DecodeFailure::Limit { limit: "wall time", value: in_words(settings.wall_max) };
    }
    if said.contains("memory allocation of") {
        return DecodeFailure::Limit { limit: "memory", value: memory };
    }
    let Some(status) = status else {
        return died(format!("ended in an unknown way: {broken}"));
    };
    match status.signal() {
        None => died(format!("ended with code {} before its last frame: {broken}", status.code().unwrap_or_default())),
        Some(signal) => match Signal::try_from(signal) {
            Ok(Signal::SIGXCPU) => {
                let cpu = Duration::from_secs(settings.cpu_seconds_max);
                DecodeFailure::Limit { limit: "CPU time", value: in_words(cpu) }
            }
            Ok(Signal::SIGXFSZ) => {
                DecodeFailure::Limit { limit: "file size", value: in_mebibytes(settings.file_bytes_max) }
            }
            Ok(Signal::SIGKILL) => {
                died(format!("was killed by signal 9 (out of memory, or the memory limit of {memory}?)"))
            }
            Ok(other) => died(format!("was killed by signal {signal} ({other})")),
            Err(_) => died(format!("was killed by signal {signal}")),
        },
    }
}

fn in_mebibytes(bytes: u64) -> String {
    if bytes >= GIB && bytes.is_multiple_of(GIB) {
        format!("{} GiB", bytes / GIB)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}
