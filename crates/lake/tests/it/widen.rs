//! Columns that become wider: every row of the table and its history comes along, whatever call fails on the way, and
//! earlier instants show the wider type.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use hambar_core::conformance::{ReadRows, beside, request, show, spec, stamp};
use hambar_core::{ColumnSpec, ColumnType, OnDrift, TableSpec, TableStore, WriteMode};
use hambar_lake::Lake;
use hambar_testkit::fault_store::{Call, Fault};

use crate::histories::check_fingerprint;
use crate::support::{Reader, TestLake, faulty, over};

/// Repeats after which it must have succeeded, faults being over.
const REPEATS_MAX: usize = 4;

fn columns(kinds: [&str; 4]) -> Vec<ColumnSpec> {
    let names = ["geo", "day", "count", "price"];
    let kinds = kinds.map(|kind| kind.parse::<ColumnType>().unwrap());
    names.iter().zip(kinds).map(|(name, kind)| ColumnSpec::new(&name.parse().unwrap(), kind)).collect()
}

fn narrow(write: WriteMode, partitions: &[&str]) -> TableSpec {
    let key: &[&str] = if write == WriteMode::Append { &[] } else { &["geo", "day"] };
    let columns = columns(["string", "date", "int32", "decimal(5,2)"]);
    TableSpec { columns, on_drift: OnDrift::Widen, ..spec("t", write, key, &[]) }.partitioned(partitions)
}

trait Partitioned {
    fn partitioned(self, by: &[&str]) -> Self;
}

impl Partitioned for TableSpec {
    fn partitioned(self, by: &[&str]) -> Self {
        Self { partition_by: by.iter().map(|name| name.parse().unwrap()).collect(), ..self }
    }
}

fn wide(spec: &TableSpec) -> TableSpec {
    TableSpec { columns: columns(["string", "timestamp", "float64", "decimal(12,4)"]), ..spec.clone() }
}

fn rows(release: i32) -> RecordBatch {
    let geos = ["BG", "BG", "MK", "RO"];
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("geo", Arc::new(StringArray::from(geos.to_vec())), true),
        ("day", Arc::new(Date32Array::from(vec![0, 1, -3, 20_000])), true),
        ("count", Arc::new(Int32Array::from(vec![Some(1), None, Some(-7), Some(40 + release)])), true),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![105, -2, 0, i128::from(release)]).with_precision_and_scale(5, 2).unwrap(),
            ),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn load(lake: &Lake, spec: &TableSpec, release: i32) {
    let state = lake.open(spec).await.unwrap();
    let run = format!("r{release}");
    let mut writer = lake.writer(spec, &state, stamp(&run)).await.unwrap();
    writer.write(rows(release), "sha").await.unwrap();
    let _ = writer.commit(request(&run, 4)).await.unwrap();
}

/// All rows, numbers and days in one form whatever their type.
async fn shown(lake: &Lake, spec: &TableSpec, suffix: &str) -> Vec<String> {
    let table = beside(&spec.name, suffix);
    let mut lines = Vec::new();
    for batch in Reader(lake).read_rows(&table).await.unwrap() {
        let cast =
            |name: &str, kind: &DataType| arrow::compute::cast(batch.column_by_name(name).unwrap(), kind).unwrap();
        let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let same: [(&str, ArrayRef); 5] = [
            ("geo", cast("geo", &DataType::Utf8)),
            ("day", cast("day", &micros)),
            ("count", cast("count", &DataType::Float64)),
            ("price", cast("price", &DataType::Decimal128(12, 4))),
            ("_recorded_at", cast("_recorded_at", &micros)),
        ];
        let same = RecordBatch::try_from_iter_with_nullable(same.map(|(name, column)| (name, column, true))).unwrap();
        let texts: Vec<ArrayRef> =
            same.columns().iter().map(|column| arrow::compute::cast(column, &DataType::Utf8).unwrap()).collect();
        for row in 0..same.num_rows() {
            let cells = texts.iter().map(|column| arrow::util::display::array_value_to_string(column, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    lines.sort();
    lines
}

async fn kinds(lake: &Lake, spec: &TableSpec, suffix: &str) -> Vec<String> {
    let snapshot = lake.snapshot(&beside(&spec.name, suffix), None).await.unwrap();
    for file in &snapshot.files {
        for batch in lake.read_file(&snapshot, file).await.unwrap() {
            assert_eq!(batch.schema().fields().len(), snapshot.schema.fields().len());
        }
    }
    let fields = snapshot.schema.fields().iter().take(4);
    fields.map(|field| ColumnType::from_arrow(field.data_type()).unwrap().to_string()).collect()
}

const WIDE: [&str; 4] = ["string", "timestamp", "float64", "decimal(12,4)"];

#[tokio::test]
async fn every_row_comes_along_in_its_order_and_partition() {
    for write in [WriteMode::Append, WriteMode::Upsert, WriteMode::Snapshot] {
        for partitions in [&[][..], &["geo"][..], &["day"][..]] {
            let test = TestLake::in_folder().await;
            let spec = narrow(write, partitions);
            load(&test.lake, &spec, 1).await;
            load(&test.lake, &spec, 2).await;
            let before = (shown(&test.lake, &spec, "").await, shown(&test.lake, &spec, "__history").await);
            let wide = wide(&spec);
            let state = test.lake.open(&wide).await.unwrap();
            let after = (shown(&test.lake, &spec, "").await, shown(&test.lake, &spec, "__history").await);
            assert_eq!(after, before, "{write:?} by {partitions:?}");
            assert_eq!(state.sequence, 2);
            assert_eq!(kinds(&test.lake, &spec, "").await, WIDE);
            assert_eq!(kinds(&test.lake, &spec, "__history").await, WIDE);
            check_fingerprint(&test.lake, &wide).await;
            assert_eq!(test.lake.open(&wide).await.unwrap().version, state.version, "it widens once");
            // Old versions keep their files and types; a refresh in narrow types goes on in the wide ones.
            let old = test.lake.snapshot(&spec.name, Some(2)).await.unwrap();
            assert_eq!(old.schema.field(2).data_type(), &DataType::Int32);
            load(&test.lake, &spec, 3).await;
            assert_eq!(kinds(&test.lake, &spec, "").await, WIDE);
            check_fingerprint(&test.lake, &wide).await;
            let history = show(&Reader(&test.lake), &beside(&spec.name, "__history"), &["count"]).await;
            let expected: &[&str] = if write == WriteMode::Append { &[] } else { &["41.0", "42.0"] };
            assert_eq!(history, expected);
            let report = test.lake.check(&spec.name).await.unwrap();
            assert!(report.problems.is_empty(), "{report:?}");
        }
    }
}

#[tokio::test]
async fn whichever_call_fails_the_rows_are_there_once_and_of_one_type() {
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::ExistsAfter, Fault::ShortRead] {
        let spec = narrow(WriteMode::Upsert, &[]);
        let wide = wide(&spec);
        for nth in 1.. {
            let store = faulty();
            load(&over(Arc::clone(&store)), &spec, 1).await;
            load(&over(Arc::clone(&store)), &spec, 2).await;
            let lake = over(Arc::clone(&store));
            let before = (shown(&lake, &spec, "").await, shown(&lake, &spec, "__history").await);
            store.add(Call::Any, "", nth, fault);
            let mut is_open = false;
            for _ in 0..REPEATS_MAX {
                // Readers of a table that died half way see all rows, in either type.
                is_open = over(Arc::clone(&store)).open(&wide).await.is_ok();
                if is_open {
                    break;
                }
            }
            assert!(is_open, "call {nth}: the table never opened");
            let fired = store.fired() > 0;
            store.heal();
            let lake = over(Arc::clone(&store));
            let after = (shown(&lake, &spec, "").await, shown(&lake, &spec, "__history").await);
            assert_eq!(after, before, "{fault:?} at call {nth}");
            assert_eq!(
                (kinds(&lake, &spec, "").await, kinds(&lake, &spec, "__history").await),
                (WIDE.map(str::to_owned).to_vec(), WIDE.map(str::to_owned).to_vec())
            );
            if !fired {
                assert!(nth > 5, "the fault fired at {} calls only", nth - 1);
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_a_dead_run_left_in_the_history_stays_marked() {
    let store = faulty();
    let spec = narrow(WriteMode::Upsert, &[]);
    load(&over(Arc::clone(&store)), &spec, 1).await;
    // The run dies between its two commits: every attempt at the second one fails.
    store.add(Call::Put, "suite/t/_delta_log/00000000000000000002.json", 0, Fault::FailBefore);
    let lake = over(Arc::clone(&store));
    let state = lake.open(&spec).await.unwrap();
    let mut writer = lake.writer(&spec, &state, stamp("dead")).await.unwrap();
    writer.write(rows(2), "sha").await.unwrap();
    assert!(writer.commit(request("dead", 4)).await.is_err());
    store.heal();
    let lake = over(Arc::clone(&store));
    lake.open(&wide(&spec)).await.unwrap();
    load(&lake, &wide(&spec), 3).await;
    let history = show(&Reader(&lake), &beside(&spec.name, "__history"), &["count", "_sequence"]).await;
    assert_eq!(history, ["41.0 2"]);
}
