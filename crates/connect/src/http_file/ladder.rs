//! Reads one file along the change ladder: catalogue mark, HEAD, conditional request, content hash. What proved that
//! nothing changed is told; what arrives is checked against everything that was announced.

use async_trait::async_trait;
use hambar_core::{Classified, ErrorClass, Position, Seen, SliceState, Validators};
use hambar_decode::spec::{DecodeJob, FormatKind};
use hambar_fetch::{FetchError, Fetched, Fetcher, Landed, Request};
use url::Url;

use super::manifest::FileEntry;
use super::spec::{Missing, Probe};
use crate::body::{self, Looks};
use crate::client::{Client, EventReader};
use crate::error::ConnectError;
use crate::source::{Page, Proof, SliceEvent};

/// How files are fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileRules {
    pub(crate) probe: Probe,
    pub(crate) missing: Missing,
    pub(crate) ignore_content_type: bool,
    pub(crate) body_bytes_max: Option<u64>,
}

/// Reads one file.
pub(crate) struct FileReader {
    client: Client,
    fetch: Fetcher,
    rules: FileRules,
    job: DecodeJob,
    entry: FileEntry,
    url: Url,
    before: Option<Seen>,
    step: Step,
}

enum Step {
    Ask,
    Finish(Box<SliceEvent>),
    Done,
}

/// What asking for the file gave.
enum Answer {
    Fresh(Box<Landed>),
    Unchanged(&'static str),
    Absent(u16),
}

impl FileReader {
    /// Starts reading; no request is sent yet.
    pub(crate) fn new(
        client: Client,
        fetch: Fetcher,
        rules: FileRules,
        job: DecodeJob,
        entry: FileEntry,
        from: SliceState,
    ) -> Result<Self, ConnectError> {
        let url = body::web_url(&entry.url).map_err(|what| ConnectError::Protocol { url: entry.url.clone(), what })?;
        // A slice that brought nothing before (a file that was missing) has nothing to compare with.
        let before = from.seen.filter(|seen| !seen.sha256.is_empty());
        Ok(Self { client, fetch, rules, job, entry, url, before, step: Step::Ask })
    }

    async fn ask(&self) -> Result<Answer, ConnectError> {
        if let Some(evidence) = self.catalogue_evidence() {
            return Ok(Answer::Unchanged(evidence));
        }
        if let Some(evidence) = self.head_evidence().await? {
            return Ok(Answer::Unchanged(evidence));
        }
        let mut request = Request::get(self.url.clone());
        request.resumable = true;
        request.body_bytes_max = self.rules.body_bytes_max;
        if let Some(before) = &self.before {
            request.validators = before.validators.clone();
        }
        let sent_validators = request.validators != Validators::default();
        match self.client.send(&self.fetch, request).await {
            Ok(Fetched::Fresh(landed)) => self.compare(landed),
            Ok(Fetched::NotModified(_)) if sent_validators => Ok(Answer::Unchanged("304")),
            Ok(Fetched::NotModified(_)) => Err(self.protocol("304 to a request without validators".to_owned())),
            Err(ConnectError::Fetch { source: FetchError::Status { status: status @ (404 | 410), .. }, .. })
                if self.rules.missing == Missing::Skip && self.before.is_none() =>
            {
                Ok(Answer::Absent(status))
            }
            Err(error) => Err(error),
        }
    }

    fn catalogue_evidence(&self) -> Option<&'static str> {
        let before = self.before.as_ref()?;
        if self.entry.sha256.as_ref() == Some(&before.sha256) {
            return Some("catalogue sha256");
        }
        let same_mark = self.entry.mark.is_some() && self.entry.mark == before.catalogue_date;
        let same_size = self.entry.size.is_none_or(|size| size == before.length);
        (self.entry.trust_mark && same_mark && same_size).then_some("catalogue date")
    }

    async fn head_evidence(&self) -> Result<Option<&'static str>, ConnectError> {
        let (Some(before), Probe::Head | Probe::Length) = (&self.before, self.rules.probe) else { return Ok(None) };
        let mut request = Request::get(self.url.clone());
        request.method = http::Method::HEAD;
        let answer = match self.client.send(&self.fetch, request).await {
            Ok(Fetched::Fresh(landed)) => landed.meta,
            Ok(Fetched::NotModified(_)) => return Ok(None),
            // Many servers refuse HEAD (403, 405, 501): the download decides then.
            Err(error) if error.class() == ErrorClass::Refused => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        // A compressed transfer announces another length than that of the file.
        let is_plain = answer.header("content-encoding").is_none_or(|encoding| encoding == "identity");
        let same_length = is_plain && length == Some(before.length);
        let now = answer.validators();
        let same_etag = now.etag.is_some() && now.etag == before.validators.etag;
        let same_date = now.last_modified.is_some() && now.last_modified == before.validators.last_modified;
        Ok(match self.rules.probe {
            Probe::Head if same_etag || (same_date && same_length) => Some("head"),
            Probe::Length if same_length => Some("length"),
            Probe::None | Probe::Head | Probe::Length => None,
        })
    }

    fn compare(&self, landed: Landed) -> Result<Answer, ConnectError> {
        if self.before.as_ref().is_some_and(|before| before.sha256 == landed.sha256) {
            return Ok(Answer::Unchanged("sha256"));
        }
        Ok(Answer::Fresh(Box::new(landed)))
    }

    /// Checks what arrived and says in words what proves it complete.
    async fn verify(&self, landed: &Landed) -> Result<String, ConnectError> {
        let looks = body::landed_looks(landed).await?;
        let is_ndjson = self.job.format.kind == FormatKind::Ndjson;
        let had_rows = self.before.as_ref().is_some_and(|before| before.length > 0);
        if looks == Looks::Empty && (had_rows || !is_ndjson) {
            let announced = match &self.before {
                Some(before) => format!("{} rows in the last run", before.rows),
                None => "a file with data".to_owned(),
            };
            return Err(self.incomplete(announced, format!("an empty answer of {} bytes", landed.bytes)));
        }
        if looks == Looks::Html {
            return Err(self.protocol("the body is a web page (HTML), not data".to_owned()));
        }
        if !self.rules.ignore_content_type && body::is_labelled_html(landed) {
            return Err(self.protocol(
                "the answer calls itself text/html, not data; set `source.ignore_content_type` if the label is wrong"
                    .to_owned(),
            ));
        }
        let mut evidence = vec![match landed.meta.header("content-length") {
            Some(length) => format!("content length {length}"),
            None => format!("{} bytes, transfer ended properly", landed.bytes),
        }];
        if let Some(size) = self.entry.size {
            if size != landed.bytes && size != landed.meta.bytes_wire {
                return Err(self.incomplete(format!("{size} bytes by the manifest"), format!("{} bytes", landed.bytes)));
            }
            evidence.push(format!("manifest size {size}"));
        }
        if let Some(sha256) = &self.entry.sha256 {
            if *sha256 != landed.sha256 {
                return Err(self.incomplete(format!("sha256 {sha256}"), format!("sha256 {}", landed.sha256)));
            }
            evidence.push("manifest sha256".to_owned());
        }
        if let Some(md5) = &self.entry.md5 {
            let received = body::md5_hex(landed).await?;
            if *md5 != received {
                return Err(self.incomplete(format!("md5 {md5}"), format!("md5 {received}")));
            }
            evidence.push("manifest md5".to_owned());
        }
        Ok(evidence.join(", "))
    }

    fn fresh_events(&self, landed: Landed, evidence: String) -> (SliceEvent, SliceEvent) {
        let mut job = self.job.clone();
        job.constants.extend(self.entry.constants.clone());
        let seen = Seen {
            sha256: landed.sha256.clone(),
            length: landed.bytes,
            validators: landed.meta.validators(),
            catalogue_date: self.entry.mark.clone(),
            rows: 0,
        };
        let end = SliceEvent::End { proof: Proof { evidence, records_announced: None }, reached: Position::End, seen };
        (SliceEvent::Page(Box::new(Page { landed, job, records_announced: None })), end)
    }

    fn protocol(&self, what: String) -> ConnectError {
        ConnectError::Protocol { url: self.url.to_string(), what }
    }

    fn incomplete(&self, announced: String, received: String) -> ConnectError {
        ConnectError::Incomplete { url: self.url.to_string(), announced, received }
    }
}

#[async_trait]
impl EventReader for FileReader {
    async fn next(&mut self) -> Result<Option<SliceEvent>, ConnectError> {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Done => Ok(None),
            Step::Finish(event) => Ok(Some(*event)),
            Step::Ask => match self.ask().await? {
                Answer::Unchanged(evidence) => Ok(Some(SliceEvent::Unchanged { evidence: evidence.to_owned() })),
                Answer::Absent(status) => Ok(Some(SliceEvent::End {
                    proof: Proof { evidence: format!("{status}: the file is not there"), records_announced: None },
                    reached: Position::Start,
                    seen: Seen::default(),
                })),
                Answer::Fresh(landed) => {
                    let evidence = self.verify(&landed).await?;
                    let (page, end) = self.fresh_events(*landed, evidence);
                    self.step = Step::Finish(Box::new(end));
                    Ok(Some(page))
                }
            },
        }
    }
}
