//! Cron fields in a time zone. The library [`croner`] knows the fields; this file knows what becomes of them where a
//! zone's clock is put forward or back.
//!
//! A schedule that names hours (`30 3 * * *`) comes exactly once per period: where the clock skips its time it comes at
//! the end of the gap, where the clock shows its time twice it comes the first time. A schedule for every hour
//! (`*/15 * * * *`) goes on with the time that passes: 92 times on the day of 23 hours, 100 times on that of 25.

use std::str::FromStr;

use chrono::{Datelike, NaiveDate, Timelike};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, civil};

/// Changes of a zone's clock that are looked through for the next time.
const STRETCHES_MAX: usize = 2_000;

/// Fields and the zone that they are read in.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
    is_every_hour: bool,
}

/// What is wrong with the fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five.
    #[error("`{text}` has {fields} fields instead of five")]
    Fields {
        /// What stands there.
        text: String,
        /// How many there are.
        fields: usize,
    },
    /// Five, of which one is wrong.
    #[error("`{text}` is not a schedule: {what}")]
    Pattern {
        /// What stands there.
        text: String,
        /// What is wrong.
        what: String,
    },
    /// A day that no year has.
    #[error("`{text}` never comes")]
    Never {
        /// What stands there.
        text: String,
    },
}

impl Cron {
    /// Reads five fields, or a word such as `@daily`, in `zone`.
    ///
    /// # Errors
    /// Where they are wrong, or name a day that never comes.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, CronError> {
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.trim_start().starts_with('@') {
            return Err(CronError::Fields { text: text.to_owned(), fields });
        }
        let wrong =
            |error: croner::errors::CronError| CronError::Pattern { text: text.to_owned(), what: error.to_string() };
        let pattern = croner::Cron::from_str(text).map_err(wrong)?;
        let is_every_hour = (0..24).all(|hour| pattern.pattern.hour_match(hour).unwrap_or(false));
        let cron = Self { pattern, zone, is_every_hour };
        match cron.on_the_clock(civil::date(2000, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never { text: text.to_owned() }),
        }
    }

    /// Returns the first time after `instant`; `None` where there is none any more.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut begin = instant;
        let mut offset = self.zone.to_offset(begin);
        // Cron knows whole seconds only: the first that is later.
        let mut from = whole_second(offset.to_datetime(begin)).checked_add(SignedDuration::from_secs(1)).ok()?;
        for _ in 0..STRETCHES_MAX {
            if !self.is_every_hour {
                from = from.max(self.repeated_until(begin, offset).unwrap_or(from));
            }
            let found = self.on_the_clock(from)?;
            let Some(change) = self.zone.following(begin).next() else {
                return offset.to_timestamp(found).ok();
            };
            if found < offset.to_datetime(change.timestamp()) {
                return offset.to_timestamp(found).ok();
            }
            let goes_on_at = change.offset().to_datetime(change.timestamp());
            if !self.is_every_hour && found < goes_on_at {
                return Some(change.timestamp());
            }
            (begin, offset, from) = (change.timestamp(), change.offset(), goes_on_at);
        }
        None
    }

    /// Until which time the clock repeats itself, where `begin` comes after it was put back.
    fn repeated_until(&self, begin: Timestamp, offset: Offset) -> Option<civil::DateTime> {
        let just_after = begin.checked_add(SignedDuration::from_secs(1)).ok()?;
        let change = self.zone.preceding(just_after).next()?;
        let just_before = change.timestamp().checked_sub(SignedDuration::from_secs(1)).ok()?;
        let before = self.zone.to_offset(just_before);
        (before > offset).then(|| before.to_datetime(change.timestamp()))
    }

    /// The first time from `from` on, on a clock that nobody puts forward or back.
    fn on_the_clock(&self, from: civil::DateTime) -> Option<civil::DateTime> {
        let number = |value: i8| u32::try_from(value).unwrap_or(0);
        let day = NaiveDate::from_ymd_opt(i32::from(from.year()), number(from.month()), number(from.day()))?;
        let time = day.and_hms_opt(number(from.hour()), number(from.minute()), number(from.second()))?;
        let found = self.pattern.find_next_occurrence(&time.and_utc(), true).ok()?;
        let small = |value: u32| i8::try_from(value).ok();
        let year = i16::try_from(found.year()).ok()?;
        let day = civil::Date::new(year, small(found.month())?, small(found.day())?).ok()?;
        let time = civil::Time::new(small(found.hour())?, small(found.minute())?, small(found.second())?, 0).ok()?;
        Some(day.to_datetime(time))
    }
}

fn whole_second(at: civil::DateTime) -> civil::DateTime {
    let time = at.time();
    civil::Time::new(time.hour(), time.minute(), time.second(), 0).map_or(at, |time| at.date().to_datetime(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str, zone: &str) -> Cron {
        Cron::parse(text, TimeZone::get(zone).unwrap()).unwrap()
    }

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The first times after `after`.
    #[track_caller]
    fn check(fields: &str, zone: &str, after: &str, expected: &[&str]) {
        let cron = cron(fields, zone);
        let mut at = instant(after);
        for expected in expected {
            at = cron.next_after(at).unwrap();
            assert_eq!(at.to_string(), *expected, "`{fields}` in {zone} after {after}");
        }
    }

    fn count(fields: &str, zone: &str, from: &str, to: &str) -> usize {
        let (cron, to) = (cron(fields, zone), instant(to));
        let mut at = instant(from);
        let mut count = 0;
        while let Some(next) = cron.next_after(at).filter(|next| *next < to) {
            (at, count) = (next, count + 1);
        }
        count
    }

    #[test]
    fn ordinary_days() {
        check(
            "30 6 * * 1-5",
            "UTC",
            "2026-11-20T06:30:00Z",
            &["2026-11-23T06:30:00Z", "2026-11-24T06:30:00Z", "2026-11-25T06:30:00Z"],
        );
        check("0 0 1 1 *", "UTC", "2026-12-31T23:59:59.5Z", &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
        check("@daily", "Europe/Sofia", "2026-07-01T00:00:00Z", &["2026-07-01T21:00:00Z"]);
        check("0 9 L * *", "America/New_York", "2026-02-01T00:00:00Z", &["2026-02-28T14:00:00Z"]);
    }

    #[test]
    fn a_named_hour_that_the_clock_skips_comes_at_the_end_of_the_gap() {
        // 29 March 2026 in Sofia: 03:00 becomes 04:00 at 01:00 UTC.
        check("30 3 * * *", "Europe/Sofia", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // Several skipped times, and the end of the gap itself, are one.
        check(
            "0,30 3,4 * * *",
            "Europe/Sofia",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"],
        );
        // New York skips 02:00 to 03:00 at 07:00 UTC.
        check("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", &["2026-03-08T07:00:00Z"]);
        // Samoa had no 30 December 2011 at all.
        check(
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-01T00:00:00Z",
            &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"],
        );
    }

    #[test]
    fn a_named_hour_that_the_clock_shows_twice_comes_once() {
        // 25 October 2026 in Sofia: 04:00 becomes 03:00 again at 01:00 UTC.
        check("30 3 * * *", "Europe/Sofia", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        check("30 3 * * *", "Europe/Sofia", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
        check("0 4 * * *", "Europe/Sofia", "2026-10-25T00:30:00Z", &["2026-10-25T02:00:00Z"]);
        check(
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        );
        // Lord Howe Island goes back by half an hour: 02:00 becomes 01:30 at 15:00 UTC.
        check(
            "40 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            &["2026-04-04T14:40:00Z", "2026-04-05T15:10:00Z"],
        );
    }

    #[test]
    fn every_hour_goes_on_with_the_time_that_passes() {
        check(
            "0 * * * *",
            "Europe/Sofia",
            "2026-10-24T23:30:00Z",
            &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
        );
        let (spring, autumn) =
            (("2026-03-28T21:59:59Z", "2026-03-29T21:00:00Z"), ("2026-10-24T20:59:59Z", "2026-10-25T22:00:00Z"));
        assert_eq!(count("*/15 * * * *", "Europe/Sofia", spring.0, spring.1), 92);
        assert_eq!(count("*/15 * * * *", "Europe/Sofia", autumn.0, autumn.1), 100);
    }

    #[test]
    fn a_daily_schedule_comes_once_on_every_day_in_every_zone() {
        let zones =
            ["UTC", "Europe/Sofia", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"];
        for zone_name in zones {
            let zone = TimeZone::get(zone_name).unwrap();
            for hour in [1, 2, 3] {
                let cron = Cron::parse(&format!("30 {hour} * * *"), zone.clone()).unwrap();
                let mut day = civil::date(2024, 1, 1);
                let mut at = zone.to_timestamp(day.at(0, 0, 0, 0)).unwrap();
                for _ in 0..2 * 365 {
                    at = cron.next_after(at).unwrap();
                    assert_eq!(zone.to_datetime(at).date(), day, "30 {hour} in {zone_name}");
                    day = day.tomorrow().unwrap();
                }
            }
        }
    }

    #[test]
    fn wrong_fields_are_refused() {
        let problem = |text: &str| Cron::parse(text, TimeZone::UTC).unwrap_err().to_string();
        assert_eq!(problem("30 6 * *"), "`30 6 * *` has 4 fields instead of five");
        assert_eq!(problem("0 0 30 2 *"), "`0 0 30 2 *` never comes");
        assert!(problem("61 6 * * *").starts_with("`61 6 * * *` is not a schedule: "));
    }
}
