//! Checkpoints of the log: tables open through them, they tell exactly what the commits tell, and a failure while they
//! are written harms nothing.

use std::process::Command;
use std::sync::Arc;

use hambar_core::conformance::{load, show, spec};
use hambar_core::{StoreError, TableSpec, TableStore, WriteMode};
use hambar_lake::LogState;
use hambar_testkit::fault_store::{Call, Fault, FaultStore};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tempfile::TempDir;

use crate::support::{ALL, Reader, faulty, open_folder, over};

/// Runs after which a checkpoint is due.
const RUNS: i64 = 21;

fn log_file(name: &str) -> Path {
    Path::from(format!("tables/suite/t/_delta_log/{name}"))
}

fn commit_file(version: u64) -> Path {
    log_file(&format!("{version:020}.json"))
}

/// Releases with files that come and go, and partitions with and without a value.
async fn releases(store: &Arc<FaultStore>, spec: &TableSpec, from: i64, to: i64) {
    let lake = over(Arc::clone(store));
    for run in from..to {
        let rows = [("BG", run, None), ("RO", run / 4, Some(run / 7)), ("ж, \"x\"", 1, Some(-3))];
        let _ = load(&lake, spec, &format!("r{run}"), &format!("{run}"), &rows).await.unwrap();
    }
}

fn assert_same(left: &LogState, right: &LogState) {
    assert_eq!((left.version, &left.files), (right.version, &right.files));
    assert_eq!((&left.metadata, &left.protocol), (&right.metadata, &right.protocol));
    assert_eq!((&left.txns, &left.tombstones), (&right.txns, &right.tombstones));
}

fn tested_specs() -> [TableSpec; 2] {
    [spec("t", WriteMode::Append, &[], &["value"]), spec("t", WriteMode::Snapshot, &["geo", "year"], &["value"])]
}

#[tokio::test]
async fn a_table_opens_through_its_checkpoint() {
    for spec in tested_specs() {
        let store = faulty();
        releases(&store, &spec, 0, 5).await;
        assert_eq!(over(Arc::clone(&store)).write_checkpoint(&spec.name).await.unwrap(), None, "too early");
        releases(&store, &spec, 5, RUNS).await;
        let lake = over(Arc::clone(&store));
        let state = lake.log_state(&spec.name, None).await.unwrap();
        assert!(state.files.values().any(|add| add.partition_values["value"].is_none()), "a NULL partition");
        assert_eq!(lake.write_checkpoint(&spec.name).await.unwrap(), Some(RUNS as u64));
        assert_eq!(lake.write_checkpoint(&spec.name).await.unwrap(), None, "not again");
        let pointer = store.get(&log_file("_last_checkpoint")).await.unwrap().bytes().await.unwrap();
        let pointer: serde_json::Value = serde_json::from_slice(&pointer).unwrap();
        assert_eq!(pointer["version"].as_u64(), Some(RUNS as u64));
        assert!(lake.check(&spec.name).await.unwrap().problems.is_empty());
        let before = show(&Reader(&lake), &spec.name, &ALL).await;

        // Without the commits behind it only the checkpoint can tell.
        for version in 0..=RUNS as u64 {
            store.delete(&commit_file(version)).await.unwrap();
        }
        assert_same(&over(Arc::clone(&store)).log_state(&spec.name, None).await.unwrap(), &state);
        releases(&store, &spec, RUNS, RUNS + 21).await;
        let lake = over(Arc::clone(&store));
        assert_eq!(lake.open(&spec).await.unwrap().sequence, RUNS as u64 + 21);
        assert_eq!(lake.write_checkpoint(&spec.name).await.unwrap(), Some(RUNS as u64 + 21));
        let after = show(&Reader(&lake), &spec.name, &ALL).await;
        if spec.write == WriteMode::Append {
            assert_eq!(after.len(), before.len() * 2);
            assert!(before.iter().all(|row| after.contains(row)));
        }
    }
}

#[tokio::test]
async fn a_failure_while_it_is_written_harms_nothing() {
    for spec in tested_specs() {
        for (call, path, fault) in [
            (Call::Put, ".checkpoint.parquet", Fault::FailBefore),
            (Call::Put, ".checkpoint.parquet", Fault::FailAfter),
            (Call::Get, ".checkpoint.parquet", Fault::FailBefore),
            (Call::Get, ".checkpoint.parquet", Fault::ShortRead),
            (Call::Put, "_last_checkpoint", Fault::FailBefore),
            (Call::Put, "_last_checkpoint", Fault::FailAfter),
        ] {
            let store = faulty();
            releases(&store, &spec, 0, RUNS).await;
            let state = over(Arc::clone(&store)).log_state(&spec.name, None).await.unwrap();
            store.add(call, path, 1, fault);
            assert!(over(Arc::clone(&store)).write_checkpoint(&spec.name).await.is_err(), "{path} {fault:?}");
            assert_eq!(store.fired(), 1, "{path} {fault:?}");
            store.heal();
            let lake = over(Arc::clone(&store));
            assert_same(&lake.log_state(&spec.name, None).await.unwrap(), &state);
            assert!(lake.check(&spec.name).await.unwrap().problems.is_empty(), "{path} {fault:?}");
            let _ = load(&lake, &spec, "later", "later", &[("AL", 1, None)]).await.unwrap();
            assert!(lake.write_checkpoint(&spec.name).await.is_ok(), "{path} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_corrupt_checkpoint_is_passed_over_while_the_commits_are_there() {
    let [spec, _] = tested_specs();
    for garbage in ["", "PAR1", "not a checkpoint at all"] {
        let store = faulty();
        releases(&store, &spec, 0, RUNS).await;
        let lake = over(Arc::clone(&store));
        let state = lake.log_state(&spec.name, None).await.unwrap();
        let version = lake.write_checkpoint(&spec.name).await.unwrap().unwrap();
        let path = log_file(&format!("{version:020}.checkpoint.parquet"));
        store.put(&path, PutPayload::from_static(garbage.as_bytes())).await.unwrap();
        let fresh = over(Arc::clone(&store));
        assert_same(&fresh.log_state(&spec.name, None).await.unwrap(), &state);
        let problems = fresh.check(&spec.name).await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains("checkpoint of version 21")), "{problems:?}");
        store.delete(&commit_file(3)).await.unwrap();
        let refused = over(store).log_state(&spec.name, None).await.unwrap_err();
        let is_named = matches!(&refused, StoreError::Damaged { what, .. } if what.contains("checkpoint.parquet"));
        assert!(is_named, "{refused}");
    }
}

/// Reads the table at `argv[1]` with delta-rs; prints version, rows, files, and the values in order.
const SCRIPT: &str = r#"
import sys
import deltalake, pyarrow
table = deltalake.DeltaTable(sys.argv[1])
rows = table.to_pyarrow_table()
values = sorted(-99 if value is None else value for value in rows.column("value").to_pylist())
print(table.version(), rows.num_rows, len(table.file_uris()), values)
"#;

#[tokio::test]
async fn others_open_a_table_through_its_checkpoint() {
    let python = std::env::var_os("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let run = |arguments: &[&str]| Command::new(&python).args(arguments).output();
    if !run(&["-c", "import deltalake, pyarrow"]).is_ok_and(|output| output.status.success()) {
        let message = "`python3` (or HAMBAR_TEST_PYTHON) lacks deltalake or pyarrow";
        assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{message}");
        println!("skipped: {message}");
        return;
    }
    for spec in tested_specs() {
        let folder = TempDir::new().unwrap();
        let lake = open_folder(folder.path().to_str().unwrap()).await;
        for number in 0..RUNS {
            let rows = [("BG", number, None), ("RO", number / 4, Some(number / 7))];
            let _ = load(&lake, &spec, &format!("r{number}"), &format!("{number}"), &rows).await.unwrap();
        }
        let version = lake.write_checkpoint(&spec.name).await.unwrap().unwrap();
        let table = folder.path().join("tables/suite/t");
        for gone in 0..version {
            std::fs::remove_file(table.join(format!("_delta_log/{gone:020}.json"))).unwrap();
        }
        let snapshot = lake.snapshot(&spec.name, None).await.unwrap();
        let mut values: Vec<i64> = show(&Reader(&lake), &spec.name, &["value"])
            .await
            .iter()
            .map(|text| if text == "-" { -99 } else { text.parse().unwrap() })
            .collect();
        values.sort_unstable();
        let expected = format!("{version} {} {} {values:?}\n", values.len(), snapshot.files.len());
        let output = run(&["-c", SCRIPT, table.to_str().unwrap()]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{error}");
    }
}
