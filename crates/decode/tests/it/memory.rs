//! Memory does not depend on the size of the input: every decoder reads (or refuses, naming a limit) inputs larger than the
//! memory that its process may have, or such that a few bytes stand for far more. The limit is the operating system's, as
//! in a decode worker. `HAMBAR_TEST_LONG` makes the inputs sixteen times as large.

use std::io::{Read, Seek, Write};

use hambar_decode::{Input, decode};
use serde_json::{Value, json};

use crate::excel;
use crate::reading::{job, limited};

const MIB: u64 = 1024 * 1024;
/// Private memory of the process that decodes.
const MEMORY_MIB_MAX: u64 = 96;
/// The same where a batch has thousands of columns, each with memory of its own in every step, or cells of 200 KB.
const MEMORY_WIDE_MIB_MAX: u64 = 192;
/// Bytes of a large input.
const INPUT_BYTES: u64 = 128 * MIB;
/// Rows that have one cell of four thousand: with all of them, they would take the memory several times.
const SPARSE_ROWS: usize = 10_000;

/// A start, a unit that is repeated, and an end: bytes that nobody had to write down.
struct Repeated {
    start: Vec<u8>,
    unit: Vec<u8>,
    end: Vec<u8>,
    at: u64,
    units: u64,
}

impl Repeated {
    /// So many bytes, give or take.
    fn new(start: &str, unit: &str, end: &str, bytes: u64) -> Self {
        // Handing out many units at a time is quicker in tests that are not optimised.
        let unit = unit.repeat(1 + 60_000 / unit.len());
        let units = bytes / unit.len() as u64;
        Self { start: start.into(), unit: unit.into(), end: end.into(), at: 0, units }
    }

    /// So many units.
    fn times(start: &str, unit: &str, end: &str, times: usize) -> Self {
        Self { start: start.into(), unit: unit.repeat(times).into(), end: end.into(), at: 0, units: 1 }
    }
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let (start, unit) = (self.start.len() as u64, self.unit.len() as u64);
        let repeated_end = start + unit * self.units;
        let part = match self.at {
            at if at < start => &self.start[at as usize..],
            at if at < repeated_end => &self.unit[((at - start) % unit) as usize..],
            at => self.end.get((at - repeated_end) as usize..).unwrap_or_default(),
        };
        let count = part.len().min(into.len());
        into[..count].copy_from_slice(&part[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

fn file(mut source: impl Read) -> Input {
    let mut file = tempfile::tempfile().unwrap();
    std::io::copy(&mut source, &mut file).unwrap();
    file.rewind().unwrap();
    Input::File(file)
}

fn stream(source: Repeated) -> Input {
    Input::Stream(Box::new(source))
}

/// Decodes and conforms; gives the number of rows, or the error.
fn rows_of(input: Input, format: &Value) -> String {
    let mut job = job(format, &json!([]));
    job.on_drift = hambar_core::OnDrift::AddColumns;
    let mut rows = 0;
    let outcome = decode(input, &job, &std::env::temp_dir(), &mut |conformed| {
        rows += conformed.rows.num_rows();
        Ok(())
    });
    match outcome {
        Ok(report) => format!("{rows} rows, {} rejected", report.rejected),
        Err(error) => hambar_core::Chain(&error).to_string(),
    }
}

fn zip_bomb(nested: usize) -> Vec<u8> {
    let mut body = vec![b' '; 64 << 20];
    for _ in 0..=nested {
        body = crate::archive::zipped(&[("a.json", &body)]);
    }
    body
}

/// One string that stands in all cells of a sheet.
fn shared_string_bomb() -> Vec<u8> {
    let strings = format!("count=\"1\" uniqueCount=\"1\"><si><t>{}</t></si>", "x".repeat(900_000));
    let row = |row: u32| -> String {
        let cells: String =
            (0..40).map(|column| format!("<c r=\"{}{row}\" t=\"s\"><v>0</v></c>", column_name(column))).collect();
        format!("<row r=\"{row}\">{cells}</row>")
    };
    excel::xlsx(&(1..100).map(row).collect::<String>(), &strings)
}

fn column_name(column: u8) -> String {
    let letter = |index: u8| char::from(b'A' + index);
    if column < 26 { letter(column).to_string() } else { format!("{}{}", letter(column / 26 - 1), letter(column % 26)) }
}

/// A header of many columns, and rows of a few bytes.
fn sparse_xlsx() -> Vec<u8> {
    let header: String = (0..4000).map(|n| format!("<c t=\"inlineStr\"><is><t>c{n}</t></is></c>")).collect();
    let rows: String = (2..SPARSE_ROWS).map(|row| format!("<row r=\"{row}\"><c><v>1</v></c></row>")).collect();
    excel::xlsx(&format!("<row r=\"1\">{header}</row>{rows}"), excel::STRINGS)
}

/// The same large text in every row: Parquet writes it once in a while.
fn parquet_of_long_texts() -> Vec<u8> {
    use arrow::array::{RecordBatch, StringArray};
    let text = "x".repeat(200_000);
    let batch = |rows: usize| {
        let column = StringArray::from_iter_values(std::iter::repeat_n(&text, rows));
        RecordBatch::try_from_iter([("t", std::sync::Arc::new(column) as _)]).unwrap()
    };
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch(1).schema(), None).unwrap();
    for _ in 0..40 {
        writer.write(&batch(50)).unwrap();
    }
    writer.into_inner().unwrap()
}

/// A text of a kibibyte.
fn long_text() -> String {
    "a long text ".repeat(86)
}

fn named(count: usize, write: impl Fn(usize) -> String, separator: &str) -> String {
    (0..count).map(write).collect::<Vec<_>>().join(separator)
}

/// Inputs larger than the memory.
fn large(name: &str, bytes: u64) -> Option<(Input, Value)> {
    let text = long_text();
    let csv = || Repeated::new("a,b,c\n", &format!("1,\"x, {text}\",2\n"), "", bytes);
    let line = format!("{{\"a\": 1, \"b\": \"{text}\"}}");
    let generic = format!("<Obs><ObsDimension value=\"2024\"/><ObsValue value=\"{text}\"/></Obs>");
    let structure = "{\"structure\":{\"dimensions\":{\"observation\":[{\"id\":\"T\",\"values\":[{\"id\":\"2024\"}]}]}},\"dataSets\":[{\"observations\":{\"0\":[1]";
    Some(match name {
        "csv_file" => (file(csv()), json!({"kind": "csv"})),
        "csv_stream" => (stream(csv()), json!({"kind": "csv"})),
        "ndjson" => (stream(Repeated::new("", &format!("{line}\n"), "", bytes)), json!({"kind": "ndjson"})),
        "json_document" => {
            (stream(Repeated::new("[{\"a\": 0}", &format!(",{line}"), "]", bytes)), json!({"kind": "json"}))
        }
        "json_beside" => {
            let source = Repeated::new("{\"beside\": [0", &format!(",{line}"), "], \"rows\": [{\"a\": 1}]}", bytes);
            (stream(source), json!({"kind": "json", "record_path": "/rows"}))
        }
        "sdmx_ml" => {
            let end = "</Series></DataSet></GenericData>";
            (stream(Repeated::new("<GenericData><DataSet><Series>", &generic, end, bytes)), json!({"kind": "sdmx_ml"}))
        }
        "sdmx_json" => (
            file(Repeated::new(structure, &format!(",\"0\":[\"{text}\"]"), "}}]}", bytes)),
            json!({"kind": "sdmx_json"}),
        ),
        "sdmx_json_text" => (file(Repeated::new("{\"a\": \"", "x", "", bytes)), json!({"kind": "sdmx_json"})),
        "ndjson_one_line" => (stream(Repeated::new("{\"a\": \"", "x", "", bytes)), json!({"kind": "ndjson"})),
        "json_one_record" => (stream(Repeated::new("{\"a\": [0", ",1", "]}", bytes)), json!({"kind": "json"})),
        "sdmx_ml_text" => (stream(Repeated::new("<GenericData><Header>", "x", "", bytes)), json!({"kind": "sdmx_ml"})),
        "csv_faults" => (stream(Repeated::new("a,b,c\n", "1\n", "", bytes)), json!({"kind": "csv"})),
        "ndjson_faults" => (stream(Repeated::new("", "x\n", "", bytes)), json!({"kind": "ndjson"})),
        _ => return None,
    })
}

/// Small inputs that could become large.
fn small(name: &str) -> (Input, Value) {
    match name {
        "csv_sparse" => {
            let start = format!("{}\n", named(4000, |n| format!("c{n}"), ","));
            (stream(Repeated::times(&start, "1\n", "", SPARSE_ROWS)), json!({"kind": "csv", "ragged": "pad"}))
        }
        "fixed_sparse" => {
            let columns: Vec<Value> =
                (0..4000).map(|n| json!({"name": format!("c{n}"), "start": n + 1, "width": 1})).collect();
            let spec = json!({"kind": "fixed_width", "fixed": columns, "ragged": "pad"});
            (stream(Repeated::times("", "1\n", "", SPARSE_ROWS)), spec)
        }
        "ndjson_sparse" => {
            let start = format!("{{{}}}\n", named(4000, |n| format!("\"c{n}\":{n}"), ","));
            (stream(Repeated::times(&start, "{\"c1\":1}\n", "", SPARSE_ROWS)), json!({"kind": "ndjson"}))
        }
        "sdmx_ml_sparse" => {
            let start = format!("<CompactData><DataSet><Obs {}/>", named(4000, |n| format!("c{n}=\"1\""), " "));
            let source = Repeated::times(&start, "<Obs/>", "</DataSet></CompactData>", SPARSE_ROWS);
            (stream(source), json!({"kind": "sdmx_ml"}))
        }
        "xlsx_sparse" => (file(sparse_xlsx().as_slice()), json!({"kind": "xlsx"})),
        "sdmx_ml_row" => {
            let value = "x".repeat(1_000_000);
            let keys = named(20, |n| format!("<Value id=\"c{n}\" value=\"{value}\"/>"), "");
            let start = format!("<GenericData><DataSet><Series><SeriesKey>{keys}");
            (stream(Repeated::times(&start, "", "", 0)), json!({"kind": "sdmx_ml"}))
        }
        "xlsx_bomb" => (file(shared_string_bomb().as_slice()), json!({"kind": "xlsx"})),
        "zip_bomb" => (file(zip_bomb(0).as_slice()), json!({"kind": "ndjson"})),
        "zip_bomb_nested" => (file(zip_bomb(2).as_slice()), json!({"kind": "ndjson"})),
        "gzip_bomb" => (file(crate::archive::gzip(&vec![b' '; 64 << 20]).as_slice()), json!({"kind": "ndjson"})),
        "parquet_texts" => (file(parquet_of_long_texts().as_slice()), json!({"kind": "parquet"})),
        other => panic!("no case `{other}`"),
    }
}

/// The process under the limit.
#[test]
fn in_a_process_of_its_own() {
    let Ok(name) = std::env::var("HAMBAR_MEMORY_CASE") else { return };
    let is_long = std::env::var("HAMBAR_TEST_LONG").is_ok_and(|text| !text.is_empty());
    let bytes = if is_long { 16 * INPUT_BYTES } else { INPUT_BYTES };
    let (input, format) = large(&name, bytes).unwrap_or_else(|| small(&name));
    let outcome = rows_of(input, &format);
    std::io::stdout().write_all(format!("\noutcome: {outcome}\n").as_bytes()).unwrap();
}

/// `expected` is a part of the outcome.
#[track_caller]
fn check(name: &str, expected: &str) {
    check_within(MEMORY_MIB_MAX, name, expected);
}

#[track_caller]
fn check_within(memory_mib_max: u64, name: &str, expected: &str) {
    let started = std::time::Instant::now();
    let mut child = limited("memory::in_a_process_of_its_own", memory_mib_max);
    let output = child.env("HAMBAR_MEMORY_CASE", name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = said.lines().find_map(|line| line.strip_prefix("outcome: "));
    let outcome =
        outcome.unwrap_or_else(|| panic!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    assert!(outcome.contains(expected), "{name}: {outcome}");
    println!("{name}: {outcome} in {} s", started.elapsed().as_secs());
}

#[test]
fn large_inputs_are_read() {
    for name in ["csv_file", "csv_stream", "ndjson", "json_document", "json_beside", "sdmx_ml", "sdmx_json"] {
        check(name, " rows, 0 rejected");
    }
}

#[test]
fn few_cells_of_many_columns_are_read() {
    for name in ["csv_sparse", "fixed_sparse", "ndjson_sparse", "sdmx_ml_sparse", "xlsx_sparse"] {
        check_within(MEMORY_WIDE_MIB_MAX, name, " rows, 0 rejected");
    }
}

#[test]
fn records_and_texts_without_end_are_refused() {
    check("ndjson_one_line", "0 rows, 1 rejected");
    check("json_one_record", "record of 8388608 bytes reached at record 1");
    check("sdmx_ml_text", "XML element limit of 4194304 bytes reached");
    check("sdmx_ml_row", "a series with cells of more than row_bytes_max of 8388608 bytes");
    check("sdmx_json_text", "sdmx_json_text_bytes_max of 1048576 bytes reached");
}

#[test]
fn faults_without_end_stop_at_the_limit_on_rejects() {
    for name in ["csv_faults", "ndjson_faults"] {
        check(name, "records rejected, more than 10000");
    }
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    check("zip_bomb", "decompression ratio of 200 bytes per compressed byte reached");
    // Only the outer archive is opened.
    check("zip_bomb_nested", "0 rows, ");
    check("gzip_bomb", "decompression ratio of 200 bytes per compressed byte reached");
    check("xlsx_bomb", "row_bytes_max of 8388608 bytes reached at sheet row 1");
}

#[test]
fn texts_that_parquet_writes_once_are_read_a_few_at_a_time() {
    check_within(MEMORY_WIDE_MIB_MAX, "parquet_texts", "2000 rows, 0 rejected");
}
