//! Logging in elsewhere, as the browser sees it: `/login/oidc` sends it to the provider, `/login/callback` takes it back. Every
//! failure is a page that says what to do, in the visitor's language; causes are in the log.

use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::html;

use super::error;
use super::login::{LOGIN_COOKIE, next, set_cookie};
use super::looks::{Looks, address};
use super::shell::{Place, shell};
use super::texts::{Texts, filled};
use crate::access::pending;
use crate::access::session::NewSession;
use crate::access::{AccessError, Principal};
use crate::front::Protocol;
use crate::oidc::{Back, Failed, LoginFailure, Oidc, Recognised};
use crate::rest::State;
use crate::rest::auth;
use crate::rest::problem::Problem;

/// Sends a browser on as if somebody had followed a link of the page. After an answer that redirects, browsers would hold
/// back the session's cookie, because it was another site that has sent them; and no form may lead elsewhere.
const REFRESH: HeaderName = HeaderName::from_static("refresh");

/// Begins a login elsewhere.
pub(super) async fn begin(Shared(state): Shared<State>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let looks = Looks::of(&parts, &state);
    let Some(oidc) = &state.oidc else { return not_here(&looks) };
    let next = next(looks.asked("next"));
    // The provider sends browsers back to the one address that it knows: they have to begin there.
    let own = oidc.at("/login/oidc");
    let is_there = looks.asked("again").is_some() || host_of(&own) == host_of(&looks.origin);
    if !is_there {
        return Redirect::to(&address(&own, &[("next", &next), ("again", "1")])).into_response();
    }
    let looks = of_login(looks, &next);
    let (pending, cookie) = match state.authenticator.begin_login(&next) {
        Ok(begun) => begun,
        Err(problem) => return error::page(&looks, None, &problem.into()),
    };
    match oidc.address(&pending, looks.language.code()).await {
        Ok(target) => {
            let mut response = Redirect::to(target.as_str()).into_response();
            set_cookie(&mut response, &cookie_of(&cookie, pending::LIFETIME.as_secs(), oidc));
            response
        }
        Err(failed) => failure(&state, &parts, &looks, oidc, failed),
    }
}

/// Takes a browser back.
pub(super) async fn callback(Shared(state): Shared<State>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let looks = Looks::of(&parts, &state);
    let Some(oidc) = &state.oidc else { return not_here(&looks) };
    let pending = auth::cookie(&parts.headers, LOGIN_COOKIE);
    let pending = pending.and_then(|cookie| state.authenticator.resume_login(cookie));
    let sent = |name: &str| looks.asked(name).map(str::to_owned);
    let back = Back { code: sent("code"), state: sent("state"), issuer: sent("iss"), error: sent("error") };
    // What stands in the cookie is ours, and only what may be gone on to was put into it.
    let next = pending.as_ref().map_or_else(|| "/".to_owned(), |pending| pending.next.clone());
    let looks = of_login(looks, &next);
    let mut response = match oidc.finish(pending, back, state.front.now()).await {
        Ok(known) => admit(&state, &parts, &looks, oidc, known, &next).await,
        Err(failed) => failure(&state, &parts, &looks, oidc, failed),
    };
    // It is over, however it went.
    set_cookie(&mut response, &cookie_of("", 0, oidc));
    response
}

async fn admit(state: &State, parts: &Parts, looks: &Looks, oidc: &Oidc, known: Recognised, next: &str) -> Response {
    match state.authenticator.admit(&known.name, known.grant.as_ref()).await {
        Ok(Some((principal, session))) => welcome(state, parts, looks, oidc, &principal, &session, next),
        Ok(None) => {
            let failed = LoginFailure::Unknown.because("nobody with this name is a member, and nothing is granted");
            failure(state, parts, looks, oidc, Failed { who: Some(known.name), ..failed })
        }
        Err(problem @ (AccessError::Unknown { .. } | AccessError::Taken { .. })) => {
            let failed = LoginFailure::Setup.because(problem);
            failure(state, parts, looks, oidc, Failed { who: Some(known.name), ..failed })
        }
        Err(problem) => error::page(looks, None, &problem.into()),
    }
}

fn welcome(
    state: &State,
    parts: &Parts,
    looks: &Looks,
    oidc: &Oidc,
    principal: &Principal,
    session: &NewSession,
    next: &str,
) -> Response {
    state.front.logged_in(Protocol::Web, auth::address(parts, state), principal);
    state.front.metrics().login_elsewhere("accepted");
    let mut response = going_on(looks, looks.texts().logged_in, next);
    let is_https = oidc.at("").starts_with("https:") || looks.origin.starts_with("https:");
    set_cookie(&mut response, &super::login::cookie(session, is_https));
    response
}

/// The page after a session here has ended, which sends the browser on to end it at the provider.
pub(super) fn gone(looks: &Looks, target: &str) -> Response {
    going_on(&of_login(looks.clone(), "/"), looks.texts().logged_out, target)
}

/// A page that sends the browser on to `target` at once, and says so where it does not go.
fn going_on(looks: &Looks, said: &str, target: &str) -> Response {
    let t = looks.texts();
    let content = html! {
        h1 { (said) }
        p.actions { a href=(target) { (t.go_on) } }
    };
    let mut response = looks.respond(StatusCode::OK, &shell(looks, None, Place::Elsewhere, said, &content));
    let headers = response.headers_mut();
    headers.remove(header::ETAG);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={target}")) {
        headers.insert(REFRESH, value);
    }
    response
}

fn failure(state: &State, parts: &Parts, looks: &Looks, oidc: &Oidc, failed: Failed) -> Response {
    let from = auth::address(parts, state);
    let is_told = !matches!(state.authenticator.refused(from), AccessError::Tried);
    state.front.login_failed(from, &failed, is_told);
    let t = looks.texts();
    let (status, title, way) = words(t, failed.failure);
    let values = [
        ("provider", oidc.name()),
        ("claim", oidc.member_claim()),
        ("name", failed.who.as_deref().unwrap_or_default()),
    ];
    let again =
        address("/login", &looks.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
    let content = html! {
        section.error {
            h1 { (filled(title, &values)) }
            p { (filled(way, &values)) }
            p.actions { a href="/" { (t.to_catalogue) } " · " a href=(again) { (t.login_again) } }
        }
    };
    let mut response = looks.respond(status, &shell(looks, None, Place::Elsewhere, t.log_in, &content));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// What is said of a failure: its status, what it is, and what to do.
fn words(t: &'static Texts, failure: LoginFailure) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as Is;
    match failure {
        LoginFailure::Unreachable => (Is::SERVICE_UNAVAILABLE, t.oidc_unreachable, t.oidc_unreachable_way),
        LoginFailure::Busy => (Is::SERVICE_UNAVAILABLE, t.oidc_busy, t.oidc_busy_way),
        LoginFailure::Setup => (Is::BAD_GATEWAY, t.oidc_setup, t.oidc_setup_way),
        LoginFailure::Cancelled => (Is::FORBIDDEN, t.oidc_cancelled, t.oidc_cancelled_way),
        LoginFailure::Stale => (Is::BAD_REQUEST, t.oidc_stale, t.oidc_stale_way),
        LoginFailure::Clock => (Is::BAD_GATEWAY, t.oidc_clock, t.oidc_clock_way),
        LoginFailure::Unproven => (Is::FORBIDDEN, t.oidc_unproven, t.oidc_unproven_way),
        LoginFailure::Claim => (Is::FORBIDDEN, t.oidc_claim, t.oidc_claim_way),
        LoginFailure::Unverified => (Is::FORBIDDEN, t.oidc_unverified, t.oidc_unverified_way),
        LoginFailure::Unknown => (Is::FORBIDDEN, t.oidc_unknown, t.oidc_unknown_way),
    }
}

fn not_here(looks: &Looks) -> Response {
    error::page(looks, None, &Problem::not_found("this address"))
}

/// The looks of the login's page: what came from the provider is in no link.
fn of_login(mut looks: Looks, next: &str) -> Looks {
    looks.path = "/login".to_owned();
    looks.query = vec![("next".to_owned(), next.to_owned())];
    looks
}

fn cookie_of(value: &str, seconds: i64, oidc: &Oidc) -> String {
    let secure = if oidc.at("").starts_with("https:") { "; Secure" } else { "" };
    // The provider's site sends the browser back: with `Strict` the cookie would stay behind.
    format!("{LOGIN_COOKIE}={value}; Path=/login; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn host_of(address: &str) -> Option<&str> {
    address.split_once("://")?.1.split('/').next()
}
