//! Reads a table's log into its state at a version. Every oddity of the log is [`StoreError::Damaged`]: an empty
//! newest file would otherwise drop a commit without a word (`reliability.md` LD7).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hambar_core::StoreError;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::actions::{Add, Line, Metadata, Protocol};
use crate::checkpoint::{self, Listing};
use crate::error::{damaged, storage};

/// Log files read at the same time.
const LOG_READS_MAX: usize = 16;
/// The application id under which runs leave their sequence number in the log.
pub(crate) const APP_ID: &str = "hambar";

/// A table at one version, as its log tells it.
#[derive(Debug, Clone)]
pub struct LogState {
    /// The version.
    pub version: u64,
    /// Which readers and writers may touch it.
    pub protocol: Protocol,
    /// Schema, partitioning and properties.
    pub metadata: Metadata,
    /// Transaction versions by application.
    pub txns: BTreeMap<String, i64>,
    /// Live data files by path.
    pub files: BTreeMap<String, Arc<Add>>,
    /// Removed data files that the log still knows, with the instant of removal in milliseconds since 1970.
    pub tombstones: BTreeMap<String, i64>,
}

impl LogState {
    /// Returns the table property `name`.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.metadata.configuration.get(name).map(String::as_str)
    }

    /// Returns the sequence number of the newest run's commit.
    pub fn sequence(&self) -> u64 {
        self.txns.get(APP_ID).and_then(|version| u64::try_from(*version).ok()).unwrap_or(0)
    }

    fn apply(&mut self, line: Line) {
        if let Some(protocol) = line.protocol {
            self.protocol = protocol;
        }
        if let Some(metadata) = line.meta_data {
            self.metadata = metadata;
        }
        if let Some(txn) = line.txn {
            self.txns.insert(txn.app_id, txn.version);
        }
        if let Some(remove) = line.remove {
            self.files.remove(&remove.path);
            self.tombstones.insert(remove.path, remove.deletion_timestamp.unwrap_or(0));
        }
        if let Some(add) = line.add {
            self.tombstones.remove(&add.path);
            self.files.insert(add.path.clone(), Arc::new(add));
        }
    }
}

/// The log of one table.
#[derive(Debug, Clone)]
pub(crate) struct TableLog {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The table's folder.
    pub(crate) root: Path,
    /// The table's name, for messages.
    pub(crate) label: String,
}

impl TableLog {
    /// The folder of the log.
    pub(crate) fn folder(&self) -> Path {
        self.root.clone().join("_delta_log")
    }

    /// The file of `version`.
    pub(crate) fn commit_path(&self, version: u64) -> Path {
        self.folder().join(format!("{version:020}.json"))
    }

    /// Reads the commit of `version`, `None` where there is none.
    pub(crate) async fn read_commit(&self, version: u64) -> Result<Option<Bytes>, StoreError> {
        let path = self.commit_path(version);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(storage("read", &path, error)),
        };
        let announced = found.meta.size;
        let bytes = found.bytes().await.map_err(|error| storage("read", &path, error))?;
        if bytes.len() as u64 != announced {
            return Err(damaged(
                &self.label,
                format!("log file `{path}` has {announced} bytes, but {} arrived", bytes.len()),
            ));
        }
        Ok(Some(bytes))
    }

    /// Reads the state at `at`, the newest for `None`; `Ok(None)` where the table, or that version, is missing.
    pub(crate) async fn load(&self, at: Option<u64>) -> Result<Option<LogState>, StoreError> {
        let listing = checkpoint::list(self).await?;
        let wanted = at.unwrap_or(u64::MAX);
        let mut broken = None;
        for version in listing.checkpoints.range(..=wanted).rev().map(|(version, _)| *version) {
            match self.replay(&listing, Some(version), at).await {
                Err(error @ StoreError::Damaged { .. }) => {
                    // An older checkpoint, or the commits alone, may still tell everything; `check` reports this one.
                    tracing::warn!(error = %hambar_core::Chain(&error), version, "reading the log without this checkpoint");
                    broken = broken.or(Some(error));
                }
                ended => return ended,
            }
        }
        match (self.replay(&listing, None, at).await, broken) {
            (Err(StoreError::Damaged { .. }) | Ok(None), Some(first)) => Err(first),
            (ended, _) => ended,
        }
    }

    /// Reads the state at `at` from the checkpoint of version `base`, or from the commits alone.
    pub(crate) async fn replay(
        &self,
        listing: &Listing,
        base: Option<u64>,
        at: Option<u64>,
    ) -> Result<Option<LogState>, StoreError> {
        let wanted = at.unwrap_or(u64::MAX);
        let mut replay = match base.and_then(|version| Some((version, listing.checkpoints.get(&version)?))) {
            Some((version, parts)) => Replay::from_checkpoint(self, version, parts).await?,
            None => Replay::default(),
        };
        let first = replay.state.as_ref().map_or(0, |state| state.version + 1);
        let newest = listing.newest.map_or(first, |newest| newest.min(wanted));
        let mut commits = futures::stream::iter(first..=newest.max(first))
            .map(|version| async move { Ok::<_, StoreError>((version, self.read_commit(version).await?)) })
            .buffered(LOG_READS_MAX);
        while let Some((version, bytes)) = commits.try_next().await? {
            if version > wanted {
                break;
            }
            match bytes {
                Some(bytes) => replay.apply(self, version, &bytes)?,
                None if listing.newest.is_some_and(|newest| version < newest) => {
                    return Err(damaged(&self.label, format!("log file `{}` is missing", self.commit_path(version))));
                }
                None => break,
            }
        }
        drop(commits);
        let Some(state) = replay.finish(self)? else {
            return Ok(None);
        };
        if at.is_some_and(|at| at != state.version) {
            return Ok(None);
        }
        if at.is_some() { Ok(Some(state)) } else { self.advance(state).await.map(Some) }
    }

    /// Reads on from `state` to the newest version.
    pub(crate) async fn advance(&self, mut state: LogState) -> Result<LogState, StoreError> {
        while let Some(bytes) = self.read_commit(state.version + 1).await? {
            let version = state.version + 1;
            for line in parse(&self.label, &self.commit_path(version), &bytes)? {
                state.apply(line);
            }
            state.version = version;
        }
        Ok(state)
    }
}

/// Parses a log file.
pub(crate) fn parse(label: &str, path: &Path, bytes: &[u8]) -> Result<Vec<Line>, StoreError> {
    let mut lines = Vec::new();
    for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = serde_json::from_slice(text)
            .map_err(|error| damaged(label, format!("log file `{path}`, line {}: {error}", number + 1)))?;
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(damaged(label, format!("log file `{path}` is empty; its commit is lost")));
    }
    Ok(lines)
}

/// A state under construction: protocol and metadata arrive with the first lines.
#[derive(Debug, Default)]
struct Replay {
    state: Option<LogState>,
}

impl Replay {
    async fn from_checkpoint(log: &TableLog, version: u64, parts: &[Path]) -> Result<Self, StoreError> {
        let mut replay = Self::default();
        let mut lines = Vec::new();
        for part in parts {
            lines.extend(checkpoint::read(log, part).await?);
        }
        replay.apply_lines(log, version, lines)?;
        Ok(replay)
    }

    fn apply(&mut self, log: &TableLog, version: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let lines = parse(&log.label, &log.commit_path(version), bytes)?;
        self.apply_lines(log, version, lines)
    }

    fn apply_lines(&mut self, log: &TableLog, version: u64, lines: Vec<Line>) -> Result<(), StoreError> {
        if self.state.is_none() {
            let protocol = lines.iter().find_map(|line| line.protocol.clone());
            let metadata = lines.iter().find_map(|line| line.meta_data.clone());
            let (Some(protocol), Some(metadata)) = (protocol, metadata) else {
                return Err(damaged(&log.label, format!("version {version} has no protocol or no metadata")));
            };
            self.state = Some(LogState {
                version,
                protocol,
                metadata,
                txns: BTreeMap::new(),
                files: BTreeMap::new(),
                tombstones: BTreeMap::new(),
            });
        }
        if let Some(state) = &mut self.state {
            for line in lines {
                state.apply(line);
            }
            state.version = version;
        }
        Ok(())
    }

    fn finish(self, log: &TableLog) -> Result<Option<LogState>, StoreError> {
        if let Some(state) = &self.state {
            refuse_unknown_features(log, state)?;
        }
        Ok(self.state)
    }
}

/// Reader features that need nothing from us.
const READER_FEATURES: [&str; 2] = ["timestampNtz", "vacuumProtocolCheck"];

fn refuse_unknown_features(log: &TableLog, state: &LogState) -> Result<(), StoreError> {
    let unfit = |feature: &str| StoreError::Unfit {
        url: log.root.to_string(),
        what: format!("table `{}` uses the Delta feature `{feature}`, which is not supported", log.label),
    };
    let features = state.protocol.reader_features.iter().flatten();
    if let Some(feature) = features.into_iter().find(|feature| !READER_FEATURES.contains(&feature.as_str())) {
        return Err(unfit(feature));
    }
    let mapping = state.property("delta.columnMapping.mode").unwrap_or("none");
    if mapping != "none" {
        return Err(unfit("columnMapping"));
    }
    if state.protocol.min_reader_version > 3 {
        return Err(unfit(&format!("reader version {}", state.protocol.min_reader_version)));
    }
    if state.files.values().any(|file| file.deletion_vector.is_some()) {
        return Err(unfit("deletionVectors"));
    }
    Ok(())
}

/// Says which writer feature stands in the way of writing, if any does.
pub(crate) fn writer_obstacle(state: &LogState) -> Option<String> {
    let features: Vec<_> = state.protocol.writer_features.iter().flatten().cloned().collect();
    if !features.is_empty() {
        return Some(features.join("`, `"));
    }
    let version = state.protocol.min_writer_version;
    (version > 2).then(|| format!("writer version {version}"))
}
