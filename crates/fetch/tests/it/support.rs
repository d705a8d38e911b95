//! What the tests share: a stack over a temporary landing zone, a sink that remembers, encoders.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use hambar_core::Clock;
use hambar_fetch::{
    AllowHosts, ExchangeSink, FetchConfig, FetchError, FetchMeta, Fetched, HostLimits, Http, Landed, Landing, Request,
    Transport, stack,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use sha2::Digest;
use tokio::io::AsyncWriteExt;

#[derive(Debug)]
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> jiff::Timestamp {
        "2026-09-01T08:00:00Z".parse().unwrap()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) exchanges: Mutex<Vec<FetchMeta>>,
    pub(crate) waits: Mutex<Vec<String>>,
    pub(crate) bytes: Mutex<u64>,
}

impl Sink {
    pub(crate) fn exchanges(&self) -> Vec<FetchMeta> {
        self.exchanges.lock().unwrap().clone()
    }
}

impl ExchangeSink for Sink {
    fn record(&self, exchange: FetchMeta) {
        self.exchanges.lock().unwrap().push(exchange);
    }

    fn progress(&self, bytes: u64) {
        *self.bytes.lock().unwrap() += bytes;
    }

    fn waiting(&self, reason: Option<&str>) {
        self.waits.lock().unwrap().extend(reason.map(str::to_owned));
    }
}

/// A store, a spool folder and settings that make tests short.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: FetchConfig,
    pub(crate) sink: Sink,
    pub(crate) store: Store,
}

/// Where bytes are landed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A folder, flushed as in production.
    Folder,
    /// Memory, for tests of many small answers.
    Memory,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let config = FetchConfig {
            contact: "mailto:test@example.org".to_owned(),
            allow_hosts: AllowHosts::parse(["127.0.0.1", "localhost"]).unwrap(),
            every_host: HostLimits { requests: 1000, period: Duration::from_secs(1), concurrency: 8 },
            first_byte: Duration::from_millis(500),
            stall: Duration::from_millis(400),
            total: Duration::from_secs(20),
            backoff: Duration::from_millis(2),
            backoff_max: Duration::from_millis(10),
            ..FetchConfig::default()
        };
        Self { dir: tempfile::tempdir().unwrap(), config, sink: Sink::default(), store: Store::Folder }
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn landing(&self) -> Landing {
        if self.store == Store::Memory {
            return Landing::new(Arc::new(InMemory::new()), None, self.spool());
        }
        let root = self.dir.path().join("store");
        std::fs::create_dir_all(&root).unwrap();
        Landing::new(Arc::new(LocalFileSystem::new_with_prefix(&root).unwrap()), Some(root), self.spool())
    }

    pub(crate) fn http(&self) -> Http {
        Http::new(self.config.clone(), self.landing(), Arc::new(FixedClock)).unwrap()
    }

    pub(crate) fn stack(&self) -> Arc<dyn Transport> {
        stack(&self.config, self.landing(), Arc::new(FixedClock)).unwrap()
    }

    /// Sends once, without retries.
    pub(crate) async fn once(&self, request: Request) -> Result<Fetched, FetchError> {
        self.http().send(request, &self.sink).await
    }

    /// Sends through the whole stack.
    pub(crate) async fn send(&self, request: Request) -> Result<Fetched, FetchError> {
        self.stack().send(request, &self.sink).await
    }

    /// Says in a line how a single attempt ended: the body's length and hash, or the error.
    pub(crate) async fn once_text(&self, request: Request) -> String {
        let url = request.url.to_string();
        text(self.once(request).await).replace(&url, "URL")
    }

    /// Checks that nothing was landed.
    pub(crate) fn assert_nothing_landed(&self) {
        assert!(!self.dir.path().join("store/raw").exists(), "something was landed");
    }
}

pub(crate) fn text(outcome: Result<Fetched, FetchError>) -> String {
    match outcome {
        Ok(Fetched::Fresh(landed)) => format!("{} bytes", landed.bytes),
        Ok(Fetched::NotModified(_)) => "not modified".to_owned(),
        Err(error) => hambar_core::Chain(&error).to_string(),
    }
}

pub(crate) fn get(url: &str) -> Request {
    Request::get(url.parse().unwrap())
}

pub(crate) fn resumable(url: &str) -> Request {
    Request { resumable: true, ..get(url) }
}

/// Checks that what was landed is exactly `body`.
pub(crate) fn assert_body(outcome: Result<Fetched, FetchError>, body: &[u8]) -> Landed {
    match outcome {
        Ok(Fetched::Fresh(landed)) => {
            assert_eq!(landed.bytes, body.len() as u64);
            assert_eq!(landed.sha256, sha256(body));
            assert!(std::fs::read(&landed.path).unwrap() == body, "the file holds other bytes");
            assert_eq!(landed.meta.sha256.as_deref(), Some(landed.sha256.as_str()));
            landed
        }
        other => panic!("no body: {}", text(other)),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not compress and differ everywhere.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

pub(crate) async fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BrotliEncoder::with_quality(Vec::new(), async_compression::Level::Fastest);
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

pub(crate) async fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}
