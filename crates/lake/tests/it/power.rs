//! Power cuts: after each of them every acknowledged run is in the table, whole, and the newest commit is not torn. The same
//! cuts find losses as soon as flushes do not reach the disk, so that the test is known to see them.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hambar_core::conformance::{ReadRows, Row, beside, load, spec};
use hambar_core::system::system_batch;
use hambar_core::{StoreError, SystemTable, TableSpec, TableStore, WriteMode};
use hambar_lake::{Access, FlushObserver, Lake};
use hambar_testkit::amnesia_store::{Amnesia, Crash};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::support::{Reader, StillClock, open_folder};

/// Runs of a history.
const RUNS: i64 = 7;
/// Disks made up for each flush.
const DISKS: usize = 2;
/// One cut in so many is followed by another run.
const GOES_ON_EVERY: usize = 10;

/// Which flushes reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Honest,
    LosesBytes,
    LosesNames,
}

/// Cuts the power before every flush, on paper.
#[derive(Debug)]
struct Witness {
    amnesia: Amnesia,
    disk: Disk,
    acknowledged: AtomicI64,
    random: Mutex<StdRng>,
    cuts: Mutex<Vec<(i64, Crash)>>,
}

impl FlushObserver for Witness {
    fn before(&self, _path: &Path) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.extend((0..DISKS).map(|_| (acknowledged, self.amnesia.cut(&mut *random))));
    }

    fn after(&self, path: &Path) {
        let is_lost = match self.disk {
            Disk::Honest => false,
            Disk::LosesBytes => path.is_file(),
            Disk::LosesNames => path.is_dir(),
        };
        if !is_lost {
            self.amnesia.flushed(path);
        }
    }
}

fn rows(write: WriteMode, run: i64) -> Vec<Row> {
    let mut rows = vec![("BG", run, None), ("RO", run, Some(run))];
    if write == WriteMode::Snapshot {
        rows.push(("MK", 1, None));
    }
    rows
}

/// The years in the table after `runs` runs.
fn expected(write: WriteMode, runs: i64) -> Vec<String> {
    let first = if write == WriteMode::Append { 0 } else { (runs - 1).max(0) };
    let mut shown: Vec<String> = (first..runs).flat_map(|run| [format!("BG {run}"), format!("RO {run}")]).collect();
    if write == WriteMode::Snapshot && runs > 0 {
        shown.push("MK 1".to_owned());
    }
    shown.sort();
    shown
}

async fn cuts(spec: &TableSpec, disk: Disk, seed: u64) -> Vec<(i64, Crash)> {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let witness = Arc::new(Witness {
        amnesia: Amnesia::new(&root),
        disk,
        acknowledged: AtomicI64::new(0),
        random: Mutex::new(StdRng::seed_from_u64(seed)),
        cuts: Mutex::default(),
    });
    let observer: Arc<dyn FlushObserver> = Arc::<Witness>::clone(&witness);
    let lake = Lake::open_observed(root.to_str().unwrap(), Access::ReadWrite, Arc::new(StillClock), observer);
    let lake = lake.await.unwrap();
    for run in 0..RUNS {
        let _ = load(&lake, spec, &format!("r{run}"), &format!("{run}"), &rows(spec.write, run)).await.unwrap();
        if spec.write == WriteMode::Append {
            // Rewrites and system tables are acknowledged as well, but change nothing that is looked at.
            let system = system_batch(SystemTable::Runs, &[vec![("run", format!("r{run}").into())]]);
            lake.append_system(SystemTable::Runs, system).await.unwrap();
            let _ = lake.optimize(&spec.name).await.unwrap();
        }
        witness.acknowledged.store(run + 1, Ordering::SeqCst);
    }
    // The last run is acknowledged; what it left unflushed may go now.
    witness.before(&root);
    std::mem::take(&mut *witness.cuts.lock().unwrap())
}

async fn shown(lake: &Lake, spec: &TableSpec) -> Result<Vec<String>, StoreError> {
    let batches = match Reader(lake).read_rows(&spec.name).await {
        Err(StoreError::Missing { .. }) => Vec::new(),
        other => other?,
    };
    let mut lines = Vec::new();
    for batch in batches {
        let geos =
            arrow::compute::cast(batch.column_by_name("geo").unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
        let geos = arrow::array::AsArray::as_string::<i32>(&geos).clone();
        let years = batch.column_by_name("year").unwrap();
        let years = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(years).clone();
        lines.extend((0..batch.num_rows()).map(|row| format!("{} {}", geos.value(row), years.value(row))));
    }
    lines.sort();
    Ok(lines)
}

/// Says what is wrong on the disk that a cut left.
async fn judge(spec: &TableSpec, acknowledged: i64, crash: &Crash, goes_on: bool) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    crash.restore(folder.path()).unwrap();
    let path = folder.path().to_str().unwrap();
    let lake = open_folder(path).await;
    let found = shown(&lake, spec).await.map_err(|error| hambar_core::Chain(&error).to_string())?;
    let fits = [acknowledged, acknowledged + 1].map(|runs| found == expected(spec.write, runs));
    if !fits.contains(&true) {
        return Err(format!("{acknowledged} runs were acknowledged, the table has {found:?}"));
    }
    let runs = "system.runs".parse().unwrap();
    for table in [&spec.name, &beside(&spec.name, "__history"), &runs] {
        if lake.exists(table).await.map_err(|error| error.to_string())? {
            let report = lake.check(table).await.map_err(|error| error.to_string())?;
            if table == &runs && report.rows < acknowledged.cast_unsigned() {
                return Err(format!("{acknowledged} runs were acknowledged, the system table has {}", report.rows));
            }
            if !report.problems.is_empty() {
                return Err(format!("{table}: {:?}", report.problems));
            }
        }
    }
    if goes_on {
        let fresh = open_folder(path).await;
        let run = load(&fresh, spec, "after", "after", &rows(spec.write, RUNS + 5)).await;
        let _ = run.map_err(|error| hambar_core::Chain(&error).to_string())?;
        let report = fresh.check(&spec.name).await.map_err(|error| error.to_string())?;
        if !report.problems.is_empty() {
            return Err(format!("after another run: {:?}", report.problems));
        }
    }
    Ok(())
}

fn specs() -> [TableSpec; 3] {
    [
        spec("t", WriteMode::Append, &[], &[]),
        spec("t", WriteMode::Snapshot, &["geo"], &[]),
        // The year is new in every run, so that folders are made all the time.
        spec("t", WriteMode::Append, &[], &["year"]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_power_cuts_lose_no_acknowledged_run() {
    let mut count = 0;
    for spec in specs() {
        for (number, (acknowledged, crash)) in cuts(&spec, Disk::Honest, 1).await.iter().enumerate() {
            let judged = judge(&spec, *acknowledged, crash, number % GOES_ON_EVERY == 0).await;
            assert_eq!(judged, Ok(()), "{:?}, cut {number}", spec.write);
            count += 1;
        }
    }
    assert!(count >= 500, "{count} cuts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_forgets_flushes_is_found_out() {
    for disk in [Disk::LosesBytes, Disk::LosesNames] {
        for spec in specs() {
            let mut losses = 0;
            for (acknowledged, crash) in cuts(&spec, disk, 2).await.iter().rev().step_by(9) {
                losses += usize::from(judge(&spec, *acknowledged, crash, false).await.is_err());
            }
            assert!(losses > 3, "{disk:?}, {:?}: {losses} losses", spec.write);
        }
    }
}
