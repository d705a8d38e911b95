//! The queries that wait or run, so that they can be listed and stopped; and what is written down when one ends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hambar_core::ErrorClass;
use hambar_core::system::Cell;
use hambar_query::{Progress, VersionRead};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Ask, Audit, FrontError, Ledger, Metrics, Protocol, spans};
use crate::access::{Principal, Role, Used};
use crate::trace::Span;

/// Names a query. Not guessable, and yet no more than a name: stopping it takes the right member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(Uuid);

impl QueryId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for QueryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A query that waits or runs, as its member and operators see it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct RunningQuery {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub member: String,
    /// By which protocol it came.
    pub protocol: String,
    /// When it came.
    pub started_at: String,
    /// The statement; only for the member whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// SHA-256 of the statement.
    pub statement_sha256: String,
}

/// What became of the wish to stop a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is being stopped.
    Stopped,
    /// There is no such query that the asker may stop.
    Unknown,
}

/// The queries of one server. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    queries: Arc<Mutex<BTreeMap<QueryId, Entry>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) principal: Arc<Principal>,
    protocol: Protocol,
    sql: Arc<str>,
    statement: Arc<str>,
    started_at: Timestamp,
    pub(crate) stop: CancellationToken,
}

impl Registry {
    fn queries(&self) -> MutexGuard<'_, BTreeMap<QueryId, Entry>> {
        // The map holds whole entries only.
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the queries that `who` may see: their own, and for operators all of them. People without a token see
    /// none: many of them may share an address.
    pub(crate) fn list(&self, who: &Principal) -> Vec<RunningQuery> {
        let queries = self.queries();
        let seen = queries.iter().filter(|(_, entry)| who.token().is_some() && may_touch(who, &entry.principal));
        seen.map(|(id, entry)| RunningQuery {
            id: id.to_string(),
            member: entry.principal.name(),
            protocol: entry.protocol.name().to_owned(),
            started_at: entry.started_at.to_string(),
            sql: is_same(who, &entry.principal).then(|| entry.sql.to_string()),
            statement_sha256: entry.statement.to_string(),
        })
        .collect()
    }

    pub(crate) fn cancel(&self, who: &Principal, id: QueryId) -> Cancelled {
        let queries = self.queries();
        match queries.get(&id) {
            Some(entry) if may_touch(who, &entry.principal) => {
                entry.stop.cancel();
                Cancelled::Stopped
            }
            _ => Cancelled::Unknown,
        }
    }

    /// Stops every query.
    pub(crate) fn cancel_all(&self) {
        self.queries().values().for_each(|entry| entry.stop.cancel());
    }

    /// Returns who has queries now, with what stops them.
    pub(crate) fn principals(&self) -> Vec<Entry> {
        self.queries().values().cloned().collect()
    }
}

fn is_same(who: &Principal, whose: &Principal) -> bool {
    who.counted_as() == whose.counted_as()
}

fn may_touch(who: &Principal, whose: &Principal) -> bool {
    is_same(who, whose) || who.is_at_least(Role::Operator)
}

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Truncated,
    Failed(ErrorClass),
    Cancelled,
    Abandoned,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Truncated => "truncated",
            Self::Failed(ErrorClass::Denied) => "refused",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }

    pub(crate) fn of(error: &FrontError) -> Self {
        use hambar_core::Classified as _;
        match error.class() {
            ErrorClass::Cancelled => Self::Cancelled,
            class => Self::Failed(class),
        }
    }
}

/// Where queries are written down.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) registry: Registry,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    pub(crate) ledger: Ledger,
}

/// One query from its request to its end. Dropped without an outcome, it was abandoned.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: QueryId,
    pub(crate) stop: CancellationToken,
    registry: Registry,
    audit: Audit,
    metrics: Metrics,
    ledger: Ledger,
    entry: Entry,
    address: Option<String>,
    since: Instant,
    pub(crate) queued: Duration,
    pub(crate) versions: Vec<VersionRead>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// What the worker tells of it.
    pub(crate) progress: Progress,
    is_told: bool,
    /// Ends with the record, when the answer was sent.
    pub(crate) span: Span,
}

impl Record {
    pub(crate) fn start(id: QueryId, ask: &Ask, now: Timestamp, books: &Books) -> Self {
        let Books { registry, audit, metrics, ledger } = books.clone();
        let stop = CancellationToken::new();
        let entry = Entry {
            principal: Arc::clone(&ask.principal),
            protocol: ask.protocol,
            sql: ask.sql.as_str().into(),
            statement: crate::access::fingerprint(&ask.sql).into(),
            started_at: now,
            stop: stop.clone(),
        };
        registry.queries().insert(id, entry.clone());
        Self {
            id,
            stop,
            registry,
            audit,
            metrics,
            ledger,
            entry,
            address: ask.address.map(|address| address.to_string()),
            since: Instant::now(),
            queued: Duration::ZERO,
            versions: Vec::new(),
            rows: 0,
            bytes: 0,
            progress: Progress::default(),
            is_told: false,
            span: spans::begin("query", ask),
        }
    }

    /// Counts rows that go out.
    pub(crate) fn sent(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        self.ledger.count(&self.entry.principal, &Used { queries: 0, rows, bytes });
    }

    pub(crate) fn queued(&mut self) {
        self.queued = self.since.elapsed();
    }

    /// Writes down how it ended: one line of the access log, one row of the audit log, the counters.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        self.registry.queries().remove(&self.id);
        let took = self.since.elapsed();
        let class = match outcome {
            Outcome::Failed(class) => Some(class),
            _ => None,
        };
        let protocol = self.entry.protocol;
        self.metrics.query(protocol, outcome.name(), class, took);
        self.metrics.sent(protocol, self.rows, self.bytes);
        tracing::info!(
            query = %self.id,
            member = %self.entry.principal.name(),
            protocol = protocol.name(),
            outcome = outcome.name(),
            class = class.map_or("", ErrorClass::name),
            statement = %self.entry.statement,
            rows = self.rows,
            bytes = self.bytes,
            queued_ms = milliseconds(self.queued),
            ms = milliseconds(took),
            trace = self.span.place().id().map(tracing::field::display),
            "query ended"
        );
        self.describe(outcome, class);
        self.audit.add(self.row(outcome, class, took));
    }

    /// Says in the trace how it ended.
    fn describe(&mut self, outcome: Outcome, class: Option<ErrorClass>) {
        let class = class.or((outcome == Outcome::Cancelled).then_some(ErrorClass::Cancelled));
        spans::worked(&self.span, &self.progress, class);
        if !self.span.is_recorded() {
            return;
        }
        let span = &mut self.span;
        span.set("hambar.query", self.id.to_string());
        span.set("hambar.outcome", outcome.name());
        span.set("db.response.returned_rows", self.rows);
        span.set("hambar.bytes", self.bytes);
        if let Some(class) = class {
            spans::failed(span, class);
        }
    }

    fn row(&self, outcome: Outcome, class: Option<ErrorClass>, took: Duration) -> Vec<(&'static str, Cell)> {
        let principal = &self.entry.principal;
        let owned = |text: Option<&str>| Cell::Text(text.map(str::to_owned));
        vec![
            ("started_at", self.entry.started_at.into()),
            ("event", "query".into()),
            ("member", principal.name().into()),
            ("organisation", owned(principal.organisation())),
            ("token", owned(principal.token())),
            ("protocol", self.entry.protocol.name().into()),
            ("address", self.address.clone().into()),
            ("query", self.id.to_string().into()),
            ("statement_sha256", self.entry.statement.to_string().into()),
            ("tables", tables_read(&self.versions).into()),
            ("outcome", outcome.name().into()),
            ("error_class", owned(class.map(ErrorClass::name))),
            ("rows", self.rows.into()),
            ("bytes", self.bytes.into()),
            ("queued_milliseconds", milliseconds(self.queued).into()),
            ("milliseconds", milliseconds(took).into()),
        ]
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

/// The tables and versions of a query, as JSON.
pub(super) fn tables_read(versions: &[VersionRead]) -> String {
    let tables: Vec<String> = versions.iter().map(|read| format!("{}@{}", read.table, read.version)).collect();
    serde_json::Value::from(tables).to_string()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
