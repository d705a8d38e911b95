//! When a pipeline is due: cron fields in a time zone. Checks their form; deciding that the hour has come is the
//! scheduler's part.

use std::str::FromStr;

use super::ScheduleSpec;

/// A checked schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Five cron fields.
    pub cron: String,
    /// The IANA time zone that they are read in.
    pub timezone: String,
}

/// What is wrong with a schedule: the key at fault, the problem, the advice.
pub(super) type ScheduleProblem = (&'static str, String, Option<String>);

/// Checks the form of the cron fields and that the time zone exists.
pub(super) fn check(spec: &ScheduleSpec) -> Result<Schedule, Vec<ScheduleProblem>> {
    let mut problems = Vec::new();
    let fields = spec.cron.split_whitespace().count();
    let advice =
        "minute, hour, day of month, month, day of week: `30 6 * * 1-5` is half past six from Monday to Friday";
    if fields != 5 && !spec.cron.trim_start().starts_with('@') {
        let what = format!("`{}` has {fields} fields instead of five", spec.cron);
        problems.push(("schedule.cron", what, Some(advice.to_owned())));
    } else if let Err(error) = croner::Cron::from_str(&spec.cron) {
        let what = format!("`{}` is not a schedule: {error}", spec.cron);
        problems.push(("schedule.cron", what, Some(advice.to_owned())));
    }
    if jiff::tz::TimeZone::get(&spec.timezone).is_err() {
        let what = format!("`{}` is not a time zone", spec.timezone);
        problems.push((
            "schedule.timezone",
            what,
            Some("use an IANA name such as `Europe/Sofia`, or `UTC`".to_owned()),
        ));
    }
    if problems.is_empty() {
        Ok(Schedule { cron: spec.cron.clone(), timezone: spec.timezone.clone() })
    } else {
        Err(problems)
    }
}
