//! Takes the exchanges of one run: counts them, passes progress on, and holds them until they are written to
//! `system.fetches`.

use std::sync::{Arc, Mutex, PoisonError};

use hambar_connect::Estimate;
use hambar_core::{SliceId, TableName};
use hambar_fetch::{ExchangeSink, FetchMeta};

/// Exchanges that are held before they are written.
pub(crate) const EXCHANGES_HELD_MAX: usize = 500;

/// News of a run, for a progress display or a log. Implementations must not block.
pub trait Progress: std::fmt::Debug + Send + Sync {
    /// Hears what `pipeline` is at.
    fn hear(&self, pipeline: &TableName, news: News<'_>);
}

/// What a run is at.
#[derive(Debug)]
pub enum News<'a> {
    /// The run begins.
    Started,
    /// The slices are known.
    Planned {
        /// Slices to read.
        slices: usize,
        /// Their cost.
        estimate: &'a Estimate,
    },
    /// An exchange ended.
    Exchange(&'a FetchMeta),
    /// Body bytes arrived.
    Bytes(u64),
    /// The run waits for something, or no longer.
    Waiting(Option<&'a str>),
    /// Rows went to the store.
    Rows(u64),
    /// A slice was read to its end, or is unchanged.
    SliceDone(&'a SliceId),
    /// Everything was read; the store compares and commits.
    Committing,
    /// The run ended.
    Finished(&'a super::report::RunReport),
}

/// Hears news and does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn hear(&self, _pipeline: &TableName, _news: News<'_>) {}
}

/// The sink of one run.
#[derive(Debug)]
pub(crate) struct RunSink {
    pipeline: TableName,
    progress: Arc<dyn Progress>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    exchanges: Vec<FetchMeta>,
    requests: u64,
    bytes_wire: u64,
}

impl RunSink {
    pub(crate) fn new(pipeline: TableName, progress: Arc<dyn Progress>) -> Self {
        Self { pipeline, progress, held: Mutex::default() }
    }

    pub(crate) fn hear(&self, news: News<'_>) {
        self.progress.hear(&self.pipeline, news);
    }

    /// Requests and bytes so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.requests, held.bytes_wire)
    }

    /// Hands over what is held, if it is at least `least`.
    pub(crate) fn take(&self, least: usize) -> Vec<FetchMeta> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.exchanges.len() < least.max(1) { Vec::new() } else { std::mem::take(&mut held.exchanges) }
    }
}

impl ExchangeSink for RunSink {
    fn record(&self, exchange: FetchMeta) {
        self.hear(News::Exchange(&exchange));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.requests += 1;
        held.bytes_wire += exchange.bytes_wire;
        held.exchanges.push(exchange);
    }

    fn progress(&self, bytes: u64) {
        self.hear(News::Bytes(bytes));
    }

    fn waiting(&self, reason: Option<&str>) {
        self.hear(News::Waiting(reason));
    }
}
