//! What a page looks like for a browser, whoever looks: its language, its theme, where it is, and what the browser has
//! already.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::Markup;
use ring::digest;

use super::texts::{BULGARIAN, ENGLISH, Texts};
use crate::rest::State;
use crate::rest::auth::{cookie, is_https};

/// What browsers may load for a page: what this server has, and nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The cookie of the language.
const LANGUAGE_COOKIE: &str = "hambar_lang";
/// The cookie of the theme, which the page's script sets.
const THEME_COOKIE: &str = "hambar_theme";
/// Seconds for which the choice of a language is remembered.
const LANGUAGE_SECONDS: u32 = 365 * 24 * 60 * 60;
/// Bytes of a host's name that are put into pages.
const HOST_BYTES_MAX: usize = 255;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Bulgarian,
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::English, Self::Bulgarian];

    /// Its code, as in `lang=`.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Bulgarian => "bg",
        }
    }

    /// What it calls itself.
    pub(super) fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Bulgarian => "Български",
        }
    }

    pub(super) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Bulgarian => &BULGARIAN,
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The first of the browser's languages that is one of ours; English where none is.
    fn accepted(headers: &HeaderMap) -> Self {
        let sent = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best: Option<(f32, Self)> = None;
        for part in sent.split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let code = pieces.next().and_then(|tag| tag.split('-').next()).unwrap_or_default().to_ascii_lowercase();
            let weight = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if let Some(language) = Self::of_code(&code)
                && weight > 0.0
                && best.is_none_or(|(known, _)| weight > known)
            {
                best = Some((weight, language));
            }
        }
        best.map_or(Self::English, |(_, language)| language)
    }
}

/// What a page looks like.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    pub(super) language: Language,
    pub(super) theme: &'static str,
    /// The path of the page.
    pub(super) path: String,
    /// The names and values after the question mark.
    pub(super) query: Vec<(String, String)>,
    /// `https://host:port`, as the browser knows this server.
    pub(super) origin: String,
    /// The language that was chosen with this very request.
    chosen: Option<Language>,
    if_none_match: HeaderMap,
}

impl FromRequestParts<State> for Looks {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(Self::of(parts, state))
    }
}

impl Looks {
    pub(super) fn of(parts: &Parts, state: &State) -> Self {
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let headers = &parts.headers;
        let chosen = query.iter().find(|(name, _)| name == "lang").and_then(|(_, code)| Language::of_code(code));
        let remembered = || cookie(headers, LANGUAGE_COOKIE).and_then(Language::of_code);
        let theme = match cookie(headers, THEME_COOKIE) {
            Some("light") => "light",
            Some("dark") => "dark",
            _ => "auto",
        };
        let mut if_none_match = HeaderMap::new();
        for tag in headers.get_all(header::IF_NONE_MATCH) {
            if_none_match.append(header::IF_NONE_MATCH, tag.clone());
        }
        Self {
            language: chosen.or_else(remembered).unwrap_or_else(|| Language::accepted(headers)),
            theme,
            path: parts.uri.path().to_owned(),
            query,
            origin: origin(parts, state),
            chosen,
            if_none_match,
        }
    }

    pub(super) fn texts(&self) -> &'static Texts {
        self.language.texts()
    }

    /// Returns the value of a name after the question mark; nothing where it is empty.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty())
    }

    /// Returns the address of this page with other values; `None` takes a name away.
    pub(super) fn with(&self, changes: &[(&str, Option<&str>)]) -> String {
        let kept = self.query.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let mut pairs: Vec<(&str, &str)> = kept.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.extend(changes.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        address(&self.path, &pairs)
    }

    /// Makes the response of a page.
    pub(super) fn respond(&self, status: StatusCode, page: &Markup) -> Response {
        let tag = tag(&page.0);
        let is_known = status == StatusCode::OK && crate::rest::cache::has(&self.if_none_match, &tag);
        let mut response =
            if is_known { StatusCode::NOT_MODIFIED.into_response() } else { (status, page.0.clone()).into_response() };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.language.code()));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::VARY, HeaderValue::from_static("accept-language, authorization, cookie"));
        // Without a referrer browsers send `Origin: null` with forms, and could not be told from other sites.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        // What a page shows is its visitor's, and may be another thing in a moment.
        let policy = if status == StatusCode::OK { "private, no-cache" } else { "no-store" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
        if status == StatusCode::OK
            && let Ok(tag) = HeaderValue::from_str(&tag)
        {
            headers.insert(header::ETAG, tag);
        }
        self.remember(headers);
        response
    }

    /// Lets the browser remember the language that was chosen with this request.
    fn remember(&self, headers: &mut HeaderMap) {
        let Some(language) = self.chosen else { return };
        let secure = if self.origin.starts_with("https:") { "; Secure" } else { "" };
        let code = language.code();
        let text = format!("{LANGUAGE_COOKIE}={code}; Path=/; Max-Age={LANGUAGE_SECONDS}; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// Returns an address with names and values after the question mark.
pub(super) fn address(path: &str, pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{text}")
}

/// How the browser knows this server.
fn origin(parts: &Parts, state: &State) -> String {
    let named = || parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(named);
    // Whoever asks writes it, and it goes into what he copies: nothing but a name and a port.
    let is_plain = |host: &&str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(is_letter)
    };
    let host = host.filter(is_plain).unwrap_or("localhost");
    format!("{}://{host}", if is_https(parts, state) { "https" } else { "http" })
}

fn tag(page: &str) -> String {
    let digest = digest::digest(&digest::SHA256, page.as_bytes());
    let hex: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_languages_decide_where_nobody_chose() {
        let accepted = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, text.parse().unwrap());
            Language::accepted(&headers)
        };
        assert_eq!(accepted("bg-BG,bg;q=0.9,en;q=0.8"), Language::Bulgarian);
        assert_eq!(accepted("de, en;q=0.5, bg;q=0.4"), Language::English);
        assert_eq!(accepted("bg;q=0, en;q=0.1"), Language::English);
        assert_eq!(accepted("de"), Language::English);
        assert_eq!(Language::accepted(&HeaderMap::new()), Language::English);
    }

    #[test]
    fn addresses_are_escaped() {
        assert_eq!(address("/sql", &[("q", "SELECT 'a&b'")]), "/sql?q=SELECT+%27a%26b%27");
        assert_eq!(address("/", &[]), "/");
    }
}
