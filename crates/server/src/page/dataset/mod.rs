//! `/tables/…`: everything about a dataset on one page.

pub(super) mod charts;
pub(super) mod facts;
mod picture;
pub(super) mod profile;
mod snippets;
mod view;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use futures::TryStreamExt as _;
use hambar_core::TableName;
use http::StatusCode;
use maud::html;

use super::error;
use super::search::details::CodeList;
use super::shell::{Place, shell};
use super::visitor::Visitor;
use crate::catalogue::Dataset;
use crate::cite::{Base, data_block};
use crate::discovery::{dataset_json_ld, signposts};
use crate::front::{AskedLimits, FrontError, TableFreshness};
use crate::rest::State;
use crate::rest::problem::Problem;
use crate::rest::tables::{missing, table_name};
use facts::Facts;
use profile::Wanted;

/// Rows of the sample.
const SAMPLE_ROWS: u64 = 10;
/// A page waits so long for its profile.
const PATIENCE: Duration = Duration::from_millis(800);
/// A page that was asked to waits so long.
const PATIENCE_ASKED: Duration = Duration::from_secs(25);
/// Columns that every table has, besides its own.
const PROVENANCE: [&str; 2] = ["_recorded_at", "_source"];

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct ColumnInfo {
    name: String,
    kind: DataType,
    unit: Option<String>,
    description: Option<String>,
    source_name: Option<String>,
}

/// What a page shows.
pub(super) struct Subject<'a> {
    table: TableName,
    version: Option<u64>,
    columns: Vec<ColumnInfo>,
    entry: Option<&'a super::search::Entry>,
    /// What is declared about what the visitor sees of it.
    dataset: Option<Dataset>,
    /// The codes of its columns, as far as they may be shown.
    code_lists: Vec<CodeList>,
    /// Whether the visitor sees only a part of it.
    is_restricted: bool,
    facts: Arc<Facts>,
    /// What its schedule says of it.
    expected: TableFreshness,
    /// Nothing for tables that belong to another one and have no versions of their own for readers.
    profile: Option<profile::State>,
    sample: Result<(SchemaRef, Vec<RecordBatch>), Problem>,
}

/// Shows a dataset.
pub(super) async fn page(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    visitor: Visitor,
    base: Result<Base, Problem>,
) -> Response {
    match found(&state, &name, &visitor, base).await {
        Ok(response) => response,
        Err(problem) => error::page(&visitor.looks, Some(&visitor), &problem),
    }
}

async fn found(state: &State, name: &str, visitor: &Visitor, base: Result<Base, Problem>) -> Result<Response, Problem> {
    let base = base?;
    let table = table_name(name)?;
    let whole = visitor.ask(format!("SELECT * FROM {table}"), AskedLimits::default());
    // A hidden table takes the way of a missing one.
    let described = state.front.describe(&whole).await.map_err(|error| missing(&table, error))?;
    let version = described.facts.versions.first().filter(|_| !is_beside(&table)).map(|read| read.version);
    let columns = columns(&described.schema);
    let source = version.map_or_else(|| table.to_string(), |version| format!("{table} VERSION AS OF {version}"));
    let library = state.pages.librarian.library(state.front.catalogue()).await.map_err(FrontError::Query)?;
    let (facts, sample, profile) = tokio::join!(
        async {
            match version {
                Some(version) => state.pages.facts.get(state.front.catalogue().lake(), &table, version).await,
                None => Arc::default(),
            }
        },
        sample(state, visitor, &source),
        async {
            let wanted =
                Wanted { table: table.clone(), version: version?, source: source.clone(), columns: columns.clone() };
            let patience = if visitor.looks.asked("profile") == Some("wait") { PATIENCE_ASKED } else { PATIENCE };
            Some(state.pages.profiles.get(&state.front, visitor, wanted, patience).await)
        },
    );
    let (catalogue, visibility) = (state.front.catalogue(), visitor.principal.visibility());
    let json_ld = dataset_json_ld(catalogue, &table, visibility, &base, &state.settings.centre).await;
    let json_ld = json_ld.map_err(FrontError::Query)?;
    let is_restricted = visibility.is_partial(&table);
    // The log of a table tells of all of it.
    let facts = if is_restricted { Arc::new(facts.without_counts()) } else { facts };
    let entry = library.entry(&table);
    let code_lists = entry.map(|entry| entry.figures(visibility).code_lists.clone()).unwrap_or_default();
    let dataset = entry.and_then(|entry| entry.dataset.as_ref()).map(|dataset| dataset.shown(&table, visibility));
    let expected = state.front.metrics().freshness(&table);
    let subject = Subject {
        table,
        version,
        columns,
        entry,
        dataset,
        code_lists,
        is_restricted,
        facts,
        expected,
        profile,
        sample,
    };
    let title = entry.map_or_else(|| subject.table.to_string(), super::search::Entry::title);
    let content = html! {
        (view::content(visitor, &subject, &base, state.front.now()))
        @if let Some(json_ld) = &json_ld { (data_block(json_ld)) }
    };
    let page = shell(&visitor.looks, Some(visitor), Place::Elsewhere, &title, &content);
    let mut response = visitor.looks.respond(StatusCode::OK, &page);
    if let (Some(version), Some(dataset)) = (subject.version, subject.dataset()) {
        signposts(&subject.table, version, dataset.licence.as_deref(), &base).put(response.headers_mut());
    }
    Ok(response)
}

async fn sample(state: &State, visitor: &Visitor, source: &str) -> Result<(SchemaRef, Vec<RecordBatch>), Problem> {
    let limits = AskedLimits { result_rows_max: Some(SAMPLE_ROWS), ..AskedLimits::default() };
    let answer = state.front.query(visitor.ask(format!("SELECT * FROM {source} LIMIT {SAMPLE_ROWS}"), limits)).await?;
    let schema = answer.schema();
    Ok((schema, answer.try_collect().await?))
}

/// Says whether a table is the history or the rejected rows of another one.
fn is_beside(table: &TableName) -> bool {
    table.table.as_str().contains("__")
}

fn columns(schema: &SchemaRef) -> Vec<ColumnInfo> {
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let text = |key: &str| field.metadata().get(key).cloned();
        ColumnInfo {
            name: field.name().clone(),
            kind: field.data_type().clone(),
            unit: text("unit"),
            description: text("description"),
            source_name: text("source_name").filter(|name| name != field.name()),
        }
    };
    schema.fields().iter().map(column).collect()
}
