//! The record of one exchange, and where such records go.

use std::fmt::Debug;

use hambar_core::Validators;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One HTTP exchange without secrets: a row of `system.fetches`, and the sidecar of a raw body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchMeta {
    /// When the request was sent.
    pub started_at: Timestamp,
    /// The method.
    pub method: String,
    /// The URL asked for, secrets replaced by `***`.
    pub url: String,
    /// The URL that answered, after redirects, secrets replaced.
    pub final_url: String,
    /// The status; `None` where no answer came.
    pub status: Option<u16>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Chosen request headers.
    pub request_headers: Vec<(String, String)>,
    /// Chosen answer headers (type, length, encoding, validators, dates, quota, link, retry-after).
    pub headers: Vec<(String, String)>,
    /// Body bytes on the wire.
    pub bytes_wire: u64,
    /// Body bytes after content decoding.
    pub bytes: u64,
    /// From sending to the last byte.
    pub milliseconds: u64,
    /// SHA-256 (hex) of the decoded body, when it arrived whole.
    pub sha256: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

impl FetchMeta {
    /// Returns an answer header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the answer's validators.
    pub fn validators(&self) -> Validators {
        Validators {
            etag: self.header("etag").map(str::to_owned),
            last_modified: self.header("last-modified").map(str::to_owned),
        }
    }
}

/// Takes the record of every exchange and news of progress. Implementations must not block.
pub trait ExchangeSink: Debug + Send + Sync {
    /// Takes one finished exchange.
    fn record(&self, exchange: FetchMeta);
    /// Hears that `bytes` more body bytes arrived.
    fn progress(&self, bytes: u64);
    /// Hears what is being waited for (`retry in 5 s: 503`, `quota of api.example.org, 12 s`), or that waiting ended.
    fn waiting(&self, reason: Option<&str>);
}
