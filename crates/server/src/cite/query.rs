//! `/cite/q/{id}`: the citation of a query, its rows, and whether it still gives them.

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use hambar_core::citation::{CitedColumn, QueryCitation};
use hambar_core::{ErrorClass, TableName};
use hambar_query::{Parameters, QueryError};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::Value;

use super::form::{Shape, forms, rendered};
use super::{Base, Signposts, pages, result};
use crate::front::{Answer, Ask, AskedLimits, FrontError, Protocol};
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::deliver::{self, Delivery, OwnLimits};
use crate::rest::format::Format;
use crate::rest::parameters::parameters;
use crate::rest::problem::Problem;

/// Characters of an id.
const ID_CHARACTERS: usize = 16;

/// Whether a cited query still gives the same.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Verified {
    /// The id of the citation.
    pub(super) id: String,
    /// Whether columns and rows are those that were cited.
    pub(super) is_same: bool,
    /// The fingerprint that was cited.
    pub(super) cited: String,
    /// The fingerprint of the rows just now.
    pub(super) found: String,
    /// The columns that were cited.
    #[schemars(with = "Vec<std::collections::BTreeMap<String, String>>")]
    pub(super) cited_columns: Vec<CitedColumn>,
    /// The columns just now.
    #[schemars(with = "Vec<std::collections::BTreeMap<String, String>>")]
    pub(super) found_columns: Vec<CitedColumn>,
    /// The versions that were read.
    pub(super) versions: Vec<String>,
}

/// Shows the citation.
pub(super) async fn show(
    Shared(state): Shared<State>,
    Path(target): Path<String>,
    base: Base,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, ending) = match target.split_once('.') {
        Some((id, ending)) => (id, Some(ending)),
        None => (target.as_str(), None),
    };
    let citation = find(&state, &asker, id).await?;
    let shape = Shape::choose(ending, &headers)?;
    let address = base.query(id);
    let reference = citation.reference(&address, &state.settings.centre.title);
    let mut response = match shape {
        Shape::Page => pages::query(&citation, &reference, &base),
        Shape::Form(form) => rendered(&reference, form),
    };
    let mut links = Signposts::dataset(&address);
    for (_, ending, media_type) in forms() {
        links.described_by(&format!("{address}.{ending}"), media_type);
    }
    for (ending, media_type) in [("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")] {
        links.item(&format!("{address}/rows.{ending}"), media_type);
    }
    if let Some(licence) = &citation.terms().licence {
        links.licence(licence);
    }
    links.put(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    Ok(response)
}

/// Runs the query again over the versions that it read.
pub(super) async fn verify(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    base: Base,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let citation = find(&state, &asker, &id).await?;
    let taken = result::take(again(&state, asker, &citation).await?).await?;
    let found = taken.fingerprint.to_string();
    let verified = Verified {
        id,
        is_same: found == citation.fingerprint && taken.columns == citation.columns,
        cited: citation.fingerprint.clone(),
        found,
        cited_columns: citation.columns.clone(),
        found_columns: taken.columns,
        versions: citation.reads.iter().map(|read| format!("{}@{}", read.table, read.version)).collect(),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = match accept.contains("text/html") {
        true => pages::verified(&citation, &verified, &base),
        false => Json(&verified).into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    Ok(response)
}

/// Returns the rows of the query over the versions that it read.
pub(super) async fn rows(
    Shared(state): Shared<State>,
    Path((id, rows)): Path<(String, String)>,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ending = match rows.split_once('.') {
        None if rows == "rows" => None,
        Some(("rows", ending)) => Some(ending),
        _ => return Err(Problem::not_found("this address")),
    };
    let format = Format::choose(ending, &headers)?;
    let citation = find(&state, &asker, &id).await?;
    let answer = again(&state, asker, &citation).await?;
    let own = OwnLimits::of(&AskedLimits::default(), state.front.ceiling());
    let mut response = match deliver::deliver(answer, format, own).await? {
        Delivery::Stream(response) => response,
        Delivery::Whole(whole, answer) => deliver::whole_response(&whole, answer),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// Asks a cited statement again.
async fn again(state: &State, asker: Asker, citation: &QueryCitation) -> Result<Answer, Problem> {
    let values: Vec<Value> = serde_json::from_str(&citation.parameters).map_err(|error| {
        result::failed(ErrorClass::Store, format!("the parameters of citation `{}`: {error}", citation.id()))
    })?;
    let bound = if values.is_empty() { Parameters::none() } else { parameters(&values)? };
    let ask = Ask {
        principal: asker.principal,
        protocol: Protocol::Http,
        address: asker.address,
        sql: citation.statement.clone(),
        parameters: bound,
        limits: AskedLimits::default(),
    };
    Ok(state.front.query_standing(ask, result::standing(&citation.reads)).await?)
}

/// Finds the citation, for whoever may see every table that it reads, and all of it: what was cited is made of all.
async fn find(state: &State, asker: &Asker, id: &str) -> Result<QueryCitation, Problem> {
    let missing = || {
        let hint = "the citation of a query is shown to those who see all rows and columns of the tables that it reads";
        Problem::not_found("this citation").hint(hint)
    };
    if id.len() != ID_CHARACTERS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let found = state.front.catalogue().lake().query_citation(id).await;
    let found = found.map_err(|error| Problem::new(&FrontError::Query(QueryError::Store(error))))?;
    let visibility = asker.principal.visibility();
    let is_whole = |table: &TableName| visibility.sees(table) && !visibility.is_partial(table);
    found.filter(|citation| citation.reads.iter().all(|read| is_whole(&read.table))).ok_or_else(missing)
}
