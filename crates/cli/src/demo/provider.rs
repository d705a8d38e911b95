//! A small provider on the loopback interface that speaks real protocols over the demo's figures: World Bank API v2,
//! SDMX REST 2.1, CKAN action API, and plain files with validators and ranges. It serves a first release until it is
//! told to publish the revised one.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::messages;

/// A running provider; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    is_revised: AtomicBool,
    requests: AtomicU64,
    not_modified: AtomicU64,
}

/// What an address answers with.
pub(super) struct Answer {
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) last_modified: &'static str,
}

/// When the releases were published, for `Last-Modified` (RFC 9110 §8.8.2).
pub(super) const FIRST_RELEASE: &str = "Mon, 04 Jul 2022 08:00:00 GMT";
pub(super) const REVISED_RELEASE: &str = "Thu, 01 Sep 2022 08:00:00 GMT";

impl Provider {
    /// Starts on a free port of 127.0.0.1.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on 127.0.0.1")?;
        let address = listener.local_addr().context("listen on 127.0.0.1")?;
        let state = Arc::new(State::default());
        let server = tokio::spawn(accept(listener, address, Arc::clone(&state)));
        Ok(Self { address, state, server })
    }

    /// The address that pipeline files begin with.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes the revised release.
    pub(crate) fn publish_revision(&self) {
        self.state.is_revised.store(true, Ordering::SeqCst);
    }

    /// Requests so far, and how many of them were answered with 304.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.state.requests.load(Ordering::SeqCst), self.state.not_modified.load(Ordering::SeqCst))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors or the like: try again soon instead of spinning.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(&request, address, &state)) }
            });
            // A client that goes away in the middle is no news.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, address: SocketAddr, state: &State) -> Response<Full<Bytes>> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
    }
    let is_revised = state.is_revised.load(Ordering::SeqCst);
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let accept = header(request.headers(), "accept").unwrap_or_default();
    let base = format!("http://{address}");
    match messages::route(request.uri().path(), &query, &accept, &base, is_revised) {
        Ok(found) => {
            let response = conditional(request.headers(), found, request.method() == Method::HEAD);
            if response.status() == StatusCode::NOT_MODIFIED {
                state.not_modified.fetch_add(1, Ordering::SeqCst);
            }
            response
        }
        Err((status, text)) => plain(status, &text),
    }
}

/// Answers with 304, a range, or the whole body (RFC 9110 §13, §14).
fn conditional(headers: &HeaderMap, found: Answer, is_head: bool) -> Response<Full<Bytes>> {
    let etag = etag(&found.body);
    let is_same = match header(headers, "if-none-match") {
        Some(known) => known.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"),
        None => header(headers, "if-modified-since").is_some_and(|known| known == found.last_modified),
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    let out = response.headers_mut();
    set(out, "etag", &etag);
    set(out, "last-modified", found.last_modified);
    set(out, "cache-control", "no-cache");
    if is_same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(out, "content-type", found.content_type);
    set(out, "accept-ranges", "bytes");
    let length = found.body.len();
    let may_resume = header(headers, "if-range").is_none_or(|known| known == etag);
    let start = header(headers, "range")
        .filter(|_| may_resume)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|start| *start < length);
    let body = match start {
        Some(start) => {
            set(out, "content-range", &format!("bytes {start}-{}/{length}", length - 1));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            found.body[start..].to_vec()
        }
        None => found.body,
    };
    if is_head {
        set(response.headers_mut(), "content-length", &body.len().to_string());
    } else {
        *response.body_mut() = Full::new(Bytes::from(body));
    }
    response
}

/// A strong validator from the bytes (FNV-1a, 64 bits; the demo's bodies are small and ours).
fn etag(body: &[u8]) -> String {
    let hash = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let mut tag = String::from("\"");
    let _ = write!(tag, "{hash:016x}\"");
    tag
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    set(response.headers_mut(), "content-type", "text/plain; charset=utf-8");
    response
}
