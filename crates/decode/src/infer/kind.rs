//! Finds the narrowest type that holds all values of a column.

use std::collections::BTreeSet;

use hambar_core::ColumnType;

use crate::conform::period;
use crate::spec::RuleType;

/// Texts that publishers use for "missing". They count only in columns that are otherwise no text.
const MISSING: [&str; 26] = [
    "..", "...", "\u{2026}", ":", ": ", "-", "--", "\u{2013}", "\u{2014}", ".", "*", "n/a", "N/A", "#N/A", "na", "NA",
    "n.a.", "n. a.", "null", "NULL", "None", "nan", "NaN", "\\N", ":c", "#",
];
/// Date formats that are tried besides ISO 8601.
const DATE_FORMATS: [&str; 5] = ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y"];
/// Digits that a double holds exactly.
const DOUBLE_DIGITS: usize = 15;
/// Digits of a stored decimal.
const DECIMAL_DIGITS_MAX: usize = 38;
/// Different texts for "missing" that are remembered for one column.
const MISSING_MAX: usize = 8;

/// What is known of a column's values so far.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    decimal: char,
    thousands: Vec<char>,
    values: u64,
    bools: bool,
    numbers: bool,
    integers: bool,
    flagged: u64,
    exponents: bool,
    whole_digits: usize,
    scale_min: usize,
    scale_max: usize,
    beyond_int64: bool,
    dates: bool,
    formats: [bool; DATE_FORMATS.len()],
    instants: bool,
    periods: bool,
    missing: BTreeSet<String>,
}

/// The type found, and what goes with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: RuleType,
    pub(super) format: Option<&'static str>,
    pub(super) missing: Vec<String>,
    pub(super) flagged: bool,
}

impl Evidence {
    pub(super) fn new(decimal: Option<char>, thousands: Option<&str>) -> Self {
        Self {
            decimal: decimal.unwrap_or('.'),
            thousands: thousands.unwrap_or_default().chars().collect(),
            values: 0,
            bools: true,
            numbers: true,
            integers: true,
            flagged: 0,
            exponents: false,
            whole_digits: 0,
            scale_min: usize::MAX,
            scale_max: 0,
            beyond_int64: false,
            dates: true,
            formats: [true; DATE_FORMATS.len()],
            instants: true,
            periods: true,
            missing: BTreeSet::new(),
        }
    }

    /// Takes a value in.
    pub(super) fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if MISSING.contains(&text) {
            if self.missing.len() < MISSING_MAX {
                self.missing.insert(text.to_owned());
            }
            return;
        }
        self.values += 1;
        self.bools &= ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
        if self.numbers {
            self.add_number(text);
        }
        self.dates &= is_iso_date(text);
        for (possible, format) in self.formats.iter_mut().zip(DATE_FORMATS) {
            *possible = *possible && is_date(text, format);
        }
        self.instants = self.instants && is_instant(text);
        self.periods = self.periods && period::parse(text).is_some();
    }

    fn add_number(&mut self, text: &str) {
        let (number, flag) = match text.find(|character: char| character.is_alphabetic()) {
            Some(at) if !text[at..].starts_with(['e', 'E']) => text.split_at(at),
            _ => (text, ""),
        };
        self.flagged += u64::from(!flag.is_empty());
        let plain: String = number.trim_end().chars().filter(|character| !self.thousands.contains(character)).collect();
        let plain = plain.replace('\u{2212}', "-").replace(self.decimal, ".");
        let digits = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
        let (mantissa, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(m, e)| (m, Some(e)));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let exponent_fits = exponent.is_none_or(|exponent| exponent.parse::<i32>().is_ok());
        // A leading zero is part of a code: "007" is not 7.
        let is_code = whole.len() > 1 && whole.starts_with('0');
        let flag_fits = flag.len() <= 3;
        if whole.len() + fraction.len() == 0
            || !all_digits(whole)
            || !all_digits(fraction)
            || !exponent_fits
            || is_code
            || !flag_fits
        {
            self.numbers = false;
            return;
        }
        self.exponents |= exponent.is_some();
        self.integers &= fraction.is_empty() && exponent.is_none() && !mantissa.contains('.');
        self.whole_digits = self.whole_digits.max(whole.len());
        self.scale_min = self.scale_min.min(fraction.len());
        self.scale_max = self.scale_max.max(fraction.len());
        self.beyond_int64 |= whole.len() > 18 && plain.parse::<i64>().is_err();
    }

    /// Adds what is known of another column.
    pub(super) fn join(&mut self, other: &Self) {
        self.values += other.values;
        self.bools &= other.bools;
        self.numbers &= other.numbers;
        self.integers &= other.integers;
        self.flagged += other.flagged;
        self.exponents |= other.exponents;
        self.whole_digits = self.whole_digits.max(other.whole_digits);
        self.scale_min = self.scale_min.min(other.scale_min);
        self.scale_max = self.scale_max.max(other.scale_max);
        self.beyond_int64 |= other.beyond_int64;
        self.dates &= other.dates;
        for (mine, theirs) in self.formats.iter_mut().zip(other.formats) {
            *mine &= theirs;
        }
        self.instants &= other.instants;
        self.periods &= other.periods;
        self.missing.extend(other.missing.iter().cloned());
    }

    /// Decides. A column without values is text, because nothing speaks for anything else.
    pub(super) fn decide(&self) -> Found {
        let plain = |kind| self.found(RuleType::Plain(kind), None);
        if self.values == 0 {
            return Found {
                kind: RuleType::Plain(ColumnType::String),
                format: None,
                missing: Vec::new(),
                flagged: false,
            };
        }
        if self.bools {
            return plain(ColumnType::Bool);
        }
        // Flags are letters behind some numbers; letters behind all of them are part of a code or a unit.
        if self.numbers && self.flagged * 2 < self.values {
            return plain(self.number());
        }
        if self.dates {
            return plain(ColumnType::Date);
        }
        let mut formats = DATE_FORMATS.iter().zip(self.formats).filter(|(_, possible)| *possible);
        if let (Some((format, _)), None) = (formats.next(), formats.next()) {
            return self.found(RuleType::Plain(ColumnType::Date), Some(format));
        }
        if self.instants {
            return plain(ColumnType::Timestamp);
        }
        if self.periods {
            return self.found(RuleType::Period, None);
        }
        Found { kind: RuleType::Plain(ColumnType::String), format: None, missing: Vec::new(), flagged: false }
    }

    fn number(&self) -> ColumnType {
        let digits = self.whole_digits + self.scale_max;
        if self.integers && !self.beyond_int64 {
            ColumnType::Int64
        } else if self.exponents {
            ColumnType::Float64
        } else if digits > DECIMAL_DIGITS_MAX {
            if self.integers { ColumnType::String } else { ColumnType::Float64 }
        } else if self.integers {
            ColumnType::Decimal(38, 0)
        } else if self.scale_min == self.scale_max || digits > DOUBLE_DIGITS {
            // The same number of places everywhere, or more digits than a double keeps: exact.
            let precision = if digits + 3 <= 18 { 18 } else { 38 };
            ColumnType::Decimal(precision, self.scale_max as i8)
        } else {
            ColumnType::Float64
        }
    }

    fn found(&self, kind: RuleType, format: Option<&'static str>) -> Found {
        let is_number = self.numbers && self.flagged > 0 && kind != RuleType::Plain(ColumnType::Bool);
        Found { kind, format, missing: self.missing.iter().cloned().collect(), flagged: is_number }
    }
}

fn is_iso_date(text: &str) -> bool {
    text.len() == 10 && is_date(text, "%Y-%m-%d")
}

fn is_date(text: &str, format: &str) -> bool {
    jiff::fmt::strtime::BrokenDownTime::parse(format, text).is_ok_and(|parsed| parsed.to_date().is_ok())
}

fn is_instant(text: &str) -> bool {
    let looks = text.len() >= 16 && text.as_bytes().get(4) == Some(&b'-') && text.contains([':', 'T']);
    looks && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expected: &str) {
        let mut evidence = Evidence::new(None, None);
        for value in values {
            evidence.add(value);
        }
        let found = evidence.decide();
        let mut got = String::from(found.kind);
        for part in found.format.iter().copied().chain(found.missing.iter().map(String::as_str)) {
            got.push(' ');
            got.push_str(part);
        }
        got.push_str(if found.flagged { " flagged" } else { "" });
        assert_eq!(got, expected, "{values:?}");
    }

    #[test]
    fn the_narrowest_type_is_found() {
        check(&["1", "2", ""], "int64");
        check(&["007", "010"], "string");
        check(&["0", "10"], "int64");
        check(&["9223372036854775808"], "decimal(38,0)");
        check(&["1.50", "2.25"], "decimal(18,2)");
        check(&["1.5", "2.25", "3"], "float64");
        check(&["1e3", "2"], "float64");
        check(&["0.1234567890123456789", "1"], "decimal(38,19)");
        check(&["1", "n/a", ".."], "int64 .. n/a");
        check(&["NA", "BG"], "string");
        check(&["12.3", "4.5 p", "7"], "float64 flagged");
        check(&["true", "FALSE"], "bool");
        check(&["2020-01-31", "2021-02-01"], "date");
        check(&["31.01.2020", "01.02.2020"], "date %d.%m.%Y");
        check(&["31/01/2020", "01/02/2020"], "date %d/%m/%Y");
        check(&["01/02/2020"], "string");
        check(&["2020-01-31T10:00:00Z", "2020-01-31T10:00:00.5Z"], "timestamp");
        check(&["2020-Q1", "2020-Q2"], "period");
        check(&["2020", "2020-Q2"], "period");
        check(&["x", "1"], "string");
        check(&[], "string");
    }
}
