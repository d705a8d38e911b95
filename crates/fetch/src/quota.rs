//! Reads what providers say about their quotas. Pure: headers in, numbers out.
//!
//! Understood: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, both syntaxes),
//! `RateLimit-Limit/-Remaining/-Reset`, `X-RateLimit-Limit/-Remaining/-Used/-Reset` (seconds, epoch or date),
//! `X-Rate-Limit-Limit/-Interval` and `X-Concurrency-Limit` (Crossref).

use std::time::Duration;

use jiff::Timestamp;

/// A number from which on `reset` is an instant (2001 as epoch seconds), not a number of seconds.
const EPOCH_SECONDS_MIN: u64 = 1_000_000_000;
/// A number from which on `reset` is in milliseconds since the epoch.
const EPOCH_MILLISECONDS_MIN: u64 = 1_000_000_000_000;

/// What one answer said. Absent parts were not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Quota {
    /// Requests per period.
    pub(crate) rate: Option<(u32, Duration)>,
    /// Requests left until `reset`.
    pub(crate) remaining: Option<u64>,
    /// Time until the quota is full again.
    pub(crate) reset: Option<Duration>,
    /// Requests under way at once.
    pub(crate) concurrency: Option<u32>,
}

/// Reads the quota headers of an answer that came at `now`.
pub(crate) fn read(headers: &[(String, String)], now: Timestamp) -> Quota {
    let get = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
    let number = |names: &[&str]| names.iter().find_map(|name| leading_number(get(name)?));
    let limit = number(&["x-ratelimit-limit", "ratelimit-limit"]);
    let used = number(&["x-ratelimit-used"]);
    let mut quota = Quota {
        rate: crossref_rate(get("x-rate-limit-limit"), get("x-rate-limit-interval")),
        remaining: number(&["x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining"])
            .or(limit.zip(used).map(|(limit, used)| limit.saturating_sub(used))),
        reset: ["x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"]
            .iter()
            .find_map(|name| reset(get(name)?, now)),
        concurrency: number(&["x-concurrency-limit"]).and_then(|count| u32::try_from(count.max(1)).ok()),
    };
    if let Some(policy) = get("ratelimit-policy").or(get("ratelimit-limit")) {
        quota.rate = quota.rate.or_else(|| policy_rate(policy));
    }
    if let Some(text) = get("ratelimit") {
        let (remaining, reset_in) = ietf(text);
        quota.remaining = remaining.or(quota.remaining);
        quota.reset = reset_in.or(quota.reset);
    }
    quota
}

fn leading_number(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).map_or(text, |end| &text[..end]);
    digits.parse().ok()
}

/// `X-Rate-Limit-Limit: 50`, `X-Rate-Limit-Interval: 1s`.
fn crossref_rate(limit: Option<&str>, interval: Option<&str>) -> Option<(u32, Duration)> {
    let requests = u32::try_from(leading_number(limit?)?).ok().filter(|count| *count > 0)?;
    let interval = interval?;
    let seconds = leading_number(interval)?;
    let unit = match interval.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    let period = Duration::from_secs(seconds.checked_mul(unit)?);
    (!period.is_zero()).then_some((requests, period))
}

/// `"default";q=100;w=60`, or `100;w=60` in older drafts; the strictest of several policies.
fn policy_rate(text: &str) -> Option<(u32, Duration)> {
    let rates = text.split(',').filter_map(|policy| {
        let mut parts = policy.split(';').map(str::trim);
        let first = parts.next()?;
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |names: &[&str]| {
            parameters
                .iter()
                .find(|(key, _)| names.contains(&key.trim()))
                .and_then(|(_, text)| leading_number(text.trim()))
        };
        let requests = value(&["q"]).or_else(|| leading_number(first))?;
        let seconds = value(&["w", "window"]).filter(|seconds| *seconds > 0)?;
        let requests = u32::try_from(requests).ok().filter(|count| *count > 0)?;
        Some((requests, Duration::from_secs(seconds)))
    });
    rates.min_by(|(a, per_a), (b, per_b)| {
        (f64::from(*a) / per_a.as_secs_f64()).total_cmp(&(f64::from(*b) / per_b.as_secs_f64()))
    })
}

/// `"default";r=50;t=30`, or `limit=100, remaining=50, reset=30` in older drafts; the tightest of several.
fn ietf(text: &str) -> (Option<u64>, Option<Duration>) {
    let value = |part: &str, names: &[&str]| {
        part.split([';', ','])
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, text)| names.contains(&key.trim()).then(|| leading_number(text.trim())).flatten())
    };
    let members: Vec<&str> = if text.contains(';') { text.split(',').collect() } else { vec![text] };
    let tightest = members.iter().filter_map(|member| {
        Some((value(member, &["r", "remaining"])?, value(member, &["t", "reset"]).map(Duration::from_secs)))
    });
    match tightest.min_by_key(|(remaining, _)| *remaining) {
        Some((remaining, reset_in)) => (Some(remaining), reset_in),
        None => (None, None),
    }
}

/// Seconds, seconds or milliseconds since 1970, or a date.
fn reset(text: &str, now: Timestamp) -> Option<Duration> {
    let until = |instant: Timestamp| Some(Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO));
    if let Ok(number) = text.parse::<u64>() {
        return match number {
            EPOCH_MILLISECONDS_MIN.. => until(Timestamp::from_millisecond(i64::try_from(number).ok()?).ok()?),
            EPOCH_SECONDS_MIN.. => until(Timestamp::from_second(i64::try_from(number).ok()?).ok()?),
            seconds => Some(Duration::from_secs(seconds)),
        };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok().filter(|wait| wait.as_secs() < EPOCH_SECONDS_MIN);
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        return until(Timestamp::try_from(date).ok()?);
    }
    until(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &str, expected: &str) {
        let pairs: Vec<(String, String)> = headers
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let quota = read(&pairs, "2026-09-01T08:00:00Z".parse().unwrap());
        let mut text = Vec::new();
        text.extend(quota.rate.map(|(count, per)| format!("{count} per {per:?}")));
        text.extend(quota.remaining.map(|count| format!("{count} left")));
        text.extend(quota.reset.map(|wait| format!("reset in {wait:?}")));
        text.extend(quota.concurrency.map(|count| format!("{count} at once")));
        assert_eq!(text.join(", "), expected, "{headers}");
    }

    #[test]
    fn quota_headers_are_read() {
        check("", "");
        check("x-rate-limit-limit: 5\nx-rate-limit-interval: 1s\nx-concurrency-limit: 1", "5 per 1s, 1 at once");
        check(
            "x-ratelimit-limit: 60\nx-ratelimit-remaining: 12\nx-ratelimit-reset: 1788249630",
            "12 left, reset in 30s",
        );
        check("x-ratelimit-remaining: 0\nx-ratelimit-reset: 1788249630000", "0 left, reset in 30s");
        check("x-ratelimit-used: 60\nx-ratelimit-limit: 60\nx-ratelimit-reset: 45", "0 left, reset in 45s");
        check("x-ratelimit-remaining: 7\nx-ratelimit-reset: 2026-09-02T00:00:00Z", "7 left, reset in 57600s");
        check("x-ratelimit-remaining: 7\nx-ratelimit-reset: Tue, 01 Sep 2026 07:00:00 GMT", "7 left, reset in 0ns");
        check(
            "ratelimit-limit: 100, 100;w=60\nratelimit-remaining: 3\nratelimit-reset: 9",
            "100 per 60s, 3 left, reset in 9s",
        );
        check(
            "ratelimit: \"default\";r=50;t=30\nratelimit-policy: \"default\";q=100;w=60",
            "100 per 60s, 50 left, reset in 30s",
        );
        check("ratelimit: \"hour\";r=50;t=30, \"day\";r=2;t=900", "2 left, reset in 900s");
        check("ratelimit-policy: \"hour\";q=100;w=3600, \"day\";q=1000;w=86400", "1000 per 86400s");
        check("ratelimit: limit=100, remaining=4, reset=5", "4 left, reset in 5s");
        check("x-ratelimit-limit: soon\nx-ratelimit-reset: never\nratelimit: ;;;", "");
        check("x-ratelimit-remaining-usd: 1", "");
    }
}
