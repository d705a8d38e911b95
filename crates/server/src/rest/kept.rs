//! `/api/results`: answers that are taken page by page, each page from one and the same run of the statement.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::State;
use super::auth::Asker;
use super::deliver::{self, LIMIT, OwnLimits};
use super::encode::Tail;
use super::format::Format;
use super::problem::Problem;
use super::spool::Spool;
use crate::front::Ask;

/// Rows of a page at most.
const PAGE_ROWS_MAX: u64 = 100_000;
/// Names the answer that a page is of.
const RESULT: HeaderName = HeaderName::from_static("hambar-result");

/// Which page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// The rows before it.
    #[serde(default)]
    pub(crate) from: u64,
    /// Its rows at most.
    pub(crate) rows: Option<u64>,
    /// The form of the page.
    pub(crate) format: Option<String>,
}

/// Runs a statement, keeps its answer, and returns the first page.
pub(crate) async fn begin(state: &State, ask: Ask, format: Format, rows: u64) -> Result<Response, Problem> {
    let rows = checked(rows)?;
    let own = OwnLimits::of(&ask.limits, state.front.ceiling());
    let asker = std::sync::Arc::clone(&ask.principal);
    let answer = state.front.query(ask).await?;
    let spool = state.spools.keep(&asker, answer, own)?;
    let first = page(&spool, 0, rows, format).await;
    if first.is_err() {
        state.spools.release(&spool);
    }
    first
}

/// Returns another page of an answer.
pub(crate) async fn next(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    asker: Asker,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let spool = found(&state, &asker, &id)?;
    let format = Format::choose(query.format.as_deref(), &headers)?;
    page(&spool, query.from, checked(query.rows.unwrap_or(PAGE_ROWS_MAX))?, format).await
}

/// Lets an answer go.
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Response, Problem> {
    let spool = found(&state, &asker, &id)?;
    state.spools.release(&spool);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn found(state: &State, asker: &Asker, id: &str) -> Result<std::sync::Arc<Spool>, Problem> {
    let gone = || {
        let problem = Problem::not_found("this answer");
        problem.hint("answers are kept for a while after somebody has asked for a page of them: ask the question again")
    };
    let spool = state.spools.get(&asker.principal.counted_as(), id).ok_or_else(gone)?;
    // What may be seen may have changed since.
    let visibility = asker.principal.visibility();
    let is_visible = spool.facts.versions.iter().all(|read| visibility.sees(&read.table));
    if is_visible && spool.policies == *visibility.policies() { Ok(spool) } else { Err(gone()) }
}

fn checked(rows: u64) -> Result<u64, Problem> {
    if (1..=PAGE_ROWS_MAX).contains(&rows) {
        return Ok(rows);
    }
    Err(Problem::bad_request(format!("a page has 1 to {PAGE_ROWS_MAX} rows, not {rows}")))
}

async fn page(spool: &Spool, from: u64, rows: u64, format: Format) -> Result<Response, Problem> {
    let page = spool.page(from, rows).await?;
    let id = &spool.head.query;
    let next = page.next.map(|from| format!("/api/results/{id}?from={from}&rows={rows}&format={}", format.ending()));
    let tail = Tail { truncated: page.is_cut_off.then_some(LIMIT), next };
    let rest = deliver::encode_all(format, spool.head.clone(), page.batches, tail.clone()).await?;
    let mut response = deliver::page_response(rest, format, spool.head.sources.as_slice().into(), tail, page.permit)?;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(deliver::QUERY, id.clone());
        headers.insert(RESULT, id);
    }
    Ok(response)
}
