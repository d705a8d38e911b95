//! Why a run failed.

use hambar_connect::ConnectError;
use hambar_core::{Classified, ErrorClass, RunId, SliceId, StoreError};

use super::report::RunFailure;
use crate::archive::ArchiveError;
use crate::decode_pool::DecodeFailure;

/// A failed step of a run. The report of the run keeps its text.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store failed at something.
    #[error("{step}")]
    Store {
        /// What was attempted, in words.
        step: &'static str,
        /// The failure.
        #[source]
        source: StoreError,
    },
    /// The source could not be made or planned.
    #[error("plan the source")]
    Plan {
        /// The failure.
        #[source]
        source: Box<ConnectError>,
    },
    /// A slice could not be read.
    #[error("read slice `{slice}`")]
    Read {
        /// The slice.
        slice: SliceId,
        /// The failure.
        #[source]
        source: Box<ConnectError>,
    },
    /// A body could not be decoded.
    #[error("decode page {page} of slice `{slice}`, `{url}`")]
    Decode {
        /// The slice.
        slice: SliceId,
        /// The page, counted from 1.
        page: u64,
        /// Where the body came from.
        url: String,
        /// The failure.
        #[source]
        source: Box<DecodeFailure>,
    },
    /// Another number of records was decoded than the provider announced.
    #[error("{place} is incomplete: {announced} records announced, {decoded} decoded")]
    Incomplete {
        /// The page or slice.
        place: String,
        /// Announced.
        announced: u64,
        /// Decoded, rejects included.
        decoded: u64,
    },
    /// Nothing came where there were rows.
    #[error("slice `{slice}` is empty: it had {rows} records before")]
    Emptied {
        /// The slice.
        slice: SliceId,
        /// Records it had.
        rows: u64,
    },
    /// The source offers nothing at all where there were rows.
    #[error("the source has no slices: it had {rows} records before")]
    NoSlices {
        /// Records it had.
        rows: u64,
    },
    /// The stream of a slice ended without saying that all was read.
    #[error("slice `{slice}` ended without a proof that it is complete")]
    NoProof {
        /// The slice.
        slice: SliceId,
    },
    /// The rows of a page do not add up.
    #[error("page {page} of slice `{slice}`: the decoder reported {reported} rows and delivered {delivered}")]
    Delivery {
        /// The slice.
        slice: SliceId,
        /// The page, counted from 1.
        page: u64,
        /// Rows in the decoder's report.
        reported: u64,
        /// Rows that arrived.
        delivered: u64,
    },
    /// Every record of a slice broke the contract: what was published would be withdrawn for nothing.
    #[error("all records of slice `{slice}` were rejected ({rejected}); the first: {first}")]
    NothingFits {
        /// The slice.
        slice: SliceId,
        /// Its records.
        rejected: u64,
        /// Place and reason of the first.
        first: String,
    },
    /// Too many records of the run broke the contract.
    #[error("{rejected} records rejected, more than {rejects_max}")]
    Rejects {
        /// Records rejected so far.
        rejected: u64,
        /// The limit.
        rejects_max: u64,
    },
    /// Mode `snapshot` with a source that does not bring everything.
    #[error("mode `snapshot` needs a source that brings everything, and this one brings what is new")]
    NotAll,
    /// Everything was to be read again in mode `append`.
    #[error("mode `append` would add all rows a second time")]
    Twice,
    /// A column of the key is gone: every row would be another one than before.
    #[error("slice `{slice}` has no column `{columns}` any more, which identifies its rows")]
    KeyGone {
        /// The slice.
        slice: SliceId,
        /// The columns, as the source called them.
        columns: String,
    },
    /// Columns kept changing while the run was reading.
    #[error("the source's columns changed {times} times within one run")]
    Drifting {
        /// Changes of columns.
        times: u32,
    },
    /// Rows do not have the shape that was agreed.
    #[error("rows of slice `{slice}`: {what}")]
    Rows {
        /// The slice.
        slice: SliceId,
        /// What is wrong.
        what: String,
    },
    /// The landing zone failed.
    #[error("keep the run's manifest")]
    Archive {
        /// The failure.
        #[source]
        source: ArchiveError,
    },
    /// A temporary file failed.
    #[error("write the run's manifest")]
    Manifest {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What is asked for cannot be derived from raw bytes.
    #[error("replay `{pipeline}`: {what}")]
    Replay {
        /// The pipeline.
        pipeline: String,
        /// Why not.
        what: String,
    },
    /// A run could not be derived again from its raw bytes.
    #[error("derive run {run} again: {}", .failure.messages.join(": "))]
    Again {
        /// The run.
        run: RunId,
        /// Why not.
        failure: Box<RunFailure>,
    },
    /// A part of the landing zone that nothing of ours removes is not there.
    #[error("replay `{pipeline}`: {what}")]
    Gone {
        /// The pipeline.
        pipeline: String,
        /// What is missing.
        what: String,
    },
    /// A part of the run ended unexpectedly.
    #[error("the task that {task} ended early")]
    Task {
        /// What it did.
        task: &'static str,
    },
}

impl Classified for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store { source, .. } => source.class(),
            Self::Plan { source } | Self::Read { source, .. } => source.class(),
            Self::Decode { source, .. } => source.class(),
            Self::Incomplete { .. } | Self::Emptied { .. } | Self::NoSlices { .. } | Self::NoProof { .. } => {
                ErrorClass::Incomplete
            }
            Self::Rejects { .. } | Self::NothingFits { .. } => ErrorClass::Data,
            Self::NotAll | Self::Twice => ErrorClass::Config,
            Self::Drifting { .. } | Self::KeyGone { .. } => ErrorClass::Drift,
            Self::Archive { .. } | Self::Manifest { .. } => ErrorClass::Store,
            Self::Replay { .. } => ErrorClass::Config,
            Self::Again { failure, .. } => failure.class,
            Self::Gone { .. } => ErrorClass::Store,
            Self::Delivery { .. } | Self::Rows { .. } | Self::Task { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store { source, .. } => source.hint(),
            Self::Plan { source } | Self::Read { source, .. } => source.hint(),
            Self::Decode { source, .. } => source.hint(),
            Self::Emptied { .. } | Self::NoSlices { .. } => {
                Some("if the provider really has nothing any more, set `write.allow_empty = true` for one run".to_owned())
            }
            Self::Rejects { .. } => {
                Some("see the reasons in `<table>__rejects` of an earlier run, mend the columns' types, or raise `write.rejects_max`".to_owned())
            }
            Self::NothingFits { .. } => Some(
                "look at the landed bytes (`system.fetches` has their hash): the source is something else now, or the columns' types or \
                 `[format]` do not fit it"
                    .to_owned(),
            ),
            Self::KeyGone { .. } => {
                Some("give the name under which it comes now as the `source` of its `[[columns]]`".to_owned())
            }
            Self::NotAll => Some("use mode `upsert` with a key, or `append`".to_owned()),
            Self::Twice => Some("remove the table first, or derive it again with `hambar rebuild`".to_owned()),
            Self::Incomplete { .. } => Some("the table was left as it was; the next run tries again".to_owned()),
            Self::Again { failure, .. } => failure.hint.clone(),
            Self::Gone { .. } => Some("manifests are never removed by Hambar: restore `raw/runs/` from where it was copied or cleaned".to_owned()),
            Self::NoProof { .. }
            | Self::Replay { .. }
            | Self::Delivery { .. }
            | Self::Drifting { .. }
            | Self::Rows { .. }
            | Self::Archive { .. }
            | Self::Manifest { .. }
            | Self::Task { .. } => None,
        }
    }
}
