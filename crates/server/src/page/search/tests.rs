//! Tables are found by their words, narrowed by facets, and only for whoever may see them.

use hambar_query::{Policy, Tables};

use super::details::CodeList;
use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn dataset(title: &str, provider: &str, licence: &str) -> Dataset {
    Dataset {
        title: Some(title.to_owned()),
        description: None,
        provider: Some(provider.to_owned()),
        citation: None,
        landing_page: None,
        licence: Some(licence.to_owned()),
        key: Vec::new(),
        may_be_passed_on: true,
        issued: None,
        columns: Vec::new(),
    }
}

fn library() -> Library {
    let tables: Vec<TableName> =
        ["demo.gdp", "demo.energy", "secret.gdp", "system.runs"].map(|name| name.parse().unwrap()).to_vec();
    let datasets = BTreeMap::from([
        (tables[0].clone(), dataset("GDP per head", "World Bank", "CC-BY-4.0")),
        (tables[1].clone(), dataset("Енергия", "Eurostat", "CC-BY-4.0")),
        (tables[2].clone(), dataset("GDP, not yet published", "Ministry", "LicenseRef-own")),
    ]);
    let codes = |column: &str, codes: &[&str]| CodeList {
        column: column.to_owned(),
        codes: codes.iter().map(|code| ((*code).to_owned(), None)).collect(),
    };
    let figures = |lists: Vec<CodeList>| Arc::new(Figures { code_lists: lists, ..Figures::default() });
    let changed = |text: &str| Freshness { changed_at: Some(at(text)), ..Freshness::default() };
    let details = Details {
        freshness: BTreeMap::from([
            (tables[0].clone(), changed("2026-01-31T00:00:00Z")),
            (tables[1].clone(), changed("2025-12-01T00:00:00Z")),
        ]),
        figures: BTreeMap::from([
            (tables[0].clone(), figures(vec![codes("country", &["BGR", "ROU"])])),
            (tables[1].clone(), figures(vec![codes("geo", &["BG", "BG41", "EL30"]), codes("unit", &["MW", "TWH"])])),
        ]),
    };
    Library::build(&tables, &datasets, &details)
}

fn names(visibility: &Visibility, words: &str, filters: &[(Facet, &str)]) -> Vec<String> {
    let filters = filters.iter().map(|(facet, value)| (*facet, (*value).to_owned())).collect();
    let wish = Wish { words: words.to_owned(), filters };
    let library = library();
    let selection = library.select(visibility, &wish, at("2026-01-31T12:00:00Z"));
    selection.hits.iter().map(|hit| hit.entry.table.to_string()).collect()
}

#[test]
fn words_and_facets_narrow() {
    let all = Visibility::of(Tables::Data);
    assert_eq!(names(&all, "", &[]), ["demo.gdp", "secret.gdp", "demo.energy"]);
    assert_eq!(names(&all, "gdp", &[]), ["demo.gdp", "secret.gdp"]);
    assert_eq!(names(&all, "ЕНЕРГ", &[]), ["demo.energy"]);
    assert_eq!(names(&all, "румъния", &[]), ["demo.gdp"], "a country is found by its name in any language");
    assert_eq!(names(&all, "greece", &[]), [] as [&str; 0], "a region is not found by its country's name");
    assert_eq!(names(&all, "", &[(Facet::Country, "GR")]), ["demo.energy"], "but the country is among the facets");
    assert_eq!(names(&all, "", &[(Facet::Country, "BG")]), ["demo.gdp", "demo.energy"]);
    assert_eq!(names(&all, "", &[(Facet::Fresh, "day")]), ["demo.gdp"]);
    assert_eq!(names(&all, "", &[(Facet::Fresh, "year"), (Facet::Provider, "Eurostat")]), ["demo.energy"]);
    assert_eq!(names(&all, "", &[(Facet::Licence, "CC-BY-4.0"), (Facet::Topic, "secret")]), [] as [&str; 0]);
}

#[test]
fn what_is_hidden_is_neither_found_nor_counted() {
    let only = Tables::Only { namespaces: BTreeSet::from(["demo".parse().unwrap()]), tables: BTreeSet::new() };
    let only = Visibility::of(only);
    assert_eq!(names(&only, "gdp", &[]), ["demo.gdp"]);
    assert!(names(&only, "published", &[]).is_empty());
    let library = library();
    let selection = library.select(&only, &Wish::default(), at("2026-01-31T12:00:00Z"));
    assert!(!format!("{:?}", selection.facets).contains("Ministry"), "{:?}", selection.facets);
    // What the centre says about itself is not data, whoever asks.
    assert_eq!(library.visible(&Visibility::all()).count(), 3);
}

#[test]
fn values_of_rows_that_are_hidden_are_neither_found_nor_counted() {
    let gdp: TableName = "demo.gdp".parse().unwrap();
    let policy = Policy { conditions: ["country = 'BGR'".to_owned()].into(), ..Policy::default() };
    let some = Visibility::of(Tables::Data).with_policies(BTreeMap::from([(gdp.clone(), policy)]));
    assert_eq!(names(&some, "gdp", &[]), ["demo.gdp", "secret.gdp"], "it is found by what is declared of it");
    for words in ["rou", "bgr", "румъния", "gdp rou"] {
        assert!(names(&some, words, &[]).is_empty(), "{words}");
    }
    assert_eq!(names(&some, "", &[(Facet::Country, "BG")]), ["demo.energy"]);
    let library = library();
    let selection = library.select(&some, &Wish::default(), at("2026-01-31T12:00:00Z"));
    assert_eq!(selection.facets[&Facet::Country], [("BG".to_owned(), 1), ("GR".to_owned(), 1)]);
    let entry = library.entry(&gdp).unwrap();
    assert!(entry.figures(&some).code_lists.is_empty() && !entry.figures(&Visibility::all()).code_lists.is_empty());
}

#[test]
fn counts_say_what_another_choice_would_give() {
    let library = library();
    let wish = Wish { words: String::new(), filters: BTreeMap::from([(Facet::Provider, "Eurostat".to_owned())]) };
    let selection = library.select(&Visibility::of(Tables::Data), &wish, at("2026-01-31T12:00:00Z"));
    let counts = |facet: Facet| selection.facets[&facet].clone();
    assert_eq!(selection.hits.len(), 1);
    assert_eq!(counts(Facet::Provider).len(), 3, "its own filter does not hide the other providers");
    assert_eq!(counts(Facet::Topic), [("demo".to_owned(), 1)]);
    assert_eq!(counts(Facet::Fresh), [("year".to_owned(), 1)]);
    assert_eq!(counts(Facet::Country), [("BG".to_owned(), 1), ("GR".to_owned(), 1)]);
}
