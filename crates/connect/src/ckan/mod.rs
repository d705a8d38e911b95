//! CKAN portals: the catalogue and the datastore are JSON interfaces, the resources are files; this module only knows
//! how CKAN spells them.

mod listing;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hambar_core::{Checkpoint, Clock};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::Fetcher;
use regex::Regex;

use crate::auth::SecretResolver;
use crate::client::Client;
use crate::error::ConnectError;
use crate::http_file::{Entries, FileEntry, FileRules, plan_files, read_file};
use crate::rest_json::{RestJsonSpec, RestSource};
use crate::source::{Slice, SliceEvent, Source, SourcePlan};

pub use listing::{DATASETS_MAX, PortalDataset, PortalResource, list_datasets, show_dataset};
pub use spec::{CkanRead, CkanSpec, DATASTORE_ROWS_MAX, DatastorePaging, ResourceChoice, SEARCH_ROWS_MAX};

/// Reads a CKAN portal.
#[derive(Debug)]
pub(crate) struct CkanSource {
    reads: Reads,
}

#[derive(Debug)]
enum Reads {
    Pages(Box<RestSource>),
    Files(Box<DatasetFiles>),
}

#[derive(Debug)]
struct DatasetFiles {
    client: Client,
    rules: FileRules,
    job: DecodeJob,
    dataset: String,
    pattern: Option<Regex>,
    spec: CkanSpec,
}

impl CkanSource {
    /// Builds the source; the spec has been validated.
    pub(crate) fn new(
        spec: CkanSpec,
        secrets: &dyn SecretResolver,
        job: DecodeJob,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let reads = match (spec.read, &spec.dataset) {
            (CkanRead::Files, Some(dataset)) => {
                Reads::Files(Box::new(DatasetFiles::new(dataset.clone(), spec, secrets, job)?))
            }
            (CkanRead::Files, None) => {
                let what = "is missing; `read = \"files\"` needs it".to_owned();
                return Err(ConnectError::Setting { setting: "dataset".to_owned(), what });
            }
            (CkanRead::Datasets | CkanRead::Datastore, _) => {
                Reads::Pages(Box::new(RestSource::new(interface(spec)?, secrets, job, clock)?))
            }
        };
        Ok(Self { reads })
    }
}

/// Writes a catalogue or datastore down as the JSON interface that it is.
fn interface(spec: CkanSpec) -> Result<RestJsonSpec, ConnectError> {
    let resource = spec.resource_id.clone().unwrap_or_default();
    let (name, rows_max) = match (spec.read, spec.paging) {
        (CkanRead::Datasets, _) => ("package_search", SEARCH_ROWS_MAX),
        (_, DatastorePaging::Offset) => ("datastore_search", DATASTORE_ROWS_MAX),
        (_, DatastorePaging::Keyset) => ("datastore_search_sql", DATASTORE_ROWS_MAX),
    };
    let size = spec.page_size.unwrap_or(rows_max);
    let mut query: BTreeMap<&str, String> = BTreeMap::new();
    let mut declared = serde_json::json!({
        "url": escaped(listing::action(&spec.portal, &spec.api_path, name)?.as_str()),
        "error": { "success": "/success", "text": "/error/message", "code": "/error/__type" },
    });
    match (spec.read, spec.paging) {
        (CkanRead::Datasets, _) => {
            // An order that does not depend on relevance or dates, so that no dataset moves to another page.
            query.insert("sort", "id asc".to_owned());
            query.extend(spec.query.as_deref().map(|text| ("q", escaped(text))));
            query.extend(spec.filter.as_deref().map(|text| ("fq", escaped(text))));
            declared["record_path"] = "/result/results".into();
            declared["complete"] = serde_json::json!({ "total": "/result/count" });
            declared["pagination"] = serde_json::json!({
                "style": "offset_limit", "parameter": "start", "limit_parameter": "rows", "limit": size,
            });
        }
        (_, DatastorePaging::Offset) => {
            query.insert("resource_id", resource);
            query.insert("sort", "_id".to_owned());
            declared["record_path"] = "/result/records".into();
            declared["complete"] = serde_json::json!({ "total": "/result/total" });
            declared["pagination"] = serde_json::json!({ "style": "offset_limit", "limit": size });
        }
        (_, DatastorePaging::Keyset) => {
            let count = listing::action(&spec.portal, &spec.api_path, "datastore_search")?;
            let select = |from: &str| format!("SELECT * FROM \"{resource}\"{from} ORDER BY _id LIMIT {size}");
            declared["record_path"] = "/result/records".into();
            declared["complete"] = serde_json::json!({ "truncated": "/result/records_truncated" });
            declared["count"] = serde_json::json!({
                "url": escaped(count.as_str()), "total": "/result/total",
                "query": { "resource_id": resource, "limit": "0" },
            });
            declared["pagination"] = serde_json::json!({
                "style": "keyset", "parameter": "sql", "key": "/_id", "size": size,
                "first": select(""), "value": select(" WHERE _id > {key}"),
            });
        }
    }
    declared["query"] = serde_json::to_value(query).expect("texts always become JSON");
    let mut rest: RestJsonSpec = serde_json::from_value(declared)
        .map_err(|error| ConnectError::Setting { setting: "read".to_owned(), what: error.to_string() })?;
    rest.headers = spec.headers;
    rest.auth = spec.auth;
    Ok(rest)
}

/// Braces of a text that is no template.
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

impl DatasetFiles {
    fn new(
        dataset: String,
        spec: CkanSpec,
        secrets: &dyn SecretResolver,
        job: DecodeJob,
    ) -> Result<Self, ConnectError> {
        let pattern = spec.resource.as_ref().and_then(|choice| choice.pattern.as_deref());
        let pattern = pattern.map(Regex::new).transpose().map_err(|error| ConnectError::Setting {
            setting: "resource.pattern".to_owned(),
            what: error.to_string(),
        })?;
        let client = Client::new(spec.headers.clone(), spec.auth.clone(), secrets)?;
        let rules = FileRules { probe: spec.probe, missing: spec.missing, ..FileRules::default() };
        Ok(Self { client, rules, job, dataset, pattern, spec })
    }

    async fn entries(&self, fetch: &Fetcher) -> Result<Vec<FileEntry>, ConnectError> {
        let place = (self.spec.portal.as_str(), self.spec.api_path.as_str());
        let (dataset, address) = listing::package_show(&self.client, place, &self.dataset, fetch).await?;
        let protocol = |what: String| ConnectError::Protocol { url: address.clone(), what };
        let chosen: Vec<&PortalResource> =
            dataset.resources.iter().filter(|resource| self.is_chosen(resource)).collect();
        if chosen.is_empty() {
            let there: Vec<String> =
                dataset.resources.iter().map(|one| format!("{} ({})", one.name, one.format)).collect();
            return Err(protocol(format!("no resource fits `source.resource`; there are: {}", there.join(", "))));
        }
        let mut entries: Vec<FileEntry> = Vec::new();
        for resource in chosen {
            let url = crate::body::web_url(&resource.url)
                .map_err(|what| protocol(format!("resource `{}`: {what}", resource.name)))?;
            if entries.iter().any(|known| known.url == url.as_str()) {
                continue;
            }
            entries.push(self.entry(resource, url.to_string()));
        }
        Ok(entries)
    }

    fn entry(&self, resource: &PortalResource, url: String) -> FileEntry {
        let hash = resource.hash.trim().to_lowercase();
        let is_digest = |digits: usize| {
            self.spec.verify_hash && hash.len() == digits && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let constants = [("resource_id", &resource.id), ("resource_name", &resource.name)]
            .map(|(name, value)| (name.to_owned(), value.clone()));
        let date = Some(resource.last_modified.clone()).filter(|date| !date.is_empty());
        FileEntry {
            url,
            constants: BTreeMap::from(constants),
            size: None,
            md5: is_digest(32).then(|| hash.clone()),
            sha256: is_digest(64).then(|| hash.clone()),
            mark: date.or_else(|| Some(hash.clone()).filter(|hash| !hash.is_empty())),
            trust_mark: self.spec.trust_dates,
        }
    }

    fn is_chosen(&self, resource: &PortalResource) -> bool {
        let Some(choice) = &self.spec.resource else { return true };
        choice.id.as_ref().is_none_or(|id| *id == resource.id)
            && choice.name.as_ref().is_none_or(|name| *name == resource.name)
            && choice.format.as_ref().is_none_or(|format| format.eq_ignore_ascii_case(&resource.format))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(&resource.name) || pattern.is_match(&resource.url))
    }
}

#[async_trait]
impl Source for CkanSource {
    async fn plan(&self, done: &Checkpoint, fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        match &self.reads {
            Reads::Pages(source) => source.plan(done, fetch).await,
            Reads::Files(files) => Ok(plan_files(files.entries(fetch).await?, done, Entries::Revised)),
        }
    }

    fn read(&self, slice: Slice, fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        match &self.reads {
            Reads::Pages(source) => source.read(slice, fetch),
            Reads::Files(files) => read_file(&files.client, &files.rules, &files.job, slice, fetch),
        }
    }
}
