//! Who may do what: every role and scope against every operation on every protocol, as one table. Each cell is tried on a
//! running server.

mod flight;
mod http;
mod page;
mod postgres;
mod table;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::postgres::has_psql;
use super::{Served, csv};
use crate::support::snapshot_of;
use table::{ASKERS, MATRIX, PROTOCOLS};

/// What never ends by itself.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";
/// The tables that are listed, in order.
const LISTED: [&str; 5] = ["closed.numbers", "demo.columns", "demo.figures", "demo.rows", "system.runs"];
/// What a cell says of what does not exist for whoever asks.
const MISSING: &str = "-";
/// What a cell says of what they may not do.
const REFUSED: &str = "x";
/// What a cell says where they are not let in.
const UNKNOWN: &str = "?";

/// What is tried.
#[derive(Debug, Clone, Copy)]
enum Operation {
    /// The statement, which gives one text `told=…`; the cell is what follows.
    Ask(&'static str),
    /// Every way to read a table, all with the same end.
    Read(&'static str),
    /// All rows of a table, taken away; the cell is their number.
    Export(&'static str),
    /// The list of tables; the cell has their first letters.
    List,
    /// The list of columns of a table; the cell has their names without those that Hambar adds.
    Columns(&'static str),
    /// Every statement that would change something, all with the same end.
    Write,
    /// To stop a query of one's own.
    CancelOwn,
    /// To stop the administrator's query.
    CancelForeign,
    /// To look after the centre.
    Operate,
    /// To keep a statement.
    Save,
    /// To look at the citation of a version of a table.
    ShowCitation(&'static str),
    /// To cite a query over a table.
    CiteQuery(&'static str),
    /// The descriptions of a table for catalogues; the cell is the number of rows that they tell.
    Describe(&'static str),
}

/// Whoever asks.
struct Asker {
    name: &'static str,
    /// Nothing for people without one.
    token: Option<String>,
}

/// A server with a table for each kind of restriction, and whoever asks.
struct Stage {
    served: Served,
    askers: Vec<Asker>,
}

impl Stage {
    fn new() -> Self {
        let arguments = ["--anonymous", "--flight", "127.0.0.1:0", "--postgres", "127.0.0.1:0"];
        let settings = "[server.queries]\nper_member_max = 8\n";
        let served = Served::with(settings, &arguments);
        let columns =
            [("id", "int64"), ("country", "string"), ("year", "int32"), ("value", "float64"), ("note", "string")];
        served.provider.publish("/rows.csv", &csv(100, 1));
        for name in ["demo.rows", "demo.columns"] {
            served.workshop.pipeline(name, &snapshot_of(&served.provider.url("/rows.csv"), &columns, 1));
            served.workshop.run(name);
        }
        let members = |arguments: &[&str]| served.workshop.hambar(&[&["members"], arguments].concat()).ok();
        members(&["set-policy", "tests", "demo.rows", "id < 10", "--role", "reader"]);
        members(&["set-policy", "anonymous", "demo.rows", "id < 5"]);
        members(&["hide-columns", "tests", "demo.columns", "note,value", "--role", "reader"]);
        members(&["hide-columns", "anonymous", "demo.columns", "note,value,year"]);
        let token = |&(name, role, scope): &(&'static str, &str, &str)| {
            let token = (name != "anonymous").then(|| served.token(name, role, scope));
            Asker { name, token }
        };
        let askers: Vec<Asker> = ASKERS.iter().map(token).collect();
        members(&["revoke", "tests/revoked"]);
        expire(&served, "expired");
        let stage = Self { served, askers };
        let count = |asker: &Asker| stage.served.sql_as(asker.token.as_deref(), "SELECT count(*) FROM demo.rows");
        let since = Instant::now();
        while !stage.askers.iter().all(|asker| match asker.name {
            "revoked" | "expired" => count(asker).status == 401,
            "anonymous" => count(asker).text().contains(":5}"),
            _ => count(asker).status != 401,
        }) {
            assert!(since.elapsed() < Duration::from_secs(30), "{}", stage.served.log());
            std::thread::sleep(Duration::from_millis(250));
        }
        stage
    }

    /// Waits until the administrator's list has a query that `is_it`, and returns its id.
    fn running(&self, is_it: impl Fn(&serde_json::Value) -> bool) -> String {
        let since = Instant::now();
        loop {
            let listed = self.served.get("/api/queries").ok().json();
            if let Some(found) = listed.as_array().unwrap().iter().find(|query| is_it(query)) {
                return found["id"].as_str().unwrap().to_owned();
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{listed}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Lets a token end in the past, as if time had gone by.
fn expire(served: &Served, name: &str) {
    let newest = served.workshop.files("store/members").into_iter().max().unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&newest).unwrap()).unwrap();
    let number = state["number"].as_u64().unwrap() + 1;
    state["number"] = number.into();
    let tokens = state["tokens"].as_array_mut().unwrap();
    let token = tokens.iter_mut().find(|token| token["name"] == name).unwrap();
    token["expires_at"] = "2020-01-01T00:00:00Z".into();
    served.workshop.write(&format!("store/members/{number:020}.json"), &state.to_string());
}

/// What ends the same way by every way, or all the ends with their ways.
fn same(found: Vec<(String, String)>) -> String {
    let first = found[0].1.clone();
    match found.iter().all(|(_, end)| *end == first) {
        true => first,
        false => found.iter().map(|(way, end)| format!("{way}: {end}")).collect::<Vec<_>>().join("; "),
    }
}

/// What follows `told=` in an answer, in whatever form it is.
fn told(text: &str) -> String {
    let number = |rest: &str| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let found = text.split("told=").skip(1).map(number).find(|number| !number.is_empty());
    found.unwrap_or_else(|| format!("no number in {text}"))
}

/// The first letters of the listed tables that `is_there` finds; `-` for none.
fn letters(is_there: impl Fn(&str) -> bool) -> String {
    let part = |table: &str| table.split('.').map(|part| &part[..1]).collect::<String>();
    let found: Vec<String> = LISTED.iter().filter(|table| is_there(table)).map(|table| part(table)).collect();
    if found.is_empty() { MISSING.to_owned() } else { found.join(",") }
}

#[test]
fn every_role_and_operation_on_every_protocol() {
    if !has_psql() {
        return;
    }
    let stage = Stage::new();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (column, asker) in stage.askers.iter().enumerate() {
        let mut expected: BTreeMap<char, Vec<(Operation, &str)>> = BTreeMap::new();
        for (operation, protocols, cells) in MATRIX {
            let cells: Vec<&str> = cells.split_whitespace().collect();
            assert_eq!(cells.len(), ASKERS.len(), "{operation:?}");
            for protocol in protocols.chars() {
                expected.entry(protocol).or_default().push((*operation, cells[column]));
            }
        }
        for (protocol, cells) in expected {
            // What is not offered to somebody cannot be tried.
            let cells: Vec<(Operation, &str)> = cells.into_iter().filter(|(_, cell)| *cell != ".").collect();
            let operations: Vec<Operation> = cells.iter().map(|(operation, _)| *operation).collect();
            let found = match protocol {
                'H' => http::try_all(&stage, asker, &operations),
                'F' => flight::try_all(&stage, asker, &operations),
                'P' => postgres::try_all(&stage, asker, &operations),
                'W' => page::try_all(&stage, asker, &operations),
                other => panic!("{other}"),
            };
            assert_eq!(found.len(), cells.len(), "{} {protocol}", asker.name);
            for ((operation, cell), found) in cells.iter().zip(found) {
                tried += 1;
                if found != *cell {
                    wrong.push(format!("{} {protocol} {operation:?}: {found} instead of {cell}", asker.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(PROTOCOLS.len(), 4);
    stage.served.becomes_idle();
}
