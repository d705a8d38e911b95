//! What is counted, for Prometheus. Labels have few values: never a member or a statement, and a table only where it is
//! said how fresh it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hambar_core::{ErrorClass, TableName};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Protocol;
use crate::access::Measure;
use crate::trace::Tracer;

/// The counters of one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    queries: Family<QueryLabels, Counter>,
    seconds: Family<ProtocolLabel, Histogram>,
    rows: Family<ProtocolLabel, Counter>,
    bytes: Family<ProtocolLabel, Counter>,
    cache: Family<CacheLabel, Counter>,
    requests: Family<StatusLabel, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) running: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) audit_lost: Counter,
    pub(crate) logins_refused: Counter,
    spent: Family<MeasureLabel, Counter>,
    logins_elsewhere: Family<OutcomeLabel, Counter>,
    changed: Family<TableLabel, Gauge>,
    verified: Family<TableLabel, Gauge>,
    due: Family<TableLabel, Gauge>,
    overdue: Family<TableLabel, Gauge>,
    /// The same, for pages.
    freshness: Arc<RwLock<BTreeMap<TableName, TableFreshness>>>,
    leads: Gauge,
    runs: Gauge,
    runs_waiting: Gauge,
    failing: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    protocol: String,
    outcome: String,
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabel {
    protocol: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabel {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeasureLabel {
    measure: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: String,
}

/// How fresh a table is; what is not known is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableFreshness {
    /// When rows were last committed.
    pub changed_at: Option<Timestamp>,
    /// When it was last known to be what its source has.
    pub verified_at: Option<Timestamp>,
    /// When its next run is due.
    pub due_at: Option<Timestamp>,
    /// Since when it should have been verified again, whatever the reason why it was not.
    pub overdue_since: Option<Timestamp>,
    /// Seconds for which it should have been verified again, 0 where it is in time; only of tables with a schedule.
    pub overdue_seconds: Option<i64>,
}

/// What a scheduler is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleLoad {
    /// Whether it is the one that starts runs.
    pub is_leading: bool,
    /// Runs that go on.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
    /// Jobs whose last run failed.
    pub failing: usize,
}

impl Metrics {
    pub(crate) fn new(tracer: &Tracer) -> Self {
        let mut registry = Registry::with_prefix("hambar");
        let queries = Family::default();
        let rows = Family::default();
        let bytes = Family::default();
        let cache = Family::default();
        let requests = Family::default();
        let seconds: Family<ProtocolLabel, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 18)));
        let (connections, running, queued) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (audit_lost, logins_refused): (Counter<u64, AtomicU64>, Counter<u64, AtomicU64>) =
            (Counter::default(), Counter::default());
        registry.register("queries", "Queries by protocol, outcome and class of error", queries.clone());
        registry.register("query_seconds", "Time from the request to the last row", seconds.clone());
        registry.register("rows", "Rows sent", rows.clone());
        registry.register("row_bytes", "Bytes of the rows sent, as Arrow holds them", bytes.clone());
        registry.register("cache", "Answers that needed no query, and those that did", cache.clone());
        registry.register("http_requests", "HTTP requests by status", requests.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("queries_running", "Queries that run now", running.clone());
        registry.register("queries_queued", "Queries that wait now", queued.clone());
        registry.register("audit_rows_lost", "Rows of the audit log that could not be kept", audit_lost.clone());
        registry.register("logins_refused", "Requests with a token that is not valid", logins_refused.clone());
        let spent = Family::default();
        registry.register("quota_refused", "Requests of organisations whose daily quota was used up", spent.clone());
        if let Some(counters) = tracer.counters() {
            registry.register("trace_spans_sent", "Spans that the collector took", counters.sent.clone());
            registry.register("trace_spans_lost", "Spans that could not be delivered", counters.lost.clone());
        }
        let logins_elsewhere = Family::default();
        registry.register("oidc_logins", "Logins by OpenID Connect, by outcome", logins_elsewhere.clone());
        let (changed, verified, due, overdue) =
            (Family::default(), Family::default(), Family::default(), Family::default());
        let (leads, runs, runs_waiting, failing) =
            (Gauge::default(), Gauge::default(), Gauge::default(), Gauge::default());
        for (name, help, family) in [
            ("table_changed_timestamp_seconds", "When rows of a table were last committed", &changed),
            ("table_verified_timestamp_seconds", "When a table was last known to be what its source has", &verified),
            ("table_due_timestamp_seconds", "When the next run of a table is due", &due),
            ("table_overdue_seconds", "For how long a table should have been verified again; 0 is in time", &overdue),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "schedule_leads",
            "1 where this process is the one that starts scheduled runs",
            leads.clone(),
        );
        registry.register("schedule_runs", "Scheduled runs that go on now", runs.clone());
        registry.register("schedule_waiting", "Jobs that are due and wait for a slot", runs_waiting.clone());
        registry.register("schedule_failing", "Jobs whose last run failed", failing.clone());
        Self {
            registry: Arc::new(registry),
            changed,
            verified,
            due,
            overdue,
            freshness: Arc::default(),
            leads,
            runs,
            runs_waiting,
            failing,
            queries,
            seconds,
            rows,
            bytes,
            cache,
            requests,
            connections,
            running,
            queued,
            audit_lost,
            logins_refused,
            spent,
            logins_elsewhere,
        }
    }

    /// Counts a query that ended.
    pub(crate) fn query(&self, protocol: Protocol, outcome: &str, class: Option<ErrorClass>, took: Duration) {
        let class = class.map_or("", ErrorClass::name).to_owned();
        let labels = QueryLabels { protocol: protocol.name().to_owned(), outcome: outcome.to_owned(), class };
        self.queries.get_or_create(&labels).inc();
        let label = ProtocolLabel { protocol: protocol.name().to_owned() };
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Counts rows that were sent.
    pub(crate) fn sent(&self, protocol: Protocol, rows: u64, bytes: u64) {
        let label = ProtocolLabel { protocol: protocol.name().to_owned() };
        self.rows.get_or_create(&label).inc_by(rows);
        self.bytes.get_or_create(&label).inc_by(bytes);
    }

    /// Counts a request that was refused because a daily quota was used up.
    pub(crate) fn spent(&self, measure: Measure) {
        self.spent.get_or_create(&MeasureLabel { measure: measure.name() }).inc();
    }

    /// Counts how the results cache did: `cached`, `unchanged` or `miss`.
    pub fn cache(&self, outcome: &'static str) {
        self.cache.get_or_create(&CacheLabel { outcome: outcome.to_owned() }).inc();
    }

    /// Says how fresh a table is; the default is nothing at all, as of a table that is gone.
    pub fn fresh(&self, table: &TableName, fresh: &TableFreshness) {
        let mut known = self.freshness.write().unwrap_or_else(PoisonError::into_inner);
        if *fresh == TableFreshness::default() {
            known.remove(table);
        } else {
            known.insert(table.clone(), *fresh);
        }
        drop(known);
        let second = |instant: Option<Timestamp>| instant.map(Timestamp::as_second);
        for (gauges, value) in [
            (&self.changed, second(fresh.changed_at)),
            (&self.verified, second(fresh.verified_at)),
            (&self.due, second(fresh.due_at)),
            (&self.overdue, fresh.overdue_seconds),
        ] {
            let label = TableLabel { table: table.to_string() };
            match value {
                Some(value) => {
                    gauges.get_or_create(&label).set(value);
                }
                None => {
                    gauges.remove(&label);
                }
            }
        }
    }

    /// Returns how fresh a table is, where it has a schedule or a run.
    pub(crate) fn freshness(&self, table: &TableName) -> TableFreshness {
        let known = self.freshness.read().unwrap_or_else(PoisonError::into_inner);
        known.get(table).copied().unwrap_or_default()
    }

    /// Says what the scheduler of this process is at.
    pub fn schedules(&self, load: ScheduleLoad) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.leads.set(i64::from(load.is_leading));
        self.runs.set(number(load.running));
        self.runs_waiting.set(number(load.waiting));
        self.failing.set(number(load.failing));
    }

    /// Counts a login elsewhere: `accepted`, or why it failed.
    pub(crate) fn login_elsewhere(&self, outcome: &'static str) {
        self.logins_elsewhere.get_or_create(&OutcomeLabel { outcome: outcome.to_owned() }).inc();
    }

    /// Counts an HTTP request.
    pub fn request(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status: status.to_string() }).inc();
    }

    /// Returns everything as text in the form of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# the metrics could not be written");
        }
        text
    }
}
