//! What readers see: one version from start to end, and tables that another Delta implementation reads as well.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int32Type;
use hambar_core::conformance::{Row, batch, load, request, show, spec, stamp};
use hambar_core::{StoreError, TableStore, WriteMode};

use crate::support::{Reader, TestLake};

#[tokio::test]
async fn every_version_stays_readable() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &["geo"]);
    let releases: [&[Row]; 3] = [&[("BG", 1, None)], &[("BG", 2, None), ("RO", 1, None)], &[("RO", 1, None)]];
    for (number, rows) in releases.iter().enumerate() {
        let _ = load(&test.lake, &spec, &format!("r{number}"), &format!("{number}"), rows).await.unwrap();
    }
    let counts = [0, 1, 2, 1];
    for (version, count) in (0_u64..).zip(counts) {
        let snapshot = test.lake.snapshot(&spec.name, Some(version)).await.unwrap();
        assert_eq!((snapshot.version, snapshot.sequence), (version, version));
        assert_eq!(snapshot.files.iter().map(|file| file.rows).sum::<u64>(), count);
    }
    let gone = test.lake.snapshot(&spec.name, Some(9)).await.unwrap_err();
    assert!(matches!(&gone, StoreError::Missing { what } if what == "version 9 of table `suite.t`"), "{gone}");
    let versions = test.lake.versions(&spec.name).await.unwrap();
    let shown: Vec<_> = versions
        .iter()
        .map(|info| (info.operation.as_str(), info.rows_added, info.rows_revised, info.rows_withdrawn))
        .collect();
    assert_eq!(shown, [("CREATE TABLE", 0, 0, 0), ("WRITE", 1, 0, 0), ("MERGE", 2, 1, 0), ("MERGE", 0, 0, 1)]);
    assert_eq!(test.lake.tables().await.unwrap(), std::slice::from_ref(&spec.name));
}

#[tokio::test]
async fn the_log_has_the_form_that_the_protocol_asks_for() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Upsert, &["geo", "year"], &["geo"]);
    let _ = load(&test.lake, &spec, "r1", "a", &[("Óst & co/1", 2020, Some(-5))]).await.unwrap();
    let _ = load(&test.lake, &spec, "r2", "b", &[("Óst & co/1", 2020, Some(7))]).await.unwrap();
    let root = test.lake.local_root().unwrap().join("tables/suite/t");
    let read = |version: u64| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(root.join(format!("_delta_log/{version:020}.json"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let created = read(0);
    assert_eq!(created[1]["protocol"], serde_json::json!({"minReaderVersion": 1, "minWriterVersion": 2}));
    assert_eq!(created[2]["metaData"]["partitionColumns"], serde_json::json!(["geo"]));
    let first = read(1);
    let add = first.iter().find_map(|line| line.get("add")).unwrap();
    assert_eq!(add["partitionValues"], serde_json::json!({"geo": "Óst & co/1"}));
    // The folder's name is encoded once, and its place in the log once more.
    let path = add["path"].as_str().unwrap();
    assert!(path.starts_with("geo=%25C3%2593st%2520%2526%2520co%252F1/part-"), "{path}");
    let size = std::fs::metadata(root.join(path.replace("%25", "%"))).unwrap().len();
    assert_eq!(add["size"].as_u64(), Some(size));
    let second = read(2);
    let actions: Vec<&String> = second.iter().filter_map(|line| line.as_object()?.keys().next()).collect();
    assert_eq!(actions, ["commitInfo", "metaData", "txn", "remove", "add"]);
    let remove = second.iter().find_map(|line| line.get("remove")).unwrap();
    assert_eq!(remove["path"], add["path"]);
    let txn = second.iter().find_map(|line| line.get("txn")).unwrap();
    assert_eq!((txn["appId"].as_str(), txn["version"].as_i64()), (Some("hambar"), Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dictionaries_and_many_partitions_are_appended() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Append, &[], &["geo"]);
    let state = test.lake.open(&spec).await.unwrap();
    let mut writer = test.lake.writer(&spec, &state, stamp("r1")).await.unwrap();
    let names: Vec<String> = (0..700).map(|number| format!("dataset {}", number % 70)).collect();
    let geo: DictionaryArray<Int32Type> = names.iter().map(String::as_str).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..700));
    let encoded =
        RecordBatch::try_from_iter([("geo", Arc::new(geo) as ArrayRef), ("year", numbers.clone()), ("value", numbers)])
            .unwrap();
    writer.write(encoded, "s").await.unwrap();
    writer.write(batch(&[("dataset 3", -1, None)]), "s").await.unwrap();
    let _ = writer.commit(request("a", 701)).await.unwrap();
    let snapshot = test.lake.snapshot(&spec.name, None).await.unwrap();
    assert_eq!(snapshot.files.len(), 70);
    let third =
        snapshot.files.iter().find(|file| file.partition_values["geo"].as_deref() == Some("dataset 3")).unwrap();
    let stats: serde_json::Value = serde_json::from_str(third.stats.as_deref().unwrap()).unwrap();
    assert_eq!((stats["numRecords"].as_u64(), stats["minValues"]["year"].as_i64()), (Some(11), Some(-1)));
    assert_eq!(stats["nullCount"]["value"].as_u64(), Some(1));
    let shown = show(&Reader(&test.lake), &spec.name, &["geo", "year"]).await;
    assert_eq!((shown.len(), shown[0].as_str()), (701, "dataset 0 0"));
}

#[tokio::test]
async fn specs_that_cannot_be_kept_are_refused() {
    let test = TestLake::in_memory().await;
    for (key, partitions, expected) in [
        (&[][..], &[][..], "upsert needs a key"),
        (&["geo"][..], &["year"][..], "partition column `year` in the key"),
        (&["nope"][..], &[][..], "key column `nope` is not declared"),
        (&["geo"][..], &["nope"][..], "partition column `nope` is not declared"),
    ] {
        let refused = test.lake.open(&spec("t", WriteMode::Upsert, key, partitions)).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}
