//! `/`: the catalogue, searched and narrowed; and the same for scripts as JSON.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::countries::country;
use super::error;
use super::looks::{Language, Looks};
use super::numbers;
use super::search::{Entry, Facet, Found, Hit, Selection, Wish};
use super::shell::{Place, links, shell};
use super::texts::{Texts, filled};
use super::visitor::Visitor;
use crate::front::FrontError;
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::problem::Problem;

/// Tables that the page lists.
const SHOWN_MAX: usize = 100;
/// The catalogue as programs read it.
const DESCRIBED: [(&str, &str); 3] =
    [("Turtle", "/catalog.ttl"), ("JSON-LD", "/catalog.jsonld"), ("RDF/XML", "/catalog.rdf")];
/// Values of one facet that the page offers, and `/api/search` names.
const VALUES_MAX: usize = 12;
/// Hits of `/api/search`, where the request does not say how many.
const HITS_DEFAULT: usize = 20;
/// Characters of a description in a list.
const DESCRIPTION_CHARS_MAX: usize = 240;

/// Shows the catalogue.
pub(super) async fn page(Shared(state): Shared<State>, visitor: Visitor) -> Response {
    match state.pages.librarian.library(state.front.catalogue()).await {
        Ok(library) => {
            let wish = wish(&visitor.looks.query);
            let selection = library.select(visitor.principal.visibility(), &wish, state.front.now());
            let page = content(&visitor, &wish, &selection);
            let t = visitor.looks.texts();
            let page = shell(&visitor.looks, Some(&visitor), Place::Catalogue, t.nav_catalogue, &page);
            visitor.looks.respond(StatusCode::OK, &page)
        }
        Err(failed) => error::page(&visitor.looks, Some(&visitor), &FrontError::Query(failed).into()),
    }
}

/// Answers a search with JSON.
pub(super) async fn search(Shared(state): Shared<State>, asker: Asker, looks: Looks) -> Result<Response, Problem> {
    let limit = match looks.asked("limit") {
        None => HITS_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=SHOWN_MAX).contains(limit))
            .ok_or_else(|| Problem::bad_request(format!("`limit` is a number from 1 to {SHOWN_MAX}")))?,
    };
    let library = state.pages.librarian.library(state.front.catalogue()).await.map_err(FrontError::Query)?;
    let wish = wish(&looks.query);
    let selection = library.select(asker.principal.visibility(), &wish, state.front.now());
    let facets: BTreeMap<&str, Vec<&(String, usize)>> = selection
        .facets
        .iter()
        .map(|(facet, values)| (facet.name(), values.iter().take(VALUES_MAX).collect()))
        .collect();
    let hits: Vec<Value> = selection.hits.iter().take(limit).map(hit).collect();
    Ok(private(Json(json!({ "total": selection.hits.len(), "hits": hits, "facets": facets }))))
}

/// Lists the tables with their columns.
pub(super) async fn tables(Shared(state): Shared<State>, asker: Asker) -> Result<Response, Problem> {
    let library = state.pages.librarian.library(state.front.catalogue()).await.map_err(FrontError::Query)?;
    let visibility = asker.principal.visibility();
    let tables: Vec<Value> = library
        .visible(visibility)
        .map(|entry| {
            let columns = entry.dataset.as_ref().map(|dataset| dataset.columns.as_slice()).unwrap_or_default();
            let columns: Vec<Value> = columns
                .iter()
                .filter(|column| !visibility.hides(&entry.table, &column.name))
                .map(|column| {
                    json!({
                        "name": column.name, "type": column.kind,
                        "description": column.description, "unit": column.unit,
                    })
                })
                .collect();
            json!({ "table": entry.table.to_string(), "title": entry.title(), "columns": columns })
        })
        .collect();
    Ok(private(Json(json!({ "tables": tables }))))
}

/// What is found is whoever asks' own.
fn private(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    response
}

fn hit(hit: &Hit<'_>) -> Value {
    let (kind, text) = match hit.found {
        Some((Found::Column, text)) => ("column", text),
        Some((Found::Code, text)) => ("code", text),
        Some((Found::Series, text)) => ("series", text),
        Some((_, text)) => ("table", text),
        None => ("table", ""),
    };
    json!({
        "table": hit.entry.table.to_string(),
        "title": hit.entry.title(),
        "provider": hit.entry.provider(),
        "licence": hit.entry.licence(),
        "kind": kind,
        "match": text.chars().take(DESCRIPTION_CHARS_MAX).collect::<String>(),
        "url": url(hit.entry),
    })
}

fn url(entry: &Entry) -> String {
    // A name has letters, digits and `_` only.
    format!("/tables/{}", entry.table)
}

fn wish(query: &[(String, String)]) -> Wish {
    let value = |name: &str| {
        let found = query.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let filters = Facet::ALL.into_iter().filter_map(|facet| Some((facet, value(facet.name())?)));
    Wish { words: value("q").unwrap_or_default(), filters: filters.collect() }
}

fn content(visitor: &Visitor, wish: &Wish, selection: &Selection<'_>) -> Markup {
    let (looks, t) = (&visitor.looks, visitor.looks.texts());
    let total = selection.hits.len();
    let is_open = wish.words.is_empty() && wish.filters.is_empty();
    html! {
        h1 { (t.nav_catalogue) }
        hb-search {
            form role="search" method="get" action="/" {
                label for="q" { (t.search) }
                input #q type="search" name="q" value=(wish.words) placeholder=(t.search_hint) autocomplete="off";
                @for (facet, value) in wish.filters.iter().filter(|(facet, _)| **facet != Facet::Country) {
                    input type="hidden" name=(facet.name()) value=(value);
                }
                (countries(looks, wish, selection))
                button type="submit" { (t.search_button) }
            }
        }
        @if !wish.filters.is_empty() {
            ul.chips aria-label=(t.filters) {
                @for (facet, value) in &wish.filters {
                    @let shown = shown(looks.language, *facet, value);
                    li {
                        a.chip href=(looks.with(&[(facet.name(), None)]))
                            aria-label=(filled(t.remove_filter, &[("what", &shown)])) { (shown) " ×" }
                    }
                }
            }
        }
        div.catalogue {
            @if !selection.facets.is_empty() {
                (facets(looks, wish, selection))
            }
            section.results aria-live="polite" {
                p.meta role="status" {
                    (tables_found(looks.language, total))
                    @if total > SHOWN_MAX {
                        "; " (filled(t.tables_shown, &[("n", &SHOWN_MAX.to_string())]))
                    }
                }
                @if total == 0 && is_open {
                    p { (t.no_tables) }
                    p.note { (t.no_tables_way) }
                } @else if total == 0 {
                    p { (t.nothing_found) }
                    p.note { (t.nothing_found_way) }
                }
                ol.hits {
                    @for hit in selection.hits.iter().take(SHOWN_MAX) {
                        (listed(t, hit))
                    }
                }
            }
        }
        (links(t.catalogue_described, &DESCRIBED.map(|(name, target)| (name, target.to_owned()))))
    }
}

fn tables_found(language: Language, total: usize) -> String {
    let t = language.texts();
    match total {
        1 => t.tables_one.to_owned(),
        total => filled(t.tables_many, &[("n", &numbers::count(language, total as u64))]),
    }
}

fn listed(t: &Texts, hit: &Hit<'_>) -> Markup {
    let entry = hit.entry;
    let description = entry.dataset.as_ref().and_then(|dataset| dataset.description.as_deref());
    html! {
        li.hit {
            h2 { a href=(url(entry)) { (entry.title()) } }
            p.meta {
                code { (entry.table) }
                @if let Some(provider) = entry.provider() { " · " (provider) }
                @if let Some(licence) = entry.licence() { " · " span.chip { (licence) } }
                @if let Some(changed_at) = entry.freshness.changed_at {
                    " · " (t.changed) " " (numbers::instant(changed_at))
                }
            }
            @if let Some(description) = description {
                p { (beginning(description)) }
            }
            @if let Some((found, text)) = hit.found
                && !matches!(found, Found::Title | Found::Table | Found::Provider | Found::Description)
            {
                p.meta { (place(t, found)) ": " mark { (beginning(text)) } }
            }
        }
    }
}

fn place(t: &Texts, found: Found) -> &'static str {
    match found {
        Found::Title => t.found_title,
        Found::Table => t.found_table,
        Found::Series => t.found_series,
        Found::Column => t.found_column,
        Found::Code => t.found_code,
        Found::Provider => t.found_provider,
        Found::Description => t.found_description,
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn facet_name(t: &Texts, facet: Facet) -> &'static str {
    match facet {
        Facet::Provider => t.facet_provider,
        Facet::Topic => t.facet_topic,
        Facet::Country => t.facet_country,
        Facet::Licence => t.facet_licence,
        Facet::Fresh => t.facet_fresh,
    }
}

/// A facet's value for people.
fn shown(language: Language, facet: Facet, value: &str) -> String {
    let t = language.texts();
    let text = match (facet, value) {
        (Facet::Country, code) => country(code).map(|country| country.name(language)),
        (Facet::Fresh, "day") => Some(t.fresh_day),
        (Facet::Fresh, "week") => Some(t.fresh_week),
        (Facet::Fresh, "month") => Some(t.fresh_month),
        (Facet::Fresh, "year") => Some(t.fresh_year),
        _ => None,
    };
    text.map_or_else(|| value.to_owned(), str::to_owned)
}

/// All countries, as a choice: there may be hundreds.
fn countries(looks: &Looks, wish: &Wish, selection: &Selection<'_>) -> Markup {
    let t = looks.texts();
    let chosen = wish.filters.get(&Facet::Country).map(String::as_str);
    let offered = selection.facets.get(&Facet::Country).map(Vec::as_slice).unwrap_or_default();
    let mut named: Vec<(String, &str, usize)> = offered
        .iter()
        .map(|(code, tables)| (shown(looks.language, Facet::Country, code), code.as_str(), *tables))
        .collect();
    named.sort();
    html! {
        @if !named.is_empty() || chosen.is_some() {
            label for="country" { (t.facet_country) }
            select #country name="country" {
                option value="" { (t.any) }
                @for (name, code, tables) in &named {
                    option value=(code) selected[chosen == Some(*code)] { (name) " (" (tables) ")" }
                }
            }
        }
    }
}

fn facets(looks: &Looks, wish: &Wish, selection: &Selection<'_>) -> Markup {
    let t = looks.texts();
    html! {
        nav.facets aria-label=(t.filters) {
            @for (facet, values) in selection.facets.iter().filter(|(facet, _)| **facet != Facet::Country) {
                section {
                    h2 { (facet_name(t, *facet)) }
                    ul {
                        @for (value, tables) in values.iter().take(VALUES_MAX) {
                            @let is_chosen = wish.filters.get(facet) == Some(value);
                            li {
                                @if is_chosen {
                                    a href=(looks.with(&[(facet.name(), None)])) aria-current="true" {
                                        (shown(looks.language, *facet, value))
                                    }
                                } @else {
                                    a href=(looks.with(&[(facet.name(), Some(value))])) {
                                        (shown(looks.language, *facet, value))
                                    }
                                }
                                " " span.count { (tables) }
                            }
                        }
                    }
                }
            }
        }
    }
}
