//! `plan`, `run`, `replay`: what happens to pipelines.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hambar_connect::{ConnectError, Source};
use hambar_core::{Clock, CommitOutcome, ErrorClass, RunId};
use hambar_fetch::{HostLimits, Stack};
use hambar_lake::{Access, Lake};
use hambar_run::archive::StoreArchive;
use hambar_run::decode_pool::{ProcessPool, ProcessSettings};
use hambar_run::schedule::ReportLine;
use hambar_run::{FaultPoint, HostInfo, NoFaults, Pipeline, Quiet, RunOutcome, RunReport, Runner, Sources};
use tokio_util::sync::CancellationToken;

use crate::args::{RunArguments, SelectArguments};
use crate::config::SecretReader;
use crate::context::{Context, counted};
use crate::errors::Told;
use crate::progress::Display;

/// Makes sources with the secrets of this process.
#[derive(Debug)]
struct SecretSources {
    secrets: SecretReader,
    clock: Arc<dyn Clock>,
}

impl Sources for SecretSources {
    fn build(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>, ConnectError> {
        pipeline.source.clone().build(&self.secrets, &pipeline.name, pipeline.job.clone(), Arc::clone(&self.clock))
    }
}

/// Ends the process at one named stop, for crash tests; nothing is flushed, as with `kill -9`.
#[derive(Debug)]
struct KillAt(String);

impl FaultPoint for KillAt {
    fn reached(&self, point: &'static str) {
        if self.0 == point {
            std::process::abort();
        }
    }
}

/// Makes what runs need. Each runner has a budget of waiting of its own.
pub(crate) async fn runner(context: &Context) -> Result<(Runner, Lake)> {
    let lake = context.lake(Access::ReadWrite).await?;
    let landing = context.landing(&lake)?;
    let stack = Stack::new(&context.config.fetch, landing.clone(), Arc::clone(&context.clock))?;
    let root = lake.local_root().map(std::path::Path::to_path_buf);
    let program = crate::context::own_program()?;
    let settings = ProcessSettings {
        memory_bytes_max: context.config.decode.memory_bytes_max,
        cpu_seconds_max: context.config.decode.cpu_seconds_max,
        wall_max: Duration::from_secs(context.config.decode.wall_seconds_max),
        ..ProcessSettings::new(program, context.config.decode.workers)
    };
    let faults: Arc<dyn FaultPoint> = match &context.fault_point {
        Some(point) => Arc::new(KillAt(point.clone())),
        None => Arc::new(NoFaults),
    };
    let seed = u64::try_from(context.clock.now().as_nanosecond().rem_euclid(1 << 60)).unwrap_or(0);
    let this = hambar_lake::HostInfo::this_process();
    let runner = Runner {
        store: Arc::new(lake.clone()),
        transport: stack.transport(seed),
        sources: Arc::new(SecretSources { secrets: context.secrets.clone(), clock: Arc::clone(&context.clock) }),
        decoder: Arc::new(ProcessPool::new(settings)),
        archive: Arc::new(StoreArchive::new(landing, lake.object_store(), root)),
        clock: Arc::clone(&context.clock),
        progress: Arc::new(Display::new()),
        faults,
        host: HostInfo { host: this.host, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() },
    };
    Ok((runner, lake))
}

/// A token that Ctrl-C or a termination signal cancels; the second signal ends the process at once.
pub(crate) fn cancel_on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                tracing::warn!(%error, "termination signals are not heard");
                return;
            }
        };
        for _ in 0..2 {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { return },
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(i32::from(ErrorClass::Cancelled.exit_code()));
            }
            cancel.cancel();
        }
    });
    token
}

/// `hambar run`
pub(crate) async fn run(context: &Context, arguments: &RunArguments) -> Result<()> {
    if let Some(run) = &arguments.supervised {
        return supervised(context, arguments, RunId(run.clone())).await;
    }
    let mut pipelines = context.pipelines(&arguments.select.names, arguments.select.all)?;
    for pipeline in &mut pipelines {
        adjust(context, pipeline);
    }
    let (runner, lake) = runner(context).await?;
    let cancel = cancel_on_signal();
    let mut first_failure = None;
    for pipeline in &pipelines {
        let report =
            if arguments.full { runner.run_full(pipeline, &cancel).await } else { runner.run(pipeline, &cancel).await };
        tell(&report);
        first_failure = first_failure.or(report.outcome.class());
        if cancel.is_cancelled() {
            break;
        }
    }
    let mut touched: Vec<_> = pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
    touched.extend(["system.runs".parse()?, "system.fetches".parse()?]);
    super::maintain::tidy(&lake, &touched).await;
    match first_failure {
        None => Ok(()),
        Some(class) => Err(Told(class).into()),
    }
}

/// One run for a scheduler: it has chosen the id, and is told how it ended in a line that a program can read.
async fn supervised(context: &Context, arguments: &RunArguments, run: RunId) -> Result<()> {
    let mut pipelines = context.pipelines(&arguments.select.names, false)?;
    let Some(pipeline) = pipelines.first_mut().filter(|_| arguments.select.names.len() == 1) else {
        anyhow::bail!("`--supervised` runs one pipeline");
    };
    adjust(context, pipeline);
    let (mut runner, lake) = runner(context).await?;
    runner.progress = Arc::new(Quiet);
    let cancel = cancel_on_signal();
    if let Some(seconds) = arguments.seconds_max {
        tokio::spawn(end_in_time(seconds, context.config.schedule.drain_seconds, cancel.clone()));
    }
    let report = runner.run_as(run, pipeline, &cancel).await;
    println!("{}", serde_json::to_string(&ReportLine::of(&report))?);
    if let Some(drift) = report.drift.text() {
        tracing::warn!(pipeline = %report.pipeline, drift, "the columns are not as declared");
    }
    for warning in &report.warnings {
        tracing::warn!(pipeline = %report.pipeline, warning, "run");
    }
    super::maintain::tidy(&lake, &[pipeline.name.clone(), "system.runs".parse()?, "system.fetches".parse()?]).await;
    match report.outcome.class() {
        None => Ok(()),
        Some(class) => Err(Told(class).into()),
    }
}

/// Stops a run after so many seconds, and ends the process where that does not help: its scheduler may be gone.
async fn end_in_time(seconds: u64, drain_seconds: u64, cancel: CancellationToken) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tracing::warn!(seconds, "the run is stopped: it has taken all the time that `schedule.run_seconds_max` gives it");
    cancel.cancel();
    // A scheduler that watches does this after one of these.
    tokio::time::sleep(2 * Duration::from_secs(drain_seconds)).await;
    tracing::error!("the run did not stop; its process ends");
    std::process::exit(i32::from(ErrorClass::Limit.exit_code()));
}

/// Applies this machine's settings to a pipeline.
pub(crate) fn adjust(context: &Context, pipeline: &mut Pipeline) {
    pipeline.job.limits.threads = context.config.decode.threads;
}

/// `hambar plan`
pub(crate) async fn plan(context: &Context, arguments: &SelectArguments) -> Result<()> {
    let pipelines = context.pipelines(&arguments.names, arguments.all)?;
    let (runner, _) = runner(context).await?;
    for pipeline in &pipelines {
        let plan = runner.plan(pipeline).await.with_context(|| format!("plan `{}`", pipeline.name))?;
        let estimate = &plan.estimate;
        let known = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        println!("{}", pipeline.name);
        println!("  slices     {}", plan.slices.len());
        println!("  requests   {}", known(estimate.requests));
        println!("  bytes      {}", known(estimate.bytes));
        println!("  rows       {}", known(estimate.rows));
        let hosts = pipeline.source.hosts();
        for host in &hosts {
            let limits = context.config.fetch.limits_of(host);
            let period = limits.period.as_secs_f64();
            let rate = format!("{} requests in {period} s, {} at once", limits.requests, limits.concurrency);
            println!("  rate       {host}: at most {rate}, less where the provider says so");
        }
        if let Some(requests) = estimate.requests {
            let limits = hosts.iter().map(|host| context.config.fetch.limits_of(host));
            let limits = limits.collect::<Vec<_>>();
            let seconds = least_seconds(requests, &limits, context.config.fetch.every_host);
            println!("  time       at least {seconds:.0} s");
        }
        for slice in plan.slices.iter().take(10) {
            println!("  slice      {}", slice.id);
        }
        if plan.slices.len() > 10 {
            println!("  and {} more", counted(plan.slices.len() - 10, "slice"));
        }
    }
    Ok(())
}

/// The least time that so many requests take under the limits of their hosts. Which host gets how many is not known
/// before: the fastest could get them all. A full bucket lets the first ones pass at once.
fn least_seconds(requests: u64, hosts: &[HostLimits], every_host: HostLimits) -> f64 {
    let seconds = |limits: &HostLimits| {
        let waiting = requests.saturating_sub(u64::from(limits.requests));
        limits.period.as_secs_f64() * waiting as f64 / f64::from(limits.requests)
    };
    hosts.iter().map(seconds).reduce(f64::min).unwrap_or_else(|| seconds(&every_host))
}

/// `hambar replay`
pub(crate) async fn replay(context: &Context, arguments: &SelectArguments) -> Result<()> {
    let pipelines = context.pipelines(&arguments.names, arguments.all)?;
    let (runner, _) = runner(context).await?;
    let cancel = cancel_on_signal();
    let mut first_failure = None;
    for pipeline in &pipelines {
        let report = runner.replay(pipeline, &cancel).await.with_context(|| format!("replay `{}`", pipeline.name))?;
        tell(&report);
        first_failure = first_failure.or(report.outcome.class());
    }
    match first_failure {
        None => Ok(()),
        Some(class) => Err(Told(class).into()),
    }
}

/// Prints one line on standard output about a run that went well, and an error on standard error about one that did
/// not.
pub(crate) fn tell(report: &RunReport) {
    let name = &report.pipeline;
    let cost = format!(
        "{}, {} bytes",
        counted(usize::try_from(report.requests).unwrap_or(usize::MAX), "request"),
        report.bytes_wire
    );
    let rejected =
        if report.rows_rejected > 0 { format!(", {} rejected", report.rows_rejected) } else { String::new() };
    // UTF-8 is what everybody expects; anything else may be a wrong guess.
    let encoding = report.encoding.as_deref().filter(|names| *names != "utf-8");
    let encoding = encoding.map_or_else(String::new, |names| format!(", read as {names}"));
    match &report.outcome {
        RunOutcome::Stored(CommitOutcome::Committed { version, rows, revised, withdrawn }) => println!(
            "{name}: committed version {version}: {rows} rows new or changed, {revised} revised, {withdrawn} withdrawn{rejected}{encoding} ({cost}; {})",
            report.evidence_text()
        ),
        RunOutcome::Stored(CommitOutcome::Unchanged) => {
            println!("{name}: unchanged ({cost}; {})", report.evidence_text());
        }
        RunOutcome::Stored(CommitOutcome::AlreadyApplied { version }) => {
            println!("{name}: was committed already, version {version}");
        }
        RunOutcome::Stored(CommitOutcome::Conflict { winner }) => {
            eprintln!("error: {name}: run {winner} committed first; nothing was published")
        }
        RunOutcome::Busy { holder, since } => eprintln!("error: {name}: {holder} has been at work since {since}"),
        RunOutcome::Cancelled => eprintln!("{name}: stopped; nothing was published"),
        RunOutcome::Failed(failure) => {
            eprintln!("error: pipeline `{name}` failed, class {}; nothing was published", failure.class);
            for message in &failure.messages {
                eprintln!("  caused by: {message}");
            }
            if let Some(hint) = &failure.hint {
                eprintln!("hint: {hint}");
            }
        }
    }
    if let Some(drift) = report.drift.text() {
        eprintln!("warning: {name}: the columns are not as declared; {drift}");
    }
    for warning in &report.warnings {
        eprintln!("warning: {name}: {warning}");
    }
}
