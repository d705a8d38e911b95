//! `/assets/…`: the files that the build made, kept by browsers for ever.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::assets::{ASSETS, Asset, MANIFEST};
use crate::rest::problem::Problem;

/// Returns the address of a file by the name that pages know it by; nothing where this server was built without it.
pub(super) fn address(name: &str) -> Option<String> {
    MANIFEST.iter().find(|(known, _)| *known == name).map(|(_, path)| format!("/assets/{path}"))
}

/// Says whether this server was built with scripts.
pub(super) fn has_scripts() -> bool {
    address("main.js").is_some()
}

/// Answers with a file.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) else {
        return Err(Problem::not_found("this address"));
    };
    let tag = format!("\"{path}\"");
    let mut response = if crate::rest::cache::has(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body(asset, &headers)
    };
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answered.insert(header::ETAG, tag);
    }
    Ok(response)
}

fn body(asset: &Asset, headers: &HeaderMap) -> Response {
    let packed = asset.br.filter(|_| takes_brotli(headers));
    let mut response = packed.unwrap_or(asset.bytes).into_response();
    let answered = response.headers_mut();
    answered.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    if packed.is_some() {
        answered.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|part| {
        let mut pieces = part.split(';').map(str::trim);
        let is_brotli = pieces.next().is_some_and(|name| name.eq_ignore_ascii_case("br"));
        is_brotli && !pieces.any(|piece| matches!(piece, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
