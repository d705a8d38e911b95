//! A local object store whose writes survive a power cut.
//!
//! `object_store` never calls `fsync` (`reliability.md` LD6). Here a file is written under a staging name, flushed,
//! linked or renamed to its place, and the folder is flushed: a name therefore never stands for half a file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// Hears of every flush of a local lake; for tests that cut the power.
pub trait FlushObserver: std::fmt::Debug + Send + Sync {
    /// Called just before `path`, a file or a folder, is flushed.
    fn before(&self, path: &FilePath);

    /// Called just after `path` was flushed.
    fn after(&self, path: &FilePath);
}

/// Flushes files and folders; nothing else in this crate does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flusher {
    observer: Option<Arc<dyn FlushObserver>>,
}

impl Flusher {
    /// Makes a flusher that tells `observer` of everything it does.
    pub(crate) fn observed(observer: Arc<dyn FlushObserver>) -> Self {
        Self { observer: Some(observer) }
    }

    /// Flushes a file or a folder.
    pub(crate) fn flush(&self, path: &FilePath) -> io::Result<()> {
        self.flush_open(path, &File::open(path)?)
    }

    /// Flushes the entries of `folders` and of their parents up to `root`, each once, parents last.
    pub(crate) fn flush_folders(&self, root: &FilePath, folders: BTreeSet<PathBuf>) -> io::Result<()> {
        let mut all = BTreeSet::new();
        for folder in &folders {
            all.extend(folder.ancestors().take_while(|place| place.starts_with(root)));
        }
        for place in all.into_iter().rev() {
            self.flush(place)?;
        }
        Ok(())
    }

    fn flush_open(&self, path: &FilePath, file: &File) -> io::Result<()> {
        if let Some(observer) = &self.observer {
            observer.before(path);
        }
        file.sync_all()?;
        if let Some(observer) = &self.observer {
            observer.after(path);
        }
        Ok(())
    }
}

/// A folder as an object store, with every write flushed before it is acknowledged.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    inner: LocalFileSystem,
    root: PathBuf,
    flusher: Flusher,
}

impl DurableLocal {
    /// Opens the folder `root`, which exists.
    pub(crate) fn new(root: &FilePath, flusher: Flusher) -> Result<Self> {
        Ok(Self { inner: LocalFileSystem::new_with_prefix(root)?, root: root.to_owned(), flusher })
    }

    async fn put_flushed(&self, location: &Path, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let (root, flusher) = (self.root.clone(), self.flusher.clone());
        let name = location.to_string();
        let written = tokio::task::spawn_blocking(move || write_flushed(&flusher, &root, &target, &payload, &mode));
        let written = written.await?;
        match written {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: name, source: Box::new(error) })
            }
            Err(error) => Err(Error::Generic { store: "DurableLocal", source: Box::new(error) }),
        }
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "DurableLocal({})", self.root.display())
    }
}

fn write_flushed(
    flusher: &Flusher,
    root: &FilePath,
    target: &FilePath,
    payload: &PutPayload,
    mode: &PutMode,
) -> io::Result<()> {
    let folder = target.parent().unwrap_or(root);
    let folder_is_new = !folder.is_dir();
    if folder_is_new {
        fs::create_dir_all(folder)?;
    }
    // Listings leave out names that end with `#` and digits, as object_store's own staging files do.
    let mut staging = target.as_os_str().to_owned();
    staging.push(format!("#{}", rand::random::<u64>()));
    let staging = PathBuf::from(staging);
    let placed = write_staging(flusher, &staging, payload).and_then(|()| match mode {
        PutMode::Create => fs::hard_link(&staging, target),
        PutMode::Overwrite | PutMode::Update(_) => fs::rename(&staging, target),
    });
    if placed.is_err() || matches!(mode, PutMode::Create) {
        // The staging name has served; what is left behind by a crash is swept by maintenance.
        let _ = fs::remove_file(&staging);
    }
    placed?;
    if folder_is_new { flusher.flush_folders(root, BTreeSet::from([folder.to_owned()])) } else { flusher.flush(folder) }
}

fn write_staging(flusher: &Flusher, staging: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::create_new(staging)?;
    for chunk in payload {
        file.write_all(chunk)?;
    }
    flusher.flush_open(staging, &file)
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Create | PutMode::Overwrite => self.put_flushed(location, payload, options.mode).await,
            PutMode::Update(_) => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let target = self.inner.path_to_filesystem(location)?;
        Ok(Box::new(FlushedUpload { inner, target, root: self.root.clone(), flusher: self.flusher.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// A multipart upload whose file is flushed once it is in place.
#[derive(Debug)]
struct FlushedUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
    root: PathBuf,
    flusher: Flusher,
}

#[async_trait]
impl MultipartUpload for FlushedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let (target, root, flusher) = (self.target.clone(), self.root.clone(), self.flusher.clone());
        let flushed = tokio::task::spawn_blocking(move || {
            flusher.flush(&target)?;
            flusher.flush_folders(&root, BTreeSet::from([target.parent().unwrap_or(&root).to_owned()]))
        });
        flushed.await?.map_err(|error| Error::Generic { store: "DurableLocal", source: Box::new(error) })?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
