//! Digests that an answer announces (`Repr-Digest`, `Content-Digest`, `Digest`, `Content-MD5`): read, computed while
//! the body arrives, compared. RFC 9530, RFC 3230, RFC 1864.

use base64::Engine;
use sha2::digest::DynDigest;

/// What answers are announced with, strongest first.
const HEADERS: [&str; 4] = ["repr-digest", "content-digest", "digest", "content-md5"];

/// One announced digest and its computation over the bytes on the wire and after decoding.
struct Announced {
    header: &'static str,
    algorithm: &'static str,
    expected: Vec<u8>,
    wire: Box<dyn DynDigest + Send>,
    decoded: Box<dyn DynDigest + Send>,
}

/// The announced digests of one answer.
#[derive(Default)]
pub(crate) struct Digests {
    announced: Vec<Announced>,
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Digests({})", self.announced.len())
    }
}

/// A digest that differs: what was announced and what came, with the algorithm.
#[derive(Debug)]
pub(crate) struct Mismatch {
    pub(crate) announced: String,
    pub(crate) received: String,
}

impl Digests {
    /// Reads the headers. Values that are not digests of a known algorithm prove nothing and are left out.
    ///
    /// `Content-Digest` and `Content-MD5` of a partial answer speak of that part only and are left out as well.
    pub(crate) fn announced(headers: &http::HeaderMap, status: http::StatusCode) -> Self {
        let partial = status == http::StatusCode::PARTIAL_CONTENT;
        let mut announced = Vec::new();
        for header in HEADERS {
            if partial && matches!(header, "content-digest" | "content-md5") {
                continue;
            }
            let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
            for value in values {
                if header == "content-md5" {
                    announced.extend(entry(header, "md5", value));
                } else {
                    let pairs = value.split(',').filter_map(|member| member.trim().split_once('='));
                    announced.extend(pairs.filter_map(|(algorithm, text)| entry(header, algorithm, text)));
                }
            }
        }
        Self { announced }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.announced.is_empty()
    }

    pub(crate) fn wire(&mut self, bytes: &[u8]) {
        self.announced.iter_mut().for_each(|one| one.wire.update(bytes));
    }

    pub(crate) fn decoded(&mut self, bytes: &[u8]) {
        self.announced.iter_mut().for_each(|one| one.decoded.update(bytes));
    }

    /// Compares. Servers that compress on the fly announce the digest of the stored file as often as that of the
    /// bytes they send, so either is good.
    pub(crate) fn check(self) -> Result<(), Mismatch> {
        for one in self.announced {
            let wire = one.wire.finalize();
            let decoded = one.decoded.finalize();
            if wire[..] != one.expected[..] && decoded[..] != one.expected[..] {
                return Err(Mismatch {
                    announced: format!("{} {} in `{}`", one.algorithm, hex(&one.expected), one.header),
                    received: format!("{} {}", one.algorithm, hex(&wire)),
                });
            }
        }
        Ok(())
    }
}

fn entry(header: &'static str, algorithm: &str, text: &str) -> Option<Announced> {
    let (name, wire, decoded) = hasher(&algorithm.trim().to_ascii_lowercase())?;
    let bare = text.trim().trim_matches(':').trim_matches('"');
    let expected = bytes_of(bare, wire.output_size())?;
    Some(Announced { header, algorithm: name, expected, wire, decoded })
}

type Hashers = (&'static str, Box<dyn DynDigest + Send>, Box<dyn DynDigest + Send>);

fn hasher(algorithm: &str) -> Option<Hashers> {
    match algorithm {
        "sha-256" => Some(("sha-256", Box::new(sha2::Sha256::default()), Box::new(sha2::Sha256::default()))),
        "sha-512" => Some(("sha-512", Box::new(sha2::Sha512::default()), Box::new(sha2::Sha512::default()))),
        "md5" => Some(("md5", Box::new(md5::Md5::default()), Box::new(md5::Md5::default()))),
        _ => None,
    }
}

/// Reads a digest of `size` bytes as base64, or as hex, which Zenodo sends in `Content-MD5`.
fn bytes_of(text: &str, size: usize) -> Option<Vec<u8>> {
    if text.len() == size * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return (0..size).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()).collect();
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    (bytes.len() == size).then_some(bytes)
}

/// Writes bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &str, status: u16, body: &[u8], expected: &str) {
        let mut headers = http::HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let mut digests = Digests::announced(&headers, http::StatusCode::from_u16(status).unwrap());
        let count = digests.announced.len();
        digests.wire(body);
        let outcome = match digests.check() {
            Ok(()) => format!("{count} ok"),
            Err(mismatch) => format!("{} but {}", mismatch.announced, mismatch.received),
        };
        assert!(outcome.starts_with(expected), "{outcome}");
    }

    #[test]
    fn announced_digests_are_compared() {
        check("content-md5", "XUFAKrxLKna5cZ2REBfFkg==", 200, b"hello", "1 ok");
        check("content-md5", "5d41402abc4b2a76b9719d911017c592", 200, b"hello", "1 ok");
        check("content-md5", "5d41402abc4b2a76b9719d911017c592", 200, b"hell", "md5 5d41402a");
        check("content-md5", "5d41402abc4b2a76b9719d911017c592", 206, b"hell", "0 ok");
        check("digest", "sha-256=LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", 200, b"hello", "1 ok");
        check("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", 206, b"hello", "1 ok");
        check("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", 200, b"x", "sha-256 2cf24d");
        check("digest", "crc32c=AAAA, unixsum=3", 200, b"x", "0 ok");
        check("digest", "sha-256=nonsense", 200, b"x", "0 ok");
    }
}
