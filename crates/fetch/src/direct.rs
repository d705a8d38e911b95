//! Asks one address that the settings name, such as a collector of traces: outside the landing zone, without redirects,
//! retries or quotas. Its host may be private, since an operator wrote it down; no other host is asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use hambar_core::Clock;
use http::{HeaderMap, Method, header};
use url::Url;

use crate::address::{AddressRule, AllowHosts};
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::http_transport::{client, insert, proxy_url, sending_error};
use crate::request::Secret;
use crate::retry_after;

/// Bytes of an answer that are read; the rest is left.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One address.
pub struct Direct {
    client: reqwest::Client,
    url: Url,
    shown: String,
    headers: HeaderMap,
    config: FetchConfig,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Direct").field("url", &self.shown).finish_non_exhaustive()
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The beginning of the body.
    pub body: Bytes,
}

impl Direct {
    /// Prepares to ask `url`, always with these headers. Proxy, certificate authorities and the time to connect are those
    /// of `config`.
    ///
    /// # Errors
    /// [`FetchError::Denied`] for an address that is not asked, [`FetchError::Config`] for a setting that cannot be used.
    pub fn new(
        config: &FetchConfig,
        url: Url,
        headers: &[(String, Secret)],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FetchError> {
        config.validate()?;
        let shown = shown(&url);
        let denied = |reason: String| FetchError::Denied { url: shown.clone(), reason };
        let host = url.host_str().ok_or_else(|| denied("it has no host".to_owned()))?;
        let proxy = config.proxy.as_deref().map(proxy_url).transpose()?;
        let proxy_host = proxy.as_ref().and_then(Url::host).map(|host| host.to_owned());
        let rule = AddressRule::new(AllowHosts::parse([host])?, Vec::new(), proxy_host);
        rule.check_url(&url).map_err(denied)?;
        let mut sent = HeaderMap::new();
        for (name, secret) in headers {
            insert(&mut sent, name, secret.expose())?.set_sensitive(true);
        }
        let client = client(config, proxy, &rule)?;
        Ok(Self { client, url, shown, headers: sent, config: config.clone(), clock })
    }

    /// Returns the address, without what may be secret in it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Posts a body once. How long that may take is the caller's to say: dropping the future ends it.
    ///
    /// # Errors
    /// Where nothing was answered.
    pub async fn post(&self, content_type: &str, body: Bytes) -> Result<Told, FetchError> {
        let mut headers = self.headers.clone();
        insert(&mut headers, header::CONTENT_TYPE.as_str(), content_type)?;
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(reqwest::Body::from(body));
        let failed = |error: reqwest::Error| sending_error(&self.config, &self.shown, error);
        let response = self.client.execute(request).await.map_err(failed)?;
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|text| retry_after::delay(text, self.clock.now()));
        let status = response.status().as_u16();
        let mut pieces = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failed)?;
            let left = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(piece.get(..left).unwrap_or(&piece));
            if body.len() == ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Told { status, retry_after, body: Bytes::from(body) })
    }
}

/// The address as it may be shown: without user, password, and what follows the question mark.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only where a URL cannot have them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }

    fn direct(url: &str, headers: &[(&str, &str)]) -> Result<String, String> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
        let made = Direct::new(&FetchConfig::default(), Url::parse(url).unwrap(), &headers, Arc::new(Still));
        made.map(|direct| format!("{} {direct:?}", direct.shown())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_named_host_may_be_private_and_secrets_are_not_shown() {
        let made = direct("http://127.0.0.1:4318/v1/traces?key=hunter2", &[("authorization", "hunter2")]).unwrap();
        assert!(made.starts_with("http://127.0.0.1:4318/v1/traces Direct") && !made.contains("hunter2"), "{made}");
        assert!(direct("http://[::1]:4318/", &[]).is_ok() && direct("http://collector:4318/", &[]).is_ok());
        let error = direct("http://user:hunter2@collector/", &[]).unwrap_err();
        assert!(error.contains("user name or password") && !error.contains("hunter2"), "{error}");
        assert!(direct("ftp://collector/", &[]).unwrap_err().contains("only http and https"));
        let error = direct("http://collector/", &[("a b", "hunter2")]).unwrap_err();
        assert!(error.contains("header `a b`") && !error.contains("hunter2"), "{error}");
        let error = direct("http://collector/", &[("a", "hunter2\n")]).unwrap_err();
        assert!(error.contains("a value") && !error.contains("hunter2"), "{error}");
    }
}
