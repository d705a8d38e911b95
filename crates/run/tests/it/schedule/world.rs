//! The world that the scheduler's tests live in: a store in memory, a clock that is set, and runs that follow a script.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use async_trait::async_trait;
use hambar_core::memory::MemoryStore;
use hambar_core::system::system_batch;
use hambar_core::{
    Clock, ErrorClass, LeaseOutcome, RunStamp, StoreError, SystemTable, TableName, TableSpec, TableState, TableStore,
    TableWriter,
};
use hambar_run::HostInfo;
use hambar_run::schedule::{
    CatchUp, Cron, Declarations, Declared, Ended, Ending, Job, JobName, Launcher, Ledger, LedgerError, Order, Parts,
    PastRun, Priority, Reported, Rhythm, Schedule, Scheduler, Slots, Timing,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio_util::sync::CancellationToken;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    Works,
    Fails(ErrorClass),
    /// Ends without a row and without a word.
    Dies,
    /// Writes its row and ends without a word.
    DiesLate,
    /// Tells how it ended, but could not write its row.
    LosesItsRow,
    Hangs,
}

/// A store that refuses system rows for a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) inner: MemoryStore,
    pub(super) refuses: Arc<AtomicBool>,
}

#[async_trait]
impl TableStore for Store {
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError> {
        self.inner.open(spec).await
    }

    async fn writer(
        &self,
        spec: &TableSpec,
        state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError> {
        self.inner.writer(spec, state, stamp).await
    }

    async fn lease(&self, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError> {
        self.inner.lease(table, holder).await
    }

    async fn append_system(&self, table: SystemTable, rows: RecordBatch) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::Missing { what: "the network".to_owned() });
        }
        self.inner.append_system(table, rows).await
    }
}

/// Everything that schedulers share: the store, the clock, and the world outside.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) objects: Arc<InMemory>,
    pub(super) now: Arc<AtomicI64>,
    pub(super) script: Arc<Mutex<BTreeMap<String, VecDeque<Act>>>>,
    pub(super) started: Arc<Mutex<Vec<String>>>,
    pub(super) at_work: Arc<Mutex<BTreeSet<String>>>,
    pub(super) jobs: Arc<Mutex<Vec<Job>>>,
    /// Whether runs outlive their scheduler.
    pub(super) detached: Arc<AtomicBool>,
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::Relaxed)).unwrap()
    }
}

impl Declarations for World {
    fn declared(&self) -> Declared {
        Declared { jobs: self.jobs.lock().unwrap().clone(), problems: Vec::new() }
    }
}

/// The ledger of one scheduler: what it has not been told yet.
#[derive(Debug)]
struct Tail {
    world: World,
    told: AtomicUsize,
}

#[async_trait]
impl Ledger for Tail {
    async fn news(&self) -> Result<Vec<(JobName, PastRun)>, LedgerError> {
        let found = self.world.rows_from(self.told.load(Ordering::Relaxed));
        self.told.fetch_add(found.len(), Ordering::Relaxed);
        Ok(found)
    }
}

#[async_trait]
impl Launcher for World {
    async fn launch(&self, order: Order, stop: CancellationToken) -> Ended {
        self.started.lock().unwrap().push(order.run.0.clone());
        if self.detached.load(Ordering::Relaxed) {
            // Goes on when whoever waits for it is gone.
            let world = self.clone();
            return tokio::spawn(async move { world.work(order, stop).await }).await.unwrap();
        }
        self.work(order, stop).await
    }
}

/// That a job is at work, as long as this lives.
struct AtWork(World, String);

impl AtWork {
    fn begin(world: &World, name: &str) -> Self {
        assert!(world.at_work.lock().unwrap().insert(name.to_owned()), "{name} is at work twice");
        Self(world.clone(), name.to_owned())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap().remove(&self.1);
    }
}

impl World {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self {
            store: Store::default(),
            objects: Arc::default(),
            now: Arc::new(AtomicI64::new("2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap().as_second())),
            script: Arc::default(),
            started: Arc::default(),
            at_work: Arc::default(),
            jobs: Arc::new(Mutex::new(jobs)),
            detached: Arc::default(),
        }
    }

    pub(super) fn act(&self, job: &str, acts: &[Act]) {
        self.script.lock().unwrap().insert(job.to_owned(), acts.iter().copied().collect());
    }

    pub(super) fn pass(&self, minutes: i64) {
        self.now.fetch_add(60 * minutes, Ordering::Relaxed);
    }

    pub(super) fn scheduler(&self, pid: u32) -> Scheduler {
        Scheduler::new(Parts {
            store: Arc::new(self.store.clone()),
            objects: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            ledger: Arc::new(Tail { world: self.clone(), told: AtomicUsize::new(0) }),
            launcher: Arc::new(self.clone()),
            declarations: Arc::new(self.clone()),
            clock: Arc::new(self.clone()),
            slots: Slots { runs_max: 4, per_host_max: 4, per_provider_max: 4 },
            timing: Timing {
                look_every: Duration::ZERO,
                standby_every: Duration::from_millis(1),
                lost_after: Duration::ZERO,
            },
            host: HostInfo { host: "here".to_owned(), pid, version: "0".to_owned() },
        })
    }

    async fn work(&self, order: Order, stop: CancellationToken) -> Ended {
        let name = order.job.to_string();
        let act = self.script.lock().unwrap().get_mut(&name).and_then(VecDeque::pop_front).unwrap_or(Act::Works);
        let lease = match &order.job {
            JobName::Pipeline(table) => match self.store.lease(table, "a run").await.unwrap() {
                LeaseOutcome::Held(lease) => Some(lease),
                LeaseOutcome::Busy { .. } => return self.told(&order, "busy", Some(ErrorClass::Conflict)).await,
            },
            JobName::Upkeep(_) => None,
        };
        let at_work = AtWork::begin(self, &name);
        tokio::task::yield_now().await;
        let silent = || Ended::Silent { class: ErrorClass::Internal, what: "signal 9".to_owned() };
        let ended = match act {
            Act::Works => self.told(&order, "unchanged", None).await,
            Act::Fails(class) => self.told(&order, "failed", Some(class)).await,
            Act::Dies => silent(),
            Act::DiesLate => {
                self.told(&order, "committed", None).await;
                silent()
            }
            Act::LosesItsRow => {
                let (started_at, finished_at) = (Clock::now(self), Clock::now(self));
                let outcome = "committed".to_owned();
                Ended::Reported(Reported {
                    started_at,
                    finished_at,
                    outcome,
                    class: None,
                    error: None,
                    is_recorded: false,
                })
            }
            Act::Hangs => {
                stop.cancelled().await;
                self.told(&order, "cancelled", Some(ErrorClass::Cancelled)).await
            }
        };
        drop(at_work);
        if let Some(lease) = lease {
            lease.release().await.unwrap();
        }
        ended
    }

    /// What a child does at its end: its row, and its report.
    pub(super) async fn told(&self, order: &Order, outcome: &str, class: Option<ErrorClass>) -> Ended {
        let (started_at, finished_at) = (Clock::now(self), Clock::now(self));
        let mut row = vec![
            ("run", order.run.0.clone().into()),
            ("pipeline", order.job.to_string().into()),
            ("started_at", started_at.into()),
            ("finished_at", finished_at.into()),
            ("outcome", outcome.into()),
        ];
        row.extend(class.map(|class| ("error_class", class.name().into())));
        let is_recorded =
            self.store.append_system(SystemTable::Runs, system_batch(SystemTable::Runs, &[row])).await.is_ok();
        let outcome = outcome.to_owned();
        Ended::Reported(Reported { started_at, finished_at, outcome, class, error: None, is_recorded })
    }

    pub(super) fn rows(&self) -> Vec<(JobName, PastRun)> {
        self.rows_from(0)
    }

    /// The rows from a place on; each commit has one.
    fn rows_from(&self, first: usize) -> Vec<(JobName, PastRun)> {
        let mut found = Vec::new();
        for batch in self.store.inner.rows(&"system.runs".parse().unwrap()).unwrap().into_iter().skip(first) {
            let text = |name: &str, row: usize| {
                let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                column.iter().nth(row).unwrap().map(str::to_owned)
            };
            let instant = |name: &str, row: usize| {
                let column = batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
                Timestamp::from_microsecond(column.value(row)).unwrap()
            };
            for row in 0..batch.num_rows() {
                let ending = Ending::from_words(&text("outcome", row).unwrap(), text("error_class", row).as_deref());
                found.push((
                    JobName::from_text(&text("pipeline", row).unwrap()).unwrap(),
                    PastRun {
                        run: text("run", row).unwrap(),
                        started_at: instant("started_at", row),
                        finished_at: instant("finished_at", row),
                        ending,
                    },
                ));
            }
        }
        found
    }

    /// How the runs of a job ended, in the order of their rows.
    pub(super) fn endings(&self, job: &str) -> Vec<Ending> {
        let rows = self.rows();
        let runs: BTreeSet<&str> = rows.iter().map(|(_, run)| run.run.as_str()).collect();
        assert_eq!(runs.len(), rows.len(), "a run has two rows");
        rows.iter().filter(|(name, _)| name.to_string() == job).map(|(_, run)| run.ending).collect()
    }

    pub(super) fn starts(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    pub(super) async fn claims(&self) -> usize {
        use futures::TryStreamExt;
        let found: Vec<_> = self.objects.list(Some(&Path::from("schedule/running"))).try_collect().await.unwrap();
        found.len()
    }
}

pub(super) fn job(name: &str, fields: &str) -> Job {
    let rhythm = Rhythm::Cron(Box::new(Cron::parse(fields, TimeZone::UTC).unwrap()));
    let schedule =
        Schedule { rhythm, jitter: SignedDuration::ZERO, priority: Priority::Normal, catch_up: CatchUp::Once };
    Job { name: JobName::from_text(name).unwrap(), schedule, hosts: vec![name.to_owned()], provider: None }
}

pub(super) fn hourly(name: &str) -> Job {
    job(name, "0 * * * *")
}

/// Lets everything happen that happens without time passing.
pub(super) async fn settle(schedulers: &mut [&mut Scheduler], steps: usize) {
    for _ in 0..steps {
        for scheduler in schedulers.iter_mut() {
            scheduler.step().await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}
