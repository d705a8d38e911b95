//! What a run keeps beside the tables, in the landing zone: raw bodies, and for each run the list of the pages that it
//! was made of. With these, a table can be derived again without the network.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use hambar_fetch::Landing;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that are uploaded in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// A file that can be read on this machine.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Its path.
    pub path: PathBuf,
    /// Keeps a temporary copy alive.
    pub keep: Option<Arc<tempfile::TempPath>>,
}

/// The landing zone, as far as runs need it.
#[async_trait]
pub trait RunArchive: Debug + Send + Sync {
    /// Returns the raw body with this SHA-256 (hex), or `None` where it is not kept (any more).
    async fn raw(&self, sha256: &str) -> Result<Option<LocalFile>, ArchiveError>;

    /// Keeps a copy of `file` under `key` (`runs/…`), in place of what was there. Durable when it returns.
    async fn put(&self, key: &str, file: &Path) -> Result<(), ArchiveError>;

    /// Returns what is kept under `key`.
    async fn get(&self, key: &str) -> Result<Option<LocalFile>, ArchiveError>;
}

/// The landing zone failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} `{key}` in the landing zone")]
pub struct ArchiveError {
    /// `read` or `write`.
    pub action: &'static str,
    /// The object.
    pub key: String,
    /// What the storage said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The landing zone of a store: raw bodies through [`Landing`], manifests beside them under `raw/`.
#[derive(Debug)]
pub struct StoreArchive {
    landing: Landing,
    objects: Arc<dyn ObjectStore>,
    local_root: Option<PathBuf>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl StoreArchive {
    /// Joins a landing zone with the store that it is in. `local_root` is the folder of a local store: there, files are
    /// flushed before they count.
    pub fn new(landing: Landing, objects: Arc<dyn ObjectStore>, local_root: Option<PathBuf>) -> Self {
        Self { landing, objects, local_root }
    }

    async fn exists(&self, path: &ObjectPath) -> Result<bool, Cause> {
        match self.objects.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn copy_of(&self, path: &ObjectPath) -> Result<Option<LocalFile>, Cause> {
        let answer = match self.objects.get(path).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let copy = tempfile::NamedTempFile::new_in(self.landing.spool_dir())?.into_temp_path();
        let mut out = tokio::fs::File::create(&copy).await?;
        let mut pieces = answer.into_stream();
        while let Some(piece) = pieces.next().await {
            out.write_all(&piece?).await?;
        }
        out.flush().await?;
        Ok(Some(LocalFile { path: copy.to_path_buf(), keep: Some(Arc::new(copy)) }))
    }

    async fn upload(&self, path: &ObjectPath, file: &Path) -> Result<(), Cause> {
        let mut input = tokio::fs::File::open(file).await?;
        let mut upload = WriteMultipart::new(self.objects.put_multipart(path).await?);
        let mut piece = vec![0_u8; PIECE_BYTES];
        loop {
            let read = input.read(&mut piece).await?;
            if read == 0 {
                upload.finish().await?;
                return Ok(());
            }
            upload.wait_for_capacity(1).await?;
            upload.write(&piece[..read]);
        }
    }
}

fn raw_path(sha256: &str) -> Option<ObjectPath> {
    let is_right = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_right.then(|| ObjectPath::from(format!("raw/sha256/{}/{}/{sha256}", &sha256[..2], &sha256[2..4])))
}

fn key_path(key: &str) -> ObjectPath {
    ObjectPath::from(format!("raw/{key}"))
}

#[async_trait]
impl RunArchive for StoreArchive {
    async fn raw(&self, sha256: &str) -> Result<Option<LocalFile>, ArchiveError> {
        let failed = |source: Cause| ArchiveError { action: "read", key: sha256.to_owned(), source };
        let Some(path) = raw_path(sha256) else { return Ok(None) };
        if !self.exists(&path).await.map_err(failed)? {
            return Ok(None);
        }
        let landed = self.landing.open(sha256).await.map_err(|error| failed(error.into()))?;
        Ok(Some(LocalFile { path: landed.path, keep: landed.spool }))
    }

    async fn put(&self, key: &str, file: &Path) -> Result<(), ArchiveError> {
        let written = match &self.local_root {
            None => self.upload(&key_path(key), file).await,
            Some(root) => {
                let (target, source) = (root.join("raw").join(key), file.to_owned());
                match tokio::task::spawn_blocking(move || write_durably(&target, &source)).await {
                    Ok(written) => written.map_err(Cause::from),
                    Err(stopped) => Err(stopped.into()),
                }
            }
        };
        written.map_err(|source| ArchiveError { action: "write", key: key.to_owned(), source })
    }

    async fn get(&self, key: &str) -> Result<Option<LocalFile>, ArchiveError> {
        if let Some(root) = &self.local_root {
            let path = root.join("raw").join(key);
            return Ok(path.is_file().then_some(LocalFile { path, keep: None }));
        }
        let failed = |source: Cause| ArchiveError { action: "read", key: key.to_owned(), source };
        self.copy_of(&key_path(key)).await.map_err(failed)
    }
}

/// The file is there whole, or not at all, also after a power cut.
fn write_durably(target: &Path, source: &Path) -> std::io::Result<()> {
    let folder = target.parent().map(Path::to_owned).unwrap_or_default();
    std::fs::create_dir_all(&folder)?;
    let mut copy = tempfile::NamedTempFile::new_in(&folder)?;
    std::io::copy(&mut std::fs::File::open(source)?, &mut copy)?;
    copy.as_file().sync_all()?;
    copy.persist(target).map_err(|error| error.error)?;
    std::fs::File::open(&folder)?.sync_all()
}
