//! Serving: who may ask, what may run, and the protocols over both.
//!
//! [`QueryFront`] is the one place that every protocol calls: a principal's statement goes through admission to a query
//! worker, and comes back as a stream of Arrow batches. The process that listens never plans SQL.

mod access;
mod catalogue;
mod cite;
mod discovery;
mod flight;
mod front;
mod net;
mod oidc;
mod page;
mod postgres;
mod rest;
mod trace;

pub use access::{
    ANONYMOUS, AccessError, Anonymous, Authenticator, ColumnPolicy, Grant, Measure, Members, MembersState, NewToken,
    Organisation, Person, Principal, Quota, Role, RowPolicy, Scope, ScramVerifier, SessionKey, TokenRecord,
    TokenSecret, Used, Whom,
};
pub use catalogue::{Catalogue, Column, Dataset};
pub use cite::Centre;
pub use discovery::theme_codes;
pub use flight::{FLIGHT_ALPN, flight_router, serve_flight};
pub use front::{
    AdmissionLimits, Answer, Ask, AskedLimits, Cancelled, FrontError, FrontSettings, Metrics, Protocol, QueryFront,
    QueryId, RunningQuery, ScheduleLoad, Source, TableFreshness, terms, used_today,
};
pub use net::{Accepted, ConnectionLimits, Listener, NetError, Security, ServerTls, Stalling, TlsFiles, load_tls};
pub use oidc::{OidcLogin, OidcSettings, Outbound, OutboundAnswer, OutboundError, OutboundLimits, OutboundRequest};
pub use postgres::{POSTGRES_ALPN, PostgresSettings, serve_postgres};
pub use rest::{HttpSettings, ResultSettings, openapi_document, router, serve_http};
pub use trace::{Collector, Exporter, Parents, Reply, Service, Span, SpanValue, TraceSettings, Tracer};
