//! The spans of a session: one for each group of messages that is answered as a whole, up to the message after which the
//! client may ask again.

use super::message::Message;
use crate::access::Principal;
use crate::front::Protocol;
use crate::trace::{Span, Trace, Tracer};

/// The group of messages that is being answered.
#[derive(Debug, Default)]
pub(super) struct Group {
    span: Option<Span>,
}

impl Group {
    /// Goes on with the group that is open, or begins one; returns the place of what the message asks for.
    pub(super) fn enter(&mut self, tracer: &Tracer, message: &Message, who: &Principal) -> Trace {
        if tracer.is_off() {
            return Trace::default();
        }
        let name = match message {
            Message::Query(_) => "postgres query",
            Message::Parse { .. } | Message::Bind(_) | Message::Describe(_) | Message::Execute { .. } => {
                "postgres extended query"
            }
            _ if self.span.is_some() => "",
            // What ends nothing and asks for nothing is no request.
            _ => return Trace::default(),
        };
        let span = self.span.get_or_insert_with(|| {
            let span = begin(tracer, name);
            span.place().proven(who);
            span
        });
        span.place()
    }

    /// Notes an error of a message; `code` is its SQLSTATE.
    pub(super) fn refused(&mut self, code: &'static str) {
        if let Some(span) = &mut self.span {
            refused(span, code);
        }
    }

    /// Ends the group.
    pub(super) fn end(&mut self) {
        if let Some(span) = self.span.take() {
            span.end();
        }
    }
}

/// Begins the span of something that a client asks for.
pub(super) fn begin(tracer: &Tracer, name: &'static str) -> Span {
    let mut span = tracer.request(None, name);
    span.set("network.protocol.name", "postgresql");
    span.set("network.protocol.version", "3.0");
    span.set("hambar.protocol", Protocol::Postgres.name());
    span
}

/// Notes an error. Only what the server got wrong makes a span fail.
pub(super) fn refused(span: &mut Span, code: &'static str) {
    span.set("db.response.status_code", code);
    match code.get(..2) {
        // Of the system, and internal.
        Some("58" | "XX") => span.fail(code),
        _ => span.refuse(code),
    }
}
