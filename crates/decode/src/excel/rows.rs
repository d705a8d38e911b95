//! Sheet rows → batches: preamble, header, footer and ragged rows, the same for all kinds of workbooks.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::limits::{
    BATCH_BYTES, BATCH_CELLS, BATCH_ROWS, CELL_BYTES_MAX, COLUMNS_MAX, REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX,
};
use regex::Regex;

use crate::csv::{FOOTER_BYTES_MAX, FOOTER_LINES_MAX, header};
use crate::error::DecodeError;
use crate::pump::Sink;
use crate::record::{Fault, SourceBatch};
use crate::spec::FormatSpec;

/// The cells of one sheet row.
pub(super) type Cells = Vec<Option<String>>;

/// Collects rows into batches.
pub(super) struct Rows {
    spec: FormatSpec,
    footer: Option<Regex>,
    member: Option<Arc<str>>,
    file: String,
    /// Header lines while they come.
    lines: Vec<Vec<String>>,
    schema: Option<SchemaRef>,
    /// The sheet row of the last header line, from 1.
    header_row: u64,
    /// Rows that may turn out to be the footer.
    held: VecDeque<(u64, Cells)>,
    held_bytes: usize,
    columns: Vec<StringBuilder>,
    records: Vec<u64>,
    faults: Vec<Fault>,
    bytes: usize,
    ended: bool,
}

impl Rows {
    pub(super) fn new(spec: FormatSpec, member: Option<Arc<str>>) -> Result<Self, DecodeError> {
        let footer = spec
            .footer_pattern
            .as_deref()
            .map(Regex::new)
            .transpose()
            .map_err(|error| DecodeError::Setting { setting: "format.footer_pattern", what: error.to_string() })?;
        if spec.footer_lines > FOOTER_LINES_MAX {
            let what = format!("use at most {FOOTER_LINES_MAX}");
            return Err(DecodeError::Setting { setting: "format.footer_lines", what });
        }
        let file = member.as_deref().unwrap_or("body").to_owned();
        Ok(Self {
            spec,
            footer,
            member,
            file,
            lines: Vec::new(),
            schema: None,
            header_row: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            columns: Vec::new(),
            records: Vec::new(),
            faults: Vec::new(),
            bytes: 0,
            ended: false,
        })
    }

    /// Do rows still matter?
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes the row at `sheet_row`, from 1; rows without any value may be left out.
    pub(super) fn row(&mut self, sheet_row: u64, cells: Cells, sink: Sink<'_>) -> Result<(), DecodeError> {
        if bytes_of(&cells) > ROW_BYTES_MAX {
            return Err(self.limit("row_bytes_max", ROW_BYTES_MAX, "bytes", sheet_row));
        }
        let is_blank = cells.iter().all(|cell| cell.as_deref().is_none_or(str::is_empty));
        if self.ended || is_blank || sheet_row <= self.spec.preamble_lines as u64 {
            return Ok(());
        }
        if self.schema.is_none() {
            if self.spec.header_lines > 0 {
                return self.header_line(sheet_row, cells);
            }
            self.header_row = self.spec.preamble_lines as u64;
            let width = cells.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            self.set_columns(&header::numbered(width).names)?;
        }
        let first = cells.first().and_then(Option::as_deref).unwrap_or_default();
        if self.footer.as_ref().is_some_and(|pattern| pattern.is_match(first)) {
            self.ended = true;
            return Ok(());
        }
        self.held_bytes += bytes_of(&cells);
        self.held.push_back((sheet_row, cells));
        if self.held.len() > self.spec.footer_lines
            && let Some((row, cells)) = self.held.pop_front()
        {
            self.held_bytes -= bytes_of(&cells);
            self.data(row, &cells);
        }
        if self.held_bytes > FOOTER_BYTES_MAX {
            return Err(self.limit("footer_bytes_max", FOOTER_BYTES_MAX, "bytes", sheet_row));
        }
        let records = self.records.len() + self.faults.len();
        if records >= BATCH_ROWS || self.bytes >= BATCH_BYTES || records * self.columns.len() >= BATCH_CELLS {
            self.flush(sink)?;
        }
        Ok(())
    }

    /// The error for a limit reached at a sheet row.
    pub(super) fn limit(&self, limit: &'static str, value: usize, unit: &'static str, sheet_row: u64) -> DecodeError {
        let place = format!("sheet row {sheet_row}");
        DecodeError::Limit { file: self.file.clone(), limit, value: value as u64, unit, place }
    }

    /// Ends the sheet.
    pub(super) fn end(&mut self, sink: Sink<'_>) -> Result<(), DecodeError> {
        if self.schema.is_none() && !self.lines.is_empty() {
            let what = format!("the sheet has {} of {} header lines", self.lines.len(), self.spec.header_lines);
            return Err(DecodeError::Setting { setting: "format.header_lines", what });
        }
        self.flush(sink)
    }

    fn header_line(&mut self, sheet_row: u64, cells: Cells) -> Result<(), DecodeError> {
        let width = cells.iter().rposition(|cell| cell.as_deref().is_some_and(|text| !text.trim().is_empty()));
        let cells = cells.into_iter().take(width.map_or(0, |last| last + 1));
        self.lines.push(cells.map(|cell| cell.unwrap_or_default().trim().to_owned()).collect());
        self.header_row = sheet_row;
        if self.lines.len() < self.spec.header_lines {
            return Ok(());
        }
        let names = header::from_lines(&self.lines).names;
        self.set_columns(&names)
    }

    fn set_columns(&mut self, names: &[String]) -> Result<(), DecodeError> {
        if names.len() > COLUMNS_MAX {
            return Err(self.limit("columns_max", COLUMNS_MAX, "columns", self.header_row));
        }
        let fields: Vec<Field> = names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        self.columns = names.iter().map(|_| StringBuilder::new()).collect();
        self.schema = Some(Arc::new(Schema::new(fields)));
        Ok(())
    }

    fn data(&mut self, sheet_row: u64, cells: &Cells) {
        let record = sheet_row - self.header_row;
        if let Some((column, reason)) = self.misfit(cells) {
            let raw: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
            let raw = raw.join("\t");
            let cut = raw.floor_char_boundary(REJECT_RAW_BYTES_MAX.min(raw.len()));
            self.bytes += cut;
            self.faults.push(Fault { record, column, reason, raw: raw[..cut].to_owned() });
            return;
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            match cells.get(index).and_then(Option::as_deref) {
                Some(text) => {
                    self.bytes += text.len();
                    column.append_value(text);
                }
                None => column.append_null(),
            }
        }
        self.records.push(record);
    }

    /// Short rows are natural in sheets, whose empty cells are not stored; values beyond the header are not.
    fn misfit(&self, cells: &Cells) -> Option<(Option<String>, String)> {
        let beyond = cells.iter().skip(self.columns.len()).any(|cell| cell.as_deref().is_some_and(|t| !t.is_empty()));
        if beyond {
            let last = cells.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            return Some((None, format!("{last} cells, the header has {}", self.columns.len())));
        }
        let large = cells.iter().position(|cell| cell.as_ref().is_some_and(|text| text.len() > CELL_BYTES_MAX))?;
        let name = self.schema.as_ref().and_then(|schema| schema.fields().get(large)).map(|field| field.name().clone());
        Some((name, format!("the cell has more than {CELL_BYTES_MAX} bytes")))
    }

    fn flush(&mut self, sink: Sink<'_>) -> Result<(), DecodeError> {
        let Some(schema) = &self.schema else {
            return Ok(());
        };
        if self.records.is_empty() && self.faults.is_empty() {
            return Ok(());
        }
        let arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let records = std::mem::take(&mut self.records);
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| {
            DecodeError::Format {
                file: self.file.clone(),
                format: "a workbook",
                place: "a batch of rows".to_owned(),
                what: error.to_string(),
            }
        })?;
        let faults = std::mem::take(&mut self.faults);
        let first_record = records.first().copied().or(faults.first().map(|fault| fault.record)).unwrap_or(1);
        let is_dense = records.iter().zip(first_record..).all(|(record, expected)| *record == expected);
        self.bytes = 0;
        sink(SourceBatch {
            batch,
            records: (!is_dense).then_some(records),
            first_record,
            member: self.member.clone(),
            faults,
        })
    }
}

fn bytes_of(cells: &Cells) -> usize {
    cells.iter().flatten().map(String::len).sum()
}
