//! Who sends a request: a bearer token, or the same token as the password of basic authentication.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, header};

use super::State;
use super::problem::Problem;
use crate::access::{AccessError, Principal};
use crate::front::Protocol;

/// Names under which others take tokens in addresses, where proxies and logs keep them.
const NOT_IN_ADDRESSES: [&str; 4] = ["token", "access_token", "api_key", "apikey"];

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whoever sends a request, proven.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) principal: Arc<Principal>,
    pub(crate) address: Option<IpAddr>,
}

impl FromRequestParts<State> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let address = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip());
        let in_address = parts.uri.query().unwrap_or_default();
        let names = url::form_urlencoded::parse(in_address.as_bytes()).map(|(name, _)| name.to_lowercase());
        if names.into_iter().any(|name| NOT_IN_ADDRESSES.contains(&name.as_str())) {
            let problem = Problem::bad_request("a token in an address ends up in logs and is not taken");
            return Err(problem.hint("send the header `Authorization: Bearer hbr_…`, and revoke this token"));
        }
        let principal = match secret(&parts.headers)? {
            None => state.authenticator.anonymous(address).await,
            Some(secret) => state.authenticator.token(&secret).await,
        };
        match principal {
            Ok(principal) => Ok(Self { principal: Arc::new(principal), address }),
            Err(error) => {
                if matches!(error, AccessError::Token) {
                    state.front.login_refused(Protocol::Http, address);
                }
                Err(error.into())
            }
        }
    }
}

/// Returns the token of a request, if it has one.
fn secret(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Problem::bad_request("there are two `Authorization` headers"));
    }
    let wrong = || Problem::from(AccessError::Token);
    let text = value.to_str().map_err(|_| wrong())?;
    let (scheme, rest) = text.split_once(' ').ok_or_else(wrong)?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Ok(Some(rest.trim().to_owned())),
        "basic" => {
            let bytes = BASE64_STANDARD.decode(rest.trim()).map_err(|_| wrong())?;
            let pair = String::from_utf8(bytes).map_err(|_| wrong())?;
            // Whatever stands for the user says nothing: the token does.
            let (_, password) = pair.split_once(':').ok_or_else(wrong)?;
            Ok(Some(password.to_owned()))
        }
        _ => Err(wrong()),
    }
}
