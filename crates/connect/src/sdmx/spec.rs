//! The section `[source]` with `kind = "sdmx"`: a dataflow to query, or a structure to keep as a table of codes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dialect::{DataFormat, Dialect, Dialects, RestVersion};
use crate::auth::AuthSpec;
use crate::body::web_url;
use crate::client::header_problems;

/// An artefact's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtefactSpec {
    /// The maintaining agency (`ECB`); the dialect's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<String>,
    /// The id (`EXR`).
    pub id: String,
    /// The version (`1.0`); the latest when absent. Pin it: a new version may have other columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// When a query may be split into smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitMode {
    /// When the provider refuses it as too large.
    #[default]
    Auto,
    /// Never: a refused query is an error.
    Never,
}

/// The section `[source.split]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// When to split.
    #[serde(default)]
    pub mode: SplitMode,
    /// Dimension to split by first; the one with the most codes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// Queries that one slice may become.
    #[serde(default = "parts")]
    pub parts_max: usize,
}

fn parts() -> usize {
    1_024
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self { mode: SplitMode::default(), dimension: None, parts_max: parts() }
    }
}

/// An SDMX source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SdmxSpec {
    /// Where the service is; the dialect's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// SDMX version of the service; the dialect's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<RestVersion>,
    /// The provider's dialect (`ecb`, `eurostat`, `oecd`, `imf` …); plain SDMX when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// The dataflow, or with `resource` the artefact.
    pub flow: ArtefactSpec,
    /// A structure to read instead of data: `codelist`, `conceptscheme`, `dataflow`, `datastructure`, `categoryscheme` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The series key as in the provider's documentation (`M.USD+GBP.EUR.SP00.A`); all series when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Codes by dimension, instead of `key`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<String, Vec<String>>,
    /// First period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<String>,
    /// Last period, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_period: Option<String>,
    /// The format; the best that the provider has when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// Ask only for what changed since the last run. The answer is then no full extract: use `write.mode = "upsert"`.
    #[serde(default)]
    pub updated_after: bool,
    /// Take the date of the provider's content constraint as proof that nothing changed.
    #[serde(default)]
    pub use_catalogue_date: bool,
    /// Ask the provider how many observations there are, and fail if as many do not come.
    #[serde(default)]
    pub prove_count: bool,
    /// Splitting of queries that are too large.
    #[serde(default)]
    pub split: SplitSpec,
    /// Bytes of one answer; the configured limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How the provider wants to know who asks.
    #[serde(default)]
    pub auth: AuthSpec,
}

const RESOURCES: &[&str] = &[
    "codelist",
    "valuelist",
    "conceptscheme",
    "categoryscheme",
    "agencyscheme",
    "dataflow",
    "datastructure",
    "contentconstraint",
    "dataconstraint",
];

impl SdmxSpec {
    /// Reports everything that is wrong, as pairs of key and problem. No I/O.
    pub(crate) fn problems(&self, dialects: &Dialects) -> Vec<(String, String)> {
        let mut problems = header_problems(&self.headers);
        problems.extend(self.auth.problems());
        let mut wrong = |key: &str, what: String| problems.push((key.to_owned(), what));
        let dialect = dialects.get(self.dialect.as_deref());
        match (dialect, &self.endpoint) {
            (None, _) => {
                let known: Vec<&str> = dialects.ids().collect();
                wrong("dialect", format!("is not known; use one of {}", known.join(", ")));
            }
            (Some(_), Some(endpoint)) => {
                if let Err(what) = web_url(endpoint) {
                    wrong("endpoint", what);
                }
            }
            (Some(dialect), None) if dialect.endpoint.is_none() => {
                wrong("endpoint", "is missing: give the service's address, or a `dialect`".to_owned());
            }
            (Some(_), None) => {}
        }
        if let Some(resource) = &self.resource {
            if !RESOURCES.contains(&resource.as_str()) {
                wrong("resource", format!("`{resource}` is not one of {}", RESOURCES.join(", ")));
            }
            let has_query = self.key.is_some() || !self.filters.is_empty() || self.updated_after;
            if has_query || self.start_period.is_some() || self.end_period.is_some() {
                wrong(
                    "resource",
                    "a structure is read whole: leave out `key`, `filters`, periods and `updated_after`".to_owned(),
                );
            }
        }
        if self.key.is_some() && !self.filters.is_empty() {
            wrong("filters", "give either `key` or `filters`".to_owned());
        }
        if self.filters.values().any(Vec::is_empty) {
            wrong("filters", "a dimension has no codes: leave it out to take them all".to_owned());
        }
        if self.split.parts_max == 0 {
            wrong("split.parts_max", "is 0".to_owned());
        }
        for (key, text) in self.path_texts() {
            if text.is_empty() || text.contains(['/', '?', '#', ' ']) {
                wrong(key, format!("`{text}` cannot stand in an address"));
            }
        }
        if let Some(dialect) = dialect {
            self.dialect_problems(dialect, &mut wrong);
        }
        problems
    }

    fn dialect_problems(&self, dialect: &Dialect, wrong: &mut dyn FnMut(&str, String)) {
        if self.updated_after && !dialect.updated_after {
            wrong("updated_after", format!("{} is not known to heed `updatedAfter`", dialect.title));
        }
        if self.use_catalogue_date && dialect.catalogue_constraint.is_none() {
            wrong("use_catalogue_date", format!("{} is not known to date its dataflows", dialect.title));
        }
        if self.prove_count && !dialect.availability {
            wrong("prove_count", format!("{} is not known to answer availability queries", dialect.title));
        }
    }

    fn path_texts(&self) -> Vec<(&'static str, &str)> {
        let mut texts = vec![("flow.id", self.flow.id.as_str())];
        texts.extend(self.flow.agency.as_deref().map(|text| ("flow.agency", text)));
        texts.extend(self.flow.version.as_deref().map(|text| ("flow.version", text)));
        texts.extend(self.key.as_deref().map(|text| ("key", text)));
        texts.extend(self.start_period.as_deref().map(|text| ("start_period", text)));
        texts.extend(self.end_period.as_deref().map(|text| ("end_period", text)));
        texts
    }
}
