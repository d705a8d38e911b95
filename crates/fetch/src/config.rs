//! The settings of fetching: every limit with its default. Reading files and the environment is the binary's job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hambar_core::limits;
use serde::{Deserialize, Serialize};

use crate::address::AllowHosts;
use crate::error::FetchError;

/// The `[fetch]` table of the configuration. Keys that end in `_seconds` take whole or fractional seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Mail address or URL that providers find in the User-Agent. Default: empty.
    pub contact: String,
    /// Time to find the address and to connect, TLS included. Default: 10.
    #[serde(rename = "connect_seconds", with = "seconds")]
    pub connect: Duration,
    /// Time from sending a request to the end of the answer's headers, connecting included. Default: 30.
    #[serde(rename = "first_byte_seconds", with = "seconds")]
    pub first_byte: Duration,
    /// A body slower than `stall_bytes_per_second_min` over this time is given up. Default: 60.
    #[serde(rename = "stall_seconds", with = "seconds")]
    pub stall: Duration,
    /// The slowest body that counts as alive. Default: 1024.
    pub stall_bytes_per_second_min: u64,
    /// Time for one exchange as a whole. Default: 7200.
    #[serde(rename = "total_seconds", with = "seconds")]
    pub total: Duration,
    /// Body bytes on the wire. Default: 20 GiB.
    pub body_bytes_max: u64,
    /// Body bytes after content decoding. Default: 100 GiB.
    pub decoded_bytes_max: u64,
    /// Decoded bytes per wire byte, looked at after the first 10 MiB. Default: 200.
    pub decompression_ratio_max: u64,
    /// Bytes of all headers of an answer. Default: 65536.
    pub header_bytes_max: u64,
    /// Headers of an answer. Default: 100.
    pub header_count_max: usize,
    /// Redirects followed. Default: 5.
    pub redirects_max: usize,
    /// Attempts at one request, the first included. Default: 4.
    pub attempts_max: u32,
    /// Attempts at one resumable request whose body keeps breaking off. Default: 20.
    pub resume_attempts_max: u32,
    /// The first back-off; doubles with each attempt, and a random part of it is waited. Default: 1.
    #[serde(rename = "backoff_seconds", with = "seconds")]
    pub backoff: Duration,
    /// The longest back-off. Default: 60.
    #[serde(rename = "backoff_max_seconds", with = "seconds")]
    pub backoff_max: Duration,
    /// The longest wait that a provider may ask for (`Retry-After`, quota reset); longer ends the run with class
    /// `quota`. Default: 3600.
    #[serde(rename = "retry_after_max_seconds", with = "seconds")]
    pub retry_after_max: Duration,
    /// Waiting between attempts that one run may add up. Default: 7200.
    #[serde(rename = "waiting_budget_seconds", with = "seconds")]
    pub waiting_budget: Duration,
    /// Failures of one host in a row (no connection, no answer, 502–504, 520 and above) after which it counts as down:
    /// requests to it fail at once. Default: 8.
    pub breaker_failures: u32,
    /// The pause before a host that is down is tried again; doubles with each trial that fails, up to 16 times as
    /// long. Default: 60.
    #[serde(rename = "breaker_pause_seconds", with = "seconds")]
    pub breaker_pause: Duration,
    /// Hosts and networks (`localhost`, `10.1.0.0/16`, `192.0.2.7`) that may be asked although their addresses are not
    /// public, on any port. Default: none.
    pub allow_hosts: AllowHosts,
    /// Ports that may be asked on other hosts. Default: 80 and 443.
    pub allow_ports: Vec<u16>,
    /// Proxy for all requests: `http://`, `https://` or `socks5://` address. The environment is not looked at.
    /// Default: none.
    pub proxy: Option<String>,
    /// Hosts and networks that are asked without the proxy. Default: none.
    pub proxy_exceptions: Vec<String>,
    /// PEM file of certificate authorities that are trusted besides the system's. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Politeness towards every host without an entry in `hosts`.
    pub every_host: HostLimits,
    /// Politeness by host name.
    pub hosts: BTreeMap<String, HostLimits>,
}

/// How often and how widely one host may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostLimits {
    /// Requests per period. Default: 5.
    pub requests: u32,
    /// The period. Default: 1.
    #[serde(rename = "period_seconds", with = "seconds")]
    pub period: Duration,
    /// Requests under way at once. Default: 4.
    pub concurrency: u32,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self { requests: 5, period: Duration::from_secs(1), concurrency: 4 }
    }
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            contact: String::new(),
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            stall_bytes_per_second_min: limits::KIB,
            total: Duration::from_secs(2 * 60 * 60),
            body_bytes_max: limits::FETCH_WIRE_BYTES_MAX,
            decoded_bytes_max: limits::DECODED_BYTES_MAX,
            decompression_ratio_max: limits::DECOMPRESSION_RATIO_MAX,
            header_bytes_max: 64 * limits::KIB,
            header_count_max: 100,
            redirects_max: 5,
            attempts_max: 4,
            resume_attempts_max: 20,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(60 * 60),
            waiting_budget: Duration::from_secs(2 * 60 * 60),
            breaker_failures: 8,
            breaker_pause: Duration::from_secs(60),
            allow_hosts: AllowHosts::default(),
            allow_ports: vec![80, 443],
            proxy: None,
            proxy_exceptions: Vec::new(),
            ca_file: None,
            every_host: HostLimits::default(),
            hosts: BTreeMap::new(),
        }
    }
}

impl FetchConfig {
    /// Returns the limits of one host: its own, else those of every host.
    pub fn limits_of(&self, host: &str) -> HostLimits {
        let own = self.hosts.iter().find(|(name, _)| name.eq_ignore_ascii_case(host));
        own.map_or(self.every_host, |(_, limits)| *limits)
    }

    /// Checks what types cannot say. Does no I/O.
    ///
    /// # Errors
    /// [`FetchError::Config`] for the first setting that cannot be used.
    pub fn validate(&self) -> Result<(), FetchError> {
        let wrong =
            |key: &str, reason: &str| Err(FetchError::Config { key: key.to_owned(), reason: reason.to_owned() });
        if !self.contact.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ') {
            return wrong("fetch.contact", "holds characters that cannot be sent in a header");
        }
        let positive = [
            ("fetch.connect_seconds", self.connect),
            ("fetch.first_byte_seconds", self.first_byte),
            ("fetch.stall_seconds", self.stall),
            ("fetch.total_seconds", self.total),
            ("fetch.breaker_pause_seconds", self.breaker_pause),
        ];
        for (key, value) in positive {
            if value.is_zero() {
                return wrong(key, "must be more than 0");
            }
        }
        if self.attempts_max == 0 {
            return wrong("fetch.attempts_max", "must be at least 1");
        }
        if self.breaker_failures == 0 {
            return wrong("fetch.breaker_failures", "must be at least 1");
        }
        let every = ("every_host", &self.every_host);
        for (host, limit) in self.hosts.iter().map(|(host, limit)| (host.as_str(), limit)).chain([every]) {
            if limit.requests == 0 || limit.concurrency == 0 || limit.period.is_zero() {
                let key = format!("fetch.hosts.{host}");
                return wrong(&key, "requests, period_seconds and concurrency must be more than 0");
            }
        }
        Ok(())
    }
}

/// Durations as seconds, whole or fractional.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if value.subsec_nanos() == 0 {
            serializer.serialize_u64(value.as_secs())
        } else {
            serializer.serialize_f64(value.as_secs_f64())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(number)
            .map_err(|error| serde::de::Error::custom(format!("`{number}` is not a number of seconds: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let outcome = serde_json::from_str::<FetchConfig>(json)
            .map_err(|error| error.to_string())
            .and_then(|config| config.validate().map_err(|error| error.to_string()).map(|()| config));
        let text = match outcome {
            Ok(config) => format!("ok {:?} {:?} {}", config.connect, config.every_host.period, config.allow_hosts),
            Err(error) => error,
        };
        assert!(text.starts_with(expected), "{text}\n is not\n{expected}");
    }

    #[test]
    fn settings_are_read_with_defaults_and_refused_with_reasons() {
        check("{}", "ok 10s 1s ");
        check(r#"{"connect_seconds": 0.25}"#, "ok 250ms 1s ");
        check(r#"{"connect_seconds": -1}"#, "`-1` is not a number of seconds");
        check(r#"{"connect_seconds": 0}"#, "setting `fetch.connect_seconds` must be more than 0");
        check(r#"{"conect_seconds": 1}"#, "unknown field `conect_seconds`");
        check(r#"{"allow_hosts": ["localhost", "10.0.0.0/8"]}"#, "ok 10s 1s localhost, 10.0.0.0/8");
        check(r#"{"allow_hosts": ["10.0.0.0/64"]}"#, "`10.0.0.0/64` is neither a host name nor a network");
        check(r#"{"contact": "a\nb"}"#, "setting `fetch.contact` holds characters");
        check(
            r#"{"hosts": {"x.org": {"requests": 0}}}"#,
            "setting `fetch.hosts.x.org` requests, period_seconds and concurrency must be more than 0",
        );
    }

    #[test]
    fn settings_survive_a_round_trip() {
        let mut config = FetchConfig { contact: "mailto:a@example.org".to_owned(), ..FetchConfig::default() };
        config.hosts.insert("x.org".to_owned(), HostLimits::default());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FetchConfig>(&text).unwrap(), config);
    }
}
