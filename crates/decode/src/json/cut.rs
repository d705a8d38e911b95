//! Chunks of whole records: what a cutter delivers, one thread at a time, and many threads parse.

use crate::error::DecodeError;
use crate::record::Fault;

/// Bytes that a chunk has at least, unless the input ends.
pub(super) const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Cuts the input into chunks of whole records.
pub(super) trait Cutter: Send {
    /// Returns the next chunk, or `None` at the end. Is not called again after an error.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, DecodeError>;
}

/// Some whole records.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Where in the bytes the records begin that are not parsed yet.
    pub(super) from: usize,
    pub(super) cuts: Cuts,
    /// Records that were too large to be taken in.
    pub(super) faults: Vec<Fault>,
}

/// Where the records of a chunk are.
pub(super) enum Cuts {
    /// One a line; the number of the first line. Blank lines are none.
    Lines { first: u64 },
    /// One after the other.
    Records(Vec<Place>),
}

/// A record of a document.
pub(super) struct Place {
    /// Its end in the chunk's bytes; it starts where the one before ends.
    pub(super) end: usize,
    /// Its number, from 1.
    pub(super) number: u64,
    /// The line on which it starts, from 1.
    pub(super) line: u64,
    /// The column at which it starts, from 1, in bytes.
    pub(super) column: u64,
}
