//! Partitioned tables: files lie in folders named after their values, whatever those hold, and every job handles both these
//! and the flat files of older versions.

use std::path::{Path as FilePath, PathBuf};

use hambar_core::conformance::{Row, load, show, spec};
use hambar_core::{TableSpec, WriteMode};
use hambar_lake::Lake;
use tempfile::TempDir;

use crate::support::{ALL, Reader, SetClock, TestLake, data_files, open_folder_at};

/// Values with everything that a path, a URL or a shell could take for something else.
const VALUES: [&str; 12] =
    ["BG", "a b", "ä/ö", "c=d", "50%", "x+y", "q?#&", "{a}[b]^`~|<>*:\\\"'", ".", "..", "日本", "%2F"];

fn rows(year: i64) -> Vec<Row> {
    VALUES.iter().map(|geo| (*geo, year, None)).collect()
}

fn root(lake: &Lake, spec: &TableSpec) -> PathBuf {
    lake.local_root().unwrap().join(format!("tables/{}/{}", spec.name.namespace, spec.name.table))
}

/// The folders below `root` that hold data files, relative to it.
fn folders(root: &FilePath, files: &[PathBuf]) -> Vec<String> {
    let mut found: Vec<String> = files
        .iter()
        .map(|file| file.parent().unwrap().strip_prefix(root).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
async fn files_lie_in_folders_named_after_their_values() {
    for write in [WriteMode::Append, WriteMode::Upsert] {
        let test = TestLake::in_folder().await;
        let spec = spec("t", write, &["geo", "value"], &["geo", "value"]);
        let _ = load(&test.lake, &spec, "r1", "a", &[("ä/ö", 1, Some(-3)), ("BG", 1, None)]).await.unwrap();
        assert_eq!(
            folders(&root(&test.lake, &spec), &data_files(&test.lake, &spec.name)),
            ["geo=%C3%A4%2F%C3%B6/value=-3", "geo=BG/value=__HIVE_DEFAULT_PARTITION__"]
        );
        assert_eq!(show(&Reader(&test.lake), &spec.name, &["geo", "value"]).await, ["BG -", "ä/ö -3"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_handles_folders() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-01-01T00:00:00Z"));
    for write in [WriteMode::Append, WriteMode::Snapshot] {
        let lake = open_folder_at(folder.path(), std::sync::Arc::clone(&clock)).await;
        let name = if write == WriteMode::Append { "appended" } else { "replaced" };
        let spec = spec(name, write, &["geo", "year"], &["geo"]);
        for run in 1..=3 {
            let _ = load(&lake, &spec, &format!("r{run}"), &format!("{run}"), &rows(run)).await.unwrap();
        }
        let count = if write == WriteMode::Append { 3 * VALUES.len() } else { VALUES.len() };
        let before = show(&Reader(&lake), &spec.name, &ALL).await;
        assert_eq!(before.len(), count);
        // What was put down and then not needed is gone again: only committed files are there.
        assert_eq!(data_files(&lake, &spec.name).len(), 3 * VALUES.len());
        let _ = lake.optimize(&spec.name).await.unwrap();
        assert_eq!(lake.snapshot(&spec.name, None).await.unwrap().files.len(), VALUES.len());
        clock.advance(10 * 24);
        let _ = load(&lake, &spec, "r4", "4", &[("new/", 4, None)]).await.unwrap();
        let done = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
        let left = if write == WriteMode::Append { VALUES.len() + 1 } else { 1 };
        assert_eq!(
            data_files(&lake, &spec.name).len(),
            left + if write == WriteMode::Append { 0 } else { VALUES.len() }
        );
        assert!(done.files.iter().all(|file| file.contains("/geo=")), "{:?}", done.files);
        let report = lake.check(&spec.name).await.unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let fresh = open_folder_at(folder.path(), std::sync::Arc::clone(&clock)).await;
        assert_eq!(show(&Reader(&fresh), &spec.name, &["geo"]).await.len(), if left == 1 { 1 } else { count + 1 });
    }
}

/// Moves every data file to the table's own folder, where versions before partition folders wrote them.
fn flatten(lake: &Lake, spec: &TableSpec) {
    let root = root(lake, spec);
    for file in data_files(lake, &spec.name) {
        std::fs::rename(&file, root.join(file.file_name().unwrap())).unwrap();
    }
    for entry in std::fs::read_dir(root.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let flat: Vec<String> = text
            .lines()
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                for action in ["add", "remove"] {
                    if let Some(path) = line.get_mut(action).and_then(|action| action.get_mut("path")) {
                        *path = path.as_str().unwrap().rsplit('/').next().unwrap().into();
                    }
                }
                format!("{line}\n")
            })
            .collect();
        std::fs::write(&path, flat.concat()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flat_files_of_older_versions_are_read_replaced_and_moved() {
    for write in [WriteMode::Append, WriteMode::Upsert] {
        let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-01-01T00:00:00Z"));
        let spec = spec("t", write, &["geo", "year"], &["geo"]);
        let lake = open_folder_at(folder.path(), std::sync::Arc::clone(&clock)).await;
        let _ = load(&lake, &spec, "r1", "1", &rows(1)).await.unwrap();
        flatten(&lake, &spec);
        let lake = open_folder_at(folder.path(), std::sync::Arc::clone(&clock)).await;
        assert_eq!(folders(&root(&lake, &spec), &data_files(&lake, &spec.name)), [""]);
        assert_eq!(show(&Reader(&lake), &spec.name, &["geo"]).await.len(), VALUES.len());
        let _ = load(&lake, &spec, "r2", "2", &[("BG", 2, None)]).await.unwrap();
        let before = show(&Reader(&lake), &spec.name, &ALL).await;
        assert_eq!(before.len(), VALUES.len() + 1);
        let done = lake.optimize(&spec.name).await.unwrap();
        assert_eq!(done.files_added, VALUES.len() as u64 - u64::from(write == WriteMode::Upsert));
        assert_eq!(lake.optimize(&spec.name).await.unwrap().version, None, "everything is in its place");
        assert_eq!(show(&Reader(&lake), &spec.name, &ALL).await, before);
        assert!(lake.check(&spec.name).await.unwrap().problems.is_empty());
        clock.advance(8 * 24);
        let _ = load(&lake, &spec, "r3", "3", &[("BG", 3, None)]).await.unwrap();
        let _ = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
        let left = folders(&root(&lake, &spec), &data_files(&lake, &spec.name));
        assert_eq!(left.len(), VALUES.len(), "no flat file is left: {left:?}");
    }
}

#[tokio::test]
async fn a_value_too_long_for_a_folder_is_kept_all_the_same() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Append, &[], &["geo"]);
    let long: [&'static str; 3] = ["ж".repeat(100).leak(), "x".repeat(300).leak(), "y".repeat(251).leak()];
    let _ = load(&test.lake, &spec, "r", "a", &long.map(|geo| (geo, 1, None))).await.unwrap();
    let mut expected = long.map(str::to_owned);
    expected.sort();
    assert_eq!(show(&Reader(&test.lake), &spec.name, &["geo"]).await, expected);
    let found = folders(&root(&test.lake, &spec), &data_files(&test.lake, &spec.name));
    assert_eq!(found, ["".to_owned(), format!("geo={}", long[2]), format!("geo={}", long[0])]);
    assert_eq!(test.lake.optimize(&spec.name).await.unwrap().version, None);
    assert!(test.lake.check(&spec.name).await.unwrap().problems.is_empty());
}
