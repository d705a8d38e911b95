//! HTTP connections: HTTP/1.1 and HTTP/2 on one port (or HTTP/2 alone, for gRPC), with limits on heads, streams and
//! silence.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::auth::Peer;
use super::{HttpSettings, body};
use crate::front::QueryFront;
use crate::net::{Accepted, Listener, Stalling};

/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 32;
/// Streams that a client may reset before they are looked at.
const RESETS_MAX: usize = 20;
/// Bytes of one HTTP/2 stream that wait to be sent.
const STREAM_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a request that a client may send before somebody has read them, on one HTTP/2 stream and on one connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// What a client hears whose connection is one too many.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 2\r\nconnection: close\r\n\r\n";

/// The versions of HTTP that are spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// 1.1 and 2.
    Both,
    /// 2 only, as gRPC has it.
    Two,
}

/// Serves `router` on `listener` until `stop`; then lets requests end and returns.
pub async fn serve_http(
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    front: QueryFront,
    settings: HttpSettings,
    stop: CancellationToken,
) {
    let tls = tls.map(TlsAcceptor::from);
    serve(listener, Shared { router, versions: Versions::Both, front, settings, tls, stop }).await;
}

/// Serves connections on `listener` until it is told to stop.
pub(crate) async fn serve(listener: Listener, shared: Shared) {
    let stop = shared.stop.clone();
    let shared = Arc::new(shared);
    let all = Arc::clone(&shared);
    let serve = move |stream: TcpStream, accepted: Accepted| {
        let shared = Arc::clone(&all);
        async move {
            let connections = shared.front.metrics().connections.clone();
            connections.inc();
            shared.connection(stream, accepted.peer).await;
            connections.dec();
            drop(accepted);
        }
    };
    // On a port that speaks TLS, nothing is said in the clear.
    let is_told = shared.tls.is_none() && shared.versions == Versions::Both;
    let refuse = move |mut stream: TcpStream| async move {
        if !is_told {
            return;
        }
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), stream.write_all(TOO_MANY)).await;
    };
    listener.run(stop, serve, refuse).await;
}

/// What the connections of one port share.
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) versions: Versions,
    pub(crate) front: QueryFront,
    pub(crate) settings: HttpSettings,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    async fn connection(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let stream = Stalling::new(stream, self.settings.write_time_max);
        let Some(acceptor) = &self.tls else {
            return self.requests(stream, peer).await;
        };
        // Garbage and plaintext on a TLS port end here.
        if let Ok(Ok(stream)) = tokio::time::timeout(self.settings.head_time_max, acceptor.accept(stream)).await {
            self.requests(stream, peer).await;
        }
    }

    async fn requests(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let settings = &self.settings;
        let mut builder = Builder::new(TokioExecutor::new());
        if self.versions == Versions::Two {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.head_time_max)
            .max_buf_size(settings.head_bytes_max.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(STREAM_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(settings.head_time_max)
            .keep_alive_timeout(settings.head_time_max);
        let shared = Arc::clone(self);
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        let service = service_fn(move |request| {
            asked.store(true, Ordering::Release);
            let shared = Arc::clone(&shared);
            async move { shared.respond(request, peer).await }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        // While it is open which version of HTTP is spoken, no other limit holds.
        let first = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(settings.head_time_max) => None,
        };
        let ended = match first {
            Some(ended) => ended,
            None if !has_asked.load(Ordering::Acquire) => return,
            None => tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Infallible> {
        let limit = self.settings.body_time_max;
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(Peer(peer));
        let body = Timed { body, limit, waiting: None };
        let request = Request::from_parts(parts, Body::new(body));
        let response = self.router.clone().oneshot(request).await?;
        Ok(response.map(|body| body::watched(body, self.settings.write_time_max)))
    }
}

/// A body that must go on arriving.
struct Timed {
    body: Incoming,
    limit: std::time::Duration,
    waiting: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl hyper::body::Body for Timed {
    type Data = axum::body::Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        use std::task::Poll;
        if let Poll::Ready(frame) = std::pin::Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // One limit for the whole body: whoever sends a byte at a time is no better.
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Some(Err("the body did not arrive in time".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
