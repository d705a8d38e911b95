//! Asking again: tags, answers that are held, and that neither is ever stale.

use super::{ROWS, Served, csv};

#[test]
fn an_unchanged_answer_is_304_and_a_new_version_is_seen_at_once() {
    let served = Served::start("");
    let target = "/api/sql?q=SELECT sum(value) AS s FROM demo.figures";
    let first = served.get(target).ok();
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = |tag: &str| served.get_as(Some(&served.token), target, &[("if-none-match", tag)]);
    let unchanged = again(&tag);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    assert_eq!(again("W/\"other\"").status, 200);
    assert_eq!(again(&format!("\"x\", {tag}")).status, 304);
    for round in 2..6 {
        served.provider.publish("/open.csv", &csv(ROWS, round));
        served.workshop.run("demo.figures");
        let fresh = again(&tag).ok();
        let sum: f64 = (0..ROWS).map(|id| (id * round) as f64 + 0.5).sum();
        assert_eq!(fresh.json()["rows"][0]["s"].as_f64(), Some(sum), "round {round}");
        assert_ne!(fresh.header("etag"), Some(tag.as_str()));
        // Held by now, and the same.
        assert_eq!(served.get(target).ok().json()["rows"], fresh.json()["rows"]);
    }
    let text = served.get("/metrics").ok().text();
    assert!(
        text.contains("hambar_cache_total{outcome=\"cached\"}") && text.contains("outcome=\"unchanged\""),
        "{text}"
    );
}

#[test]
fn a_server_that_never_saw_the_question_knows_whether_it_changed() {
    let mut served = Served::start("");
    let target = "/api/sql.csv?q=SELECT count(*) FROM demo.figures";
    let tag = served.get(target).ok().header("etag").unwrap().to_owned();
    assert!(served.stop().success());
    let other = Served::over_again(served);
    let answer = other.get_as(Some(&other.token), target, &[("if-none-match", &tag)]);
    assert_eq!(answer.status, 304, "{}", answer.text());
    assert!(!other.log().contains("query ended"), "{}", other.log());
}

#[test]
fn only_what_cannot_change_is_kept_for_ever() {
    let served = Served::start("");
    let policy = |sql: &str| served.get(&format!("/api/sql?q={sql}")).ok().header("cache-control").unwrap().to_owned();
    assert!(policy("SELECT count(*) FROM demo.figures VERSION AS OF 1").contains("immutable"));
    for sql in ["SELECT count(*) FROM demo.figures", "SELECT * FROM as_of('demo.figures', '2020-01-01')"] {
        assert_eq!(policy(sql), "private, no-cache", "{sql}");
    }
    for sql in [
        "SELECT now()",
        "SELECT random()",
        "SELECT current_date",
        "SHOW TABLES",
        "SELECT count(*) FROM information_schema.tables",
    ] {
        assert_eq!(policy(sql), "no-store", "{sql}");
        assert!(served.get(&format!("/api/sql?q={sql}")).ok().header("etag").is_none(), "{sql}");
    }
}

#[test]
fn answers_are_not_shared_between_those_who_see_different_tables() {
    let served = Served::start("");
    let (wide, narrow) = (served.token("wide", "reader", "*"), served.token("narrow", "reader", "demo"));
    let target = "/api/sql?q=SELECT * FROM closed.numbers";
    let seen = served.get_as(Some(&wide), target, &[]).ok();
    let tag = seen.header("etag").unwrap();
    served.get_as(Some(&narrow), target, &[]).fails(400, "query");
    served.get_as(Some(&narrow), target, &[("if-none-match", tag)]).fails(400, "query");
}
