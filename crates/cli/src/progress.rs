//! What long work shows: one moving line a run on a terminal, structured log lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hambar_core::TableName;
use hambar_run::{News, Progress};
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use tracing::info;

/// How often a log line is written while a run goes on.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows what runs are at.
#[derive(Debug)]
pub(crate) struct Display {
    bars: Option<MultiProgress>,
    runs: Mutex<BTreeMap<TableName, Run>>,
}

#[derive(Debug)]
struct Run {
    bar: Option<ProgressBar>,
    requests: u64,
    requests_planned: Option<u64>,
    bytes: u64,
    rows: u64,
    doing: String,
    started: Instant,
    logged: Instant,
}

impl Display {
    /// Moving lines appear only where standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, runs: Mutex::default() }
    }

    fn bar(&self, pipeline: &TableName) -> Option<ProgressBar> {
        let bar = self.bars.as_ref()?.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(pipeline.to_string());
        bar.enable_steady_tick(Duration::from_millis(150));
        Some(bar)
    }
}

impl Progress for Display {
    fn hear(&self, pipeline: &TableName, news: News<'_>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let News::Started = news {
            let now = Instant::now();
            let run = Run {
                bar: self.bar(pipeline),
                requests: 0,
                requests_planned: None,
                bytes: 0,
                rows: 0,
                doing: "planning".to_owned(),
                started: now,
                logged: now,
            };
            runs.insert(pipeline.clone(), run);
            return;
        }
        let Some(run) = runs.get_mut(pipeline) else { return };
        match news {
            News::Started => {}
            News::Planned { slices, estimate } => {
                run.requests_planned = estimate.requests;
                run.doing = format!("reading {}", crate::context::counted(slices, "slice"));
            }
            News::Exchange(_) => run.requests += 1,
            News::Bytes(bytes) => run.bytes += bytes,
            News::Rows(rows) => run.rows += rows,
            News::Waiting(Some(reason)) => run.doing = format!("waiting: {reason}"),
            News::Waiting(None) => run.doing = "reading".to_owned(),
            News::SliceDone(slice) => run.doing = format!("{slice} read"),
            News::Committing => run.doing = "comparing and committing".to_owned(),
            News::Finished(_) => {
                if let Some(bar) = run.bar.take() {
                    bar.finish_and_clear();
                }
                runs.remove(pipeline);
                return;
            }
        }
        run.show(pipeline);
    }
}

impl Run {
    fn show(&mut self, pipeline: &TableName) {
        if let Some(bar) = &self.bar {
            let planned = self.requests_planned.map_or(String::new(), |planned| format!(" of {}", HumanCount(planned)));
            let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            bar.set_message(format!(
                "{}{planned} requests, {}, {} rows, {}/s, {}",
                HumanCount(self.requests),
                HumanBytes(self.bytes),
                HumanCount(self.rows),
                HumanBytes(self.bytes.saturating_mul(1000) / milliseconds),
                self.doing
            ));
        } else if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            info!(%pipeline, requests = self.requests, bytes = self.bytes, rows = self.rows, doing = self.doing, "run goes on");
        }
    }
}
