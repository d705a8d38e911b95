//! The frames that a worker writes to its standard output: one byte for the kind, four for the length (little
//! endian), then the content. The rows are one Arrow IPC stream, cut into pieces.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::session::VersionRead;

/// Bytes of one frame's content.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The kinds of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is read: a [`Header`] as JSON.
    Header,
    /// A piece of the Arrow IPC stream.
    Rows,
    /// The end of a complete answer: a [`Done`] as JSON.
    Done,
    /// The end without an answer: an [`crate::ErrorReport`] as JSON.
    Error,
}

/// Comes before the rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) versions: Vec<VersionRead>,
}

/// Comes after the rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) is_truncated: bool,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Header => b'H',
            Self::Rows => b'R',
            Self::Done => b'D',
            Self::Error => b'E',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Rows, Self::Done, Self::Error].into_iter().find(|kind| kind.byte() == byte)
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
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    let (Some(kind), true) = (Kind::from_byte(kind), length <= FRAME_BYTES_MAX) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not made of frames"));
    };
    let mut content = vec![0_u8; length];
    match from.read_exact(&mut content).await {
        Ok(_) => Ok(Some((kind, content))),
        Err(error) => at_end(error),
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
        assert!(read(&mut b"x\0\0\0\0".as_slice()).await.is_err());
    }
}
