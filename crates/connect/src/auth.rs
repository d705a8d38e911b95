//! How a provider wants to know who asks. Secrets are references in the file; they are resolved once, when a source is
//! built, and only the transport sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use hambar_fetch::{FetchError, Fetched, Fetcher, Request, Secret};
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::body;
use crate::error::ConnectError;
use crate::json::Pointer;

/// Bytes of the answer to a login.
const LOGIN_BYTES_MAX: u64 = 1024 * 1024;

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
            Self::None {} | Self::Query { .. } | Self::Bearer { .. } | Self::Basic { .. } | Self::Login { .. } => {}
        }
        if let Self::Query { parameter, .. } = self
            && parameter.is_empty()
        {
            problems.push(("auth.parameter".to_owned(), "is empty".to_owned()));
        }
        if let Self::Login { url, .. } = self
            && let Err(what) = body::web_url(url)
        {
            problems.push(("auth.url".to_owned(), what));
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
            Self::Login { url, fields, body, token, header, prefix } => Auth::Login(Box::new(Login {
                url: body::web_url(&url)
                    .map_err(|what| ConnectError::Setting { setting: "auth.url".to_owned(), what })?,
                fields: fields.into_iter().map(|(name, field)| Ok((name, resolve(field, secrets)?))).collect::<Result<
                    _,
                    ConnectError,
                >>(
                )?,
                body,
                token,
                header: header.map_or_else(|| "authorization".to_owned(), |name| name.to_lowercase()),
                prefix: prefix.unwrap_or_else(|| "Bearer ".to_owned()),
                current: Mutex::new(None),
            })),
        })
    }
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
    Login(Box<Login>),
}

/// A login, with the token that is in use.
#[derive(Debug)]
pub(crate) struct Login {
    url: Url,
    fields: BTreeMap<String, Secret>,
    body: LoginBody,
    token: Pointer,
    header: String,
    prefix: String,
    current: Mutex<Option<Secret>>,
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
            Self::Login(login) => {
                let token = match login.current() {
                    Some(token) => token,
                    None => login.renew(fetch).await?,
                };
                signed.secret_headers.push((login.header.clone(), token));
                return match fetch.send(signed).await {
                    Err(FetchError::Status { status: 401, .. }) => {
                        let token = login.renew(fetch).await?;
                        let mut again = request;
                        again.secret_headers.push((login.header.clone(), token));
                        fetch.send(again).await.map_err(failed)
                    }
                    other => other.map_err(failed),
                };
            }
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

impl Login {
    fn current(&self) -> Option<Secret> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn renew(&self, fetch: &Fetcher) -> Result<Secret, ConnectError> {
        let step = format!("log in at `{}`", self.url);
        let mut request = Request::get(self.url.clone());
        request.method = http::Method::POST;
        request.body_bytes_max = Some(LOGIN_BYTES_MAX);
        request.is_confidential = true;
        let (content_type, text) = match self.body {
            LoginBody::Json => {
                let object: serde_json::Map<String, serde_json::Value> =
                    self.fields.iter().map(|(name, value)| (name.clone(), value.expose().into())).collect();
                ("application/json", serde_json::Value::Object(object).to_string())
            }
            LoginBody::Form => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(self.fields.iter().map(|(name, value)| (name, value.expose())));
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        request.headers.push(("content-type".to_owned(), content_type.to_owned()));
        request.body = Some(text.into());
        let landed = fetch.fresh(request).await.map_err(|source| ConnectError::Fetch { step, source })?;
        let answer = body::read_json(&landed, LOGIN_BYTES_MAX).await?;
        let token = answer.pointer(self.token.as_str()).and_then(serde_json::Value::as_str).ok_or_else(|| {
            ConnectError::Protocol { url: self.url.to_string(), what: format!("no token at `{}`", self.token) }
        })?;
        let token = Secret::new(format!("{}{token}", self.prefix));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }
}
