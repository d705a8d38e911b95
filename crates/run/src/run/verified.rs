//! What a run learnt although it changed nothing: new validators, another hash of the same rows, and when that was.
//!
//! It is kept beside the manifests, not in the table, which gets no version for it. It counts only for the very commit
//! that it was learnt about, holds no positions, and nothing is lost with it but one download.

use std::collections::BTreeMap;
use std::io::Write;

use hambar_core::{Checkpoint, RunId, Seen, SliceId, TableName, TableState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Bytes;
use super::prepare::Context;
use super::report::warning;
use crate::archive::RunArchive;

/// The last run that found a table unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verified {
    /// The number of the commit whose rows were found unchanged.
    sequence: u64,
    /// The run that made it.
    commit: RunId,
    /// The run that found out.
    run: RunId,
    /// When.
    verified_at: Timestamp,
    /// [`crate::Pipeline::decode_hash`] of the declaration that still gives the same rows.
    pub(super) decode_hash: String,
    /// What was seen of the slices.
    slices: BTreeMap<SliceId, Seen>,
}

impl Verified {
    /// What there is to keep of a run that got as far as `after` without a change; `None` where that is nothing new, or
    /// was not learnt from the provider.
    pub(super) fn of(
        context: &Context<'_>,
        state: &TableState,
        known_hash: Option<&str>,
        after: &Checkpoint,
    ) -> Option<Self> {
        let commit = state.run.clone()?;
        let decode_hash = context.pipeline.decode_hash();
        let is_from_provider = !matches!(context.bytes, Bytes::Raw { .. });
        let seen = |checkpoint: &Checkpoint| -> BTreeMap<SliceId, Seen> {
            let slices = checkpoint.slices.iter();
            slices.filter_map(|(id, slice)| Some((id.clone(), slice.seen.clone()?))).collect()
        };
        let slices = seen(after);
        let is_new = slices != seen(&state.checkpoint) || known_hash != Some(decode_hash.as_str());
        (is_from_provider && is_new).then(|| Self {
            sequence: state.sequence,
            commit,
            run: context.stamp.run.clone(),
            verified_at: context.stamp.recorded_at,
            decode_hash,
            slices,
        })
    }

    /// Reads what was learnt about the commit at which the table stands. What cannot be read is a warning.
    pub(super) async fn load(
        archive: &dyn RunArchive,
        pipeline: &TableName,
        state: &TableState,
    ) -> Result<Option<Self>, String> {
        let key = key(pipeline);
        let file = match archive.get(&key).await {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Err(warning("what the last unchanged run learnt was not read", &error)),
        };
        let read = std::fs::read(&file.path).map_err(|error| error.to_string());
        let parsed = read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).map_err(|error| error.to_string()));
        let verified = parsed.map_err(|error| format!("`{key}` is damaged: {error}"))?;
        let is_about_it = verified.sequence == state.sequence && Some(&verified.commit) == state.run.as_ref();
        Ok(is_about_it.then_some(verified))
    }

    /// Brings what was learnt into `checkpoint`. Positions stay those of the commit.
    pub(super) fn apply(&self, checkpoint: &mut Checkpoint) {
        for (id, slice) in &mut checkpoint.slices {
            if let Some(seen) = self.slices.get(id) {
                slice.seen = Some(seen.clone());
            }
        }
    }

    /// Keeps it, in place of what was kept before.
    pub(super) async fn keep(&self, archive: &dyn RunArchive, pipeline: &TableName) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        file.write_all(&text).and_then(|()| file.flush()).map_err(|error| error.to_string())?;
        archive.put(&key(pipeline), file.path()).await.map_err(|error| hambar_core::Chain(&error).to_string())
    }
}

fn key(pipeline: &TableName) -> String {
    format!("runs/{pipeline}/verified")
}
