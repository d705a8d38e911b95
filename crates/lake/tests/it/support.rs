//! What the tests share: lakes in memory, in folders and behind faults, and reading tables back.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use hambar_core::conformance::ReadRows;
use hambar_core::{
    Clock, CommitOutcome, LeaseOutcome, RunStamp, StoreError, SystemTable, TableName, TableSpec, TableState,
    TableStore, TableWriter,
};
use hambar_lake::{Access, HostInfo, Lake};
use hambar_testkit::fault_store::FaultStore;
use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use tempfile::TempDir;
use url::Url;

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// A clock that stands where it is put.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        let clock = Arc::new(Self(AtomicI64::new(0)));
        clock.set(text.parse().unwrap());
        clock
    }

    pub(crate) fn set(&self, instant: Timestamp) {
        self.0.store(instant.as_millisecond(), Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, hours: i64) {
        self.set(self.now() + SignedDuration::from_hours(hours));
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// A lake with whatever must live as long.
#[derive(Debug)]
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    _folder: Option<TempDir>,
}

impl TestLake {
    pub(crate) async fn in_folder() -> Self {
        let folder = TempDir::new().unwrap();
        Self { lake: open_folder(folder.path().to_str().unwrap()).await, _folder: Some(folder) }
    }

    pub(crate) fn of(lake: Lake) -> Self {
        Self { lake, _folder: None }
    }

    pub(crate) async fn in_memory() -> Self {
        let lake = Lake::open("memory://", &BTreeMap::new(), Access::ReadWrite, Arc::new(StillClock)).await.unwrap();
        Self { lake, _folder: None }
    }
}

pub(crate) async fn open_folder(path: &str) -> Lake {
    Lake::open(path, &BTreeMap::new(), Access::ReadWrite, Arc::new(StillClock)).await.unwrap()
}

pub(crate) async fn open_folder_at(path: &FilePath, clock: Arc<SetClock>) -> Lake {
    Lake::open(path.to_str().unwrap(), &BTreeMap::new(), Access::ReadWrite, clock).await.unwrap()
}

/// A lake over `store` at the time of `clock`, with caches of its own.
pub(crate) fn over_at(store: Arc<FaultStore>, clock: Arc<SetClock>) -> Lake {
    let url = Url::parse("memory:///faults").unwrap();
    Lake::from_store(url, store, clock, HostInfo::this_process())
}

/// The columns of [`hambar_core::conformance::spec`] and the provenance.
pub(crate) const ALL: [&str; 5] = ["geo", "year", "value", "_recorded_at", "_source"];

/// All data files of a table in its folder and those of its partitions.
pub(crate) fn data_files(lake: &Lake, table: &TableName) -> Vec<PathBuf> {
    let mut folders = vec![lake.local_root().unwrap().join(format!("tables/{}/{}", table.namespace, table.table))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("_delta_log") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A lake over `store`, with caches of its own, as another process would have.
pub(crate) fn over(store: Arc<FaultStore>) -> Lake {
    let url = Url::parse("memory:///faults").unwrap();
    Lake::from_store(url, store, Arc::new(StillClock), HostInfo::this_process())
}

pub(crate) fn faulty() -> Arc<FaultStore> {
    Arc::new(FaultStore::new(Arc::new(InMemory::new())))
}

/// Reads a lake's table for the assertions.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a Lake);

#[async_trait]
impl ReadRows for Reader<'_> {
    async fn read_rows(&self, table: &TableName) -> Result<Vec<RecordBatch>, StoreError> {
        let snapshot = self.0.snapshot(table, None).await?;
        let mut batches = Vec::new();
        for file in &snapshot.files {
            batches.extend(self.0.read_file(&snapshot, file).await?);
        }
        Ok(batches)
    }
}

#[async_trait]
impl ReadRows for TestLake {
    async fn read_rows(&self, table: &TableName) -> Result<Vec<RecordBatch>, StoreError> {
        Reader(&self.lake).read_rows(table).await
    }
}

#[async_trait]
impl TableStore for TestLake {
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError> {
        self.lake.open(spec).await
    }

    async fn writer(
        &self,
        spec: &TableSpec,
        state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError> {
        self.lake.writer(spec, state, stamp).await
    }

    async fn lease(&self, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError> {
        self.lake.lease(table, holder).await
    }

    async fn append_system(&self, table: SystemTable, rows: RecordBatch) -> Result<(), StoreError> {
        self.lake.append_system(table, rows).await
    }
}

/// Says whether a run's rows are in the table now.
pub(crate) fn is_applied(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Committed { .. } | CommitOutcome::AlreadyApplied { .. })
}
