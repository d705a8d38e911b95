//! Delimited text: real files with known results, limits, and proposals.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use hambar_decode::csv::CsvSource;
use hambar_decode::spec::{DecodeLimits, FormatSpec};
use hambar_decode::{DecodeError, Fault, Input, RecordSource, infer};
use serde_json::{Value, json};

use crate::reading::shared;

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) encoding: String,
}

/// Reads bytes from a file and from a stream; both must agree.
pub(crate) fn read(bytes: &[u8], format: &Value) -> Result<Table, DecodeError> {
    let spec: FormatSpec = serde_json::from_value(format.clone()).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let stream = Input::Stream(Box::new(std::io::Cursor::new(bytes.to_vec())));
    let (one, two) = (collect(Input::File(file), &spec), collect(stream, &spec));
    if let (Ok(one), Ok(two)) = (&one, &two) {
        assert_eq!((&one.names, &one.rows, &one.faults), (&two.names, &two.rows, &two.faults));
    }
    one
}

fn collect(input: Input, spec: &FormatSpec) -> Result<Table, DecodeError> {
    let mut source = CsvSource::open(input, spec, None, &DecodeLimits::default())?;
    let mut table = Table { names: source.names().to_vec(), ..Table::default() };
    let mut next = 1;
    while let Some(batch) = source.next_batch()? {
        let columns: Vec<_> =
            batch.batch.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap()).collect();
        for row in 0..batch.batch.num_rows() {
            let cells = columns.iter().map(|column| {
                let column = column.as_string::<i32>();
                if column.is_null(row) { "NULL".to_owned() } else { column.value(row).to_owned() }
            });
            table.rows.push(cells.collect());
        }
        let rows = batch.batch.num_rows() as u64;
        let mut numbers = match &batch.records {
            Some(records) => records.clone(),
            None => (batch.first_record..batch.first_record + rows).collect(),
        };
        numbers.extend(batch.faults.iter().map(|fault| fault.record));
        numbers.sort_unstable();
        let count = numbers.len() as u64;
        assert_eq!(numbers, (next..next + count).collect::<Vec<_>>(), "each record is a row or a fault");
        next += count;
        table.faults.extend(batch.faults);
    }
    table.encoding = source.encoding();
    Ok(table)
}

fn check(text: &str, format: Value, names: &[&str], expected: &[&str]) {
    let table = read(text.as_bytes(), &format).unwrap();
    assert_eq!(table.names, names, "{text:?}");
    let mut got: Vec<String> = table.rows.iter().map(|row| row.join("|")).collect();
    got.extend(table.faults.iter().map(|fault| format!("{}: {}", fault.record, fault.reason)));
    assert_eq!(got, expected, "{text:?}");
}

#[test]
fn settings_do_what_they_say() {
    let csv = |more: Value| {
        let mut format = json!({"kind": "csv"});
        format.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format
    };
    check("a,b\n1,2\n", csv(json!({})), &["a", "b"], &["1|2"]);
    check("\u{feff}a,b\r\n1,\r\n", csv(json!({})), &["a", "b"], &["1|"]);
    check("a,b\r1,2\r3,4", csv(json!({})), &["a", "b"], &["1|2", "3|4"]);
    check("a,b,\n1,2,\n3,4\n5,6,x\n", csv(json!({})), &["a", "b"], &["1|2", "3|4", "3: 3 cells, but 2 columns"]);
    check("1,2\n", csv(json!({"header_lines": 0})), &["column_1", "column_2"], &["1|2"]);
    check("x,y\nu,v\n1,2\n", csv(json!({"header_lines": 2})), &["x u", "y v"], &["1|2"]);
    check(
        "T\n\"a\n# c\na|b\n1|2\n",
        csv(json!({"preamble_lines": 2, "comment": "#", "delimiter": "|"})),
        &["a", "b"],
        &["1|2"],
    );
    check(
        "a,b\n1\n1,2,\n1,2,3\n",
        csv(json!({"ragged": "pad"})),
        &["a", "b"],
        &["1|NULL", "1|2", "3: 3 cells, but 2 named columns"],
    );
    check("a,b\n \"x, y\" , z \n", csv(json!({})), &["a", "b"], &["x, y|z"]);
    check("a,b\n x ,y\n", csv(json!({"trim": false})), &["a", "b"], &[" x |y"]);
    check("a,b\n'x,''y',z\n", csv(json!({"quote": "'"})), &["a", "b"], &["x,'y|z"]);
    check("a,b\n\"x\",z\n", csv(json!({"quote": ""})), &["a", "b"], &["\"x\"|z"]);
    check("a,b\n\"x\\\"y\",z\n", csv(json!({"escape": "\\"})), &["a", "b"], &["x\"y|z"]);
    check("a,b\n\"C:\\new\\\\x\",z\n", csv(json!({"escape": "\\"})), &["a", "b"], &["C:\\new\\x|z"]);
    check("a,b\n5\" pipe,z\n", csv(json!({})), &["a", "b"], &["5\" pipe|z"]);
    check("a,b\n24\",30\"\n", csv(json!({})), &["a", "b"], &["24\"|30\""]);
    check("a,b\n2\" x 4\",30\"\n", csv(json!({})), &["a", "b"], &["2\" x 4\"|30\""]);
    check(
        "a,b\n9\"Bike, 24\"\n1,2\n",
        csv(json!({})),
        &["a", "b"],
        &[
            "1|2",
            "1: cell 1 (`a`): the quote inside it and the one at the end of a later cell enclose a delimiter; one may be missing in front of the first",
        ],
    );
    check(
        "a,b\n\"x\"y,z\n1,2\n",
        csv(json!({})),
        &["a", "b"],
        &["1|2", "1: cell 1 (`a`): text after the closing quote"],
    );
    check("a,b\n1,x\0y\n1,2\n", csv(json!({})), &["a", "b"], &["1|2", "1: it contains a NUL byte"]);
    check("a,b\n", csv(json!({})), &["a", "b"], &[]);
    check("a\tb\n1\t\n", json!({"kind": "tsv"}), &["a", "b"], &["1|"]);
}

#[test]
fn settings_that_cannot_be_are_named() {
    for (text, more, part) in [
        ("", json!({}), "0 header lines, fewer than the 1 declared"),
        ("", json!({"header_lines": 0}), "no record, so the columns are unknown"),
        ("a\n", json!({"preamble_lines": 3}), "1 lines, fewer than the 3"),
        ("a\n", json!({"delimiter": ""}), "setting `format.delimiter`"),
        ("a\n", json!({"quote": "xx"}), "setting `format.quote`"),
        ("a\n", json!({"footer_pattern": "("}), "setting `format.footer_pattern`"),
        ("a\n", json!({"footer_lines": 10_000_000}), "setting `format.footer_lines`"),
        ("\"a\n", json!({}), "the quote opened at byte 0 is not closed"),
    ] {
        let mut format = json!({"kind": "csv"});
        format.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = read(text.as_bytes(), &format).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// Bytes made as they are read: a start, then a unit many times.
struct Endless(std::io::Cursor<Vec<u8>>, Vec<u8>, u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count > 0 || self.2 == 0 {
            return Ok(count);
        }
        self.2 -= 1;
        self.0 = std::io::Cursor::new(self.1.clone());
        self.0.read(buffer)
    }
}

fn endless(start: &str, unit: &str, times: u64) -> Input {
    let unit = unit.repeat(1 + 65_536 / unit.len()).into_bytes();
    let times = times / unit.len() as u64 + 1;
    Input::Stream(Box::new(Endless(std::io::Cursor::new(start.as_bytes().to_vec()), unit, times)))
}

#[test]
fn limits_hold_before_memory_is_used() {
    const MB: u64 = 1_000_000;
    let spec: FormatSpec = serde_json::from_value(json!({"kind": "csv"})).unwrap();
    for (start, unit, bytes, part) in [
        ("", "abcdefgh,", 2 * MB, "columns_max of 4096 columns reached at the header"),
        ("", "abcdefgh", 20 * MB, "row_bytes_max of 8388608 bytes reached at the header"),
        ("a,b\n1,2\n", "xyz ", 20 * MB, "row_bytes_max of 8388608 bytes reached at record 2"),
    ] {
        let error = collect(endless(start, unit, bytes), &spec).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let table = collect(endless("a,b\n1,2\n3,\"open\n", "5,6\n", 3 * MB), &spec).unwrap();
    assert_eq!(table.faults.len(), 1);
    assert!(table.faults[0].reason.contains("the quote opened at byte 10 is not closed"), "{}", table.faults[0].reason);
    let table = read(format!("a\n{}\nx\n", "y".repeat(1_100_000)).as_bytes(), &json!({"kind": "csv"})).unwrap();
    assert!(table.faults[0].reason.contains("cell_bytes_max"), "{}", table.faults[0].reason);
    assert!(table.faults[0].raw.len() <= 8192);
}

#[test]
fn csv_spectrum() {
    let Some(folder) = shared("csv/csv-spectrum") else {
        return;
    };
    for entry in std::fs::read_dir(folder.join("csvs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = std::fs::read(folder.join("json").join(format!("{name}.json"))).unwrap();
        let expected: Value = serde_json::from_str(&String::from_utf8_lossy(&expected)).unwrap();
        let expected = if expected.is_array() { expected } else { json!([expected]) };
        let table = read(&std::fs::read(&path).unwrap(), &json!({"kind": "csv"})).unwrap();
        let rows: Vec<Value> = table
            .rows
            .iter()
            .map(|row| table.names.iter().cloned().zip(row.iter().map(|cell| json!(cell))).collect())
            .collect();
        assert!(table.faults.is_empty(), "{name}: {:?}", table.faults);
        // The expected result of one file was written in another encoding than it claims.
        if name != "location_coordinates" {
            assert_eq!(json!(rows), expected, "{name}");
        }
    }
}

#[test]
fn csvkit_files_are_read_as_their_names_say() {
    let Some(folder) = shared("csv/csvkit-examples") else {
        return;
    };
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let csv = json!({"kind": "csv"});
    let utf8 = read(&file("test_utf8.csv"), &csv).unwrap();
    for (name, encoding) in
        [("test_utf8_bom.csv", "utf-8"), ("test_utf16_big.csv", "utf-16be"), ("test_utf16_little.csv", "utf-16le")]
    {
        let table = read(&file(name), &csv).unwrap();
        assert_eq!(table.rows, utf8.rows, "{name}");
        assert_eq!(table.encoding, encoding, "{name}");
    }
    let latin = read(&file("test_latin1.csv"), &csv).unwrap();
    assert_eq!(latin.encoding, "windows-1252");
    assert!(latin.rows.iter().flatten().any(|cell| cell.contains('©') || cell.contains('é')), "{:?}", latin.rows);
    let mac = read(&file("mac_newlines.csv"), &csv).unwrap();
    assert!(mac.rows.len() > 1 && mac.faults.is_empty());
    let bad = read(&file("bad.csv"), &csv).unwrap();
    assert!(!bad.faults.is_empty());
    let nul = read(&file("null_byte.csv"), &csv);
    assert!(nul.map_or(true, |table| !table.faults.is_empty()));
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_text = path
            .extension()
            .is_some_and(|extension| ["csv", "tsv", "txt", "upl"].iter().any(|known| extension == *known));
        // The polluted files have a test of their own.
        let is_polluted = path.ends_with("pollock-polluted");
        if path.is_dir() && !is_polluted {
            files(&path, found);
        } else if is_text && path.is_file() && path.metadata().unwrap().len() < 150_000 {
            found.push(path);
        }
    }
}

#[test]
fn every_real_file_is_described_and_read_or_refused() {
    let (Some(csv), Some(frictionless), Some(worldbank)) =
        (shared("csv"), shared("frictionless/data"), shared("worldbank/bulk-csv"))
    else {
        return;
    };
    let mut found = Vec::new();
    for folder in [&csv, &frictionless, &worldbank] {
        files(folder, &mut found);
    }
    let (mut clean, mut refused) = (0, 0);
    for path in &found {
        let file = std::fs::File::open(path).unwrap();
        let spec = infer::dialect(&file).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let bytes = std::fs::read(path).unwrap();
        match read(&bytes, &serde_json::to_value(&spec).unwrap()) {
            Ok(table) => clean += usize::from(table.faults.is_empty()),
            Err(_) => refused += 1,
        }
        let mut source = match CsvSource::open(Input::File(file), &spec, None, &DecodeLimits::default()) {
            Ok(source) => source,
            Err(_) => continue,
        };
        if let Ok(inferred) = infer::columns(&mut source, &spec) {
            assert!(!inferred.columns.is_empty(), "{path:?}");
        }
    }
    println!("{} files: {clean} without a fault, {refused} refused", found.len());
    assert!(clean * 10 > found.len() * 7, "{clean} of {}", found.len());
}

fn check_dialect(text: &str, expected: Value) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let spec = serde_json::to_value(infer::dialect(&file).unwrap()).unwrap();
    let mut all = json!({"kind": "csv", "preamble_lines": 0, "header_lines": 1, "footer_lines": 0, "ragged": "reject", "trim": true});
    all.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
    assert_eq!(spec, all, "{text:?}");
}

#[test]
fn dialects_are_found() {
    check_dialect("a,b\n1,2\n3,4\n", json!({}));
    check_dialect("a;b\n1,5;2\n3,25;x\n", json!({"delimiter": ";", "decimal": ","}));
    check_dialect("a\tb\n1\t2\n", json!({"kind": "tsv"}));
    check_dialect("Title of it\n\nx,y,z\n1,2,3\n4,5,6\nSource: us\n", json!({"preamble_lines": 2, "footer_lines": 1}));
    check_dialect("1,2\n3,4\n5,6\n", json!({"header_lines": 0}));
    check_dialect("# note, with commas, here\na|b\n1|2\n", json!({"comment": "#", "delimiter": "|"}));
    check_dialect("c,2000,2001,2002\nBG,1,2,3\nRO,4,5,6\n", json!({}));
    check_dialect("a,b\n\"1,234\",x\n\"12,345,678\",y\n", json!({"thousands": ","}));
}

#[test]
fn columns_keys_and_years_are_proposed() {
    let infer = |text: &str| {
        let spec: FormatSpec = serde_json::from_value(json!({"kind": "csv"})).unwrap();
        let input = Input::Stream(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())));
        let mut source = CsvSource::open(input, &spec, None, &DecodeLimits::default()).unwrap();
        let inferred = infer::columns(&mut source, &spec).unwrap();
        let columns: Vec<String> =
            inferred.columns.iter().map(|rule| format!("{} {}", rule.name, String::from(rule.kind.clone()))).collect();
        let key: Vec<String> = inferred.key.iter().map(ToString::to_string).collect();
        (columns.join(", "), key.join(","), inferred)
    };
    let (columns, key, inferred) =
        infer("geo,time,value\nBG,2020-Q1,1.5\nBG,2020-Q2,..\nNA,2020-Q1,2.5 p\nRO,2020-Q1,3.5\n");
    assert_eq!((columns.as_str(), key.as_str()), ("geo string, time period, value decimal(18,1)", "geo,time"));
    assert_eq!(inferred.nulls.values, [".."]);
    assert_eq!(inferred.columns[2].status.as_ref().map(ToString::to_string).as_deref(), Some("value_status"));
    let (columns, key, inferred) = infer(
        "Country Code,2000,2001 [YR2001],2002,\nBGR,1.5,2,\nROU,,3,4.25,\n"
            .replace("BGR,1.5,2,\n", "BGR,1.5,2,,\n")
            .as_str(),
    );
    assert_eq!(
        (columns.as_str(), key.as_str()),
        ("country_code string, year int64, value float64", "country_code,year")
    );
    assert!(inferred.unpivot.is_some());
    assert_eq!((inferred.rows, inferred.faults), (2, 0));
    let mut late = "id,x\n".to_owned();
    for row in 0..1500 {
        late.push_str(&format!("{row},1\n"));
    }
    late.push_str("1500,N/A\n1501,2.5\n");
    let (columns, _, inferred) = infer(&late);
    assert_eq!(columns, "id int64, x float64");
    assert_eq!(inferred.nulls.values, ["N/A"]);
}
