//! Recorded exchanges as files: `replay.jsonl`, one exchange a line, bodies beside it.
//!
//! `{"n","cassette","method","url","status","headers","body_file","body_bytes"[,"request_body"]}`; `body_file` is
//! relative to the file. Bodies are as they were sent: a gzip body is still compressed, and its headers say so.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hambar_core::Validators;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::FetchError;

/// One recorded exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedExchange {
    /// Its number in the file.
    pub n: u64,
    /// The recording session it belongs to.
    #[serde(default)]
    pub cassette: String,
    /// The method.
    pub method: String,
    /// The address, secrets left out.
    pub url: Url,
    /// The status.
    pub status: u16,
    /// The answer's headers as they were written.
    pub headers: BTreeMap<String, String>,
    /// The body's file, relative to the recording.
    pub body_file: String,
    /// The body's length.
    pub body_bytes: u64,
    /// The body of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<String>,
}

impl RecordedExchange {
    /// Returns a header of the answer, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Says whether the provider would have answered 304 to these validators.
    pub(crate) fn is_unchanged(&self, known: &Validators) -> bool {
        let same =
            |name: &str, value: &Option<String>| value.as_deref().is_some_and(|value| self.header(name) == Some(value));
        let is_ok = self.status == 200;
        // If-Modified-Since is not looked at where If-None-Match is there: RFC 9110 §13.1.3.
        is_ok && (same("etag", &known.etag) || (known.etag.is_none() && same("last-modified", &known.last_modified)))
    }
}

/// The exchanges of one file, ready to answer. Identical requests are answered in recorded order, the last one again
/// and again.
#[derive(Debug)]
pub struct Recordings {
    dir: PathBuf,
    exchanges: Vec<RecordedExchange>,
    by_target: HashMap<Target, Vec<usize>>,
    asked: Mutex<HashMap<(usize, usize), usize>>,
}

/// What a request is matched by: the order of query parameters does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Target {
    method: String,
    path: String,
    query: Vec<(String, String)>,
}

impl Target {
    fn new(method: &str, url: &Url) -> Self {
        let mut query: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
        query.sort();
        Self { method: method.to_ascii_uppercase(), path: url.path().to_owned(), query }
    }
}

impl Recordings {
    /// Reads a `replay.jsonl`.
    ///
    /// # Errors
    /// [`FetchError::Config`] naming file and line of what cannot be read.
    pub fn open(file: &Path) -> Result<Self, FetchError> {
        let wrong = |reason: String| FetchError::Config { key: format!("recording {}", file.display()), reason };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let mut exchanges = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let exchange: RecordedExchange =
                serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", index + 1)))?;
            let is_inside =
                Path::new(&exchange.body_file).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside {
                return Err(wrong(format!("line {}: body file `{}` lies outside", index + 1, exchange.body_file)));
            }
            exchanges.push(exchange);
        }
        Ok(Self::new(file.parent().unwrap_or(Path::new(".")).to_path_buf(), exchanges))
    }

    /// Takes exchanges whose bodies lie under `dir`.
    pub fn new(dir: PathBuf, exchanges: Vec<RecordedExchange>) -> Self {
        let mut by_target: HashMap<Target, Vec<usize>> = HashMap::new();
        for (index, exchange) in exchanges.iter().enumerate() {
            by_target.entry(Target::new(&exchange.method, &exchange.url)).or_default().push(index);
        }
        Self { dir, exchanges, by_target, asked: Mutex::new(HashMap::new()) }
    }

    /// Returns all exchanges in recorded order.
    pub fn exchanges(&self) -> &[RecordedExchange] {
        &self.exchanges
    }

    /// Returns the file of an exchange's body.
    pub fn body_path(&self, exchange: &RecordedExchange) -> PathBuf {
        self.dir.join(&exchange.body_file)
    }

    /// Returns the next answer to this request. A HEAD that was not recorded is answered by its GET, without the body.
    ///
    /// Exchanges with the same scheme, host and port come first; where there is none, path and query decide.
    pub fn answer(&self, method: &str, url: &Url, body: &[u8]) -> Option<&RecordedExchange> {
        let by_method = |method: &str| self.by_target.get(&Target::new(method, url));
        let is_head = method.eq_ignore_ascii_case("HEAD");
        let all = by_method(method).or_else(|| if is_head { by_method("GET") } else { None })?;
        let of_body: Vec<usize> = all.iter().copied().filter(|index| self.has_body(*index, body)).collect();
        let is_same_origin =
            |index: &usize| self.exchanges.get(*index).is_some_and(|one| one.url.origin() == url.origin());
        let of_origin: Vec<usize> = of_body.iter().copied().filter(is_same_origin).collect();
        let candidates = if of_origin.is_empty() { of_body } else { of_origin };
        let (first, last) = (*candidates.first()?, *candidates.last()?);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry((first, last)).or_insert(0);
        let index = candidates.get(*count).copied().unwrap_or(last);
        *count += 1;
        self.exchanges.get(index)
    }

    fn has_body(&self, index: usize, body: &[u8]) -> bool {
        let recorded = self.exchanges.get(index).and_then(|exchange| exchange.request_body.as_deref());
        let Some(recorded) = recorded else {
            return true;
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        recorded.as_bytes() == body || json(recorded.as_bytes()).is_some_and(|value| json(body) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(n: u64, method: &str, url: &str, request_body: Option<&str>) -> RecordedExchange {
        RecordedExchange {
            n,
            cassette: String::new(),
            method: method.to_owned(),
            url: url.parse().unwrap(),
            status: 200,
            headers: BTreeMap::from([("ETag".to_owned(), "\"1\"".to_owned())]),
            body_file: "bodies/1".to_owned(),
            body_bytes: 0,
            request_body: request_body.map(str::to_owned),
        }
    }

    #[test]
    fn requests_find_their_exchange() {
        let recordings = Recordings::new(
            PathBuf::new(),
            vec![
                exchange(1, "GET", "http://a.org/x?p=1&q=2", None),
                exchange(2, "GET", "https://a.org/x?p=1&q=2", None),
                exchange(3, "POST", "https://a.org/p", Some(r#"{"a": 1}"#)),
                exchange(4, "GET", "https://a.org/x?q=2&p=1", None),
            ],
        );
        let check = |method: &str, url: &str, body: &str, expected: Option<u64>| {
            let found = recordings.answer(method, &url.parse().unwrap(), body.as_bytes()).map(|exchange| exchange.n);
            assert_eq!(found, expected, "{method} {url} {body}");
        };
        check("GET", "https://a.org/x?q=2&p=1", "", Some(2));
        check("GET", "https://a.org/x?p=1&q=2", "", Some(4));
        check("GET", "https://a.org/x?p=1&q=2", "", Some(4));
        check("GET", "http://a.org/x?q=2&p=1", "", Some(1));
        check("GET", "http://127.0.0.1:1/x?q=2&p=1", "", Some(1));
        check("GET", "http://127.0.0.1:1/x?q=2&p=1", "", Some(2));
        check("HEAD", "https://a.org/x?p=1&q=2", "", Some(4));
        check("GET", "https://a.org/x?p=1", "", None);
        check("POST", "https://a.org/p", r#"{"a":1}"#, Some(3));
        check("POST", "https://a.org/p", r#"{"a":2}"#, None);
        check("HEAD", "https://a.org/p", "", None);
    }

    #[test]
    fn validators_that_still_hold_mean_unchanged() {
        let recorded = exchange(1, "GET", "http://a.org/", None);
        let known = |etag: Option<&str>| Validators { etag: etag.map(str::to_owned), last_modified: None };
        assert!(recorded.is_unchanged(&known(Some("\"1\""))));
        assert!(!recorded.is_unchanged(&known(Some("\"2\""))));
        assert!(!recorded.is_unchanged(&known(None)));
    }

    #[test]
    fn a_recording_that_points_outside_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("replay.jsonl");
        let mut outside = exchange(1, "GET", "http://a.org/", None);
        outside.body_file = "../secret".to_owned();
        std::fs::write(&file, format!("\n{}\n", serde_json::to_string(&outside).unwrap())).unwrap();
        let error = Recordings::open(&file).unwrap_err().to_string();
        assert!(error.ends_with("line 2: body file `../secret` lies outside"), "{error}");
        std::fs::write(&file, "{}").unwrap();
        assert!(Recordings::open(&file).unwrap_err().to_string().contains("line 1: missing field"));
    }
}
