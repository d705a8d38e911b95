//! Windows of time: each is asked for by itself, one that holds too much is halved, and together they cover everything
//! once. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::paging::{PaginationSpec, Resolution, WindowEnd};
use super::request::Ask;
use crate::error::ConnectError;
use crate::template::Value;

/// How instants are written, unless the file says otherwise.
const FORMAT: &str = "%Y-%m-%dT%H:%M:%S";
/// Windows that one slice may start with.
const WINDOWS_MAX: i64 = 100_000;

/// The windows that are still to be read, the earliest last.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pending: Vec<(i64, i64)>,
    from_parameter: String,
    to_parameter: String,
    format: String,
    resolution: Resolution,
    end: WindowEnd,
    /// A window with more records is halved.
    pub(crate) records_max: u64,
    /// Statuses that mean "too many records".
    pub(crate) too_large_status: Vec<u16>,
}

impl Windows {
    /// Cuts the time into windows; `None` for other styles. A run that asks only for what is new starts with one window.
    pub(crate) fn new(
        spec: &PaginationSpec,
        now: Timestamp,
        is_incremental: bool,
    ) -> Result<Option<Self>, ConnectError> {
        let PaginationSpec::TimeWindow {
            from_parameter,
            to_parameter,
            from,
            to,
            days,
            format,
            resolution,
            end,
            records_max,
            too_large_status,
        } = spec
        else {
            return Ok(None);
        };
        let step = resolution.milliseconds();
        let start = from.as_millisecond().div_euclid(step).saturating_mul(step);
        // Upwards, so that what happened in the step of the end is not lost.
        let stop = to.unwrap_or(now).as_millisecond().div_euclid(step).saturating_add(1).saturating_mul(step);
        if stop <= start {
            let what = "is in the future".to_owned();
            return Err(ConnectError::Setting { setting: "pagination.from".to_owned(), what });
        }
        let width = match days {
            Some(days) if !is_incremental => i64::from(*days).saturating_mul(86_400_000),
            _ => i64::MAX,
        };
        if (stop - start) / width > WINDOWS_MAX {
            let what = format!("gives more than {WINDOWS_MAX} windows");
            return Err(ConnectError::Setting { setting: "pagination.days".to_owned(), what });
        }
        let mut pending = Vec::new();
        let mut at = start;
        while at < stop {
            let until = at.saturating_add(width).min(stop);
            pending.push((at, until));
            at = until;
        }
        pending.reverse();
        Ok(Some(Self {
            pending,
            from_parameter: from_parameter.clone(),
            to_parameter: to_parameter.clone(),
            format: format.clone().unwrap_or_else(|| FORMAT.to_owned()),
            resolution: *resolution,
            end: *end,
            records_max: *records_max,
            too_large_status: too_large_status.clone(),
        }))
    }

    /// Returns what the next window's request changes; `None` after the last.
    pub(crate) fn ask(&self) -> Result<Option<Ask>, ConnectError> {
        let Some((from, to)) = self.pending.last() else { return Ok(None) };
        let last = match self.end {
            WindowEnd::Included => to - self.resolution.milliseconds(),
            WindowEnd::Excluded => *to,
        };
        let ask = Ask::default()
            .with(&self.from_parameter, Value::Text(self.write(*from)?))
            .with(&self.to_parameter, Value::Text(self.write(last)?));
        Ok(Some(ask))
    }

    /// Marks the window as read.
    pub(crate) fn pass(&mut self) {
        self.pending.pop();
    }

    /// Halves the window, on a step of the provider's resolution.
    pub(crate) fn halve(&mut self, url: &str) -> Result<(), ConnectError> {
        let Some((from, to)) = self.pending.pop() else { return Ok(()) };
        let step = self.resolution.milliseconds();
        let steps = (to - from) / step;
        if steps < 2 {
            let limit = "records of the smallest window";
            return Err(ConnectError::Limit { url: url.to_owned(), limit, value: self.records_max });
        }
        let middle = from + steps / 2 * step;
        self.pending.push((middle, to));
        self.pending.push((from, middle));
        Ok(())
    }

    fn write(&self, milliseconds: i64) -> Result<String, ConnectError> {
        let setting = |error: jiff::Error| ConnectError::Setting {
            setting: "pagination.format".to_owned(),
            what: error.to_string(),
        };
        let instant = Timestamp::from_millisecond(milliseconds).map_err(setting)?;
        jiff::fmt::strtime::format(&self.format, &instant.to_zoned(TimeZone::UTC)).map_err(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(more: &str) -> Windows {
        let text = format!(
            "style = \"time_window\"\nfrom_parameter = \"a\"\nto_parameter = \"b\"\nfrom = \"2024-01-01T00:00:00Z\"\nrecords_max = 9\n{more}"
        );
        let spec: PaginationSpec = toml::from_str(&text).unwrap();
        Windows::new(&spec, "2024-01-05T06:00:00Z".parse().unwrap(), false).unwrap().unwrap()
    }

    fn drain(mut windows: Windows) -> String {
        let mut texts = Vec::new();
        while let Some(ask) = windows.ask().unwrap() {
            texts.push(format!("{}..{}", ask.set[0].1, ask.set[1].1));
            windows.pass();
        }
        texts.join(" ")
    }

    #[test]
    fn windows_cover_time_once() {
        let days = "format = \"%d\"\nresolution = \"day\"\n";
        assert_eq!(drain(windows(days)), "01..05");
        assert_eq!(drain(windows(&format!("{days}days = 2"))), "01..02 03..04 05..05");
        assert_eq!(drain(windows(&format!("{days}days = 2\nend = \"excluded\""))), "01..03 03..05 05..06");
        assert_eq!(drain(windows(&format!("{days}to = \"2024-01-03T00:00:00Z\""))), "01..03");
    }

    #[test]
    fn windows_are_halved_down_to_one_step() {
        let mut halved = windows("format = \"%d\"\nresolution = \"day\"\n");
        halved.halve("u").unwrap();
        halved.halve("u").unwrap();
        assert_eq!(drain(halved.clone()), "01..01 02..02 03..05");
        assert!(halved.halve("u").unwrap_err().to_string().contains("9 reached"));
    }
}
