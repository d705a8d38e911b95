//! A transport that answers from a script held in memory, and what tests need around it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use hambar_connect::{ConnectError, SecretRef, SecretResolver, Slice, SliceEvent, Source, SourceSpec};
use hambar_core::{Checkpoint, Classified, Clock, Seen, SliceState};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::{ExchangeSink, FetchError, FetchMeta, Fetched, Fetcher, Landed, Request, Secret, Transport};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// One scripted answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

/// Answers by `METHOD url` (and body); several answers for one request come one after the other, the last for ever.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    script: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    log: Mutex<Vec<String>>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// `request` is a URL (GET), or `METHOD url [body]`.
    pub(crate) fn on(self: &Arc<Self>, request: &str, answer: Answer) -> Arc<Self> {
        let key = if request.starts_with("http") { format!("GET {request}") } else { request.to_owned() };
        self.script.lock().unwrap().entry(key).or_default().push_back(answer);
        self.clone()
    }

    pub(crate) fn json(self: &Arc<Self>, request: &str, body: &str) -> Arc<Self> {
        self.on(request, Answer::new(body).header("content-type", "application/json"))
    }

    /// Requests so far, with validators and secrets, and forgets them.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub(crate) fn fetcher(self: &Arc<Self>) -> Fetcher {
        Fetcher::new(self.clone(), Arc::new(Silent))
    }

    /// Answers from a folder of recorded exchanges; `None` where `../shared` is missing.
    pub(crate) fn recorded(folder: &str) -> Option<Arc<Self>> {
        let folder = shared()?.join("data").join(folder);
        let memory = Self::new();
        for line in std::fs::read_to_string(folder.join("replay.jsonl")).unwrap().lines() {
            let exchange: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| exchange[name].as_str().unwrap_or_default().to_owned();
            let mut body = std::fs::read(folder.join(text("body_file"))).unwrap();
            let headers = exchange["headers"].as_object().unwrap();
            let headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            if headers.iter().any(|(name, value)| name == "content-encoding" && value == "gzip") {
                let mut plain = Vec::new();
                flate2::read::MultiGzDecoder::new(body.as_slice()).read_to_end(&mut plain).unwrap();
                body = plain;
            }
            let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
            let url: url::Url = text("url").parse().unwrap();
            memory.on(&format!("{} {url}", text("method")), Answer { status, headers, body });
        }
        Some(memory)
    }
}

/// The folder of real data, if it is there.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if folder.join("data").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "../shared must be there in CI");
    println!("skipped: no ../shared");
    None
}

#[async_trait]
impl Transport for Memory {
    async fn send(&self, request: Request, _sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let mut key = format!("{} {}", request.method, request.url);
        if let Some(body) = &request.body {
            write!(key, " {}", String::from_utf8_lossy(body)).unwrap();
        }
        let mut entry = key.clone();
        for (name, value) in &request.secret_headers {
            write!(entry, " [{name}: {}]", value.expose()).unwrap();
        }
        for (name, value) in &request.secret_query {
            write!(entry, " [?{name}={}]", value.expose()).unwrap();
        }
        for (name, value) in request.headers.iter().filter(|(name, _)| name.starts_with("x-")) {
            write!(entry, " [{name}: {value}]").unwrap();
        }
        if let Some(etag) = &request.validators.etag {
            write!(entry, " [if-none-match: {etag}]").unwrap();
        }
        self.log.lock().unwrap().push(entry);
        let answer = {
            let mut script = self.script.lock().unwrap();
            let Some(answers) = script.get_mut(&key) else {
                return Err(FetchError::NotRecorded {
                    method: request.method.to_string(),
                    url: request.url.to_string(),
                });
            };
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        };
        answer_with(&request, answer)
    }
}

fn answer_with(request: &Request, answer: Answer) -> Result<Fetched, FetchError> {
    let etag = answer.headers.iter().find(|(name, _)| name == "etag").map(|(_, value)| value.clone());
    let mut meta = FetchMeta {
        started_at: Timestamp::UNIX_EPOCH,
        method: request.method.to_string(),
        url: request.url.to_string(),
        final_url: request.url.to_string(),
        status: Some(answer.status),
        attempt: 1,
        request_headers: Vec::new(),
        headers: answer.headers,
        bytes_wire: answer.body.len() as u64,
        bytes: answer.body.len() as u64,
        milliseconds: 1,
        sha256: None,
        error: None,
    };
    if etag.is_some() && etag == request.validators.etag {
        return Ok(Fetched::NotModified(meta));
    }
    if answer.status != 200 && !request.accept_status.contains(&answer.status) {
        let body = String::from_utf8_lossy(&answer.body).chars().take(500).collect();
        let url = request.url.to_string();
        return Err(FetchError::Status { url, status: answer.status, retry_after: None, body });
    }
    let body = if request.method == http::Method::HEAD { Vec::new() } else { answer.body };
    let sha256: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&body).unwrap();
    let spool = file.into_temp_path();
    meta.sha256 = Some(sha256.clone());
    let path = spool.to_path_buf();
    Ok(Fetched::Fresh(Landed { sha256, bytes: body.len() as u64, path, spool: Some(Arc::new(spool)), meta }))
}

#[derive(Debug)]
struct Silent;

impl ExchangeSink for Silent {
    fn record(&self, _exchange: FetchMeta) {}
    fn progress(&self, _bytes: u64) {}
    fn waiting(&self, _reason: Option<&str>) {}
}

/// The run's instant.
pub(crate) const NOW: &str = "2024-03-02T06:00:00Z";

#[derive(Debug)]
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }
}

/// Resolves `{ env = "X" }` to `secret-of-X`.
pub(crate) struct Secrets;

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, ConnectError> {
        match reference {
            SecretRef::Env(name) => Ok(Secret::new(format!("secret-of-{name}"))),
            SecretRef::File(path) => Err(ConnectError::Setting {
                setting: "auth".to_owned(),
                what: format!("the file `{}` cannot be read", path.display()),
            }),
        }
    }
}

pub(crate) fn job(format: &str) -> DecodeJob {
    DecodeJob::new(toml::from_str(format).unwrap(), Vec::new())
}

/// Builds the source of a `[source]` section.
pub(crate) fn build(source: &str, format: &str) -> Arc<dyn Source> {
    let spec: SourceSpec = toml::from_str(source).unwrap();
    spec.build(&Secrets, &"t.t".parse().unwrap(), job(format), Arc::new(Fixed)).unwrap()
}

/// Plans from `done` and reads everything; the text tells events line by line. `done` is moved on as a run would.
pub(crate) async fn run(source: &dyn Source, memory: &Arc<Memory>, done: &mut Checkpoint) -> String {
    let fetcher = memory.fetcher();
    let plan = match source.plan(done, &fetcher).await {
        Ok(plan) => plan,
        Err(error) => return format!("plan: {}\n", told(&error)),
    };
    let mut text = String::new();
    for slice in plan.slices {
        let id = slice.id.clone();
        let (told, state) = read(source, slice, &fetcher).await;
        text.push_str(&told);
        if let Some(state) = state {
            done.slices.insert(id, state);
        }
    }
    text
}

async fn read(source: &dyn Source, slice: Slice, fetcher: &Fetcher) -> (String, Option<SliceState>) {
    let (mut text, mut rows) = (String::new(), 0);
    let mut events = source.read(slice, fetcher.clone());
    while let Some(event) = events.next().await {
        match event {
            Ok(SliceEvent::Page(page)) => {
                rows += page.records_announced.unwrap_or(1);
                let body = std::fs::read_to_string(&page.landed.path).unwrap_or_else(|_| "(binary)".to_owned());
                let body: String = body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
                let constants: Vec<String> =
                    page.job.constants.iter().map(|(name, value)| format!("{name}={value} ")).collect();
                let records = page.records_announced.map_or(String::new(), |records| format!("{records} records: "));
                writeln!(text, "page {}{records}{body}", constants.concat()).unwrap();
            }
            Ok(SliceEvent::Unchanged { evidence }) => writeln!(text, "unchanged: {evidence}").unwrap(),
            Ok(SliceEvent::End { proof, reached, seen }) => {
                writeln!(text, "end: {}", proof.evidence).unwrap();
                return (text, Some(SliceState { position: reached, seen: Some(Seen { rows, ..seen }) }));
            }
            Err(error) => writeln!(text, "{}", told(&error)).unwrap(),
        }
    }
    (text, None)
}

pub(crate) fn told(error: &ConnectError) -> String {
    format!("{}: {}", error.class(), hambar_core::Chain(error))
}

/// Runs once from the start and compares.
pub(crate) async fn check(source: &str, memory: &Arc<Memory>, expected: &str) {
    let built = build(source, "kind = \"json\"");
    let found = run(built.as_ref(), memory, &mut Checkpoint::default()).await;
    assert_eq!(found.trim_end(), expected.trim_end(), "requests: {:#?}", memory.requests());
}
