//! A page of a table: from the address to a statement with bound values, and from its rows to the next page. Pages of
//! one walk read one version, and continue after the last row's key.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::TryStreamExt;
use hambar_core::TableName;
use hambar_query::Parameters;
use serde::{Deserialize, Serialize};

use super::deliver::{self, Delivery};
use super::encode::{Head, Tail};
use super::format::Format;
use super::problem::Problem;
use crate::front::Answer;

/// Rows of a page where the address does not say.
const ROWS_DEFAULT: usize = 1_000;
/// Rows of a page.
const ROWS_MAX: usize = 10_000;
/// Filters of one address.
const FILTERS_MAX: usize = 64;
/// Columns that may be named.
const COLUMNS_MAX: usize = 1_000;

/// Comparisons by their names.
const COMPARISONS: [(&str, &str); 7] =
    [("eq", "="), ("neq", "<>"), ("gte", ">="), ("gt", ">"), ("lte", "<="), ("lt", "<"), ("like", "LIKE")];

/// What an address asks of a table.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    table: TableName,
    columns: Vec<String>,
    filters: Vec<Filter>,
    sort: Vec<Sort>,
    /// Whether `sort` tells any two rows apart.
    has_key: bool,
    limit: usize,
    version: Option<u64>,
    as_of: Option<String>,
    after: Option<Mark>,
    pub(crate) format: Option<String>,
}

/// What puts the rows of a table into an order of their own.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// The columns that tell any two rows apart.
    Key(Vec<String>),
    /// All columns: rows that are the same in each of them may change places unseen.
    Columns(Vec<String>),
}

#[derive(Debug, Clone)]
struct Filter {
    column: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Compare(&'static str, String),
    OneOf(Vec<String>),
    Null,
    NotNull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sort {
    column: String,
    is_falling: bool,
}

/// Where a page starts: after a row of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    #[serde(rename = "v")]
    version: Option<u64>,
    /// The last row's values of the sort columns, as text.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<Option<String>>,
    /// Rows before it, where rows cannot be told apart.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl Page {
    /// Understands an address.
    pub(crate) fn parse(table: &TableName, order: &Order, query: &str) -> Result<Self, Problem> {
        let (Order::Key(columns) | Order::Columns(columns)) = order;
        let mut page = Self {
            table: table.clone(),
            columns: Vec::new(),
            filters: Vec::new(),
            sort: Vec::new(),
            has_key: matches!(order, Order::Key(_)),
            limit: ROWS_DEFAULT,
            version: None,
            as_of: None,
            after: None,
            format: None,
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            page.take(&name, &value)?;
        }
        for column in columns {
            if !page.sort.iter().any(|sort| sort.column == *column) {
                page.sort.push(Sort { column: column.clone(), is_falling: false });
            }
        }
        if page.version.is_some() && page.as_of.is_some() {
            return Err(Problem::bad_request("`_version` and `_as_of` exclude each other"));
        }
        Ok(page)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let number = || value.parse().map_err(|_| Problem::bad_request(format!("`{name}` takes a whole number")));
        match name {
            "_columns" => self.columns = names(value)?,
            "_sort" => self.sort = names(value)?.iter().map(|name| sort(name)).collect(),
            "_limit" => {
                let rows: u64 = number()?;
                self.limit = usize::try_from(rows).unwrap_or(usize::MAX);
                if self.limit == 0 || self.limit > ROWS_MAX {
                    return Err(Problem::bad_request(format!("`_limit` is from 1 to {ROWS_MAX}")));
                }
            }
            "_version" => self.version = Some(number()?),
            "_as_of" => self.as_of = Some(instant(value)?),
            "_after" => self.after = Some(mark(value)?),
            "format" => self.format = Some(value.to_owned()),
            _ if name.starts_with('_') && !is_provenance(name) => {
                return Err(Problem::bad_request(format!("`{}` is no option", shortened(name)))
                    .hint("there are _columns, _sort, _limit, _after, _version and _as_of"));
            }
            _ => {
                if self.filters.len() == FILTERS_MAX {
                    return Err(Problem::bad_request(format!("there are more than {FILTERS_MAX} filters")));
                }
                self.filters.push(Filter { column: name.to_owned(), test: test(value) });
            }
        }
        Ok(())
    }

    /// Returns the statement and its values: one row more than the page has, to know whether there is another page.
    pub(crate) fn statement(&self) -> Result<(String, Parameters), Problem> {
        let mut values: Vec<String> = Vec::new();
        let mut bind = |value: &str| {
            values.push(value.to_owned());
            format!("${}", values.len())
        };
        let mut sql = format!("SELECT {} FROM {}", self.selected(), self.source());
        let mut conditions: Vec<String> = self.filters.iter().map(|filter| condition(filter, &mut bind)).collect();
        if let Some(after) = self.after.as_ref().filter(|after| after.offset.is_none()) {
            if after.values.len() != self.sort.len() {
                return Err(Problem::bad_request("`_after` belongs to another address"));
            }
            conditions.push(beyond(&self.sort, &after.values, &mut bind));
        }
        if !conditions.is_empty() {
            let _ = write!(sql, " WHERE {}", conditions.join(" AND "));
        }
        let order: Vec<String> = self.sort.iter().map(ordered).collect();
        let _ = write!(sql, " ORDER BY {} LIMIT {}", order.join(", "), self.limit + 1);
        if let Some(offset) = self.after.as_ref().and_then(|after| after.offset) {
            let _ = write!(sql, " OFFSET {offset}");
        }
        let arrays = values.iter().map(|value| Arc::new(StringArray::from(vec![value.as_str()])) as ArrayRef);
        let parameters = Parameters::new(arrays.collect());
        Ok((sql, parameters.map_err(|error| Problem::bad_request(error.to_string()))?))
    }

    /// A history is read as far as its table knows it, and has no versions of its own for readers.
    fn is_history(&self) -> bool {
        self.table.table.as_str().ends_with("__history")
    }

    /// Says whether a walk over a history can go on: its table must still be the one that it began with.
    fn goes_on(&self, version: Option<u64>) -> bool {
        let begun = self.after.as_ref().and_then(|after| after.version);
        !self.is_history() || begun.is_none() || begun == version
    }

    fn selected(&self) -> String {
        if self.columns.is_empty() {
            return "*".to_owned();
        }
        let more = self.sort.iter().map(|sort| &sort.column).filter(|column| !self.columns.contains(column));
        self.columns.iter().chain(more).map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    fn source(&self) -> String {
        let begun = self.after.as_ref().and_then(|after| after.version).filter(|_| !self.is_history());
        let version = begun.or(self.version);
        match (&self.as_of, version) {
            (Some(instant), _) => format!("{} FOR SYSTEM_TIME AS OF '{instant}'", self.table),
            (None, Some(version)) => format!("{} VERSION AS OF {version}", self.table),
            (None, None) => self.table.to_string(),
        }
    }

    /// Names what is made of the rows that other pages may read with the same statement.
    pub(crate) fn variant(&self) -> String {
        format!("page {:?} {}", self.columns, self.has_key)
    }

    /// Returns where the page after `rows` starts.
    fn next(&self, rows: &[RecordBatch], version: Option<u64>) -> Result<String, Problem> {
        let version = version.filter(|_| self.as_of.is_none());
        let mark = if self.has_key {
            let last = rows.iter().rev().find(|batch| batch.num_rows() > 0);
            let value = |sort: &Sort| {
                let text = last.and_then(|last| text_of(last, &sort.column));
                // Pages that ended here would look like the whole.
                text.ok_or_else(|| Problem::bad_request(format!("pages cannot be sorted by `{}`", sort.column)))
            };
            Mark { version, values: self.sort.iter().map(value).collect::<Result<_, _>>()?, offset: None }
        } else {
            let before = self.after.as_ref().and_then(|after| after.offset).unwrap_or(0);
            Mark { version, values: Vec::new(), offset: Some(before.saturating_add(self.limit as u64)) }
        };
        let text = serde_json::to_vec(&mark).map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(text))
    }
}

/// Delivers a page with the way to the next one.
pub(crate) async fn deliver(
    mut answer: Answer,
    page: &Page,
    format: Format,
    path: &str,
    query: &str,
) -> Result<Delivery, Problem> {
    answer.hold();
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = answer.try_next().await? {
        batches.push(batch);
    }
    if answer.is_truncated() {
        return Err(Problem::refused(http::StatusCode::UNPROCESSABLE_ENTITY, "the page is too large")
            .hint("ask for fewer rows with `_limit`, or fewer columns with `_columns`"));
    }
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let rows = first(batches, page.limit);
    let version = answer.facts().versions.first().map(|read| read.version);
    if !page.goes_on(version) {
        return Err(Problem::refused(http::StatusCode::CONFLICT, "the table has changed since the first page")
            .hint("begin again without `_after`"));
    }
    let next = (count > page.limit).then(|| page.next(&rows, version)).transpose()?;
    let next = next.map(|mark| address(path, query, &mark));
    let mut schema = answer.schema();
    let wanted: Vec<usize> = (0..page.columns.len()).collect();
    let rows = if wanted.is_empty() {
        rows
    } else {
        let project = |batch: &RecordBatch| batch.project(&wanted);
        let failed = |error: arrow::error::ArrowError| Problem::bad_request(error.to_string());
        schema = Arc::new(schema.project(&wanted).map_err(failed)?);
        rows.iter().map(project).collect::<Result<_, _>>().map_err(failed)?
    };
    let sources: Arc<[crate::front::Source]> = answer.sources().into();
    let head = Head { query: answer.id().to_string(), schema, sources: sources.to_vec() };
    let tail = Tail { truncated: None, next };
    let rest = deliver::encode_all(format, head, rows, tail.clone()).await?;
    deliver::pack(rest, format, sources, tail, answer)
}

fn first(batches: Vec<RecordBatch>, limit: usize) -> Vec<RecordBatch> {
    let mut left = limit;
    let mut rows = Vec::new();
    for batch in batches {
        let taken = batch.num_rows().min(left);
        left -= taken;
        rows.push(batch.slice(0, taken));
    }
    rows
}

fn address(path: &str, query: &str, mark: &str) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "_after") {
        pairs.append_pair(&name, &value);
    }
    pairs.append_pair("_after", mark);
    format!("{path}?{}", pairs.finish())
}

/// The value of the last row as text; nothing where the column is not there or has no text form.
fn text_of(batch: &RecordBatch, column: &str) -> Option<Option<String>> {
    let column = batch.column_by_name(column)?;
    let last = column.slice(column.len().checked_sub(1)?, 1);
    let text = cast(&last, &DataType::Utf8).ok()?;
    Some(text.is_valid(0).then(|| text.as_string::<i32>().value(0).to_owned()))
}

/// Rows after the one with these values: greater in the first column, or the same there and greater in the next …
fn beyond(sort: &[Sort], values: &[Option<String>], bind: &mut impl FnMut(&str) -> String) -> String {
    let mut ways = Vec::new();
    for (place, (last, value)) in sort.iter().zip(values).enumerate() {
        // NULL is last, so nothing comes after it.
        let Some(value) = value else { continue };
        let mut parts: Vec<String> = Vec::new();
        for (same, value) in sort.iter().zip(values).take(place) {
            let column = quoted(&same.column);
            parts.push(match value {
                Some(value) => format!("{column} = {}", bind(value)),
                None => format!("{column} IS NULL"),
            });
        }
        let column = quoted(&last.column);
        let sign = if last.is_falling { '<' } else { '>' };
        parts.push(format!("({column} {sign} {} OR {column} IS NULL)", bind(value)));
        ways.push(format!("({})", parts.join(" AND ")));
    }
    if ways.is_empty() { "false".to_owned() } else { format!("({})", ways.join(" OR ")) }
}

fn condition(filter: &Filter, bind: &mut impl FnMut(&str) -> String) -> String {
    let column = quoted(&filter.column);
    match &filter.test {
        Test::Compare(sign, value) => format!("{column} {sign} {}", bind(value)),
        Test::OneOf(values) => {
            let values: Vec<String> = values.iter().map(|value| bind(value)).collect();
            format!("{column} IN ({})", values.join(", "))
        }
        Test::Null => format!("{column} IS NULL"),
        Test::NotNull => format!("{column} IS NOT NULL"),
    }
}

fn test(value: &str) -> Test {
    match value {
        "is.null" => return Test::Null,
        "not.null" => return Test::NotNull,
        _ => {}
    }
    if let Some(list) = value.strip_prefix("in.(").and_then(|rest| rest.strip_suffix(')')) {
        return Test::OneOf(list.split(',').map(|value| value.trim().to_owned()).collect());
    }
    let compared = value.split_once('.').and_then(|(name, value)| {
        let (_, sign) = COMPARISONS.iter().find(|(known, _)| *known == name)?;
        Some(Test::Compare(sign, value.to_owned()))
    });
    compared.unwrap_or_else(|| Test::Compare("=", value.to_owned()))
}

fn names(list: &str) -> Result<Vec<String>, Problem> {
    let names: Vec<String> =
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() > COLUMNS_MAX {
        return Err(Problem::bad_request(format!("more than {COLUMNS_MAX} columns are named")));
    }
    Ok(names)
}

fn sort(name: &str) -> Sort {
    match name.strip_prefix('-') {
        Some(column) => Sort { column: column.to_owned(), is_falling: true },
        None => Sort { column: name.to_owned(), is_falling: false },
    }
}

fn ordered(sort: &Sort) -> String {
    let way = if sort.is_falling { "DESC" } else { "ASC" };
    format!("{} {way} NULLS LAST", quoted(&sort.column))
}

fn mark(text: &str) -> Result<Mark, Problem> {
    let wrong = || Problem::bad_request("`_after` is not one of ours");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map_err(|_| wrong())
}

/// An instant as it stands in a statement: it is read here, so that nothing else can stand there.
fn instant(text: &str) -> Result<String, Problem> {
    let wrong = || Problem::bad_request("`_as_of` is not an instant: write `2024-01-31` or `2024-01-31T12:00:00Z`");
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let found = text.parse::<jiff::Timestamp>().ok().or_else(|| civil().map(|at| at.timestamp()));
    found.map(|instant| instant.to_string()).ok_or_else(wrong)
}

/// Columns that every table has start with `_`, too.
fn is_provenance(name: &str) -> bool {
    matches!(name, "_recorded_at" | "_source" | "_superseded_at" | "_change" | "_sequence")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(query: &str) -> String {
        let key = Order::Key(vec!["country".to_owned(), "year".to_owned()]);
        let table = "demo.gdp".parse().unwrap();
        let made = Page::parse(&table, &key, query).and_then(|page| page.statement());
        match made {
            Ok((sql, _)) => sql,
            Err(problem) => serde_json::to_string(&problem).unwrap(),
        }
    }

    #[test]
    fn addresses_become_statements_with_bound_values() {
        let order = "ORDER BY \"country\" ASC NULLS LAST, \"year\" ASC NULLS LAST LIMIT 1001";
        assert_eq!(statement(""), format!("SELECT * FROM demo.gdp {order}"));
        assert_eq!(
            statement("country=BGR&year=gte.2015&status=in.(a,b)&gdp=not.null"),
            format!(
                "SELECT * FROM demo.gdp WHERE \"country\" = $1 AND \"year\" >= $2 AND \"status\" IN ($3, $4) \
                 AND \"gdp\" IS NOT NULL {order}"
            )
        );
        assert_eq!(
            statement("_columns=gdp&_sort=-year&_limit=5&_version=3"),
            "SELECT \"gdp\", \"year\", \"country\" FROM demo.gdp VERSION AS OF 3 \
             ORDER BY \"year\" DESC NULLS LAST, \"country\" ASC NULLS LAST LIMIT 6"
        );
        assert!(statement("a\"b=1").contains("WHERE \"a\"\"b\" = $1"));
        assert!(statement("_as_of=2024-01-15").contains("FOR SYSTEM_TIME AS OF '2024-01-15T00:00:00Z'"));
        for wrong in
            ["_as_of=x' OR 1", "_limit=0", "_limit=x", "_nothing=1", "_after=x", "_version=1&_as_of=2024-01-01"]
        {
            assert!(statement(wrong).starts_with('{'), "{wrong}: {}", statement(wrong));
        }
    }

    #[test]
    fn the_next_page_starts_after_the_last_row() {
        let sort = [sort("a"), sort("-b"), sort("c")];
        let values = [Some("x".to_owned()), None, Some("z".to_owned())];
        let mut count = 0;
        let mut bind = |_: &str| {
            count += 1;
            format!("${count}")
        };
        assert_eq!(
            beyond(&sort, &values, &mut bind),
            "(((\"a\" > $1 OR \"a\" IS NULL)) OR (\"a\" = $2 AND \"b\" IS NULL AND (\"c\" > $3 OR \"c\" IS NULL)))"
        );
    }
}
