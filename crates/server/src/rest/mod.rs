//! HTTP: SQL and tables in every form, the queries that run, and what operators look at.

pub(crate) mod auth;
mod body;
pub(crate) mod cache;
mod compress;
pub(crate) mod deliver;
pub(crate) mod encode;
pub(crate) mod format;
mod kept;
mod once;
pub(crate) mod openapi;
mod operate;
mod page;
pub(crate) mod parameters;
pub(crate) mod problem;
pub(crate) mod serve;
mod spool;
pub(crate) mod sql;
pub(crate) mod tables;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get};
use hambar_lake::Access;
use tokio_util::sync::CancellationToken;

use crate::access::Authenticator;
use crate::cite::{self, Centre};
use crate::discovery::{self, Cards};
use crate::front::QueryFront;
use crate::net::Security;
use crate::oidc::{Oidc, OidcLogin};
use crate::page::{self as web, Pages};
use crate::trace::{self, Entrance, Speech};
use cache::Results;
pub use openapi::openapi_document;
pub use serve::serve_http;
pub use spool::ResultSettings;
use spool::Spools;

/// The limits of HTTP.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Time for a request's head, and for the pause before the next one.
    pub head_time_max: Duration,
    /// Time for a request's body.
    pub body_time_max: Duration,
    /// Time in which a client must take something of what is sent.
    pub write_time_max: Duration,
    /// Bytes of answers that are held for the next time.
    pub cache_bytes_max: u64,
    /// Answers that are taken page by page.
    pub results: ResultSettings,
    /// Whether everybody may read the metrics.
    pub open_metrics: bool,
    /// Whether the store may be written to.
    pub access: Access,
    /// Whether what is sent can be read on the way.
    pub security: Security,
    /// What the centre says of itself.
    pub centre: Centre,
    /// Where people may log in besides, if they may.
    pub oidc: Option<OidcLogin>,
    /// Proxies that are believed whom they speak for (`X-Forwarded-For`).
    pub trusted_proxies: Vec<IpAddr>,
}

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) front: QueryFront,
    pub(crate) authenticator: Authenticator,
    pub(crate) results: Arc<Results>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) spools: Spools,
    pub(crate) cards: Arc<Cards>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) settings: Arc<HttpSettings>,
    pub(crate) stopping: CancellationToken,
}

/// Returns the routes of HTTP. `stopping` makes `/readyz` say no.
pub fn router(
    front: QueryFront,
    authenticator: Authenticator,
    settings: HttpSettings,
    stopping: CancellationToken,
) -> Router {
    let results = Arc::new(Results::new(settings.cache_bytes_max));
    let spools = Spools::new(settings.results.clone());
    let body_bytes_max = settings.body_bytes_max;
    let pages = Arc::new(Pages::start(front.catalogue().clone(), stopping.clone()));
    let oidc = settings.oidc.clone().map(Oidc::new);
    let settings = Arc::new(settings);
    let scheme = if settings.security == Security::Tls { "https" } else { "http" };
    let entrance = Entrance { tracer: front.tracer().clone(), speech: Speech::Http, scheme };
    let cards = Arc::default();
    let state = State { front, authenticator, results, pages, spools, cards, oidc, settings, stopping };
    web::routes()
        .route("/api/{what}", get(sql::get).post(sql::post))
        .route("/api/queries", get(operate::queries))
        .route("/api/queries/{id}", delete(operate::cancel))
        .route("/api/results/{id}", get(kept::next).delete(kept::delete))
        .route("/api/tables", get(tables::list))
        .route("/api/tables/{table}", get(tables::rows))
        .route("/api/tables/{table}/schema", get(tables::schema))
        .route("/api/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .route("/docs/errors", get(openapi::errors))
        .route("/docs/style.css", get(openapi::style))
        .route("/metrics", get(operate::metrics))
        .route("/healthz", get(operate::healthz))
        .route("/readyz", get(operate::readyz))
        .merge(cite::routes())
        .merge(discovery::routes())
        .fallback(web::not_found)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn(compress::compress))
        .layer(middleware::from_fn_with_state(state.clone(), operate::observe))
        .layer(middleware::from_fn_with_state(entrance, trace::enter))
        .with_state(state)
}
