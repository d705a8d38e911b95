//! The row of a run that has not written one itself.

use arrow::record_batch::RecordBatch;
use hambar_core::system::{Cell, system_batch};
use hambar_core::{ErrorClass, SystemTable};
use jiff::Timestamp;

use super::history::{Ending, PastRun};
use super::job::JobName;
use super::parts::Reported;
use crate::run::HostInfo;

/// A run whose row is not known to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) run: String,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
    pub(super) outcome: String,
    pub(super) class: Option<ErrorClass>,
    pub(super) error: Option<String>,
}

impl Unwritten {
    /// A run that told how it ended.
    pub(super) fn reported(run: &str, told: Reported) -> Self {
        let Reported { started_at, finished_at, outcome, class, error, is_recorded: _ } = told;
        Self { run: run.to_owned(), started_at, finished_at, outcome, class, error }
    }

    /// A run of which nothing is known but that it is over.
    pub(super) fn failed(run: &str, between: (Timestamp, Timestamp), class: ErrorClass, what: String) -> Self {
        let (started_at, finished_at) = between;
        let outcome = if class == ErrorClass::Cancelled { "cancelled" } else { "failed" };
        Self {
            run: run.to_owned(),
            started_at,
            finished_at,
            outcome: outcome.to_owned(),
            class: Some(class),
            error: Some(what),
        }
    }

    /// What deciding about the next run needs of it.
    pub(super) fn past(&self) -> PastRun {
        PastRun {
            run: self.run.clone(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            ending: Ending::from_words(&self.outcome, self.class.map(ErrorClass::name)),
        }
    }

    /// The row of `system.runs`; in place of a pipeline, upkeep has its own name there.
    pub(super) fn row(&self, job: &JobName, host: &HostInfo) -> RecordBatch {
        let row: Vec<(&'static str, Cell)> = vec![
            ("run", self.run.clone().into()),
            ("pipeline", job.to_string().into()),
            ("started_at", self.started_at.into()),
            ("finished_at", self.finished_at.into()),
            ("outcome", self.outcome.clone().into()),
            ("error_class", self.class.map(|class| class.name().to_owned()).into()),
            ("error", self.error.clone().into()),
            ("host", host.host.clone().into()),
            ("pid", u64::from(host.pid).into()),
            ("hambar_version", host.version.clone().into()),
        ];
        system_batch(SystemTable::Runs, &[row])
    }
}
