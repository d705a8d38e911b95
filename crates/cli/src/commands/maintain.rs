//! `optimize`, `fsck`, `rebuild`: looking after tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hambar_core::{ErrorClass, StoreError, TableName};
use hambar_lake::{Access, Lake};

use super::run;
use crate::args::{MaintainArguments, SelectArguments};
use crate::context::Context;
use crate::errors::Told;

/// `hambar rebuild`
pub(crate) async fn rebuild(context: &Context, arguments: &SelectArguments) -> Result<()> {
    let pipelines = context.pipelines(&arguments.names, arguments.all)?;
    let (runner, lake) = run::runner(context).await?;
    let cancel = run::cancel_on_signal();
    let mut is_different = false;
    for pipeline in &pipelines {
        let name = &pipeline.name;
        let folder =
            tempfile::tempdir_in(context.spool_folder(&lake)?).context("make a folder for the rebuilt table")?;
        let url = folder.path().display().to_string();
        let fresh = Lake::open(&url, &BTreeMap::new(), Access::ReadWrite, Arc::clone(&context.clock)).await?;
        let report = runner.rebuild(pipeline, Arc::new(fresh.clone()), &cancel).await;
        report.with_context(|| format!("rebuild `{name}`"))?;
        let history: TableName = format!("{name}__history").parse()?;
        let since = lake.snapshot(&history, None).await?.history_since();
        for table in [name.clone(), history.clone()] {
            if let Some(since) = since.filter(|_| table == history) {
                println!(
                    "{table}: not compared, rows superseded before {since} were let go by `retention.history_days`"
                );
                continue;
            }
            let (ours, theirs) = (fingerprint(&lake, &table).await?, fingerprint(&fresh, &table).await?);
            if ours == theirs {
                println!("{table}: rebuilt from raw bytes, same content {ours}");
            } else {
                is_different = true;
                eprintln!("error: {table}: rebuilt from raw bytes, content {theirs}, but the store has {ours}");
            }
        }
    }
    if is_different { Err(Told(ErrorClass::Store).into()) } else { Ok(()) }
}

async fn fingerprint(lake: &Lake, table: &TableName) -> Result<String> {
    let report = lake.check(table).await?;
    Ok(report.fingerprint.unwrap_or_default().to_string())
}

/// The tables that `names` select, all when there are none, each with its history and rejects.
pub(crate) async fn selected(lake: &Lake, names: &[String]) -> Result<Vec<TableName>> {
    let mut tables = Vec::new();
    let chosen = if names.is_empty() {
        lake.tables().await?
    } else {
        names.iter().map(|name| name.parse()).collect::<Result<Vec<TableName>, _>>()?
    };
    for table in chosen {
        tables.extend(lake.family(&table).await?);
    }
    Ok(tables)
}

/// `hambar optimize`
pub(crate) async fn optimize(context: &Context, arguments: &MaintainArguments) -> Result<()> {
    let lake = context.lake(Access::ReadWrite).await?;
    for table in selected(&lake, &arguments.names).await? {
        let done = optimize_one(&lake, &table).await;
        unless_busy(done, &arguments.names)?;
    }
    Ok(())
}

async fn optimize_one(lake: &Lake, table: &TableName) -> Result<()> {
    let done = lake.optimize(table).await.with_context(|| format!("optimize `{table}`"))?;
    match done.version {
        None => println!("{table}: nothing to rewrite"),
        Some(version) => println!(
            "{table}: version {version}: {} files ({} bytes) became {} ({} bytes), {} rows, same content",
            done.files_removed, done.bytes_removed, done.files_added, done.bytes_added, done.rows
        ),
    }
    let written = lake.write_checkpoint(table).await;
    if let Some(version) = written.with_context(|| format!("write a checkpoint of `{table}`"))? {
        println!("{table}: checkpoint of version {version}");
    }
    Ok(())
}

/// Where all tables are looked after, one that is being written is left for the next time; one that was named is not.
pub(crate) fn unless_busy(done: Result<()>, named: &[String]) -> Result<()> {
    match done {
        Err(error) if named.is_empty() && is_busy(&error) => {
            eprintln!("warning: {error:#}; left for the next time");
            Ok(())
        }
        done => done,
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Busy { .. })))
}

/// `hambar fsck`
pub(crate) async fn fsck(context: &Context, arguments: &MaintainArguments) -> Result<()> {
    let lake = context.lake(Access::ReadOnly).await?;
    let mut problems = 0;
    for table in selected(&lake, &arguments.names).await? {
        let report = lake.check(&table).await?;
        let fingerprint = report.fingerprint.map_or_else(String::new, |found| format!(", content {found}"));
        println!(
            "{table}: version {}, {} log files, {} data files, {} rows{fingerprint}",
            report.version, report.log_files, report.files, report.rows
        );
        for problem in &report.problems {
            eprintln!("error: {table}: {problem}");
        }
        problems += report.problems.len();
    }
    if arguments.names.is_empty() {
        let report = lake.check_raw().await?;
        println!("raw: {} bodies, {} bytes, hashed again", report.bodies, report.bytes);
        for problem in &report.problems {
            eprintln!("error: {problem}");
        }
        problems += report.problems.len();
    }
    if problems == 0 {
        println!("nothing is wrong");
        return Ok(());
    }
    eprintln!("{} found", crate::context::counted(problems, "problem"));
    Err(Told(ErrorClass::Store).into())
}

/// Keeps logs short after runs: opening a table must not read hundreds of commits. What fails here is only a warning.
pub(crate) async fn tidy(lake: &Lake, tables: &[TableName]) {
    for table in tables {
        match lake.write_checkpoint(table).await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%table, error = %hambar_core::Chain(&error), "log checkpoint not written"),
        }
    }
}
