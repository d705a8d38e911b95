//! Who sends a request: a bearer token, the same token as the password of basic authentication, or the session of the
//! web page. Flight SQL, which comes over HTTP/2 too, takes the tokens in the same way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use super::State;
use super::problem::Problem;
use crate::access::{AccessError, Authenticator, Principal};
use crate::front::{Protocol, QueryFront};
use crate::net::Security;
use crate::trace;

/// Base64 of basic authentication. Drivers of Flight SQL leave the padding out.
const PASSWORDS: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names under which others take tokens in addresses, where proxies and logs keep them.
const NOT_IN_ADDRESSES: [&str; 4] = ["token", "access_token", "api_key", "apikey"];

/// The cookie of the web page's sessions.
pub(crate) const SESSION_COOKIE: &str = "hambar_session";
/// What scripts of our own pages send along.
const OWN_SCRIPT: HeaderName = HeaderName::from_static("x-hambar");
/// Where browsers say whose page a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where proxies say whom they speak for.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Where proxies say by which scheme they were asked.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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
        let known = identify(parts, state).await?;
        // A browser adds the cookie to whatever another site makes it send. It does not let that site add a header.
        if known.session.is_some() && !parts.method.is_safe() {
            let is_own = parts.headers.contains_key(OWN_SCRIPT) && is_same_origin(&parts.headers);
            if !is_own {
                let problem = Problem::denied("a session changes something only for the pages of this server");
                return Err(problem.hint("send the header `X-Hambar: 1`, or a token instead of the cookie"));
            }
        }
        Ok(Self { principal: known.principal, address: known.address })
    }
}

/// Whoever sends a request, and by which session.
#[derive(Debug, Clone)]
pub(crate) struct Identified {
    pub(crate) principal: Arc<Principal>,
    pub(crate) address: Option<IpAddr>,
    /// The cookie that proved it, where that did.
    pub(crate) session: Option<String>,
}

/// Finds out who sends a request. What it shows decides: a token that is not valid is not a lack of one. A session that
/// has ended is.
pub(crate) async fn identify(parts: &Parts, state: &State) -> Result<Identified, Problem> {
    let known = trace::authenticate(|problem: &Problem| problem.class(), found(parts, state)).await?;
    trace::current().proven(&known.principal);
    Ok(known)
}

async fn found(parts: &Parts, state: &State) -> Result<Identified, Problem> {
    let in_address = parts.uri.query().unwrap_or_default();
    let names = url::form_urlencoded::parse(in_address.as_bytes()).map(|(name, _)| name.to_lowercase());
    if names.into_iter().any(|name| NOT_IN_ADDRESSES.contains(&name.as_str())) {
        let problem = Problem::bad_request("a token in an address ends up in logs and is not taken");
        return Err(problem.hint("send the header `Authorization: Bearer hbr_…`, and revoke this token"));
    }
    if let Shown::Nothing = secret(&parts.headers)
        && let Some(cookie) = cookie(&parts.headers, SESSION_COOKIE)
        && let Some(principal) = state.authenticator.session(cookie).await?
    {
        let session = Some(cookie.to_owned());
        return Ok(Identified { principal: Arc::new(principal), address: address(parts, state), session });
    }
    let door = Door {
        front: &state.front,
        authenticator: &state.authenticator,
        trusted_proxies: &state.settings.trusted_proxies,
        protocol: Protocol::Http,
    };
    match door.prove(&parts.headers, parts.extensions.get::<Peer>().copied()).await {
        Ok(Asker { principal, address }) => Ok(Identified { principal, address, session: None }),
        Err(Refused::Twice) => Err(Problem::bad_request("there are two `Authorization` headers")),
        Err(Refused::Access(error)) => Err(error.into()),
    }
}

/// What proves whoever comes by a protocol that has headers.
pub(crate) struct Door<'a> {
    pub(crate) front: &'a QueryFront,
    pub(crate) authenticator: &'a Authenticator,
    pub(crate) trusted_proxies: &'a [IpAddr],
    pub(crate) protocol: Protocol,
}

/// Why somebody is not let in.
pub(crate) enum Refused {
    /// There are two headers where one says who asks.
    Twice,
    /// Their token does not let them in.
    Access(AccessError),
}

impl Door<'_> {
    /// Proves whoever sends these headers from `peer`.
    pub(crate) async fn prove(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<Asker, Refused> {
        let address = peer.map(|Peer(peer)| client(peer.ip().to_canonical(), headers, self.trusted_proxies));
        let principal = match secret(headers) {
            Shown::Nothing => self.authenticator.anonymous(address).await,
            Shown::Secret(secret) => self.authenticator.token(&secret, address).await,
            Shown::Garbage => Err(self.authenticator.refused(address)),
            Shown::Twice => return Err(Refused::Twice),
        };
        match principal {
            Ok(principal) => Ok(Asker { principal: Arc::new(principal), address }),
            Err(error) => {
                if matches!(error, AccessError::Token | AccessError::Tried) {
                    self.front.login_refused(self.protocol, address, &error);
                }
                Err(Refused::Access(error))
            }
        }
    }
}

/// Returns where a request comes from.
pub(crate) fn address(parts: &Parts, state: &State) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
    peer.map(|peer| client(peer, &parts.headers, &state.settings.trusted_proxies))
}

/// Says whether whoever asks came by TLS: to this server, or to a proxy that is trusted.
pub(crate) fn is_https(parts: &Parts, state: &State) -> bool {
    let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
    let is_proxied = peer.is_some_and(|peer| state.settings.trusted_proxies.contains(&peer));
    match state.settings.security {
        Security::Tls => true,
        Security::Plaintext | Security::PlaintextAllowed => {
            is_proxied && parts.headers.get(FORWARDED_PROTO).is_some_and(|scheme| scheme == "https")
        }
    }
}

/// Returns a cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Says whether a request comes from a page of this server, as far as the browser tells: `Origin` names the host that it
/// is sent to. Requests that are not a page's have none.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_own_site = text(FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => is_own_site,
        (Some(_), Some(host)) => is_own_site && origin == Some(host),
        // HTTP/2 has no `Host`; browsers that speak it send the other header.
        (Some(_), None) => is_own_site && text(FETCH_SITE).is_some(),
    }
}

/// Whom a request comes from: the other end, or where that is a proxy that is trusted, the last address in
/// `X-Forwarded-For` that is no such proxy. Whatever stands before it, anybody may have written.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    if !trusted.contains(&peer) {
        return peer;
    }
    let values = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    for text in named.into_iter().rev() {
        let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
        let Some(address) = text.parse::<IpAddr>().ok().or_else(with_port) else { return peer };
        if !trusted.contains(&address.to_canonical()) {
            return address.to_canonical();
        }
    }
    peer
}

/// What a request shows of who sends it.
pub(crate) enum Shown {
    Nothing,
    Secret(String),
    /// Something that is no token in any form.
    Garbage,
    /// More than one thing.
    Twice,
}

/// Returns the token of a request, if it has one.
pub(crate) fn secret(headers: &HeaderMap) -> Shown {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Shown::Nothing };
    if sent.next().is_some() {
        return Shown::Twice;
    }
    let found = value.to_str().ok().and_then(token_of);
    found.map_or(Shown::Garbage, Shown::Secret)
}

fn token_of(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.trim().to_owned()),
        "basic" => {
            let bytes = PASSWORDS.decode(rest.trim()).ok()?;
            let pair = String::from_utf8(bytes).ok()?;
            // Whatever stands for the user says nothing: the token does.
            pair.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_as_bearers_and_as_passwords_with_and_without_padding() {
        for text in ["Bearer hbr_ab", "bearer  hbr_ab ", "Basic dTpoYnJfYWI=", "Basic dTpoYnJfYWI", "basic Omhicl9hYg"]
        {
            assert_eq!(token_of(text).as_deref(), Some("hbr_ab"), "{text}");
        }
        for text in ["Bearer", "hbr_ab", "Digest hbr_ab", "Basic !", "Basic dTpoYnJfYWI==", "Basic aGJyX2Fi"] {
            assert_eq!(token_of(text), None, "{text}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_whom_they_speak_for() {
        let asked = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let trusted: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).to_vec();
            client(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(asked("192.0.2.9", &["203.0.113.1"]), "192.0.2.9");
        assert_eq!(asked("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(asked("10.0.0.1", &["6.6.6.6, 203.0.113.1"]), "203.0.113.1");
        assert_eq!(asked("10.0.0.1", &["6.6.6.6", "203.0.113.1, 10.0.0.2"]), "203.0.113.1");
        assert_eq!(asked("10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(asked("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(asked("10.0.0.1", &["203.0.113.1, unknown"]), "10.0.0.1");
    }

    #[test]
    fn a_request_of_another_site_is_known_by_what_the_browser_says() {
        let asked = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            is_same_origin(&headers)
        };
        assert!(asked(&[("host", "a:1")]));
        assert!(asked(&[("host", "a:1"), ("origin", "http://a:1")]));
        assert!(asked(&[("origin", "https://a"), ("sec-fetch-site", "same-origin")]));
        assert!(!asked(&[("host", "a:1"), ("origin", "http://a:2")]));
        assert!(!asked(&[("host", "a:1"), ("origin", "null")]));
        assert!(!asked(&[("host", "a:1"), ("sec-fetch-site", "cross-site")]));
        assert!(!asked(&[("origin", "https://a")]));
    }

    #[test]
    fn cookies_are_found_by_their_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; hambar_session=x.y.z".parse().unwrap());
        headers.append(header::COOKIE, "b=2".parse().unwrap());
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("x.y.z"));
        assert_eq!((cookie(&headers, "b"), cookie(&headers, "c")), (Some("2"), None));
    }
}
