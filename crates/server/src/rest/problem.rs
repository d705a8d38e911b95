//! Errors as RFC 9457 problems. The one place that maps classes to statuses.

use axum::response::{IntoResponse, Response};
use hambar_core::{Chain, Classified, ErrorClass};
use hambar_query::Position;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::access::AccessError;
use crate::front::FrontError;
use crate::trace;

/// After so many seconds a refused request may be tried again.
const RETRY_AFTER_SECONDS: u64 = 2;

/// What went wrong, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct Problem(Box<Content>);

/// What is said of a problem.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Problem")]
struct Content {
    /// Names the kind of problem: `/docs/errors#class`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// The class of the error, as in exit codes and logs.
    class: &'static str,
    /// What may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The place in the statement, both counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
    /// Seconds after which the request may go well, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The trace of the request, by which operators find what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

/// A place in a statement.
#[derive(Debug, Clone, Copy, Serialize, schemars::JsonSchema)]
struct Place {
    /// The line.
    line: u64,
    /// The character in the line.
    column: u64,
}

impl Problem {
    /// Makes the problem of an error.
    pub(crate) fn new(error: &FrontError) -> Self {
        // Causes inside the store may name paths and hosts, which are for the log.
        let retry_after = error.retry_after().map(|wait| wait.as_secs().saturating_add(1));
        let detail = if note(error) { "the server could not answer".to_owned() } else { Chain(error).to_string() };
        let mut problem = Self::build(status(error), error.class(), detail, error.hint(), error.position());
        problem.0.retry_after = retry_after;
        problem
    }

    /// A request that cannot be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::build(StatusCode::BAD_REQUEST, ErrorClass::Query, detail.into(), None, None)
    }

    /// A request that is refused for its form or size.
    pub(crate) fn refused(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::build(status, ErrorClass::Limit, detail.into(), None, None)
    }

    /// A request that is not allowed.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::build(StatusCode::FORBIDDEN, ErrorClass::Denied, detail.into(), None, None)
    }

    /// There is no such thing, or it is not for whoever asks.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::build(StatusCode::NOT_FOUND, ErrorClass::Query, format!("{what} does not exist"), None, None)
    }

    /// With advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Without a place in a statement that the client did not write.
    pub(crate) fn unplaced(mut self) -> Self {
        self.0.position = None;
        self
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the name of the error's class.
    pub(crate) fn class(&self) -> &'static str {
        self.0.class
    }

    /// Returns what went wrong this time.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns what may help.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the place in the statement: line and character, both counted from 1.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        self.0.position.map(|place| (place.line, place.column))
    }

    fn build(
        status: StatusCode,
        class: ErrorClass,
        detail: String,
        hint: Option<String>,
        position: Option<Position>,
    ) -> Self {
        Self(Box::new(Content {
            kind: format!("/docs/errors#{class}"),
            title: title(class).to_owned(),
            status: status.as_u16(),
            detail,
            class: class.name(),
            hint,
            position: position.map(|position| Place { line: position.line, column: position.column }),
            retry_after: None,
            trace: trace::current().id().map(|id| id.to_string()),
        }))
    }
}

/// Logs an error that is the server's own. Says whether it is.
pub(crate) fn note(error: &FrontError) -> bool {
    let is_inner = matches!(error.class(), ErrorClass::Store | ErrorClass::Internal);
    if is_inner {
        let traced = trace::current().id().map(tracing::field::display);
        tracing::error!(error = %Chain(error), trace = traced, "request failed");
    }
    is_inner
}

fn status(error: &FrontError) -> StatusCode {
    match error {
        FrontError::Access(AccessError::Needed | AccessError::Token) => StatusCode::UNAUTHORIZED,
        FrontError::MemberBusy { .. } | FrontError::Spent { .. } => StatusCode::TOO_MANY_REQUESTS,
        FrontError::Busy { .. } | FrontError::Waited { .. } | FrontError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        FrontError::Role { .. } => StatusCode::FORBIDDEN,
        FrontError::Query(_) | FrontError::Access(_) => of_class(error.class()),
    }
}

fn of_class(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::Query | ErrorClass::Config | ErrorClass::Data | ErrorClass::Drift => StatusCode::BAD_REQUEST,
        ErrorClass::Denied => StatusCode::FORBIDDEN,
        ErrorClass::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorClass::Quota => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::Cancelled | ErrorClass::Conflict => StatusCode::CONFLICT,
        ErrorClass::Transient | ErrorClass::Store => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Refused | ErrorClass::Incomplete => StatusCode::BAD_GATEWAY,
        ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn title(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Query => "the request cannot be answered as it is written",
        ErrorClass::Denied => "not allowed",
        ErrorClass::Limit => "a limit was reached",
        ErrorClass::Quota => "too many requests",
        ErrorClass::Cancelled => "cancelled",
        ErrorClass::Store => "the store failed",
        ErrorClass::Transient => "not now",
        ErrorClass::Conflict => "somebody else was faster",
        ErrorClass::Config => "the request is wrong",
        ErrorClass::Internal => "a defect of the server",
        ErrorClass::Refused | ErrorClass::Incomplete | ErrorClass::Drift | ErrorClass::Data => "the data is not usable",
    }
}

impl From<FrontError> for Problem {
    fn from(error: FrontError) -> Self {
        Self::new(&error)
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        Self::new(&FrontError::Access(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let retry_after = self.0.retry_after.unwrap_or(RETRY_AFTER_SECONDS);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hambar\""));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        response
    }
}
