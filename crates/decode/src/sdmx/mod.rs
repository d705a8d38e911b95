//! SDMX messages → rows: dimensions, then measures, then attributes, named by concept id, every cell text. The same
//! dataflow gives the same rows from SDMX-ML, SDMX-CSV and SDMX-JSON.
//!
//! A structure message (code lists, concept schemes, dataflows, data structures …) gives rows too, one for each code
//! and language, so that ordinary pipelines keep code lists as tables with labels: see [`structure`].

use std::io::Read;
use std::sync::Arc;

use crate::error::DecodeError;
use crate::input::Input;
use crate::record::RecordSource;
use crate::spec::{DecodeJob, FormatKind};

mod csv;
mod footer;
mod groups;
mod json;
mod json_message;
mod json_rows;
mod json_texts;
mod ml;
mod ml_header;
mod rows;
pub mod structure;
mod structure_json;
mod structure_ml;
mod values;
mod xml;

/// Opens one SDMX message in the format that `job.format.kind` names: `sdmx_ml`, `sdmx_csv` or `sdmx_json`.
///
/// # Errors
/// [`DecodeError::Format`] where the bytes are not such a message; [`DecodeError::Setting`] for another format.
pub fn open(input: Input, job: &DecodeJob, member: Option<Arc<str>>) -> Result<Box<dyn RecordSource>, DecodeError> {
    match job.format.kind {
        FormatKind::SdmxMl => open_ml(input, job, member),
        FormatKind::SdmxCsv => csv::open(input, job, member),
        FormatKind::SdmxJson => json::open(input, job, member),
        _ => Err(DecodeError::Setting { setting: "format.kind", what: "not an SDMX format".to_owned() }),
    }
}

fn open_ml(input: Input, job: &DecodeJob, member: Option<Arc<str>>) -> Result<Box<dyn RecordSource>, DecodeError> {
    let file = file_name(member.as_ref());
    let source = input.into_read().map_err(|source| DecodeError::Read { file: file.clone(), source })?;
    let mut xml = xml::Xml::new(source, &file, "SDMX-ML", job.limits.decoded_bytes_max)?;
    loop {
        let root = match xml.next()? {
            xml::Token::Open { tag, empty: false } => tag.local_name().to_owned(),
            xml::Token::Text(text) if text.trim().is_empty() => continue,
            xml::Token::Other => continue,
            xml::Token::Open { .. } | xml::Token::Close | xml::Token::Text(_) | xml::Token::End => {
                return Err(xml.wrong("it does not begin with a message element"));
            }
        };
        return if matches!(root.as_str(), "Structure" | "RegistryInterface") {
            Ok(Box::new(structure_ml::StructureMl::new(xml, member)))
        } else {
            Ok(Box::new(ml::MlSource::new(xml, &root, rows::Rows::new(member))?))
        };
    }
}

fn file_name(member: Option<&Arc<str>>) -> String {
    member.map_or_else(|| "body".to_owned(), ToString::to_string)
}

/// Reads all of `source`, at most `bytes_max`; `what` names the limit.
fn read_whole(
    source: Box<dyn Read + Send>,
    file: &str,
    limit: &'static str,
    bytes_max: u64,
) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    source
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| DecodeError::Read { file: file.to_owned(), source })?;
    if bytes.len() as u64 > bytes_max {
        let place = format!("byte {bytes_max}");
        return Err(DecodeError::Limit { file: file.to_owned(), limit, value: bytes_max, unit: "bytes", place });
    }
    Ok(bytes)
}
