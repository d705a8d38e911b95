//! Collects observations into Arrow batches. A cell set for the observation goes straight into its column; a cell set
//! for the series, the group around it or the data set is repeated into every row below. Columns come up as they are
//! met and stay: from batch to batch the schema only grows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::limits::{BATCH_BYTES, BATCH_CELLS, BATCH_ROWS, CELL_BYTES_MAX, COLUMNS_MAX, ROW_BYTES_MAX};

use super::groups::Groups;
use crate::record::SourceBatch;

/// Bytes of held cells whose memory is kept for the next data set, group or series.
const HELD_BYTES_KEPT: usize = 256 * 1024;

/// What a column is to its structure; decides the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Part of the key, or anything in a message that does not tell (structure-specific XML).
    Dimension,
    /// An observed value.
    Measure,
    /// What qualifies the value.
    Attribute,
}

/// Where a cell is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// To all rows of the data set.
    DataSet,
    /// To the series inside the group (SDMX-ML 2.0) or to those that match its key.
    Group,
    /// To the rows of the series.
    Series,
    /// To one row.
    Observation,
}

#[derive(Debug, Default)]
struct Held {
    text: String,
    stamp: u64,
}

#[derive(Debug)]
struct Column {
    name: String,
    role: Role,
    builder: StringBuilder,
    /// Cells of data set, group and series.
    held: [Held; 3],
    /// The column that came after this one last time: names mostly come in the same order.
    next: usize,
}

/// The rows of the batch being made.
#[derive(Debug)]
pub(super) struct Rows {
    columns: Vec<Column>,
    by_name: HashMap<Box<str>, usize>,
    last: usize,
    row: usize,
    bytes: usize,
    /// The row being made has cells of its own.
    is_open: bool,
    /// Bytes of the observation's own cells, and of those held for data set, group and series.
    own_bytes: usize,
    held_bytes: [usize; 3],
    /// The stamps of the current data set, group and series; a held cell with another stamp is out of date.
    stamps: [u64; 3],
    groups: Groups,
    first_record: u64,
    member: Option<Arc<str>>,
}

impl Rows {
    pub(super) fn new(member: Option<Arc<str>>) -> Self {
        Self {
            columns: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            row: 0,
            bytes: 0,
            is_open: false,
            own_bytes: 0,
            held_bytes: [0; 3],
            stamps: [1; 3],
            groups: Groups::default(),
            first_record: 1,
            member,
        }
    }

    /// Returns the 1-based number of the row being made.
    pub(super) fn record(&self) -> u64 {
        self.first_record + self.row as u64
    }

    /// Finds or makes the column `name`.
    pub(super) fn column(&mut self, name: &str, role: Role) -> Result<usize, String> {
        let guess = self.columns.get(self.last).map_or(0, |column| column.next);
        if self.columns.get(guess).is_some_and(|column| column.name == name) {
            self.last = guess;
            return Ok(guess);
        }
        let found = match self.by_name.get(name) {
            Some(found) => *found,
            None => self.add_column(name, role)?,
        };
        if let Some(column) = self.columns.get_mut(self.last) {
            column.next = found;
        }
        self.last = found;
        Ok(found)
    }

    fn add_column(&mut self, name: &str, role: Role) -> Result<usize, String> {
        if name.is_empty() {
            return Err("a value without the name of its concept".to_owned());
        }
        if self.columns.len() >= COLUMNS_MAX {
            return Err(format!("more than {COLUMNS_MAX} columns"));
        }
        let mut builder = StringBuilder::new();
        builder.append_nulls(self.row);
        let index = self.columns.len();
        self.columns.push(Column { name: name.to_owned(), role, builder, held: Default::default(), next: index });
        self.by_name.insert(name.into(), index);
        Ok(index)
    }

    /// Sets a cell at a level.
    pub(super) fn set(&mut self, level: Level, name: &str, role: Role, value: &str) -> Result<(), String> {
        let index = self.column(name, role)?;
        self.set_at(level, index, value)
    }

    /// Sets a cell of the column `index`, as [`Rows::column`] gave it.
    pub(super) fn set_at(&mut self, level: Level, index: usize, value: &str) -> Result<(), String> {
        if value.len() > CELL_BYTES_MAX {
            return Err(format!("a cell of more than {CELL_BYTES_MAX} bytes"));
        }
        let slot = match level {
            Level::DataSet => 0,
            Level::Group => 1,
            Level::Series => 2,
            Level::Observation => {
                let row = self.row;
                let column = &mut self.columns[index];
                if column.builder.offsets_slice().len() > row + 1 {
                    return Err(format!("`{}` is given twice for one observation", column.name));
                }
                self.own_bytes += value.len();
                if self.own_bytes > ROW_BYTES_MAX {
                    return Err(format!("an observation of more than row_bytes_max of {ROW_BYTES_MAX} bytes"));
                }
                column.builder.append_value(value);
                self.is_open = true;
                self.bytes += value.len();
                return Ok(());
            }
        };
        let stamp = self.stamps[slot];
        let held = &mut self.columns[index].held[slot];
        if held.stamp == stamp {
            return Err(format!("`{}` is given twice for one {}", self.columns[index].name, LEVEL_NAMES[slot]));
        }
        self.held_bytes[slot] += value.len();
        if self.held_bytes[slot] > ROW_BYTES_MAX {
            return Err(format!(
                "a {} with cells of more than row_bytes_max of {ROW_BYTES_MAX} bytes",
                LEVEL_NAMES[slot]
            ));
        }
        held.stamp = stamp;
        held.text.clear();
        held.text.push_str(value);
        Ok(())
    }

    /// Forgets the cells of `level`: another data set, group or series begins, or one ends.
    pub(super) fn forget(&mut self, level: Level) {
        let first = match level {
            Level::DataSet => {
                self.groups = Groups::default();
                0
            }
            Level::Group => 1,
            Level::Series => 2,
            Level::Observation => return,
        };
        for slot in first..self.stamps.len() {
            self.stamps[slot] += 1;
            if std::mem::take(&mut self.held_bytes[slot]) > HELD_BYTES_KEPT {
                self.columns.iter_mut().for_each(|column| column.held[slot].text = String::new());
            }
        }
    }

    /// Keeps the cells of `Level::Group` as a group that later rows match by key. `keys` names the key's columns;
    /// without it (structure-specific messages) they are those columns that rows have of their own.
    pub(super) fn keep_group(&mut self, kind: &str, keys: Option<&[usize]>) -> Result<(), String> {
        let stamp = self.stamps[1];
        let cells = self.columns.iter().enumerate().filter(|(_, column)| column.held[1].stamp == stamp);
        let cells: Vec<(usize, String)> = cells.map(|(index, column)| (index, column.held[1].text.clone())).collect();
        self.groups.add(kind, keys, cells)?;
        self.forget(Level::Group);
        Ok(())
    }

    /// Ends the row: fills what was not given for the observation itself from the levels above.
    pub(super) fn end_row(&mut self) {
        let row = self.row;
        let [data_set, group, series] = self.stamps;
        if self.groups.is_empty() {
            for column in &mut self.columns {
                if column.builder.offsets_slice().len() > row + 1 {
                    continue;
                }
                let [of_data_set, of_group, of_series] = &column.held;
                let text = if of_series.stamp == series {
                    &of_series.text
                } else if of_group.stamp == group {
                    &of_group.text
                } else if of_data_set.stamp == data_set {
                    &of_data_set.text
                } else {
                    column.builder.append_null();
                    continue;
                };
                column.builder.append_value(text);
                self.bytes += text.len();
            }
        } else {
            self.end_row_with_groups();
        }
        (self.is_open, self.own_bytes) = (false, 0);
        self.row += 1;
    }

    fn end_row_with_groups(&mut self) {
        let row = self.row;
        let [data_set, group, series] = self.stamps;
        for column in &mut self.columns {
            if column.builder.offsets_slice().len() == row + 1 && column.held[2].stamp == series {
                column.builder.append_value(&column.held[2].text);
                self.bytes += column.held[2].text.len();
            }
        }
        let mut groups = std::mem::take(&mut self.groups);
        groups.look_up(&|index| own_cell(&self.columns[index], row));
        for (index, text) in groups.hits() {
            let column = &mut self.columns[index];
            if column.builder.offsets_slice().len() == row + 1 {
                column.builder.append_value(text);
                self.bytes += text.len();
            }
        }
        self.groups = groups;
        for column in &mut self.columns {
            if column.builder.offsets_slice().len() > row + 1 {
                continue;
            }
            let [of_data_set, of_group, _] = &column.held;
            let text = if of_group.stamp == group {
                &of_group.text
            } else if of_data_set.stamp == data_set {
                &of_data_set.text
            } else {
                column.builder.append_null();
                continue;
            };
            column.builder.append_value(text);
            self.bytes += text.len();
        }
    }

    /// True when the batch should be delivered: never in the middle of a row.
    pub(super) fn is_full(&self) -> bool {
        let is_large = self.bytes >= BATCH_BYTES || self.row * self.columns.len() >= BATCH_CELLS;
        !self.is_open && (is_large || self.row >= BATCH_ROWS)
    }

    /// Takes the finished rows, `None` if there are none.
    pub(super) fn take(&mut self) -> Option<SourceBatch> {
        if self.row == 0 {
            return None;
        }
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|index| self.columns[*index].role);
        let fields: Vec<Field> =
            order.iter().map(|index| Field::new(&self.columns[*index].name, DataType::Utf8, true)).collect();
        let arrays: Vec<ArrayRef> =
            order.iter().map(|index| Arc::new(self.columns[*index].builder.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.row));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("every column was filled to the same row in end_row");
        let taken = SourceBatch::consecutive(batch, self.first_record, self.member.clone());
        self.first_record += self.row as u64;
        self.row = 0;
        self.bytes = 0;
        Some(taken)
    }
}

const LEVEL_NAMES: [&str; 3] = ["data set", "group", "series"];

fn own_cell(column: &Column, row: usize) -> Option<&str> {
    let offsets = column.builder.offsets_slice();
    let (start, end) = (*offsets.get(row)?, *offsets.get(row + 1)?);
    let bytes = column.builder.values_slice().get(start as usize..end as usize)?;
    std::str::from_utf8(bytes).ok()
}
