//! Arrow Flight SQL beside HTTP: a port of its own, with the same certificate, limits and members.

use std::sync::Arc;

use anyhow::Result;
use hambar_server::{
    Authenticator, ConnectionLimits, FLIGHT_ALPN, HttpSettings, Listener, QueryFront, Security, ServerTls,
    flight_router, load_tls, serve_flight,
};
use tokio_util::sync::CancellationToken;

use super::serve::tls_files;
use crate::config::ServerConfig;

/// A port that listens and is not served yet.
pub(super) struct FlightPort {
    listener: Listener,
    tls: Option<Arc<ServerTls>>,
}

impl FlightPort {
    /// Listens where the configuration says, if it says so.
    pub(super) async fn bind(
        settings: &ServerConfig,
        security: Security,
        connections: ConnectionLimits,
    ) -> Result<Option<Self>> {
        if settings.flight.listen.is_empty() {
            return Ok(None);
        }
        let tls = tls_files(settings).map(|files| load_tls(&files, &[FLIGHT_ALPN])).transpose()?;
        let listener = Listener::bind(&settings.flight.listen, security, connections).await?;
        Ok(Some(Self { listener, tls }))
    }

    /// Says where it listens, and returns what serves it until `stop`.
    pub(super) fn serve(
        self,
        front: QueryFront,
        authenticator: Authenticator,
        settings: HttpSettings,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + 'static> {
        let routes = flight_router(front.clone(), authenticator, &settings)?;
        let scheme = if self.tls.is_some() { "grpc+tls" } else { "grpc" };
        println!("listening on {scheme}://{}", self.listener.address());
        Ok(serve_flight(self.listener, self.tls, routes, front, settings, stop))
    }
}
