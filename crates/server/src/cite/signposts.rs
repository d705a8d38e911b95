//! Signposting (<https://signposting.org/FAIR/>): links in headers by which programs find the citation, the metadata, the
//! data and the licence of a page.

use hambar_core::licence::known;
use http::{HeaderMap, HeaderValue, header};

/// Links of one page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signposts {
    links: Vec<String>,
}

impl Signposts {
    /// For a data set that is cited by `cite_as`.
    pub(crate) fn dataset(cite_as: &str) -> Self {
        let mut links = Self::default();
        links.cite_as(cite_as);
        links.add("https://schema.org/Dataset", "type", None);
        links.add("https://schema.org/AboutPage", "type", None);
        links
    }

    /// Adds how something is cited.
    pub(crate) fn cite_as(&mut self, address: &str) {
        self.add(address, "cite-as", None);
    }

    /// Adds what something is a part of.
    pub(crate) fn collection(&mut self, address: &str) {
        self.add(address, "collection", Some("text/html"));
    }

    /// Adds where metadata is, in this media type.
    pub(crate) fn described_by(&mut self, address: &str, media_type: &str) {
        self.add(address, "describedby", Some(media_type));
    }

    /// Adds where the same is in another form, of this media type.
    pub(crate) fn alternate(&mut self, address: &str, media_type: &str) {
        self.add(address, "alternate", Some(media_type));
    }

    /// Adds where the data is, in this media type.
    pub(crate) fn item(&mut self, address: &str, media_type: &str) {
        self.add(address, "item", Some(media_type));
    }

    /// Adds the page of a licence, where it is known.
    pub(crate) fn licence(&mut self, spdx: &str) {
        if let Some(page) = licence_page(spdx) {
            self.add(&page, "license", None);
        }
    }

    /// Adds what a page of metadata describes.
    pub(crate) fn describes(&mut self, address: &str) {
        self.add(address, "describes", None);
    }

    fn add(&mut self, address: &str, relation: &str, media_type: Option<&str>) {
        let media_type = media_type.map_or(String::new(), |media_type| format!("; type=\"{media_type}\""));
        self.links.push(format!("<{address}>; rel=\"{relation}\"{media_type}"));
    }

    /// Puts the links into the headers of a response.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        for link in &self.links {
            if let Ok(value) = HeaderValue::from_str(link) {
                headers.append(header::LINK, value);
            }
        }
    }
}

/// Returns the page of a licence: its own, or that of SPDX; a provider's own terms have none that is known here.
pub(crate) fn licence_page(spdx: &str) -> Option<String> {
    let is_spdx = |text: &str| {
        !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "-.+".contains(character))
    };
    match known(spdx) {
        Some(licence) => Some(licence.page.to_owned()),
        None if spdx.starts_with("LicenseRef-") || !is_spdx(spdx) => None,
        None => Some(format!("https://spdx.org/licenses/{spdx}.html")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_say_what_they_lead_to() {
        let mut links = Signposts::dataset("https://h.example/cite/a.b@1");
        links.described_by("https://h.example/cite/a.b@1.bib", "application/x-bibtex");
        links.licence("CC-BY-4.0");
        links.licence("LicenseRef-own");
        links.licence("Evil>; rel=\"item");
        let mut headers = HeaderMap::new();
        links.put(&mut headers);
        let values: Vec<&str> = headers.get_all(header::LINK).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values.len(), 5, "{values:?}");
        assert_eq!(values[0], "<https://h.example/cite/a.b@1>; rel=\"cite-as\"");
        assert_eq!(values[4], "<https://creativecommons.org/licenses/by/4.0/>; rel=\"license\"");
    }
}
