//! How fresh tables are, and which are late. Pure, as all deciding here.

use std::collections::BTreeMap;

use hambar_core::TableName;
use jiff::Timestamp;

use super::due::{due, wanted};
use super::history::History;
use super::job::{Job, JobName};

/// How fresh a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fresh {
    /// When rows were last committed.
    pub changed_at: Option<Timestamp>,
    /// When it was last known to be what the source has.
    pub verified_at: Option<Timestamp>,
    /// When its next run is due; in the past where it is due now.
    pub due_at: Option<Timestamp>,
    /// Since when it should have been verified again and was not, whatever the reason.
    pub overdue_since: Option<Timestamp>,
}

/// Says how fresh the tables are that have a schedule or a run at `now`; `since` is when schedules began to be looked after.
pub fn freshness(
    now: Timestamp,
    since: Timestamp,
    jobs: &[Job],
    histories: &BTreeMap<JobName, History>,
) -> BTreeMap<TableName, Fresh> {
    let mut tables: BTreeMap<TableName, Fresh> = BTreeMap::new();
    for (name, history) in histories {
        if let JobName::Pipeline(table) = name {
            let (changed_at, verified_at) = (history.changed_at(), history.verified_at());
            tables.insert(table.clone(), Fresh { changed_at, verified_at, ..Fresh::default() });
        }
    }
    let none = History::default();
    for job in jobs {
        if let JobName::Pipeline(table) = &job.name {
            let history = histories.get(&job.name).unwrap_or(&none);
            let fresh = tables.entry(table.clone()).or_default();
            fresh.due_at = due(job, history, since, now).map(|due| due.at);
            fresh.overdue_since = wanted(job, history, since).filter(|at| *at < now);
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use hambar_core::ErrorClass;
    use jiff::SignedDuration;
    use jiff::tz::TimeZone;

    use super::super::{Adaptive, CatchUp, Cron, Ending, PastRun, Priority, Rhythm, Schedule};
    use super::*;

    const TABLE: &str = "a.b";

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn daily() -> Rhythm {
        Rhythm::Cron(Box::new(Cron::parse("0 6 * * *", TimeZone::UTC).unwrap()))
    }

    fn job(rhythm: Rhythm, catch_up: CatchUp) -> Job {
        let schedule = Schedule { rhythm, jitter: SignedDuration::ZERO, priority: Priority::Normal, catch_up };
        Job { name: JobName::from_text(TABLE).unwrap(), schedule, hosts: Vec::new(), provider: None }
    }

    /// Changed, verified, due and overdue since, in one line.
    #[track_caller]
    fn check(jobs: &[Job], runs: &[(&str, Ending)], now: &str, expected: &str) {
        let mut history = History::default();
        for (at, ending) in runs {
            let at = instant(at);
            history.add(PastRun { run: at.to_string(), started_at: at, finished_at: at, ending: *ending });
        }
        let name = JobName::from_text(TABLE).unwrap();
        let histories = if runs.is_empty() { BTreeMap::new() } else { BTreeMap::from([(name, history)]) };
        let found = freshness(instant(now), instant("2026-11-01T00:00:00Z"), jobs, &histories);
        let text = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.strftime("%d %H:%M").to_string());
        let found = &found[&TABLE.parse().unwrap()];
        let columns = [found.changed_at, found.verified_at, found.due_at, found.overdue_since].map(text);
        assert_eq!(columns.join(", "), expected);
    }

    #[test]
    fn what_fails_becomes_overdue_and_what_is_verified_is_not() {
        let failed = Ending::Failed(ErrorClass::Drift);
        let jobs = [job(daily(), CatchUp::Once)];
        let well = [("2026-11-02T06:00:00Z", Ending::Changed), ("2026-11-03T06:00:00Z", Ending::Unchanged)];
        check(&jobs, &well, "2026-11-03T07:00:00Z", "02 06:00, 03 06:00, 04 06:00, -");
        // Nobody was up on the fourth.
        check(&jobs, &well, "2026-11-04T07:00:00Z", "02 06:00, 03 06:00, 04 06:00, 04 06:00");
        // It fails for two days: the next attempt is tomorrow, and still it is late since the fourth.
        let late = [well[0], well[1], ("2026-11-04T06:00:00Z", failed), ("2026-11-05T06:00:00Z", failed)];
        check(&jobs, &late, "2026-11-05T07:00:00Z", "02 06:00, 03 06:00, 06 06:00, 04 06:00");
    }

    #[test]
    fn what_never_went_well_is_overdue_since_its_first_attempt() {
        let jobs = [job(daily(), CatchUp::Once)];
        check(&jobs, &[], "2026-11-01T05:00:00Z", "-, -, 01 00:00, 01 00:00");
        let failed = Ending::Failed(ErrorClass::Drift);
        let runs = [("2026-11-02T06:00:00Z", failed), ("2026-11-03T06:00:00Z", failed)];
        check(&jobs, &runs, "2026-11-03T07:00:00Z", "-, -, 04 06:00, 02 06:00");
        let patient = [job(daily(), CatchUp::Skip { late_max: SignedDuration::from_mins(30) })];
        check(&patient, &[], "2026-11-01T05:00:00Z", "-, -, 01 06:00, -");
    }

    #[test]
    fn a_table_without_a_schedule_is_never_overdue_and_an_adaptive_one_by_its_own_measure() {
        let runs = [("2026-11-02T06:00:00Z", Ending::Changed), ("2026-11-02T07:00:00Z", Ending::Unchanged)];
        check(&[], &runs, "2026-11-09T06:00:00Z", "02 06:00, 02 07:00, -, -");
        let hour = SignedDuration::from_hours(1);
        let adaptive = [job(Rhythm::Adaptive(Adaptive { shortest: hour, longest: hour * 24 }), CatchUp::Once)];
        check(&adaptive, &runs, "2026-11-02T08:30:00Z", "02 06:00, 02 07:00, 02 09:00, -");
        check(&adaptive, &runs, "2026-11-02T09:30:00Z", "02 06:00, 02 07:00, 02 09:00, 02 09:00");
    }
}
