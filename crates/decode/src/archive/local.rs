//! Zip members by their local headers, for archives whose central directory is broken (CORDIS has published such). The
//! walk must end at the remains of a central directory: an archive that just stops is truncated.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::zip::{Member, Method, Window};
use super::{check_count, check_name, refused};
use crate::error::DecodeError;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const CENTRAL_END: u32 = 0x0605_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
/// Bytes of a local header before the name.
const HEADER_BYTES: u64 = 30;
/// The flag bits "encrypted" and "sizes follow the data".
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The extra field that holds sizes beyond 4 GiB.
const EXTRA_ZIP64: u16 = 1;
/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// Finds the members; `broken` says what is wrong with the central directory.
pub(crate) fn members(file: &Arc<File>, broken: &str) -> Result<Vec<Member>, DecodeError> {
    let length = file.metadata().map_err(|source| DecodeError::Read { file: "body".to_owned(), source })?.len();
    let (mut members, mut at) = (Vec::new(), 0);
    loop {
        let index = members.len();
        let wrong = |what: String| refused("zip", index, format!("{what}; the central directory is broken: {broken}"));
        match read_u32(file, at) {
            Ok(LOCAL_HEADER) => {}
            Ok(CENTRAL_HEADER | CENTRAL_END) if index > 0 => return Ok(members),
            Ok(_) => return Err(wrong(format!("no local header at byte {at}"))),
            Err(_) => return Err(wrong(format!("the archive stops at byte {length}, it is truncated"))),
        }
        let (member, end) = member_at(file, at, length).map_err(|error| wrong(error.to_string()))?;
        check_count(index + 1)?;
        check_name(&member.name, "zip", index)?;
        at = end;
        if !member.name.ends_with('/') {
            members.push(member);
        }
    }
}

/// Returns where the data of the member begins whose local header is at `header_start`.
pub(crate) fn data_start(file: &File, header_start: u64) -> io::Result<u64> {
    header_at(file, header_start).map(|header| header.data)
}

struct Header {
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    name: String,
    data: u64,
}

fn header_at(file: &File, at: u64) -> io::Result<Header> {
    let mut fixed = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut fixed, at)?;
    let u16_at = |index: usize| u16::from_le_bytes([fixed[index], fixed[index + 1]]);
    let u32_at =
        |index: usize| u32::from_le_bytes([fixed[index], fixed[index + 1], fixed[index + 2], fixed[index + 3]]);
    let (name_bytes, extra_bytes) = (usize::from(u16_at(26)), usize::from(u16_at(28)));
    let mut tail = vec![0; name_bytes + extra_bytes];
    file.read_exact_at(&mut tail, at + HEADER_BYTES)?;
    let (name, extra) = tail.split_at(name_bytes);
    let mut header = Header {
        flags: u16_at(6),
        method: u16_at(8),
        crc: u32_at(14),
        compressed: u64::from(u32_at(18)),
        size: u64::from(u32_at(22)),
        name: String::from_utf8_lossy(name).into_owned(),
        data: at + HEADER_BYTES + tail.len() as u64,
    };
    large_sizes(&mut header, extra);
    Ok(header)
}

/// Takes the sizes of the zip64 extra field: the size first, then the compressed size, each only where the header has
/// `0xffff_ffff`.
fn large_sizes(header: &mut Header, mut extra: &[u8]) {
    while let [id_low, id_high, length_low, length_high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*length_low, *length_high]));
        let Some((mut field, tail)) = rest.split_at_checked(length) else {
            return;
        };
        if u16::from_le_bytes([*id_low, *id_high]) == EXTRA_ZIP64 {
            for value in [&mut header.size, &mut header.compressed] {
                if *value == u64::from(u32::MAX)
                    && let Some((bytes, after)) = field.split_first_chunk::<8>()
                {
                    *value = u64::from_le_bytes(*bytes);
                    field = after;
                }
            }
        }
        extra = tail;
    }
}

/// Returns the member whose local header is at `at`, and where the next one should be.
fn member_at(file: &Arc<File>, at: u64, length: u64) -> io::Result<(Member, u64)> {
    let header = header_at(file, at)?;
    if header.flags & FLAG_ENCRYPTED != 0 {
        return Err(io::Error::other(format!("`{}` is encrypted", header.name)));
    }
    let method = Method::from_number(header.method)
        .ok_or_else(|| io::Error::other(format!("`{}` has compression method {}", header.name, header.method)))?;
    let mut member = Member {
        name: header.name,
        start: header.data,
        compressed: header.compressed,
        size: header.size,
        crc: header.crc,
        method,
    };
    if header.flags & FLAG_DESCRIPTOR != 0 && member.compressed == 0 {
        let end = measure(file, &mut member, length)?;
        return Ok((member, end));
    }
    let mut end = member.start.saturating_add(member.compressed);
    if end > length {
        return Err(io::Error::other(format!("`{}` goes on beyond the end, the archive is truncated", member.name)));
    }
    if header.flags & FLAG_DESCRIPTOR != 0 {
        end = descriptor(file, end, &member)?;
    }
    Ok((member, end))
}

/// Inflates a member of unknown size to find its end, and takes size and CRC from the descriptor behind it.
fn measure(file: &Arc<File>, member: &mut Member, length: u64) -> io::Result<u64> {
    if member.method != Method::Deflate {
        return Err(io::Error::other(format!("the size of `{}` is nowhere announced", member.name)));
    }
    let window = Window { file: Arc::clone(file), at: member.start, end: length };
    let mut inflate = flate2::bufread::DeflateDecoder::new(BufReader::with_capacity(READ_BYTES, window));
    let mut crc = flate2::Crc::new();
    let mut block = vec![0; READ_BYTES];
    loop {
        let read = inflate.read(&mut block)?;
        if read == 0 {
            break;
        }
        crc.update(&block[..read]);
        member.size += read as u64;
        let consumed = inflate.total_in().max(1);
        let is_bomb = member.size > hambar_core::limits::RATIO_FREE_BYTES
            && member.size / consumed > hambar_core::limits::DECOMPRESSION_RATIO_MAX;
        if is_bomb {
            return Err(io::Error::other(format!("`{}` unpacks to too many bytes", member.name)));
        }
    }
    member.compressed = inflate.total_in();
    member.crc = crc.sum();
    descriptor(file, member.start + member.compressed, member)
}

/// Checks the descriptor at `at` (with or without its mark, sizes of 4 or 8 bytes) and returns where it ends.
fn descriptor(file: &File, at: u64, member: &Member) -> io::Result<u64> {
    let mark = if read_u32(file, at)? == DESCRIPTOR { 4 } else { 0 };
    let crc = read_u32(file, at + mark)?;
    let short = (u64::from(read_u32(file, at + mark + 4)?), u64::from(read_u32(file, at + mark + 8)?));
    let sizes = (member.compressed, member.size);
    let end = if short == sizes && crc == member.crc {
        at + mark + 12
    } else {
        let long = (read_u64(file, at + mark + 4)?, read_u64(file, at + mark + 12)?);
        if long != sizes || crc != member.crc {
            return Err(io::Error::other(format!("`{}` is not what its data descriptor announces", member.name)));
        }
        at + mark + 20
    };
    Ok(end)
}

fn read_u32(file: &File, at: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_u64(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}
