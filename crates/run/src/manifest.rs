//! The manifest of a run: which landed bodies its rows came from, slice by slice, in order. It is kept before the commit
//! and counts only if the table names its run: each manifest names the run before it, so that the chain from the table's
//! newest run backwards is exactly what was committed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use hambar_core::{RunId, SliceId, SliceState, TableName};
use hambar_decode::spec::FormatSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of one line of a manifest.
const LINE_BYTES_MAX: u64 = 16 * hambar_core::limits::MIB;

/// One line of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Run(Header),
    /// A page that rows came from.
    Page(Box<PageLine>),
    /// A slice was read to its end.
    Slice(SliceLine),
}

/// What a manifest is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The run.
    pub run: RunId,
    /// The run that had committed before it.
    pub previous: Option<RunId>,
    /// The number of its commit.
    pub sequence: u64,
    /// When its rows count as recorded.
    pub recorded_at: Timestamp,
    /// [`crate::Pipeline::decode_hash`] at the time.
    pub decode_hash: String,
}

/// One landed body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageLine {
    /// Its slice.
    pub slice: SliceId,
    /// The body's SHA-256.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Where it came from, without secrets.
    pub url: String,
    /// How it was decoded, where that is not what the pipeline file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatSpec>,
    /// Cells that the connector added.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constants: BTreeMap<String, String>,
    /// Records that the provider announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_announced: Option<u64>,
}

/// The end of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceLine {
    /// The slice.
    pub slice: SliceId,
    /// Where it ended.
    pub state: SliceState,
    /// What proved it complete.
    pub evidence: String,
    /// Records that the provider announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_announced: Option<u64>,
}

/// Where the manifest of a commit is kept.
pub fn manifest_key(pipeline: &TableName, sequence: u64, run: &RunId) -> String {
    format!("runs/{pipeline}/{sequence:010}-{run}.jsonl")
}

/// Where the hash of the declaration that `system.datasets` holds is kept.
pub(crate) fn declaration_key(pipeline: &TableName) -> String {
    format!("runs/{pipeline}/declaration")
}

/// Writes a manifest to a temporary file, so that long runs need no memory for it.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    out: BufWriter<tempfile::NamedTempFile>,
}

impl ManifestWriter {
    pub(crate) fn start(header: Header) -> std::io::Result<Self> {
        let mut writer = Self { out: BufWriter::new(tempfile::NamedTempFile::new()?) };
        writer.line(&Line::Run(header))?;
        Ok(writer)
    }

    pub(crate) fn line(&mut self, line: &Line) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    pub(crate) fn finish(self) -> std::io::Result<tempfile::TempPath> {
        let file = self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(file.into_temp_path())
    }
}

/// Reads a manifest line by line.
pub fn read_manifest(path: &Path) -> std::io::Result<impl Iterator<Item = std::io::Result<Line>> + Send + 'static> {
    let mut input = BufReader::new(File::open(path)?);
    Ok(std::iter::from_fn(move || next_line(&mut input).transpose()))
}

fn next_line(input: &mut BufReader<File>) -> std::io::Result<Option<Line>> {
    let mut text = Vec::new();
    std::io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Reads the first line of a manifest.
pub fn read_header(path: &Path) -> std::io::Result<Header> {
    match read_manifest(path)?.next() {
        Some(Ok(Line::Run(header))) => Ok(header),
        Some(Ok(_)) | None => {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a manifest without its first line"))
        }
        Some(Err(error)) => Err(error),
    }
}
