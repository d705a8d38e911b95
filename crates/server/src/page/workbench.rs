//! `/sql`: a statement in a form and its first rows. Scripts make a workbench of it; without them it answers, too.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axum::extract::{FromRequestParts as _, Request, State as Shared};
use axum::response::Response;
use futures::StreamExt as _;
use http::StatusCode;
use maud::{Markup, html};

use super::error;
use super::form::Form;
use super::looks::address;
use super::numbers;
use super::rows;
use super::shell::{Place, shell};
use super::texts::filled;
use super::visitor::Visitor;
use crate::front::{AskedLimits, FrontError, Source};
use crate::rest::State;
use crate::rest::auth::is_same_origin;
use crate::rest::problem::Problem;

/// Rows that the page shows.
const ROWS_SHOWN_MAX: usize = 200;
/// Bytes of a result that is read for a page, as Arrow holds it.
const RESULT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Characters of a statement that stands in the addresses of its downloads.
const ADDRESS_CHARS_MAX: usize = 6_000;
/// Tables that are offered to whoever has not written anything yet.
const EXAMPLES_MAX: usize = 12;
/// The forms in which all rows can be had.
const FORMATS: [&str; 5] = ["csv", "xlsx", "parquet", "ndjson", "arrow"];

/// The first rows of an answer.
struct Shown {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    sources: Vec<Source>,
    /// Whether there are more rows than are shown.
    has_more: bool,
}

/// Shows the form; with `run=1` the rows of the statement in the address, too.
pub(super) async fn page(Shared(state): Shared<State>, visitor: Visitor) -> Response {
    let sql = visitor.looks.asked("q").unwrap_or_default().to_owned();
    let result = match visitor.looks.asked("run") {
        Some("1") if !sql.is_empty() => Some(answer(&state, &visitor, &sql).await),
        _ => None,
    };
    respond(&state, &visitor, &sql, result).await
}

/// Runs the statement of the form.
pub(super) async fn run(Shared(state): Shared<State>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let visitor = match Visitor::from_request_parts(&mut parts, &state).await {
        Ok(visitor) => visitor,
        Err(response) => return response,
    };
    let form = match Form::read(&parts.headers, body).await {
        Ok(form) => form,
        Err(problem) => return error::page(&visitor.looks, Some(&visitor), &problem),
    };
    if !is_same_origin(&parts.headers) || !visitor.is_own_form(form.value("csrf").unwrap_or_default()) {
        let problem = Problem::denied("the form was not made for this session");
        return error::page(&visitor.looks, Some(&visitor), &problem);
    }
    let sql = form.value("q").unwrap_or_default();
    let result = if sql.trim().is_empty() { None } else { Some(answer(&state, &visitor, sql).await) };
    respond(&state, &visitor, sql, result).await
}

async fn answer(state: &State, visitor: &Visitor, sql: &str) -> Result<Shown, Problem> {
    let limits = AskedLimits { result_bytes_max: Some(RESULT_BYTES_MAX), ..AskedLimits::default() };
    let mut answer = state.front.query(visitor.ask(sql.to_owned(), limits)).await?;
    let (schema, sources) = (answer.schema(), answer.sources().to_vec());
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut left = ROWS_SHOWN_MAX;
    let mut has_more = false;
    while let Some(batch) = answer.next().await {
        let batch = batch?;
        has_more = batch.num_rows() > left;
        let taken = batch.num_rows().min(left);
        left -= taken;
        batches.push(batch.slice(0, taken));
        // The rest is for the downloads: dropping the answer stops the query.
        if has_more {
            break;
        }
    }
    Ok(Shown { schema, batches, sources, has_more: has_more || answer.is_truncated() })
}

async fn respond(state: &State, visitor: &Visitor, sql: &str, result: Option<Result<Shown, Problem>>) -> Response {
    let library = match state.pages.librarian.library(state.front.catalogue()).await {
        Ok(library) => library,
        Err(failed) => return error::page(&visitor.looks, Some(visitor), &FrontError::Query(failed).into()),
    };
    let status = match &result {
        Some(Err(problem)) => problem.status(),
        _ => StatusCode::OK,
    };
    let (looks, t) = (&visitor.looks, visitor.looks.texts());
    let content = html! {
        h1 { (t.sql_title) }
        hb-workbench data-catalogue="/api/catalogue" data-lang=(looks.language.code()) {
            form method="post" action="/sql" {
                @if visitor.session.is_some() {
                    input type="hidden" name="csrf" value=(visitor.form_token());
                }
                label for="statement" { (t.statement) }
                textarea #statement name="q" rows="10" cols="80" spellcheck="false" autocapitalize="off"
                    aria-describedby="sql-help" { (sql) }
                p #sql-help .note { (t.sql_help) }
                p { button type="submit" { (t.run) } }
            }
            @match &result {
                Some(Ok(shown)) => (shown_rows(visitor, sql, shown)),
                Some(Err(problem)) => (failure(visitor, problem)),
                None => {}
            }
        }
        @if sql.is_empty() {
            section {
                h2 { (t.try_this) }
                ul.hits {
                    @for entry in library.visible(visitor.principal.visibility()).take(EXAMPLES_MAX) {
                        @let example = format!("SELECT * FROM {} LIMIT 100", entry.table);
                        li { a href=(address("/sql", &[("q", &example)])) { code { (entry.table) } } " " (entry.title()) }
                    }
                }
            }
        }
    };
    looks.respond(status, &shell(looks, Some(visitor), Place::Sql, t.sql_title, &content))
}

fn failure(visitor: &Visitor, problem: &Problem) -> Markup {
    let t = visitor.looks.texts();
    html! {
        section.error role="alert" {
            h2 { (t.error) }
            p lang="en" { (problem.detail()) }
            @if let Some((line, column)) = problem.place() {
                p { (filled(t.error_at, &[("line", &line.to_string()), ("column", &column.to_string())])) }
            }
            @if let Some(advice) = problem.advice() {
                p.note lang="en" { (advice) }
            }
        }
    }
}

fn shown_rows(visitor: &Visitor, sql: &str, shown: &Shown) -> Markup {
    let (t, language) = (visitor.looks.texts(), visitor.looks.language);
    let rows: usize = shown.batches.iter().map(RecordBatch::num_rows).sum();
    html! {
        section #result {
            h2 { (t.result) }
            p.meta role="status" {
                @if rows == 0 { (t.result_none) }
                @else { (filled(t.result_rows, &[("n", &numbers::count(language, rows as u64))])) }
            }
            @if shown.has_more && rows < ROWS_SHOWN_MAX {
                p.note { (t.result_limited) }
            } @else if shown.has_more {
                p.note { (filled(t.result_cut, &[("n", &ROWS_SHOWN_MAX.to_string())])) }
            }
            @if sql.chars().count() <= ADDRESS_CHARS_MAX {
                p.actions {
                    @for (place, format) in FORMATS.into_iter().enumerate() {
                        @if place > 0 { " · " }
                        a href=(address(&format!("/api/sql.{format}"), &[("q", sql)])) download {
                            (t.download) " " (format.to_uppercase())
                        }
                    }
                }
            }
            (rows::table(t.result, &shown.schema, &shown.batches))
            @if !shown.sources.is_empty() {
                h3 { (t.sources) }
                ul {
                    @for source in &shown.sources {
                        li {
                            a href=(format!("/tables/{}", source.table)) { (source.table) } "@" (source.version)
                            @if let Some(citation) = &source.citation { ": " (citation) }
                            @if let Some(licence) = &source.licence { " " span.chip { (licence) } }
                        }
                    }
                }
            }
        }
    }
}
