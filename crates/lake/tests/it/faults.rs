//! One run against a store that fails at each of its calls in turn: in the end every row is there exactly once.

use std::sync::Arc;

use hambar_core::conformance::{Row, beside, load, show, spec};
use hambar_core::{TableStore, WriteMode};
use hambar_testkit::fault_store::{Call, Fault};

use crate::support::{Reader, faulty, is_applied, over};

/// Repeats of a run after which it must have succeeded, faults being over.
const REPEATS_MAX: usize = 4;

async fn every_call_may_fail(write: WriteMode, fault: Fault) {
    let first: &[Row] = &[("BG", 1, Some(1)), ("RO", 1, Some(1)), ("MK", 1, Some(1))];
    let second: &[Row] = &[("BG", 1, Some(2)), ("RO", 1, Some(1)), ("AL", 1, Some(5))];
    let key: &[&str] = if write == WriteMode::Append { &[] } else { &["geo"] };
    let spec = spec("t", write, key, &[]);
    for nth in 1.. {
        let store = faulty();
        let _ = load(&over(Arc::clone(&store)), &spec, "r1", "a", first).await.unwrap();
        store.add(Call::Any, "", nth, fault);
        let before = store.fired();
        let mut applied = false;
        for _ in 0..REPEATS_MAX {
            // A new lake each time: the process that met the fault is gone, and its caches with it.
            if let Ok(outcome) = load(&over(Arc::clone(&store)), &spec, "r2", "b", second).await {
                assert!(is_applied(&outcome), "call {nth}: {outcome:?}");
                applied = true;
                break;
            }
        }
        assert!(applied, "call {nth}: the run never succeeded");
        let fired = store.fired() > before;
        store.heal();
        let lake = over(Arc::clone(&store));
        let shown = show(&Reader(&lake), &spec.name, &["geo", "value"]).await;
        let expected: &[&str] = match write {
            WriteMode::Append => &["AL 5", "BG 1", "BG 2", "MK 1", "RO 1", "RO 1"],
            WriteMode::Upsert => &["AL 5", "BG 2", "MK 1", "RO 1"],
            WriteMode::Snapshot => &["AL 5", "BG 2", "RO 1"],
        };
        assert_eq!(shown, expected, "call {nth}");
        let history = show(&Reader(&lake), &beside(&spec.name, "__history"), &["geo", "value", "_sequence"]).await;
        let expected: &[&str] = match write {
            WriteMode::Append => &[],
            WriteMode::Upsert => &["BG 1 2"],
            WriteMode::Snapshot => &["BG 1 2", "MK 1 2"],
        };
        assert_eq!(history, expected, "call {nth}");
        assert_eq!(lake.open(&spec).await.unwrap().sequence, 2, "call {nth}");
        if !fired {
            assert!(nth > 5, "the fault fired at {} calls only", nth - 1);
            return;
        }
    }
}

#[tokio::test]
async fn a_store_that_refuses_any_call_loses_and_doubles_nothing() {
    for write in [WriteMode::Append, WriteMode::Upsert, WriteMode::Snapshot] {
        every_call_may_fail(write, Fault::FailBefore).await;
    }
}

#[tokio::test]
async fn a_lost_reply_loses_and_doubles_nothing() {
    for write in [WriteMode::Append, WriteMode::Snapshot] {
        every_call_may_fail(write, Fault::FailAfter).await;
    }
}

#[tokio::test]
async fn exists_already_for_an_own_write_loses_and_doubles_nothing() {
    every_call_may_fail(WriteMode::Upsert, Fault::ExistsAfter).await;
}

#[tokio::test]
async fn a_short_read_loses_and_doubles_nothing() {
    every_call_may_fail(WriteMode::Snapshot, Fault::ShortRead).await;
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_acknowledged() {
    for fault in [Fault::FailAfter, Fault::ExistsAfter] {
        let store = faulty();
        let spec = spec("t", WriteMode::Append, &[], &[]);
        let lake = over(Arc::clone(&store));
        lake.open(&spec).await.unwrap();
        store.add(Call::Put, "t/_delta_log/00000000000000000001.json", 1, fault);
        let outcome = load(&lake, &spec, "r1", "a", &[("BG", 1, None)]).await.unwrap();
        assert!(is_applied(&outcome));
        assert_eq!(store.fired(), 1);
        assert_eq!(lake.versions(&spec.name).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_a_dead_run_left_in_the_history_is_replaced() {
    let store = faulty();
    let spec = spec("t", WriteMode::Upsert, &["geo"], &[]);
    let _ = load(&over(Arc::clone(&store)), &spec, "r1", "a", &[("BG", 1, None), ("RO", 1, None)]).await.unwrap();
    // The run dies between its two commits: every attempt at the second one fails.
    store.add(Call::Put, "suite/t/_delta_log/00000000000000000002.json", 0, Fault::FailBefore);
    assert!(load(&over(Arc::clone(&store)), &spec, "dead", "b", &[("BG", 2, None), ("RO", 2, None)]).await.is_err());
    assert!(store.fired() > 0);
    store.heal();
    let lake = over(Arc::clone(&store));
    let _ = load(&lake, &spec, "r3", "b", &[("BG", 3, None)]).await.unwrap();
    let history = show(&Reader(&lake), &beside(&spec.name, "__history"), &["geo", "year", "_sequence"]).await;
    assert_eq!(history, ["BG 1 2"]);
    let _ = load(&lake, &spec, "r4", "c", &[("MK", 1, None)]).await.unwrap();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, ["BG 3", "MK 1", "RO 1"]);
}
