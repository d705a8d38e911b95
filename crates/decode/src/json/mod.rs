//! JSON documents and NDJSON. Records are cut out of the bytes one after the other and parsed in parallel; scalars stay
//! the exact text that was written (numbers of any size included), nested values become Arrow lists and structs where
//! a column is declared so, and JSON text elsewhere. Memory does not depend on the size of the input.
//!
//! Columns are the declared ones (`source` is a member's name or a JSON Pointer into the record) and every other
//! top-level member in order of first appearance, so that later batches may have more columns than earlier ones, never
//! fewer. Records that are arrays have columns `0`, `1` …; records that are neither have one column `value`.

mod column;
mod cut;
mod document;
mod lines;
mod nested;
mod parallel;
mod plan;
mod scan;
mod table;

use std::io::Read;
use std::sync::Arc;

use crate::error::DecodeError;
use crate::input::Input;
use crate::record::RecordSource;
use crate::spec::DecodeJob;

/// Containers inside each other, in one record.
pub(crate) const DEPTH_MAX: usize = 128;

/// Reads a JSON document's records at `format.record_path`.
///
/// # Errors
/// An encoding other than UTF-8, a record path that is no JSON Pointer, columns that contradict each other.
pub fn open_document(
    input: Input,
    job: &DecodeJob,
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let path = document::record_path(job.format.record_path.as_deref().unwrap_or_default())?;
    open(input, job, member, |stream, file| Box::new(document::Walker::new(stream, path, file)))
}

/// Reads JSON objects, one a line. A line that is no JSON is a fault, and reading goes on.
///
/// # Errors
/// An encoding other than UTF-8, columns that contradict each other.
pub fn open_lines(
    input: Input,
    job: &DecodeJob,
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    open(input, job, member, |stream, file| Box::new(lines::Lines::new(stream, file)))
}

fn open(
    input: Input,
    job: &DecodeJob,
    member: Option<Arc<str>>,
    cutter: impl FnOnce(Box<dyn Read + Send>, String) -> Box<dyn cut::Cutter>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let plan = checked_plan(job)?;
    let file = file_name(member.as_ref());
    let stream = input.into_read().map_err(|source| DecodeError::Read { file: file.clone(), source })?;
    Ok(Box::new(parallel::Records::start(cutter(stream, file), plan, job.limits.threads, member)?))
}

fn file_name(member: Option<&Arc<str>>) -> String {
    member.map_or_else(|| "body".to_owned(), |name| name.to_string())
}

fn checked_plan(job: &DecodeJob) -> Result<plan::Plan, DecodeError> {
    if let Some(label) = &job.format.encoding
        && !label.eq_ignore_ascii_case("utf-8")
        && !label.eq_ignore_ascii_case("utf8")
    {
        let what = format!("JSON is UTF-8 (RFC 8259), not `{label}`");
        return Err(DecodeError::Setting { setting: "format.encoding", what });
    }
    plan::Plan::new(job)
}
