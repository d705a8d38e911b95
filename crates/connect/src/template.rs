//! Texts with `{variables}` and the values that fill them: lists, ranges of numbers, ranges of dates.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Slices that one plan may have.
pub const SLICES_MAX: usize = 200_000;

/// A value as it stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a number or a boolean")]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Integer(value) => write!(formatter, "{value}"),
            Self::Float(value) => write!(formatter, "{value}"),
            Self::Text(value) => formatter.write_str(value),
        }
    }
}

/// The values of one variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a list of values, or a range: `{ from = 2000, to = 2024 }`, `{ from = \"2024-01-01\", step = \"month\", format = \"%Y%m\" }`"
)]
pub enum VariableSpec {
    /// Each of these.
    List(Vec<Value>),
    /// Each number or date of a range.
    Range(RangeSpec),
}

/// A range, both ends included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeSpec {
    /// The first: a whole number, or a date as text (`"2015-02-18"`).
    pub from: Value,
    /// The last; for dates the day of the run when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// How dates advance; by day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<DateStep>,
    /// How a date is written (strftime); `%Y-%m-%d` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Numbers are filled with zeros to this many digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
}

/// How dates advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DateStep {
    /// Day by day.
    Day,
    /// Week by week.
    Week,
    /// Month by month.
    Month,
    /// Year by year.
    Year,
}

impl VariableSpec {
    /// Returns the values as texts; `now` closes a date range that is open.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn values(&self, now: Timestamp) -> Result<Vec<String>, String> {
        let values = match self {
            Self::List(values) => values.iter().map(Value::to_string).collect(),
            Self::Range(range) => range.values(now)?,
        };
        if values.is_empty() {
            return Err("has no values".to_owned());
        }
        if values.len() > SLICES_MAX {
            return Err(format!("has more than {SLICES_MAX} values"));
        }
        let distinct: BTreeSet<&String> = values.iter().collect();
        if distinct.len() < values.len() {
            return Err("has a value twice".to_owned());
        }
        Ok(values)
    }
}

impl RangeSpec {
    fn values(&self, now: Timestamp) -> Result<Vec<String>, String> {
        match (&self.from, &self.to) {
            (Value::Integer(from), Some(Value::Integer(to))) => self.numbers(*from, *to),
            (Value::Integer(_), None) => Err("a range of numbers needs `to`".to_owned()),
            (Value::Text(from), None) => self.dates(date(from)?, now.to_zoned(jiff::tz::TimeZone::UTC).date()),
            (Value::Text(from), Some(Value::Text(to))) => self.dates(date(from)?, date(to)?),
            _ => Err("`from` and `to` are both whole numbers or both dates in quotes".to_owned()),
        }
    }

    fn numbers(&self, from: i64, to: i64) -> Result<Vec<String>, String> {
        if self.step.is_some() || self.format.is_some() {
            return Err("`step` and `format` belong to dates; use `width` for numbers".to_owned());
        }
        if to < from {
            return Err(format!("`to` = {to} is before `from` = {from}"));
        }
        if usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX) >= SLICES_MAX {
            return Err(format!("has more than {SLICES_MAX} values"));
        }
        let width = self.width.unwrap_or(0).min(32);
        Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
    }

    fn dates(&self, from: Date, to: Date) -> Result<Vec<String>, String> {
        if self.width.is_some() {
            return Err("`width` belongs to numbers; use `format` for dates".to_owned());
        }
        if to < from {
            return Err(format!("`to` = {to} is before `from` = {from}"));
        }
        let format = self.format.as_deref().unwrap_or("%Y-%m-%d");
        let mut values = Vec::new();
        for number in 0_i64.. {
            // Always counted from the first date: month after month from January 31 must not drift to the 28th.
            let span = match self.step.unwrap_or(DateStep::Day) {
                DateStep::Day => Span::new().try_days(number),
                DateStep::Week => Span::new().try_weeks(number),
                DateStep::Month => Span::new().try_months(number),
                DateStep::Year => Span::new().try_years(number),
            };
            let Ok(day) = span.and_then(|span| from.checked_add(span)) else { break };
            if day > to {
                break;
            }
            if values.len() >= SLICES_MAX {
                return Err(format!("has more than {SLICES_MAX} values"));
            }
            values
                .push(jiff::fmt::strtime::format(format, day).map_err(|error| format!("format `{format}`: {error}"))?);
        }
        Ok(values)
    }
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("`{text}` is not a date: write it as `2024-01-31`"))
}

/// All combinations of the variables' values, the first variable (by name) slowest.
///
/// # Errors
/// The variable and what is wrong with it.
pub fn combinations(
    variables: &BTreeMap<String, VariableSpec>,
    now: Timestamp,
) -> Result<Vec<BTreeMap<String, String>>, (String, String)> {
    let mut combined = vec![BTreeMap::new()];
    for (name, spec) in variables {
        let values = spec.values(now).map_err(|what| (name.clone(), what))?;
        if combined.len().saturating_mul(values.len()) > SLICES_MAX {
            return Err((name.clone(), format!("all variables together give more than {SLICES_MAX} slices")));
        }
        combined = combined
            .iter()
            .flat_map(|row| {
                values.iter().map(move |value| {
                    let mut longer: BTreeMap<String, String> = row.clone();
                    longer.insert(name.clone(), value.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(combined)
}

/// How a value is written into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    Plain,
    /// Percent-encoded for a URL; `/ ; , : @` stay, because providers build paths of them.
    Url,
}

/// A text with `{variables}`; `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Takes a text apart.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '{' if rest.peek() == Some(&'{') => {
                    rest.next();
                    plain.push('{');
                }
                '}' if rest.peek() == Some(&'}') => {
                    rest.next();
                    plain.push('}');
                }
                '{' => {
                    let name: String = rest.by_ref().take_while(|next| *next != '}').collect();
                    if name.is_empty() || !name.chars().all(|next| next.is_alphanumeric() || next == '_') {
                        return Err(format!("`{{{name}}}` is not a variable; write `{{{{` for a brace"));
                    }
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Variable(name));
                }
                '}' => return Err("`}` without `{`; write `}}` for a brace".to_owned()),
                other => plain.push(other),
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    /// Returns the names of its variables.
    pub fn variables(&self) -> BTreeSet<&str> {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Variable(name) => Some(name.as_str()),
                Part::Text(_) => None,
            })
            .collect()
    }

    /// Fills it in.
    ///
    /// # Errors
    /// The name of a variable that has no value.
    pub fn fill(&self, values: &BTreeMap<String, String>, escape: Escape) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Variable(name) => {
                    let value = values.get(name).ok_or_else(|| name.clone())?;
                    match escape {
                        Escape::Plain => filled.push_str(value),
                        Escape::Url => push_escaped(&mut filled, value),
                    }
                }
            }
        }
        Ok(filled)
    }
}

fn push_escaped(filled: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/;,:@".contains(&byte) {
            filled.push(char::from(byte));
        } else {
            filled.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, expected: &str) {
        #[derive(Deserialize)]
        struct Holder {
            v: VariableSpec,
        }
        let now: Timestamp = "2024-03-02T05:00:00Z".parse().unwrap();
        let found = match toml::from_str::<Holder>(&format!("v = {toml}")) {
            Ok(holder) => holder.v.values(now).map_or_else(|error| error, |values| values.join(" ")),
            Err(error) => error.message().to_owned(),
        };
        assert!(found.contains(expected), "{toml}: {found}");
    }

    #[test]
    fn lists_and_ranges_become_values() {
        check("[\"BG\", \"RO\"]", "BG RO");
        check("{ from = 8, to = 11, width = 2 }", "08 09 10 11");
        check("{ from = \"2024-01-31\", step = \"month\", format = \"%Y%m%d\" }", "20240131 20240229");
        check("{ from = \"2024-02-28\", to = \"2024-03-01\" }", "2024-02-28 2024-02-29 2024-03-01");
        check("{ from = 5 }", "needs `to`");
        check("{ from = 5, to = 1 }", "is before");
        check("{ from = 1, to = 99999999999 }", "more than 200000");
        check("{ from = \"soon\" }", "not a date");
        check("[]", "has no values");
        check("[1, 1]", "twice");
        check("\"x\"", "expected a list of values, or a range");
    }

    #[test]
    fn templates_are_filled_and_escaped() {
        let values = BTreeMap::from([("country".to_owned(), "BGR;ROU & co".to_owned())]);
        let template = Template::parse("/c/{country}?{{x}}").unwrap();
        assert_eq!(template.fill(&values, Escape::Url).unwrap(), "/c/BGR;ROU%20%26%20co?{x}");
        assert_eq!(template.fill(&values, Escape::Plain).unwrap(), "/c/BGR;ROU & co?{x}");
        assert_eq!(template.fill(&BTreeMap::new(), Escape::Url).unwrap_err(), "country");
        assert!(Template::parse("{a b}").is_err());
        assert!(Template::parse("a}").is_err());
    }
}
