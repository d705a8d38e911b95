//! Measurements that need the crates themselves: queries over a store, the refresh of a large table, and a generated
//! SDMX message. `benches/peers/run` calls them beside the peers and prints ratios.

#![allow(clippy::print_stdout, reason = "results are lines on standard output")]

mod load;
mod refresh;
mod scan;
mod sdmx;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use hambar_core::Clock;
use jiff::Timestamp;

// The allocator of `hambar` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        /// Only queries whose file name starts so.
        #[arg(long)]
        only: Option<String>,
        /// MiB of the memory pool.
        #[arg(long, default_value_t = 4096)]
        memory: u64,
        /// Print the plan with its measures instead of the rows.
        #[arg(long)]
        explain: bool,
    },
    /// Load the tables of the scan queries from two Parquet files.
    Load {
        /// The long table of observations.
        #[arg(long)]
        observations: PathBuf,
        /// The table of flights.
        #[arg(long)]
        flights: PathBuf,
        /// The store; made anew.
        #[arg(long)]
        store: PathBuf,
    },
    /// Print which files the newest version of each of these tables has.
    Files {
        /// The store.
        #[arg(long)]
        store: PathBuf,
    },
    /// Write the inputs of `refresh` for a generated table.
    RefreshData {
        /// Rows of the table.
        #[arg(long, default_value_t = 10_000_000)]
        rows: u64,
        /// The folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// Refresh a table of which one row in a thousand changed.
    Refresh(refresh::Refresh),
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
        Command::Scan { store, queries, only, memory, explain } => {
            let settings = scan::Settings { only, memory_bytes: memory << 20, explain };
            scan::scan(&store, &queries, &settings).await
        }
        Command::Load { observations, flights, store } => load::load(&observations, &flights, &store).await,
        Command::Files { store } => load::files(&store).await,
        Command::RefreshData { rows, out } => refresh::data(rows, &out),
        Command::Refresh(task) => refresh::refresh(&task).await,
        Command::SdmxMessage { observations, out } => sdmx::message(observations, &out),
    }
}
