//! Numbers, dates and instants inside nested JSON values: exact or not at all.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

const UNIX_EPOCH: Date = jiff::civil::date(1970, 1, 1);
/// Exponents beyond this cannot fit any decimal of 38 digits.
const EXPONENT_MAX: i32 = 400;

/// Parses an integer; `12.0` and `1e3` are some.
pub(super) fn integer(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    i64::try_from(decimal(text, 38, 0)?).ok()
}

/// Parses a finite double.
pub(super) fn float(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    if !is_number {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Parses an exact decimal, scaled by 10^`scale`; `None` where digits would be lost.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    if exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let mut shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).ok()?;
    let mut all = format!("{whole}{fraction}");
    while shift < 0 && all.ends_with('0') {
        all.pop();
        shift += 1;
    }
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if shift < 0 || significant.len() + usize::try_from(shift).ok()? > usize::from(precision) {
        return None;
    }
    let value = significant.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(u32::try_from(shift).ok()?)?)?;
    Some(if negative { -value } else { value })
}

/// Parses `YYYY-MM-DD` and returns the days since 1970-01-01.
pub(super) fn date(text: &str) -> Option<i32> {
    let day: Date = if text.len() == 10 { text.parse().ok()? } else { return None };
    Some(day.since((jiff::Unit::Day, UNIX_EPOCH)).ok()?.get_days())
}

/// Parses ISO 8601 with or without an offset (then UTC), or a date; returns microseconds since 1970.
pub(super) fn instant(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}
