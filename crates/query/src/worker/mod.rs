//! The query worker: a child process of the same binary that plans and runs statements, one at a time, under limits of
//! the operating system. The parent never plans. What SQL can do to its own process, it does to a process nobody misses.
//!
//! [`QueryWorkers`] starts one for a single statement; [`QueryPool`] keeps some ready for a server.

mod answer;
mod child;
mod frame;
mod pool;
mod process;
mod progress;
mod watchdog;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use child::child_main;
pub use pool::QueryPool;
pub use progress::{Progress, Told};

use crate::error::QueryError;
use crate::limits::QueryLimits;
use crate::question::Question;
use crate::session::RowStream;

/// How workers are started, and what none of their queries may exceed.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The program; with `arguments` it must call [`child_main`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Each worker spills into a folder of its own inside this one.
    pub spill: PathBuf,
    /// The store that is read.
    pub store: StoreAddress,
    /// The ceiling of every query's limits.
    pub limits: QueryLimits,
}

/// Where the store is and how to get in.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoreAddress {
    /// The store's URL, or the absolute path of a folder.
    pub url: String,
    /// The store's options; may hold secrets, and therefore are never printed.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoreAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

impl StoreAddress {
    /// Says whether the store is reached over the network.
    pub(crate) fn is_remote(&self) -> bool {
        self.url.contains("://") && !self.url.starts_with("file://")
    }
}

/// Starts a worker for every question, and ends it with the answer.
#[derive(Debug, Clone)]
pub struct QueryWorkers {
    settings: WorkerSettings,
}

impl QueryWorkers {
    /// Makes a starter of workers.
    pub fn new(settings: WorkerSettings) -> Self {
        Self { settings }
    }

    /// Answers one question in a worker of its own. The answer holds the worker: dropping it kills the worker.
    ///
    /// Call it on a thread that outlives the answer (not on one of a pool that shrinks): the worker dies with the
    /// thread that started it.
    ///
    /// # Errors
    /// What the worker reported before the first row, or why it could not be started or died.
    pub async fn run(&self, question: &Question) -> Result<RowStream, QueryError> {
        let worker = process::Worker::start(&self.settings)?;
        answer::run(worker, question, CancellationToken::new(), Progress::default(), drop).await
    }
}

/// The first thing that a worker is told.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) store: StoreAddress,
    pub(crate) spill: PathBuf,
    pub(crate) limits: QueryLimits,
}
