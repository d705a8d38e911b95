//! The forms of a citation over HTTP: endings and media types, and which one a request asks for.

use axum::response::{IntoResponse, Response};
use hambar_core::citation::{CitationForm, Reference};
use http::{HeaderMap, HeaderValue, header};

use crate::rest::format::preferred;
use crate::rest::problem::Problem;

/// A page, or a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A page for people.
    Page,
    /// For programs, and to be pasted.
    Form(CitationForm),
}

/// Each form with its endings and media types; the first are those that are sent.
const FORMS: [(CitationForm, &[&str], &[&str]); 5] = [
    (
        CitationForm::Datacite,
        &["datacite.json", "json"],
        &["application/vnd.datacite.datacite+json", "application/json"],
    ),
    (CitationForm::CslJson, &["csl.json"], &["application/vnd.citationstyles.csl+json"]),
    (CitationForm::Bibtex, &["bib"], &["application/x-bibtex", "text/x-bibtex"]),
    (CitationForm::Ris, &["ris"], &["application/x-research-info-systems"]),
    (CitationForm::Text, &["txt"], &["text/plain", "text/x-bibliography"]),
];
/// The ending and the media type of the page.
const PAGE: (&str, &str) = ("html", "text/html");

impl Shape {
    /// Chooses by ending, else by `Accept`, else the page.
    pub(super) fn choose(ending: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(ending) = ending {
            if ending == PAGE.0 {
                return Ok(Self::Page);
            }
            let found = FORMS.iter().find(|(_, endings, _)| endings.contains(&ending));
            return found.map(|(form, ..)| Self::Form(*form)).ok_or_else(|| {
                let known: Vec<String> = forms().map(|(_, ending, _)| format!("`.{ending}`")).collect();
                Problem::not_found("this form of a citation").hint(format!("there are {}", known.join(", ")))
            });
        }
        let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::Page);
        };
        let known = |wanted: &str| match wanted {
            "*/*" | "text/*" | "application/xhtml+xml" => Some(Self::Page),
            wanted if wanted == PAGE.1 => Some(Self::Page),
            wanted => FORMS.iter().find(|(_, _, types)| types.contains(&wanted)).map(|(form, ..)| Self::Form(*form)),
        };
        preferred(accept, known).ok_or_else(|| {
            let types: Vec<&str> = forms().map(|(_, _, media_type)| media_type).chain([PAGE.1]).collect();
            Problem::refused(http::StatusCode::NOT_ACCEPTABLE, "a citation has none of the forms that `Accept` names")
                .hint(format!("there are {}", types.join(", ")))
        })
    }
}

/// Returns the forms with their endings and media types.
pub(super) fn forms() -> impl Iterator<Item = (CitationForm, &'static str, &'static str)> {
    FORMS.iter().filter_map(|(form, endings, types)| Some((*form, *endings.first()?, *types.first()?)))
}

/// Returns a citation in a form.
pub(super) fn rendered(reference: &Reference, form: CitationForm) -> Response {
    let media_type = forms().find(|(known, ..)| *known == form).map_or("text/plain", |(_, _, media_type)| media_type);
    let media_type =
        if media_type.ends_with("json") { media_type.to_owned() } else { format!("{media_type}; charset=utf-8") };
    let mut response = reference.render(form).into_response();
    if let Ok(value) = HeaderValue::from_str(&media_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_wins_then_accept_then_the_page() {
        let choose = |ending: Option<&str>, accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            Shape::choose(ending, &headers).ok()
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(choose(None, None), Some(Shape::Page));
        assert_eq!(choose(None, Some("*/*")), Some(Shape::Page));
        assert_eq!(choose(None, Some(browser)), Some(Shape::Page));
        assert_eq!(choose(Some("bib"), Some(browser)), Some(Shape::Form(CitationForm::Bibtex)));
        assert_eq!(choose(Some("exe"), None), None);
        assert_eq!(choose(None, Some("application/json")), Some(Shape::Form(CitationForm::Datacite)));
        assert_eq!(
            choose(None, Some("application/vnd.citationstyles.csl+json, text/html;q=0.1")),
            Some(Shape::Form(CitationForm::CslJson))
        );
        assert_eq!(choose(None, Some("image/png")), None);
    }
}
