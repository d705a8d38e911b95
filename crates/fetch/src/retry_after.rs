//! Reads `Retry-After`: RFC 9110 §10.2.3, seconds or an HTTP date.

use std::time::Duration;

use jiff::Timestamp;

/// Returns how long to wait from `now` on; a date in the past is no wait. `None` for what is neither.
pub(crate) fn delay(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits beyond 64 bits mean "not in this life", which is what the largest number says too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected_seconds: Option<u64>) {
        let now = "2026-09-01T08:00:00Z".parse().unwrap();
        assert_eq!(delay(text, now).map(|wait| wait.as_secs()), expected_seconds, "{text}");
    }

    #[test]
    fn seconds_and_dates_are_read() {
        check("5", Some(5));
        check(" 120 ", Some(120));
        check("99999999", Some(99_999_999));
        check("99999999999999999999999999", Some(u64::MAX));
        check("Tue, 01 Sep 2026 08:01:30 GMT", Some(90));
        check("Tuesday, 01-Sep-26 08:01:30 GMT", Some(90));
        check("Tue, 01 Sep 2020 08:00:00 GMT", Some(0));
        check("-1", None);
        check("soon", None);
        check("", None);
    }
}
