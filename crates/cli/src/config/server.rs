//! `[server]`: where it listens, who may come in, and what queries may use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use hambar_connect::SecretRef;
use hambar_core::limits::MIB;
use hambar_server::{Centre, theme_codes};
use serde::Deserialize;
use url::Url;

use super::oidc::{OidcConfig, Store};

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
    pub(crate) centre: CentreConfig,
    pub(crate) oidc: OidcConfig,
    pub(crate) tls: TlsConfig,
    pub(crate) flight: FlightConfig,
    pub(crate) results: ResultsConfig,
    pub(crate) postgres: PostgresConfig,
    pub(crate) connections: ConnectionsConfig,
    pub(crate) queries: QueriesConfig,
}

/// `[server.centre]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CentreConfig {
    pub(crate) url: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) publisher: String,
    pub(crate) contact: String,
    pub(crate) store: String,
    #[serde(default)]
    pub(crate) themes: BTreeMap<String, String>,
}

impl CentreConfig {
    /// Returns what the centre says of itself.
    pub(crate) fn centre(&self) -> Result<Centre> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let url = text(&self.url).map(|text| checked_url("url", &text)).transpose()?;
        if url.as_ref().is_some_and(|url| url.query().is_some() || url.fragment().is_some()) {
            bail!("`server.centre.url` is where all addresses begin, without `?` and `#`");
        }
        let contact = match text(&self.contact) {
            Some(mail) if mail.contains('@') && !mail.contains([':', '/', ' ', '<', '>', '"']) => {
                Some(format!("mailto:{mail}"))
            }
            Some(page) => Some(checked_url("contact", &page)?.to_string()),
            None => None,
        };
        if let Some((namespace, theme)) =
            self.themes.iter().find(|(_, theme)| !theme_codes().any(|code| code == *theme))
        {
            let known: Vec<&str> = theme_codes().collect();
            bail!("`server.centre.themes.{namespace}` is `{theme}`, which is no theme: use {}", known.join(", "));
        }
        let title = text(&self.title).unwrap_or_else(|| "Hambar".to_owned());
        Ok(Centre {
            description: text(&self.description).unwrap_or_else(|| "Open data, kept with its history".to_owned()),
            publisher: text(&self.publisher).unwrap_or_else(|| title.clone()),
            title,
            contact,
            url,
            store: text(&self.store).map(|text| checked_url("store", &text)).transpose()?,
            themes: self.themes.clone(),
        })
    }
}

fn checked_url(setting: &str, text: &str) -> Result<Url> {
    match Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(url),
        _ => bail!("`server.centre.{setting}` is `{text}`, not an address that starts with `https://`"),
    }
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
        let is_written = if self.audit { Store::Written } else { Store::OnlyRead };
        self.oidc.settings(&self.centre.centre()?, is_written)?;
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
