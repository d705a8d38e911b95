//! Keeps secrets out of everything that is shown or stored: URLs, headers, messages.

use url::Url;

use crate::request::Request;

/// What stands where a secret was.
const MASK: &str = "***";

/// Query parameters whose values are masked even when nobody marked them: signatures and keys of redirect targets.
const SECRET_PARAMETERS: [&str; 21] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "app_token",
    "$$app_token",
    "auth_token",
    "client_secret",
    "ocp-apim-subscription-key",
    "password",
    "secret",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-credential",
    "x-goog-signature",
];

/// Headers that carry secrets whoever set them.
pub(crate) const SECRET_HEADERS: [&str; 6] =
    ["authorization", "cookie", "ocp-apim-subscription-key", "proxy-authorization", "x-api-key", "x-app-token"];

/// Answer headers that the record of an exchange keeps.
const KEPT_HEADERS: [&str; 21] = [
    "accept-ranges",
    "age",
    "cache-control",
    "content-digest",
    "content-md5",
    "date",
    "deprecation",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "repr-digest",
    "retry-after",
    "sunset",
    "transfer-encoding",
    "vary",
    "x-concurrency-limit",
    "x-next-page",
    "x-total-count",
];

/// Replaces the secrets of one request wherever they turn up.
#[derive(Clone)]
pub(crate) struct Redactor {
    spellings: Vec<String>,
    read_headers: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} spellings)", self.spellings.len())
    }
}

impl Redactor {
    pub(crate) fn new(request: &Request) -> Self {
        let mut spellings = Vec::new();
        let secrets = request.secret_headers.iter().chain(&request.secret_query);
        for (_, secret) in secrets {
            let text = secret.expose();
            spellings.push(text.to_owned());
            // `Bearer abc` is echoed as `abc` as well.
            if let Some((_, token)) = text.split_once(' ') {
                spellings.push(token.trim().to_owned());
            }
        }
        let plain = spellings.clone();
        for text in plain {
            spellings.push(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
            let mut url = Url::parse("http://x/").expect("a constant URL is valid");
            url.set_query(Some(&text));
            spellings.push(url.query().unwrap_or_default().to_owned());
        }
        spellings.retain(|text| !text.is_empty());
        // The longest first: a secret that contains another must not leave its tail behind.
        spellings.sort_by_key(|text| std::cmp::Reverse(text.len()));
        spellings.dedup();
        Self { spellings, read_headers: request.read_headers.clone() }
    }

    /// Replaces the request's secrets in `text`.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.spellings {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), MASK);
            }
        }
        clean
    }

    /// Returns the URL as it may be shown.
    pub(crate) fn url(&self, url: &Url) -> String {
        self.text(&shown_url(url))
    }

    /// Chooses the answer headers that are kept, in lower case, secrets replaced.
    pub(crate) fn headers(&self, headers: &http::HeaderMap) -> Vec<(String, String)> {
        headers
            .iter()
            .filter(|(name, _)| {
                is_kept(name.as_str()) || self.read_headers.iter().any(|read| read.eq_ignore_ascii_case(name.as_str()))
            })
            .map(|(name, value)| {
                let text = String::from_utf8_lossy(value.as_bytes());
                (name.as_str().to_owned(), self.header(name.as_str(), &text))
            })
            .collect()
    }

    fn header(&self, name: &str, value: &str) -> String {
        let clean = self.text(value);
        match Url::parse(&clean) {
            Ok(url) if matches!(name, "location" | "content-location") => shown_url(&url),
            _ => clean,
        }
    }

    /// Returns the request headers that the record keeps: those that nobody marked as secret.
    pub(crate) fn request_headers(&self, headers: &http::HeaderMap, request: &Request) -> Vec<(String, String)> {
        let is_secret = |name: &str| {
            SECRET_HEADERS.contains(&name)
                || request.secret_headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        headers
            .iter()
            .filter(|(name, _)| !is_secret(name.as_str()) && name.as_str() != "user-agent")
            .map(|(name, value)| (name.as_str().to_owned(), self.text(&String::from_utf8_lossy(value.as_bytes()))))
            .collect()
    }
}

fn is_kept(name: &str) -> bool {
    KEPT_HEADERS.contains(&name)
        || name.starts_with("content-")
        || name.contains("ratelimit")
        || name.contains("rate-limit")
        || name.starts_with("x-soda2")
        || name.starts_with("x-pagination")
}

/// Masks user information and the values of parameters that are secrets by their name.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    if !shown.username().is_empty() || shown.password().is_some() {
        // Both fail only for URLs that cannot have user information, which this one has.
        let _ = shown.set_username(MASK);
        let _ = shown.set_password(None);
    }
    let Some(query) = url.query() else {
        return shown.to_string();
    };
    let masked: Vec<String> = query
        .split('&')
        .map(|pair| {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let decoded =
                url::form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name.to_ascii_lowercase());
            match decoded {
                Some(name_text) if SECRET_PARAMETERS.contains(&name_text.as_str()) => format!("{name}={MASK}"),
                _ => pair.to_owned(),
            }
        })
        .collect();
    shown.set_query(Some(&masked.join("&")));
    shown.to_string()
}

/// Turns the beginning of an error body into one line of at most 500 characters.
pub(crate) fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Secret;

    fn redactor() -> Redactor {
        let mut request = Request::get(Url::parse("https://example.org/").unwrap());
        request.secret_headers.push(("authorization".to_owned(), Secret::new("Bearer canary-1".to_owned())));
        request.secret_query.push(("key".to_owned(), Secret::new("canary 2/+".to_owned())));
        Redactor::new(&request)
    }

    fn check(url: &str, expected: &str) {
        assert_eq!(redactor().url(&Url::parse(url).unwrap()), expected);
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        check("https://example.org/a?b=c", "https://example.org/a?b=c");
        check("https://example.org/?key=canary+2%2F%2B", "https://example.org/?key=***");
        check("https://example.org/?key=canary%202/+", "https://example.org/?key=***");
        check("https://example.org/canary-1/x", "https://example.org/***/x");
        check("https://u:p@example.org/?API_KEY=1&x=2", "https://***@example.org/?API_KEY=***&x=2");
        check(
            "https://s3.org/?X-Amz-Signature=abc&resumptionToken=1",
            "https://s3.org/?X-Amz-Signature=***&resumptionToken=1",
        );
    }

    #[test]
    fn messages_and_debug_hold_no_secret() {
        assert_eq!(redactor().text("bad key Bearer canary-1, canary-1"), "bad key ***, ***");
        assert!(!format!("{:?}", redactor()).contains("canary"));
        assert_eq!(one_line(b"<h1>\r\n  no\x1b[31m\0 way </h1>"), "<h1> no [31m way </h1>");
    }
}
