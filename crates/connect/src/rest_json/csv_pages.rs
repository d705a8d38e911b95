//! Reads the envelope of a page that is CSV: the number of its records, a hash of them, the last record's key and the
//! greatest position. There is nothing around the records, so totals and cursors are in headers, or nowhere.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use csv::ByteRecord;
use hambar_decode::spec::{FormatKind, FormatSpec};
use sha2::{Digest, Sha256};

use super::envelope::{Envelope, EnvelopeQuery};
use crate::body;
use crate::json::{Pointer, Scalar};

/// Bytes of one record; an unclosed quote must not read a page into memory.
const RECORD_BYTES_MAX: u64 = 64 * hambar_core::limits::MIB;

/// Says whether pages of this format are delimited text.
pub(super) fn is_csv(format: &FormatSpec) -> bool {
    matches!(format.kind, FormatKind::Csv | FormatKind::Tsv)
}

/// Reports what such pages cannot have.
pub(super) fn problem(format: &FormatSpec) -> Option<&'static str> {
    if format.footer_lines > 0 || format.footer_pattern.is_some() {
        return Some("pages that are CSV have no footer: leave out `format.footer_lines` and `format.footer_pattern`");
    }
    let single = |text: &Option<String>| text.as_deref().is_none_or(|text| text.len() <= 1);
    if !single(&format.delimiter) || !single(&format.quote) {
        return Some("pages that are CSV have a delimiter and a quote of one byte");
    }
    None
}

/// Reads a page.
///
/// # Errors
/// Words for people: where the page cannot be read, or lacks a column that is asked for.
pub(super) fn read(query: &EnvelopeQuery, format: &FormatSpec, page: impl Read) -> Result<Envelope, String> {
    let used = Rc::new(Cell::new(0));
    let mut input = BufReader::with_capacity(64 * 1024, Bounded { inner: page, used: Rc::clone(&used) });
    for _ in 0..format.preamble_lines {
        input.skip_until(b'\n').map_err(|error| format!("no CSV: {error}"))?;
    }
    let byte = |text: &Option<String>| text.as_ref().and_then(|text| text.bytes().next());
    let delimiter = byte(&format.delimiter).unwrap_or(if format.kind == FormatKind::Tsv { b'\t' } else { b',' });
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    builder.quoting(format.quote.as_deref() != Some("")).quote(byte(&format.quote).unwrap_or(b'"'));
    builder.escape(byte(&format.escape)).comment(byte(&format.comment));
    let mut records = builder.from_reader(input);
    let mut next = |record: &mut ByteRecord| {
        used.set(0);
        records.read_byte_record(record).map_err(|error| format!("no CSV: {error}"))
    };
    let mut record = ByteRecord::new();
    let mut found = Envelope { scalars: vec![None; query.scalars.len()], has_records: true, ..Envelope::default() };
    let mut hash = Sha256::new();
    let mut names = ByteRecord::new();
    for line in 0..format.header_lines {
        if !next(&mut record)? {
            break;
        }
        if line == 0 {
            names.clone_from(&record);
        }
    }
    let column = |place: &Option<Pointer>| match place {
        None => Ok(None),
        Some(place) => {
            let name = place.as_str().trim_start_matches('/');
            let index = names.iter().position(|known| bare(known) == name.as_bytes());
            // A page without even a header has no records either.
            if index.is_none() && !names.is_empty() { Err(format!("no column `{name}`")) } else { Ok(index) }
        }
    };
    let (last, greatest) = (column(&query.last)?, column(&query.greatest)?);
    while next(&mut record)? {
        found.records += 1;
        for cell in &record {
            hash.update((cell.len() as u64).to_le_bytes());
            hash.update(cell);
        }
        let scalar = |index: Option<usize>| index.and_then(|index| record.get(index)).map(scalar);
        found.last = scalar(last);
        if let Some(position) = scalar(greatest)
            && found.greatest.as_ref().is_none_or(|known| position.is_after(known))
        {
            found.greatest = Some(position);
        }
    }
    found.records_sha256 = body::hex(&hash.finalize());
    Ok(found)
}

/// A header cell without the mark that some providers put before the first.
fn bare(cell: &[u8]) -> &[u8] {
    cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell)
}

/// Numbers compare as numbers, everything else as text.
fn scalar(cell: &[u8]) -> Scalar {
    let text = String::from_utf8_lossy(cell).into_owned();
    let is_number = !text.is_empty() && text.parse::<f64>().is_ok_and(f64::is_finite);
    if is_number { Scalar::Number(text) } else { Scalar::Text(text) }
}

/// Counts what is read for one record.
struct Bounded<R> {
    inner: R,
    used: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used.get() > RECORD_BYTES_MAX {
            return Err(io::Error::other(format!("one record has more than {RECORD_BYTES_MAX} bytes")));
        }
        let count = self.inner.read(buffer)?;
        self.used.set(self.used.get() + count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, page: &str, expected: Result<(u64, Option<&str>, Option<&str>), &str>) {
        let format: FormatSpec = toml::from_str(format).unwrap();
        let place = |text: &str| Some(text.parse::<Pointer>().unwrap());
        let query = EnvelopeQuery { last: place("/id"), greatest: place("/day"), ..EnvelopeQuery::default() };
        let found = read(&query, &format, page.as_bytes());
        let text = |scalar: &Option<Scalar>| scalar.as_ref().and_then(Scalar::as_text);
        let told = found.map(|found| (found.records, text(&found.last), text(&found.greatest)));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let expected = expected.map(|(records, last, day)| (records, owned(last), owned(day))).map_err(str::to_owned);
        assert_eq!(told, expected, "{page:?}");
    }

    #[test]
    fn records_are_counted_and_keys_found() {
        let page = "\u{feff}id,day\n9,2024-02-01\n\"1\n0\",\"2024-03-01\"\n\n11,2024-01-01\n";
        check("kind = \"csv\"", page, Ok((3, Some("11"), Some("2024-03-01"))));
        check("kind = \"csv\"", "id,day\n", Ok((0, None, None)));
        check("kind = \"csv\"", "", Ok((0, None, None)));
        check("kind = \"csv\"", "day,x\n1,2\n", Err("no column `id`"));
        check(
            "kind = \"csv\"\ndelimiter = \";\"\npreamble_lines = 1",
            "made today\nid;day\n1;2\n",
            Ok((1, Some("1"), Some("2"))),
        );
        check("kind = \"tsv\"\nquote = \"\"", "id\tday\n\"\t5\n2\t10\n", Ok((2, Some("2"), Some("10"))));
    }

    #[test]
    fn an_unclosed_quote_ends_at_the_limit() {
        let endless = io::repeat(b'x').take(2 * RECORD_BYTES_MAX);
        let page = b"id,day\n\"".chain(endless);
        let format: FormatSpec = toml::from_str("kind = \"csv\"").unwrap();
        let error = read(&EnvelopeQuery::default(), &format, page).unwrap_err();
        assert!(error.contains("one record has more than 67108864 bytes"), "{error}");
    }
}
