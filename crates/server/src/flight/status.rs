//! Errors as gRPC has them. The one place that maps them to codes.

use arrow::error::ArrowError;
use hambar_core::{Chain, Classified, ErrorClass};
use hambar_query::{Cause, QueryError};
use tonic::{Code, Status};

use crate::access::AccessError;
use crate::front::FrontError;
use crate::rest::problem::note;
use crate::trace;

/// Characters of a message: it travels in a header, and clients refuse long ones.
const MESSAGE_CHARS_MAX: usize = 1_500;
/// Where a client finds the trace of a call that failed.
const TRACE: &str = "hambar-trace";

/// Returns what a client is told of an error.
pub(super) fn of(error: &FrontError) -> Status {
    // Causes inside the store may name paths and hosts, which are for the log.
    let mut text = if note(error) { "the server could not answer".to_owned() } else { Chain(error).to_string() };
    if let Some(position) = error.position() {
        text = format!("{text} ({position})");
    }
    if let Some(hint) = error.hint() {
        text = format!("{text}\nhint: {hint}");
    }
    let mut status = Status::new(code(error), shortened(&text));
    if let Some(id) = trace::current().id().and_then(|id| id.to_string().parse().ok()) {
        status.metadata_mut().insert(TRACE, id);
    }
    status
}

/// Rows that cannot be sent are a defect.
pub(super) fn not_encoded(error: &ArrowError) -> Status {
    let message = format!("write the rows: {error}");
    of(&FrontError::Query(QueryError::Execute { class: ErrorClass::Internal, message }))
}

/// Something that is not offered, and never was meant to be.
pub(super) fn refused(what: &str) -> Status {
    Status::permission_denied(format!("{what}: the store is read with queries, and with nothing else"))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(MESSAGE_CHARS_MAX).chain(['…']).collect()
}

fn code(error: &FrontError) -> Code {
    match error {
        FrontError::Access(AccessError::Needed | AccessError::Token) => Code::Unauthenticated,
        FrontError::Query(error) => match error.cause() {
            Cause::Time => Code::DeadlineExceeded,
            Cause::Table => Code::NotFound,
            Cause::Syntax
            | Cause::Statement
            | Cause::Column
            | Cause::Parameters
            | Cause::Data
            | Cause::Memory
            | Cause::Other => of_class(error.class()),
        },
        FrontError::Access(_)
        | FrontError::Role { .. }
        | FrontError::MemberBusy { .. }
        | FrontError::Busy { .. }
        | FrontError::Waited { .. }
        | FrontError::Spent { .. }
        | FrontError::Stopping => of_class(error.class()),
    }
}

fn of_class(class: ErrorClass) -> Code {
    match class {
        ErrorClass::Query | ErrorClass::Config | ErrorClass::Data | ErrorClass::Drift => Code::InvalidArgument,
        ErrorClass::Denied => Code::PermissionDenied,
        ErrorClass::Limit | ErrorClass::Quota => Code::ResourceExhausted,
        ErrorClass::Cancelled => Code::Cancelled,
        ErrorClass::Conflict => Code::Aborted,
        ErrorClass::Transient | ErrorClass::Store | ErrorClass::Refused | ErrorClass::Incomplete => Code::Unavailable,
        ErrorClass::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let query = |error: QueryError| of(&FrontError::Query(error)).code();
        assert_eq!(query(QueryError::Statement { what: "`DROP`".to_owned() }), Code::PermissionDenied);
        assert_eq!(query(QueryError::RunTime { limit: Duration::from_secs(1) }), Code::DeadlineExceeded);
        assert_eq!(query(QueryError::Stopped), Code::Cancelled);
        assert_eq!(query(QueryError::Scan { bytes: 2, limit: 1 }), Code::ResourceExhausted);
        let missing = QueryError::UnknownTable { name: "a.b".to_owned(), similar: Vec::new() };
        assert_eq!(query(QueryError::Reported(missing.report())), Code::NotFound);
        assert_eq!(of(&FrontError::Access(AccessError::Token)).code(), Code::Unauthenticated);
        assert_eq!(of(&FrontError::Access(AccessError::Tried)).code(), Code::ResourceExhausted);
        assert_eq!(of(&FrontError::Stopping).code(), Code::Unavailable);
        let inner = of(&FrontError::Query(QueryError::Worker { step: "read", cause: "/secret/path".to_owned() }));
        assert!(inner.code() == Code::Internal && !inner.message().contains("secret"), "{inner:?}");
    }

    #[test]
    fn a_long_message_is_cut() {
        let message = "ж".repeat(10_000);
        let status = of(&FrontError::Query(QueryError::Execute { class: ErrorClass::Query, message }));
        assert_eq!(status.message().chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
