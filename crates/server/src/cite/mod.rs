//! Citing from outside: `/cite/…` shows a version of a table or a query as it was cited, in the forms that people and
//! programs want; whoever has a token makes citations by asking for them, and everybody may have a query run again to see
//! that it still gives the same rows. Who may not see a table learns nothing of its citations.

mod base;
mod form;
mod json_ld;
mod make;
mod pages;
mod query;
mod result;
mod shell;
mod signposts;
mod table;

use axum::Router;
use axum::routing::{get, post};

use crate::rest::State;
use crate::rest::openapi::{Body, Operation, schema};
pub(crate) use base::Base;
pub use base::Centre;
pub(crate) use json_ld::data_block;
pub(crate) use shell::page;
pub(crate) use signposts::{Signposts, licence_page};

/// Returns the routes of citations.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/cite/{target}", get(table::show))
        .route("/cite/q/{id}", get(query::show))
        .route("/cite/q/{id}/verify", get(query::verify))
        .route("/cite/q/{id}/{rows}", get(query::rows))
        .route("/api/cite", post(make::make))
}

const FORMS: &str = "with an ending for another form than a page: `.bib`, `.ris`, `.csl.json`, `.datacite.json`, `.txt`; \
    without one, `Accept` decides";

/// What can be asked about citations.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/api/cite",
        tag: "Citations",
        summary: "Cites a query (`sql`, `params`) or a version of a table (`table`, `version`): what it reads stays \
            readable for good. For whoever has a token.",
        parameters: &[],
        answers: &[(200, "The citation, which was there already"), (201, "The citation; its address is in `Location`")],
        body: Some((Body::Json, schema::<make::CiteRequest>)),
        answer: Some(schema::<make::Cited>),
    },
    Operation {
        method: "get",
        path: "/cite/{target}",
        tag: "Citations",
        summary: "Shows the citation of a version of a table. Who asks with a token also makes it, so that the version \
            stays readable for good.",
        parameters: &[("target", "path", "`namespace.table@version`, or `namespace.table` for the newest version")],
        answers: &[(200, FORMS), (307, "Where the newest version is cited")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/cite/q/{id}",
        tag: "Citations",
        summary: "Shows the citation of a query.",
        parameters: &[("id", "path", "The id of the citation")],
        answers: &[(200, FORMS)],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/cite/q/{id}/verify",
        tag: "Citations",
        summary: "Runs a cited query again over the versions that it read, and says whether its rows are the same.",
        parameters: &[("id", "path", "The id of the citation")],
        answers: &[(200, "Whether they are the same")],
        body: None,
        answer: Some(schema::<query::Verified>),
    },
    Operation {
        method: "get",
        path: "/cite/q/{id}/{rows}",
        tag: "Citations",
        summary: "Returns the rows of a cited query, over the versions that it read.",
        parameters: &[
            ("id", "path", "The id of the citation"),
            ("rows", "path", "`rows`, or with the ending of a form: `rows.csv`, `rows.parquet` …"),
        ],
        answers: &[(200, "The rows")],
        body: None,
        answer: None,
    },
];
