//! The section `[source]` of a pipeline file: it mirrors the file; `validate` reports every problem at once without
//! I/O, `build` makes a source of it.

use std::sync::Arc;

use hambar_core::{Clock, TableName};
use hambar_decode::spec::DecodeJob;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::SecretResolver;
use crate::ckan::{CkanSource, CkanSpec};
use crate::error::ConnectError;
use crate::http_file::{HttpFileSource, HttpFileSpec};
use crate::rest_json::{RestJsonSpec, RestSource};
use crate::sdmx::{Dialects, SdmxSource, SdmxSpec};
use crate::source::Source;

/// The section `[source]`; `kind` names the connector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SourceSpec {
    /// Files over HTTP: one, many by a template, or those of a manifest.
    HttpFile(HttpFileSpec),
    /// Declarative JSON requests with paging.
    RestJson(Box<RestJsonSpec>),
    /// CKAN portals.
    Ckan(CkanSpec),
    /// SDMX services: data and structures.
    Sdmx(Box<SdmxSpec>),
}

impl SourceSpec {
    /// Returns the connector's name as it stands in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HttpFile(_) => "http_file",
            Self::RestJson(_) => "rest_json",
            Self::Ckan(_) => "ckan",
            Self::Sdmx(_) => "sdmx",
        }
    }

    /// Returns the hosts that are asked, as far as the file says; answers and catalogues may lead to others. No I/O.
    pub fn hosts(&self) -> Vec<String> {
        let addresses: Vec<String> = match self {
            Self::HttpFile(spec) => {
                let manifest = spec.manifest.as_ref().map(|manifest| manifest.url.clone());
                spec.url.clone().into_iter().chain(manifest).collect()
            }
            Self::RestJson(spec) => {
                let count = spec.count.as_ref().map(|count| count.url.clone());
                std::iter::once(spec.url.clone()).chain(count).collect()
            }
            Self::Ckan(spec) => vec![spec.portal.clone()],
            Self::Sdmx(spec) => {
                let dialects = Dialects::embedded();
                let of_dialect = dialects.get(spec.dialect.as_deref()).and_then(|dialect| dialect.endpoint.clone());
                spec.endpoint.clone().or(of_dialect).into_iter().collect()
            }
        };
        let mut hosts = Vec::new();
        for address in addresses {
            // A template's variables may stand in the path, where they do not matter here.
            let host = address.parse::<url::Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
            hosts.extend(host.filter(|host| !hosts.contains(host)));
        }
        hosts
    }

    /// Reports everything that is wrong, as pairs of key (`source.pagination.size`) and problem. No I/O.
    ///
    /// What the rest of the file decides (`job`) is checked by [`SourceSpec::build`].
    pub fn validate(&self) -> Vec<(String, String)> {
        // Open date ranges end on the day of the run; to check them, a day that comes after every sensible start will do.
        let now = Timestamp::from_second(4_102_444_800).unwrap_or(Timestamp::MAX);
        let problems = match self {
            Self::HttpFile(spec) => spec.problems(now),
            Self::RestJson(spec) => spec.problems(now),
            Self::Ckan(spec) => spec.problems(),
            Self::Sdmx(spec) => spec.problems(&Dialects::embedded()),
        };
        problems.into_iter().map(|(key, what)| (format!("source.{key}"), what)).collect()
    }

    /// Makes a source of it. `job` is the template of every page's decode job; `clock` closes open ranges of time.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] with the key, for the first problem of [`SourceSpec::validate`] and for secrets that
    /// cannot be resolved.
    pub fn build(
        self,
        secrets: &dyn SecretResolver,
        table: &TableName,
        job: DecodeJob,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Source>, ConnectError> {
        if let Some((key, what)) = self.validate().into_iter().next() {
            let setting = key.strip_prefix("source.").unwrap_or(&key).to_owned();
            return Err(ConnectError::Setting { setting, what: format!("{what} (pipeline `{table}`)") });
        }
        Ok(match self {
            Self::HttpFile(spec) => Arc::new(HttpFileSource::new(spec, secrets, job, clock.as_ref())?),
            Self::RestJson(spec) => Arc::new(RestSource::new(*spec, secrets, job, clock)?),
            Self::Ckan(spec) => Arc::new(CkanSource::new(spec, secrets, job, clock)?),
            Self::Sdmx(spec) => Arc::new(SdmxSource::new(*spec, &Dialects::embedded(), secrets, job)?),
        })
    }
}
