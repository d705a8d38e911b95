//! Where landed bytes are decoded: away from the process that commits. [`ProcessPool`] gives each body a confined child
//! process; [`InProcess`] decodes on a thread of this one, for tests and for input that we made ourselves.

mod child;
mod in_process;
mod process;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use hambar_core::{Classified, ErrorClass};
use hambar_decode::DecodeReport;
use hambar_decode::spec::DecodeJob;
use hambar_decode::worker::{Failure, Frame};
use tokio::sync::mpsc;

pub use child::{Serve, child_main};
pub use in_process::InProcess;
pub use process::{ProcessPool, ProcessSettings};

/// Frames that wait between a worker and its consumer; more stay in the pipe, and then the worker waits.
const FRAMES_AHEAD_MAX: usize = 2;

/// A body to decode.
#[derive(Debug, Clone)]
pub struct DecodeTask {
    /// The local file that holds it.
    pub path: PathBuf,
    /// Keeps a spooled copy alive while it is read.
    pub keep: Option<Arc<tempfile::TempPath>>,
    /// What to do with it.
    pub job: DecodeJob,
}

/// What decoding brings, in order; `Done` is the last.
#[derive(Debug)]
pub enum Decoded {
    /// Rows in the declared columns, then those that drift added.
    Rows(RecordBatch),
    /// Rejected rows; `run`, `recorded_at` and `source` are NULL.
    Rejected(RecordBatch),
    /// All records were seen.
    Done(DecodeReport),
}

/// Decodes bodies side by side, as many as it sees fit.
#[async_trait]
pub trait DecodePool: Debug + Send + Sync {
    /// Waits for a free worker and starts it on `task`.
    ///
    /// A worker stands still while nobody takes its frames, and is stopped when the frames are dropped.
    async fn decode(&self, task: DecodeTask) -> Result<DecodeFrames, DecodeFailure>;
}

/// The frames of one task. Dropping them stops the worker.
#[derive(Debug)]
pub struct DecodeFrames {
    receiver: mpsc::Receiver<Result<Decoded, DecodeFailure>>,
    _stop: StopOnDrop,
}

impl DecodeFrames {
    /// Joins a channel with what stops its sender.
    fn new(receiver: mpsc::Receiver<Result<Decoded, DecodeFailure>>, stop: StopOnDrop) -> Self {
        Self { receiver, _stop: stop }
    }

    /// Returns the next frame, `None` after the last one. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Decoded, DecodeFailure>> {
        self.receiver.recv().await
    }
}

/// Runs a closure when it is dropped.
struct StopOnDrop(Option<Box<dyn FnOnce() + Send>>);

impl StopOnDrop {
    fn new(stop: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }

    /// For workers that notice by themselves that their channel is closed.
    fn nothing() -> Self {
        Self(None)
    }
}

impl Debug for StopOnDrop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StopOnDrop")
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

/// Why a body was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeFailure {
    /// The decoder says so.
    #[error("{message}")]
    Reported {
        /// What kind of failure it is.
        class: ErrorClass,
        /// The message with its causes.
        message: String,
        /// What may help.
        hint: Option<String>,
    },
    /// The worker ended before its last frame.
    #[error("decode worker {how}{}", said(.stderr))]
    Died {
        /// `was killed by signal 9 (…)`, `ended with code 3`.
        how: String,
        /// The beginning of what it wrote to its error stream.
        stderr: String,
    },
    /// A limit of the worker was reached.
    #[error("decode worker was stopped: {limit} of {value} reached")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// Its value with its unit.
        value: String,
    },
    /// The worker could not be started.
    #[error("start a decode worker")]
    Start {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said `{stderr}`") }
}

impl Classified for DecodeFailure {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Reported { class, .. } => *class,
            Self::Died { .. } => ErrorClass::Data,
            Self::Limit { .. } => ErrorClass::Limit,
            Self::Start { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reported { hint, .. } => hint.clone(),
            Self::Died { .. } => {
                Some("the bytes are kept in the landing zone; look at them before the next run".to_owned())
            }
            Self::Limit { .. } => Some(
                "split the source into smaller files, or raise `decode.memory_bytes_max`, `decode.cpu_seconds_max` or \
                 `decode.wall_seconds_max`"
                    .to_owned(),
            ),
            Self::Start { .. } => None,
        }
    }
}

impl From<Failure> for DecodeFailure {
    fn from(failure: Failure) -> Self {
        Self::Reported { class: failure.class(), message: failure.message, hint: failure.hint }
    }
}

/// What a worker's frame means to its consumer.
fn decoded(frame: Frame) -> Result<Decoded, DecodeFailure> {
    match frame {
        Frame::Rows(batch) => Ok(Decoded::Rows(batch)),
        Frame::Rejected(batch) => Ok(Decoded::Rejected(batch)),
        Frame::Done(report) => Ok(Decoded::Done(report)),
        Frame::Failed(failure) => Err(failure.into()),
    }
}

/// A duration as people read it.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}
