//! A loopback server that answers as the recorded provider did, so that whole runs can be tried without the network.
//!
//! Bodies and headers are sent as recorded, absolute URLs in them included; only headers of the connection are made
//! anew. Requests are matched by method, path and query (and body); [`ReplayServer::url`] maps a provider's address to
//! this server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hambar_core::Validators;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::body::BoxError;
use crate::error::FetchError;
use crate::recording::Recordings;
use crate::replay::answer_headers;

/// Bytes of a request body that are read for matching.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct ReplayServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    recordings: Recordings,
    asked: Mutex<Vec<String>>,
}

impl ReplayServer {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// [`FetchError::Connection`] when no port can be had.
    pub async fn start(recordings: Recordings) -> Result<Self, FetchError> {
        let failed = |source: std::io::Error| FetchError::Connection {
            url: "http://127.0.0.1/".to_owned(),
            source: Box::new(source),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared { recordings, asked: Mutex::new(Vec::new()) });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Maps a provider's address to this server: path and query stay.
    pub fn url(&self, original: &Url) -> Url {
        let mut mapped = original.clone();
        let ok = mapped.set_scheme("http").is_ok()
            && mapped.set_ip_host(self.address.ip()).is_ok()
            && mapped.set_port(Some(self.address.port())).is_ok();
        debug_assert!(ok, "http and https addresses take another host and port");
        mapped
    }

    /// Returns what was asked so far, as `GET /path?query`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                Err(error) => tracing::debug!(%error, "replay connection not accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "replay connection ended");
    }
}

async fn answer(shared: &Shared, request: http::Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} {target}", parts.method));
    let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large to be matched");
    };
    let Ok(url) = Url::parse(&format!("http://127.0.0.1{target}")) else {
        return plain(StatusCode::BAD_REQUEST, "the target is not a path");
    };
    let Some(exchange) = shared.recordings.answer(parts.method.as_str(), &url, &body.to_bytes()) else {
        return plain(StatusCode::NOT_FOUND, &format!("no recorded exchange answers {} {target}", parts.method));
    };
    let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let known = Validators { etag: text(header::IF_NONE_MATCH), last_modified: text(header::IF_MODIFIED_SINCE) };
    let mut response = Response::new(empty());
    *response.headers_mut() = answer_headers(exchange);
    if exchange.is_unchanged(&known) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    *response.status_mut() = StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let may_have_body = parts.method != http::Method::HEAD && exchange.status != 204;
    if may_have_body {
        let Ok(file) = tokio::fs::File::open(shared.recordings.body_path(exchange)).await else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the recorded body is missing");
        };
        let stream = tokio_util::io::ReaderStream::new(file).map_ok(Frame::data).map_err(BoxError::from);
        *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(stream.boxed()));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(exchange.body_bytes));
    }
    response
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(BoxError::from).boxed_unsync()
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(BoxError::from).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
