//! The transport that really asks: one request, its redirects, its body landed. Retries and quotas are wrappers.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_core::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::Instant;
use url::Url;

use crate::address::{AddressRule, CheckedResolver, ForbiddenName};
use crate::answer::{Answer, Exchange, content_length};
use crate::body::{BoxError, Coding};
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::exchange::ExchangeSink;
use crate::landing::Landing;
use crate::redact::Redactor;
use crate::redirect::{Hop, Secrets};
use crate::request::{Fetched, Request, Transport};
use crate::resume::{Partial, Whole, content_range};

/// Asks providers over HTTP.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    rule: AddressRule,
    config: FetchConfig,
    landing: Landing,
    clock: Arc<dyn Clock>,
}

impl Http {
    /// Builds the client. Reads the CA file, if one is configured.
    ///
    /// # Errors
    /// [`FetchError::Config`] for a setting that cannot be used.
    pub fn new(config: FetchConfig, landing: Landing, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        config.validate()?;
        let proxy = config.proxy.as_deref().map(proxy_url).transpose()?;
        let proxy_host = proxy.as_ref().and_then(Url::host).map(|host| host.to_owned());
        let rule = AddressRule::new(config.allow_hosts.clone(), config.allow_ports.clone(), proxy_host);
        let client = client(&config, proxy, &rule)?;
        Ok(Self { client, rule, config, landing, clock })
    }

    /// Sends one hop and waits for the headers of its answer.
    async fn ask(
        &self,
        hop: &Hop,
        partial: Option<&Partial>,
        exchange: &mut Exchange<'_>,
    ) -> Result<Answer<'static>, FetchError> {
        let shown = exchange.redactor.url(&hop.url);
        self.rule.check_url(&hop.url).map_err(|reason| FetchError::Denied { url: shown.clone(), reason })?;
        let headers = headers(hop, partial, exchange.request)?;
        exchange.meta.request_headers = exchange.redactor.request_headers(&headers, exchange.request);
        exchange.meta.final_url = shown.clone();
        let mut asked = reqwest::Request::new(hop.method.clone(), hop.url.clone());
        *asked.headers_mut() = headers;
        *asked.body_mut() = hop.body.clone().map(reqwest::Body::from);
        let rest = exchange.limits.deadline.saturating_duration_since(Instant::now());
        let answer = tokio::time::timeout(self.config.first_byte.min(rest), self.client.execute(asked)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(sending_error(&self.config, &shown, error)),
            Err(_) if rest < self.config.first_byte => {
                return Err(FetchError::Timeout { url: shown, limit: "total", after: self.config.total });
            }
            Err(_) => {
                return Err(FetchError::Timeout { url: shown, limit: "first byte", after: self.config.first_byte });
            }
        };
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        self.check_header_size(&shown, &parts.headers)?;
        let body = pieces(body, parts.version);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    fn check_header_size(&self, url: &str, headers: &HeaderMap) -> Result<(), FetchError> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes as u64 <= self.config.header_bytes_max {
            return Ok(());
        }
        let value = self.config.header_bytes_max;
        Err(FetchError::Limit { url: url.to_owned(), limit: "header limit", value, unit: "bytes" })
    }

    async fn open_partial(&self, request: &Request, redactor: &Redactor) -> Result<Option<Partial>, FetchError> {
        if !request.resumable || request.is_confidential || request.method != Method::GET {
            return Ok(None);
        }
        let shown = redactor.url(&request.url);
        let opened = Partial::open(self.landing.spool_dir(), request, &shown).await;
        opened.map_err(|source| FetchError::Landing { url: shown, source })
    }
}

/// Why a request could not be sent, or was not answered.
pub(crate) fn sending_error(config: &FetchConfig, url: &str, error: reqwest::Error) -> FetchError {
    let url = url.to_owned();
    if error.is_connect() && error.is_timeout() {
        return FetchError::Timeout { url, limit: "connect", after: config.connect };
    }
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(link) = cause {
        if let Some(forbidden) = link.downcast_ref::<ForbiddenName>() {
            return FetchError::Denied { url, reason: forbidden.reason.clone() };
        }
        if let Some(what) = link.downcast_ref::<std::io::Error>().and_then(untrusted) {
            return FetchError::Untrusted { url, what };
        }
        if let Some(broken) = link.downcast_ref::<hyper::Error>() {
            if broken.is_parse_too_large() {
                // The client does not say which of its two limits it was.
                let value = config.header_count_max as u64;
                return FetchError::Limit { url, limit: "header limit", value, unit: "headers, or of 400 KiB in all," };
            }
            if broken.is_parse() {
                return FetchError::Unexpected { url, what: format!("the answer is not HTTP: {broken}") };
            }
        }
        cause = link.source();
    }
    FetchError::Connection { url, source: Box::new(error) }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let redactor = Redactor::new(&request);
        let begun = Instant::now();
        let mut partial = self.open_partial(&request, &redactor).await?;
        let mut hop = Hop::first(&request);
        loop {
            let times = (self.clock.now(), begun);
            let mut exchange = Exchange::begin(&request, &redactor, &self.landing, sink, &self.config, times);
            let answer = match self.ask(&hop, partial.as_ref(), &mut exchange).await {
                Ok(answer) => answer,
                Err(error) => {
                    exchange.record(Some(&error));
                    partial.map_or(Ok(()), Partial::leave).map_err(|source| exchange.landing_error(source))?;
                    return Err(error);
                }
            };
            if exchange.is_referral(&answer) {
                hop = exchange.follow(&hop, &request, &answer, self.config.redirects_max)?;
                continue;
            }
            match joined(partial.take(), answer.status, &answer.headers, &mut exchange).await {
                Ok(Joined::Receive(kept)) => return exchange.take(answer, kept).await,
                Ok(Joined::AskAgain(kept)) => {
                    exchange.answered(answer.status, &answer.headers);
                    exchange.record(None);
                    partial = kept;
                }
                Err(error) => {
                    exchange.answered(answer.status, &answer.headers);
                    exchange.record(Some(&error));
                    return Err(error);
                }
            }
        }
    }
}

/// The pieces of a body. Over HTTP/2, hyper takes a stream that was reset with `NO_ERROR` for one that ended; only the
/// flag of the last frame proves an end.
fn pieces(body: reqwest::Body, version: Version) -> BoxStream<'static, Result<Bytes, BoxError>> {
    let pieces = futures::stream::try_unfold(body, move |mut body| async move {
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some((bytes, body)));
                    }
                }
                Some(Err(error)) => return Err(BoxError::from(error.without_url())),
                None if version == Version::HTTP_2 && !body.is_end_stream() => {
                    return Err(BoxError::from("the stream was reset before its end"));
                }
                None => return Ok(None),
            }
        }
    });
    pieces.boxed()
}

/// Says what is wrong where TLS cannot prove who answers, however often it is asked. Errors of TLS travel inside those
/// of the socket, sometimes twice.
fn untrusted(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    if let Some(deeper) = inner.downcast_ref::<std::io::Error>() {
        return untrusted(deeper);
    }
    let tls = inner.downcast_ref::<rustls::Error>()?;
    let is_final = match tls {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::PeerIncompatible(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            rustls::AlertDescription::ProtocolVersion
                | rustls::AlertDescription::HandshakeFailure
                | rustls::AlertDescription::InsufficientSecurity
                | rustls::AlertDescription::UnrecognisedName
        ),
        _ => false,
    };
    is_final.then(|| tls.to_string())
}

/// How an answer and a partial file go together.
enum Joined {
    /// Receive the body, into the partial file if there is one.
    Receive(Option<Partial>),
    /// The provider did not continue as asked: ask for the whole. The file is empty now.
    AskAgain(Option<Partial>),
}

/// Decides whether an answer continues, replaces or ignores a partial file.
async fn joined(
    partial: Option<Partial>,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: &mut Exchange<'_>,
) -> Result<Joined, FetchError> {
    let Some(mut partial) = partial else {
        if status == StatusCode::PARTIAL_CONTENT {
            return Err(exchange.unexpected("206 to a request for the whole"));
        }
        return Ok(Joined::Receive(None));
    };
    match status {
        StatusCode::PARTIAL_CONTENT if partial.progress().is_none() => {
            Err(exchange.unexpected("206 to a request for the whole"))
        }
        StatusCode::PARTIAL_CONTENT if continues(&partial, headers) => Ok(Joined::Receive(Some(partial))),
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if partial.progress().is_some() => {
            partial.restart(None).await.map_err(|source| exchange.landing_error(source))?;
            Ok(Joined::AskAgain(Some(partial)))
        }
        StatusCode::OK => {
            let coding = Coding::announced(headers).map_err(|what| exchange.unexpected(&what))?;
            let total = content_length(headers);
            let whole = Whole::announced(&exchange.meta.url, headers, total, coding);
            if !whole.is_continuable() {
                partial.discard().map_err(|source| exchange.landing_error(source))?;
                return Ok(Joined::Receive(None));
            }
            partial.restart(Some(whole)).await.map_err(|source| exchange.landing_error(source))?;
            Ok(Joined::Receive(Some(partial)))
        }
        // An error or "not modified": the partial file waits for a better day.
        _ => {
            partial.leave().map_err(|source| exchange.landing_error(source))?;
            Ok(Joined::Receive(None))
        }
    }
}

/// Says whether a 206 answer begins where the partial file ends and belongs to the same whole.
fn continues(partial: &Partial, headers: &HeaderMap) -> bool {
    let Some((offset, whole, validator)) = partial.progress() else {
        return false;
    };
    let Some((first, last, total)) = content_range(headers) else {
        return false;
    };
    let etag = headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    let same_whole = etag.is_none_or(|etag| etag == validator || !validator.starts_with('"'))
        && (whole.total.is_none() || total.is_none() || whole.total == total)
        && Coding::announced(headers).is_ok_and(|coding| coding == whole.coding);
    let end = total.or(whole.total);
    same_whole && first == offset && last >= first && end.is_none_or(|total| last + 1 == total)
}

/// Builds the headers of one hop.
fn headers(hop: &Hop, partial: Option<&Partial>, request: &Request) -> Result<HeaderMap, FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    for (name, value) in &hop.headers {
        insert(&mut headers, name, value)?;
    }
    if hop.secrets == Secrets::Sent {
        for (name, secret) in &request.secret_headers {
            insert(&mut headers, name, secret.expose())?.set_sensitive(true);
        }
    }
    if matches!(hop.method, Method::GET | Method::HEAD) {
        if let Some(etag) = &request.validators.etag {
            insert(&mut headers, "if-none-match", etag)?;
        }
        if let Some(date) = &request.validators.last_modified {
            insert(&mut headers, "if-modified-since", date)?;
        }
    }
    if let Some((offset, _, validator)) = partial.and_then(Partial::progress) {
        insert(&mut headers, "range", &format!("bytes={offset}-"))?;
        insert(&mut headers, "if-range", validator)?;
    }
    Ok(headers)
}

pub(crate) fn insert<'a>(
    headers: &'a mut HeaderMap,
    name: &str,
    value: &str,
) -> Result<&'a mut HeaderValue, FetchError> {
    let wrong = |what: &str| FetchError::Config {
        key: format!("header `{name}`"),
        reason: format!("has {what} that cannot be sent"),
    };
    let key = HeaderName::try_from(name).map_err(|_| wrong("a name"))?;
    let sent = HeaderValue::try_from(value).map_err(|_| wrong("a value"))?;
    headers.insert(key.clone(), sent);
    headers.get_mut(key).ok_or_else(|| wrong("a name"))
}

fn config_error(key: &str, reason: String) -> FetchError {
    FetchError::Config { key: key.to_owned(), reason }
}

pub(crate) fn proxy_url(text: &str) -> Result<Url, FetchError> {
    let wrong = |reason: &str| config_error("fetch.proxy", reason.to_owned());
    let url = Url::parse(text).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") || url.host_str().is_none() {
        return Err(wrong("must be an http, https or socks5 address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user name or password"));
    }
    Ok(url)
}

pub(crate) fn client(
    config: &FetchConfig,
    proxy: Option<Url>,
    rule: &AddressRule,
) -> Result<reqwest::Client, FetchError> {
    // An error means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = config.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let builder = builder(config, proxy, rule)?;
    let unbuilt = |error: reqwest::Error| config_error("fetch", format!("no client: {}", hambar_core::Chain(&error)));
    if !system_has_authorities() {
        // Plain http must work on a bare machine. Every https address is refused by its certificate then.
        if own.is_empty() {
            tracing::warn!(
                "no certificate authorities found: https fails until ca-certificates is installed or fetch.ca_file set"
            );
        }
        return builder.tls_certs_only(own).build().map_err(unbuilt);
    }
    builder.tls_certs_merge(own).build().map_err(unbuilt)
}

/// Says whether the system's verifier can be made: it fails where no certificate authority is installed.
fn system_has_authorities() -> bool {
    reqwest::Client::builder().no_proxy().build().is_ok()
}

fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, FetchError> {
    let unreadable = |reason: String| config_error("fetch.ca_file", format!("`{}`: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() { Err(unreadable("holds no certificate".to_owned())) } else { Ok(found) }
}

fn builder(config: &FetchConfig, proxy: Option<Url>, rule: &AddressRule) -> Result<reqwest::ClientBuilder, FetchError> {
    let contact = if config.contact.is_empty() { String::new() } else { format!(" (+{})", config.contact) };
    let header_bytes = u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX);
    let resolver = CheckedResolver::new(Arc::new(rule.clone()), config.connect);
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .user_agent(format!("hambar/{}{contact}", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect)
        .http1_max_headers(config.header_count_max)
        .http2_max_header_list_size(header_bytes)
        .http2_adaptive_window(true)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .dns_resolver(Arc::new(resolver));
    let Some(url) = proxy else {
        return Ok(builder);
    };
    let exceptions = reqwest::NoProxy::from_string(&config.proxy_exceptions.join(","));
    let proxy = reqwest::Proxy::all(url).map_err(|error| config_error("fetch.proxy", error.to_string()))?;
    Ok(builder.proxy(proxy.no_proxy(exceptions)))
}

#[cfg(test)]
mod tests {
    use url::Host;

    use super::*;

    #[test]
    fn proxies_are_checked() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = proxy_url(text).map(|url| url.to_string()).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        };
        check("http://proxy.lan:3128", Ok("http://proxy.lan:3128/"));
        check("proxy.lan", Err("setting `fetch.proxy` is not a URL"));
        check("ftp://proxy.lan", Err("setting `fetch.proxy` must be an http, https or socks5 address"));
        check("http://a:b@proxy.lan", Err("setting `fetch.proxy` must not hold a user name or password"));
        let host: Option<Host<String>> = proxy_url("http://10.0.0.1:1").unwrap().host().map(|host| host.to_owned());
        assert_eq!(host, Some(Host::Ipv4([10, 0, 0, 1].into())));
    }
}
