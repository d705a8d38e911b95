//! What a scheduler needs from outside, and what it tells.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::{Clock, ErrorClass, RunId, TableName, TableStore};
use jiff::Timestamp;
use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use super::fresh::Fresh;
use super::history::PastRun;
use super::job::{Job, JobName};
use super::plan::{Slots, Waiting};
use crate::run::HostInfo;

/// Why the ledger could not be read.
pub type LedgerError = Box<dyn std::error::Error + Send + Sync>;

/// The runs that the store knows.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// Returns the runs that were recorded since the last call, by whichever process: at the first call those that
    /// matter of all there are ([`super::RUNS_KEPT`] of each job). One may be returned again.
    ///
    /// # Errors
    /// Where the store cannot be read; the next call returns what this one did not.
    async fn news(&self) -> Result<Vec<(JobName, PastRun)>, LedgerError>;
}

/// What is declared at the moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declared {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// What could not be read, in words. Its jobs are left alone until it can.
    pub problems: Vec<String>,
}

/// Where jobs are declared.
pub trait Declarations: Debug + Send + Sync {
    /// Reads them. May block.
    fn declared(&self) -> Declared;
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The job.
    pub job: JobName,
    /// The id that the run has to use.
    pub run: RunId,
}

/// What a run told about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The word in `system.runs.outcome`.
    pub outcome: String,
    /// The class of an outcome that is no success.
    pub class: Option<ErrorClass>,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether it has written its row itself.
    pub is_recorded: bool,
}

/// How what was started ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It said so itself.
    Reported(Reported),
    /// It ended without a word.
    Silent {
        /// What to do about it.
        class: ErrorClass,
        /// What is known.
        what: String,
    },
}

/// Starts runs, each in a process of its own.
#[async_trait]
pub trait Launcher: Debug + Send + Sync {
    /// Runs `order` under limits and returns when it has ended; soon, once `stop` is cancelled. Nothing of it is at work
    /// any more by then.
    async fn launch(&self, order: Order, stop: CancellationToken) -> Ended;
}

/// How often a scheduler looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// At declarations and at others' runs.
    pub look_every: Duration,
    /// Whether the one that leads still does.
    pub standby_every: Duration,
    /// A run that another scheduler started counts as lost when it has shown no life for so long.
    pub lost_after: Duration,
}

/// Everything that a scheduler needs.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Leases and system tables.
    pub store: Arc<dyn TableStore>,
    /// The store's objects, for claims.
    pub objects: Arc<dyn ObjectStore>,
    /// Past runs.
    pub ledger: Arc<dyn Ledger>,
    /// How runs are started.
    pub launcher: Arc<dyn Launcher>,
    /// What there is to run.
    pub declarations: Arc<dyn Declarations>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How much may go on at a time.
    pub slots: Slots,
    /// How often it looks.
    pub timing: Timing,
    /// Where this is.
    pub host: HostInfo,
}

/// Whether a scheduler is the one that starts runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Another one leads; this one takes over when that one is gone.
    #[default]
    StandingBy,
    /// It starts what is due.
    Leading,
}

/// What a scheduler is at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overview {
    /// Whether it leads.
    pub role: Role,
    /// What runs.
    pub running: Vec<JobName>,
    /// What is due and waits for a slot.
    pub waiting: Vec<Waiting>,
    /// What is due later, and when.
    pub later: BTreeMap<JobName, Timestamp>,
    /// How fresh the tables are that have a schedule or a run.
    pub fresh: BTreeMap<TableName, Fresh>,
    /// Pipelines whose last run failed.
    pub failing: Vec<JobName>,
}
