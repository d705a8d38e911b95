//! The position of a slice whose later runs ask only for what is new: as the provider writes it, or the instant of the
//! run's start. Kept in the checkpoint and read by nobody else.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::spec::{CursorKind, IncrementalSpec};
use crate::error::ConnectError;
use crate::json::Scalar;
use crate::template::{Escape, Template};

/// How an instant is written, unless the file says otherwise.
const FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Returns the parameter that asks for what came after `since`.
pub(crate) fn parameter(spec: &IncrementalSpec, since: &str) -> Result<(String, String), ConnectError> {
    let setting = |key: &str, what: String| ConnectError::Setting { setting: format!("incremental.{key}"), what };
    let text = match spec.is {
        CursorKind::Text => since.to_owned(),
        CursorKind::Instant | CursorKind::EpochMilliseconds | CursorKind::EpochSeconds => {
            let instant = instant(spec, since)
                .ok_or_else(|| setting("is", format!("the position `{since}` is no {}", kind_name(spec.is))))?;
            let back = SignedDuration::from_secs(i64::from(spec.lookback_seconds));
            let from = instant.checked_sub(back).map_err(|error| setting("lookback_seconds", error.to_string()))?;
            let format = spec.format.as_deref().unwrap_or(FORMAT);
            jiff::fmt::strtime::format(format, &from.to_zoned(TimeZone::UTC))
                .map_err(|error| setting("format", error.to_string()))?
        }
    };
    let value = match &spec.value {
        None => text,
        Some(value) => Template::parse(value)
            .and_then(|template| template.fill(&[("position".to_owned(), text)].into(), Escape::Plain))
            .map_err(|what| setting("value", what))?,
    };
    Ok((spec.parameter.clone(), value))
}

fn kind_name(kind: CursorKind) -> &'static str {
    match kind {
        CursorKind::Instant => "instant or date",
        CursorKind::EpochMilliseconds => "number of milliseconds",
        CursorKind::EpochSeconds => "number of seconds",
        CursorKind::Text => "text",
    }
}

fn instant(spec: &IncrementalSpec, since: &str) -> Option<Timestamp> {
    // The run's start is always kept as an instant, whatever the records hold.
    match spec.is {
        CursorKind::EpochMilliseconds if spec.cursor.is_some() => Timestamp::from_millisecond(since.parse().ok()?).ok(),
        CursorKind::EpochSeconds if spec.cursor.is_some() => Timestamp::from_second(since.parse().ok()?).ok(),
        _ => since
            .parse::<Timestamp>()
            .ok()
            .or_else(|| since.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()))
            .or_else(|| since.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())),
    }
}

/// Returns the position after a run.
///
/// # Errors
/// What is wrong, in words: records came, but none of them has a position.
pub(crate) fn reached(
    spec: &IncrementalSpec,
    before: Option<String>,
    greatest: Option<&Scalar>,
    started: Timestamp,
    records: u64,
) -> Result<Option<String>, String> {
    let Some(cursor) = &spec.cursor else { return Ok(Some(started.to_string())) };
    match greatest.and_then(Scalar::as_text) {
        // A provider that ignores the parameter or answers late must not move the position back.
        Some(text) => Ok(match before {
            Some(before) if !is_after(spec, &text, &before) => Some(before),
            _ => Some(text),
        }),
        None if records == 0 => Ok(before),
        None => Err(format!("no record has a position at `{cursor}` (`source.incremental.cursor`)")),
    }
}

fn is_after(spec: &IncrementalSpec, text: &str, before: &str) -> bool {
    match (instant(spec, text), instant(spec, before)) {
        (Some(now), Some(before)) if spec.is != CursorKind::Text => now > before,
        _ => match (text.parse::<i128>(), before.parse::<i128>()) {
            (Ok(now), Ok(before)) => now > before,
            _ => text > before,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_parameters() {
        for (spec, since, expected) in [
            ("parameter = \"updatedafter\"", "2024-03-01T10:00:00Z", "updatedafter=2024-03-01T10:00:00Z"),
            ("parameter = \"p\"\nlookback_seconds = 60\nformat = \"%H:%M\"", "2024-03-01T00:00:30Z", "p=23:59"),
            (
                "parameter = \"p\"\ncursor = \"/u\"\nis = \"epoch_milliseconds\"",
                "1597400716254",
                "p=2020-08-14T10:25:16Z",
            ),
            (
                "parameter = \"f\"\nvalue = \"from:{position}\"\nformat = \"%Y-%m-%d\"",
                "2024-03-01",
                "f=from:2024-03-01",
            ),
            ("parameter = \"p\"\ncursor = \"/u\"\nis = \"text\"", "abc", "p=abc"),
            ("parameter = \"p\"", "2023-01-30T11:15:06.596410", "p=2023-01-30T11:15:06Z"),
        ] {
            let spec: IncrementalSpec = toml::from_str(spec).unwrap();
            let (name, value) = parameter(&spec, since).unwrap();
            assert_eq!(format!("{name}={value}"), expected);
        }
    }

    #[test]
    fn positions_never_go_back() {
        let spec: IncrementalSpec =
            toml::from_str("parameter = \"p\"\ncursor = \"/u\"\nis = \"epoch_milliseconds\"").unwrap();
        let at = |before: Option<&str>, greatest: Option<&str>, records| {
            let greatest = greatest.map(|text| Scalar::Number(text.to_owned()));
            reached(&spec, before.map(str::to_owned), greatest.as_ref(), Timestamp::UNIX_EPOCH, records)
        };
        assert_eq!(at(Some("900"), Some("1000"), 1).unwrap().unwrap(), "1000");
        assert_eq!(at(Some("1000"), Some("900"), 1).unwrap().unwrap(), "1000");
        assert_eq!(at(None, None, 0).unwrap(), None);
        assert!(at(None, None, 3).unwrap_err().contains("`/u`"));
    }
}
