//! The landing zone: raw bytes, immutable, stored once under their SHA-256.
//!
//! ```text
//! raw/sha256/ab/cd/<hex>        the bytes
//! raw/sha256/ab/cd/<hex>.json   the exchange that brought them first
//! ```
//! The record is written before the bytes, so bytes never lack it. Later exchanges that bring the same bytes are rows
//! of `system.fetches` with the same hash; they add no file here, because an unchanged file that is polled every hour
//! must not grow the store.
//!
//! In a local store an object is published by flushing the spooled file, renaming it into place and flushing the
//! directory: it is whole or absent, also after a power cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::digest::hex;
use crate::error::FetchError;
use crate::exchange::FetchMeta;
use crate::request::Landed;

/// Objects up to this size are put in one request, larger ones in parts.
const SINGLE_PUT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Parts of one upload under way at once.
const UPLOADS_AT_ONCE: usize = 2;
/// Bytes that are read, hashed or uploaded in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// Keeps raw bytes under their hash. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Landing {
    store: Arc<dyn ObjectStore>,
    local_root: Option<PathBuf>,
    spool_dir: PathBuf,
}

type IoResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

impl Landing {
    /// Joins a store with the folder for bytes that are still arriving.
    ///
    /// `local_root` is the folder of a local store: then raw objects are written as files directly, and
    /// [`Landed::path`] is the raw object itself. The spool folder should be on the same file system.
    pub fn new(store: Arc<dyn ObjectStore>, local_root: Option<PathBuf>, spool_dir: PathBuf) -> Self {
        Self { store, local_root, spool_dir }
    }

    /// Returns the folder for bytes that are still arriving.
    pub fn spool_dir(&self) -> &Path {
        &self.spool_dir
    }

    /// Returns the landed bytes with this hash, as they were when they arrived.
    ///
    /// The bytes are read and hashed again; a remote object is copied to a spool file on the way.
    ///
    /// # Errors
    /// [`FetchError::Landing`] when the object is absent, cannot be read, or has another hash.
    pub async fn open(&self, sha256: &str) -> Result<Landed, FetchError> {
        self.open_inner(sha256)
            .await
            .map_err(|source| FetchError::Landing { url: format!("raw/sha256/{sha256}"), source })
    }

    async fn open_inner(&self, sha256: &str) -> IoResult<Landed> {
        let place = object_path(sha256).ok_or_else(|| format!("`{sha256}` is not a SHA-256 in hex"))?;
        let record = self.store.get(&record_path(&place)).await?.bytes().await?;
        let meta: FetchMeta = serde_json::from_slice(&record)?;
        if let Some(root) = &self.local_root {
            let path = file_path(root, &place);
            let (found, bytes) = hash_file(path.clone()).await?;
            same_hash(sha256, &found)?;
            return Ok(Landed { sha256: found, bytes, path, spool: None, meta });
        }
        let mut spool = self.spool().await?;
        let mut stream = self.store.get(&place).await?.into_stream();
        while let Some(chunk) = stream.next().await {
            spool.write(&chunk?).await?;
        }
        let spooled = spool.finish().await?;
        same_hash(sha256, &spooled.sha256)?;
        Ok(spooled.landed(meta))
    }

    /// Removes spool files and partial downloads that nobody has touched for `age`: what killed processes left behind.
    /// Returns how many.
    ///
    /// # Errors
    /// [`FetchError::Landing`] when the spool folder cannot be read.
    pub async fn sweep_spool(&self, now: jiff::Timestamp, age: std::time::Duration) -> Result<u64, FetchError> {
        let dir = self.spool_dir.clone();
        let swept = spawn(move || Ok(sweep(&dir, now, age)? + sweep(&dir.join("partial"), now, age)?)).await;
        swept.map_err(|source| FetchError::Landing { url: self.spool_dir.display().to_string(), source })
    }

    /// Starts a spool file.
    pub(crate) async fn spool(&self) -> IoResult<Spool> {
        tokio::fs::create_dir_all(&self.spool_dir).await?;
        let dir = self.spool_dir.clone();
        let temp = spawn(move || builder("body-").tempfile_in(dir)).await?;
        let (file, path) = temp.into_parts();
        Ok(Spool { file: tokio::fs::File::from_std(file), path, hasher: Sha256::new(), bytes: 0 })
    }

    /// Stores spooled bytes for good and says where they are.
    pub(crate) async fn land(&self, spooled: Spooled, meta: FetchMeta) -> IoResult<Landed> {
        let place = object_path(&spooled.sha256).ok_or("the hash of spooled bytes is hex")?;
        let record = serde_json::to_vec_pretty(&meta)?;
        if let Some(root) = self.local_root.clone() {
            let (path, spool_dir) = (file_path(&root, &place), self.spool_dir.clone());
            let (sha256, bytes) = (spooled.sha256, spooled.bytes);
            let (from, to) = (spooled.path, path.clone());
            spawn(move || publish_both(&record, from, &to, bytes, &root, &spool_dir)).await?;
            return Ok(Landed { sha256, bytes, path, spool: None, meta });
        }
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&record_path(&place), Bytes::from(record).into(), create).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.store.head(&place).await {
            Ok(there) if there.size == spooled.bytes => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => self.upload(&place, &spooled).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(spooled.landed(meta))
    }

    /// Lands a file that is already on this machine (`hambar pull ./file`, tests) as if it had been fetched.
    ///
    /// # Errors
    /// [`FetchError::Landing`] when reading or storing fails.
    pub async fn land_file(&self, file: &Path, mut meta: FetchMeta) -> Result<Landed, FetchError> {
        let url = meta.url.clone();
        let work = async {
            let mut spool = self.spool().await?;
            let mut source = tokio::fs::File::open(file).await?;
            let mut piece = vec![0_u8; PIECE_BYTES];
            loop {
                let count = source.read(&mut piece).await?;
                if count == 0 {
                    break;
                }
                spool.write(&piece[..count]).await?;
            }
            let spooled = spool.finish().await?;
            meta.sha256 = Some(spooled.sha256.clone());
            meta.bytes = spooled.bytes;
            self.land(spooled, meta).await
        };
        work.await.map_err(|source| FetchError::Landing { url, source })
    }

    async fn upload(&self, place: &ObjectPath, spooled: &Spooled) -> IoResult<()> {
        if spooled.bytes <= SINGLE_PUT_BYTES_MAX {
            let bytes = tokio::fs::read(&spooled.path).await?;
            self.store.put(place, Bytes::from(bytes).into()).await?;
        } else {
            let mut upload = WriteMultipart::new(self.store.put_multipart(place).await?);
            if let Err(error) = feed(&mut upload, &spooled.path).await {
                upload.abort().await?;
                return Err(error);
            }
            upload.finish().await?;
        }
        let there = self.store.head(place).await?;
        if there.size == spooled.bytes {
            return Ok(());
        }
        Err(format!("stored {} bytes, the store has {}", spooled.bytes, there.size).into())
    }
}

async fn feed(upload: &mut WriteMultipart, path: &Path) -> IoResult<()> {
    let mut file = tokio::fs::File::open(path).await?;
    loop {
        let mut piece = vec![0_u8; PIECE_BYTES];
        let count = file.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        upload.wait_for_capacity(UPLOADS_AT_ONCE).await?;
        upload.write(&piece[..count]);
    }
}

/// A file that takes arriving bytes and hashes them. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    file: tokio::fs::File,
    path: tempfile::TempPath,
    hasher: Sha256,
    bytes: u64,
}

impl Spool {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).await
    }

    pub(crate) async fn finish(mut self) -> std::io::Result<Spooled> {
        self.file.flush().await?;
        Ok(Spooled { path: self.path, sha256: hex(&self.hasher.finalize()), bytes: self.bytes })
    }
}

/// A whole body in a file, not yet stored.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub(crate) path: tempfile::TempPath,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

impl Spooled {
    /// Hands the spooled file itself to the caller; it lives as long as the value.
    pub(crate) fn landed(self, meta: FetchMeta) -> Landed {
        let path = self.path.to_path_buf();
        Landed { sha256: self.sha256, bytes: self.bytes, path, spool: Some(Arc::new(self.path)), meta }
    }
}

/// Files that become raw objects get the permissions that the user's umask says, not those of private temporary files.
fn builder(prefix: &'static str) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Returns the place of the bytes with this hash; `None` if it is not 64 lower-case hex digits.
fn object_path(sha256: &str) -> Option<ObjectPath> {
    let is_hex = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| ObjectPath::from(format!("raw/sha256/{}/{}/{sha256}", &sha256[..2], &sha256[2..4])))
}

fn record_path(place: &ObjectPath) -> ObjectPath {
    ObjectPath::from(format!("{place}.json"))
}

fn file_path(root: &Path, place: &ObjectPath) -> PathBuf {
    place.parts().fold(root.to_path_buf(), |path, part| path.join(part.as_ref()))
}

fn same_hash(expected: &str, found: &str) -> IoResult<()> {
    if expected == found {
        return Ok(());
    }
    Err(format!("raw object is damaged: its bytes have SHA-256 {found}").into())
}

/// Runs blocking work on the threads for it.
async fn spawn<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> IoResult<T> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

fn sweep(dir: &Path, now: jiff::Timestamp, age: std::time::Duration) -> std::io::Result<u64> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        // Another process may finish with its file between the listing and here.
        let Ok(metadata) = entry.metadata() else { continue };
        let touched = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let is_old = touched.is_some_and(|touched| {
            std::time::Duration::try_from(now.duration_since(touched)).is_ok_and(|untouched| untouched >= age)
        });
        let is_lock = entry.file_name().to_string_lossy().starts_with("lock-");
        if metadata.is_file() && is_old && !is_lock && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Hashes a file and counts its bytes.
pub(crate) async fn hash_file(path: PathBuf) -> IoResult<(String, u64)> {
    spawn(move || {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut file, &mut hasher)?;
        Ok((hex(&hasher.finalize()), bytes))
    })
    .await
}

/// Publishes the record, unless an earlier exchange has left one, and the bytes beside it.
fn publish_both(
    record: &[u8],
    body: tempfile::TempPath,
    to: &Path,
    bytes: u64,
    root: &Path,
    spool_dir: &Path,
) -> std::io::Result<()> {
    let dir = to.parent().unwrap_or(root);
    create_dirs(dir, root)?;
    let mut record_name = to.as_os_str().to_owned();
    record_name.push(".json");
    let record_path = PathBuf::from(record_name);
    if !record_path.try_exists()? {
        std::fs::create_dir_all(spool_dir)?;
        let mut temp = builder("record-").tempfile_in(spool_dir)?;
        std::io::Write::write_all(&mut temp, record)?;
        publish(temp.into_temp_path(), &record_path, dir)?;
    }
    // An object of another length is the remnant of a damaged disk; the bytes at hand are proven and replace it.
    if !std::fs::metadata(to).is_ok_and(|there| there.is_file() && there.len() == bytes) {
        publish(body, to, dir)?;
    }
    // A name lasts only when its directory is flushed.
    std::fs::File::open(dir)?.sync_all()
}

/// Creates the folders below `root` and flushes each folder that got a new entry.
fn create_dirs(dir: &Path, root: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(root)?;
    let mut current = root.to_path_buf();
    for part in dir.strip_prefix(root).unwrap_or(Path::new("")).components() {
        let parent = current.clone();
        current.push(part);
        match std::fs::create_dir(&current) {
            Ok(()) => std::fs::File::open(parent)?.sync_all()?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Moves a spooled file to its final place so that it is there whole or not at all. The caller flushes the folder.
fn publish(from: tempfile::TempPath, to: &Path, dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(&from)?.sync_all()?;
    match std::fs::rename(&from, to) {
        // The path is renamed: nothing is left for the guard to remove, and removing nothing is no error.
        Ok(()) => drop(from.keep()),
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let mut near = builder(".landing-").tempfile_in(dir)?;
            std::io::copy(&mut std::fs::File::open(&from)?, near.as_file_mut())?;
            near.as_file().sync_all()?;
            near.persist(to).map_err(|failed| failed.error)?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::*;

    fn meta() -> FetchMeta {
        FetchMeta {
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            method: "GET".to_owned(),
            url: "https://example.org/x.csv".to_owned(),
            final_url: "https://example.org/x.csv".to_owned(),
            status: Some(200),
            attempt: 1,
            request_headers: Vec::new(),
            headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
            bytes_wire: 0,
            bytes: 0,
            milliseconds: 0,
            sha256: None,
            error: None,
        }
    }

    async fn spooled(landing: &Landing, bytes: &[u8]) -> Spooled {
        let mut spool = landing.spool().await.unwrap();
        spool.write(bytes).await.unwrap();
        spool.finish().await.unwrap()
    }

    async fn check_round_trip(landing: &Landing, bytes: &[u8]) {
        let first = landing.land(spooled(landing, bytes).await, meta()).await.unwrap();
        let later = FetchMeta { url: "https://example.org/second".to_owned(), ..meta() };
        let again = landing.land(spooled(landing, bytes).await, later).await.unwrap();
        assert_eq!(first.sha256, again.sha256);
        let opened = landing.open(&first.sha256).await.unwrap();
        assert_eq!(std::fs::read(&opened.path).unwrap(), bytes);
        assert_eq!(opened.meta.url, "https://example.org/x.csv");
        assert!(landing.open(&"0".repeat(64)).await.is_err());
        assert!(landing.open("../../etc/passwd").await.is_err());
    }

    #[tokio::test]
    async fn bytes_are_stored_once_in_a_local_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        std::fs::create_dir_all(&root).unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(&root).unwrap());
        let landing = Landing::new(store, Some(root.clone()), dir.path().join("spool"));
        check_round_trip(&landing, b"year,value\n2020,1\n").await;
        assert_eq!(std::fs::read_dir(landing.spool_dir()).unwrap().count(), 0, "spool files are gone");

        let landed = landing.land(spooled(&landing, b"abc").await, meta()).await.unwrap();
        assert!(landed.path.starts_with(&root));
        std::fs::write(&landed.path, b"abd").unwrap();
        let error = landing.open(&landed.sha256).await.unwrap_err();
        assert!(hambar_core::Chain(&error).to_string().contains("raw object is damaged"), "{error}");
        std::fs::write(&landed.path, b"torn").unwrap();
        landing.land(spooled(&landing, b"abc").await, meta()).await.unwrap();
        assert!(landing.open(&landed.sha256).await.is_ok(), "a torn object is replaced by proven bytes");
    }

    #[tokio::test]
    async fn what_killed_processes_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let landing = Landing::new(Arc::new(InMemory::new()), None, dir.path().to_path_buf());
        std::fs::create_dir(dir.path().join("partial")).unwrap();
        for name in ["body-1", "partial/x.part", "partial/lock-01"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        let age = std::time::Duration::from_secs(3600);
        let written =
            jiff::Timestamp::try_from(dir.path().join("body-1").metadata().unwrap().modified().unwrap()).unwrap();
        assert_eq!(landing.sweep_spool(written, age).await.unwrap(), 0);
        let later = written + jiff::SignedDuration::from_hours(2);
        assert_eq!(landing.sweep_spool(later, age).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn bytes_are_stored_once_in_a_remote_store() {
        let dir = tempfile::tempdir().unwrap();
        let landing = Landing::new(Arc::new(InMemory::new()), None, dir.path().join("spool"));
        check_round_trip(&landing, b"year,value\n").await;
        check_round_trip(&landing, &vec![7_u8; 9 * 1024 * 1024]).await;
        assert_eq!(std::fs::read_dir(landing.spool_dir()).unwrap().count(), 0, "spooled copies die with their owners");
    }
}
