//! Every form in every compression, read by other programs; and answers that a limit or a failure cut off.

use std::io::Write;
use std::process::Command;

use super::{ROWS, Served};
use crate::support::{Ran, setting};

const COUNT: &str = "SELECT count(*) AS n FROM demo.figures";

/// Fetches with the standard library and reads with pyarrow, polars and duckdb.
const SCRIPT: &str = r#"
import io, json, sys, urllib.parse, urllib.request
import duckdb, polars, pyarrow as pa, pyarrow.ipc, pyarrow.parquet as pq
base, token = sys.argv[1:3]
sql = "SELECT id, country, year, value, note FROM demo.figures ORDER BY id"
def fetch(form, query=sql):
    url = base + "/api/sql." + form + "?" + urllib.parse.urlencode({"q": query})
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    return urllib.request.urlopen(request).read()
arrow = pa.ipc.open_stream(fetch("arrow")).read_all()
print("arrow", arrow.num_rows, sum(arrow["value"].to_pylist()), arrow["note"].null_count)
sources = json.loads(arrow.schema.metadata[b"hambar.sources"])
print("sources", sources[0]["table"], sources[0]["licence"])
parquet = pq.read_table(io.BytesIO(fetch("parquet")))
print("parquet", parquet.num_rows, sum(parquet["value"].to_pylist()), parquet.equals(arrow.replace_schema_metadata(parquet.schema.metadata)))
csv = polars.read_csv(io.BytesIO(fetch("csv")))
print("csv", csv.height, csv["value"].sum(), csv["note"].null_count())
ndjson = polars.read_ndjson(io.BytesIO(fetch("ndjson")))
print("ndjson", ndjson.height, ndjson["value"].sum(), ndjson["note"].null_count())
rows = json.loads(fetch("json"))
print("json", rows["row_count"], sum(row["value"] for row in rows["rows"]), sum(row["note"] is None for row in rows["rows"]))
open("answer.parquet", "wb").write(fetch("parquet"))
print("duckdb", *duckdb.sql("SELECT count(*), sum(value), count(*) - count(note) FROM 'answer.parquet'").fetchall()[0])
big = pa.ipc.open_stream(fetch("arrow", "SELECT value AS v, value * 2 AS w FROM generate_series(1, 300000)")).read_all()
print("big", big.num_rows, sum(big["w"].to_pylist()))
"#;

#[test]
fn other_programs_read_every_form() {
    let served = Served::start("");
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import duckdb, polars, pyarrow"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        let message = "`python3` (or HAMBAR_TEST_PYTHON) lacks duckdb, polars or pyarrow";
        assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
        println!("skipped: {message}");
        return;
    }
    let base = format!("http://{}", served.address);
    let mut command = Command::new(&python);
    let said = Ran::of(command.args(["-c", SCRIPT, &base, &served.token]).current_dir(served.workshop.path())).ok();
    let sum = format!("{:.1}", (0..ROWS).map(|id| id as f64 + 0.5).sum::<f64>());
    let nulls = ROWS / 5;
    for line in [
        format!("arrow {ROWS} {sum} {nulls}\n"),
        "sources demo.figures CC0-1.0\n".to_owned(),
        format!("parquet {ROWS} {sum} True\n"),
        format!("csv {ROWS} {sum} {nulls}\n"),
        format!("ndjson {ROWS} {sum} {nulls}\n"),
        format!("json {ROWS} {sum} {nulls}\n"),
        format!("duckdb {ROWS} {sum} {nulls}\n"),
        format!("big 300000 {}\n", 300_000_u64 * 300_001),
    ] {
        assert!(said.contains(&line), "`{line}` is not in\n{said}");
    }
}

#[test]
fn answers_come_in_the_form_and_compression_that_was_asked_for() {
    let served = Served::start("");
    let sql = "SELECT id, note FROM demo.figures ORDER BY id";
    for (form, media) in [
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("arrow", "application/vnd.apache.arrow.stream"),
        ("parquet", "application/vnd.apache.parquet"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ] {
        let plain = served.get(&format!("/api/sql.{form}?q={sql}")).ok();
        assert_eq!(plain.header("content-type"), Some(media));
        assert_eq!(plain.header("content-encoding"), None);
        assert!(plain.header("hambar-sources").unwrap().contains("\"table\":\"demo.figures\""));
        assert_eq!(plain.header("link"), Some("<https://spdx.org/licenses/CC0-1.0.html>; rel=\"license\""));
        let accepted = served.get_as(Some(&served.token), &format!("/api/sql?q={sql}"), &[("accept", media)]).ok();
        assert_eq!(accepted.header("content-type"), Some(media), "{form}");
        for encoding in ["gzip", "zstd", "br"] {
            let headers = [("accept-encoding", encoding)];
            let packed = served.get_as(Some(&served.token), &format!("/api/sql.{form}?q={sql}"), &headers).ok();
            if matches!(form, "parquet" | "xlsx") {
                assert_eq!(packed.header("content-encoding"), None, "{form}");
                continue;
            }
            assert_eq!(packed.header("content-encoding"), Some(encoding), "{form}");
            let mut bytes = Vec::new();
            match encoding {
                "gzip" => {
                    let mut decoder = flate2::write::GzDecoder::new(&mut bytes);
                    decoder.write_all(&packed.body).unwrap();
                    decoder.finish().unwrap();
                }
                _ => continue,
            }
            if form != "json" {
                assert_eq!(bytes, plain.body, "{form}");
            }
        }
    }
    let csv = served.get(&format!("/api/sql.csv?q={sql} LIMIT 2")).ok().text();
    assert_eq!(csv, "id,note\n0,\n1,\"n1, \"\"ü\"\"\"\n");
    let empty = served.get("/api/sql.csv?q=SELECT id FROM demo.figures WHERE id < 0").ok().text();
    assert_eq!(empty, "id\n");
    let empty = served.get("/api/sql?q=SELECT id FROM demo.figures WHERE id < 0").ok().json();
    assert_eq!((&empty["rows"], &empty["row_count"]), (&serde_json::json!([]), &serde_json::json!(0)));
    served.get(&format!("/api/sql.exe?q={COUNT}")).fails(400, "query");
    served.get_as(Some(&served.token), &format!("/api/sql?q={COUNT}"), &[("accept", "image/png")]).fails(406, "limit");
}

#[test]
fn values_and_limits_of_a_request_are_bound() {
    let served = Served::start("");
    let ask = |sql: &str, params: serde_json::Value| served.json(&serde_json::json!({ "sql": sql, "params": params }));
    let count = "SELECT count(*) FROM demo.figures WHERE country = $1 AND year >= $2";
    assert_eq!(ask(count, serde_json::json!(["BGR", 2024])).value(), "27");
    assert_eq!(ask(count, serde_json::json!(["BGR' OR '1'='1", 0])).value(), "0");
    assert_eq!(served.get("/api/sql?q=SELECT $1 + 1&params=[41]").value(), "42");
    let text = [("content-type", "application/sql")];
    let post = |query: &str, headers: &[(&str, &str)], body: &[u8]| {
        served.send("POST", &format!("/api/sql?{query}"), Some(&served.token), headers, body)
    };
    assert_eq!(post("params=[41]", &text, b"SELECT $1 + 1").value(), "42");
    post("q=SELECT 2", &text, b"SELECT 1").fails(400, "query");
    post("rows=1", &[("content-type", "application/json")], b"{\"sql\": \"SELECT 1\"}").fails(400, "query");
    ask(count, serde_json::json!(["BGR"])).fails(400, "query");
    ask("SELECT $1", serde_json::json!([{}])).fails(400, "query");
    let problem = served.sql("SELECT id,\n  nothing FROM demo.figures");
    let text = problem.fails(400, "query");
    assert!(text.contains("\"position\":{\"line\":2,\"column\":3}"), "{text}");
    let hint = served.sql("SELECT * FROM demo.figurs").fails(400, "query");
    assert!(hint.contains("did you mean `demo.figures`?"), "{hint}");
    served.sql("DROP TABLE demo.figures").fails(403, "denied");
    served.json(&serde_json::json!({ "sql": "SELECT 1", "limit": 3 })).fails(400, "query");
    let body = b"SELECT 1";
    served.send("POST", "/api/sql", Some(&served.token), &[("content-type", "image/png")], body).fails(415, "limit");
}

#[test]
fn rows_that_a_limit_cut_off_are_missed_by_nobody() {
    let served = Served::start("[server.queries]\nresult_rows_max = 100000\n");
    let cut = "SELECT id FROM demo.figures ORDER BY id";
    let asked = |form: &str| served.get(&format!("/api/sql.{form}?q={cut}&rows=10"));
    let json = asked("json").ok();
    assert_eq!(json.header("hambar-truncated"), Some("rows or bytes"));
    let json = json.json();
    assert_eq!((json["row_count"].as_u64(), json["truncated"].as_str()), (Some(10), Some("rows or bytes")));
    let last = asked("ndjson").ok().text().lines().last().unwrap().to_owned();
    assert!(last.starts_with("{\"_hambar\":{") && last.contains("truncated"), "{last}");
    assert_eq!((asked("csv").status, asked("arrow").status), (206, 206));
    assert_eq!(asked("parquet").ok().header("hambar-truncated"), Some("rows or bytes"));
    assert_eq!(asked("xlsx").ok().header("hambar-truncated"), Some("rows or bytes"));
    assert!(served.get(&format!("/api/sql?q={cut} LIMIT 10&rows=10")).ok().header("hambar-truncated").is_none());
    // A long answer is on its way before its end is known.
    let long = "SELECT value, repeat('x', 50) AS t FROM generate_series(1, 200000)";
    let json = served.get(&format!("/api/sql.json?q={long}")).ok().json();
    assert_eq!((json["row_count"].as_u64(), json["truncated"].as_str()), (Some(100_000), Some("rows or bytes")));
    let csv = served.get(&format!("/api/sql.csv?q={long}"));
    assert!(csv.status == 200 && !csv.is_whole, "{}", csv.body.len());
    // Whoever asks for more than the server gives did not set the limit that cut his answer off.
    let csv = served.get(&format!("/api/sql.csv?q={long}&rows=150000"));
    assert!(csv.status == 200 && !csv.is_whole, "{}", csv.body.len());
    let wanted = served.get(&format!("/api/sql.csv?q={long}&rows=90000")).ok();
    assert_eq!(wanted.text().lines().count(), 90_001);
}

#[test]
fn an_answer_that_fails_half_way_has_no_end() {
    let served = Served::start("");
    let sql = "SELECT repeat('x', 100) AS t, CASE WHEN value > 250000 THEN 1 / (value - value) ELSE 1 END AS n FROM generate_series(1, 300000)";
    for form in ["json", "ndjson", "csv", "arrow"] {
        let answer = served.get(&format!("/api/sql.{form}?q={sql}"));
        assert!(answer.status == 200 && !answer.is_whole, "{form}: {} {}", answer.status, answer.body.len());
    }
    // Before anything was sent, there is a status.
    served.get("/api/sql?q=SELECT 1 / 0").fails(400, "query");
    assert_eq!(served.sql("SELECT 1").value(), "1");
}
