//! The Postgres protocol as its clients meet it: psql, psycopg and SQLAlchemy against one server, and peers that keep to
//! nothing.

mod access;
mod hostile;
mod introspection;

use std::process::Command;

use super::{ROWS, Served};
use crate::support::{Ran, python, setting};

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";

/// Everything that psycopg and SQLAlchemy are expected to get.
const CLIENTS: &str = include_str!("clients.py");
/// What ADBC and DuckDB are expected to get.
const ENGINES: &str = include_str!("engines.py");

fn postgres(settings: &str) -> Served {
    Served::with(settings, &["--postgres", "127.0.0.1:0"])
}

pub(super) fn psql(served: &Served, user: &str, password: &str, arguments: &[&str]) -> Ran {
    let address = served.postgres();
    let mut command = Command::new("psql");
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    Ran::of(command.env("PGPASSWORD", password).args(["-X", "-U", user, "-d", &target]).args(arguments))
}

pub(super) fn has_psql() -> bool {
    if Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    let message = "`psql` is missing (Debian: postgresql-client)";
    assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
    println!("skipped: {message}");
    false
}

#[test]
fn psql_asks_lists_and_copies() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let token = served.token.clone();
    let ask = |sql: &str| psql(&served, "tests/all", &token, &["-At", "-c", sql]).ok();
    assert_eq!(ask("SELECT count(*), sum(id) FROM demo.figures"), format!("{ROWS}|1999000\n"));
    assert_eq!(ask("SELECT 1; SELECT 2"), "1\n2\n");
    assert_eq!(ask("SHOW server_encoding"), "UTF8\n");
    let figures = "demo|figures|table|hambar\n";
    let list = ask("\\d");
    assert!(list.contains(figures) && list.contains("closed|numbers"), "{list}");
    let described = ask("\\d demo.figures");
    assert!(described.contains("id|bigint|") && described.contains("value|double precision|"), "{described}");
    assert!(ask("\\dt demo.*").contains(figures));
    assert!(ask("\\dn").contains("demo|hambar"));
    let copied = ask("COPY (SELECT id, note FROM demo.figures WHERE id IN (0, 1) ORDER BY id) TO STDOUT WITH CSV");
    assert_eq!(copied, "0,\n1,\"n1, \"\"ü\"\"\"\n");
    // Who sees little is listed little.
    let narrow = served.token("narrow", "reader", "demo");
    let list = psql(&served, "tests/narrow", &narrow, &["-At", "-c", "\\d"]).ok();
    assert!(list.contains(figures) && !list.contains("closed"), "{list}");
    let hidden = psql(&served, "tests/narrow", &narrow, &["-At", "-c", "SELECT * FROM closed.numbers"]);
    assert!(hidden.code() != Some(0) && hidden.stderr.contains("does not exist"), "{}", hidden.stderr);
    for (user, password) in
        [("tests/all", "hbr_wrong"), ("tests/all", ""), ("nobody", token.as_str()), ("anonymous", ""), ("", "")]
    {
        let refused = psql(&served, user, password, &["-w", "-c", "SELECT 1"]);
        assert_ne!(refused.code(), Some(0), "{user}");
    }
    served.becomes_idle();
}

/// What a script says that is told where the server is, who asks, and what never ends.
fn says(served: &Served, python: &str, script: &str) -> String {
    let address = served.postgres();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    Ran::of(Command::new(python).args(["-c", script, &host, &port, &served.token, ENDLESS])).ok()
}

#[test]
fn drivers_read_types_errors_and_the_catalogue() {
    let Some(python) = python("psycopg, sqlalchemy") else { return };
    let served = postgres("");
    let said = says(&served, &python, CLIENTS);
    let types = "(True, 1, 2, 3, 1.5, Decimal('12.50'), 'ü', None, datetime.date(2024, 1, 31), \
                 datetime.datetime(2024, 1, 31, 12, 0, 0, 500000), b'ab', [1, 2, None])";
    for line in [
        format!("count {ROWS} 1999000\n"),
        format!("types False {types}\n"),
        format!("types True {types}\n"),
        "values changed []\n".to_owned(),
        "texts ['a', 'b,\"', None]\n".to_owned(),
        "uuid 00000000-0000-0000-0000-000000000005\n".to_owned(),
        "bound (7, 'GRC')\n".to_owned(),
        "any 1333\n".to_owned(),
        "prepared [0, 2, 4, 6, 8, 10, 12, 14]\n".to_owned(),
        "copy b'id,note\\n0,\\n1,\"n1, \"\"\\xc3\\xbc\"\"\"\\n2,".to_owned(),
        "binary 1999000\nbinary of nothing b'PGCOPY".to_owned(),
        "cursor 500445\ncursor in binary [(1,), (2,), (3,)] 997\nstreamed 500500\n".to_owned(),
        "pipeline 20100\npipeline failed 3\n".to_owned(),
        "inner 42703\nouter 2\nfailed 25P02\nread only 4\n".to_owned(),
        "error 42703 8 SELECT nothing".to_owned(),
        "error 42P01 15 SELECT * FROM demo.nothing".to_owned(),
        "error 42601 1 SELEC 1".to_owned(),
        "error 25006 1 INSERT".to_owned(),
        "error 25006 1 DROP".to_owned(),
        "error 25006 None COPY demo.figures FROM".to_owned(),
        "error 22".to_owned(),
        "error 42501 None SET ROLE x".to_owned(),
        "error 42501 None COPY demo.figures TO".to_owned(),
        "error 42704 None SET nothing".to_owned(),
        "error 0A000 None EXECUTE".to_owned(),
        "error 34000 None FETCH".to_owned(),
        "cancelled True\nafter 1\ntimed out True\n".to_owned(),
        "alchemy 1999\nalchemy in parts 1000\n".to_owned(),
        "schemas ['closed', 'demo', 'information_schema'".to_owned(),
        "tables ['figures'] []\nhas True False\n".to_owned(),
        "columns [('id', 'BIGINT'), ('country', 'TEXT'), ('year', 'INTEGER'), ('value', 'DOUBLE PRECISION')".to_owned(),
        "keys [] [] [] [] []\nrest {'text': None} [] [] [] {}\n".to_owned(),
        "reflected [('BGR', 3), ('GRC', 2), ('ROU', 2)]\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    assert!(!said.contains("no error"), "{said}");
    served.becomes_idle();
}

#[test]
fn engines_read_and_join_tables() {
    let Some(python) = python("adbc_driver_postgresql, duckdb, duckdb_extensions") else { return };
    let served = postgres("");
    let said = says(&served, &python, ENGINES);
    for line in [
        "adbc 2000 ['int64', 'string', 'int32', 'double'] 1999\n",
        "adbc bound [1993, 1996, 1999]\n",
        "adbc types (True, 1, 2, 3, 1.5, 'ü', None, datetime.date(2024, 1, 31)",
        "adbc schema ['id', 'country', 'year', 'value']\n",
        "adbc objects [('figures', ",
        "duckdb (2000, 1999000, 'n1, \"ü\"')\n",
        "duckdb filter (7.5,)\n",
        "duckdb join (1,)\n",
        "duckdb query [('BGR', 667), ('GRC', 667), ('ROU', 666)]\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    served.becomes_idle();
}
