//! What is counted, for Prometheus. Labels have few values: never a member, a table or a statement.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hambar_core::ErrorClass;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Protocol;

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
struct CacheLabel {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: String,
}

impl Metrics {
    pub(crate) fn new() -> Self {
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
        Self {
            registry: Arc::new(registry),
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

    /// Counts how the results cache did: `cached`, `unchanged` or `miss`.
    pub fn cache(&self, outcome: &'static str) {
        self.cache.get_or_create(&CacheLabel { outcome: outcome.to_owned() }).inc();
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
