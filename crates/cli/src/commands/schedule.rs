//! `hambar schedule`: wires the scheduler to the store, to pipeline files and to processes of this program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use hambar_core::{Chain, StoreError, TableName};
use hambar_lake::{Access, Lake};
use hambar_run::schedule::{
    Blocked, Declarations, Declared, Ending, Fresh, History, Job, JobName, Ledger, Parts, PastRun, ProcessLauncher,
    Scheduler, Timing, plan,
};
use hambar_run::{HostInfo, Pipeline};
use hambar_server::Tracer;
use jiff::Timestamp;

use super::ledger::StoreLedger;
use super::run::cancel_on_signal;
use crate::args::ScheduleArguments;
use crate::context::{Context, counted};
use crate::output;
use crate::telemetry::{Telemetry, TracedLauncher};

/// A scheduler that stands by looks so often whether the one that leads still does.
const STANDBY_EVERY: Duration = Duration::from_secs(5);
/// As long as a lease without a heartbeat is respected.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// The pipelines of a folder, and the upkeep that the settings want.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    upkeep: Vec<Job>,
}

impl Declarations for Folder {
    fn declared(&self) -> Declared {
        let mut jobs = self.upkeep.clone();
        let mut problems = Vec::new();
        if self.path.is_dir() {
            let (pipelines, found) = Pipeline::load_right(&self.path);
            jobs.extend(pipelines.iter().filter_map(Pipeline::scheduled));
            problems.extend(found.iter().map(ToString::to_string));
        }
        Declared { jobs, problems }
    }
}

/// `hambar schedule`
pub(crate) async fn schedule(context: &Context, arguments: &ScheduleArguments) -> Result<()> {
    if arguments.list {
        return list(context, arguments).await;
    }
    let stop = cancel_on_signal();
    let telemetry = Telemetry::start(context)?;
    let scheduler = scheduler(context, context.lake(Access::ReadWrite).await?, &telemetry.tracer)?;
    let declared = folder(context)?.declared();
    println!("looking after {}; Ctrl-C stops", counted(declared.jobs.len(), "job"));
    scheduler.run(stop).await;
    telemetry.stop().await;
    Ok(())
}

/// Makes the scheduler of these settings over `lake`.
pub(crate) fn scheduler(context: &Context, lake: Lake, tracer: &Tracer) -> Result<Scheduler> {
    let settings = &context.config.schedule;
    let launcher = ProcessLauncher {
        program: crate::context::own_program()?,
        arguments: arguments_of_children(context),
        limits: settings.limits(),
        clock: Arc::clone(&context.clock),
    };
    let launcher = TracedLauncher { inner: launcher, tracer: tracer.clone() };
    let this = hambar_lake::HostInfo::this_process();
    Ok(Scheduler::new(Parts {
        objects: lake.object_store(),
        ledger: Arc::new(StoreLedger::new(context, lake.clone())?),
        store: Arc::new(lake),
        launcher: Arc::new(launcher),
        declarations: Arc::new(folder(context)?),
        clock: Arc::clone(&context.clock),
        slots: settings.slots(),
        timing: Timing {
            look_every: Duration::from_secs(settings.look_seconds),
            standby_every: STANDBY_EVERY,
            lost_after: LOST_AFTER,
        },
        host: HostInfo { host: this.host, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() },
    }))
}

fn folder(context: &Context) -> Result<Folder> {
    Ok(Folder { path: context.config.pipelines.folder.clone(), upkeep: context.config.schedule.upkeep()? })
}

/// What makes a child read the same settings: secrets stay where they are, in the environment or in files.
fn arguments_of_children(context: &Context) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |option: &str, value: &Path| arguments.extend([option.into(), value.as_os_str().to_owned()]);
    if let Some(file) = &context.settings_file {
        add("--config", file);
    }
    add("--store", Path::new(&context.config.store.url));
    add("--pipelines", &context.config.pipelines.folder);
    arguments
}

/// How fresh the tables are that have a schedule or a run. Pipeline files that are wrong are left out.
pub(crate) async fn freshness(context: &Context, lake: &Lake) -> Result<BTreeMap<TableName, Fresh>> {
    let declared = folder(context)?.declared();
    let histories = histories(context, lake.clone()).await?;
    let now = context.clock.now();
    Ok(hambar_run::schedule::freshness(now, now, &declared.jobs, &histories))
}

async fn histories(context: &Context, lake: Lake) -> Result<BTreeMap<JobName, History>> {
    let ledger = StoreLedger::new(context, lake)?;
    let runs = ledger.news().await.map_err(|error| anyhow::anyhow!("read past runs: {}", Chain(error.as_ref())))?;
    let mut histories: BTreeMap<JobName, History> = BTreeMap::new();
    for (job, run) in runs {
        histories.entry(job).or_default().add(run);
    }
    Ok(histories)
}

/// What would start now, and what later.
async fn list(context: &Context, arguments: &ScheduleArguments) -> Result<()> {
    let declared = folder(context)?.declared();
    for problem in &declared.problems {
        eprintln!("warning: {problem}");
    }
    let histories = match context.lake(Access::ReadOnly).await {
        Ok(lake) => histories(context, lake).await?,
        // The first run makes the store.
        Err(error) if is_missing(&error) => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    let now = context.clock.now();
    let plan = plan(now, now, &declared.jobs, &histories, &[], &context.config.schedule.slots());
    let mut rows: Vec<[String; 4]> = Vec::new();
    let starts = plan.start.iter().map(|start| (&start.job.name, start.due.at, "now".to_owned()));
    let waits = plan.waiting.iter().map(|waiting| (&waiting.name, waiting.due.at, waits_for(&waiting.blocked)));
    let later = plan.later.iter().map(|(name, due)| (name, due.at, "later".to_owned()));
    for (name, at, when) in starts.chain(waits).chain(later) {
        let newest = histories.get(name).and_then(History::newest);
        let last = newest.map_or_else(|| "never".to_owned(), told);
        rows.push([name.to_string(), second(at), when, last]);
    }
    let column =
        |index: usize| Arc::new(rows.iter().map(|row| Some(row[index].clone())).collect::<StringArray>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("job", column(0)),
        ("due", column(1)),
        ("starts", column(2)),
        ("last run", column(3)),
    ])?;
    output::print(&batch, arguments.format)
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.root_cause().downcast_ref(), Some(StoreError::Missing { .. }))
}

/// How a run ended, and when it began.
fn told(run: &PastRun) -> String {
    let ending = match run.ending {
        Ending::Changed => "changed".to_owned(),
        Ending::Unchanged => "unchanged".to_owned(),
        Ending::Failed(class) => format!("failed ({class})"),
        Ending::Busy => "busy".to_owned(),
        Ending::Cancelled => "cancelled".to_owned(),
    };
    format!("{ending} at {}", second(run.started_at))
}

fn waits_for(blocked: &Blocked) -> String {
    match blocked {
        Blocked::Runs => "when there is a slot".to_owned(),
        Blocked::Host(host) => format!("when {host} is free"),
        Blocked::Provider(provider) => format!("when {provider} is free"),
    }
}

fn second(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
