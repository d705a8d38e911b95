//! HTTP/2 frames as bytes (RFC 9113 §4.1), right or wrong as a test wants them.

use bytes::{BufMut, Bytes, BytesMut};

/// Frame type of a request's or an answer's head.
pub const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
/// The stream ends for a fault of the server.
pub const INTERNAL_ERROR: u32 = 2;

/// Whether a frame is the last of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It is.
    Yes,
    /// More comes.
    No,
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + payload.len());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    bytes.put_slice(&length[1..]);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The server's first frame: no settings.
pub fn settings() -> Bytes {
    frame(SETTINGS, 0, 0, &[])
}

/// A ping.
pub fn ping() -> Bytes {
    frame(PING, 0, 0, &[7; 8])
}

/// The head of a 200 answer to the first request, with these headers.
pub fn ok(headers: &[(&str, &str)], last: Last) -> Bytes {
    let flags = END_HEADERS | if last == Last::Yes { END_STREAM } else { 0 };
    frame(HEADERS, flags, 1, &head(headers))
}

/// The head of a 200 answer that is continued without end: the caller sends [`continuation`] frames after it.
pub fn unfinished_head() -> Bytes {
    frame(HEADERS, 0, 1, &head(&[]))
}

/// Another piece of a head, with one header of `length` bytes.
pub fn continuation(length: usize) -> Bytes {
    frame(CONTINUATION, 0, 1, &literal("x-more", &"y".repeat(length)))
}

/// A piece of the first answer's body.
pub fn data(bytes: &[u8], last: Last) -> Bytes {
    frame(DATA, if last == Last::Yes { END_STREAM } else { 0 }, 1, bytes)
}

/// Ends the first request's stream with an error.
pub fn reset(code: u32) -> Bytes {
    frame(RST_STREAM, 0, 1, &code.to_be_bytes())
}

/// Says that no stream above `last` will be answered.
pub fn goaway(last: u32, code: u32) -> Bytes {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&code.to_be_bytes());
    frame(GOAWAY, 0, 0, &payload)
}

/// Status 200 and headers in HPACK, without its table and without Huffman coding.
fn head(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x88];
    for (name, value) in headers {
        block.extend_from_slice(&literal(name, value));
    }
    block
}

/// A literal header that is not added to the table (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        put_length(&mut bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.extend(u8::try_from(length));
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.extend(u8::try_from(rest % 128 + 128));
        rest /= 128;
    }
    bytes.extend(u8::try_from(rest));
}
