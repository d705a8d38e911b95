//! What one real answer is made of: format, dialect, and the types of its columns, inferred from the whole of it. The
//! bytes are untrusted, so [`survey_in_child`] looks at them in a confined process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use hambar_core::{Ident, OnDrift};
use hambar_decode::infer::{self, Inferred};
use hambar_decode::spec::{ColumnRule, DecodeJob, FormatKind, FormatSpec, NullSpec, UnpivotSpec};
use hambar_decode::{DecodeError, Input, for_each_member};
use hambar_sandbox::{Confinement, Network, confine};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outline::Outline;
use crate::decode_pool::ProcessSettings;

/// Bytes at the start that show what a body is.
const HEAD_BYTES: u64 = 64 * 1024;
/// Bytes of a JSON document that is searched for its records.
const JSON_BYTES_MAX: u64 = 128 * hambar_core::limits::MIB;
/// Delimiters that are tried where the text is packed and cannot be looked at as it is.
const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];

/// What is asked of a survey.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SurveyRequest {
    /// The body.
    pub body: PathBuf,
    /// The last part of its address, whose ending says what is in a packed file.
    pub file_name: String,
    /// The archive members to read, as a glob.
    pub members: Option<String>,
    /// Where the records of a JSON answer are; the largest array of objects when absent.
    pub record_path: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// How to read it.
    pub format: FormatSpec,
    /// The columns.
    pub columns: Vec<ColumnRule>,
    /// Missing values.
    pub nulls: NullSpec,
    /// Columns that identify a row, as far as this answer shows.
    pub key: Vec<Ident>,
    /// Wide to long.
    pub unpivot: Option<UnpivotSpec>,
    /// Rows looked at.
    pub rows: u64,
    /// Records that could not be read.
    pub faults: u64,
    /// What stands around the records of a JSON answer.
    pub outline: Option<Outline>,
}

/// Looks at a whole body. `spool_dir` takes archive members that need random access.
///
/// # Errors
/// The body is in no format that can be read, or damaged, or has no records.
pub fn survey(request: &SurveyRequest, spool_dir: &Path) -> Result<Survey, DecodeError> {
    let open = || File::open(&request.body).map_err(read_error);
    let mut head = Vec::new();
    open()?.take(HEAD_BYTES).read_to_end(&mut head).map_err(read_error)?;
    let sniffed = infer::sniff(&head);
    let is_packed = sniffed.compression.is_some() || sniffed.archive.is_some();
    let kind = match sniffed.kind {
        Some(kind) => kind,
        None if is_packed => kind_of_name(request.members.as_deref().unwrap_or(&request.file_name)),
        None => {
            return Err(DecodeError::Format {
                file: "body".to_owned(),
                format: "a known format",
                place: "its first bytes".to_owned(),
                what: "it looks like none of them; is this the address of a web page?".to_owned(),
            });
        }
    };
    let mut base = plain(kind);
    (base.compression, base.archive) = (sniffed.compression, sniffed.archive);
    base.members.clone_from(&request.members);
    let outline = outline(kind, &request.body, is_packed)?;
    let is_delimited = matches!(kind, FormatKind::Csv | FormatKind::Tsv);
    let candidates = match (is_delimited, is_packed) {
        (true, false) => vec![infer::dialect(&open()?)?],
        (true, true) => DELIMITERS.iter().map(|text| delimited(&base, text)).collect(),
        (false, _) => {
            let found = || outline.as_ref().map(|outline| outline.record_path.clone());
            base.record_path = request.record_path.clone().or_else(found).filter(|path| !path.is_empty());
            vec![base]
        }
    };
    let mut best: Option<Survey> = None;
    for format in candidates {
        let found = infer_columns(Input::File(open()?), format, spool_dir)?;
        let is_better = best.as_ref().is_none_or(|other| found.columns.len() > other.columns.len());
        if is_better {
            best = Some(found);
        }
    }
    let best = best.map(|found| Survey { outline, ..found });
    best.filter(|found| !found.columns.is_empty()).ok_or_else(|| DecodeError::Format {
        file: "body".to_owned(),
        format: "a table",
        place: "its end".to_owned(),
        what: "it has no records".to_owned(),
    })
}

fn read_error(source: io::Error) -> DecodeError {
    DecodeError::Read { file: "body".to_owned(), source }
}

fn kind_of_name(name: &str) -> FormatKind {
    let lower = name.to_ascii_lowercase();
    let has = |ending: &str| lower.contains(ending);
    match () {
        () if has(".ndjson") || has(".jsonl") => FormatKind::Ndjson,
        () if has(".json") => FormatKind::Json,
        () if has(".parquet") => FormatKind::Parquet,
        () if has(".xlsx") => FormatKind::Xlsx,
        () if has(".xls") => FormatKind::Xls,
        () if has(".ods") => FormatKind::Ods,
        () if has(".xml") => FormatKind::SdmxMl,
        () => FormatKind::Csv,
    }
}

fn plain(kind: FormatKind) -> FormatSpec {
    let text = serde_json::json!({ "kind": kind });
    serde_json::from_value(text).expect("every key of the format but its kind has a default")
}

fn delimited(base: &FormatSpec, delimiter: &str) -> FormatSpec {
    let mut format = base.clone();
    match delimiter {
        "," => format.kind = FormatKind::Csv,
        "\t" => format.kind = FormatKind::Tsv,
        other => (format.kind, format.delimiter) = (FormatKind::Csv, Some(other.to_owned())),
    }
    format
}

/// Looks at a JSON document as a whole: where its records are, and what stands around them.
fn outline(kind: FormatKind, body: &Path, is_packed: bool) -> Result<Option<Outline>, DecodeError> {
    let length = std::fs::metadata(body).map_err(read_error)?.len();
    if kind != FormatKind::Json || is_packed || length > JSON_BYTES_MAX {
        return Ok(None);
    }
    let text = std::fs::read(body).map_err(read_error)?;
    // A damaged document is the decoder's to complain about, with line and column.
    Ok(serde_json::from_slice::<Value>(&text).ok().as_ref().and_then(Outline::of))
}

fn infer_columns(input: Input, format: FormatSpec, spool_dir: &Path) -> Result<Survey, DecodeError> {
    let mut job = DecodeJob::new(format, Vec::new());
    job.on_drift = OnDrift::Quarantine;
    let mut found: Option<Inferred> = None;
    for_each_member(input, &job, spool_dir, &mut |_, mut source| {
        // Members of one archive have the same columns: the first shows them.
        if found.is_none() {
            found = Some(infer::columns(source.as_mut(), &job.format)?);
        } else {
            while source.next_batch()?.is_some() {}
        }
        Ok(())
    })?;
    let Inferred { columns, nulls, key, unpivot, rows, faults } = found.unwrap_or_default();
    Ok(Survey { format: job.format, columns, nulls, key, unpivot, rows, faults, outline: None })
}

#[derive(Debug, Serialize, Deserialize)]
struct ChildRequest {
    survey: SurveyRequest,
    memory_bytes_max: u64,
    cpu_seconds_max: u64,
    file_bytes_max: u64,
}

/// Surveys a body in a confined child, `<program> survey-worker`; blocks until it ends.
///
/// # Errors
/// A text for people: what the child reported, or how it died.
pub fn survey_in_child(settings: &ProcessSettings, request: SurveyRequest) -> Result<Survey, String> {
    let child_request = ChildRequest {
        survey: request,
        memory_bytes_max: settings.memory_bytes_max,
        cpu_seconds_max: settings.cpu_seconds_max,
        file_bytes_max: settings.file_bytes_max,
    };
    let text = serde_json::to_vec(&child_request).map_err(|error| error.to_string())?;
    let mut command = Command::new(&settings.program);
    command.arg("survey-worker").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: io::Error| format!("survey worker: {error}");
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    match serde_json::from_slice::<Result<Survey, String>>(&output.stdout) {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "survey worker ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// What `hambar survey-worker` does: reads a request from standard input, confines itself, and writes the survey, or
/// the reason why there is none, to standard output as JSON.
pub fn survey_worker_main() -> ExitCode {
    let answer = survey_here();
    let written = serde_json::to_writer(io::stdout(), &answer);
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn survey_here() -> Result<Survey, String> {
    let mut text = Vec::new();
    io::stdin().take(1024 * 1024).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let request: ChildRequest = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let confinement = Confinement {
        memory_bytes_max: request.memory_bytes_max,
        cpu_seconds_max: request.cpu_seconds_max,
        file_bytes_max: request.file_bytes_max,
        descriptors_max: 256,
        network: Network::Denied,
    };
    confine(&confinement).map_err(|error| error.to_string())?;
    survey(&request.survey, &std::env::temp_dir()).map_err(|error| hambar_core::Chain(&error).to_string())
}
