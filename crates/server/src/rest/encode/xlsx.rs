//! Workbooks: the rows on as many sheets as they need, and a sheet that says where they come from. Rows are written to
//! temporary files as they arrive; the workbook is sent when it is complete.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, SchemaRef, TimestampMillisecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rust_xlsxwriter::{Format as CellFormat, Workbook, Worksheet};

use super::{EncodeError, Head, Tail};
use crate::front::{Source, terms};

/// Rows of a sheet, the header included: Excel's own limit.
const SHEET_ROWS_MAX: u32 = 1_048_576;
/// Whole numbers beyond this are not told apart by Excel and are written as text.
const EXACT_MAX: u64 = 1 << 53;
/// The day 1970-01-01 as Excel counts.
const EPOCH_DAY: f64 = 25_569.0;
/// Days before 1 March 1900 are counted differently by every program.
const FIRST_DAY: f64 = 61.0;
const MILLISECONDS_PER_DAY: f64 = 86_400_000.0;

/// Puts rows into a workbook.
pub(crate) struct XlsxEncoder {
    workbook: Workbook,
    schema: SchemaRef,
    sources: Vec<Source>,
    query: String,
    sheets: usize,
    row: u32,
    day: CellFormat,
    instant: CellFormat,
}

impl XlsxEncoder {
    pub(super) fn new(head: &Head) -> Result<Self, EncodeError> {
        let mut encoder = Self {
            workbook: Workbook::new(),
            schema: SchemaRef::clone(&head.schema),
            sources: head.sources.clone(),
            query: head.query.clone(),
            sheets: 0,
            row: 0,
            day: CellFormat::new().set_num_format("yyyy-mm-dd"),
            instant: CellFormat::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        };
        encoder.sheet()?;
        Ok(encoder)
    }

    /// Starts a sheet with the columns' names.
    fn sheet(&mut self) -> Result<(), EncodeError> {
        self.sheets += 1;
        let name = if self.sheets == 1 { "data".to_owned() } else { format!("data {}", self.sheets) };
        let sheet = self.workbook.add_worksheet_with_constant_memory()?.set_name(name)?;
        let bold = CellFormat::new().set_bold();
        for (column, field) in self.schema.fields().iter().enumerate() {
            sheet.write_string_with_format(0, place(column)?, field.name(), &bold)?;
        }
        self.row = 1;
        Ok(())
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let columns: Result<Vec<Cells>, EncodeError> = batch.columns().iter().map(Cells::new).collect();
        let columns = columns?;
        for row in 0..batch.num_rows() {
            if self.row == SHEET_ROWS_MAX {
                self.sheet()?;
            }
            let sheet = self.workbook.worksheet_from_index(self.sheets - 1)?;
            for (column, cells) in columns.iter().enumerate() {
                cells.write(sheet, self.row, place(column)?, row, &self.day, &self.instant)?;
            }
            self.row += 1;
        }
        Ok(())
    }

    /// Ends the workbook; returns the file, to be read from its start.
    pub(super) fn finish(mut self, tail: &Tail) -> Result<File, EncodeError> {
        let sheet = self.workbook.add_worksheet_with_constant_memory()?.set_name("sources")?;
        let mut row = 0;
        if let Some(reason) = tail.truncated {
            sheet.write_string(row, 0, format!("Rows are missing: the limit of {reason} was reached."))?;
            row += 1;
        }
        sheet.write_string(row, 0, "query")?.write_string(row, 1, &self.query)?;
        for (column, name) in ["table", "version", "citation", "licence", "page"].into_iter().enumerate() {
            sheet.write_string(row + 1, place(column)?, name)?;
        }
        row += 2;
        for source in &self.sources {
            sheet.write_string(row, 0, &source.table)?;
            sheet.write_string(row, 1, source.version.to_string())?;
            sheet.write_string(row, 2, source.citation.as_deref().unwrap_or_default())?;
            sheet.write_string(row, 3, source.licence.as_deref().unwrap_or_default())?;
            sheet.write_string(row, 4, source.landing_page.as_deref().unwrap_or_default())?;
            row += 1;
        }
        let said = terms(&self.sources).sentence();
        sheet.write_string(row, 0, "terms")?.write_string(row, 1, said)?;
        let mut file = tempfile::tempfile()?;
        self.workbook.save_to_writer(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

fn place(column: usize) -> Result<u16, EncodeError> {
    u16::try_from(column).map_err(|error| EncodeError::Io(std::io::Error::other(error)))
}

/// One column of a batch in the kinds that a sheet knows.
enum Cells {
    Flags(ArrayRef),
    Whole(ArrayRef),
    Numbers(ArrayRef),
    Days(ArrayRef),
    Instants(ArrayRef),
    Texts(ArrayRef),
}

impl Cells {
    fn new(column: &ArrayRef) -> Result<Self, EncodeError> {
        let kind = column.data_type();
        Ok(match kind {
            DataType::Boolean => Self::Flags(ArrayRef::clone(column)),
            DataType::Date32 => Self::Days(ArrayRef::clone(column)),
            DataType::Timestamp(_, zone) => {
                let wanted = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, zone.clone());
                Self::Instants(cast(column, &wanted)?)
            }
            kind if kind.is_integer() && *kind != DataType::UInt64 => Self::Whole(cast(column, &DataType::Int64)?),
            kind if kind.is_floating() => Self::Numbers(cast(column, &DataType::Float64)?),
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Numbers(cast(column, &DataType::Float64)?),
            _ => Self::Texts(ArrayRef::clone(column)),
        })
    }

    fn write(
        &self,
        sheet: &mut Worksheet,
        at: u32,
        column: u16,
        row: usize,
        day: &CellFormat,
        instant: &CellFormat,
    ) -> Result<(), EncodeError> {
        let (Self::Flags(cells)
        | Self::Whole(cells)
        | Self::Numbers(cells)
        | Self::Days(cells)
        | Self::Instants(cells)
        | Self::Texts(cells)) = self;
        if cells.is_null(row) {
            return Ok(());
        }
        match self {
            Self::Flags(cells) => sheet.write_boolean(at, column, cells.as_boolean().value(row))?,
            Self::Whole(cells) => {
                let number = cells.as_primitive::<Int64Type>().value(row);
                if number.unsigned_abs() > EXACT_MAX {
                    sheet.write_string(at, column, number.to_string())?
                } else {
                    sheet.write_number(at, column, number as f64)?
                }
            }
            Self::Numbers(cells) => {
                let number = cells.as_primitive::<Float64Type>().value(row);
                if !number.is_finite() {
                    return Ok(());
                }
                sheet.write_number(at, column, number)?
            }
            Self::Days(cells) => {
                let serial = EPOCH_DAY + f64::from(cells.as_primitive::<Date32Type>().value(row));
                dated(sheet, at, column, serial, day, cells, row)?
            }
            Self::Instants(cells) => {
                let milliseconds = cells.as_primitive::<TimestampMillisecondType>().value(row) as f64;
                dated(sheet, at, column, EPOCH_DAY + milliseconds / MILLISECONDS_PER_DAY, instant, cells, row)?
            }
            Self::Texts(cells) => sheet.write_string(at, column, shown(cells, row)?)?,
        };
        Ok(())
    }
}

/// A date that Excel can count, else its text.
fn dated<'a>(
    sheet: &'a mut Worksheet,
    at: u32,
    column: u16,
    serial: f64,
    format: &CellFormat,
    cells: &ArrayRef,
    row: usize,
) -> Result<&'a mut Worksheet, EncodeError> {
    if serial < FIRST_DAY {
        return Ok(sheet.write_string(at, column, shown(cells, row)?)?);
    }
    Ok(sheet.write_number_with_format(at, column, serial, format)?)
}

fn shown(cells: &ArrayRef, row: usize) -> Result<String, EncodeError> {
    Ok(ArrayFormatter::try_new(cells, &FormatOptions::default())?.value(row).try_to_string()?)
}
