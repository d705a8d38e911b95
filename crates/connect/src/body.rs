//! First looks at landed bytes: is it what was asked for, is it what was announced? And the small reads that planning
//! needs. Rows are the decoder's business.

use std::fs::File;
use std::io::{self, Read};

use hambar_fetch::Landed;
use md5::{Digest, Md5};
use url::Url;

use crate::error::ConnectError;

/// Bytes at the beginning that are looked at.
const HEAD_BYTES: u64 = 1024;

/// Reads an address as it stands in a file.
pub(crate) fn web_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{text}`: the scheme is `{}`, use https or http", url.scheme()));
    }
    if url.host_str().is_none() {
        return Err(format!("`{text}` has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not hold a user or a password; use `[source.auth]`".to_owned());
    }
    Ok(url)
}

/// What the first bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// No bytes but white space.
    Empty,
    /// A web page.
    Html,
    /// Some other XML.
    Xml,
    /// Anything else.
    Other,
}

/// Looks at the first bytes.
pub(crate) fn looks(head: &[u8]) -> Looks {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = head.trim_ascii_start();
    let starts = |prefix: &[u8]| text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix);
    if text.is_empty() {
        Looks::Empty
    } else if starts(b"<!doctype html") || starts(b"<html") || starts(b"<head") {
        Looks::Html
    } else if starts(b"<") {
        Looks::Xml
    } else {
        Looks::Other
    }
}

/// Looks at the first bytes of a landed body.
pub(crate) async fn landed_looks(landed: &Landed) -> Result<Looks, ConnectError> {
    let path = landed.path.clone();
    blocking(landed, move || {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(looks(&head))
    })
    .await
}

/// Says whether the answer calls itself a web page.
pub(crate) fn is_labelled_html(landed: &Landed) -> bool {
    landed.meta.header("content-type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

/// Returns the MD5 of a landed body in hex.
pub(crate) async fn md5_hex(landed: &Landed) -> Result<String, ConnectError> {
    let path = landed.path.clone();
    blocking(landed, move || {
        let mut digest = Md5::new();
        io::copy(&mut File::open(path)?, &mut digest)?;
        Ok(hex(&digest.finalize()))
    })
    .await
}

/// Writes bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a small JSON document whole.
pub(crate) async fn read_json(landed: &Landed, bytes_max: u64) -> Result<serde_json::Value, ConnectError> {
    if landed.bytes > bytes_max {
        let url = landed.meta.url.clone();
        return Err(ConnectError::Limit { url, limit: "bytes of a catalogue answer", value: bytes_max });
    }
    let path = landed.path.clone();
    let parsed = blocking(landed, move || Ok(serde_json::from_slice(&std::fs::read(path)?))).await?;
    parsed.map_err(|error| ConnectError::Protocol { url: landed.meta.url.clone(), what: format!("no JSON: {error}") })
}

/// Runs `work` on landed bytes where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    landed: &Landed,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ConnectError> {
    let keep = landed.spool.clone();
    let outcome = tokio::task::spawn_blocking(move || {
        let outcome = work();
        drop(keep);
        outcome
    })
    .await
    .map_err(io::Error::other)
    .and_then(|outcome| outcome);
    outcome.map_err(|source| ConnectError::Fetch {
        step: "read landed bytes".to_owned(),
        source: hambar_fetch::FetchError::Landing { url: landed.meta.url.clone(), source: Box::new(source) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_pages_from_data() {
        for (head, expected) in [
            ("\u{feff}\n <!DOCTYPE HTML PUBLIC", Looks::Html),
            ("<html lang=en>", Looks::Html),
            ("<?xml version=\"1.0\"?><wb:error/>", Looks::Xml),
            (" \r\n\t", Looks::Empty),
            ("a,b\n1,2", Looks::Other),
            ("{}", Looks::Other),
        ] {
            assert_eq!(looks(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn addresses_are_checked() {
        assert!(web_url("https://example.org/a").is_ok());
        for wrong in ["ftp://example.org/", "example.org", "https://u:p@example.org/", "file:///etc/passwd"] {
            assert!(web_url(wrong).is_err(), "{wrong}");
        }
    }
}
