//! Dates and instants from text. Without a declared format only ISO 8601 is read: no locale is guessed.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

const UNIX_EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Returns the days since 1970-01-01.
pub(crate) fn days(day: Date) -> i32 {
    let span = day.since((jiff::Unit::Day, UNIX_EPOCH)).expect("the distance of two dates in days always fits");
    span.get_days()
}

/// Parses a date: by `format` (strptime), or `YYYY-MM-DD`, with a time of midnight allowed behind it.
pub(crate) fn date(text: &str, format: Option<&str>) -> Option<Date> {
    if let Some(format) = format {
        return BrokenDownTime::parse(format, text).ok()?.to_date().ok();
    }
    let day = text.get(..10).unwrap_or(text);
    let is_iso = day.len() == 10 && day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-';
    let is_midnight = matches!(text.get(10..), Some("" | "T00:00:00" | "T00:00:00Z" | " 00:00:00" | "T00:00" | "Z"));
    if is_iso && is_midnight { day.parse().ok() } else { None }
}

/// Parses an instant: by `format` (`epoch_s`, `epoch_ms`, `epoch_us`, or strptime; without an offset it is UTC), or
/// ISO 8601 with or without offset, or a plain date (midnight UTC). Returns microseconds since 1970; digits beyond
/// them are cut off, as the store has no finer instants. A leap second (`23:59:60`) is no instant there either.
pub(crate) fn instant(text: &str, format: Option<&str>) -> Option<i64> {
    match format {
        Some("epoch_s") => text.parse::<i64>().ok()?.checked_mul(1_000_000),
        Some("epoch_ms") => text.parse::<i64>().ok()?.checked_mul(1_000),
        Some("epoch_us") => text.parse().ok(),
        Some(format) => {
            let parsed = BrokenDownTime::parse(format, text).ok()?;
            if let Ok(instant) = parsed.to_timestamp() {
                return Some(instant.as_microsecond());
            }
            let civil = parsed.to_datetime().or_else(|_| parsed.to_date().map(|day| day.at(0, 0, 0, 0))).ok()?;
            utc(civil)
        }
        None => {
            // jiff would read a leap second as the second before it.
            if text.get(16..19) == Some(":60") {
                return None;
            }
            if let Ok(instant) = text.parse::<Timestamp>() {
                return Some(instant.as_microsecond());
            }
            // jiff reads other forms too (weeks, basic dates); a provider's text must look like a date.
            let looks_like_date = text.len() >= 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
            looks_like_date.then(|| text.parse::<DateTime>().ok()).flatten().and_then(utc)
        }
    }
}

fn utc(civil: DateTime) -> Option<i64> {
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_or_declared() {
        let check = |text: &str, format: Option<&str>, expected: &str| {
            let found = date(text, format).map_or("none".to_owned(), |day| day.to_string());
            assert_eq!(found, expected, "{text}");
        };
        check("2024-02-29", None, "2024-02-29");
        check("0001-01-01", None, "0001-01-01");
        check("9999-12-31", None, "9999-12-31");
        check("2023-02-29", None, "none");
        check("2024-02-29T00:00:00Z", None, "2024-02-29");
        check("2024-02-29T10:00:00Z", None, "none");
        check("29.02.2024", None, "none");
        check("29.02.2024", Some("%d.%m.%Y"), "2024-02-29");
        check("20240229", Some("%Y%m%d"), "2024-02-29");
        check("31.02.2024", Some("%d.%m.%Y"), "none");
        assert_eq!((days(UNIX_EPOCH), days(jiff::civil::date(1969, 12, 31))), (0, -1));
    }

    #[test]
    fn instants_are_utc_microseconds() {
        let check = |text: &str, format: Option<&str>, expected: Option<i64>| {
            assert_eq!(instant(text, format), expected, "{text}")
        };
        check("1970-01-01T00:00:01Z", None, Some(1_000_000));
        check("1970-01-01T02:00:00+02:00", None, Some(0));
        check("1970-01-01 00:00:01", None, Some(1_000_000));
        check("1970-01-02", None, Some(86_400_000_000));
        check("1970-01-01T24:00:00", None, None);
        check("2016-12-31T23:59:60Z", None, None);
        check("2016-12-31T23:60:00Z", None, None);
        check("1970-01-01T00:00:00.0000019Z", None, Some(1));
        check("0001-01-01T00:00:00Z", None, Some(-62_135_596_800_000_000));
        check("2262-04-12T00:00:00Z", None, Some(9_223_372_800_000_000));
        check("1700000000123", Some("epoch_ms"), Some(1_700_000_000_123_000));
        check("01/02/1970 00:00", Some("%d/%m/%Y %H:%M"), Some(2_678_400_000_000));
        check("99999999999999999999", Some("epoch_s"), None);
        check("yesterday", None, None);
        check("19700101", None, None);
    }
}
