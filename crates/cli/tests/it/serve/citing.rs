//! Citations over HTTP: of versions of tables and of queries, in every form, for those who may see what is cited, and
//! proved by running them again.

use serde_json::{Value, json};

use super::client::Answer;
use super::{ROWS, Served, csv};

/// Values of a header that may come several times.
pub(super) fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

fn cite(served: &Served, token: Option<&str>, body: &Value) -> Answer {
    served.send("POST", "/api/cite", token, &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// Cites a query that can be cited; returns what was answered.
fn cited(served: &Served, body: &Value) -> Value {
    let answer = cite(served, Some(&served.token), body);
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    answer.json()
}

fn verified(served: &Served, id: &str) -> Value {
    served.get(&format!("/cite/q/{id}/verify")).ok().json()
}

/// Publishes other values of the open table, and runs its pipeline.
fn revise(served: &Served, factor: u64) {
    served.provider.publish("/open.csv", &csv(ROWS, factor));
    served.workshop.run("demo.figures");
}

#[test]
fn a_version_is_shown_in_every_form_and_pinned_by_whoever_has_a_token() {
    let served = Served::with("", &["--anonymous"]);
    let newest = served.get_as(None, "/cite/demo.figures", &[]);
    assert_eq!((newest.status, newest.header("location")), (307, Some("http://test/cite/demo.figures@1")));
    let open = served.get_as(None, "/cite/demo.figures@1", &[("accept", "text/html")]).ok();
    assert!(open.text().contains("This version is not kept yet"), "{}", open.text());
    assert_eq!(served.workshop.hambar(&["sql", "SELECT count(*) FROM system.citations"]).code(), Some(20));
    let page = served.get_as(Some(&served.token), "/cite/demo.figures@1", &[("accept", "text/html")]).ok();
    let text = page.text();
    for part in ["stays readable for good", "demo.figures</code>", "VERSION AS OF 1", "CC0-1.0", "application/ld+json"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("<script").count(), 1, "only data: {text}");
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let links = all(&page, "link").join(", ");
    for part in [
        "<http://test/cite/demo.figures@1>; rel=\"cite-as\"",
        "<http://test/cite/demo.figures@1.bib>; rel=\"describedby\"; type=\"application/x-bibtex\"",
        "<http://test/api/tables/demo.figures.csv?_version=1>; rel=\"item\"; type=\"text/csv\"",
        "<https://creativecommons.org/publicdomain/zero/1.0/>; rel=\"license\"",
        "<https://schema.org/Dataset>; rel=\"type\"",
    ] {
        assert!(links.contains(part), "{part}: {links}");
    }
    assert_eq!(served.workshop.rows("SELECT \"table\", version FROM system.citations"), ["demo.figures,1"]);
    let shown = served.get_as(None, "/cite/demo.figures@1", &[("accept", "text/html")]).ok().text();
    assert!(shown.contains("stays readable for good"), "{shown}");
    for (ending, media_type, part) in [
        ("bib", "application/x-bibtex; charset=utf-8", "@misc{hambar:"),
        ("ris", "application/x-research-info-systems; charset=utf-8", "TY  - DATA"),
        ("txt", "text/plain; charset=utf-8", "Read it with: SELECT"),
        ("csl.json", "application/vnd.citationstyles.csl+json", "\"URL\": \"http://test/cite/demo.figures@1\""),
        ("datacite.json", "application/vnd.datacite.datacite+json", "http://datacite.org/schema/kernel-4"),
    ] {
        let by_ending = served.get_as(None, &format!("/cite/demo.figures@1.{ending}"), &[]).ok();
        assert_eq!(by_ending.header("content-type"), Some(media_type), "{ending}");
        assert!(by_ending.text().contains(part), "{ending}: {}", by_ending.text());
        let accept = media_type.split(';').next().unwrap();
        let by_type = served.get_as(None, "/cite/demo.figures@1", &[("accept", accept)]).ok();
        assert_eq!(by_type.body, by_ending.body, "{ending}");
    }
    served.get_as(None, "/cite/demo.figures@1.exe", &[]).fails(404, "query");
    served.get_as(None, "/cite/demo.figures@1", &[("accept", "image/png")]).fails(406, "limit");
}

#[test]
fn a_cited_query_gives_the_same_after_its_tables_have_changed() {
    let mut served = Served::start("");
    let sql = "SELECT country, count(*) AS n, sum(value) AS total FROM demo.figures WHERE id < $1 GROUP BY country";
    let body = json!({"sql": sql, "params": [1500], "title": "Totals <by> country"});
    let answer = cite(&served, Some(&served.token), &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let first = answer.json();
    let id = first["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), first["url"].as_str());
    assert_eq!(first["versions"], json!(["demo.figures@1"]));
    assert!(first["fingerprint"].as_str().unwrap().starts_with("3:"), "{first}");
    let again = cite(&served, Some(&served.token), &body);
    assert_eq!((again.status, &again.json()["id"]), (200, &first["id"]));
    let rows = |served: &Served| served.get(&format!("/cite/q/{id}/rows.csv")).ok().text();
    let before = rows(&served);
    revise(&served, 2);
    let now = verified(&served, &id);
    assert_eq!((&now["is_same"], &now["found"]), (&json!(true), &first["fingerprint"]), "{now}");
    assert_eq!(rows(&served), before);
    let other = cited(&served, &body);
    assert_ne!(other["id"], first["id"]);
    assert_eq!(other["versions"], json!(["demo.figures@2"]));
    let pinned = served.workshop.rows("SELECT \"table\", version FROM system.citations");
    assert_eq!(pinned, ["demo.figures,1", "demo.figures,2"]);
    // Small files are rewritten, and everything unpinned goes; what was cited does not.
    served.workshop.hambar(&["optimize", "demo.figures"]).ok();
    served.workshop.hambar(&["vacuum", "demo.figures"]).ok();
    let page = served.get_as(Some(&served.token), &format!("/cite/q/{id}"), &[("accept", "text/html")]).ok();
    let text = page.text();
    for part in ["Totals &lt;by&gt; country", "demo.figures@1", "WHERE id &lt; $1", "[1500]", "rel=\"canonical\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = served.get(&format!("/cite/q/{id}.bib")).ok().text();
    assert!(text.contains("Totals <by> country") && text.contains("demo.figures version 1"), "{text}");
    let shown = served.get_as(Some(&served.token), &format!("/cite/q/{id}/verify"), &[("accept", "text/html")]).ok();
    assert!(shown.text().contains("<h1>The same</h1>"), "{}", shown.text());
    assert!(served.stop().success());
    let other = Served::over_again(served);
    assert_eq!(verified(&other, &id)["is_same"], json!(true));
}

#[test]
fn time_travel_is_cited_with_the_history_that_it_reads() {
    let served = Served::start("");
    revise(&served, 2);
    let sql = "SELECT id, old_value, new_value FROM revisions('demo.figures')";
    let citation = cited(&served, &json!({ "sql": sql }));
    let versions = citation["versions"].as_array().unwrap();
    assert!(
        versions.iter().any(|version| version.as_str().unwrap().starts_with("demo.figures__history@")),
        "{versions:?}"
    );
    revise(&served, 3);
    let id = citation["id"].as_str().unwrap();
    assert_eq!(verified(&served, id)["is_same"], json!(true));
    let mixed = "SELECT count(*) AS n FROM demo.figures VERSION AS OF 1 a JOIN demo.figures b ON a.id = b.id AND a.value = b.value";
    let mixed = cited(&served, &json!({ "sql": mixed }));
    assert_eq!(mixed["versions"].as_array().map(Vec::len), Some(2), "{mixed}");
    revise(&served, 1);
    assert_eq!(verified(&served, mixed["id"].as_str().unwrap())["is_same"], json!(true));
}

#[test]
fn what_somebody_may_not_see_is_not_cited_to_them() {
    let served = Served::with("", &["--anonymous"]);
    let narrow = served.token("narrow", "reader", "demo");
    let sql = "SELECT count(*) AS n FROM demo.figures, closed.numbers";
    let both = cited(&served, &json!({ "sql": sql }));
    let id = both["id"].as_str().unwrap();
    served.get("/cite/closed.numbers@1").ok();
    let missing = "0123456789abcdef";
    for token in [None, Some(narrow.as_str())] {
        for way in ["", ".bib", "/verify", "/rows.csv"] {
            let hidden = served.get_as(token, &format!("/cite/q/{id}{way}"), &[]);
            let absent = served.get_as(token, &format!("/cite/q/{missing}{way}"), &[]);
            assert_eq!((hidden.status, hidden.text()), (404, absent.text()), "{way}");
        }
        for target in ["closed.numbers@1", "closed.numbers@1.bib", "closed.numbers", "system.runs@1"] {
            let hidden = served.get_as(token, &format!("/cite/{target}"), &[]);
            let absent = served.get_as(token, &format!("/cite/{}", target.replace("numbers", "nothing")), &[]);
            assert_eq!((hidden.status, absent.status), (404, 404), "{target}");
            assert_eq!(hidden.text().replace("numbers", "nothing"), absent.text(), "{target}");
        }
    }
    let hidden = cite(&served, Some(&narrow), &json!({"table": "closed.numbers"})).fails(404, "query");
    let absent = cite(&served, Some(&narrow), &json!({"table": "closed.nothing"})).fails(404, "query");
    assert_eq!(hidden.replace("numbers", "nothing"), absent);
    cite(&served, Some(&narrow), &json!({ "sql": sql })).fails(400, "query");
    cite(&served, None, &json!({"table": "demo.figures"})).fails(401, "denied");
    cite(&served, Some(&narrow), &json!({"table": "demo.figures", "version": 1}));
    let open = served.get_as(None, "/cite/demo.figures@1", &[("accept", "text/html")]).ok().text();
    assert!(open.contains("stays readable for good"), "{open}");
}

#[test]
fn what_cannot_be_proved_is_not_cited() {
    let served = Served::start("");
    let refused = |body: Value, status: u16, class: &str, part: &str| {
        let said = cite(&served, Some(&served.token), &body).fails(status, class);
        assert!(said.contains(part), "{body}: {said}");
    };
    refused(json!({"sql": "SELECT now() AS t, count(*) FROM demo.figures"}), 400, "query", "something else each time");
    refused(json!({"sql": "SELECT 1"}), 400, "query", "reads no table");
    refused(json!({"sql": "EXPLAIN SELECT * FROM demo.figures"}), 400, "query", "a plan is not cited");
    refused(json!({"sql": "SELECT * FROM system.runs"}), 400, "query", "no pipeline declares");
    refused(json!({"sql": "SELEC 1"}), 400, "query", "");
    refused(json!({"sql": "SELECT 1", "table": "demo.figures"}), 400, "query", "neither a query nor a version");
    refused(json!({"title": "x"}), 400, "query", "neither a query nor a version");
    refused(json!({"sql": "SELECT id FROM demo.figures", "title": "x".repeat(301)}), 400, "query", "301 characters");
    refused(json!({"table": "demo.figures", "version": 99}), 404, "query", "demo.figures@99");
    refused(json!({"sql": "SELECT id FROM demo.figures", "extra": 1}), 422, "limit", "unknown field");
    served.get("/cite/demo.figures@99").fails(404, "query");
    for wrong in ["x", "demo.figures@", "demo.figures@x", "demo.figures@1@2", "demo.figures@-1"] {
        served.get(&format!("/cite/{wrong}")).fails(404, "query");
    }
    for wrong in ["x", "0123456789abcdeg", "0123456789abcdef0", "..%2f..%2fa"] {
        served.get(&format!("/cite/q/{wrong}")).fails(404, "query");
    }
    let limited = Served::start("[server.queries]\nresult_rows_max = 10\n");
    let said = cite(&limited, Some(&limited.token), &json!({"sql": "SELECT id FROM demo.figures"}));
    assert!(said.fails(422, "limit").contains("cut the result off"));
    let reading = Served::start("[server]\naudit = false\n");
    cite(&reading, Some(&reading.token), &json!({"table": "demo.figures"})).fails(403, "denied");
    let shown = reading.get_as(Some(&reading.token), "/cite/demo.figures@1", &[("accept", "text/html")]).ok().text();
    assert!(shown.contains("not kept yet"), "{shown}");
}

#[test]
fn answers_say_what_the_licences_of_their_sources_ask_for() {
    let served = Served::start("");
    let origin = |licence: &str| {
        let columns = [("id", "int64"), ("share", "float64")];
        let text = crate::support::snapshot_of(&served.provider.url("/more.csv"), &columns, 1);
        text.replace("CC0-1.0", licence)
    };
    served.provider.publish("/more.csv", "id,share\n1,0.5\n2,0.25\n");
    for (table, licence) in
        [("open.odbl", "ODbL-1.0"), ("open.sharing", "CC-BY-SA-4.0"), ("open.own", "LicenseRef-own")]
    {
        served.workshop.pipeline(table, &origin(licence));
        served.workshop.run(table);
    }
    // A server looks for new declarations every other second.
    let since = std::time::Instant::now();
    while !served.get("/api/tables").ok().text().contains("LicenseRef-own") {
        assert!(since.elapsed() < std::time::Duration::from_secs(10), "the declarations are not seen");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let terms = |sql: &str| {
        let answer = served.sql(sql).ok();
        let header: Value = serde_json::from_str(answer.header("hambar-terms").unwrap()).unwrap();
        assert_eq!(answer.json()["terms"], header, "{sql}");
        header
    };
    let free = terms("SELECT count(*) AS n FROM demo.figures");
    assert_eq!(free, json!({"licence": "CC0-1.0", "duties": [], "passing_on": "allowed"}));
    let shared = terms("SELECT count(*) AS n FROM demo.figures, open.odbl");
    assert_eq!((&shared["licence"], &shared["passing_on"]), (&json!("ODbL-1.0"), &json!("allowed")), "{shared}");
    let conflict = terms("SELECT count(*) AS n FROM open.sharing, open.odbl");
    assert_eq!((&conflict["licence"], &conflict["passing_on"]), (&Value::Null, &json!("forbidden")), "{conflict}");
    assert!(conflict["conflicts"][0].as_str().unwrap().contains("under itself and no other"), "{conflict}");
    let unknown = terms("SELECT count(*) AS n FROM open.sharing, open.own");
    assert_eq!(unknown["unknown"], json!({"LicenseRef-own": ["open.own"]}), "{unknown}");
    assert_eq!(unknown["passing_on"], json!("unknown"), "{unknown}");
    let closed = terms("SELECT count(*) AS n FROM closed.numbers");
    assert_eq!(closed["duties"], json!(["no-redistribution"]), "{closed}");
    let citation = cited(&served, &json!({"sql": "SELECT a.id FROM open.sharing a JOIN open.odbl b ON a.id = b.id"}));
    assert!(citation["terms"].as_str().unwrap().contains("passing on: forbidden"), "{citation}");
}
