//! The worker's side: confines itself, then answers one question after the other until nobody asks any more.

use std::io::{StdinLock, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use hambar_core::limits::MIB;
use hambar_core::{Clock, ErrorClass};
use hambar_lake::{Access, Lake};
use hambar_sandbox::{Confinement, Network, confine, limit_cpu};
use tokio::runtime::Runtime;

use super::Setup;
use super::frame::{self, Done, Failed, Header, Kind};
use super::progress::{Measure, Times};
use super::watchdog::Watchdog;
use crate::error::QueryError;
use crate::limits::QueryLimits;
use crate::question::{Facts, Question};
use crate::session::QueryEngine;

/// Memory that the process has before it plans anything: its threads' stacks and its own tables.
const BASE_BYTES: u64 = 192 * MIB;
/// Stack of the threads that run plans.
const RUN_STACK_BYTES: usize = 8 * 1024 * 1024;
/// Threads that read local files.
const READ_THREADS: usize = 8;
/// Open files and sockets.
const DESCRIPTORS_MAX: u64 = 1024;
/// After its deadline a query has this long to say so; then the process ends itself.
const GRACE: Duration = Duration::from_secs(1);
/// Rows are sent in pieces of about so many bytes, so that whoever passes them on holds little.
const PIECE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one row.
const ROW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an answered query may take to let go of its threads.
const SETTLE_TIME_MAX: Duration = Duration::from_millis(500);

/// Runs the worker: questions from standard input, answers as frames on standard output. Returns the exit code:
/// 0 where every question got an answer, or why there is none.
pub fn child_main(clock: Arc<dyn Clock>) -> u8 {
    let mut input = std::io::stdin().lock();
    // Standard output itself looks for ends of lines, which these bytes do not have.
    let mut out = match std::io::stdout().as_fd().try_clone_to_owned() {
        Ok(output) => std::fs::File::from(output),
        Err(_) => return 1,
    };
    let mut server = match Server::start(&mut input, clock) {
        Ok(server) => server,
        Err(error) => {
            let _ = report(&error, Times::default(), &mut out);
            return 1;
        }
    };
    loop {
        let sent = match frame::read_blocking(&mut input) {
            Ok(Some((kind, content))) => server.serve(kind, &content, &mut out),
            // The parent has no more questions, or is gone.
            Ok(None) => break,
            Err(error) => report(&failed("ask", &error), Times::default(), &mut out),
        };
        if sent.is_err() {
            return 1;
        }
    }
    server.runtime.shutdown_background();
    0
}

fn report(error: &QueryError, times: Times, out: &mut impl Write) -> std::io::Result<()> {
    let failed = Failed { error: error.report(), times };
    let content = serde_json::to_vec(&failed).map_err(std::io::Error::other)?;
    frame::write(out, Kind::Error, &content)
}

fn failed(step: &'static str, cause: &dyn std::fmt::Display) -> QueryError {
    QueryError::Worker { step, cause: cause.to_string() }
}

struct Server {
    setup: Setup,
    clock: Arc<dyn Clock>,
    runtime: Runtime,
    watchdog: Watchdog,
    /// Opened by the first question, and kept with everything that it remembers of the store.
    engine: Option<QueryEngine>,
}

impl Server {
    fn start(input: &mut StdinLock<'_>, clock: Arc<dyn Clock>) -> Result<Self, QueryError> {
        let first = frame::read_blocking(input).map_err(|error| failed("start", &error))?;
        let Some((Kind::Setup, content)) = first else {
            return Err(failed("start", &"the first message is no setup"));
        };
        let setup: Setup = serde_json::from_slice(&content).map_err(|error| failed("start", &error))?;
        confine(&confinement(&setup)).map_err(|error| failed("confine", &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(setup.limits.partitions.max(1))
            .max_blocking_threads(READ_THREADS)
            .thread_stack_size(RUN_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| failed("start", &error))?;
        Ok(Self { setup, clock, runtime, watchdog: Watchdog::start()?, engine: None })
    }

    /// Answers one question. Fails only where the answer cannot be written.
    fn serve(&mut self, kind: Kind, content: &[u8], out: &mut impl Write) -> std::io::Result<()> {
        let mut measure = Measure::begin();
        let outcome = match kind {
            Kind::Run | Kind::Describe => serde_json::from_slice::<Question>(content)
                .map_err(|error| failed("ask", &format!("the question cannot be read: {error}")))
                .and_then(|question| self.answer(kind, &question, &mut measure, out)),
            _ => Err(failed("ask", &"the message is no question")),
        };
        self.watchdog.disarm();
        let times = measure.ended();
        match outcome {
            Ok(is_truncated) => {
                let done = Done { times, is_truncated, is_idle: self.settles() };
                let content = serde_json::to_vec(&done).map_err(std::io::Error::other)?;
                frame::write(out, Kind::Done, &content)
            }
            Err(error) => report(&error, times, out),
        }
    }

    fn answer(
        &mut self,
        kind: Kind,
        question: &Question,
        measure: &mut Measure,
        out: &mut impl Write,
    ) -> Result<bool, QueryError> {
        let limits = question.limits.at_most(&self.setup.limits);
        let limit = limits.run_time_max;
        let mut clock = QueryClock { limit, left: limit, watchdog: &self.watchdog, measure };
        limit_cpu(cpu_seconds(&limits)).map_err(|error| failed("confine", &error))?;
        let known = self.engine.take();
        let (setup, store_clock) = (&self.setup, &self.clock);
        let outcome = self.runtime.block_on(async {
            let engine = match known {
                Some(engine) => engine,
                None => clock.time(open(setup, store_clock)).await?,
            };
            let outcome = match kind {
                Kind::Describe => describe(&engine, question, &mut clock, out).await,
                _ => stream(&engine, question, &mut clock, out).await,
            };
            Ok::<_, QueryError>((engine, outcome))
        });
        let (engine, outcome) = outcome?;
        self.engine = Some(engine);
        outcome
    }

    /// Waits a moment for the tasks of an answered query to end. Says whether they did.
    fn settles(&self) -> bool {
        let since = Instant::now();
        while self.runtime.metrics().num_alive_tasks() > 0 {
            if since.elapsed() > SETTLE_TIME_MAX {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// Counts the time in which a query works. While its parent takes what was made, its time stands still.
struct QueryClock<'a> {
    limit: Duration,
    left: Duration,
    watchdog: &'a Watchdog,
    measure: &'a mut Measure,
}

impl QueryClock<'_> {
    async fn time<T>(&mut self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        self.watchdog.arm(self.left + GRACE);
        let since = Instant::now();
        let outcome = tokio::time::timeout(self.left, work).await;
        let took = since.elapsed();
        self.left = self.left.saturating_sub(took);
        self.measure.worked += took;
        outcome.unwrap_or(Err(QueryError::RunTime { limit: self.limit }))
    }

    /// Tells what is read; planning is over.
    fn header(&mut self, out: &mut impl Write, facts: &Facts) -> Result<(), QueryError> {
        self.measure.planned();
        let header = Header { facts: facts.clone(), times: self.measure.so_far() };
        let content = serde_json::to_vec(&header).map_err(|error| failed("answer from", &error))?;
        self.send(out, Kind::Header, &content)
    }

    fn send(&self, out: &mut impl Write, kind: Kind, content: &[u8]) -> Result<(), QueryError> {
        self.watchdog.disarm();
        frame::write(out, kind, content).map_err(|error| failed("answer from", &error))
    }
}

async fn open(setup: &Setup, clock: &Arc<dyn Clock>) -> Result<QueryEngine, QueryError> {
    let store = &setup.store;
    let lake = Lake::open(&store.url, &store.options, Access::ReadOnly, Arc::clone(clock)).await?;
    QueryEngine::new(lake, setup.limits.clone(), &setup.spill)
}

async fn describe(
    engine: &QueryEngine,
    question: &Question,
    clock: &mut QueryClock<'_>,
    out: &mut impl Write,
) -> Result<bool, QueryError> {
    let description = clock.time(engine.describe(question)).await?;
    clock.header(out, &description.facts)?;
    clock.send(out, Kind::Parameters, &columns(&description.parameter_schema())?)?;
    clock.send(out, Kind::Rows, &columns(&description.schema)?)?;
    Ok(false)
}

/// An Arrow IPC stream without rows.
fn columns(schema: &Schema) -> Result<Vec<u8>, QueryError> {
    let written = StreamWriter::try_new(Vec::new(), schema).and_then(StreamWriter::into_inner);
    written.map_err(|error| not_encoded(&error))
}

async fn stream(
    engine: &QueryEngine,
    question: &Question,
    clock: &mut QueryClock<'_>,
    out: &mut impl Write,
) -> Result<bool, QueryError> {
    let mut rows = clock.time(engine.ask(question)).await?;
    clock.header(out, rows.facts())?;
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).map_err(|error| not_encoded(&error))?;
    clock.send(out, Kind::Rows, &std::mem::take(writer.get_mut()))?;
    loop {
        let next = clock.time(async { rows.next().await.transpose() }).await?;
        let Some(batch) = next else { break };
        for piece in pieces(batch)? {
            writer.write(&piece).map_err(|error| not_encoded(&error))?;
            clock.send(out, Kind::Rows, &std::mem::take(writer.get_mut()))?;
        }
    }
    writer.finish().map_err(|error| not_encoded(&error))?;
    clock.send(out, Kind::Rows, &std::mem::take(writer.get_mut()))?;
    Ok(rows.is_truncated())
}

/// Cuts a batch into pieces of at most [`PIECE_BYTES`], or of one row.
fn pieces(batch: RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
    let mut done = Vec::new();
    let mut open = vec![batch];
    while let Some(batch) = open.pop() {
        let rows = batch.num_rows();
        let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
        let bytes: usize = sizes.sum();
        if bytes <= PIECE_BYTES || rows <= 1 {
            if bytes > ROW_BYTES_MAX {
                let message = format!("a row of the result has {bytes} bytes; at most {ROW_BYTES_MAX} are sent");
                return Err(QueryError::Execute { class: ErrorClass::Limit, message });
            }
            if rows > 0 {
                done.push(batch);
            }
            continue;
        }
        open.push(batch.slice(rows / 2, rows - rows / 2));
        open.push(batch.slice(0, rows / 2));
    }
    Ok(done)
}

fn not_encoded(error: &ArrowError) -> QueryError {
    QueryError::Execute { class: ErrorClass::Internal, message: format!("write the rows: {error}") }
}

fn cpu_seconds(limits: &QueryLimits) -> u64 {
    let threads = u64::try_from(limits.partitions).unwrap_or(u64::MAX).saturating_add(1);
    (limits.run_time_max + GRACE).as_secs().saturating_add(1).saturating_mul(threads)
}

fn confinement(setup: &Setup) -> Confinement {
    Confinement {
        memory_bytes_max: setup.limits.worker_bytes_max().saturating_add(BASE_BYTES),
        // Each question sets its own.
        cpu_seconds_max: u64::MAX,
        file_bytes_max: setup.limits.spill_bytes_max,
        descriptors_max: DESCRIPTORS_MAX,
        network: if setup.store.is_remote() { Network::Allowed } else { Network::Denied },
    }
}
