//! Writes the exchanges that pass through it in the form that [`crate::Replay`] reads.
//!
//! Bodies are written as they were landed, without transfer encoding, so headers that speak of the encoded bytes are
//! left out. Of an error answer only the beginning of its text is there to be written. Secrets never arrive here.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use url::Url;

use crate::error::FetchError;
use crate::exchange::{ExchangeSink, FetchMeta};
use crate::recording::RecordedExchange;
use crate::redact::shown_url;
use crate::request::{Fetched, Landed, Request, Transport};

/// Headers that are untrue of the decoded bytes.
const ENCODED_HEADERS: [&str; 7] = [
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "digest",
    "repr-digest",
    "transfer-encoding",
];

/// Wraps a transport and records its exchanges into a folder.
#[derive(Debug)]
pub struct Record<T> {
    inner: T,
    writer: Arc<Writer>,
}

/// Appends to one recording.
#[derive(Debug)]
struct Writer {
    dir: PathBuf,
    written: Mutex<u64>,
}

impl<T> Record<T> {
    /// Records into `dir/replay.jsonl` and `dir/bodies/`; goes on with a recording that is there.
    ///
    /// # Errors
    /// [`FetchError::Config`] when the folder cannot be used.
    pub fn new(inner: T, dir: PathBuf) -> Result<Self, FetchError> {
        let unusable = |error: std::io::Error| FetchError::Config {
            key: format!("recording {}", dir.display()),
            reason: format!("cannot be written: {error}"),
        };
        std::fs::create_dir_all(dir.join("bodies")).map_err(unusable)?;
        let there = match std::fs::read_to_string(dir.join("replay.jsonl")) {
            Ok(text) => text.lines().count() as u64,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(unusable(error)),
        };
        Ok(Self { inner, writer: Arc::new(Writer { dir, written: Mutex::new(there) }) })
    }
}

impl Writer {
    /// Writes one exchange; blocking, the body is copied.
    fn write(&self, meta: &FetchMeta, request: &Request, body: Body) -> std::io::Result<()> {
        let (Some(status), Ok(url)) = (meta.status, Url::parse(&without_masked(&meta.final_url))) else {
            return Ok(());
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let n = *written + 1;
        let body_file = format!("bodies/{n:04}.bin");
        let path = self.dir.join(&body_file);
        let body_bytes = match body {
            Body::File(landed) => std::fs::copy(&landed.path, &path)?,
            Body::Text(text) => {
                std::fs::write(&path, &text)?;
                text.len() as u64
            }
        };
        let exchange = RecordedExchange {
            n,
            cassette: meta.started_at.to_string(),
            method: meta.method.clone(),
            url,
            status,
            headers: joined_headers(&meta.headers),
            body_file,
            body_bytes,
            request_body: request.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()),
        };
        let line = serde_json::to_string(&exchange)?;
        let mut file = std::fs::File::options().create(true).append(true).open(self.dir.join("replay.jsonl"))?;
        writeln!(file, "{line}")?;
        *written = n;
        Ok(())
    }
}

enum Body {
    File(Box<Landed>),
    Text(String),
}

/// Drops query parameters whose values were masked, from URLs and from headers that hold some: whoever replays has no
/// secrets.
fn without_masked(text: &str) -> String {
    let mut clean = text.to_owned();
    while let Some(mask) = clean.find("=***") {
        let Some(begin) = clean[..mask].rfind(['?', '&']) else {
            return clean;
        };
        let end = mask + "=***".len();
        // `?key=***&b` becomes `?b`, `?a&key=***` becomes `?a`.
        let is_first_of_more = clean[begin..].starts_with('?') && clean[end..].starts_with('&');
        let range = if is_first_of_more { begin + 1..end + 1 } else { begin..end };
        clean.replace_range(range, "");
    }
    clean
}

fn joined_headers(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !ENCODED_HEADERS.contains(&name.as_str())) {
        let value = without_masked(value);
        joined
            .entry(name.clone())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

#[async_trait]
impl<T: Transport> Transport for Record<T> {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let heard = Heard { sink, exchanges: Mutex::new(Vec::new()) };
        let outcome = self.inner.send(request.clone(), &heard).await;
        if request.is_confidential {
            return outcome;
        }
        let mut exchanges = heard.exchanges.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = exchanges.pop() else {
            return outcome;
        };
        let body = match &outcome {
            Ok(Fetched::Fresh(landed)) => Body::File(Box::new(landed.clone())),
            Err(FetchError::Status { body, .. }) => Body::Text(body.clone()),
            Ok(Fetched::NotModified(_)) | Err(_) => Body::Text(String::new()),
        };
        let shown = shown_url(&request.url);
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            for hop in &exchanges {
                writer.write(hop, &request, Body::Text(String::new()))?;
            }
            writer.write(&last, &request, body)
        });
        let written = written.await.map_err(std::io::Error::other).and_then(|outcome| outcome);
        written.map_err(|source| FetchError::Landing { url: shown, source: Box::new(source) })?;
        outcome
    }
}

/// Hears the exchanges of one request on their way to the run.
#[derive(Debug)]
struct Heard<'a> {
    sink: &'a dyn ExchangeSink,
    exchanges: Mutex<Vec<FetchMeta>>,
}

impl ExchangeSink for Heard<'_> {
    fn record(&self, exchange: FetchMeta) {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange.clone());
        self.sink.record(exchange);
    }

    fn progress(&self, bytes: u64) {
        self.sink.progress(bytes);
    }

    fn waiting(&self, reason: Option<&str>) {
        self.sink.waiting(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_parameters_are_dropped() {
        let check = |text: &str, expected: &str| assert_eq!(without_masked(text), expected);
        check("https://a.org/x?key=***", "https://a.org/x");
        check("/x?key=***&b=1", "/x?b=1");
        check("/x?b=1&key=***", "/x?b=1");
        check("/x?b=1&key=***&token=***&c", "/x?b=1&c");
        check("<https://a.org/?key=***&p=2>; rel=\"next\"", "<https://a.org/?p=2>; rel=\"next\"");
        check("=***", "=***");
    }
}
