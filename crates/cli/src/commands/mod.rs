//! The commands, one module each or a few that belong together.

mod add;
mod check;
mod cite;
mod flight;
mod ledger;
mod list;
pub(crate) mod maintain;
mod members;
mod oidc;
mod portal;
mod postgres;
pub(crate) mod query;
mod retention;
pub(crate) mod run;
mod schedule;
mod serve;
mod shell;
mod sql;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Command;
use crate::context::Context;
use crate::demo;

/// Runs one command.
pub(crate) async fn execute(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::demo(context, &arguments).await?,
        Command::Check(arguments) => check::check(context, &arguments)?,
        Command::Add(arguments) => add::add(context, &arguments).await?,
        Command::Plan(arguments) => run::plan(context, &arguments).await?,
        Command::Run(arguments) => run::run(context, &arguments).await?,
        Command::Pull(arguments) => add::pull(context, &arguments).await?,
        Command::Replay(arguments) => run::replay(context, &arguments).await?,
        Command::Rebuild(arguments) => maintain::rebuild(context, &arguments).await?,
        Command::Sql(arguments) => sql::sql(context, &arguments).await?,
        Command::Tables(arguments) => list::tables(context, &arguments).await?,
        Command::Describe(arguments) => list::describe(context, &arguments).await?,
        Command::History(arguments) => list::history(context, &arguments).await?,
        Command::Runs(arguments) => list::runs(context, &arguments).await?,
        Command::Cite(arguments) => cite::cite(context, &arguments).await?,
        Command::Serve(arguments) => serve::serve(context, &arguments).await?,
        Command::Schedule(arguments) => schedule::schedule(context, &arguments).await?,
        Command::Members(arguments) => members::members(context, &arguments).await?,
        Command::Optimize(arguments) => maintain::optimize(context, &arguments).await?,
        Command::Vacuum(arguments) => retention::vacuum(context, &arguments).await?,
        Command::Fsck(arguments) => maintain::fsck(context, &arguments).await?,
        Command::Config(arguments) => check::config(context, &arguments)?,
        Command::Schema => check::schema()?,
        Command::Bench(arguments) => crate::bench::bench(context, &arguments).await?,
        Command::DecodeWorker | Command::SurveyWorker | Command::QueryWorker => {
            unreachable!("main starts workers before it reads settings")
        }
    }
    Ok(ExitCode::SUCCESS)
}
