//! Aligned columns. Widths come from the first rows; later rows that need more are cut with `…`, never silently
//! dropped: the footer counts all rows. Other formats never cut.

use std::io::{self, Write};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows that decide about the widths.
const SAMPLE_ROWS: usize = 1_000;
/// The widest column, in characters.
const WIDTH_MAX: usize = 60;

pub(crate) struct TableWriter<W: Write> {
    sink: W,
    headers: Vec<String>,
    is_number: Vec<bool>,
    widths: Vec<usize>,
    sample: Vec<Vec<String>>,
    is_printing: bool,
    rows: u64,
    cut: u64,
}

impl<W: Write> TableWriter<W> {
    pub(crate) fn new(sink: W, schema: &SchemaRef) -> Self {
        let headers: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let is_number = schema.fields().iter().map(|field| is_number(field.data_type())).collect();
        let widths = headers.iter().map(|header| width(header)).collect();
        Self { sink, headers, is_number, widths, sample: Vec::new(), is_printing: false, rows: 0, cut: 0 }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_null("");
        let formatters: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cells =
                formatters.iter().map(|formatter| formatter.value(row).try_to_string().map(|text| printable(&text)));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            self.rows += 1;
            if self.is_printing {
                self.line(&cells)?;
            } else {
                self.sample.push(cells);
                if self.sample.len() == SAMPLE_ROWS {
                    self.start()?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.is_printing {
            self.start()?;
        }
        let noun = if self.rows == 1 { "row" } else { "rows" };
        write!(self.sink, "({} {noun}", self.rows)?;
        if self.cut > 0 {
            write!(self.sink, "; {} cells cut at {WIDTH_MAX} characters, other formats show them whole", self.cut)?;
        }
        writeln!(self.sink, ")")?;
        self.sink.flush()
    }

    fn start(&mut self) -> io::Result<()> {
        for cells in &self.sample {
            for (cell, known) in cells.iter().zip(&mut self.widths) {
                *known = (*known).max(width(cell)).min(WIDTH_MAX);
            }
        }
        self.is_printing = true;
        let headers = self.headers.clone();
        self.line(&headers)?;
        let rule: Vec<String> = self.widths.iter().map(|width| "─".repeat(*width)).collect();
        writeln!(self.sink, " {} ", rule.join("─┼─"))?;
        for cells in std::mem::take(&mut self.sample) {
            self.line(&cells)?;
        }
        Ok(())
    }

    fn line(&mut self, cells: &[String]) -> io::Result<()> {
        let mut line = String::from(" ");
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                line.push_str(" │ ");
            }
            let room = self.widths[index];
            let shown = if width(cell) > room {
                self.cut += 1;
                cell.chars().take(room.saturating_sub(1)).chain(['…']).collect()
            } else {
                cell.clone()
            };
            let padding = " ".repeat(room - width(&shown));
            if self.is_number[index] {
                line.push_str(&padding);
                line.push_str(&shown);
            } else {
                line.push_str(&shown);
                line.push_str(&padding);
            }
        }
        writeln!(self.sink, "{}", line.trim_end())
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Control characters could move the cursor or hide text: they are shown as escapes.
fn printable(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] })
            .collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_align_and_control_characters_are_harmless() {
        let batch = RecordBatch::try_from_iter_with_nullable([
            (
                "country",
                Arc::new(StringArray::from(vec![Some("Bulgaria"), Some("a\u{1b}[2Jb"), None])) as ArrayRef,
                true,
            ),
            ("n", Arc::new(Int64Array::from(vec![1, 20, 300])) as ArrayRef, true),
        ])
        .unwrap();
        let mut sink = Vec::new();
        let mut writer = TableWriter::new(&mut sink, &batch.schema());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let text = String::from_utf8(sink).unwrap();
        assert_eq!(
            text,
            " country     │   n\n ────────────┼──── \n Bulgaria    │   1\n a\\u{1b}[2Jb │  20\n             │ 300\n(3 rows)\n"
        );
    }
}
