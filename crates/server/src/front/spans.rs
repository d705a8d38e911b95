//! The spans of a query: what it waited for, how long its worker planned and ran it, and how long its answer took to
//! leave. The worker has no network and only tells how long it took; the spans are made here.

use hambar_core::ErrorClass;
use hambar_query::{Progress, Told};
use tokio::time::Instant;

use super::{Ask, FrontError};
use crate::trace::{self, Span};

/// How an answer was found without a run: `cached`, `unchanged`; or `miss`.
pub(crate) const CACHE: &str = "hambar.cache";
/// SHA-256 of the statement, as in the log and in `system.audit`.
pub(crate) const STATEMENT: &str = "hambar.statement.sha256";

/// Begins the span of a question, below the request that brings it.
pub(super) fn begin(name: &'static str, ask: &Ask) -> Span {
    let mut span = trace::current().span(name);
    if !span.is_recorded() {
        return span;
    }
    span.set("db.system.name", "hambar");
    span.set("db.operation.name", trace::operation(&ask.sql));
    span.set(STATEMENT, crate::access::fingerprint(&ask.sql));
    if span.shows_statements() {
        span.set("db.query.text", ask.sql.as_str());
    }
    span.set("hambar.protocol", ask.protocol.name());
    if let Some(organisation) = ask.principal.organisation() {
        span.set("hambar.organisation", organisation);
    }
    span
}

/// Waits for a turn.
pub(super) async fn queue<T>(above: &Span, turn: impl Future<Output = Result<T, FrontError>>) -> Result<T, FrontError> {
    use hambar_core::Classified as _;
    let mut span = above.place().span("queue");
    let turn = turn.await;
    if let Err(error) = &turn {
        failed(&mut span, error.class());
    }
    span.end();
    turn
}

/// Makes a span of the planning that the worker has told of, and returns when it was over. `failure` is the class of the
/// error with which the question ended, if it did.
pub(super) fn planned(above: &Span, progress: &Progress, failure: Option<ErrorClass>) -> Option<Instant> {
    if !above.is_recorded() {
        return None;
    }
    let told = progress.told();
    let asked_at = told.asked_at?;
    let mut plan = above.place().span_at("plan", asked_at);
    let Some(took) = told.planned else {
        if let Some(class) = failure {
            failed(&mut plan, class);
        }
        plan.end_at(ended(asked_at, &told));
        return None;
    };
    plan.end_at(asked_at + took);
    Some(asked_at + took)
}

/// Makes spans of the planning and the run that the worker has told of.
pub(super) fn worked(above: &Span, progress: &Progress, failure: Option<ErrorClass>) {
    let Some(planned_at) = planned(above, progress, failure) else { return };
    let told = progress.told();
    let mut execute = above.place().span_at("execute", planned_at);
    if let Some(busy) = told.worked.and_then(|worked| u64::try_from(worked.as_micros()).ok()) {
        execute.set("hambar.worker.busy_us", busy);
    }
    if let Some(class) = failure {
        failed(&mut execute, class);
    }
    execute.end_at(told.asked_at.map_or_else(Instant::now, |asked_at| ended(asked_at, &told)).max(planned_at));
}

/// When a question was over: as its worker told, or now, where that was ended.
fn ended(asked_at: Instant, told: &Told) -> Instant {
    told.ended.map_or_else(Instant::now, |took| asked_at + took)
}

/// Notes an error. Only what the server, or what it needs, got wrong makes a span fail.
pub(super) fn failed(span: &mut Span, class: ErrorClass) {
    match class {
        ErrorClass::Internal | ErrorClass::Store | ErrorClass::Transient => span.fail(class.name()),
        _ => span.refuse(class.name()),
    }
}
