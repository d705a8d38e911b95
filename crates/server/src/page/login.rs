//! `/login` and `/logout`: a token in a form becomes a session's cookie.

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};

use super::error;
use super::form::Form;
use super::looks::{Looks, address};
use super::oidc;
use super::shell::{Place, shell};
use super::texts::filled;
use super::visitor::Visitor;
use crate::access::AccessError;
use crate::access::session::NewSession;
use crate::front::Protocol;
use crate::oidc::Oidc;
use crate::rest::State;
use crate::rest::auth::{self, SESSION_COOKIE, is_same_origin};
use crate::rest::problem::Problem;

/// The cookie of a login elsewhere that is under way.
pub(super) const LOGIN_COOKIE: &str = "hambar_login";
/// Bytes of an address that is gone on to.
const NEXT_BYTES_MAX: usize = 4 * 1024;

/// Shows the form.
pub(super) async fn form(Shared(state): Shared<State>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let looks = Looks::of(&parts, &state);
    // Whoever has a session sees that they have one; everybody else is nobody yet.
    let visitor = Visitor::from_request_parts(&mut parts, &state).await.ok().filter(|known| known.session.is_some());
    let next = next(looks.asked("next"));
    let said = (next != "/" && visitor.is_none()).then_some(looks.texts().login_needed);
    looks.respond(StatusCode::OK, &content(&looks, visitor.as_ref(), state.oidc.as_ref(), &next, said))
}

/// Takes the form: begins a session, or says what is wrong with the token.
pub(super) async fn log_in(Shared(state): Shared<State>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let looks = Looks::of(&parts, &state);
    // Another site must not log somebody in as somebody else.
    if !is_same_origin(&parts.headers) {
        return error::page(&looks, None, &Problem::denied("the form was sent by another site"));
    }
    let form = match Form::read(&parts.headers, body).await {
        Ok(form) => form,
        Err(problem) => return error::page(&looks, None, &problem),
    };
    let next = next(form.value("next"));
    let from = auth::address(&parts, &state);
    let secret = form.value("token").unwrap_or_default();
    match state.authenticator.log_in(secret, from).await {
        Ok((principal, session)) => {
            state.front.logged_in(Protocol::Web, from, &principal);
            let mut response = Redirect::to(&next).into_response();
            let is_https = looks.origin.starts_with("https:") || sent_from_https(&parts.headers);
            set_cookie(&mut response, &cookie(&session, is_https));
            response
        }
        Err(problem @ (AccessError::Token | AccessError::Tried)) => {
            state.front.login_refused(Protocol::Web, from, &problem);
            let t = looks.texts();
            let (status, said) = match problem {
                AccessError::Tried => (StatusCode::TOO_MANY_REQUESTS, t.login_tried),
                _ => (StatusCode::UNAUTHORIZED, t.login_refused),
            };
            looks.respond(status, &content(&looks, None, state.oidc.as_ref(), &next, Some(said)))
        }
        Err(problem) => error::page(&looks, None, &problem.into()),
    }
}

/// Ends the session of this browser; where the visitor logged in elsewhere, it goes there to end that as well.
pub(super) async fn log_out(
    Shared(state): Shared<State>,
    visitor: Visitor,
    headers: http::HeaderMap,
    body: Bytes,
) -> Response {
    let form = Form::of(&body);
    if !is_same_origin(&headers) || !visitor.is_own_form(form.value("csrf").unwrap_or_default()) {
        let problem = Problem::denied("the form was not made for this session");
        return error::page(&visitor.looks, Some(&visitor), &problem);
    }
    let ending = match &state.oidc {
        // Whether the store tells or not, the session here ends.
        Some(oidc) if state.authenticator.is_person(&visitor.principal).await.unwrap_or(false) => oidc.ending().await,
        _ => None,
    };
    let mut response = match ending {
        Some(address) => oidc::gone(&visitor.looks, address.as_str()),
        None => Redirect::to("/").into_response(),
    };
    set_cookie(&mut response, &format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"));
    response
}

/// A browser that came by TLS says so, also where a proxy ended it.
fn sent_from_https(headers: &http::HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

pub(super) fn cookie(session: &NewSession, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    let (value, seconds) = (&session.cookie, session.lifetime.as_secs());
    format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

pub(super) fn set_cookie(response: &mut Response, cookie: &str) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Where to go on to: an address of this server and of no other.
pub(super) fn next(asked: Option<&str>) -> String {
    let is_ours = |next: &&str| {
        let is_plain = next.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
        next.len() <= NEXT_BYTES_MAX && next.starts_with('/') && !next.starts_with("//") && is_plain
    };
    let next = asked.filter(is_ours).filter(|next| !next.starts_with("/log"));
    next.unwrap_or("/").to_owned()
}

fn content(looks: &Looks, visitor: Option<&Visitor>, oidc: Option<&Oidc>, next: &str, said: Option<&str>) -> Markup {
    let t = looks.texts();
    let content = html! {
        h1 { (t.login_title) }
        @if let Some(visitor) = visitor {
            @let role = visitor.principal.role().map_or("", |role| role.name());
            p { (filled(t.logged_in_as, &[("name", &visitor.principal.name()), ("role", role)])) }
        }
        @if let Some(said) = said {
            p.note role="status" { (said) }
        }
        @if let Some(oidc) = oidc {
            p.elsewhere {
                a.button href=(address("/login/oidc", &[("next", next)])) {
                    (filled(t.login_elsewhere, &[("provider", oidc.name())]))
                }
            }
            p.note { (t.login_or_token) }
        }
        form method="post" action=(address("/login", &[("lang", looks.language.code())])) {
            input type="hidden" name="next" value=(next);
            p {
                label for="token" { (t.token) }
                input #token type="password" name="token" required autocomplete="current-password"
                    aria-describedby="token-hint" spellcheck="false";
            }
            p #token-hint .note { (t.token_hint) }
            p { button type="submit" { (t.log_in) } }
        }
    };
    shell(looks, visitor, Place::Elsewhere, t.login_title, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_server() {
        assert_eq!(next(Some("/tables/demo.gdp?x=1")), "/tables/demo.gdp?x=1");
        for wrong in ["", "//evil.example", "https://evil.example", "/\\evil", "\\evil", "/a\r\nb", "/logout", "a"] {
            assert_eq!(next(Some(wrong)), "/", "{wrong}");
        }
    }
}
