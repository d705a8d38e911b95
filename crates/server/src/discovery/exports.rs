//! Whole tables as files, and beside them what tools need to understand them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use hambar_core::{StoreError, TableName};
use hambar_query::{Parameters, QueryError, Visibility};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::card::{Card, card};
use super::schema_org::dataset_json_ld;
use super::{croissant, csvw, frictionless};
use crate::cite::{Base, Signposts};
use crate::front::{Ask, AskedLimits, FrontError, Protocol};
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::format::Format;
use crate::rest::problem::Problem;
use crate::rest::sql;

/// The forms that are named beside each other, with their media types.
const NAMED: [(&str, &str); 2] = [("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")];
/// What describes a table, with its media type.
const DESCRIPTIONS: [(&str, &str); 4] = [
    ("schema-org.json", "application/ld+json"),
    ("croissant.json", "application/ld+json"),
    ("data.csv-metadata.json", "application/csvm+json"),
    ("datapackage.json", "application/vnd.datapackage+json"),
];

/// What an address may say of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    version: Option<u64>,
}

/// Describes a table in the vocabulary that the end of the address names.
pub(super) async fn metadata(
    Shared(state): Shared<State>,
    Path(table): Path<String>,
    uri: Uri,
    base: Base,
    asker: Asker,
) -> Result<Response, Problem> {
    let card = found(&state, &asker, &table).await?;
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let centre = &state.settings.centre;
    let value = match name {
        "croissant.json" => croissant::dataset(&card, &base, centre),
        "datapackage.json" => frictionless::package(&card, &base, centre),
        _ => csvw::table(&card, &base),
    };
    let mut response = Json(value).into_response();
    let mut links = Signposts::default();
    links.describes(&base.table(&card.table));
    let headers = response.headers_mut();
    links.put(headers);
    if let Some(&(_, media_type)) = DESCRIPTIONS.iter().find(|(known, _)| *known == name) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    unshared(headers);
    Ok(response)
}

/// Describes a table as its page does for search engines, with the links of that page.
pub(super) async fn schema_org(
    Shared(state): Shared<State>,
    Path(table): Path<String>,
    base: Base,
    asker: Asker,
) -> Result<Response, Problem> {
    let card = found(&state, &asker, &table).await?;
    let (catalogue, visibility) = (state.front.catalogue(), asker.principal.visibility());
    let described = dataset_json_ld(catalogue, &card.table, visibility, &base, &state.settings.centre).await;
    let mut response = Json(described.map_err(FrontError::Query)?).into_response();
    let headers = response.headers_mut();
    signposts(&card.table, card.version, card.dataset.licence.as_deref(), &base).put(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/ld+json"));
    unshared(headers);
    Ok(response)
}

/// What is said depends on who asks, and on the newest version.
fn unshared(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
}

/// Returns all rows of a table, without the columns that Hambar adds.
pub(super) async fn data(
    Shared(state): Shared<State>,
    Path(table): Path<String>,
    uri: Uri,
    base: Base,
    asker: Asker,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(Which { version }) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let card = found(&state, &asker, &table).await?;
    let ending = uri.path().rsplit('.').next().unwrap_or_default();
    let format = Format::choose(Some(ending), &headers)?;
    let sql = statement(&state, &card, version, asker.principal.visibility()).await?;
    let ask = Ask {
        principal: asker.principal,
        protocol: Protocol::Http,
        address: asker.address,
        sql,
        parameters: Parameters::none(),
        limits: AskedLimits::default(),
    };
    let mut response = sql::answer(&state, ask, format, &headers).await.map_err(Problem::unplaced)?;
    if response.status() == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let cited = version.unwrap_or(card.version);
    let mut links = Signposts::default();
    links.collection(&base.table(&card.table));
    links.cite_as(&base.citation(&card.table, cited));
    for (name, media_type) in DESCRIPTIONS {
        links.described_by(&base.at(&format!("/tables/{}/{name}", card.table)), media_type);
    }
    let headers = response.headers_mut();
    links.put(headers);
    let name = match version {
        Some(version) => format!("attachment; filename=\"{}@{version}.{ending}\"", card.table),
        None => format!("attachment; filename=\"{}.{ending}\"", card.table),
    };
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Returns the links of the page of a table.
pub(crate) fn signposts(table: &TableName, version: u64, licence: Option<&str>, base: &Base) -> Signposts {
    let mut links = Signposts::dataset(&base.citation(table, version));
    for (name, media_type) in DESCRIPTIONS {
        links.described_by(&base.at(&format!("/tables/{table}/{name}")), media_type);
    }
    for (ending, media_type) in NAMED {
        links.item(&base.at(&format!("/tables/{table}/data.{ending}")), media_type);
    }
    if let Some(spdx) = licence {
        links.licence(spdx);
    }
    links
}

/// The statement for all rows of the published columns.
async fn statement(
    state: &State,
    card: &Card,
    version: Option<u64>,
    visibility: &Visibility,
) -> Result<String, Problem> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let Some(version) = version else {
        let names: Vec<String> = card.columns.iter().map(|column| quoted(&column.name)).collect();
        return Ok(format!("SELECT {} FROM {}", names.join(", "), card.table));
    };
    let snapshot = state.front.catalogue().lake().snapshot(&card.table, Some(version)).await;
    let snapshot = snapshot.map_err(|error| match error {
        StoreError::Missing { .. } => Problem::not_found(&format!("version {version} of table `{}`", card.table)),
        other => Problem::new(&FrontError::Query(QueryError::Store(other))),
    })?;
    let is_shown = |name: &str| !name.starts_with('_') && !visibility.hides(&card.table, name);
    let fields = snapshot.schema.fields().iter().filter(|field| is_shown(field.name()));
    let names: Vec<String> = fields.map(|field| quoted(field.name())).collect();
    Ok(format!("SELECT {} FROM {} VERSION AS OF {version}", names.join(", "), card.table))
}

async fn found(state: &State, asker: &Asker, table: &str) -> Result<Card, Problem> {
    let missing = || Problem::not_found(&format!("table `{}`", table.chars().take(140).collect::<String>()));
    let name: TableName = table.parse().map_err(|_| missing())?;
    let card = card(state.front.catalogue(), &name, asker.principal.visibility()).await;
    card.map_err(FrontError::Query)?.ok_or_else(missing)
}
