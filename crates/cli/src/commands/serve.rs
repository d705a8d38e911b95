//! `hambar serve`: wires listeners, members and workers together, and lets requests end when it is told to stop.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::OptionFuture;
use hambar_core::{TableName, TableStore};
use hambar_lake::{Access, Lake};
use hambar_query::QueryLimits;
use hambar_run::schedule::{Overview, Role};
use hambar_server::{
    AdmissionLimits, Anonymous, Authenticator, ConnectionLimits, FrontSettings, HttpSettings, Listener, Members,
    Metrics, QueryFront, ResultSettings, ScheduleLoad, Security, SessionKey, TableFreshness, TlsFiles, Tracer,
    load_tls, router, serve_http,
};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::flight::FlightPort;
use super::postgres::PostgresPort;
use super::query::worker_settings;
use crate::args::ServeArguments;
use crate::config::ServerConfig;
use crate::context::Context;
use crate::telemetry::Telemetry;

/// The protocols that TLS clients may choose.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Connections whose requests are answered may take so long to close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// `hambar serve`
pub(crate) async fn serve(context: &Context, arguments: &ServeArguments) -> Result<()> {
    let settings = settings(&context.config.server, arguments);
    // Before anything is opened: a certificate that cannot be used must not end in plaintext.
    let tls = tls_files(&settings).map(|files| load_tls(&files, &ALPN)).transpose()?;
    let security = match (&tls, settings.allow_plaintext) {
        (Some(_), _) => Security::Tls,
        (None, true) => Security::PlaintextAllowed,
        (None, false) => Security::Plaintext,
    };
    let connections = ConnectionLimits {
        connections_max: settings.connections.connections_max,
        connections_per_address_max: settings.connections.connections_per_address_max,
    };
    let listener = Listener::bind(&settings.listen, security, connections).await?;
    let flight = FlightPort::bind(&settings, security, connections).await?;
    let postgres = PostgresPort::bind(&settings, security, connections).await?;
    raise_descriptors();
    let telemetry = Telemetry::start(context)?;
    let access = if settings.audit { Access::ReadWrite } else { Access::ReadOnly };
    let lake = context.lake(access).await?;
    let audit = settings.audit.then(|| Arc::new(lake.clone()) as Arc<dyn TableStore>);
    let front_settings = front_settings(context, &settings, &telemetry.tracer)?;
    let spill = front_settings.workers.spill.clone();
    let front = QueryFront::start(front_settings, lake.clone(), audit, Arc::clone(&context.clock))?;
    let authenticator = authenticator(context, &settings, &lake, &front)?;
    let stop = CancellationToken::new();
    let http = http_settings(context, &settings, spill, (security, access))?;
    let routes = router(front.clone(), authenticator.clone(), http.clone(), stop.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let duty = match context.config.schedule.in_server && !arguments.no_schedules {
        true => Duty::Run,
        false => Duty::Watch,
    };
    let schedules = start_schedules(context, &lake, access, duty, (&front, stop.clone())).await?;
    let mut stops = Stops::listen()?;
    println!("listening on {scheme}://{}", listener.address());
    let flight = flight.map(|port| port.serve(front.clone(), authenticator.clone(), http.clone(), stop.clone()));
    let flight = OptionFuture::from(flight.transpose()?);
    let postgres = postgres.map(|port| port.serve(front.clone(), authenticator.clone(), stop.clone()));
    let postgres = OptionFuture::from(postgres.transpose()?);
    let http = serve_http(listener, tls, routes, front.clone(), http, stop.clone());
    let mut served = tokio::spawn(async move { tokio::join!(http, flight, postgres) });
    let watched = tokio::spawn({
        let (front, authenticator) = (front.clone(), authenticator.clone());
        async move { front.watch(&authenticator).await }
    });
    tokio::select! {
        () = stops.told() => {}
        ended = &mut served => {
            ended.context("the listener ended badly")?;
            bail!("the listener ended without being told to");
        }
    }
    eprintln!("going down: queries have {} s to end", settings.drain_seconds);
    stop.cancel();
    front.stop(Duration::from_secs(settings.drain_seconds)).await;
    if tokio::time::timeout(CLOSE_TIME_MAX, &mut served).await.is_err() {
        tracing::warn!("connections were cut that did not close in time");
    }
    schedules.await.context("the scheduler ended badly")?;
    // After everything that is traced.
    telemetry.stop().await;
    watched.await.context("the watch over tokens ended badly")
}

/// The configuration's settings with those of the command line in their place.
fn settings(configured: &ServerConfig, arguments: &ServeArguments) -> ServerConfig {
    let mut settings = configured.clone();
    let addresses = [
        (&mut settings.listen, &arguments.listen),
        (&mut settings.flight.listen, &arguments.flight),
        (&mut settings.postgres.listen, &arguments.postgres),
    ];
    for (setting, argument) in addresses {
        if let Some(address) = argument {
            setting.clone_from(address);
        }
    }
    settings.anonymous |= arguments.anonymous;
    settings
}

/// Who is let in.
fn authenticator(context: &Context, settings: &ServerConfig, lake: &Lake, front: &QueryFront) -> Result<Authenticator> {
    let members = Members::new(lake, Arc::clone(&context.clock));
    let anonymous = if settings.anonymous { Anonymous::Reads(settings.public.clone()) } else { Anonymous::Refused };
    let sessions = match &settings.session_key {
        Some(reference) => SessionKey::of(&context.secrets.read(reference)?)?,
        None => SessionKey::random()?,
    };
    let clock = Arc::clone(&context.clock);
    Ok(Authenticator::new(members, front.catalogue().clone(), anonymous, sessions, clock))
}

/// What a server does about schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It runs what is due, or stands by.
    Run,
    /// It only says how fresh tables are.
    Watch,
}

/// Looks after schedules beside serving, until `stop`. What they are at, and how fresh tables are, becomes metrics.
async fn start_schedules(
    context: &Context,
    lake: &Lake,
    access: Access,
    duty: Duty,
    (front, stop): (&QueryFront, CancellationToken),
) -> Result<JoinHandle<()>> {
    let lake = match (duty, access) {
        (Duty::Watch, _) | (Duty::Run, Access::ReadWrite) => lake.clone(),
        (Duty::Run, Access::ReadOnly) => context
            .lake(Access::ReadWrite)
            .await
            .context("schedules need a store that can be written; `--no-schedules` serves without them")?,
    };
    let scheduler = super::schedule::scheduler(context, lake, front.tracer())?;
    let mut overview = scheduler.overview();
    let (clock, metrics) = (Arc::clone(&context.clock), front.metrics().clone());
    tokio::spawn(async move {
        let mut known = BTreeSet::new();
        // Ends with the scheduler, which holds the sender.
        while overview.changed().await.is_ok() {
            let told = overview.borrow_and_update().clone();
            publish(&metrics, &told, &mut known, clock.now());
        }
    });
    Ok(match duty {
        Duty::Run => tokio::spawn(scheduler.run(stop)),
        Duty::Watch => tokio::spawn(scheduler.watch(stop)),
    })
}

/// Makes metrics of what the scheduler tells; `known` are the tables that have some.
fn publish(metrics: &Metrics, told: &Overview, known: &mut BTreeSet<TableName>, now: Timestamp) {
    for (table, fresh) in &told.fresh {
        let late = fresh.overdue_since.map_or(0, |since| now.duration_since(since).as_secs().max(0));
        let fresh = TableFreshness {
            changed_at: fresh.changed_at,
            verified_at: fresh.verified_at,
            due_at: fresh.due_at,
            overdue_since: fresh.overdue_since,
            overdue_seconds: fresh.due_at.or(fresh.overdue_since).map(|_| late),
        };
        metrics.fresh(table, &fresh);
    }
    for gone in known.iter().filter(|table| !told.fresh.contains_key(*table)) {
        metrics.fresh(gone, &TableFreshness::default());
    }
    *known = told.fresh.keys().cloned().collect();
    metrics.schedules(ScheduleLoad {
        is_leading: told.role == Role::Leading,
        running: told.running.len(),
        waiting: told.waiting.len(),
        failing: told.failing.len(),
    });
}

/// What tells the server to go down. Whoever reads that it listens may send it at once.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) fn tls_files(settings: &ServerConfig) -> Option<TlsFiles> {
    let is_set = |path: &std::path::Path| !path.as_os_str().is_empty();
    let tls = &settings.tls;
    (is_set(&tls.certificate) || is_set(&tls.key))
        .then(|| TlsFiles { certificate: tls.certificate.clone(), key: tls.key.clone() })
}

fn front_settings(context: &Context, settings: &ServerConfig, tracer: &Tracer) -> Result<FrontSettings> {
    let queries = &settings.queries;
    let seconds = Duration::from_secs;
    let defaults = QueryLimits::default();
    let cores = defaults.partitions;
    let limits = QueryLimits {
        plan_time_max: seconds(queries.plan_seconds_max),
        run_time_max: seconds(queries.run_seconds_max),
        memory_bytes_max: queries.memory_bytes_max,
        spill_bytes_max: queries.spill_bytes_max,
        result_rows_max: Some(queries.result_rows_max),
        result_bytes_max: queries.result_bytes_max,
        scan_bytes_max: (queries.scan_bytes_max > 0).then_some(queries.scan_bytes_max),
        reader_time_max: Some(seconds(queries.reader_seconds_max)),
        partitions: if queries.threads > 0 { queries.threads } else { cores },
        ..defaults
    };
    Ok(FrontSettings {
        workers: worker_settings(context, &limits)?,
        admission: AdmissionLimits {
            running_max: if queries.workers > 0 { queries.workers } else { 2 * cores },
            running_per_member_max: queries.per_member_max,
            running_per_organisation_max: (queries.per_organisation_max > 0).then_some(queries.per_organisation_max),
            queue_max: queries.queue_max,
            queue_per_member_max: queries.queue_per_member_max,
            queue_time_max: seconds(queries.queue_seconds_max),
        },
        audit_every: seconds(settings.audit_seconds),
        tracer: tracer.clone(),
    })
}

fn http_settings(
    context: &Context,
    settings: &ServerConfig,
    folder: PathBuf,
    (security, access): (Security, Access),
) -> Result<HttpSettings> {
    let connections = &settings.connections;
    let seconds = Duration::from_secs;
    Ok(HttpSettings {
        body_bytes_max: connections.body_bytes_max,
        head_bytes_max: connections.head_bytes_max,
        head_time_max: seconds(connections.head_seconds_max),
        body_time_max: seconds(connections.body_seconds_max),
        write_time_max: seconds(connections.write_seconds_max),
        cache_bytes_max: settings.cache_bytes_max,
        results: ResultSettings {
            folder,
            bytes_max: settings.results.bytes_max,
            per_member_max: settings.results.per_member_max,
            idle_time_max: seconds(settings.results.idle_seconds_max),
        },
        open_metrics: settings.open_metrics,
        access,
        security,
        centre: settings.centre.centre()?,
        oidc: super::oidc::login(context, settings)?,
        trusted_proxies: settings.trusted_proxies.clone(),
    })
}

/// Connections need descriptors; the system often grants more than it gives at first.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, granted)| setrlimit(Resource::RLIMIT_NOFILE, granted, granted));
    if let Err(error) = raised {
        tracing::warn!(%error, "limit of open files not raised");
    }
}
