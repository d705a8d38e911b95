//! `/about`: what this centre is, and whose work the page is made from.

use axum::extract::{FromRequestParts, Request, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::assets::NOTICES;
use super::looks::Looks;
use super::shell::{Place, shell};
use super::visitor::Visitor;
use crate::rest::State;

/// Shows it to everybody.
pub(super) async fn page(Shared(state): Shared<State>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let looks = Looks::of(&parts, &state);
    let visitor = Visitor::from_request_parts(&mut parts, &state).await.ok();
    let t = looks.texts();
    let content = html! {
        h1 { (t.nav_about) }
        p { (t.about_what) }
        p { (t.about_kept) }
        ul {
            li { a href="/docs" { (t.about_interface) } }
            li { a href="/api/openapi.json" { "OpenAPI" } }
        }
        h2 { (t.about_terms) }
        p { (t.about_terms_text) }
        @if !NOTICES.is_empty() {
            h2 { (t.about_libraries) }
            @for notice in NOTICES {
                details {
                    summary { (notice.name) " " (notice.version) " · " (notice.licence) }
                    pre lang="en" { (notice.text) }
                }
            }
        }
    };
    looks.respond(StatusCode::OK, &shell(&looks, visitor.as_ref(), Place::About, t.nav_about, &content))
}
