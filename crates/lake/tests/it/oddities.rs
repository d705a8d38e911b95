//! Tables with odd keys, odd files and odd pasts: the lake agrees with the store in memory, or says what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type};
use hambar_core::conformance::{Row, beside, load, request, show, spec, stamp};
use hambar_core::memory::MemoryStore;
use hambar_core::{ColumnSpec, ColumnType, CommitOutcome, OnDrift, StoreError, TableSpec, TableStore, WriteMode};
use hambar_lake::{Lake, SortedLimits};
use hambar_testkit::fault_store::{Call, Fault};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::histories::check_fingerprint;
use crate::support::{Reader, TestLake, data_files, faulty, over};

/// Small files of small row groups, whose last one takes in later rows.
const SMALL: SortedLimits = SortedLimits { file_bytes: 1 << 20, file_rows: 4, group_rows: 2, small_bytes: u64::MAX };

const KINDS: [&str; 9] =
    ["float64", "decimal(38,4)", "decimal(5,2)", "timestamp", "date", "string", "bool", "binary", "list<int64>"];
/// Different values of each kind, NULL among them.
const VALUES: usize = 7;

fn long(end: char) -> String {
    format!("{}{end}", "x".repeat(5_000))
}

/// All values of a kind; the last one is NULL. Those of small kinds repeat.
fn values(kind: &str) -> ArrayRef {
    let long = (long('a'), long('b'));
    match kind {
        "float64" => {
            let values = [-0.0, 0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, -1.5];
            Arc::new(Float64Array::from_iter(values.map(Some).into_iter().chain([None])))
        }
        "decimal(38,4)" => {
            let large = 10_i128.pow(38) - 1;
            let values = [large, large - 1, -large, 0, 1, -1].map(Some).into_iter().chain([None]);
            Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(38, 4).unwrap())
        }
        "decimal(5,2)" => {
            let values = [99_999, -99_999, 5, -5, 0, 100].map(Some).into_iter().chain([None]);
            Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(5, 2).unwrap())
        }
        "timestamp" => {
            let values = [0, 1, -1, 253_402_300_799_999_999, -62_135_596_800_000_000, 1_600_000_000_000_001];
            let values = values.map(Some).into_iter().chain([None]);
            Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
        }
        "date" => {
            let values = [0, 1, -1, 2_932_896, -719_162, 3_000_000].map(Some).into_iter().chain([None]);
            Arc::new(Date32Array::from_iter(values))
        }
        "string" => Arc::new(StringArray::from(vec![
            Some(""),
            Some("\u{10ffff}\u{10ffff}"),
            Some("a\"b,\\\n\t"),
            Some("ж"),
            Some(long.0.as_str()),
            Some(long.1.as_str()),
            None,
        ])),
        "bool" => {
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(false), None, None]))
        }
        "binary" => Arc::new(BinaryArray::from_opt_vec(vec![
            Some(b"a".as_slice()),
            Some(b""),
            Some(b"ab"),
            Some(b"b"),
            Some(b"c"),
            Some(b"d"),
            None,
        ])),
        _ => Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), None]),
            Some(vec![]),
            Some(vec![None]),
            Some(vec![Some(1)]),
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(-1)]),
            None,
        ])),
    }
}

fn table(kind: &str, write: WriteMode, partitions: &[&str]) -> TableSpec {
    let columns = [("key", kind), ("part", "int64"), ("value", "int64"), ("note", "string")];
    let columns = columns.map(|(name, kind)| ColumnSpec::new(&name.parse().unwrap(), kind.parse().unwrap()));
    TableSpec { columns: columns.to_vec(), ..spec("t", write, &["key", "part"], partitions) }
}

/// Rows by the number of their key's value and their part.
type Rows = BTreeMap<(usize, i64), i64>;

fn rows(spec: &TableSpec, rows: &Rows) -> RecordBatch {
    let kind = spec.columns[0].kind.to_string();
    let picks = Int64Array::from_iter_values(rows.keys().map(|(pick, _)| i64::try_from(*pick).unwrap()));
    let keys = arrow::compute::take(&values(&kind), &picks, None).unwrap();
    let keys = arrow::compute::cast(&keys, &spec.columns[0].kind.to_arrow()).unwrap();
    let notes = rows.values().map(|value| (value % 2 == 0).then(|| format!("note {value}")));
    RecordBatch::try_from_iter_with_nullable([
        ("key", keys, true),
        ("part", Arc::new(Int64Array::from_iter_values(rows.keys().map(|(_, part)| *part))) as ArrayRef, true),
        ("value", Arc::new(Int64Array::from_iter_values(rows.values().copied())) as ArrayRef, true),
        ("note", Arc::new(StringArray::from_iter(notes)) as ArrayRef, true),
    ])
    .unwrap()
}

async fn run(store: &dyn TableStore, spec: &TableSpec, number: usize, sent: &Rows) -> CommitOutcome {
    let state = store.open(spec).await.unwrap();
    let mut writer = store.writer(spec, &state, stamp(&format!("r{number}"))).await.unwrap();
    let batch = rows(spec, sent);
    for start in (0..batch.num_rows()).step_by(3) {
        writer.write(batch.slice(start, 3.min(batch.num_rows() - start)), "sha").await.unwrap();
    }
    writer.commit(request(&format!("{number}"), batch.num_rows())).await.unwrap()
}

fn counts(outcome: &CommitOutcome) -> Option<(u64, u64, u64)> {
    match outcome {
        CommitOutcome::Committed { rows, revised, withdrawn, .. } => Some((*rows, *revised, *withdrawn)),
        CommitOutcome::Unchanged | CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Conflict { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_are_paired_as_the_model_pairs_them() {
    for (seed, kind) in (0_u64..).zip(KINDS) {
        let can_partition = !matches!(kind, "binary" | "list<int64>" | "string");
        let by: &[&[&str]] = if can_partition { &[&[], &["key"]] } else { &[&[]] };
        for partitions in by {
            for write in [WriteMode::Upsert, WriteMode::Snapshot] {
                let spec = table(kind, write, partitions);
                let what = format!("{kind} {write:?} by {partitions:?}");
                let (test, model) = (TestLake::in_memory().await, MemoryStore::new());
                let lake = test.lake.with_sorted_limits(SMALL);
                let mut random = StdRng::seed_from_u64(seed);
                let repeats = kind == "bool";
                for number in 0..3 {
                    let mut sent = Rows::new();
                    for pick in 0..if repeats { 3 } else { VALUES } {
                        for part in 0..2 {
                            if random.random_bool(0.6) {
                                sent.insert((pick, part), random.random_range(0..3));
                            }
                        }
                    }
                    let (found, expected) =
                        (run(&lake, &spec, number, &sent).await, run(&model, &spec, number, &sent).await);
                    assert_eq!(counts(&found), counts(&expected), "{what}, run {number}");
                    for (suffix, more) in [("", &[][..]), ("__history", &["_change", "_sequence"][..])] {
                        let name = if suffix.is_empty() { spec.name.clone() } else { beside(&spec.name, suffix) };
                        let mut columns = vec!["part", "value", "note"];
                        if kind != "list<int64>" {
                            columns.push("key");
                        }
                        columns.extend(more);
                        let (found, expected) =
                            (show(&Reader(&lake), &name, &columns).await, show(&model, &name, &columns).await);
                        assert_eq!(found, expected, "{what}{suffix}, run {number}");
                    }
                    check_fingerprint(&lake, &spec).await;
                    if number == 1 {
                        let _ = lake.optimize(&spec.name).await.unwrap();
                    }
                }
                let report = lake.check(&spec.name).await.unwrap();
                assert!(report.problems.is_empty(), "{what}: {report:?}");
            }
        }
    }
}

#[tokio::test]
async fn keys_that_come_twice_are_found_after_a_rewrite_too() {
    let test = TestLake::in_folder().await;
    let mut spec = spec("t", WriteMode::Append, &["geo"], &[]);
    for (run, year) in [("r1", 1), ("r2", 2), ("r3", 3)] {
        let geo = if run == "r3" { "RO" } else { "BG" };
        let _ = load(&test.lake, &spec, run, run, &[(geo, year, None)]).await.unwrap();
    }
    spec.write = WriteMode::Upsert;
    for _ in 0..2 {
        let refused = load(&test.lake, &spec, "r4", "d", &[("BG", 9, None)]).await;
        let is_named = matches!(&refused, Err(StoreError::Rows { what, .. }) if what.contains("geo = BG"));
        assert!(is_named, "{refused:?}");
        let _ = test.lake.optimize(&spec.name).await.unwrap();
    }
    assert_eq!(show(&Reader(&test.lake), &spec.name, &["geo", "year"]).await, ["BG 1", "BG 2", "RO 3"]);
    // A full extract says which of them holds.
    spec.write = WriteMode::Snapshot;
    let _ = load(&test.lake, &spec, "r5", "e", &[("BG", 2, None)]).await.unwrap();
    assert_eq!(show(&Reader(&test.lake), &spec.name, &["geo", "year"]).await, ["BG 2"]);
    check_fingerprint(&test.lake, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_not_copied_into_a_new_file() {
    for write in [WriteMode::Upsert, WriteMode::Snapshot] {
        let test = TestLake::in_folder().await;
        let limits = SortedLimits { file_rows: 400, group_rows: 50, ..SMALL };
        let lake = test.lake.with_sorted_limits(limits);
        let spec = spec("t", write, &["geo", "year"], &[]);
        let mut all: Vec<Row> = (0..400).map(|year| ("BG", year, Some(year * 7))).collect();
        let _ = load(&lake, &spec, "r1", "a", &all).await.unwrap();
        let files = data_files(&lake, &spec.name);
        assert_eq!(files.len(), 1);
        let victim = &files[0];
        let sound = std::fs::read(victim).unwrap();
        all[399].2 = Some(-1);
        let sent = if write == WriteMode::Upsert { &all[399..] } else { &all[..] };
        for place in (4..sound.len()).step_by(sound.len() / 60) {
            let mut bytes = sound.clone();
            bytes[place] ^= 0x10;
            std::fs::write(victim, bytes).unwrap();
            let refused = load(&lake, &spec, "r2", "b", sent).await;
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "byte {place}: {refused:?}");
        }
        std::fs::write(victim, &sound).unwrap();
        let outcome = load(&lake, &spec, "r2", "b", sent).await.unwrap();
        assert_eq!(counts(&outcome), Some((1, 1, 0)));
        let history = show(&Reader(&lake), &beside(&spec.name, "__history"), &["year", "value"]).await;
        assert_eq!(history, ["399 2793"]);
    }
}

/// The types that the Parquet files of a table have themselves.
async fn stored_types(lake: &Lake, table: &hambar_core::TableName, column: &str) -> Vec<DataType> {
    let snapshot = lake.snapshot(table, None).await.unwrap();
    let mut found = Vec::new();
    for file in &snapshot.files {
        let bytes = lake.object_store().get(&file.path).await.unwrap().bytes().await.unwrap();
        let schema = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().clone();
        found.push(schema.field_with_name(column).unwrap().data_type().clone());
    }
    found
}

#[tokio::test]
async fn a_history_that_became_wide_alone_gets_wide_rows() {
    let store = faulty();
    let mut narrow = table("date", WriteMode::Upsert, &[]);
    narrow.on_drift = OnDrift::Widen;
    narrow.columns[2].kind = ColumnType::Int32;
    let mut wide = narrow.clone();
    wide.columns[2].kind = ColumnType::Float64;
    let load = async |lake: Lake, number: i32| {
        let state = lake.open(&narrow).await.unwrap();
        let run = format!("r{number}");
        let mut writer = lake.writer(&narrow, &state, stamp(&run)).await.unwrap();
        let sent = rows(&narrow, &Rows::from([((0, 0), i64::from(number))]));
        let values = arrow::compute::cast(sent.column(2), &DataType::Int32).unwrap();
        let columns = ["key", "part", "value", "note"].into_iter().zip([
            sent.column(0).clone(),
            sent.column(1).clone(),
            values,
            sent.column(3).clone(),
        ]);
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        writer.write(batch.unwrap(), "s").await.unwrap();
        let _ = writer.commit(request(&run, 1)).await.unwrap();
    };
    load(over(Arc::clone(&store)), 1).await;
    load(over(Arc::clone(&store)), 2).await;
    // It dies between the two tables, and then somebody takes the declaration back.
    store.add(Call::Put, "suite/t/_delta_log/00000000000000000003.json", 0, Fault::FailBefore);
    assert!(over(Arc::clone(&store)).open(&wide).await.is_err());
    assert!(store.fired() > 0);
    store.heal();
    load(over(Arc::clone(&store)), 3).await;
    let lake = over(store);
    let history = beside(&narrow.name, "__history");
    assert_eq!(stored_types(&lake, &narrow.name, "value").await, [DataType::Int32]);
    assert_eq!(stored_types(&lake, &history, "value").await, [DataType::Float64, DataType::Float64]);
    assert_eq!(show(&Reader(&lake), &history, &["value"]).await, ["1.0", "2.0"]);
    check_fingerprint(&lake, &narrow).await;
}

#[tokio::test]
async fn a_date_that_no_timestamp_can_hold_stops_the_widening() {
    let store = faulty();
    let lake = over(Arc::clone(&store));
    let mut narrow = spec("t", WriteMode::Upsert, &["geo"], &[]);
    narrow.on_drift = OnDrift::Widen;
    narrow.columns[1].kind = ColumnType::Date;
    let mut wide = narrow.clone();
    wide.columns[1].kind = ColumnType::Timestamp;
    let batch = |days: i32| {
        RecordBatch::try_from_iter_with_nullable([
            ("geo", Arc::new(StringArray::from(vec!["BG"])) as ArrayRef, true),
            ("year", Arc::new(Date32Array::from(vec![days])) as ArrayRef, true),
        ])
        .unwrap()
    };
    let state = lake.open(&narrow).await.unwrap();
    let mut writer = lake.writer(&narrow, &state, stamp("r1")).await.unwrap();
    writer.write(batch(i32::MAX), "s").await.unwrap();
    let _ = writer.commit(request("r1", 1)).await.unwrap();
    let opened = lake.open(&wide).await;
    assert!(matches!(opened, Err(StoreError::Damaged { .. })), "{opened:?}");
    // The history, empty so far, is wide already; the date must not get there as NULL.
    let state = lake.open(&narrow).await.unwrap();
    let mut writer = lake.writer(&narrow, &state, stamp("r2")).await.unwrap();
    writer.write(batch(1), "s").await.unwrap();
    let refused = writer.commit(request("r2", 1)).await;
    assert!(matches!(refused, Err(StoreError::Rows { .. })), "{refused:?}");
    let state = lake.open(&narrow).await.unwrap();
    assert_eq!((state.sequence, state.rows), (1, 1));
    let fresh = spec("fresh", WriteMode::Append, &[], &[]);
    let fresh_wide = TableSpec { columns: wide.columns.clone(), on_drift: OnDrift::Widen, ..fresh };
    let fresh_narrow = TableSpec { columns: narrow.columns.clone(), ..fresh_wide.clone() };
    lake.open(&fresh_wide).await.unwrap();
    let state = lake.open(&fresh_narrow).await.unwrap();
    let mut writer = lake.writer(&fresh_narrow, &state, stamp("r1")).await.unwrap();
    let written = writer.write(batch(i32::MIN), "s").await;
    assert!(matches!(&written, Err(StoreError::Rows { what, .. }) if what.contains("`year`")), "{written:?}");
}
