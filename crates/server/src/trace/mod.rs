//! Traces of requests and runs, sent as OTLP to a collector: what waited where and for how long, never a token, and a
//! statement only where the settings want it.
//!
//! A [`Tracer`] that is off costs a look at an empty option. Spans end in a bounded queue; whatever the collector does,
//! requests do not wait for it. The messages of OTLP are the generated ones; recording, sampling and sending are here,
//! since OpenTelemetry's own kit takes its settings from the environment behind our back.

mod attributes;
mod context;
mod entrance;
mod export;
mod sampling;
mod span;
mod tracer;

pub use attributes::SpanValue;
pub use export::{Collector, Exporter, Reply};
pub use sampling::Parents;
pub use span::Span;
pub use tracer::{Service, TraceSettings, Tracer};

pub(crate) use attributes::operation;
pub(crate) use entrance::{Entrance, Speech, enter};
pub(crate) use span::Trace;

tokio::task_local! {
    /// Where in which trace the current task is.
    static CURRENT: Trace;
}

/// Returns where in which trace the current task is: nowhere, where it belongs to no request or none are traced.
pub(crate) fn current() -> Trace {
    CURRENT.try_with(Trace::clone).unwrap_or_default()
}

/// Does `work` at a place in a trace.
pub(crate) async fn within<T>(place: Trace, work: impl Future<Output = T>) -> T {
    if place.is_nowhere() {
        return work.await;
    }
    CURRENT.scope(place, work).await
}

/// Finds out who asks, in a span of its own; `class` says of which class an error is.
pub(crate) async fn authenticate<T, E>(
    class: impl FnOnce(&E) -> &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut span = current().span("authenticate");
    let found = work.await;
    if let Err(error) = &found {
        span.refuse(class(error));
    }
    span.end();
    found
}
