//! Random histories of runs: the lake and the store in memory agree on every outcome, on the current rows, on the
//! history, and on the table as it was known at every instant.

use std::collections::BTreeSet;

use hambar_core::conformance::{Row, beside, load, show, spec};
use hambar_core::memory::MemoryStore;
use hambar_core::{CommitOutcome, Fingerprint, TableSpec, WriteMode};
use hambar_lake::{Lake, SortedLimits};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{Reader, TestLake};

const GEOS: [&str; 6] = ["AL", "BG", "GR", "MK", "RO", "RS"];
const COLUMNS: [&str; 4] = ["geo", "year", "value", "_source"];

/// Runs of a history, each with the rows it brings.
fn histories(unique: bool) -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row =
        (0..GEOS.len(), 0..4_i64, prop::option::of(0..3_i64)).prop_map(|(geo, year, value)| (GEOS[geo], year, value));
    let run = prop::collection::vec(row, 0..16).prop_map(move |mut rows| {
        let mut seen = BTreeSet::new();
        rows.retain(|row| !unique || seen.insert((row.0, row.1)));
        rows
    });
    prop::collection::vec(run, 1..6)
}

fn same_outcome(left: &CommitOutcome, right: &CommitOutcome) -> bool {
    match (left, right) {
        (
            CommitOutcome::Committed { rows: a, revised: b, withdrawn: c, .. },
            CommitOutcome::Committed { rows: x, revised: y, withdrawn: z, .. },
        ) => (a, b, c) == (x, y, z),
        (CommitOutcome::Unchanged, CommitOutcome::Unchanged) => true,
        _ => false,
    }
}

pub(crate) async fn check(spec: &TableSpec, limits: Option<SortedLimits>, runs: &[Vec<Row>]) {
    let (mut test, model) = (TestLake::in_memory().await, MemoryStore::new());
    if let Some(limits) = limits {
        test.lake = test.lake.with_sorted_limits(limits);
    }
    // Of equal rows without a key any one may be withdrawn, so where it came from is not compared.
    let shown = if spec.key.is_empty() { &COLUMNS[..3] } else { &COLUMNS[..] };
    let mut known: Vec<(String, Vec<String>)> = Vec::new();
    for (number, rows) in runs.iter().enumerate() {
        let run = format!("r{number}");
        let outcome = load(&test.lake, spec, &run, "same", rows).await.unwrap();
        let expected = load(&model, spec, &run, "same", rows).await.unwrap();
        assert!(same_outcome(&outcome, &expected), "{run}: {outcome:?}, expected {expected:?}");
        let current = show(&model, &spec.name, shown).await;
        assert_eq!(show(&Reader(&test.lake), &spec.name, shown).await, current, "{run}");
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            let snapshot = test.lake.snapshot(&spec.name, None).await.unwrap();
            let instant = snapshot.recorded_at.unwrap().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
            known.push((instant, current));
        }
        check_fingerprint(&test.lake, spec).await;
    }
    let history = beside(&spec.name, "__history");
    let columns = [shown, &["_change", "_sequence"]].concat();
    let expected = show(&model, &history, &columns).await;
    assert_eq!(show(&Reader(&test.lake), &history, &columns).await, expected);
    for (instant, rows) in &known {
        assert_eq!(&as_of(&test.lake, spec, shown, instant).await, rows, "as of {instant}");
    }
}

/// The fingerprint that commits carry on is that of the rows.
pub(crate) async fn check_fingerprint(lake: &Lake, spec: &TableSpec) {
    let snapshot = lake.snapshot(&spec.name, None).await.unwrap();
    let mut counted = Fingerprint::default();
    for file in &snapshot.files {
        for batch in lake.read_file(&snapshot, file).await.unwrap() {
            counted.add(&batch, |name| !name.starts_with('_')).unwrap();
        }
    }
    let stored = snapshot.properties.get("hambar.fingerprint").map_or_else(|| "0:0".to_owned(), Clone::clone);
    assert_eq!(stored.parse::<Fingerprint>().unwrap(), counted);
}

/// The table as it was known at `instant`, from the current rows and the history.
async fn as_of(lake: &Lake, spec: &TableSpec, shown: &[&str], instant: &str) -> Vec<String> {
    let current = show(&Reader(lake), &spec.name, &[&["_recorded_at"], shown].concat()).await;
    let history = beside(&spec.name, "__history");
    let past = show(&Reader(lake), &history, &[&["_recorded_at", "_superseded_at"], shown].concat()).await;
    let mut rows = Vec::new();
    for line in current {
        let (recorded, row) = line.split_once(' ').unwrap();
        if padded(recorded).as_str() <= instant {
            rows.push(row.to_owned());
        }
    }
    for line in past {
        let mut parts = line.splitn(3, ' ');
        let (recorded, superseded) = (parts.next().unwrap(), parts.next().unwrap());
        if padded(recorded).as_str() <= instant && instant < padded(superseded).as_str() {
            rows.push(parts.next().unwrap().to_owned());
        }
    }
    rows.sort();
    rows
}

/// Arrow leaves out a fraction of zero; for comparing texts all instants need six digits.
fn padded(instant: &str) -> String {
    let bare = instant.trim_end_matches('Z');
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    format!("{seconds}.{fraction:0<6}")
}

fn random_histories(unique: bool, spec: &TableSpec) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&histories(unique), |runs| {
            // Files of three rows, with and without a small last one, bring out every way to pass over a file.
            for small_bytes in [0, u64::MAX] {
                for group_rows in [2, 8] {
                    let limits = SortedLimits { file_rows: 3, group_rows, small_bytes, ..SortedLimits::default() };
                    runtime.block_on(check(spec, Some(limits), &runs));
                }
            }
            runtime.block_on(check(spec, None, &runs));
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_upserts_agree_with_the_model() {
    random_histories(true, &spec("u", WriteMode::Upsert, &["geo", "year"], &[]));
    random_histories(true, &spec("p", WriteMode::Upsert, &["geo", "year"], &["geo"]));
}

#[test]
fn random_snapshots_agree_with_the_model() {
    random_histories(true, &spec("s", WriteMode::Snapshot, &["geo", "year"], &[]));
    random_histories(true, &spec("p", WriteMode::Snapshot, &["year", "geo"], &["year"]));
}

#[test]
fn random_snapshots_without_a_key_agree_with_the_model() {
    random_histories(false, &spec("k", WriteMode::Snapshot, &[], &[]));
}

#[tokio::test]
async fn a_table_that_was_appended_to_can_be_upserted() {
    let test = TestLake::in_folder().await;
    let mut spec = spec("t", WriteMode::Append, &["geo"], &[]);
    for (run, rows) in [("r1", &[("RO", 1, None), ("BG", 1, None)]), ("r2", &[("MK", 1, None), ("AL", 1, None)])] {
        let _ = load(&test.lake, &spec, run, run, rows).await.unwrap();
    }
    spec.write = WriteMode::Upsert;
    let _ = load(&test.lake, &spec, "r3", "c", &[("BG", 2, None), ("XK", 1, None)]).await.unwrap();
    let shown = show(&Reader(&test.lake), &spec.name, &["geo", "year"]).await;
    assert_eq!(shown, ["AL 1", "BG 2", "MK 1", "RO 1", "XK 1"]);
    check_fingerprint(&test.lake, &spec).await;
}
