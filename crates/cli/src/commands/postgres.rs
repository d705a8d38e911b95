//! The Postgres protocol beside HTTP: a port of its own, with the same certificate, limits and members.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hambar_server::{
    Authenticator, ConnectionLimits, Listener, POSTGRES_ALPN, PostgresSettings, QueryFront, Security, ServerTls,
    load_tls, serve_postgres,
};
use tokio_util::sync::CancellationToken;

use super::serve::tls_files;
use crate::config::ServerConfig;

/// A port that listens and is not served yet.
pub(super) struct PostgresPort {
    listener: Listener,
    tls: Option<Arc<ServerTls>>,
    settings: PostgresSettings,
}

impl PostgresPort {
    /// Listens where the configuration says, if it says so.
    pub(super) async fn bind(
        settings: &ServerConfig,
        security: Security,
        connections: ConnectionLimits,
    ) -> Result<Option<Self>> {
        if settings.postgres.listen.is_empty() {
            return Ok(None);
        }
        let tls = tls_files(settings).map(|files| load_tls(&files, &[POSTGRES_ALPN])).transpose()?;
        let listener = Listener::bind(&settings.postgres.listen, security, connections).await?;
        Ok(Some(Self { listener, tls, settings: limits(settings) }))
    }

    /// Says where it listens, and returns what serves it until `stop`.
    pub(super) fn serve(
        self,
        front: QueryFront,
        authenticator: Authenticator,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + 'static> {
        println!("listening on postgres://{}", self.listener.address());
        Ok(serve_postgres(self.listener, self.tls, front, authenticator, self.settings, stop)?)
    }
}

fn limits(settings: &ServerConfig) -> PostgresSettings {
    let connections = &settings.connections;
    let seconds = Duration::from_secs;
    PostgresSettings {
        start_time_max: seconds(connections.head_seconds_max),
        message_time_max: seconds(connections.body_seconds_max),
        idle_time_max: seconds(settings.postgres.idle_seconds_max),
        write_time_max: seconds(connections.write_seconds_max),
    }
}
