//! The contract of a connector.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hambar_core::{Checkpoint, Position, Seen, SliceId, SliceState};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::{Fetcher, Landed};

use crate::error::ConnectError;

/// An independently readable part of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its stable name.
    pub id: SliceId,
    /// Where the last commit ended.
    pub from: SliceState,
    /// What only the connector that planned it reads (JSON).
    pub detail: String,
}

/// What a run will cost, as far as it can be known before anything large is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Requests.
    pub requests: Option<u64>,
    /// Bytes on the wire.
    pub bytes: Option<u64>,
    /// Rows.
    pub rows: Option<u64>,
}

/// The slices of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourcePlan {
    /// In the order in which they are read.
    pub slices: Vec<Slice>,
    /// Their cost.
    pub estimate: Estimate,
    /// True where the slices together are all there is, so that `snapshot` mode may withdraw absent rows.
    pub is_full_extract: bool,
}

/// One landed answer and how to decode it.
#[derive(Debug, Clone)]
pub struct Page {
    /// The bytes.
    pub landed: Landed,
    /// How to decode them. The runner fills in the columns.
    pub job: DecodeJob,
    /// Records that the provider says are on this page; checked against what was decoded.
    pub records_announced: Option<u64>,
}

/// What makes a slice complete. The runner compares it with what it decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The evidence in words: `content length 1234`, `total 17290 of 17290 in 18 pages`, `last page marker`.
    pub evidence: String,
    /// Records that the provider announced for the whole slice.
    pub records_announced: Option<u64>,
}

/// What reading a slice brings, in order: pages, then exactly one `Unchanged` (instead of pages) or `End`.
#[derive(Debug, Clone)]
pub enum SliceEvent {
    /// A page.
    Page(Box<Page>),
    /// Nothing changed since `slice.from`.
    Unchanged {
        /// What proved it: `304`, `head`, `catalogue date`, `length`, `sha256`.
        evidence: String,
    },
    /// All pages were read.
    End {
        /// Why nothing is missing.
        proof: Proof,
        /// Where the next run starts.
        reached: Position,
        /// What was seen; `rows` is filled in by the runner.
        seen: Seen,
    },
}

/// One configured thing to read.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Plans the slices of a run. Sends at most a few small requests (a catalogue, a count, a HEAD), no data.
    async fn plan(&self, done: &Checkpoint, fetch: &Fetcher) -> Result<SourcePlan, ConnectError>;

    /// Reads `slice` from its start position to its end.
    ///
    /// Pages are safe to read again: two reads of one slice yield the same records as long as the provider has not
    /// changed them. The stream ends after the first error. Dropping it stops all work.
    fn read(&self, slice: Slice, fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>>;
}
