//! Rewriting small files: no row is lost, doubled or changed, whatever happens at the same time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Schema};
use hambar_core::conformance::{Row, beside, load, request, show, spec, stamp};
use hambar_core::memory::MemoryStore;
use hambar_core::system::system_batch;
use hambar_core::{StoreError, SystemTable, TableName, TableSpec, TableStore, WriteMode, provenance};
use hambar_lake::{HostInfo, Lake, Optimized, SortedLimits};
use hambar_testkit::fault_store::{Call, Fault, FaultStore};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use url::Url;

use crate::support::{ALL, Reader, StillClock, TestLake, data_files, faulty, over};

/// Geos in order; each run of [`grow`] brings one more.
const GEOS: [&str; 6] = ["AL", "BG", "GR", "MK", "RO", "RS"];

/// Files of two rows, none of which takes in later rows.
const TWO_ROWS: SortedLimits = SortedLimits { file_bytes: 1 << 20, file_rows: 2, group_rows: 2, small_bytes: 0 };

/// Optimizes `table` and checks that only its files changed. Returns the rows, all columns shown.
async fn optimized(lake: &Lake, table: &TableName, columns: &[&str], files: (u64, u64)) -> Vec<String> {
    let before = show(&Reader(lake), table, columns).await;
    let properties = lake.snapshot(table, None).await.unwrap().properties;
    let done = lake.optimize(table).await.unwrap();
    assert_eq!((done.files_removed, done.files_added), files, "{table}");
    assert_eq!(done.rows, before.len() as u64, "{table}");
    assert_eq!(show(&Reader(lake), table, columns).await, before, "{table}");
    assert_eq!(lake.snapshot(table, None).await.unwrap().properties, properties, "{table}");
    assert_eq!(lake.optimize(table).await.unwrap(), Optimized::default(), "{table}: nothing is left to do");
    let report = lake.check(table).await.unwrap();
    assert!(report.problems.is_empty(), "{table}: {:?}", report.problems);
    before
}

/// Six releases, each with one row more.
async fn grow(lake: &Lake, spec: &TableSpec) {
    for count in 1..=GEOS.len() {
        let rows: Vec<Row> = GEOS[..count].iter().map(|geo| (*geo, 1, None)).collect();
        let rows = if spec.write == WriteMode::Append { &rows[count - 1..] } else { &rows[..] };
        let _ = load(lake, spec, &format!("r{count}"), &format!("{count}"), rows).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_files_become_one_per_partition() {
    for test in [TestLake::in_folder().await, TestLake::in_memory().await] {
        let plain = spec("plain", WriteMode::Append, &[], &[]);
        grow(&test.lake, &plain).await;
        assert_eq!(optimized(&test.lake, &plain.name, &ALL, (6, 1)).await.len(), 6);
        let split = spec("split", WriteMode::Append, &[], &["value"]);
        for run in 0..3 {
            let rows = [("BG", run, None), ("RO", run, Some(1)), ("RO", run, Some(2))];
            let _ = load(&test.lake, &split, &format!("r{run}"), &format!("{run}"), &rows[..2 + usize::from(run == 0)])
                .await
                .unwrap();
        }
        let rows = show(&Reader(&test.lake), &split.name, &ALL).await;
        let done = test.lake.optimize(&split.name).await.unwrap();
        assert_eq!((done.files_removed, done.files_added, done.rows), (6, 2, 6), "one file alone stays as it is");
        assert_eq!(show(&Reader(&test.lake), &split.name, &ALL).await, rows);
        let _ = load(&test.lake, &split, "later", "later", &[("AL", 9, None)]).await.unwrap();
        assert_eq!(test.lake.open(&split).await.unwrap().rows, 8);
    }
}

#[tokio::test]
async fn sorted_files_stay_sorted() {
    for (key, partitions) in [(&["geo"][..], &[][..]), (&[][..], &[][..]), (&["geo"][..], &["year"][..])] {
        let test = TestLake::in_folder().await;
        let lake = test.lake.with_sorted_limits(TWO_ROWS);
        let spec = spec("t", WriteMode::Snapshot, key, partitions);
        grow(&lake, &spec).await;
        assert_eq!(optimized(&lake, &spec.name, &ALL, (6, 3)).await.len(), 6);
        // The next release changes one row of the second file and adds one at the end: the others stay as they are.
        let mut rows: Vec<Row> = GEOS.iter().map(|geo| (*geo, 1, None)).collect();
        rows[2].2 = Some(5);
        rows.push(("XK", 1, None));
        let _ = load(&lake, &spec, "next", "next", &rows).await.unwrap();
        let shown = show(&Reader(&lake), &spec.name, &["geo", "value", "_source"]).await;
        let expected = [
            "AL - sha-r1",
            "BG - sha-r2",
            "GR 5 sha-next",
            "MK - sha-r4",
            "RO - sha-r5",
            "RS - sha-r6",
            "XK - sha-next",
        ];
        assert_eq!(shown, expected);
        let last = lake.versions(&spec.name).await.unwrap().pop().unwrap();
        assert_eq!((last.operation.as_str(), last.files_removed), ("MERGE", 1), "no full sort: {last:?}");
    }
}

fn reject(row: i64) -> RecordBatch {
    let fields = provenance::reject_fields();
    let columns: Vec<ArrayRef> = fields
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from(vec![format!("{} {row}", field.name())])) as ArrayRef,
            DataType::Int64 => Arc::new(Int64Array::from(vec![row])),
            other => new_null_array(other, 1),
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn load_rejects(lake: &Lake, spec: &TableSpec, run: &str, row: i64) -> Result<(), StoreError> {
    let state = lake.open(spec).await?;
    let mut writer = lake.writer(spec, &state, stamp(run)).await?;
    writer.reject(reject(row)).await?;
    writer.commit(request(run, 0)).await.map(|_| ())
}

#[tokio::test]
async fn history_rejects_and_system_tables_are_rewritten_too() {
    let test = TestLake::in_folder().await;
    let lake = &test.lake;
    let spec = spec("t", WriteMode::Upsert, &["geo"], &[]);
    for (number, run) in ["r0", "r1", "r2", "r3"].into_iter().enumerate() {
        let _ = load(lake, &spec, run, run, &[("BG", number as i64, None)]).await.unwrap();
    }
    let history = beside(&spec.name, "__history");
    let columns = ["geo", "year", "_recorded_at", "_source", "_superseded_at", "_change", "_sequence"];
    assert_eq!(optimized(lake, &history, &columns, (3, 1)).await.len(), 3);
    let _ = load(lake, &spec, "r4", "r4", &[("BG", 4, None)]).await.unwrap();
    let shown = show(&Reader(lake), &history, &["year", "_sequence"]).await;
    assert_eq!(shown, ["0 2", "1 3", "2 4", "3 5"]);
    assert_eq!(lake.family(&spec.name).await.unwrap().len(), 3);

    let rejects = beside(&spec.name, "__rejects");
    for (row, run) in [(1, "x1"), (2, "x2"), (3, "x3")] {
        load_rejects(lake, &spec, run, row).await.unwrap();
    }
    // The newest run's file stays by itself: its run may come again.
    let before = show(&Reader(lake), &rejects, &["run", "row", "raw"]).await;
    let done = lake.optimize(&rejects).await.unwrap();
    assert_eq!((done.files_removed, done.files_added), (2, 1));
    assert_eq!(show(&Reader(lake), &rejects, &["run", "row", "raw"]).await, before);

    for run in ["a", "b", "c"] {
        let rows = system_batch(SystemTable::Runs, &[vec![("run", run.into())]]);
        lake.append_system(SystemTable::Runs, rows).await.unwrap();
    }
    let files = lake.log_state(&"system.runs".parse().unwrap(), None).await.unwrap().files.len() as u64;
    assert_eq!(files, 3);
    assert_eq!(optimized(lake, &"system.runs".parse().unwrap(), &["run"], (3, 1)).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_a_dead_run_left_is_not_mixed_with_what_counts() {
    let store = faulty();
    let spec = spec("t", WriteMode::Upsert, &["geo"], &[]);
    let history = beside(&spec.name, "__history");
    let rejects = beside(&spec.name, "__rejects");
    for year in 0..3 {
        let run = format!("r{year}");
        let _ = load(&over(Arc::clone(&store)), &spec, &run, &run, &[("BG", year, None)]).await.unwrap();
    }
    load_rejects(&over(Arc::clone(&store)), &spec, "settled", 1).await.unwrap();
    load_rejects(&over(Arc::clone(&store)), &spec, "settled2", 2).await.unwrap();
    let next = over(Arc::clone(&store)).snapshot(&spec.name, None).await.unwrap().version + 1;
    store.add(Call::Put, &format!("suite/t/_delta_log/{next:020}.json"), 0, Fault::FailBefore);
    assert!(load(&over(Arc::clone(&store)), &spec, "dead", "dead", &[("BG", 9, None)]).await.is_err());
    assert!(load_rejects(&over(Arc::clone(&store)), &spec, "again", 3).await.is_err());
    store.heal();
    let lake = over(Arc::clone(&store));
    let done = lake.optimize(&history).await.unwrap();
    assert_eq!((done.files_removed, done.files_added), (2, 1), "two settled files, one of the dead run");
    let done = lake.optimize(&rejects).await.unwrap();
    assert_eq!((done.files_removed, done.files_added), (2, 1), "two settled runs");
    let _ = load(&lake, &spec, "r6", "r6", &[("BG", 3, None)]).await.unwrap();
    assert_eq!(show(&Reader(&lake), &history, &["year", "_sequence"]).await, ["0 2", "1 3", "2 6"]);
    load_rejects(&lake, &spec, "again", 3).await.unwrap();
    assert_eq!(show(&Reader(&lake), &rejects, &["row"]).await, ["1", "2", "3"]);
}

/// A lake of a process that all others take for dead, so that they take over its leases.
fn of_the_dead(store: &Arc<FaultStore>) -> Lake {
    let own = HostInfo::this_process();
    let host = HostInfo { started: own.started + 1, ..own };
    Lake::from_store(
        Url::parse("memory:///faults").unwrap(),
        Arc::<FaultStore>::clone(store),
        Arc::new(StillClock),
        host,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_lose_and_double_nothing() {
    for round in 0..20 {
        let write = if round % 2 == 0 { WriteMode::Append } else { WriteMode::Snapshot };
        let key: &[&str] = if round % 2 == 0 { &[] } else { &["geo"] };
        let (store, spec) = (faulty(), spec("t", write, key, &[]));
        let (slow, quick) = (of_the_dead(&store).with_sorted_limits(TWO_ROWS), over(Arc::clone(&store)));
        grow(&slow, &spec).await;
        let before = show(&Reader(&quick), &spec.name, &ALL).await;
        // The slow one has checked its lease when the quick one takes it over: only the log decides.
        store.add(Call::Put, "suite/t/_delta_log/", 1, Fault::Delay(Duration::from_millis(40)));
        let name = spec.name.clone();
        let first = tokio::spawn(async move { slow.optimize(&name).await });
        tokio::time::sleep(Duration::from_millis(round)).await;
        let second = quick.optimize(&spec.name).await;
        let first = first.await.unwrap();
        for ended in [&first, &second] {
            let is_expected = matches!(ended, Ok(_) | Err(StoreError::LeaseLost { .. } | StoreError::Busy { .. }));
            assert!(is_expected, "round {round}: {ended:?}");
        }
        assert!(store.fired() > 0, "round {round}");
        store.heal();
        let fresh = over(Arc::clone(&store));
        assert_eq!(show(&Reader(&fresh), &spec.name, &ALL).await, before, "round {round}");
        let report = fresh.check(&spec.name).await.unwrap();
        assert!(report.problems.is_empty(), "round {round}: {:?}", report.problems);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_whose_files_were_replaced_is_planned_again() {
    let store = faulty();
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &[]);
    let lake = over(Arc::clone(&store)).with_sorted_limits(TWO_ROWS);
    grow(&lake, &spec).await;
    let next = lake.snapshot(&spec.name, None).await.unwrap().version + 1;
    store.add(Call::Put, &format!("suite/t/_delta_log/{next:020}"), 1, Fault::Delay(Duration::from_millis(300)));
    let name = spec.name.clone();
    let rewriting = tokio::spawn(async move { lake.optimize(&name).await });
    while store.fired() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A run without a lease, as another writer of Delta tables would be.
    let _ = load(&over(Arc::clone(&store)), &spec, "w", "w", &[("BG", 7, None)]).await.unwrap();
    let done = rewriting.await.unwrap().unwrap();
    assert_eq!(done.version, None, "one file is left, nothing to do: {done:?}");
    let fresh = over(store);
    assert_eq!(show(&Reader(&fresh), &spec.name, &["geo", "year"]).await, ["BG 7"]);
}

/// One random history through two lakes with caches of their own, compared with the store in memory.
async fn random_history(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mode = [WriteMode::Append, WriteMode::Upsert, WriteMode::Snapshot][random.random_range(0..3)];
    let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["geo", "year"] };
    let partitions: &[&str] = if random.random_bool(0.5) { &["geo"] } else { &[] };
    let spec = spec("t", mode, key, partitions);
    let store = faulty();
    let lakes = [(); 2].map(|()| over(Arc::clone(&store)).with_sorted_limits(TWO_ROWS));
    let model = MemoryStore::new();
    let history = beside(&spec.name, "__history");
    for step in 0..12 {
        let chosen = random.random_range(0..2);
        let lake = &lakes[chosen];
        let (run, mut rows) = (format!("r{step}"), Vec::new());
        for geo in GEOS {
            for year in 0..3 {
                if random.random_bool(0.3) {
                    rows.push((geo, year, Some(random.random_range(0..3))));
                }
            }
        }
        match random.random_range(0..4) {
            0 => {
                let _ = load(lake, &spec, &run, &run, &rows).await.unwrap();
            }
            1 => drop(lake.open(&spec).await.unwrap()),
            2 if step > 0 && lake.exists(&history).await.unwrap() => {
                let _ = lake.optimize(&history).await.unwrap();
                continue;
            }
            _ => {
                // A run and a rewrite at the same time.
                let other = lakes[1 - chosen].clone();
                drop(lake.open(&spec).await.unwrap());
                let name = spec.name.clone();
                let rewriting = tokio::spawn(async move { other.optimize(&name).await });
                let _ = load(lake, &spec, &run, &run, &rows).await.unwrap();
                let _ = rewriting.await.unwrap().unwrap();
            }
        }
        let loaded = lake.snapshot(&spec.name, None).await.unwrap().run;
        if loaded.is_some_and(|newest| newest.0 == run) {
            let _ = load(&model, &spec, &run, &run, &rows).await.unwrap();
        } else {
            drop(model.open(&spec).await.unwrap());
        }
        let columns = ["geo", "year", "value", "_source"];
        let expected = show(&model, &spec.name, &columns).await;
        for lake in &lakes {
            assert_eq!(show(&Reader(lake), &spec.name, &columns).await, expected, "seed {seed}, step {step}");
        }
        let columns = ["geo", "year", "value", "_source", "_change", "_sequence"];
        let expected = show(&model, &history, &columns).await;
        assert_eq!(show(&Reader(lake), &history, &columns).await, expected, "seed {seed}, step {step}");
    }
    let report = lakes[0].check(&spec.name).await.unwrap();
    assert!(report.problems.is_empty(), "seed {seed}: {:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_with_rewrites_agree_with_the_model() {
    for seed in 0..20 {
        random_history(seed).await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_nothing_is_committed() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    grow(&test.lake, &spec).await;
    let versions = test.lake.versions(&spec.name).await.unwrap().len();
    let victim = data_files(&test.lake, &spec.name).remove(2);
    let sound = std::fs::read(&victim).unwrap();
    for place in (0..sound.len()).step_by(sound.len() / 25) {
        let mut bytes = sound.clone();
        bytes[place] ^= 0x20;
        std::fs::write(&victim, bytes).unwrap();
        let refused = test.lake.optimize(&spec.name).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "byte {place}: {refused:?}");
    }
    assert_eq!(test.lake.versions(&spec.name).await.unwrap().len(), versions);
    std::fs::write(&victim, sound).unwrap();
    assert_eq!(optimized(&test.lake, &spec.name, &ALL, (6, 1)).await.len(), 6);
}
