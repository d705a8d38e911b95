//! Parquet and Arrow IPC: real interoperability files, damaged ones, and announced against read rows.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use serde_json::json;

use crate::reading::{check, read, read_shared, shared};

fn batch(rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..rows);
    let names = StringArray::from_iter_values((0..rows).map(|row| format!("n{row}")));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)]).unwrap()
}

pub(crate) fn parquet_of(rows: i64) -> Vec<u8> {
    let batch = batch(rows);
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub(crate) fn arrow_stream_of(rows: i64) -> Vec<u8> {
    let batch = batch(rows);
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub(crate) fn arrow_file_of(rows: i64) -> Vec<u8> {
    let batch = batch(rows);
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A Parquet file of `rows` rows whose only row group announces others; the writer sums those up for the whole file.
fn parquet_announcing(rows: i64, announced: i64) -> Vec<u8> {
    use parquet::file::metadata::{ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
    let mut body = parquet_of(rows);
    let honest = ParquetMetaDataReader::new().parse_and_finish(&bytes::Bytes::from(body.clone())).unwrap();
    let group = honest.row_group(0).clone().into_builder().set_num_rows(announced).build().unwrap();
    let forged = ParquetMetaDataBuilder::new(honest.file_metadata().clone()).set_row_groups(vec![group]).build();
    let footer = u32::from_le_bytes(body[body.len() - 8..body.len() - 4].try_into().unwrap()) as usize;
    body.truncate(body.len() - 8 - footer);
    ParquetMetaDataWriter::new(&mut body, &forged).finish().unwrap();
    body
}

#[test]
fn a_file_that_announces_other_rows_than_it_has_is_an_error() {
    let kind = || json!({"kind": "parquet"});
    assert_eq!(read(&parquet_announcing(20, 20), kind()).unwrap().rows.len(), 20);
    for announced in [21, 19, 0, 1 << 40, -1] {
        let found = read(&parquet_announcing(20, announced), kind()).map(|read| read.rows.len());
        assert!(found.is_err(), "{announced} announced, 20 there, {found:?} read");
    }
}

#[test]
fn typed_files_keep_their_rows() {
    for (kind, body) in [("parquet", parquet_of(2)), ("arrow", arrow_stream_of(2)), ("arrow", arrow_file_of(2))] {
        check(&body, json!({"kind": kind}), "1: id=0, name=n0\n2: id=1, name=n1");
    }
    let large = read(&parquet_of(70_000), json!({"kind": "parquet"})).unwrap();
    assert_eq!(large.rows.len(), 70_000);
    assert_eq!(large.rows[69_999], "70000: id=69999, name=n69999");
    for kind in ["parquet", "arrow", "xlsx", "xls", "ods"] {
        for body in [b"".as_slice(), b"<html>not found</html>"] {
            assert!(read(body, json!({"kind": kind})).is_err(), "{kind}: {body:?}");
        }
    }
}

#[test]
fn columns_that_no_table_can_hold_are_named() {
    use arrow::array::{MapBuilder, StringBuilder};
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    builder.keys().append_value("k");
    builder.values().append_value("v");
    builder.append(true).unwrap();
    let map = Arc::new(builder.finish()) as arrow::array::ArrayRef;
    let ids = Arc::new(Int64Array::from(vec![1])) as arrow::array::ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", ids), ("tags", map)]).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let body = writer.into_inner().unwrap();
    let error = read(&body, json!({"kind": "parquet"})).unwrap_err();
    assert!(error.contains("no table can hold column `tags`"), "{error}");
    let mut job = crate::reading::job(&json!({"kind": "parquet"}), &json!([]));
    job.ignore = vec!["tags".to_owned()];
    assert_eq!(crate::reading::read_job(&body, job).unwrap().text(), "1: id=1");
}

#[test]
fn parquet_interoperability_files() {
    let Some(folder) = shared("parquet/parquet-testing/data") else {
        return;
    };
    let (mut read, mut refused) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.ends_with(".parquet") {
            continue;
        }
        let path = format!("parquet/parquet-testing/data/{name}");
        match read_shared(&path, json!({"kind": "parquet"})).unwrap() {
            Ok(_) => read += 1,
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    assert!(read > 45, "{read} read, refused: {refused:#?}");
    // Corrupt checksums must be among the refused.
    for corrupt in ["datapage_v1-corrupt-checksum", "rle-dict-uncompressed-corrupt-checksum"] {
        assert!(refused.iter().any(|line| line.starts_with(corrupt)), "{corrupt}: {refused:#?}");
    }
}

#[test]
fn real_arrow_file() {
    let Some(read) = read_shared("reference/vega/flights-200k.arrow", json!({"kind": "arrow"})) else {
        return;
    };
    assert_eq!(read.unwrap().rows.len(), 200_000);
}

#[test]
fn truncated_files_are_errors() {
    for (kind, body) in [("parquet", parquet_of(1000)), ("arrow", arrow_file_of(1000))] {
        for cut in [body.len() - 1, body.len() / 2, 10, 3] {
            assert!(read(&body[..cut], json!({"kind": kind})).is_err(), "{kind} cut at {cut}");
        }
    }
    let stream = arrow_stream_of(1000);
    assert!(read(&stream[..stream.len() / 2], json!({"kind": "arrow"})).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_typed_files_never_panic(which in 0_usize..3, at in 0_usize..5000, bit in 0_u32..8) {
        let (kind, mut body) = match which {
            0 => ("parquet", parquet_of(20)),
            1 => ("arrow", arrow_stream_of(20)),
            _ => ("arrow", arrow_file_of(20)),
        };
        let length = body.len();
        body[at % length] ^= 1 << bit;
        drop(read(&body, json!({"kind": kind})));
    }
}
