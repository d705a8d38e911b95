//! SDMX-CSV 1.0 and 2.0 on top of the CSV reader.
//!
//! * `DATAFLOW`, `STRUCTURE`, `STRUCTURE_ID` and `STRUCTURE_NAME` say the same in every row and the other formats have
//!   them in their headers, so they are left out; the id is delivered from the batch on in which a second one comes up.
//! * `ACTION` is kept as it is.
//! * With `labels=both` (header `FREQ: Frequency`, cell `A: Annual`) the code stays in `FREQ`, the label goes to
//!   `FREQ_label`. What stands before `: ` is a code if it has no white space; other cells stay whole.
//! * Marks of several values (`ATTR[]`) and languages (`ATTR[en;fr]`) are taken off the names; cells stay as they are.
//! * The delimiter is found from the header, unless it is set.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::file_name;
use crate::error::DecodeError;
use crate::input::Input;
use crate::record::{RecordSource, SourceBatch};
use crate::spec::{DecodeJob, FormatKind};

/// Bytes in which the first delimiter is looked for.
const HEAD_BYTES: u64 = 4 * 1024;
const ACTIONS: [&str; 5] = ["A", "D", "I", "M", "R"];

/// Opens an SDMX-CSV message.
pub(super) fn open(
    input: Input,
    job: &DecodeJob,
    member: Option<Arc<str>>,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let file = file_name(member.as_ref());
    let (head, input) = peek(input).map_err(|source| DecodeError::Read { file: file.clone(), source })?;
    let mut format = job.format.clone();
    format.kind = FormatKind::Csv;
    if format.delimiter.is_none() {
        format.delimiter = Some(delimiter(&head).to_string());
    }
    let inner = crate::csv::open(input, &format, member, &job.limits)?;
    Ok(Box::new(CsvMessage { inner, file, structure: None, has_several: false }))
}

fn peek(input: Input) -> std::io::Result<(Vec<u8>, Input)> {
    let mut head = Vec::new();
    match input {
        Input::File(mut file) => {
            file.seek(SeekFrom::Start(0))?;
            file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
            file.seek(SeekFrom::Start(0))?;
            Ok((head, Input::File(file)))
        }
        Input::Stream(mut stream) => {
            stream.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
            let whole = Cursor::new(head.clone()).chain(stream);
            Ok((head, Input::Stream(Box::new(whole))))
        }
    }
}

/// Returns the first separator of the header that stands outside of brackets (`STRUCTURE[;],…`).
fn delimiter(head: &[u8]) -> char {
    let mut depth = 0_u32;
    for byte in head {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b',' | b';' | b'\t' | b'|' if depth == 0 => return char::from(*byte),
            b'\n' => break,
            _ => {}
        }
    }
    ','
}

struct CsvMessage {
    inner: Box<dyn RecordSource>,
    file: String,
    /// The structure of the first row.
    structure: Option<String>,
    has_several: bool,
}

impl RecordSource for CsvMessage {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        let Some(mut found) = self.inner.next_batch()? else { return Ok(None) };
        found.batch = self.message_batch(&found.batch, found.first_record)?;
        Ok(Some(found))
    }
}

impl CsvMessage {
    fn wrong(&self, place: String, what: String) -> DecodeError {
        DecodeError::Format { file: self.file.clone(), format: "SDMX-CSV", place, what }
    }

    fn message_batch(&mut self, batch: &RecordBatch, first_record: u64) -> Result<RecordBatch, DecodeError> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        let mut add = |name: &str, array: ArrayRef| {
            fields.push(Field::new(name, array.data_type().clone(), true));
            columns.push(array);
        };
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let (id, has_label) = match field.name().split_once(": ") {
                Some((id, _)) => (without_marks(id), true),
                None => (without_marks(field.name()), false),
            };
            match id.as_str() {
                "STRUCTURE" | "STRUCTURE_NAME" => {}
                "DATAFLOW" | "STRUCTURE_ID" => {
                    self.note_structures(&texts(array)?);
                    if self.has_several {
                        add(&id, Arc::clone(array));
                    }
                }
                "ACTION" => {
                    self.check_actions(&texts(array)?, first_record)?;
                    add(&id, Arc::clone(array));
                }
                _ if has_label => {
                    let (codes, labels) = split_labels(&texts(array)?);
                    add(&id, codes);
                    add(&format!("{id}_label"), labels);
                }
                _ => add(&id, Arc::clone(array)),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| self.wrong("the header".to_owned(), error.to_string()))
    }

    fn note_structures(&mut self, ids: &StringArray) {
        for id in ids.iter().flatten() {
            match &self.structure {
                None => self.structure = Some(id.to_owned()),
                Some(first) => self.has_several |= first != id,
            }
        }
    }

    fn check_actions(&self, actions: &StringArray, first_record: u64) -> Result<(), DecodeError> {
        let unknown = actions.iter().zip(first_record..).find_map(|(action, record)| {
            let action = action.filter(|action| !action.is_empty() && !ACTIONS.contains(action))?;
            Some((action.to_owned(), record))
        });
        match unknown {
            Some((action, record)) => {
                let what = format!("the action `{action}` is not one of {}", ACTIONS.join(", "));
                Err(self.wrong(format!("record {record}"), what))
            }
            None => Ok(()),
        }
    }
}

/// Takes `[]` and `[en;fr]` off a name.
fn without_marks(name: &str) -> String {
    let mut depth = 0_u32;
    let kept = name.chars().filter(|character| match character {
        '[' => {
            depth += 1;
            false
        }
        ']' => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    kept.collect()
}

/// Returns a text column as plain text, whether or not it is dictionary-encoded.
fn texts(array: &ArrayRef) -> Result<StringArray, DecodeError> {
    let plain = cast(array, &DataType::Utf8).map_err(|error| DecodeError::Setting {
        setting: "format.kind",
        what: format!("SDMX-CSV needs text columns: {error}"),
    })?;
    Ok(plain.as_string::<i32>().clone())
}

/// Splits `A: Annual` into the code and its label.
fn split_labels(cells: &StringArray) -> (ArrayRef, ArrayRef) {
    let (mut codes, mut labels) = (StringBuilder::new(), StringBuilder::new());
    for cell in cells {
        let split = cell.and_then(|cell| cell.split_once(": "));
        match split.filter(|(code, _)| !code.is_empty() && !code.contains(char::is_whitespace)) {
            Some((code, label)) => {
                codes.append_value(code);
                labels.append_value(label);
            }
            None => {
                codes.append_option(cell);
                labels.append_null();
            }
        }
    }
    (Arc::new(codes.finish()), Arc::new(labels.finish()))
}
