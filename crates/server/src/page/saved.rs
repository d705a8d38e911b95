//! `/api/saved`: statements that people keep, for themselves or for their organisation. Each is an object of its own in
//! the bucket, beside the members, so that all servers of a store have them and nobody waits for anybody.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, TryStreamExt as _};
use hambar_core::{Chain, StoreError};
use hambar_lake::Access;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use object_store::path::Path as Place;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::{AccessError, Principal};
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::problem::Problem;

/// The folder of saved statements.
const FOLDER: &str = "saved";
/// Statements of one organisation.
const SAVED_MAX: usize = 500;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 200;
/// Bytes of a statement; longer ones are refused wherever they are asked.
const SQL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an object that is read.
const OBJECT_BYTES_MAX: u64 = 512 * 1024;
/// Objects that are read at the same time.
const READS_MAX: usize = 16;

/// A statement as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    id: String,
    title: String,
    sql: String,
    /// Whether the whole organisation sees it.
    shared: bool,
    /// Who saved it: `organisation/name`.
    owner: String,
    saved_at: jiff::Timestamp,
}

/// A statement to be kept.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "SaveRequest")]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// What people find it by.
    title: String,
    /// The statement.
    sql: String,
    /// Whether the whole organisation sees it.
    #[serde(default)]
    shared: bool,
}

impl Saved {
    /// As its readers see it.
    fn shown(&self, who: &Principal) -> Value {
        json!({
            "id": self.id, "title": self.title, "sql": self.sql, "shared": self.shared, "owner": self.owner,
            "mine": self.owner == who.name(), "saved_at": self.saved_at.to_string(),
        })
    }
}

/// Lists one's own statements, and those that one's organisation shares.
pub(super) async fn list(Shared(state): Shared<State>, asker: Asker) -> Result<Response, Problem> {
    let organisation = organisation(&asker)?;
    let store = state.front.catalogue().lake().object_store();
    let mut all: Vec<Saved> = read_all(store.as_ref(), organisation).await?;
    all.retain(|saved| saved.shared || saved.owner == asker.principal.name());
    all.sort_by(|one, other| other.saved_at.cmp(&one.saved_at).then_with(|| one.id.cmp(&other.id)));
    let shown: Vec<Value> = all.iter().map(|saved| saved.shown(&asker.principal)).collect();
    let policy = [(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"))];
    Ok((policy, Json(json!({ "saved": shown }))).into_response())
}

/// Keeps a statement.
pub(super) async fn add(
    Shared(state): Shared<State>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let organisation = organisation(&asker)?;
    writable(&state)?;
    let wanted = wanted(&headers, &body)?;
    let store = state.front.catalogue().lake().object_store();
    if places(store.as_ref(), organisation).await?.len() >= SAVED_MAX {
        let said = format!("your organisation keeps {SAVED_MAX} statements already");
        return Err(Problem::refused(StatusCode::UNPROCESSABLE_ENTITY, said).hint("delete one that nobody needs"));
    }
    let saved = Saved {
        id: crate::access::random_id().map_err(Problem::from)?,
        title: wanted.title.trim().to_owned(),
        sql: wanted.sql,
        shared: wanted.shared,
        owner: asker.principal.name(),
        saved_at: state.front.now(),
    };
    let content = serde_json::to_vec_pretty(&saved).map_err(|error| Problem::bad_request(error.to_string()))?;
    let place = place(organisation, &saved.id);
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&place, PutPayload::from(content), options).await.map_err(|error| failed("write", &place, error))?;
    Ok((StatusCode::CREATED, Json(saved.shown(&asker.principal))).into_response())
}

/// Forgets one of one's own statements.
pub(super) async fn remove(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<StatusCode, Problem> {
    let organisation = organisation(&asker)?;
    writable(&state)?;
    let unknown = || Problem::not_found("this statement");
    let is_id = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_id {
        return Err(unknown());
    }
    let store = state.front.catalogue().lake().object_store();
    let place = place(organisation, &id);
    let known = read(store.as_ref(), &place).await?;
    // Somebody else's is not told from one that is not there.
    if known.is_none_or(|saved| saved.owner != asker.principal.name()) {
        return Err(unknown());
    }
    store.delete(&place).await.map_err(|error| failed("delete", &place, error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn organisation(asker: &Asker) -> Result<&str, Problem> {
    asker.principal.organisation().ok_or_else(|| {
        Problem::denied("statements are kept for members, and you are not logged in").hint("log in with your token")
    })
}

fn writable(state: &State) -> Result<(), Problem> {
    match state.settings.access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(Problem::denied("this server writes nothing: `server.audit` is switched off")),
    }
}

fn wanted(headers: &HeaderMap, body: &Bytes) -> Result<Wanted, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a statement to be kept comes as JSON"));
    }
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is no statement to be kept: {error}")))?;
    let letters = wanted.title.trim().chars().count();
    if letters == 0 || letters > TITLE_CHARS_MAX {
        return Err(Problem::bad_request(format!("`title` has from 1 to {TITLE_CHARS_MAX} characters")));
    }
    if wanted.sql.trim().is_empty() || wanted.sql.len() > SQL_BYTES_MAX {
        return Err(Problem::bad_request(format!("`sql` has from 1 to {SQL_BYTES_MAX} bytes")));
    }
    Ok(wanted)
}

fn place(organisation: &str, id: &str) -> Place {
    Place::from(FOLDER).join(organisation).join(format!("{id}.json"))
}

async fn places(store: &dyn ObjectStore, organisation: &str) -> Result<Vec<Place>, Problem> {
    let folder = Place::from(FOLDER).join(organisation);
    match store.list_with_delimiter(Some(&folder)).await {
        Ok(listed) => Ok(listed.objects.into_iter().map(|object| object.location).collect()),
        Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(failed("list", &folder, error)),
    }
}

async fn read_all(store: &dyn ObjectStore, organisation: &str) -> Result<Vec<Saved>, Problem> {
    let places = places(store, organisation).await?;
    let reads = futures::stream::iter(places.into_iter().take(SAVED_MAX))
        .map(|place| async move { read(store, &place).await })
        .buffered(READS_MAX);
    let all: Vec<Option<Saved>> = reads.try_collect().await?;
    Ok(all.into_iter().flatten().collect())
}

/// Reads one; nothing where it is gone, or is no statement of ours.
async fn read(store: &dyn ObjectStore, place: &Place) -> Result<Option<Saved>, Problem> {
    let found = match store.get(place).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed("read", place, error)),
    };
    if found.meta.size > OBJECT_BYTES_MAX {
        tracing::warn!(%place, bytes = found.meta.size, "saved statement is too large and left out");
        return Ok(None);
    }
    let bytes = found.bytes().await.map_err(|error| failed("read", place, error))?;
    match serde_json::from_slice(&bytes) {
        Ok(saved) => Ok(Some(saved)),
        Err(error) => {
            tracing::warn!(%place, error = %Chain(&error), "saved statement cannot be read and is left out");
            Ok(None)
        }
    }
}

fn failed(action: &'static str, place: &Place, error: object_store::Error) -> Problem {
    let error = StoreError::Storage { action, path: place.to_string(), source: Box::new(error) };
    AccessError::Store(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_title_a_statement_and_nothing_else() {
        let mut headers = HeaderMap::new();
        let check = |headers: &HeaderMap, body: &str| wanted(headers, &Bytes::from(body.to_owned())).is_ok();
        assert!(!check(&headers, r#"{"title":"a","sql":"SELECT 1"}"#), "a form of another site is no JSON");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        assert!(check(&headers, r#"{"title":"a","sql":"SELECT 1"}"#));
        for wrong in [
            r#"{"title":" ","sql":"SELECT 1"}"#,
            r#"{"title":"a","sql":""}"#,
            r#"{"title":"a","sql":"SELECT 1","owner":"x/y"}"#,
            "[]",
        ] {
            assert!(!check(&headers, wrong), "{wrong}");
        }
        let long = format!(r#"{{"title":"{}","sql":"SELECT 1"}}"#, "я".repeat(TITLE_CHARS_MAX + 1));
        assert!(!check(&headers, &long));
    }

    #[test]
    fn an_organisations_name_stays_in_its_folder() {
        assert_eq!(place("..", "a").to_string(), "saved/%2E%2E/a.json");
    }
}
