//! Partial downloads that outlive an interruption, also the end of the process.
//!
//! Three files in `<spool>/partial/` belong to one download, named by the hash of what was asked for: `.part` holds the
//! bytes on the wire, `.json` what the provider said about the whole, `.sums` the running SHA-256 at growing offsets.
//! Before going on, the bytes are hashed again and cut at the last offset whose hash agrees, so neither a torn tail nor
//! a block that a power cut left empty survives into the result. A download goes on only under a strong validator
//! (RFC 9110 §13.1.5); without one it starts again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::body::{BoxError, Coding};
use crate::digest::hex;
use crate::landing::Spooled;
use crate::request::Request;

/// Locks that all downloads share; two that meet in one do not resume at the same time.
const LOCKS: u8 = 64;
/// A running hash is written after this many bytes, plus one in [`SUM_FRACTION`] of what is there.
const SUM_BYTES: u64 = 64 * 1024;
/// See [`SUM_BYTES`]: keeps the list of hashes short for large files.
const SUM_FRACTION: u64 = 100;
/// Bytes that are written in one go.
const BUFFER_BYTES: usize = 256 * 1024;
/// `Last-Modified` counts as strong when the answer is at least this much younger: RFC 9110 §8.8.2.2.
const STRONG_DATE_SECONDS: i64 = 60;

/// What the provider said about the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// The URL without secrets, for people who look into the folder.
    pub(crate) url: String,
    /// The validator that proves the rest belongs to the bytes here: a strong `ETag`, or `Last-Modified`.
    pub(crate) validator: Option<String>,
    /// Length in bytes on the wire.
    pub(crate) total: Option<u64>,
    /// How the bytes are encoded.
    pub(crate) coding: Coding,
}

impl Whole {
    /// Reads the headers of a 200 answer.
    pub(crate) fn announced(url: &str, headers: &http::HeaderMap, total: Option<u64>, coding: Coding) -> Self {
        Self { url: url.to_owned(), validator: strong_validator(headers), total, coding }
    }

    /// Says whether an interrupted download of this can go on.
    pub(crate) fn is_continuable(&self) -> bool {
        self.validator.is_some()
    }
}

/// Returns what `If-Range` may be sent with.
fn strong_validator(headers: &http::HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(etag) = text("etag") {
        return (!etag.starts_with("W/")).then(|| etag.to_owned());
    }
    let modified = text("last-modified")?;
    let seconds = |text: &str| {
        let time = httpdate::parse_http_date(text).ok()?;
        jiff::Timestamp::try_from(time).ok().map(jiff::Timestamp::as_second)
    };
    let age = seconds(text("date")?)? - seconds(modified)?;
    (age >= STRONG_DATE_SECONDS).then(|| modified.to_owned())
}

/// The bytes of an interrupted download.
#[derive(Debug)]
pub(crate) struct Partial {
    paths: Paths,
    whole: Option<Whole>,
    /// Bytes taken, those in `buffer` included.
    bytes: u64,
    hasher: Sha256,
    files: Arc<Files>,
    buffer: Vec<u8>,
    last_sum: u64,
}

/// The open files. Writes that are still under way when a download is dropped hold them, and the lock with them.
#[derive(Debug)]
struct Files {
    part: File,
    sums: File,
    /// Released when this is dropped or the process dies.
    _lock: File,
}

#[derive(Debug, Clone)]
struct Paths {
    part: PathBuf,
    whole: PathBuf,
    sums: PathBuf,
}

impl Partial {
    /// Opens what is there for this request; `None` while another download of it is under way.
    pub(crate) async fn open(spool_dir: &Path, request: &Request, shown_url: &str) -> Result<Option<Self>, BoxError> {
        let dir = spool_dir.join("partial");
        let key = key(request, shown_url);
        tokio::task::spawn_blocking(move || open_blocking(&dir, &key)).await?
    }

    /// Returns how many proven bytes are there, and the validator to ask for the rest with.
    pub(crate) fn progress(&self) -> Option<(u64, &Whole, &str)> {
        let whole = self.whole.as_ref()?;
        let validator = whole.validator.as_deref()?;
        (self.bytes > 0).then_some((self.bytes, whole, validator))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the announced length of the whole.
    pub(crate) fn total(&self) -> Option<u64> {
        self.whole.as_ref().and_then(|whole| whole.total)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.paths.part
    }

    /// Forgets everything and starts again with what the provider says now.
    pub(crate) async fn restart(&mut self, whole: Option<Whole>) -> Result<(), BoxError> {
        self.bytes = 0;
        self.last_sum = 0;
        self.hasher = Sha256::new();
        self.buffer.clear();
        let (files, path) = (Arc::clone(&self.files), self.paths.whole.clone());
        let record = whole.as_ref().map(serde_json::to_vec).transpose()?;
        self.whole = whole;
        blocking(move || {
            for mut file in [&files.part, &files.sums] {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
            }
            match record {
                Some(text) => std::fs::write(path, text),
                None => remove(&path),
            }
        })
        .await
    }

    /// Appends bytes from the wire.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.buffer.extend_from_slice(bytes);
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes >= self.last_sum + SUM_BYTES + self.bytes / SUM_FRACTION {
            return self.sum().await;
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush(None).await } else { Ok(()) }
    }

    /// Writes the running hash, so that everything up to here counts after an interruption.
    pub(crate) async fn sum(&mut self) -> Result<(), BoxError> {
        if self.bytes == self.last_sum {
            return Ok(());
        }
        self.last_sum = self.bytes;
        let line = format!("{} {}\n", self.bytes, hex(&self.hasher.clone().finalize()));
        self.flush(Some(line)).await
    }

    async fn flush(&mut self, sum: Option<String>) -> Result<(), BoxError> {
        let bytes = std::mem::take(&mut self.buffer);
        let files = Arc::clone(&self.files);
        blocking(move || {
            (&files.part).write_all(&bytes)?;
            sum.map_or(Ok(()), |line| (&files.sums).write_all(line.as_bytes()))
        })
        .await
    }

    /// Gives up the file as a whole body: the bytes were complete and not encoded.
    pub(crate) async fn finish(mut self) -> Result<Spooled, BoxError> {
        self.flush(None).await?;
        remove(&self.paths.sums)?;
        remove(&self.paths.whole)?;
        // Moved under a name of its own while the lock is held: the next download must not write into these bytes.
        let own = self.paths.part.with_file_name(format!("whole-{}", uuid::Uuid::new_v4()));
        tokio::fs::rename(&self.paths.part, &own).await?;
        let path = tempfile::TempPath::try_from_path(own)?;
        Ok(Spooled { path, sha256: hex(&self.hasher.finalize()), bytes: self.bytes })
    }

    /// Lets go without having received anything: an empty file is no use to the next attempt.
    pub(crate) fn leave(self) -> Result<(), BoxError> {
        if self.bytes == 0 { self.discard() } else { Ok(()) }
    }

    /// Removes everything: the bytes were wrong, or are decoded elsewhere by now.
    pub(crate) fn discard(self) -> Result<(), BoxError> {
        for path in [&self.paths.sums, &self.paths.whole, &self.paths.part] {
            remove(path)?;
        }
        Ok(())
    }
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), BoxError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Names a download by everything that decides about its bytes, secrets left out.
fn key(request: &Request, shown_url: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(shown_url.as_bytes());
    for (name, value) in &request.headers {
        hasher.update([0]);
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(value.as_bytes());
    }
    hex(&hasher.finalize())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_blocking(dir: &Path, key: &str) -> Result<Option<Partial>, BoxError> {
    std::fs::create_dir_all(dir)?;
    let stripe = u8::from_str_radix(key.get(..2).unwrap_or("0"), 16)? % LOCKS;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join(format!("lock-{stripe:02}")))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
    }
    let path = |ending: &str| dir.join(format!("{key}.{ending}"));
    let paths = Paths { part: path("part"), whole: path("json"), sums: path("sums") };
    // A record that cannot be read is one that was being written: the download starts again.
    let whole = std::fs::read(&paths.whole).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let open = |path: &Path| File::options().create(true).truncate(false).read(true).write(true).open(path);
    let (mut part, mut sums) = (open(&paths.part)?, open(&paths.sums)?);
    let proven = if whole.is_some() { proven(&mut part, &mut sums)? } else { Proven::default() };
    part.set_len(proven.bytes)?;
    part.seek(SeekFrom::Start(proven.bytes))?;
    sums.set_len(proven.sums_length)?;
    sums.seek(SeekFrom::Start(proven.sums_length))?;
    Ok(Some(Partial {
        paths,
        whole,
        bytes: proven.bytes,
        hasher: proven.hasher,
        files: Arc::new(Files { part, sums, _lock: lock }),
        buffer: Vec::new(),
        last_sum: proven.bytes,
    }))
}

/// How much of a partial file is what once arrived.
#[derive(Default)]
struct Proven {
    bytes: u64,
    hasher: Sha256,
    sums_length: u64,
}

/// Hashes the file again along the list of running hashes, up to the last one that agrees.
fn proven(part: &mut File, sums: &mut File) -> Result<Proven, BoxError> {
    let mut best = Proven::default();
    let mut reader = BufReader::with_capacity(256 * 1024, part);
    let mut hasher = Sha256::new();
    let mut hashed = 0_u64;
    let mut lines_length = 0_u64;
    let mut lines = BufReader::new(sums);
    let mut line = String::new();
    while lines.by_ref().take(256).read_line(&mut line)? > 0 {
        lines_length += line.len() as u64;
        let parsed = line.trim_end().split_once(' ').and_then(|(at, sum)| Some((at.parse::<u64>().ok()?, sum)));
        let Some((offset, sum)) = parsed.filter(|(offset, _)| *offset > hashed || *offset == best.bytes) else {
            break;
        };
        let count = std::io::copy(&mut reader.by_ref().take(offset - hashed), &mut hasher)?;
        hashed += count;
        if hashed != offset || hex(&hasher.clone().finalize()) != sum {
            break;
        }
        best = Proven { bytes: offset, hasher: hasher.clone(), sums_length: lines_length };
        line.clear();
    }
    Ok(best)
}

/// Reads `Content-Range: bytes first-last/total`; the total may be `*`.
pub(crate) fn content_range(headers: &http::HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let text = headers.get(http::header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Whole {
        let (url, validator) = ("https://example.org/x".to_owned(), Some("\"1\"".to_owned()));
        Whole { url, validator, total: Some(300_000), coding: Coding::Identity }
    }

    async fn open(dir: &Path) -> Option<Partial> {
        let request = Request::get("https://example.org/x".parse().unwrap());
        Partial::open(dir, &request, "https://example.org/x").await.unwrap()
    }

    async fn interrupted(dir: &Path) -> PathBuf {
        let mut partial = open(dir).await.unwrap();
        partial.restart(Some(whole())).await.unwrap();
        for _ in 0..20 {
            partial.write(&[7; 10_000]).await.unwrap();
        }
        partial.paths.part.clone()
    }

    #[tokio::test]
    async fn a_killed_download_goes_on_from_its_last_proven_byte() {
        let dir = tempfile::tempdir().unwrap();
        let part = interrupted(dir.path()).await;
        let partial = open(dir.path()).await.unwrap();
        let (bytes, found, validator) = partial.progress().unwrap();
        assert!((130_000..=200_000).contains(&bytes), "{bytes}");
        assert_eq!((found, validator), (&whole(), "\"1\""));
        assert_eq!(std::fs::metadata(part).unwrap().len(), bytes);
        assert!(open(dir.path()).await.is_none(), "two downloads of one thing do not share a file");
    }

    #[tokio::test]
    async fn damaged_bytes_are_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let part = interrupted(dir.path()).await;
        let mut bytes = std::fs::read(&part).unwrap();
        bytes[100_000..].fill(0);
        std::fs::write(&part, bytes).unwrap();
        let partial = open(dir.path()).await.unwrap();
        assert!((60_000..=100_000).contains(&partial.bytes()), "{}", partial.bytes());
    }

    fn check_validator(headers: &[(&'static str, &str)], expected: Option<&str>) {
        let pairs = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap()));
        assert_eq!(strong_validator(&pairs.collect()).as_deref(), expected);
    }

    #[test]
    fn only_strong_validators_continue_a_download() {
        let (old, now) = ("Tue, 01 Sep 2026 08:00:00 GMT", "Tue, 01 Sep 2026 08:00:59 GMT");
        check_validator(&[("etag", "\"a\"")], Some("\"a\""));
        check_validator(&[("etag", "W/\"a\""), ("last-modified", old)], None);
        check_validator(&[("last-modified", old), ("date", now)], None);
        check_validator(&[("last-modified", old), ("date", "Tue, 01 Sep 2026 09:00:00 GMT")], Some(old));
        check_validator(&[("last-modified", old)], None);
        check_validator(&[], None);
    }

    #[test]
    fn content_ranges_are_read() {
        let check = |text: &str, expected| {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::CONTENT_RANGE, text.parse().unwrap());
            assert_eq!(content_range(&headers), expected, "{text}");
        };
        check("bytes 5-9/10", Some((5, 9, Some(10))));
        check("bytes 5-9/*", Some((5, 9, None)));
        check("bytes */10", None);
        check("lines 5-9/10", None);
    }
}
