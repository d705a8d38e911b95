//! Access over HTTP beside the matrix of roles: tokens, people without one, revocation, TLS, and what is written down about it.

use std::time::{Duration, Instant};

use super::Served;
use super::client::request;
use crate::support::Workshop;

/// Refused proofs from one address that are told one by one.
const TOLD: usize = 20;

#[test]
fn nobody_gets_in_without_a_token_that_is_valid() {
    let served = Served::start("");
    let targets = [
        "/api/sql?q=SELECT 1",
        "/api/sql.csv?q=SELECT 1",
        "/api/tables",
        "/api/tables/demo.figures",
        "/api/tables/demo.figures/schema",
        "/api/queries",
        "/metrics",
    ];
    let forged = format!("Bearer hbr_{}", "A".repeat(43));
    let wrong = ["Bearer x", "Bearer hbr_", forged.as_str(), "Basic eDp5", "Basic !", "Digest x", "Bearer", "hbr_x"];
    let mut refused = 0;
    for target in targets {
        let answer = served.get_as(None, target, &[]);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"hambar\""), "{target}");
        answer.fails(401, "denied");
        for header in wrong {
            let answer = served.get_as(None, target, &[("authorization", header)]);
            refused += 1;
            if refused <= TOLD {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"hambar\""), "{target}");
                answer.fails(401, "denied");
            } else {
                answer.fails(429, "quota");
            }
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        served.get_as(None, target, &twice).fails(400, "query");
        let and = if target.contains('?') { '&' } else { '?' };
        let text = served.get_as(None, &format!("{target}{and}token={}", served.token), &[]).fails(400, "query");
        assert!(!text.contains(&served.token));
        // Whoever has a token is let in, whatever others try from the same address.
        served.get(target).ok();
    }
    served.send("DELETE", "/api/queries/00000000-0000-0000-0000-000000000000", None, &[], b"").fails(401, "denied");
    for open in ["/healthz", "/readyz", "/docs", "/docs/errors", "/api/openapi.json"] {
        served.get_as(None, open, &[]).ok();
    }
    // What others set to pretend to be somebody is not looked at.
    served.get_as(None, "/api/tables", &[("x-forwarded-user", "admin"), ("cookie", "token=x")]).fails(401, "denied");
    assert!(!served.log().contains("hbr_"), "{}", served.log());
    let mut served = served;
    assert!(served.stop().success());
    let written = served.workshop.value("SELECT count(*) FROM system.audit WHERE event = 'login'");
    assert_eq!(written, TOLD.to_string());
}

#[test]
fn behind_a_proxy_everybody_counts_for_himself() {
    let mut served = Served::start("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    for (from, times) in [("203.0.113.1", TOLD + 5), ("203.0.113.2", 1)] {
        for time in 0..times {
            let headers = [("authorization", "Bearer x"), ("x-forwarded-for", from)];
            let answer = served.get_as(None, "/api/tables", &headers);
            assert_eq!(answer.status, if time < TOLD { 401 } else { 429 }, "{from} {time}");
        }
    }
    assert!(served.stop().success());
    let rows =
        served.workshop.rows("SELECT address, count(*) FROM system.audit WHERE event = 'login' GROUP BY 1 ORDER BY 1");
    assert_eq!(rows, ["203.0.113.1,20", "203.0.113.2,1"]);
}

#[test]
fn a_hidden_table_and_a_missing_one_are_told_apart_by_nothing() {
    let served = Served::start("");
    let token = served.token("narrow", "reader", "demo");
    let hidden = served.sql_as(Some(&token), "SELECT * FROM closed.numbers").fails(400, "query");
    let missing = served.sql_as(Some(&token), "SELECT * FROM closed.nothing").fails(400, "query");
    assert_eq!(hidden.replace("numbers", "nothing"), missing);
    for way in ["", ".csv", "/schema", "?id=1", "?_version=1"] {
        let hidden = served.get_as(Some(&token), &format!("/api/tables/closed.numbers{way}"), &[]);
        let missing = served.get_as(Some(&token), &format!("/api/tables/closed.nothing{way}"), &[]);
        assert_eq!((hidden.status, hidden.text().replace("numbers", "nothing")), (404, missing.text()), "{way}");
    }
}

#[test]
fn people_without_a_token_read_what_may_be_passed_on() {
    let served = Served::with("", &["--anonymous"]);
    let ask = |sql: &str| served.sql_as(None, sql);
    assert_eq!(ask("SELECT count(*) FROM demo.figures").value(), super::ROWS.to_string());
    assert_eq!(ask("SELECT count(*) FROM history('demo.figures')").value(), "0");
    for hidden in ["closed.numbers", "system.runs", "system.audit", "closed.numbers__history", "demo.figures__rejects"]
    {
        ask(&format!("SELECT * FROM {hidden}")).fails(400, "query");
    }
    let listed = served.get_as(None, "/api/tables", &[]).ok().text();
    assert!(listed.contains("demo.figures") && !listed.contains("closed") && !listed.contains("system"), "{listed}");
    served.get_as(None, "/metrics", &[]).fails(403, "denied");
    // Many people may share an address, and do not see what the others ask.
    let endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value < 0";
    let sql = [("content-type", "application/sql")];
    let running = super::client::start(served.address, "POST", "/api/sql", &sql, endless.as_bytes());
    let listed = || served.get("/api/queries").ok().text();
    let since = Instant::now();
    while listed() == "[]" {
        assert!(since.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(served.get_as(None, "/api/queries", &[]).ok().text(), "[]");
    drop(running);
    // A token that is wrong is not a lack of one.
    served.sql_as(Some("hbr_wrong"), "SELECT 1").fails(401, "denied");
    let open = ask("SELECT sum(id) FROM demo.figures").ok();
    assert_eq!(open.header("cache-control"), Some("public, no-cache"));
    assert_eq!(served.sql("SELECT sum(id) FROM demo.figures").ok().header("cache-control"), Some("private, no-cache"));

    let narrow = Served::with("[server]\npublic = [\"other\"]\n", &["--anonymous"]);
    narrow.sql_as(None, "SELECT * FROM demo.figures").fails(400, "query");
}

#[test]
fn a_revoked_token_stops_new_work_and_running_work() {
    let served = Served::start("");
    let token = served.token("leaver", "reader", "*");
    served.sql_as(Some(&token), "SELECT count(*) FROM demo.figures").ok();
    let endless =
        "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";
    let running = {
        let (address, token) = (served.address, format!("Bearer {token}"));
        std::thread::spawn(move || {
            let since = Instant::now();
            let headers = [("authorization", token.as_str()), ("content-type", "application/sql")];
            let answer = request(address, "POST", "/api/sql", &headers, endless.as_bytes());
            (answer, since.elapsed())
        })
    };
    std::thread::sleep(Duration::from_secs(1));
    served.workshop.hambar(&["members", "revoke", "tests/leaver"]).ok();
    let since = Instant::now();
    while served.sql_as(Some(&token), "SELECT 1").status == 200 {
        assert!(since.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(100));
    }
    served.sql_as(Some(&token), "SELECT 1").fails(401, "denied");
    let (answer, took) = running.join().unwrap();
    answer.fails(409, "cancelled");
    assert!(took < Duration::from_secs(25), "{took:?}");
    served.becomes_idle();
    served.workshop.hambar(&["members", "revoke", "tests/leaver"]).fails(2, &["there is no valid token"]);
    let listed = served.workshop.hambar(&["members", "list", "--format", "csv"]).ok();
    assert!(listed.contains("revoked ") && !listed.contains(&token), "{listed}");
}

#[test]
fn everything_is_written_down_and_no_secret_is() {
    let mut served = Served::start("");
    let canary = "canary_7f3a";
    served.sql(&format!("SELECT '{canary}' AS c, count(*) FROM demo.figures")).ok();
    served.get(&format!("/api/sql.csv?q=SELECT '{canary}'")).ok();
    served.json(&serde_json::json!({ "sql": "SELECT $1", "params": [canary] })).ok();
    served.sql(&format!("SELECT '{canary}' FROM nowhere.nothing")).fails(400, "query");
    served.get_as(Some(&format!("hbr_{canary}")), "/api/tables", &[]).fails(401, "denied");
    assert!(served.stop().success());
    let log = served.log();
    assert!(log.contains("query ended") && log.contains("tests/all"), "{log}");
    for secret in [canary, served.token.as_str()] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    let rows = served.workshop.rows("SELECT event, outcome, count(*) FROM system.audit GROUP BY 1, 2");
    for row in
        ["query,answered,3", "query,failed,1", "login,refused,1", "member,organisation added,1", "member,token added,1"]
    {
        assert!(rows.iter().any(|found| found == row), "{row}: {rows:?}");
    }
    let tables = served.workshop.rows("SELECT tables FROM system.audit WHERE tables LIKE '%demo.figures@%'");
    assert_eq!(tables.len(), 1, "{tables:?}");
    for file in served.workshop.files("store/members") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&served.token), "{}", file.display());
    }
    let all = served.workshop.rows("SELECT * FROM system.audit").join("\n");
    assert!(!all.contains(canary) && !all.contains(&served.token), "{all}");
}

#[test]
fn it_never_listens_in_plaintext_by_mistake() {
    let workshop = Workshop::new();
    workshop.hambar(&["serve", "--listen", "0.0.0.0:0"]).fails(2, &["is not a loopback address, and there is no TLS"]);
    let settings = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
    let with = |more: &str| workshop.write("hambar.toml", &format!("{settings}\n{more}"));
    with("[server.tls]\ncertificate = \"missing.pem\"\nkey = \"missing.key\"\n");
    workshop.hambar(&["serve", "--listen", "127.0.0.1:0"]).fails(2, &["TLS from `missing.pem`"]);
    workshop.write("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    workshop.write("bad.key", "no key");
    with("[server.tls]\ncertificate = \"bad.pem\"\nkey = \"bad.key\"\n");
    workshop.hambar(&["serve", "--listen", "127.0.0.1:0"]).fails(2, &["TLS from `bad.key`"]);
    with("[server.tls]\ncertificate = \"bad.pem\"\n");
    workshop.hambar(&["serve"]).fails(2, &["belong together"]);
}

#[test]
fn members_are_administered_with_care() {
    let workshop = Workshop::new();
    let run = |arguments: &[&str]| workshop.hambar(&[&["members"], arguments].concat());
    run(&["add-token", "nobody", "x", "--scope", "*"]).fails(2, &["there is no organisation `nobody`"]);
    run(&["add-org", "a b"]).fails(2, &["`a b` is not a name"]);
    run(&["add-org", "sofia", "--title", "Sofia University"]).ok();
    run(&["add-org", "sofia"]).fails(2, &["organisation `sofia` is there already"]);
    run(&["add-token", "sofia", "ana", "--scope", "*", "--role", "king"]).fails(2, &["`king` is no role"]);
    run(&["add-token", "sofia", "ana", "--scope", "A B"]).fails(2, &["is not a name"]);
    let first = run(&["add-token", "sofia", "ana", "--scope", "*"]).ok();
    run(&["add-token", "sofia", "ana", "--scope", "*"]).fails(2, &["token `sofia/ana` is there already"]);
    run(&["revoke", "sofia/ana"]).ok();
    let second = run(&["add-token", "sofia", "ana", "--scope", "*"]).ok();
    assert!(first != second && first.starts_with("hbr_"));
}
