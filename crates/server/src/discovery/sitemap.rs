//! Where crawlers may go: `/robots.txt`, and `/sitemap.xml` with the pages of the tables that everybody may see.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde::Deserialize;

use super::card::Card;
use crate::cite::Base;
use crate::front::FrontError;
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::problem::Problem;

/// Pages of one sitemap: the limit of <https://www.sitemaps.org/protocol.html>.
const PAGES_MAX: usize = 50_000;
const NAMESPACE: &str = "http://www.sitemaps.org/schemas/sitemap/0.9";

/// Which part of a sitemap that does not fit into one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    part: Option<usize>,
}

/// The pages of the tables; where they are too many for one sitemap, the list of its parts.
pub(super) async fn sitemap(
    Shared(state): Shared<State>,
    base: Base,
    asker: Asker,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Part { part }) = part.map_err(|error| Problem::bad_request(error.body_text()))?;
    let cards = state.cards.visible(state.front.catalogue(), asker.principal.visibility()).await;
    let cards = cards.map_err(FrontError::Query)?;
    let written = match part {
        Some(part) => {
            let pages = cards.chunks(PAGES_MAX).nth(part.wrapping_sub(1));
            pages_of(&base, pages.ok_or_else(|| Problem::not_found("this part of the sitemap"))?)
        }
        None if cards.len() > PAGES_MAX => parts_of(&base, cards.len().div_ceil(PAGES_MAX)),
        None => pages_of(&base, &cards),
    };
    let body = written.map_err(|error| Problem::bad_request(error.to_string()))?;
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    Ok(response)
}

/// Pages are for crawlers where everybody may read them; rows and programs' addresses are not.
pub(super) async fn robots(Shared(state): Shared<State>, base: Base) -> Response {
    let text = match state.authenticator.anonymous(None).await {
        Ok(_) => format!(
            "User-agent: *\nDisallow: /api/\nDisallow: /sql\nDisallow: /cite/q/\nDisallow: /tables/*/data.\nSitemap: {}\n",
            base.at("/sitemap.xml")
        ),
        Err(_) => "User-agent: *\nDisallow: /\n".to_owned(),
    };
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn pages_of(base: &Base, cards: &[Card]) -> std::io::Result<Vec<u8>> {
    let entries = cards.iter().map(|card| (base.table(&card.table), card.modified));
    list("urlset", "url", entries)
}

fn parts_of(base: &Base, parts: usize) -> std::io::Result<Vec<u8>> {
    let entries = (1..=parts).map(|part| (base.at(&format!("/sitemap.xml?part={part}")), None));
    list("sitemapindex", "sitemap", entries)
}

fn list(
    root: &str,
    entry: &str,
    entries: impl Iterator<Item = (String, Option<jiff::Timestamp>)>,
) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element(root).with_attribute(("xmlns", NAMESPACE)).write_inner_content(|writer| {
        for (address, modified) in entries {
            writer.create_element(entry).write_inner_content(|writer| {
                writer.create_element("loc").write_text_content(BytesText::new(&address))?;
                if let Some(instant) = modified {
                    writer.create_element("lastmod").write_text_content(BytesText::new(&instant.to_string()))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped() {
        let base = Base::known("https://h.example/a&b");
        let text = String::from_utf8(pages_of(&base, &[Card::hostile()]).unwrap()).unwrap();
        assert!(text.contains("<loc>https://h.example/a&amp;b/tables/demo.figures</loc>"), "{text}");
        assert!(text.contains("<lastmod>1970-01-01T00:00:00Z</lastmod>"), "{text}");
        let index = String::from_utf8(parts_of(&base, 2).unwrap()).unwrap();
        assert_eq!(index.matches("<sitemap>").count(), 2, "{index}");
    }
}
