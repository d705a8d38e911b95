//! The operations over HTTP.

use std::io::Read as _;

use serde_json::json;

use super::{Asker, ENDLESS, MISSING, Operation, REFUSED, Stage, UNKNOWN, letters, same, told};
use crate::serve::client::{Answer, parse, start};

const SQL: &[(&str, &str)] = &[("content-type", "application/sql")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
/// What would change something.
pub(super) const WRITES: [&str; 9] = [
    "DROP TABLE demo.figures",
    "INSERT INTO demo.figures SELECT 1",
    "UPDATE demo.figures SET id = 1",
    "DELETE FROM demo.figures",
    "TRUNCATE demo.figures",
    "CREATE TABLE x (y int)",
    "COPY demo.figures TO '/tmp/x'",
    "SET x = 1",
    "INSERT INTO closed.numbers SELECT 1",
];

/// Every form of a statement that reads a table.
pub(super) fn reading(table: &str) -> [String; 4] {
    [
        format!("SELECT count(*) FROM {table}"),
        format!("WITH a AS (SELECT * FROM {table}) SELECT count(*) FROM a"),
        format!("EXPLAIN SELECT * FROM {table}"),
        format!("DESCRIBE {table}"),
    ]
}

/// What an answer says, where it does not have what was asked for.
pub(super) fn end(answer: &Answer) -> Option<String> {
    let text = answer.text();
    let end = match answer.status {
        200 | 201 | 204 => return None,
        401 => UNKNOWN,
        // The page leads to where one logs in.
        303 if answer.header("location").is_some_and(|to| to.starts_with("/login?")) => UNKNOWN,
        429 if text.contains("not valid") => UNKNOWN,
        403 => REFUSED,
        404 => MISSING,
        400 if text.contains("does not exist") => MISSING,
        status => return Some(format!("{status} {text}")),
    };
    Some(end.to_owned())
}

fn ok_or_end(answer: &Answer) -> String {
    end(answer).unwrap_or_else(|| "ok".to_owned())
}

pub(super) fn try_all(stage: &Stage, asker: &Asker, operations: &[Operation]) -> Vec<String> {
    operations.iter().map(|operation| tried(stage, asker, *operation)).collect()
}

fn tried(stage: &Stage, asker: &Asker, operation: Operation) -> String {
    let served = &stage.served;
    let token = asker.token.as_deref();
    let get = |target: &str| served.get_as(token, target, &[]);
    let ask = |sql: &str| served.sql_as(token, sql);
    match operation {
        Operation::Ask(sql) => {
            let answer = ask(sql);
            end(&answer).unwrap_or_else(|| told(&answer.text()))
        }
        Operation::Read(table) => {
            let mut ends: Vec<(String, String)> =
                reading(table).into_iter().map(|sql| (sql.clone(), ok_or_end(&ask(&sql)))).collect();
            for target in [
                format!("/api/tables/{table}?_limit=1"),
                format!("/api/tables/{table}.csv?_limit=1"),
                format!("/api/tables/{table}/schema"),
            ] {
                ends.push((target.clone(), ok_or_end(&get(&target))));
            }
            same(ends)
        }
        Operation::Export(table) => {
            let lines = |target: String| {
                let answer = get(&target);
                let rows = || answer.text().lines().count().saturating_sub(1).to_string();
                (target, end(&answer).unwrap_or_else(rows))
            };
            same(vec![
                lines(format!("/tables/{table}/data.csv")),
                lines(format!("/api/sql.csv?q=SELECT id FROM {table}")),
                lines(format!("/api/tables/{table}.csv?_columns=id&_limit=10000")),
            ])
        }
        Operation::List => {
            let answer = get("/api/tables");
            end(&answer).unwrap_or_else(|| letters(|table| answer.text().contains(&format!("\"{table}\""))))
        }
        Operation::Columns(table) => columns(&get(&format!("/api/tables/{table}/schema"))),
        Operation::Write => same(WRITES.iter().map(|sql| ((*sql).to_owned(), ok_or_end(&ask(sql)))).collect()),
        Operation::CancelOwn => cancel(stage, asker, asker),
        Operation::CancelForeign => cancel(stage, asker, &Asker { name: "all", token: Some(served.token.clone()) }),
        Operation::Operate => ok_or_end(&get("/metrics")),
        Operation::Save => {
            let body = json!({ "title": asker.name, "sql": "SELECT 1" }).to_string();
            let saved = served.send("POST", "/api/saved", token, JSON, body.as_bytes());
            let listed = get("/api/saved");
            let is_listed = || listed.text().contains(&format!("\"{}\"", asker.name)).to_string();
            same(vec![
                ("kept".to_owned(), ok_or_end(&saved)),
                ("listed".to_owned(), end(&listed).unwrap_or_else(is_listed).replace("true", "ok")),
            ])
        }
        Operation::ShowCitation(table) => citation(&get(&format!("/cite/{table}@1.txt"))),
        Operation::CiteQuery(table) => {
            let body = json!({ "sql": format!("SELECT count(*) AS n FROM {table}") }).to_string();
            ok_or_end(&served.send("POST", "/api/cite", token, JSON, body.as_bytes()))
        }
        Operation::Describe(table) => described(stage, asker, table),
    }
}

fn columns(answer: &Answer) -> String {
    let names = || {
        let described = answer.json();
        let names = described["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap());
        names.filter(|name| !name.starts_with('_')).collect::<Vec<_>>().join(",")
    };
    end(answer).unwrap_or_else(names)
}

/// Says whether a citation tells of the whole table, or leaves its fingerprint out.
pub(super) fn citation(answer: &Answer) -> String {
    let text = answer.text();
    let is_whole = text.contains(" Content ") || text.contains("a hash of them that no order changes");
    let told = || if is_whole { "whole" } else { "part" };
    end(answer).unwrap_or_else(|| told().to_owned())
}

/// Starts a query of `whose`, and lets `asker` stop it.
fn cancel(stage: &Stage, asker: &Asker, whose: &Asker) -> String {
    let served = &stage.served;
    let bearer = whose.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut headers = SQL.to_vec();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let mut stream = start(served.address, "POST", "/api/sql", &headers, ENDLESS.as_bytes());
    let probe = served.get_as(asker.token.as_deref(), "/api/queries", &[]);
    if let Some(end) = end(&probe) {
        return end;
    }
    let id = stage.running(|query| query["protocol"] == "http" && query["member"] == format!("tests/{}", whose.name));
    let target = format!("/api/queries/{id}");
    let stopped = ok_or_end(&served.send("DELETE", &target, asker.token.as_deref(), &[], b""));
    if stopped != "ok" {
        served.send("DELETE", &target, Some(&served.token), &[], b"");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(parse(&answer).status, 409, "{}", asker.name);
    stopped
}

/// The number of rows that the descriptions of a table tell, all of them the same.
fn described(stage: &Stage, asker: &Asker, table: &str) -> String {
    let get = |target: &str| stage.served.get_as(asker.token.as_deref(), target, &[]);
    let mut ends = Vec::new();
    for name in ["schema-org.json", "croissant.json", "data.csv-metadata.json", "datapackage.json"] {
        let answer = get(&format!("/tables/{table}/{name}"));
        if let Some(end) = end(&answer) {
            ends.push((name.to_owned(), end));
        }
    }
    let catalogue = get("/catalog.ttl");
    let line = end(&catalogue).unwrap_or_else(|| {
        // Each table has its own label about where it comes from: `… version 1 with 100 rows, content ….`
        let text = catalogue.text();
        let about = format!("\n<http://test/tables/{table}#provenance>");
        let label = text.split(&about).nth(1).and_then(|rest| rest.split("Collected from").nth(1)?.lines().next());
        match label.map(|label| label.split(" with ").nth(1).and_then(|rest| rest.split(' ').next())) {
            None => MISSING.to_owned(),
            Some(None) => "untold".to_owned(),
            Some(Some(rows)) => rows.to_owned(),
        }
    });
    ends.push(("catalogue".to_owned(), line));
    same(ends)
}
