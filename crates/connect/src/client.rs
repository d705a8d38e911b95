//! What every connector does with a request: headers of the file, authentication, the step's name on an error. And the
//! frame in which a reader becomes a stream of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_fetch::{Fetched, Fetcher, Landed, Request};
use sha2::{Digest, Sha256};

use crate::auth::{Auth, AuthSpec, SecretResolver};
use crate::body;
use crate::error::ConnectError;
use crate::source::SliceEvent;

/// Sends the requests of one source.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    headers: Arc<Vec<(String, String)>>,
    auth: Arc<Auth>,
}

impl Client {
    /// Resolves the secrets and takes the headers that every request carries.
    pub(crate) fn new(
        headers: BTreeMap<String, String>,
        auth: AuthSpec,
        secrets: &dyn SecretResolver,
    ) -> Result<Self, ConnectError> {
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        Ok(Self { headers: Arc::new(headers), auth: Arc::new(auth.build(secrets)?) })
    }

    /// Sends nothing that identifies us.
    pub(crate) fn anonymous() -> Self {
        Self { headers: Arc::default(), auth: Arc::new(Auth::None) }
    }

    /// Sends one request.
    pub(crate) async fn send(&self, fetch: &Fetcher, mut request: Request) -> Result<Fetched, ConnectError> {
        for (name, value) in self.headers.iter() {
            if !request.headers.iter().any(|(known, _)| known == name) {
                request.headers.push((name.clone(), value.clone()));
            }
        }
        let step = format!("{} `{}`", request.method, request.url);
        self.auth.send(fetch, request, &step).await
    }

    /// Sends one request that has no validators.
    pub(crate) async fn fresh(&self, fetch: &Fetcher, request: Request) -> Result<Landed, ConnectError> {
        let url = request.url.to_string();
        match self.send(fetch, request).await? {
            Fetched::Fresh(landed) => Ok(landed),
            Fetched::NotModified(_) => {
                Err(ConnectError::Protocol { url, what: "304 to a request without validators".to_owned() })
            }
        }
    }
}

/// Reports what is wrong with the headers of a file.
pub(crate) fn header_problems(headers: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (name, value) in headers {
        let key = format!("headers.{name}");
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            problems.push((key, format!("`{name}` is not a header name")));
        } else if http::HeaderValue::from_str(value).is_err() {
            problems.push((key, "the value is not one line of visible characters".to_owned()));
        } else if ["authorization", "cookie", "x-api-key"].contains(&name.to_lowercase().as_str()) {
            problems.push((key, "is a secret: use `[source.auth]`".to_owned()));
        }
    }
    problems
}

/// Reads one slice step by step.
#[async_trait]
pub(crate) trait EventReader: Send {
    /// Returns the next event, `None` after the last one.
    async fn next(&mut self) -> Result<Option<SliceEvent>, ConnectError>;
}

/// Turns a reader into a stream that ends after its first error.
pub(crate) fn into_stream(reader: impl EventReader + 'static) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
    futures::stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|event| (event, reader))) },
    )
    .boxed()
}

/// A stream that is only an error.
pub(crate) fn failed(error: ConnectError) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
    futures::stream::iter([Err(error)]).boxed()
}

/// The hash of a slice: that of its only page, else of all pages' hashes one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct SliceHash {
    pages: u64,
    first: String,
    all: Sha256,
}

impl SliceHash {
    /// Adds a page's hash in hex.
    pub(crate) fn add(&mut self, page: &str) {
        if self.pages == 0 {
            page.clone_into(&mut self.first);
        }
        self.pages += 1;
        self.all.update(page.as_bytes());
    }

    /// Returns the hash in hex.
    pub(crate) fn finish(&self) -> String {
        if self.pages == 1 { self.first.clone() } else { body::hex(&self.all.clone().finalize()) }
    }
}
