//! `hambar demo` as a stranger starts it, and every command over the store that it leaves.

use std::collections::BTreeMap;

use crate::support::{Ran, Workshop};

const FIRST: &str = include_str!("../../src/demo/figures/electricity_first.csv");
const REVISED: &str = include_str!("../../src/demo/figures/electricity_revised.csv");
const TABLES: [&str; 4] = ["demo.electricity", "demo.gdp_per_head", "demo.regional_gdp", "demo.research"];

/// Country and year to the value as written.
fn figures(csv: &str) -> BTreeMap<String, String> {
    csv.lines()
        .skip(1)
        .filter_map(|line| line.rsplit_once(','))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What the revised release changed, took away and added.
fn changes() -> (usize, usize, usize) {
    let (first, revised) = (figures(FIRST), figures(REVISED));
    let number = |text: &String| text.parse::<f64>().ok();
    let changed =
        first.iter().filter(|(key, old)| revised.get(*key).is_some_and(|new| number(new) != number(old))).count();
    let withdrawn = first.keys().filter(|key| !revised.contains_key(*key)).count();
    let added = revised.keys().filter(|key| !first.contains_key(*key)).count();
    (changed, withdrawn, added)
}

/// The demo's folder, made by the demo.
fn demo() -> (Workshop, String) {
    let workshop = Workshop::new();
    std::fs::remove_file(workshop.path().join("hambar.toml")).unwrap();
    let said = workshop.hambar(&["demo", "--folder", "shown"]).ok();
    (workshop, said)
}

#[test]
fn the_demo_shows_what_was_unchanged_and_what_was_revised() {
    let (workshop, said) = demo();
    let (changed, withdrawn, added) = changes();
    assert!(changed > 0 && added > 0, "the figures tell nothing: {changed}, {withdrawn}, {added}");
    for table in TABLES {
        assert!(said.contains(&format!("{table}: committed version")), "{table}:\n{said}");
        assert!(said.contains(&format!("{table}: unchanged")), "{table}:\n{said}");
    }
    let revision = said.lines().rfind(|line| line.contains("demo.electricity: committed")).unwrap();
    let counts = format!("{} rows new or changed, {changed} revised, {withdrawn} withdrawn", changed + added);
    assert!(revision.contains(&counts), "{revision}\n{counts}");
    let seen = said.lines().find(|line| line.contains("The provider saw")).unwrap();
    let not_modified: u64 = seen.split_whitespace().filter_map(|word| word.parse().ok()).nth(1).unwrap();
    assert!(not_modified > 0, "{seen}");
    assert!(!said.to_lowercase().contains("warning"), "{said}");

    let store = workshop.path().join("shown/store").display().to_string();
    let sql = |sql: &str| -> Vec<String> {
        let text = workshop.hambar(&["--store", &store, "sql", "--format", "csv", sql]).ok();
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let counted = sql(
        "SELECT count(*) FROM revisions('demo.electricity') WHERE change = 'revised' AND \"column\" = 'kwh_per_head'",
    );
    assert_eq!(counted, [changed.to_string()]);
    assert_eq!(sql("SELECT count(*) FROM demo.electricity"), [figures(REVISED).len().to_string()]);
    assert_eq!(sql("SELECT count(*) FROM demo.gdp_per_head"), ["99"]);
    // What was known before the revision is the first release, value for value.
    let first = sql("SELECT country, year, kwh_per_head FROM demo.electricity VERSION AS OF 1 ORDER BY country, year");
    assert_eq!(numbers(first.iter().map(String::as_str)), numbers(FIRST.lines().skip(1)));
    let now = sql("SELECT country, year, kwh_per_head FROM demo.electricity");
    assert_eq!(numbers(now.iter().map(String::as_str)), numbers(REVISED.lines().skip(1)));
    let recorded = sql("SELECT count(*) FROM system.fetches WHERE status = 304");
    assert!(recorded[0].parse::<u64>().unwrap() > not_modified, "{recorded:?}, {seen}");
}

/// Rows with the last cell as a number, sorted.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, Option<u64>)> {
    let mut rows: Vec<_> = lines
        .filter_map(|line| line.rsplit_once(','))
        .map(|(key, value)| (key.to_owned(), value.parse::<f64>().ok().map(f64::to_bits)))
        .collect();
    rows.sort();
    rows
}

#[test]
fn every_command_works_on_the_store_of_the_demo() {
    let (workshop, _) = demo();
    let shown = workshop.path().join("shown");
    let hambar = |arguments: &[&str]| {
        let mut command = workshop.command(arguments);
        Ran::of(command.current_dir(&shown)).ok()
    };
    let tables = hambar(&["tables", "--format", "csv"]);
    for table in TABLES {
        assert!(tables.contains(table), "{tables}");
        let described = hambar(&["describe", table]);
        assert!(described.contains("cite as") && described.contains("licence"), "{described}");
    }
    assert!(hambar(&["describe", "demo.electricity"]).contains("kWh per person"));
    let history = hambar(&["history", "--format", "csv", "demo.electricity"]);
    assert_eq!(history.lines().count(), 4, "created, first release, revised release:\n{history}");
    let runs = hambar(&["runs", "--format", "csv", "-n", "50"]);
    assert_eq!(runs.lines().count(), 13, "three runs of four pipelines:\n{runs}");
    assert!(hambar(&["check"]).contains("4 pipelines checked"));
    let before = fingerprints(&hambar(&["fsck"]));
    hambar(&["optimize"]);
    hambar(&["vacuum", "--dry-run"]);
    let checked = hambar(&["fsck"]);
    assert!(checked.ends_with("nothing is wrong\n"), "{checked}");
    assert_eq!(fingerprints(&checked), before);
    let rebuilt = hambar(&["rebuild", "--all"]);
    for table in TABLES {
        assert!(rebuilt.contains(&format!("{table}: rebuilt from raw bytes, same content")), "{rebuilt}");
    }
    hambar(&["config"]);
    assert!(hambar(&["schema"]).contains("\"$schema\""));
    for (format, start) in [("json", "["), ("ndjson", "{"), ("table", " ")] {
        let text = hambar(&["sql", "--format", format, "SELECT country, year FROM demo.electricity LIMIT 3"]);
        assert!(text.starts_with(start) || format == "table", "{text}");
    }
    for format in ["parquet", "arrow"] {
        hambar(&["sql", "--format", format, "--output", "out.bin", "SELECT * FROM demo.electricity"]);
        assert!(std::fs::metadata(shown.join("out.bin")).unwrap().len() > 100);
    }
    // A second demo in the same folder begins again; another's folder is left alone.
    workshop.hambar(&["demo", "--folder", "shown"]).ok();
    workshop.write("mine/notes.txt", "mine");
    workshop.hambar(&["demo", "--folder", "mine"]).fails(2, &["is not empty"]);
}

/// Table and content fingerprint of each line that `fsck` prints.
fn fingerprints(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            Some((line.split_once(": version")?.0.to_owned(), line.split_once("content ")?.1.to_owned()))
        })
        .filter(|(table, _)| table.starts_with("demo."))
        .collect()
}
