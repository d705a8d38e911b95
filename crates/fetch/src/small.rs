//! Small exchanges with servers that are no providers of data, such as those where people log in: under the same rule of
//! addresses, certificates and proxy as everything else, but outside the landing zone, and without redirects and retries.

use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use http::{Request, Response};
use url::Url;

use crate::address::AddressRule;
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::http_transport::{client, proxy_url, sending_error};

/// What an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallLimits {
    /// Bytes of the answer's body.
    pub body_bytes_max: usize,
    /// Time for the whole of it.
    pub total: Duration,
}

/// Sends small requests and holds their answers.
pub struct Small {
    client: reqwest::Client,
    rule: AddressRule,
    config: FetchConfig,
}

impl fmt::Debug for Small {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Small")
    }
}

impl Small {
    /// Builds the client. Reads the CA file, if one is configured.
    ///
    /// # Errors
    /// [`FetchError::Config`] for a setting that cannot be used.
    pub fn new(config: &FetchConfig) -> Result<Self, FetchError> {
        config.validate()?;
        let proxy = config.proxy.as_deref().map(proxy_url).transpose()?;
        let proxy_host = proxy.as_ref().and_then(Url::host).map(|host| host.to_owned());
        let rule = AddressRule::new(config.allow_hosts.clone(), config.allow_ports.clone(), proxy_host);
        let client = client(config, proxy, &rule)?;
        Ok(Self { client, rule, config: config.clone() })
    }

    /// Sends a request once and returns whatever is answered, redirects and errors included.
    ///
    /// # Errors
    /// Where nothing is answered, the address must not be asked, or a limit is reached. No error holds what follows the
    /// question mark, headers or bodies.
    pub async fn send(&self, request: Request<Vec<u8>>, limits: SmallLimits) -> Result<Response<Vec<u8>>, FetchError> {
        let shown = shown(&request.uri().to_string());
        let late = || FetchError::Timeout { url: shown.clone(), limit: "total", after: limits.total };
        tokio::time::timeout(limits.total, self.exchange(request, &shown, limits)).await.map_err(|_| late())?
    }

    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        shown: &str,
        limits: SmallLimits,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let denied = |reason: String| FetchError::Denied { url: shown.to_owned(), reason };
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| denied(error.to_string()))?;
        self.rule.check_url(&url).map_err(denied)?;
        let mut asked = reqwest::Request::new(parts.method, url);
        *asked.headers_mut() = parts.headers;
        if !body.is_empty() {
            *asked.body_mut() = Some(reqwest::Body::from(body));
        }
        let failed = |error: reqwest::Error| sending_error(&self.config, shown, error);
        let response = self.client.execute(asked).await.map_err(failed)?;
        let mut answer = Response::new(Vec::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let (piece, body) = (piece.map_err(failed)?, answer.body_mut());
            if body.len() + piece.len() > limits.body_bytes_max {
                let value = limits.body_bytes_max as u64;
                return Err(FetchError::Limit { url: shown.to_owned(), limit: "body limit", value, unit: "bytes" });
            }
            body.extend_from_slice(&piece);
        }
        Ok(answer)
    }
}

/// An address without what follows the question mark.
fn shown(address: &str) -> String {
    address.split(['?', '#']).next().unwrap_or_default().to_owned()
}
