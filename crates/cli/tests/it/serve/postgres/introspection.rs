//! What tools ask about the catalogue, in their own words: psql's commands, pgjdbc's metadata as DBeaver, Metabase and
//! other Java programs send it, and the queries of Grafana, Metabase, Superset and DBeaver. Each is answered without an error.

use std::process::Command;

use super::{has_psql, postgres, psql};
use crate::serve::Served;
use crate::support::Ran;

/// The queries, one after the other, each after a line `-- name` with what its answer must hold behind `=>`.
const QUERIES: &str = include_str!("introspection.sql");
/// psql's own commands.
const COMMANDS: [&str; 48] = [
    "\\d",
    "\\d+",
    "\\d demo.figures",
    "\\d+ demo.figures",
    "\\dt *.*",
    "\\dt+ demo.*",
    "\\l",
    "\\l+",
    "\\dn",
    "\\dn+",
    "\\df",
    "\\dv",
    "\\di",
    "\\du",
    "\\dg+",
    "\\dT",
    "\\dT+",
    "\\dp",
    "\\dx",
    "\\ds",
    "\\dm",
    "\\dD",
    "\\db",
    "\\dC",
    "\\do",
    "\\da",
    "\\dew",
    "\\des",
    "\\det",
    "\\dO",
    "\\dL",
    "\\dy",
    "\\ddp",
    "\\dRp",
    "\\dRs",
    "\\drds",
    "\\dF",
    "\\dFd",
    "\\dFp",
    "\\dFt",
    "\\dc",
    "\\dconfig",
    "\\dAc",
    "\\dX",
    "\\dP",
    "\\z demo.*",
    "\\conninfo",
    "\\encoding",
];

#[test]
fn commands_of_psql_are_answered() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let arguments: Vec<&str> = COMMANDS.iter().flat_map(|command| ["-c", command]).collect();
    let answered = psql(&served, "tests/all", &served.token, &arguments);
    // Some versions of psql say on this way what there is none of.
    let is_error = |line: &&str| !["Did not find any relations.", "Did not find any settings."].contains(line);
    let errors: Vec<&str> = answered.stderr.lines().filter(is_error).collect();
    assert_eq!((answered.code(), errors), (Some(0), Vec::new()));
    for wanted in ["demo   | figures", "| bigint", "List of databases", "Access method: delta"] {
        assert!(answered.stdout.contains(wanted), "{wanted}\n{}", answered.stdout);
    }
}

#[test]
fn queries_of_tools_are_answered() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    for part in QUERIES.split("\n-- ").skip(1) {
        let (head, sql) = part.split_once('\n').unwrap();
        let (name, wanted) = head.split_once("=>").unwrap_or((head, ""));
        let answer = ask(&served, sql);
        assert_eq!((answer.code(), answer.stderr.as_str()), (Some(0), ""), "{name}\n{sql}");
        for wanted in wanted.split('&').map(str::trim) {
            assert!(answer.stdout.contains(wanted), "{name}: {wanted}\n{}", answer.stdout);
        }
    }
}

fn ask(served: &Served, sql: &str) -> Ran {
    let address = served.postgres();
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    let mut command = Command::new("psql");
    command.env("PGPASSWORD", &served.token).args(["-X", "-At", "-U", "tests/all", "-d", &target]);
    Ran::of(command.args(["-c", sql]))
}
