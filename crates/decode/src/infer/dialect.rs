//! How a delimited text is written: encoding, delimiter, lines before and after the data, header, decimal sign. The
//! quote is always `"`: the first quoted cell can come a million rows into a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::csv::{Record, Sample};
use crate::encoding::{Charset, DETECT_BYTES, detect, utf8_reader};
use crate::error::DecodeError;
use crate::input::Input;
use crate::spec::{FormatKind, FormatSpec};

/// Bytes at the start that are looked at.
const HEAD_BYTES: u64 = 256 * 1024;
/// Bytes at the end that are looked at, for the footer.
const TAIL_BYTES: u64 = 16 * 1024;
/// Bytes checked at a time for the encoding.
const STEP_BYTES: usize = 1024 * 1024;
/// Delimiters that are tried; the first of equally good ones wins.
const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];
/// Records at the end that may be a footer.
const FOOTER_RECORDS_MAX: usize = 20;
/// Records that are looked at for header and numbers.
const RECORDS_MAX: usize = 1_000;

/// Proposes the settings for a file of delimited text.
pub fn dialect(file: &File) -> Result<FormatSpec, DecodeError> {
    let read_error = |source| DecodeError::Read { file: "body".to_owned(), source };
    let length = file.metadata().map_err(read_error)?.len();
    let encoding = encoding(file).map_err(read_error)??;
    let head = head(file, encoding.as_deref())?;
    let is_whole = length <= HEAD_BYTES;
    let mut best: Option<(Score, FormatSpec)> = None;
    for delimiter in DELIMITERS {
        let mut spec = blank(delimiter, encoding.clone());
        spec.comment = comment(&head);
        let Some(score) = describe(&head, is_whole, &mut spec)? else {
            continue;
        };
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, spec));
        }
    }
    let mut spec = best.map_or_else(|| blank(",", encoding), |(_, spec)| spec);
    let columns = width(&head, &spec)?;
    if is_whole {
        spec.footer_lines = footer(&head, &spec, columns)?;
    } else if matches!(detect(head.as_bytes(), spec.encoding.as_deref())?.charset, Charset::Sequential(_)) {
        // The end of a UTF-16 file cannot be read without its start: no footer is proposed.
    } else {
        let mut tail = vec![0; TAIL_BYTES as usize];
        file.read_exact_at(&mut tail, length - TAIL_BYTES).map_err(read_error)?;
        let text = String::from_utf8_lossy(&tail).into_owned();
        let from = text.find('\n').map_or(text.len(), |end| end + 1);
        spec.footer_lines = footer(text.get(from..).unwrap_or_default(), &spec, columns)?;
    }
    if spec.delimiter.as_deref() == Some("\t") {
        (spec.kind, spec.delimiter) = (FormatKind::Tsv, None);
    } else if spec.delimiter.as_deref() == Some(",") {
        spec.delimiter = None;
    }
    Ok(spec)
}

/// Share of records of the most frequent width in thousandths, then that width: greater is better.
type Score = (u64, usize);

fn blank(delimiter: &str, encoding: Option<String>) -> FormatSpec {
    FormatSpec {
        kind: FormatKind::Csv,
        compression: None,
        archive: None,
        members: None,
        encoding,
        delimiter: Some(delimiter.to_owned()),
        quote: None,
        escape: None,
        comment: None,
        preamble_lines: 0,
        header_lines: 1,
        footer_lines: 0,
        footer_pattern: None,
        ragged: crate::spec::Ragged::Reject,
        decimal: None,
        thousands: None,
        trim: true,
        record_path: None,
        sheet: None,
        fixed: Vec::new(),
    }
}

/// Finds the encoding by reading the whole file; `None` for UTF-8.
fn encoding(file: &File) -> std::io::Result<Result<Option<String>, DecodeError>> {
    let mut start = vec![0; DETECT_BYTES];
    let count = file.read_at(&mut start, 0)?;
    start.truncate(count);
    let charset = match detect(&start, None) {
        Ok(detected) => detected.charset,
        Err(error) => return Ok(Err(error)),
    };
    if charset != Charset::Guess {
        return Ok(Ok((charset != Charset::Utf8).then(|| charset.name())));
    }
    let mut buffer = vec![0; STEP_BYTES];
    let (mut offset, mut kept) = (0, 0);
    loop {
        let count = file.read_at(buffer.get_mut(kept..).unwrap_or_default(), offset)?;
        offset += count as u64;
        let text = buffer.get(..kept + count).unwrap_or_default();
        let valid = match simdutf8::compat::from_utf8(text) {
            Ok(_) => text.len(),
            // A character may go on in the next step, but not at the end of the file.
            Err(error) if error.error_len().is_none() && count > 0 => error.valid_up_to(),
            Err(_) => return Ok(Ok(Some(Charset::LEGACY.name()))),
        };
        if count == 0 {
            return Ok(Ok(None));
        }
        let end = kept + count;
        kept = end - valid;
        buffer.copy_within(valid..end, 0);
    }
}

fn head(file: &File, encoding: Option<&str>) -> Result<String, DecodeError> {
    let read_error = |source| DecodeError::Read { file: "body".to_owned(), source };
    let copy = file.try_clone().map_err(read_error)?;
    let start = Input::File(copy).into_read().map_err(read_error)?.take(HEAD_BYTES);
    let (mut reader, _) = utf8_reader(Box::new(start), encoding, "body")?;
    let mut bytes = Vec::new();
    // The sample may end in the middle of a character.
    let _cut_short = reader.read_to_end(&mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn comment(head: &str) -> Option<String> {
    head.starts_with('#').then(|| "#".to_owned())
}

/// Fills in what the delimiter of `spec` makes of the text, and says how well it fits. `None`: not at all.
fn describe(head: &str, is_whole: bool, spec: &mut FormatSpec) -> Result<Option<Score>, DecodeError> {
    let records = Sample::new(head.as_bytes(), is_whole, spec)?.records(RECORDS_MAX);
    let Some(width) = most_frequent_width(&records).filter(|width| *width > 1) else {
        return Ok(None);
    };
    let fitting = records.iter().filter(|record| record.cells.len() == width).count();
    let share = (fitting * 1000 / records.len().max(1)) as u64;
    let Some(first) = records.iter().position(|record| fits(record, width)) else {
        return Ok(None);
    };
    let data = records.get(first..).unwrap_or_default();
    if let Some(header) = data.first().filter(|_| first > 0) {
        let before = head.get(..header.start).unwrap_or_default();
        spec.preamble_lines = before.lines().count();
    }
    let fitting: Vec<&Record> = data.iter().filter(|record| record.cells.len() == width).collect();
    spec.header_lines = usize::from(has_header(&fitting));
    let body = fitting.get(spec.header_lines..).unwrap_or_default();
    number_style(body, spec);
    Ok(Some((share, width)))
}

/// A record of the data's width that is not mostly empty, as titles above a table are.
fn fits(record: &Record, width: usize) -> bool {
    let filled = record.cells.iter().filter(|cell| !cell.is_empty()).count();
    record.cells.len() == width && filled * 2 >= width
}

fn most_frequent_width(records: &[Record]) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for record in records {
        *counts.entry(record.cells.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(width, count)| (*count, *width)).map(|(width, _)| width)
}

fn width(head: &str, spec: &FormatSpec) -> Result<usize, DecodeError> {
    let records = Sample::new(head.as_bytes(), true, spec)?.records(RECORDS_MAX);
    Ok(most_frequent_width(&records).unwrap_or(1))
}

/// The first record is a header unless it looks like the data: a number where the column has numbers. Years do not
/// count, they name columns.
fn has_header(records: &[&Record]) -> bool {
    let Some((first, data)) = records.split_first() else {
        return true;
    };
    let is_year = |cell: &str| cell.len() == 4 && cell.parse::<u16>().is_ok_and(|year| (1700..2200).contains(&year));
    let has_years = first.cells.iter().filter(|cell| is_year(cell)).count() >= 3;
    let is_data = first.cells.iter().enumerate().any(|(column, cell)| {
        let below = data.iter().filter_map(|record| record.cells.get(column)).filter(|cell| !cell.is_empty());
        let (numbers, all) =
            below.fold((0, 0), |(numbers, all), cell| (numbers + usize::from(is_number(cell)), all + 1));
        is_number(cell) && !(has_years && is_year(cell)) && all > 0 && numbers * 2 > all
    });
    !is_data
}

fn is_number(cell: &str) -> bool {
    let plain = cell.replace(',', ".");
    !plain.is_empty() && plain.parse::<f64>().is_ok() && plain.bytes().any(|byte| byte.is_ascii_digit())
}

/// Looks at how numbers are written: `1,5` against `1.5`, and `1,234,567`.
fn number_style(data: &[&Record], spec: &mut FormatSpec) {
    let (mut comma, mut point, mut comma_groups, mut point_groups) = (0, 0, 0, 0);
    for cell in data.iter().flat_map(|record| &record.cells) {
        comma += usize::from(is_decimal(cell, ','));
        point += usize::from(is_decimal(cell, '.'));
        comma_groups += usize::from(is_grouped(cell, ',', '.'));
        point_groups += usize::from(is_grouped(cell, '.', ','));
    }
    if comma > point {
        spec.decimal = Some(',');
        if point_groups > 0 {
            spec.thousands = Some(".".to_owned());
        }
    } else if comma_groups > 0 {
        spec.thousands = Some(",".to_owned());
    }
}

/// `12<sign>5`, where the part behind the sign cannot be a group of thousands.
fn is_decimal(cell: &str, sign: char) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some((whole, fraction)) = cell.trim_start_matches('-').rsplit_once(sign) else {
        return false;
    };
    digits(fraction)
        && fraction.len() != 3
        && whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b',')
}

fn is_grouped(cell: &str, separator: char, decimal: char) -> bool {
    let whole = cell.trim_start_matches('-').split(decimal).next().unwrap_or_default();
    let mut groups = whole.split(separator);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && digits(first) && first != "0");
    let rest: Vec<&str> = groups.collect();
    first && !rest.is_empty() && rest.iter().all(|group| group.len() == 3 && digits(group))
}

/// Counts the records at the end that are no data.
fn footer(text: &str, spec: &FormatSpec, width: usize) -> Result<usize, DecodeError> {
    let plain = FormatSpec { preamble_lines: 0, ..spec.clone() };
    let records = Sample::new(text.as_bytes(), true, &plain)?.records(usize::MAX);
    let odd = records.iter().rev().take_while(|record| record.cells.len() != width).count();
    let all_odd = odd == records.len();
    Ok(if all_odd || odd > FOOTER_RECORDS_MAX { 0 } else { odd })
}
