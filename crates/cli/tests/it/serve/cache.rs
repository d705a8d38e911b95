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

#[test]
fn what_is_made_of_the_same_rows_in_different_ways_is_told_apart() {
    let served = Served::start("");
    let first = |columns: &str| served.get(&format!("/api/tables/demo.figures.csv?_limit=2&_columns={columns}")).ok();
    for _ in 0..2 {
        let (narrow, wide) = (first("country"), first("country,id"));
        assert_eq!(narrow.text(), "country\nBGR\nGRC\n");
        assert_eq!(wide.text(), "country,id\nBGR,0\nGRC,1\n");
        assert_ne!(narrow.header("etag"), wide.header("etag"));
    }
}

#[test]
fn an_answer_names_its_sources_as_they_are_declared_now() {
    let served = Served::start("");
    let target = "/api/sql?q=SELECT max(id) AS m FROM demo.figures";
    let first = served.get(target).ok();
    let tag = first.header("etag").unwrap().to_owned();
    assert!(first.header("hambar-sources").unwrap().contains("\"citation\":\"Tests\""));
    let file = served.workshop.path().join("pipelines/demo/figures.toml");
    let declared = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, declared.replace("citation = \"Tests\"", "citation = \"Tests, corrected\"")).unwrap();
    served.workshop.run("demo.figures");
    let since = std::time::Instant::now();
    loop {
        let answer = served.get_as(Some(&served.token), target, &[("if-none-match", &tag)]);
        if answer.status == 200 {
            let sources = answer.header("hambar-sources").unwrap().to_owned();
            assert!(sources.contains("Tests, corrected"), "{sources}");
            assert_eq!(answer.json()["rows"], first.json()["rows"]);
            return;
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(5), "the old citation is still sent");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn what_many_ask_at_once_is_run_once() {
    let served = Served::start("");
    let sql = "SELECT sum(a.value * b.value) AS s FROM generate_series(1, 4000) a, generate_series(1, 2000) b";
    let target = format!("/api/sql?q={sql}");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || served.get(&target).ok().json()["rows"].clone();
        let first = scope.spawn(ask);
        let since = std::time::Instant::now();
        while served.get("/api/queries").ok().json().as_array().unwrap().is_empty() {
            assert!(since.elapsed() < std::time::Duration::from_secs(30), "the query does not start");
        }
        let others: Vec<_> = (0..7).map(|_| scope.spawn(ask)).collect();
        std::iter::once(first).chain(others).map(|asker| asker.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|rows| rows[0]["s"] == 16_012_002_000_000_i64), "{answers:?}");
    let metrics = served.get("/metrics").ok().text();
    for told in ["hambar_cache_total{outcome=\"miss\"} 1\n", "hambar_cache_total{outcome=\"cached\"} 7\n"] {
        assert!(metrics.contains(told), "{told}: {metrics}");
    }
}
