//! Tokens that are asked for first: by a login of the provider's own, or by OAuth 2.0 (RFC 6749). A token is renewed a
//! little before it ends, and once after a 401. What asks for it and what answers stays out of logs, records and errors.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use hambar_fetch::{FetchError, Fetched, Fetcher, Request, Secret};
use serde_json::Value as Json;
use tokio::time::Instant;
use url::Url;

use super::{ClientAuth, LoginBody};
use crate::body;
use crate::error::ConnectError;
use crate::json::Pointer;

/// Bytes of the answer that brings a token.
const TOKEN_BYTES_MAX: u64 = 1024 * 1024;
/// A token is renewed so long before its end that a request under way does not outlive it.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// The only words of a refusal that are shown: an answer may repeat the secret (RFC 6749 §5.2).
const OAUTH_ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A way to a token, with the token that is in use.
#[derive(Debug)]
pub(crate) struct TokenAuth {
    grant: Grant,
    header: String,
    prefix: String,
    held: Mutex<Held>,
}

/// How a token is asked for.
#[derive(Debug)]
pub(super) enum Grant {
    /// The provider's own login.
    Login { url: Url, fields: BTreeMap<String, Secret>, body: LoginBody, token: Pointer },
    /// OAuth 2.0.
    Oauth2 {
        url: Url,
        client_id: Secret,
        client_secret: Secret,
        client_auth: ClientAuth,
        /// Scope and what else the provider asks for.
        parameters: BTreeMap<String, String>,
        /// Whether a token that an owner gave us once is to be exchanged.
        is_refresh: bool,
    },
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Secret>,
    ends: Option<Instant>,
    refresh: Option<Secret>,
}

impl TokenAuth {
    /// `refresh` is the refresh token to begin with.
    pub(super) fn new(grant: Grant, header: Option<String>, prefix: Option<String>, refresh: Option<Secret>) -> Self {
        Self {
            grant,
            header: header.map_or_else(|| "authorization".to_owned(), |name| name.to_lowercase()),
            prefix: prefix.unwrap_or_else(|| "Bearer ".to_owned()),
            held: Mutex::new(Held { refresh, ..Held::default() }),
        }
    }

    /// Sends `request` with a token; one that the provider refuses is renewed once.
    pub(super) async fn send(&self, fetch: &Fetcher, request: Request, step: &str) -> Result<Fetched, ConnectError> {
        let failed = |source| ConnectError::Fetch { step: step.to_owned(), source };
        let token = match self.current() {
            Some(token) => token,
            None => self.renew(fetch).await?,
        };
        match fetch.send(self.signed(&request, token)).await {
            Err(FetchError::Status { status: 401, .. }) => {
                let token = self.renew(fetch).await?;
                fetch.send(self.signed(&request, token)).await.map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    fn signed(&self, request: &Request, token: Secret) -> Request {
        let mut signed = request.clone();
        signed.secret_headers.push((self.header.clone(), token));
        signed
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Secret> {
        let held = self.held();
        let is_alive = held.ends.is_none_or(|ends| Instant::now() < ends);
        held.token.clone().filter(|_| is_alive)
    }

    async fn renew(&self, fetch: &Fetcher) -> Result<Secret, ConnectError> {
        let (request, place) = match &self.grant {
            Grant::Login { url, fields, body, token } => (login(url, fields, *body), token.as_str()),
            Grant::Oauth2 { .. } => (self.oauth_request()?, "/access_token"),
        };
        let url = request.url.to_string();
        let step = format!("log in at `{url}`");
        let landed = fetch.fresh(request).await.map_err(|source| ConnectError::Fetch { step, source })?;
        let answer = body::read_json(&landed, TOKEN_BYTES_MAX).await?;
        let protocol = |what: String| ConnectError::Protocol { url: url.clone(), what };
        if landed.meta.status.is_some_and(|status| status != 200) {
            let code = answer.get("error").and_then(Json::as_str).unwrap_or_default();
            let code = if OAUTH_ERRORS.contains(&code) { code } else { "an error that is not shown" };
            return Err(ConnectError::Reported { url, code: code.to_owned(), text: "no token was given".to_owned() });
        }
        let token = answer.pointer(place).and_then(Json::as_str).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| protocol(format!("no token at `{place}`")))?;
        let token = Secret::new(format!("{}{token}", self.prefix));
        let mut held = self.held();
        if let Grant::Oauth2 { is_refresh, .. } = &self.grant {
            if let Some(kind) = answer.get("token_type").and_then(Json::as_str)
                && !kind.eq_ignore_ascii_case("bearer")
            {
                return Err(protocol("the token's type is not `Bearer`".to_owned()));
            }
            held.ends = lifetime(&answer).map(|lifetime| Instant::now() + lifetime);
            // A refresh token that was replaced is dead; one that we did not ask for is not needed (RFC 6749 §4.4.3).
            let next = answer.get("refresh_token").and_then(Json::as_str).filter(|_| *is_refresh);
            if let Some(next) = next {
                held.refresh = Some(Secret::new(next.to_owned()));
            }
        }
        held.token = Some(token.clone());
        Ok(token)
    }

    fn oauth_request(&self) -> Result<Request, ConnectError> {
        let Grant::Oauth2 { url, client_id, client_secret, client_auth, parameters, .. } = &self.grant else {
            let what = "is no OAuth 2.0".to_owned();
            return Err(ConnectError::Setting { setting: "auth".to_owned(), what });
        };
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        match &self.held().refresh {
            None => form.append_pair("grant_type", "client_credentials"),
            Some(token) => form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose()),
        };
        form.extend_pairs(parameters);
        let mut request = Request::get(url.clone());
        match client_auth {
            ClientAuth::Basic => {
                // Both are form-encoded before they are joined: RFC 6749 §2.3.1.
                let encode = |text: &Secret| -> String {
                    url::form_urlencoded::byte_serialize(text.expose().as_bytes()).collect()
                };
                let pair = format!("{}:{}", encode(client_id), encode(client_secret));
                let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                request.secret_headers.push(("authorization".to_owned(), Secret::new(value)));
            }
            ClientAuth::Form => {
                form.append_pair("client_id", client_id.expose());
                form.append_pair("client_secret", client_secret.expose());
            }
        }
        request.accept_status = vec![400, 401];
        Ok(asking(request, "application/x-www-form-urlencoded", form.finish()))
    }
}

/// How long a token may be used: `expires_in` less what a request takes; for a short-lived one half of it.
fn lifetime(answer: &Json) -> Option<Duration> {
    let seconds = match answer.get("expires_in")? {
        Json::Number(number) => number.as_u64()?,
        Json::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // A year is as good as for ever, and cannot overflow an instant.
    let whole = Duration::from_secs(seconds.min(365 * 24 * 60 * 60));
    Some(whole.saturating_sub(RENEW_BEFORE).max(whole / 2))
}

fn login(url: &Url, fields: &BTreeMap<String, Secret>, body: LoginBody) -> Request {
    let (content_type, text) = match body {
        LoginBody::Json => {
            let object: serde_json::Map<String, Json> =
                fields.iter().map(|(name, value)| (name.clone(), value.expose().into())).collect();
            ("application/json", Json::Object(object).to_string())
        }
        LoginBody::Form => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields.iter().map(|(name, value)| (name, value.expose())));
            ("application/x-www-form-urlencoded", form.finish())
        }
    };
    asking(Request::get(url.clone()), content_type, text)
}

/// A POST whose answer nobody keeps.
fn asking(mut request: Request, content_type: &str, text: String) -> Request {
    request.method = http::Method::POST;
    request.body_bytes_max = Some(TOKEN_BYTES_MAX);
    request.is_confidential = true;
    request.headers.push(("accept".to_owned(), "application/json".to_owned()));
    request.headers.push(("content-type".to_owned(), content_type.to_owned()));
    request.body = Some(text.into());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_end() {
        for (answer, expected) in [
            (r#"{"expires_in": 3600}"#, Some(3_570)),
            (r#"{"expires_in": "3600"}"#, Some(3_570)),
            (r#"{"expires_in": 40}"#, Some(20)),
            (r#"{"expires_in": 0}"#, Some(0)),
            (r#"{"expires_in": 18446744073709551615}"#, Some(31_535_970)),
            (r#"{"expires_in": -1}"#, None),
            (r#"{"expires_in": null}"#, None),
            ("{}", None),
        ] {
            let found = lifetime(&serde_json::from_str(answer).unwrap());
            assert_eq!(found.map(|lifetime| lifetime.as_secs()), expected, "{answer}");
        }
    }
}
