//! A provider's deviations from SDMX REST, as data: `config/dialects.toml`, embedded, or a file of the same form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The dialects that come with the program.
const EMBEDDED: &str = include_str!("../../../../config/dialects.toml");
/// The dialect of a source that names none.
const PLAIN: &str = "sdmx";

/// A version of SDMX REST by the information model it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RestVersion {
    /// SDMX 2.1: `data/{flow}/{key}`.
    #[default]
    #[serde(rename = "2.1")]
    V21,
    /// SDMX 3.0: `data/dataflow/{agency}/{id}/{version}/{key}`.
    #[serde(rename = "3.0")]
    V30,
}

/// A format of data messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// SDMX-CSV.
    Csv,
    /// SDMX-ML, structure-specific.
    Ml,
    /// SDMX-JSON.
    Json,
}

/// How a 2.1 query names its dataflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowPath {
    /// `AGENCY,ID,VERSION`, as far as the pipeline gives them.
    #[default]
    Full,
    /// `ID` alone.
    Id,
}

/// One provider's deviations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// The provider, for people.
    pub title: String,
    /// Where its service is.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The version it speaks.
    #[serde(default)]
    pub rest: RestVersion,
    /// Agency where the pipeline names none.
    #[serde(default)]
    pub agency: Option<String>,
    /// Word for "all series" as a 2.1 key; `*` in 3.0.
    #[serde(default = "all")]
    pub all_keyword: String,
    /// Word for "every agency" in structure queries.
    #[serde(default = "all")]
    pub agency_all: String,
    /// Paths end with `/`.
    #[serde(default)]
    pub trailing_slash: bool,
    /// How a 2.1 query names its dataflow.
    #[serde(default)]
    pub flow_path: FlowPath,
    /// Formats it has, the best first.
    #[serde(default = "formats")]
    pub formats: Vec<DataFormat>,
    /// `Accept` by format, where it is not the specified one.
    #[serde(default)]
    pub accept: BTreeMap<DataFormat, String>,
    /// Value of the query parameter `format` by format, instead of `Accept`.
    #[serde(default)]
    pub format_parameters: BTreeMap<DataFormat, String>,
    /// Query parameters of every data query, as `name=value`.
    #[serde(default)]
    pub data_parameters: Vec<String>,
    /// Value of `references` that brings a dataflow's structure with its code lists.
    #[serde(default = "descendants")]
    pub references: String,
    /// It heeds `updatedAfter`.
    #[serde(default)]
    pub updated_after: bool,
    /// It answers availability queries.
    #[serde(default)]
    pub availability: bool,
    /// Id of the content constraint whose `validFrom` is a dataflow's date; `{flow}` is the dataflow's id.
    #[serde(default)]
    pub catalogue_constraint: Option<String>,
    /// Where the state of an asynchronous answer is; `{key}` is its key.
    #[serde(default)]
    pub async_status: Option<String>,
    /// Where an asynchronous answer is; `{key}` is its key.
    #[serde(default)]
    pub async_data: Option<String>,
    /// Seconds before the first look for an asynchronous answer; they double from look to look.
    #[serde(default = "poll_seconds")]
    pub poll_seconds: u64,
    /// Longest address it takes, in bytes.
    #[serde(default = "url_bytes")]
    pub url_bytes_max: usize,
    /// Settings that nobody has seen at work.
    #[serde(default)]
    pub unverified: Vec<String>,
}

fn all() -> String {
    "all".to_owned()
}

fn formats() -> Vec<DataFormat> {
    vec![DataFormat::Csv, DataFormat::Ml, DataFormat::Json]
}

fn descendants() -> String {
    "descendants".to_owned()
}

fn poll_seconds() -> u64 {
    5
}

fn url_bytes() -> usize {
    2_000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    dialects: BTreeMap<String, Dialect>,
}

/// The dialects by id.
#[derive(Debug, Clone, PartialEq)]
pub struct Dialects(BTreeMap<String, Dialect>);

impl Dialects {
    /// Returns those that come with the program.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("config/dialects.toml is checked by a test of this module")
    }

    /// Reads a dialect file.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        match file.version {
            1 => Ok(Self(file.dialects)),
            other => Err(format!("dialect files of version {other} are not known, only version 1")),
        }
    }

    /// Finds a dialect by id; plain SDMX for `None`.
    pub fn get(&self, id: Option<&str>) -> Option<&Dialect> {
        self.0.get(id.unwrap_or(PLAIN))
    }

    /// Returns the ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Dialect {
    /// Returns the `Accept` header for data in `format`.
    pub(super) fn accept_data(&self, format: DataFormat, rest: RestVersion) -> String {
        if let Some(own) = self.accept.get(&format) {
            return own.clone();
        }
        let kind = match (format, rest) {
            (DataFormat::Csv, RestVersion::V21) => "csv;version=1.0.0",
            (DataFormat::Csv, RestVersion::V30) => "csv;version=2.0.0",
            (DataFormat::Ml, RestVersion::V21) => {
                return "application/vnd.sdmx.structurespecificdata+xml;version=2.1".to_owned();
            }
            (DataFormat::Ml, RestVersion::V30) => "xml;version=3.0.0",
            (DataFormat::Json, RestVersion::V21) => "json;version=1.0.0",
            (DataFormat::Json, RestVersion::V30) => "json;version=2.0.0",
        };
        format!("application/vnd.sdmx.data+{kind}")
    }

    /// Returns the `Accept` header for structures.
    pub(super) fn accept_structure(rest: RestVersion) -> &'static str {
        match rest {
            RestVersion::V21 => "application/vnd.sdmx.structure+xml;version=2.1",
            RestVersion::V30 => "application/vnd.sdmx.structure+json;version=2.0.0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_dialects_are_well_formed() {
        let dialects = Dialects::parse(EMBEDDED).unwrap();
        for id in ["sdmx", "ecb", "eurostat", "oecd", "imf", "bis", "ilo", "unicef", "worldbank", "insee", "uis"] {
            assert!(dialects.get(Some(id)).is_some(), "{id}");
        }
        for id in dialects.ids() {
            let dialect = dialects.get(Some(id)).unwrap();
            assert!(!dialect.formats.is_empty(), "{id}");
            assert_eq!(dialect.async_status.is_some(), dialect.async_data.is_some(), "{id}");
            if let Some(endpoint) = &dialect.endpoint {
                assert!(crate::body::web_url(endpoint).is_ok() && !endpoint.ends_with('/'), "{id}");
            }
        }
        assert!(dialects.get(Some("nobody")).is_none());
        assert_eq!(
            Dialects::parse("version = 2\n[dialects]").unwrap_err(),
            "dialect files of version 2 are not known, only version 1"
        );
    }
}
