//! The driver around [`plan`]: leads or stands by, starts what is due, and sees to it that every run it started ends in
//! a row, whatever became of it.
//!
//! Many may run on one store; the holder of one lease starts runs, the others wait to take over. Two that both believe
//! to lead (one was suspended) still never run one pipeline at the same time: each run takes the lease of its pipeline.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hambar_core::{Chain, ErrorClass, Lease, LeaseOutcome, StoreError, SystemTable, TableName};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::claims::{self, Claim};
use super::fresh::freshness;
use super::history::{Ending, History};
use super::job::{CatchUp, Job, JobName, Priority, Rhythm, Schedule};
use super::parts::{Declared, Ended, Order, Overview, Parts, Role};
use super::plan::{Plan, Start, plan};
use super::record::Unwritten;
use crate::run::run_id;

/// The name of the lease that one scheduler holds at a time.
const LEASE: &str = "system.schedule";
/// The shortest wait between two steps.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// Runs what is due, when it is due.
#[derive(Debug)]
pub struct Scheduler {
    parts: Parts,
    lease_name: TableName,
    lease: Option<Box<dyn Lease>>,
    /// When it began to lead.
    since: Timestamp,
    /// Whether it has read everything that it must know before it starts anything.
    is_informed: bool,
    looked_at: Option<Instant>,
    declared: Declared,
    histories: BTreeMap<JobName, History>,
    ours: BTreeMap<JobName, Ours>,
    /// By run.
    others: BTreeMap<String, Others>,
    children: JoinSet<(JobName, Ended)>,
    stop_children: CancellationToken,
    overview: watch::Sender<Overview>,
}

/// A run that this scheduler started.
#[derive(Debug)]
struct Ours {
    job: Job,
    run: String,
    claimed_at: Timestamp,
    stage: Stage,
}

/// How far a run of ours is.
#[derive(Debug)]
enum Stage {
    Running,
    /// It is over, and its row has to be written.
    Unwritten(Unwritten),
    /// Its row is there, its claim has to go.
    Written,
}

/// A run that an earlier scheduler started and whose end we have not seen.
#[derive(Debug)]
struct Others {
    job: JobName,
    claim: Claim,
    seen_since: Instant,
}

impl Scheduler {
    /// Makes one that stands by.
    pub fn new(parts: Parts) -> Self {
        let since = parts.clock.now();
        let lease_name = LEASE.parse().expect("`system.schedule` is a name");
        Self {
            parts,
            lease_name,
            lease: None,
            since,
            is_informed: false,
            looked_at: None,
            declared: Declared::default(),
            histories: BTreeMap::new(),
            ours: BTreeMap::new(),
            others: BTreeMap::new(),
            children: JoinSet::new(),
            stop_children: CancellationToken::new(),
            overview: watch::Sender::new(Overview::default()),
        }
    }

    /// Returns where it tells what it is at.
    pub fn overview(&self) -> watch::Receiver<Overview> {
        self.overview.subscribe()
    }

    /// Runs what is due until `stop`, then stops what runs and records it.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = self.step().await;
            let is_idle = self.children.is_empty();
            let done = tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => None,
                done = self.children.join_next(), if !is_idle => done,
            };
            self.take_in(done);
        }
        self.drain().await;
    }

    /// Only tells how fresh tables are and what is overdue, until `stop`: starts nothing, and writes nothing.
    pub async fn watch(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.look(false).await;
            self.tell(Role::StandingBy, &Plan::default());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.parts.timing.look_every) => {}
            }
        }
    }

    /// Does what there is to do now, and returns how long nothing will be.
    pub async fn step(&mut self) -> Duration {
        while let Some(done) = self.children.try_join_next() {
            self.take_in(Some(done));
        }
        let leads = self.leads().await;
        let is_look_due = self.looked_at.is_none_or(|at| at.elapsed() >= self.parts.timing.look_every);
        if is_look_due {
            self.look(leads).await;
        }
        self.settle_ours().await;
        if !leads {
            self.tell(Role::StandingBy, &Plan::default());
            return self.parts.timing.standby_every;
        }
        self.settle_others().await;
        if !self.is_informed {
            self.tell(Role::Leading, &Plan::default());
            return self.parts.timing.standby_every;
        }
        let now = self.parts.clock.now();
        let mut plan = plan(now, self.since, &self.declared.jobs, &self.histories, &self.at_work(), &self.parts.slots);
        for start in std::mem::take(&mut plan.start) {
            if !self.start(start, now).await {
                break;
            }
        }
        self.tell(Role::Leading, &plan);
        let until = plan.wake_at().map_or(Duration::MAX, |at| now.duration_until(at).try_into().unwrap_or_default());
        until.clamp(WAIT_MIN, self.parts.timing.look_every.max(WAIT_MIN))
    }

    /// Says whether this one starts runs, and takes that on where nobody else does.
    async fn leads(&mut self) -> bool {
        if let Some(lease) = &self.lease {
            match lease.check().await {
                Ok(()) => return true,
                Err(error @ StoreError::LeaseLost { .. }) => {
                    warn!(error = %Chain(&error), "another scheduler has taken over");
                    self.lease = None;
                    self.is_informed = false;
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "the scheduler's lease could not be read; nothing is started");
                    return false;
                }
            }
        }
        let holder = format!("scheduler, process {} on {}", self.parts.host.pid, self.parts.host.host);
        match self.parts.store.lease(&self.lease_name, &holder).await {
            Ok(LeaseOutcome::Held(lease)) => {
                info!(epoch = lease.epoch(), "this scheduler leads");
                self.lease = Some(lease);
                self.since = self.parts.clock.now();
                self.looked_at = None;
                self.is_informed = false;
                true
            }
            Ok(LeaseOutcome::Busy { holder, since }) => {
                tracing::debug!(%holder, %since, "another scheduler leads");
                false
            }
            Err(error) => {
                warn!(error = %Chain(&error), "the scheduler's lease could not be taken");
                false
            }
        }
    }

    /// Reads what is declared, what others have run and, having just taken over, what was under way.
    async fn look(&mut self, leads: bool) {
        self.looked_at = Some(Instant::now());
        let declarations = Arc::clone(&self.parts.declarations);
        match tokio::task::spawn_blocking(move || declarations.declared()).await {
            Ok(declared) => {
                for problem in declared.problems.iter().filter(|problem| !self.declared.problems.contains(problem)) {
                    warn!(%problem, "a schedule is left alone");
                }
                self.declared = declared;
            }
            Err(error) => {
                warn!(%error, "declarations could not be read");
                return;
            }
        }
        if self.hear().await && leads && !self.is_informed {
            match claims::all(self.parts.objects.as_ref()).await {
                Ok(found) => self.take_over(found),
                Err(error) => warn!(%error, "claims of runs could not be read"),
            }
        }
    }

    /// Takes in what was recorded since the last time, by whomever. Says whether it could be read.
    async fn hear(&mut self) -> bool {
        match self.parts.ledger.news().await {
            Ok(runs) => {
                for (job, run) in runs {
                    self.histories.entry(job).or_default().add(run);
                }
                true
            }
            Err(error) => {
                warn!(error = %Chain(error.as_ref()), "past runs could not be read");
                false
            }
        }
    }

    fn take_over(&mut self, found: Vec<(JobName, Claim)>) {
        let seen_since = Instant::now();
        for (job, claim) in found {
            if self.ours.get(&job).is_none_or(|ours| ours.run != claim.run) {
                info!(%job, run = %claim.run, "a run of an earlier scheduler is looked after");
                self.others.entry(claim.run.clone()).or_insert(Others { job, claim, seen_since });
            }
        }
        self.is_informed = true;
    }

    /// Starts a run. Says whether more may be started.
    async fn start(&mut self, start: Start, now: Timestamp) -> bool {
        let (job, run) = (start.job, run_id(now));
        let host = &self.parts.host;
        let claim = Claim { run: run.0.clone(), claimed_at: now, host: host.host.clone(), pid: host.pid };
        if let Err(error) = claims::put(self.parts.objects.as_ref(), &job.name, &claim).await {
            warn!(job = %job.name, %error, "a run was not started, as its claim could not be written");
            return false;
        }
        info!(job = %job.name, %run, due = %start.due.at, why = ?start.due.why, "run started");
        let order = Order { job: job.name.clone(), run };
        let (launcher, stop) = (Arc::clone(&self.parts.launcher), self.stop_children.clone());
        let name = job.name.clone();
        self.children.spawn(async move {
            let ended = AssertUnwindSafe(launcher.launch(order, stop)).catch_unwind().await;
            let what = || "the task that watched the run ended early".to_owned();
            (name, ended.unwrap_or_else(|_| Ended::Silent { class: ErrorClass::Internal, what: what() }))
        });
        let ours = Ours { run: claim.run, claimed_at: now, stage: Stage::Running, job: job.clone() };
        self.ours.insert(job.name, ours);
        true
    }

    /// Takes in that a child has ended.
    fn take_in(&mut self, done: Option<Result<(JobName, Ended), tokio::task::JoinError>>) {
        let (job, ended) = match done {
            None => return,
            Some(Ok(done)) => done,
            // Nobody aborts these tasks, and their panics are caught inside.
            Some(Err(error)) => {
                warn!(%error, "a run's task ended early");
                return;
            }
        };
        let Some(ours) = self.ours.get_mut(&job) else { return };
        ours.stage = match ended {
            Ended::Reported(told) => {
                let (class, error) = (told.class.map(ErrorClass::name), told.error.as_deref());
                info!(%job, run = %ours.run, outcome = %told.outcome, class, error, "run ended");
                let is_recorded = told.is_recorded;
                let known = Unwritten::reported(&ours.run, told);
                if is_recorded {
                    self.histories.entry(job).or_default().add(known.past());
                    Stage::Written
                } else {
                    Stage::Unwritten(known)
                }
            }
            Ended::Silent { class, what } => {
                warn!(%job, run = %ours.run, %class, what, "run ended without a report");
                let between = (ours.claimed_at, self.parts.clock.now());
                Stage::Unwritten(Unwritten::failed(&ours.run, between, class, what))
            }
        };
    }

    /// Writes the rows of runs of ours that have none, and lets their claims go. What fails is tried again.
    async fn settle_ours(&mut self) {
        let is_any_unwritten = self.ours.values().any(|ours| matches!(ours.stage, Stage::Unwritten(_)));
        // A child that was killed may have written its row before.
        let may_write = is_any_unwritten && self.hear().await;
        let over: Vec<JobName> = self
            .ours
            .iter()
            .filter(|(_, ours)| !matches!(ours.stage, Stage::Running))
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            let Some(ours) = self.ours.get(&name) else { continue };
            if let Stage::Unwritten(row) = &ours.stage {
                let row = row.clone();
                if !may_write || !self.write(&name, &row).await {
                    continue;
                }
            }
            if let Some(ours) = self.ours.remove(&name) {
                self.let_claim_go(&name, &ours.run).await;
            }
        }
    }

    /// Writes the row of a run, unless it is there already.
    async fn write(&mut self, job: &JobName, row: &Unwritten) -> bool {
        let history = self.histories.entry(job.clone()).or_default();
        if history.has(&row.run) {
            return true;
        }
        let batch = row.row(job, &self.parts.host);
        if let Err(error) = self.parts.store.append_system(SystemTable::Runs, batch).await {
            warn!(%job, run = %row.run, error = %Chain(&error), "the row of a run is not written yet");
            return false;
        }
        history.add(row.past());
        true
    }

    async fn let_claim_go(&self, job: &JobName, run: &str) {
        if let Err(error) = claims::remove(self.parts.objects.as_ref(), job, run).await {
            // Whoever leads next finds the run's row, and removes it.
            warn!(%job, %error, "the claim of a run stays");
        }
    }

    /// Finds out which runs of earlier schedulers are over: their row is there, or their pipeline's lease is free.
    async fn settle_others(&mut self) {
        let runs: Vec<String> = self.others.keys().cloned().collect();
        for run in runs {
            let Some(others) = self.others.get(&run) else { continue };
            let (name, claim, seen_for) = (others.job.clone(), others.claim.clone(), others.seen_since.elapsed());
            let is_recorded = self.histories.get(&name).is_some_and(|history| history.has(&claim.run));
            if !is_recorded {
                if seen_for < self.parts.timing.lost_after {
                    continue;
                }
                let Some(lease) = self.free_lease(&name).await else { continue };
                let between = (claim.claimed_at, self.parts.clock.now());
                let what = format!(
                    "the run was lost with its scheduler (process {} on {}) and left no report",
                    claim.pid, claim.host
                );
                let row = Unwritten::failed(&claim.run, between, ErrorClass::Internal, what);
                // It may have ended well since its row was last looked for; now nobody is at work any more.
                let is_written = self.hear().await && self.write(&name, &row).await;
                if let Some(lease) = lease
                    && let Err(error) = lease.release().await
                {
                    warn!(job = %name, error = %Chain(&error), "lease not released");
                }
                if !is_written {
                    continue;
                }
            }
            self.others.remove(&run);
            self.let_claim_go(&name, &run).await;
        }
    }

    /// The lease of a run's pipeline, which shows that nobody is at work; `None` where somebody is. Upkeep has none:
    /// it takes that of one table after another.
    async fn free_lease(&self, job: &JobName) -> Option<Option<Box<dyn Lease>>> {
        let JobName::Pipeline(table) = job else { return Some(None) };
        match self.parts.store.lease(table, "scheduler, looking after a lost run").await {
            Ok(LeaseOutcome::Held(lease)) => Some(Some(lease)),
            Ok(LeaseOutcome::Busy { .. }) => None,
            Err(error) => {
                warn!(%job, error = %Chain(&error), "whether a run is still at work is not known");
                None
            }
        }
    }

    /// All jobs that are at work, those that earlier schedulers started included.
    fn at_work(&self) -> Vec<Job> {
        let others = self.others.values().map(|others| {
            let declared = self.declared.jobs.iter().find(|job| job.name == others.job);
            declared.cloned().unwrap_or_else(|| undeclared(&others.job))
        });
        self.ours.values().map(|ours| ours.job.clone()).chain(others).collect()
    }

    fn tell(&self, role: Role, plan: &Plan) {
        let is_failing = |name: &&JobName| {
            let newest = self.histories.get(name).and_then(History::newest);
            newest.is_some_and(|run| matches!(run.ending, Ending::Failed(_)))
        };
        self.overview.send_replace(Overview {
            role,
            running: self.at_work().into_iter().map(|job| job.name).collect(),
            waiting: plan.waiting.clone(),
            later: plan.later.iter().map(|(name, due)| (name.clone(), due.at)).collect(),
            fresh: freshness(self.parts.clock.now(), self.since, &self.declared.jobs, &self.histories),
            failing: self.declared.jobs.iter().map(|job| &job.name).filter(is_failing).cloned().collect(),
        });
    }

    /// Stops what runs, records it and lets the lease go.
    async fn drain(&mut self) {
        self.stop_children.cancel();
        while let Some(done) = self.children.join_next().await {
            self.take_in(Some(done));
        }
        self.settle_ours().await;
        if let Some(lease) = self.lease.take()
            && let Err(error) = lease.release().await
        {
            warn!(error = %Chain(&error), "the scheduler's lease was not released");
        }
    }
}

/// Stands for a job that is at work and no longer declared.
fn undeclared(name: &JobName) -> Job {
    let day = jiff::SignedDuration::from_hours(24);
    let rhythm = Rhythm::Adaptive(super::job::Adaptive { shortest: day, longest: day });
    let schedule =
        Schedule { rhythm, jitter: jiff::SignedDuration::ZERO, priority: Priority::Normal, catch_up: CatchUp::Once };
    Job { name: name.clone(), schedule, hosts: Vec::new(), provider: None }
}
