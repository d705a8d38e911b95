//! The binary: reads the command line, the settings and the clock, wires the crates, and maps errors to exit codes.

/// Prints a line to standard output. A reader that has gone away (`hambar tables | head`) is no reason to stop working.
macro_rules! println {
    ($($text:tt)*) => { $crate::say(format_args!($($text)*), "\n") };
}

/// Prints without ending the line.
macro_rules! print {
    ($($text:tt)*) => { $crate::say(format_args!($($text)*), "") };
}

mod args;
mod bench;
mod commands;
mod config;
mod context;
mod demo;
mod errors;
mod output;
mod progress;
mod telemetry;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use crate::args::{Arguments, Command};
use crate::context::Context;

// Decoding and encoding allocate from several threads at once; glibc's allocator keeps what they free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Workers confine themselves before anything else: no settings, no runtime, no environment.
    match &arguments.command {
        Command::DecodeWorker => return hambar_run::decode_worker_main(),
        Command::SurveyWorker => return hambar_run::add::survey_worker_main(),
        Command::QueryWorker => {
            return ExitCode::from(hambar_query::child_main(std::sync::Arc::new(context::SystemClock)));
        }
        _ => {}
    }
    if let Some(bytes) = arguments.memory_bytes_max
        && let Err(error) = confine(bytes)
    {
        return errors::report(&error);
    }
    let environment = environment();
    match start(arguments, environment) {
        Ok(code) => code,
        Err(error) => errors::report(&error),
    }
}

fn start(arguments: Arguments, environment: BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let context = Context::new(&arguments, environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(commands::execute(arguments.command, &context));
    // Whatever still blocks (a spool copy, a name look-up) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// Limits this process's private memory. Workers that it starts set limits of their own.
fn confine(bytes: u64) -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_DATA).context("read the limit of memory")?;
    setrlimit(Resource::RLIMIT_DATA, bytes.min(most), most).context("set the limit of memory")
}

fn say(text: std::fmt::Arguments<'_>, end: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}{end}");
}

/// The only place that reads the environment.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
