//! Zip: the directory is checked as a whole (limits, names, local headers, overlaps) before a member is read, and each
//! member proves itself by size and CRC when it was read to its end. Where the central directory is broken, the members
//! are found by their local headers instead.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{Wanted, check_count, check_name, local, refused};
use crate::compress::{Budget, metered, xz};
use crate::error::DecodeError;

/// Compressed bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// One regular file in a zip.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Where its compressed bytes start.
    pub(crate) start: u64,
    /// Compressed bytes.
    pub(crate) compressed: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// CRC-32 of the bytes.
    pub(crate) crc: u32,
    /// How they are compressed.
    pub(crate) method: Method,
}

/// Compression methods that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not compressed.
    Stored,
    /// Deflate.
    Deflate,
    /// Deflate with a window of 64 KiB, as Windows writes for big files.
    Deflate64,
    /// bzip2.
    Bzip2,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
}

impl Method {
    /// Returns the method with a number of the zip specification.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Stored,
            8 => Self::Deflate,
            9 => Self::Deflate64,
            12 => Self::Bzip2,
            93 => Self::Zstd,
            95 => Self::Xz,
            _ => return None,
        })
    }

    /// Undoes it.
    pub(crate) fn decoder(self, source: BufReader<Window>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Stored => Box::new(source),
            Self::Deflate => Box::new(flate2::bufread::DeflateDecoder::new(source)),
            Self::Deflate64 => Box::new(deflate64::Deflate64Decoder::with_buffer(source)),
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(source)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
            Self::Xz => Box::new(xz(source)?),
        })
    }
}

/// A part of a file, read without moving the file's own position.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) file: Arc<File>,
    pub(crate) at: u64,
    pub(crate) end: u64,
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..count], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Returns the wanted members in the archive's order, after the whole directory was checked.
pub(crate) fn members(file: &Arc<File>, wanted: &Wanted) -> Result<Vec<Member>, DecodeError> {
    let all = match ::zip::ZipArchive::new(BufReader::new(Arc::clone(file))) {
        Ok(archive) => from_directory(file, archive)?,
        Err(broken) => local::members(file, &broken.to_string())?,
    };
    let names: Vec<&str> = all.iter().map(|member| member.name.as_str()).collect();
    let found: Vec<&str> = names.iter().copied().filter(|name| wanted.matches(name)).collect();
    wanted.check_found(&found, &names)?;
    Ok(all.iter().filter(|member| wanted.matches(&member.name)).cloned().collect())
}

fn from_directory(
    file: &File,
    mut archive: ::zip::ZipArchive<BufReader<Arc<File>>>,
) -> Result<Vec<Member>, DecodeError> {
    check_count(archive.len())?;
    archive.validate_header_consistency().map_err(|error| refused("zip", 0, error.to_string()))?;
    let mut members = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|error| refused("zip", index, error.to_string()))?;
        let name = entry.name().map_err(|error| refused("zip", index, error.to_string()))?;
        check_name(&name, "zip", index)?;
        if entry.is_dir() || entry.is_symlink() {
            continue;
        }
        if entry.encrypted() {
            return Err(refused("zip", index, format!("`{name}` is encrypted, and there is no password setting")));
        }
        let number = method_number(entry.compression());
        let method = number
            .and_then(Method::from_number)
            .ok_or_else(|| refused("zip", index, format!("`{name}` is compressed by {:?}", entry.compression())))?;
        let start = local::data_start(file, entry.header_start())
            .map_err(|source| DecodeError::Read { file: name.to_string(), source })?;
        members.push(Member {
            name: name.into_owned(),
            start,
            compressed: entry.compressed_size(),
            size: entry.size(),
            crc: entry.crc32(),
            method,
        });
    }
    Ok(members)
}

fn method_number(method: ::zip::CompressionMethod) -> Option<u16> {
    use ::zip::CompressionMethod;
    Some(match method {
        CompressionMethod::Stored => 0,
        CompressionMethod::Deflated => 8,
        CompressionMethod::Deflate64 => 9,
        CompressionMethod::Bzip2 => 12,
        CompressionMethod::Zstd => 93,
        CompressionMethod::Xz => 95,
        _ => return None,
    })
}

impl Member {
    /// Opens its bytes. The end of the stream is only reached if size and CRC are right.
    pub(crate) fn open(&self, file: &Arc<File>, budget: &Budget) -> Result<Box<dyn Read + Send>, DecodeError> {
        let window = Window { file: Arc::clone(file), at: self.start, end: self.start.saturating_add(self.compressed) };
        let inner = self
            .method
            .decoder(BufReader::with_capacity(READ_BYTES, window))
            .map_err(|source| DecodeError::Read { file: self.name.clone(), source })?;
        let checked = Checked { inner, crc: flate2::Crc::new(), size: self.size, expected: self.crc, read: 0 };
        Ok(metered(
            Box::new(checked),
            self.compressed,
            "a member as the archive's directory has it",
            &self.name,
            budget,
        ))
    }
}

/// Compares size and CRC-32 at the end.
struct Checked {
    inner: Box<dyn Read + Send>,
    crc: flate2::Crc,
    size: u64,
    expected: u32,
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        if read > 0 {
            self.crc.update(&into[..read]);
            self.read += read as u64;
            if self.read > self.size {
                return Err(io::Error::other(format!("it has more than the {} bytes announced", self.size)));
            }
            return Ok(read);
        }
        if into.is_empty() {
            return Ok(0);
        }
        if self.read != self.size {
            return Err(io::Error::other(format!("it has {} bytes, {} were announced", self.read, self.size)));
        }
        if self.crc.sum() != self.expected {
            let sum = self.crc.sum();
            return Err(io::Error::other(format!("its CRC-32 is {sum:08x}, {:08x} was announced", self.expected)));
        }
        Ok(0)
    }
}
