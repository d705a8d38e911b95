//! Long answers taken page by page: one run of the statement, whatever happens to its tables in between.

use std::time::{Duration, Instant};

use super::client::Answer;
use super::{ROWS, Served, csv};

/// The rows of a page and the address of the next one.
fn page(answer: Answer) -> (Vec<serde_json::Value>, Option<String>) {
    let answer = answer.ok().json();
    let next = answer["next"].as_str().map(str::to_owned);
    (answer["rows"].as_array().unwrap().clone(), next)
}

fn begin(served: &Served, sql: &str, rows: u64) -> Answer {
    served.json(&serde_json::json!({ "sql": sql, "page_rows": rows }))
}

#[test]
fn all_pages_are_of_one_answer() {
    let served = Served::start("");
    let first = begin(&served, "SELECT id, value FROM demo.figures ORDER BY id DESC", 300);
    let id = first.header("hambar-result").unwrap().to_owned();
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(first.header("hambar-sources").unwrap().contains("demo.figures"));
    let (mut rows, mut next) = page(first);
    // The publisher revises everything while somebody reads.
    served.provider.publish("/open.csv", &csv(ROWS, 7));
    served.workshop.run("demo.figures");
    assert_eq!(served.sql("SELECT max(value) FROM demo.figures").value(), "13993.5");
    let mut pages = 1;
    while let Some(target) = next {
        assert!(target.starts_with(&format!("/api/results/{id}?from=")), "{target}");
        let (more, after) = page(served.get(&target));
        rows.extend(more);
        next = after;
        pages += 1;
    }
    assert_eq!((rows.len() as u64, pages), (ROWS, 7));
    for (place, row) in rows.iter().enumerate() {
        let id = ROWS - 1 - place as u64;
        assert_eq!((row["id"].as_u64(), row["value"].as_f64()), (Some(id), Some(id as f64 + 0.5)), "{row}");
    }
    // Any page, in any form, as often as one likes.
    let of = |rest: &str| served.get(&format!("/api/results/{id}?{rest}"));
    assert_eq!(of("from=1998&rows=5&format=csv").ok().text(), "id,value\n1,1.5\n0,0.5\n");
    assert_eq!(of("from=5000&rows=5&format=csv").ok().text(), "id,value\n");
    for format in ["arrow", "parquet", "xlsx", "ndjson"] {
        assert!(of(&format!("rows=10&format={format}")).ok().body.len() > 100, "{format}");
    }
    for wrong in ["rows=0", "rows=100001", "from=-1", "format=x", "other=1"] {
        of(wrong).fails(400, "query");
    }
    // It is nobody else's, and gone when it is let go.
    let other = served.token("other", "administrator", "*");
    let target = format!("/api/results/{id}");
    served.get_as(Some(&other), &target, &[]).fails(404, "query");
    served.get_as(None, &target, &[]).fails(401, "denied");
    served.send("DELETE", &target, Some(&other), &[], b"").fails(404, "query");
    assert_eq!(served.send("DELETE", &target, Some(&served.token), &[], b"").status, 204);
    served.get(&target).fails(404, "query");
    served.becomes_idle();
}

#[test]
fn what_is_kept_is_bounded() {
    let served = Served::start(
        "[server.results]\nbytes_max = 20000000\nper_member_max = 2\nidle_seconds_max = 3\n\
         [server.queries]\nresult_rows_max = 200000\n",
    );
    for wrong in [0, 100_001] {
        begin(&served, "SELECT 1", wrong).fails(400, "query");
    }
    begin(&served, "SELECT nothing FROM demo.figures", 10).fails(400, "query");
    begin(&served, "SELECT 1/(id - id) FROM demo.figures", 10).fails(400, "query");
    // A limit of the server cuts the answer off, and the last page says so.
    let long = begin(&served, "SELECT value FROM generate_series(1, 1000000)", 100_000);
    assert!(long.header("hambar-truncated").is_none());
    let id = long.header("hambar-result").unwrap().to_owned();
    let last = served.get(&format!("/api/results/{id}?from=199990&format=csv"));
    assert_eq!((last.status, last.header("hambar-truncated")), (206, Some("rows or bytes")));
    assert_eq!(last.text().lines().count(), 11);
    // Too many, too large; and room again for whoever waits.
    begin(&served, "SELECT 1", 10).ok();
    begin(&served, "SELECT 1", 10).fails(429, "limit");
    let since = Instant::now();
    while begin(&served, "SELECT 1", 10).status != 200 {
        assert!(since.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(200));
    }
    // A page that is asked for keeps its answer, so this looks once, after its time.
    std::thread::sleep(Duration::from_secs(5));
    served.get(&format!("/api/results/{id}")).fails(404, "query");
    // One that takes too much room ends with an error, and makes room at once.
    let large = "SELECT repeat('x', 1000) AS text FROM generate_series(1, 100000)";
    for _ in 0..2 {
        let since = Instant::now();
        let begun = loop {
            let begun = begin(&served, large, 10);
            if begun.status != 429 {
                break begun.ok();
            }
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(200));
        };
        let id = begun.header("hambar-result").unwrap().to_owned();
        served.get(&format!("/api/results/{id}?from=99990")).fails(503, "limit");
    }
    served.becomes_idle();
}
