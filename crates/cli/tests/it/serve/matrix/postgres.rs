//! The operations by the Postgres protocol, as psql sends them.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::http::WRITES;
use super::{Asker, ENDLESS, MISSING, Operation, REFUSED, Stage, UNKNOWN, letters, same, told};
use crate::support::Ran;

/// What only this protocol knows, and nobody may do.
const WRITES_MORE: [&str; 6] = [
    "COPY demo.figures FROM STDIN",
    "COPY demo.figures TO PROGRAM 'cat'",
    "SET ROLE hambar",
    "SET SESSION AUTHORIZATION hambar",
    "ALTER TABLE demo.figures ADD COLUMN x int",
    "GRANT ALL ON demo.figures TO public",
];

pub(super) fn try_all(stage: &Stage, asker: &Asker, operations: &[Operation]) -> Vec<String> {
    let entered = Ran::of(psql(stage, asker).args(["-w", "-At", "-c", "SELECT 1"]));
    if entered.code() != Some(0) {
        assert!(entered.stderr.contains("not valid"), "{}: {}", asker.name, entered.stderr);
        return operations.iter().map(|_| UNKNOWN.to_owned()).collect();
    }
    operations.iter().map(|operation| tried(stage, asker, *operation)).collect()
}

fn psql(stage: &Stage, asker: &Asker) -> Command {
    let address = stage.served.postgres();
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    let user = match &asker.token {
        Some(_) => format!("tests/{}", asker.name),
        None => "anonymous".to_owned(),
    };
    let mut command = Command::new("psql");
    command
        .env("PGPASSWORD", asker.token.as_deref().unwrap_or_default())
        .args(["-X", "-q", "-U", &user, "-d", &target]);
    command
}

/// What each statement gives in one session: its rows, or how it ended.
fn results(stage: &Stage, asker: &Asker, statements: &[String]) -> Vec<String> {
    let script: String =
        statements.iter().map(|sql| format!("{sql};\n\\echo \u{1}:SQLSTATE\u{1}\nROLLBACK;\n")).collect();
    let file = stage.served.workshop.path().join(format!("{}.sql", asker.name));
    std::fs::write(&file, script).unwrap();
    let said = Ran::of(psql(stage, asker).arg("-At").arg("-f").arg(&file)).ok();
    let mut parts = said.split('\u{1}');
    let mut found = Vec::new();
    while let (Some(rows), Some(state)) = (parts.next(), parts.next()) {
        found.push(match state {
            "00000" => rows.trim().to_owned(),
            "42P01" | "42703" => MISSING.to_owned(),
            "25006" | "42501" => REFUSED.to_owned(),
            other => format!("SQLSTATE {other}"),
        });
    }
    assert_eq!(found.len(), statements.len(), "{said}");
    found
}

/// How each statement ended, all the same way.
fn ends(stage: &Stage, asker: &Asker, statements: Vec<String>) -> String {
    let found = results(stage, asker, &statements);
    let is_end = |found: &str| [MISSING, REFUSED].contains(&found) || found.starts_with("SQLSTATE");
    let ended = found.into_iter().map(|found| if is_end(&found) { found } else { "ok".to_owned() });
    same(statements.into_iter().zip(ended).collect())
}

fn tried(stage: &Stage, asker: &Asker, operation: Operation) -> String {
    let one = |sql: &str| results(stage, asker, &[sql.to_owned()]).remove(0);
    match operation {
        Operation::Ask(sql) => {
            let found = one(sql);
            if found.starts_with("told=") { told(&found) } else { found }
        }
        Operation::Read(table) => {
            let mut statements = super::http::reading(table)[..3].to_vec();
            statements.push(format!("COPY (SELECT * FROM {table}) TO STDOUT"));
            statements.push(format!("COPY {table} TO STDOUT WITH CSV HEADER"));
            statements.push(format!("BEGIN\\; DECLARE c CURSOR FOR SELECT * FROM {table}\\; FETCH 1 FROM c\\; COMMIT"));
            ends(stage, asker, statements)
        }
        Operation::Export(table) => {
            let copied = one(&format!("COPY {table} TO STDOUT WITH CSV"));
            if copied == MISSING { copied } else { copied.lines().count().to_string() }
        }
        Operation::List => {
            let listed = one("SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace");
            letters(|table| listed.lines().any(|line| line == table))
        }
        Operation::Columns(table) => columns(stage, asker, table),
        Operation::Write => ends(
            stage,
            asker,
            WRITES.into_iter().filter(|sql| !sql.starts_with("SET x")).chain(WRITES_MORE).map(str::to_owned).collect(),
        ),
        Operation::CancelOwn => cancel(stage, asker),
        other => panic!("the Postgres protocol does not offer {other:?}"),
    }
}

/// The columns in the catalogue of Postgres, and those of the head of an answer.
fn columns(stage: &Stage, asker: &Asker, table: &str) -> String {
    let (namespace, name) = table.split_once('.').unwrap();
    let listed = format!(
        "SELECT a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = '{namespace}' AND c.relname = '{name}' AND a.attnum > 0 ORDER BY a.attnum"
    );
    let head = format!("COPY (SELECT * FROM {table} LIMIT 0) TO STDOUT WITH CSV HEADER");
    let found = results(stage, asker, &[listed, head]);
    let own = |names: Vec<&str>| {
        let names: Vec<&str> = names.into_iter().filter(|name| !name.starts_with('_')).collect();
        if names.is_empty() { MISSING.to_owned() } else { names.join(",") }
    };
    same(vec![
        ("catalogue".to_owned(), own(found[0].lines().collect())),
        ("head".to_owned(), own(found[1].split(',').collect())),
    ])
}

/// Starts a query, and stops it as Ctrl-C does.
fn cancel(stage: &Stage, asker: &Asker) -> String {
    let mut command = psql(stage, asker);
    let child =
        command.args(["-c", ENDLESS]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    stage.running(|query| query["protocol"] == "postgres");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && said.contains("cancel") { "ok".to_owned() } else { said }
}
