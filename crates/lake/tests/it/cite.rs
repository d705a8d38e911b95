//! Citations: a cited version stays readable whatever vacuum is told.

use std::sync::Arc;

use hambar_core::citation::{CitedRead, QueryCitation};
use hambar_core::conformance::{load, spec};
use hambar_core::system::system_batch;
use hambar_core::{LeaseOutcome, Redistribution, StoreError, SystemTable, TableName, TableSpec, TableStore, WriteMode};
use hambar_lake::Lake;
use tempfile::TempDir;

use crate::support::{SetClock, TestLake, data_files, open_folder_at};

async fn declare(lake: &Lake, spec: &TableSpec, recorded_at: &str, title: &str) {
    let row = vec![
        ("dataset", spec.name.to_string().into()),
        ("recorded_at", recorded_at.parse::<jiff::Timestamp>().unwrap().into()),
        ("title", title.into()),
        ("provider", "the suite".into()),
        ("citation", "the suite, first edition".into()),
        ("licence", "CC0-1.0".into()),
        ("redistribution", "allowed".into()),
    ];
    lake.append_system(SystemTable::Datasets, system_batch(SystemTable::Datasets, &[row])).await.unwrap();
}

async fn rows_of(lake: &Lake, spec: &TableSpec, version: u64) -> Result<usize, StoreError> {
    let snapshot = lake.snapshot(&spec.name, Some(version)).await?;
    let mut rows = 0;
    for file in &snapshot.files {
        rows += lake.read_file(&snapshot, file).await?.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test]
async fn a_cited_version_survives_every_vacuum() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-01-01T00:00:00Z"));
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &["geo"]);
    declare(&lake, &spec, "2026-01-01T00:00:00Z", "First").await;
    for run in 1..=4 {
        let rows = [("BG", run, None), ("RO", run, Some(1))];
        let _ = load(&lake, &spec, &format!("r{run}"), &format!("{run}"), &rows).await.unwrap();
        clock.advance(24);
    }
    let cited = lake.cite(&spec.name, Some(2)).await.unwrap();
    assert_eq!((cited.version, cited.sequence, cited.run.as_deref()), (2, 2, Some("r2")));
    assert_eq!((cited.origin.title.as_str(), cited.origin.licence.redistribution), ("First", Redistribution::Allowed));
    assert!(cited.fingerprint.as_deref().is_some_and(|text| text.starts_with("2:")), "{cited:?}");
    let newest = lake.cite(&spec.name, None).await.unwrap();
    assert_eq!(newest.version, 4);
    // A new declaration changes nothing of what was cited, and citing again gives the same citation.
    declare(&lake, &spec, "2026-01-10T00:00:00Z", "Second").await;
    assert_eq!(lake.cite(&spec.name, Some(2)).await.unwrap(), cited);
    assert_eq!(lake.citations().await.unwrap(), [cited, newest]);
    clock.advance(24 * 400);
    let _ = load(&lake, &spec, "r5", "5", &[("BG", 5, None)]).await.unwrap();
    clock.advance(24 * 400);
    let _ = load(&lake, &spec, "r6", "6", &[("BG", 6, None)]).await.unwrap();
    // The shortest retention there is: what was replaced 400 days ago is long past it.
    let done = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
    assert_eq!(done.files.len(), 4, "versions 1 and 3: {:?}", done.files);
    let fresh = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    for (version, expected) in [(2, Some(2)), (4, Some(2)), (6, Some(1)), (1, None), (3, None)] {
        assert_eq!(rows_of(&fresh, &spec, version).await.ok(), expected, "version {version}");
    }
    let gone = fresh.cite(&spec.name, Some(3)).await.unwrap_err();
    assert!(matches!(&gone, StoreError::Missing { what } if what.contains("of version 3")), "{gone}");
    assert!(fresh.check(&spec.name).await.unwrap().problems.is_empty());
    assert!(!data_files(&fresh, &spec.name).is_empty());
}

#[tokio::test]
async fn what_cannot_be_cited_is_refused() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let missing = test.lake.cite(&spec.name, None).await.unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    for run in ["a", "b"] {
        let _ = load(&test.lake, &spec, run, run, &[("BG", 1, None)]).await.unwrap();
    }
    let undeclared = test.lake.cite(&spec.name, None).await.unwrap_err();
    assert!(undeclared.to_string().contains("a declaration of table `suite.t`"), "{undeclared}");
    declare(&test.lake, &spec, "1970-01-01T00:00:00Z", "First").await;
    let absent = test.lake.cite(&spec.name, Some(9)).await.unwrap_err();
    assert!(matches!(absent, StoreError::Missing { .. }), "{absent}");
    let LeaseOutcome::Held(held) = test.lake.lease(&spec.name, "run").await.unwrap() else { panic!("free") };
    assert!(matches!(test.lake.cite(&spec.name, Some(1)).await, Err(StoreError::Busy { .. })));
    assert_eq!(test.lake.cite(&spec.name, None).await.unwrap().version, 2, "the newest version is never in danger");
    held.release().await.unwrap();
    assert_eq!(test.lake.cite(&spec.name, Some(1)).await.unwrap().version, 1);
}

#[tokio::test]
async fn a_cited_query_is_found_again_and_what_it_read_is_kept() {
    let test = TestLake::in_folder().await;
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &["geo"]);
    declare(&test.lake, &spec, "1970-01-01T00:00:00Z", "First").await;
    for run in 1..=2 {
        let _ = load(&test.lake, &spec, &format!("r{run}"), &format!("{run}"), &[("BG", run, None)]).await.unwrap();
    }
    let history: TableName = format!("{}__history", spec.name).parse().unwrap();
    let found = test.lake.citation(&history, None).await.unwrap();
    assert!(
        !found.is_pinned && found.citation.origin.title == "First",
        "a history is the work of its table: {found:?}"
    );
    let cited = test.lake.cite(&history, Some(found.citation.version)).await.unwrap();
    assert!(test.lake.citation(&history, Some(cited.version)).await.unwrap().is_pinned);
    let query = QueryCitation {
        title: None,
        statement: "SELECT 1".to_owned(),
        parameters: "[]".to_owned(),
        reads: vec![CitedRead {
            table: history,
            version: cited.version,
            is_in_text: false,
            origin: cited.origin.clone(),
        }],
        columns: Vec::new(),
        fingerprint: "1:00".to_owned(),
        recorded_at: cited.recorded_at,
        cited_at: cited.recorded_at,
    };
    assert_eq!(test.lake.query_citation(&query.id()).await.unwrap(), None);
    let kept = test.lake.cite_query(query.clone()).await.unwrap();
    assert_eq!(test.lake.query_citation(&query.id()).await.unwrap(), Some(kept.clone()));
    let titled = QueryCitation { title: Some("Another name".to_owned()), ..query };
    assert_eq!(test.lake.cite_query(titled).await.unwrap(), kept, "the first citation of the same is the citation");
}
