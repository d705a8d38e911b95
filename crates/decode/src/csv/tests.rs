//! Any cut of the input gives the same rows and faults, and they are those of a plain reading of the rules.

use std::io::{Read, Write};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::*;
use crate::spec::Ragged;

/// Rows and faults with their record numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read3 {
    rows: Vec<(u64, Vec<Option<String>>)>,
    faults: Vec<(u64, String, String)>,
    error: Option<String>,
}

fn read(source: Result<CsvSource, DecodeError>) -> Read3 {
    let mut all = Read3::default();
    let mut source = match source {
        Ok(source) => source,
        Err(error) => return Read3 { error: Some(error.to_string()), ..all },
    };
    loop {
        match source.next_batch() {
            Ok(Some(batch)) => add(&mut all, &batch),
            Ok(None) => return all,
            Err(error) => {
                all.error = Some(error.to_string());
                return all;
            }
        }
    }
}

fn add(all: &mut Read3, batch: &SourceBatch) {
    let columns: Vec<ArrayRef> =
        batch.batch.columns().iter().map(|column| arrow::compute::cast(column, &DataType::Utf8).unwrap()).collect();
    for row in 0..batch.batch.num_rows() {
        let record = batch.records.as_ref().map_or(batch.first_record + row as u64, |records| records[row]);
        let cells = columns.iter().map(|column| {
            let column = column.as_string::<i32>();
            (!arrow::array::Array::is_null(column, row)).then(|| column.value(row).to_owned())
        });
        all.rows.push((record, cells.collect()));
    }
    let faults = batch.faults.iter().map(|fault| (fault.record, fault.reason.clone(), fault.raw.clone()));
    all.faults.extend(faults);
}

/// A stream that gives a few bytes at a time.
struct Dribble(std::io::Cursor<Vec<u8>>, usize);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let step = self.1.min(buffer.len());
        self.0.read(&mut buffer[..step])
    }
}

fn stream(bytes: &[u8], spec: &FormatSpec, chunk: usize, step: usize) -> Read3 {
    let input = Input::Stream(Box::new(Dribble(std::io::Cursor::new(bytes.to_vec()), step)));
    read(CsvSource::open_chunked(input, spec, None, &DecodeLimits::default(), chunk))
}

fn file(bytes: &[u8], spec: &FormatSpec, chunk: usize, threads: usize) -> Read3 {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let limits = DecodeLimits { threads, ..DecodeLimits::default() };
    read(CsvSource::open_chunked(Input::File(file), spec, None, &limits, chunk))
}

fn spec(extra: serde_json::Value) -> FormatSpec {
    let mut all = serde_json::json!({"kind": "csv"});
    all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// Reads by the rules, character by character, the whole text at once: `Some` is a row, `None` a fault.
fn by_the_rules(text: &str, columns: usize, spec: &FormatSpec) -> Vec<Option<Vec<Option<String>>>> {
    let delimiter = spec.delimiter.as_deref().unwrap_or(",");
    let escape = spec.escape.as_deref().and_then(|escape| escape.chars().next());
    let trim = |cell: &str| if spec.trim { cell.trim().to_owned() } else { cell.to_owned() };
    let blanks = |rest: &str| {
        if spec.trim { rest.len() - rest.trim_start_matches([' ', '\t']).len() } else { 0 }
    };
    let line_end = |from: usize| text[from..].find(['\n', '\r']).map_or(text.len(), |found| from + found);
    let mut records = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = &text[at..line_end(at)];
        if line.is_empty() || (spec.trim && line.trim_matches([' ', '\t']).is_empty()) {
            at = line_end(at) + 1;
            continue;
        }
        if spec.comment.as_deref().is_some_and(|comment| line.starts_with(comment)) {
            at = line_end(at) + 1;
            continue;
        }
        let mut cells = Vec::new();
        let mut unquoted = Vec::new();
        let mut broken = false;
        loop {
            let open = at + blanks(&text[at..]);
            if text[open..].starts_with('"') {
                let mut cell = String::new();
                let mut rest = text[open + 1..].char_indices().peekable();
                let mut close = None;
                while let Some((position, character)) = rest.next() {
                    let next = rest.peek().map(|(_, next)| *next);
                    if Some(character) == escape && (next == Some('"') || next == escape) {
                        cell.extend(rest.next().map(|(_, next)| next));
                    } else if character == '"' && next == Some('"') {
                        rest.next();
                        cell.push('"');
                    } else if character == '"' {
                        close = Some(open + 1 + position);
                        break;
                    } else {
                        cell.push(character);
                    }
                }
                let Some(close) = close else {
                    broken = true;
                    at = line_end(open);
                    break;
                };
                let after = close + 1 + blanks(&text[close + 1..]);
                let rest = &text[after..];
                if !rest.is_empty() && !rest.starts_with(['\n', '\r']) && !rest.starts_with(delimiter) {
                    broken = true;
                    at = line_end(after);
                    break;
                }
                cells.push(trim(&cell));
                at = after;
            } else {
                let end = text[at..line_end(at)].find(delimiter).map_or(line_end(at), |found| at + found);
                cells.push(trim(&text[at..end]));
                unquoted.push(trim(&text[at..end]));
                at = end;
            }
            if text[at..].starts_with(delimiter) {
                at += delimiter.len();
            } else {
                break;
            }
        }
        broken |= encloses_delimiter(&unquoted);
        let surplus = cells.iter().skip(columns).any(|cell| !cell.is_empty());
        let fits = cells.len() == columns || (spec.ragged == Ragged::Pad && !surplus);
        if broken || !fits {
            records.push(None);
        } else {
            let mut cells: Vec<Option<String>> = cells.into_iter().map(Some).collect();
            cells.resize(columns, None);
            records.push(Some(cells));
        }
        at += 1;
    }
    records
}

/// A cell has an odd number of quotes, the last not at its end, and a later one has an odd number with one at its end.
fn encloses_delimiter(unquoted: &[String]) -> bool {
    let odd = |cell: &&String| cell.matches('"').count() % 2 == 1;
    let mut odd = unquoted.iter().filter(odd).skip_while(|cell| cell.ends_with('"'));
    odd.next().is_some() && odd.any(|cell| cell.ends_with('"'))
}

fn check_all_ways(text: &str, spec: &FormatSpec, chunk: usize, step: usize) {
    let delimiter = spec.delimiter.as_deref().unwrap_or(",");
    let whole = format!("h1{delimiter}h2{delimiter}h3\n{text}");
    let expected = by_the_rules(text, 3, spec);
    let once = stream(whole.as_bytes(), spec, CHUNK_BYTES, usize::MAX);
    assert_eq!(once.error, None);
    let rows: Vec<(u64, Vec<Option<String>>)> =
        (1..).zip(&expected).filter_map(|(record, row)| Some((record, row.clone()?))).collect();
    assert_eq!(once.rows, rows);
    let faults: Vec<u64> = (1..).zip(&expected).filter(|(_, row)| row.is_none()).map(|(record, _)| record).collect();
    assert_eq!(once.faults.iter().map(|fault| fault.0).collect::<Vec<_>>(), faults);
    assert_eq!(stream(whole.as_bytes(), spec, chunk, step), once, "stream");
    for threads in [1, 2, 3] {
        assert_eq!(file(whole.as_bytes(), spec, chunk, threads), once, "{threads} threads");
    }
}

fn texts() -> impl Strategy<Value = String> {
    let parts =
        ["a", "bc", ",", ",", ",", "\"", "\"", "\n", "\n", "\r\n", "\r", " ", "é", "#", "\\", "|", "||", "x,y,z\n"];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..120).prop_map(|parts| parts.concat())
}

fn specs() -> impl Strategy<Value = FormatSpec> {
    let specs = vec![
        spec(serde_json::json!({})),
        spec(serde_json::json!({"trim": false})),
        spec(serde_json::json!({"ragged": "pad"})),
        spec(serde_json::json!({"escape": "\\", "comment": "#"})),
        spec(serde_json::json!({"delimiter": "||"})),
        spec(serde_json::json!({"delimiter": "||", "comment": "#x", "trim": false, "ragged": "pad"})),
    ];
    prop::sample::select(specs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_cut_gives_what_the_rules_say(text in texts(), spec in specs(), chunk in 1..90usize, step in 1..9usize) {
        check_all_ways(&text, &spec, chunk, step);
    }
}

#[test]
fn cases_that_once_were_hard() {
    for text in [
        "\"a\n\"\",b\",c,d\nx,y,z",
        "a,\"b\r\n\r\nc\",d\r\ne,f,g\r\n",
        "\"",
        "\"a\" x,b,c\n1,2,3\n",
        " \"a,b\" ,c,d\n",
        ",,\n",
    ] {
        for chunk in 1..30 {
            check_all_ways(text, &spec(serde_json::json!({})), chunk, 1);
        }
    }
}

#[test]
fn footers_are_cut_off_wherever_the_batches_end() {
    let mut text = "a,b\n".to_owned();
    for row in 0..200 {
        text.push_str(&format!("{row},x\n"));
    }
    text.push_str("\nSource: nobody\n\"Note: a, b\"\n");
    for (footer, rows, faults) in [(0, 200, 2), (1, 200, 1), (2, 200, 0), (3, 199, 0), (500, 0, 0)] {
        let spec = spec(serde_json::json!({"footer_lines": footer}));
        for (chunk, threads) in [(CHUNK_BYTES, 1), (64, 1), (10, 2), (100, 2)] {
            let got = file(text.as_bytes(), &spec, chunk, threads);
            assert_eq!((got.rows.len(), got.faults.len(), got.error), (rows, faults, None), "{footer} {chunk}");
        }
    }
    let pattern = spec(serde_json::json!({"footer_pattern": "^Source"}));
    for (chunk, threads) in [(CHUNK_BYTES, 1), (64, 1), (10, 2)] {
        let got = file(text.as_bytes(), &pattern, chunk, threads);
        assert_eq!((got.rows.len(), got.faults.len(), got.error), (200, 0, None));
    }
}

#[test]
fn encodings_are_the_same_for_any_cut() {
    let mut latin = b"name,x\n".to_vec();
    let mut broken = "näme,x\n".as_bytes().to_vec();
    for row in 0..100 {
        latin.extend_from_slice(format!("plain {row},1\n").as_bytes());
        broken.extend_from_slice(format!("pläin {row},1\n").as_bytes());
    }
    latin.extend_from_slice(b"caf\xe9,2\nM\xfcller,3\n\xe9\xe9,4\n");
    broken.extend_from_slice(b"caf\xe9,2\nok,3\n");
    let guess = spec(serde_json::json!({}));
    let declared = spec(serde_json::json!({"encoding": "utf-8"}));
    for (chunk, threads) in [(CHUNK_BYTES, 1), (64, 1), (10, 2), (100, 3)] {
        let got = file(&latin, &guess, chunk, threads);
        assert_eq!(got.error, None);
        assert_eq!(got.rows[100].1[0].as_deref(), Some("café"));
        assert_eq!(got.rows[102].1[0].as_deref(), Some("éé"));
        assert_eq!(
            file(&broken, &guess, chunk, threads).error.map(|text| text.contains("declare `format.encoding`")),
            Some(true)
        );
        let got = file(&broken, &declared, chunk, threads);
        assert_eq!((got.rows.len(), got.error), (101, None));
        assert_eq!(got.faults, [(101, "it contains bytes that are not utf-8".to_owned(), "caf\u{fffd},2".to_owned())]);
    }
    let greek = spec(serde_json::json!({"encoding": "windows-1253"}));
    for (chunk, threads) in [(CHUNK_BYTES, 1), (64, 1), (5, 2)] {
        let got = file(b"a\n\xe1\xe2\n\xd2\n\xe3\n", &greek, chunk, threads);
        assert_eq!(got.rows, [(1, vec![Some("αβ".to_owned())]), (3, vec![Some("γ".to_owned())])]);
        assert_eq!(got.faults[0].0, 2);
    }
}

#[test]
fn threads_save_the_work_of_one() {
    let mut text = "a,b,c\n".to_owned();
    for row in 0..5_000 {
        let quoted = if row % 7 == 0 { "\"multi\nline, \"\"quoted\"\"\"" } else { "plain" };
        text.push_str(&format!("{row},{quoted},{}\n", row % 5));
    }
    let expected = file(text.as_bytes(), &spec(serde_json::json!({})), CHUNK_BYTES, 1);
    assert_eq!((expected.rows.len(), expected.faults.len()), (5_000, 0));
    for (chunk, threads) in [(1000, 2), (4096, 3), (20_000, 2)] {
        assert_eq!(file(text.as_bytes(), &spec(serde_json::json!({})), chunk, threads), expected);
    }
}
