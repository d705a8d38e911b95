//! Builds the request of one page from the file's request, a slice's variables and what paging changes. Pure.

use std::collections::BTreeMap;

use hambar_fetch::Request;
use serde_json::Value as Json;
use url::Url;

use super::paging::PaginationSpec;
use super::spec::{CountSpec, Method, QueryValue, RestJsonSpec};
use crate::body::web_url;
use crate::error::ConnectError;
use crate::template::{Escape, Template, Value};

/// What one page changes in the request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ask {
    /// The whole address, where the provider gave it.
    pub(crate) url: Option<Url>,
    /// Parameters, replaced or added.
    pub(crate) set: Vec<(String, Value)>,
    /// Headers, replaced or added.
    pub(crate) headers: Vec<(String, String)>,
    /// Only these of the file's query parameters are sent.
    pub(crate) only: Option<Vec<String>>,
}

impl Ask {
    /// Adds a parameter.
    pub(crate) fn with(mut self, parameter: &str, value: Value) -> Self {
        self.set.push((parameter.to_owned(), value));
        self
    }
}

/// The parts of a request that do not change from page to page.
#[derive(Debug, Clone)]
pub(crate) struct RequestShape<'a> {
    pub(crate) spec: &'a RestJsonSpec,
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// The kind of pages.
    pub(crate) accept: &'static str,
    /// A parameter that asks only for what is new, with its value.
    pub(crate) since: Option<(String, String)>,
}

impl RequestShape<'_> {
    /// Builds the data request of a page.
    pub(crate) fn page(&self, ask: &Ask) -> Result<Request, ConnectError> {
        let mut request = match &ask.url {
            Some(url) => Request::get(url.clone()),
            None => self.request(&self.spec.url, "url", None, ask)?,
        };
        if self.spec.method == Method::Post {
            request.method = http::Method::POST;
            self.put_body(&mut request, ask)?;
        }
        request.headers.push(("accept".to_owned(), self.accept.to_owned()));
        for (name, value) in &ask.headers {
            request.headers.push((name.to_lowercase(), value.clone()));
        }
        request.body_bytes_max = Some(self.spec.page_bytes_max);
        request.accept_status.clone_from(&self.spec.no_data_status);
        request.read_headers.extend(self.spec.complete.total_header.clone());
        if let PaginationSpec::CursorHeader { header, .. } = &self.spec.pagination {
            request.read_headers.push(header.clone());
        }
        Ok(request)
    }

    /// Builds the request that counts.
    pub(crate) fn count(&self, count: &CountSpec, ask: &Ask) -> Result<Request, ConnectError> {
        let mut request = self.request(&count.url, "count.url", Some(&count.query), ask)?;
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request.body_bytes_max = Some(hambar_core::limits::MIB);
        Ok(request)
    }

    fn request(
        &self,
        url: &str,
        key: &str,
        more: Option<&BTreeMap<String, QueryValue>>,
        ask: &Ask,
    ) -> Result<Request, ConnectError> {
        let setting = |what: String| ConnectError::Setting { setting: key.to_owned(), what };
        let mut address = web_url(&self.fill(url, key, Escape::Url)?).map_err(setting)?;
        let mut pairs: Vec<(String, String)> =
            address.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        for (name, value) in &self.spec.query {
            if ask.only.as_ref().is_none_or(|only| only.contains(name)) {
                self.push_query(&mut pairs, name, value)?;
            }
        }
        for (name, value) in more.into_iter().flatten() {
            pairs.retain(|(known, _)| known != name);
            self.push_query(&mut pairs, name, value)?;
        }
        if ask.only.is_none() {
            self.put_since(&mut pairs);
        }
        if self.spec.form.is_empty() || more.is_some() {
            for (name, value) in ask.set.iter().filter(|(name, _)| !name.starts_with('/')) {
                pairs.retain(|(known, _)| known != name);
                pairs.push((name.clone(), value.to_string()));
            }
        }
        address.set_query(None);
        if !pairs.is_empty() {
            address.query_pairs_mut().extend_pairs(&pairs);
        }
        Ok(Request::get(address))
    }

    fn push_query(
        &self,
        pairs: &mut Vec<(String, String)>,
        name: &str,
        value: &QueryValue,
    ) -> Result<(), ConnectError> {
        for value in value.values() {
            pairs.push((name.to_owned(), self.fill(&value.to_string(), &format!("query.{name}"), Escape::Plain)?));
        }
        Ok(())
    }

    fn put_since(&self, pairs: &mut Vec<(String, String)>) {
        let Some((parameter, value)) = &self.since else { return };
        if parameter.starts_with('/') || !self.spec.form.is_empty() {
            return;
        }
        match pairs.iter_mut().find(|(name, _)| name == parameter) {
            Some((_, known)) => *known = format!("{known},{value}"),
            None => pairs.push((parameter.clone(), value.clone())),
        }
    }

    fn put_body(&self, request: &mut Request, ask: &Ask) -> Result<(), ConnectError> {
        let since = self.since.iter().map(|(name, value)| (name.clone(), Value::Text(value.clone())));
        let set: Vec<(String, Value)> = since.chain(ask.set.iter().cloned()).collect();
        if !self.spec.form.is_empty() {
            let mut fields: BTreeMap<String, String> = BTreeMap::new();
            for (name, value) in &self.spec.form {
                fields.insert(name.clone(), self.fill(&value.to_string(), &format!("form.{name}"), Escape::Plain)?);
            }
            fields.extend(set.into_iter().map(|(name, value)| (name, value.to_string())));
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request.headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
            request.body = Some(form.into());
            return Ok(());
        }
        let mut body = Json::Object(self.spec.body.clone().unwrap_or_default());
        self.fill_json(&mut body)?;
        for (place, value) in set.iter().filter(|(place, _)| place.starts_with('/')) {
            put(&mut body, place, to_json(value));
        }
        request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        request.body = Some(body.to_string().into());
        Ok(())
    }

    fn fill_json(&self, value: &mut Json) -> Result<(), ConnectError> {
        match value {
            Json::String(text) => *text = self.fill(text, "body", Escape::Plain)?,
            Json::Array(items) => items.iter_mut().try_for_each(|item| self.fill_json(item))?,
            Json::Object(members) => members.values_mut().try_for_each(|member| self.fill_json(member))?,
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(())
    }

    fn fill(&self, text: &str, key: &str, escape: Escape) -> Result<String, ConnectError> {
        let setting = |what: String| ConnectError::Setting { setting: key.to_owned(), what };
        let template = Template::parse(text).map_err(setting)?;
        template.fill(self.variables, escape).map_err(|name| setting(format!("`{{{name}}}` has no values")))
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(value) => value.clone().into(),
    }
}

/// Puts `value` at `place`, making the objects on the way.
fn put(body: &mut Json, place: &str, value: Json) {
    let mut here = body;
    let mut names = place.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).peekable();
    while let Some(name) = names.next() {
        if !here.is_object() {
            *here = Json::Object(serde_json::Map::new());
        }
        let Json::Object(members) = here else { return };
        if names.peek().is_none() {
            members.insert(name, value);
            return;
        }
        here = members.entry(name).or_insert(Json::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, since: Option<&str>, ask: &Ask, expected: &str) {
        let spec: RestJsonSpec = toml::from_str(spec).unwrap();
        let variables = BTreeMap::from([("c".to_owned(), "BG".to_owned())]);
        let since =
            since.and_then(|text| text.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shape = RequestShape { spec: &spec, variables: &variables, accept: "application/json", since };
        let request = shape.page(ask).unwrap();
        let body = request.body.map_or_else(String::new, |body| format!(" {}", String::from_utf8_lossy(&body)));
        assert_eq!(format!("{} {}{body}", request.method, request.url), expected);
    }

    #[test]
    fn requests_are_built_from_their_parts() {
        let ask = Ask::default().with("page", Value::Integer(2));
        check(
            "url = \"https://p.org/{c}?a=1\"\nquery = { x = [1, 2], t = \"{c}!\" }",
            None,
            &ask,
            "GET https://p.org/BG?a=1&t=BG%21&x=1&x=2&page=2",
        );
        check(
            "url = \"https://p.org/\"\nquery = { filter = \"type:dataset\" }",
            Some("filter=from:2024"),
            &ask,
            "GET https://p.org/?filter=type%3Adataset%2Cfrom%3A2024&page=2",
        );
        let in_body = Ask::default().with("/page/number", Value::Integer(2));
        check(
            "url = \"https://p.org/\"\nmethod = \"POST\"\nbody = { q = \"{c}\", page = { size = 5 } }",
            Some("/since=2024"),
            &in_body,
            r#"POST https://p.org/ {"page":{"number":2,"size":5},"q":"BG","since":"2024"}"#,
        );
        check(
            "url = \"https://p.org/\"\nmethod = \"POST\"\nform = { area = \"{c}\" }",
            None,
            &ask,
            "POST https://p.org/ area=BG&page=2",
        );
        let token =
            Ask { only: Some(vec!["verb".to_owned()]), ..Ask::default() }.with("token", Value::Text("t".into()));
        check(
            "url = \"https://p.org/\"\nquery = { verb = \"List\", set = \"a\" }",
            None,
            &token,
            "GET https://p.org/?verb=List&token=t",
        );
    }
}
