//! Undoes the compression around a file or member, and counts what comes out: a decoded-bytes limit over everything and a
//! ratio limit per stream stop bombs. A truncated stream and bytes behind its end are errors, never a short file.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hambar_core::limits::{DECOMPRESSION_RATIO_MAX, RATIO_FREE_BYTES};

use crate::error::DecodeError;
use crate::spec::Compression;

/// Bytes at a stream's start that tell what it is; a tar header's mark ends at byte 262.
pub(crate) const HEAD_BYTES: usize = 512;
/// Compressed bytes read at once.
const READ_BYTES: usize = 128 * 1024;
/// Memory that an xz stream may ask for (its dictionary).
const XZ_MEMORY_BYTES_MAX: u64 = 512 * hambar_core::limits::MIB;

/// What one decode job may still decode, and why a stream of it failed. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    decoded: AtomicU64,
    failure: Mutex<Option<DecodeError>>,
}

impl Budget {
    /// Starts with `bytes_max` bytes after decompression, all members together.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Shared { bytes_max, decoded: AtomicU64::new(0), failure: Mutex::new(None) }))
    }

    /// Returns the bytes decoded so far.
    pub(crate) fn decoded(&self) -> u64 {
        self.0.decoded.load(Ordering::Relaxed)
    }

    /// Counts bytes.
    pub(crate) fn spend(&self, bytes: u64, file: &str) -> Result<(), DecodeError> {
        let decoded = self.0.decoded.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if decoded <= self.0.bytes_max {
            return Ok(());
        }
        Err(DecodeError::Limit {
            file: file.to_owned(),
            limit: "decoded bytes",
            value: self.0.bytes_max,
            unit: "bytes",
            place: format!("byte {decoded}"),
        })
    }

    /// Keeps the first failure of a stream, which readers only see as a failed read.
    pub(crate) fn fail(&self, failure: DecodeError) -> io::Error {
        let seen = io::Error::other(failure.to_string());
        let mut first = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(failure);
        }
        seen
    }

    /// Takes the failure, if a stream failed.
    pub(crate) fn take_failure(&self) -> Option<DecodeError> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns the compression that the first bytes tell.
pub(crate) fn sniff(head: &[u8]) -> Compression {
    const BZIP2_BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const BZIP2_END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    match head {
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if rest.starts_with(&BZIP2_BLOCK) || rest.starts_with(&BZIP2_END) =>
        {
            Compression::Bzip2
        }
        _ => Compression::None,
    }
}

/// Reads the first bytes of `stream`, fewer only if it is shorter, and gives back a stream that still has them.
pub(crate) fn peek(mut stream: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    stream.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let whole = io::Cursor::new(head.clone()).chain(stream);
    Ok((head, Box::new(whole)))
}

/// Undoes `compression` ([`Compression::Auto`] and [`Compression::None`] mean none here), metered.
pub(crate) fn decompressed(
    stream: Box<dyn Read + Send>,
    compression: Compression,
    file: &str,
    budget: &Budget,
) -> Result<Box<dyn Read + Send>, DecodeError> {
    let consumed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: stream, count: Arc::clone(&consumed) };
    let source = BufReader::with_capacity(READ_BYTES, counted);
    let refused = |error: &dyn std::fmt::Display, format| DecodeError::Format {
        file: file.to_owned(),
        format,
        place: "byte 0".to_owned(),
        what: error.to_string(),
    };
    let (format, inner): (&'static str, Box<dyn Read + Send>) = match compression {
        Compression::Auto | Compression::None => ("readable", Box::new(source)),
        Compression::Gzip => ("gzip", Box::new(flate2::bufread::MultiGzDecoder::new(source))),
        Compression::Bzip2 => ("bzip2", Box::new(bzip2::bufread::MultiBzDecoder::new(source))),
        Compression::Xz => ("xz", Box::new(xz(source).map_err(|error| refused(&error, "xz"))?)),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(|error| refused(&error, "zstd"))?;
            ("zstd", Box::new(decoder))
        }
    };
    let ratio = (format != "readable").then_some(Ratio { consumed });
    Ok(Box::new(Metered { inner, ratio, decoded: 0, file: file.to_owned(), format, budget: budget.clone() }))
}

/// Undoes xz, with a limit on the memory that its header may ask for.
pub(crate) fn xz<R: BufRead>(source: R) -> io::Result<liblzma::bufread::XzDecoder<R>> {
    let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(source, decoder))
}

/// Counts the bytes of an archive member of `format` as they come out of `inner`, which has checked and inflated them;
/// `compressed` is its size in the archive.
pub(crate) fn metered(
    inner: Box<dyn Read + Send>,
    compressed: u64,
    format: &'static str,
    file: &str,
    budget: &Budget,
) -> Box<dyn Read + Send> {
    let ratio = Some(Ratio { consumed: Arc::new(AtomicU64::new(compressed)) });
    Box::new(Metered { inner, ratio, decoded: 0, file: file.to_owned(), format, budget: budget.clone() })
}

/// Counts what is read through it.
struct Counted {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct Ratio {
    consumed: Arc<AtomicU64>,
}

/// Stops a stream at the limits and turns its errors into ones with a place.
struct Metered {
    inner: Box<dyn Read + Send>,
    ratio: Option<Ratio>,
    decoded: u64,
    file: String,
    format: &'static str,
    budget: Budget,
}

impl Metered {
    fn broken(&self, error: io::Error) -> io::Error {
        let failure = if error.raw_os_error().is_some() {
            DecodeError::Read { file: self.file.clone(), source: error }
        } else {
            let what = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends too early, it is truncated".to_owned(),
                _ => error.to_string(),
            };
            let place = format!("byte {} of what it holds", self.decoded);
            DecodeError::Format { file: self.file.clone(), format: self.format, place, what }
        };
        self.budget.fail(failure)
    }
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match self.inner.read(into) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.broken(error)),
        };
        self.decoded += read as u64;
        self.budget.spend(read as u64, &self.file).map_err(|limit| self.budget.fail(limit))?;
        let Some(ratio) = &self.ratio else {
            return Ok(read);
        };
        let allowed = ratio.consumed.load(Ordering::Relaxed).saturating_mul(DECOMPRESSION_RATIO_MAX);
        if self.decoded > RATIO_FREE_BYTES && self.decoded > allowed {
            return Err(self.budget.fail(DecodeError::Limit {
                file: self.file.clone(),
                limit: "decompression ratio",
                value: DECOMPRESSION_RATIO_MAX,
                unit: "bytes per compressed byte",
                place: format!("byte {} of what it holds", self.decoded),
            }));
        }
        Ok(read)
    }
}
