//! `[telemetry]`: where traces are sent, and which requests are traced.

use std::time::Duration;

use anyhow::{Result, bail};
use hambar_connect::SecretRef;
use hambar_server::{Parents, Service, TraceSettings};
use serde::Deserialize;
use url::Url;

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    pub(crate) enabled: bool,
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) headers: Option<SecretRef>,
    pub(crate) service_name: String,
    pub(crate) service_instance: String,
    pub(crate) sample_ratio: f64,
    pub(crate) parents: ParentsConfig,
    pub(crate) statements: bool,
    pub(crate) queue_spans_max: usize,
    pub(crate) batch_spans_max: usize,
    pub(crate) every_seconds: f64,
    pub(crate) timeout_seconds: f64,
}

/// Whose word counts about whether a request is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParentsConfig {
    Everybody,
    Members,
    Nobody,
}

impl TelemetryConfig {
    /// Checks what would otherwise fail, or do nothing, at the first request.
    pub(crate) fn check(&self) -> Result<()> {
        self.address()?;
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            bail!("`telemetry.sample_ratio` is {}, not a part between 0 and 1", self.sample_ratio);
        }
        for (name, seconds) in [("every_seconds", self.every_seconds), ("timeout_seconds", self.timeout_seconds)] {
            if !(0.05..=3_600.0).contains(&seconds) {
                bail!("`telemetry.{name}` must be between 0.05 and 3600");
            }
        }
        if self.batch_spans_max == 0 || self.queue_spans_max < self.batch_spans_max {
            bail!("`telemetry.batch_spans_max` must be at least 1, and `telemetry.queue_spans_max` no less than it");
        }
        if self.service_name.trim().is_empty() {
            bail!("`telemetry.service_name` must not be empty");
        }
        Ok(())
    }

    /// Returns where traces are sent, if they are.
    pub(crate) fn address(&self) -> Result<Option<Url>> {
        let text = self.endpoint.trim();
        if !self.enabled || text.is_empty() {
            return Ok(None);
        }
        // What is wrong with it may be a secret in it: it is not shown.
        let Ok(url) = Url::parse(text) else {
            bail!("`telemetry.endpoint` is not an address such as `https://collector.example:4318/v1/traces`");
        };
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            bail!("`telemetry.endpoint` must start with `http://` or `https://`; OTLP is sent over HTTP only");
        }
        if !url.username().is_empty() || url.password().is_some() {
            bail!("`telemetry.endpoint` must not hold a user name or password: use `telemetry.headers`");
        }
        Ok(Some(url))
    }

    /// How traces are made.
    pub(crate) fn settings(&self) -> TraceSettings {
        TraceSettings {
            sample_ratio: self.sample_ratio,
            parents: match self.parents {
                ParentsConfig::Everybody => Parents::Everybody,
                ParentsConfig::Members => Parents::Members,
                ParentsConfig::Nobody => Parents::Nobody,
            },
            shows_statements: self.statements,
            queue_spans_max: self.queue_spans_max,
            batch_spans_max: self.batch_spans_max,
            every: Duration::from_secs_f64(self.every_seconds),
            send_time_max: Duration::from_secs_f64(self.timeout_seconds),
            service: Service {
                name: self.service_name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                instance: self.service_instance.clone(),
            },
        }
    }
}

/// Reads headers as `OTEL_EXPORTER_OTLP_HEADERS` has them: `name=value,name=value`, values percent-encoded. Errors do not
/// show the values.
pub(crate) fn headers(text: &str) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (place, entry) in text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty()) {
        let Some((name, value)) = entry.split_once('=') else {
            bail!("header {} of `telemetry.headers` is not `name=value`", place + 1);
        };
        let Some(value) = decoded(value.trim()) else {
            bail!("the value of header {} of `telemetry.headers` is not text with percent-encoding", place + 1);
        };
        headers.push((name.trim().to_owned(), value));
    }
    Ok(headers)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_their_values_never_told() {
        let read = |text: &str| headers(text).map_err(|error| error.to_string());
        let expected = [("authorization", "Bearer a b"), ("x-scope", "ж=1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(read("authorization=Bearer%20a%20b, x-scope=%D0%B6=1,"), Ok(expected));
        assert_eq!(read(""), Ok(Vec::new()));
        for wrong in ["hunter2", "a=1,hunter2", "a=hunter2%", "a=hunter2%zz", "a=hunter2%+1", "a=hunter2%ff"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("telemetry.headers") && !error.contains("hunter2"), "{error}");
        }
    }
}
