//! `/api/sql`: a statement in, rows out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use hambar_query::{Facts, Parameters};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::State;
use super::auth::Asker;
use super::cache::{self, Key};
use super::deliver::{self, Delivery, OwnLimits};
use super::format::Format;
use super::kept;
use super::once::{self, Ended, Turn};
use super::parameters::{LimitsRequest, parameters};
use super::problem::Problem;
use crate::front::{Answer, Ask, CACHE, Protocol};
use crate::trace;

/// A statement as JSON.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// The statement.
    pub(crate) sql: String,
    /// The values of `$1`, `$2` …: texts, numbers, true, false, null.
    #[serde(default)]
    pub(crate) params: Vec<Value>,
    /// `json`, `ndjson`, `csv`, `arrow`, `parquet` or `xlsx`; without it, `Accept` decides.
    pub(crate) format: Option<String>,
    /// Rows of a page, where the answer is to be kept and taken page by page.
    pub(crate) page_rows: Option<u64>,
    /// Limits below those of the server.
    #[serde(default)]
    pub(crate) limits: LimitsRequest,
}

/// A statement in an address.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlQuery {
    /// The statement.
    pub(crate) q: Option<String>,
    /// The values of `$1`, `$2` … as a JSON array.
    pub(crate) params: Option<String>,
    /// The form of the answer; `/api/sql.csv` is as good.
    pub(crate) format: Option<String>,
    /// Rows of the answer at most.
    pub(crate) rows: Option<u64>,
    /// Seconds for everything.
    pub(crate) seconds: Option<f64>,
    /// Rows of a page, where the answer is to be kept and taken page by page.
    pub(crate) page_rows: Option<u64>,
}

/// Runs the statement of an address.
pub(crate) async fn get(
    Shared(state): Shared<State>,
    Path(what): Path<String>,
    asker: Asker,
    headers: HeaderMap,
    query: Result<Query<SqlQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let ending = ending(&what)?;
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Some(sql) = query.q.clone() else {
        return Err(Problem::bad_request("the statement is missing").hint("write `/api/sql?q=SELECT…`"));
    };
    let format = Format::choose(ending.or(query.format.as_deref()), &headers)?;
    run(&state, asker, query.request(sql)?, format, &headers).await
}

impl SqlQuery {
    /// The request that an address makes of a statement.
    fn request(&self, sql: String) -> Result<SqlRequest, Problem> {
        let params: Vec<Value> = match &self.params {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Problem::bad_request(format!("`params` is not a JSON array: {error}")))?,
        };
        let limits = LimitsRequest { rows: self.rows, seconds: self.seconds, ..LimitsRequest::default() };
        Ok(SqlRequest { sql, params, format: None, page_rows: self.page_rows, limits })
    }
}

/// Runs a statement: JSON with values and limits, or the statement alone as text.
pub(crate) async fn post(
    Shared(state): Shared<State>,
    Path(what): Path<String>,
    asker: Asker,
    query: Result<Query<SqlQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let ending = ending(&what)?;
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let body = body.map_err(|error| Problem::refused(error.status(), error.body_text()))?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/plain");
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if query.q.is_some() {
        return Err(Problem::bad_request("the statement is in the body, and `q` in the address is another one"));
    }
    let request = match media_type.as_str() {
        "application/json" => {
            if query != (SqlQuery { format: query.format.clone(), ..SqlQuery::default() }) {
                return Err(Problem::bad_request("values and limits belong into the JSON, not into the address"));
            }
            serde_json::from_slice::<SqlRequest>(&body)
                .map_err(|error| Problem::bad_request(format!("the body is not a request: {error}")))?
        }
        "text/plain" | "application/sql" => {
            let sql =
                String::from_utf8(body.to_vec()).map_err(|_| Problem::bad_request("the statement is not UTF-8"))?;
            query.request(sql)?
        }
        _ => {
            let problem = Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a statement comes as JSON or text");
            return Err(problem.hint("`Content-Type: application/json` or `application/sql`"));
        }
    };
    let name = request.format.clone();
    let format = Format::choose(ending.or(name.as_deref()).or(query.format.as_deref()), &headers)?;
    run(&state, asker, request, format, &headers).await
}

/// `sql` or `sql.csv`.
fn ending(what: &str) -> Result<Option<&str>, Problem> {
    match what.split_once('.') {
        None if what == "sql" => Ok(None),
        Some(("sql", ending)) => Ok(Some(ending)),
        _ => Err(Problem::not_found("this address")),
    }
}

async fn run(
    state: &State,
    asker: Asker,
    request: SqlRequest,
    format: Format,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let limits = request.limits.asked()?;
    let ask = Ask {
        principal: asker.principal,
        protocol: Protocol::Http,
        address: asker.address,
        sql: request.sql,
        parameters: if request.params.is_empty() { Parameters::none() } else { parameters(&request.params)? },
        limits,
    };
    if let Some(rows) = request.page_rows {
        return kept::begin(state, ask, format, rows).await;
    }
    answer(state, ask, format, headers).await
}

/// Answers a question in a form.
pub(crate) async fn answer(state: &State, ask: Ask, format: Format, headers: &HeaderMap) -> Result<Response, Problem> {
    let own = OwnLimits::of(&ask.limits, state.front.ceiling());
    let deliver = move |answer| deliver::deliver(answer, format, own);
    answer_with(state, ask, "rows", format, headers, deliver).await
}

/// Answers a question: from what the client has, from what is held here, from the run of somebody who asks the same now,
/// or by running it and delivering the answer. `variant` names what `deliver` makes of the rows.
pub(crate) async fn answer_with<D>(
    state: &State,
    ask: Ask,
    variant: &str,
    format: Format,
    headers: &HeaderMap,
    deliver: impl FnOnce(Answer) -> D,
) -> Result<Response, Problem>
where
    D: Future<Output = Result<Delivery, Problem>>,
{
    let key = cache::key(&ask, state.front.ceiling(), variant).map_err(crate::FrontError::Query)?;
    let first = loop {
        if let Some(response) = answered_before(state, &ask, key, format, headers).await? {
            return Ok(response);
        }
        match state.results.turn(key, format) {
            None => break None,
            Some(Turn::First(first)) => break Some(first),
            Some(Turn::Wait(running)) => match shared(running).await {
                // Its answer may be of an older version by now, or its asker went away: look again.
                Ended::Held | Ended::Abandoned | Ended::NotYet => {}
                Ended::NotHeld => break None,
            },
        }
    };
    state.front.metrics().cache("miss");
    trace::current().note(CACHE, "miss");
    let (delivered, how) = run_and_hold(state, ask, key, format, deliver).await;
    if let Some(first) = first {
        first.ended(how);
    }
    delivered
}

/// Waits for the run of somebody who asks the same.
async fn shared(running: watch::Receiver<Ended>) -> Ended {
    let place = trace::current();
    let waits = place.span("shared");
    let ended = once::ended(running).await;
    waits.end();
    if ended == Ended::Held {
        place.note("hambar.shared", true);
    }
    ended
}

/// Runs a question, delivers its answer and holds it where that can be done. Says whether it is held.
async fn run_and_hold<D>(
    state: &State,
    ask: Ask,
    key: Key,
    format: Format,
    deliver: impl FnOnce(Answer) -> D,
) -> (Result<Response, Problem>, Ended)
where
    D: Future<Output = Result<Delivery, Problem>>,
{
    let is_open = ask.principal.role().is_none();
    let answer = match state.front.query(ask).await {
        Ok(answer) => answer,
        Err(error) => return (Err(error.into()), Ended::NotHeld),
    };
    let id = answer.id().to_string();
    let facts = answer.facts().clone();
    let tag = cache::tag(key, &facts, format, answer.sources());
    let delivery = match deliver(answer).await {
        Ok(delivery) => delivery,
        Err(problem) => return (Err(problem), Ended::NotHeld),
    };
    if facts.is_repeatable {
        state.results.remember(key, &facts);
    }
    let (mut response, is_held) = match delivery {
        Delivery::Stream(response) => (response, false),
        Delivery::Whole(whole, answer) => {
            let is_held = facts.is_repeatable && state.results.keep(&tag, &whole);
            (deliver::whole_response(&whole, answer), is_held)
        }
    };
    if facts.is_repeatable {
        cacheable(response.headers_mut(), &tag, &facts, is_open);
    } else {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(deliver::QUERY, id);
    }
    (Ok(response), if is_held { Ended::Held } else { Ended::NotHeld })
}

/// Returns the answer to a question that was answered before and whose tables have not changed.
async fn answered_before(
    state: &State,
    ask: &Ask,
    key: Key,
    format: Format,
    headers: &HeaderMap,
) -> Result<Option<Response>, Problem> {
    let mut facts = state.results.facts(&key);
    if facts.is_none() && headers.contains_key(header::IF_NONE_MATCH) {
        // What the client has may still be right: the versions tell, without running anything.
        let described = state.front.describe(ask).await?;
        state.results.remember(key, &described.facts);
        facts = Some(Arc::new(described.facts));
    }
    let Some(facts) = facts.filter(|facts| facts.is_repeatable) else { return Ok(None) };
    let newest = cache::newest(state.front.catalogue().lake(), &facts).await.map_err(crate::FrontError::Query)?;
    if newest != *facts {
        // The next look starts from here.
        state.results.remember(key, &newest);
    }
    let sources = state.front.sources(&newest.versions).await?;
    let tag = cache::tag(key, &newest, format, &sources);
    let (mut response, outcome, bytes) = if cache::has(headers, &tag) {
        (StatusCode::NOT_MODIFIED.into_response(), "unchanged", 0)
    } else if let Some(whole) = state.results.answer(&tag) {
        state.front.admit(&ask.principal, &whole.used)?;
        (deliver::whole_response(&whole, ()), "cached", whole.body.len() as u64)
    } else {
        return Ok(None);
    };
    state.front.reused(ask, &newest, outcome, bytes);
    cacheable(response.headers_mut(), &tag, &newest, ask.principal.role().is_none());
    Ok(Some(response))
}

/// How long others may keep an answer: for ever where its versions are named, else until the next look.
fn cacheable(headers: &mut HeaderMap, tag: &str, facts: &Facts, is_open: bool) {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    let policy = match (is_open, facts.is_immutable()) {
        (true, true) => "public, max-age=31536000, immutable",
        (false, true) => "private, max-age=31536000, immutable",
        (true, false) => "public, no-cache",
        (false, false) => "private, no-cache",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
}
