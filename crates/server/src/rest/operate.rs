//! The queries that run, health, metrics, and what every request has in common: a line in the log and headers that
//! make browsers careful.

use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::State;
use super::auth::Asker;
use super::problem::Problem;
use crate::access::Role;
use crate::front::{Cancelled, FrontError, QueryId, RunningQuery};
use crate::trace;

/// Browsers load nothing, run nothing and show it nowhere else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Headers of every response.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Lists the queries that wait and run: one's own, and for operators everybody's.
pub(crate) async fn queries(Shared(state): Shared<State>, asker: Asker) -> Json<Vec<RunningQuery>> {
    Json(state.front.running(&asker.principal))
}

/// Stops a query: one's own, and for operators anybody's. Its id is in the header `Hambar-Query` and in the list.
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::not_found("this query");
    let id: QueryId = id.parse().map_err(|_| unknown())?;
    match state.front.cancel(&asker.principal, id) {
        Cancelled::Stopped => Ok(StatusCode::NO_CONTENT),
        Cancelled::Unknown => Err(unknown()),
    }
}

/// Returns the counters for Prometheus. For operators, unless the configuration opens it.
pub(crate) async fn metrics(Shared(state): Shared<State>, asker: Result<Asker, Problem>) -> Result<Response, Problem> {
    if !state.settings.open_metrics && !asker?.principal.is_at_least(Role::Operator) {
        return Err(FrontError::Role { what: "this page", needed: Role::Operator }.into());
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], state.front.metrics().text()).into_response())
}

/// Says that the process is alive.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether queries would be answered: the store can be reached and the server is not going down.
pub(crate) async fn readyz(Shared(state): Shared<State>) -> (StatusCode, &'static str) {
    if state.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "going down\n");
    }
    match state.authenticator.is_ready().await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(error = %hambar_core::Chain(&error), "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be reached\n")
        }
    }
}

/// Writes a line for every request and adds what every response has.
pub(crate) async fn observe(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let method = request.method().clone();
    // Without what follows the question mark, which may hold statements and values.
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    harden(response.headers_mut());
    let status = response.status().as_u16();
    state.front.metrics().request(status);
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let path: String = path.chars().take(200).collect();
    let traced = trace::current().id().map(tracing::field::display);
    tracing::info!(%method, path = %path.escape_debug(), status, ms = milliseconds, trace = traced, "request");
    response
}

fn harden(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
