//! Successive versions of one real file, as a provider published them: each of them can be had again with `AS OF`.

use std::io::Read;
use std::path::{Path, PathBuf};

use hambar_testkit::evil_http::Answer;

use crate::support::{Provider, Workshop, now, setting, shared, snapshot_of};

/// Versions of the long series that are tried when nobody asks for all of them.
const VERSIONS_SHORT: usize = 11;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    files.sort();
    files
}

/// The file's rows, sorted, with `columns` cells each; the last column of the long series is a number.
fn rows_of(file: &Path, columns: usize) -> Vec<String> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    let mut rows: Vec<String> = text.lines().skip(1).map(|line| plain(line, columns)).collect();
    rows.sort();
    rows
}

/// Rows that lack their last cells are filled up; decimal fractions are written in one way.
fn plain(line: &str, columns: usize) -> String {
    if line.contains('"') {
        return line.to_owned();
    }
    let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
    cells.resize(columns, String::new());
    for cell in &mut cells {
        if cell.contains('.') || cell.contains('e') {
            *cell = cell.parse::<f64>().map_or_else(|_| cell.clone(), |number| number.to_string());
        }
    }
    cells.join(",")
}

fn publish(provider: &Provider, file: &Path) {
    let body = std::fs::read(file).unwrap();
    provider.offer("/data.csv.gz", Answer::ok(body).header("content-type", "application/gzip"));
}

/// Runs after each version, then asks for each of them.
fn check(table: &str, files: &[PathBuf], pipeline: impl Fn(&str, usize) -> String, columns: usize, select: &str) {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let mut instants = Vec::new();
    for (index, file) in files.iter().enumerate() {
        workshop.pipeline(table, &pipeline(&provider.url("/data.csv.gz"), index));
        publish(&provider, file);
        let said = workshop.run(table);
        assert!(said.contains("committed version"), "{}: {said}", file.display());
        instants.push(now());
    }
    for (file, instant) in files.iter().zip(&instants) {
        let answer = workshop.rows(&format!("SELECT {select} FROM {table} FOR SYSTEM_TIME AS OF '{instant}'"));
        let mut found: Vec<String> = answer.iter().map(|line| plain(line, columns)).collect();
        found.sort();
        let expected = rows_of(file, columns);
        assert_eq!(found.len(), expected.len(), "{}", file.display());
        let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(different, None, "{}", file.display());
    }
    workshop.fsck();
    let again = workshop.run(table);
    assert!(again.contains("unchanged"), "{again}");
}

#[test]
fn ten_consecutive_days_of_every_country_can_be_had_again() {
    let Some(data) = shared() else { return };
    let files = files(&data.join("covid-versions/countries-aggregated-consecutive-days"));
    assert_eq!(files.len(), 10);
    let columns =
        [("date", "date"), ("country", "string"), ("confirmed", "int64"), ("recovered", "int64"), ("deaths", "int64")];
    let pipeline = |url: &str, _| snapshot_of(url, &columns, 2);
    check("covid.countries", &files, pipeline, 5, "date, country, confirmed, recovered, deaths");
}

#[test]
fn versions_over_two_years_and_a_new_column_can_be_had_again() {
    let Some(data) = shared() else { return };
    let mut files = files(&data.join("covid-versions/worldwide-aggregate"));
    assert_eq!(files.len(), 74);
    if setting("HAMBAR_TEST_LONG").is_none() {
        // The first two differ in their columns and in how they write dates; the rest is taken from the whole series.
        let step = files.len() / (VERSIONS_SHORT - 2);
        files = files
            .iter()
            .enumerate()
            .filter(|(index, _)| *index < 2 || index % step == 2)
            .map(|(_, file)| file.clone())
            .collect();
    }
    let columns = [
        ("date", "string"),
        ("confirmed", "int64"),
        ("recovered", "int64"),
        ("deaths", "int64"),
        ("increase_rate", "float64"),
    ];
    let pipeline = |url: &str, index: usize| snapshot_of(url, &columns[..if index == 0 { 4 } else { 5 }], 1);
    check("covid.worldwide", &files, pipeline, 5, "date, confirmed, recovered, deaths, increase_rate");
}

/// A reload of the same rows is no new version, whatever their order; one changed cell is one.
#[test]
fn the_same_rows_in_any_order_are_one_version() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let columns = [("id", "int64"), ("value", "string")];
    workshop.pipeline("t.a", &snapshot_of(&provider.url("/a.csv"), &columns, 1));
    let text = |ids: &mut dyn Iterator<Item = u64>, changed: Option<u64>| {
        let line =
            |id: u64| format!("{id},{}\n", if changed == Some(id) { "other".to_owned() } else { format!("v{id}") });
        format!("id,value\n{}", ids.map(line).collect::<String>())
    };
    let versions = || workshop.hambar(&["history", "t.a", "--format", "csv"]).ok().lines().count() - 1;
    provider.publish("/a.csv", &text(&mut (0..500), None));
    workshop.run("t.a");
    let first = versions();
    for again in [text(&mut (0..500), None), text(&mut (0..500).rev(), None)] {
        provider.publish("/a.csv", &again);
        assert!(workshop.run("t.a").contains("unchanged"));
        assert_eq!(versions(), first);
    }
    provider.publish("/a.csv", &text(&mut (0..500).rev(), Some(77)));
    assert!(workshop.run("t.a").contains("1 rows new or changed, 1 revised, 0 withdrawn"));
    assert_eq!(versions(), first + 1);
    assert_eq!(workshop.rows("SELECT id FROM t.a WHERE value = 'other'"), ["77"]);
    workshop.fsck();
}
