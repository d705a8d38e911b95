//! Scheduled runs: when each pipeline is due, which of those that are due may start, and who looks after what was
//! started.
//!
//! Deciding is pure ([`plan`]: jobs, their history and an instant in, what to start out); [`Scheduler`] is the small
//! driver around it. All it knows between two starts is in the store: rows of `system.runs`, a lease that one scheduler
//! holds at a time, and a claim per run that is under way.

mod claims;
mod cron;
mod due;
mod fresh;
mod history;
mod job;
mod parts;
mod plan;
mod process;
mod record;
mod report;
mod retry;
mod scheduler;

pub use cron::{Cron, CronError};
pub use due::{Due, Why, due};
pub use fresh::{Fresh, freshness};
pub use history::{Ending, History, PastRun, RUNS_KEPT};
pub use job::{Adaptive, CatchUp, Job, JobName, Priority, Rhythm, Schedule, Upkeep};
pub use parts::{
    Declarations, Declared, Ended, Launcher, Ledger, LedgerError, Order, Overview, Parts, Reported, Role, Timing,
};
pub use plan::{Blocked, Plan, Slots, Start, Waiting, plan};
pub use process::{ProcessLauncher, RunLimits};
pub use report::ReportLine;
pub use retry::{Retry, retry};
pub use scheduler::Scheduler;
