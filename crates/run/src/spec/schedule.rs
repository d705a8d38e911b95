//! When a pipeline is due: checks the section `[schedule]`. Deciding that the hour has come is the scheduler's part.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::{CatchUpWord, ScheduleSpec};
use crate::schedule::{Adaptive, CatchUp, Cron, Rhythm, Schedule};

/// Minutes by which times may be moved, or be late.
const MINUTES_MAX: u32 = 24 * 60;
/// Minutes between two looks at a source: a year.
const ADAPTIVE_MINUTES_MAX: u32 = 366 * 24 * 60;
/// What to write for `cron`.
const CRON_HELP: &str =
    "minute, hour, day of month, month, day of week: `30 6 * * 1-5` is half past six from Monday to Friday";

/// What is wrong with a schedule: the key at fault, the problem, the advice.
pub(super) type ScheduleProblem = (&'static str, String, Option<String>);

/// Checks everything, and makes a schedule of it.
pub(super) fn check(spec: &ScheduleSpec) -> Result<Schedule, Vec<ScheduleProblem>> {
    let mut problems = Vec::new();
    let zone = TimeZone::get(&spec.timezone);
    if zone.is_err() {
        let help = "use an IANA name such as `Europe/Sofia`, or `UTC`".to_owned();
        problems.push(("schedule.timezone", format!("`{}` is not a time zone", spec.timezone), Some(help)));
    }
    let rhythm = rhythm(spec, zone.unwrap_or(TimeZone::UTC), &mut problems);
    for (key, minutes) in
        [("schedule.jitter_minutes", spec.jitter_minutes), ("schedule.late_minutes_max", spec.late_minutes_max)]
    {
        if minutes > MINUTES_MAX {
            problems.push((
                key,
                format!("{minutes} minutes are more than a day"),
                Some(format!("at most {MINUTES_MAX}")),
            ));
        }
    }
    let minutes = |count: u32| SignedDuration::from_mins(i64::from(count));
    let catch_up = match spec.catch_up {
        CatchUpWord::Once => CatchUp::Once,
        CatchUpWord::Skip => CatchUp::Skip { late_max: minutes(spec.late_minutes_max) },
    };
    match rhythm {
        Some(rhythm) if problems.is_empty() => {
            Ok(Schedule { rhythm, jitter: minutes(spec.jitter_minutes), priority: spec.priority, catch_up })
        }
        _ => Err(problems),
    }
}

fn rhythm(spec: &ScheduleSpec, zone: TimeZone, problems: &mut Vec<ScheduleProblem>) -> Option<Rhythm> {
    let help = || Some(CRON_HELP.to_owned());
    match (&spec.cron, spec.adaptive) {
        (Some(cron), None) => match Cron::parse(cron, zone) {
            Ok(cron) => return Some(Rhythm::Cron(Box::new(cron))),
            Err(error) => problems.push(("schedule.cron", error.to_string(), help())),
        },
        (None, Some(adaptive)) => {
            let (shortest, longest) = (adaptive.shortest_minutes, adaptive.longest_minutes);
            if shortest >= 1 && shortest <= longest && longest <= ADAPTIVE_MINUTES_MAX {
                let minutes = |count: u32| SignedDuration::from_mins(i64::from(count));
                return Some(Rhythm::Adaptive(Adaptive { shortest: minutes(shortest), longest: minutes(longest) }));
            }
            let what = format!(
                "{shortest} to {longest} minutes are no range of at least 1 and at most {ADAPTIVE_MINUTES_MAX}"
            );
            problems.push(("schedule.adaptive", what, None));
        }
        (Some(_), Some(_)) => {
            let what = "`cron` and `adaptive` exclude each other".to_owned();
            problems.push(("schedule.adaptive", what, Some("leave one of them out".to_owned())));
        }
        (None, None) => {
            let what = "neither `cron` nor `adaptive` says when the pipeline is due".to_owned();
            problems.push(("schedule", what, help()));
        }
    }
    None
}
