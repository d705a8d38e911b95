//! Bytes on a connection: frames that are bounded before anything of them is held, fields that are checked before they
//! are believed, and answers that are gathered and sent in pieces. Whatever a peer sends ends in a message or an error.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// Bytes of a message before its sender is known.
pub(super) const MESSAGE_BYTES_UNKNOWN_MAX: usize = 16 * 1024;
/// Bytes of a message afterwards.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 8 * 1024;
/// Gathered bytes from which on they are sent.
const SEND_BYTES: usize = 64 * 1024;
/// The messages that a client may send.
const KINDS: &[u8] = b"QPBDECSHXpdcfF";

/// What carries a connection: a socket, or TLS over one.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}
/// Either of them.
pub(super) type Socket = Box<dyn Duplex>;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// It broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The peer closed it.
    #[error("the connection was closed")]
    Closed,
    /// The peer was silent, or slow in the middle of a message.
    #[error("{what} did not arrive within {} s", .limit.as_secs_f64())]
    Time {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// A message is longer than is read.
    #[error("a message of {found} bytes; {limit} are the limit")]
    Length {
        /// Its length as announced.
        found: u32,
        /// The limit.
        limit: usize,
    },
    /// The bytes are no message.
    #[error("the bytes are not a message of the Postgres protocol: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

/// Says that the bytes are no message.
pub(super) fn malformed(what: &'static str) -> WireError {
    WireError::Malformed { what }
}

/// A message as it came: its kind and what is in it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) fields: Fields,
}

/// Reads one of the packets with which a connection begins; they have a length and no kind.
pub(super) async fn packet(from: &mut (impl AsyncRead + Unpin)) -> Result<Fields, WireError> {
    let length = from.read_u32().await.map_err(ended)?;
    if !(8..=MESSAGE_BYTES_UNKNOWN_MAX as u32).contains(&length) {
        return Err(WireError::Length { found: length, limit: MESSAGE_BYTES_UNKNOWN_MAX });
    }
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await.map_err(ended)?;
    Ok(Fields { rest: body.into() })
}

fn ended(error: io::Error) -> WireError {
    if error.kind() == io::ErrorKind::UnexpectedEof { WireError::Closed } else { WireError::Io(error) }
}

/// A connection after its first packets.
pub(super) struct Wire {
    reader: ReadHalf<Socket>,
    writer: WriteHalf<Socket>,
    arrived: BytesMut,
    message_bytes_max: usize,
    /// What is to be sent.
    pub(super) out: BytesMut,
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        let message_bytes_max = MESSAGE_BYTES_UNKNOWN_MAX;
        Self { reader, writer, arrived: BytesMut::new(), message_bytes_max, out: BytesMut::new() }
    }

    /// Longer messages are read from now on.
    pub(super) fn trust(&mut self) {
        self.message_bytes_max = MESSAGE_BYTES_MAX;
    }

    /// Waits for the first byte of a message.
    pub(super) async fn stirs(&mut self) -> Result<(), WireError> {
        while self.arrived.is_empty() {
            self.fill().await?;
        }
        Ok(())
    }

    /// Reads the next message.
    pub(super) async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.whole()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Takes a message out of what has arrived. Its kind and length are looked at as soon as they are there.
    fn whole(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(kind) = self.arrived.first().copied() else { return Ok(None) };
        if !KINDS.contains(&kind) {
            return Err(malformed("there is no message of this kind"));
        }
        let Some(mut length) = self.arrived.get(1..5) else { return Ok(None) };
        let length = length.get_u32();
        let limit = self.message_bytes_max;
        if length < 4 || length as usize > limit {
            return Err(WireError::Length { found: length, limit });
        }
        let end = 1 + length as usize;
        if self.arrived.len() < end {
            return Ok(None);
        }
        let mut frame = self.arrived.split_to(end).freeze();
        frame.advance(5);
        Ok(Some(Frame { kind, fields: Fields { rest: frame } }))
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        self.arrived.reserve(READ_BYTES);
        match self.reader.read_buf(&mut self.arrived).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }

    /// Waits until the peer is gone. What it sends meanwhile is kept, as much as one message may have.
    pub(super) async fn gone(&mut self) -> WireError {
        loop {
            if self.arrived.len() > self.message_bytes_max {
                std::future::pending::<()>().await;
            }
            if let Err(error) = self.fill().await {
                return error;
            }
        }
    }

    /// Gathers a message.
    pub(super) fn put(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        put(&mut self.out, kind, body);
    }

    /// Sends what is gathered where that is enough to be worth it.
    pub(super) async fn send_some(&mut self) -> Result<(), WireError> {
        if self.out.len() >= SEND_BYTES { self.send().await } else { Ok(()) }
    }

    /// Sends what is gathered.
    pub(super) async fn send(&mut self) -> Result<(), WireError> {
        self.writer.write_all(&self.out).await?;
        self.out.clear();
        Ok(self.writer.flush().await?)
    }

    /// Sends what is gathered and says that nothing will follow.
    pub(super) async fn close(&mut self) -> Result<(), WireError> {
        self.send().await?;
        Ok(self.writer.shutdown().await?)
    }
}

/// Writes a message: its kind, its length, and what is in it.
pub(super) fn put(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    with_length(out, |out| {
        body(out);
        // The length counts itself.
        4
    });
}

/// Leaves room for a length, lets `body` write, and fills the length in: what was written and what `body` adds to it.
pub(super) fn with_length(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut) -> usize) {
    let place = out.len();
    out.put_u32(0);
    let more = body(out);
    let length = u32::try_from(out.len() - place - 4 + more).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(place..place + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

/// Writes a text that ends with a zero.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    // A zero inside would end it early.
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

/// The fields of a message, taken one after the other.
#[derive(Debug)]
pub(super) struct Fields {
    rest: Bytes,
}

impl From<Bytes> for Fields {
    fn from(rest: Bytes) -> Self {
        Self { rest }
    }
}

impl Fields {
    /// Takes fields out of a message's content.
    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { rest: Bytes::copy_from_slice(bytes) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        self.take(1).map(|mut bytes| bytes.get_u8())
    }

    pub(super) fn short(&mut self) -> Result<i16, WireError> {
        self.take(2).map(|mut bytes| bytes.get_i16())
    }

    pub(super) fn number(&mut self) -> Result<i32, WireError> {
        self.take(4).map(|mut bytes| bytes.get_i32())
    }

    /// Takes a count of things that follow.
    pub(super) fn count(&mut self) -> Result<usize, WireError> {
        self.take(2).map(|mut bytes| usize::from(bytes.get_u16()))
    }

    /// Takes a text that ends with a zero.
    pub(super) fn text(&mut self) -> Result<String, WireError> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or_else(|| malformed("a text has no end"))?;
        let text = self.take(end)?;
        self.take(1)?;
        String::from_utf8(text.into()).map_err(|_| malformed("a text is not UTF-8"))
    }

    /// Takes bytes with their length before them; nothing where that is -1.
    pub(super) fn value(&mut self) -> Result<Option<Bytes>, WireError> {
        match self.number()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| malformed("a length is negative"))?;
                self.take(length).map(Some)
            }
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<Bytes, WireError> {
        if count > self.rest.len() {
            return Err(malformed("it ends too early"));
        }
        Ok(self.rest.split_to(count))
    }

    /// Takes everything that is left.
    pub(super) fn rest(self) -> Bytes {
        self.rest
    }

    /// Expects that nothing is left.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed("it goes on after its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Frame, WireError> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(bytes).await.unwrap();
        drop(far);
        Wire::new(Box::new(near)).frame().await
    }

    #[tokio::test]
    async fn lengths_are_judged_before_anything_is_held() {
        assert!(matches!(read(b"Q\0\0\0\x09SELE\0").await, Ok(Frame { kind: b'Q', .. })));
        assert!(matches!(read(b"Q\x3f\xff\xff\xff").await, Err(WireError::Length { .. })));
        assert!(matches!(read(b"Q\0\0\0\x03").await, Err(WireError::Length { .. })));
        assert!(matches!(read(b"Q\xff\xff\xff\xff").await, Err(WireError::Length { .. })));
        assert!(matches!(read(b"GET / HTTP/1.1").await, Err(WireError::Malformed { .. })));
        assert!(matches!(read(b"Q\0\0\0\x20SELECT").await, Err(WireError::Closed)));
        let long = [b"Q".as_slice(), &(MESSAGE_BYTES_UNKNOWN_MAX as u32 + 1).to_be_bytes()].concat();
        assert!(matches!(read(&long).await, Err(WireError::Length { .. })));
        let mut wire = Wire::new(Box::new(tokio::io::duplex(1).0));
        wire.trust();
        wire.arrived.extend_from_slice(&long);
        assert!(matches!(wire.whole(), Ok(None)));
    }

    #[tokio::test]
    async fn first_packets_are_bounded() {
        for length in [0_u32, 3, 7, 16 * 1024 + 1, 1 << 30, u32::MAX] {
            assert!(matches!(packet(&mut length.to_be_bytes().as_slice()).await, Err(WireError::Length { .. })));
        }
        assert!(matches!(packet(&mut b"\0\0\0\x08\0\0".as_slice()).await, Err(WireError::Closed)));
    }

    #[test]
    fn fields_that_lie_about_their_length_are_errors() {
        assert!(Fields::of(b"no end").text().is_err());
        assert!(Fields::of(b"\xff\0").text().is_err());
        assert!(Fields::of(b"\0\0\0\x09short").value().is_err());
        assert!(Fields::of(b"\xff\xff\xff\xfe").value().is_err());
        assert_eq!(Fields::of(b"\xff\xff\xff\xff").value().unwrap(), None);
        assert!(Fields::of(b"x").end().is_err());
        let mut out = BytesMut::new();
        put(&mut out, b'Z', |out| out.put_u8(b'I'));
        assert_eq!(&out[..], b"Z\0\0\0\x05I");
    }
}
