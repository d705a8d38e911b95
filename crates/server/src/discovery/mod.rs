//! Being found from outside: the catalogue as DCAT-AP 3, what each table says of itself to search engines and to tools
//! (schema.org, Croissant, CSVW, Frictionless), whole tables as files, and where crawlers may go. Everybody sees the
//! tables that exist for them and no others.

mod card;
mod catalog;
mod coverage;
mod croissant;
mod csvw;
mod dcat;
mod exports;
mod frictionless;
mod graph;
mod kinds;
mod schema_org;
mod sitemap;
mod vocabulary;

use axum::Router;
use axum::routing::get;

pub(crate) use card::Cards;
pub(crate) use exports::signposts;
pub(crate) use schema_org::dataset_json_ld;
pub use vocabulary::theme_codes;

use crate::rest::State;
use crate::rest::openapi::Operation;

/// Returns the routes of the catalogue and of what tables say of themselves.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/catalog", get(catalog::negotiated))
        .route("/catalog.ttl", get(catalog::named))
        .route("/catalog.jsonld", get(catalog::named))
        .route("/catalog.rdf", get(catalog::named))
        .route("/tables/{table}/croissant.json", get(exports::metadata))
        .route("/tables/{table}/schema-org.json", get(exports::schema_org))
        .route("/tables/{table}/datapackage.json", get(exports::metadata))
        .route("/tables/{table}/data.csv-metadata.json", get(exports::metadata))
        .route("/tables/{table}/data.csv", get(exports::data))
        .route("/tables/{table}/data.parquet", get(exports::data))
        .route("/tables/{table}/data.ndjson", get(exports::data))
        .route("/tables/{table}/data.arrow", get(exports::data))
        .route("/tables/{table}/data.xlsx", get(exports::data))
        .route("/sitemap.xml", get(sitemap::sitemap))
        .route("/robots.txt", get(sitemap::robots))
}

const TABLE: (&str, &str, &str) = ("table", "path", "`namespace.table`");

const fn metadata(path: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        tag: "Catalogue",
        summary,
        parameters: &[TABLE],
        answers: &[(200, "The description")],
        body: None,
        answer: None,
    }
}

const fn catalogue(path: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        tag: "Catalogue",
        summary,
        parameters: &[],
        answers: &[(200, "What exists for whoever asks")],
        body: None,
        answer: None,
    }
}

const fn data(path: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        tag: "Tables",
        summary,
        parameters: &[TABLE, ("version", "query", "A version; the newest one where it is absent")],
        answers: &[
            (200, "All rows, as far as the limits of the server reach"),
            (304, "Nothing has changed since the answer with the tag in `If-None-Match`"),
        ],
        body: None,
        answer: None,
    }
}

/// What can be asked about the catalogue.
pub(crate) const OPERATIONS: &[Operation] = &[
    catalogue("/catalog", "The catalogue as DCAT-AP 3, in the form that `Accept` names: Turtle, JSON-LD or RDF/XML."),
    catalogue("/catalog.ttl", "The catalogue as DCAT-AP 3 in Turtle."),
    catalogue("/catalog.jsonld", "The catalogue as DCAT-AP 3 in JSON-LD."),
    catalogue("/catalog.rdf", "The catalogue as DCAT-AP 3 in RDF/XML."),
    catalogue("/sitemap.xml", "The pages of the tables, for search engines."),
    catalogue("/robots.txt", "Where crawlers may go."),
    metadata("/tables/{table}/croissant.json", "Describes a table as Croissant 1.1, for machine learning."),
    metadata("/tables/{table}/schema-org.json", "Describes a table as a data set of schema.org."),
    metadata("/tables/{table}/datapackage.json", "Describes a table as a Frictionless data package."),
    metadata("/tables/{table}/data.csv-metadata.json", "Describes `data.csv` as CSV on the Web."),
    data("/tables/{table}/data.csv", "Returns all rows of a table as CSV."),
    data("/tables/{table}/data.parquet", "Returns all rows of a table as Parquet."),
    data("/tables/{table}/data.ndjson", "Returns all rows of a table as one JSON object a line."),
    data("/tables/{table}/data.arrow", "Returns all rows of a table as an Arrow stream."),
    data("/tables/{table}/data.xlsx", "Returns all rows of a table as a workbook."),
];
