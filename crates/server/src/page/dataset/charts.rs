//! Which picture a table shows first: rules over the names and types of its columns, and statements that fetch the rows
//! of the picture. A picture is only made where its rows are told apart by what it shows: every column of the key is an
//! axis, a series, or held at its most frequent value. Nothing is added up, since units may differ.

use arrow::datatypes::DataType;

use super::ColumnInfo;
use crate::page::cells::quoted;
use crate::page::countries::country;
use crate::page::search::details::CodeList;

/// Series of the first chart.
const SERIES_MAX: usize = 6;
/// Bars of the first chart.
const BARS_MAX: usize = 30;
/// Points of the first chart.
const POINTS_MAX: usize = 20_000;
/// Names of columns that hold periods, whatever their type.
const TIME_NAMES: [&str; 12] = [
    "year",
    "date",
    "period",
    "time",
    "time_period",
    "month",
    "quarter",
    "day",
    "week",
    "ref_period",
    "timestamp",
    "godina",
];
/// Names of columns that hold countries or regions.
const REGION_NAMES: [&str; 14] = [
    "country",
    "geo",
    "nuts",
    "iso",
    "iso2",
    "iso3",
    "country_code",
    "countrycode",
    "iso_code",
    "region",
    "ref_area",
    "area",
    "geo_code",
    "country_id",
];
/// Names of columns that hold the value.
const VALUE_NAMES: [&str; 4] = ["value", "obs_value", "val", "amount"];

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) sql: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) series: Option<String>,
    /// `line` or `bar`.
    pub(super) kind: &'static str,
    pub(super) unit: Option<String>,
}

/// A map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) sql: String,
    pub(super) region: String,
    pub(super) value: String,
    /// `iso2`, `iso3` or `nuts`.
    pub(super) codes: &'static str,
    pub(super) unit: Option<String>,
    /// Whether it shows the newest of several periods.
    pub(super) is_newest: bool,
}

/// Says whether a column of this name holds periods.
pub(crate) fn is_time_name(name: &str) -> bool {
    TIME_NAMES.contains(&name)
}

/// A table as pictures need to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// What stands after `FROM`.
    pub(super) source: &'a str,
    pub(super) columns: &'a [ColumnInfo],
    pub(super) key: &'a [String],
    pub(super) code_lists: &'a [CodeList],
}

impl Subject<'_> {
    /// Chooses a chart: values over periods where the key has a period, else the greatest values.
    pub(super) fn chart(&self) -> Option<Chart> {
        let value = self.value()?;
        let y = quoted(&value.name);
        let time = self.key_columns().find(|column| self.is_time(column));
        let series = self.key_columns().find(|column| is_text(&column.kind) && !self.is_time(column));
        let unit = value.unit.clone();
        let (x, kind, sql) = match (time, series) {
            (Some(time), series) => {
                let x = quoted(&time.name);
                let mut conditions = vec![format!("{y} IS NOT NULL")];
                let mut selected = vec![x.clone()];
                if let Some(series) = series {
                    let name = quoted(&series.name);
                    let most = format!(
                        "SELECT {name} FROM {source} WHERE {y} IS NOT NULL GROUP BY {name} ORDER BY count(*) DESC, {name} LIMIT {SERIES_MAX}",
                        source = self.source
                    );
                    conditions.push(format!("{name} IN ({most})"));
                    selected.push(name);
                }
                conditions.extend(self.pins(&[Some(time), series], &y));
                selected.push(y.clone());
                let sql = format!(
                    "SELECT {} FROM {} WHERE {} ORDER BY {x} LIMIT {POINTS_MAX}",
                    selected.join(", "),
                    self.source,
                    conditions.join(" AND "),
                );
                (time, "line", sql)
            }
            (None, Some(bars)) => {
                let x = quoted(&bars.name);
                let mut conditions = vec![format!("{y} IS NOT NULL")];
                conditions.extend(self.pins(&[Some(bars)], &y));
                let sql = format!(
                    "SELECT {x}, {y} FROM {} WHERE {} ORDER BY {y} DESC, {x} LIMIT {BARS_MAX}",
                    self.source,
                    conditions.join(" AND "),
                );
                (bars, "bar", sql)
            }
            (None, None) => return None,
        };
        let series = time.and(series).map(|series| series.name.clone());
        Some(Chart { sql, x: x.name.clone(), y: value.name.clone(), series, kind, unit })
    }

    /// Chooses a map: the newest value of each country or region.
    pub(super) fn map(&self) -> Option<Map> {
        let value = self.value()?;
        let (region, codes) = self.key_columns().find_map(|column| Some((column, self.codes(column)?)))?;
        let time = self.key_columns().find(|column| self.is_time(column));
        let (name, y) = (quoted(&region.name), quoted(&value.name));
        let mut conditions = vec![format!("{y} IS NOT NULL")];
        conditions.extend(self.pins(&[Some(region), time], &y));
        if let Some(time) = time {
            // The newest period of all regions: a map of different years would compare what cannot be compared.
            let newest = format!("SELECT max({}) FROM {} WHERE {y} IS NOT NULL", quoted(&time.name), self.source);
            conditions.push(format!("{} = ({newest})", quoted(&time.name)));
        }
        let selected = match time {
            Some(time) => format!("{name}, {}, {y}", quoted(&time.name)),
            None => format!("{name}, {y}"),
        };
        let sql = format!(
            "SELECT {selected} FROM {} WHERE {} ORDER BY {name} LIMIT {POINTS_MAX}",
            self.source,
            conditions.join(" AND ")
        );
        Some(Map {
            sql,
            region: region.name.clone(),
            value: value.name.clone(),
            codes,
            unit: value.unit.clone(),
            is_newest: time.is_some(),
        })
    }

    fn key_columns(&self) -> impl Iterator<Item = &ColumnInfo> {
        self.key.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name))
    }

    /// The column of values: a number outside the key, best one that says so or has a unit.
    fn value(&self) -> Option<&ColumnInfo> {
        let candidates = || {
            self.columns.iter().filter(|column| {
                column.kind.is_numeric()
                    && !self.key.contains(&column.name)
                    && !column.name.starts_with('_')
                    && column.name != "id"
                    && !column.name.ends_with("_id")
                    && !is_time_name(&column.name)
            })
        };
        let named = candidates().find(|column| VALUE_NAMES.contains(&column.name.as_str()));
        named.or_else(|| candidates().find(|column| column.unit.is_some())).or_else(|| candidates().next())
    }

    fn is_time(&self, column: &ColumnInfo) -> bool {
        matches!(column.kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _))
            || is_time_name(&column.name)
    }

    /// Holds the other columns of the key at their most frequent values.
    fn pins(&self, shown: &[Option<&ColumnInfo>], y: &str) -> Vec<String> {
        let is_shown = |column: &ColumnInfo| shown.iter().flatten().any(|shown| shown.name == column.name);
        let others = self.key_columns().filter(|column| !is_shown(column));
        others
            .map(|column| {
                let name = quoted(&column.name);
                format!(
                    "{name} = (SELECT {name} FROM {} WHERE {y} IS NOT NULL GROUP BY {name} ORDER BY count(*) DESC, {name} LIMIT 1)",
                    self.source
                )
            })
            .collect()
    }

    /// The kind of codes of a column of countries or regions; nothing where it is none.
    fn codes(&self, column: &ColumnInfo) -> Option<&'static str> {
        if !is_text(&column.kind) || !REGION_NAMES.contains(&column.name.as_str()) {
            return None;
        }
        let list = self.code_lists.iter().find(|list| list.column == column.name)?;
        let part = |is_one: &dyn Fn(&str) -> bool| {
            let ones = list.codes.iter().filter(|(code, _)| is_one(code)).count();
            // Lists have aggregates besides: one half is enough.
            ones * 2 >= list.codes.len() && ones > 0
        };
        let is_country = |letters: usize| move |code: &str| code.len() == letters && country(code).is_some();
        let is_region = |code: &str| {
            (3..=5).contains(&code.len())
                && code.get(..2).is_some_and(|start| country(start).is_some())
                && country(code).is_none()
        };
        if part(&is_country(2)) {
            Some("iso2")
        } else if part(&is_country(3)) {
            Some("iso3")
        } else if part(&is_region) {
            Some("nuts")
        } else {
            None
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: DataType) -> ColumnInfo {
        ColumnInfo { name: name.to_owned(), kind, unit: None, description: None, source_name: None }
    }

    fn list(column: &str, codes: &[&str]) -> CodeList {
        let codes = codes.iter().map(|code| ((*code).to_owned(), None)).collect();
        CodeList { column: column.to_owned(), codes }
    }

    #[test]
    fn periods_make_lines_and_countries_maps() {
        let columns = [
            column("country", DataType::Utf8),
            column("year", DataType::Int32),
            column("unit", DataType::Utf8),
            column("id", DataType::Int64),
            column("value", DataType::Float64),
        ];
        let key = ["country", "year", "unit"].map(str::to_owned);
        let lists = [list("country", &["BGR", "ROU", "EU27"])];
        let subject = Subject { source: "a.b", columns: &columns, key: &key, code_lists: &lists };
        let chart = subject.chart().unwrap();
        assert_eq!((chart.kind, chart.x.as_str(), chart.y.as_str()), ("line", "year", "value"));
        assert_eq!(chart.series.as_deref(), Some("country"));
        assert!(chart.sql.contains("\"unit\" = (SELECT"), "{}", chart.sql);
        let map = subject.map().unwrap();
        assert_eq!((map.codes, map.region.as_str(), map.is_newest), ("iso3", "country", true));
        assert!(map.sql.contains("\"year\" = (SELECT max(\"year\")"), "{}", map.sql);
        // Rows that the picture would not tell apart make none.
        let other = ["id".to_owned()];
        assert_eq!(Subject { key: &other, ..subject }.chart(), None);
        assert_eq!(Subject { key: &[], ..subject }.map(), None);
    }

    #[test]
    fn without_periods_there_are_bars() {
        let columns = [column("geo", DataType::Utf8), column("rate", DataType::Decimal128(5, 2))];
        let key = ["geo".to_owned()];
        let lists = [list("geo", &["BG41", "BG42", "RO11", "BG"])];
        let subject = Subject { source: "a.b VERSION AS OF 3", columns: &columns, key: &key, code_lists: &lists };
        let chart = subject.chart().unwrap();
        assert_eq!((chart.kind, chart.series), ("bar", None));
        assert!(chart.sql.contains("FROM a.b VERSION AS OF 3 WHERE"), "{}", chart.sql);
        assert_eq!(subject.map().unwrap().codes, "nuts");
        let names = [list("geo", &["Sofia", "Plovdiv"])];
        assert_eq!(Subject { code_lists: &names, ..subject }.map(), None);
        assert_eq!(Subject { columns: &columns[..1], ..subject }.chart(), None);
    }
}
