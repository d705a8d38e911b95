//! What any bytes must do to each decoder: no panic of ours, bounded memory, and the same outcome however they arrive.
//! The first bytes choose settings, the rest is the body. Called by `mutations` with damaged files, and by the fuzzers in
//! `fuzz/` with bytes that look for new paths.

use std::io::Write as _;
use std::sync::{Arc, Once};

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use hambar_decode::conform::period;
use hambar_decode::csv::{CHUNK_BYTES, CsvSource};
use hambar_decode::spec::{DecodeJob, DecodeLimits, UnpivotSpec};
use hambar_decode::{Conformed, Conformer, DecodeError, Input, SourceBatch, infer};
use serde_json::{Value, json};

use crate::reading::{Read, job, read_input};

/// One decoder or parser under test.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name.
pub(crate) const TARGETS: [(&str, Target); 20] = [
    ("csv", csv),
    ("fixed", fixed),
    ("json", json_document),
    ("ndjson", ndjson),
    ("parquet", parquet),
    ("arrow", arrow_ipc),
    ("xlsx", xlsx),
    ("xls", xls),
    ("ods", ods),
    ("sdmx_ml", sdmx_ml),
    ("sdmx_csv", sdmx_csv),
    ("sdmx_json", sdmx_json),
    ("structures", structures),
    ("zip", zip),
    ("tar", tar),
    ("compress", compress),
    ("infer", infer_all),
    ("period", periods),
    ("number", numbers),
    ("conform", conform),
];

/// Bytes after decompression that a target may make of its input.
const DECODED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Libraries may stumble on their own threads, where it becomes an error; our own code may not, on any.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let is_ours = panic
                .location()
                .is_none_or(|place| ["crates/decode/", "crates/core/"].iter().any(|part| place.file().contains(part)));
            let is_contained = std::thread::current().name().is_some_and(|name| name.starts_with("decode-"));
            if is_ours || !is_contained {
                eprintln!("{panic}");
                std::process::abort();
            }
        }));
    });
}

/// Takes a byte that chooses; the last of an empty input is 0.
fn choice(data: &mut &[u8]) -> u8 {
    match data.split_first() {
        Some((first, rest)) => {
            *data = rest;
            *first
        }
        None => 0,
    }
}

/// A stream that gives a few bytes at a time.
struct Dribble(std::io::Cursor<Vec<u8>>, usize);

impl std::io::Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let step = self.1.min(buffer.len());
        self.0.read(&mut buffer[..step])
    }
}

pub(crate) fn file_of(body: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(body).unwrap();
    file
}

/// A stream of `body` that gives at most `step` bytes at a time.
pub(crate) fn dribble(body: &[u8], step: usize) -> Input {
    Input::Stream(Box::new(Dribble(std::io::Cursor::new(body.to_vec()), step.max(1))))
}

fn show(outcome: Result<Read, DecodeError>) -> Result<String, ()> {
    outcome.map(|read| format!("{}\n{:?}", read.text(), read.faults)).map_err(|_| ())
}

/// Reads `body` as a file and as streams of several steps, with one thread and with several: all must agree.
pub(crate) fn agree(body: &[u8], mut job: DecodeJob, step: usize) -> Result<String, ()> {
    job.limits.decoded_bytes_max = job.limits.decoded_bytes_max.min(DECODED_BYTES_MAX);
    job.limits.threads = 1;
    let first = show(read_input(Input::File(file_of(body)), &job));
    assert_eq!(show(read_input(dribble(body, step), &job)), first, "a stream in steps of {step}");
    job.limits.threads = 3;
    assert_eq!(show(read_input(Input::File(file_of(body)), &job)), first, "a file and three threads");
    first
}

fn meet(body: &[u8], job: DecodeJob, step: usize) {
    watch_panics();
    // Refusing is fine.
    let _outcome = agree(body, job, step);
}

fn format(kind: &str) -> Value {
    json!({ "kind": kind })
}

fn csv(mut data: &[u8]) {
    watch_panics();
    let (which, chunk) = (choice(&mut data), usize::from(choice(&mut data)) + 1);
    let spec = [
        json!({"kind": "csv"}),
        json!({"kind": "csv", "trim": false, "ragged": "pad"}),
        json!({"kind": "csv", "escape": "\\", "comment": "#", "footer_lines": 1}),
        json!({"kind": "csv", "delimiter": "||", "header_lines": 0, "footer_pattern": "^S"}),
        json!({"kind": "csv", "delimiter": ";", "quote": "'", "preamble_lines": 1, "header_lines": 2}),
        json!({"kind": "csv", "encoding": "utf-8"}),
        json!({"kind": "csv", "encoding": "windows-1253"}),
        json!({"kind": "tsv", "quote": ""}),
    ];
    let spec = &spec[usize::from(which) % spec.len()];
    let job = job(spec, &json!([]));
    meet(data, job.clone(), chunk);
    let read = |input, threads, chunk| {
        let limits = DecodeLimits { threads, ..job.limits.clone() };
        let mut source = CsvSource::open_chunked(input, &job.format, None, &limits, chunk)?;
        Read::of(&mut source)
    };
    // A guess at the encoding may look at fewer bytes in small chunks.
    if matches!(which % 8, 5 | 6) || data.iter().all(|byte| byte.is_ascii() && *byte != 0) {
        let whole = show(read(Input::File(file_of(data)), 1, CHUNK_BYTES));
        assert_eq!(show(read(dribble(data, 3), 1, chunk)), whole, "chunks of {chunk}");
        assert_eq!(show(read(Input::File(file_of(data)), 2, chunk)), whole, "two threads, chunks of {chunk}");
    }
}

fn fixed(mut data: &[u8]) {
    let (which, step) = (choice(&mut data), usize::from(choice(&mut data)) + 1);
    let columns = json!([{"name": "a", "start": 1, "width": 3}, {"name": "b", "start": 5, "width": 4}]);
    let ragged = if which.is_multiple_of(2) { "reject" } else { "pad" };
    let spec =
        json!({"kind": "fixed_width", "fixed": columns, "ragged": ragged, "trim": which % 4 < 2, "comment": "#"});
    meet(data, job(&spec, &json!([])), step);
}

fn nested_columns() -> Value {
    json!([
        {"name": "b", "source": "b", "type": "list<struct<c: int64, d: decimal(10,2)>>"},
        {"name": "deep", "source": "/x/0/y", "type": "string"},
        {"name": "at", "source": "at", "type": "struct<t: timestamp, d: date, f: float64, z: bool>"},
    ])
}

fn json_document(mut data: &[u8]) {
    let (which, step) = (choice(&mut data), usize::from(choice(&mut data)) + 1);
    let path = ["", "/rows", "/*", "/1", "/a~1b/*/c"][usize::from(which) % 5];
    let columns = if which < 128 { nested_columns() } else { json!([]) };
    meet(data, job(&json!({"kind": "json", "record_path": path}), &columns), step);
}

fn ndjson(mut data: &[u8]) {
    let (which, step) = (choice(&mut data), usize::from(choice(&mut data)) + 1);
    let columns = if which < 128 { nested_columns() } else { json!([]) };
    meet(data, job(&format("ndjson"), &columns), step);
}

fn parquet(data: &[u8]) {
    meet(data, job(&format("parquet"), &json!([])), 4000);
}

fn arrow_ipc(data: &[u8]) {
    meet(data, job(&format("arrow"), &json!([])), 4000);
}

fn xlsx(data: &[u8]) {
    meet(data, job(&format("xlsx"), &json!([])), 4000);
}

fn xls(data: &[u8]) {
    meet(data, job(&format("xls"), &json!([])), 4000);
}

fn ods(data: &[u8]) {
    meet(data, job(&format("ods"), &json!([])), 4000);
}

fn sdmx_ml(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    meet(data, job(&format("sdmx_ml"), &json!([])), step);
}

fn sdmx_csv(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    meet(data, job(&format("sdmx_csv"), &json!([])), step);
}

fn sdmx_json(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    meet(data, job(&format("sdmx_json"), &json!([])), step);
}

fn structures(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    let kind = if data.first() == Some(&b'{') { "sdmx_json" } else { "sdmx_ml" };
    meet(data, job(&format(kind), &json!([])), step);
}

fn zip(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    meet(data, job(&json!({"kind": "ndjson", "archive": "zip", "members": "**"}), &json!([])), step);
}

fn tar(mut data: &[u8]) {
    let step = usize::from(choice(&mut data)) + 1;
    meet(data, job(&json!({"kind": "ndjson", "archive": "tar", "members": "**"}), &json!([])), step);
}

fn compress(mut data: &[u8]) {
    let (which, step) = (choice(&mut data), usize::from(choice(&mut data)) + 1);
    let compression = ["auto", "gzip", "bzip2", "xz", "zstd"][usize::from(which) % 5];
    meet(data, job(&json!({"kind": "ndjson", "compression": compression}), &json!([])), step);
}

fn infer_all(data: &[u8]) {
    watch_panics();
    let _sniffed = infer::sniff(data);
    let Ok(spec) = infer::dialect(&file_of(data)) else { return };
    let limits = DecodeLimits { threads: 1, ..DecodeLimits::default() };
    let Ok(mut source) = CsvSource::open(Input::File(file_of(data)), &spec, None, &limits) else { return };
    if let Ok(inferred) = infer::columns(&mut source, &spec) {
        let names: std::collections::BTreeSet<_> = inferred.columns.iter().map(|rule| &rule.name).collect();
        assert_eq!(names.len(), inferred.columns.len(), "names are unique");
        // What was proposed can be read back.
        let mut job = job(&serde_json::to_value(&spec).unwrap(), &serde_json::to_value(&inferred.columns).unwrap());
        (job.nulls, job.unpivot) = (inferred.nulls, inferred.unpivot);
        Conformer::new(job).expect("a proposal has no wrong setting");
    }
}

fn periods(data: &[u8]) {
    watch_panics();
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        if let Some(found) = period::parse(line) {
            assert!(found.start <= found.end, "{line}");
        }
    }
}

fn batch_of(cells: &[&str]) -> SourceBatch {
    let column = Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
    SourceBatch { batch, records: None, first_record: 1, member: None, faults: Vec::new() }
}

fn conformed_as(kind: &str, which: u8, cell: &str) -> Option<Conformed> {
    let style = [
        json!({"kind": "csv"}),
        json!({"kind": "csv", "decimal": ",", "thousands": ". "}),
        json!({"kind": "csv", "thousands": ","}),
    ];
    let style = &style[usize::from(which) % style.len()];
    let job = job(style, &json!([{"name": "v", "type": kind}]));
    let found = Conformer::new(job).unwrap().conform(batch_of(&[cell])).unwrap();
    let is_row = found.rows.num_rows() == 1 && found.rows.column(0).is_valid(0);
    is_row.then_some(found)
}

/// Integers, decimals and doubles agree about every text that they all can hold.
fn numbers(mut data: &[u8]) {
    watch_panics();
    let which = choice(&mut data);
    let text = String::from_utf8_lossy(data);
    for cell in text.lines().take(20) {
        let integer = conformed_as("int64", which, cell);
        let decimal = conformed_as("decimal(38,4)", which, cell);
        let double = conformed_as("float64", which, cell);
        let decimal = decimal.map(|found| found.rows.column(0).as_primitive::<Decimal128Type>().value(0));
        let double = double.map(|found| found.rows.column(0).as_primitive::<Float64Type>().value(0));
        if let Some(integer) = integer {
            let integer = integer.rows.column(0).as_primitive::<Int64Type>().value(0);
            assert_eq!(decimal, Some(i128::from(integer) * 10_000), "{cell}");
            assert_eq!(double, Some(integer as f64), "{cell}");
        }
        if let (Some(decimal), Some(double)) = (decimal, double) {
            let near = decimal as f64 / 10_000.0;
            assert!((near - double).abs() <= double.abs() * 1e-12, "{cell}: {decimal} {double}");
        }
    }
}

fn conform(mut data: &[u8]) {
    watch_panics();
    let (which, nulls) = (choice(&mut data), choice(&mut data));
    let text = String::from_utf8_lossy(data);
    let cells: Vec<&str> = text.lines().take(50).collect();
    let kinds =
        ["string", "bool", "int32", "int64", "float64", "decimal(9,3)", "date", "timestamp", "binary", "period"];
    let kind = kinds[usize::from(which) % kinds.len()];
    let mut column = json!({"name": "v", "type": kind, "required": nulls % 2 == 1});
    if nulls & 2 != 0 {
        column["status"] = json!("s");
    }
    if nulls & 4 != 0 && matches!(kind, "date" | "timestamp") {
        column["format"] = json!("%d.%m.%Y");
    }
    let mut job = job(&format("csv"), &json!([column]));
    job.nulls.values = vec![":".to_owned(), "..".to_owned()];
    job.nulls.empty_text = nulls & 8 != 0;
    job.constants.insert("k".to_owned(), "x".to_owned());
    if nulls & 16 != 0 {
        let spec =
            UnpivotSpec { columns: "^v$".into(), name: "n".into(), value: "v".into(), skip_empty: nulls & 32 != 0 };
        job.unpivot = Some(spec);
        job.ignore.push("n".to_owned());
    }
    let mut conformer = Conformer::new(job).unwrap();
    let found = conformer.conform(batch_of(&cells)).unwrap();
    let report = conformer.finish().unwrap();
    assert_eq!(report.records, cells.len() as u64);
    assert_eq!(report.rows, found.rows.num_rows() as u64);
    if nulls & 32 == 0 {
        assert_eq!(report.records, report.rows + report.rejected, "records in = rows out + rejects");
    }
}
