//! What goes wrong before and while a provider is read: the exit code, the message, and a table that stays as it was.

use std::path::Path;

use hambar_testkit::evil_http::{Answer, Cut};

use crate::support::{ORIGIN, Provider, Workshop, snapshot_of};

const COLUMNS: [(&str, &str); 2] = [("id", "int32"), ("name", "string")];

#[test]
fn wrong_settings_are_named() {
    let workshop = Workshop::new();
    workshop.write("wrong.toml", "[fetch]\nconntact = \"a@b.org\"\n");
    let texts = ["`wrong.toml`", "`fetch.conntact`", "hambar config"];
    workshop.hambar(&["--config", "wrong.toml", "tables"]).fails(2, &texts);
    workshop.write("clear.toml", "[store.options]\naws_secret_access_key = \"hunter2-in-clear\"\n");
    let said = workshop.hambar(&["--config", "clear.toml", "tables"]).fails(2, &["must be a reference", "{ env ="]);
    assert!(!said.contains("hunter2-in-clear"), "{said}");
    workshop.hambar(&["--config", "absent.toml", "tables"]).fails(2, &["`absent.toml`"]);
    let mut command = workshop.command(&["tables"]);
    command.env("HAMBAR_FETCH__CONNTACT", "x");
    crate::support::Ran::of(&mut command).fails(2, &["`HAMBAR_FETCH__CONNTACT`", "`fetch.conntact`"]);
    workshop.hambar(&["run", "no.such"]).fails(2, &["there is no pipeline `no.such`"]);
    workshop.hambar(&["frobnicate"]).fails(2, &["frobnicate"]);
}

#[test]
fn wrong_pipeline_files_are_told_with_line_column_and_remedy() {
    let workshop = Workshop::new();
    let right = snapshot_of("http://127.0.0.1:9/x.csv", &COLUMNS, 1);
    workshop.pipeline("test.key", &right.replace("kind = \"csv\"", "kind = \"csv\"\ndelimeter = \";\""));
    workshop.pipeline("test.kind", &right.replace("\"int32\"", "\"integer\""));
    workshop.pipeline(
        "test.secret",
        &right.replace("[format]", "auth = { kind = \"bearer\", secret = \"hunter2\" }\n[format]"),
    );
    workshop.pipeline("test.right", &right);
    let ran = workshop.hambar(&["check"]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code(), Some(2), "{said}");
    for text in [
        "test/key.toml:7:1: ",
        "`format.delimeter`",
        "help: ",
        "delimiter",
        "test/kind.toml:9:8: ",
        "integer",
        "test/secret.toml:5:36: `source.auth.secret` must be a table, not a text",
        "write `{ env = … }` or `{ file = … }`",
        "problems in 3 files",
    ] {
        assert!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    workshop.hambar(&["run", "test.key"]).fails(2, &["test/key.toml:7:1: "]);
    assert!(workshop.hambar(&["check", "test.right"]).ok().contains("1 pipeline checked"));
}

/// A table with two rows, then a provider that goes wrong: the run ends with `code`, the table stays as it was.
#[track_caller]
fn check_provider(answer: Answer, code: i32, texts: &[&str]) {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &COLUMNS, 1));
    provider.publish("/a.csv", "id,name\n1,one\n2,two\n");
    workshop.run("test.a");
    let before = workshop.hambar(&["history", "--format", "csv", "test.a"]).ok();
    provider.offer("/a.csv", answer);
    workshop.hambar(&["run", "test.a"]).fails(code, &[&["nothing was published"], texts].concat());
    assert_eq!(workshop.rows("SELECT id, name FROM test.a"), ["1,one", "2,two"]);
    assert_eq!(workshop.hambar(&["history", "--format", "csv", "test.a"]).ok(), before);
    let runs = workshop.rows("SELECT outcome, count(*) FROM system.runs GROUP BY outcome");
    assert_eq!(runs, ["committed,1", "failed,1"]);
    workshop.fsck();
    // The provider mends itself, and so does the table.
    provider.publish("/a.csv", "id,name\n1,one\n2,zwei\n3,drei\n");
    workshop.run("test.a");
    assert_eq!(workshop.rows("SELECT id, name FROM test.a"), ["1,one", "2,zwei", "3,drei"]);
}

#[test]
fn a_truncated_answer_publishes_nothing() {
    let csv = "id,name\n1,one\n2,two\n3,three\n";
    let answer = Answer::ok(csv).header("content-type", "text/csv").announce(4096).cut_at(1000, Cut::Fin);
    check_provider(answer, 13, &["4096"]);
}

#[test]
fn an_empty_answer_withdraws_nothing() {
    check_provider(Answer::ok("").header("content-type", "text/csv"), 13, &[]);
}

#[test]
fn a_header_without_rows_withdraws_nothing() {
    check_provider(Answer::ok("id,name\n").header("content-type", "text/csv"), 13, &["2"]);
}

#[test]
fn a_page_instead_of_data_is_an_error() {
    let page = "<!DOCTYPE html><html><body><h1>Wartung</h1><p>Bitte versuchen Sie es später.</p></body></html>";
    check_provider(Answer::ok(page).header("content-type", "text/html"), 15, &["web page"]);
}

#[test]
fn a_page_that_calls_itself_data_is_an_error() {
    let page = "<!DOCTYPE html>\n<html><body>\n<h1>Wartung</h1>\n</body></html>\n";
    check_provider(Answer::ok(page).header("content-type", "text/csv"), 15, &[]);
}

#[test]
fn columns_that_moved_are_drift() {
    check_provider(Answer::ok("id,title\n1,one\n").header("content-type", "text/csv"), 14, &["title"]);
}

#[test]
fn a_refusal_is_told() {
    check_provider(Answer::status(403, "no"), 12, &["403"]);
}

#[test]
fn a_server_that_fails_is_asked_again_and_then_told() {
    check_provider(Answer::status(503, "later"), 10, &["503"]);
}

#[test]
fn this_machine_is_not_asked_without_leave() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    // The port is allowed, so that the address is what is refused.
    let port = provider.server().address().port();
    workshop.write("strict.toml", &format!("[fetch]\ncontact = \"a@b.org\"\nallow_ports = [{port}]\n"));
    provider.publish("/a.csv", "id,name\n1,one\n");
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &COLUMNS, 1));
    workshop.pipeline("test.name", &snapshot_of(&provider.server().url_by_name("/a.csv"), &COLUMNS, 1));
    for table in ["test.a", "test.name"] {
        let ran = workshop.hambar(&["--config", "strict.toml", "run", table]);
        ran.fails(21, &["127.0.0.1", "fetch.allow_hosts"]);
    }
    assert_eq!(provider.server().connections(), 0);
}

#[test]
fn secrets_appear_nowhere() {
    const CANARY: &str = "canary-7f3d9a52b1";
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let source = snapshot_of(&provider.url("/a.csv"), &COLUMNS, 1);
    let header = "auth = { kind = \"header\", header = \"x-api-key\", secret = { env = \"TEST_KEY\" } }\n[format]";
    let query = "auth = { kind = \"query\", parameter = \"api_key\", secret = { file = \"key.txt\" } }\n[format]";
    workshop.pipeline("test.header", &source.replace("[format]", header));
    workshop.pipeline("test.query", &source.replace("[format]", query));
    workshop.write("key.txt", &format!("{CANARY}\n"));
    let run = |table: &str| {
        let mut command = workshop.command(&["-vvv", "run", table]);
        command.env("TEST_KEY", CANARY);
        crate::support::Ran::of(&mut command)
    };
    let answers = [
        Answer::ok("id,name\n1,one\n").header("content-type", "text/csv").header("etag", "\"1\"").conditional(),
        Answer::status(401, "who are you?"),
        Answer::redirect(302, "/elsewhere.csv"),
        Answer::ok("id,name\n1,one\n2,two\n").announce(9999),
    ];
    let mut said = String::new();
    for answer in answers {
        provider.offer("/a.csv", answer);
        for table in ["test.header", "test.query"] {
            let ran = run(table);
            said.push_str(&ran.stdout);
            said.push_str(&ran.stderr);
        }
    }
    for arguments in [
        &["sql", "--format", "json", "SELECT * FROM system.runs"][..],
        &["sql", "--format", "json", "SELECT * FROM system.fetches"],
        &["config"],
        &["check"],
    ] {
        said.push_str(&workshop.hambar(arguments).stdout);
    }
    let asked = provider.server().asked();
    let sent = |asked: &&hambar_testkit::evil_http::Asked| {
        asked.header("x-api-key") == Some(CANARY) || asked.target.contains(CANARY)
    };
    assert!(asked.iter().filter(sent).count() >= 6, "the key must have been sent: {asked:?}");
    assert!(!said.contains(CANARY), "{}", said.lines().find(|line| line.contains(CANARY)).unwrap_or_default());
    for file in workshop.files("store").iter().chain(&workshop.files("tmp")) {
        assert!(!holds(file, CANARY.as_bytes()), "{}", file.display());
    }
}

fn holds(file: &Path, wanted: &[u8]) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn a_missing_secret_is_named_and_nothing_is_asked() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let text = snapshot_of(&provider.url("/a.csv"), &COLUMNS, 1);
    workshop.pipeline(
        "test.a",
        &text.replace("[format]", "auth = { kind = \"bearer\", secret = { env = \"NOT_SET\" } }\n[format]"),
    );
    assert!(text.contains(ORIGIN));
    workshop.hambar(&["run", "test.a"]).fails(2, &["`NOT_SET`"]);
    assert_eq!(provider.server().asked().len(), 0);
}
