//! The pipeline files of this repository against their providers' answers: real ones where they were recorded,
//! scripted ones for what goes wrong.

use std::path::Path;
use std::sync::Arc;

use hambar_connect::{Source, conformance};
use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, build, run, shared};

/// Builds the source of a pipeline file, with some of its text replaced.
fn pipeline(file: &str, replacements: &[(&str, &str)]) -> Arc<dyn Source> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let table: toml::Table = toml::from_str(&text).unwrap();
    build(&toml::to_string(&table["source"]).unwrap(), &toml::to_string(&table["format"]).unwrap())
}

const WORLD_BANK: &str = "https://api.worldbank.org/v2/country/all/indicator/NY.GDP.PCAP.CD?format=json";

fn world_bank(page: u64) -> String {
    format!("{WORLD_BANK}&page={page}&per_page=5000")
}

fn page(number: u64, pages: u64, total: u64, rows: &str) -> String {
    format!(
        r#"[{{"page":{number},"pages":{pages},"per_page":"5000","total":{total},"lastupdated":"2024-02-21"}},{rows}]"#
    )
}

#[tokio::test]
async fn world_bank_pages_are_read_and_verified() {
    let source = pipeline("worldbank/gdp_per_capita.toml", &[]);
    let memory = Memory::new()
        .json(&world_bank(1), &page(1, 2, 3, r#"[{"date":"2022"},{"date":"2021"}]"#))
        .json(&world_bank(2), &page(2, 2, 3, r#"[{"date":"2020"}]"#));
    let found = conformance::check(source.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!(found.evidence, ["total 3 of 3 in 2 pages"]);
    assert_eq!(found.unchanged, [Some("sha256".to_owned())]);
}

#[tokio::test]
async fn world_bank_back_fills_are_seen_under_the_same_date() {
    let source = pipeline("worldbank/gdp_per_capita.toml", &[]);
    let memory = Memory::new()
        .json(&world_bank(1), &page(1, 1, 1, r#"[{"date":"2022","value":1}]"#))
        .json(&world_bank(1), &page(1, 1, 1, r#"[{"date":"2022","value":2}]"#));
    let mut done = Checkpoint::default();
    assert!(run(source.as_ref(), &memory, &mut done).await.contains("end: total 1 of 1"));
    let again = run(source.as_ref(), &memory, &mut done).await;
    assert!(again.starts_with("page 1 records") && again.contains("end: total 1 of 1"), "{again}");
}

#[tokio::test]
async fn world_bank_errors_are_told() {
    let source = pipeline("worldbank/gdp_per_capita.toml", &[]);
    let error =
        r#"[{"message":[{"id":"120","key":"Invalid value","value":"The provided parameter value is not valid"}]}]"#;
    let xml = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><wb:data page=\"1\"/>";
    for (answers, expected) in [
        (vec![error.to_owned()], format!("refused: `{}` reports 120: The provided parameter value is not valid", world_bank(1))),
        (vec![xml.to_owned()], format!("data: answer of `{}`: the body is XML, though JSON was asked for, twice", world_bank(1))),
        (vec![String::new()], format!("data: answer of `{}`: the body is empty, twice", world_bank(1))),
        (vec![xml.to_owned(), page(1, 1, 1, "[{}]")], "page 1 records: [{\"page\":1,\"pages\":1,\"per_page\":\"5000\",\"total\":1,\"lastupdate\nend: total 1 of 1 in 1 pages".to_owned()),
        (vec![page(1, 1, 2, "[{}]")], format!("incomplete: `{}` is incomplete: 2 records announced, 1 records in 1 pages received", WORLD_BANK.split('?').next().unwrap())),
    ] {
        let memory = Memory::new();
        for answer in &answers {
            memory.json(&world_bank(1), answer);
        }
        let found = run(source.as_ref(), &memory, &mut Checkpoint::default()).await;
        assert_eq!(found.trim_end(), expected);
    }
}

#[tokio::test]
async fn an_empty_answer_never_withdraws_everything() {
    let plain = "kind = \"rest_json\"\nurl = \"https://p.org/x\"";
    let memory = Memory::new().json("https://p.org/x", "[1]").json("https://p.org/x", "[]");
    let source = build(plain, "kind = \"json\"");
    let mut done = Checkpoint::default();
    run(source.as_ref(), &memory, &mut done).await;
    let again = run(source.as_ref(), &memory, &mut done).await;
    assert!(again.contains("1 rows in the last run announced, no records received"), "{again}");
    // An announced 0 is proven; whether it may empty the table is for the run to say.
    let announced = pipeline("worldbank/gdp_per_capita.toml", &[]);
    let memory = Memory::new().json(&world_bank(1), &page(0, 0, 0, "null"));
    let told = run(announced.as_ref(), &memory, &mut Checkpoint::default()).await;
    assert_eq!(told, "end: total 0 of 0 in 1 pages\n");
}

#[tokio::test]
async fn recorded_world_bank_rows_are_counted() {
    let Some(folder) = shared() else { return };
    let rows = std::fs::read_to_string(folder.join("data/worldbank/api-v2-rows/wb-country-indicator.json")).unwrap();
    let count = serde_json::from_str::<Vec<serde_json::Value>>(&rows).unwrap().len() as u64;
    let memory = Memory::new();
    for series in ["NY.GDP.PCAP.CD", "SP.POP.TOTL"] {
        let url = world_bank(1).replace("NY.GDP.PCAP.CD", series);
        memory.json(&url, &page(1, 1, count, &rows));
    }
    let list = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/worldbank/indicators.toml"),
    )
    .unwrap();
    let start = list.find("series = [").unwrap();
    let end = start + list[start..].find(']').unwrap() + 1;
    let source =
        pipeline("worldbank/indicators.toml", &[(&list[start..end], "series = [\"NY.GDP.PCAP.CD\", \"SP.POP.TOTL\"]")]);
    let found = conformance::check(source.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!((found.slices, found.records), (2, 2 * count));
}

/// Magnitudes up to 0.1 in 2017, as they were recorded.
const USGS: [(&str, &str); 4] = [
    (
        "minmagnitude = 4.5, orderby = \"time-asc\", limit = 20000",
        "limit = 20000, maxmagnitude = 0.1, offset = 1, orderby = \"time-asc\", eventtype = \"earthquake\"",
    ),
    (
        "from = \"1970-01-01T00:00:00Z\"\ndays = 365\nformat = \"%Y-%m-%dT%H:%M:%S%.3f\"\nresolution = \"millisecond\"",
        "from = \"2017-01-01T00:00:00Z\"\nto = \"2017-01-20T00:00:00Z\"\ndays = 10\nformat = \"%Y-%m-%dT%H:%M:%S\"\nresolution = \"day\"\nend = \"excluded\"",
    ),
    ("[source.count]\nurl = \"https://earthquake.usgs.gov/fdsnws/event/1/count\"\ntotal = \"/count\"\n", ""),
    (
        "[source.incremental]\nparameter = \"updatedafter\"\nformat = \"%Y-%m-%dT%H:%M:%S\"\nlookback_seconds = 3600\n",
        "",
    ),
];

#[tokio::test]
async fn recorded_usgs_windows_are_read() {
    let Some(recorded) = Memory::recorded("usgs/comcat-recorded") else { return };
    // Parameters are sent in another order than when the answers were recorded.
    let memory = reordered(&recorded).await;
    let source = pipeline("usgs/earthquakes.toml", &USGS);
    let found = conformance::check(source.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!(found.pages.len(), 2, "{:?}", memory.requests());
    assert!(found.records > 200, "{found:?}");
}

async fn reordered(recorded: &Arc<Memory>) -> Arc<Memory> {
    let memory = Memory::new();
    for days in [("01", "11"), ("11", "21")] {
        let window = format!("starttime=2017-01-{}T00%3A00%3A00&endtime=2017-01-{}T00%3A00%3A00", days.0, days.1);
        let base = "https://earthquake.usgs.gov/fdsnws/event/1/query?";
        let there = format!(
            "{base}format=geojson&{window}&limit=20000&maxmagnitude=0.1&offset=1&orderby=time-asc&eventtype=earthquake"
        );
        let asked = format!(
            "{base}eventtype=earthquake&format=geojson&limit=20000&maxmagnitude=0.1&offset=1&orderby=time-asc&{window}"
        );
        let request = hambar_fetch::Request::get(there.parse().unwrap());
        let landed = recorded.fetcher().fresh(request).await.unwrap();
        memory.on(&asked, Answer::new(std::fs::read(&landed.path).unwrap()));
    }
    memory
}

#[tokio::test]
async fn usgs_windows_are_counted_halved_and_later_asked_by_update() {
    let from = ("from = \"1970-01-01T00:00:00Z\"", "from = \"2024-03-02T00:00:00Z\"");
    let source = pipeline("usgs/earthquakes.toml", &[from]);
    let base = "https://earthquake.usgs.gov/fdsnws/event/1";
    let query = "format=geojson&limit=20000&minmagnitude=4.5&orderby=time-asc";
    let window = |from: &str, to: &str| format!("starttime={from}&endtime={to}").replace(':', "%3A");
    let whole = window("2024-03-02T00:00:00.000", "2024-03-02T06:00:00.000");
    let left = window("2024-03-02T00:00:00.000", "2024-03-02T02:59:59.999");
    let right = window("2024-03-02T03:00:00.000", "2024-03-02T06:00:00.000");
    let features = r#"{"metadata":{"count":1},"features":[{"id":"x"}]}"#;
    let others = r#"{"metadata":{"count":1},"features":[{"id":"y"}]}"#;
    let updated = "updatedafter=2024-03-02T05%3A00%3A00";
    let memory = Memory::new()
        .json(&format!("{base}/count?{query}&{whole}"), r#"{"count":20001,"maxAllowed":20000}"#)
        .json(&format!("{base}/count?{query}&{left}"), r#"{"count":1,"maxAllowed":20000}"#)
        .json(&format!("{base}/count?{query}&{right}"), r#"{"count":1,"maxAllowed":20000}"#)
        .json(&format!("{base}/query?{query}&{left}"), features)
        .json(&format!("{base}/query?{query}&{right}"), others)
        .json(&format!("{base}/count?{query}&{updated}&{whole}"), r#"{"count":0,"maxAllowed":20000}"#);
    let mut done = Checkpoint::default();
    let first = run(source.as_ref(), &memory, &mut done).await;
    assert!(first.ends_with("end: total 2 of 2 in 2 pages\n"), "{first} {:#?}", memory.requests());
    let second = run(source.as_ref(), &memory, &mut done).await;
    assert_eq!(second, "unchanged: no records since 2024-03-02T06:00:00Z\n", "{:#?}", memory.requests());
}

#[tokio::test]
async fn crossref_is_read_by_cursor_and_later_by_index_date() {
    let source = pipeline("crossref/works.toml", &[("size = 1000", "size = 2"), ("select = ", "ignored = ")]);
    let item =
        |doi: &str, day: &str| format!(r#"{{"DOI":"{doi}","indexed":{{"date-time":"2024-02-{day}T10:00:00Z"}}}}"#);
    let page = |items: &str| {
        format!(r#"{{"status":"ok","message":{{"total-results":3,"next-cursor":"c=1","items":[{items}]}}}}"#)
    };
    let query = "https://api.crossref.org/works?filter=issn%3A2052-4463";
    let rest = "ignored=DOI%2Ctype%2Ctitle%2Ccontainer-title%2Cpublisher%2Cissued%2Cindexed%2CURL%2Cis-referenced-by-count%2Creference-count%2Cauthor";
    let memory = Memory::new()
        .json(&format!("{query}&{rest}&cursor=*&rows=2"), &page(&format!("{},{}", item("a", "03"), item("b", "09"))))
        .json(&format!("{query}&{rest}&cursor=c%3D1&rows=2"), &page(&item("c", "05")))
        .json(
            &format!("{query}%2Cfrom-index-date%3A2024-02-08&{rest}&cursor=*&rows=2"),
            r#"{"message":{"total-results":0,"next-cursor":"c=2","items":[]}}"#,
        );
    let mut done = Checkpoint::default();
    let first = run(source.as_ref(), &memory, &mut done).await;
    assert!(first.ends_with("end: total 3 of 3 in 2 pages\n"), "{first} {:#?}", memory.requests());
    let second = run(source.as_ref(), &memory, &mut done).await;
    assert_eq!(second, "unchanged: no records since 2024-02-09T10:00:00Z\n", "{:#?}", memory.requests());
}

#[tokio::test]
async fn recorded_crossref_answers_are_understood() {
    let Some(memory) = Memory::recorded("crossref-recorded") else { return };
    let source = |query: &str, more: &str| {
        format!(
            "kind = \"rest_json\"\nurl = \"https://api.crossref.org/works?{query}\"\nrecord_path = \"/message/items\"\n{more}[complete]\ntotal = \"/message/total-results\""
        )
    };
    // One page of twenty of 454: nobody may take that for everything.
    let built = build(&source("query=widget&cursor=*", ""), "kind = \"json\"");
    let memory_as_asked = Memory::new();
    let request = hambar_fetch::Request::get("https://api.crossref.org/works?query=widget&cursor=%2A".parse().unwrap());
    let landed = memory.fetcher().fresh(request).await.unwrap();
    memory_as_asked
        .on("https://api.crossref.org/works?query=widget&cursor=*", Answer::new(std::fs::read(&landed.path).unwrap()));
    let found = run(built.as_ref(), &memory_as_asked, &mut Checkpoint::default()).await;
    assert!(found.contains("454 records announced, 20 records in 1 pages received"), "{found}");
}
