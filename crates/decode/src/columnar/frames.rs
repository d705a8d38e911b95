//! Checks the lengths that an Arrow IPC file or stream announces against its size, before the library reserves memory for
//! them: one flipped bit in a length asks for 64 TiB and ends the process.

use std::fs::File;
use std::os::unix::fs::FileExt;

use arrow::ipc::{Block, root_as_footer, root_as_message};

/// What the file format starts with, and what stands in front of every message of a stream.
const FILE_MAGIC: &[u8] = b"ARROW1";
const CONTINUATION: u32 = u32::MAX;
/// Bytes of a message's or footer's own description, which is held in memory.
const METADATA_BYTES_MAX: u64 = 64 * hambar_core::limits::MIB;

/// Checks every block of a file and returns the bytes of the largest.
pub(super) fn check_file(file: &File) -> Result<u64, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let end = size.checked_sub(FILE_MAGIC.len() as u64 + 4).ok_or("it is too short")?;
    let length = u64::from(read_u32(file, end)?);
    let start = end.checked_sub(length).filter(|_| length <= METADATA_BYTES_MAX);
    let start = start.ok_or_else(|| format!("its footer announces {length} bytes"))?;
    let bytes = read(file, start, length)?;
    let footer = root_as_footer(&bytes).map_err(|error| error.to_string())?;
    let blocks = footer.recordBatches().into_iter().flatten().chain(footer.dictionaries().into_iter().flatten());
    let mut largest = 0;
    for block in blocks {
        largest = largest.max(check_block(block, size)?);
    }
    Ok(largest)
}

fn check_block(block: &Block, size: u64) -> Result<u64, String> {
    let parts = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
    let end = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(u64::try_from(*part).ok()?));
    match end {
        Some(end) if end <= size => u64::try_from(block.bodyLength()).map_err(|error| error.to_string()),
        _ => Err(format!("a block announces offset and lengths {parts:?} in a file of {size} bytes")),
    }
}

/// Checks every message of a stream and returns the bytes of the largest.
pub(super) fn check_stream(file: &File) -> Result<u64, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let (mut at, mut largest) = (0, 0);
    while at < size {
        let mut length = read_u32(file, at)?;
        at += 4;
        // Streams from before format version 0.15 have no such mark.
        if length == CONTINUATION {
            length = read_u32(file, at)?;
            at += 4;
        }
        if length == 0 {
            return Ok(largest);
        }
        let length = u64::from(length);
        if length > METADATA_BYTES_MAX.min(size - at) {
            return Err(format!("a message at byte {at} announces {length} bytes of {size}"));
        }
        let bytes = read(file, at, length)?;
        let message = root_as_message(&bytes).map_err(|error| error.to_string())?;
        let body = message.bodyLength();
        at += length;
        let end = u64::try_from(body).ok().and_then(|body| at.checked_add(body)).filter(|end| *end <= size);
        let end = end.ok_or_else(|| format!("a message at byte {at} announces a body of {body} bytes of {size}"))?;
        largest = largest.max(end - at);
        at = end;
    }
    Ok(largest)
}

fn read(file: &File, at: u64, length: u64) -> Result<Vec<u8>, String> {
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn read_u32(file: &File, at: u64) -> Result<u32, String> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).map_err(|_| "it ends too early, it is truncated".to_owned())?;
    Ok(u32::from_le_bytes(bytes))
}
