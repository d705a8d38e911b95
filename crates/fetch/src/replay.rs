//! A transport that answers from recordings: same statuses, encodings, digests and redirects as on the network, and no
//! socket.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use hambar_core::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::answer::{Answer, Exchange};
use crate::body::BoxError;
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::exchange::ExchangeSink;
use crate::landing::Landing;
use crate::recording::{RecordedExchange, Recordings};
use crate::redact::{Redactor, shown_url};
use crate::redirect::Hop;
use crate::request::{Fetched, Request, Transport};

/// Answers from recordings and lands what they hold.
#[derive(Debug)]
pub struct Replay {
    recordings: Recordings,
    landing: Landing,
    clock: Arc<dyn Clock>,
    config: FetchConfig,
}

impl Replay {
    /// Reads a `replay.jsonl`.
    ///
    /// # Errors
    /// See [`Recordings::open`].
    pub fn open(file: &Path, landing: Landing, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        Ok(Self::new(Recordings::open(file)?, landing, clock))
    }

    /// Answers from these recordings, under the default limits.
    pub fn new(recordings: Recordings, landing: Landing, clock: Arc<dyn Clock>) -> Self {
        Self { recordings, landing, clock, config: FetchConfig::default() }
    }

    /// Returns what is answered from.
    pub fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    async fn answer(&self, hop: &Hop, request: &Request) -> Result<Answer<'static>, FetchError> {
        let shown = shown_url(&hop.url);
        let body = hop.body.clone().unwrap_or_default();
        let Some(exchange) = self.recordings.answer(hop.method.as_str(), &hop.url, &body) else {
            return Err(FetchError::NotRecorded { method: hop.method.to_string(), url: shown });
        };
        let broken = |what: String| FetchError::Unexpected { url: shown.clone(), what };
        let status = StatusCode::from_u16(exchange.status).map_err(|error| broken(error.to_string()))?;
        let is_unchanged = exchange.is_unchanged(&request.validators);
        let is_bodiless = is_unchanged || hop.method == http::Method::HEAD;
        let body = if is_bodiless {
            futures::stream::empty().boxed()
        } else {
            let path = self.recordings.body_path(exchange);
            let file = tokio::fs::File::open(&path)
                .await
                .map_err(|error| broken(format!("recorded body `{}`: {error}", exchange.body_file)))?;
            tokio_util::io::ReaderStream::new(file).map(|chunk| chunk.map_err(BoxError::from)).boxed()
        };
        let mut headers = answer_headers(exchange);
        if !is_bodiless {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(exchange.body_bytes));
        }
        Ok(Answer { status: if is_unchanged { StatusCode::NOT_MODIFIED } else { status }, headers, body })
    }
}

#[async_trait]
impl Transport for Replay {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let redactor = Redactor::new(&request);
        // Recordings hold no secrets, so they must not be part of what is looked for.
        let plain = Request { secret_query: Vec::new(), ..request.clone() };
        let mut hop = Hop::first(&plain);
        let begun = Instant::now();
        loop {
            let times = (self.clock.now(), begun);
            let mut exchange = Exchange::begin(&request, &redactor, &self.landing, sink, &self.config, times);
            exchange.meta.final_url = redactor.url(&hop.url);
            exchange.meta.request_headers.clone_from(&request.headers);
            let answer = match self.answer(&hop, &request).await {
                Ok(answer) => answer,
                Err(error) => {
                    exchange.record(Some(&error));
                    return Err(error);
                }
            };
            if !exchange.is_referral(&answer) {
                return exchange.take(answer, None).await;
            }
            hop = exchange.follow(&hop, &plain, &answer, self.config.redirects_max)?;
        }
    }
}

/// Headers that belong to one connection, not to the answer: RFC 9110 §7.6.1. The length is that of the file.
const CONNECTION_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Returns the recorded headers that an answer carries again.
pub(crate) fn answer_headers(exchange: &RecordedExchange) -> HeaderMap {
    let pairs = exchange.headers.iter().filter_map(|(name, value)| {
        let key = HeaderName::try_from(name.to_ascii_lowercase()).ok()?;
        let is_kept = !CONNECTION_HEADERS.contains(&key.as_str());
        is_kept.then_some((key, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    pairs.collect()
}
