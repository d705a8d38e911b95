//! Workbooks: xlsx as a stream of cells, xls and ods (which their library holds in memory) after their size was checked.
//! Every cell is text, see `cell`; record numbers are sheet rows counted from the header. Rows without any
//! value are no records. Merged cells have their value in the first cell only, as the file stores them.

mod cell;
mod check;
mod compound;
mod rows;

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;

use calamine::{Data, Ods, Reader, Sheet, SheetType, Xls, Xlsx};
use hambar_core::limits::{COLUMNS_MAX, ROW_BYTES_MAX};

use crate::error::DecodeError;
use crate::pump::{Sink, pumped};
use crate::record::RecordSource;
use crate::spec::{FormatKind, FormatSpec};
use rows::{Cells, Rows};

/// What an xls (a compound file) starts with.
const COMPOUND_MAGIC: [u8; 4] = [0xd0, 0xcf, 0x11, 0xe0];

/// Opens the sheet `spec.sheet`, or the first one.
///
/// # Errors
/// A file that is no workbook of the declared kind, one that announces absurd sizes, a sheet that is not there.
pub fn open(mut file: File, spec: &FormatSpec, member: Option<Arc<str>>) -> Result<Box<dyn RecordSource>, DecodeError> {
    let name = member.as_deref().unwrap_or("body").to_owned();
    let rows = Rows::new(spec.clone(), member)?;
    let spec = spec.clone();
    let format = match spec.kind {
        FormatKind::Xls => "xls",
        FormatKind::Ods => "ods",
        _ => "xlsx",
    };
    check_magic(&mut file, &name, format)?;
    pumped(&name.clone(), format, move |sink| {
        let book = Book { name, format, sheet: spec.sheet.clone(), trim: spec.trim };
        match format {
            "xls" => book.xls(file, rows, sink),
            "ods" => book.ods(file, rows, sink),
            _ => book.xlsx(file, rows, sink),
        }
    })
}

fn check_magic(file: &mut File, name: &str, format: &'static str) -> Result<(), DecodeError> {
    use std::io::Read;
    let io = |source| DecodeError::Read { file: name.to_owned(), source };
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut magic = Vec::new();
    file.by_ref().take(COMPOUND_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let is_compound = magic == COMPOUND_MAGIC;
    let is_zip = magic.starts_with(b"PK");
    let what = match (format, is_compound, is_zip) {
        ("xls", _, true) => "it is a zip: an xlsx or ods",
        ("xlsx" | "ods", true, _) => "it is a compound file: an xls, or an encrypted workbook",
        ("xlsx" | "ods", _, false) => "it is no zip; an error page, perhaps",
        _ => return Ok(()),
    };
    let place = "byte 0".to_owned();
    Err(DecodeError::Format { file: name.to_owned(), format, place, what: what.to_owned() })
}

struct Book {
    name: String,
    format: &'static str,
    sheet: Option<String>,
    trim: bool,
}

impl Book {
    fn wrong(&self, place: impl Into<String>, what: impl std::fmt::Display) -> DecodeError {
        DecodeError::Format {
            file: self.name.clone(),
            format: self.format,
            place: place.into(),
            what: what.to_string(),
        }
    }

    /// Returns the name of the sheet to read.
    fn choose(&self, sheets: &[Sheet]) -> Result<String, DecodeError> {
        let mut tables = sheets.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).map(|sheet| &sheet.name);
        let found = match &self.sheet {
            Some(wanted) => tables.clone().find(|name| *name == wanted),
            None => tables.next(),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
            let wanted = self.sheet.as_deref().unwrap_or("the first one");
            let what = format!("no worksheet `{wanted}`; the workbook has `{}`", names.join("`, `"));
            DecodeError::Setting { setting: "format.sheet", what }
        })
    }

    fn xlsx(&self, file: File, mut rows: Rows, sink: Sink<'_>) -> Result<(), DecodeError> {
        check::xlsx(&file, &self.name)?;
        let mut book = Xlsx::new(rewound(file, &self.name)?).map_err(|error| self.wrong("its parts", error))?;
        let sheet = self.choose(book.sheets_metadata())?;
        let place = format!("sheet `{sheet}`");
        let mut reader = book.worksheet_cells_reader(&sheet).map_err(|error| self.wrong(place.as_str(), error))?;
        let (mut current, mut cells, mut row_bytes) = (0_u64, Cells::new(), 0);
        while let Some(cell) = reader.next_cell().map_err(|error| self.wrong(place.as_str(), error))? {
            let (row, column) = cell.get_position();
            let (row, column) = (u64::from(row) + 1, column as usize);
            if row != current {
                if row < current {
                    return Err(self.wrong(place, format!("row {row} comes after row {current}")));
                }
                rows.row(current, std::mem::take(&mut cells), sink)?;
                (current, row_bytes) = (row, 0);
            }
            if rows.is_ended() {
                break;
            }
            let Some(text) = cell::text(&Data::from(cell.get_value().clone()), self.trim) else {
                continue;
            };
            if column >= COLUMNS_MAX {
                return Err(rows.limit("columns_max", COLUMNS_MAX, "columns", row));
            }
            // One shared string may stand in every cell.
            row_bytes += text.len();
            if row_bytes > ROW_BYTES_MAX {
                return Err(rows.limit("row_bytes_max", ROW_BYTES_MAX, "bytes", row));
            }
            if cells.len() <= column {
                cells.resize(column + 1, None);
            }
            cells[column] = Some(text);
        }
        rows.row(current, cells, sink)?;
        rows.end(sink)
    }

    fn xls(&self, file: File, rows: Rows, sink: Sink<'_>) -> Result<(), DecodeError> {
        check::xls(&file, &self.name)?;
        let book = Xls::new(rewound(file, &self.name)?).map_err(|error| self.wrong("its parts", error))?;
        self.range(book, rows, sink)
    }

    fn ods(&self, file: File, rows: Rows, sink: Sink<'_>) -> Result<(), DecodeError> {
        check::ods(&file, &self.name)?;
        let book = Ods::new(rewound(file, &self.name)?).map_err(|error| self.wrong("its parts", error))?;
        self.range(book, rows, sink)
    }

    fn range<B>(&self, mut book: B, mut rows: Rows, sink: Sink<'_>) -> Result<(), DecodeError>
    where
        B: Reader<BufReader<File>>,
        B::Error: std::fmt::Display,
    {
        let sheet = self.choose(book.sheets_metadata())?;
        let place = format!("sheet `{sheet}`");
        let range = book.worksheet_range(&sheet).map_err(|error| self.wrong(place, error))?;
        let (top, left) = range.start().unwrap_or_default();
        for (row, found) in (u64::from(top) + 1..).zip(range.rows()) {
            let mut cells: Cells = vec![None; left as usize];
            cells.extend(found.iter().map(|value| cell::text(value, self.trim)));
            while cells.last().is_some_and(Option::is_none) {
                cells.pop();
            }
            if cells.len() > COLUMNS_MAX {
                return Err(rows.limit("columns_max", COLUMNS_MAX, "columns", row));
            }
            rows.row(row, cells, sink)?;
        }
        rows.end(sink)
    }
}

fn rewound(mut file: File, name: &str) -> Result<BufReader<File>, DecodeError> {
    file.seek(SeekFrom::Start(0)).map_err(|source| DecodeError::Read { file: name.to_owned(), source })?;
    Ok(BufReader::new(file))
}
