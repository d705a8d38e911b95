//! Removing files: never one that a version within retention, a pinned version or a running writer needs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hambar_core::conformance::{Row, batch, load, request, show, spec, stamp};
use hambar_core::{Clock, LeaseOutcome, StoreError, TableSpec, TableStore, WriteMode};
use hambar_lake::{Lake, RETENTION_DAYS_MIN};
use hambar_testkit::fault_store::{Call, Fault};
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::support::{ALL, Reader, SetClock, data_files, faulty, open_folder_at, over_at};

const START: &str = "2026-01-01T00:00:00Z";
const DAY: i64 = 24;

/// A lake in a folder at [`START`].
async fn in_folder() -> (TempDir, Lake, Arc<SetClock>, TableSpec) {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at(START));
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    (folder, lake, clock, spec("t", WriteMode::Snapshot, &["geo"], &[]))
}

async fn release(lake: &Lake, spec: &TableSpec, number: i64) {
    let run = format!("r{number}");
    let _ = load(lake, spec, &run, &run, &[("BG", number, None), ("RO", 1, None)]).await.unwrap();
}

/// Makes every data file as old as the clock says.
fn date(files: &[PathBuf], instant: &str) {
    let time = SystemTime::from(instant.parse::<Timestamp>().unwrap());
    for file in files {
        std::fs::File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
    }
}

#[tokio::test]
async fn a_short_retention_and_a_held_lease_are_refused() {
    let (_folder, lake, _clock, spec) = in_folder().await;
    release(&lake, &spec, 1).await;
    let refused = lake.vacuum(&spec.name, RETENTION_DAYS_MIN - 1, &[], true).await.unwrap_err();
    assert!(matches!(refused, StoreError::Limit { value: 7, unit: "days", .. }), "{refused}");
    let LeaseOutcome::Held(held) = lake.lease(&spec.name, "run").await.unwrap() else { panic!("free") };
    let refused = lake.vacuum(&spec.name, 7, &[], true).await.unwrap_err();
    assert!(matches!(refused, StoreError::Busy { .. }), "{refused}");
    held.release().await.unwrap();
    assert!(lake.vacuum(&spec.name, 7, &[], true).await.is_ok());
}

#[tokio::test]
async fn replaced_files_go_after_their_retention() {
    let (_folder, lake, clock, spec) = in_folder().await;
    for number in 1..=3 {
        release(&lake, &spec, number).await;
        clock.advance(3 * DAY);
    }
    date(&data_files(&lake, &spec.name), "2020-01-01T00:00:00Z");
    let young = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
    assert_eq!((young.files.len(), young.kept), (0, 3), "replaced three and six days ago");
    // Time alone does not make files old: a clock a year ahead looks the same.
    clock.advance(365 * DAY);
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files.len(), 0);
    clock.advance(-358 * DAY);
    release(&lake, &spec, 4).await;
    let listed = lake.vacuum(&spec.name, 7, &[], true).await.unwrap();
    assert_eq!((listed.files.len(), listed.kept), (2, 2));
    assert_eq!(data_files(&lake, &spec.name).len(), 4, "a dry run removes nothing");
    let pinned = lake.vacuum(&spec.name, 7, &[1], true).await.unwrap();
    assert_eq!((pinned.files.len(), pinned.kept), (1, 3), "version 1 is pinned");
    let missing = lake.vacuum(&spec.name, 7, &[99], false).await.unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap(), listed);
    assert_eq!(data_files(&lake, &spec.name).len(), 2);
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, ["BG 4", "RO 1"]);
    assert!(lake.check(&spec.name).await.unwrap().problems.is_empty());
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files.len(), 0, "nothing is left to do");
}

#[tokio::test]
async fn files_that_no_commit_names_go_by_their_own_age() {
    let (_folder, lake, clock, spec) = in_folder().await;
    release(&lake, &spec, 1).await;
    let live = data_files(&lake, &spec.name);
    let folder = live[0].parent().unwrap();
    for (name, instant) in [("old.parquet", "2025-12-20T00:00:00Z"), ("young.parquet", "2025-12-30T00:00:00Z")] {
        std::fs::write(folder.join(name), "left behind").unwrap();
        date(&[folder.join(name)], instant);
    }
    date(&live, "2020-01-01T00:00:00Z");
    // A run that began before and ends after the vacuum keeps its files.
    let state = lake.open(&spec).await.unwrap();
    let mut writer = lake.writer(&spec, &state, stamp("running")).await.unwrap();
    writer.write(batch(&[("MK", 1, None)]), "s").await.unwrap();
    clock.advance(1);
    let done = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
    assert_eq!(done.files, ["tables/suite/t/old.parquet"]);
    assert_eq!(done.bytes, 11);
    assert!(folder.join("young.parquet").exists() && live[0].exists());
    let _ = writer.commit(request("w", 1)).await.unwrap();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo"]).await, ["MK"]);
}

#[tokio::test]
async fn what_dead_processes_left_goes_by_its_age() {
    let (folder, lake, clock, spec) = in_folder().await;
    release(&lake, &spec, 1).await;
    clock.advance(1);
    let log = folder.path().join("tables/suite/t/_delta_log");
    for (name, instant) in [("9.json#1", "2025-12-20T00:00:00Z"), ("9.json#2", "2025-12-31T00:00:00Z")] {
        std::fs::write(log.join(name), "staged").unwrap();
        date(&[log.join(name)], instant);
    }
    let spool = folder.path().join("spool");
    for (name, instant) in [("write-dead", "2025-12-20T00:00:00Z"), ("write-busy", "2025-12-31T00:00:00Z")] {
        std::fs::create_dir_all(spool.join(name)).unwrap();
        std::fs::write(spool.join(name).join("run"), "spilled").unwrap();
        date(&[spool.join(name).join("run")], instant);
        let time = SystemTime::from("2025-12-20T00:00:00Z".parse::<Timestamp>().unwrap());
        std::fs::File::open(spool.join(name)).unwrap().set_modified(time).unwrap();
    }
    let expected = ["spool/write-dead", "tables/suite/t/_delta_log/9.json#1"];
    assert_eq!(lake.vacuum(&spec.name, 7, &[], true).await.unwrap().files, expected);
    assert!(spool.join("write-dead").exists());
    let done = lake.vacuum(&spec.name, 7, &[], false).await.unwrap();
    assert_eq!((done.files, done.bytes), (expected.map(str::to_owned).to_vec(), 13));
    assert!(!spool.join("write-dead").exists() && spool.join("write-busy/run").exists());
    assert!(!log.join("9.json#1").exists() && log.join("9.json#2").exists());
    assert!(lake.check(&spec.name).await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_clock_behind_the_newest_commit_is_refused() {
    let (_folder, lake, clock, spec) = in_folder().await;
    release(&lake, &spec, 1).await;
    clock.advance(-1);
    let refused = lake.vacuum(&spec.name, 7, &[], false).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unfit { what, .. } if what.contains("set the clock")), "{refused}");
}

#[tokio::test]
async fn a_failed_vacuum_leaves_every_live_file_and_resumes() {
    let clock = SetClock::at("2100-01-01T00:00:00Z");
    let store = faulty();
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &[]);
    let lake = over_at(Arc::clone(&store), Arc::clone(&clock));
    for number in 1..=5 {
        release(&lake, &spec, number).await;
    }
    clock.advance(30 * DAY);
    release(&lake, &spec, 6).await;
    let expected = lake.vacuum(&spec.name, 7, &[], true).await.unwrap().files;
    assert_eq!(expected.len(), 4);
    store.add(Call::Delete, "tables/", 3, Fault::FailBefore);
    assert!(lake.vacuum(&spec.name, 7, &[], false).await.is_err());
    assert_eq!(store.fired(), 1);
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, ["BG 6", "RO 1"]);
    assert_eq!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files, expected[2..], "the rest");
}

/// What a version needs, and from when to when it was the newest.
struct Needed {
    files: BTreeSet<String>,
    until: Option<Timestamp>,
}

async fn random_history(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // The store dates files by the real clock, long before this: only the log protects them.
    let clock = SetClock::at("2100-01-01T00:00:00Z");
    let store = faulty();
    let lake = over_at(Arc::clone(&store), Arc::clone(&clock));
    let mode = [WriteMode::Append, WriteMode::Upsert, WriteMode::Snapshot][random.random_range(0..3)];
    let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["geo"] };
    let spec = spec("t", mode, key, &[]);
    let mut ledger: Vec<Needed> = Vec::new();
    let mut pinned: Vec<u64> = Vec::new();
    for step in 0..25 {
        match random.random_range(0..10) {
            0..4 => {
                let rows: Vec<Row> = ["AL", "BG", "RO"].map(|geo| (geo, random.random_range(0..9), None)).to_vec();
                let _ = load(&lake, &spec, &format!("r{step}"), &format!("{step}"), &rows).await.unwrap();
            }
            4..6 if !ledger.is_empty() => drop(lake.optimize(&spec.name).await.unwrap()),
            6 if !ledger.is_empty() => pinned.push(ledger.len() as u64 - 1),
            7..9 if !ledger.is_empty() => {
                let retention = random.random_range(7..12);
                let listed = lake.vacuum(&spec.name, retention, &pinned, true).await.unwrap();
                let done = lake.vacuum(&spec.name, retention, &pinned, false).await.unwrap();
                assert_eq!(done, listed, "seed {seed}");
            }
            _ => clock.advance(random.random_range(1..5 * DAY)),
        }
        if ledger.is_empty() && !lake.exists(&spec.name).await.unwrap() {
            continue;
        }
        let newest = lake.snapshot(&spec.name, None).await.unwrap().version;
        let committed = lake.versions(&spec.name).await.unwrap();
        for version in ledger.len() as u64..=newest {
            let state = lake.log_state(&spec.name, Some(version)).await.unwrap();
            let at = committed[version as usize].committed_at.unwrap();
            if let Some(last) = ledger.last_mut() {
                last.until = Some(at);
            }
            ledger.push(Needed { files: state.files.keys().cloned().collect(), until: None });
        }
        let oldest = clock.now() - SignedDuration::from_hours(7 * DAY);
        for (version, needed) in (0_u64..).zip(&ledger) {
            if needed.until.is_none_or(|until| until >= oldest) || pinned.contains(&version) {
                for file in &needed.files {
                    let path = Path::from(format!("tables/suite/t/{file}"));
                    assert!(store.head(&path).await.is_ok(), "seed {seed}, step {step}: version {version} lost {file}");
                }
            }
        }
    }
    if !ledger.is_empty() {
        let _ = show(&Reader(&lake), &spec.name, &ALL).await;
    }
}

#[tokio::test]
async fn no_needed_file_is_removed_in_a_hundred_random_histories() {
    for seed in 0..100 {
        random_history(seed).await;
    }
}
