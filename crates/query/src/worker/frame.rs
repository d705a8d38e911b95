//! The frames between a worker and its parent: one byte for the kind, four for the length (little endian), then the
//! content. The rows are one Arrow IPC stream, cut into pieces.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::progress::Times;
use crate::error::ErrorReport;
use crate::question::Facts;

/// Bytes of one frame's content.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The kinds of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the worker: a [`super::Setup`] as JSON, once.
    Setup,
    /// To the worker: a [`crate::Question`] as JSON, to be answered with rows.
    Run,
    /// To the worker: a [`crate::Question`] as JSON, to be answered with its columns and parameters.
    Describe,
    /// What is read, and how long planning took: a [`Header`] as JSON.
    Header,
    /// A piece of the Arrow IPC stream.
    Rows,
    /// The parameters of a described statement: an Arrow IPC stream without rows.
    Parameters,
    /// The end of a complete answer: a [`Done`] as JSON.
    Done,
    /// The end without an answer: a [`Failed`] as JSON.
    Error,
}

/// Comes before the rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) facts: Facts,
    pub(super) times: Times,
}

/// Comes in place of the rows, or of those that are left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) error: ErrorReport,
    pub(super) times: Times,
}

/// Comes after the rows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) times: Times,
    pub(super) is_truncated: bool,
    /// Whether nothing of the query runs any more, so that the worker may be asked again.
    pub(super) is_idle: bool,
}

const KINDS: [(Kind, u8); 8] = [
    (Kind::Setup, b'S'),
    (Kind::Run, b'Q'),
    (Kind::Describe, b'?'),
    (Kind::Header, b'H'),
    (Kind::Rows, b'R'),
    (Kind::Parameters, b'P'),
    (Kind::Done, b'D'),
    (Kind::Error, b'E'),
];

impl Kind {
    fn byte(self) -> u8 {
        KINDS.into_iter().find(|(kind, _)| *kind == self).map_or(0, |(_, byte)| byte)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        KINDS.into_iter().find(|(_, known)| *known == byte).map(|(kind, _)| kind)
    }
}

/// Writes `content` as as many frames as it needs; an empty one is one frame.
pub(crate) fn write(out: &mut impl Write, kind: Kind, content: &[u8]) -> io::Result<()> {
    let mut pieces = content.chunks(FRAME_BYTES_MAX);
    let mut piece = pieces.next().unwrap_or_default();
    loop {
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        out.write_all(&[kind.byte()])?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(piece)?;
        match pieces.next() {
            Some(next) => piece = next,
            None => return out.flush(),
        }
    }
}

/// Reads the next frame; nothing at the end of the stream, even inside a frame: the worker died then.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0_u8; 5];
    if let Err(error) = from.read_exact(&mut head).await {
        return at_end(error);
    }
    let (kind, mut content) = start(head)?;
    match from.read_exact(&mut content).await {
        Ok(_) => Ok(Some((kind, content))),
        Err(error) => at_end(error),
    }
}

/// As [`read`], for the worker's side.
pub(crate) fn read_blocking(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0_u8; 5];
    if let Err(error) = from.read_exact(&mut head) {
        return at_end(error);
    }
    let (kind, mut content) = start(head)?;
    match from.read_exact(&mut content) {
        Ok(()) => Ok(Some((kind, content))),
        Err(error) => at_end(error),
    }
}

/// Understands a frame's head and makes room for its content.
fn start(head: [u8; 5]) -> io::Result<(Kind, Vec<u8>)> {
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    match Kind::from_byte(kind) {
        Some(kind) if length <= FRAME_BYTES_MAX => Ok((kind, vec![0_u8; length])),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the message is not made of frames")),
    }
}

fn at_end<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_written_and_long_ones_in_pieces() {
        let long = vec![7_u8; FRAME_BYTES_MAX + 1];
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Header, b"").unwrap();
        write(&mut bytes, Kind::Rows, &long).unwrap();
        bytes.push(b'D');
        let mut reader = bytes.as_slice();
        let mut sizes = Vec::new();
        while let Some((kind, content)) = read(&mut reader).await.unwrap() {
            sizes.push((kind, content.len()));
        }
        assert_eq!(sizes, [(Kind::Header, 0), (Kind::Rows, FRAME_BYTES_MAX), (Kind::Rows, 1)]);
        let mut reader = bytes.as_slice();
        assert_eq!(read_blocking(&mut reader).unwrap(), Some((Kind::Header, Vec::new())));
        assert!(read(&mut b"x\0\0\0\0".as_slice()).await.is_err());
        assert!(KINDS.into_iter().all(|(kind, byte)| Kind::from_byte(byte) == Some(kind) && kind.byte() == byte));
    }
}
