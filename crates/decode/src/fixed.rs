//! Fixed-width text → Arrow text columns. Positions count characters, not bytes.
//!
//! Lines are found by the delimited reader, with all its care for encodings, limits, comments and footers. Names come
//! from `[[format.fixed]]`, so there is no header: title lines are skipped with `preamble_lines`, and `header_lines` is
//! not looked at. `footer_pattern` is tried on the whole line.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hambar_core::limits::{BATCH_CELLS, COLUMNS_MAX, REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX};

use crate::csv::CsvSource;
use crate::error::DecodeError;
use crate::input::Input;
use crate::record::{Fault, RecordSource, SourceBatch};
use crate::spec::{DecodeLimits, FixedColumn, FormatKind, FormatSpec, Ragged};

/// Separates nothing: a text that no file contains, so that each line is one cell. A line that does contain it is
/// rejected.
const NO_DELIMITER: &str = "\u{1f}\u{1e}\u{1d}\u{1f}";

/// A reader of fixed-width text.
#[derive(Debug)]
pub struct FixedSource {
    lines: CsvSource,
    /// Lines that are not cut yet.
    rest: Option<SourceBatch>,
    columns: Vec<FixedColumn>,
    schema: SchemaRef,
    ragged: Ragged,
    trim: bool,
}

impl FixedSource {
    /// Opens fixed-width text: checks the columns and finds the encoding.
    ///
    /// # Errors
    /// Columns that contradict the limits or each other, and what delimited text cannot be opened for.
    pub fn open(
        input: Input,
        spec: &FormatSpec,
        member: Option<Arc<str>>,
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        check_columns(&spec.fixed)?;
        let lines = FormatSpec {
            kind: FormatKind::Csv,
            delimiter: Some(NO_DELIMITER.to_owned()),
            quote: Some(String::new()),
            escape: None,
            header_lines: 0,
            ragged: Ragged::Reject,
            trim: false,
            ..spec.clone()
        };
        let fields: Vec<Field> =
            spec.fixed.iter().map(|column| Field::new(&column.name, DataType::Utf8, true)).collect();
        Ok(Self {
            lines: CsvSource::open(input, &lines, member, limits)?,
            rest: None,
            columns: spec.fixed.clone(),
            schema: Arc::new(Schema::new(fields)),
            ragged: spec.ragged,
            trim: spec.trim,
        })
    }

    /// Returns the encoding found or declared, by its WHATWG name in lower case; certain once the end was reached.
    pub fn encoding(&self) -> String {
        self.lines.encoding()
    }

    fn cut(&self, source: SourceBatch) -> Result<SourceBatch, ArrowError> {
        let texts = match source.batch.columns().first() {
            Some(column) => cast(column, &DataType::Utf8)?,
            None => arrow::array::new_empty_array(&DataType::Utf8),
        };
        let texts = texts.as_string::<i32>();
        let mut builders: Vec<StringBuilder> =
            self.columns.iter().map(|_| StringBuilder::with_capacity(texts.len(), texts.len() * 8)).collect();
        let mut faults = source.faults;
        let mut records = Vec::with_capacity(texts.len());
        let mut starts = Vec::new();
        for row in 0..texts.len() {
            let record = match &source.records {
                Some(numbers) => numbers.get(row).copied().unwrap_or_default(),
                None => source.first_record + row as u64,
            };
            let line = texts.value(row);
            starts_of_characters(line, &mut starts);
            if let Some(fault) = self.too_short(record, line, starts.len().saturating_sub(1)) {
                faults.push(fault);
                continue;
            }
            for (column, builder) in self.columns.iter().zip(&mut builders) {
                let cell = cell(line, &starts, column);
                builder.append_option(if self.trim { cell.map(str::trim) } else { cell });
            }
            records.push(record);
        }
        faults.sort_by_key(|fault| fault.record);
        let arrays: Vec<ArrayRef> = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        let first_record = records.first().copied().unwrap_or(source.first_record);
        let records = (source.records.is_some() || !faults.is_empty()).then_some(records);
        Ok(SourceBatch { batch, records, first_record, member: source.member, faults })
    }

    fn too_short(&self, record: u64, line: &str, characters: usize) -> Option<Fault> {
        let missing = self.columns.iter().find(|column| column.start > characters);
        let column = missing.filter(|_| self.ragged == Ragged::Reject)?;
        let reason = format!("{characters} characters, but `{}` starts at character {}", column.name, column.start);
        let mut end = REJECT_RAW_BYTES_MAX.min(line.len());
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let raw = line.get(..end).unwrap_or_default().to_owned();
        Some(Fault { record, column: Some(column.name.clone()), reason, raw })
    }
}

impl RecordSource for FixedSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        let next = match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.lines.next_batch()?,
        };
        let Some(mut source) = next else {
            return Ok(None);
        };
        // Short lines have a few bytes, and as many cells as all others.
        self.rest = source.split_off((BATCH_CELLS / self.columns.len()).max(1));
        let file = source.member.as_deref().unwrap_or("body").to_owned();
        let cut = self.cut(source).map_err(|error| DecodeError::Format {
            file,
            format: "fixed-width text",
            place: "its columns".to_owned(),
            what: error.to_string(),
        });
        cut.map(Some)
    }
}

fn check_columns(columns: &[FixedColumn]) -> Result<(), DecodeError> {
    let setting = |what: String| Err(DecodeError::Setting { setting: "format.fixed", what });
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        return setting(format!("declare 1 to {COLUMNS_MAX} columns"));
    }
    let mut names = std::collections::HashSet::new();
    for column in columns {
        if column.start == 0 || column.width == 0 || column.start.saturating_add(column.width) > ROW_BYTES_MAX {
            let what = format!("start and width count from 1, and no line has more than {ROW_BYTES_MAX} characters");
            return setting(format!("column `{}`: {what}", column.name));
        }
        if !names.insert(&column.name) {
            return setting(format!("column `{}` is declared twice", column.name));
        }
    }
    Ok(())
}

/// Fills `starts` with the byte position of each character, and the line's length at the end.
fn starts_of_characters(line: &str, starts: &mut Vec<usize>) {
    starts.clear();
    if line.is_ascii() {
        starts.extend(0..=line.len());
    } else {
        starts.extend(line.char_indices().map(|(start, _)| start));
        starts.push(line.len());
    }
}

/// Returns the column's part of the line, or `None` where the line ends before it.
fn cell<'a>(line: &'a str, starts: &[usize], column: &FixedColumn) -> Option<&'a str> {
    let characters = starts.len().saturating_sub(1);
    let first = column.start - 1;
    if first >= characters {
        return None;
    }
    let start = starts.get(first)?;
    let end = starts.get((first + column.width).min(characters))?;
    line.get(*start..*end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, ragged: &str, expected: &[&str]) {
        let spec: FormatSpec = serde_json::from_value(serde_json::json!({
            "kind": "fixed_width", "ragged": ragged, "comment": "#",
            "fixed": [{"name": "id", "start": 1, "width": 3}, {"name": "city", "start": 4, "width": 6},
                      {"name": "n", "start": 10, "width": 2}],
        }))
        .unwrap();
        let input = Input::Stream(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())));
        let mut source = FixedSource::open(input, &spec, None, &DecodeLimits::default()).unwrap();
        let mut got = Vec::new();
        while let Some(batch) = source.next_batch().unwrap() {
            for row in 0..batch.batch.num_rows() {
                let cells = batch.batch.columns().iter().map(|column| {
                    let column = column.as_string::<i32>();
                    if column.is_null(row) { "NULL".to_owned() } else { column.value(row).to_owned() }
                });
                got.push(cells.collect::<Vec<_>>().join("|"));
            }
            got.extend(batch.faults.iter().map(|fault| format!("fault {}: {}", fault.record, fault.reason)));
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        check("001Sofia 12\n002Бургас34\r\n#\n003Русе  5", "reject", &["001|Sofia|12", "002|Бургас|34", "003|Русе|5"]);
    }

    #[test]
    fn short_lines_are_rejected_or_padded() {
        check(
            "001Sofia 12\n002X\n",
            "reject",
            &["001|Sofia|12", "fault 2: 4 characters, but `n` starts at character 10"],
        );
        check("001Sofia 12\n002X\n", "pad", &["001|Sofia|12", "002|X|NULL"]);
    }
}
