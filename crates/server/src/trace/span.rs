//! Spans: begun, described and ended. Those of one request are held until the request has ended, since only then it is
//! known who asked, and with it whether they are wanted.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::time::Instant;

use super::attributes::{SpanValue, attribute};
use super::context::{Remote, SpanId, TraceId};
use super::sampling::Chance;
use super::tracer::Inner;
use crate::access::Principal;

/// Spans of one request; more are lost.
const SPANS_MAX: usize = 1_000;
/// The attribute that says how something ended.
pub(crate) const OUTCOME: &str = "hambar.outcome";
/// The attribute that says of which class an error is.
const ERROR: &str = "error.type";
/// Whether the caller's span is of another process, in the bits where OTLP says so.
const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something inside this process.
    Internal,
    /// A request that came from outside.
    Server,
}

/// What the spans of one request, or of one run, share.
#[derive(Debug)]
pub(super) struct Work {
    tracer: Arc<Inner>,
    trace: TraceId,
    state: String,
    chance: Chance,
    /// One instant by both clocks, so that spans have times of day that follow each other.
    began: (u64, Instant),
    asker: OnceLock<Who>,
    held: Mutex<Held>,
}

/// Who asked.
#[derive(Debug)]
struct Who {
    organisation: Option<String>,
    is_member: bool,
}

/// The spans of a request that have ended.
#[derive(Debug)]
enum Held {
    /// The request goes on: its spans, and what is to be said of the request itself.
    Open { spans: Vec<otlp::Span>, notes: Vec<KeyValue> },
    /// It is over, and it is known whether spans of it are wanted. Some end later, as those of open cursors.
    Over { is_sampled: bool },
}

impl Work {
    pub(super) fn begin(tracer: Arc<Inner>, remote: Option<&Remote>) -> Self {
        let trace = remote.map_or_else(TraceId::random, |remote| remote.trace);
        let settings = &tracer.settings;
        let chance = Chance::draw(settings.sample_ratio, settings.parents, remote, trace);
        let now = u64::try_from(tracer.clock.now().as_nanosecond()).unwrap_or(0);
        Self {
            trace,
            state: remote.map(|remote| remote.state.clone()).unwrap_or_default(),
            chance,
            began: (now, Instant::now()),
            asker: OnceLock::new(),
            held: Mutex::new(Held::Open { spans: Vec::new(), notes: Vec::new() }),
            tracer,
        }
    }

    fn is_sampled(&self) -> bool {
        self.chance.is_sampled(self.asker.get().is_some_and(|who| who.is_member))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is whole before anything could panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        let (clock, instant) = self.began;
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match at.checked_duration_since(instant) {
            Some(after) => clock.saturating_add(nanoseconds(after)),
            None => clock.saturating_sub(nanoseconds(instant.duration_since(at))),
        }
    }

    /// Takes a span that has ended below the request's own.
    fn keep(&self, span: otlp::Span) {
        let mut held = self.held();
        match &mut *held {
            Held::Open { spans, .. } if spans.len() < SPANS_MAX => spans.push(span),
            Held::Open { .. } => self.tracer.lost(1),
            Held::Over { is_sampled: true } => self.tracer.send(span),
            Held::Over { is_sampled: false } => {}
        }
    }

    /// Takes the request's own span, and sends all of them where they are wanted.
    fn close(&self, mut own: otlp::Span) {
        let is_sampled = self.is_sampled();
        let held = std::mem::replace(&mut *self.held(), Held::Over { is_sampled });
        let Held::Open { spans, notes } = held else { return };
        if !is_sampled {
            return;
        }
        own.attributes.extend(notes);
        if let Some(organisation) = self.asker.get().and_then(|who| who.organisation.as_deref()) {
            own.attributes.push(attribute("hambar.organisation", organisation.into()));
        }
        // The request first: whoever reads along sees parents before their children.
        std::iter::once(own).chain(spans).for_each(|span| self.tracer.send(span));
    }
}

/// A place in a trace: what begins here is a child of its span. The default is nowhere, where nothing is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    place: Option<(Arc<Work>, SpanId)>,
}

impl Trace {
    /// Says whether it is no place at all.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.place.is_none()
    }

    /// Returns the id of the trace, to be shown to people.
    pub(crate) fn id(&self) -> Option<TraceId> {
        self.place.as_ref().map(|(work, _)| work.trace)
    }

    /// Returns what `traceresponse` tells the caller.
    pub(crate) fn told(&self) -> Option<String> {
        let (work, span) = self.place.as_ref()?;
        Some(format!("00-{}-{span}-{:02x}", work.trace, u8::from(work.is_sampled())))
    }

    /// Says who asks. What they show decides whether they are believed about sampling.
    pub(crate) fn proven(&self, who: &Principal) {
        if let Some((work, _)) = &self.place {
            let organisation = who.organisation().map(str::to_owned);
            // A second proof of the same request changes nothing.
            let _ = work.asker.set(Who { organisation, is_member: who.role().is_some() });
        }
    }

    /// Says something of the request as a whole.
    pub(crate) fn note(&self, key: &'static str, value: impl Into<SpanValue>) {
        if let Some((work, _)) = self.place.as_ref().filter(|(work, _)| work.chance.is_open())
            && let Held::Open { notes, .. } = &mut *work.held()
        {
            let noted = attribute(key, value.into());
            notes.retain(|note| note.key != key);
            notes.push(noted);
        }
    }

    /// Begins a span.
    pub(crate) fn span(&self, name: &'static str) -> Span {
        self.span_at(name, Instant::now())
    }

    /// Begins a span at an instant that has passed.
    pub(crate) fn span_at(&self, name: &'static str, begun: Instant) -> Span {
        let Some((work, parent)) = &self.place else { return Span::default() };
        let parent = Parent { span: *parent, is_remote: false };
        Span::begin(Arc::clone(work), Some(parent), Kind::Internal, name, begun)
    }
}

#[derive(Debug, Clone, Copy)]
struct Parent {
    span: SpanId,
    is_remote: bool,
}

/// Something that takes time. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    work: Arc<Work>,
    id: SpanId,
    parent: Option<Parent>,
    /// Whether it is the first of its request in this process.
    is_first: bool,
    kind: Kind,
    name: Cow<'static, str>,
    begun: Instant,
    attributes: Vec<KeyValue>,
    /// Whether it failed.
    has_failed: bool,
    /// Whether anybody said how it ended.
    is_told: bool,
}

impl Span {
    /// Begins the first span of a request, or of a run.
    pub(super) fn first(work: Work, remote: Option<&Remote>, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        let parent = remote.map(|remote| Parent { span: remote.span, is_remote: true });
        let begun = work.began.1;
        let mut span = Self::begin(Arc::new(work), parent, kind, name, begun);
        if let Some(open) = &mut span.open {
            open.is_first = true;
        }
        span
    }

    fn begin(
        work: Arc<Work>,
        parent: Option<Parent>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        begun: Instant,
    ) -> Self {
        let open = Open {
            work,
            id: SpanId::random(),
            parent,
            is_first: false,
            kind,
            name: name.into(),
            begun,
            attributes: Vec::new(),
            has_failed: false,
            is_told: false,
        };
        Self { open: Some(Box::new(open)) }
    }

    /// Returns the place below this span.
    pub(crate) fn place(&self) -> Trace {
        Trace { place: self.open.as_ref().map(|open| (Arc::clone(&open.work), open.id)) }
    }

    /// Says whether what is said of it may ever be read. Whatever takes time to find out need not be, otherwise.
    pub fn is_recorded(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.work.chance.is_open())
    }

    /// Says whether statements may be shown.
    pub(crate) fn shows_statements(&self) -> bool {
        self.is_recorded() && self.open.as_ref().is_some_and(|open| open.work.tracer.settings.shows_statements)
    }

    /// Calls it by another name.
    pub(crate) fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.open {
            open.name = name.into();
        }
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<SpanValue>) {
        if self.is_recorded()
            && let Some(open) = &mut self.open
        {
            // A key is there once; what is said last holds.
            open.attributes.retain(|known| known.key != key);
            open.attributes.push(attribute(key, value.into()));
        }
    }

    /// Says that it failed, and with which class of error.
    pub fn fail(&mut self, class: &str) {
        self.set(ERROR, class);
        if let Some(open) = &mut self.open {
            open.has_failed = true;
        }
    }

    /// Says with which class of error it ended, which is no failure of ours.
    pub(crate) fn refuse(&mut self, class: &str) {
        self.set(ERROR, class);
    }

    /// Ends it now.
    pub fn end(self) {
        self.end_at(Instant::now());
    }

    /// Ends it at an instant that has passed.
    pub(crate) fn end_at(mut self, ended: Instant) {
        if let Some(mut open) = self.open.take() {
            open.is_told = true;
            open.close(ended);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.close(Instant::now());
        }
    }
}

impl Open {
    fn close(mut self, ended: Instant) {
        if !self.work.chance.is_open() {
            return;
        }
        if self.is_first && !self.is_told {
            // Whatever was at it was dropped: nobody waits for it any more.
            self.attributes.push(attribute(OUTCOME, "abandoned".into()));
        }
        let begun = self.work.nanoseconds(self.begun);
        let is_remote = self.parent.is_some_and(|parent| parent.is_remote);
        let code = if self.has_failed { StatusCode::Error } else { StatusCode::Unset };
        let kind = match self.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
        };
        let span = otlp::Span {
            trace_id: self.work.trace.bytes(),
            span_id: self.id.bytes(),
            trace_state: self.work.state.clone(),
            parent_span_id: self.parent.map(|parent| parent.span.bytes()).unwrap_or_default(),
            // Only sampled ones are ever sent.
            flags: 1 | IS_REMOTE_KNOWN | if is_remote { IS_REMOTE } else { 0 },
            name: self.name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: begun,
            end_time_unix_nano: self.work.nanoseconds(ended).max(begun),
            attributes: self.attributes,
            status: Some(otlp::Status { code: code.into(), ..otlp::Status::default() }),
            ..otlp::Span::default()
        };
        if self.is_first {
            self.work.close(span);
        } else {
            self.work.keep(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::export::{Collector, Reply};
    use crate::trace::{Parents, Service, TraceSettings, Tracer};

    /// Takes nothing in.
    #[derive(Debug)]
    struct Nobody;

    impl Collector for Nobody {
        fn address(&self) -> &str {
            "nobody"
        }

        fn send(&self, _: axum::body::Bytes) -> futures::future::BoxFuture<'_, Result<Reply, String>> {
            Box::pin(std::future::pending())
        }
    }

    #[derive(Debug)]
    struct Still;

    impl hambar_core::Clock for Still {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }

    /// A tracer whose queue holds a single span, so that all others of a request are counted as lost.
    fn tracer(sample_ratio: f64) -> Tracer {
        let settings = TraceSettings {
            sample_ratio,
            parents: Parents::Members,
            shows_statements: false,
            queue_spans_max: 1,
            batch_spans_max: 1,
            every: Duration::from_secs(1),
            send_time_max: Duration::from_secs(1),
            service: Service { name: String::new(), version: String::new(), instance: String::new() },
        };
        Tracer::start(settings, Arc::new(Nobody), Arc::new(Still)).0
    }

    fn lost(tracer: &Tracer) -> u64 {
        tracer.counters().unwrap().lost.get()
    }

    #[tokio::test]
    async fn spans_are_held_until_the_request_is_over_and_late_ones_follow() {
        let tracer = tracer(1.0);
        let root = tracer.request(None, "request");
        let late = root.place().span("late");
        root.place().span("early").end();
        assert_eq!(lost(&tracer), 0, "nothing is sent before the end");
        root.end();
        assert_eq!(lost(&tracer), 1);
        late.place().span("later still").end();
        late.end();
        assert_eq!(lost(&tracer), 3);
    }

    #[tokio::test]
    async fn what_is_not_sampled_is_not_recorded_and_has_an_id_all_the_same() {
        let tracer = tracer(0.0);
        let mut root = tracer.request(None, "request");
        assert!(!root.is_recorded() && root.place().id().is_some());
        assert!(root.place().told().unwrap().ends_with("-00"));
        root.set("a", "b");
        root.place().span("child").end();
        root.end();
        assert_eq!(lost(&tracer), 0);
    }

    #[tokio::test]
    async fn one_request_has_bounded_spans() {
        let tracer = tracer(1.0);
        let root = tracer.request(None, "request");
        for _ in 0..SPANS_MAX + 7 {
            root.place().span("child").end();
        }
        assert_eq!(lost(&tracer), 7);
    }

    #[test]
    fn nowhere_costs_nothing() {
        let mut span = Tracer::default().begin("run");
        span.set("a", "b");
        span.fail("c");
        assert!(!span.is_recorded() && span.place().is_nowhere() && span.open.is_none());
        assert!(crate::trace::current().is_nowhere() && crate::trace::current().span("a").open.is_none());
    }
}
