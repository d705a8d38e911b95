//! A plain HTTP/1.1 client: what came, and whether it came to its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its announced end.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Expects success; returns the answer.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status == 200 && self.is_whole, "{} {}", self.status, self.text());
        self
    }

    /// Expects a problem with this status and class; returns its text.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, class: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json()["class"], class, "{}", self.text());
        self.text()
    }

    /// The only value of an answer in JSON.
    #[track_caller]
    pub(crate) fn value(self) -> String {
        let answer = self.ok().json();
        let row = answer["rows"][0].as_object().unwrap_or_else(|| panic!("{answer}"));
        row.values().next().unwrap().to_string()
    }
}

/// Sends a request on a connection of its own and reads the answer to its end.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = start(address, method, target, headers, body);
    let mut bytes = Vec::new();
    // An answer that is cut off may end in a reset.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

/// Sends a request and leaves the answer to the caller.
pub(crate) fn start(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    let mut head = format!("{method} {} HTTP/1.1\r\nconnection: close\r\n", escaped(target));
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: test\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    // A server may refuse a request before it has read all of it.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    stream
}

/// The characters of statements that an address cannot hold, or means otherwise.
fn escaped(target: &str) -> String {
    let mut text = String::new();
    for character in target.chars() {
        match character {
            ' ' | '"' | '<' | '>' | '+' | '#' | '\n' => text.push_str(&format!("%{:02X}", character as u32)),
            character if !character.is_ascii() => {
                let mut bytes = [0; 4];
                text.extend(character.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
            }
            _ => text.push(character),
        }
    }
    text
}

/// Understands an answer that came to its end.
pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let (body, is_whole) = if find("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        chunks(rest)
    } else if let Some(length) = find("content-length") {
        (rest.to_vec(), rest.len() == length.parse::<usize>().unwrap())
    } else {
        (rest.to_vec(), rest.is_empty())
    };
    Answer { status, headers, body, is_whole }
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(length) = length else { return (body, false) };
        rest = &rest[end + 2..];
        if length == 0 {
            return (body, true);
        }
        if rest.len() < length + 2 {
            body.extend_from_slice(rest);
            return (body, false);
        }
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}
