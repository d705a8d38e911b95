//! The address under which the centre is known, and who runs it: identifiers that others keep are made from it.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use hambar_core::TableName;
use http::header;
use http::request::Parts;
use http::uri::Authority;
use url::Url;

use crate::rest::State;
use crate::rest::auth::is_https;
use crate::rest::problem::Problem;

/// What the centre says of itself to catalogues and in citations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Centre {
    /// Its name.
    pub title: String,
    /// What it holds.
    pub description: String,
    /// The institution that runs it.
    pub publisher: String,
    /// Where questions go: an address for mail, or of a page.
    pub contact: Option<String>,
    /// The address under which it is known; without one, that of the request.
    pub url: Option<Url>,
    /// The address under which others can read the files of the store.
    pub store: Option<Url>,
    /// The theme of each namespace, a code of the European Union's list of data themes.
    pub themes: BTreeMap<String, String>,
}

#[cfg(test)]
impl Centre {
    /// A centre of which little is said.
    pub(crate) fn named(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            description: "D".to_owned(),
            publisher: "P".to_owned(),
            contact: None,
            url: None,
            store: None,
            themes: BTreeMap::new(),
        }
    }
}

/// The address under which the centre is known, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base(String);

impl Base {
    /// Returns the address of a path, which starts with a slash.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns the page of a table.
    pub(crate) fn table(&self, table: &TableName) -> String {
        self.at(&format!("/tables/{table}"))
    }

    /// Returns the address of the rows of a table in the form with this ending.
    pub(crate) fn rows(&self, table: &TableName, ending: &str) -> String {
        self.at(&format!("/api/tables/{table}.{ending}"))
    }

    /// Returns the citation of a version of a table.
    pub(crate) fn citation(&self, table: &TableName, version: u64) -> String {
        self.at(&format!("/cite/{table}@{version}"))
    }

    /// Returns the citation of a query.
    pub(crate) fn query(&self, id: &str) -> String {
        self.at(&format!("/cite/q/{id}"))
    }

    fn of(parts: &Parts, centre: &Centre, is_https: bool) -> Result<Self, Problem> {
        if let Some(url) = &centre.url {
            return Ok(Self(url.as_str().trim_end_matches('/').to_owned()));
        }
        let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let named = parts.uri.authority().map(Authority::as_str).or(named);
        // What a client calls us ends up in pages: only what can be the name of a host.
        let host = named.and_then(|text| text.parse::<Authority>().ok()).filter(|host| !host.as_str().contains('@'));
        let host = host.ok_or_else(|| Problem::bad_request("the request does not say which host it is for"))?;
        let scheme = if is_https { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{host}"));
        let url = url.map_err(|error| Problem::bad_request(format!("the host of the request is none: {error}")))?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    #[cfg(test)]
    pub(crate) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromRequestParts<State> for Base {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        Self::of(parts, &state.settings.centre, is_https(parts, state))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_address_is_the_configured_one_or_that_of_a_host() {
        let centre = |url: Option<&str>| Centre { url: url.map(|url| url.parse().unwrap()), ..Centre::named("T") };
        let base = |host: &str, url: Option<&str>, is_https: bool| {
            let mut request = Request::builder().uri("/cite/a.b@1").body(()).unwrap();
            if let Ok(value) = host.parse() {
                request.headers_mut().insert(header::HOST, value);
            }
            let (parts, ()) = request.into_parts();
            Base::of(&parts, &centre(url), is_https).map(|base| base.at("/x")).ok()
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(base("evil", Some("https://data.example/hambar/"), true), is("https://data.example/hambar/x"));
        assert_eq!(base("127.0.0.1:8080", None, false), is("http://127.0.0.1:8080/x"));
        assert_eq!(base("data.example", None, true), is("https://data.example/x"));
        for none in ["", "a b", "user@host", "<script>", "a\"b", "host/path"] {
            assert_eq!(base(none, None, true), None, "{none}");
        }
    }
}
