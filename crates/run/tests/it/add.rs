//! A body becomes a pipeline file that only lacks what a person must say.

use std::path::Path;

use hambar_run::add::{AddRequest, SurveyRequest, file_name, pipeline_text, survey, table_name};
use hambar_run::spec::parse;

/// Surveys `body` and returns the file, and what is wrong with it before and after the licence is filled in.
fn check(url: &str, body: &[u8], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, body).unwrap();
    let url: url::Url = url.parse().unwrap();
    let request = SurveyRequest { body: file, file_name: file_name(&url), members: None };
    let found = survey(&request, folder.path()).unwrap();
    let mut add = AddRequest { url, licence: None, redistribution: None, provider: None };
    let text = pipeline_text(&add, &found);
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "`{line}` is not in\n{text}");
    }
    let name = table_name(&add.url).unwrap();
    let problems = parse(Path::new("a/b.toml"), name.clone(), &text).unwrap_err();
    let whats: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(whats, ["`origin.licence` is empty"], "{text}");
    add.licence = Some("CC-BY-4.0".to_owned());
    parse(Path::new("a/b.toml"), name, &pipeline_text(&add, &found)).unwrap();
}

#[test]
fn delimited_text_and_json_become_pipelines() {
    check(
        "https://www.example.org/files/gdp.csv",
        "Country Name;Year;Value\nBulgaria;2020;1,5\nRomania;2020;2,25\nSerbia;2020;3,0\n".as_bytes(),
        &["delimiter = \";\"", "name = \"country_name\"", "source = \"Country Name\"", "decimal = \",\""],
    );
    check(
        "https://api.example.org/quakes",
        br#"{"type":"x","features":[{"id":"a","mag":1.5},{"id":"b","mag":2.5}]}"#,
        &["kind = \"json\"", "record_path = \"/features\"", "name = \"id\""],
    );
}

#[test]
fn addresses_become_table_names() {
    for (url, expected) in [
        ("https://www.example.org/files/GDP-2020.csv.gz", "example.gdp_2020"),
        ("https://api.worldbank.org/v2/country", "worldbank.country"),
        ("http://localhost:8000/", "localhost.data"),
        ("https://example.org/2020.csv", "example.t2020"),
    ] {
        assert_eq!(table_name(&url.parse().unwrap()).unwrap().to_string(), expected, "{url}");
    }
}

#[test]
fn a_web_page_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "<!DOCTYPE html><html><body>Hello</body></html>").unwrap();
    let request = SurveyRequest { body: file.path().to_owned(), file_name: "x.csv".to_owned(), members: None };
    assert!(survey(&request, Path::new("/tmp")).is_err());
}
