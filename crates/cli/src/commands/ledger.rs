//! The runs that the store knows, for the scheduler: rows of `system.runs`, read in a query worker when there are new ones.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use async_trait::async_trait;
use futures::StreamExt;
use hambar_core::{StoreError, TableName};
use hambar_lake::Lake;
use hambar_query::{QueryLimits, QueryWorkers, Question};
use hambar_run::schedule::{Ending, JobName, Ledger, LedgerError, PastRun, RUNS_KEPT};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::query::worker_settings;
use crate::context::Context;

/// Clocks of machines differ, and rows are written some time after a run has ended: what is so old is read again.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);
/// Nothing starts or stops while past runs are read.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// Where runs are recorded.
const TABLE: &str = "system.runs";

/// Reads the table of runs.
#[derive(Debug)]
pub(crate) struct StoreLedger {
    lake: Lake,
    workers: QueryWorkers,
    limits: QueryLimits,
    known: Mutex<Option<Known>>,
}

/// What has been read of the table.
#[derive(Debug, Clone, Copy)]
struct Known {
    version: u64,
    newest: Option<Timestamp>,
}

impl StoreLedger {
    pub(crate) fn new(context: &Context, lake: Lake) -> Result<Self> {
        let mut limits = context.query_limits();
        limits.run_time_max = limits.run_time_max.min(READ_TIME_MAX);
        // Our own statement; that a busy machine takes its time to plan it is no reason to know nothing.
        limits.plan_time_max = READ_TIME_MAX;
        let workers = QueryWorkers::new(worker_settings(context, &limits)?);
        Ok(Self { lake, workers, limits, known: Mutex::default() })
    }

    /// Reads what the table has that is new; nothing where it has no newer version, or is not there.
    async fn read(&self, known: &mut Option<Known>) -> Result<Vec<(JobName, PastRun)>> {
        let name: TableName = TABLE.parse()?;
        let version = match self.lake.log_state(&name, None).await {
            Ok(state) => state.version,
            Err(StoreError::Missing { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let before = *known;
        if before.is_some_and(|before| before.version == version) {
            return Ok(Vec::new());
        }
        let since = before.and_then(|before| before.newest?.checked_sub(OVERLAP).ok());
        let question = Question::new(statement(since), self.limits.clone());
        let mut rows = self.workers.run(&question).await?;
        let mut found = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            found.extend((0..batch.num_rows()).filter_map(|row| past_run(&batch, row)));
        }
        if rows.is_truncated() {
            bail!("the runs in `{TABLE}` are more than a query may return");
        }
        let newest = found.iter().map(|(_, run)| run.finished_at).max().max(before.and_then(|before| before.newest));
        *known = Some(Known { version, newest });
        Ok(found)
    }
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn news(&self) -> Result<Vec<(JobName, PastRun)>, LedgerError> {
        let mut known = self.known.lock().await;
        let found = self.read(&mut known).await.with_context(|| format!("read `{TABLE}`"));
        found.map_err(LedgerError::from)
    }
}

/// The newest runs of each job, and of each outcome the newest: when a table last changed may be long ago.
fn statement(since: Option<Timestamp>) -> String {
    let is_new = since.map_or_else(String::new, |since| format!(" AND finished_at >= '{since}'"));
    format!(
        "SELECT pipeline, run, error_class, outcome, started_at, finished_at FROM (\
         SELECT pipeline, run, error_class, outcome, started_at, finished_at, \
         row_number() OVER (PARTITION BY pipeline ORDER BY started_at DESC) AS place, \
         row_number() OVER (PARTITION BY pipeline, outcome ORDER BY started_at DESC) AS place_of_outcome \
         FROM {TABLE} WHERE pipeline IS NOT NULL AND started_at IS NOT NULL{is_new}) \
         WHERE place <= {RUNS_KEPT} OR place_of_outcome = 1"
    )
}

fn past_run(batch: &RecordBatch, row: usize) -> Option<(JobName, PastRun)> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let instant = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| Timestamp::from_microsecond(column.value(row)).ok()).flatten()
    };
    let name = JobName::from_text(&text("pipeline")?)?;
    let started_at = instant("started_at")?;
    Some((
        name,
        PastRun {
            run: text("run")?,
            started_at,
            finished_at: instant("finished_at").unwrap_or(started_at),
            ending: Ending::from_words(&text("outcome")?, text("error_class").as_deref()),
        },
    ))
}
