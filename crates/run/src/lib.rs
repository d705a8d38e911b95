//! Pipelines and their runs: the pipeline file, one run's state machine from lease to report, the parent's side of decode
//! workers, the scheduler, and deriving tables again from raw bytes. Knows tables only as `dyn TableStore`, and sources as `dyn Source`.

pub mod add;
pub mod archive;
pub mod decode_pool;
pub mod manifest;
pub mod retention;
pub mod schedule;
pub mod spec;

mod pipeline;
mod replay;
mod run;

pub use pipeline::Pipeline;
pub use replay::RebuildReport;
pub use run::{
    Drift, FAULT_POINTS, FaultPoint, HostInfo, News, NoFaults, Progress, Quiet, RunError, RunFailure, RunOutcome,
    RunReport, Runner, Sources, UNCHANGED_FAULT_POINTS,
};
pub use spec::Problem;

/// What `hambar decode-worker` does: see [`decode_pool::child_main`].
pub fn decode_worker_main() -> std::process::ExitCode {
    decode_pool::child_main(hambar_decode::serve)
}
