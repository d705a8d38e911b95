//! `POST /api/cite`: makes citations. A query is run over the newest versions; what it read is cited, and so stays readable.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use hambar_core::citation::{CitedColumn, CitedRead, QueryCitation, Reference};
use hambar_core::{StoreError, TableName};
use hambar_lake::{Access, Lake};
use hambar_query::{Parameters, QueryError, VersionRead};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::form::forms;
use super::{Base, result, table};
use crate::access::AccessError;
use crate::front::{Ask, AskedLimits, FrontError, Protocol};
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::parameters::parameters;
use crate::rest::problem::Problem;

/// Characters of a title.
const TITLE_CHARACTERS_MAX: usize = 300;

/// The columns of `EXPLAIN`.
const PLAN_COLUMNS: [&str; 2] = ["plan_type", "plan"];

/// What is to be cited: a query, or a version of a table.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CiteRequest {
    /// The statement.
    sql: Option<String>,
    /// The values of `$1`, `$2` …: texts, numbers, true, false, null.
    #[serde(default)]
    params: Vec<Value>,
    /// What to call the result of the query; at most 300 characters.
    title: Option<String>,
    /// The table, `namespace.table`.
    table: Option<String>,
    /// Its version; the newest one where it is absent.
    version: Option<u64>,
}

/// A citation that was made, or was there.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Cited {
    /// Its id.
    id: String,
    /// Its address.
    url: String,
    /// Its other forms by ending.
    forms: BTreeMap<&'static str, String>,
    /// It as a sentence.
    text: String,
    /// Where it is seen whether the query still gives the same; for queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<String>,
    /// The versions that it keeps readable.
    versions: Vec<String>,
    /// The columns of the result; for queries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<BTreeMap<String, String>>")]
    columns: Vec<CitedColumn>,
    /// The fingerprint of the rows, the same in every order; their number stands before the colon.
    fingerprint: Option<String>,
    /// What the licences of the sources ask of whoever passes it on.
    terms: String,
}

/// Makes a citation.
pub(super) async fn make(
    Shared(state): Shared<State>,
    base: Base,
    asker: Asker,
    body: Result<Json<CiteRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    if asker.principal.role().is_none() {
        // Whoever cites takes room in the store for good.
        return Err(FrontError::Access(AccessError::Needed).into());
    }
    if state.settings.access == Access::ReadOnly {
        let problem = Problem::denied("this server only reads the store and makes no citations");
        return Err(problem.hint("`hambar cite` makes them, and so do servers with `server.audit = true`"));
    }
    let Json(request) = body.map_err(|error| Problem::refused(error.status(), error.body_text()))?;
    match request {
        CiteRequest { sql: Some(_), table: None, version: None, .. } => query(&state, &base, asker, request).await,
        CiteRequest { sql: None, table: Some(name), version, title: None, params } if params.is_empty() => {
            version_of(&state, &base, &asker, &name, version).await
        }
        _ => {
            let problem = Problem::bad_request("the request cites neither a query nor a version of a table");
            Err(problem.hint("send `sql` with `params` and `title`, or `table` with `version`"))
        }
    }
}

async fn version_of(
    state: &State,
    base: &Base,
    asker: &Asker,
    name: &str,
    version: Option<u64>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found(&format!("table `{}`", name.chars().take(140).collect::<String>()));
    let wanted: TableName = name.parse().map_err(|_| missing())?;
    if !asker.principal.visibility().sees(&wanted) {
        return Err(missing());
    }
    let lake = state.front.catalogue().lake();
    let target = format!("{wanted}@{}", version.map_or("newest".to_owned(), |version| version.to_string()));
    let failed = |error: StoreError| table::problem(error, &target);
    let was_there = lake.citation(&wanted, version).await.map_err(failed)?.is_pinned;
    let mut citation = lake.cite(&wanted, version).await.map_err(failed)?;
    if asker.principal.visibility().is_partial(&wanted) {
        table::withhold(&mut citation);
    }
    let address = base.citation(&citation.table, citation.version);
    let reference = citation.reference(Some(&address));
    let cited = Cited {
        versions: vec![format!("{}@{}", citation.table, citation.version)],
        terms: crate::front::terms(&[crate::front::Source {
            table: citation.table.to_string(),
            version: citation.version,
            citation: None,
            licence: Some(citation.origin.licence.spdx.clone()),
            landing_page: None,
            may_be_passed_on: citation.origin.licence.redistribution == hambar_core::Redistribution::Allowed,
        }])
        .sentence(),
        ..cited(&reference, &address)
    };
    Ok(answered(&cited, was_there))
}

async fn query(state: &State, base: &Base, asker: Asker, request: CiteRequest) -> Result<Response, Problem> {
    let statement = request.sql.unwrap_or_default();
    let title = request.title.map(|title| checked_title(&title)).transpose()?;
    let bound = if request.params.is_empty() { Parameters::none() } else { parameters(&request.params)? };
    let ask = Ask {
        principal: asker.principal,
        protocol: Protocol::Http,
        address: asker.address,
        sql: statement.clone(),
        parameters: bound,
        limits: AskedLimits::default(),
    };
    let principal = Arc::clone(&ask.principal);
    let answer = state.front.query_standing(ask, BTreeMap::new()).await?;
    let facts = answer.facts().clone();
    if let Some(read) = facts.versions.iter().find(|read| principal.visibility().is_partial(&read.table)) {
        // Others would be shown another answer as the same, or what this one holds.
        let what =
            format!("the statement reads `{}`, of which a part is for you: what it gives you is not cited", read.table);
        return Err(Problem::denied(what).hint("cite the version of the table, or ask somebody who sees all of it"));
    }
    if !facts.is_repeatable {
        let problem = Problem::bad_request(
            "the statement asks for the time, for chance or for the list of tables, and gives something else each time",
        );
        return Err(problem.hint("write the instant or the value into the statement"));
    }
    let names: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
    if names == PLAN_COLUMNS {
        return Err(Problem::bad_request("a plan is not cited: it says how rows are found, not which"));
    }
    if facts.versions.is_empty() {
        return Err(Problem::bad_request("the statement reads no table, so there is nobody to cite"));
    }
    let taken = result::take(answer).await?;
    let lake = state.front.catalogue().lake();
    let (reads, recorded_at) = pinned(lake, &facts.versions).await?;
    let citation = QueryCitation {
        title,
        statement,
        parameters: Value::Array(request.params).to_string(),
        reads,
        columns: taken.columns,
        fingerprint: taken.fingerprint.to_string(),
        recorded_at,
        // The store says when it was cited.
        cited_at: recorded_at,
    };
    let store = |error: StoreError| Problem::new(&FrontError::Query(QueryError::Store(error)));
    let was_there = lake.query_citation(&citation.id()).await.map_err(store)?.is_some();
    let citation = lake.cite_query(citation).await.map_err(store)?;
    let address = base.query(&citation.id());
    let reference = citation.reference(&address, &state.settings.centre.title);
    let cited = Cited {
        verify: Some(format!("{address}/verify")),
        versions: citation.reads.iter().map(|read| format!("{}@{}", read.table, read.version)).collect(),
        terms: citation.terms().sentence(),
        columns: citation.columns,
        ..cited(&reference, &address)
    };
    Ok(answered(&cited, was_there))
}

/// Cites what a query read; returns it, and when the newest of it was recorded.
async fn pinned(lake: &Lake, versions: &[VersionRead]) -> Result<(Vec<CitedRead>, Timestamp), Problem> {
    let (mut reads, mut recorded_at): (Vec<CitedRead>, _) = (Vec::new(), Timestamp::MIN);
    for read in versions {
        let citation = lake.cite(&read.table, Some(read.version)).await.map_err(|error| not_cited(read, error))?;
        recorded_at = recorded_at.max(citation.recorded_at);
        let (table, version) = (read.table.clone(), read.version);
        let cited = CitedRead { table, version, is_in_text: read.is_pinned, origin: citation.origin };
        if !reads.contains(&cited) {
            reads.push(cited);
        }
    }
    Ok((reads, recorded_at))
}

fn checked_title(title: &str) -> Result<String, Problem> {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = title.chars().count();
    if length > TITLE_CHARACTERS_MAX {
        let what = format!("the title has {length} characters, at most {TITLE_CHARACTERS_MAX} are kept");
        return Err(Problem::bad_request(what));
    }
    if title.is_empty() || title.chars().any(char::is_control) {
        return Err(Problem::bad_request("the title is empty or has control characters"));
    }
    Ok(title)
}

fn not_cited(read: &VersionRead, error: StoreError) -> Problem {
    match error {
        StoreError::Missing { .. } => {
            let problem = Problem::bad_request(format!(
                "table `{}`, which the statement reads, cannot be cited: no pipeline declares whose work it is",
                read.table
            ));
            problem.hint("cite queries over tables of pipelines")
        }
        other => Problem::new(&FrontError::Query(QueryError::Store(other))),
    }
}

fn cited(reference: &Reference, address: &str) -> Cited {
    Cited {
        id: reference.id.clone(),
        url: address.to_owned(),
        forms: forms().map(|(_, ending, _)| (ending, format!("{address}.{ending}"))).collect(),
        text: reference.sentence(),
        verify: None,
        versions: Vec::new(),
        columns: Vec::new(),
        fingerprint: reference.fingerprint.clone(),
        terms: String::new(),
    }
}

fn answered(cited: &Cited, was_there: bool) -> Response {
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = (status, Json(cited)).into_response();
    if let Ok(value) = HeaderValue::from_str(&cited.url) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_line_of_bounded_length() {
        assert_eq!(checked_title(" Growth\n of <b> ").unwrap(), "Growth of <b>");
        assert!(checked_title("").is_err() && checked_title("a\u{0}b").is_err());
        assert!(checked_title(&"я".repeat(300)).is_ok() && checked_title(&"я".repeat(301)).is_err());
    }
}
