//! Reads one slice page by page: ask, look, compare, move on. The deciding is done in `pager.rs`, `windows.rs`,
//! `tally.rs` and `position.rs`; here is the order of things.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use hambar_core::{Position, Seen, Validators};
use hambar_fetch::{FetchError, Fetched, Fetcher, Landed, Request};
use jiff::Timestamp;

use super::csv_pages;
use super::envelope::{self, Envelope};
use super::pager::{Advance, PageFacts, Pager};
use super::paging::PaginationSpec;
use super::position;
use super::request::{Ask, RequestShape};
use super::tally::Tally;
use super::windows::Windows;
use super::{Role, Shape};
use crate::body::{self, Looks, blocking};
use crate::client::{Client, EventReader};
use crate::error::ConnectError;
use crate::json::Scalar;
use crate::source::{Page, Proof, Slice, SliceEvent};

/// Pages that are held back while it is still possible that nothing has changed.
const HELD_PAGES_MAX: usize = 64;

/// Reads one slice.
pub(crate) struct PageReader {
    shape: Arc<Shape>,
    client: Client,
    fetch: Fetcher,
    variables: BTreeMap<String, String>,
    before: Option<Seen>,
    /// The position before this run, where later runs ask only for what is new.
    position: Option<String>,
    since: Option<(String, String)>,
    started: Timestamp,
    pager: Pager,
    windows: Option<Windows>,
    tally: Tally,
    first: First,
    held: VecDeque<Page>,
    has_sent: bool,
    phase: Phase,
}

/// What the first page said.
#[derive(Default)]
struct First {
    validators: Validators,
    updated: Option<String>,
}

enum Phase {
    Reading,
    Ending(Box<SliceEvent>),
    Done,
}

/// What one step of reading gave.
enum Step {
    Page,
    Unchanged(String),
    /// All pages were read; why.
    End(String),
}

/// One landed answer and its envelope.
struct Answer {
    landed: Landed,
    envelope: Envelope,
}

impl PageReader {
    /// Starts reading; no request is sent yet.
    pub(crate) fn new(
        shape: Arc<Shape>,
        client: Client,
        fetch: Fetcher,
        slice: Slice,
        started: Timestamp,
    ) -> Result<Self, ConnectError> {
        let protocol = |what: String| ConnectError::Protocol { url: shape.spec.url.clone(), what };
        let variables =
            serde_json::from_str(&slice.detail).map_err(|error| protocol(format!("slice detail: {error}")))?;
        let position = match (&shape.spec.incremental, slice.from.position) {
            (Some(_), Position::At(text)) => Some(String::from(text)),
            _ => None,
        };
        let since = match (&shape.spec.incremental, &position) {
            (Some(spec), Some(since)) => Some(position::parameter(spec, since)?),
            _ => None,
        };
        let pager = Pager::new(&shape.spec.pagination);
        let windows = Windows::new(&shape.spec.pagination, started, since.is_some())?;
        let before = slice.from.seen.filter(|seen| !seen.sha256.is_empty());
        Ok(Self {
            shape,
            client,
            fetch,
            variables,
            before,
            position,
            since,
            started,
            pager,
            windows,
            tally: Tally::default(),
            first: First::default(),
            held: VecDeque::new(),
            has_sent: false,
            phase: Phase::Reading,
        })
    }

    fn requests(&self) -> RequestShape<'_> {
        let accept = if csv_pages::is_csv(&self.shape.job.format) { "text/csv" } else { "application/json" };
        RequestShape { spec: &self.shape.spec, variables: &self.variables, accept, since: self.since.clone() }
    }

    async fn step(&mut self) -> Result<Step, ConnectError> {
        if self.tally.pages >= self.shape.spec.pages_max {
            let (url, value) = (self.shape.spec.url.clone(), self.shape.spec.pages_max);
            return Err(ConnectError::Limit { url, limit: "pages of a slice (`source.pages_max`)", value });
        }
        if self.windows.is_some() { self.window_step().await } else { self.page_step().await }
    }

    async fn page_step(&mut self) -> Result<Step, ConnectError> {
        let ask = self.pager.ask();
        if self.tally.pages == 0
            && let Some(total) = self.count(&Ask::default()).await?
        {
            self.tally.announce(&self.shape.spec.url, Some(total), None)?;
        }
        let mut request = self.requests().page(&ask)?;
        if self.tally.pages == 0 {
            request.validators = self.usable_validators();
        }
        let Some(answer) = self.ask(request).await? else { return Ok(Step::Unchanged("304".to_owned())) };
        if self.tally.pages == 0
            && let Some(evidence) = self.take_first(&answer)
        {
            return Ok(Step::Unchanged(evidence));
        }
        let total = self.total(&answer)?;
        let pages = self.announced(&answer, Role::Pages)?;
        self.tally.announce(&answer.landed.meta.url, total, pages)?;
        let mut facts = self.facts(&answer);
        self.accept(answer)?;
        (facts.number, facts.records_sum) = (self.tally.pages, self.tally.records);
        (facts.total, facts.pages) = (self.tally.total, self.tally.pages_announced);
        match self.pager.advance(&facts)? {
            Advance::More => Ok(Step::Page),
            Advance::Done(why) => Ok(Step::End(why)),
        }
    }

    async fn window_step(&mut self) -> Result<Step, ConnectError> {
        let Some(windows) = &self.windows else { return Ok(Step::End("no windows".to_owned())) };
        let (records_max, too_large) = (windows.records_max, windows.too_large_status.clone());
        let Some(ask) = windows.ask()? else { return Ok(Step::End("all windows of time were read".to_owned())) };
        let counted = self.count(&ask).await?;
        match counted {
            Some(0) => {
                self.tally.total = Some(self.tally.total.unwrap_or(0));
                self.pass_window();
                return Ok(Step::Page);
            }
            Some(count) if count > records_max => return self.halve_window(),
            Some(_) | None => {}
        }
        let request = self.requests().page(&ask)?;
        let answer = match self.ask(request).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(self.protocol("304 to a request without validators".to_owned())),
            Err(ConnectError::Fetch { source: FetchError::Status { status, .. }, .. })
                if too_large.contains(&status) =>
            {
                return self.halve_window();
            }
            Err(error) => return Err(error),
        };
        let received = answer.envelope.records;
        let expected = match (counted, self.total(&answer)?) {
            (Some(counted), _) => Some(counted),
            (None, total) => total,
        };
        match expected {
            Some(expected) if expected > records_max => return self.halve_window(),
            Some(expected) if expected != received => {
                return Err(ConnectError::Incomplete {
                    url: answer.landed.meta.url.clone(),
                    announced: format!("{expected} records"),
                    received: format!("{received} records"),
                });
            }
            Some(expected) => self.tally.total = Some(self.tally.total.unwrap_or(0) + expected),
            // Exactly at the cap: nobody can tell whether the answer was cut.
            None if received >= records_max => return self.halve_window(),
            None => {}
        }
        if self.tally.pages == 0 {
            self.take_first(&answer);
        }
        self.accept(answer)?;
        self.pass_window();
        Ok(Step::Page)
    }

    fn pass_window(&mut self) {
        if let Some(windows) = &mut self.windows {
            windows.pass();
        }
    }

    fn halve_window(&mut self) -> Result<Step, ConnectError> {
        if let Some(windows) = &mut self.windows {
            windows.halve(&self.shape.spec.url)?;
        }
        Ok(Step::Page)
    }

    async fn count(&self, ask: &Ask) -> Result<Option<u64>, ConnectError> {
        let Some(spec) = &self.shape.spec.count else { return Ok(None) };
        let request = self.requests().count(spec, ask)?;
        let landed = self.client.fresh(&self.fetch, request).await?;
        let answer = body::read_json(&landed, hambar_core::limits::MIB).await?;
        let found = answer.pointer(spec.total.as_str()).and_then(|value| match value {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            serde_json::Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        });
        found.map(Some).ok_or_else(|| ConnectError::Protocol {
            url: landed.meta.url.clone(),
            what: format!("no count at `{}` (`source.count.total`)", spec.total),
        })
    }

    /// Sends a data request and reads its envelope; `None` means 304. An answer that is no JSON is asked for once more:
    /// the World Bank sometimes sends XML though JSON was asked for, the WHO an empty body though there are data.
    async fn ask(&self, request: Request) -> Result<Option<Answer>, ConnectError> {
        for is_last in [false, true] {
            let landed = match self.client.send(&self.fetch, request.clone()).await? {
                Fetched::Fresh(landed) => landed,
                Fetched::NotModified(_) if request.validators != Validators::default() => return Ok(None),
                Fetched::NotModified(_) => {
                    return Err(self.protocol("304 to a request without validators".to_owned()));
                }
            };
            if landed.meta.status.is_some_and(|status| self.shape.spec.no_data_status.contains(&status)) {
                let envelope = Envelope { scalars: vec![None; self.shape.roles.len()], ..Envelope::default() };
                return Ok(Some(Answer { landed, envelope }));
            }
            let is_csv = csv_pages::is_csv(&self.shape.job.format);
            let wanted = if is_csv { "CSV" } else { "JSON" };
            let what = match body::landed_looks(&landed).await? {
                Looks::Empty if is_csv => return self.envelope(landed).await.map(Some),
                Looks::Other => return self.envelope(landed).await.map(Some),
                Looks::Empty => "the body is empty".to_owned(),
                Looks::Html => format!("the body is a web page (HTML), not {wanted}"),
                Looks::Xml => format!("the body is XML, though {wanted} was asked for"),
            };
            if is_last {
                return Err(ConnectError::Protocol { url: landed.meta.url, what: format!("{what}, twice") });
            }
            tracing::debug!(url = %request.url, what, "asked once more");
        }
        Err(self.protocol("no answer".to_owned()))
    }

    async fn envelope(&self, landed: Landed) -> Result<Answer, ConnectError> {
        let (path, shape) = (landed.path.clone(), self.shape.clone());
        let read = blocking(&landed, move || {
            let file = std::fs::File::open(path)?;
            if csv_pages::is_csv(&shape.job.format) {
                return Ok(csv_pages::read(&shape.query, &shape.job.format, file));
            }
            Ok(envelope::read(&shape.query, file).map_err(|error| format!("no JSON: {error}")))
        })
        .await?;
        let protocol = |what: String| ConnectError::Protocol { url: landed.meta.url.clone(), what };
        let envelope = read.map_err(protocol)?;
        let answer = Answer { envelope, landed: landed.clone() };
        self.refuse_reported_errors(&answer)?;
        if !answer.envelope.has_records {
            let path = self.shape.job.format.record_path.as_deref().unwrap_or_default();
            return Err(protocol(format!("no records at `{path}` (`record_path`)")));
        }
        if self.scalar(&answer, Role::Truncated) == Some(&Scalar::Bool(true)) {
            let received = format!("{} records, marked as truncated", answer.envelope.records);
            return Err(ConnectError::Incomplete {
                url: landed.meta.url,
                announced: "a whole page".to_owned(),
                received,
            });
        }
        if let Some(announced) = self.announced(&answer, Role::PageRecords)?
            && announced != answer.envelope.records
        {
            let (announced, received) =
                (format!("{announced} records"), format!("{} records", answer.envelope.records));
            return Err(ConnectError::Incomplete { url: landed.meta.url, announced, received });
        }
        Ok(answer)
    }

    fn refuse_reported_errors(&self, answer: &Answer) -> Result<(), ConnectError> {
        let text = self.scalar(answer, Role::ErrorText);
        let is_error_text =
            text.is_some_and(|text| !matches!(text, Scalar::Null) && *text != Scalar::Text(String::new()));
        let is_failure = self.scalar(answer, Role::Success) == Some(&Scalar::Bool(false));
        if !is_error_text && !is_failure {
            return Ok(());
        }
        let words = |scalar: Option<&Scalar>, absent: &str| {
            let words = scalar.and_then(Scalar::as_text).unwrap_or_else(|| absent.to_owned());
            words.chars().take(500).collect()
        };
        Err(ConnectError::Reported {
            url: answer.landed.meta.url.clone(),
            code: words(self.scalar(answer, Role::ErrorCode), "an error"),
            text: words(text, "no text"),
        })
    }

    fn scalar<'a>(&self, answer: &'a Answer, role: Role) -> Option<&'a Scalar> {
        let found = self.shape.roles.iter().zip(&answer.envelope.scalars).filter(|(known, _)| **known == role);
        found.filter_map(|(_, scalar)| scalar.as_ref()).next()
    }

    /// Reads a number that the file says is there.
    fn announced(&self, answer: &Answer, role: Role) -> Result<Option<u64>, ConnectError> {
        let Some(index) = self.shape.roles.iter().position(|known| *known == role) else { return Ok(None) };
        if !answer.envelope.has_records {
            return Ok(None);
        }
        let count = answer.envelope.scalars[index].as_ref().and_then(Scalar::as_count);
        count.map(Some).ok_or_else(|| ConnectError::Protocol {
            url: answer.landed.meta.url.clone(),
            what: format!("no number at `{}`, where completeness is announced", self.shape.query.scalars[index]),
        })
    }

    fn total(&self, answer: &Answer) -> Result<Option<u64>, ConnectError> {
        if let Some(name) = &self.shape.spec.complete.total_header {
            let text = answer.landed.meta.header(&name.to_lowercase());
            return text.and_then(|text| text.trim().parse().ok()).map(Some).ok_or_else(|| ConnectError::Protocol {
                url: answer.landed.meta.url.clone(),
                what: format!("no number in the header `{name}`, where completeness is announced"),
            });
        }
        let optional = self.scalar(answer, Role::OptionalTotal).and_then(Scalar::as_count);
        Ok(self.announced(answer, Role::Total)?.or(optional))
    }

    fn facts(&self, answer: &Answer) -> PageFacts {
        let meta = &answer.landed.meta;
        let header_cursor = match &self.shape.spec.pagination {
            PaginationSpec::CursorHeader { header, .. } => meta.header(&header.to_lowercase()).map(str::to_owned),
            _ => None,
        };
        // Secrets are blotted out in recorded addresses; a link is resolved against the address as it was answered.
        let url = if meta.final_url.is_empty() { &meta.url } else { &meta.final_url };
        PageFacts {
            url: url.clone(),
            records: answer.envelope.records,
            page: self.scalar(answer, Role::Page).and_then(Scalar::as_count),
            cursor: self.scalar(answer, Role::Cursor).and_then(Scalar::as_text),
            header_cursor,
            links: meta.headers.iter().filter(|(name, _)| name == "link").map(|(_, value)| value.clone()).collect(),
            last_key: answer.envelope.last.clone(),
            ..PageFacts::default()
        }
    }

    /// Validators prove something only where one answer was all there was, unless the file says otherwise.
    fn usable_validators(&self) -> Validators {
        match &self.before {
            Some(before) if self.since.is_none() => before.validators.clone(),
            _ => Validators::default(),
        }
    }

    fn take_first(&mut self, answer: &Answer) -> Option<String> {
        self.first.validators = answer.landed.meta.validators();
        self.first.updated = self.scalar(answer, Role::Updated).and_then(Scalar::as_text);
        let known = self.before.as_ref().and_then(|before| before.catalogue_date.as_ref());
        let is_same = self.first.updated.is_some() && self.first.updated.as_ref() == known;
        let is_trusted = self.shape.spec.complete.trust_updated && self.since.is_none();
        (is_same && is_trusted).then(|| "catalogue date".to_owned())
    }

    fn accept(&mut self, answer: Answer) -> Result<(), ConnectError> {
        let Answer { landed, envelope } = answer;
        self.tally.add(&landed.meta.url, envelope.records, &envelope.records_sha256)?;
        self.tally.bytes = self.tally.bytes.saturating_add(landed.bytes);
        self.tally.reach(envelope.greatest);
        if envelope.records > 0 {
            let mut job = self.shape.job.clone();
            job.constants.extend(self.variables.clone());
            self.held.push_back(Page { landed, job, records_announced: Some(envelope.records) });
        }
        Ok(())
    }

    /// Proves that nothing is missing, and says what the slice ends with.
    fn end(&mut self, why: &str) -> Result<SliceEvent, ConnectError> {
        let url = self.shape.spec.url.clone();
        let evidence = self.tally.prove(&url, why)?;
        let is_incremental = self.since.is_some();
        if is_incremental && self.tally.records == 0 {
            let since = self.position.clone().unwrap_or_default();
            return Ok(SliceEvent::Unchanged { evidence: format!("no records since {since}") });
        }
        if let Some(before) = &self.before
            && !is_incremental
            && self.tally.records == 0
            && self.tally.total.is_none()
            && before.rows > 0
        {
            // Where a total of 0 is announced, the runner decides (`write.allow_empty`).
            let announced = format!("{} rows in the last run", before.rows);
            return Err(ConnectError::Incomplete { url, announced, received: "no records".to_owned() });
        }
        let records_sha256 = self.tally.records_sha256();
        let is_same = self.before.as_ref().is_some_and(|before| before.sha256 == records_sha256);
        if is_same && !is_incremental && !self.has_sent {
            self.held.clear();
            return Ok(SliceEvent::Unchanged { evidence: "sha256".to_owned() });
        }
        let reached = match &self.shape.spec.incremental {
            None => Position::End,
            Some(spec) => {
                let before = self.position.clone();
                position::reached(spec, before, self.tally.greatest.as_ref(), self.started, self.tally.records)
                    .map_err(|what| self.protocol(what))?
                    .map_or(Position::Start, |text| Position::At(text.into_boxed_str()))
            }
        };
        let keeps_validators = self.tally.pages == 1 || self.shape.spec.complete.trust_first_page;
        let seen = Seen {
            // Of the records, not of the bodies: envelopes carry the time of day.
            sha256: records_sha256,
            length: self.tally.bytes,
            validators: if keeps_validators && self.windows.is_none() {
                self.first.validators.clone()
            } else {
                Validators::default()
            },
            catalogue_date: self.first.updated.clone(),
            rows: 0,
        };
        let proof = Proof { evidence, records_announced: self.tally.total };
        Ok(SliceEvent::End { proof, reached, seen })
    }

    fn protocol(&self, what: String) -> ConnectError {
        ConnectError::Protocol { url: self.shape.spec.url.clone(), what }
    }
}

#[async_trait]
impl EventReader for PageReader {
    async fn next(&mut self) -> Result<Option<SliceEvent>, ConnectError> {
        loop {
            let may_be_unchanged =
                self.before.is_some() && self.since.is_none() && !self.has_sent && self.held.len() <= HELD_PAGES_MAX;
            let is_reading = matches!(self.phase, Phase::Reading);
            if !(is_reading && may_be_unchanged)
                && let Some(page) = self.held.pop_front()
            {
                self.has_sent = true;
                return Ok(Some(SliceEvent::Page(Box::new(page))));
            }
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Done => return Ok(None),
                Phase::Ending(event) => return Ok(Some(*event)),
                Phase::Reading => {
                    self.phase = match self.step().await? {
                        Step::Page => Phase::Reading,
                        Step::Unchanged(evidence) => {
                            self.held.clear();
                            Phase::Ending(Box::new(SliceEvent::Unchanged { evidence }))
                        }
                        Step::End(why) => Phase::Ending(Box::new(self.end(&why)?)),
                    };
                }
            }
        }
    }
}
