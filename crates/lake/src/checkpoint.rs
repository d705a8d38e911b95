//! Finds and reads the checkpoints of a log (classic ones, in one file or in parts). Writing them is maintenance.

use std::collections::BTreeMap;

use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use futures::TryStreamExt;
use hambar_core::StoreError;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::actions::Line;
use crate::error::{damaged, storage};
use crate::log::TableLog;

/// What the folder of a log holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files of each complete checkpoint, by version.
    pub(crate) checkpoints: BTreeMap<u64, Vec<Path>>,
    /// Highest version that has a JSON file.
    pub(crate) newest: Option<u64>,
}

/// Lists the log.
pub(crate) async fn list(log: &TableLog) -> Result<Listing, StoreError> {
    let folder = log.folder();
    let mut objects = log.store.list(Some(&folder));
    let mut listing = Listing::default();
    let mut parts: BTreeMap<(u64, usize), Vec<Path>> = BTreeMap::new();
    while let Some(object) = objects.try_next().await.map_err(|error| storage("list", &folder, error))? {
        let name = object.location.filename().unwrap_or_default().to_owned();
        let Some((version, rest)) =
            name.split_once('.').and_then(|(digits, rest)| Some((digits.parse::<u64>().ok()?, rest)))
        else {
            continue;
        };
        let pieces: Vec<&str> = rest.split('.').collect();
        match pieces[..] {
            ["json"] => listing.newest = listing.newest.max(Some(version)),
            ["checkpoint", "parquet"] => {
                listing.checkpoints.insert(version, vec![object.location]);
            }
            ["checkpoint", _, total, "parquet"] if total.parse::<usize>().is_ok() => {
                let total = total.parse().unwrap_or(0);
                parts.entry((version, total)).or_default().push(object.location);
            }
            ["checkpoint", _, _] => {
                return Err(StoreError::Unfit {
                    url: log.root.to_string(),
                    what: format!(
                        "table `{}` uses the Delta feature `v2Checkpoint`, which is not supported",
                        log.label
                    ),
                });
            }
            _ => {}
        }
    }
    for ((version, total), mut files) in parts {
        if files.len() == total {
            files.sort();
            listing.checkpoints.entry(version).or_insert(files);
        }
    }
    Ok(listing)
}

/// Reads the actions of one checkpoint file.
pub(crate) async fn read(log: &TableLog, path: &Path) -> Result<Vec<Line>, StoreError> {
    let found = log.store.get(path).await.map_err(|error| storage("read", path, error))?;
    let bytes = found.bytes().await.map_err(|error| storage("read", path, error))?;
    let label = log.label.clone();
    let place = path.clone();
    let parsed = tokio::task::spawn_blocking(move || {
        decode(bytes).map_err(|error| damaged(&label, format!("checkpoint `{place}`: {error}")))
    });
    parsed.await.map_err(|error| crate::error::job(&log.label, &error))?
}

fn decode(bytes: bytes::Bytes) -> Result<Vec<Line>, Box<dyn std::error::Error + Send + Sync>> {
    let mut lines = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        // A NULL partition value is a value; without this it would be missing from its map.
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, LineDelimited>(Vec::new());
        writer.write(&batch?)?;
        writer.finish()?;
        for text in writer.into_inner().split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            lines.push(serde_json::from_slice(text)?);
        }
    }
    Ok(lines)
}
