//! A body becomes a pipeline file that only lacks what a person must say.

use std::path::Path;

use hambar_run::add::{AddRequest, SurveyRequest, conclude, file_name, pipeline_text, survey, table_name};
use hambar_run::spec::parse;

/// Surveys `body` and returns the file, and what is wrong with it before and after the licence is filled in.
fn check(url: &str, headers: &[(String, String)], body: &[u8], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, body).unwrap();
    let url: url::Url = url.parse().unwrap();
    let request = SurveyRequest { body: file, file_name: file_name(&url), members: None, record_path: None };
    let found = survey(&request, folder.path()).unwrap();
    let mut add = AddRequest { url, licence: None, redistribution: None, provider: None, title: None };
    let conclusion = conclude(&add.url, headers, &found);
    let text = pipeline_text(&add, &found, &conclusion);
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "`{line}` is not in\n{text}");
    }
    let name = table_name(&add.url).unwrap();
    let problems = parse(Path::new("a/b.toml"), name.clone(), &text).unwrap_err();
    let whats: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(whats, ["`origin.licence` is empty"], "{text}");
    add.licence = Some("CC-BY-4.0".to_owned());
    parse(Path::new("a/b.toml"), name, &pipeline_text(&add, &found, &conclusion)).unwrap();
}

#[test]
fn delimited_text_and_json_become_pipelines() {
    check(
        "https://www.example.org/files/gdp.csv",
        &[],
        "Country Name;Year;Value\nBulgaria;2020;1,5\nRomania;2020;2,25\nSerbia;2020;3,0\n".as_bytes(),
        &["delimiter = \";\"", "name = \"country_name\"", "source = \"Country Name\"", "decimal = \",\""],
    );
    check(
        "https://api.example.org/quakes",
        &[],
        br#"{"type":"x","features":[{"id":"a","mag":1.5},{"id":"b","mag":2.5}]}"#,
        &["kind = \"json\"", "record_path = \"/features\"", "name = \"id\""],
    );
}

#[test]
fn keys_that_are_never_missing_are_required() {
    let url = "https://www.example.org/files/gdp.csv";
    let text = b"geo,year,value\nBG,2020,1\nBG,2021,2\nRO,2020,\n";
    check(url, &[], text, &["key = [\"geo\", \"year\"]", "required = true"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    let required = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let body = file.clone();
        let request = SurveyRequest { body, file_name: "x.csv".to_owned(), members: None, record_path: None };
        let found = survey(&request, folder.path()).unwrap();
        found.columns.iter().filter(|column| column.required).map(|column| column.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(required("geo,year,value\nBG,2020,1\nBG,2021,2\nRO,2020,3\n"), ["geo", "year"]);
    assert_eq!(required("geo,year,value\nBG,2020,1\nBG,,2\nRO,2020,3\n"), ["geo"]);
    assert_eq!(required("geo,year,value\nBG,2020,1\nBG,..,2\nRO,2020,3\n"), ["geo"]);
    assert_eq!(required("geo,year\nBG,2020\nBG,2020\n"), Vec::<String>::new());
}

/// The lines of `[source]` that are concluded from a JSON answer.
fn concluded(url: &str, headers: &[(&str, &str)], body: &str) -> (Vec<String>, Vec<String>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), body).unwrap();
    let request =
        SurveyRequest { body: file.path().to_owned(), file_name: String::new(), members: None, record_path: None };
    let found = survey(&request, Path::new("/tmp")).unwrap();
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let conclusion = conclude(&url.parse().unwrap(), &headers, &found);
    let lines = conclusion.source.join("\n").lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    (lines, conclusion.warnings)
}

#[track_caller]
fn check_source(url: &str, headers: &[(&str, &str)], body: &str, expected: &[&str]) {
    let (lines, warnings) = concluded(url, headers, body);
    assert_eq!(lines, expected, "{url}");
    assert_eq!(warnings, Vec::<String>::new(), "{url}");
}

#[test]
fn paging_is_concluded_from_one_answer() {
    let rest = "kind = \"rest_json\"";
    check_source(
        "https://api.worldbank.org/v2/country/all/indicator/X?format=json&page=1&per_page=2",
        &[],
        r#"[{"page":1,"pages":2,"per_page":"2","total":3,"lastupdated":"2024-05-30"},[{"id":"a","v":1},{"id":"b","v":2}]]"#,
        &[
            rest,
            "url = \"https://api.worldbank.org/v2/country/all/indicator/X?format=json\"",
            "[source.pagination]",
            "style = \"page_number\"",
            "parameter = \"page\"",
            "size_parameter = \"per_page\"",
            "size = 2",
            "page = \"/0/page\"",
            "[source.complete]",
            "total = \"/0/total\"",
            "updated = \"/0/lastupdated\"",
            "pages = \"/0/pages\"",
        ],
    );
    check_source(
        "https://www.ncdc.noaa.gov/cdo-web/api/v2/data?limit=2",
        &[],
        r#"{"metadata":{"resultset":{"offset":1,"count":5,"limit":2}},"results":[{"a":1},{"a":2}]}"#,
        &[
            rest,
            "url = \"https://www.ncdc.noaa.gov/cdo-web/api/v2/data\"",
            "[source.pagination]",
            "style = \"offset_limit\"",
            "parameter = \"offset\"",
            "limit_parameter = \"limit\"",
            "limit = 2",
            "first = 1",
            "[source.complete]",
            "total = \"/metadata/resultset/count\"",
        ],
    );
    check_source(
        "https://p.org/x",
        &[("link", "<https://p.org/x?page=2>; rel=\"next\""), ("x-total-count", "4")],
        r#"[{"a":1},{"a":2}]"#,
        &[
            rest,
            "url = \"https://p.org/x\"",
            "[source.pagination]",
            "style = \"link_header\"",
            "[source.complete]",
            "total_header = \"x-total-count\"",
        ],
    );
    check_source(
        "https://p.org/x",
        &[],
        r#"{"count":4,"next":"https://p.org/x?page=2","previous":null,"results":[{"a":1},{"a":2}]}"#,
        &[
            rest,
            "url = \"https://p.org/x\"",
            "[source.pagination]",
            "style = \"next_link_body\"",
            "next = \"/next\"",
            "[source.complete]",
            "total = \"/count\"",
        ],
    );
    check_source(
        "https://api.openalex.org/works?cursor=*",
        &[],
        r#"{"meta":{"count":3,"per_page":2,"next_cursor":"abc"},"results":[{"id":"a"},{"id":"b"}]}"#,
        &[
            rest,
            "url = \"https://api.openalex.org/works\"",
            "[source.pagination]",
            "style = \"cursor_body\"",
            "parameter = \"cursor\"",
            "cursor = \"/meta/next_cursor\"",
            "first = \"*\"",
            "end = \"empty_page\"",
            "[source.complete]",
            "total = \"/meta/count\"",
        ],
    );
    check_source(
        "https://p.org/odata/X",
        &[],
        r#"{"@odata.context":"c","@odata.nextLink":"https://p.org/odata/X?$skip=1","value":[{"a":1}]}"#,
        &[rest, "url = \"https://p.org/odata/X\"", "[source.pagination]", "style = \"odata\""],
    );
}

#[test]
fn one_answer_that_is_everything_stays_one_answer() {
    check_source(
        "https://p.org/x",
        &[],
        r#"[{"a":1},{"a":2}]"#,
        &["kind = \"http_file\"", "url = \"https://p.org/x\""],
    );
    // A count of what came may be the total or the page's: it is compared either way.
    check_source(
        "https://p.org/x",
        &[],
        r#"{"metadata":{"count":2},"features":[{"a":1},{"a":2}]}"#,
        &[
            "kind = \"rest_json\"",
            "url = \"https://p.org/x\"",
            "[source.complete]",
            "page_records = \"/metadata/count\"",
        ],
    );
    check_source("https://p.org/x.csv", &[], "a,b\n1,2\n", &["kind = \"http_file\"", "url = \"https://p.org/x.csv\""]);
    check_source(
        "https://p.org/x.csv",
        &[("link", "<x.csv?page=2>; rel=next")],
        "a,b\n1,2\n",
        &["kind = \"rest_json\"", "url = \"https://p.org/x.csv\"", "[source.pagination]", "style = \"link_header\""],
    );
}

#[test]
fn records_that_are_announced_and_cannot_be_reached_are_told() {
    let (lines, warnings) =
        concluded("https://p.org/x?rows=2", &[], r#"{"total-results":9,"items":[{"a":1},{"a":2}]}"#);
    assert_eq!(
        lines,
        ["kind = \"rest_json\"", "url = \"https://p.org/x?rows=2\"", "[source.complete]", "total = \"/total-results\""]
    );
    assert!(warnings[0].starts_with("9 records are announced and 2 came"), "{warnings:?}");
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
    let request =
        SurveyRequest { body: file.path().to_owned(), file_name: "x.csv".to_owned(), members: None, record_path: None };
    assert!(survey(&request, Path::new("/tmp")).is_err());
}
