//! The catalogue as people look through it: every table with what is known of it, found by words and narrowed by facets.
//! Whoever asks finds and counts only what exists for him; of tables of which he sees only some rows, what is declared.

pub(super) mod details;
mod fold;
mod index;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hambar_core::TableName;
use hambar_query::{QueryError, Visibility};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::countries::{country, named};
use crate::catalogue::{Catalogue, Dataset};
use details::{Details, Figures, Freshness, Shared, is_dataset};
pub(super) use index::Found;
use index::{Builder, Index, Match};

/// Of a column's codes, at least this part are countries where the column is one of countries: one half.
const COUNTRY_PART: usize = 2;
/// Countries of a column whose name does not speak of places: `MW` is Malawi, and a unit.
const COUNTRIES_MIN: usize = 5;
/// What is in the names of columns of places.
const PLACES: [&str; 10] =
    ["country", "geo", "nuts", "iso", "area", "region", "reporter", "partner", "territory", "location"];

/// A table with everything that is known of it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) table: TableName,
    pub(super) dataset: Option<Dataset>,
    pub(super) freshness: Freshness,
    figures: Arc<Figures>,
    /// The countries that its rows are about, by their codes of two letters.
    countries: BTreeSet<&'static str>,
}

/// All tables at one moment.
#[derive(Debug, Default)]
pub(super) struct Library {
    entries: Vec<Entry>,
    index: Index,
}

/// What somebody looks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) words: String,
    pub(super) filters: BTreeMap<Facet, String>,
}

/// A property that tables are narrowed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Facet {
    Provider,
    Topic,
    Country,
    Licence,
    Fresh,
}

/// A period in which tables changed.
const FRESH: [(&str, SignedDuration); 4] = [
    ("day", SignedDuration::from_hours(24)),
    ("week", SignedDuration::from_hours(7 * 24)),
    ("month", SignedDuration::from_hours(31 * 24)),
    ("year", SignedDuration::from_hours(365 * 24)),
];

impl Facet {
    pub(super) const ALL: [Self; 5] = [Self::Provider, Self::Topic, Self::Country, Self::Licence, Self::Fresh];

    /// Its name in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Topic => "topic",
            Self::Country => "country",
            Self::Licence => "licence",
            Self::Fresh => "fresh",
        }
    }
}

/// A table that was found.
#[derive(Debug, Clone)]
pub(super) struct Hit<'a> {
    pub(super) entry: &'a Entry,
    /// Where the words were found, and in which text; nothing where none were asked for.
    pub(super) found: Option<(Found, &'a str)>,
    rank: u32,
}

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Selection<'a> {
    pub(super) hits: Vec<Hit<'a>>,
    /// For each facet its values with how many tables they would leave, the most first.
    pub(super) facets: BTreeMap<Facet, Vec<(String, usize)>>,
}

impl Entry {
    /// Its title, or its name where nothing is declared.
    pub(super) fn title(&self) -> String {
        let declared = self.dataset.as_ref().and_then(|dataset| dataset.title.clone());
        declared.unwrap_or_else(|| self.table.to_string())
    }

    pub(super) fn provider(&self) -> Option<&str> {
        self.dataset.as_ref()?.provider.as_deref()
    }

    pub(super) fn licence(&self) -> Option<&str> {
        self.dataset.as_ref()?.licence.as_deref()
    }

    /// What its rows hold: nothing for whoever sees only a part of it.
    pub(super) fn figures(&self, visibility: &Visibility) -> Arc<Figures> {
        if visibility.is_partial(&self.table) { Arc::default() } else { Arc::clone(&self.figures) }
    }

    /// Its values of a facet, for whoever sees this much of it.
    fn values(&self, facet: Facet, visibility: &Visibility, now: Timestamp) -> Vec<&str> {
        match facet {
            Facet::Country if visibility.is_partial(&self.table) => Vec::new(),
            Facet::Provider => self.provider().into_iter().collect(),
            Facet::Topic => vec![self.table.namespace.as_str()],
            Facet::Country => self.countries.iter().copied().collect(),
            Facet::Licence => self.licence().into_iter().collect(),
            Facet::Fresh => {
                let Some(changed_at) = self.freshness.changed_at else { return Vec::new() };
                let age = now.duration_since(changed_at);
                FRESH.iter().filter(|(_, period)| age <= *period).map(|(name, _)| *name).collect()
            }
        }
    }
}

impl Library {
    fn build(tables: &[TableName], datasets: &BTreeMap<TableName, Dataset>, details: &Details) -> Self {
        let mut builder = Builder::default();
        let mut entries: Vec<Entry> = Vec::new();
        for table in tables.iter().filter(|table| is_dataset(table)) {
            let figures = details.figures.get(table).cloned().unwrap_or_default();
            let entry = Entry {
                table: table.clone(),
                dataset: datasets.get(table).cloned(),
                freshness: details.freshness.get(table).cloned().unwrap_or_default(),
                countries: countries(&figures),
                figures,
            };
            let Ok(number) = u32::try_from(entries.len()) else { break };
            describe(&mut builder, number, &entry);
            entries.push(entry);
        }
        // Codes last: where they are too many, everything else is still found.
        for (number, entry) in (0..).zip(&entries) {
            enumerate(&mut builder, number, entry);
        }
        if builder.is_full() {
            tracing::warn!("the catalogue has more words than its index may hold; some codes are not found");
        }
        Self { entries, index: builder.build() }
    }

    /// Returns a table.
    pub(super) fn entry(&self, table: &TableName) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.table == *table)
    }

    /// Returns the tables that exist for whoever asks.
    pub(super) fn visible<'a>(&'a self, visibility: &'a Visibility) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| visibility.sees(&entry.table))
    }

    /// Returns what matches a wish, the best first; without words in the order of titles.
    pub(super) fn select(&self, visibility: &Visibility, wish: &Wish, now: Timestamp) -> Selection<'_> {
        let has_words = !wish.words.trim().is_empty();
        // Codes and series are values, and columns are columns, of which not all are shown to everybody.
        let shown = |number: u32, found: Found| {
            let entry = self.entries.get(number as usize);
            let policy = entry.and_then(|entry| visibility.policy(&entry.table));
            match found {
                Found::Code | Found::Series => policy.is_none(),
                Found::Column => policy.is_none_or(|policy| policy.hidden.is_empty()),
                _ => true,
            }
        };
        let matches: HashMap<u32, Match> =
            if has_words { self.index.search(&wish.words, shown) } else { HashMap::new() };
        let mut hits = Vec::new();
        let mut counts: BTreeMap<Facet, BTreeMap<&str, usize>> = BTreeMap::new();
        for (number, entry) in (0..).zip(&self.entries) {
            let found = matches.get(&number);
            if !visibility.sees(&entry.table) || has_words && found.is_none() {
                continue;
            }
            let fails: Vec<Facet> = wish
                .filters
                .iter()
                .filter(|(facet, wanted)| !entry.values(**facet, visibility, now).contains(&wanted.as_str()))
                .map(|(facet, _)| *facet)
                .collect();
            for facet in Facet::ALL {
                // Its own filter set aside: the counts say what another choice would give.
                if fails.iter().all(|failed| *failed == facet) {
                    for value in entry.values(facet, visibility, now) {
                        *counts.entry(facet).or_default().entry(value).or_default() += 1;
                    }
                }
            }
            if fails.is_empty() {
                let text = found.map(|found| (found.found, self.index.text(found)));
                hits.push(Hit { entry, found: text, rank: found.map_or(0, |found| found.rank) });
            }
        }
        hits.sort_by_cached_key(|hit| (std::cmp::Reverse(hit.rank), hit.entry.title().to_lowercase()));
        let facets = counts.into_iter().map(|(facet, values)| (facet, sorted(facet, values)));
        Selection { hits, facets: facets.collect() }
    }
}

/// The values of a facet, the most frequent first; periods from the shortest.
fn sorted(facet: Facet, values: BTreeMap<&str, usize>) -> Vec<(String, usize)> {
    let mut values: Vec<(String, usize)> = values.into_iter().map(|(value, count)| (value.to_owned(), count)).collect();
    let place = |name: &str| FRESH.iter().position(|(known, _)| *known == name);
    match facet {
        Facet::Fresh => values.sort_by_key(|(value, _)| place(value)),
        _ => values.sort_by(|(one, many), (other, more)| more.cmp(many).then_with(|| one.cmp(other))),
    }
    values
}

/// Gives what is declared of a table to the index.
fn describe(builder: &mut Builder, number: u32, entry: &Entry) {
    builder.add(number, Found::Title, &entry.title());
    builder.add(number, Found::Table, &entry.table.to_string());
    let Some(dataset) = &entry.dataset else { return };
    if let Some(provider) = &dataset.provider {
        builder.add(number, Found::Provider, provider);
    }
    if let Some(description) = &dataset.description {
        builder.add(number, Found::Description, description);
    }
    for column in &dataset.columns {
        let more = [Some(&column.source_name), column.description.as_ref(), column.unit.as_ref()];
        let searched = more.into_iter().flatten().fold(column.name.clone(), |text, more| format!("{text} {more}"));
        builder.add_as(number, Found::Column, &column.name, &searched);
    }
}

/// Gives the codes of a table to the index, with their labels and, for countries, their names in all languages.
fn enumerate(builder: &mut Builder, number: u32, entry: &Entry) {
    for list in &entry.figures.code_lists {
        let is_series = ["series", "indicator", "variable", "item"].iter().any(|word| list.column.contains(word));
        let found = if is_series { Found::Series } else { Found::Code };
        for (code, label) in &list.codes {
            let shown = label.as_ref().map_or_else(|| code.clone(), |label| format!("{code} {label}"));
            match country(code).or_else(|| named(code)) {
                Some(country) if !is_series => {
                    let is_said = label.is_some() || named(code).is_some();
                    let shown = if is_said { shown } else { format!("{code} {}", country.english) };
                    let searched = format!("{shown} {} {}", country.english, country.bulgarian);
                    builder.add_as(number, found, &shown, &searched);
                }
                _ => builder.add(number, found, &shown),
            }
        }
    }
}

/// The countries that a table is about: those of its columns of which most codes are countries, or regions in them.
fn countries(figures: &Figures) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for list in &figures.code_lists {
        let is_regional = ["geo", "nuts"].iter().any(|word| list.column.contains(word));
        let countries: Vec<&'static str> = list
            .codes
            .iter()
            .filter_map(|(code, _)| {
                let region = code.get(..2).filter(|_| is_regional && (2..=5).contains(&code.len()));
                country(code).or_else(|| named(code)).or_else(|| country(region?)).map(|country| country.iso2)
            })
            .collect();
        let is_place = PLACES.iter().any(|word| list.column.contains(word));
        let least = if is_place { 1 } else { COUNTRIES_MIN };
        if countries.len() >= least && countries.len() * COUNTRY_PART >= list.codes.len() {
            found.extend(countries);
        }
    }
    found
}

/// Keeps the library as new as the store.
#[derive(Debug, Default)]
pub(super) struct Librarian {
    details: Shared,
    built: Mutex<Option<Built>>,
}

/// A library and what it was made from.
#[derive(Debug)]
struct Built {
    tables: Arc<Vec<TableName>>,
    datasets: Arc<BTreeMap<TableName, Dataset>>,
    details: Arc<Details>,
    library: Arc<Library>,
}

impl Librarian {
    /// Returns what is known in the background.
    pub(super) fn details(&self) -> Shared {
        self.details.clone()
    }

    /// Returns the library, made anew where something has changed.
    pub(super) async fn library(&self, catalogue: &Catalogue) -> Result<Arc<Library>, QueryError> {
        let (tables, datasets) = (catalogue.tables().await?, catalogue.datasets().await?);
        let details = self.details.get();
        let mut built = self.built.lock().await;
        if let Some(known) = built.as_ref()
            && known.tables == tables
            && Arc::ptr_eq(&known.datasets, &datasets)
            && Arc::ptr_eq(&known.details, &details)
        {
            return Ok(Arc::clone(&known.library));
        }
        let work = {
            let (tables, datasets, details) = (Arc::clone(&tables), Arc::clone(&datasets), Arc::clone(&details));
            move || Library::build(&tables, &datasets, &details)
        };
        // An index of a large catalogue takes longer than other requests should wait.
        let library = match tokio::task::spawn_blocking(work).await {
            Ok(library) => Arc::new(library),
            Err(error) => {
                let message = format!("the index of the catalogue could not be made: {error}");
                return Err(QueryError::Execute { class: hambar_core::ErrorClass::Internal, message });
            }
        };
        *built = Some(Built { tables, datasets, details, library: Arc::clone(&library) });
        Ok(library)
    }
}

#[cfg(test)]
mod tests;
