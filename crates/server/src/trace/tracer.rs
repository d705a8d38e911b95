//! The tracer of a process: begins traces, and hands ended spans to the exporter without ever waiting for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hambar_core::Clock;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::context::Remote;
use super::export::{Collector, Export, Exporter};
use super::sampling::Parents;
use super::span::{Kind, Span, Work};

/// How traces are made and sent.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// Of requests about which nobody else decides, the part that is sampled: 0 none, 1 all.
    pub sample_ratio: f64,
    /// Who decides with the trace that a request is part of.
    pub parents: Parents,
    /// Whether statements are sent as they are, and not as their fingerprint only.
    pub shows_statements: bool,
    /// Spans that wait to be sent; more are lost.
    pub queue_spans_max: usize,
    /// Spans of one message.
    pub batch_spans_max: usize,
    /// Spans are sent at least so often.
    pub every: Duration,
    /// Time for one attempt at sending them.
    pub send_time_max: Duration,
    /// What is said of this process.
    pub service: Service,
}

/// Which process it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The name that all servers of a centre share.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The name that only this process has; where it is empty, one is made.
    pub instance: String,
}

/// Begins traces. Clones share everything; the default is off.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) settings: TraceSettings,
    pub(super) clock: Arc<dyn Clock>,
    queue: mpsc::Sender<otlp::Span>,
    counters: Counters,
}

/// What became of spans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// The collector has them.
    pub(crate) sent: Counter,
    /// Nobody has them.
    pub(crate) lost: Counter,
}

impl Tracer {
    /// Starts sending what is traced to `collector`. Call it within a runtime.
    pub fn start(
        mut settings: TraceSettings,
        collector: Arc<dyn Collector>,
        clock: Arc<dyn Clock>,
    ) -> (Self, Exporter) {
        if settings.service.instance.is_empty() {
            settings.service.instance = Uuid::new_v4().to_string();
        }
        let (queue, waiting) = mpsc::channel(settings.queue_spans_max.max(1));
        let counters = Counters::default();
        let stop = CancellationToken::new();
        let export = Export::new(&settings, collector, waiting, counters.clone(), stop.clone());
        let exporter = Exporter::start(export, stop);
        (Self { inner: Some(Arc::new(Inner { settings, clock, queue, counters })) }, exporter)
    }

    /// Says whether nothing is traced.
    pub(crate) fn is_off(&self) -> bool {
        self.inner.is_none()
    }

    /// Returns the counters, where anything is counted.
    pub(crate) fn counters(&self) -> Option<&Counters> {
        self.inner.as_ref().map(|inner| &inner.counters)
    }

    /// Begins the span of a request of whoever has this span, if any.
    pub(crate) fn request(&self, remote: Option<&Remote>, name: impl Into<Cow<'static, str>>) -> Span {
        self.first(remote, Kind::Server, name)
    }

    /// Begins the span of something that nobody asked for from outside, such as a run.
    pub fn begin(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.first(None, Kind::Internal, name)
    }

    fn first(&self, remote: Option<&Remote>, kind: Kind, name: impl Into<Cow<'static, str>>) -> Span {
        let Some(inner) = &self.inner else { return Span::default() };
        Span::first(Work::begin(Arc::clone(inner), remote), remote, kind, name)
    }
}

impl Inner {
    /// Hands a span to the exporter. Where too many wait, it is lost: nothing that is traced waits for its traces.
    pub(super) fn send(&self, span: otlp::Span) {
        if self.queue.try_send(span).is_err() {
            self.lost(1);
        }
    }

    pub(super) fn lost(&self, count: u64) {
        self.counters.lost.inc_by(count);
    }
}
