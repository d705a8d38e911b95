//! What the interface is: an OpenAPI 3.1 document made from the table of operations and the types of their bodies, and
//! pages that people read. The pages need no script and no other host.

use std::fmt::Write as _;

use axum::Json;
use axum::response::{Html, IntoResponse};
use hambar_core::ErrorClass;
use http::header;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::{self, Problem};
use super::{sql, tables};
use crate::front::RunningQuery;
use crate::page::{permalink, saved};

const STYLE: &str = include_str!("docs.css");

/// Describes a type.
pub(crate) type Describe = fn(&mut SchemaGenerator) -> Value;

/// One thing that can be asked.
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    /// Name, place (`path` or `query`), meaning.
    pub(crate) parameters: &'static [(&'static str, &'static str, &'static str)],
    /// The statuses besides the errors that every operation has.
    pub(crate) answers: &'static [(u16, &'static str)],
    pub(crate) body: Option<(Body, Describe)>,
    pub(crate) answer: Option<Describe>,
}

/// The forms in which a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Json,
    /// JSON, or a statement alone.
    JsonOrSql,
}

const TABLE: (&str, &str, &str) = ("table", "path", "`namespace.table`");
const FORMAT: (&str, &str, &str) =
    ("format", "query", "`json`, `ndjson`, `csv`, `arrow`, `parquet` or `xlsx`; without it, `Accept` decides");

const PAGE_ROWS: (&str, &str, &str) =
    ("page_rows", "query", "Rows of a page: the answer is kept, and `Link: rel=\"next\"` is the next page of it");
const RESULT: (&str, &str, &str) = ("id", "path", "The answer's id, from `Hambar-Result`");

/// Everything that can be asked. A test compares it with what the router answers.
const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/sql",
        tag: "SQL",
        summary: "Runs the statement of an address. `/api/sql.csv` and the like choose the form, too.",
        parameters: &[
            ("q", "query", "The statement"),
            ("params", "query", "The values of `$1`, `$2` … as a JSON array"),
            FORMAT,
            ("rows", "query", "Rows of the answer at most"),
            ("seconds", "query", "Seconds for everything"),
            PAGE_ROWS,
        ],
        answers: &[
            (200, "The rows, in the form asked for; with `page_rows` the first page of them"),
            (206, "CSV or Arrow of which rows are missing: a limit was reached, see `Hambar-Truncated`"),
            (304, "Nothing has changed since the answer with the tag in `If-None-Match`"),
        ],
        body: None,
        answer: None,
    },
    Operation {
        method: "post",
        path: "/api/sql",
        tag: "SQL",
        summary: "Runs a statement: JSON with values and limits, or the statement alone as `application/sql`.",
        parameters: &[
            FORMAT,
            ("params", "query", "With a statement alone: the values of `$1`, `$2` … as a JSON array"),
            ("rows", "query", "With a statement alone: rows of the answer at most"),
            ("seconds", "query", "With a statement alone: seconds for everything"),
            PAGE_ROWS,
        ],
        answers: &[
            (200, "The rows, in the form asked for"),
            (206, "CSV or Arrow of which rows are missing: a limit was reached, see `Hambar-Truncated`"),
        ],
        body: Some((Body::JsonOrSql, schema::<sql::SqlRequest>)),
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/results/{id}",
        tag: "SQL",
        summary: "Returns a page of an answer that is kept. All pages are of one and the same run of the statement.",
        parameters: &[
            RESULT,
            ("from", "query", "The number of rows before the page: 0 where it is absent"),
            ("rows", "query", "Rows of the page: 100 000 where it is absent, and at most"),
            FORMAT,
        ],
        answers: &[
            (200, "A page; `Link: rel=\"next\"` where there are more rows"),
            (206, "The last page, as CSV or Arrow, of an answer that a limit cut off"),
        ],
        body: None,
        answer: None,
    },
    Operation {
        method: "delete",
        path: "/api/results/{id}",
        tag: "SQL",
        summary: "Lets an answer go that is kept.",
        parameters: &[RESULT],
        answers: &[(204, "It is gone")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/tables",
        tag: "Tables",
        summary: "Lists the tables that exist for whoever asks.",
        parameters: &[],
        answers: &[(200, "The tables")],
        body: None,
        answer: Some(schema::<Vec<tables::Listed>>),
    },
    Operation {
        method: "get",
        path: "/api/tables/{table}",
        tag: "Tables",
        summary: "Returns rows of a table, page by page. Every other name in the address is a column: `country=BGR`, \
            `year=gte.2015` (`eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `like`, `in.(a,b)`, `is.null`, `not.null`).",
        parameters: &[
            (
                "table",
                "path",
                "`namespace.table`, with the ending of a form (`.csv`) where another than JSON is wanted",
            ),
            ("_columns", "query", "The columns, separated by commas"),
            ("_sort", "query", "Columns to sort by, separated by commas, `-` before one that falls"),
            ("_limit", "query", "Rows of a page: 1 000 where it is absent, at most 10 000"),
            ("_after", "query", "Where the page starts: taken from `Link: rel=\"next\"` of the one before"),
            ("_version", "query", "The table as this version of it stood"),
            ("_as_of", "query", "The table as it was known at this instant"),
            FORMAT,
        ],
        answers: &[
            (200, "A page of rows; `Link: rel=\"next\"` where there are more"),
            (304, "Nothing has changed since the answer with the tag in `If-None-Match`"),
        ],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/tables/{table}/schema",
        tag: "Tables",
        summary: "Returns the columns of a table, and what is declared about it.",
        parameters: &[TABLE],
        answers: &[(200, "The columns")],
        body: None,
        answer: Some(schema::<tables::TableSchema>),
    },
    Operation {
        method: "get",
        path: "/api/queries",
        tag: "Queries",
        summary: "Lists the queries that wait and run: one's own, and for operators everybody's.",
        parameters: &[],
        answers: &[(200, "The queries")],
        body: None,
        answer: Some(schema::<Vec<RunningQuery>>),
    },
    Operation {
        method: "delete",
        path: "/api/queries/{id}",
        tag: "Queries",
        summary: "Stops a query. Its id is in the header `Hambar-Query` and in the list.",
        parameters: &[("id", "path", "The query's id")],
        answers: &[(204, "It is being stopped")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/search",
        tag: "Catalogue",
        summary: "Finds tables by words and their beginnings, in titles, names, columns, codes and descriptions.",
        parameters: &[
            ("q", "query", "The words; without them, all tables"),
            ("provider", "query", "Only those of this provider"),
            ("topic", "query", "Only those of this collection, which is a namespace"),
            ("country", "query", "Only those about this country, by its code of two letters"),
            ("licence", "query", "Only those under this licence"),
            ("fresh", "query", "Only those that changed within a `day`, `week`, `month` or `year`"),
            ("limit", "query", "Hits at most: 20 where it is absent, at most 100"),
        ],
        answers: &[(200, "How many there are, the best of them, and what would narrow them")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/catalogue",
        tag: "Catalogue",
        summary: "Lists the tables that exist for whoever asks, with their columns.",
        parameters: &[],
        answers: &[(200, "The tables")],
        body: None,
        answer: None,
    },
    Operation {
        method: "post",
        path: "/api/permalink",
        tag: "SQL",
        summary: "Writes the versions that a statement reads now into it, so that it gives the same rows for good.",
        parameters: &[],
        answers: &[(200, "The statement, its link, and whether it is pinned")],
        body: Some((Body::Json, schema::<permalink::Wanted>)),
        answer: None,
    },
    Operation {
        method: "get",
        path: "/api/saved",
        tag: "Saved statements",
        summary: "Lists one's own statements, and those that one's organisation shares.",
        parameters: &[],
        answers: &[(200, "The statements, the newest first")],
        body: None,
        answer: None,
    },
    Operation {
        method: "post",
        path: "/api/saved",
        tag: "Saved statements",
        summary: "Keeps a statement, for oneself or for one's organisation.",
        parameters: &[],
        answers: &[(201, "It is kept")],
        body: Some((Body::Json, schema::<saved::Wanted>)),
        answer: None,
    },
    Operation {
        method: "delete",
        path: "/api/saved/{id}",
        tag: "Saved statements",
        summary: "Forgets one of one's own statements.",
        parameters: &[("id", "path", "The statement's id")],
        answers: &[(204, "It is forgotten")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/metrics",
        tag: "Operation",
        summary: "Returns the counters for Prometheus. For operators, unless the configuration opens it.",
        parameters: &[],
        answers: &[(200, "The counters")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/healthz",
        tag: "Operation",
        summary: "Says that the process is alive.",
        parameters: &[],
        answers: &[(200, "It is alive")],
        body: None,
        answer: None,
    },
    Operation {
        method: "get",
        path: "/readyz",
        tag: "Operation",
        summary: "Says whether queries would be answered: the store can be reached and the server is not going down.",
        parameters: &[],
        answers: &[(200, "It is ready"), (503, "It is not")],
        body: None,
        answer: None,
    },
];

/// What the description says of the whole interface.
const ABOUT: &str = "SQL and tables over HTTP. Send the token as `Authorization: Bearer hbr_…`. Every answer names its \
    sources and their licences in `Hambar-Sources` and `Link: rel=\"license\"`; rows that a limit cut off are said in \
    `Hambar-Truncated` and in the body.";

fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(crate::cite::OPERATIONS).chain(crate::discovery::OPERATIONS)
}

pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// Returns the OpenAPI 3.1 document.
pub fn openapi_document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let described = described(operation, &mut generator);
        let methods = paths.entry(operation.path.to_owned()).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(operation.method.to_owned(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Hambar", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|(name, place, said)| {
            let is_required = *place == "path" || (*name == "q" && operation.path == "/api/sql");
            json!({ "name": name, "in": place, "required": is_required, "description": said, "schema": { "type": "string" } })
        })
        .collect();
    let mut answers = Map::new();
    for (status, said) in operation.answers {
        let mut answer = json!({ "description": said });
        if let (200, Some(schema)) = (*status, operation.answer) {
            answer["content"] = json!({ "application/json": { "schema": schema(generator) } });
        }
        answers.insert(status.to_string(), answer);
    }
    let problem = schema::<Problem>(generator);
    let content = json!({ "application/problem+json": { "schema": problem } });
    answers.insert("default".to_owned(), json!({ "description": "A problem (RFC 9457)", "content": content }));
    let mut described = json!({
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    });
    if let Some((forms, body)) = operation.body {
        let mut content = json!({ "application/json": { "schema": body(generator) } });
        if forms == Body::JsonOrSql {
            let text = json!({ "schema": { "type": "string" } });
            content["application/sql"] = text.clone();
            content["text/plain"] = text;
        }
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

pub(crate) async fn document() -> Json<Value> {
    Json(openapi_document())
}

pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

/// The operations as a page.
pub(crate) async fn page() -> Html<String> {
    let mut body = format!("<h1>Hambar</h1><p>{}</p>", escaped(ABOUT));
    body.push_str("<p>The same as a document for programs: <a href=\"/api/openapi.json\">/api/openapi.json</a>. ");
    body.push_str("Errors: <a href=\"/docs/errors\">/docs/errors</a>.</p>");
    for operation in operations() {
        let (method, path) = (operation.method.to_uppercase(), operation.path);
        let said = escaped(operation.summary);
        let _ = write!(body, "<section><h2><code>{method} {path}</code></h2><p>{said}</p>");
        if !operation.parameters.is_empty() {
            body.push_str("<h3>Parameters</h3><dl>");
            for (name, _, said) in operation.parameters {
                let _ = write!(body, "<dt><code>{name}</code></dt><dd>{}</dd>", escaped(said));
            }
            body.push_str("</dl>");
        }
        body.push_str("<h3>Answers</h3><dl>");
        for (status, said) in operation.answers {
            let _ = write!(body, "<dt>{status}</dt><dd>{}</dd>", escaped(said));
        }
        body.push_str("</dl></section>");
    }
    Html(html("Hambar: the HTTP interface", &body))
}

/// What the classes of errors mean.
pub(crate) async fn errors() -> Html<String> {
    let mut body = String::from(
        "<h1>Errors</h1><p>Errors are RFC 9457 problems (<code>application/problem+json</code>) with <code>class</code>, \
         <code>detail</code>, <code>hint</code> and, for statements, <code>position</code>.</p><dl>",
    );
    for class in ErrorClass::ALL {
        let name = class.name();
        let _ = write!(body, "<dt id=\"{name}\"><code>{name}</code></dt><dd>{}</dd>", problem::title(class));
    }
    body.push_str("</dl>");
    Html(html("Hambar: errors", &body))
}

fn html(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body><main>{body}</main></body></html>",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
