//! The span of a request that comes over HTTP, with or without gRPC in it: from its head to the last byte of its answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::body::{Body as _, Frame, SizeHint};

use super::context::Remote;
use super::span::{OUTCOME, Span};
use super::{Tracer, within};

/// Tells the caller which trace its request is in.
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const GRPC_STATUS: &str = "grpc-status";
const FLIGHT: &str = "/arrow.flight.protocol.FlightService/";
/// Characters of a path that are shown.
const PATH_CHARS_MAX: usize = 200;
/// What machines ask every few seconds, and nobody looks for in a trace.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// What stands for a part of a path that may be anything.
const ANYTHING: &str = "{}";

/// The parts of addresses that are the same for everybody. Others are not named: they are tables, ids, or wrong.
const WORDS: [&str; 39] = [
    "about",
    "api",
    "assets",
    "catalog",
    "catalog.jsonld",
    "catalog.rdf",
    "catalog.ttl",
    "catalogue",
    "cite",
    "croissant.json",
    "data.arrow",
    "data.csv",
    "data.csv-metadata.json",
    "data.ndjson",
    "data.parquet",
    "data.xlsx",
    "datapackage.json",
    "docs",
    "errors",
    "login",
    "logout",
    "oidc",
    "openapi.json",
    "operations",
    "permalink",
    "q",
    "queries",
    "results",
    "robots.txt",
    "saved",
    "schema",
    "schema-org.json",
    "search",
    "sitemap.xml",
    "sql",
    "style.css",
    "tables",
    "verify",
    "vintages",
];

/// The calls of Flight.
const CALLS: [&str; 10] = [
    "Handshake",
    "ListFlights",
    "GetFlightInfo",
    "PollFlightInfo",
    "GetSchema",
    "DoGet",
    "DoPut",
    "DoExchange",
    "DoAction",
    "ListActions",
];

/// What is spoken over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP itself.
    Http,
    /// gRPC.
    Grpc,
}

/// Where requests come in.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    pub(crate) tracer: Tracer,
    pub(crate) speech: Speech,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Does what a request asks for in a span of its own, which ends when the answer was sent.
pub(crate) async fn enter(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    if entrance.tracer.is_off() || PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let remote = Remote::of(request.headers());
    let mut span = entrance.tracer.request(remote.as_ref(), "request");
    let asked = Asked::of(&request);
    entrance.describe(&asked, &mut span);
    let place = span.place();
    let mut response = within(place.clone(), next.run(request)).await;
    if let Some(told) = place.told().and_then(|told| HeaderValue::from_str(&told).ok()) {
        response.headers_mut().insert(TRACE_RESPONSE, told);
    }
    entrance.answered(&asked, &response, &mut span);
    if !span.is_recorded() {
        return response;
    }
    // Of what is asked for without its body, nobody takes the body.
    let (speech, is_over) = (entrance.speech, asked.method == Method::HEAD);
    response.map(|body| Body::new(Sent { body: Some(body), span: Some(span), speech, bytes: 0, is_over }))
}

/// What is looked at of a request once it was handed on.
struct Asked {
    method: Method,
    path: String,
    version: Version,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let (method, version) = (request.method().clone(), request.version());
        // Without what follows the question mark, which may hold statements and values.
        Self { method, version, path: request.uri().path().to_owned() }
    }

    /// The method, where it is one that there is.
    fn method(&self) -> &str {
        let known =
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];
        if known.contains(&self.method) { self.method.as_str() } else { "_OTHER" }
    }

    /// The path, as far as it may be shown: a token that somebody has put there may not.
    fn path(&self) -> String {
        let parts = self.path.split('/').map(|part| if part.contains("hbr_") { "***" } else { part });
        parts.collect::<Vec<_>>().join("/").chars().take(PATH_CHARS_MAX).collect()
    }

    /// The call of Flight, one of those that there are.
    fn call(&self) -> &'static str {
        let named = self.path.strip_prefix(FLIGHT);
        CALLS.into_iter().find(|call| named == Some(call)).unwrap_or("_OTHER")
    }
}

impl Entrance {
    fn describe(&self, asked: &Asked, span: &mut Span) {
        if !span.is_recorded() {
            return;
        }
        match self.speech {
            Speech::Http => {
                span.rename(asked.method().to_owned());
                span.set("http.request.method", asked.method());
                span.set("url.path", asked.path());
                span.set("url.scheme", self.scheme);
            }
            Speech::Grpc => {
                span.rename(format!("{}{}", FLIGHT.trim_start_matches('/'), asked.call()));
                span.set("rpc.system", "grpc");
                span.set("rpc.service", FLIGHT.trim_matches('/'));
                span.set("rpc.method", asked.call());
            }
        }
        span.set("network.protocol.name", "http");
        if let Some(version) = version(asked.version) {
            span.set("network.protocol.version", version);
        }
    }

    fn answered(&self, asked: &Asked, response: &Response, span: &mut Span) {
        if !span.is_recorded() {
            return;
        }
        match self.speech {
            Speech::Http => {
                let status = response.status();
                span.set("http.response.status_code", u64::from(status.as_u16()));
                if status.is_server_error() {
                    span.fail(status.as_str());
                }
                if let Some(route) = route(&asked.path).filter(|_| status != StatusCode::NOT_FOUND) {
                    span.rename(format!("{} {route}", asked.method()));
                    span.set("http.route", route);
                }
            }
            Speech::Grpc => grpc_ended(response.headers(), span),
        }
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// The address without what is different for everybody.
fn route(path: &str) -> Option<String> {
    if path == "/" {
        return Some(path.to_owned());
    }
    let mut parts = path.strip_prefix('/')?.split('/');
    let first = parts.next().filter(|part| WORDS.contains(part))?;
    let rest = parts.map(|part| if WORDS.contains(&part) { part } else { ANYTHING });
    Some(std::iter::once(first).chain(rest).fold(String::new(), |route, part| format!("{route}/{part}")))
}

/// Notes the status of a call, which is in the headers where there is no body, else after the body.
fn grpc_ended(headers: &HeaderMap, span: &mut Span) {
    let Some(code) = headers.get(GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse::<u64>().ok()) else { return };
    span.set("rpc.grpc.status_code", code);
    match code {
        0 => {}
        // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss: ours.
        2 | 4 | 12 | 13 | 14 | 15 => span.fail(&code.to_string()),
        _ => span.refuse(&code.to_string()),
    }
}

/// A body, and the request that is over when it was sent.
struct Sent {
    body: Option<Body>,
    span: Option<Span>,
    speech: Speech,
    bytes: u64,
    is_over: bool,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.speech == Speech::Grpc
                    && let (Some(trailers), Some(span)) = (frame.trailers_ref(), this.span.as_mut())
                {
                    grpc_ended(trailers, span);
                }
            }
            Poll::Ready(Some(Err(_))) => {
                if let Some(span) = this.span.as_mut() {
                    span.fail("broken off");
                }
                this.is_over = true;
            }
            Poll::Ready(None) => this.is_over = true,
            Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let is_whole = self.is_over || self.is_end_stream();
        // What is behind it has spans of its own, which end first.
        self.body = None;
        if let Some(mut span) = self.span.take() {
            span.set("http.response.body.size", self.bytes);
            if !is_whole {
                span.set(OUTCOME, "abandoned");
            }
            span.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Asked {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        Asked::of(&request)
    }

    #[test]
    fn routes_name_nothing_that_is_different_for_everybody() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/api/sql", Some("/api/sql")),
            ("/api/sql.csv", Some("/api/{}")),
            ("/api/tables/demo.figures/schema", Some("/api/tables/{}/schema")),
            ("/cite/q/0f/verify", Some("/cite/q/{}/verify")),
            ("/hbr_secret", None),
            ("/wp-admin/x", None),
            ("//", None),
        ] {
            assert_eq!(route(path).as_deref(), expected, "{path}");
        }
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn what_is_shown_of_a_request_is_bounded_and_holds_no_token() {
        assert_eq!(asked("GET", "/a/hbr_abc/b?q=SELECT").path(), "/a/***/b");
        assert_eq!(asked("GET", &format!("/{}", "x".repeat(5_000))).path().len(), PATH_CHARS_MAX);
        assert_eq!((asked("BREW", "/").method(), asked("POST", "/").method()), ("_OTHER", "POST"));
        let call = "/arrow.flight.protocol.FlightService/DoGet";
        assert_eq!((asked("POST", call).call(), asked("POST", "/x/DoGet").call()), ("DoGet", "_OTHER"));
    }
}
