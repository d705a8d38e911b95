//! Arrow Flight SQL over gRPC: statements, prepared statements and metadata, over the same front as every other protocol.
//! Nothing is written: updates, ingestion, transactions, plans in Substrait and exchanges are refused.
//!
//! A client asks for a [`ticket`] first and for the rows with it. A ticket is signed with a key of this process
//! and holds the statement; a prepared statement is remembered by this process. Whoever puts several servers behind one
//! address keeps each connection with one of them.

mod actions;
mod commands;
mod door;
mod encode;
mod metadata;
mod put;
mod running;
mod server_info;
mod service;
mod statements;
mod status;
mod ticket;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::{Router, middleware};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::access::{AccessError, Authenticator};
use crate::front::{FrontError, QueryFront};
use crate::net::{Listener, Security};
use crate::rest::HttpSettings;
use crate::rest::serve::{Shared, Versions, serve};
use crate::trace::{self, Entrance, Speech};
use door::Gate;
use service::Service;

/// The protocol that TLS clients of gRPC choose.
pub const FLIGHT_ALPN: &[u8] = b"h2";

/// Bytes of all that a client sends with one call: a statement, a ticket, or the values of parameters.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Returns the routes of Flight SQL.
///
/// # Errors
/// Where the system gives no random numbers.
pub fn flight_router(
    front: QueryFront,
    authenticator: Authenticator,
    settings: &HttpSettings,
) -> Result<Router, FrontError> {
    let service = Service::new(front.clone()).map_err(|_| FrontError::Access(AccessError::Random))?;
    let server = FlightServiceServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let scheme = if settings.security == Security::Tls { "https" } else { "http" };
    let entrance = Entrance { tracer: front.tracer().clone(), speech: Speech::Grpc, scheme };
    let gate = Gate { front, authenticator, trusted_proxies: settings.trusted_proxies.as_slice().into() };
    let routes = Routes::new(server).prepare().into_axum_router();
    // Before anything is read of a request, whatever it asks for: no call can be forgotten.
    let routes = routes.layer(middleware::from_fn_with_state(gate, door::let_in));
    Ok(routes.layer(middleware::from_fn_with_state(entrance, trace::enter)))
}

/// Serves Flight SQL on `listener` until `stop`; then lets calls end and returns.
pub async fn serve_flight(
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    front: QueryFront,
    settings: HttpSettings,
    stop: CancellationToken,
) {
    let tls = tls.map(TlsAcceptor::from);
    serve(listener, Shared { router, versions: Versions::Two, front, settings, tls, stop }).await;
}
