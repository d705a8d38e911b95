//! Superseded rows that are older than a table keeps them: exactly those go, and the history says since when it is whole.

use std::sync::Arc;

use hambar_core::conformance::{Row, batch, beside, request, show, spec};
use hambar_core::{Clock, CommitOutcome, LeaseOutcome, RunId, RunStamp, StoreError, TableSpec, TableStore, WriteMode};
use hambar_lake::Lake;
use hambar_testkit::fault_store::{Call, Fault};
use tempfile::TempDir;

use crate::support::{Reader, SetClock, faulty, open_folder_at, over_at};

const DAY: i64 = 24;

/// A release as a run at the clock's time makes it.
pub(crate) async fn release(lake: &Lake, spec: &TableSpec, clock: &SetClock, number: i64) {
    let rows: [Row; 2] = [("BG", number, None), ("RO", 1, None)];
    let state = lake.open(spec).await.unwrap();
    let stamp = RunStamp { run: RunId(format!("r{number}")), recorded_at: clock.now() };
    let mut writer = lake.writer(spec, &state, stamp).await.unwrap();
    writer.write(batch(&rows), "sha").await.unwrap();
    let outcome = writer.commit(request(&format!("{number}"), rows.len())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

async fn years(lake: &Lake, spec: &TableSpec) -> Vec<String> {
    show(&Reader(lake), &beside(&spec.name, "__history"), &["year"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_old_rows_go() {
    for is_compacted in [false, true] {
        let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-01-01T00:00:00Z"));
        let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        let spec = spec("t", WriteMode::Snapshot, &["geo"], &[]);
        let history = beside(&spec.name, "__history");
        for number in 0..10 {
            release(&lake, &spec, &clock, number).await;
            clock.advance(DAY);
        }
        if is_compacted {
            assert_eq!(lake.optimize(&history).await.unwrap().files_added, 1);
        }
        // The newest commit was made on the tenth of January: what was superseded on the second is older than a week.
        let listed = lake.expire_history(&spec.name, 7, true).await.unwrap();
        assert_eq!((listed.rows, listed.kept, listed.version), (1, 8, None));
        assert_eq!(years(&lake, &spec).await.len(), 9, "a dry run removes nothing");
        let done = lake.expire_history(&spec.name, 7, false).await.unwrap();
        assert_eq!((done.rows, done.kept), (1, 8));
        assert!(done.version.is_some());
        let expected: Vec<String> = (1..9).map(|year| year.to_string()).collect();
        assert_eq!(years(&lake, &spec).await, expected);
        let since = lake.snapshot(&history, None).await.unwrap().history_since().unwrap();
        assert_eq!((since.to_string(), Some(since)), ("2026-01-03T00:00:00Z".to_owned(), done.since));
        let again = lake.expire_history(&spec.name, 7, false).await.unwrap();
        assert_eq!((again.rows, again.version), (0, None), "nothing is left to do");
        // A clock that is a year ahead makes nothing old.
        clock.advance(365 * DAY);
        assert_eq!(lake.expire_history(&spec.name, 7, false).await.unwrap().rows, 0);
        clock.advance(-365 * DAY);
        // The history goes on, and its files go through an ordinary vacuum.
        release(&lake, &spec, &clock, 10).await;
        assert_eq!(years(&lake, &spec).await.len(), 9);
        clock.advance(8 * DAY);
        release(&lake, &spec, &clock, 11).await;
        assert!(!lake.vacuum(&history, 7, &[], false).await.unwrap().files.is_empty());
        let fresh = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        assert_eq!(years(&fresh, &spec).await.len(), 10);
        for table in [&spec.name, &history] {
            assert!(fresh.check(table).await.unwrap().problems.is_empty(), "{table}");
        }
    }
}

#[tokio::test]
async fn an_expiry_that_fails_changes_nothing() {
    let clock = SetClock::at("2100-01-01T00:00:00Z");
    let store = faulty();
    let lake = over_at(Arc::clone(&store), Arc::clone(&clock));
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &[]);
    for number in 0..10 {
        release(&lake, &spec, &clock, number).await;
        clock.advance(DAY);
    }
    lake.optimize(&beside(&spec.name, "__history")).await.unwrap();
    let before = years(&lake, &spec).await;
    let LeaseOutcome::Held(held) = lake.lease(&spec.name, "run").await.unwrap() else { panic!("free") };
    assert!(matches!(lake.expire_history(&spec.name, 7, false).await, Err(StoreError::Busy { .. })));
    held.release().await.unwrap();
    for fault in [Fault::FailBefore, Fault::ShortRead] {
        for nth in 1..40 {
            let fired = store.fired();
            store.add(Call::Any, "__history", nth, fault);
            let fresh = over_at(Arc::clone(&store), Arc::clone(&clock));
            let ended = fresh.expire_history(&spec.name, 7, true).await.map(|done| done.rows);
            let is_hit = store.fired() > fired;
            store.heal();
            assert!(ended.is_err() || ended.is_ok_and(|rows| rows == 1), "call {nth}");
            if !is_hit {
                break;
            }
        }
    }
    assert_eq!(years(&lake, &spec).await, before);
    // The commit fails for good: everything is as it was; then it is lost on the way back: it counts.
    store.add(Call::Put, "t__history/_delta_log/", 0, Fault::FailBefore);
    assert!(lake.expire_history(&spec.name, 7, false).await.is_err());
    store.heal();
    let lake = over_at(Arc::clone(&store), Arc::clone(&clock));
    assert_eq!(years(&lake, &spec).await, before);
    store.add(Call::Put, "t__history/_delta_log/", 1, Fault::FailAfter);
    let done = lake.expire_history(&spec.name, 7, false).await.unwrap();
    assert_eq!((done.rows, years(&lake, &spec).await.len()), (1, before.len() - 1));
}
