//! One column of the rows of a chunk, under construction.

use arrow::array::NullBufferBuilder;
use hambar_core::limits::CELL_BYTES_MAX;

use super::nested::Nested;
use super::plan::PlannedColumn;
use super::{DEPTH_MAX, scan};
use crate::text_column::TextColumn;

/// Rows after which a column's dictionary is looked at, to see whether it pays.
const LOOK_ROWS: usize = 1024;

/// A column under construction.
pub(super) struct Column {
    pub(super) planned: PlannedColumn,
    pub(super) values: Values,
    /// Its rows so far.
    pub(super) length: usize,
}

/// The values of a column: text, which repeats more often than not, or structs and lists.
pub(super) enum Values {
    Text(Box<TextColumn>, NullBufferBuilder),
    Nested(Box<Nested>),
}

impl Column {
    /// Begins an empty column.
    pub(super) fn new(planned: PlannedColumn) -> Self {
        let values = match &planned.nested {
            None => {
                let mut column = Box::<TextColumn>::default();
                column.begin();
                Values::Text(column, NullBufferBuilder::new(0))
            }
            Some(kind) => Values::Nested(Box::new(Nested::new(kind))),
        };
        Self { planned, values, length: 0 }
    }

    /// Makes it `length` long with NULLs.
    pub(super) fn pad(&mut self, length: usize) {
        let missing = length.saturating_sub(self.length);
        match &mut self.values {
            Values::Text(column, valid) => {
                (0..missing).for_each(|_| column.push_null());
                valid.append_n_nulls(missing);
            }
            Values::Nested(builder) => {
                for _ in 0..missing {
                    // A missing value always fits.
                    drop(builder.push(None));
                }
            }
        }
        self.length += missing;
    }

    /// Adds the value of row `row`.
    pub(super) fn push(&mut self, row: usize, raw: &str) -> Result<(), String> {
        if self.length > row {
            return Err("the member appears twice".to_owned());
        }
        self.pad(row);
        let checked = check_cell(raw);
        self.length += 1;
        match &mut self.values {
            Values::Text(column, valid) => {
                let text = checked.and_then(|()| scan::text(raw));
                match text.as_ref().ok().and_then(|text| text.as_deref()) {
                    Some(text) => {
                        column.push(text.as_bytes());
                        valid.append_non_null();
                    }
                    None => {
                        column.push_null();
                        valid.append_null();
                    }
                }
                if self.length.is_multiple_of(LOOK_ROWS) {
                    column.look();
                }
                text.map(drop)
            }
            Values::Nested(builder) => match checked {
                Ok(()) => builder.push(Some(raw)),
                Err(reason) => {
                    drop(builder.push(None));
                    Err(reason)
                }
            },
        }
    }
}

fn check_cell(raw: &str) -> Result<(), String> {
    if raw.len() > CELL_BYTES_MAX {
        return Err(format!("the value has {} bytes, more than {CELL_BYTES_MAX}", raw.len()));
    }
    if raw.starts_with(['{', '[']) && scan::depth(raw) > DEPTH_MAX {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    Ok(())
}
