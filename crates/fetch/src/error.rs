//! Why an exchange brought nothing. URLs in here never hold secrets.

use std::time::Duration;

use hambar_core::{Classified, ErrorClass};

/// A failed exchange.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address must not be asked: private, loopback, another scheme, a downgrade.
    #[error("`{url}` is not allowed: {reason}")]
    Denied {
        /// The address.
        url: String,
        /// Which rule it broke.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("connection to `{url}` failed")]
    Connection {
        /// The address.
        url: String,
        /// What the network said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate, or what else TLS offers, does not prove who answers. Asking again would not help.
    #[error("`{url}` cannot be trusted: {what}")]
    Untrusted {
        /// The address.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The host failed again and again and is not asked for a while.
    #[error("`{host}` is down: {failures} failures in a row; not asked again before {until} (`{url}`)")]
    Down {
        /// The address.
        url: String,
        /// The host, with its port where that is not the usual one.
        host: String,
        /// Failures so far.
        failures: u32,
        /// When it is tried again.
        until: jiff::Timestamp,
    },
    /// Nothing came for too long, or the whole took too long.
    #[error("`{url}` timed out: {limit} of {after:?}")]
    Timeout {
        /// The address.
        url: String,
        /// `connect`, `first byte`, `stall`, `total`.
        limit: &'static str,
        /// Its value.
        after: Duration,
    },
    /// The provider answered with an error.
    #[error("`{url}` answered {status}{}", snippet(.body))]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// When the provider asks us to come back.
        retry_after: Option<Duration>,
        /// The beginning of the body as text, at most 500 characters.
        body: String,
    },
    /// The body ended early or does not have the announced digest.
    #[error("`{url}` is incomplete: announced {announced}, received {received}")]
    Incomplete {
        /// The address.
        url: String,
        /// What was announced, with its unit.
        announced: String,
        /// What came, with its unit.
        received: String,
    },
    /// A limit was reached.
    #[error("`{url}`: {limit} of {value} {unit} reached")]
    Limit {
        /// The address.
        url: String,
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// Its unit.
        unit: &'static str,
    },
    /// An answer that breaks HTTP or our expectations.
    #[error("`{url}`: {what}")]
    Unexpected {
        /// The address.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// A quota is used up for longer than we wait.
    #[error("`{url}`: quota used up until {until} ({what})")]
    Quota {
        /// The address.
        url: String,
        /// What said so (`429 with Retry-After`, `X-RateLimit-Reset`).
        what: String,
        /// When the provider can be asked again.
        until: jiff::Timestamp,
    },
    /// A setting cannot be used.
    #[error("setting `{key}` {reason}")]
    Config {
        /// The setting's full name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No recording answers this request.
    #[error("no recorded exchange answers {method} `{url}`")]
    NotRecorded {
        /// The method.
        method: String,
        /// The address.
        url: String,
    },
    /// The landing zone failed.
    #[error("land `{url}`")]
    Landing {
        /// The address.
        url: String,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn snippet(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

impl Classified for FetchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Denied { .. } => ErrorClass::Denied,
            Self::Untrusted { .. } => ErrorClass::Denied,
            Self::Connection { .. } | Self::Timeout { .. } | Self::Down { .. } => ErrorClass::Transient,
            Self::Status { status, .. } => match status {
                // 202: not ready yet (Socrata, asynchronous extractions).
                202 | 408 | 425 | 500 | 502 | 503 | 504 | 520..=599 => ErrorClass::Transient,
                429 => ErrorClass::Quota,
                _ => ErrorClass::Refused,
            },
            Self::Incomplete { .. } => ErrorClass::Incomplete,
            Self::Limit { .. } => ErrorClass::Limit,
            Self::Unexpected { .. } => ErrorClass::Data,
            Self::Quota { .. } => ErrorClass::Quota,
            Self::Config { .. } => ErrorClass::Config,
            Self::NotRecorded { .. } => ErrorClass::Refused,
            Self::Landing { .. } => ErrorClass::Store,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { .. } => Some(
                "allow the host in `fetch.allow_hosts`, or its port in `fetch.allow_ports`, if it is yours".to_owned(),
            ),
            Self::Untrusted { .. } => Some(
                "check the address and this machine's clock; `fetch.ca_file` adds a certificate authority of your own"
                    .to_owned(),
            ),
            Self::Status { status: 401 | 403, .. } => Some("check the pipeline's `source.auth`".to_owned()),
            Self::Limit { limit: "body limit", .. } => {
                Some("raise `fetch.body_bytes_max` if the answer is really this large".to_owned())
            }
            Self::Limit { limit: "decoded limit", .. } => {
                Some("raise `fetch.decoded_bytes_max` if the answer is really this large".to_owned())
            }
            Self::Limit { limit: "decompression ratio", .. } => {
                Some("raise `fetch.decompression_ratio_max` if the provider is trusted".to_owned())
            }
            Self::NotRecorded { method, .. } if method == "raw" => Some(
                "raw bytes are removed by `hambar vacuum` where `retention.raw_days` says so, and by nothing else of Hambar; \
                 `hambar run --full` fetches the newest release again"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
