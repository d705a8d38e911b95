//! What an answer means: landed bytes, "not modified", or an error. Shared by the network and by recordings, so that
//! both treat statuses, encodings and limits alike.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream::BoxStream;
use hambar_core::Chain;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::body::{BodyLimits, BoxError, Coding, Counted, WireBody, check_digests, decode, receive};
use crate::config::FetchConfig;
use crate::digest::Digests;
use crate::error::FetchError;
use crate::exchange::{ExchangeSink, FetchMeta};
use crate::landing::{Landing, Spooled};
use crate::redact::{Redactor, one_line};
use crate::redirect::{Hop, is_redirect};
use crate::request::{Fetched, Request};
use crate::resume::Partial;

/// Bytes of an error body that are looked at.
const ERROR_BODY_BYTES: u64 = 64 * 1024;

/// Status, headers and body as they came.
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BoxStream<'a, Result<Bytes, BoxError>>,
}

/// One exchange under way.
pub(crate) struct Exchange<'a> {
    pub(crate) request: &'a Request,
    pub(crate) redactor: &'a Redactor,
    pub(crate) limits: BodyLimits,
    pub(crate) landing: &'a Landing,
    pub(crate) sink: &'a dyn ExchangeSink,
    pub(crate) begun: Instant,
    pub(crate) meta: FetchMeta,
}

impl<'a> Exchange<'a> {
    /// Begins an exchange; `begun` is when its request began, redirects before it included.
    pub(crate) fn begin(
        request: &'a Request,
        redactor: &'a Redactor,
        landing: &'a Landing,
        sink: &'a dyn ExchangeSink,
        config: &FetchConfig,
        (started_at, begun): (Timestamp, Instant),
    ) -> Self {
        let url = redactor.url(&request.url);
        let limits = BodyLimits {
            stall: config.stall,
            stall_bytes_per_second_min: config.stall_bytes_per_second_min,
            deadline: begun + config.total,
            total: config.total,
            wire_bytes_max: request.body_bytes_max.unwrap_or(config.body_bytes_max),
            decoded_bytes_max: config.decoded_bytes_max,
            ratio_max: config.decompression_ratio_max,
        };
        let meta = FetchMeta {
            started_at,
            method: request.method.to_string(),
            final_url: url.clone(),
            url,
            status: None,
            attempt: 1,
            request_headers: Vec::new(),
            headers: Vec::new(),
            bytes_wire: 0,
            bytes: 0,
            milliseconds: 0,
            sha256: None,
            error: None,
        };
        Self { request, redactor, limits, landing, sink, begun: Instant::now(), meta }
    }

    /// Says whether an answer only refers elsewhere.
    pub(crate) fn is_referral(&self, answer: &Answer<'_>) -> bool {
        is_redirect(answer.status) && !self.request.accept_status.contains(&answer.status.as_u16())
    }

    /// Takes a redirect, tells the sink, and says where it leads. `asked` is the request that redirects may repeat.
    pub(crate) fn follow(
        mut self,
        hop: &Hop,
        asked: &Request,
        answer: &Answer<'_>,
        hops_max: usize,
    ) -> Result<Hop, FetchError> {
        self.answered(answer.status, &answer.headers);
        let location = answer.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        let next = hop.follow(asked, answer.status, location, hops_max);
        self.record(next.as_ref().err());
        next
    }

    /// Tells the sink how the exchange ended.
    pub(crate) fn record(&mut self, error: Option<&FetchError>) {
        self.meta.milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.meta.error = error.map(|error| self.redactor.text(&Chain(error).to_string()));
        self.sink.record(self.meta.clone());
    }

    /// Notes status and headers of the answer.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.meta.status = Some(status.as_u16());
        self.meta.headers = self.redactor.headers(headers);
    }

    /// Takes an answer that is not a redirect and not a part: lands it or says why not, and tells the sink.
    pub(crate) async fn take(mut self, answer: Answer<'a>, partial: Option<Partial>) -> Result<Fetched, FetchError> {
        self.answered(answer.status, &answer.headers);
        let outcome = self.outcome(answer, partial).await;
        self.record(outcome.as_ref().err());
        outcome.map(|fetched| match fetched {
            Fetched::Fresh(mut landed) => {
                landed.meta = self.meta;
                Fetched::Fresh(landed)
            }
            Fetched::NotModified(_) => Fetched::NotModified(self.meta),
        })
    }

    async fn outcome(&mut self, answer: Answer<'a>, partial: Option<Partial>) -> Result<Fetched, FetchError> {
        let status = answer.status;
        if status == StatusCode::NOT_MODIFIED {
            let validators = &self.request.validators;
            if validators.etag.is_none() && validators.last_modified.is_none() {
                return Err(self.unexpected("304 to a request without validators"));
            }
            return Ok(Fetched::NotModified(self.meta.clone()));
        }
        let is_continued = status == StatusCode::PARTIAL_CONTENT && partial.is_some();
        let is_wanted = matches!(status.as_u16(), 200 | 203) || self.request.accept_status.contains(&status.as_u16());
        if !is_continued && !is_wanted {
            return Err(self.refused(answer).await);
        }
        let spooled = match partial {
            Some(partial) => self.receive_resumable(answer, partial).await?,
            None => self.receive_plain(answer).await?,
        };
        self.meta.bytes = spooled.bytes;
        self.meta.sha256 = Some(spooled.sha256.clone());
        self.meta.milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.request.is_confidential {
            return Ok(Fetched::Fresh(spooled.landed(self.meta.clone())));
        }
        let url = self.meta.url.clone();
        let landed = self.landing.land(spooled, self.meta.clone()).await;
        landed.map(Fetched::Fresh).map_err(|source| FetchError::Landing { url, source })
    }

    pub(crate) fn unexpected(&self, what: &str) -> FetchError {
        FetchError::Unexpected { url: self.meta.url.clone(), what: what.to_owned() }
    }

    pub(crate) fn landing_error(&self, source: BoxError) -> FetchError {
        FetchError::Landing { url: self.meta.url.clone(), source }
    }

    fn wire(&self, answer: Answer<'a>) -> WireBody<'a> {
        let announced = if self.request.method == http::Method::HEAD { None } else { content_length(&answer.headers) };
        WireBody::new(self.meta.url.clone(), answer.body, announced, self.limits.clone(), self.sink)
    }

    fn coding(&self, headers: &HeaderMap) -> Result<Coding, FetchError> {
        Coding::announced(headers).map_err(|what| self.unexpected(&what))
    }

    async fn receive_plain(&mut self, answer: Answer<'a>) -> Result<Spooled, FetchError> {
        let coding = self.coding(&answer.headers)?;
        let is_head = self.request.method == http::Method::HEAD;
        let digests = if is_head { Digests::default() } else { Digests::announced(&answer.headers, answer.status) };
        let wire = self.wire(answer);
        let received = Arc::clone(&wire.received);
        let mut spool = self.landing.spool().await.map_err(|source| self.landing_error(source))?;
        let outcome = receive(wire, coding, digests, &mut spool).await;
        self.meta.bytes_wire = received.load(Ordering::Relaxed);
        self.meta.bytes = spool.bytes();
        outcome?;
        spool.finish().await.map_err(|source| self.landing_error(Box::new(source)))
    }

    /// Receives into a partial file. When the body breaks off, what came stays for the next attempt.
    async fn receive_resumable(&mut self, answer: Answer<'a>, mut partial: Partial) -> Result<Spooled, FetchError> {
        let coding = self.coding(&answer.headers)?;
        let digests = Digests::announced(&answer.headers, answer.status);
        let is_whole = answer.status != StatusCode::PARTIAL_CONTENT;
        let total = partial.total();
        let mut wire = self.wire(answer);
        wire.offset = partial.bytes();
        if is_whole && wire.offset != 0 {
            return Err(self.unexpected("a whole answer was joined to a part"));
        }
        loop {
            let chunk = wire.next().await;
            self.meta.bytes_wire = wire.received.load(Ordering::Relaxed);
            match chunk {
                Ok(Some(bytes)) => partial.write(&bytes).await.map_err(|source| self.landing_error(source))?,
                Ok(None) => break,
                Err(error) => {
                    partial.sum().await.map_err(|source| self.landing_error(source))?;
                    return Err(error);
                }
            }
        }
        if let Some(total) = total.filter(|total| *total != partial.bytes()) {
            let received = partial.bytes();
            partial.discard().map_err(|source| self.landing_error(source))?;
            return Err(FetchError::Incomplete {
                url: self.meta.url.clone(),
                announced: format!("{total} bytes"),
                received: format!("{received} bytes"),
            });
        }
        self.unpack(partial, coding, digests).await
    }

    /// Decodes a complete partial file, or gives it up as it is when nothing is to be decoded or compared.
    async fn unpack(&mut self, mut partial: Partial, coding: Coding, digests: Digests) -> Result<Spooled, FetchError> {
        // Written down first: a process that dies in here has the whole body on its next start.
        partial.sum().await.map_err(|source| self.landing_error(source))?;
        if coding == Coding::Identity && digests.is_empty() {
            return partial.finish().await.map_err(|source| self.landing_error(source));
        }
        let file =
            tokio::fs::File::open(partial.path()).await.map_err(|source| self.landing_error(Box::new(source)))?;
        let mut spool = self.landing.spool().await.map_err(|source| self.landing_error(source))?;
        let shared = std::sync::Mutex::new(digests);
        let wire_bytes = std::sync::atomic::AtomicU64::new(partial.bytes());
        let url = self.meta.url.clone();
        let counted = Counted { url: &url, limits: &self.limits, wire: &wire_bytes, digests: &shared };
        let mut reader = tokio::io::BufReader::with_capacity(256 * 1024, Tee { file, digests: &shared });
        let mut outcome = decode(&mut reader, coding, &counted, &mut spool).await;
        if outcome.is_ok() {
            let digests = std::mem::take(&mut *shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            outcome = check_digests(&url, digests);
        }
        partial.discard().map_err(|source| self.landing_error(source))?;
        outcome?;
        spool.finish().await.map_err(|source| self.landing_error(Box::new(source)))
    }

    /// Makes the error of an answer that is not wanted, with the beginning of its body.
    async fn refused(&mut self, answer: Answer<'a>) -> FetchError {
        let status = answer.status.as_u16();
        let url = self.meta.url.clone();
        let retry_after =
            self.meta.header("retry-after").and_then(|text| crate::retry_after::delay(text, self.meta.started_at));
        // The limits are those of any body, the size apart; a body that breaks them is simply not shown.
        self.limits.wire_bytes_max = ERROR_BODY_BYTES;
        self.limits.decoded_bytes_max = ERROR_BODY_BYTES;
        let body = self.error_body(answer).await.unwrap_or_default();
        let body = if self.request.is_confidential { String::new() } else { self.redactor.text(&one_line(&body)) };
        FetchError::Status { url, status, retry_after, body }
    }

    async fn error_body(&mut self, answer: Answer<'a>) -> Option<Vec<u8>> {
        let coding = Coding::announced(&answer.headers).ok()?;
        let mut spool = self.landing.spool().await.ok()?;
        let mut wire = self.wire(answer);
        wire.announced = None;
        let received = Arc::clone(&wire.received);
        let path = spool.path().to_path_buf();
        // A cut error body still shows its beginning.
        let _ = receive(wire, coding, Digests::default(), &mut spool).await;
        self.meta.bytes_wire = received.load(Ordering::Relaxed);
        self.meta.bytes = spool.bytes();
        let spooled = spool.finish().await.ok()?;
        let bytes = tokio::fs::read(&path).await.ok();
        drop(spooled);
        bytes
    }
}

/// Returns `Content-Length`; absent and unreadable are the same, the transfer's own end then counts.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Shows the bytes that are read from a file to the digests of the wire.
struct Tee<'a> {
    file: tokio::fs::File,
    digests: &'a std::sync::Mutex<Digests>,
}

impl tokio::io::AsyncRead for Tee<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = std::pin::Pin::new(&mut self.file).poll_read(context, buffer);
        if matches!(outcome, std::task::Poll::Ready(Ok(()))) {
            let mut digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            digests.wire(buffer.filled().get(before..).unwrap_or_default());
        }
        outcome
    }
}
