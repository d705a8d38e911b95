//! What a run leaves behind, whatever became of it: the report for people, and its rows in the system tables.

use arrow::record_batch::RecordBatch;
use hambar_core::system::{Cell, system_batch};
use hambar_core::{
    Chain, Classified, CommitOutcome, ErrorClass, Redistribution, RunId, SystemTable, TableName, TableSpec, WriteMode,
};
use hambar_fetch::FetchMeta;
use jiff::Timestamp;

use super::error::RunError;

/// Characters of each text that a report keeps.
const TEXT_CHARS_MAX: usize = 2_000;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The store was asked to publish; or what was received proved that nothing has changed.
    Stored(CommitOutcome),
    /// Something went wrong; nothing was published.
    Failed(RunFailure),
    /// The user or the system stopped it; nothing was published.
    Cancelled,
    /// Another run of this pipeline is at work.
    Busy {
        /// Who.
        holder: String,
        /// Since when.
        since: Timestamp,
    },
}

impl RunOutcome {
    /// Returns the word in `system.runs.outcome`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stored(CommitOutcome::Committed { .. }) => "committed",
            Self::Stored(CommitOutcome::Unchanged) => "unchanged",
            Self::Stored(CommitOutcome::AlreadyApplied { .. }) => "already_applied",
            Self::Stored(CommitOutcome::Conflict { .. }) => "conflict",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Busy { .. } => "busy",
        }
    }

    /// Returns the class of an outcome that is no success.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Stored(
                CommitOutcome::Committed { .. } | CommitOutcome::Unchanged | CommitOutcome::AlreadyApplied { .. },
            ) => None,
            Self::Stored(CommitOutcome::Conflict { .. }) | Self::Busy { .. } => Some(ErrorClass::Conflict),
            Self::Failed(failure) => Some(failure.class),
            Self::Cancelled => Some(ErrorClass::Cancelled),
        }
    }
}

/// An error as a report keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// What to do about it.
    pub class: ErrorClass,
    /// The message and its causes, from the outside in.
    pub messages: Vec<String>,
    /// What may help.
    pub hint: Option<String>,
}

impl RunFailure {
    pub(crate) fn of(error: &RunError) -> Self {
        let mut messages = vec![error.to_string()];
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            messages.push(inner.to_string());
            cause = inner.source();
        }
        Self { class: error.class(), messages, hint: error.hint() }
    }
}

/// How the source's columns differed from the declared ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// Source columns that are not declared.
    pub added: Vec<String>,
    /// Declared columns that the source no longer has.
    pub missing: Vec<String>,
    /// Columns whose type was widened, as `name: from → to`.
    pub widened: Vec<String>,
}

impl Drift {
    /// Says in one text of bounded length what changed; nothing where nothing did.
    pub fn text(&self) -> Option<String> {
        let parts = [("not declared", &self.added), ("missing", &self.missing), ("wider", &self.widened)];
        let told = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let told: Vec<String> = told.map(|(what, names)| format!("{what}: `{}`", names.join("`, `"))).collect();
        (!told.is_empty()).then(|| bounded(told.join("; ")))
    }

    pub(crate) fn join(&mut self, added: &[String], missing: &[String]) {
        for (list, names) in [(&mut self.added, added), (&mut self.missing, missing)] {
            for name in names {
                if !list.contains(name) {
                    list.push(name.clone());
                }
            }
        }
    }
}

/// The report of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: TableName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What proved the data complete or unchanged.
    pub evidence: Vec<String>,
    /// Records decoded, rejects included.
    pub rows_received: u64,
    /// Records rejected.
    pub rows_rejected: u64,
    /// HTTP exchanges, failed ones included.
    pub requests: u64,
    /// Body bytes on the wire.
    pub bytes_wire: u64,
    /// Character encoding of what was decoded, found or declared; several where bodies differ.
    pub encoding: Option<String>,
    /// How columns differed.
    pub drift: Drift,
    /// What went wrong without stopping the run.
    pub warnings: Vec<String>,
    /// Whether its row is in `system.runs`.
    pub is_recorded: bool,
}

impl RunReport {
    /// Returns the evidence as one text of bounded length.
    pub fn evidence_text(&self) -> String {
        bounded(self.evidence.join("; "))
    }
}

fn bounded(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Where a run happens, for its row in `system.runs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The version of Hambar.
    pub version: String,
}

/// The row of `system.runs`.
pub(crate) fn run_row(report: &RunReport, host: &HostInfo) -> RecordBatch {
    let mut row: Vec<(&'static str, Cell)> = vec![
        ("run", report.run.to_string().into()),
        ("pipeline", report.pipeline.to_string().into()),
        ("started_at", report.started_at.into()),
        ("finished_at", report.finished_at.into()),
        ("outcome", report.outcome.name().into()),
        ("evidence", Some(report.evidence_text()).filter(|text| !text.is_empty()).into()),
        ("rows_received", report.rows_received.into()),
        ("rows_rejected", report.rows_rejected.into()),
        ("requests", report.requests.into()),
        ("bytes_wire", report.bytes_wire.into()),
        ("host", host.host.clone().into()),
        ("pid", u64::from(host.pid).into()),
        ("hambar_version", host.version.clone().into()),
        ("encoding", report.encoding.clone().into()),
        ("drift", report.drift.text().into()),
    ];
    if let Some(class) = report.outcome.class() {
        row.push(("error_class", class.name().into()));
    }
    match &report.outcome {
        RunOutcome::Stored(CommitOutcome::Committed { version, rows, revised, withdrawn }) => row.extend([
            ("version", Cell::from(*version)),
            ("rows_committed", (*rows).into()),
            ("rows_revised", (*revised).into()),
            ("rows_withdrawn", (*withdrawn).into()),
        ]),
        RunOutcome::Stored(CommitOutcome::AlreadyApplied { version }) => row.push(("version", (*version).into())),
        RunOutcome::Stored(CommitOutcome::Conflict { winner }) => {
            row.push(("error", format!("run {winner} committed first").into()));
        }
        RunOutcome::Failed(failure) => row.push(("error", failure.messages.join(": ").into())),
        RunOutcome::Busy { holder, since } => {
            row.push(("error", format!("{holder} holds the lease since {since}").into()))
        }
        RunOutcome::Stored(CommitOutcome::Unchanged) | RunOutcome::Cancelled => {}
    }
    system_batch(SystemTable::Runs, &[row])
}

/// The rows of `system.fetches`.
pub(crate) fn fetch_rows(run: &RunId, pipeline: &TableName, exchanges: &[FetchMeta]) -> RecordBatch {
    let headers = |list: &[(String, String)]| {
        let map: serde_json::Map<_, _> =
            list.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        serde_json::Value::Object(map).to_string()
    };
    let rows: Vec<Vec<(&'static str, Cell)>> = exchanges
        .iter()
        .map(|exchange| {
            vec![
                ("run", run.to_string().into()),
                ("pipeline", pipeline.to_string().into()),
                ("started_at", exchange.started_at.into()),
                ("method", exchange.method.clone().into()),
                ("url", exchange.url.clone().into()),
                ("status", exchange.status.map(u64::from).into()),
                ("attempt", u64::from(exchange.attempt).into()),
                ("request_headers", headers(&exchange.request_headers).into()),
                ("headers", headers(&exchange.headers).into()),
                ("bytes_wire", exchange.bytes_wire.into()),
                ("bytes", exchange.bytes.into()),
                ("milliseconds", exchange.milliseconds.into()),
                ("sha256", exchange.sha256.clone().into()),
                ("error", exchange.error.clone().into()),
            ]
        })
        .collect();
    system_batch(SystemTable::Fetches, &rows)
}

/// The row of `system.datasets`.
pub(crate) fn dataset_row(table: &TableSpec, recorded_at: Timestamp) -> RecordBatch {
    let origin = &table.origin;
    let mode = match table.write {
        WriteMode::Append => "append",
        WriteMode::Snapshot => "snapshot",
        WriteMode::Upsert => "upsert",
    };
    let redistribution = match origin.licence.redistribution {
        Redistribution::Allowed => "allowed",
        Redistribution::Forbidden => "forbidden",
    };
    let spec = serde_json::json!({ "key": table.key, "partition_by": table.partition_by, "columns": table.columns });
    system_batch(
        SystemTable::Datasets,
        &[vec![
            ("dataset", table.name.to_string().into()),
            ("recorded_at", recorded_at.into()),
            ("title", origin.title.clone().into()),
            ("description", table.description.clone().into()),
            ("provider", origin.provider.clone().into()),
            ("citation", origin.citation.clone().into()),
            ("landing_page", origin.landing_page.clone().into()),
            ("licence", origin.licence.spdx.clone().into()),
            ("redistribution", redistribution.into()),
            ("write_mode", mode.into()),
            ("spec", spec.to_string().into()),
        ]],
    )
}

/// A warning in a report: what failed, and why.
pub(crate) fn warning(what: &str, error: &(dyn std::error::Error + 'static)) -> String {
    format!("{what}: {}", Chain(error))
}
