//! Sends spans to the collector: in batches, one after the other, each tried twice at most. A collector that is down,
//! slow or no collector at all costs spans, which are counted, and a warning a minute.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attributes::attribute;
use super::tracer::{Counters, Service, TraceSettings};

/// The wait before the second attempt, where the collector names none.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that a collector may ask for; where it asks for more, the spans are lost.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// At most one warning in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// What is left is sent within this time when the process ends.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);
/// Characters of what a collector says that are logged.
const SAID_CHARS_MAX: usize = 200;

/// Whoever takes traces.
pub trait Collector: Debug + Send + Sync {
    /// Returns the address under which people know it; no secrets.
    fn address(&self) -> &str;

    /// Sends a message of OTLP, `ExportTraceServiceRequest` as protobuf, and returns what is answered; the error is why
    /// nothing was. Follows no redirect and tries once; the caller limits the time, and drops the future after it.
    fn send(&self, message: Bytes) -> BoxFuture<'_, Result<Reply, String>>;
}

/// What a collector answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The body, of which only a beginning of some kibibytes is needed.
    pub body: Bytes,
}

/// Sends spans until it is stopped.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(super) fn start(export: Export, stop: CancellationToken) -> Self {
        Self { stop, task: tokio::spawn(export.run()) }
    }

    /// Sends what waits, within a few seconds.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_TIME_MAX, &mut self.task).await.is_err() {
            self.task.abort();
            let seconds = FLUSH_TIME_MAX.as_secs();
            tracing::warn!(seconds, "the last traces were not delivered in time");
        }
    }
}

/// The exporter's side of the queue.
#[derive(Debug)]
pub(super) struct Export {
    collector: Arc<dyn Collector>,
    waiting: mpsc::Receiver<otlp::Span>,
    counters: Counters,
    stop: CancellationToken,
    resource: Resource,
    scope: InstrumentationScope,
    batch_spans_max: usize,
    every: Duration,
    send_time_max: Duration,
    warned: Warned,
}

/// When operators were last told, and how many spans were lost by then.
#[derive(Debug, Default)]
struct Warned {
    at: Option<Instant>,
    lost: u64,
}

/// Why spans were not taken.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    what: String,
    /// After which time it may be tried again, if it may.
    again: Option<Duration>,
}

impl Export {
    pub(super) fn new(
        settings: &TraceSettings,
        collector: Arc<dyn Collector>,
        waiting: mpsc::Receiver<otlp::Span>,
        counters: Counters,
        stop: CancellationToken,
    ) -> Self {
        let scope = InstrumentationScope {
            name: "hambar".to_owned(),
            version: settings.service.version.clone(),
            ..InstrumentationScope::default()
        };
        Self {
            collector,
            waiting,
            counters,
            stop,
            resource: Resource { attributes: about(&settings.service), ..Resource::default() },
            scope,
            batch_spans_max: settings.batch_spans_max.max(1),
            every: settings.every,
            send_time_max: settings.send_time_max,
            warned: Warned::default(),
        }
    }

    async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_spans_max);
        while self.gather(&mut batch).await {
            self.deliver(std::mem::take(&mut batch)).await;
        }
        // What waits now, and nothing after it.
        self.waiting.close();
        while let Some(span) = self.waiting.recv().await {
            batch.push(span);
            if batch.len() >= self.batch_spans_max {
                self.deliver(std::mem::take(&mut batch)).await;
            }
        }
        if !batch.is_empty() {
            self.deliver(batch).await;
        }
    }

    /// Fills a batch: to its limit, or for as long as spans may wait. Says whether to go on.
    async fn gather(&mut self, batch: &mut Vec<otlp::Span>) -> bool {
        let mut until = None;
        loop {
            let missing = self.batch_spans_max.saturating_sub(batch.len());
            if missing == 0 {
                return true;
            }
            let waited = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = waited => return true,
                count = self.waiting.recv_many(batch, missing) => {
                    if count == 0 {
                        return false;
                    }
                    until.get_or_insert_with(|| Instant::now() + self.every);
                }
            }
        }
    }

    async fn deliver(&mut self, batch: Vec<otlp::Span>) {
        let count = batch.len() as u64;
        let message = Bytes::from(self.message(batch).encode_to_vec());
        let mut outcome = self.attempt(message.clone()).await;
        if let Err(Failure { again: Some(wait), .. }) = outcome {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            outcome = self.attempt(message).await;
        }
        let (lost, what) = match outcome {
            Ok((0, _)) => (0, String::new()),
            Ok((rejected, said)) => (rejected.min(count), format!("it took only a part: {}", shown(&said))),
            Err(failure) => (count, failure.what),
        };
        self.counters.sent.inc_by(count - lost);
        self.counters.lost.inc_by(lost);
        self.warn(&what);
    }

    fn message(&self, spans: Vec<otlp::Span>) -> ExportTraceServiceRequest {
        let scope = otlp::ScopeSpans { scope: Some(self.scope.clone()), spans, schema_url: String::new() };
        let ours = otlp::ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope],
            schema_url: String::new(),
        };
        ExportTraceServiceRequest { resource_spans: vec![ours] }
    }

    /// Sends a message once. Returns how many spans the collector did not want, and why.
    async fn attempt(&self, message: Bytes) -> Result<(u64, String), Failure> {
        let limit = self.send_time_max;
        match tokio::time::timeout(limit, self.collector.send(message)).await {
            Ok(Ok(reply)) => understood(&reply),
            Ok(Err(what)) => Err(Failure { what, again: Some(RETRY_AFTER) }),
            Err(_) => {
                let what = format!("it did not answer within {} s", limit.as_secs_f64());
                Err(Failure { what, again: Some(RETRY_AFTER) })
            }
        }
    }

    /// Tells operators of spans that were lost since they were last told.
    fn warn(&mut self, what: &str) {
        let all = self.counters.lost.get();
        let lost = all - self.warned.lost;
        if lost == 0 || self.warned.at.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Warned { at: Some(Instant::now()), lost: all };
        let cause = if what.is_empty() { "more of them than could be sent" } else { what };
        tracing::warn!(collector = self.collector.address(), spans = lost, cause, "traces were lost");
    }
}

/// What is said of this process.
fn about(service: &Service) -> Vec<KeyValue> {
    [
        ("service.name", service.name.as_str()),
        ("service.version", &service.version),
        ("service.instance.id", &service.instance),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "hambar"),
        ("telemetry.sdk.version", &service.version),
    ]
    .into_iter()
    .map(|(key, text)| attribute(key, text.into()))
    .collect()
}

/// Understands an answer: how many spans were not taken, and why.
fn understood(reply: &Reply) -> Result<(u64, String), Failure> {
    let failed = |what: String, again: Option<Duration>| Err(Failure { what, again });
    match reply.status {
        200..=299 => match ExportTraceServiceResponse::decode(reply.body.clone()) {
            Ok(response) => {
                let partial = response.partial_success.unwrap_or_default();
                Ok((u64::try_from(partial.rejected_spans).unwrap_or(0), partial.error_message))
            }
            Err(_) => failed("its answer is not one of OTLP over HTTP with protobuf".to_owned(), None),
        },
        status @ 300..=399 => failed(format!("it answered {status}, and redirects are not followed"), None),
        status @ (429 | 502 | 503 | 504) => {
            let wait = reply.retry_after.unwrap_or(RETRY_AFTER);
            failed(format!("it answered {status}"), (wait <= RETRY_AFTER_MAX).then_some(wait))
        }
        status => failed(format!("it answered {status}"), None),
    }
}

/// What a collector said, as it may stand in a log.
fn shown(said: &str) -> String {
    said.chars().take(SAID_CHARS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hambar_core::Clock;

    use super::*;
    use crate::trace::{Parents, Tracer};

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> jiff::Timestamp {
            "2026-01-01T00:00:00Z".parse().unwrap()
        }
    }

    /// Answers with what it was given, and then takes everything.
    #[derive(Debug, Default)]
    struct Scripted {
        replies: Mutex<Vec<Result<Reply, String>>>,
        names: Mutex<Vec<Vec<String>>>,
    }

    impl Scripted {
        fn answering(replies: Vec<Result<Reply, String>>) -> Arc<Self> {
            Arc::new(Self { replies: Mutex::new(replies), names: Mutex::default() })
        }

        fn names(&self) -> Vec<Vec<String>> {
            self.names.lock().unwrap().clone()
        }
    }

    impl Collector for Scripted {
        fn address(&self) -> &str {
            "http://collector/"
        }

        fn send(&self, message: Bytes) -> BoxFuture<'_, Result<Reply, String>> {
            let message = ExportTraceServiceRequest::decode(message).unwrap();
            let spans = message.resource_spans[0].scope_spans[0].spans.iter();
            self.names.lock().unwrap().push(spans.map(|span| span.name.clone()).collect());
            let mut replies = self.replies.lock().unwrap();
            let reply = if replies.is_empty() { Ok(reply(200, b"")) } else { replies.remove(0) };
            Box::pin(std::future::ready(reply))
        }
    }

    fn reply(status: u16, body: &'static [u8]) -> Reply {
        Reply { status, retry_after: Some(Duration::from_millis(1)), body: Bytes::from_static(body) }
    }

    fn started(collector: &Arc<Scripted>, queue: usize, batch: usize, every: Duration) -> (Tracer, Exporter) {
        let settings = TraceSettings {
            sample_ratio: 1.0,
            parents: Parents::Members,
            shows_statements: false,
            queue_spans_max: queue,
            batch_spans_max: batch,
            every,
            send_time_max: Duration::from_secs(1),
            service: Service { name: "a".to_owned(), version: "1".to_owned(), instance: String::new() },
        };
        Tracer::start(settings, Arc::clone(collector) as Arc<dyn Collector>, Arc::new(Still))
    }

    /// Spans that were taken, and that were lost.
    fn counted(tracer: &Tracer) -> (u64, u64) {
        let counters = tracer.counters().unwrap();
        (counters.sent.get(), counters.lost.get())
    }

    #[tokio::test]
    async fn spans_go_in_batches_and_what_is_left_goes_at_the_end() {
        let collector = Scripted::answering(Vec::new());
        let (tracer, exporter) = started(&collector, 100, 3, Duration::from_secs(3_600));
        for _ in 0..4 {
            tracer.begin("whole").end();
        }
        let since = Instant::now();
        while collector.names().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(collector.names(), [vec!["whole"; 3]]);
        exporter.stop().await;
        assert_eq!((collector.names().len(), counted(&tracer)), (2, (4, 0)));
        // After the end, they are lost and counted.
        tracer.begin("late").end();
        assert_eq!(counted(&tracer), (4, 1));
    }

    #[tokio::test]
    async fn a_full_queue_loses_spans_and_nobody_waits() {
        let collector = Scripted::answering(Vec::new());
        let (tracer, exporter) = started(&collector, 10, 10, Duration::from_secs(3_600));
        // On one thread, the exporter has no turn before this is over.
        for _ in 0..1_000 {
            tracer.begin("one").end();
        }
        assert_eq!(counted(&tracer), (0, 990));
        exporter.stop().await;
        assert_eq!(counted(&tracer), (10, 990));
    }

    #[tokio::test]
    async fn what_may_be_tried_again_is_tried_once_more() {
        let down = || Err("nobody listens".to_owned());
        let (busy, broken, gone) = (|| Ok(reply(503, b"")), || Ok(reply(400, b"")), || Ok(reply(302, b"")));
        for (replies, attempts, taken) in [
            (vec![busy()], 2, 1),
            (vec![busy(), busy()], 2, 0),
            (vec![down(), Ok(reply(200, b""))], 2, 1),
            (vec![down(), down()], 2, 0),
            (vec![broken()], 1, 0),
            (vec![gone()], 1, 0),
            (vec![Ok(reply(200, b"<html>"))], 1, 0),
        ] {
            let said = format!("{replies:?}");
            let collector = Scripted::answering(replies);
            let (tracer, exporter) = started(&collector, 10, 1, Duration::from_secs(3_600));
            tracer.begin("one").end();
            exporter.stop().await;
            assert_eq!((collector.names().len(), counted(&tracer)), (attempts, (taken, 1 - taken)), "{said}");
        }
    }

    #[test]
    fn answers_are_understood() {
        let partial = opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess {
            rejected_spans: 2,
            error_message: "x\n".to_owned(),
        };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let picked = Reply { status: 200, retry_after: None, body: body.into() };
        assert_eq!(understood(&picked), Ok((2, "x\n".to_owned())));
        assert_eq!(shown("a\nb\u{1b}["), "a\\nb\\u{1b}[");
        let again =
            |status, retry_after| understood(&Reply { status, retry_after, body: Bytes::new() }).unwrap_err().again;
        assert_eq!(again(429, None), Some(RETRY_AFTER));
        assert_eq!(again(503, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(again(503, Some(RETRY_AFTER_MAX + RETRY_AFTER)), None);
        assert_eq!((again(500, None), again(404, None), again(301, None)), (None, None, None));
    }
}
