//! When a job is due next. Pure: the same schedule, history and instant always give the same answer, on every machine.

use jiff::{SignedDuration, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::history::{Ending, History, PastRun};
use super::job::{Adaptive, CatchUp, Job, Rhythm};
use super::retry::{backoff, retry};

/// A run that did not get to do anything (another was at work, or it was stopped) is made up for after so long at first.
const PUT_OFF_FIRST: SignedDuration = SignedDuration::from_mins(1);
/// And after so long at last, however often that happens.
const PUT_OFF_LONGEST: SignedDuration = SignedDuration::from_mins(60);
/// Times that are passed over in the search for one that is not too late.
const SKIPPED_MAX: usize = 100_000;

/// Why a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There has been no run yet.
    First,
    /// Its schedule says so.
    Rhythm,
    /// The last run failed, or did not get to do anything.
    Retry,
}

/// When a job is due, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When; in the past where it is overdue.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
}

/// Returns when `job` is due next; `None` where never again. `since` is when its schedule began to be looked after.
pub fn due(job: &Job, history: &History, since: Timestamp, now: Timestamp) -> Option<Due> {
    let rhythm = by_rhythm(job, history, since, now);
    let Some(newest) = history.newest() else {
        return rhythm;
    };
    match newest.ending {
        Ending::Changed | Ending::Unchanged => rhythm,
        // The time that it was for is not dealt with: as soon as the rhythm says, but not at once.
        Ending::Busy | Ending::Cancelled => {
            let wait = backoff(PUT_OFF_FIRST, PUT_OFF_LONGEST, history.put_off());
            let earliest = later(newest.finished_at, wait);
            rhythm.map(|due| if due.at < earliest { Due { at: earliest, why: Why::Retry } } else { due })
        }
        Ending::Failed(class) => {
            let attempt = history.failures();
            let rule = retry(class).filter(|rule| attempt <= rule.attempts_max);
            let again = rule.map(|rule| {
                let wait = backoff(rule.first, rule.longest, attempt);
                let spread = moved(&job.name.to_string(), newest.finished_at, wait / 5);
                Due { at: later(later(newest.finished_at, wait), spread), why: Why::Retry }
            });
            rhythm.into_iter().chain(again).min_by_key(|due| due.at)
        }
    }
}

fn by_rhythm(job: &Job, history: &History, since: Timestamp, now: Timestamp) -> Option<Due> {
    let schedule = &job.schedule;
    match (&schedule.rhythm, history.anchor()) {
        (Rhythm::Adaptive(_), None) => Some(Due { at: since, why: Why::First }),
        (Rhythm::Adaptive(adaptive), Some(last)) => {
            let at = later(last.started_at, interval(adaptive, history.unchanged()));
            Some(Due { at: moved_time(job, at), why: Why::Rhythm })
        }
        (Rhythm::Cron(cron), last) => match schedule.catch_up {
            CatchUp::Once => match last {
                None => Some(Due { at: since, why: Why::First }),
                Some(last) => Some(Due { at: moved_time(job, cron.next_after(last.started_at)?), why: Why::Rhythm }),
            },
            CatchUp::Skip { late_max } => {
                let after = last.map_or(since, |last: &PastRun| last.started_at);
                let mut from = after.max(earlier(earlier(now, late_max), schedule.jitter));
                for _ in 0..SKIPPED_MAX {
                    from = cron.next_after(from)?;
                    let at = moved_time(job, from);
                    if later(at, late_max) >= now {
                        return Some(Due { at, why: Why::Rhythm });
                    }
                }
                None
            }
        },
    }
}

/// Returns when the table has to be verified again: the first time of its schedule after the newest run that went well.
/// Runs that failed or did not get to work put nothing off, and times that are let go are still missed.
pub(crate) fn wanted(job: &Job, history: &History, since: Timestamp) -> Option<Timestamp> {
    let schedule = &job.schedule;
    match (&schedule.rhythm, schedule.catch_up, history.verified_from()) {
        (Rhythm::Cron(cron), _, Some(last)) => cron.next_after(last).map(|at| moved_time(job, at)),
        (Rhythm::Adaptive(adaptive), _, Some(last)) => {
            Some(moved_time(job, later(last, interval(adaptive, history.unchanged()))))
        }
        (rhythm, catch_up, None) => match (history.oldest(), rhythm, catch_up) {
            (Some(first), _, _) => Some(first.started_at),
            (None, Rhythm::Cron(cron), CatchUp::Skip { .. }) => cron.next_after(since).map(|at| moved_time(job, at)),
            (None, _, _) => Some(since),
        },
    }
}

/// The time between two looks at a source that has not changed for `unchanged` runs.
fn interval(adaptive: &Adaptive, unchanged: u32) -> SignedDuration {
    backoff(adaptive.shortest, adaptive.longest, unchanged.saturating_add(1))
}

fn moved_time(job: &Job, at: Timestamp) -> Timestamp {
    later(at, moved(&job.name.to_string(), at, job.schedule.jitter))
}

/// A part of `most` that is decided by the name and the time alone, so that every scheduler finds the same.
fn moved(name: &str, at: Timestamp, most: SignedDuration) -> SignedDuration {
    let Ok(seconds) = u64::try_from(most.as_secs()) else {
        return SignedDuration::ZERO;
    };
    let hash = xxh3_64(format!("{name} {}", at.as_second()).as_bytes());
    SignedDuration::from_secs(i64::try_from(hash % (seconds + 1)).unwrap_or(0))
}

pub(crate) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use hambar_core::ErrorClass;
    use jiff::tz::TimeZone;

    use super::super::{Cron, JobName, Priority, Schedule};
    use super::*;

    const SINCE: &str = "2026-11-01T00:00:00Z";

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn job(rhythm: Rhythm, catch_up: CatchUp, jitter_minutes: i64) -> Job {
        let jitter = SignedDuration::from_mins(jitter_minutes);
        let schedule = Schedule { rhythm, jitter, priority: Priority::Normal, catch_up };
        Job { name: JobName::Pipeline("a.b".parse().unwrap()), schedule, hosts: Vec::new(), provider: None }
    }

    fn daily() -> Rhythm {
        Rhythm::Cron(Box::new(Cron::parse("0 6 * * *", TimeZone::UTC).unwrap()))
    }

    fn adaptive() -> Rhythm {
        let (shortest, longest) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        Rhythm::Adaptive(Adaptive { shortest, longest })
    }

    /// Runs that began at these times and took a minute.
    fn history(runs: &[(&str, Ending)]) -> History {
        let mut history = History::default();
        for (at, ending) in runs {
            let started_at = instant(at);
            let finished_at = later(started_at, SignedDuration::from_mins(1));
            history.add(PastRun { run: (*at).to_owned(), started_at, finished_at, ending: *ending });
        }
        history
    }

    #[track_caller]
    fn check(job: &Job, runs: &[(&str, Ending)], now: &str, expected: &str) {
        let found = due(job, &history(runs), instant(SINCE), instant(now));
        let text = found.map_or_else(|| "never".to_owned(), |due| format!("{} {:?}", due.at, due.why));
        assert_eq!(text, expected);
    }

    const SKIP: CatchUp = CatchUp::Skip { late_max: SignedDuration::from_mins(30) };

    #[test]
    fn missed_times_are_made_up_for_by_one_run() {
        let job = job(daily(), CatchUp::Once, 0);
        let runs = [("2026-11-02T06:00:03Z", Ending::Changed)];
        check(&job, &runs, "2026-11-02T07:00:00Z", "2026-11-03T06:00:00Z Rhythm");
        check(&job, &runs, "2026-11-09T01:00:00Z", "2026-11-03T06:00:00Z Rhythm");
        let made_up = [runs[0], ("2026-11-09T01:00:01Z", Ending::Unchanged)];
        check(&job, &made_up, "2026-11-09T01:05:00Z", "2026-11-09T06:00:00Z Rhythm");
        check(&job, &[], "2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z First");
    }

    #[test]
    fn missed_times_are_let_go_where_the_schedule_says_so() {
        let job = job(daily(), SKIP, 0);
        let runs = [("2026-11-02T06:00:03Z", Ending::Changed)];
        check(&job, &runs, "2026-11-09T06:29:00Z", "2026-11-09T06:00:00Z Rhythm");
        check(&job, &runs, "2026-11-09T06:31:00Z", "2026-11-10T06:00:00Z Rhythm");
        check(&job, &[], "2026-11-01T00:10:00Z", "2026-11-01T06:00:00Z Rhythm");
        check(&job, &[], "2026-11-01T06:45:00Z", "2026-11-02T06:00:00Z Rhythm");
    }

    #[test]
    fn jitter_is_bounded_differs_and_is_the_same_on_every_machine() {
        let minutes = |name: &str, day: i64| {
            let at = Timestamp::from_second(day * 86_400).unwrap();
            moved(name, at, SignedDuration::from_mins(30)).as_secs()
        };
        let of_days: Vec<i64> = (0..1000).map(|day| minutes("a.b", day)).collect();
        assert!(of_days.iter().all(|seconds| (0..=1800).contains(seconds)));
        assert!(of_days.iter().min() < Some(&60) && of_days.iter().max() > Some(&1740));
        assert_ne!(minutes("a.b", 1), minutes("a.c", 1));
        assert_eq!(minutes("a.b", 1), minutes("a.b", 1));
        let job = job(daily(), CatchUp::Once, 30);
        let runs = [("2026-11-02T06:20:00Z", Ending::Changed)];
        let first = due(&job, &history(&runs), instant(SINCE), instant("2026-11-02T07:00:00Z")).unwrap();
        let again = due(&job, &history(&runs), instant(SINCE), instant("2026-11-03T06:10:00Z")).unwrap();
        assert_eq!(first, again);
        assert!(first.at >= instant("2026-11-03T06:00:00Z") && first.at <= instant("2026-11-03T06:30:00Z"));
    }

    #[test]
    fn the_last_time_within_the_jitter_is_not_let_go() {
        let job = job(daily(), SKIP, 60);
        let runs = [("2026-11-02T06:59:00Z", Ending::Changed)];
        let found = due(&job, &history(&runs), instant(SINCE), instant("2026-11-03T06:59:59Z")).unwrap();
        let is_of_today = found.at < instant("2026-11-03T07:00:01Z");
        let is_in_time = later(found.at, SignedDuration::from_mins(30)) >= instant("2026-11-03T06:59:59Z");
        assert!(is_in_time, "{found:?}");
        assert_eq!(is_of_today, moved_time(&job, instant("2026-11-03T06:00:00Z")) >= instant("2026-11-03T06:29:59Z"));
    }

    #[test]
    fn a_source_without_a_rhythm_is_looked_at_less_often_while_nothing_changes() {
        let job = job(adaptive(), CatchUp::Once, 0);
        check(&job, &[], "2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z First");
        let mut runs = vec![("2026-11-02T00:00:00Z", Ending::Changed)];
        check(&job, &runs, "2026-11-02T00:05:00Z", "2026-11-02T01:00:00Z Rhythm");
        runs.push(("2026-11-02T01:00:00Z", Ending::Unchanged));
        check(&job, &runs, "2026-11-02T01:05:00Z", "2026-11-02T03:00:00Z Rhythm");
        runs.push(("2026-11-02T03:00:00Z", Ending::Unchanged));
        check(&job, &runs, "2026-11-02T03:05:00Z", "2026-11-02T07:00:00Z Rhythm");
        for at in ["2026-11-02T07:00:00Z", "2026-11-02T15:00:00Z", "2026-11-03T07:00:00Z", "2026-11-04T07:00:00Z"] {
            runs.push((at, Ending::Unchanged));
        }
        check(&job, &runs, "2026-11-04T07:05:00Z", "2026-11-05T07:00:00Z Rhythm");
        runs.push(("2026-11-05T07:00:00Z", Ending::Changed));
        check(&job, &runs, "2026-11-05T07:05:00Z", "2026-11-05T08:00:00Z Rhythm");
    }

    #[test]
    fn failures_are_tried_again_by_their_class_until_the_next_time() {
        let job = job(daily(), CatchUp::Once, 0);
        let fail = |class| vec![("2026-11-02T06:00:00Z", Ending::Failed(class))];
        check(&job, &fail(ErrorClass::Drift), "2026-11-02T06:05:00Z", "2026-11-03T06:00:00Z Rhythm");
        let retried =
            due(&job, &history(&fail(ErrorClass::Quota)), instant(SINCE), instant("2026-11-02T06:05:00Z")).unwrap();
        assert_eq!(retried.why, Why::Retry);
        assert!(retried.at >= instant("2026-11-02T06:16:00Z") && retried.at <= instant("2026-11-02T06:19:00Z"));
        let mut runs = fail(ErrorClass::Internal);
        runs.push(("2026-11-02T06:12:00Z", Ending::Failed(ErrorClass::Internal)));
        assert_eq!(
            due(&job, &history(&runs), instant(SINCE), instant("2026-11-02T06:13:00Z")).unwrap().why,
            Why::Retry
        );
        runs.push(("2026-11-02T06:40:00Z", Ending::Failed(ErrorClass::Internal)));
        check(&job, &runs, "2026-11-02T06:41:00Z", "2026-11-03T06:00:00Z Rhythm");
    }

    #[test]
    fn the_next_time_comes_before_a_later_retry() {
        let job = job(Rhythm::Cron(Box::new(Cron::parse("*/5 * * * *", TimeZone::UTC).unwrap())), CatchUp::Once, 0);
        let runs = [("2026-11-02T06:00:00Z", Ending::Failed(ErrorClass::Quota))];
        check(&job, &runs, "2026-11-02T06:01:00Z", "2026-11-02T06:05:00Z Rhythm");
    }

    #[test]
    fn a_run_that_did_not_get_to_work_is_made_up_for() {
        let job = job(daily(), CatchUp::Once, 0);
        let mut runs = vec![("2026-11-02T06:00:00Z", Ending::Changed), ("2026-11-03T06:00:00Z", Ending::Busy)];
        check(&job, &runs, "2026-11-03T06:01:10Z", "2026-11-03T06:02:00Z Retry");
        runs.push(("2026-11-03T06:02:00Z", Ending::Cancelled));
        check(&job, &runs, "2026-11-03T06:03:10Z", "2026-11-03T06:05:00Z Retry");
        runs.push(("2026-11-03T06:05:00Z", Ending::Unchanged));
        check(&job, &runs, "2026-11-03T06:06:10Z", "2026-11-04T06:00:00Z Rhythm");
        // One that was stopped by hand outside of its time waits for the time.
        runs.push(("2026-11-03T12:00:00Z", Ending::Cancelled));
        check(&job, &runs, "2026-11-03T12:05:00Z", "2026-11-04T06:00:00Z Rhythm");
    }
}
