//! What is kept of a query's result: its columns, and a fingerprint of its rows that no order changes.

use arrow::datatypes::FieldRef;
use futures::StreamExt;
use hambar_core::citation::{CitedColumn, CitedRead};
use hambar_core::{ErrorClass, Fingerprint};
use hambar_query::QueryError;

use crate::front::{Answer, FrontError};
use crate::rest::problem::Problem;

/// A result without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) columns: Vec<CitedColumn>,
    pub(super) fingerprint: Fingerprint,
}

/// Reads an answer to its end.
pub(super) async fn take(mut answer: Answer) -> Result<Taken, Problem> {
    let schema = answer.schema();
    let column = |field: &FieldRef| CitedColumn { name: field.name().clone(), kind: field.data_type().to_string() };
    let columns = schema.fields().iter().map(column).collect();
    let mut fingerprint = Fingerprint::default();
    while let Some(batch) = answer.next().await {
        let batch = batch.map_err(|error| Problem::new(&error))?;
        let before = fingerprint;
        let added = tokio::task::spawn_blocking(move || {
            let mut fingerprint = before;
            fingerprint.add(&batch, |_| true).map(|()| fingerprint)
        });
        let added = added.await.map_err(|error| failed(ErrorClass::Internal, error.to_string()))?;
        fingerprint = added.map_err(|error| {
            let problem = failed(ErrorClass::Query, format!("the result has no fingerprint: {error}"));
            problem.hint("cast the column to a text")
        })?;
    }
    if answer.is_truncated() {
        let problem =
            failed(ErrorClass::Limit, "a limit cut the result off, so that not all of it would be cited".to_owned());
        return Err(problem.hint("ask for fewer rows"));
    }
    Ok(Taken { columns, fingerprint })
}

/// The versions that a statement does not name itself.
pub(super) fn standing(reads: &[CitedRead]) -> std::collections::BTreeMap<hambar_core::TableName, u64> {
    reads.iter().filter(|read| !read.is_in_text).map(|read| (read.table.clone(), read.version)).collect()
}

pub(super) fn failed(class: ErrorClass, message: String) -> Problem {
    Problem::new(&FrontError::Query(QueryError::Execute { class, message }))
}
