//! The web page: catalogue, datasets and SQL for people. Every page is written here, on the server, complete without
//! scripts; scripts only make it more convenient. Pages ask through the same front as everybody else, and show nothing
//! that the interface would not.

mod about;
mod assets;
mod catalogue;
mod cells;
mod countries;
mod dataset;
mod error;
mod form;
mod login;
mod looks;
mod numbers;
mod oidc;
mod operations;
pub(crate) mod permalink;
mod rows;
pub(crate) mod saved;
mod search;
mod serve_assets;
mod shell;
mod texts;
mod vintages;
mod visitor;
mod workbench;

use axum::Router;
use axum::routing::{delete, get, post};
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::oidc::CALLBACK;
use crate::rest::State;
use dataset::facts::FactsCache;
use dataset::profile::Profiles;
pub(crate) use error::not_found;
use search::Librarian;

/// What pages keep for the next time.
#[derive(Debug)]
pub(crate) struct Pages {
    librarian: Librarian,
    profiles: Profiles,
    facts: FactsCache,
}

impl Pages {
    /// Starts to learn about the tables of `catalogue`, until `stop`. Call it within a runtime.
    pub(crate) fn start(catalogue: Catalogue, stop: CancellationToken) -> Self {
        let librarian = Librarian::default();
        tokio::spawn(librarian.details().keep(catalogue, stop));
        Self { librarian, profiles: Profiles::default(), facts: FactsCache::default() }
    }
}

/// Returns the addresses of the pages and of what only they use.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/", get(catalogue::page))
        .route("/api/search", get(catalogue::search))
        .route("/api/catalogue", get(catalogue::tables))
        .route("/tables/{table}", get(dataset::page))
        .route("/tables/{table}/vintages", get(vintages::page))
        .route("/operations", get(operations::page))
        .route("/api/saved", get(saved::list).post(saved::add))
        .route("/api/saved/{id}", delete(saved::remove))
        .route("/api/permalink", post(permalink::make))
        .route("/sql", get(workbench::page).post(workbench::run))
        .route("/login", get(login::form).post(login::log_in))
        .route("/login/oidc", get(oidc::begin))
        .route(CALLBACK, get(oidc::callback))
        .route("/logout", post(login::log_out))
        .route("/about", get(about::page))
        .route("/assets/{path}", get(serve_assets::asset))
}
