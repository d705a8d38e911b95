//! How a provider wants to know who asks. Secrets are references in the file; they are resolved once, when a source is
//! built, and only the transport sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use hambar_fetch::{Fetched, Fetcher, Request, Secret};
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::body;
use crate::error::ConnectError;
use crate::json::Pointer;

mod token;

use token::{Grant, TokenAuth};

/// Form fields of OAuth 2.0 that have keys of their own.
const OAUTH_OWN: [&str; 5] = ["client_id", "client_secret", "grant_type", "refresh_token", "scope"];

/// Where a secret is kept: `{ env = "NAME" }` or `{ file = "path" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file that holds nothing else; white space at its end is cut off.
    File(PathBuf),
}

/// Written by hand, because derived errors quote what they refuse, and somebody will put the secret itself here.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

const SECRET_FORM: &str = "a secret is never written here: use `{ env = \"NAME\" }` or `{ file = \"path\" }`";

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretRef;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("`{ env = \"NAME\" }` or `{ file = \"path\" }`")
    }

    fn visit_str<E: Error>(self, _secret: &str) -> Result<SecretRef, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_i64<E: Error>(self, _secret: i64) -> Result<SecretRef, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_u64<E: Error>(self, _secret: u64) -> Result<SecretRef, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<SecretRef, A::Error> {
        let Some(name) = members.next_key::<String>()? else { return Err(A::Error::custom(SECRET_FORM)) };
        let reference = match name.as_str() {
            "env" => SecretRef::Env(members.next_value()?),
            "file" => SecretRef::File(members.next_value()?),
            _ => return Err(A::Error::custom(SECRET_FORM)),
        };
        match members.next_key::<String>()? {
            None => Ok(reference),
            Some(_) => Err(A::Error::custom(SECRET_FORM)),
        }
    }
}

/// Reads secrets. Only the binary implements it: nothing else reads the environment.
pub trait SecretResolver {
    /// Returns the secret, or [`ConnectError::Setting`] that names the reference, never the secret.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, ConnectError>;
}

/// A text that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or a secret: `{ env = \"NAME\" }` or `{ file = \"path\" }`")]
pub enum TextOrSecret {
    /// No secret.
    Text(String),
    /// A secret.
    Secret(SecretRef),
}

/// The section `[source.auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthSpec {
    /// Nothing is sent.
    None {},
    /// A key as query parameter.
    Query {
        /// The parameter's name.
        parameter: String,
        /// The key.
        secret: SecretRef,
    },
    /// A key as header.
    Header {
        /// The header's name.
        header: String,
        /// The key.
        secret: SecretRef,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        secret: SecretRef,
    },
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// The user's name.
        user: TextOrSecret,
        /// The password.
        secret: SecretRef,
    },
    /// OAuth 2.0: a token is asked for first (client credentials, or a refresh token), and again before it ends.
    Oauth2 {
        /// Where tokens are given.
        token_url: String,
        /// Who asks.
        client_id: TextOrSecret,
        /// Its secret.
        client_secret: SecretRef,
        /// Whether id and secret go into a header or into the form.
        #[serde(default)]
        client_auth: ClientAuth,
        /// A refresh token that the owner of the data gave once; client credentials alone when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh_token: Option<SecretRef>,
        /// What is asked for, words separated by spaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// Fields that the provider wants besides (`audience`, `resource`).
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<String, String>,
    },
    /// A token is asked for first, and again after a 401.
    Login {
        /// Where the token is asked for, with POST.
        url: String,
        /// The members of the JSON body, or the form's fields.
        fields: BTreeMap<String, TextOrSecret>,
        /// How the fields are sent.
        #[serde(default)]
        body: LoginBody,
        /// Where the token is in the answer.
        token: Pointer,
        /// The header that takes it; `authorization` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// What stands before the token; `Bearer ` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
    },
}

impl Default for AuthSpec {
    fn default() -> Self {
        Self::None {}
    }
}

/// How a client of OAuth 2.0 says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the header `Authorization: Basic …`.
    #[default]
    Basic,
    /// As the fields `client_id` and `client_secret` of the form.
    Form,
}

/// How the fields of a login are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoginBody {
    /// As a JSON object.
    #[default]
    Json,
    /// As a web form.
    Form,
}

impl AuthSpec {
    /// Reports what is wrong with it, as pairs of key and problem.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut name = |key: &str, text: &str| {
            if http::HeaderName::from_bytes(text.as_bytes()).is_err() {
                problems.push((format!("auth.{key}"), format!("`{text}` is not a header name")));
            }
        };
        match self {
            Self::Header { header, .. } | Self::Login { header: Some(header), .. } => name("header", header),
            Self::None {}
            | Self::Query { .. }
            | Self::Bearer { .. }
            | Self::Basic { .. }
            | Self::Login { .. }
            | Self::Oauth2 { .. } => {}
        }
        if let Self::Query { parameter, .. } = self
            && parameter.is_empty()
        {
            problems.push(("auth.parameter".to_owned(), "is empty".to_owned()));
        }
        if let Some((key, url)) = match self {
            Self::Login { url, .. } => Some(("auth.url", url)),
            Self::Oauth2 { token_url, .. } => Some(("auth.token_url", token_url)),
            _ => None,
        } && let Err(what) = body::web_url(url)
        {
            problems.push((key.to_owned(), what));
        }
        if let Self::Oauth2 { parameters, .. } = self
            && let Some(name) = parameters.keys().find(|name| OAUTH_OWN.contains(&name.as_str()))
        {
            problems.push((format!("auth.parameters.{name}"), "is set by `auth` itself".to_owned()));
        }
        problems
    }

    /// Resolves the secrets.
    pub(crate) fn build(self, secrets: &dyn SecretResolver) -> Result<Auth, ConnectError> {
        Ok(match self {
            Self::None {} => Auth::None,
            Self::Query { parameter, secret } => Auth::Query { parameter, secret: secrets.resolve(&secret)? },
            Self::Header { header, secret } => {
                Auth::Header { header: header.to_lowercase(), value: secrets.resolve(&secret)? }
            }
            Self::Bearer { secret } => {
                let value = format!("Bearer {}", secrets.resolve(&secret)?.expose());
                Auth::Header { header: "authorization".to_owned(), value: Secret::new(value) }
            }
            Self::Basic { user, secret } => {
                let user = resolve(user, secrets)?;
                let pair = format!("{}:{}", user.expose(), secrets.resolve(&secret)?.expose());
                let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                Auth::Header { header: "authorization".to_owned(), value: Secret::new(value) }
            }
            Self::Login { url, fields, body, token, header, prefix } => {
                let fields = fields.into_iter().map(|(name, field)| Ok((name, resolve(field, secrets)?)));
                let fields = fields.collect::<Result<_, ConnectError>>()?;
                let grant = Grant::Login { url: address("auth.url", &url)?, fields, body, token };
                Auth::Token(Box::new(TokenAuth::new(grant, header, prefix, None)))
            }
            Self::Oauth2 { token_url, client_id, client_secret, client_auth, refresh_token, scope, parameters } => {
                let refresh = refresh_token.map(|reference| secrets.resolve(&reference)).transpose()?;
                let mut parameters = parameters;
                parameters.extend(scope.map(|scope| ("scope".to_owned(), scope)));
                let grant = Grant::Oauth2 {
                    url: address("auth.token_url", &token_url)?,
                    client_id: resolve(client_id, secrets)?,
                    client_secret: secrets.resolve(&client_secret)?,
                    client_auth,
                    parameters,
                    is_refresh: refresh.is_some(),
                };
                Auth::Token(Box::new(TokenAuth::new(grant, None, None, refresh)))
            }
        })
    }
}

fn address(setting: &str, url: &str) -> Result<Url, ConnectError> {
    body::web_url(url).map_err(|what| ConnectError::Setting { setting: setting.to_owned(), what })
}

fn resolve(text: TextOrSecret, secrets: &dyn SecretResolver) -> Result<Secret, ConnectError> {
    match text {
        TextOrSecret::Text(text) => Ok(Secret::new(text)),
        TextOrSecret::Secret(reference) => secrets.resolve(&reference),
    }
}

/// Resolved authentication.
#[derive(Debug)]
pub(crate) enum Auth {
    None,
    Query { parameter: String, secret: Secret },
    Header { header: String, value: Secret },
    Token(Box<TokenAuth>),
}

impl Auth {
    /// Sends `request` with what identifies us; a token that ran out is renewed once.
    pub(crate) async fn send(&self, fetch: &Fetcher, request: Request, step: &str) -> Result<Fetched, ConnectError> {
        let failed = |source| ConnectError::Fetch { step: step.to_owned(), source };
        let mut signed = request.clone();
        match self {
            Self::None => {}
            Self::Query { parameter, secret } => {
                // A provider that echoes the key in its next link must not put it into our records.
                strip_parameter(&mut signed.url, parameter);
                signed.secret_query.push((parameter.clone(), secret.clone()));
            }
            Self::Header { header, value } => signed.secret_headers.push((header.clone(), value.clone())),
            Self::Token(token) => return token.send(fetch, request, step).await,
        }
        fetch.send(signed).await.map_err(failed)
    }
}

fn strip_parameter(url: &mut Url, parameter: &str) {
    if !url.query_pairs().any(|(name, _)| name == parameter) {
        return;
    }
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != parameter)
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
}
