//! `[server]`: where it listens, who may come in, and what queries may use.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use hambar_connect::SecretRef;
use hambar_core::limits::MIB;
use serde::Deserialize;

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    pub(crate) listen: String,
    pub(crate) allow_plaintext: bool,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) anonymous: bool,
    pub(crate) public: Vec<String>,
    pub(crate) open_metrics: bool,
    #[serde(default)]
    pub(crate) session_key: Option<SecretRef>,
    pub(crate) audit: bool,
    pub(crate) audit_seconds: u64,
    pub(crate) cache_bytes_max: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) tls: TlsConfig,
    pub(crate) flight: FlightConfig,
    pub(crate) results: ResultsConfig,
    pub(crate) postgres: PostgresConfig,
    pub(crate) connections: ConnectionsConfig,
    pub(crate) queries: QueriesConfig,
}

/// `[server.tls]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConfig {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[server.flight]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlightConfig {
    pub(crate) listen: String,
}

/// `[server.results]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultsConfig {
    pub(crate) bytes_max: u64,
    pub(crate) per_member_max: usize,
    pub(crate) idle_seconds_max: u64,
}

/// `[server.postgres]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresConfig {
    pub(crate) listen: String,
    pub(crate) idle_seconds_max: u64,
}

/// `[server.connections]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionsConfig {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) head_bytes_max: usize,
    pub(crate) head_seconds_max: u64,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_seconds_max: u64,
    pub(crate) write_seconds_max: u64,
}

/// `[server.queries]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueriesConfig {
    pub(crate) workers: usize,
    pub(crate) threads: usize,
    pub(crate) per_member_max: usize,
    pub(crate) per_organisation_max: usize,
    pub(crate) queue_max: usize,
    pub(crate) queue_per_member_max: usize,
    pub(crate) queue_seconds_max: u64,
    pub(crate) plan_seconds_max: u64,
    pub(crate) run_seconds_max: u64,
    pub(crate) reader_seconds_max: u64,
    pub(crate) memory_bytes_max: u64,
    pub(crate) spill_bytes_max: u64,
    pub(crate) result_rows_max: u64,
    pub(crate) result_bytes_max: u64,
    pub(crate) scan_bytes_max: u64,
}

impl ServerConfig {
    /// Checks what would otherwise fail at the first request.
    pub(crate) fn check(&self) -> Result<()> {
        let tls = &self.tls;
        if tls.certificate.as_os_str().is_empty() != tls.key.as_os_str().is_empty() {
            bail!("`server.tls.certificate` and `server.tls.key` belong together: set both or neither");
        }
        let queries = &self.queries;
        if queries.memory_bytes_max < 16 * MIB {
            bail!("`server.queries.memory_bytes_max` must be at least 16 MiB");
        }
        let connections = &self.connections;
        let least_one = [
            ("audit_seconds", self.audit_seconds),
            ("results.per_member_max", self.results.per_member_max as u64),
            ("results.idle_seconds_max", self.results.idle_seconds_max),
            ("connections.connections_max", connections.connections_max as u64),
            ("connections.connections_per_address_max", connections.connections_per_address_max as u64),
            ("connections.head_seconds_max", connections.head_seconds_max),
            ("connections.body_seconds_max", connections.body_seconds_max),
            ("connections.write_seconds_max", connections.write_seconds_max),
            ("postgres.idle_seconds_max", self.postgres.idle_seconds_max),
            ("queries.per_member_max", queries.per_member_max as u64),
            ("queries.plan_seconds_max", queries.plan_seconds_max),
            ("queries.run_seconds_max", queries.run_seconds_max),
            ("queries.reader_seconds_max", queries.reader_seconds_max),
        ];
        if let Some((name, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            bail!("`server.{name}` must be at least 1");
        }
        if connections.head_bytes_max < 8 * 1024 {
            bail!("`server.connections.head_bytes_max` must be at least 8 KiB");
        }
        Ok(())
    }
}
