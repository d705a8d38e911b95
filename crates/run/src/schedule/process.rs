//! Starts scheduled runs as child processes of the same binary, watched from outside. A child that loses its scheduler
//! goes on: it holds the lease of its pipeline, keeps its own limits and writes its own row.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::{Clock, ErrorClass};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::job::JobName;
use super::parts::{Ended, Launcher, Order, Reported};
use super::report::ReportLine;

/// Bytes of a child's standard output that are looked at.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// How long after a child's end its output may still be read.
const OUTPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// What a child may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Bytes of private memory; decode workers have limits of their own.
    pub memory_bytes_max: u64,
    /// From start to end.
    pub wall_max: Duration,
    /// How long it may take to stop after it was told to.
    pub drain_max: Duration,
}

/// Starts children of one program.
#[derive(Debug, Clone)]
pub struct ProcessLauncher {
    /// The program: this binary.
    pub program: PathBuf,
    /// What goes before the command: settings, store, pipelines.
    pub arguments: Vec<OsString>,
    /// What each child may use.
    pub limits: RunLimits,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a child is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    WallTime,
    Told,
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self, order: Order, stop: CancellationToken) -> Ended {
        let started_at = self.clock.now();
        let mut child = match self.command(&order).spawn() {
            Ok(child) => child,
            Err(error) => {
                let what = format!("the process of the run could not be started: {error}");
                return Ended::Silent { class: ErrorClass::Internal, what };
            }
        };
        let output = child.stdout.take().map(|output| tokio::spawn(read(output)));
        let (status, why) = self.wait(&mut child, &stop).await;
        let output = match output {
            // Something that the child left behind may keep the pipe open.
            Some(reading) => match tokio::time::timeout(OUTPUT_TIME_MAX, reading).await {
                Ok(output) => output.unwrap_or_default(),
                Err(_) => Vec::new(),
            },
            None => Vec::new(),
        };
        if let Some(told) = ReportLine::find(&output, &order.run.0) {
            return Ended::Reported(told);
        }
        match (&order.job, status.code()) {
            (JobName::Upkeep(_), Some(0)) => Ended::Reported(Reported {
                started_at,
                finished_at: self.clock.now(),
                outcome: "done".to_owned(),
                class: None,
                error: None,
                is_recorded: false,
            }),
            _ => silent(status, why, self.limits.wall_max),
        }
    }
}

impl ProcessLauncher {
    fn command(&self, order: &Order) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command.arg("--memory-bytes-max").arg(self.limits.memory_bytes_max.to_string());
        match &order.job {
            JobName::Pipeline(table) => {
                // It ends by itself, in good order, before it is made to; also where nobody is left to make it.
                let seconds = self.limits.wall_max.as_secs().to_string();
                command.arg("run").arg(table.to_string());
                command.arg("--supervised").arg(&order.run.0).arg("--seconds-max").arg(seconds);
            }
            JobName::Upkeep(upkeep) => {
                command.arg(upkeep.command());
            }
        }
        // A group of its own: Ctrl-C is for the scheduler, which tells its children.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Waits for the end of a child, and sees to it that it comes.
    async fn wait(&self, child: &mut Child, stop: &CancellationToken) -> (ExitStatus, Option<Why>) {
        let unknown = |error: std::io::Error| {
            tracing::warn!(%error, "end of a run's process not known");
            ExitStatus::from_raw(0xff00)
        };
        let why = tokio::select! {
            status = child.wait() => return (status.unwrap_or_else(unknown), None),
            () = stop.cancelled() => Why::Told,
            () = tokio::time::sleep(self.limits.wall_max + self.limits.drain_max) => Why::WallTime,
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        // Fails only for a process that has ended, and then there is nothing to stop.
        let _ = pid.map(|pid| kill(pid, Signal::SIGTERM));
        if let Ok(status) = tokio::time::timeout(self.limits.drain_max, child.wait()).await {
            return (status.unwrap_or_else(unknown), Some(why));
        }
        let _ = pid.map(|pid| killpg(pid, Signal::SIGKILL));
        (child.wait().await.unwrap_or_else(unknown), Some(why))
    }
}

/// Reads all of it, and keeps what is within the limit: a child must not wait for its reader.
async fn read(mut output: ChildStdout) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Err(error) = (&mut output).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept).await {
        tracing::warn!(%error, "what a run said was not read to its end");
    }
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    kept
}

fn silent(status: ExitStatus, why: Option<Why>, wall_max: Duration) -> Ended {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let (class, because) = match why {
        Some(Why::WallTime) => (ErrorClass::Limit, format!(", after more than {} s", wall_max.as_secs())),
        Some(Why::Told) => (ErrorClass::Cancelled, " when it was told to stop".to_owned()),
        None => {
            let named = status
                .code()
                .and_then(|code| ErrorClass::ALL.into_iter().find(|class| i32::from(class.exit_code()) == code));
            (named.unwrap_or(ErrorClass::Internal), String::new())
        }
    };
    Ended::Silent {
        class,
        what: format!("the process of the run {how}{because} and left no report; the log may say more"),
    }
}
