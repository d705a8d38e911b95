//! SDMX REST 2.1 and 3.0: a dataflow's observations, or a structure (code list, concept scheme, dataflow list …) as a
//! table of codes. One slice; a query that the provider finds too large is split into several, whose answers are the
//! slice's pages.
//!
//! A query is split by dimension into halves (and again), with the codes that the provider says it has data for or else
//! all of the code list, and by years when one series is left; so the parts together are the whole. An answer that comes
//! later is waited for. An answer without results is an error for a whole query, because a table does not become empty
//! by itself, and fine for a part.

mod answer;
mod dialect;
mod query;
mod reader;
mod shape;
mod spec;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hambar_core::{Checkpoint, Position, SliceId};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::Fetcher;

pub use dialect::{DataFormat, Dialect, Dialects, FlowPath, RestVersion};
pub use spec::{ArtefactSpec, SdmxSpec, SplitMode, SplitSpec};

use crate::auth::SecretResolver;
use crate::client::{Client, into_stream};
use crate::error::ConnectError;
use crate::source::{Estimate, Slice, SliceEvent, Source, SourcePlan};
use query::Service;
use reader::SdmxReader;

/// Reads one dataflow or structure.
#[derive(Debug)]
pub struct SdmxSource {
    client: Client,
    spec: SdmxSpec,
    service: Service,
    job: DecodeJob,
}

impl SdmxSource {
    /// Builds the source. `job` is the template of every page's decode job; its format's kind is set by what comes.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] for the first thing that is wrong with `spec`, and for secrets that cannot be resolved.
    pub fn new(
        spec: SdmxSpec,
        dialects: &Dialects,
        secrets: &dyn SecretResolver,
        job: DecodeJob,
    ) -> Result<Self, ConnectError> {
        let wrong = |(setting, what)| ConnectError::Setting { setting, what };
        if let Some(problem) = spec.problems(dialects).into_iter().next() {
            return Err(wrong(problem));
        }
        let dialect = dialects
            .get(spec.dialect.as_deref())
            .ok_or_else(|| wrong(("dialect".to_owned(), "is not known".to_owned())))?;
        let service = Service::new(&spec, dialect).map_err(|what| wrong(("endpoint".to_owned(), what)))?;
        let client = Client::new(spec.headers.clone(), spec.auth.clone(), secrets)?;
        Ok(Self { client, spec, service, job })
    }

    /// Names the slice by what is asked for, whatever the format: another query starts from the beginning.
    fn slice_id(&self) -> SliceId {
        let flow = &self.spec.flow;
        let mut name = format!("{} ", self.spec.resource.as_deref().unwrap_or("data"));
        if let Some(agency) = &flow.agency {
            name.push_str(&format!("{agency}:"));
        }
        name.push_str(&flow.id);
        if let Some(version) = &flow.version {
            name.push_str(&format!("({version})"));
        }
        if let Some(key) = &self.spec.key {
            name.push_str(&format!(" {key}"));
        }
        for (dimension, codes) in &self.spec.filters {
            name.push_str(&format!(" {dimension}={}", codes.join("+")));
        }
        if self.spec.start_period.is_some() || self.spec.end_period.is_some() {
            let period = |text: &Option<String>| text.clone().unwrap_or_default();
            name.push_str(&format!(" {}..{}", period(&self.spec.start_period), period(&self.spec.end_period)));
        }
        SliceId(name)
    }
}

#[async_trait]
impl Source for SdmxSource {
    async fn plan(&self, done: &Checkpoint, _fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        let id = self.slice_id();
        let from = done.slice(&id);
        let is_delta = self.spec.updated_after && matches!(from.position, Position::At(_));
        let seen = from.seen.as_ref();
        let estimate = Estimate {
            requests: Some(1),
            bytes: seen.map(|seen| seen.length).filter(|_| !is_delta),
            rows: seen.map(|seen| seen.rows).filter(|_| !is_delta),
        };
        let slices = vec![Slice { id, from, detail: String::new() }];
        Ok(SourcePlan { slices, estimate, is_full_extract: !is_delta })
    }

    fn read(&self, slice: Slice, fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        into_stream(SdmxReader::new(
            self.client.clone(),
            fetch,
            self.spec.clone(),
            self.service.clone(),
            self.job.clone(),
            slice,
        ))
    }
}
