//! Reads one slice: one query, or as many as it takes when the provider finds it too large.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::{Position, Seen, Validators};
use hambar_decode::spec::{Archive, Compression, DecodeJob, FormatKind};
use hambar_fetch::{FetchError, Fetched, Fetcher, Landed, Request};
use url::Url;

use super::answer::{Answer, answer};
use super::dialect::{DataFormat, Dialect, RestVersion};
use super::query::{Part, Service};
use super::shape::{STRUCTURE_BYTES_MAX, Shape, StructureRow, structure_rows};
use super::spec::{ArtefactSpec, SdmxSpec, SplitMode};
use crate::body::web_url;
use crate::client::{Client, EventReader, SliceHash};
use crate::error::ConnectError;
use crate::source::{Page, Proof, Slice, SliceEvent};

/// Longest wait between two looks.
const POLL_LONGEST: Duration = Duration::from_secs(300);
/// Looks before giving up: about four hours.
const POLLS_MAX: u64 = 54;
/// Statuses whose bodies say what is wrong with the query.
const STATUSES_TAKEN: [u16; 6] = [204, 400, 404, 413, 414, 422];

/// The state of reading a slice.
pub(super) struct SdmxReader {
    pub(super) client: Client,
    pub(super) fetch: Fetcher,
    pub(super) spec: SdmxSpec,
    pub(super) service: Service,
    pub(super) job: DecodeJob,
    pub(super) slice: Slice,
    parts: VecDeque<Part>,
    shape: Option<Shape>,
    formats: Vec<DataFormat>,
    format: usize,
    queries: usize,
    is_split: bool,
    is_finished: bool,
    catalogue_date: Option<String>,
    counted: Option<u64>,
    seen: Seen,
    hash: SliceHash,
    pages: u64,
    empty_parts: u64,
    lengths_announced: u64,
    started_at: Option<String>,
    is_begun: bool,
}

/// What came of one query.
enum Outcome {
    Page(Box<Landed>, FormatKind, bool),
    NotModified,
    Empty(String),
    TooLarge(String),
    NextFormat,
}

impl SdmxReader {
    pub(super) fn new(
        client: Client,
        fetch: Fetcher,
        spec: SdmxSpec,
        service: Service,
        job: DecodeJob,
        slice: Slice,
    ) -> Self {
        let updated_after = match &slice.from.position {
            Position::At(instant) if spec.updated_after => Some(instant.to_string()),
            Position::At(_) | Position::Start | Position::End => None,
        };
        let whole = Part {
            key: spec.key.clone(),
            filters: spec.filters.clone(),
            start: spec.start_period.clone(),
            end: spec.end_period.clone(),
            updated_after,
        };
        let formats = spec.format.map_or_else(|| service.dialect.formats.clone(), |format| vec![format]);
        Self {
            client,
            fetch,
            spec,
            service,
            job,
            slice,
            parts: VecDeque::from([whole]),
            shape: None,
            formats,
            format: 0,
            queries: 0,
            is_split: false,
            is_finished: false,
            catalogue_date: None,
            counted: None,
            seen: Seen::default(),
            hash: SliceHash::default(),
            pages: 0,
            empty_parts: 0,
            lengths_announced: 0,
            started_at: None,
            is_begun: false,
        }
    }

    fn setting(what: String) -> ConnectError {
        ConnectError::Setting { setting: "key".to_owned(), what }
    }

    fn whole(&self) -> Part {
        self.parts.front().cloned().unwrap_or_default()
    }

    /// What is asked before the data: the catalogue's date, the count. Returns what proved that nothing changed.
    async fn begin(&mut self) -> Result<Option<String>, ConnectError> {
        if self.spec.resource.is_some() {
            return Ok(None);
        }
        if self.spec.use_catalogue_date
            && let Some(pattern) = self.service.dialect.catalogue_constraint.clone()
        {
            let id = pattern.replace("{flow}", &self.service.flow.id);
            let constraint = ArtefactSpec { id, ..self.service.flow.clone() };
            let url = self.service.structure_url("contentconstraint", &constraint, None).map_err(Self::setting)?;
            let rows = self.structure(url).await?;
            self.catalogue_date = rows.iter().find(|row| row.role == "valid_from").map(|row| row.label.clone());
            let before = self.slice.from.seen.as_ref().and_then(|seen| seen.catalogue_date.as_ref());
            if let (Some(now), Some(before)) = (&self.catalogue_date, before)
                && now == before
            {
                return Ok(Some(format!("catalogue date {now}")));
            }
        }
        if self.spec.prove_count {
            let part = self.with_dimensions(&self.whole()).await?;
            let url = self.service.availability_url(&part, self.dimensions()).map_err(Self::setting)?;
            let rows = self.structure(url.clone()).await?;
            let count = rows.iter().find(|row| row.role == "annotation" && row.code == "obs_count");
            let count = count.and_then(|row| row.label.parse().ok());
            self.counted = Some(count.ok_or_else(|| ConnectError::Protocol {
                url: url.to_string(),
                what: "there is no annotation `obs_count` with a number; leave out `prove_count`".to_owned(),
            })?);
        }
        Ok(None)
    }

    fn dimensions(&self) -> &[String] {
        self.shape.as_ref().map_or(&[], |shape| shape.dimensions.as_slice())
    }

    /// Makes sure that the dimensions are known where the part's address needs them.
    async fn with_dimensions(&mut self, part: &Part) -> Result<Part, ConnectError> {
        // A 2.1 key lists the dimensions in their order, a 3.0 query names them.
        if !part.filters.is_empty() && self.shape.is_none() && self.service.rest == RestVersion::V21 {
            self.shape = Some(self.structure_shape().await?);
        }
        Ok(part.clone())
    }

    async fn structure_shape(&self) -> Result<Shape, ConnectError> {
        let references = Some(self.service.dialect.references.as_str());
        let url = self.service.structure_url("dataflow", &self.service.flow, references).map_err(Self::setting)?;
        let shape = Shape::of_structure(&self.structure(url.clone()).await?);
        if shape.dimensions.is_empty() {
            let what = "the dataflow's structure has no dimensions".to_owned();
            return Err(ConnectError::Protocol { url: url.to_string(), what });
        }
        Ok(shape)
    }

    async fn structure(&self, url: Url) -> Result<Vec<StructureRow>, ConnectError> {
        let mut request = Request::get(url);
        request.headers.push(("accept".to_owned(), Dialect::accept_structure(self.service.rest).to_owned()));
        request.body_bytes_max = Some(STRUCTURE_BYTES_MAX);
        let landed = self.client.fresh(&self.fetch, request).await?;
        structure_rows(&landed, &self.job, &self.service.flow_name()).await
    }

    fn request(&self, part: &Part) -> Result<Request, ConnectError> {
        let (url, accept) = match &self.spec.resource {
            Some(resource) => (
                self.service.structure_url(resource, &self.service.flow, None).map_err(Self::setting)?,
                Some(Dialect::accept_structure(self.service.rest).to_owned()),
            ),
            None => {
                let format = self.formats[self.format];
                let accept = self.service.dialect.accept_data(format, self.service.rest);
                let accept = Some(accept).filter(|_| !self.service.dialect.format_parameters.contains_key(&format));
                (self.service.data_url(part, format, self.dimensions()).map_err(Self::setting)?, accept)
            }
        };
        let mut request = Request::get(url);
        request.headers.extend(accept.map(|accept| ("accept".to_owned(), accept)));
        request.accept_status = STATUSES_TAKEN.to_vec();
        request.body_bytes_max = self.spec.body_bytes_max;
        request.resumable = true;
        let is_whole = !self.is_split && part.updated_after.is_none();
        if let Some(seen) = self.slice.from.seen.as_ref().filter(|_| is_whole) {
            request.validators = seen.validators.clone();
        }
        Ok(request)
    }

    /// Sends the query of one part and finds out what it brought.
    async fn query(&mut self, part: &Part) -> Result<Outcome, ConnectError> {
        let part = self.with_dimensions(part).await?;
        let request = self.request(&part)?;
        if self.is_split && request.url.as_str().len() > self.service.dialect.url_bytes_max {
            return Ok(Outcome::TooLarge(format!("an address of {} bytes", request.url.as_str().len())));
        }
        self.queries += 1;
        let url = request.url.to_string();
        if self.queries > self.spec.split.parts_max {
            let value = self.spec.split.parts_max as u64;
            return Err(ConnectError::Limit { url, limit: "queries of one slice (`split.parts_max`)", value });
        }
        let landed = match self.client.send(&self.fetch, request).await {
            Ok(Fetched::Fresh(landed)) => landed,
            Ok(Fetched::NotModified(_)) => return Ok(Outcome::NotModified),
            Err(ConnectError::Fetch { source: FetchError::Status { status: 413 | 414, body, .. }, .. }) => {
                return Ok(Outcome::TooLarge(body));
            }
            Err(ConnectError::Fetch { source: FetchError::Status { status: 406 | 415, .. }, .. })
                if self.format + 1 < self.formats.len() && self.pages == 0 =>
            {
                return Ok(Outcome::NextFormat);
            }
            Err(error) => return Err(error),
        };
        self.take_answer(landed).await
    }

    async fn take_answer(&mut self, mut landed: Landed) -> Result<Outcome, ConnectError> {
        let mut looks = 0;
        let mut wait = Duration::from_secs(self.service.dialect.poll_seconds);
        loop {
            let url = landed.meta.url.clone();
            let next = match answer(&landed).await? {
                Answer::Data { kind, is_zip } => return Ok(Outcome::Page(Box::new(landed), kind, is_zip)),
                Answer::Empty(text) => return Ok(Outcome::Empty(text)),
                Answer::TooLarge(text) => return Ok(Outcome::TooLarge(text)),
                Answer::Refused { code, text } => return Err(ConnectError::Reported { url, code, text }),
                Answer::Strange(what) => {
                    return Err(ConnectError::Protocol { url, what: format!("it is {what}, not an SDMX message") });
                }
                Answer::Later(address) => self.same_host(&url, &address)?,
                Answer::Queued(key) => self.of_key(&url, self.service.dialect.async_status.as_deref(), &key)?,
                Answer::Ready => {
                    let data = self.service.dialect.async_data.clone();
                    let key = url.rsplit('/').next().unwrap_or_default().to_owned();
                    let ready = self.of_key(&url, data.as_deref(), &key)?;
                    landed = self.client.fresh(&self.fetch, Request::get(ready)).await?;
                    continue;
                }
            };
            landed = loop {
                looks += 1;
                if looks > POLLS_MAX {
                    return Err(ConnectError::Limit {
                        url,
                        limit: "looks for an asynchronous answer",
                        value: POLLS_MAX,
                    });
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(POLL_LONGEST);
                let mut request = Request::get(next.clone());
                request.accept_status = vec![202, 204, 404];
                let found = self.client.fresh(&self.fetch, request).await?;
                if found.meta.status.unwrap_or(200) == 200 {
                    break found;
                }
            };
        }
    }

    /// An address inside an answer is followed only on the provider's own host, and never from https down to http.
    fn same_host(&self, url: &str, address: &str) -> Result<Url, ConnectError> {
        let wrong = |what: String| ConnectError::Protocol { url: url.to_owned(), what };
        let own = web_url(&self.service.endpoint).map_err(wrong)?;
        let mut target = web_url(address).map_err(wrong)?;
        if own.scheme() == "https" && target.scheme() == "http" && target.set_scheme("https").is_err() {
            return Err(wrong(format!("it refers to `{address}`, which cannot be asked over https")));
        }
        if own.host_str() != target.host_str() || own.port_or_known_default() != target.port_or_known_default() {
            return Err(wrong(format!("it refers to `{address}`, which is not on the provider's host")));
        }
        Ok(target)
    }

    fn of_key(&self, url: &str, pattern: Option<&str>, key: &str) -> Result<Url, ConnectError> {
        let wrong = |what: String| ConnectError::Protocol { url: url.to_owned(), what };
        let pattern = pattern.ok_or_else(|| {
            wrong("the answer comes later, and the dialect does not say where (`async_status`)".to_owned())
        })?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(wrong(format!("`{key}` is not the key of an asynchronous answer")));
        }
        web_url(&pattern.replace("{key}", key)).map_err(wrong)
    }

    /// Replaces a part by two halves.
    async fn split(&mut self, part: Part, reason: &str) -> Result<(), ConnectError> {
        let url = self.service.endpoint.clone();
        let refused = |what: &str| ConnectError::Reported {
            url: url.clone(),
            code: "too large".to_owned(),
            text: format!("{reason} ({what})"),
        };
        if self.spec.split.mode == SplitMode::Never || self.spec.resource.is_some() {
            return Err(refused("`split.mode` is `never`"));
        }
        if !self.is_split {
            let mut shape = match self.shape.take() {
                Some(shape) => shape,
                None => self.structure_shape().await?,
            };
            if self.service.dialect.availability {
                let url = self.service.availability_url(&part, &shape.dimensions).map_err(Self::setting)?;
                shape.narrow(&self.structure(url).await?);
            }
            self.shape = Some(shape);
            self.is_split = true;
        }
        let part = self.service.take_apart(&part, self.dimensions()).map_err(Self::setting)?;
        let dimension = self.spec.split.dimension.as_deref();
        let halves = self.shape.as_ref().and_then(|shape| shape.halve(&part, dimension));
        let (left, right) = halves.ok_or_else(|| {
            refused(&format!("no split is left: {} is one series in one year", part.text(&self.service.flow_name())))
        })?;
        self.parts.push_front(right);
        self.parts.push_front(left);
        Ok(())
    }

    fn page(&mut self, landed: Landed, kind: FormatKind, is_zip: bool) -> SliceEvent {
        self.pages += 1;
        self.hash.add(&landed.sha256);
        self.seen.length += landed.bytes;
        self.seen.validators =
            if self.pages == 1 && !self.is_split { landed.meta.validators() } else { Validators::default() };
        self.lengths_announced += u64::from(landed.meta.header("content-length").is_some());
        let mut job = self.job.clone();
        job.format.kind = kind;
        if is_zip {
            job.format.archive = Some(Archive::Zip);
            job.format.compression = Some(Compression::None);
            job.format.members.get_or_insert_with(|| "*".to_owned());
        }
        SliceEvent::Page(Box::new(Page { landed, job, records_announced: None }))
    }

    fn end(&mut self) -> SliceEvent {
        let mut evidence = format!(
            "{} of {} answers with content length, each message read to its end",
            self.lengths_announced, self.pages
        );
        if self.is_split {
            evidence.push_str(&format!(
                ", split into {} parts of which {} are empty",
                self.pages + self.empty_parts,
                self.empty_parts
            ));
        }
        self.seen.sha256 = self.hash.finish();
        self.seen.catalogue_date = self.catalogue_date.take();
        let reached = match (&self.started_at, self.spec.updated_after) {
            (Some(instant), true) => Position::At(instant.as_str().into()),
            _ => Position::End,
        };
        let proof = Proof { evidence, records_announced: self.counted };
        SliceEvent::End { proof, reached, seen: self.seen.clone() }
    }

    fn unchanged(&mut self, evidence: String) -> SliceEvent {
        self.is_finished = true;
        SliceEvent::Unchanged { evidence }
    }

    fn is_same(&self, landed: &Landed) -> bool {
        let before = self.slice.from.seen.as_ref().map(|seen| seen.sha256.as_str());
        !self.is_split && self.pages == 0 && before == Some(landed.sha256.as_str())
    }
}

#[async_trait]
impl EventReader for SdmxReader {
    async fn next(&mut self) -> Result<Option<SliceEvent>, ConnectError> {
        if self.is_finished {
            return Ok(None);
        }
        if !self.is_begun {
            self.is_begun = true;
            if let Some(evidence) = self.begin().await? {
                return Ok(Some(self.unchanged(evidence)));
            }
        }
        while let Some(part) = self.parts.pop_front() {
            match self.query(&part).await? {
                Outcome::NotModified => return Ok(Some(self.unchanged("304".to_owned()))),
                Outcome::Page(landed, kind, is_zip) => {
                    let started_at = landed.meta.started_at.to_string();
                    self.started_at.get_or_insert(started_at);
                    if self.is_same(&landed) {
                        return Ok(Some(self.unchanged("sha256".to_owned())));
                    }
                    return Ok(Some(self.page(*landed, kind, is_zip)));
                }
                Outcome::Empty(_) if self.is_split => self.empty_parts += 1,
                Outcome::Empty(_) if part.updated_after.is_some() => {
                    return Ok(Some(self.unchanged("updatedAfter: nothing since".to_owned())));
                }
                Outcome::Empty(text) => {
                    let url = self.service.endpoint.clone();
                    return Err(ConnectError::Reported { url, code: "no results".to_owned(), text });
                }
                Outcome::TooLarge(reason) => self.split(part, &reason).await?,
                Outcome::NextFormat => {
                    self.format += 1;
                    self.parts.push_front(part);
                }
            }
        }
        self.is_finished = true;
        Ok(Some(self.end()))
    }
}
