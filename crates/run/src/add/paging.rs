//! How the pages of an answer follow each other and what announces how much there is, concluded from one answer: its
//! address, its headers, and the values around its records. Pure; every conclusion comes with its reason.

use serde_json::Value;
use url::Url;

use super::outline::Outline;
use super::quoted;

/// One answer as far as paging is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The address that was asked.
    pub(super) url: &'a Url,
    /// The answer's headers, names in lower case.
    pub(super) headers: &'a [(String, String)],
    /// Records and what stands around them.
    pub(super) outline: &'a Outline,
}

/// What was concluded.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Paging {
    /// The address without the parameters that paging sets.
    pub(super) url: String,
    /// Lines of `[source.pagination]`; none where the answer is all there is.
    pub(super) pagination: Vec<String>,
    /// Lines of `[source.complete]`.
    pub(super) complete: Vec<String>,
    /// Why, in whole sentences.
    pub(super) reasons: Vec<String>,
    /// What a person must know before trusting the file.
    pub(super) warnings: Vec<String>,
}

/// Names by their letters and digits alone, in lower case.
const TOTALS: [&str; 15] = [
    "total",
    "totalcount",
    "totalresults",
    "totalrecords",
    "totalelements",
    "totalhits",
    "totalitems",
    "totalrows",
    "numfound",
    "found",
    "numbermatched",
    "recordstotal",
    "recordcount",
    "odatacount",
    "count",
];
const PAGE_RECORDS: [&str; 3] = ["count", "numberreturned", "numresults"];
const PAGES: [&str; 7] = ["pages", "totalpages", "pagecount", "numpages", "lastpage", "pagestotal", "maxpage"];
const PAGE: [&str; 5] = ["page", "currentpage", "pagenumber", "pageno", "pageindex"];
const SIZE: [&str; 10] = [
    "perpage",
    "pagesize",
    "size",
    "limit",
    "rows",
    "itemsperpage",
    "maxresults",
    "top",
    "maxrecords",
    "resultsperpage",
];
const OFFSET: [&str; 7] = ["offset", "start", "skip", "startindex", "from", "startrecord", "resultoffset"];
const CURSOR: [&str; 8] = [
    "nextcursor",
    "nextpagetoken",
    "nexttoken",
    "cursor",
    "resumptiontoken",
    "continuationtoken",
    "endcursor",
    "nextpagekey",
];
const NEXT: [&str; 6] = ["next", "nextlink", "nexthref", "nexturl", "nextpage", "nextpageurl"];
const UPDATED: [&str; 3] = ["lastupdated", "lastupdate", "dataupdated"];

/// Concludes from one answer.
pub(super) fn conclude(seen: Seen<'_>) -> Paging {
    let mut found = Paging { url: seen.url.to_string(), ..Paging::default() };
    let total = seen.announce(&mut found);
    let is_paged =
        [Seen::by_odata, Seen::by_link_header, Seen::by_body_link, Seen::by_cursor, Seen::by_page, Seen::by_offset]
            .iter()
            .any(|style| style(&seen, &mut found, total));
    let records = seen.outline.records;
    if !is_paged && total.is_some_and(|total| total > records) {
        found.warnings.push(format!(
            "{} records are announced and {records} came, and how to ask for the rest was not recognised: fill in \
             `[source.pagination]`; until then runs end with class `incomplete`",
            total.unwrap_or_default()
        ));
    }
    found
}

impl<'a> Seen<'a> {
    /// Finds a value whose last name is one of `names`, the earlier names first.
    fn value(&self, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<(&'a str, &'a Value)> {
        names.iter().find_map(|name| {
            let found = self.outline.values.iter().find(|(place, value)| plain(last(place)) == *name && fits(value));
            found.map(|(place, value)| (place.as_str(), value))
        })
    }

    fn parameter(&self, names: &[&str]) -> Option<(String, String)> {
        let mut pairs = self.url.query_pairs();
        pairs.find(|(name, _)| names.contains(&plain(name).as_str())).map(|(name, value)| (name.into(), value.into()))
    }

    /// What announces how much there is. Returns the total.
    fn announce(&self, found: &mut Paging) -> Option<u64> {
        let records = self.outline.records;
        let header = self.headers.iter().find(|(name, _)| name == "x-total-count");
        let by_header = header.and_then(|(_, value)| value.trim().parse::<u64>().ok());
        let body = self.value(&TOTALS, |value| count(value).is_some_and(|total| total >= records));
        let others =
            self.value(&TOTALS[..TOTALS.len() - 1], |value| count(value).is_some_and(|total| total >= records));
        // A `count` that is just what came may be that of the page: it is compared with each page, which is right in
        // both cases.
        let is_page_count = |place: &str, value: &Value| plain(last(place)) == "count" && count(value) == Some(records);
        let total = match (by_header, others, body) {
            (Some(total), _, _) => {
                found.complete.push("total_header = \"x-total-count\"".to_owned());
                found.reasons.push(format!("the header `x-total-count` announces {total} records"));
                Some(total)
            }
            (None, Some((place, value)), _) => announced(found, place, value),
            (None, None, Some((place, value))) if !is_page_count(place, value) => announced(found, place, value),
            (None, None, _) => None,
        };
        let own = self.value(&PAGE_RECORDS, |value| count(value) == Some(records));
        if let Some((place, _)) = own.filter(|(place, _)| !found.complete.iter().any(|line| line.contains(*place))) {
            found.complete.push(format!("page_records = {}", quoted(place)));
            found.reasons.push(format!("`{place}` counts the {records} records of the answer"));
        }
        if let Some((place, value)) = self.value(&UPDATED, Value::is_string) {
            found.complete.push(format!("updated = {}", quoted(place)));
            found.reasons.push(format!("`{place}` dates the data ({value})"));
        }
        total
    }

    fn by_odata(&self, found: &mut Paging, _total: Option<u64>) -> bool {
        let has = |name: &str| self.outline.at(name).is_some();
        let is_odata =
            ["/@odata.nextLink", "/odata.nextLink", "/@odata.context", "/odata.metadata"].into_iter().any(has);
        if is_odata {
            found.pagination = vec!["style = \"odata\"".to_owned()];
            found.complete.retain(|line| !line.contains("odata.count"));
            found.reasons.push("the answer is OData, whose next link leads on".to_owned());
        }
        is_odata
    }

    fn by_link_header(&self, found: &mut Paging, _total: Option<u64>) -> bool {
        if !has_next_link(self.headers) {
            return false;
        }
        found.pagination = vec!["style = \"link_header\"".to_owned()];
        found.reasons.push("the header `Link` names the next page (`rel=next`)".to_owned());
        true
    }

    fn by_body_link(&self, found: &mut Paging, _total: Option<u64>) -> bool {
        let is_address = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            text.starts_with("http://") || text.starts_with("https://") || text.starts_with(['/', '?'])
        };
        let href =
            |place: &str| place.strip_suffix("/href").is_some_and(|outer| NEXT.contains(&plain(last(outer)).as_str()));
        let values = &self.outline.values;
        let by_href = values.iter().find(|(place, value)| href(place) && is_address(value));
        let by_href = by_href.map(|(place, value)| (place.as_str(), value));
        // The only page of a list has the name all the same, with nothing behind it.
        let has_previous = self.value(&["previous", "prev"], |_| true).is_some();
        let only = self.value(&["next"], |value| value.is_null() && has_previous);
        let Some((place, value)) = self.value(&NEXT, is_address).or(by_href).or(only) else { return false };
        found.pagination = vec!["style = \"next_link_body\"".to_owned(), format!("next = {}", quoted(place))];
        let what = if value.is_null() { "is empty on this last page" } else { "holds the next page's address" };
        found.reasons.push(format!("`{place}` {what}"));
        true
    }

    fn by_cursor(&self, found: &mut Paging, total: Option<u64>) -> bool {
        let Some((place, _)) = self.value(&CURSOR, |value| value.as_str().is_some_and(|text| !text.is_empty())) else {
            return false;
        };
        let names =
            ["cursor", "pagetoken", "nexttoken", "token", "resumptiontoken", "continuationtoken", "nextpagekey"];
        let asked = self.parameter(&names);
        let parameter = match (&asked, plain(last(place)).as_str()) {
            (Some((name, _)), _) => name.clone(),
            (None, "nextcursor" | "cursor" | "endcursor") => "cursor".to_owned(),
            (None, "nextpagetoken") if last(place).contains('_') => "page_token".to_owned(),
            (None, "nextpagetoken") => "pageToken".to_owned(),
            (None, _) => last(place).to_owned(),
        };
        found.pagination = vec![
            "style = \"cursor_body\"".to_owned(),
            format!("parameter = {}", quoted(&parameter)),
            format!("cursor = {}", quoted(place)),
        ];
        let first = asked.map(|(_, value)| value).filter(|value| value == "*");
        found.pagination.extend(first.map(|first| format!("first = {}", quoted(&first))));
        if total.is_some() {
            // Several providers send a cursor with the last page too; the total says when to stop.
            found.pagination.push("end = \"empty_page\"".to_owned());
        }
        found.url = without(self.url, &[&parameter]);
        found.reasons.push(format!("`{place}` is a cursor; the parameter `{parameter}` takes it back"));
        true
    }

    fn by_page(&self, found: &mut Paging, total: Option<u64>) -> bool {
        let page = self.value(&PAGE, |value| count(value).is_some());
        let pages = self.value(&PAGES, |value| count(value).is_some());
        let Some((page_place, value)) = page.filter(|_| pages.is_some() || total.is_some()) else { return false };
        let asked = self.parameter(&PAGE);
        let parameter = asked.as_ref().map_or("page", |(name, _)| name.as_str());
        found.pagination = vec!["style = \"page_number\"".to_owned()];
        found.pagination.push(format!("parameter = {}", quoted(parameter)));
        if count(value) == Some(0) {
            found.pagination.push("first = 0".to_owned());
        }
        let mut set = vec![parameter.to_owned()];
        let size = self.size();
        if let Some((name, size)) = &size {
            found.pagination.push(format!("size_parameter = {}\nsize = {size}", quoted(name)));
            set.push(name.clone());
        }
        // Where counting starts is only certain on a first page.
        let is_first = asked.as_ref().is_none_or(|(_, page)| matches!(page.as_str(), "0" | "1"));
        if is_first {
            found.pagination.push(format!("page = {}", quoted(page_place)));
        }
        if let Some((place, _)) = pages {
            found.complete.push(format!("pages = {}", quoted(place)));
        }
        let counters = pages.map_or_else(String::new, |(place, value)| format!(" of {value} (`{place}`)"));
        found.reasons.push(format!("`{page_place}` says that this is page {value}{counters}"));
        found.url = without(self.url, &set.iter().map(String::as_str).collect::<Vec<_>>());
        true
    }

    /// The parameter that takes the page size, and the size. Only one that the address or the answer names.
    fn size(&self) -> Option<(String, u64)> {
        if let Some((name, value)) = self.parameter(&SIZE) {
            return value.parse().ok().filter(|size| *size > 0).map(|size| (name, size));
        }
        let (place, value) = self.value(&SIZE, |value| count(value).is_some_and(|size| size > 0))?;
        let names = ["per_page", "page_size", "pageSize", "limit"];
        names.contains(&last(place)).then(|| (last(place).to_owned(), count(value).unwrap_or_default()))
    }

    fn by_offset(&self, found: &mut Paging, total: Option<u64>) -> bool {
        let (Some(total), Some((limit_name, limit))) = (total, self.size()) else { return false };
        let asked = self.parameter(&OFFSET);
        let said = self.value(&OFFSET, |value| count(value).is_some());
        // A name in the answer is a parameter's name only where the page size's is one too.
        let is_named_alike =
            |place: &str| last(place) == "offset" && self.outline.at(&sibling(place, "limit")).is_some();
        let name = match (&asked, said) {
            (Some((name, _)), _) => name.clone(),
            (None, Some((place, _))) if is_named_alike(place) => "offset".to_owned(),
            (None, None | Some(_)) => return false,
        };
        let first = match (&asked, said) {
            (None, Some((_, value))) => count(value).filter(|first| *first <= 1).unwrap_or(0),
            _ => 0,
        };
        found.pagination = vec![
            "style = \"offset_limit\"".to_owned(),
            format!("parameter = {}", quoted(&name)),
            format!("limit_parameter = {}", quoted(&limit_name)),
            format!("limit = {limit}"),
        ];
        found.pagination.extend((first == 1).then(|| "first = 1".to_owned()));
        found.url = without(self.url, &[&name, &limit_name]);
        let records = self.outline.records;
        found
            .reasons
            .push(format!("{records} of {total} records came; `{name}` and `{limit_name}` ask for the others"));
        true
    }
}

fn announced(found: &mut Paging, place: &str, value: &Value) -> Option<u64> {
    found.complete.push(format!("total = {}", quoted(place)));
    found.reasons.push(format!("`{place}` announces {} records", count(value).unwrap_or_default()));
    count(value)
}

/// Says whether a `Link` header names a next page.
pub(super) fn has_next_link(headers: &[(String, String)]) -> bool {
    let links = headers.iter().filter(|(name, _)| name == "link");
    let mut words = links.flat_map(|(_, value)| value.split([';', ',']));
    words.any(|word| matches!(word.trim().replace('"', "").to_ascii_lowercase().as_str(), "rel=next"))
}

/// Parameters of the address that are given once each, the named ones left out.
fn without(url: &Url, names: &[&str]) -> String {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !names.contains(&name.as_ref()))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut rest = url.clone();
    rest.set_query(None);
    if !kept.is_empty() {
        rest.query_pairs_mut().extend_pairs(kept);
    }
    rest.to_string()
}

/// A whole number that is not negative, also where it is written as text (the World Bank's `"50"`).
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn last(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or_default()
}

fn sibling(place: &str, name: &str) -> String {
    let outer = place.rsplit_once('/').map_or("", |(outer, _)| outer);
    format!("{outer}/{name}")
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The lines of a `rest_json` source.
pub(super) fn source_lines(paging: &Paging) -> Vec<String> {
    let mut lines = vec!["kind = \"rest_json\"".to_owned()];
    // Braces of an address that is no template.
    lines.push(format!("url = {}", quoted(&paging.url.replace('{', "{{").replace('}', "}}"))));
    for (section, content) in [("pagination", &paging.pagination), ("complete", &paging.complete)] {
        if !content.is_empty() {
            lines.push(format!("\n[source.{section}]"));
            lines.extend(content.iter().cloned());
        }
    }
    lines
}
