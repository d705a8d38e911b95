//! Decides where a redirect leads and what may be taken along. Sends nothing.

use http::{Method, StatusCode};
use url::Url;

use crate::error::FetchError;
use crate::redact::{SECRET_HEADERS, shown_url};
use crate::request::Request;

/// What is sent at one hop.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) method: Method,
    /// The address, secret query parameters included.
    pub(crate) url: Url,
    /// Plain headers.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<bytes::Bytes>,
    pub(crate) secrets: Secrets,
    pub(crate) count: usize,
}

/// Whether secret headers go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    Sent,
    Dropped,
}

impl Hop {
    /// Makes the first hop: the request as it was asked for.
    pub(crate) fn first(request: &Request) -> Self {
        let mut url = request.url.clone();
        if !request.secret_query.is_empty() {
            // A next link of the provider repeats our key, masked by now: the true one takes its place.
            let is_secret = |name: &str| request.secret_query.iter().any(|(key, _)| key == name);
            retain_query(&mut url, |name| !is_secret(name));
            let secrets = request.secret_query.iter().map(|(name, secret)| (name.as_str(), secret.expose()));
            url.query_pairs_mut().extend_pairs(secrets);
        }
        url.set_fragment(None);
        Self {
            method: request.method.clone(),
            url,
            headers: request.headers.clone(),
            body: request.body.clone(),
            secrets: Secrets::Sent,
            count: 0,
        }
    }

    /// Makes the next hop: RFC 9110 §15.4.
    ///
    /// # Errors
    /// [`FetchError::Denied`] for a downgrade, [`FetchError::Limit`] after `hops_max` hops, and
    /// [`FetchError::Unexpected`] for a `Location` that is no URL.
    pub(crate) fn follow(
        &self,
        request: &Request,
        status: StatusCode,
        location: Option<&str>,
        hops_max: usize,
    ) -> Result<Self, FetchError> {
        let shown = shown_url(&request.url);
        let Some(location) = location else {
            return Err(FetchError::Unexpected { url: shown, what: format!("{status} without `Location`") });
        };
        if self.count >= hops_max {
            return Err(FetchError::Limit { url: shown, limit: "redirects", value: hops_max as u64, unit: "hops" });
        }
        let Ok(mut url) = self.url.join(location) else {
            return Err(FetchError::Unexpected { url: shown, what: format!("{status} to what is no URL") });
        };
        url.set_fragment(None);
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(FetchError::Denied {
                url: shown_url(&url),
                reason: "a redirect from https to http".to_owned(),
            });
        }
        let mut next = Self { url, count: self.count + 1, ..self.clone() };
        if next.url.origin() != self.url.origin() {
            next.drop_secrets(request);
        }
        let becomes_get = status == StatusCode::SEE_OTHER
            || (matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && self.method == Method::POST);
        if becomes_get && self.method != Method::HEAD {
            next.method = Method::GET;
            next.body = None;
            next.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
        }
        Ok(next)
    }

    fn drop_secrets(&mut self, request: &Request) {
        self.secrets = Secrets::Dropped;
        self.headers.retain(|(name, _)| !SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
        if request.secret_query.is_empty() || self.url.query().is_none() {
            return;
        }
        // A provider that echoes our key into the address of another host would hand it over.
        let is_secret = |name: &str, value: &str| {
            request.secret_query.iter().any(|(key, secret)| key == name || secret.expose() == value)
        };
        let kept: Vec<(String, String)> = self
            .url
            .query_pairs()
            .filter(|(name, value)| !is_secret(name, value))
            .map(|(n, v)| (n.into(), v.into()))
            .collect();
        if kept.is_empty() {
            self.url.set_query(None);
        } else {
            self.url.query_pairs_mut().clear().extend_pairs(kept);
        }
    }
}

/// Keeps the query parameters whose names pass, byte for byte.
fn retain_query(url: &mut Url, keep: impl Fn(&str) -> bool) {
    let Some(query) = url.query() else {
        return;
    };
    let name_of = |pair: &str| url::form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned());
    let kept: Vec<&str> = query.split('&').filter(|pair| name_of(pair).is_none_or(|name| keep(&name))).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(kept.as_str()));
}

/// Says whether a status sends us elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Secret;

    fn check(method: Method, from: &str, status: u16, location: &str, expected: &str) {
        let mut request = Request::get(from.parse().unwrap());
        request.method = method;
        request.body = Some(bytes::Bytes::from_static(b"{}"));
        request.headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        request.secret_query.push(("key".to_owned(), Secret::new("canary".to_owned())));
        let hop = Hop::first(&request);
        let location = (!location.is_empty()).then_some(location);
        let text = match hop.follow(&request, StatusCode::from_u16(status).unwrap(), location, 5) {
            Ok(next) => format!("{} {} {:?} {}", next.method, next.url, next.secrets, next.headers.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn secrets_take_the_place_of_their_masks() {
        let check = |url: &str, expected: &str| {
            let mut request = Request::get(url.parse().unwrap());
            request.secret_query.push(("key".to_owned(), Secret::new("a b".to_owned())));
            assert_eq!(Hop::first(&request).url.as_str(), expected);
        };
        check("https://a.org/x", "https://a.org/x?key=a+b");
        check("https://a.org/x?key=***&q=%20;,", "https://a.org/x?q=%20;,&key=a+b");
        check("https://a.org/x?key=***", "https://a.org/x?key=a+b");
    }

    #[test]
    fn redirects_keep_and_drop_what_they_must() {
        let (get, post) = (|| Method::GET, || Method::POST);
        check(get(), "https://a.org/x", 301, "/y?z=1", "GET https://a.org/y?z=1 Sent 1");
        check(get(), "https://a.org/x", 302, "https://b.org/y?key=canary&z=1", "GET https://b.org/y?z=1 Dropped 1");
        check(get(), "https://a.org/x", 302, "//b.org/y?q=canary", "GET https://b.org/y Dropped 1");
        check(get(), "https://a.org/x", 302, "https://a.org:8443/", "GET https://a.org:8443/ Dropped 1");
        check(get(), "http://a.org/x", 308, "https://a.org/x", "GET https://a.org/x Dropped 1");
        check(post(), "https://a.org/x", 303, "/y", "GET https://a.org/y Sent 0");
        check(post(), "https://a.org/x", 302, "/y", "GET https://a.org/y Sent 0");
        check(post(), "https://a.org/x", 307, "/y", "POST https://a.org/y Sent 1");
        check(Method::HEAD, "https://a.org/x", 303, "/y", "HEAD https://a.org/y Sent 1");
        check(
            get(),
            "https://a.org/x",
            301,
            "http://a.org/x",
            "`http://a.org/x` is not allowed: a redirect from https to http",
        );
        check(get(), "https://a.org/x", 301, "", "`https://a.org/x`: 301 Moved Permanently without `Location`");
        check(get(), "https://a.org/x", 301, "http://[", "`https://a.org/x`: 301 Moved Permanently to what is no URL");
    }
}
