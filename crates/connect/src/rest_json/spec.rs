//! The section `[source]` of kind `rest_json`: what is asked, how pages follow each other, and what proves that none is
//! missing. Paging styles are in `paging.rs`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::PaginationSpec;
use crate::auth::AuthSpec;
use crate::body::web_url;
use crate::client::header_problems;
use crate::http_file::template_problems;
use crate::json::Pointer;
use crate::template::{Template, Value, VariableSpec};

/// Pages of one slice, unless the file says otherwise.
pub const PAGES_MAX: u64 = 10_000;

/// Declarative requests that answer with JSON, or with CSV (`format.kind` is then `csv` or `tsv`, and every page has its
/// header).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestJsonSpec {
    /// The address, with `{variables}` of `[source.for_each]`.
    pub url: String,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Query parameters; texts may hold `{variables}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, QueryValue>,
    /// The JSON body of a POST; texts may hold `{variables}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Map<String, serde_json::Value>>,
    /// The form fields of a POST; texts may hold `{variables}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub form: BTreeMap<String, Value>,
    /// Where the records are, `*` for every item; that of `[format]` when absent. Not for CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_path: Option<Pointer>,
    /// One slice for each combination of these; the values are source columns of its rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub for_each: BTreeMap<String, VariableSpec>,
    /// How pages follow each other.
    #[serde(default)]
    pub pagination: PaginationSpec,
    /// What announces how much there is.
    #[serde(default)]
    pub complete: CompleteSpec,
    /// A separate request that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<CountSpec>,
    /// How an error looks that comes with status 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorSpec>,
    /// How later runs ask only for what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<IncrementalSpec>,
    /// How the provider wants to know who asks.
    #[serde(default)]
    pub auth: AuthSpec,
    /// Statuses that mean "no records" (204, 404).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_data_status: Vec<u16>,
    /// Pages of one slice.
    #[serde(default = "pages_max")]
    pub pages_max: u64,
    /// Bytes of one page.
    #[serde(default = "page_bytes_max")]
    pub page_bytes_max: u64,
}

fn pages_max() -> u64 {
    PAGES_MAX
}

fn page_bytes_max() -> u64 {
    256 * hambar_core::limits::MIB
}

/// The methods of a data request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    /// GET.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// POST.
    #[serde(rename = "POST")]
    Post,
}

/// The value of a query parameter; a list repeats the parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a number, a boolean, or a list of them")]
pub enum QueryValue {
    /// Once.
    One(Value),
    /// Once for each.
    Many(Vec<Value>),
}

impl QueryValue {
    /// Returns the values in order.
    pub fn values(&self) -> &[Value] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// The section `[source.complete]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteSpec {
    /// Where a page announces how many records there are in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Pointer>,
    /// The header that announces it (`x-total-count`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_header: Option<String>,
    /// Where a page announces how many pages there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pointer>,
    /// Where a page says how many records it has itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_records: Option<Pointer>,
    /// Where a page says that it was cut off (`records_truncated`): must not be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Pointer>,
    /// Where the first page gives the date of the last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Pointer>,
    /// An unchanged date of the last update proves that nothing changed. Many providers revise under the same date.
    #[serde(default)]
    pub trust_updated: bool,
    /// An unchanged first page (304) proves that the other pages are unchanged too.
    #[serde(default)]
    pub trust_first_page: bool,
}

/// The section `[source.count]`: a request with the data request's parameters that answers with a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountSpec {
    /// The address, with `{variables}`.
    pub url: String,
    /// Parameters that are added or replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, QueryValue>,
    /// Where the number is in the answer; empty where the answer is the number.
    pub total: Pointer,
}

/// The section `[source.error]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorSpec {
    /// Where the text is: the answer is an error where something stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Pointer>,
    /// Where the code is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Pointer>,
    /// Where `false` means an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Pointer>,
}

/// The section `[source.incremental]`: a parameter of later runs that asks only for what is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncrementalSpec {
    /// The query parameter (or, with `/`, the place in the body).
    pub parameter: String,
    /// Its value, with `{position}`; `{position}` alone when absent. A parameter that has a value already is joined
    /// with a comma (`filter=type:dataset,from-index-date:2024-01-01`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where a record has its position; the greatest one counts. When absent, the instant at which the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Pointer>,
    /// What the position is.
    #[serde(default)]
    pub is: CursorKind,
    /// How an instant is written (strftime, UTC); `%Y-%m-%dT%H:%M:%SZ` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// So much is asked for again, because providers publish late: seconds before the position.
    #[serde(default)]
    pub lookback_seconds: u32,
}

/// What a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorKind {
    /// An instant or date, written as ISO 8601.
    #[default]
    Instant,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// A text or number that is sent as it is.
    Text,
}

impl RestJsonSpec {
    /// Reports what is wrong, as pairs of key (without `source.`) and problem.
    pub(crate) fn problems(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut problems = header_problems(&self.headers);
        problems.extend(self.auth.problems());
        problems.extend(self.pagination.problems());
        let mut problem = |key: &str, what: String| problems.push((key.to_owned(), what));
        template_problems("url", &self.url, &self.for_each, now, &mut |key, what| {
            problem(&key.replace("variables.", "for_each."), what);
        });
        for (name, value) in &self.query {
            for value in value.values() {
                self.text_problems(&format!("query.{name}"), value, &mut problem);
            }
        }
        for (name, value) in &self.form {
            self.text_problems(&format!("form.{name}"), value, &mut problem);
        }
        if self.method == Method::Get && (self.body.is_some() || !self.form.is_empty()) {
            problem("method", "a body needs `method = \"POST\"`".to_owned());
        }
        if self.body.is_some() && !self.form.is_empty() {
            problem("form", "stands beside `body`; give one of them".to_owned());
        }
        if let Some(count) = &self.count {
            template_problems("count.url", &count.url, &self.for_each, now, &mut |key, what| {
                if key == "count.url" {
                    problem(key, what);
                }
            });
            for (name, value) in &count.query {
                for value in value.values() {
                    self.text_problems(&format!("count.query.{name}"), value, &mut problem);
                }
            }
        }
        if let Some(name) = &self.complete.total_header
            && http::HeaderName::from_bytes(name.as_bytes()).is_err()
        {
            problem("complete.total_header", format!("`{name}` is not a header name"));
        }
        for (key, value) in [("pages_max", self.pages_max), ("page_bytes_max", self.page_bytes_max)] {
            if value == 0 {
                problem(key, "is 0".to_owned());
            }
        }
        self.incremental_problems(&mut problem);
        problems
    }

    fn incremental_problems(&self, problem: &mut impl FnMut(&str, String)) {
        let Some(incremental) = &self.incremental else { return };
        if incremental.parameter.is_empty() {
            problem("incremental.parameter", "is empty".to_owned());
        }
        if let Some(value) = &incremental.value {
            match Template::parse(value) {
                Ok(template) if !template.variables().contains("position") => {
                    problem("incremental.value", "does not hold `{position}`".to_owned());
                }
                Ok(_) => {}
                Err(what) => problem("incremental.value", what),
            }
        }
        if incremental.is == CursorKind::Text && incremental.cursor.is_none() {
            problem("incremental.is", "`text` needs `cursor`: the run's start is an instant".to_owned());
        }
        if incremental.is == CursorKind::Text && (incremental.lookback_seconds > 0 || incremental.format.is_some()) {
            problem("incremental.is", "`text` has neither `format` nor `lookback_seconds`".to_owned());
        }
        if let Some(format) = &incremental.format
            && let Err(error) =
                jiff::fmt::strtime::format(format, &Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC))
        {
            problem("incremental.format", error.to_string());
        }
    }

    fn text_problems(&self, key: &str, value: &Value, problem: &mut impl FnMut(&str, String)) {
        let Value::Text(text) = value else { return };
        match Template::parse(text) {
            Err(what) => problem(key, what),
            Ok(template) => {
                for name in template.variables() {
                    if !self.for_each.contains_key(name) {
                        problem(key, format!("`{{{name}}}` has no values in `[source.for_each]`"));
                    }
                }
            }
        }
    }
}

/// Checks that a next link may be followed: same host, no downgrade (which is mended).
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn follow(base: &url::Url, link: &str) -> Result<url::Url, String> {
    let mut next = base.join(link).map_err(|error| format!("next link `{link}`: {error}"))?;
    // Servers behind a proxy often write http:// into their links; the host is what matters.
    if next.scheme() == "http" && base.scheme() == "https" && next.port().is_none() {
        next.set_scheme("https").map_err(|()| format!("next link `{link}` cannot become https"))?;
    }
    if (next.host_str(), next.port_or_known_default()) != (base.host_str(), base.port_or_known_default()) {
        return Err(format!("next link `{link}` leads to another host"));
    }
    web_url(next.as_str())
}
