//! One run of a pipeline, from the lease to the report. Whatever happens, it ends in a [`RunReport`] and a row of
//! `system.runs`; rows and checkpoint become visible in one commit, or not at all.

mod drift;
mod error;
mod fault;
mod feed;
mod log;
mod prepare;
mod reading;
mod report;
mod sink;
mod slice_work;
mod verified;

use std::fmt::Debug;
use std::sync::Arc;

use hambar_connect::{ConnectError, Source, SourcePlan};
use hambar_core::{Clock, CommitOutcome, Lease, LeaseOutcome, RunId, RunStamp, SystemTable, TableStore};
use hambar_fetch::{Fetcher, Transport};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::archive::RunArchive;
use crate::decode_pool::DecodePool;
use crate::manifest::declaration_key;
use crate::pipeline::Pipeline;

pub use error::RunError;
pub use fault::{FAULT_POINTS, FaultPoint, NoFaults, UNCHANGED_FAULT_POINTS};
pub use report::{Drift, HostInfo, RunFailure, RunOutcome, RunReport};
pub use sink::{News, Progress, Quiet};

use log::RunLog;
use prepare::{Context, Prepared};
use report::{dataset_row, fetch_rows, run_row, warning};
use sink::RunSink;
use verified::Verified;

/// Makes the source that a pipeline declares; the binary knows the secrets for it.
pub trait Sources: Debug + Send + Sync {
    /// Makes the source of `pipeline`.
    ///
    /// # Errors
    /// A setting that is wrong, a secret that is not there.
    fn build(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>, ConnectError>;
}

/// Everything that runs need from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Where tables live.
    pub store: Arc<dyn TableStore>,
    /// How requests are sent.
    pub transport: Arc<dyn Transport>,
    /// How sources are made.
    pub sources: Arc<dyn Sources>,
    /// Where bodies are decoded.
    pub decoder: Arc<dyn DecodePool>,
    /// Where raw bodies and manifests are.
    pub archive: Arc<dyn RunArchive>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who hears what runs are at.
    pub progress: Arc<dyn Progress>,
    /// Who hears of the stops on the way.
    pub faults: Arc<dyn FaultPoint>,
    /// Where this is.
    pub host: HostInfo,
}

/// Where a run's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    /// From the provider: what is new.
    Provider,
    /// From the provider: everything, as if nothing had been seen.
    ProviderInFull,
    /// From the landing zone, recorded as of the given instant, else as of now.
    Raw { source: Arc<dyn Source>, recorded_at: Option<Timestamp> },
}

impl Runner {
    /// Runs `pipeline` once. Stops soon after `cancel`, unless the commit has begun.
    pub async fn run(&self, pipeline: &Pipeline, cancel: &CancellationToken) -> RunReport {
        self.execute(pipeline, Bytes::Provider, cancel).await
    }

    /// Runs `pipeline` once and reads everything, whatever was seen before. Fails in append mode, where all rows would
    /// come twice.
    pub async fn run_full(&self, pipeline: &Pipeline, cancel: &CancellationToken) -> RunReport {
        self.execute(pipeline, Bytes::ProviderInFull, cancel).await
    }

    /// Runs `pipeline` once, under an id that was chosen before: that of a schedule's claim.
    pub async fn run_as(&self, run: RunId, pipeline: &Pipeline, cancel: &CancellationToken) -> RunReport {
        let started_at = self.clock.now();
        let span = info_span!("run", run = %run, pipeline = %pipeline.name);
        self.execute_as(run, started_at, pipeline, Bytes::Provider, cancel).instrument(span).await
    }

    /// Plans a run without reading data. Creates the table if it is missing, and sends what planning needs.
    ///
    /// # Errors
    /// Those of the store and the source.
    pub async fn plan(&self, pipeline: &Pipeline) -> Result<SourcePlan, RunError> {
        let step = "open the table";
        let mut state = self.store.open(&pipeline.table).await.map_err(|source| RunError::Store { step, source })?;
        if let Ok(Some(verified)) = Verified::load(self.archive.as_ref(), &pipeline.name, &state).await {
            verified.apply(&mut state.checkpoint);
        }
        let source = self.sources.build(pipeline).map_err(|error| RunError::Plan { source: Box::new(error) })?;
        let sink = Arc::new(RunSink::new(pipeline.name.clone(), Arc::clone(&self.progress)));
        let fetcher = Fetcher::new(Arc::clone(&self.transport), sink);
        source.plan(&state.checkpoint, &fetcher).await.map_err(|error| RunError::Plan { source: Box::new(error) })
    }

    pub(crate) async fn execute(&self, pipeline: &Pipeline, bytes: Bytes, cancel: &CancellationToken) -> RunReport {
        let started_at = self.clock.now();
        let run = run_id(started_at);
        let span = info_span!("run", run = %run, pipeline = %pipeline.name);
        self.execute_as(run, started_at, pipeline, bytes, cancel).instrument(span).await
    }

    async fn execute_as(
        &self,
        run: RunId,
        started_at: Timestamp,
        pipeline: &Pipeline,
        bytes: Bytes,
        cancel: &CancellationToken,
    ) -> RunReport {
        let sink = Arc::new(RunSink::new(pipeline.name.clone(), Arc::clone(&self.progress)));
        sink.hear(News::Started);
        let mut log = RunLog::default();
        let recorded_at = match &bytes {
            Bytes::Provider | Bytes::ProviderInFull | Bytes::Raw { recorded_at: None, .. } => started_at,
            Bytes::Raw { recorded_at: Some(instant), .. } => *instant,
        };
        let context = Context {
            runner: self,
            pipeline,
            stamp: RunStamp { run: run.clone(), recorded_at },
            sink: Arc::clone(&sink),
            bytes,
        };
        let outcome = match self.leased(&context, &mut log, cancel).await {
            Ok(outcome) => outcome,
            Err(error) => RunOutcome::Failed(RunFailure::of(&error)),
        };
        let (requests, bytes_wire) = sink.totals();
        let mut report = RunReport {
            run,
            pipeline: pipeline.name.clone(),
            started_at,
            finished_at: self.clock.now(),
            outcome,
            evidence: log.evidence(),
            rows_received: log.rows_received,
            rows_rejected: log.rows_rejected,
            requests,
            bytes_wire,
            encoding: log.encoding(),
            drift: log.drift,
            warnings: log.warnings,
            is_recorded: false,
        };
        self.faults.reached("before_report");
        self.record(&mut report, &sink).await;
        self.faults.reached("after_report");
        sink.hear(News::Finished(&report));
        info!(outcome = report.outcome.name(), rows = report.rows_received, requests, "run ended");
        report
    }

    /// Everything that happens under the lease.
    async fn leased(
        &self,
        context: &Context<'_>,
        log: &mut RunLog,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        if cancel.is_cancelled() {
            return Ok(RunOutcome::Cancelled);
        }
        let holder = format!("{} process {} run {}", self.host.host, self.host.pid, context.stamp.run);
        let step = "take the table's lease";
        let lease = match self.store.lease(&context.pipeline.name, &holder).await {
            Err(source) => return Err(RunError::Store { step, source }),
            Ok(LeaseOutcome::Busy { holder, since }) => return Ok(RunOutcome::Busy { holder, since }),
            Ok(LeaseOutcome::Held(lease)) => lease,
        };
        self.faults.reached("after_lease");
        let outcome = self.collect_and_commit(context, lease.as_ref(), log, cancel).await;
        if let Err(error) = lease.release().await {
            // The lease ends by itself; the next run may have to wait for that.
            warn!(error = %hambar_core::Chain(&error), "lease not released");
            log.warnings.push(warning("the lease was not released", &error));
        }
        outcome
    }

    async fn collect_and_commit(
        &self,
        context: &Context<'_>,
        lease: &dyn Lease,
        log: &mut RunLog,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        let prepared = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(RunOutcome::Cancelled),
            prepared = prepare::prepare(context, log) => prepared?,
        };
        self.declare(context, log).await;
        let ready = match prepared {
            Prepared::Unchanged(learnt) => {
                self.keep_learnt(context, learnt.as_deref(), log).await;
                return Ok(RunOutcome::Stored(CommitOutcome::Unchanged));
            }
            Prepared::Ready(ready) => *ready,
        };
        let check = lease.check().await;
        check.map_err(|source| RunError::Store { step: "keep the table's lease", source })?;
        self.faults.reached("before_manifest");
        let put = self.archive.put(&ready.manifest_key, &ready.manifest).await;
        put.map_err(|source| RunError::Archive { source })?;
        context.sink.hear(News::Committing);
        self.faults.reached("before_commit");
        let committed = ready.writer.commit(ready.request).await;
        let outcome = committed.map_err(|source| RunError::Store { step: "commit", source })?;
        self.faults.reached("after_commit");
        if outcome == CommitOutcome::Unchanged {
            self.keep_learnt(context, ready.learnt.as_ref(), log).await;
        }
        Ok(RunOutcome::Stored(outcome))
    }

    /// Keeps what a run learnt that changed nothing, so that the next one need not learn it again.
    async fn keep_learnt(&self, context: &Context<'_>, learnt: Option<&Verified>, log: &mut RunLog) {
        let Some(learnt) = learnt else { return };
        self.faults.reached("before_verified");
        if let Err(reason) = learnt.keep(self.archive.as_ref(), &context.pipeline.name).await {
            log.warn(format!("what the run learnt was not kept, the next one reads everything again: {reason}"));
        }
        self.faults.reached("after_verified");
    }

    /// Adds a row to `system.datasets` where the declaration is not the one that was recorded last. A crash between the
    /// two writes leaves the row twice, never missing.
    async fn declare(&self, context: &Context<'_>, log: &mut RunLog) {
        let pipeline = context.pipeline;
        let (key, hash) = (declaration_key(&pipeline.name), pipeline.declaration_hash());
        let recorded = match self.archive.get(&key).await {
            Ok(file) => file.and_then(|file| std::fs::read_to_string(file.path).ok()),
            Err(error) => {
                log.warnings.push(warning("the recorded declaration was not read", &error));
                return;
            }
        };
        if recorded.as_deref() == Some(hash.as_str()) {
            return;
        }
        let row = dataset_row(&pipeline.table, context.stamp.recorded_at);
        if let Err(error) = self.store.append_system(SystemTable::Datasets, row).await {
            log.warnings.push(warning("`system.datasets` was not written", &error));
            return;
        }
        let kept = async {
            let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            std::fs::write(file.path(), &hash).map_err(|error| error.to_string())?;
            self.archive.put(&key, file.path()).await.map_err(|error| hambar_core::Chain(&error).to_string())
        };
        if let Err(reason) = kept.await {
            log.warnings.push(format!("the recorded declaration was not kept: {reason}"));
        }
    }

    /// Writes the run's rows of the system tables; what fails becomes a warning.
    async fn record(&self, report: &mut RunReport, sink: &RunSink) {
        let exchanges = sink.take(1);
        if !exchanges.is_empty() {
            let rows = fetch_rows(&report.run, &report.pipeline, &exchanges);
            if let Err(error) = self.store.append_system(SystemTable::Fetches, rows).await {
                warn!(error = %hambar_core::Chain(&error), "exchanges not recorded");
                report.warnings.push(warning("`system.fetches` was not written", &error));
            }
        }
        match self.store.append_system(SystemTable::Runs, run_row(report, &self.host)).await {
            Ok(()) => report.is_recorded = true,
            Err(error) => {
                warn!(error = %hambar_core::Chain(&error), "run not recorded");
                report.warnings.push(warning("`system.runs` was not written", &error));
            }
        }
    }
}

/// A UUID v7 of the instant: ids sort by start.
pub(crate) fn run_id(now: Timestamp) -> RunId {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    RunId(uuid::Uuid::new_v7(stamp).to_string())
}
