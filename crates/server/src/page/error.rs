//! Errors as pages, with a way out. The interface answers with problems instead; both say the same.

use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use maud::html;

use super::looks::{Looks, address};
use super::shell::{Place, shell};
use super::texts::filled;
use super::visitor::Visitor;
use crate::rest::State;
use crate::rest::problem::Problem;

/// Returns the page of a problem.
pub(super) fn page(looks: &Looks, who: Option<&Visitor>, problem: &Problem) -> Response {
    let t = looks.texts();
    let status = problem.status();
    let (title, way) = match status {
        StatusCode::NOT_FOUND => (t.error_not_found, Some(t.error_not_found_way)),
        StatusCode::FORBIDDEN => (t.error_denied, Some(t.error_denied_way)),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => (t.error_busy, Some(t.error_busy_way)),
        status if status.is_server_error() => (t.error_inner, Some(t.error_inner_way)),
        _ => (t.error_request, None),
    };
    let content = html! {
        section.error {
            h1 { (title) }
            @if status != StatusCode::NOT_FOUND {
                p lang="en" { (problem.detail()) }
                @if let Some((line, column)) = problem.place() {
                    p { (filled(t.error_at, &[("line", &line.to_string()), ("column", &column.to_string())])) }
                }
                @if let Some(advice) = problem.advice() {
                    p.note lang="en" { (advice) }
                }
            }
            @if let Some(way) = way {
                p { (way) }
            }
            p.actions {
                a href="/" { (t.to_catalogue) }
                @if who.is_none_or(|visitor| visitor.session.is_none()) {
                    " · "
                    a href=(address("/login", &[("next", &looks.path)])) { (t.log_in) }
                }
            }
        }
    };
    let mut response = looks.respond(status, &shell(looks, who, Place::Elsewhere, title, &content));
    for (name, value) in problem.clone().into_response().headers() {
        // What the status promises, such as when to try again.
        if *name == header::RETRY_AFTER || *name == header::WWW_AUTHENTICATE {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// An address that leads nowhere: a page for browsers, a problem for everybody else.
pub(crate) async fn not_found(Shared(state): Shared<State>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let problem = Problem::not_found("this address").hint("`/docs` lists what there is");
    let is_page = parts.method == Method::GET || parts.method == Method::HEAD;
    if !is_page || parts.uri.path().starts_with("/api/") || !wants_page(&parts.headers) {
        return problem.into_response();
    }
    page(&Looks::of(&parts, &state), None, &problem)
}

/// Says whether whoever asks names HTML: browsers do, programs do not.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|part| part.trim().starts_with("text/html"))
}
