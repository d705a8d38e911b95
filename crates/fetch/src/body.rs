//! Receives a body: counts the bytes on the wire and after decoding, keeps every limit, and writes what arrives to a
//! spool file while hashing it. Decides nothing about statuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use hambar_core::limits::RATIO_FREE_BYTES;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::digest::Digests;
use crate::error::FetchError;
use crate::exchange::ExchangeSink;
use crate::landing::Spool;

/// Bytes that are hashed and written in one go: small enough not to block the runtime, large enough for the disk.
const PIECE_BYTES: usize = 256 * 1024;

/// Memory of a zstd body's window: 8 MiB, as RFC 9659 demands of senders.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The limits of one body.
#[derive(Debug, Clone)]
pub(crate) struct BodyLimits {
    pub(crate) stall: Duration,
    pub(crate) stall_bytes_per_second_min: u64,
    pub(crate) deadline: Instant,
    pub(crate) total: Duration,
    pub(crate) wire_bytes_max: u64,
    pub(crate) decoded_bytes_max: u64,
    pub(crate) ratio_max: u64,
}

/// How a body is encoded for the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// Words for a person, for more than one layer or an encoding that nobody asked for.
    pub(crate) fn announced(headers: &http::HeaderMap) -> Result<Self, String> {
        let values = headers.get_all(http::header::CONTENT_ENCODING).iter();
        let text: Vec<String> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()).collect();
        let all = text.join(",");
        let layers: Vec<&str> =
            all.split(',').map(str::trim).filter(|layer| !layer.is_empty() && *layer != "identity").collect();
        match layers.as_slice() {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            ["br"] => Ok(Self::Brotli),
            ["zstd"] => Ok(Self::Zstd),
            [other] => Err(format!("content encoding `{other}` is not one of gzip, br, zstd")),
            more => Err(format!("{} content encodings (`{all}`); at most 1 is read", more.len())),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        }
    }
}

/// A body as it comes from the network.
pub(crate) struct WireBody<'a> {
    pub(crate) url: String,
    pub(crate) stream: BoxStream<'a, Result<Bytes, BoxError>>,
    /// `Content-Length` of this answer.
    pub(crate) announced: Option<u64>,
    /// Bytes of earlier answers that this one continues.
    pub(crate) offset: u64,
    pub(crate) limits: BodyLimits,
    pub(crate) sink: &'a dyn ExchangeSink,
    /// Bytes of this answer so far; shared, because decoders own the body while they read.
    pub(crate) received: Arc<AtomicU64>,
    window: Window,
}

/// Waiting time and bytes since the speed was last looked at.
#[derive(Debug, Default)]
struct Window {
    waited: Duration,
    bytes: u64,
}

impl<'a> WireBody<'a> {
    pub(crate) fn new(
        url: String,
        stream: BoxStream<'a, Result<Bytes, BoxError>>,
        announced: Option<u64>,
        limits: BodyLimits,
        sink: &'a dyn ExchangeSink,
    ) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        Self { url, stream, announced, offset: 0, limits, sink, received, window: Window::default() }
    }

    /// Returns the next bytes; `None` when the body is whole.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let received = self.received.load(Ordering::Relaxed);
        match self.wait_for_chunk().await? {
            Some(Ok(chunk)) => {
                let sum = received + chunk.len() as u64;
                self.received.store(sum, Ordering::Relaxed);
                self.window.bytes += chunk.len() as u64;
                if self.offset + sum > self.limits.wire_bytes_max {
                    return Err(self.limit("body limit", self.limits.wire_bytes_max, "bytes"));
                }
                self.sink.progress(chunk.len() as u64);
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(self.broken(received, error.as_ref())),
            None => match self.announced {
                Some(length) if length != received => Err(FetchError::Incomplete {
                    url: self.url.clone(),
                    announced: format!("{length} bytes"),
                    received: format!("{received} bytes"),
                }),
                _ => Ok(None),
            },
        }
    }

    /// Waits for the next chunk under the stall and total limits. Only waiting counts: a slow disk of ours is no fault
    /// of the provider.
    async fn wait_for_chunk(&mut self) -> Result<Option<Result<Bytes, BoxError>>, FetchError> {
        loop {
            let begin = Instant::now();
            if begin >= self.limits.deadline {
                return Err(self.timeout("total", self.limits.total));
            }
            let stall_at = begin + self.limits.stall.saturating_sub(self.window.waited);
            let outcome = tokio::time::timeout_at(stall_at.min(self.limits.deadline), self.stream.next()).await;
            self.window.waited += begin.elapsed();
            if self.window.waited >= self.limits.stall {
                let floor = self.limits.stall_bytes_per_second_min as f64 * self.window.waited.as_secs_f64();
                let arrived = outcome.as_ref().ok().and_then(|item| item.as_ref()?.as_ref().ok()).map_or(0, Bytes::len);
                if ((self.window.bytes + arrived as u64) as f64) < floor && !matches!(outcome, Ok(None)) {
                    return Err(self.timeout("stall", self.limits.stall));
                }
                self.window = Window::default();
            }
            if let Ok(item) = outcome {
                return Ok(item);
            }
        }
    }

    fn timeout(&self, limit: &'static str, after: Duration) -> FetchError {
        FetchError::Timeout { url: self.url.clone(), limit, after }
    }

    fn limit(&self, limit: &'static str, value: u64, unit: &'static str) -> FetchError {
        FetchError::Limit { url: self.url.clone(), limit, value, unit }
    }

    fn broken(&self, received: u64, error: &(dyn std::error::Error + 'static)) -> FetchError {
        let announced = self.announced.map_or_else(|| "a last chunk".to_owned(), |length| format!("{length} bytes"));
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        FetchError::Incomplete {
            url: self.url.clone(),
            announced,
            received: format!("{received} bytes, then: {cause}"),
        }
    }
}

/// Turns the body into a stream of the kind that readers take; errors of ours travel inside `io::Error`.
fn io_stream<'a>(
    wire: WireBody<'a>,
    digests: Arc<std::sync::Mutex<Digests>>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'a {
    futures::stream::try_unfold((wire, digests), |(mut wire, digests)| async move {
        let chunk = wire.next().await.map_err(std::io::Error::other)?;
        if let Some(bytes) = &chunk {
            lock(&digests).wire(bytes);
        }
        Ok(chunk.map(|bytes| (bytes, (wire, digests))))
    })
}

fn lock(digests: &std::sync::Mutex<Digests>) -> std::sync::MutexGuard<'_, Digests> {
    digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Receives a whole body into `spool`: decoded, counted, hashed, compared with announced digests.
pub(crate) async fn receive(
    wire: WireBody<'_>,
    coding: Coding,
    digests: Digests,
    spool: &mut Spool,
) -> Result<(), FetchError> {
    let url = wire.url.clone();
    let limits = wire.limits.clone();
    let received = Arc::clone(&wire.received);
    let shared = Arc::new(std::sync::Mutex::new(digests));
    let stream = Box::pin(io_stream(wire, Arc::clone(&shared)));
    let mut reader = tokio_util::io::StreamReader::new(stream);
    decode(&mut reader, coding, &Counted { url: &url, limits: &limits, wire: &received, digests: &shared }, spool)
        .await?;
    let digests = std::mem::take(&mut *lock(&shared));
    check_digests(&url, digests)
}

/// Compares the announced digests.
pub(crate) fn check_digests(url: &str, digests: Digests) -> Result<(), FetchError> {
    digests.check().map_err(|mismatch| FetchError::Incomplete {
        url: url.to_owned(),
        announced: mismatch.announced,
        received: mismatch.received,
    })
}

/// What decoding is measured against.
pub(crate) struct Counted<'a> {
    pub(crate) url: &'a str,
    pub(crate) limits: &'a BodyLimits,
    pub(crate) wire: &'a AtomicU64,
    pub(crate) digests: &'a std::sync::Mutex<Digests>,
}

/// Decodes everything that `reader` holds into `spool`.
pub(crate) async fn decode<R: AsyncBufRead + Unpin + Send>(
    reader: &mut R,
    coding: Coding,
    counted: &Counted<'_>,
    spool: &mut Spool,
) -> Result<(), FetchError> {
    let is_empty = reader.fill_buf().await.map_err(|error| counted.error(coding, spool.bytes(), error))?.is_empty();
    if is_empty {
        // Nothing at all is nothing, encoded or not: some servers announce gzip for an empty body.
        return Ok(());
    }
    match coding {
        Coding::Identity => copy(reader, coding, counted, spool).await?,
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(&mut *reader);
            decoder.multiple_members(true);
            copy(&mut decoder, coding, counted, spool).await?;
        }
        Coding::Brotli => copy(&mut BrotliDecoder::new(&mut *reader), coding, counted, spool).await?,
        Coding::Zstd => {
            let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
            let mut decoder = ZstdDecoder::with_params(&mut *reader, &window);
            decoder.multiple_members(true);
            copy(&mut decoder, coding, counted, spool).await?;
        }
    }
    let rest = reader.fill_buf().await.map_err(|error| counted.error(coding, spool.bytes(), error))?;
    if rest.is_empty() {
        return Ok(());
    }
    Err(FetchError::Unexpected {
        url: counted.url.to_owned(),
        what: format!("bytes follow the end of the {} body", coding.name()),
    })
}

async fn copy<R: AsyncRead + Unpin + Send>(
    reader: &mut R,
    coding: Coding,
    counted: &Counted<'_>,
    spool: &mut Spool,
) -> Result<(), FetchError> {
    let mut piece = vec![0_u8; PIECE_BYTES];
    loop {
        let (filled, outcome) = fill(reader, &mut piece, coding, counted, spool.bytes()).await;
        lock(counted.digests).decoded(&piece[..filled]);
        spool
            .write(&piece[..filled])
            .await
            .map_err(|source| FetchError::Landing { url: counted.url.to_owned(), source: Box::new(source) })?;
        // What came before an error is written all the same: the text of an error page is taken from it.
        outcome?;
        if filled == 0 {
            return Ok(());
        }
    }
}

/// Gathers the small pieces that decoders hand out, so that the disk sees large ones.
async fn fill<R: AsyncRead + Unpin + Send>(
    reader: &mut R,
    piece: &mut [u8],
    coding: Coding,
    counted: &Counted<'_>,
    before: u64,
) -> (usize, Result<(), FetchError>) {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]).await {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return (filled, Err(counted.error(coding, before + filled as u64, error))),
        }
        if let Err(error) = counted.check(before + filled as u64) {
            return (filled, Err(error));
        }
    }
    (filled, Ok(()))
}

impl Counted<'_> {
    fn check(&self, decoded: u64) -> Result<(), FetchError> {
        let limit = |limit, value, unit| Err(FetchError::Limit { url: self.url.to_owned(), limit, value, unit });
        if decoded > self.limits.decoded_bytes_max {
            return limit("decoded limit", self.limits.decoded_bytes_max, "bytes");
        }
        let wire = self.wire.load(Ordering::Relaxed);
        if decoded > RATIO_FREE_BYTES && decoded > wire.saturating_mul(self.limits.ratio_max) {
            return limit("decompression ratio", self.limits.ratio_max, "decoded bytes per byte");
        }
        Ok(())
    }

    fn error(&self, coding: Coding, decoded: u64, error: std::io::Error) -> FetchError {
        let is_ours = error.get_ref().is_some_and(|inner| inner.is::<FetchError>());
        if is_ours && let Some(Ok(inner)) = error.into_inner().map(|inner| inner.downcast::<FetchError>()) {
            return *inner;
        }
        self.damaged(coding, decoded)
    }

    fn damaged(&self, coding: Coding, decoded: u64) -> FetchError {
        let wire = self.wire.load(Ordering::Relaxed);
        FetchError::Incomplete {
            url: self.url.to_owned(),
            announced: format!("a whole {} body", coding.name()),
            received: format!("{wire} bytes that stop being {} after {decoded} decoded bytes", coding.name()),
        }
    }
}
