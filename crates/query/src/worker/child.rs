//! The worker's side: reads one request, confines itself, answers, and ends.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use hambar_core::limits::MIB;
use hambar_core::{Clock, ErrorClass};
use hambar_lake::{Access, Lake};
use hambar_sandbox::{Confinement, Network, confine};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::frame::{self, Done, Header, Kind};
use super::{QueryRequest, is_remote};
use crate::error::QueryError;
use crate::session::QueryEngine;

/// Bytes of a request; the statement is at most 64 KiB of it.
const REQUEST_BYTES_MAX: u64 = MIB;
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

/// Runs the worker: one request from standard input, the answer as frames on standard output. Returns the exit code:
/// 0 where an answer, or why there is none, was written.
pub fn child_main(clock: Arc<dyn Clock>) -> u8 {
    let mut out = std::io::stdout().lock();
    let outcome = read_request().and_then(|request| answer(request, clock, &mut out));
    let written = match outcome {
        Ok(done) => serde_json::to_vec(&done).map(|content| (Kind::Done, content)),
        Err(error) => serde_json::to_vec(&error.report()).map(|content| (Kind::Error, content)),
    };
    let sent =
        written.map_err(std::io::Error::other).and_then(|(kind, content)| frame::write(&mut out, kind, &content));
    // Where the parent has gone nobody reads the reason.
    u8::from(sent.is_err())
}

fn read_request() -> Result<QueryRequest, QueryError> {
    let failed = |cause: String| QueryError::Worker { step: "ask", cause };
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(format!("the request cannot be read: {error}")))
}

fn answer(request: QueryRequest, clock: Arc<dyn Clock>, out: &mut impl Write) -> Result<Done, QueryError> {
    confine(&confinement(&request))
        .map_err(|error| QueryError::Worker { step: "confine", cause: error.to_string() })?;
    end_after(request.limits.run_time_max + GRACE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(request.limits.partitions.max(1))
        .max_blocking_threads(READ_THREADS)
        .thread_stack_size(RUN_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| QueryError::Worker { step: "start", cause: error.to_string() })?;
    let limit = request.limits.run_time_max;
    let outcome = runtime.block_on(async {
        match tokio::time::timeout(limit, stream(&request, clock, out)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(QueryError::RunTime { limit }),
        }
    });
    // A plan that took too long is still being made; the process ends without it.
    runtime.shutdown_background();
    outcome
}

async fn stream(request: &QueryRequest, clock: Arc<dyn Clock>, out: &mut impl Write) -> Result<Done, QueryError> {
    let lake = Lake::open(&request.store, &request.options, Access::ReadOnly, clock).await?;
    let engine = QueryEngine::new(lake, request.limits.clone(), &request.spill)?;
    let mut rows = engine.query(&request.sql).await?;
    let sent = |error: std::io::Error| QueryError::Worker { step: "answer from", cause: error.to_string() };
    let encoded = |error: arrow::error::ArrowError| QueryError::Execute {
        class: ErrorClass::Internal,
        message: format!("write the rows: {error}"),
    };
    let header = serde_json::to_vec(&Header { versions: rows.versions().to_vec() });
    frame::write(out, Kind::Header, &header.map_err(|error| sent(error.into()))?).map_err(sent)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).map_err(encoded)?;
    frame::write(out, Kind::Rows, &std::mem::take(writer.get_mut())).map_err(sent)?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            writer.write(&batch).map_err(encoded)?;
            frame::write(out, Kind::Rows, &std::mem::take(writer.get_mut())).map_err(sent)?;
        }
    }
    writer.finish().map_err(encoded)?;
    frame::write(out, Kind::Rows, &std::mem::take(writer.get_mut())).map_err(sent)?;
    Ok(Done { is_truncated: rows.is_truncated() })
}

fn confinement(request: &QueryRequest) -> Confinement {
    let limits = &request.limits;
    let threads = u64::try_from(limits.partitions).unwrap_or(u64::MAX).saturating_add(1);
    Confinement {
        memory_bytes_max: limits.worker_bytes_max().saturating_add(BASE_BYTES),
        cpu_seconds_max: (limits.run_time_max + GRACE).as_secs().saturating_add(1).saturating_mul(threads),
        file_bytes_max: limits.spill_bytes_max,
        descriptors_max: DESCRIPTORS_MAX,
        network: if is_remote(&request.store) { Network::Allowed } else { Network::Denied },
    }
}

/// Ends the process for good once the time is up, from a thread that the query's own runtime cannot starve.
fn end_after(limit: Duration) -> Result<(), QueryError> {
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        std::thread::sleep(limit);
        // Cannot fail for the process itself.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
    watchdog.map(|_| ()).map_err(|error| QueryError::Worker { step: "start", cause: error.to_string() })
}
