//! Reads bodies through `for_each_member` and shows the rows as text.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hambar_decode::spec::DecodeJob;
use hambar_decode::{DecodeError, Fault, Input, OpenReport, RecordSource, SourceBatch, for_each_member};
use serde_json::{Value, json};

/// Everything that one job gave.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// `name=value` for each value, one row a line; the member and record in front.
    pub(crate) rows: Vec<String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) columns: Vec<String>,
    pub(crate) report: OpenReport,
}

impl Read {
    pub(crate) fn text(&self) -> String {
        self.rows.join("\n")
    }

    /// Reads a source to its end.
    pub(crate) fn of(source: &mut dyn RecordSource) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        while let Some(batch) = source.next_batch()? {
            read.push(batch);
        }
        Ok(read)
    }

    fn push(&mut self, batch: SourceBatch) {
        let options = FormatOptions::default().with_null("NULL");
        self.columns = batch.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let columns: Vec<ArrayFormatter<'_>> =
            batch.batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        if let Some(records) = &batch.records {
            assert_eq!(records.len(), batch.batch.num_rows());
        }
        for row in 0..batch.batch.num_rows() {
            let record = batch.records.as_ref().map_or(batch.first_record + row as u64, |records| records[row]);
            let values = self.columns.iter().zip(&columns).zip(batch.batch.columns());
            let values: Vec<String> = values
                .filter(|(_, column)| column.is_valid(row))
                .map(|((name, column), _)| format!("{name}={}", column.value(row)))
                .collect();
            let member = batch.member.as_deref().map_or_else(String::new, |member| format!("{member}:"));
            self.rows.push(format!("{member}{record}: {}", values.join(", ")));
        }
        self.faults.extend(batch.faults);
    }
}

/// A job with this `[format]` and these `[[columns]]`.
pub(crate) fn job(format: &Value, columns: &Value) -> DecodeJob {
    DecodeJob::new(serde_json::from_value(format.clone()).unwrap(), serde_json::from_value(columns.clone()).unwrap())
}

pub(crate) fn read_input(input: Input, job: &DecodeJob) -> Result<Read, DecodeError> {
    let spool = std::env::temp_dir();
    let mut read = Read::default();
    let report = for_each_member(input, job, &spool, &mut |_, mut source| {
        while let Some(batch) = source.next_batch()? {
            read.push(batch);
        }
        Ok(())
    })?;
    read.report = report;
    Ok(read)
}

/// Reads bytes as a file and as a stream, with one thread and with three: all must agree.
pub(crate) fn read_job(body: &[u8], mut job: DecodeJob) -> Result<Read, String> {
    let mut outcomes = Vec::new();
    for threads in [1, 3] {
        job.limits.threads = threads;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        file.rewind().unwrap();
        outcomes.push(read_input(Input::File(file), &job));
        outcomes.push(read_input(Input::Stream(Box::new(std::io::Cursor::new(body.to_vec()))), &job));
    }
    let mut shown = outcomes.iter().map(|outcome| match outcome {
        Ok(read) => format!("{}\n{:?}", read.text(), read.faults),
        // Which of two errors is met first may depend on how far was read ahead.
        Err(_) => "an error".to_owned(),
    });
    let first = shown.next().unwrap();
    for other in shown {
        assert_eq!(first, other, "file and stream, one thread and three must agree");
    }
    outcomes.swap_remove(0).map_err(|error| hambar_core::Chain(&error).to_string())
}

pub(crate) fn read(body: &[u8], format: Value) -> Result<Read, String> {
    read_job(body, job(&format, &json!([])))
}

/// Checks the rows, or the error if `expected` starts with `error:`.
pub(crate) fn check(body: &[u8], format: Value, expected: &str) {
    check_columns(body, format, json!([]), expected);
}

pub(crate) fn check_columns(body: &[u8], format: Value, columns: Value, expected: &str) {
    let found = match read_job(body, job(&format, &columns)) {
        Ok(read) => {
            let faults = read.faults.iter().map(|fault| {
                let column = fault.column.as_deref().map_or_else(String::new, |column| format!(" `{column}`"));
                format!("{}!{column} {}", fault.record, fault.reason)
            });
            read.rows.iter().cloned().chain(faults).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(found, expected);
}

/// A file of the shared test data, or `None` where that folder is missing.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !root.is_dir() {
        let must_run = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!must_run, "no ../shared in CI");
        println!("skipped: no ../shared");
        return None;
    }
    let found = root.join(path);
    assert!(found.exists(), "{} is missing", found.display());
    Some(found)
}

/// Reads a shared file with the default limits.
pub(crate) fn read_shared(path: &str, format: Value) -> Option<Result<Read, String>> {
    let file = File::open(shared(path)?).unwrap();
    let outcome = read_input(Input::File(file), &job(&format, &json!([])));
    Some(outcome.map_err(|error| hambar_core::Chain(&error).to_string()))
}

/// This test binary again, for one test, with so much private memory (`RLIMIT_DATA`, as a decode worker has it).
pub(crate) fn limited(test: &str, memory_mib_max: u64) -> std::process::Command {
    let mut child = std::process::Command::new("sh");
    child.args(["-c", "ulimit -d $0 && exec \"$@\""]).arg((memory_mib_max * 1024).to_string());
    child.arg(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    child
}
