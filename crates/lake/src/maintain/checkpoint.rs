//! Writes log checkpoints: the state of the log in one Parquet file, so that opening a table does not read every commit
//! (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md#checkpoints>). A checkpoint is read back and compared
//! before `_last_checkpoint` points to it (`reliability.md` LD8).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use hambar_core::{StoreError, TableName};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parquet::arrow::ArrowWriter;

use super::log_of;
use crate::actions::{Line, Remove, Txn};
use crate::checkpoint;
use crate::error::{damaged, job, storage};
use crate::lake::Lake;
use crate::log::{LogState, TableLog};

/// Commits after a checkpoint at which the next one is worth its cost.
const COMMITS_BETWEEN: u64 = 20;
/// Actions that are turned into one batch.
const BATCH_ACTIONS: usize = 8_192;

impl Lake {
    /// Writes a checkpoint of the newest version of `table`, if enough commits came since the last one. Returns the
    /// version of a new checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where what was read back is not what was written; the commits are not touched.
    pub async fn write_checkpoint(&self, table: &TableName) -> Result<Option<u64>, StoreError> {
        let log = log_of(self, table);
        let listing = checkpoint::list(&log).await?;
        let last = listing.checkpoints.keys().next_back().copied();
        let newest = listing.newest.unwrap_or(0);
        if newest < last.map_or(COMMITS_BETWEEN, |last| last + COMMITS_BETWEEN) {
            return Ok(None);
        }
        let state = self.state(&log, None).await?;
        let version = state.version;
        let written = Arc::clone(&state);
        let encoded =
            tokio::task::spawn_blocking(move || encode(&written)).await.map_err(|error| job(&log.label, &error))?;
        let bytes =
            encoded.map_err(|error| damaged(&log.label, format!("checkpoint of version {version}: {error}")))?;
        let path = log.folder().join(format!("{version:020}.checkpoint.parquet"));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let actions = actions(&state).len();
        match log.store.put_opts(&path, PutPayload::from(bytes), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            Err(error) => return Err(storage("write", &path, error)),
        }
        if let Err(error) = same(&log, &state, version).await {
            // A checkpoint that lies is worse than none; one that could not be read is judged another time.
            if matches!(error, StoreError::Damaged { .. })
                && let Err(error) = log.store.delete(&path).await
            {
                tracing::error!(%error, %path, "a damaged checkpoint could not be deleted; delete it by hand");
            }
            return Err(error);
        }
        let pointer = serde_json::json!({ "version": version, "size": actions }).to_string();
        let target = log.folder().join("_last_checkpoint");
        log.store.put(&target, PutPayload::from(pointer)).await.map_err(|error| storage("write", &target, error))?;
        Ok(Some(version))
    }
}

/// Loads the version again, now through the checkpoint, and compares it with the state that the commits gave.
async fn same(log: &TableLog, state: &LogState, version: u64) -> Result<(), StoreError> {
    let listing = checkpoint::list(log).await?;
    if !listing.checkpoints.contains_key(&version) {
        return Err(damaged(
            &log.label,
            format!("checkpoint of version {version} is missing right after it was written"),
        ));
    }
    let loaded = log.replay(&listing, Some(version), Some(version)).await?;
    if loaded.is_some_and(|loaded| is_same(&loaded, state)) {
        Ok(())
    } else {
        Err(damaged(&log.label, format!("checkpoint of version {version} read back differs from the log")))
    }
}

/// Says whether two states tell the same of a table.
pub(super) fn is_same(left: &LogState, right: &LogState) -> bool {
    left.files == right.files
        && left.metadata == right.metadata
        && left.protocol == right.protocol
        && left.txns == right.txns
        && left.tombstones == right.tombstones
}

/// The actions that make up a state, each as a line.
fn actions(state: &LogState) -> Vec<Line> {
    let mut lines = vec![
        Line { protocol: Some(state.protocol.clone()), ..Line::default() },
        Line { meta_data: Some(state.metadata.clone()), ..Line::default() },
    ];
    lines.extend(state.txns.iter().map(|(app_id, version)| Line {
        txn: Some(Txn { app_id: app_id.clone(), version: *version, last_updated: None }),
        ..Line::default()
    }));
    lines.extend(state.tombstones.iter().map(|(path, instant)| Line {
        remove: Some(Remove {
            path: path.clone(),
            deletion_timestamp: Some(*instant),
            data_change: false,
            extended_file_metadata: None,
            partition_values: None,
            size: None,
        }),
        ..Line::default()
    }));
    lines.extend(state.files.values().map(|add| Line { add: Some(add.as_ref().clone()), ..Line::default() }));
    lines
}

fn encode(state: &LogState) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let schema = schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None)?;
    for lines in actions(state).chunks(BATCH_ACTIONS) {
        let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH_ACTIONS).build_decoder()?;
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let taken = decoder.decode(rest)?;
            rest = &rest[taken..];
            if let Some(batch) = decoder.flush()? {
                write(&mut writer, &batch)?;
            }
        }
    }
    Ok(writer.into_inner()?)
}

fn write(writer: &mut ArrowWriter<Vec<u8>>, batch: &RecordBatch) -> Result<(), parquet::errors::ParquetError> {
    writer.write(batch)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn small(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

fn texts(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), true)
}

fn map(name: &str) -> Field {
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    let entries = Field::new("key_value", DataType::Struct(entries), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

fn group(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(Fields::from(fields)), true)
}

fn schema() -> SchemaRef {
    let format = group("format", vec![text("provider"), map("options")]);
    Arc::new(Schema::new(vec![
        group("txn", vec![text("appId"), number("version"), number("lastUpdated")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                number("size"),
                number("modificationTime"),
                flag("dataChange"),
                text("stats"),
                map("tags"),
            ],
        ),
        group(
            "remove",
            vec![
                text("path"),
                number("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                number("size"),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                format,
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                number("createdTime"),
            ],
        ),
        group(
            "protocol",
            vec![
                small("minReaderVersion"),
                small("minWriterVersion"),
                texts("readerFeatures"),
                texts("writerFeatures"),
            ],
        ),
    ]))
}
