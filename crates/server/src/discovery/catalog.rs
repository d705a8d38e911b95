//! `/catalog`: the catalogue in the form that is asked for, of what exists for whoever asks.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::dcat;
use super::graph::Notation;
use crate::cite::{Base, Signposts};
use crate::front::FrontError;
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::cache::has;
use crate::rest::format::preferred;
use crate::rest::problem::Problem;

/// Each notation with its ending and its media types; the first is the one that is sent.
const FORMS: [(Notation, &str, &[&str]); 3] = [
    (Notation::Turtle, "ttl", &["text/turtle", "application/x-turtle", "text/*"]),
    (Notation::JsonLd, "jsonld", &["application/ld+json", "application/json"]),
    (Notation::RdfXml, "rdf", &["application/rdf+xml", "application/xml", "text/xml"]),
];

/// The catalogue in the form that `Accept` asks for, Turtle where it does not say.
pub(super) async fn negotiated(
    shared: Shared<State>,
    base: Base,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let notation = match headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) {
        None => Notation::Turtle,
        Some(accept) => preferred(accept, from_media_type).ok_or_else(|| {
            let types: Vec<&str> = FORMS.iter().filter_map(|(_, _, types)| types.first().copied()).collect();
            Problem::refused(StatusCode::NOT_ACCEPTABLE, "the catalogue has none of the forms that `Accept` names")
                .hint(format!("there are {}", types.join(", ")))
        })?,
    };
    catalogue(shared.0, base, asker, &headers, notation).await
}

/// The catalogue in the form of an ending.
pub(super) async fn named(
    shared: Shared<State>,
    uri: Uri,
    base: Base,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ending = uri.path().rsplit('.').next().unwrap_or_default();
    let found = FORMS.iter().find(|(_, known, _)| *known == ending);
    let Some((notation, ..)) = found else {
        return Err(Problem::not_found("this address").hint("`/docs` lists what there is"));
    };
    catalogue(shared.0, base, asker, &headers, *notation).await
}

fn from_media_type(wanted: &str) -> Option<Notation> {
    if wanted == "*/*" || wanted == "text/html" {
        return Some(Notation::Turtle);
    }
    FORMS.iter().find(|(_, _, types)| types.contains(&wanted)).map(|(notation, ..)| *notation)
}

async fn catalogue(
    state: State,
    base: Base,
    asker: Asker,
    headers: &HeaderMap,
    notation: Notation,
) -> Result<Response, Problem> {
    let cards = state.cards.visible(state.front.catalogue(), asker.principal.visibility()).await;
    let cards = cards.map_err(FrontError::Query)?;
    let centre = state.settings.centre.clone();
    let newest = dcat::newest(&cards);
    let address = base.at("/catalog");
    let written = tokio::task::spawn_blocking(move || dcat::graph(&base, &centre, &cards).write(notation));
    let written = written.await.map_err(std::io::Error::other).and_then(|written| written);
    let body = written.map_err(|error| {
        tracing::error!(%error, "catalogue not written");
        Problem::new(&FrontError::Query(hambar_query::QueryError::Execute {
            class: hambar_core::ErrorClass::Internal,
            message: error.to_string(),
        }))
    })?;
    let tag = format!("\"{}\"", crate::access::fingerprint(&String::from_utf8_lossy(&body)));
    let mut response = match has(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => body.into_response(),
    };
    let media_type = FORMS.iter().find(|(known, ..)| *known == notation).and_then(|(_, _, types)| types.first());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.copied().unwrap_or("text/turtle")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(date) = newest.and_then(|newest| HeaderValue::from_str(&http_date(newest)).ok()) {
        headers.insert(header::LAST_MODIFIED, date);
    }
    let mut links = Signposts::default();
    for (_, ending, types) in FORMS {
        links.alternate(&format!("{address}.{ending}"), types.first().copied().unwrap_or_default());
    }
    links.put(headers);
    Ok(response)
}

/// An instant as HTTP writes it.
fn http_date(instant: jiff::Timestamp) -> String {
    instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_http_does() {
        let instant: jiff::Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(http_date(instant), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
