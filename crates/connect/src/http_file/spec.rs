//! The section `[source]` of kind `http_file`: one URL, a URL with variables, or a manifest that lists files.

use std::collections::BTreeMap;

use hambar_core::Ident;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::AuthSpec;
use crate::body::web_url;
use crate::client::header_problems;
use crate::json::Pointer;
use crate::template::{Template, VariableSpec};

/// Files over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpFileSpec {
    /// The file's address, with `{variables}` where `[source.variables]` gives them. Absent with a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The values of the variables: one slice for each combination, the values are source columns of its rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, VariableSpec>,
    /// A file that lists the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSpec>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How the provider wants to know who asks.
    #[serde(default)]
    pub auth: AuthSpec,
    /// Asked before the download, for servers that ignore conditional requests.
    #[serde(default)]
    pub probe: Probe,
    /// What a 404 or 410 of one file of many means.
    #[serde(default)]
    pub missing: Missing,
    /// The server labels its data as `text/html`: look at the bytes only.
    #[serde(default)]
    pub ignore_content_type: bool,
    /// Bytes of one file on the wire; the configured limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
}

/// A HEAD request before the download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// None: a conditional GET is all that is needed.
    #[default]
    None,
    /// Unchanged if ETag, or Last-Modified and length, are those of the last run.
    Head,
    /// Unchanged if the length is that of the last run. Weak: for large files that never change in place.
    Length,
}

/// What a 404 or 410 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The run fails.
    #[default]
    Fail,
    /// The file is not there (yet) and is asked for again in the next run. A file that had rows still fails.
    Skip,
}

/// The section `[source.manifest]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestSpec {
    /// The list's address.
    pub url: String,
    /// Its form.
    pub format: ManifestFormat,
    /// JSON: where the array of entries is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_path: Option<Pointer>,
    /// Where an entry has the file's address, absolute or relative to the manifest: a JSON Pointer into the entry, a
    /// CSV header cell, or the number of a word in a line of text, counted from 1.
    pub link: String,
    /// Where an entry has the file's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Where an entry has the file's MD5 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Where an entry has the file's SHA-256 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where an entry has the date of the file's last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Only files whose address matches this regular expression. Its named groups are source columns of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
    /// No files whose address matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// Only the last so many, by date where there is one, else in the list's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<usize>,
    /// What the list means to files that were read before.
    #[serde(default)]
    pub entries: Entries,
    /// Text in a link that is replaced, as `[from, to]` (`s3://bucket/` by an HTTPS address).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<(String, String)>,
    /// A date or digest that has not changed proves that the file has not: it is not asked for again.
    #[serde(default = "yes")]
    pub trust_dates: bool,
    /// Bytes of the list.
    #[serde(default = "manifest_bytes_max")]
    pub bytes_max: u64,
}

fn yes() -> bool {
    true
}

fn manifest_bytes_max() -> u64 {
    512 * hambar_core::limits::MIB
}

/// The forms of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManifestFormat {
    /// CSV with a header.
    Csv,
    /// JSON.
    Json,
    /// Lines of words between white space.
    Text,
}

/// What a list means to files that were read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Entries {
    /// Files may change: each is looked at in every run.
    #[default]
    Revised,
    /// Files never change once they are listed: only new ones are read (for `append`).
    Final,
}

impl HttpFileSpec {
    /// Reports what is wrong, as pairs of key (without `source.`) and problem.
    pub(crate) fn problems(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut problems = header_problems(&self.headers);
        problems.extend(self.auth.problems());
        let mut problem = |key: &str, what: String| problems.push((key.to_owned(), what));
        match (&self.url, &self.manifest) {
            (None, None) => problem("url", "is missing; give `url` or `[source.manifest]`".to_owned()),
            (Some(_), Some(_)) => problem("url", "stands beside `[source.manifest]`; give one of them".to_owned()),
            (None, Some(manifest)) => {
                manifest.problems(&mut problem);
                if !self.variables.is_empty() {
                    problem("variables", "belong to `url`, not to a manifest".to_owned());
                }
            }
            (Some(url), None) => {
                template_problems("url", url, &self.variables, now, &mut problem);
            }
        }
        if self.body_bytes_max == Some(0) {
            problem("body_bytes_max", "is 0".to_owned());
        }
        problems
    }
}

/// Checks a URL with variables: the template, each variable, and one filled-in address.
pub(crate) fn template_problems(
    key: &str,
    text: &str,
    variables: &BTreeMap<String, VariableSpec>,
    now: Timestamp,
    problem: &mut impl FnMut(&str, String),
) {
    let mut first = BTreeMap::new();
    for (name, spec) in variables {
        match spec.values(now) {
            Ok(values) => {
                first.insert(name.clone(), values.into_iter().next().unwrap_or_default());
            }
            Err(what) => problem(&format!("variables.{name}"), what),
        }
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(what) => return problem(key, what),
    };
    for name in template.variables() {
        if !variables.contains_key(name) {
            problem(key, format!("`{{{name}}}` has no values"));
        }
    }
    if let Ok(filled) = template.fill(&first, crate::template::Escape::Url)
        && let Err(what) = web_url(&filled)
    {
        problem(key, what);
    }
}

impl ManifestSpec {
    fn problems(&self, problem: &mut impl FnMut(&str, String)) {
        if let Err(what) = web_url(&self.url) {
            problem("manifest.url", what);
        }
        for (key, pattern) in [("manifest.include", &self.include), ("manifest.exclude", &self.exclude)] {
            match pattern.as_deref().map(regex::Regex::new) {
                Some(Err(error)) => problem(key, format!("is not a regular expression: {error}")),
                Some(Ok(pattern)) => {
                    for name in pattern.capture_names().flatten() {
                        if let Err(error) = name.parse::<Ident>() {
                            problem(key, error.to_string());
                        }
                    }
                }
                None => {}
            }
        }
        if self.newest == Some(0) {
            problem("manifest.newest", "is 0".to_owned());
        }
        if self.record_path.is_some() && self.format != ManifestFormat::Json {
            problem("manifest.record_path", "belongs to `format = \"json\"`".to_owned());
        }
        let places = [
            ("manifest.link", Some(&self.link)),
            ("manifest.size", self.size.as_ref()),
            ("manifest.md5", self.md5.as_ref()),
            ("manifest.sha256", self.sha256.as_ref()),
            ("manifest.date", self.date.as_ref()),
        ];
        for (key, place) in places {
            let Some(place) = place else { continue };
            match self.format {
                ManifestFormat::Json => {
                    if let Err(error) = place.parse::<Pointer>() {
                        problem(key, error.to_string());
                    }
                }
                ManifestFormat::Text => {
                    if !place.parse::<usize>().is_ok_and(|word| word > 0) {
                        problem(key, format!("`{place}` is not the number of a word, counted from 1"));
                    }
                }
                ManifestFormat::Csv => {
                    if place.is_empty() {
                        problem(key, "is empty".to_owned());
                    }
                }
            }
        }
    }
}
