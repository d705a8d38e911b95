//! The section `[source.pagination]`: the styles in which providers cut a long answer into pages.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::Pointer;
use crate::template::Template;

/// How pages follow each other. Where a key names a parameter, a name that starts with `/` is a place in the JSON body
/// of a POST; other names are query parameters, or form fields where the request has a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum PaginationSpec {
    /// One answer is all there is.
    None {},
    /// `page=1`, `page=2` …
    PageNumber {
        /// The parameter.
        #[serde(default = "page_parameter")]
        parameter: String,
        /// The first page's number.
        #[serde(default = "one")]
        first: u64,
        /// The parameter that takes the page size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_parameter: Option<String>,
        /// Records on a full page; a shorter one is the last, unless a total or a page count says more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Where a page says which one it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<Pointer>,
    },
    /// `offset=0&limit=100`, `offset=100&limit=100` …
    OffsetLimit {
        /// The offset's parameter.
        #[serde(default = "offset_parameter")]
        parameter: String,
        /// The limit's parameter.
        #[serde(default = "limit_parameter")]
        limit_parameter: String,
        /// Records that are asked for at once.
        limit: u64,
        /// The first offset: 0, or 1 where the provider counts from one.
        #[serde(default)]
        first: u64,
        /// The provider answers nothing beyond this many records: a longer result is refused, not cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reach_max: Option<u64>,
    },
    /// The body gives a cursor for the next page; the same parameter takes it, also in the body of a POST.
    CursorBody {
        /// The parameter.
        parameter: String,
        /// Where the cursor is.
        cursor: Pointer,
        /// The first request's cursor (`*`), if it needs one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<String>,
        /// The parameter that takes the page size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_parameter: Option<String>,
        /// Records on a full page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// What ends the pages.
        #[serde(default)]
        end: CursorEnd,
    },
    /// A header gives a cursor for the next page.
    CursorHeader {
        /// The answer's header.
        header: String,
        /// The request header that takes it, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_header: Option<String>,
        /// The query parameter that takes it, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter: Option<String>,
    },
    /// The body gives the next page's address.
    NextLinkBody {
        /// Where it is.
        next: Pointer,
    },
    /// The header `Link: <…>; rel="next"` gives the next page's address (RFC 8288).
    LinkHeader {},
    /// OData: `@odata.nextLink` or `odata.nextLink`, and `@odata.count` where it was asked for.
    Odata {},
    /// `where id > last order by id`: the last record's key starts the next page.
    Keyset {
        /// The parameter.
        parameter: String,
        /// Its value from the second page on, with `{key}`; `{key}` alone when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The first page's value, if it needs one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<String>,
        /// Where a record has its key; pages must come in its order.
        key: Pointer,
        /// The parameter that takes the page size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_parameter: Option<String>,
        /// Records on a full page.
        size: u64,
    },
    /// Windows of time; one that holds too much is halved.
    TimeWindow {
        /// The parameter of a window's beginning.
        from_parameter: String,
        /// The parameter of its end.
        to_parameter: String,
        /// The beginning of all time, as `2000-01-01T00:00:00Z`.
        #[schemars(with = "String")]
        from: Timestamp,
        /// The end of all time; the run's start when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        to: Option<Timestamp>,
        /// Days of one window; one window for everything when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        days: Option<u32>,
        /// How an instant is written (strftime, UTC); `%Y-%m-%dT%H:%M:%S` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        /// The smallest step that the provider understands.
        #[serde(default)]
        resolution: Resolution,
        /// What the provider makes of a record exactly at a window's end.
        #[serde(default)]
        end: WindowEnd,
        /// A window with more records than this is halved.
        records_max: u64,
        /// A window that is refused with one of these statuses is halved too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        too_large_status: Vec<u16>,
    },
    /// OAI-PMH's way: the token replaces all other parameters.
    ResumptionToken {
        /// The parameter.
        #[serde(default = "token_parameter")]
        parameter: String,
        /// Where the token is.
        token: Pointer,
        /// Parameters that are sent beside the token all the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keep: Vec<String>,
    },
}

impl Default for PaginationSpec {
    fn default() -> Self {
        Self::None {}
    }
}

fn page_parameter() -> String {
    "page".to_owned()
}

fn offset_parameter() -> String {
    "offset".to_owned()
}

fn limit_parameter() -> String {
    "limit".to_owned()
}

fn token_parameter() -> String {
    "resumptionToken".to_owned()
}

fn one() -> u64 {
    1
}

/// What ends the pages of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorEnd {
    /// No cursor. A cursor that repeats is a loop.
    #[default]
    NoCursor,
    /// A page without records. The same cursor may come with every page (Crossref).
    EmptyPage,
}

/// The smallest step of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// One day.
    Day,
    /// One second.
    #[default]
    Second,
    /// One millisecond.
    Millisecond,
}

impl Resolution {
    /// Returns its length in milliseconds.
    pub fn milliseconds(self) -> i64 {
        match self {
            Self::Day => 86_400_000,
            Self::Second => 1_000,
            Self::Millisecond => 1,
        }
    }
}

/// Whether a record exactly at a window's end belongs to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowEnd {
    /// It does: windows are sent with an end one step earlier, so that none is counted twice.
    #[default]
    Included,
    /// It does not.
    Excluded,
}

impl PaginationSpec {
    /// Reports what is wrong, as pairs of key and problem.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, what: String| problems.push((format!("pagination.{key}"), what));
        match self {
            Self::None {}
            | Self::LinkHeader {}
            | Self::Odata {}
            | Self::NextLinkBody { .. }
            | Self::ResumptionToken { .. } => {}
            Self::PageNumber { size, size_parameter, .. } | Self::CursorBody { size, size_parameter, .. } => {
                if *size == Some(0) {
                    problem("size", "is 0".to_owned());
                }
                if size_parameter.is_some() && size.is_none() {
                    problem("size", "is missing beside `size_parameter`".to_owned());
                }
            }
            Self::OffsetLimit { limit, .. } => {
                if *limit == 0 {
                    problem("limit", "is 0".to_owned());
                }
            }
            Self::CursorHeader { header, request_header, parameter } => {
                for (key, name) in [("header", Some(header)), ("request_header", request_header.as_ref())] {
                    if let Some(name) = name
                        && http::HeaderName::from_bytes(name.as_bytes()).is_err()
                    {
                        problem(key, format!("`{name}` is not a header name"));
                    }
                }
                if request_header.is_some() == parameter.is_some() {
                    problem("parameter", "give either `parameter` or `request_header`".to_owned());
                }
            }
            Self::Keyset { value, size, .. } => {
                if *size == 0 {
                    problem("size", "is 0".to_owned());
                }
                match value.as_deref().map(Template::parse) {
                    Some(Err(what)) => problem("value", what),
                    Some(Ok(template)) if !template.variables().contains("key") => {
                        problem("value", "does not hold `{key}`".to_owned());
                    }
                    Some(Ok(_)) | None => {}
                }
            }
            Self::TimeWindow { from, to, days, format, records_max, .. } => {
                if to.is_some_and(|to| to <= *from) {
                    problem("to", "is not after `from`".to_owned());
                }
                if *days == Some(0) {
                    problem("days", "is 0".to_owned());
                }
                if *records_max == 0 {
                    problem("records_max", "is 0".to_owned());
                }
                if let Some(format) = format
                    && let Err(error) = jiff::fmt::strtime::format(format, &from.to_zoned(jiff::tz::TimeZone::UTC))
                {
                    problem("format", error.to_string());
                }
            }
        }
        problems
    }
}
