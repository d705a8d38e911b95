//! Parses the records of one chunk into columns. A record that does not fit becomes a fault; its half-filled row is
//! dropped at the end, so that all columns keep the same length meanwhile. A chunk whose cells would take far more memory
//! than its bytes (few members out of many) is parsed in several parts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::Field;
use hambar_core::limits::{BATCH_CELLS, BATCH_ROWS, COLUMNS_MAX, REJECT_RAW_BYTES_MAX, ROW_BYTES_MAX};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::column::{Column, Values};
use super::cut::{Chunk, Cuts, Place};
use super::plan::{Branch, Plan};
use super::scan;
use crate::error::DecodeError;
use crate::record::Fault;

/// The column of records that are neither objects nor arrays.
const SCALAR_COLUMN: &str = "value";

/// The rows of one chunk, or of its beginning.
pub(super) struct Parsed {
    pub(super) columns: Vec<(Arc<Field>, ArrayRef)>,
    pub(super) rows: usize,
    /// The records that became rows.
    pub(super) records: Vec<u64>,
    pub(super) first_record: u64,
    pub(super) faults: Vec<Fault>,
    /// What was not parsed yet.
    pub(super) rest: Option<Chunk>,
}

/// Parses a chunk, or as much of it as fits a batch.
pub(super) fn parse(plan: &Plan, mut chunk: Chunk, file: &str) -> Result<Parsed, DecodeError> {
    let mut table = Table::new(plan, file);
    table.faults = std::mem::take(&mut chunk.faults);
    let is_done = match &mut chunk.cuts {
        Cuts::Lines { first } => {
            let (lines, parsed_to) = table.lines(&chunk.bytes[chunk.from..], *first)?;
            *first += lines;
            chunk.from += parsed_to;
            chunk.from == chunk.bytes.len()
        }
        Cuts::Records(places) => {
            let parsed = table.records(&chunk.bytes, chunk.from, places)?;
            chunk.from = parsed.checked_sub(1).and_then(|last| places.get(last)).map_or(chunk.from, |place| place.end);
            places.drain(..parsed);
            places.is_empty()
        }
    };
    let mut parsed = table.finish()?;
    parsed.rest = (!is_done).then_some(chunk);
    Ok(parsed)
}

/// The error for a file with too many different members.
pub(super) fn too_many_columns(file: &str, record: u64) -> DecodeError {
    DecodeError::Limit {
        file: file.to_owned(),
        limit: "columns_max",
        value: COLUMNS_MAX as u64,
        unit: "columns",
        place: format!("record {record}"),
    }
}

struct Table<'a> {
    file: &'a str,
    slots: Vec<Slot<'a>>,
    by_name: HashMap<String, usize>,
    columns: Vec<Column>,
    /// Rows begun, dead ones included.
    rows: usize,
    dead: Vec<usize>,
    records: Vec<u64>,
    faults: Vec<Fault>,
    plan: &'a Plan,
    /// What is wrong with the current record.
    fault: Option<(Option<String>, String)>,
    overflow: bool,
}

/// What happens to a top-level member.
struct Slot<'a> {
    name: String,
    column: Option<usize>,
    branch: Option<&'a Branch>,
}

impl<'a> Table<'a> {
    fn new(plan: &'a Plan, file: &'a str) -> Self {
        let slots: Vec<Slot<'a>> = plan
            .root
            .members
            .iter()
            .map(|(name, target)| Slot {
                name: name.clone(),
                column: target.column,
                branch: (!target.branch.members.is_empty()).then_some(&target.branch),
            })
            .collect();
        let by_name = slots.iter().enumerate().map(|(index, slot)| (slot.name.clone(), index)).collect();
        let columns = plan.columns.iter().cloned().map(Column::new).collect();
        Self {
            file,
            slots,
            by_name,
            columns,
            rows: 0,
            dead: Vec::new(),
            records: Vec::new(),
            faults: Vec::new(),
            plan,
            fault: None,
            overflow: false,
        }
    }

    /// Parses lines until the table is full; returns how many, and the bytes that they took.
    fn lines(&mut self, bytes: &[u8], first: u64) -> Result<(u64, usize), DecodeError> {
        let is_text = simdutf8::basic::from_utf8(bytes).is_ok();
        let (mut start, mut lines) = (0, 0);
        let ends = memchr::memchr_iter(b'\n', bytes).chain((!bytes.ends_with(b"\n")).then_some(bytes.len()));
        for end in ends {
            if self.is_full() {
                break;
            }
            let (number, line) = (first + lines, bytes[start..end].trim_ascii());
            start = (end + 1).min(bytes.len());
            lines += 1;
            if line.is_empty() {
                continue;
            }
            if line.len() > ROW_BYTES_MAX {
                self.push_fault(number, None, too_large(), line);
                continue;
            }
            // One broken line does not spoil the chunk: lines are only looked at one by one where it is not all text.
            let text = if is_text { str::from_utf8(line).ok() } else { simdutf8::basic::from_utf8(line).ok() };
            let outcome = match text {
                Some(text) => self.record(number, text),
                None => {
                    self.push_fault(number, None, invalid_utf8(line), line);
                    continue;
                }
            };
            if let Err(error) = outcome {
                let reason = format!("it is no JSON at byte {}: {}", error.column(), message(&error));
                self.push_fault(number, None, reason, line);
            }
            self.check_columns(number)?;
        }
        Ok((lines, start))
    }

    /// Parses records until the table is full; returns how many. The first one starts at `start`.
    fn records(&mut self, bytes: &[u8], mut start: usize, places: &[Place]) -> Result<usize, DecodeError> {
        for (index, place) in places.iter().enumerate() {
            if self.is_full() {
                return Ok(index);
            }
            let raw = &bytes[start..place.end];
            start = place.end;
            let broken = |line: u64, column: u64, what: String| DecodeError::Format {
                file: self.file.to_owned(),
                format: "JSON",
                place: format!("line {line}, column {column} (record {})", place.number),
                what,
            };
            let Ok(text) = simdutf8::basic::from_utf8(raw) else {
                return Err(broken(place.line, place.column, invalid_utf8(raw)));
            };
            if let Err(error) = self.record(place.number, text) {
                let line = place.line + (error.line() as u64).saturating_sub(1);
                let column =
                    (error.column() as u64).max(1) + if error.line() <= 1 { place.column.saturating_sub(1) } else { 0 };
                let what = message(&error);
                let file = self.file.to_owned();
                let place = format!("line {line}, column {column} (record {})", place.number);
                return Err(DecodeError::Format { file, format: "JSON", place, what });
            }
            self.check_columns(place.number)?;
        }
        Ok(places.len())
    }

    /// True when the cells, filled up with NULLs, or the faults take enough memory.
    fn is_full(&self) -> bool {
        self.rows * self.columns.len() >= BATCH_CELLS || self.faults.len() >= BATCH_ROWS
    }

    fn check_columns(&self, record: u64) -> Result<(), DecodeError> {
        if self.overflow { Err(too_many_columns(self.file, record)) } else { Ok(()) }
    }

    /// Parses one record. An error means that it is no JSON; what JSON does not fit becomes a fault.
    fn record(&mut self, number: u64, text: &str) -> Result<(), serde_json::Error> {
        self.fault = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = match text.as_bytes().first() {
            Some(b'{') => json.deserialize_map(Object { table: self, branch: None, path: "" }),
            Some(b'[') => json.deserialize_seq(Array { table: self, branch: None, path: "" }),
            _ => <&RawValue as serde::Deserialize>::deserialize(&mut json)
                .map(|raw| self.top_member(Cow::Borrowed(SCALAR_COLUMN), raw.get(), &mut 0)),
        };
        let parsed = parsed.and_then(|()| json.end());
        let row = self.rows;
        self.rows += 1;
        self.records.push(number);
        if parsed.is_err() || self.fault.is_some() {
            self.dead.push(row);
        }
        if let (Ok(()), Some((column, reason))) = (&parsed, self.fault.take()) {
            self.push_fault(number, column, reason, text.as_bytes());
        }
        parsed
    }

    fn push_fault(&mut self, record: u64, column: Option<String>, reason: String, raw: &[u8]) {
        let raw = &raw[..raw.len().min(REJECT_RAW_BYTES_MAX)];
        let raw = String::from_utf8_lossy(raw).into_owned();
        self.faults.push(Fault { record, column, reason, raw });
    }

    /// Takes a top-level member; `expected` is the slot that comes next if this record is like the one before.
    fn top_member(&mut self, name: Cow<'_, str>, raw: &str, expected: &mut usize) {
        let slot = match self.slots.get(*expected) {
            Some(slot) if slot.name == name => *expected,
            _ => match self.by_name.get(name.as_ref()) {
                Some(slot) => *slot,
                None => self.add_slot(name.into_owned()),
            },
        };
        *expected = slot + 1;
        let (column, branch) = (self.slots[slot].column, self.slots[slot].branch);
        if let Some(column) = column {
            self.fill(column, raw);
        }
        if let Some(branch) = branch {
            let path = format!("/{}", self.slots[slot].name);
            self.branch(branch, &path, raw);
        }
    }

    fn add_slot(&mut self, name: String) -> usize {
        let column = self.plan.undeclared(&name).map(|planned| {
            self.columns.push(Column::new(planned));
            self.columns.len() - 1
        });
        self.overflow |= self.columns.len() > COLUMNS_MAX;
        self.by_name.insert(name.clone(), self.slots.len());
        self.slots.push(Slot { name, column, branch: None });
        self.slots.len() - 1
    }

    fn fill(&mut self, column: usize, raw: &str) {
        if self.overflow {
            return;
        }
        let target = &mut self.columns[column];
        if let Err(reason) = target.push(self.rows, raw)
            && self.fault.is_none()
        {
            self.fault = Some((Some(target.planned.name.clone()), reason));
        }
    }

    /// Looks into a member that declared columns point into.
    fn branch(&mut self, branch: &'a Branch, path: &str, raw: &str) {
        let mut json = serde_json::Deserializer::from_str(raw);
        let outcome = match raw.as_bytes().first() {
            Some(b'{') => json.deserialize_map(Object { table: self, branch: Some(branch), path }),
            Some(b'[') => json.deserialize_seq(Array { table: self, branch: Some(branch), path }),
            Some(b'n') | None => Ok(()),
            Some(_) => {
                let reason =
                    format!("expected an object or array, found `{}`", raw.chars().take(60).collect::<String>());
                self.fault.get_or_insert((Some(path.to_owned()), reason));
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.fault.get_or_insert((Some(path.to_owned()), message(&error)));
        }
    }

    fn branch_member(&mut self, branch: &'a Branch, path: &str, name: &str, raw: &str) {
        let Some((_, target)) = branch.members.iter().find(|(known, _)| known == name) else {
            return;
        };
        if let Some(column) = target.column {
            self.fill(column, raw);
        }
        if !target.branch.members.is_empty() {
            self.branch(&target.branch, &format!("{path}/{name}"), raw);
        }
    }

    fn finish(self) -> Result<Parsed, DecodeError> {
        let keep: Option<BooleanArray> = (!self.dead.is_empty()).then(|| {
            let mut alive = vec![true; self.rows];
            for row in &self.dead {
                alive[*row] = false;
            }
            alive.into()
        });
        let wrong = |error: arrow::error::ArrowError| DecodeError::Format {
            file: self.file.to_owned(),
            format: "JSON",
            place: "a batch of rows".to_owned(),
            what: error.to_string(),
        };
        let mut columns = Vec::with_capacity(self.columns.len());
        for mut column in self.columns {
            column.pad(self.rows);
            let array: ArrayRef = match column.values {
                Values::Text(mut column, mut valid) => column.finish(valid.finish()).map_err(wrong)?,
                Values::Nested(builder) => builder.finish().map_err(wrong)?,
            };
            let array = match &keep {
                None => array,
                Some(keep) => filter(&array, keep).map_err(wrong)?,
            };
            // Texts that repeat come as a dictionary.
            let field = column.planned.field().with_data_type(array.data_type().clone());
            columns.push((Arc::new(field), array));
        }
        let first_record = self.records.first().copied().or(self.faults.first().map(|fault| fault.record)).unwrap_or(1);
        let mut records = self.records;
        if let Some(keep) = &keep {
            let mut alive = keep.values().iter();
            records.retain(|_| alive.next().unwrap_or(false));
        }
        let first_record = records.first().copied().unwrap_or(first_record);
        Ok(Parsed { columns, rows: records.len(), records, first_record, faults: self.faults, rest: None })
    }
}

/// Takes an object's members.
struct Object<'t, 'a> {
    table: &'t mut Table<'a>,
    branch: Option<&'a Branch>,
    path: &'t str,
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(key) = map.next_key_seed(scan::Key)? {
            let raw: &'de RawValue = map.next_value()?;
            match self.branch {
                None => self.table.top_member(key, raw.get(), &mut expected),
                Some(branch) => self.table.branch_member(branch, self.path, &key, raw.get()),
            }
        }
        Ok(())
    }
}

/// Takes an array's items as members `0`, `1` …
struct Array<'t, 'a> {
    table: &'t mut Table<'a>,
    branch: Option<&'a Branch>,
    path: &'t str,
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut expected, mut index) = (0, 0_usize);
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            // Beyond the limit the whole file is refused; no need to name every item.
            if !self.table.overflow {
                let name = index.to_string();
                match self.branch {
                    None => self.table.top_member(Cow::Owned(name), raw.get(), &mut expected),
                    Some(branch) => self.table.branch_member(branch, self.path, &name, raw.get()),
                }
            }
            index += 1;
        }
        Ok(())
    }
}

/// The message without serde_json's own line and column, which count within the record.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned())
}

/// The reason for a record beyond the limit.
pub(super) fn too_large() -> String {
    format!("the record has more than {ROW_BYTES_MAX} bytes")
}

fn invalid_utf8(bytes: &[u8]) -> String {
    let at = str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    format!("it is not UTF-8 at byte {} of the record", at + 1)
}
