//! Each role and scope over the Postgres protocol: what it reaches, what it does not, and what nobody may do; and people
//! without a token, revoked tokens, and what is written down.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{ENDLESS, has_psql, postgres, psql};
use crate::serve::Served;
use crate::support::Ran;

/// The SQLSTATE of each statement, in order, as one session gets them.
fn states(served: &Served, user: &str, password: &str, statements: &[String]) -> Vec<String> {
    let address = served.postgres();
    let script: String = statements.iter().map(|sql| format!("{sql};\n\\echo :SQLSTATE\n")).collect();
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    let mut command = Command::new("psql");
    command.env("PGPASSWORD", password).args(["-X", "-q", "-At", "-U", user, "-d", &target]);
    let file = served.workshop.path().join(format!("{}.sql", user.replace('/', "-")));
    std::fs::write(&file, format!("\\o /dev/null\n{script}")).unwrap();
    let said = Ran::of(command.arg("-f").arg(&file)).ok();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn each_role_and_scope_reaches_its_own() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    for (role, scope) in [
        ("reader", "*"),
        ("reader", "demo"),
        ("reader", "system"),
        ("curator", "*"),
        ("curator", "closed"),
        ("operator", "*"),
        ("operator", "demo"),
        ("administrator", "*"),
        ("administrator", "demo,system"),
    ] {
        let name = format!("{role}-{}", scope.replace('*', "all").replace(',', "-"));
        let token = served.token(&name, role, scope);
        let is_operator = matches!(role, "operator" | "administrator");
        let reaches = |namespace: &str| match namespace {
            "system" => is_operator && (scope == "*" || scope.contains("system")),
            _ => scope == "*" || scope.contains(namespace),
        };
        let (mut statements, mut wanted) = (Vec::new(), Vec::new());
        for table in ["demo.figures", "closed.numbers", "system.runs", "demo.figures__history"] {
            let state = if reaches(table.split_once('.').unwrap().0) { "00000" } else { "42P01" };
            for sql in [
                format!("SELECT count(*) FROM {table}"),
                format!("WITH a AS (SELECT * FROM {table}) SELECT count(*) FROM a"),
                format!("EXPLAIN SELECT * FROM {table}"),
                format!("COPY (SELECT * FROM {table}) TO STDOUT"),
                format!("COPY {table} TO STDOUT WITH CSV HEADER"),
                format!("BEGIN\\; DECLARE c CURSOR FOR SELECT * FROM {table}\\; FETCH 1 FROM c\\; COMMIT"),
            ] {
                statements.push(sql);
                wanted.push(state);
                // What failed leaves a transaction behind.
                statements.push("ROLLBACK".to_owned());
                wanted.push("00000");
            }
            if !table.ends_with("__history") {
                let (namespace, plain) = table.split_once('.').unwrap();
                statements.push(format!(
                    "SELECT 1 / (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = '{namespace}' AND c.relname = '{plain}')"
                ));
                wanted.push(if state == "00000" { "00000" } else { "22" });
            }
        }
        for (sql, state) in [
            ("DROP TABLE demo.figures", "25006"),
            ("INSERT INTO demo.figures SELECT 1", "25006"),
            ("UPDATE demo.figures SET id = 1", "25006"),
            ("DELETE FROM demo.figures", "25006"),
            ("TRUNCATE demo.figures", "25006"),
            ("CREATE TABLE x (y int)", "25006"),
            ("COPY demo.figures FROM STDIN", "25006"),
            ("COPY demo.figures TO '/tmp/x'", "42501"),
            ("COPY demo.figures TO PROGRAM 'cat'", "42501"),
            ("SET ROLE hambar", "42501"),
            ("SET SESSION AUTHORIZATION hambar", "42501"),
            ("SET datafusion.runtime.memory_limit = '1K'", "42704"),
            ("SELECT * FROM '/etc/passwd'", "4"),
            ("SELECT pg_read_file('/etc/passwd')", "4"),
            ("LISTEN x", "0A000"),
            ("SELECT 1", "00000"),
        ] {
            statements.push(sql.to_owned());
            wanted.push(state);
        }
        let found = states(&served, &format!("tests/{name}"), &token, &statements);
        assert_eq!(found.len(), statements.len(), "{name}: {found:?}");
        for ((sql, found), wanted) in statements.iter().zip(&found).zip(wanted) {
            assert!(found.starts_with(wanted), "{name}: {sql}: {found} instead of {wanted}");
        }
    }
    served.becomes_idle();
}

#[test]
fn a_hidden_table_and_a_missing_one_are_told_apart_by_nothing() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let narrow = served.token("narrow", "reader", "demo");
    let ask = |sql: &str| psql(&served, "tests/narrow", &narrow, &["-At", "-c", sql]);
    for sql in ["SELECT * FROM closed.numbers", "\\d closed.numbers", "COPY closed.numbers TO STDOUT"] {
        let (hidden, missing) = (ask(sql), ask(&sql.replace("numbers", "nothing")));
        assert_eq!(hidden.stderr.replace("numbers", "nothing"), missing.stderr, "{sql}");
        assert_eq!(hidden.stdout, missing.stdout, "{sql}");
    }
    let numbers = ask("SELECT 'closed.numbers'::regclass IS NULL, to_regclass('demo.figures') > 0").ok();
    assert_eq!(numbers, "t|t\n");
}

#[test]
fn people_without_a_token_read_what_may_be_passed_on() {
    if !has_psql() {
        return;
    }
    let served = Served::with("", &["--anonymous", "--postgres", "127.0.0.1:0"]);
    let ask = |sql: &str| psql(&served, "anonymous", "", &["-w", "-At", "-c", sql]);
    assert_eq!(ask("SELECT count(*) FROM demo.figures").ok(), format!("{}\n", super::ROWS));
    for hidden in ["closed.numbers", "system.runs", "system.audit", "demo.figures__rejects"] {
        let refused = ask(&format!("SELECT * FROM {hidden}"));
        assert!(refused.code() == Some(1) && refused.stderr.contains("does not exist"), "{}", refused.stderr);
    }
    let listed = ask("\\d").ok();
    assert!(listed.contains("demo|figures") && !listed.contains("closed") && !listed.contains("system"), "{listed}");
}

#[test]
fn a_revoked_token_ends_its_sessions() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let token = served.token("leaver", "reader", "*");
    let address = served.postgres();
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    let session = |stdin: Stdio| {
        let mut command = Command::new("psql");
        command.env("PGPASSWORD", &token).args(["-X", "-At", "-U", "tests/leaver", "-d", &target]);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut asking = session(Stdio::piped()).spawn().unwrap();
    let mut input = asking.stdin.take().unwrap();
    let mut output = BufReader::new(asking.stdout.take().unwrap());
    let mut line = String::new();
    input.write_all(b"SELECT 'before';\n").unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "before\n");
    let running = session(Stdio::null()).args(["-c", ENDLESS]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    served.workshop.hambar(&["members", "revoke", "tests/leaver"]).ok();
    let since = Instant::now();
    while asking.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(10));
        // It fails where psql has ended.
        let _ = input.write_all(b"\\if :ERROR\n\\quit\n\\endif\nSELECT 1;\n");
        std::thread::sleep(Duration::from_millis(200));
    }
    let ended = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("cancelled"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    assert_ne!(psql(&served, "tests/leaver", &token, &["-w", "-c", "SELECT 1"]).code(), Some(0));
    served.becomes_idle();
}

#[test]
fn everything_is_written_down_and_no_secret_is() {
    if !has_psql() {
        return;
    }
    let mut served = postgres("");
    let token = served.token.clone();
    let canary = "canary_7f3a";
    psql(&served, "tests/all", &token, &["-c", &format!("SELECT '{canary}', count(*) FROM demo.figures")]).ok();
    psql(&served, "tests/all", &token, &["-c", &format!("COPY (SELECT '{canary}') TO STDOUT")]).ok();
    psql(&served, "tests/all", &token, &["-c", &format!("SELECT '{canary}' FROM nowhere.nothing")]);
    psql(&served, "tests/all", &format!("hbr_{canary}"), &["-c", "SELECT 1"]);
    assert!(served.stop().success());
    let log = served.log();
    for secret in [canary, token.as_str()] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    let rows = served.workshop.rows("SELECT protocol, event, outcome, count(*) FROM system.audit GROUP BY 1, 2, 3");
    for row in ["postgres,query,answered,2", "postgres,query,failed,1", "postgres,login,refused,1"] {
        assert!(rows.iter().any(|found| found == row), "{row}: {rows:?}");
    }
    let all = served.workshop.rows("SELECT * FROM system.audit").join("\n");
    assert!(!all.contains(canary) && !all.contains(&token), "{all}");
}
