//! Decides after each page which one comes next, and notices when pages go round in circles. Pure: facts in, the next
//! request's parameters out. Windows of time are in `windows.rs`.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use url::Url;

use super::paging::{CursorEnd, PaginationSpec};
use super::request::Ask;
use super::spec::follow;
use crate::error::ConnectError;
use crate::json::Scalar;
use crate::template::{Escape, Template, Value};

/// What a page says about paging.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageFacts {
    /// Its address, for errors and relative links.
    pub(crate) url: String,
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Records on it.
    pub(crate) records: u64,
    /// Records so far, with it.
    pub(crate) records_sum: u64,
    /// Records announced in all.
    pub(crate) total: Option<u64>,
    /// Pages announced in all.
    pub(crate) pages: Option<u64>,
    /// Which page it says it is.
    pub(crate) page: Option<u64>,
    /// The cursor, token or next link in its body.
    pub(crate) cursor: Option<String>,
    /// The cursor in its headers.
    pub(crate) header_cursor: Option<String>,
    /// Its `Link` headers.
    pub(crate) links: Vec<String>,
    /// The last record's key.
    pub(crate) last_key: Option<Scalar>,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Another page.
    More,
    /// Nothing: why.
    Done(String),
}

/// Where paging stands.
#[derive(Debug, Clone)]
pub(crate) struct Pager {
    spec: PaginationSpec,
    /// Page number or offset.
    at: u64,
    cursor: Option<String>,
    next: Option<Url>,
    key: Option<Scalar>,
    known: HashSet<[u8; 32]>,
}

impl Pager {
    /// Stands before the first page.
    pub(crate) fn new(spec: &PaginationSpec) -> Self {
        let (at, cursor) = match spec {
            PaginationSpec::PageNumber { first, .. } | PaginationSpec::OffsetLimit { first, .. } => (*first, None),
            PaginationSpec::CursorBody { first, .. } | PaginationSpec::Keyset { first, .. } => (0, first.clone()),
            _ => (0, None),
        };
        Self { spec: spec.clone(), at, cursor, next: None, key: None, known: HashSet::new() }
    }

    /// Returns what the next request changes.
    pub(crate) fn ask(&self) -> Ask {
        let number = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let sized = |ask: Ask, parameter: &Option<String>, size: Option<u64>| match (parameter, size) {
            (Some(parameter), Some(size)) => ask.with(parameter, number(size)),
            _ => ask,
        };
        let with_cursor = |ask: Ask, parameter: &str| match &self.cursor {
            Some(cursor) => ask.with(parameter, Value::Text(cursor.clone())),
            None => ask,
        };
        let ask = Ask { url: self.next.clone(), ..Ask::default() };
        match &self.spec {
            PaginationSpec::PageNumber { parameter, size_parameter, size, .. } => {
                sized(ask.with(parameter, number(self.at)), size_parameter, *size)
            }
            PaginationSpec::OffsetLimit { parameter, limit_parameter, limit, .. } => {
                ask.with(parameter, number(self.at)).with(limit_parameter, number(*limit))
            }
            PaginationSpec::CursorBody { parameter, size_parameter, size, .. } => {
                sized(with_cursor(ask, parameter), size_parameter, *size)
            }
            PaginationSpec::Keyset { parameter, size_parameter, size, .. } => {
                sized(with_cursor(ask, parameter), size_parameter, Some(*size))
            }
            PaginationSpec::CursorHeader { request_header, parameter, .. } => match (&self.cursor, request_header) {
                (Some(cursor), Some(header)) => Ask { headers: vec![(header.clone(), cursor.clone())], ..ask },
                _ => with_cursor(ask, parameter.as_deref().unwrap_or_default()),
            },
            PaginationSpec::ResumptionToken { parameter, keep, .. } => match &self.cursor {
                Some(_) => with_cursor(Ask { only: Some(keep.clone()), ..ask }, parameter),
                None => ask,
            },
            PaginationSpec::None {}
            | PaginationSpec::NextLinkBody { .. }
            | PaginationSpec::LinkHeader {}
            | PaginationSpec::Odata {}
            | PaginationSpec::TimeWindow { .. } => ask,
        }
    }

    /// Moves on after a page.
    pub(crate) fn advance(&mut self, facts: &PageFacts) -> Result<Advance, ConnectError> {
        match self.spec.clone() {
            PaginationSpec::None {} | PaginationSpec::TimeWindow { .. } => Ok(Advance::Done("one answer".to_owned())),
            PaginationSpec::PageNumber { first, size, .. } => self.after_page_number(facts, first, size),
            PaginationSpec::OffsetLimit { limit, reach_max, first, .. } => {
                self.after_offset(facts, limit, reach_max.map(|reach| reach.saturating_add(first)))
            }
            PaginationSpec::CursorBody { size, end, .. } => match end {
                CursorEnd::NoCursor => self.after_cursor(facts, facts.cursor.clone()),
                CursorEnd::EmptyPage => self.after_lasting_cursor(facts, size),
            },
            PaginationSpec::CursorHeader { .. } => self.after_cursor(facts, facts.header_cursor.clone()),
            PaginationSpec::ResumptionToken { .. } => self.after_cursor(facts, facts.cursor.clone()),
            PaginationSpec::NextLinkBody { .. } | PaginationSpec::Odata {} => {
                self.after_link(facts, facts.cursor.clone(), "no next link in the body")
            }
            PaginationSpec::LinkHeader {} => {
                let next = facts.links.iter().find_map(|header| next_link(header));
                self.after_link(facts, next, "no `rel=next` in the Link header")
            }
            PaginationSpec::Keyset { size, value, .. } => self.after_key(facts, size, value.as_deref()),
        }
    }

    fn after_page_number(&mut self, facts: &PageFacts, first: u64, size: Option<u64>) -> Result<Advance, ConnectError> {
        if let Some(page) = facts.page
            && page != self.at
            && facts.records > 0
        {
            return Err(facts.repeats(format!("page {} was asked for, the answer is page {page}", self.at)));
        }
        let read = self.at.saturating_sub(first) + 1;
        if let Some(pages) = facts.pages {
            if read >= pages {
                return Ok(Advance::Done(format!("page {read} of {pages}")));
            }
            if facts.records == 0 {
                let announced = format!("{pages} pages");
                return Err(facts.incomplete(announced, format!("nothing on page {read}")));
            }
        } else if let Some(done) = facts.is_finished(size) {
            return Ok(Advance::Done(done));
        }
        self.at += 1;
        Ok(Advance::More)
    }

    fn after_offset(&mut self, facts: &PageFacts, limit: u64, reach_max: Option<u64>) -> Result<Advance, ConnectError> {
        let limit_error =
            |value| ConnectError::Limit { url: facts.url.clone(), limit: "reach of the provider's offset", value };
        if let (Some(reach), Some(total)) = (reach_max, facts.total)
            && total > reach
        {
            return Err(limit_error(reach));
        }
        if let Some(done) = facts.is_finished(Some(limit)) {
            return Ok(Advance::Done(done));
        }
        // By what came, not by what was asked for: servers clamp the limit without a word.
        self.at = self.at.saturating_add(facts.records);
        match reach_max {
            Some(reach) if facts.total.is_none() && self.at.saturating_add(limit) > reach => Err(limit_error(reach)),
            _ => Ok(Advance::More),
        }
    }

    fn after_cursor(&mut self, facts: &PageFacts, cursor: Option<String>) -> Result<Advance, ConnectError> {
        let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else {
            return Ok(Advance::Done("no further cursor".to_owned()));
        };
        self.learn(facts, "cursor", &cursor)?;
        if self.cursor.as_ref() == Some(&cursor) {
            return Err(facts.repeats(format!("cursor `{}`", shortened(&cursor))));
        }
        self.cursor = Some(cursor);
        Ok(Advance::More)
    }

    fn after_lasting_cursor(&mut self, facts: &PageFacts, size: Option<u64>) -> Result<Advance, ConnectError> {
        if let Some(done) = facts.is_finished(size) {
            return Ok(Advance::Done(done));
        }
        match &facts.cursor {
            Some(cursor) if !cursor.is_empty() => self.cursor = Some(cursor.clone()),
            _ => return Ok(Advance::Done("no further cursor".to_owned())),
        }
        Ok(Advance::More)
    }

    fn after_link(&mut self, facts: &PageFacts, link: Option<String>, end: &str) -> Result<Advance, ConnectError> {
        let Some(link) = link.filter(|link| !link.is_empty()) else {
            return Ok(Advance::Done(end.to_owned()));
        };
        let protocol = |what: String| ConnectError::Protocol { url: facts.url.clone(), what };
        let base: Url = facts.url.parse().map_err(|error| protocol(format!("its address cannot be read: {error}")))?;
        let next = follow(&base, &link).map_err(protocol)?;
        if self.known.is_empty() {
            self.learn(facts, "address", base.as_str())?;
        }
        self.learn(facts, "next link", next.as_str())?;
        self.next = Some(next);
        Ok(Advance::More)
    }

    fn after_key(&mut self, facts: &PageFacts, size: u64, value: Option<&str>) -> Result<Advance, ConnectError> {
        if facts.records < size {
            return Ok(Advance::Done(facts.short_page(size)));
        }
        let key =
            facts.last_key.clone().filter(|key| key.as_text().is_some()).ok_or_else(|| ConnectError::Protocol {
                url: facts.url.clone(),
                what: "the last record has no key at `pagination.key`".to_owned(),
            })?;
        let text = key.as_text().unwrap_or_default();
        if self.key.as_ref().is_some_and(|before| !key.is_after(before)) {
            return Err(facts.repeats(format!("key `{text}` does not come after the last page's")));
        }
        let cursor = match value {
            None => text,
            Some(template) => Template::parse(template)
                .and_then(|template| template.fill(&[("key".to_owned(), text)].into(), Escape::Plain))
                .map_err(|what| ConnectError::Setting { setting: "pagination.value".to_owned(), what })?,
        };
        self.cursor = Some(cursor);
        self.key = Some(key);
        Ok(Advance::More)
    }

    /// Remembers a cursor or address; one that was there before is a loop.
    fn learn(&mut self, facts: &PageFacts, kind: &str, text: &str) -> Result<(), ConnectError> {
        if self.known.insert(Sha256::digest(text).into()) {
            Ok(())
        } else {
            Err(facts.repeats(format!("{kind} `{}`", shortened(text))))
        }
    }
}

impl PageFacts {
    fn repeats(&self, what: String) -> ConnectError {
        ConnectError::Loop { url: self.url.clone(), page: self.number, what }
    }

    fn incomplete(&self, announced: String, received: String) -> ConnectError {
        ConnectError::Incomplete { url: self.url.clone(), announced, received }
    }

    fn short_page(&self, size: u64) -> String {
        match self.records {
            0 => "empty last page".to_owned(),
            records => format!("short last page ({records} of {size})"),
        }
    }

    /// Says why there is no further page where pages are counted by us.
    fn is_finished(&self, size: Option<u64>) -> Option<String> {
        match (self.total, size) {
            _ if self.records == 0 => Some("empty last page".to_owned()),
            (Some(total), _) => (self.records_sum >= total).then(|| format!("total {} of {total}", self.records_sum)),
            (None, Some(size)) => (self.records < size).then(|| self.short_page(size)),
            (None, None) => None,
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(80).chain(['…']).collect() }
}

/// Finds the target of `rel="next"` in a Link header (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let after = &rest[start + 1..];
        let end = after.find('>')?;
        let target = &after[..end];
        let attributes_start = &after[end + 1..];
        // Up to the next target; a `<` cannot stand in attributes unquoted.
        let attributes = &attributes_start[..attributes_start.find('<').unwrap_or(attributes_start.len())];
        let is_next = attributes.split(';').any(|attribute| {
            let Some((name, value)) = attribute.split_once('=') else { return false };
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|word| word.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = attributes_start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_headers_are_read() {
        for (header, expected) in [
            ("<https://a.org/?p=2>; rel=\"next\", <https://a.org/?p=9>; rel=\"last\"", Some("https://a.org/?p=2")),
            ("<?p=9>; rel=last, <?p=2>; title=\"x, y\"; rel=next", Some("?p=2")),
            ("</x>; rel=\"prev next\"", Some("/x")),
            ("<https://a.org/?a=1,2>; rel=\"prev\"", None),
            ("nothing", None),
            ("<unclosed", None),
        ] {
            assert_eq!(next_link(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn links_stay_on_their_host() {
        let base: Url = "https://a.org/x?page=1".parse().unwrap();
        assert_eq!(follow(&base, "http://a.org/x?page=2").unwrap().as_str(), "https://a.org/x?page=2");
        assert_eq!(follow(&base, "?page=2").unwrap().as_str(), "https://a.org/x?page=2");
        assert!(follow(&base, "https://b.org/").unwrap_err().contains("another host"));
        assert!(follow(&base, "http://169.254.169.254/").is_err());
        assert!(follow(&base, "ftp://a.org/").is_err());
    }
}
