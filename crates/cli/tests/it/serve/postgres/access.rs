//! Access over the Postgres protocol beside the matrix of roles: hidden tables, revoked tokens, quotas, and what is written
//! down.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{ENDLESS, has_psql, postgres, psql};

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
fn a_quota_that_is_used_up_is_told_with_when_it_is_renewed() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let members = |arguments: &[&str]| served.workshop.hambar(&[&["members"], arguments].concat()).ok();
    members(&["add-org", "sofia"]);
    members(&["set-quota", "sofia", "--queries", "2"]);
    let token = members(&["add-token", "sofia", "ana", "--scope", "*"]);
    let ask = |sql: &str| psql(&served, "sofia/ana", token.trim(), &["-At", "-v", "VERBOSITY=verbose", "-c", sql]);
    assert_eq!(ask("SELECT 1").ok(), "1\n");
    let copied = ask("COPY (SELECT 2) TO STDOUT; SELECT 3");
    assert_eq!(copied.stdout, "2\n");
    let said = &copied.stderr;
    assert!(
        said.contains("53400: organisation `sofia` has used its 2 queries of the day; they come back at"),
        "{said}"
    );
    assert!(said.contains("T00:00:00Z"), "{said}");
    // A quota that is raised holds for those who are connected.
    members(&["set-quota", "sofia"]);
    let since = Instant::now();
    while ask("SELECT 4").stdout != "4\n" {
        assert!(since.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_policy_that_changes_ends_the_sessions_of_those_whom_it_is_for() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let token = served.token("narrow", "reader", "*");
    let address = served.postgres();
    let target = format!("host={} port={} dbname=hambar sslmode=disable", address.ip(), address.port());
    let mut command = Command::new("psql");
    command.env("PGPASSWORD", &token).args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "tests/narrow", "-d", &target]);
    let mut asking = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = asking.stdin.take().unwrap();
    let mut output = BufReader::new(asking.stdout.take().unwrap());
    let mut line = String::new();
    input.write_all(b"SELECT count(*) FROM demo.figures;\n").unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, format!("{}\n", super::ROWS));
    served.workshop.hambar(&["members", "set-policy", "tests/narrow", "demo.figures", "id < 7"]).ok();
    let since = Instant::now();
    while asking.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(10));
        // It fails where psql has ended.
        let _ = input.write_all(b"SELECT 1 / (count(*) - 7) FROM demo.figures;\n");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut asking.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("another part of the data is for it now") && said.contains("connect again"), "{said}");
    assert_eq!(psql(&served, "tests/narrow", &token, &["-At", "-c", "SELECT count(*) FROM demo.figures"]).ok(), "7\n");
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
