//! JSON interfaces, and such whose pages are CSV, declared: requests, paging, completeness, errors in bodies, positions. One slice for each
//! combination of `[source.for_each]`.

mod csv_pages;
mod envelope;
mod pager;
mod paging;
mod position;
mod reader;
mod request;
mod spec;
mod tally;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hambar_core::{Checkpoint, Clock, Position, SliceId};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::Fetcher;

use crate::auth::SecretResolver;
use crate::client::{Client, failed, into_stream};
use crate::error::ConnectError;
use crate::json::Pointer;
use crate::source::{Estimate, Slice, SliceEvent, Source, SourcePlan};
use crate::template::combinations;

pub use paging::{CursorEnd, PaginationSpec, Resolution, WindowEnd};
pub use spec::{
    CompleteSpec, CountSpec, CursorKind, ErrorSpec, IncrementalSpec, Method, PAGES_MAX, QueryValue, RestJsonSpec,
};

use envelope::EnvelopeQuery;
use reader::PageReader;

/// Reads JSON interfaces.
#[derive(Debug, Clone)]
pub(crate) struct RestSource {
    shape: Arc<Shape>,
    client: Client,
    clock: Arc<dyn Clock>,
}

/// Everything about a source that its slices share.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) spec: RestJsonSpec,
    pub(crate) job: DecodeJob,
    pub(crate) query: EnvelopeQuery,
    pub(crate) roles: Vec<Role>,
}

/// What a scalar of the envelope means; in the order of the query's scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Total,
    Pages,
    PageRecords,
    Truncated,
    Updated,
    ErrorText,
    ErrorCode,
    Success,
    /// Which page the answer says it is.
    Page,
    /// A cursor, a token or a next link.
    Cursor,
    /// A total that is there only if it was asked for (OData).
    OptionalTotal,
}

impl RestSource {
    /// Builds the source; the spec has been validated.
    pub(crate) fn new(
        mut spec: RestJsonSpec,
        secrets: &dyn SecretResolver,
        mut job: DecodeJob,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let record_path = match (&spec.record_path, &job.format.record_path) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => path.parse().map_err(|error: crate::json::PointerError| ConnectError::Setting {
                setting: "record_path".to_owned(),
                what: error.to_string(),
            })?,
            (None, None) => Pointer::root(),
        };
        if csv_pages::is_csv(&job.format) {
            csv_problem(&spec, &job, &record_path)?;
        } else {
            job.format.record_path = Some(record_path.as_str().to_owned());
        }
        let client = Client::new(std::mem::take(&mut spec.headers), std::mem::take(&mut spec.auth), secrets)?;
        let (roles, scalars) = scalars(&spec).into_iter().unzip();
        let last = match &spec.pagination {
            PaginationSpec::Keyset { key, .. } => Some(key.clone()),
            _ => None,
        };
        let greatest = spec.incremental.as_ref().and_then(|incremental| incremental.cursor.clone());
        let query = EnvelopeQuery { records: record_path.segments().to_vec(), scalars, last, greatest };
        Ok(Self { shape: Arc::new(Shape { spec, job, query, roles }), client, clock })
    }
}

/// Pages that are CSV have nothing around their records: what looks there cannot work.
fn csv_problem(spec: &RestJsonSpec, job: &DecodeJob, record_path: &Pointer) -> Result<(), ConnectError> {
    let wrong = |setting: &str, what: String| Err(ConnectError::Setting { setting: setting.to_owned(), what });
    if *record_path != Pointer::root() {
        return wrong("record_path", "pages that are CSV have no record path".to_owned());
    }
    if let Some((_, place)) = scalars(spec).into_iter().next() {
        return wrong("complete", format!("`{place}` is a place in a JSON body, and pages are CSV: use headers"));
    }
    match csv_pages::problem(&job.format) {
        Some(what) => wrong("kind", what.to_owned()),
        None => Ok(()),
    }
}

fn scalars(spec: &RestJsonSpec) -> Vec<(Role, Pointer)> {
    let complete = &spec.complete;
    let error = spec.error.clone().unwrap_or_default();
    let mut scalars: Vec<(Role, Pointer)> = [
        (Role::Total, complete.total.clone()),
        (Role::Pages, complete.pages.clone()),
        (Role::PageRecords, complete.page_records.clone()),
        (Role::Truncated, complete.truncated.clone()),
        (Role::Updated, complete.updated.clone()),
        (Role::ErrorText, error.text),
        (Role::ErrorCode, error.code),
        (Role::Success, error.success),
    ]
    .into_iter()
    .filter_map(|(role, place)| Some((role, place?)))
    .collect();
    match &spec.pagination {
        PaginationSpec::PageNumber { page: Some(page), .. } => scalars.push((Role::Page, page.clone())),
        PaginationSpec::CursorBody { cursor, .. } => scalars.push((Role::Cursor, cursor.clone())),
        PaginationSpec::NextLinkBody { next } => scalars.push((Role::Cursor, next.clone())),
        PaginationSpec::ResumptionToken { token, .. } => scalars.push((Role::Cursor, token.clone())),
        PaginationSpec::Odata {} => {
            for (role, name) in [
                (Role::Cursor, "/@odata.nextLink"),
                (Role::Cursor, "/odata.nextLink"),
                (Role::OptionalTotal, "/@odata.count"),
                (Role::OptionalTotal, "/odata.count"),
            ] {
                scalars.push((role, name.parse().expect("starts with a slash")));
            }
        }
        PaginationSpec::None {}
        | PaginationSpec::PageNumber { .. }
        | PaginationSpec::OffsetLimit { .. }
        | PaginationSpec::CursorHeader { .. }
        | PaginationSpec::LinkHeader {}
        | PaginationSpec::Keyset { .. }
        | PaginationSpec::TimeWindow { .. } => {}
    }
    scalars
}

/// Names a slice by its variables.
fn slice_id(variables: &BTreeMap<String, String>) -> SliceId {
    if variables.is_empty() {
        return SliceId("all".to_owned());
    }
    let parts: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    SliceId(parts.join(","))
}

#[async_trait]
impl Source for RestSource {
    async fn plan(&self, done: &Checkpoint, _fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        let rows = combinations(&self.shape.spec.for_each, self.clock.now())
            .map_err(|(name, what)| ConnectError::Setting { setting: format!("for_each.{name}"), what })?;
        let mut plan = SourcePlan { is_full_extract: true, ..SourcePlan::default() };
        let (mut bytes, mut known_rows) = (Some(0_u64), Some(0_u64));
        for variables in rows {
            let id = slice_id(&variables);
            let from = done.slice(&id);
            let asks_for_news = self.shape.spec.incremental.is_some() && matches!(from.position, Position::At(_));
            plan.is_full_extract &= !asks_for_news;
            let seen = from.seen.as_ref();
            bytes = bytes.zip(seen).map(|(sum, seen)| sum.saturating_add(seen.length));
            known_rows = known_rows.zip(seen).map(|(sum, seen)| sum.saturating_add(seen.rows));
            let detail = serde_json::to_string(&variables).expect("texts always become JSON");
            plan.slices.push(Slice { id, from, detail });
        }
        let is_single =
            matches!(self.shape.spec.pagination, PaginationSpec::None {}) && self.shape.spec.count.is_none();
        let requests = is_single.then_some(plan.slices.len() as u64);
        plan.estimate = Estimate { requests, bytes, rows: known_rows };
        Ok(plan)
    }

    fn read(&self, slice: Slice, fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        match PageReader::new(self.shape.clone(), self.client.clone(), fetch, slice, self.clock.now()) {
            Ok(reader) => into_stream(reader),
            Err(error) => failed(error),
        }
    }
}
