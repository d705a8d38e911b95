//! Measurements that need the crates themselves: queries over a store, the refresh of a large table, and a generated
//! SDMX message. `benches/peers/run` calls them beside the peers and prints ratios.

#![allow(clippy::print_stdout, reason = "results are lines on standard output")]

mod refresh;
mod scan;
mod sdmx;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use hambar_core::Clock;
use jiff::Timestamp;

#[derive(Debug, Parser)]
#[command(about = "Measurements of Hambar; results are JSON lines on standard output")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every query of a folder over a store: the fastest of five, warm.
    Scan {
        /// The store.
        #[arg(long)]
        store: PathBuf,
        /// The folder of `.sql` files.
        #[arg(long)]
        queries: PathBuf,
    },
    /// Refresh a generated table of which one row in a thousand changed.
    Refresh {
        /// Rows of the table.
        #[arg(long, default_value_t = 10_000_000)]
        rows: u64,
        /// Folder for the store; made anew.
        #[arg(long)]
        work: PathBuf,
    },
    /// Write a generic SDMX-ML 2.1 message.
    SdmxMessage {
        /// Observations in it.
        #[arg(long, default_value_t = 300_000)]
        observations: u64,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
}

/// The system's clock.
#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a composition root is where the clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Scan { store, queries } => scan::scan(&store, &queries).await,
        Command::Refresh { rows, work } => refresh::refresh(rows, &work).await,
        Command::SdmxMessage { observations, out } => sdmx::message(observations, &out),
    }
}
