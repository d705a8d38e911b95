//! `/cite/{namespace}.{table}@{version}`: the citation of a version of a table.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use hambar_core::citation::Citation;
use hambar_core::{StoreError, TableName};
use hambar_lake::{Access, FoundCitation};
use hambar_query::QueryError;
use http::{HeaderMap, HeaderValue, header};

use super::form::{Shape, forms, rendered};
use super::{Base, Signposts, pages};
use crate::front::FrontError;
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::problem::Problem;

/// What an address asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    table: TableName,
    version: Option<u64>,
    ending: Option<String>,
}

impl Target {
    /// Reads `namespace.table`, `namespace.table@7` or `namespace.table@7.bib`.
    fn parse(text: &str) -> Option<Self> {
        let Some((table, rest)) = text.split_once('@') else {
            return Some(Self { table: text.parse().ok()?, version: None, ending: None });
        };
        let (version, ending) = match rest.split_once('.') {
            Some((version, ending)) => (version, Some(ending.to_owned())),
            None => (rest, None),
        };
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let version = version.parse().ok().filter(|_| is_number)?;
        Some(Self { table: table.parse().ok()?, version: Some(version), ending })
    }
}

/// Shows the citation. Asking for it with a token makes it.
pub(super) async fn show(
    Shared(state): Shared<State>,
    Path(target): Path<String>,
    base: Base,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hidden = || not_there(&target);
    let wanted = Target::parse(&target).ok_or_else(hidden)?;
    if !asker.principal.visibility().sees(&wanted.table) {
        return Err(hidden());
    }
    let Some(version) = wanted.version else {
        let newest = state.front.catalogue().lake().snapshot(&wanted.table, None).await;
        let newest = newest.map_err(|error| problem(error, &target))?;
        let address = base.citation(&wanted.table, newest.version);
        return Ok(Redirect::temporary(&address).into_response());
    };
    let shape = Shape::choose(wanted.ending.as_deref(), &headers)?;
    let mut found = cited(&state, &asker, &wanted.table, version).await.map_err(|error| problem(error, &target))?;
    let is_partial = asker.principal.visibility().is_partial(&wanted.table);
    if is_partial {
        withhold(&mut found.citation);
    }
    let address = base.citation(&wanted.table, version);
    let reference = found.citation.reference(Some(&address));
    let mut response = match shape {
        Shape::Page => pages::table(&found, &reference, &base, is_partial),
        Shape::Form(form) => rendered(&reference, form),
    };
    let mut links = Signposts::dataset(&address);
    for (_, ending, media_type) in forms() {
        links.described_by(&format!("{address}.{ending}"), media_type);
    }
    for (ending, media_type) in [("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")] {
        links.item(&format!("{}?_version={version}", base.rows(&wanted.table, ending)), media_type);
    }
    links.licence(&found.citation.origin.licence.spdx);
    links.put(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    Ok(response)
}

/// What is made of all rows and columns is not for those who see a part of them.
pub(super) fn withhold(citation: &mut Citation) {
    citation.fingerprint = None;
}

/// The citation as it is, or as whoever asks makes it.
async fn cited(state: &State, asker: &Asker, table: &TableName, version: u64) -> Result<FoundCitation, StoreError> {
    let lake = state.front.catalogue().lake();
    let found = lake.citation(table, Some(version)).await?;
    let may_make = asker.principal.role().is_some() && state.settings.access == Access::ReadWrite;
    if found.is_pinned || !may_make {
        return Ok(found);
    }
    match lake.cite(table, Some(version)).await {
        Ok(citation) => Ok(FoundCitation { citation, is_pinned: true }),
        // Somebody works on the table, and an earlier version cannot be kept at this moment. The page says so.
        Err(StoreError::Busy { .. }) => Ok(found),
        Err(error) => Err(error),
    }
}

fn not_there(target: &str) -> Problem {
    let target: String = target.chars().take(140).collect();
    Problem::not_found(&format!("citation `{target}`"))
        .hint("a citation is `/cite/namespace.table@version`, of a version that can still be read")
}

/// A version that is not there, and a table that is not for whoever asks, are the same to them.
pub(super) fn problem(error: StoreError, target: &str) -> Problem {
    match error {
        StoreError::Missing { .. } => not_there(target),
        other => Problem::new(&FrontError::Query(QueryError::Store(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_table_a_version_and_an_ending() {
        let shown = |text: &str| {
            Target::parse(text).map(|target| format!("{} {:?} {:?}", target.table, target.version, target.ending))
        };
        assert_eq!(shown("a.b").unwrap(), "a.b None None");
        assert_eq!(shown("a.b@7").unwrap(), "a.b Some(7) None");
        assert_eq!(shown("a.b@7.csl.json").unwrap(), "a.b Some(7) Some(\"csl.json\")");
        for wrong in
            ["", "a", "a.b@", "a.b@x", "a.b@-1", "a.b@+1", "a.b@1@2", "a.b.bib", "q@1", "a.b@99999999999999999999"]
        {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
