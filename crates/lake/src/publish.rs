//! Brings finished data files to their place in the store and describes them for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};

use hambar_core::StoreError;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::actions::Add;
use crate::encode::{Encoded, Folder};
use crate::error::{file as file_error, storage};
use crate::lake::Lake;
use crate::layout;
use crate::log::TableLog;
use crate::partition::PartitionValues;
use crate::snapshot::file_path;

/// Files up to this size are uploaded in one request; larger ones in parts of this size.
const UPLOAD_PART_BYTES: usize = 8 * 1024 * 1024;

/// Tag of a data file: the hash of its bytes.
pub(crate) const TAG_DIGEST: &str = "hambar.xxh3";

/// Scratch space of one writer; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: TempDir,
}

impl Spool {
    /// Makes scratch space in the store's own folder, or the system's for remote stores.
    pub(crate) fn new(lake: &Lake) -> Result<Self, StoreError> {
        let folder = match lake.local_root() {
            Some(root) => {
                let parent = root.join("spool");
                std::fs::create_dir_all(&parent).map_err(|error| file_error("write", &parent, error))?;
                tempfile::Builder::new().prefix("write-").tempdir_in(&parent)
            }
            None => tempfile::Builder::new().prefix("hambar-").tempdir(),
        };
        Ok(Self { folder: folder.map_err(|error| file_error("write", FilePath::new("spool"), error))? })
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &FilePath {
        self.folder.path()
    }
}

/// The folder that data files of the table are written to: its own in a local lake, the spool otherwise.
pub(crate) fn data_folder(lake: &Lake, log: &TableLog, spool: &Spool) -> Result<Folder, StoreError> {
    let flusher = lake.inner.flusher.clone();
    let Some(root) = lake.local_root() else {
        return Ok(Folder::new(spool.path().to_owned(), false, flusher));
    };
    let path = log.root.parts().fold(root.to_owned(), |path, part| path.join(part.as_ref()));
    std::fs::create_dir_all(&path).map_err(|error| file_error("write", &path, error))?;
    Ok(Folder::new(path, true, flusher))
}

/// Puts `file` in its place, where it is not yet, and returns the action that adds it to the table.
pub(crate) async fn publish(
    lake: &Lake,
    log: &TableLog,
    columns: &[String],
    values: &PartitionValues,
    file: &Encoded,
    mut tags: BTreeMap<String, Option<String>>,
) -> Result<Add, StoreError> {
    let path = layout::encoded(&file.name);
    tags.insert(TAG_DIGEST.to_owned(), Some(file.digest.clone()));
    if lake.local_root().is_none() {
        upload(lake, &file_path(log, &path)?, file).await?;
    }
    Ok(Add {
        path,
        partition_values: columns.iter().cloned().zip(values.iter().cloned()).collect(),
        size: file.size,
        modification_time: lake.inner.clock.now().as_millisecond(),
        data_change: true,
        stats: Some(file.stats.clone()),
        tags: Some(tags),
        deletion_vector: None,
    })
}

/// Flushes the folder entries of `files` that were written in place below `folder`, up to the lake's own.
pub(crate) async fn flush_entries(
    lake: &Lake,
    folder: &Folder,
    files: impl IntoIterator<Item = &Encoded>,
) -> Result<(), StoreError> {
    let Some(root) = lake.local_root().map(FilePath::to_owned) else {
        return Ok(());
    };
    let mut folders: BTreeSet<PathBuf> = BTreeSet::from([folder.path.clone()]);
    folders.extend(files.into_iter().filter_map(|file| file.path.parent().map(FilePath::to_owned)));
    let (path, flusher) = (folder.path.clone(), folder.flusher.clone());
    let flushed = tokio::task::spawn_blocking(move || {
        flusher.flush_folders(&root, folders).map_err(|error| file_error("sync", &path, error))
    });
    flushed.await.map_err(|error| crate::error::job("flush", &error))?
}

/// Deletes data files that no log refers to, by the paths that it would have had for them. What cannot be deleted is
/// left for vacuum.
pub(crate) async fn discard(lake: &Lake, log: &TableLog, paths: Vec<String>) {
    for name in paths {
        let deleted = match file_path(log, &name) {
            Ok(path) => lake.inner.store.delete(&path).await.map_err(|error| storage("delete", &path, error)),
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::debug!(%error, name, "unused data file not deleted");
        }
    }
}

async fn upload(lake: &Lake, target: &Path, file: &Encoded) -> Result<(), StoreError> {
    let read = |error: std::io::Error| file_error("read", &file.path, error);
    let write = |error: object_store::Error| storage("write", target, error);
    let store = &lake.inner.store;
    if file.size <= UPLOAD_PART_BYTES as u64 {
        let bytes = tokio::fs::read(&file.path).await.map_err(read)?;
        store.put(target, PutPayload::from(bytes)).await.map_err(write)?;
    } else {
        let mut source = tokio::fs::File::open(&file.path).await.map_err(read)?;
        let mut parts = store.put_multipart(target).await.map_err(write)?;
        if let Err(error) = upload_parts(&mut source, parts.as_mut(), target).await {
            if let Err(abort) = parts.abort().await {
                tracing::debug!(error = %abort, path = %target, "multipart upload not aborted");
            }
            return Err(error);
        }
    }
    tokio::fs::remove_file(&file.path).await.map_err(|error| file_error("delete", &file.path, error))
}

async fn upload_parts(
    source: &mut tokio::fs::File,
    parts: &mut dyn MultipartUpload,
    target: &Path,
) -> Result<(), StoreError> {
    loop {
        let mut part = Vec::with_capacity(UPLOAD_PART_BYTES);
        let taken = source.take(UPLOAD_PART_BYTES as u64).read_to_end(&mut part).await;
        if taken.map_err(|error| storage("read", target, error))? == 0 {
            break;
        }
        parts.put_part(PutPayload::from(part)).await.map_err(|error| storage("write", target, error))?;
    }
    parts.complete().await.map_err(|error| storage("write", target, error))?;
    Ok(())
}
