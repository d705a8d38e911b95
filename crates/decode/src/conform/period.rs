//! Periods of time, as statistical offices write them: SDMX `ObservationalTimePeriod` (SDMX 3.0, section 6, 6.1) and
//! the common deviations. The raw text is always kept beside what is made of it.

use jiff::ToSpan;
use jiff::civil::{Date, ISOWeekDate, Weekday, date};

/// A period: first and last day, and an SDMX frequency code (`CL_FREQ`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub start: Date,
    /// The last day, inclusive.
    pub end: Date,
    /// `A` year, `S` half-year, `T` four months, `Q` quarter, `B` two months, `M` month, `W` week, `D` day, `H` a time
    /// of day, `F` fiscal year, `R` any other range.
    pub freq: &'static str,
}

/// Parses a period; `None` where the text is none.
pub fn parse(text: &str) -> Option<Period> {
    let text = text.trim();
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    if let Some((start, end)) = text.split_once('/') {
        return range(start.trim(), end.trim());
    }
    single(text).or_else(|| years(text)).or_else(|| quarter_first(text))
}

fn single(text: &str) -> Option<Period> {
    let (digits, rest) = text.split_at_checked(4)?;
    let year = year(digits)?;
    let rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
    if rest.is_empty() {
        return (text.len() == 4).then(|| months(year, 1, 12, "A"))?;
    }
    let first = rest.as_bytes()[0].to_ascii_uppercase();
    if first.is_ascii_digit() {
        return numeric(year, rest, text);
    }
    let number = &rest[1..];
    let index = || number.parse::<i8>().ok().filter(|_| number.len() <= 2 && is_digits(number));
    match first {
        b'A' if number.is_empty() || number == "1" => months(year, 1, 12, "A"),
        b'S' | b'H' => part(year, index()?, 6, "S"),
        b'T' => part(year, index()?, 4, "T"),
        b'Q' => part(year, index()?, 3, "Q"),
        b'B' => part(year, index()?, 2, "B"),
        b'M' => part(year, index()?, 1, "M"),
        b'W' => week(year, index()?),
        b'D' if number.len() == 3 && is_digits(number) => {
            let day: i64 = number.parse().ok()?;
            let start = date(year, 1, 1).checked_add((day - 1).days()).ok()?;
            (day >= 1 && start.year() == year).then_some(Period { start, end: start, freq: "D" })
        }
        _ => None,
    }
}

/// `2024-05`, `2024-05-31`, `2024-05-31T10:00`, `2023-24` (fiscal), `2010-2012`.
fn numeric(year: i16, rest: &str, text: &str) -> Option<Period> {
    if text.as_bytes()[4] != b'-' {
        return None;
    }
    if rest.len() == 2 && is_digits(rest) {
        let number: i8 = rest.parse().ok()?;
        // 2023-24 cannot be a month: a fiscal year that ends in the next calendar year.
        return part(year, number, 1, "M").or_else(|| fiscal(year, number));
    }
    if rest.len() == 4 && is_digits(rest) {
        return years(text);
    }
    let day: Date = text.get(..10)?.parse().ok()?;
    match text.get(10..)? {
        "" => Some(Period { start: day, end: day, freq: "D" }),
        time if time.starts_with(['T', ' ']) => {
            clock(&time[1..])?;
            Some(Period { start: day, end: day, freq: "H" })
        }
        _ => None,
    }
}

/// A time of day, with the offset that XML Schema allows behind it: `10:00:00Z`, `10:00+02:00`. The day stays the one
/// that is written.
fn clock(text: &str) -> Option<jiff::civil::Time> {
    let time = match text.rfind(['Z', '+', '-']) {
        None => text,
        Some(at) if &text[at..] == "Z" => &text[..at],
        Some(at) => {
            let (hours, minutes) = text[at + 1..].split_once(':')?;
            let is_offset = [(hours, 14), (minutes, 59)]
                .iter()
                .all(|(part, most)| part.len() == 2 && is_digits(part) && part.parse::<u8>().is_ok_and(|n| n <= *most));
            is_offset.then_some(&text[..at])?
        }
    };
    time.parse().ok()
}

/// The fiscal year that begins in `year` and ends in the calendar year after it, whose last two digits are `last`.
fn fiscal(year: i16, last: i8) -> Option<Period> {
    let end = Date::new(year + 1, 12, 31).ok()?;
    let follows = end.year().rem_euclid(100) == i16::from(last);
    follows.then(|| Period { start: date(year, 1, 1), end, freq: "F" })
}

/// `2010-2012` or `20102012` is not accepted; the dash is.
fn years(text: &str) -> Option<Period> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (year(first.trim())?, year(last.trim())?);
    (first <= last).then(|| Period { start: date(first, 1, 1), end: date(last, 12, 31), freq: "R" })
}

/// `Q3 2024` and `Q3-2024`.
fn quarter_first(text: &str) -> Option<Period> {
    let (quarter, year_text) = text.split_once([' ', '-'])?;
    let number = quarter.strip_prefix(['Q', 'q']).filter(|number| is_digits(number))?;
    part(year(year_text)?, number.parse().ok()?, 3, "Q")
}

/// `2010-01/2010-06`, `2023/24`, `2023/2024`, `2012-01-01/P1Y`.
fn range(start: &str, end: &str) -> Option<Period> {
    let first = single(start)?;
    if let Some(duration) = end.strip_prefix('P') {
        let last = first.start.checked_add(span(duration)?).ok()?.yesterday().ok()?;
        return (last >= first.start).then_some(Period { start: first.start, end: last, freq: "R" });
    }
    if start.len() == 4 && end.len() == 2 && is_digits(end) {
        return fiscal(first.start.year(), end.parse().ok()?);
    }
    let last = single(end)?;
    let is_fiscal = first.freq == "A" && last.freq == "A" && last.start.year() == first.start.year() + 1;
    let freq = if is_fiscal { "F" } else { "R" };
    (last.end >= first.start).then_some(Period { start: first.start, end: last.end, freq })
}

fn span(duration: &str) -> Option<jiff::Span> {
    let unit = duration.chars().last()?;
    let count: i64 = duration[..duration.len() - 1].parse().ok().filter(|count| (1..=1000).contains(count))?;
    Some(match unit {
        'Y' => count.years(),
        'M' => count.months(),
        'W' => count.weeks(),
        'D' => count.days(),
        _ => return None,
    })
}

fn year(text: &str) -> Option<i16> {
    text.parse::<i16>().ok().filter(|year| text.len() == 4 && is_digits(text) && *year >= 1)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The `index`-th part of `length` months, counted from 1.
fn part(year: i16, index: i8, length: i8, freq: &'static str) -> Option<Period> {
    if !(1..=12 / length).contains(&index) {
        return None;
    }
    let first = (index - 1) * length + 1;
    months(year, first, first + length - 1, freq)
}

fn months(year: i16, first: i8, last: i8, freq: &'static str) -> Option<Period> {
    let start = Date::new(year, first, 1).ok()?;
    let end = Date::new(year, last, 1).ok()?.last_of_month();
    Some(Period { start, end, freq })
}

fn week(year: i16, week: i8) -> Option<Period> {
    let start = ISOWeekDate::new(year, week, Weekday::Monday).ok()?.date();
    Some(Period { start, end: start.checked_add(6.days()).ok()?, freq: "W" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found =
            parse(text).map_or("none".to_owned(), |period| format!("{} {} {}", period.start, period.end, period.freq));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn periods_of_every_office() {
        check("2024", "2024-01-01 2024-12-31 A");
        check("2024-A1", "2024-01-01 2024-12-31 A");
        check("2024A", "2024-01-01 2024-12-31 A");
        check("2024-Q1", "2024-01-01 2024-03-31 Q");
        check("2024Q4", "2024-10-01 2024-12-31 Q");
        check("Q3 2024", "2024-07-01 2024-09-30 Q");
        check("2024-S2", "2024-07-01 2024-12-31 S");
        check("2024H1", "2024-01-01 2024-06-30 S");
        check("2024-B2", "2024-03-01 2024-04-30 B");
        check("2024-T3", "2024-09-01 2024-12-31 T");
        check("2024M02", "2024-02-01 2024-02-29 M");
        check("2024-M2", "2024-02-01 2024-02-29 M");
        check("2024-02", "2024-02-01 2024-02-29 M");
        check("2024-W05", "2024-01-29 2024-02-04 W");
        check("2020-W53", "2020-12-28 2021-01-03 W");
        check("2024-D060", "2024-02-29 2024-02-29 D");
        check("2024-02-29", "2024-02-29 2024-02-29 D");
        check("2024-02-29T10:00:00", "2024-02-29 2024-02-29 H");
        check("2010-2012", "2010-01-01 2012-12-31 R");
        check("2010-01/2010-06", "2010-01-01 2010-06-30 R");
        check("2012-01-01/P1Y", "2012-01-01 2012-12-31 R");
        check("2023/24", "2023-01-01 2024-12-31 F");
        check("2023-24", "2023-01-01 2024-12-31 F");
        check("2023/2024", "2023-01-01 2024-12-31 F");
        check("1999/00", "1999-01-01 2000-12-31 F");
        check("2011/12", "2011-01-01 2012-12-31 F");
        check("2024-02-29T10:00:00Z", "2024-02-29 2024-02-29 H");
        check("2024-02-29T23:30:00.5-05:00", "2024-02-29 2024-02-29 H");
    }

    #[test]
    fn other_texts_are_no_periods() {
        for text in [
            "",
            "24",
            "20240",
            "2024-13",
            "2024-Q5",
            "2024-W54",
            "2021-W53",
            "2024-02-30",
            "2024-00",
            "0000",
            "2024-D367",
            "2023-D366",
            "2012-2010",
            "abcd",
            "2024-",
            "2024/",
            "/2024",
            "２０２４",
            "2024-Q",
            "2024-Q1x",
            "2024 1",
            "2024-D+12",
            "2024-Q+1",
            "Q+3 2024",
            "2024-+1",
            "2024-02-29T10:00ZZ",
            "2024-02-29T10:00+2",
            "2024-02-29T10:00+15:00",
            "2024-02-29T",
            // The year after the last one that a date can have.
            "9999-00",
            "9999/00",
            "9999-W53",
            "9999-12-31/P1Y",
        ] {
            check(text, "none");
        }
    }
}
