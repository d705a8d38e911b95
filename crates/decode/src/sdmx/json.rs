//! SDMX-JSON 1.0 and 2.x. A data message is read twice: first its structure (which may stand behind the observations),
//! then its observations as a stream, so that memory does not depend on their number. That takes a file; a message
//! that comes as a stream (out of an archive or decompressor) is held in memory up to [`JSON_STREAM_BYTES_MAX`].
//!
//! An `errors` section makes the message an error, whatever else it holds. `ACTION` (`D`) is a column only where a data
//! set deletes. A structure message gives the rows of [`super::structure`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use serde::de::DeserializeSeed;

use super::json_message::Message;
use super::json_rows::{Axes, MessageSeed, Reading};
use super::json_texts::{TEXT_BYTES_MAX, TextTooLong, Texts};
use super::rows::Rows;
use super::structure_json::StructureJson;
use super::{file_name, read_whole};
use crate::error::DecodeError;
use crate::input::Input;
use crate::pump::{Sink, pumped};
use crate::record::RecordSource;
use crate::spec::DecodeJob;

/// Bytes of a message that comes as a stream.
pub(super) const JSON_STREAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a structure message, which is held in memory as a tree.
pub(super) const JSON_STRUCTURE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A message that can be read from its beginning more than once.
enum Body {
    File(File),
    Memory(Vec<u8>),
}

impl Body {
    fn reader(&mut self) -> io::Result<impl BufRead + '_> {
        let source: Box<dyn Read + '_> = match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(&*file)
            }
            Self::Memory(bytes) => Box::new(bytes.as_slice()),
        };
        let mut reader = BufReader::with_capacity(READ_BYTES, Texts::new(source));
        if reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(reader)
    }

    fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }
}

/// Opens an SDMX-JSON message.
pub(super) fn open(
    input: Input,
    job: &DecodeJob,
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let file = file_name(member.as_ref());
    let read = |source: io::Error| DecodeError::Read { file: file.clone(), source };
    let bytes_max = job.limits.decoded_bytes_max;
    let mut body = match input {
        Input::File(file) => Body::File(file),
        Input::Stream(stream) => {
            let limit = JSON_STREAM_BYTES_MAX.min(bytes_max);
            Body::Memory(read_whole(stream, &file, "SDMX-JSON stream limit", limit)?)
        }
    };
    let length = body.length().map_err(read)?;
    if length > bytes_max {
        return Err(too_long(&file, "decoded size limit", bytes_max));
    }
    let message: Message =
        serde_json::from_reader(body.reader().map_err(read)?).map_err(|error| refused(&file, error))?;
    if let Some((code, text)) = message.error() {
        return Err(DecodeError::Message { code, text });
    }
    let Some((structures, data_sets)) = message.into_parts() else {
        if length > JSON_STRUCTURE_BYTES_MAX {
            return Err(too_long(&file, "SDMX-JSON structure limit", JSON_STRUCTURE_BYTES_MAX));
        }
        let document = serde_json::from_reader(body.reader().map_err(read)?).map_err(|error| refused(&file, error))?;
        return Ok(Box::new(StructureJson::new(&document, &file, member)?));
    };
    let axes = Axes::of_message(&structures, data_sets).map_err(|what| wrong(&file, what))?;
    let name = file.clone();
    // serde_json pushes, a `RecordSource` is pulled: hence a thread.
    pumped(&file, "SDMX-JSON", move |sink| read_rows(body, &name, axes, Rows::new(member), sink))
}

fn read_rows(mut body: Body, file: &str, axes: Vec<Axes>, rows: Rows, sink: Sink<'_>) -> Result<(), DecodeError> {
    let reader = body.reader().map_err(|source| DecodeError::Read { file: file.to_owned(), source })?;
    let mut reading = Reading::new(axes, rows, sink);
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let result = MessageSeed(&mut reading).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (result, reading.failure.take()) {
        (_, Some(failure)) => Err(failure),
        (Err(error), None) => Err(refused(file, error)),
        (Ok(()), None) => reading.finish(),
    }
}

fn too_long(file: &str, limit: &'static str, value: u64) -> DecodeError {
    DecodeError::Limit { file: file.to_owned(), limit, value, unit: "bytes", place: "the message".to_owned() }
}

pub(super) fn wrong(file: &str, what: String) -> DecodeError {
    DecodeError::Format { file: file.to_owned(), format: "SDMX-JSON", place: "the structure".to_owned(), what }
}

fn refused(file: &str, error: serde_json::Error) -> DecodeError {
    let (file, place) = (file.to_owned(), format!("line {}, column {}", error.line(), error.column()));
    if !error.is_io() {
        return DecodeError::Format { file, format: "SDMX-JSON", place, what: error.to_string() };
    }
    let source = io::Error::from(error);
    if source.get_ref().is_some_and(|source| source.is::<TextTooLong>()) {
        let (limit, value) = ("sdmx_json_text_bytes_max", TEXT_BYTES_MAX as u64);
        return DecodeError::Limit { file, limit, value, unit: "bytes", place };
    }
    DecodeError::Read { file, source }
}
