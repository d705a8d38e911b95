//! The bytes on the socket: reading a request, writing a scripted answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Asked, Cut, Framing, Ranges};

/// Bytes of a request's head and body that are read.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Whether the connection can take another request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    Open,
    Closed,
}

pub(super) async fn read_request(stream: &mut TcpStream, pending: &mut Vec<u8>, started: Instant) -> Option<Asked> {
    let head_end = loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if pending.len() > REQUEST_BYTES_MAX || stream.read_buf(pending).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(pending.get(..head_end)?).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = head_end.checked_add(4)?.checked_add(length)?;
    while pending.len() < end {
        if pending.len() > REQUEST_BYTES_MAX || stream.read_buf(pending).await.ok()? == 0 {
            return None;
        }
    }
    let body = pending.get(head_end + 4..end)?.to_vec();
    pending.drain(..end);
    Some(Asked { at: started.elapsed(), method, target, headers, body })
}

pub(super) async fn send(stream: &mut TcpStream, asked: &Asked, answer: &Answer) -> std::io::Result<After> {
    if answer.silent {
        // Until the client gives up.
        let mut scrap = [0_u8; 64];
        while stream.read(&mut scrap).await? > 0 {}
        return Ok(After::Closed);
    }
    if let Some(raw) = &answer.raw {
        stream.write_all(raw).await?;
        return Ok(After::Closed);
    }
    if answer.not_modified && is_known(asked, answer) {
        let head = head(304, "Not Modified", &answer.headers, &[]);
        stream.write_all(head.as_bytes()).await?;
        return Ok(After::Open);
    }
    let part = ranged(asked, answer);
    send_head(stream, answer, &part).await?;
    if asked.method == "HEAD" {
        return Ok(After::Open);
    }
    send_body(stream, answer, &part.body).await
}

fn is_known(asked: &Asked, answer: &Answer) -> bool {
    let same =
        |header: &str, own: &str| asked.header(header).is_some_and(|value| Some(value) == answer.own_header(own));
    match asked.header("if-none-match") {
        Some(_) => same("if-none-match", "etag"),
        None => same("if-modified-since", "last-modified"),
    }
}

/// Status, extra headers and body after `Range` was looked at.
struct Part {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

fn ranged(asked: &Asked, answer: &Answer) -> Part {
    let whole = Part { status: answer.status, headers: Vec::new(), body: answer.body.clone() };
    let total = answer.body.len();
    let first =
        asked.header("range").and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let Some(first) = first.filter(|_| answer.ranges != Ranges::Ignored && answer.status == 200) else {
        return whole;
    };
    let still_same =
        |value: &str| Some(value) == answer.own_header("etag") || Some(value) == answer.own_header("last-modified");
    if !asked.header("if-range").is_none_or(still_same) {
        return whole;
    }
    if first >= total || answer.ranges == Ranges::Refused {
        let range = ("content-range".to_owned(), format!("bytes */{total}"));
        return Part { status: 416, headers: vec![range], body: Bytes::new() };
    }
    let from = if answer.ranges == Ranges::WrongPlace { first / 2 } else { first };
    let named = if answer.ranges == Ranges::WrongTotal { total + 1 } else { total };
    let range = ("content-range".to_owned(), format!("bytes {from}-{}/{named}", total - 1));
    Part { status: 206, headers: vec![range], body: answer.body.slice(from..) }
}

fn head(status: u16, reason: &str, headers: &[(String, String)], more: &[(String, String)]) -> String {
    let lines: String = headers.iter().chain(more).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} {reason}\r\n{lines}\r\n")
}

async fn send_head(stream: &mut TcpStream, answer: &Answer, part: &Part) -> std::io::Result<()> {
    let mut more = part.headers.clone();
    match answer.framing {
        Framing::Length => more.push(("content-length".to_owned(), part.body.len().to_string())),
        Framing::FalseLength(length) => more.push(("content-length".to_owned(), length.to_string())),
        Framing::Chunked | Framing::Endless => more.push(("transfer-encoding".to_owned(), "chunked".to_owned())),
        Framing::Close => more.push(("connection".to_owned(), "close".to_owned())),
    }
    let text = head(part.status, "Scripted", &answer.headers, &more);
    let Some(pause) = answer.header_trickle else {
        return stream.write_all(text.as_bytes()).await;
    };
    for byte in text.bytes() {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn send_body(stream: &mut TcpStream, answer: &Answer, body: &Bytes) -> std::io::Result<After> {
    let percent = answer.cut.map_or(100, |(percent, _)| percent.min(100));
    let length = usize::try_from(body.len() as u64 * percent / 100).unwrap_or(body.len());
    let sent = body.get(..length).unwrap_or_default();
    let is_chunked = matches!(answer.framing, Framing::Chunked | Framing::Endless);
    let (piece, pause) = answer.trickle.unwrap_or((64 * 1024, Duration::ZERO));
    loop {
        for bytes in sent.chunks(piece) {
            if is_chunked {
                stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
            }
            stream.write_all(bytes).await?;
            if is_chunked {
                stream.write_all(b"\r\n").await?;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        if answer.framing != Framing::Endless || sent.is_empty() {
            break;
        }
    }
    match answer.cut {
        Some((_, Cut::Rst)) => {
            // Let the client read what was sent: a reset throws away what is still on its way.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()?;
            return Ok(After::Closed);
        }
        Some((_, Cut::Fin)) => return Ok(After::Closed),
        None => {}
    }
    if is_chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    let is_true = matches!(answer.framing, Framing::Length | Framing::Chunked);
    let is_short = matches!(answer.framing, Framing::FalseLength(length) if length < sent.len() as u64);
    // A body longer than announced stays on an open connection, where a careless client would read it as an answer.
    Ok(if is_true || is_short { After::Open } else { After::Closed })
}
