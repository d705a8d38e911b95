//! `/tables/…/vintages`: one series as it was known at different times. Scripts draw it; the table below says the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use futures::TryStreamExt as _;
use hambar_core::TableName;
use hambar_query::Parameters;
use http::StatusCode;
use maud::{Markup, html};

use super::cells::{Rows, quoted};
use super::dataset::charts::is_time_name;
use super::error;
use super::shell::{Place, shell};
use super::texts::{Texts, filled};
use super::visitor::Visitor;
use crate::catalogue::Dataset;
use crate::front::{Ask, AskedLimits, FrontError};
use crate::rest::State;
use crate::rest::problem::Problem;
use crate::rest::tables::{missing, table_name};

/// Values that the page lists.
const VALUES_MAX: usize = 1_000;
/// Names that mean something else in the address of this page.
const RESERVED: [&str; 2] = ["lang", "value"];

/// A series and what is known of it.
struct Series<'a> {
    table: &'a TableName,
    title: String,
    /// The column of the period.
    time: Option<String>,
    /// The column of the value.
    value: String,
    /// The other columns of the key with their values.
    key: Vec<(String, String)>,
}

/// Shows a series.
pub(super) async fn page(Shared(state): Shared<State>, Path(name): Path<String>, visitor: Visitor) -> Response {
    match found(&state, &name, &visitor).await {
        Ok(response) => response,
        Err(problem) => error::page(&visitor.looks, Some(&visitor), &problem),
    }
}

async fn found(state: &State, name: &str, visitor: &Visitor) -> Result<Response, Problem> {
    let table = table_name(name)?;
    let whole = visitor.ask(format!("SELECT * FROM {table}"), AskedLimits::default());
    // A hidden table takes the way of a missing one.
    state.front.describe(&whole).await.map_err(|error| missing(&table, error))?;
    let datasets = state.front.catalogue().datasets().await.map_err(FrontError::Query)?;
    let visibility = visitor.principal.visibility();
    let dataset = datasets.get(&table).map(|dataset| dataset.shown(&table, visibility));
    let dataset = dataset.filter(|dataset| !dataset.key.is_empty());
    let t = visitor.looks.texts();
    let content = match dataset {
        Some(dataset) => match series(state, visitor, &table, &dataset).await? {
            Some(series) => content(state, visitor, &dataset, &series).await?,
            None => without(&table, t.vintages_none),
        },
        None => without(&table, t.vintages_no_key),
    };
    let page = shell(&visitor.looks, Some(visitor), Place::Elsewhere, t.vintages, &content);
    Ok(visitor.looks.respond(StatusCode::OK, &page))
}

/// The name under which an address gives the value of a column.
fn field(column: &str) -> String {
    if RESERVED.contains(&column) { format!("key_{column}") } else { column.to_owned() }
}

fn without(table: &TableName, said: &str) -> Markup {
    html! {
        h1 { code { (table) } }
        p.note { (said) }
        p { a href=(format!("/tables/{table}")) { (table) } }
    }
}

/// The series that the address names; else the one that was revised most.
async fn series<'a>(
    state: &State,
    visitor: &Visitor,
    table: &'a TableName,
    dataset: &Dataset,
) -> Result<Option<Series<'a>>, Problem> {
    let is_time = |name: &str| {
        let kind = dataset.columns.iter().find(|column| column.name == name).map(|column| column.kind.as_str());
        is_time_name(name) || matches!(kind, Some("date" | "timestamp"))
    };
    let time = dataset.key.iter().find(|name| is_time(name)).cloned();
    let others: Vec<&String> = dataset.key.iter().filter(|name| Some(*name) != time.as_ref()).collect();
    let is_number = |kind: &str| kind.starts_with("int") || kind.starts_with("float") || kind.starts_with("decimal");
    let values = || dataset.columns.iter().filter(|column| !dataset.key.contains(&column.name));
    let value = visitor.looks.asked("value").and_then(|name| values().find(|column| column.name == name));
    let numeric = || values().find(|column| is_number(&column.kind));
    let Some(value) = value.or_else(numeric).or_else(|| values().next()).map(|column| column.name.clone()) else {
        return Ok(None);
    };
    let asked: Option<Vec<(String, String)>> =
        others.iter().map(|name| Some(((*name).clone(), visitor.looks.asked(&field(name))?.to_owned()))).collect();
    let key = match asked {
        Some(key) => key,
        None => match most_revised(state, visitor, table, &others).await? {
            Some(key) => key,
            None => return Ok(None),
        },
    };
    let title = dataset.title.clone().unwrap_or_else(|| table.to_string());
    Ok(Some(Series { table, title, time, value, key }))
}

async fn most_revised(
    state: &State,
    visitor: &Visitor,
    table: &TableName,
    key: &[&String],
) -> Result<Option<Vec<(String, String)>>, Problem> {
    if key.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let names = key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let text = |(place, name): (usize, &&String)| format!("CAST({} AS VARCHAR) AS k{place}", quoted(name));
    let texts = key.iter().enumerate().map(text).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "{} SELECT {texts} FROM known GROUP BY {names} ORDER BY count(\"_superseded_at\") DESC, {names} LIMIT 1",
        known(table, &names)
    );
    let batches = rows(state, visitor.ask(sql, AskedLimits::default())).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let values = Rows::of(batch);
    Ok(key.iter().enumerate().map(|(place, name)| Some(((*name).clone(), values.at(place, 0)?))).collect())
}

/// Everything that was ever known, under the name `known`: the rows that hold, and those that a newer release replaced or
/// withdrew.
fn known(table: &TableName, columns: &str) -> String {
    format!(
        "WITH known AS (SELECT {columns}, \"_recorded_at\", NULL AS \"_superseded_at\", NULL AS \"_change\" FROM {table} \
         UNION ALL SELECT {columns}, \"_recorded_at\", \"_superseded_at\", \"_change\" FROM history('{table}'))"
    )
}

async fn rows(state: &State, ask: Ask) -> Result<Vec<RecordBatch>, Problem> {
    // Whoever looks did not write the statement: its places mean nothing to them.
    let unplaced = |error: FrontError| Problem::new(&error).unplaced();
    state.front.query(ask).await.map_err(unplaced)?.try_collect().await.map_err(unplaced)
}

async fn vintages(state: &State, visitor: &Visitor, series: &Series<'_>) -> Result<Vec<RecordBatch>, Problem> {
    let period = series.time.as_ref().map_or_else(|| "NULL".to_owned(), |time| quoted(time));
    let conditions = (1..).zip(&series.key).map(|(number, (name, _))| format!("{} = ${number}", quoted(name)));
    let conditions = conditions.collect::<Vec<_>>().join(" AND ");
    let conditions = if conditions.is_empty() { "true" } else { conditions.as_str() };
    let names = series.key.iter().map(|(name, _)| name).chain(&series.time).chain([&series.value]);
    let columns = names.map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "{} SELECT {period} AS period, {} AS value, \"_recorded_at\", \"_superseded_at\", \"_change\" \
         FROM known WHERE {conditions} ORDER BY 1, \"_recorded_at\" LIMIT {}",
        known(series.table, &columns),
        quoted(&series.value),
        VALUES_MAX + 1,
    );
    let values = series.key.iter().map(|(_, value)| Arc::new(StringArray::from(vec![value.as_str()])) as ArrayRef);
    let parameters = Parameters::new(values.collect()).map_err(|error| Problem::bad_request(error.to_string()))?;
    rows(state, Ask { parameters, ..visitor.ask(sql, AskedLimits::default()) }).await
}

async fn content(state: &State, visitor: &Visitor, dataset: &Dataset, series: &Series<'_>) -> Result<Markup, Problem> {
    let t = visitor.looks.texts();
    let batches = vintages(state, visitor, series).await?;
    let all: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let key: serde_json::Map<String, serde_json::Value> =
        series.key.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let key = serde_json::Value::from(key).to_string();
    let values = dataset.columns.iter().filter(|column| !dataset.key.contains(&column.name));
    let target = format!("/tables/{}", series.table);
    Ok(html! {
        h1 { (filled(t.vintages_of, &[("title", &series.title)])) }
        p.meta { code { (series.table) } " · " a href=(target) { (t.to_dataset) } }
        p { (t.vintages_what) }
        form method="get" action=(format!("{target}/vintages")) aria-label=(t.vintages_choose) {
            @for (name, value) in &series.key {
                label for=(field(name)) { code { (name) } }
                input id=(field(name)) name=(field(name)) value=(value) required;
            }
            label for="value" { (t.column) }
            select #value name="value" {
                @for column in values {
                    option value=(column.name) selected[column.name == series.value] { (column.name) }
                }
            }
            button type="submit" { (t.vintages_show) }
        }
        @if all == 0 {
            p.note { (t.vintages_none) }
        } @else {
            @if all > VALUES_MAX {
                p.note { (filled(t.vintages_cut, &[("n", &VALUES_MAX.to_string())])) }
            }
            hb-vintages data-table=(series.table) data-key=(key) data-x=[&series.time] data-y=(series.value) {
                (listed(t, series, &batches))
            }
        }
    })
}

fn listed(t: &Texts, series: &Series<'_>, batches: &[RecordBatch]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(t.vintages) {
            table {
                thead { tr {
                    @if let Some(time) = &series.time { th scope="col" { code { (time) } } }
                    th.num scope="col" { code { (series.value) } }
                    th scope="col" { (t.known_from) } th scope="col" { (t.known_until) } th scope="col" { (t.change) }
                } }
                tbody {
                    @for batch in batches {
                        @let values = Rows::of(batch);
                        @for row in 0..batch.num_rows().min(VALUES_MAX) {
                            tr {
                                @if series.time.is_some() { th scope="row" { (values.shown(0, row).unwrap_or_default()) } }
                                td.num { (values.shown(1, row).unwrap_or_default()) }
                                td { (values.at(2, row).unwrap_or_default()) }
                                td { (values.at(3, row).unwrap_or_default()) }
                                td { (change(t, values.at(4, row).as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn change<'a>(t: &'a Texts, change: Option<&'a str>) -> &'a str {
    match change {
        None => t.change_current,
        Some("revised") => t.change_revised,
        Some("withdrawn") => t.change_withdrawn,
        Some(other) => other,
    }
}
