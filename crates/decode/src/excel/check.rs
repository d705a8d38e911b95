//! Looks at a workbook before the library opens it: a few hundred bytes can announce so many strings or cells that
//! reserving memory for them ends the process (`uniqueCount`, repeated cells, dimensions).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use hambar_core::limits::{DECOMPRESSION_RATIO_MAX, MIB, RATIO_FREE_BYTES};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::compound;
use crate::archive::check_count;
use crate::error::DecodeError;

/// Bytes of all the parts of a workbook, unpacked.
const WORKBOOK_BYTES_MAX: u64 = 4096 * MIB;
/// Bytes of an xlsx's shared strings, which are held in memory.
const STRINGS_BYTES_MAX: u64 = 512 * MIB;
/// Bytes of an xls, which is held in memory.
const XLS_BYTES_MAX: u64 = 512 * MIB;
/// A shared string takes at least `<si/>`.
const STRING_BYTES_MIN: u64 = 5;
/// Announced strings for which the size is not looked at.
const STRINGS_FREE: u64 = 100_000;
/// Bytes in which the shared strings' root element must have come.
const ROOT_BYTES: u64 = 64 * 1024;
/// Cells of an ods, which are held in memory, empty ones between others included.
const ODS_CELLS_MAX: u64 = 10_000_000;
/// Bytes of their texts, repeated ones as often as they are repeated.
const ODS_TEXT_BYTES_MAX: u64 = 512 * MIB;
/// Rows and columns that BIFF8 allows.
const XLS_ROWS_MAX: u32 = 65_536;
const XLS_COLUMNS_MAX: u16 = 256;

/// Checks an xlsx.
pub(super) fn xlsx(file: &File, name: &str) -> Result<(), DecodeError> {
    let mut archive = parts(file, name, "xlsx")?;
    let strings: Vec<usize> = (0..archive.len())
        .filter(|index| {
            let part = archive.name_for_index(*index).and_then(Result::ok);
            part.is_some_and(|part| part.to_ascii_lowercase().ends_with("sharedstrings.xml"))
        })
        .collect();
    for index in strings {
        let part = archive.by_index(index).map_err(|error| wrong(name, "xlsx", "its shared strings", error))?;
        let size = part.size();
        if size > STRINGS_BYTES_MAX {
            return Err(limit(name, "shared strings", STRINGS_BYTES_MAX, "bytes", "its shared strings"));
        }
        let announced = announced_strings(part.take(ROOT_BYTES), name)?;
        if announced > STRINGS_FREE.max(size / STRING_BYTES_MIN) {
            let what = format!("it announces {announced} shared strings in {size} bytes");
            return Err(wrong(name, "xlsx", "its shared strings", what));
        }
    }
    Ok(())
}

/// Checks an ods.
pub(super) fn ods(file: &File, name: &str) -> Result<(), DecodeError> {
    let mut archive = parts(file, name, "ods")?;
    let content = archive.by_name("content.xml").map_err(|error| wrong(name, "ods", "content.xml", error))?;
    let mut xml = Reader::from_reader(BufReader::new(content));
    let mut sheet = Area::default();
    let (mut cells, mut text_bytes, mut buffer) = (0_u64, 0_u64, Vec::new());
    loop {
        buffer.clear();
        let event = xml.read_event_into(&mut buffer).map_err(|error| wrong(name, "ods", "content.xml", error))?;
        match event {
            Event::Start(tag) => match tag.name().as_ref() {
                "table:table-row" => sheet.start_row(repeated(&tag, "table:number-rows-repeated")),
                "table:table-cell" | "table:covered-table-cell" => sheet.cell(&tag, true),
                "table:table" => sheet = Area::default(),
                _ => {}
            },
            Event::Empty(tag) => match tag.name().as_ref() {
                "table:table-row" => sheet.start_row(repeated(&tag, "table:number-rows-repeated")),
                "table:table-cell" | "table:covered-table-cell" => sheet.cell(&tag, false),
                _ => {}
            },
            Event::Text(text) => sheet.cell_bytes += text.len() as u64,
            Event::End(tag) => match tag.name().as_ref() {
                "table:table" => cells = cells.saturating_add(sheet.cells()),
                "table:table-cell" | "table:covered-table-cell" => {
                    text_bytes = text_bytes.saturating_add(sheet.text_bytes())
                }
                _ => {}
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
        if text_bytes > ODS_TEXT_BYTES_MAX {
            return Err(limit(name, "texts of an ods", ODS_TEXT_BYTES_MAX, "bytes", "content.xml"));
        }
        if cells.saturating_add(sheet.cells()) > ODS_CELLS_MAX {
            return Err(limit(name, "cells of an ods", ODS_CELLS_MAX, "cells", "content.xml"));
        }
    }
}

/// Checks an xls: its size, its chains of sectors, and that no sheet announces more rows or columns than the format allows.
pub(super) fn xls(file: &File, name: &str) -> Result<(), DecodeError> {
    let io = |source| DecodeError::Read { file: name.to_owned(), source };
    let size = file.metadata().map_err(io)?.len();
    if size > XLS_BYTES_MAX {
        return Err(limit(name, "xls file", XLS_BYTES_MAX, "bytes", "its size"));
    }
    let mut source = file;
    source.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    source.take(XLS_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    compound::check(&bytes).map_err(|what| wrong(name, "xls", "its sectors", what))?;
    // DIMENSIONS: record 0x0200 of 14 bytes: first row, row behind the last, first column, column behind the last, 0.
    const DIMENSIONS: [u8; 4] = [0x00, 0x02, 14, 0];
    for at in memchr::memmem::find_iter(&bytes, &DIMENSIONS) {
        let Some(record) = bytes.get(at + 4..at + 18) else {
            break;
        };
        let rows = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        let columns = u16::from_le_bytes([record[10], record[11]]);
        let is_record = record[12..] == [0, 0];
        if is_record && (rows > XLS_ROWS_MAX || columns > XLS_COLUMNS_MAX) {
            let what = format!("a sheet announces {rows} rows and {columns} columns");
            return Err(wrong(name, "xls", &format!("byte {at}"), what));
        }
    }
    Ok(())
}

/// Opens the zip around the parts and checks its directory.
fn parts<'a>(file: &'a File, name: &str, format: &'static str) -> Result<ZipArchive<BufReader<&'a File>>, DecodeError> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| wrong(name, format, "its parts", error))?;
    check_count(archive.len())?;
    let is_overlapping = archive.has_overlapping_files().map_err(|error| wrong(name, format, "its parts", error))?;
    if is_overlapping {
        return Err(wrong(name, format, "its parts", "they overlap"));
    }
    let mut total = 0_u64;
    for index in 0..archive.len() {
        let part = archive.by_index_data(index).map_err(|error| wrong(name, format, "its parts", error))?;
        let allowed = part.compressed_size().saturating_mul(DECOMPRESSION_RATIO_MAX);
        if part.size() > RATIO_FREE_BYTES && part.size() > allowed {
            let place = format!("part {}", index + 1);
            let unit = "bytes per compressed byte";
            return Err(limit(name, "decompression ratio", DECOMPRESSION_RATIO_MAX, unit, &place));
        }
        total = total.saturating_add(part.size());
    }
    if total > WORKBOOK_BYTES_MAX {
        return Err(limit(name, "workbook", WORKBOOK_BYTES_MAX, "bytes", "its parts together"));
    }
    Ok(archive)
}

fn announced_strings(part: impl Read, name: &str) -> Result<u64, DecodeError> {
    let mut xml = Reader::from_reader(BufReader::new(part));
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match next_tag(&mut xml, &mut buffer) {
            Ok(Some(tag)) if tag.local_name().as_ref() == "sst" => {
                let announced = |attribute: &str| {
                    let value = tag.try_get_attribute(attribute).ok().flatten();
                    value.map_or(0, |value| value.value.trim().parse().unwrap_or(u64::MAX))
                };
                return Ok(announced("uniqueCount"));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(wrong(name, "xlsx", "its shared strings", "they have no element `sst`")),
            Err(error) => return Err(wrong(name, "xlsx", "its shared strings", error)),
        }
    }
}

fn next_tag<'b, R: BufRead>(
    xml: &mut Reader<R>,
    buffer: &'b mut Vec<u8>,
) -> Result<Option<BytesStart<'b>>, quick_xml::Error> {
    loop {
        buffer.clear();
        match xml.read_event_into(buffer)? {
            Event::Start(tag) | Event::Empty(tag) => return Ok(Some(tag.into_owned())),
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

/// The rectangle that a sheet of an ods takes.
#[derive(Debug, Default)]
struct Area {
    /// Rows up to the last one with a value, and rows behind it.
    rows: u64,
    empty_rows: u64,
    repeat: u64,
    width: u64,
    row_width: u64,
    empty_cells: u64,
    has_value: bool,
    /// Columns that the current cell takes, and bytes of its text so far.
    cell_repeat: u64,
    cell_bytes: u64,
}

impl Area {
    fn start_row(&mut self, repeat: u64) {
        self.empty_rows = self.empty_rows.saturating_add(repeat);
        (self.repeat, self.row_width, self.empty_cells, self.has_value) = (repeat, 0, 0, false);
    }

    fn cell(&mut self, tag: &BytesStart<'_>, has_content: bool) {
        let repeat = repeated(tag, "table:number-columns-repeated");
        (self.cell_repeat, self.cell_bytes) = (repeat, 0);
        let has_value = has_content || tag.try_get_attribute("office:value-type").ok().flatten().is_some();
        if !has_value {
            self.empty_cells = self.empty_cells.saturating_add(repeat);
            return;
        }
        self.row_width = self.row_width.saturating_add(self.empty_cells).saturating_add(repeat);
        self.empty_cells = 0;
        self.width = self.width.max(self.row_width);
        if !self.has_value {
            self.has_value = true;
            self.rows = self.rows.saturating_add(self.empty_rows);
            self.empty_rows = 0;
        }
    }

    /// Bytes of the current cell's text in all the places where it is repeated.
    fn text_bytes(&self) -> u64 {
        self.cell_bytes.saturating_mul(self.cell_repeat).saturating_mul(self.repeat)
    }

    fn cells(&self) -> u64 {
        self.rows.saturating_mul(self.width)
    }
}

fn repeated(tag: &BytesStart<'_>, attribute: &str) -> u64 {
    let value = tag.try_get_attribute(attribute).ok().flatten();
    value.map_or(1, |value| value.value.trim().parse().unwrap_or(u64::MAX))
}

fn wrong(file: &str, format: &'static str, place: &str, what: impl std::fmt::Display) -> DecodeError {
    DecodeError::Format { file: file.to_owned(), format, place: place.to_owned(), what: what.to_string() }
}

fn limit(file: &str, limit: &'static str, value: u64, unit: &'static str, place: &str) -> DecodeError {
    DecodeError::Limit { file: file.to_owned(), limit, value, unit, place: place.to_owned() }
}
