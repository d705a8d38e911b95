//! What readers get: one version of a table with its files, schema and properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use hambar_core::{RunId, StoreError, TableName};
use jiff::Timestamp;
use object_store::path::Path;

use crate::actions::Add;
use crate::error::damaged;
use crate::layout;
use crate::log::{LogState, TableLog};
use crate::schema;

/// Table property: the checkpoint that was committed with the newest rows, as JSON.
pub(crate) const PROPERTY_CHECKPOINT: &str = "hambar.checkpoint";
/// Table property: the run that made the newest commit.
pub(crate) const PROPERTY_RUN: &str = "hambar.run";
/// Table property: the sequence number of the newest commit by a run.
pub(crate) const PROPERTY_SEQUENCE: &str = "hambar.sequence";
/// Table property: the instant that the newest commit's rows carry.
pub(crate) const PROPERTY_RECORDED_AT: &str = "hambar.recorded_at";
/// Table property: the fingerprint of the current content.
pub(crate) const PROPERTY_FINGERPRINT: &str = "hambar.fingerprint";
/// Property of a history: the instant before which superseded rows were let go.
pub(crate) const PROPERTY_HISTORY_SINCE: &str = "hambar.history_since";
/// Table property: the key columns, joined by commas.
pub(crate) const PROPERTY_KEY: &str = "hambar.key";
/// Table property: the write mode.
pub(crate) const PROPERTY_WRITE: &str = "hambar.write";

/// One version of a table.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The table.
    pub table: TableName,
    /// The version.
    pub version: u64,
    /// Number of commits by runs up to it.
    pub sequence: u64,
    /// The run that made the newest of them.
    pub run: Option<RunId>,
    /// The instant that its rows carry.
    pub recorded_at: Option<Timestamp>,
    /// Columns with their metadata (`source_name`, `unit`, `description`), provenance columns included.
    pub schema: SchemaRef,
    /// Partition columns; their values are in [`DataFile::partition_values`], not in the files.
    pub partition_by: Vec<String>,
    /// The data files.
    pub files: Vec<DataFile>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
}

/// One immutable Parquet file.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Its path in [`crate::Lake::object_store`].
    pub path: Path,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// Partition values as Delta writes them.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Row count and column bounds as Delta's JSON text.
    pub stats: Option<String>,
}

impl TableSnapshot {
    /// Makes the snapshot of `table` from its log.
    pub(crate) fn new(table: &TableName, log: &TableLog, state: &LogState) -> Result<Self, StoreError> {
        let files: Result<Vec<_>, _> = state.files.values().map(|add| data_file(log, add)).collect();
        Ok(Self {
            table: table.clone(),
            version: state.version,
            sequence: state.sequence(),
            run: run_of(state),
            recorded_at: recorded_at(state),
            schema: schema_of(log, state)?,
            partition_by: state.metadata.partition_columns.clone(),
            files: files?,
            properties: state.metadata.configuration.clone(),
        })
    }
}

impl TableSnapshot {
    /// Returns the instant from which on this history is whole, where older rows were let go.
    pub fn history_since(&self) -> Option<Timestamp> {
        self.properties.get(PROPERTY_HISTORY_SINCE)?.parse().ok()
    }
}

/// The run that made the newest commit.
pub(crate) fn run_of(state: &LogState) -> Option<RunId> {
    state.property(PROPERTY_RUN).map(|run| RunId(run.to_owned()))
}

/// The instant that the newest commit's rows carry.
pub(crate) fn recorded_at(state: &LogState) -> Option<Timestamp> {
    state.property(PROPERTY_RECORDED_AT)?.parse().ok()
}

/// The Arrow schema of the table.
pub(crate) fn schema_of(log: &TableLog, state: &LogState) -> Result<SchemaRef, StoreError> {
    schema::from_delta(&state.metadata.schema_string).map_err(|what| damaged(&log.label, what))
}

/// The path of a data file in the store.
pub(crate) fn data_path(log: &TableLog, add: &Add) -> Result<Path, StoreError> {
    file_path(log, &add.path)
}

/// The place of the file that the log names `name`.
pub(crate) fn file_path(log: &TableLog, name: &str) -> Result<Path, StoreError> {
    let wrong = || damaged(&log.label, format!("data file `{name}` is not inside the table"));
    let decoded = layout::decoded(name).ok_or_else(wrong)?;
    if decoded.contains("://") || decoded.starts_with('/') {
        return Err(wrong());
    }
    let text = format!("{}/{decoded}", log.root);
    Path::parse(text).map_err(|_| wrong())
}

/// The data file of `add`.
pub(crate) fn data_file(log: &TableLog, add: &Arc<Add>) -> Result<DataFile, StoreError> {
    let rows = add.rows().ok_or_else(|| damaged(&log.label, format!("data file `{}` has no row count", add.path)))?;
    Ok(DataFile {
        path: data_path(log, add)?,
        size: add.size,
        rows,
        partition_values: add.partition_values.clone(),
        stats: add.stats.clone(),
    })
}
