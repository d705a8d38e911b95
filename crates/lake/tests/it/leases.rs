//! Leases: who takes over from whom, and when.

use std::sync::Arc;

use hambar_core::conformance::{batch, load, request, spec, stamp};
use hambar_core::{LeaseOutcome, StoreError, TableStore, WriteMode};
use hambar_lake::{HostInfo, Lake};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::support::StillClock;

fn on(store: &Arc<dyn ObjectStore>, host: HostInfo) -> Lake {
    Lake::from_store(Url::parse("memory:///leases").unwrap(), Arc::clone(store), Arc::new(StillClock), host)
}

fn elsewhere() -> HostInfo {
    HostInfo { host: "elsewhere".to_owned(), boot: "b".to_owned(), pid: 1, started: 1 }
}

#[tokio::test]
async fn a_dead_process_of_this_machine_is_replaced_at_once() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let own = HostInfo::this_process();
    let dead = on(&store, HostInfo { started: own.started + 1, ..own.clone() });
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let LeaseOutcome::Held(old) = dead.lease(&spec.name, "old").await.unwrap() else { panic!("free") };
    let LeaseOutcome::Held(new) = on(&store, own).lease(&spec.name, "new").await.unwrap() else { panic!("dead") };
    assert!(new.epoch() > old.epoch());
    let lost = old.check().await.unwrap_err();
    assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost}");
}

#[tokio::test]
async fn a_holder_elsewhere_is_left_alone_until_it_lets_go() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let (holder, observer) = (on(&store, elsewhere()), on(&store, HostInfo::this_process()));
    let LeaseOutcome::Held(held) = holder.lease(&spec.name, "far").await.unwrap() else { panic!("free") };
    let LeaseOutcome::Busy { holder: named, .. } = observer.lease(&spec.name, "near").await.unwrap() else {
        panic!("a live holder is left alone")
    };
    assert_eq!(named, "far (process 1 on elsewhere)");
    drop(held);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let outcome = observer.lease(&spec.name, "near").await.unwrap();
    assert!(matches!(outcome, LeaseOutcome::Held(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_writer_that_lost_its_lease_publishes_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let own = HostInfo::this_process();
    let slow = on(&store, HostInfo { started: own.started + 1, ..own.clone() });
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let LeaseOutcome::Held(_held) = slow.lease(&spec.name, "slow").await.unwrap() else { panic!("free") };
    let state = slow.open(&spec).await.unwrap();
    let mut writer = slow.writer(&spec, &state, stamp("slow")).await.unwrap();
    writer.write(batch(&[("BG", 1, None)]), "s").await.unwrap();
    let quick = on(&store, own);
    let LeaseOutcome::Held(_new) = quick.lease(&spec.name, "quick").await.unwrap() else { panic!("dead") };
    let refused = writer.commit(request("a", 1)).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost { .. })), "{refused:?}");
    let _ = load(&quick, &spec, "quick", "a", &[("RO", 1, None)]).await.unwrap();
    assert_eq!(quick.open(&spec).await.unwrap().rows, 1);
}
