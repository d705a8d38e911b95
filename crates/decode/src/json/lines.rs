//! Cuts NDJSON into chunks at line ends. A line beyond the record limit is skipped without being held in memory.

use std::io::Read;

use hambar_core::limits::{REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX};

use super::cut::{CHUNK_BYTES, Chunk, Cuts, Cutter};
use super::table::too_large;
use crate::error::DecodeError;
use crate::record::Fault;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The cutter.
pub(super) struct Lines {
    stream: Box<dyn Read + Send>,
    /// The beginning of a line whose end was not read yet.
    carry: Vec<u8>,
    /// The number of the next line, from 1.
    line: u64,
    ended: bool,
    file: String,
}

impl Lines {
    pub(super) fn new(stream: Box<dyn Read + Send>, file: String) -> Self {
        Self { stream, carry: Vec::new(), line: 1, ended: false, file }
    }

    /// Reads some more bytes behind `bytes`.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> Result<(), DecodeError> {
        bytes.reserve(CHUNK_BYTES);
        let wanted = CHUNK_BYTES as u64;
        let read = self.stream.by_ref().take(wanted).read_to_end(bytes);
        let read = read.map_err(|source| DecodeError::Read { file: self.file.clone(), source })?;
        self.ended = (read as u64) < wanted;
        Ok(())
    }

    /// Drops the rest of a line that is too large; `bytes` is its beginning.
    fn skip_line(&mut self, bytes: &mut Vec<u8>) -> Result<Fault, DecodeError> {
        let raw = String::from_utf8_lossy(&bytes[..REJECT_RAW_BYTES_MAX]).into_owned();
        let fault = Fault { record: self.line, column: None, reason: too_large(), raw };
        self.line += 1;
        while !self.ended {
            bytes.clear();
            self.fill(bytes)?;
            if let Some(end) = memchr::memchr(b'\n', bytes) {
                self.carry = bytes.split_off(end + 1);
                break;
            }
        }
        bytes.clear();
        Ok(fault)
    }
}

impl Cutter for Lines {
    fn next_chunk(&mut self) -> Result<Option<Chunk>, DecodeError> {
        let is_start = self.line == 1 && self.carry.is_empty();
        let mut bytes = std::mem::take(&mut self.carry);
        if self.ended && bytes.is_empty() {
            return Ok(None);
        }
        while !self.ended {
            self.fill(&mut bytes)?;
            if let Some(last) = memchr::memrchr(b'\n', &bytes) {
                if !self.ended {
                    self.carry = bytes.split_off(last + 1);
                }
                break;
            }
            if bytes.len() > ROW_BYTES_MAX {
                let fault = self.skip_line(&mut bytes)?;
                return Ok(Some(Chunk { bytes, from: 0, cuts: Cuts::Lines { first: self.line }, faults: vec![fault] }));
            }
        }
        if is_start && bytes.starts_with(BOM) {
            bytes.drain(..BOM.len());
        }
        let first = self.line;
        self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Ok(Some(Chunk { bytes, from: 0, cuts: Cuts::Lines { first }, faults: Vec::new() }))
    }
}
