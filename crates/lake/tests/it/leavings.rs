//! What stays behind in a folder: nothing of runs that failed, no empty folders after a vacuum; and what maintenance says it
//! did.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hambar_core::conformance::{Row, batch, load, request, show, spec, stamp};
use hambar_core::{StoreError, TableStore, WriteMode};
use tempfile::TempDir;

use crate::support::{Reader, SetClock, TestLake, data_files, faulty, open_folder_at, over_at};

/// Waits for what threads that nobody waits for still have to do.
async fn settles(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_leaves_no_files() {
    for write in [WriteMode::Append, WriteMode::Upsert] {
        for partitions in [&[][..], &["geo"][..]] {
            let test = TestLake::in_folder().await;
            let spec = spec("t", write, &["geo", "year"], partitions);
            let rows: Vec<Row> = (0..50).map(|year| ("BG", year, Some(1))).collect();
            let _ = load(&test.lake, &spec, "r1", "a", &rows).await.unwrap();
            let before = data_files(&test.lake, &spec.name);
            let begun = test.lake.open(&spec).await.unwrap();
            // Given up before its commit.
            let mut writer = test.lake.writer(&spec, &begun, stamp("r2")).await.unwrap();
            writer.write(batch(&rows), "s").await.unwrap();
            drop(writer);
            settles("a run that was given up leaves files", || data_files(&test.lake, &spec.name) == before).await;
            // Refused in its commit: the count is wrong, or after most is written a key comes with two values.
            let mut writer = test.lake.writer(&spec, &begun, stamp("r3")).await.unwrap();
            writer.write(batch(&rows), "s").await.unwrap();
            assert!(matches!(writer.commit(request("b", 1)).await, Err(StoreError::Rows { .. })));
            let mut writer = test.lake.writer(&spec, &begun, stamp("r4")).await.unwrap();
            let changed: Vec<Row> = rows.iter().map(|(geo, year, _)| (*geo, *year, Some(2))).collect();
            writer.write(batch(&changed), "s").await.unwrap();
            writer.write(batch(&[("RO", 1, Some(1)), ("RO", 1, Some(2))]), "s").await.unwrap();
            let ended = writer.commit(request("c", 52)).await;
            match write {
                WriteMode::Append => assert_eq!(test.lake.open(&spec).await.unwrap().rows, 102),
                WriteMode::Upsert | WriteMode::Snapshot => {
                    assert!(matches!(ended, Err(StoreError::Rows { .. })), "{ended:?}");
                    let left = || data_files(&test.lake, &spec.name) == before;
                    settles("a run that was refused leaves files", left).await;
                }
            }
            let history = hambar_core::conformance::beside(&spec.name, "__history");
            assert_eq!(data_files(&test.lake, &history).len(), 0);
            assert!(test.lake.check(&spec.name).await.unwrap().problems.is_empty());
        }
    }
}

fn folders(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.push(entry.file_name().to_str().unwrap().to_owned());
            let name = found.last().unwrap().clone();
            found.extend(folders(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_partitions_that_are_gone_go_with_their_files() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2100-01-01T00:00:00Z"));
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    let spec = spec("t", WriteMode::Snapshot, &["geo", "year"], &["geo", "year"]);
    let _ = load(&lake, &spec, "r1", "a", &[("BG", 1, None), ("BG", 2, None), ("RO", 1, None)]).await.unwrap();
    clock.advance(24);
    let _ = load(&lake, &spec, "r2", "b", &[("BG", 2, None)]).await.unwrap();
    clock.advance(10 * 24);
    let _ = load(&lake, &spec, "r3", "c", &[("BG", 2, Some(1))]).await.unwrap();
    let root = lake.local_root().unwrap().join("tables/suite/t");
    let all = ["_delta_log", "geo=BG", "geo=BG/year=1", "geo=BG/year=2", "geo=RO", "geo=RO/year=1"];
    assert_eq!(folders(&root), all);
    let listed = lake.vacuum(&spec.name, 7, &[], true).await.unwrap();
    assert_eq!(folders(&root), all, "a dry run removes nothing");
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap(), listed);
    assert_eq!(folders(&root), ["_delta_log", "geo=BG", "geo=BG/year=2"]);
    let _ = load(&lake, &spec, "r4", "d", &[("RO", 1, None)]).await.unwrap();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, ["RO 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_maintenance_did_is_kept_and_makes_nothing_old() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2100-01-01T00:00:00Z"));
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    for run in ["r1", "r2"] {
        let _ = load(&lake, &spec, run, run, &[("BG", 1, None)]).await.unwrap();
    }
    let _ = lake.optimize(&spec.name).await.unwrap();
    let _ = lake.optimize(&spec.name).await.unwrap();
    clock.advance(20 * 24);
    let _ = load(&lake, &spec, "r3", "r3", &[("BG", 1, None)]).await.unwrap();
    let ages = lake.ages().await.unwrap();
    assert_eq!(lake.vacuum(&spec.name, 7, &[], true).await.unwrap().files.len(), 2);
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files.len(), 2);
    let columns = ["table", "action", "version", "rows", "files_removed", "files_added"];
    let shown = show(&Reader(&lake), &"system.maintenance".parse().unwrap(), &columns).await;
    assert_eq!(shown, ["suite.t optimize 3 2 2 1", "suite.t vacuum - - 2 0"]);
    // What is recorded by a clock that is ahead must not make the table's files old.
    clock.advance(365 * 24);
    assert_eq!(lake.ages().await.unwrap(), ages);
}

#[tokio::test]
async fn counting_ages_reads_one_commit_of_each_table() {
    let clock = SetClock::at("2100-01-01T00:00:00Z");
    let store = faulty();
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let mut calls = Vec::new();
    for run in 0..40 {
        let lake = over_at(Arc::clone(&store), Arc::clone(&clock));
        let _ = load(&lake, &spec, &format!("r{run}"), &format!("{run}"), &[("BG", run, None)]).await.unwrap();
        let before = store.calls();
        let _ = over_at(Arc::clone(&store), Arc::clone(&clock)).ages().await.unwrap();
        calls.push(store.calls() - before);
    }
    assert_eq!(calls.first(), calls.last(), "{calls:?}");
    assert!(calls[0] < 10, "{calls:?}");
}
