//! Runs that lost their lease, or the columns they began with: they publish nothing, and the history of the run that took
//! over stays as it is, whatever of theirs is still on the way.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use hambar_core::conformance::{Row, batch, beside, load, request, show, spec, stamp};
use hambar_core::{
    ColumnSpec, ColumnType, CommitOutcome, LeaseOutcome, OnDrift, StoreError, TableSpec, TableStore, WriteMode,
};
use hambar_lake::{HostInfo, Lake};
use hambar_testkit::fault_store::{Call, Fault, FaultStore};
use url::Url;

use crate::histories::check_fingerprint;
use crate::support::{Reader, StillClock, faulty, over};

/// A lake of a process that all others take for dead, so that they take over its leases.
fn of_the_dead(store: &Arc<FaultStore>) -> Lake {
    let own = HostInfo::this_process();
    let host = HostInfo { started: own.started + 1, ..own };
    let url = Url::parse("memory:///faults").unwrap();
    Lake::from_store(url, Arc::<FaultStore>::clone(store), Arc::new(StillClock), host)
}

fn upsert() -> TableSpec {
    spec("t", WriteMode::Upsert, &["geo"], &[])
}

/// The current rows and the history, as both the slow and the quick run may leave them.
async fn state(lake: &Lake) -> (Vec<String>, Vec<String>) {
    let name = upsert().name;
    let current = show(&Reader(lake), &name, &["geo", "year"]).await;
    let history = beside(&name, "__history");
    (current, show(&Reader(lake), &history, &["geo", "year", "_sequence"]).await)
}

fn texts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

/// A slow run changes two rows, a quick one takes over its lease and changes one of them; `delays` are the faults on the way.
/// Returns how both ended and what is there.
async fn race(delays: &[(&str, u64, u64)]) -> (Result<CommitOutcome, StoreError>, CommitOutcome, Lake) {
    let (store, spec) = (faulty(), upsert());
    let first: &[Row] = &[("BG", 1, None), ("RO", 1, None)];
    let _ = load(&over(Arc::clone(&store)), &spec, "r1", "a", first).await.unwrap();
    let (slow, quick) = (of_the_dead(&store), over(Arc::clone(&store)));
    let LeaseOutcome::Held(held) = slow.lease(&spec.name, "slow").await.unwrap() else { panic!("free") };
    let begun = slow.open(&spec).await.unwrap();
    let mut writer = slow.writer(&spec, &begun, stamp("slow")).await.unwrap();
    writer.write(batch(&[("BG", 2, None), ("RO", 2, None)]), "s").await.unwrap();
    for (path, nth, milliseconds) in delays {
        store.add(Call::Put, path, *nth, Fault::Delay(Duration::from_millis(*milliseconds)));
    }
    let committing = tokio::spawn(async move {
        let outcome = writer.commit(request("slow", 2)).await;
        drop(held);
        outcome
    });
    while store.fired() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let LeaseOutcome::Held(_new) = quick.lease(&spec.name, "quick").await.unwrap() else { panic!("dead") };
    let quick_outcome = load(&quick, &spec, "quick", "b", &[("BG", 3, None)]).await.unwrap();
    let slow_outcome = committing.await.unwrap();
    store.heal();
    (slow_outcome, quick_outcome, over(store))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_lost_its_lease_leaves_the_history_of_its_successor_alone() {
    let (slow, quick, lake) = race(&[("t__history/part-", 1, 700)]).await;
    assert!(matches!(slow, Err(StoreError::LeaseLost { .. })), "{slow:?}");
    assert!(matches!(quick, CommitOutcome::Committed { rows: 1, revised: 1, .. }), "{quick:?}");
    assert_eq!(state(&lake).await, (texts(&["BG 3", "RO 1"]), texts(&["BG 1 2"])));
    check_fingerprint(&lake, &upsert()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_still_on_the_way_is_fenced_off() {
    let version = "suite/t/_delta_log/00000000000000000002.json";
    let (slow, quick, lake) = race(&[(version, 1, 700)]).await;
    assert!(matches!(slow, Ok(CommitOutcome::Conflict { .. })), "{slow:?}");
    assert!(matches!(quick, CommitOutcome::Committed { version: 3, .. }), "{quick:?}");
    assert_eq!(state(&lake).await, (texts(&["BG 3", "RO 1"]), texts(&["BG 1 2"])));
    let operations: Vec<String> =
        lake.versions(&upsert().name).await.unwrap().into_iter().map(|version| version.operation).collect();
    assert_eq!(operations, ["CREATE TABLE", "WRITE", "FENCE", "MERGE"]);
    check_fingerprint(&lake, &upsert()).await;
    let report = lake.check(&upsert().name).await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_before_its_successors_keeps_its_history() {
    // The successor's write of the same version takes still longer.
    let version = "suite/t/_delta_log/00000000000000000002.json";
    let (slow, quick, lake) = race(&[(version, 1, 500), (version, 2, 1_500)]).await;
    assert!(matches!(slow, Ok(CommitOutcome::Committed { rows: 2, revised: 2, .. })), "{slow:?}");
    assert!(matches!(quick, CommitOutcome::Conflict { .. }), "{quick:?}");
    assert_eq!(state(&lake).await, (texts(&["BG 2", "RO 2"]), texts(&["BG 1 2", "RO 1 2"])));
    check_fingerprint(&lake, &upsert()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_arrives_after_its_successors_commit_is_refused() {
    // The successor supersedes nothing, so that only its lease makes it write to the history.
    let (store, spec) = (faulty(), upsert());
    let _ = load(&over(Arc::clone(&store)), &spec, "r1", "a", &[("BG", 1, None)]).await.unwrap();
    let (slow, quick) = (of_the_dead(&store), over(Arc::clone(&store)));
    let LeaseOutcome::Held(held) = slow.lease(&spec.name, "slow").await.unwrap() else { panic!("free") };
    let begun = slow.open(&spec).await.unwrap();
    let mut writer = slow.writer(&spec, &begun, stamp("slow")).await.unwrap();
    writer.write(batch(&[("BG", 2, None)]), "s").await.unwrap();
    store.add(Call::Put, "t__history/_delta_log/", 1, Fault::Delay(Duration::from_millis(700)));
    let committing = tokio::spawn(async move {
        let outcome = writer.commit(request("slow", 1)).await;
        drop(held);
        outcome
    });
    while store.fired() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let LeaseOutcome::Held(_new) = quick.lease(&spec.name, "quick").await.unwrap() else { panic!("dead") };
    let outcome = load(&quick, &spec, "quick", "b", &[("RO", 1, None)]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { rows: 1, revised: 0, .. }), "{outcome:?}");
    let slow_outcome = committing.await.unwrap();
    assert!(matches!(slow_outcome, Err(StoreError::LeaseLost { .. })), "{slow_outcome:?}");
    let lake = over(store);
    assert_eq!(state(&lake).await, (texts(&["BG 1", "RO 1"]), texts(&[])));
}

fn narrow(write: WriteMode) -> TableSpec {
    let columns = [("geo", ColumnType::String), ("count", ColumnType::Int32)];
    let columns = columns.map(|(name, kind)| ColumnSpec::new(&name.parse().unwrap(), kind)).to_vec();
    let key: &[&str] = if write == WriteMode::Append { &[] } else { &["geo"] };
    TableSpec { columns, on_drift: OnDrift::Widen, ..spec("t", write, key, &[]) }
}

fn counts(count: i32) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("geo", Arc::new(StringArray::from(vec!["BG"])) as ArrayRef, true),
        ("count", Arc::new(Int32Array::from(vec![count])), true),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_columns_were_widened_meanwhile_publishes_nothing() {
    for write in [WriteMode::Append, WriteMode::Upsert, WriteMode::Snapshot] {
        let (store, spec) = (faulty(), narrow(write));
        let lake = over(Arc::clone(&store));
        let mut wide = spec.clone();
        wide.columns[1].kind = ColumnType::Float64;
        for run in ["r1", "r2"] {
            let begun = lake.open(&spec).await.unwrap();
            let mut writer = lake.writer(&spec, &begun, stamp(run)).await.unwrap();
            writer.write(counts(i32::from(run == "r2")), "s").await.unwrap();
            if run == "r2" {
                // Planning needs no lease, and brings the columns up to date.
                over(Arc::clone(&store)).open(&wide).await.unwrap();
                let refused = writer.commit(request(run, 1)).await;
                assert!(matches!(refused, Err(StoreError::Changed { .. })), "{write:?}: {refused:?}");
            } else {
                let _ = writer.commit(request(run, 1)).await.unwrap();
            }
        }
        let fresh = over(Arc::clone(&store));
        assert_eq!(show(&Reader(&fresh), &spec.name, &["geo", "count"]).await, ["BG 0.0"], "{write:?}");
        check_fingerprint(&fresh, &spec).await;
        let begun = fresh.open(&spec).await.unwrap();
        let mut writer = fresh.writer(&spec, &begun, stamp("r3")).await.unwrap();
        writer.write(counts(7), "s").await.unwrap();
        let _ = writer.commit(request("r3", 1)).await.unwrap();
        assert!(show(&Reader(&fresh), &spec.name, &["count"]).await.contains(&"7.0".to_owned()), "{write:?}");
        check_fingerprint(&fresh, &spec).await;
    }
}
