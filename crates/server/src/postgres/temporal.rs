//! Dates, times and intervals as Postgres writes them: ISO style, in UTC.

use std::fmt::Write;

/// 2000-01-01, from which Postgres counts, in days of 1970.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROSECONDS: i64 = EPOCH_DAYS as i64 * DAY;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Days as Postgres counts them.
pub(super) fn days_of_postgres(days: i32) -> i32 {
    days.saturating_sub(EPOCH_DAYS)
}

/// Microseconds as Postgres counts them.
pub(super) fn microseconds_of_postgres(microseconds: i64) -> i64 {
    microseconds.saturating_sub(EPOCH_MICROSECONDS)
}

/// Days since 1970 for days as Postgres counts them.
pub(super) fn days_of_unix(days: i32) -> Option<i32> {
    days.checked_add(EPOCH_DAYS)
}

/// Microseconds since 1970 for microseconds as Postgres counts them.
pub(super) fn microseconds_of_unix(microseconds: i64) -> Option<i64> {
    microseconds.checked_add(EPOCH_MICROSECONDS)
}

/// Writes days since 1970 as a date.
pub(super) fn put_date(days: i64, out: &mut String) -> std::fmt::Result {
    let (year, month, day) = civil(days);
    if year > 0 {
        return write!(out, "{year:04}-{month:02}-{day:02}");
    }
    write!(out, "{:04}-{month:02}-{day:02} BC", 1 - year)
}

/// Writes microseconds since midnight.
pub(super) fn put_time(microseconds: i64, out: &mut String) -> std::fmt::Result {
    let seconds = microseconds.div_euclid(1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    put_fraction(microseconds.rem_euclid(1_000_000), out)
}

fn put_fraction(microseconds: i64, out: &mut String) -> std::fmt::Result {
    if microseconds == 0 {
        return Ok(());
    }
    let digits = format!("{microseconds:06}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

/// Writes microseconds since 1970.
pub(super) fn put_instant(microseconds: i64, has_zone: bool, out: &mut String) -> std::fmt::Result {
    let (year, month, day) = civil(microseconds.div_euclid(DAY));
    let shown = if year > 0 { year } else { 1 - year };
    write!(out, "{shown:04}-{month:02}-{day:02} ")?;
    put_time(microseconds.rem_euclid(DAY), out)?;
    out.write_str(if has_zone { "+00" } else { "" })?;
    out.write_str(if year > 0 { "" } else { " BC" })
}

/// Writes an interval: `1 year 2 mons 3 days 04:05:06`.
pub(super) fn put_interval(months: i32, days: i32, nanoseconds: i64, out: &mut String) -> std::fmt::Result {
    let start = out.len();
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            write!(out, "{space}{count} {}", if count == 1 { one } else { many })?;
        }
    }
    let microseconds = nanoseconds / 1000;
    if microseconds == 0 && out.len() > start {
        return Ok(());
    }
    let space = if out.len() > start { " " } else { "" };
    let sign = if microseconds < 0 { "-" } else { "" };
    write!(out, "{space}{sign}")?;
    put_time(microseconds.saturating_abs(), out)
}

/// The year, month and day of a count of days since 1970, in the calendar that reaches back without end. By Howard
/// Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_that_of_everybody() {
        let first = jiff::civil::date(1970, 1, 1);
        for days in (-700_000..2_900_000).step_by(997) {
            let date = first.checked_add(jiff::Span::new().days(days)).unwrap();
            let wanted = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
            assert_eq!(civil(days), wanted);
        }
    }

    #[test]
    fn intervals_are_written_as_postgres_does() {
        let text = |months, days, nanoseconds| {
            let mut out = String::new();
            put_interval(months, days, nanoseconds, &mut out).unwrap();
            out
        };
        assert_eq!(text(14, 3, 14_706_000_000_000), "1 year 2 mons 3 days 04:05:06");
        assert_eq!(text(0, 0, 0), "00:00:00");
        assert_eq!(text(0, -1, -1_500_000_000), "-1 days -00:00:01.5");
        assert_eq!(text(-1, 0, 0), "-1 mons");
    }
}
