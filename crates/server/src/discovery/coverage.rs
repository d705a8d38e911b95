//! The time that a table's rows are about, out of the bounds of its files: no row is read. Where no column says it
//! plainly, nothing is said.

use arrow::datatypes::DataType;
use hambar_lake::TableSnapshot;
use serde_json::Value;

use super::card::CardColumn;

/// Names under which statistics have the time of a row, if it is a text or a number.
const NAMES: [&str; 7] = ["year", "time_period", "period", "date", "time", "ref_period", "reference_year"];
/// Years that can be meant.
const YEARS: std::ops::RangeInclusive<i32> = 1000..=2200;

/// A period, both ends included, each a year (`2024`) or a date (`2024-12-31`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    /// Its start.
    pub(crate) from: String,
    /// Its end.
    pub(crate) to: String,
}

/// Returns the period of the first column that tells one.
pub(super) fn period(columns: &[CardColumn], snapshot: &TableSnapshot) -> Option<Period> {
    let column = columns.iter().find(|column| is_time(column))?;
    let (mut from, mut to): (Option<String>, Option<String>) = (None, None);
    for file in &snapshot.files {
        let bound = |stats: &Value, side: &str| point(stats.get(side)?.get(&column.name)?);
        let (low, high) = match file.partition_values.get(&column.name) {
            Some(value) => {
                let own = point(&Value::from(value.clone()?))?;
                (own.clone(), own)
            }
            None => {
                let stats: Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
                (bound(&stats, "minValues")?, bound(&stats, "maxValues")?)
            }
        };
        from = Some(from.map_or(low.clone(), |known| known.min(low)));
        to = Some(to.map_or(high.clone(), |known| known.max(high)));
    }
    Some(Period { from: from?, to: to? })
}

fn is_time(column: &CardColumn) -> bool {
    match &column.kind {
        DataType::Date32 | DataType::Timestamp(..) => true,
        DataType::Int32 | DataType::Int64 | DataType::Utf8 => NAMES.contains(&column.name.as_str()),
        _ => false,
    }
}

/// A bound as a year or a date: `2020`, `2020-Q1`, `2020-01-31`, `2020-01-31T…`.
fn point(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let year: i32 = text.get(..4)?.parse().ok().filter(|year| YEARS.contains(year))?;
    let rest = text.get(4..)?;
    if let Ok(date) = text.get(..10).unwrap_or_default().parse::<jiff::civil::Date>() {
        return Some(date.to_string());
    }
    let is_period = rest.is_empty() || rest.starts_with(['-', '/', 'Q', 'M', 'W', 'S']);
    is_period.then(|| year.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_plainly_a_time_is_one() {
        let read = |value: Value| point(&value).unwrap_or_default();
        assert_eq!(read(json!(2020)), "2020");
        assert_eq!(read(json!("2020-Q1")), "2020");
        assert_eq!(read(json!("2020-01")), "2020");
        assert_eq!(read(json!("2020-01-31")), "2020-01-31");
        assert_eq!(read(json!("2020-01-31T05:00:00.000Z")), "2020-01-31");
        for not in
            [json!(20201), json!(7), json!("Total"), json!("9999"), json!(null), json!("20 0"), json!("2020 est.")]
        {
            assert_eq!(read(not.clone()), "", "{not}");
        }
    }
}
