//! Damaged logs and unfit stores are refused by name, never read as if nothing had happened.

use std::sync::Arc;

use hambar_core::conformance::{load, spec};
use hambar_core::{StoreError, TableStore, WriteMode};
use hambar_lake::{HostInfo, Lake};
use hambar_testkit::fault_store::{Call, Fault};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tempfile::TempDir;
use url::Url;

use crate::support::{StillClock, TestLake, faulty, open_folder};

async fn check(version: u64, body: Option<&'static str>, expected: &str) {
    let test = TestLake::in_memory().await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    for run in ["r1", "r2"] {
        let _ = load(&test.lake, &spec, run, run, &[("BG", 1, None)]).await.unwrap();
    }
    let store = test.lake.object_store();
    let path = Path::from(format!("tables/suite/t/_delta_log/{version:020}.json"));
    match body {
        Some(body) => drop(store.put(&path, PutPayload::from_static(body.as_bytes())).await.unwrap()),
        None => store.delete(&path).await.unwrap(),
    }
    let fresh = reopened(store);
    let refused = fresh.snapshot(&spec.name, None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. } | StoreError::Unfit { .. }), "{refused}");
    assert!(refused.to_string().contains(expected), "{refused}");
    assert!(fresh.open(&spec).await.is_err(), "nothing is written on top");
}

fn reopened(store: Arc<dyn ObjectStore>) -> Lake {
    let url = Url::parse("memory:///again").unwrap();
    Lake::from_store(url, store, Arc::new(StillClock), HostInfo::this_process())
}

#[tokio::test]
async fn damaged_logs_are_refused() {
    check(2, Some(""), "is empty; its commit is lost").await;
    check(2, Some("{\"add\":{\"path\":"), "line 1").await;
    check(2, Some("\0\0\0\0\0\0\0\0"), "line 1").await;
    check(1, None, "is missing").await;
}

#[tokio::test]
async fn foreign_features_are_refused_by_name() {
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    check(2, Some(protocol), "`deletionVectors`").await;
}

#[tokio::test]
async fn an_empty_newest_log_file_is_not_overwritten() {
    let folder = TempDir::new().unwrap();
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let lake = open_folder(folder.path().to_str().unwrap()).await;
    let _ = load(&lake, &spec, "r1", "a", &[("BG", 1, None)]).await.unwrap();
    let torn = folder.path().join("tables/suite/t/_delta_log/00000000000000000002.json");
    std::fs::write(&torn, "").unwrap();
    let refused = load(&lake, &spec, "r2", "b", &[("RO", 1, None)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert_eq!(std::fs::read(&torn).unwrap(), b"");
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    for (fault, fits) in [(Some(Fault::IgnoreCondition), false), (None, true)] {
        let store = faulty();
        if let Some(fault) = fault {
            store.add(Call::Put, "", 0, fault);
        }
        let proven = reopened(store).prove_fit().await;
        assert_eq!(proven.is_ok(), fits, "{proven:?}");
        assert!(fits || matches!(proven, Err(StoreError::Unfit { .. })));
    }
}
