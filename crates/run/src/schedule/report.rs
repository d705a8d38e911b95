//! The line in which a supervised run tells its scheduler how it ended.

use hambar_core::ErrorClass;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parts::Reported;
use crate::run::{RunOutcome, RunReport};

/// How a run ended, as one line of JSON on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportLine {
    /// The run.
    pub run: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The word in `system.runs.outcome`.
    pub outcome: String,
    /// The class of an outcome that is no success.
    pub class: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether its row is in `system.runs`.
    pub is_recorded: bool,
}

impl ReportLine {
    /// Makes the line of a report.
    pub fn of(report: &RunReport) -> Self {
        let error = match &report.outcome {
            RunOutcome::Failed(failure) => Some(failure.messages.join(": ")),
            RunOutcome::Busy { holder, since } => Some(format!("{holder} holds the lease since {since}")),
            RunOutcome::Stored(_) | RunOutcome::Cancelled => None,
        };
        Self {
            run: report.run.to_string(),
            started_at: report.started_at,
            finished_at: report.finished_at,
            outcome: report.outcome.name().to_owned(),
            class: report.outcome.class().map(|class| class.name().to_owned()),
            error,
            is_recorded: report.is_recorded,
        }
    }

    /// Finds the line of `run` in what a child wrote.
    pub(crate) fn find(output: &[u8], run: &str) -> Option<Reported> {
        let lines = output.split(|byte| *byte == b'\n');
        let line = lines.filter_map(|line| serde_json::from_slice::<Self>(line).ok()).find(|line| line.run == run)?;
        Some(Reported {
            started_at: line.started_at,
            finished_at: line.finished_at,
            outcome: line.outcome,
            class: line.class.as_deref().and_then(ErrorClass::from_name),
            error: line.error,
            is_recorded: line.is_recorded,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_among_others_and_only_that_of_the_run() {
        let line = ReportLine {
            run: "r1".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::from_second(9).unwrap(),
            outcome: "failed".to_owned(),
            class: Some("quota".to_owned()),
            error: Some("too\nmuch".to_owned()),
            is_recorded: true,
        };
        let output = format!("noise\n{}\n", serde_json::to_string(&line).unwrap());
        let found = ReportLine::find(output.as_bytes(), "r1").unwrap();
        assert_eq!((found.class, found.error.as_deref()), (Some(ErrorClass::Quota), Some("too\nmuch")));
        assert_eq!(ReportLine::find(output.as_bytes(), "r2"), None);
        assert_eq!(ReportLine::find(b"\xff\n{}", "r1"), None);
    }
}
