//! `/api/tables`: tables without SQL. Filters, columns and order in the address, page by page over one version.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use hambar_core::TableName;
use hambar_query::Parameters;
use http::HeaderMap;
use serde::Serialize;

use super::State;
use super::auth::Asker;
use super::format::Format;
use super::page::{self, Order, Page};
use super::problem::Problem;
use super::sql::answer_with;
use crate::catalogue::Dataset;
use crate::front::{Ask, AskedLimits, Protocol};

/// Bytes of one page, as Arrow holds it.
const PAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A table in a list.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(crate) struct Listed {
    /// `namespace.table`.
    table: String,
    /// What is declared about it.
    #[serde(flatten)]
    dataset: Option<Dataset>,
}

/// The columns of a table.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(crate) struct TableSchema {
    /// `namespace.table`.
    table: String,
    /// The newest version.
    version: Option<u64>,
    /// What is declared about it.
    #[serde(flatten)]
    dataset: Option<Dataset>,
    /// The columns in order.
    columns: Vec<ColumnSchema>,
}

/// A column.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(crate) struct ColumnSchema {
    /// Its name.
    name: String,
    /// Its type, as Arrow names it.
    #[serde(rename = "type")]
    kind: String,
    /// What its values are measured in.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// What it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What its provider calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_name: Option<String>,
}

/// Lists the tables that exist for whoever asks.
pub(crate) async fn list(Shared(state): Shared<State>, asker: Asker) -> Result<Response, Problem> {
    let catalogue = state.front.catalogue();
    let datasets = catalogue.datasets().await.map_err(crate::FrontError::Query)?;
    let tables = catalogue.tables().await.map_err(crate::FrontError::Query)?;
    let visibility = asker.principal.visibility();
    let declared = |table| datasets.get(table).map(|dataset| dataset.shown(table, visibility));
    let visible = tables.iter().filter(|table| visibility.sees(table));
    let listed: Vec<Listed> =
        visible.map(|table| Listed { table: table.to_string(), dataset: declared(table) }).collect();
    Ok(Json(listed).into_response())
}

/// Returns the columns of a table, and what is declared about it.
pub(crate) async fn schema(
    Shared(state): Shared<State>,
    Path(table): Path<String>,
    asker: Asker,
) -> Result<Response, Problem> {
    let table = table_name(&table)?;
    let ask = whole_table(&asker, Protocol::Http, &table);
    let description = state.front.describe(&ask).await.map_err(|error| missing(&table, error))?;
    let datasets = state.front.catalogue().datasets().await.map_err(crate::FrontError::Query)?;
    let columns = description.schema.fields().iter().map(|field| {
        let text = |key: &str| field.metadata().get(key).cloned();
        ColumnSchema {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
            unit: text("unit"),
            description: text("description"),
            source_name: text("source_name"),
        }
    });
    let schema = TableSchema {
        table: table.to_string(),
        version: description.facts.versions.first().map(|read| read.version),
        dataset: datasets.get(&table).map(|dataset| dataset.shown(&table, asker.principal.visibility())),
        columns: columns.collect(),
    };
    Ok(Json(schema).into_response())
}

/// Returns rows of a table. Every other name in the address is a column: `country=BGR`, `year=gte.2015`
/// (`eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `like`, `in.(a,b)`, `is.null`, `not.null`).
pub(crate) async fn rows(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    asker: Asker,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (table, ending) = match name.split('.').collect::<Vec<_>>().as_slice() {
        [namespace, table, ending] => (table_name(&format!("{namespace}.{table}"))?, Some((*ending).to_owned())),
        _ => (table_name(&name)?, None),
    };
    let query = query.unwrap_or_default();
    let order = order(&state, &asker, &table).await?;
    let page = Page::parse(&table, &order, &query)?;
    let format = Format::choose(ending.as_deref().or(page.format.as_deref()), &headers)?;
    let (sql, parameters) = page.statement()?;
    let limits = AskedLimits { result_bytes_max: Some(PAGE_BYTES_MAX), ..AskedLimits::default() };
    let ask =
        Ask { principal: asker.principal, protocol: Protocol::Http, address: asker.address, sql, parameters, limits };
    let path = format!("/api/tables/{name}");
    let variant = page.variant();
    let deliver = move |answer| async move { page::deliver(answer, &page, format, &path, &query).await };
    answer_with(&state, ask, &variant, format, &headers, deliver).await.map_err(Problem::unplaced)
}

/// Returns what puts the rows of a table into an order: its key, where whoever asks may see the table at all.
async fn order(state: &State, asker: &Asker, table: &TableName) -> Result<Order, Problem> {
    let datasets = state.front.catalogue().datasets().await.map_err(crate::FrontError::Query)?;
    let visibility = asker.principal.visibility();
    let key = datasets.get(table).map(|dataset| dataset.shown(table, visibility).key).unwrap_or_default();
    // A hidden table takes the way of a missing one.
    if !key.is_empty() && visibility.sees(table) {
        return Ok(Order::Key(key));
    }
    let ask = whole_table(asker, Protocol::Http, table);
    let described = state.front.describe(&ask).await.map_err(|error| missing(table, error))?;
    let sortable = described.schema.fields().iter().filter(|field| !field.data_type().is_nested());
    Ok(Order::Columns(sortable.map(|field| field.name().clone()).collect()))
}

/// The question for all rows of a table.
pub(crate) fn whole_table(asker: &Asker, protocol: Protocol, table: &TableName) -> Ask {
    Ask {
        principal: Arc::clone(&asker.principal),
        protocol,
        address: asker.address,
        sql: format!("SELECT * FROM {table}"),
        parameters: Parameters::none(),
        limits: AskedLimits::default(),
    }
}

/// A name that is none, and a table that is not there, are the same to whoever asks.
pub(crate) fn table_name(text: &str) -> Result<TableName, Problem> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(140).collect();
        Problem::not_found(&format!("table `{text}`"))
    })
}

pub(crate) fn missing(table: &TableName, error: crate::FrontError) -> Problem {
    match &error {
        crate::FrontError::Query(query) if query.to_string().ends_with("does not exist") => {
            Problem::not_found(&format!("table `{table}`"))
        }
        _ => Problem::new(&error),
    }
}
