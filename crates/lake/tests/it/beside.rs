//! Things at the same time, and clocks that step: long readers beside compaction and vacuum, two vacuums at once, and
//! times that jump back and ahead.

use std::sync::Arc;

use hambar_core::conformance::{Row, beside, load, show, spec};
use hambar_core::{Clock, LeaseOutcome, RunId, RunStamp, StoreError, TableSpec, TableStore, WriteMode};
use hambar_lake::{Lake, SortedLimits, TableSnapshot};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::expire::release;
use crate::support::{ALL, Reader, SetClock, data_files, faulty, open_folder_at, over_at};

const DAY: i64 = 24;

/// A reader that has opened one version and reads its files one after the other.
struct Reading {
    snapshot: TableSnapshot,
    opened: Timestamp,
    next: usize,
    rows: u64,
    expected: u64,
}

impl Reading {
    async fn open(lake: &Lake, spec: &TableSpec, now: Timestamp) -> Self {
        let snapshot = lake.snapshot(&spec.name, None).await.unwrap();
        let expected = snapshot.files.iter().map(|file| file.rows).sum();
        Self { snapshot, opened: now, next: 0, rows: 0, expected }
    }

    /// Reads one more file; says whether it was the last one.
    async fn step(&mut self, lake: &Lake, what: &str) -> bool {
        let Some(file) = self.snapshot.files.get(self.next) else {
            assert_eq!(self.rows, self.expected, "{what}");
            return true;
        };
        let batches = lake.read_file(&self.snapshot, file).await;
        let batches = batches.unwrap_or_else(|error| panic!("{what}, opened {}: {error}", self.opened));
        self.rows += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        self.next += 1;
        false
    }
}

/// Runs, compactions and vacuums at the real retention, while readers take up to a week for one version. Returns how many
/// readers got to their end, and how many files went.
async fn readers_beside_everything(seed: u64) -> (u32, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = SetClock::at("2100-01-01T00:00:00Z");
    let store = faulty();
    let small = SortedLimits { file_bytes: 1 << 20, file_rows: 2, group_rows: 2, small_bytes: 0 };
    let lake = over_at(Arc::clone(&store), Arc::clone(&clock)).with_sorted_limits(small);
    let mode = if seed.is_multiple_of(2) { WriteMode::Snapshot } else { WriteMode::Append };
    let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["geo"] };
    let spec = spec("t", mode, key, if seed.is_multiple_of(3) { &["geo"] } else { &[] });
    let (mut readers, mut finished, mut removed): (Vec<Reading>, u32, usize) = (Vec::new(), 0, 0);
    for step in 0..60 {
        let what = format!("seed {seed}, step {step}");
        match random.random_range(0..10) {
            0..3 => {
                let geos = ["AL", "BG", "GR", "MK", "RO", "RS"];
                let rows: Vec<Row> = geos.map(|geo| (geo, random.random_range(0..9), None)).to_vec();
                let _ = load(&lake, &spec, &format!("r{step}"), &format!("{step}"), &rows).await.unwrap();
            }
            3 if lake.exists(&spec.name).await.unwrap() => drop(lake.optimize(&spec.name).await.unwrap()),
            4 | 5 if lake.exists(&spec.name).await.unwrap() => {
                removed += lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files.len();
            }
            6 | 7 if lake.exists(&spec.name).await.unwrap() => {
                readers.push(Reading::open(&lake, &spec, clock.now()).await);
            }
            _ => clock.advance(random.random_range(1..3 * DAY)),
        }
        // Whoever has had a version for a week may find files gone; nobody before.
        let week = jiff::SignedDuration::from_hours(7 * DAY);
        readers.retain(|reader| clock.now() < reader.opened + week);
        let mut going = Vec::new();
        for mut reader in readers.drain(..) {
            if reader.step(&lake, &what).await { finished += 1 } else { going.push(reader) }
        }
        readers = going;
    }
    (finished, removed)
}

#[tokio::test]
async fn long_readers_lose_no_file_to_compaction_and_vacuum() {
    let (mut readers, mut files) = (0, 0);
    for seed in 0..40 {
        let (finished, removed) = readers_beside_everything(seed).await;
        readers += finished;
        files += removed;
    }
    assert!(readers > 40 && files > 40, "{readers} readers got to their end, {files} files were removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_vacuums_at_once_remove_what_one_would() {
    for _ in 0..10 {
        let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-01-01T00:00:00Z"));
        let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        let spec = spec("t", WriteMode::Snapshot, &["geo"], &["geo"]);
        for number in 1..=5 {
            release(&lake, &spec, &clock, number).await;
        }
        clock.advance(30 * DAY);
        release(&lake, &spec, &clock, 6).await;
        let expected = lake.vacuum(&spec.name, 7, &[], true).await.unwrap().files;
        let left = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        let right = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        let (one, other) =
            tokio::join!(left.vacuum(&spec.name, 7, &[], false), right.vacuum(&spec.name, 7, &[], false));
        let mut removed = Vec::new();
        for ended in [one, other] {
            match ended {
                Ok(done) => removed.extend(done.files),
                Err(StoreError::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        removed.sort();
        assert_eq!(removed, expected, "each file once");
        let fresh = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        assert_eq!(
            data_files(&fresh, &spec.name).len(),
            fresh.snapshot(&spec.name, None).await.unwrap().files.len() + 1
        );
        assert_eq!(show(&Reader(&fresh), &spec.name, &["geo", "year"]).await, ["BG 6", "RO 1"]);
        assert!(fresh.check(&spec.name).await.unwrap().problems.is_empty());
    }
}

#[tokio::test]
async fn recorded_instants_rise_whatever_the_clock_does() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-06-01T00:00:00Z"));
    let spec = spec("t", WriteMode::Snapshot, &["geo"], &[]);
    let mut instants: Vec<Timestamp> = Vec::new();
    // Steps: a day back, a year ahead, back again, none, a leap day, and the end of a year.
    for (number, hours) in (1..).zip([0, -DAY, 365 * DAY, -365 * DAY, 0, 0, 3 * DAY]) {
        clock.advance(hours);
        let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        release(&lake, &spec, &clock, number).await;
        instants.push(lake.snapshot(&spec.name, None).await.unwrap().recorded_at.unwrap());
    }
    assert!(instants.windows(2).all(|pair| pair[0] < pair[1]), "{instants:?}");
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    let history = beside(&spec.name, "__history");
    let rows = show(&Reader(&lake), &history, &["year", "_recorded_at", "_superseded_at"]).await;
    assert_eq!(rows.len(), instants.len() - 1);
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<Timestamp> = row.split(' ').skip(1).map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(cells, instants[number..number + 2], "each value was current until the next came");
    }
    assert!(lake.vacuum(&spec.name, 7, &[], false).await.unwrap().files.is_empty(), "nothing is old yet");
    // A vacuum with a clock behind the newest commit removes nothing; it says what to do.
    clock.advance(-DAY);
    let refused = lake.vacuum(&spec.name, 7, &[], false).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unfit { what, .. } if what.contains("set the clock")), "{refused}");
    assert!(lake.check(&spec.name).await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_step_of_the_clock_takes_no_lease_away() {
    let (folder, clock) = (TempDir::new().unwrap(), SetClock::at("2026-06-01T00:00:00Z"));
    let lake = open_folder_at(folder.path(), Arc::clone(&clock)).await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let state = lake.open(&spec).await.unwrap();
    let LeaseOutcome::Held(held) = lake.lease(&spec.name, "run").await.unwrap() else { panic!("free") };
    let stamp = RunStamp { run: RunId("r".to_owned()), recorded_at: clock.now() };
    let mut writer = lake.writer(&spec, &state, stamp).await.unwrap();
    for hours in [365 * DAY, -800 * DAY] {
        clock.advance(hours);
        let other = open_folder_at(folder.path(), Arc::clone(&clock)).await;
        assert!(matches!(other.lease(&spec.name, "other").await.unwrap(), LeaseOutcome::Busy { .. }), "{hours} hours");
        held.check().await.unwrap();
    }
    writer.write(hambar_core::conformance::batch(&[("BG", 1, None)]), "s").await.unwrap();
    let _ = writer.commit(hambar_core::conformance::request("a", 1)).await.unwrap();
    held.release().await.unwrap();
    assert_eq!(show(&Reader(&lake), &spec.name, &ALL[..1]).await, ["BG"]);
}
