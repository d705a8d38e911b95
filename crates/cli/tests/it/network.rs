//! What the network stack does for a whole run: tokens that nobody sees, hosts that are down, certificates, time.

use std::path::PathBuf;

use hambar_testkit::evil_http::{Answer, Route};

use crate::support::{ORIGIN, Provider, Ran, Workshop};

const SECRET: &str = "client-secret-7c1f";
const TOKENS: [&str; 2] = ["access-token-91aa", "access-token-92bb"];

/// Files that hold one of the texts.
fn leaks(workshop: &Workshop, texts: &[&str]) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    workshop.files("").into_iter().filter(holds).collect()
}

#[test]
fn a_token_is_asked_for_renewed_and_never_shown() {
    let provider = Provider::start();
    let token = |text: &str| {
        let answer = format!("{{\"access_token\":\"{text}\",\"token_type\":\"bearer\",\"expires_in\":3600}}");
        Answer::ok(answer).header("content-type", "application/json")
    };
    provider.server().set(Route::new("/token", TOKENS.map(token)));
    let page = |body: &str| Answer::ok(body.to_owned()).header("content-type", "application/json");
    // The second page refuses the first token, and repeats it in its refusal.
    let refusal = Answer::status(401, format!("token {} was revoked", TOKENS[0]));
    provider.server().set(Route::new("/data?page=1", [page(r#"{"pages":2,"r":[{"id":"a"}]}"#)]));
    provider.server().set(Route::new("/data?page=2", [refusal, page(r#"{"pages":2,"r":[{"id":"b"}]}"#)]));
    let workshop = Workshop::new();
    workshop.pipeline(
        "test.tokens",
        &format!(
            "version = 1\n[source]\nkind = \"rest_json\"\nurl = \"{}\"\nrecord_path = \"/r\"\n\
             [source.pagination]\nstyle = \"page_number\"\n[source.complete]\npages = \"/pages\"\n\
             [source.auth]\nkind = \"oauth2\"\ntoken_url = \"{}\"\nclient_id = \"granary\"\nclient_secret = {{ env = \"SECRET\" }}\nscope = \"read\"\n\
             [format]\nkind = \"json\"\n[[columns]]\nname = \"id\"\ntype = \"string\"\n[write]\nmode = \"snapshot\"\nkey = [\"id\"]\n{ORIGIN}",
            provider.url("/data"),
            provider.url("/token"),
        ),
    );
    let mut command = workshop.command(&["-vvv", "run", "test.tokens"]);
    command.env("SECRET", SECRET);
    let ran = Ran::of(&mut command);
    let texts = [SECRET, TOKENS[0], TOKENS[1]];
    for text in texts {
        assert!(
            !ran.stdout.contains(text) && !ran.stderr.contains(text),
            "`{text}` is shown:\n{}{}",
            ran.stdout,
            ran.stderr
        );
    }
    ran.ok();
    assert_eq!(workshop.rows("SELECT id FROM test.tokens"), ["a", "b"]);
    assert_eq!(leaks(&workshop, &texts), Vec::<PathBuf>::new());
    // Files of the store are compressed: what they hold is asked for too.
    for table in ["fetches", "runs", "datasets"] {
        let rows = workshop.rows(&format!("SELECT * FROM system.{table}")).join("\n");
        assert!(!rows.is_empty() && texts.iter().all(|text| !rows.contains(text)), "system.{table}: {rows}");
    }
    let asked = provider.server().asked();
    let seen: Vec<(&str, Option<&str>)> =
        asked.iter().map(|asked| (asked.target.as_str(), asked.header("authorization"))).collect();
    let bearer = TOKENS.map(|token| format!("Bearer {token}"));
    // base64 of `granary:client-secret-7c1f`
    let basic = "Basic Z3JhbmFyeTpjbGllbnQtc2VjcmV0LTdjMWY=";
    assert_eq!(
        seen,
        [
            ("/token", Some(basic)),
            ("/data?page=1", Some(bearer[0].as_str())),
            ("/data?page=2", Some(bearer[0].as_str())),
            ("/token", Some(basic)),
            ("/data?page=2", Some(bearer[1].as_str())),
        ]
    );
    assert_eq!(String::from_utf8_lossy(&asked[0].body), "grant_type=client_credentials&scope=read");
}

#[test]
fn plans_keep_to_the_limits_of_each_host() {
    let provider = Provider::start();
    let workshop = Workshop::new();
    let list: Vec<String> = (1..=30).map(|number| format!("\"{number}\"")).collect();
    workshop.pipeline(
        "test.many",
        &format!(
            "version = 1\n[source]\nkind = \"rest_json\"\nurl = \"{}/{{n}}\"\n[source.for_each]\nn = [{}]\n\
             [format]\nkind = \"json\"\n[[columns]]\nname = \"id\"\ntype = \"string\"\n[write]\nmode = \"snapshot\"\nkey = [\"id\"]\n{ORIGIN}",
            provider.url(""),
            list.join(", ")
        ),
    );
    workshop.write(
        "slow.toml",
        "[store]\nurl = \"store\"\n[pipelines]\nfolder = \"pipelines\"\n[fetch]\nallow_hosts = [\"127.0.0.1\"]\n\
         [fetch.hosts.\"127.0.0.1\"]\nrequests = 10\nperiod_seconds = 60\nconcurrency = 1\n",
    );
    let said = workshop.hambar(&["--config", "slow.toml", "plan", "test.many"]).ok();
    for text in
        ["requests   30", "rate       127.0.0.1: at most 10 requests in 60 s, 1 at once", "time       at least 120 s"]
    {
        assert!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    assert_eq!(provider.server().asked().len(), 0);
}

#[test]
fn the_encoding_that_was_found_is_told() {
    let provider = Provider::start();
    let workshop = Workshop::new();
    let columns = [("id", "int32"), ("name", "string")];
    workshop.pipeline("test.latin", &crate::support::snapshot_of(&provider.url("/a.csv"), &columns, 1));
    provider.offer("/a.csv", Answer::ok(b"id,name\n1,caf\xe9\n".to_vec()).header("content-type", "text/csv"));
    let said = workshop.run("test.latin");
    assert!(said.contains("read as windows-1252"), "{said}");
    assert_eq!(workshop.value("SELECT encoding FROM system.runs"), "windows-1252");
    assert_eq!(workshop.value("SELECT name FROM test.latin"), "café");
    provider.publish("/a.csv", "id,name\n1,café\n2,thé\n");
    let said = workshop.run("test.latin");
    assert!(!said.contains("read as"), "{said}");
    assert_eq!(workshop.rows("SELECT encoding FROM system.runs"), ["utf-8", "windows-1252"]);
}

#[test]
fn the_bytes_decide_and_not_what_is_said_about_them() {
    let provider = Provider::start();
    let workshop = Workshop::new();
    let columns = [("id", "int32"), ("name", "string")];
    workshop.pipeline("test.a", &crate::support::snapshot_of(&provider.url("/a.csv"), &columns, 1));
    let answer = |body: &str, etag: &str, date: &str| {
        let answer = Answer::ok(body.to_owned()).header("content-type", "text/csv");
        answer.header("etag", etag).header("last-modified", date)
    };
    let future = "Fri, 01 May 2099 00:00:00 GMT";
    provider.offer("/a.csv", answer("id,name\n1,one\n", "\"1\"", future));
    workshop.run("test.a");
    // Another tag, the same bytes: nothing new.
    provider.offer("/a.csv", answer("id,name\n1,one\n", "\"2\"", future));
    assert!(workshop.run("test.a").contains("unchanged"));
    // The same tag and date, other bytes: loaded.
    provider.offer("/a.csv", answer("id,name\n1,two\n", "\"2\"", future));
    assert!(workshop.run("test.a").contains("1 revised"));
    assert_eq!(workshop.rows("SELECT id, name FROM test.a"), ["1,two"]);
    workshop.fsck();
}

#[test]
fn a_host_that_is_down_fails_its_runs_quickly_and_others_go_on() {
    let (down, up) = (Provider::start(), Provider::start());
    let workshop = Workshop::new();
    let columns = [("id", "int32")];
    down.offer("/a.csv", Answer::status(503, "down"));
    up.publish("/a.csv", "id\n1\n");
    for number in 0..10 {
        let url = down.url("/a.csv");
        workshop.pipeline(&format!("down.t{number}"), &crate::support::snapshot_of(&url, &columns, 1));
    }
    workshop.pipeline("up.a", &crate::support::snapshot_of(&up.url("/a.csv"), &columns, 1));
    let said = workshop.hambar(&["run", "--all"]).fails(10, &["is down: 8 failures in a row"]);
    assert_eq!(said.matches("class transient").count(), 10, "{said}");
    assert_eq!(down.server().asked().len(), 8);
    assert_eq!(workshop.value("SELECT count(*) FROM up.a"), "1");
}
