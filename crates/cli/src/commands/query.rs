//! Queries in workers: one for a command's own question, one for the user's statement with its output.

use std::io::{IsTerminal, Write};

use anyhow::{Context as _, Result};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use hambar_core::ErrorClass;
use hambar_query::{QueryLimits, QueryWorkers, Question, RowStream, StoreAddress, WorkerSettings};

use crate::context::Context;
use crate::errors::Told;
use crate::output::{Format, Output};

/// How workers of this program are started over the store of the settings.
pub(crate) fn worker_settings(context: &Context, limits: &QueryLimits) -> Result<WorkerSettings> {
    let url = &context.config.store.url;
    // Workers have no working folder to rely on: a relative folder becomes absolute here.
    let url = if url.contains("://") {
        url.clone()
    } else {
        let folder = std::path::absolute(url).with_context(|| format!("resolve the store's folder `{url}`"))?;
        folder.display().to_string()
    };
    Ok(WorkerSettings {
        program: crate::context::own_program()?,
        arguments: vec!["query-worker".into()],
        spill: std::env::temp_dir().join("hambar-spill"),
        store: StoreAddress { url, options: context.config.store_options(&context.secrets)? },
        limits: limits.clone(),
    })
}

/// Starts a statement in a worker; the answer holds the worker.
pub(crate) async fn start(context: &Context, sql: &str, limits: &QueryLimits) -> Result<RowStream> {
    ask(context, &Question::new(sql, limits.clone())).await
}

/// Asks a question in a worker; the answer holds the worker.
pub(crate) async fn ask(context: &Context, question: &Question) -> Result<RowStream> {
    let workers = QueryWorkers::new(worker_settings(context, &question.limits)?);
    Ok(workers.run(question).await?)
}

/// Runs a statement of ours and returns all of its rows, which are few.
pub(crate) async fn collect(context: &Context, sql: &str) -> Result<Vec<RecordBatch>> {
    let mut rows = start(context, sql, &context.query_limits()).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// Runs a statement of ours and prints its rows.
pub(crate) async fn print(context: &Context, sql: &str, format: Format) -> Result<()> {
    run(context, sql, &context.query_limits(), format, Box::new(std::io::stdout())).await
}

/// Runs the user's statement and writes its rows to `sink`. Ctrl-C cancels it.
pub(crate) async fn run(
    context: &Context,
    sql: &str,
    limits: &QueryLimits,
    format: Format,
    sink: Box<dyn Write + Send>,
) -> Result<()> {
    let answered = answer(context, sql, limits, format, sink);
    tokio::select! {
        outcome = answered => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listen for Ctrl-C")?;
            // The worker is killed when its stream is dropped, which has just happened.
            eprintln!("cancelled");
            Err(Told(ErrorClass::Cancelled).into())
        }
    }
}

async fn answer(
    context: &Context,
    sql: &str,
    limits: &QueryLimits,
    format: Format,
    sink: Box<dyn Write + Send>,
) -> Result<()> {
    let mut rows = start(context, sql, limits).await?;
    let mut output = Output::new(format, sink, &rows.schema())?;
    while let Some(batch) = rows.next().await {
        output.write(&batch?)?;
    }
    output.finish()?;
    if rows.is_truncated() {
        let limit = format!("{} rows or {} bytes", limits.result_rows_max.unwrap_or(u64::MAX), limits.result_bytes_max);
        eprintln!("warning: the result was cut at its limit of {limit}");
        return Err(Told(ErrorClass::Limit).into());
    }
    if std::io::stderr().is_terminal() && format == Format::Table {
        for read in rows.versions() {
            tracing::info!(table = %read.table, version = read.version, "read");
        }
    }
    Ok(())
}
