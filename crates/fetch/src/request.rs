//! The contract of a transport: one request in, landed bytes or "not modified" out.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hambar_core::Validators;
use url::Url;

use crate::error::FetchError;
use crate::exchange::{ExchangeSink, FetchMeta};

/// One request. Header values and query parameters that are secrets carry a [`Secret`] mark, so that no log, error or
/// record shows them.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: http::Method,
    /// The address without secrets.
    pub url: Url,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Headers that are secret (`authorization`, `x-api-key` …); dropped when a redirect changes the origin.
    pub secret_headers: Vec<(String, Secret)>,
    /// Query parameters that are secret; added to the URL when it is sent.
    pub secret_query: Vec<(String, Secret)>,
    /// The body of a POST.
    pub body: Option<bytes::Bytes>,
    /// Sent as `If-None-Match` and `If-Modified-Since`.
    pub validators: Validators,
    /// Bytes of the answer on the wire; `None` means the configured limit.
    pub body_bytes_max: Option<u64>,
    /// True for large files, worth resuming after an interruption: their partial bytes are kept.
    pub resumable: bool,
    /// Statuses besides 200 that are answers to be landed, not errors (an SDMX 413 with a message, for instance).
    pub accept_status: Vec<u16>,
    /// The answer holds a secret (the token of a login): it is spooled for the caller, but neither the landing zone nor
    /// a recording keeps it.
    pub is_confidential: bool,
    /// Answer headers that the caller reads (a cursor, a total) and that the record therefore keeps besides the usual.
    pub read_headers: Vec<String>,
}

impl Request {
    /// Makes a plain GET.
    pub fn get(url: Url) -> Self {
        Self {
            method: http::Method::GET,
            url,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            secret_query: Vec::new(),
            body: None,
            validators: Validators::default(),
            body_bytes_max: None,
            resumable: false,
            accept_status: Vec::new(),
            is_confidential: false,
            read_headers: Vec::new(),
        }
    }
}

/// A secret text. `Debug` and `Display` show `***`; only the transport reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Bytes that arrived whole, were hashed and are kept in the landing zone.
#[derive(Debug, Clone)]
pub struct Landed {
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// Their number (after removing the transfer's content encoding).
    pub bytes: u64,
    /// A local file that holds them: the raw object itself in a local store, else a spooled copy that lives as long as
    /// any clone of this value.
    pub path: PathBuf,
    /// Keeps a spooled copy alive.
    pub spool: Option<Arc<tempfile::TempPath>>,
    /// The exchange.
    pub meta: FetchMeta,
}

/// What a request brought.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// Bytes.
    Fresh(Landed),
    /// 304: nothing changed since the validators.
    NotModified(FetchMeta),
}

/// Sends one request, once. Behaviour is added by wrapping: `Retry(Breaker(Rate(Http)))`; `Replay` answers from recordings.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends `request` and lands its answer.
    ///
    /// Resolves to `Fresh` only when the body arrived whole (content length, chunk end, digest where announced).
    /// Every exchange, failed ones too, is told to `sink` before this returns.
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError>;
}

/// What connectors hold: a transport and the run's sink of exchanges. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    transport: Arc<dyn Transport>,
    sink: Arc<dyn ExchangeSink>,
}

impl Fetcher {
    /// Joins a transport with the sink of one run.
    pub fn new(transport: Arc<dyn Transport>, sink: Arc<dyn ExchangeSink>) -> Self {
        Self { transport, sink }
    }

    /// Sends one request through the whole stack (retry, rate limit, landing).
    pub async fn send(&self, request: Request) -> Result<Fetched, FetchError> {
        self.transport.send(request, self.sink.as_ref()).await
    }

    /// Sends a request that has no validators and returns its landed bytes.
    ///
    /// # Errors
    /// Besides those of the transport, [`FetchError::Unexpected`] for a 304 that nobody asked for.
    pub async fn fresh(&self, request: Request) -> Result<Landed, FetchError> {
        let url = request.url.to_string();
        match self.send(request).await? {
            Fetched::Fresh(landed) => Ok(landed),
            Fetched::NotModified(_) => {
                Err(FetchError::Unexpected { url, what: "304 to a request without validators".to_owned() })
            }
        }
    }
}
