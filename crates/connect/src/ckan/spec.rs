//! The section `[source]` of kind `ckan`: the portal's catalogue as a table, the files of a dataset, or a table of its
//! datastore.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::AuthSpec;
use crate::body::web_url;
use crate::client::header_problems;
use crate::http_file::{Missing, Probe};

/// Rows that CKAN gives at once from `package_search`; more are cut without a word.
pub const SEARCH_ROWS_MAX: u64 = 1_000;
/// Rows that CKAN gives at once from its datastore; more are cut without a word.
pub const DATASTORE_ROWS_MAX: u64 = 32_000;

/// A CKAN portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CkanSpec {
    /// The portal's address, for instance `https://demo.ckan.org`.
    pub portal: String,
    /// The interface's path on the portal.
    #[serde(default = "api_path")]
    pub api_path: String,
    /// What is read.
    pub read: CkanRead,
    /// Catalogue: a search text (Solr syntax).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Catalogue: a filter (`organization:who`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Files: the dataset's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Files: which of the dataset's resources; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceChoice>,
    /// Datastore: the resource's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Datastore: how pages follow each other.
    #[serde(default)]
    pub paging: DatastorePaging,
    /// Records of one page; the portal's maximum when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// Files: compare what arrives with the resource's `hash`. Portals forget to renew it: turn it off then.
    #[serde(default = "yes")]
    pub verify_hash: bool,
    /// Files: an unchanged `last_modified` proves that the file has not changed. Many portals replace files silently.
    #[serde(default)]
    pub trust_dates: bool,
    /// Files: a HEAD request before the download.
    #[serde(default)]
    pub probe: Probe,
    /// Files: what a 404 means.
    #[serde(default)]
    pub missing: Missing,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How the portal wants to know who asks.
    #[serde(default)]
    pub auth: AuthSpec,
}

fn api_path() -> String {
    "/api/3/action".to_owned()
}

fn yes() -> bool {
    true
}

/// What is read of a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CkanRead {
    /// The catalogue: one row for each dataset.
    Datasets,
    /// The files of one dataset.
    Files,
    /// One table of the datastore.
    Datastore,
}

/// How pages of the datastore follow each other. Both end with the announced total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatastorePaging {
    /// `datastore_search`, sorted by `_id`, by offset: works everywhere.
    #[default]
    Offset,
    /// `datastore_search_sql` with `_id > last`: fast for millions of rows; many portals turn it off.
    Keyset,
}

/// Which resources of a dataset; all that are given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceChoice {
    /// The resource's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The resource's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The resource's format, in any case (`csv`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// A regular expression that the resource's name or address matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

impl CkanSpec {
    /// Reports what is wrong, as pairs of key (without `source.`) and problem.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = header_problems(&self.headers);
        problems.extend(self.auth.problems());
        let mut problem = |key: &str, what: &str| problems.push((key.to_owned(), what.to_owned()));
        if let Err(what) = web_url(&self.portal) {
            problem("portal", &what);
        }
        if !self.api_path.starts_with('/') {
            problem("api_path", "does not start with `/`");
        }
        match (self.read, &self.dataset, &self.resource_id) {
            (CkanRead::Files, None, _) => problem("dataset", "is missing; `read = \"files\"` needs it"),
            (CkanRead::Datastore, _, None) => problem("resource_id", "is missing; `read = \"datastore\"` needs it"),
            _ => {}
        }
        if let Some(id) = &self.resource_id
            && !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            problem("resource_id", "has other characters than letters, digits, `-` and `_`");
        }
        let rows_max = if self.read == CkanRead::Datasets { SEARCH_ROWS_MAX } else { DATASTORE_ROWS_MAX };
        match self.page_size {
            Some(0) => problem("page_size", "is 0"),
            Some(size) if size > rows_max => {
                problem("page_size", &format!("is {size}, CKAN gives at most {rows_max} records at once"));
            }
            Some(_) | None => {}
        }
        if let Some(ResourceChoice { pattern: Some(pattern), .. }) = &self.resource
            && let Err(error) = regex::Regex::new(pattern)
        {
            problem("resource.pattern", &format!("is not a regular expression: {error}"));
        }
        problems
    }
}
