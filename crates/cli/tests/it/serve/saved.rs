//! Statements that people keep and share, links that are pinned to versions, and one series as it was known over time.

use serde_json::{Value, json};

use super::client::Answer;
use super::{Served, csv};

fn save(served: &Served, token: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    served.send("POST", "/api/saved", Some(token), &headers, body.to_string().as_bytes())
}

fn titles(served: &Served, token: &str) -> Vec<String> {
    let answer = served.get_as(Some(token), "/api/saved", &[]).ok().json();
    let mut titles: Vec<String> =
        answer["saved"].as_array().unwrap().iter().map(|saved| saved["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

#[test]
fn statements_are_kept_for_oneself_or_for_ones_organisation() {
    let served = Served::start("");
    served.workshop.hambar(&["members", "add-org", "other"]).ok();
    let (ana, ivan) = (served.token("ana", "reader", "demo"), served.token("ivan", "reader", "demo"));
    let arguments = ["members", "add-token", "other", "eva", "--role", "administrator", "--scope", "*"];
    let eva = served.workshop.hambar(&arguments).ok().trim().to_owned();
    let kept = save(&served, &ana, &json!({ "title": "mine", "sql": "SELECT 1" }));
    assert_eq!(kept.status, 201, "{}", kept.text());
    let kept = kept.json();
    assert_eq!((&kept["owner"], &kept["mine"], &kept["shared"]), (&json!("tests/ana"), &json!(true), &json!(false)));
    assert_eq!(save(&served, &ana, &json!({ "title": "ours", "sql": "SELECT 2", "shared": true })).status, 201);
    assert_eq!(titles(&served, &ana), ["mine", "ours"]);
    assert_eq!(titles(&served, &ivan), ["ours"]);
    assert_eq!(titles(&served, &eva), [] as [&str; 0], "another organisation sees nothing, whatever the role");
    let remove = |token: &str, id: &str| served.send("DELETE", &format!("/api/saved/{id}"), Some(token), &[], b"");
    let id = kept["id"].as_str().unwrap();
    remove(&ivan, id).fails(404, "query");
    remove(&eva, id).fails(404, "query");
    remove(&ana, "..%2F..%2Fmembers").fails(404, "query");
    assert_eq!(remove(&ana, id).status, 204);
    remove(&ana, id).fails(404, "query");
    assert_eq!(titles(&served, &ana), ["ours"]);
    save(&served, &ana, &json!({ "title": "", "sql": "SELECT 1" })).fails(400, "query");
    save(&served, &ana, &json!({ "title": "x", "sql": "SELECT 1", "owner": "tests/ivan" })).fails(400, "query");
}

#[test]
fn a_permalink_gives_the_same_rows_for_good() {
    let served = Served::start("");
    let pin = |sql: &str| {
        let body = json!({ "sql": sql }).to_string();
        served.send(
            "POST",
            "/api/permalink",
            Some(&served.token),
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    };
    let sql = "SELECT sum(f.value) AS s FROM demo.figures f -- demo.figures";
    let before = served.sql(sql).value();
    let link = pin(sql).ok().json();
    assert_eq!(link["is_pinned"], true, "{link}");
    let pinned = link["sql"].as_str().unwrap();
    assert!(
        pinned.contains("demo.figures VERSION AS OF") && link["url"].as_str().unwrap().starts_with("/sql?q="),
        "{link}"
    );
    served.provider.publish("/open.csv", &csv(super::ROWS, 3));
    served.workshop.run("demo.figures");
    assert_ne!(served.sql(sql).value(), before);
    assert_eq!(served.sql(pinned).value(), before);
    let joined =
        pin("WITH a AS (SELECT * FROM demo.figures) SELECT count(*) FROM a JOIN \"demo\".\"figures\" USING (id)");
    let joined = joined.ok().json();
    assert_eq!(joined["sql"].as_str().unwrap().matches("VERSION AS OF").count(), 2, "{joined}");
    assert_eq!(joined["is_pinned"], true, "{joined}");
    // What cannot be pinned is not called so.
    let free = pin("SELECT count(*) FROM revisions('demo.figures')").ok().json();
    assert_eq!(
        (&free["is_pinned"], free["sql"].as_str()),
        (&json!(false), Some("SELECT count(*) FROM revisions('demo.figures')"))
    );
    pin("SELECT * FROM closed.nothing").fails(400, "query");
}

#[test]
fn a_series_is_shown_as_it_was_known() {
    let served = Served::start("");
    served.provider.publish("/open.csv", &csv(super::ROWS, 7));
    served.workshop.run("demo.figures");
    let get = |target: &str| served.get_as(Some(&served.token), target, &[("accept", "text/html")]).ok().text();
    let text = get("/tables/demo.figures/vintages?id=5&value=value");
    for part in ["<hb-vintages data-table=\"demo.figures\"", ">5.5<", ">35.5<", "revised", "still holds"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let chosen = get("/tables/demo.figures/vintages");
    assert!(chosen.contains("revised"), "the series that was revised most is shown first: {chosen}");
    let target = "/tables/demo.figures/vintages?id=5'%20OR%201=1&value=\"><script>";
    let hostile = served.get_as(Some(&served.token), target, &[("accept", "text/html")]);
    assert!(matches!(hostile.status, 200 | 400), "{}", hostile.text());
    assert!(!hostile.text().contains("<script>") && !hostile.text().contains("35.5"), "{}", hostile.text());
}
