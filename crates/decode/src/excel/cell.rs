//! One cell as text: dates in ISO 8601, numbers in the shortest form that gives the same double, errors as they show.

use calamine::{Data, ExcelDateTime};

/// The first serial day that no calendar of Excel has: 10000-01-01.
const SERIAL_DAYS_END: f64 = 2_958_466.0;
/// Beyond these, a plain decimal would be longer than the digits a double has.
const PLAIN_MIN: f64 = 1e-7;
const PLAIN_MAX: f64 = 1e17;

/// Returns the cell's text, `None` for an empty cell.
pub(super) fn text(cell: &Data, trim: bool) -> Option<String> {
    let cut = |text: &str| if trim { text.trim().to_owned() } else { text.to_owned() };
    match cell {
        Data::Empty => None,
        Data::String(text) => Some(cut(text)),
        Data::Int(value) => Some(value.to_string()),
        Data::Float(value) => Some(number(*value)),
        Data::Bool(value) => Some(value.to_string()),
        Data::DateTime(value) => Some(date_time(value)),
        Data::DateTimeIso(text) | Data::DurationIso(text) => Some(text.clone()),
        Data::Error(error) => Some(error.to_string()),
    }
}

fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (PLAIN_MIN..PLAIN_MAX).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

fn date_time(value: &ExcelDateTime) -> String {
    let serial = value.as_f64();
    if !(0.0..SERIAL_DAYS_END).contains(&serial) {
        // Excel shows ##### for these; the number is at least true.
        return number(serial);
    }
    if value.is_duration() {
        return duration(serial);
    }
    let (year, month, day, hour, minute, second, milli) = value.to_ymd_hms_milli();
    let time = match milli {
        0 => format!("{hour:02}:{minute:02}:{second:02}"),
        milli => format!("{hour:02}:{minute:02}:{second:02}.{milli:03}"),
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    if serial.fract() == 0.0 && serial >= 1.0 {
        date
    } else if serial < 1.0 {
        time
    } else {
        format!("{date}T{time}")
    }
}

fn duration(days: f64) -> String {
    const DAY_MILLIS: f64 = 86_400_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2958466 days fit")]
    let millis = (days * DAY_MILLIS).round() as u64;
    let (seconds, milli) = (millis / 1000, millis % 1000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if milli == 0 { clock } else { format!("{clock}.{milli:03}") }
}

#[cfg(test)]
mod tests {
    use calamine::{CellErrorType, ExcelDateTimeType};

    use super::*;

    #[test]
    fn cells_keep_their_value_as_text() {
        let date = |serial, is_1904| Data::DateTime(ExcelDateTime::new(serial, ExcelDateTimeType::DateTime, is_1904));
        let span = |serial| Data::DateTime(ExcelDateTime::new(serial, ExcelDateTimeType::TimeDelta, false));
        let cases = [
            (Data::Empty, None),
            (Data::String(" a ".into()), Some("a")),
            (Data::Float(42.0), Some("42")),
            (Data::Float(-0.1), Some("-0.1")),
            (Data::Float(0.1 + 0.2), Some("0.30000000000000004")),
            (Data::Float(123456789012345.0), Some("123456789012345")),
            (Data::Float(1e300), Some("1e300")),
            (Data::Float(-0.0), Some("0")),
            (Data::Int(7), Some("7")),
            (Data::Bool(true), Some("true")),
            (Data::Error(CellErrorType::NA), Some("#N/A")),
            (date(45943.0, false), Some("2025-10-13")),
            (date(45943.541, false), Some("2025-10-13T12:59:02.400")),
            (date(1.0, false), Some("1900-01-01")),
            (date(59.0, false), Some("1900-02-28")),
            (date(60.0, false), Some("1900-02-29")),
            (date(61.0, false), Some("1900-03-01")),
            (date(1.0, true), Some("1904-01-02")),
            (date(0.5, false), Some("12:00:00")),
            (date(-3.0, false), Some("-3")),
            (date(2_958_465.0, false), Some("9999-12-31")),
            (date(2_958_466.0, false), Some("2958466")),
            (span(1.5), Some("36:00:00")),
        ];
        for (cell, expected) in cases {
            assert_eq!(text(&cell, true).as_deref(), expected, "{cell:?}");
        }
        assert_eq!(text(&Data::String(" a ".into()), false).as_deref(), Some(" a "));
    }
}
