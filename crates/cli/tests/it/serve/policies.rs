//! Which rows and columns members see, by every way on which data leave the server, and what an organisation may use in a
//! day.

use serde_json::{Value, json};

use super::client::Answer;
use super::page::{BROWSER, until};
use super::{ROWS, Served, csv};
use crate::support::{Workshop, snapshot_of};

/// A policy of the open table, of which a third of the rows are Bulgaria's.
const BULGARIA: &str = "country = 'BGR'";
const OF_BULGARIA: u64 = ROWS.div_ceil(3);

/// Ways on which rows of the open table, or something made of them, come to somebody.
const WAYS: [&str; 18] = [
    "/api/sql.csv?q=SELECT * FROM demo.figures ORDER BY id",
    "/api/sql?q=SELECT country, count(*) AS n, max(id) FROM demo.figures GROUP BY 1",
    "/api/sql?q=SELECT max(country) FROM demo.figures",
    "/api/sql.ndjson?q=SELECT * FROM demo.figures VERSION AS OF 1",
    "/api/sql.csv?q=SELECT * FROM as_of('demo.figures', '2100-01-01')",
    "/api/sql.csv?q=SELECT * FROM history('demo.figures')",
    "/api/sql.csv?q=SELECT f.country FROM revisions('demo.figures') r JOIN demo.figures__history f ON f.id = r.id",
    "/api/tables/demo.figures.csv?_limit=10000",
    "/api/tables/demo.figures.csv?_version=1&_sort=-country&_limit=1",
    "/api/tables/demo.figures__history.csv?_limit=10000",
    "/tables/demo.figures?profile=wait",
    "/tables/demo.figures/vintages?id=2&value=country",
    "/sql?q=SELECT DISTINCT country FROM demo.figures&run=1",
    "/api/search?q=romania",
    "/?q=romania",
    "/tables/demo.figures/data.csv",
    "/tables/demo.figures/data.csv?version=1",
    "/cite/demo.figures@2",
];

fn members(served: &Served, arguments: &[&str]) -> String {
    served.workshop.hambar(&[&["members"], arguments].concat()).ok()
}

fn look(served: &Served, token: Option<&str>, target: &str) -> Answer {
    served.get_as(token, target, if target.starts_with("/api") { &[] } else { &[BROWSER] })
}

#[track_caller]
fn shows_only_bulgaria(answer: Answer, what: &str) {
    let text = answer.ok().text();
    // The page of a search repeats what was looked for, in small letters.
    for hidden in ["ROU", "GRC", "Romania", "Greece", "2,000", "2000:"] {
        assert!(!text.contains(hidden), "{what}: {hidden}: {text}");
    }
}

#[test]
fn members_see_their_rows_by_every_way() {
    let served = Served::start("");
    served.provider.publish("/open.csv", &csv(ROWS, 2));
    served.workshop.run("demo.figures");
    let reader = served.token("narrow", "reader", "*");
    let kept = look(&served, Some(&reader), "/api/sql?q=SELECT * FROM demo.figures&page_rows=10").ok();
    let kept = format!("/api/results/{}?rows=10", kept.header("hambar-result").unwrap());
    look(&served, Some(&reader), &kept).ok();
    until("the catalogue knows the codes", || served.get("/api/search?q=romania").text().contains("demo.figures"));
    let said = members(&served, &["set-policy", "tests", "demo.figures", BULGARIA, "--role", "reader"]);
    assert!(said.contains(&format!("tests (reader) sees {OF_BULGARIA} rows")), "{said}");
    let count = "SELECT count(*) FROM demo.figures";
    until("the policy holds", || served.sql_as(Some(&reader), count).value() == OF_BULGARIA.to_string());
    // What was kept before is of other rows.
    look(&served, Some(&reader), &kept).fails(404, "query");
    for way in WAYS {
        // Whoever sees everything asks first, so that nothing that is kept for the next one may be his.
        let whole = look(&served, Some(&served.token), way).ok();
        let is_told = ["ROU", "Romania", "demo.figures"].iter().any(|all| whole.text().contains(all));
        assert!(is_told, "{way}: {}", whole.text());
        shows_only_bulgaria(look(&served, Some(&reader), way), way);
        if let Some(tag) = whole.header("etag") {
            let headers = [("if-none-match", tag), BROWSER];
            let headers = if way.starts_with("/api") { &headers[..1] } else { &headers };
            let again = served.get_as(Some(&reader), way, headers);
            assert_eq!(again.status, 200, "{way}");
        }
    }
    let page = look(&served, Some(&reader), "/tables/demo.figures?profile=wait").ok().text();
    assert!(page.contains("BGR") && page.contains(&OF_BULGARIA.to_string()), "{page}");
    assert!(page.contains("you see a part") && !page.contains("id=\"versions\""), "{page}");
    let found = look(&served, Some(&reader), "/api/search?country=RO").ok().json();
    assert_eq!(found["total"], 0, "{found}");
    let explained = served.sql_as(Some(&reader), "EXPLAIN ANALYZE SELECT * FROM demo.figures").ok().text();
    assert!(!explained.contains("DataSourceExec") && !explained.contains("output_rows=2"), "{explained}");
    served.sql_as(Some(&reader), "SELECT count(*) FROM demo.figures WHERE 1 / (id - 1) >= -1").ok();
    served.sql("SELECT count(*) FROM demo.figures WHERE 1 / (id - 1) >= -1").fails(400, "query");
    // Walked page by page it is the same, and ends.
    let (mut target, mut rows) = ("/api/tables/demo.figures?_limit=100".to_owned(), 0);
    loop {
        let answer = look(&served, Some(&reader), &target).ok().json();
        rows += answer["rows"].as_array().unwrap().len() as u64;
        match answer["next"].as_str() {
            Some(next) => target = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(rows, OF_BULGARIA);
    // Two policies hold together, and go one by one.
    members(&served, &["set-policy", "tests", "demo.figures", "id < 30"]);
    until("both hold", || served.sql_as(Some(&reader), count).value() == "10");
    until("the other holds for all", || served.sql(count).value() == "30");
    let listed = members(&served, &["policies", "--format", "csv"]);
    assert!(listed.contains("tests,reader,demo.figures,country = 'BGR',,20"), "{listed}");
    members(&served, &["remove-policy", "tests", "demo.figures"]);
    members(&served, &["remove-policy", "tests", "demo.figures", "--role", "reader"]);
    until("all rows are back", || served.sql_as(Some(&reader), count).value() == ROWS.to_string());
    let mut served = served;
    assert!(served.stop().success());
    let written = served.workshop.rows("SELECT outcome, member FROM system.audit WHERE outcome LIKE 'policy%'");
    let expected = [
        "policy removed,tests",
        "policy removed,tests (reader)",
        "policy set: country = 'BGR',tests (reader)",
        "policy set: id < 30,tests",
    ];
    assert_eq!(written, expected);
}

#[test]
fn people_without_a_token_have_policies_too() {
    let served = Served::with("", &["--anonymous"]);
    members(&served, &["set-policy", "anonymous", "demo.figures", BULGARIA]);
    let count = |token: Option<&str>| served.sql_as(token, "SELECT count(*) FROM demo.figures").value();
    until("the policy holds", || count(None) == OF_BULGARIA.to_string());
    assert_eq!(count(Some(served.token.as_str())), ROWS.to_string());
    for way in ["/tables/demo.figures?profile=wait", "/api/tables/demo.figures.csv?_limit=10000", "/?q=romania"] {
        shows_only_bulgaria(look(&served, None, way), way);
    }
}

fn cite(served: &Served, token: &str, body: &Value) -> Answer {
    served.send("POST", "/api/cite", Some(token), &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[test]
fn citations_and_descriptions_leave_out_what_is_made_of_all_rows() {
    let served = Served::start("");
    let reader = served.token("narrow", "reader", "*");
    let query = json!({ "sql": "SELECT country, count(*) AS n FROM demo.figures GROUP BY 1" });
    let whole = cite(&served, &served.token, &query).json();
    let cited = format!("/cite/q/{}", whole["id"].as_str().unwrap());
    look(&served, Some(&reader), &cited).ok();
    members(&served, &["set-policy", "tests", "demo.figures", BULGARIA, "--role", "reader"]);
    let ways = ["", ".bib", "/verify", "/rows.csv"].map(|way| format!("{cited}{way}"));
    until("the policy holds", || look(&served, Some(&reader), &ways[0]).status == 404);
    for way in &ways {
        served.get(way).ok();
        let said = served.get_as(Some(&reader), way, &[]).fails(404, "query");
        assert!(said.contains("all rows and columns"), "{way}: {said}");
    }
    let said = cite(&served, &reader, &query).fails(403, "denied");
    assert!(said.contains("reads `demo.figures`, of which a part is for you"), "{said}");
    let table = json!({ "table": "demo.figures", "version": 1 });
    let (mine, theirs) = (cite(&served, &reader, &table).json(), cite(&served, &served.token, &table).json());
    assert!(mine["fingerprint"].is_null() && mine["id"] != theirs["id"], "{mine}");
    assert!(theirs["fingerprint"].as_str().unwrap().starts_with("2000:"), "{theirs}");
    for (target, of_all) in [
        ("/cite/demo.figures@1.txt", "Content 2000:"),
        ("/cite/demo.figures@1.datacite.json", "2000:"),
        ("/catalog.ttl", "with 2000 rows, content 2000:"),
        ("/catalog.jsonld", "with 2000 rows, content 2000:"),
        ("/tables/demo.figures/schema-org.json", "temporalCoverage"),
    ] {
        let (seen, all) = (look(&served, Some(&reader), target).ok().text(), served.get(target).ok().text());
        assert!(all.contains(of_all) && !seen.contains(of_all) && seen.contains("demo.figures"), "{target}: {seen}");
    }
    let page = served.get_as(Some(&reader), "/cite/demo.figures@1", &[BROWSER]).ok().text();
    assert!(page.contains("Of this table a part is for you"), "{page}");
}

/// Ways on which the columns of a table, or their values, come to somebody.
const WAYS_OF_COLUMNS: [&str; 18] = [
    "/api/sql.csv?q=SELECT * FROM demo.wide",
    "/api/sql?q=SELECT * FROM demo.wide VERSION AS OF 1",
    "/api/sql?q=DESCRIBE demo.wide",
    "/api/sql?q=EXPLAIN VERBOSE SELECT * FROM demo.wide",
    "/api/sql?q=SELECT * FROM information_schema.columns WHERE table_name = 'wide'",
    "/api/sql.csv?q=SELECT * FROM history('demo.wide')",
    "/api/sql.csv?q=SELECT * FROM revisions('demo.wide')",
    "/api/tables/demo.wide/schema",
    "/api/tables/demo.wide.csv",
    "/api/catalogue",
    "/tables/demo.wide?profile=wait",
    "/tables/demo.wide/vintages",
    "/tables/demo.wide/data.csv",
    "/tables/demo.wide/data.csv?version=1",
    "/tables/demo.wide/schema-org.json",
    "/tables/demo.wide/croissant.json",
    "/tables/demo.wide/data.csv-metadata.json",
    "/tables/demo.wide/datapackage.json",
];

#[test]
fn hidden_columns_are_nowhere() {
    let served = Served::start("");
    let columns = [("id", "int64"), ("country", "string"), ("hushed_code", "string")];
    for code in ["q77a", "q77b"] {
        served.provider.publish("/wide.csv", &format!("id,country,hushed_code\n1,BGR,{code}\n2,ROU,q78x\n"));
        served.workshop.pipeline("demo.wide", &snapshot_of(&served.provider.url("/wide.csv"), &columns, 1));
        served.workshop.run("demo.wide");
    }
    let (ana, boris) = (served.token("ana", "reader", "*"), served.token("boris", "reader", "*"));
    let found = |token: &str, word: &str| {
        let found = look(&served, Some(token), &format!("/api/search?q={word}")).ok().json();
        found["total"].as_u64().unwrap()
    };
    until("the catalogue knows the codes", || found(&boris, "q77b") == 1);
    let said = members(&served, &["hide-columns", "tests/ana", "demo.wide", "hushed_code"]);
    assert!(said.contains("tests/ana does not see: hushed_code"), "{said}");
    until("it is hidden", || served.sql_as(Some(&ana), "SELECT hushed_code FROM demo.wide").status == 400);
    for way in WAYS_OF_COLUMNS {
        // Whoever sees it asks first, so that nothing that is kept for the next one may be his.
        let (whole, seen) = (look(&served, Some(&boris), way), look(&served, Some(&ana), way).ok().text());
        assert!(whole.ok().text().contains("hushed_code"), "{way}");
        for hidden in ["hushed", "q77", "q78"] {
            assert!(!seen.contains(hidden), "{way}: {hidden}: {seen}");
        }
    }
    assert_eq!((found(&ana, "hushed"), found(&ana, "q77b"), found(&ana, "wide")), (0, 0, 1));
    assert_eq!((found(&boris, "hushed"), found(&boris, "q77b")), (1, 1));
    for sql in [
        "SELECT hushed_code FROM demo.wide",
        "SELECT 1 FROM demo.wide WHERE hushed_code = 'q77b'",
        "SELECT max(hushed_code) FROM demo.wide VERSION AS OF 1",
        "SELECT 1 FROM revisions('demo.wide') WHERE new_value = hushed_code",
    ] {
        let said = served.sql_as(Some(&ana), sql).fails(400, "query");
        let missing = served.sql_as(Some(&ana), &sql.replace("hushed_code", "missed_code")).fails(400, "query");
        assert_eq!(said.replace("hushed", "missed"), missing, "{sql}");
    }
    for target in ["/api/tables/demo.wide?hushed_code=q77b", "/api/tables/demo.wide?_sort=hushed_code"] {
        let said = look(&served, Some(&ana), target).fails(400, "query");
        assert!(said.contains("does not exist"), "{target}: {said}");
    }
    // What only the hidden column tells is not told: nothing else has changed.
    assert_eq!(served.sql_as(Some(&ana), "SELECT count(*) FROM revisions('demo.wide')").value(), "0");
    assert_eq!(served.sql_as(Some(&boris), "SELECT count(*) FROM revisions('demo.wide')").value(), "1");
    let listed = members(&served, &["policies", "--format", "csv"]);
    assert!(listed.contains("tests/ana,,demo.wide,,hushed_code,20"), "{listed}");
    members(&served, &["show-columns", "tests/ana", "demo.wide"]);
    until("it is shown", || served.sql_as(Some(&ana), "SELECT hushed_code FROM demo.wide").status == 200);
}

#[test]
fn a_policy_that_no_longer_fits_closes_the_table_for_whom_it_holds() {
    let served = Served::start("");
    let reader = served.token("narrow", "reader", "*");
    members(&served, &["set-policy", "tests", "demo.figures", BULGARIA, "--role", "reader"]);
    // As if the column had another name since.
    let newest = served.workshop.files("store/members").into_iter().max().unwrap();
    let state = std::fs::read_to_string(&newest).unwrap();
    let number: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let changed = state
        .replace(BULGARIA, "land = 'BGR'")
        .replace(&format!("\"number\": {number}"), &format!("\"number\": {}", number + 1));
    served.workshop.write(&format!("store/members/{:020}.json", number + 1), &changed);
    let ways = ["/api/sql?q=SELECT 1 FROM demo.figures", "/api/tables/demo.figures", "/api/tables/demo.figures/schema"];
    until("it is closed", || look(&served, Some(&reader), ways[0]).status == 403);
    for way in ways {
        let said = look(&served, Some(&reader), way).fails(403, "denied");
        assert!(said.contains("its policy does not fit it") && said.contains("`land`"), "{way}: {said}");
        look(&served, Some(&served.token), way).ok();
    }
    for page in ["/tables/demo.figures", "/tables/demo.figures/vintages"] {
        let answer = look(&served, Some(&reader), page);
        assert_eq!(answer.status, 403, "{page}: {}", answer.text());
    }
    served.sql_as(Some(&reader), "SELECT * FROM closed.numbers").ok();
}

#[test]
fn policies_and_quotas_are_set_with_care() {
    let served = Served::start("");
    let run = |arguments: &[&str]| served.workshop.hambar(&[&["members"], arguments].concat());
    let set = |whom: &str, table: &str, condition: &str| run(&["set-policy", whom, table, condition]);
    set("nobody", "demo.figures", "true").fails(2, &["there is no organisation `nobody`"]);
    set("tests", "demo.nothing", "true").fails(20, &["table `demo.nothing` does not exist"]);
    set("tests", "demo.figures__history", "true").fails(2, &["set it for that table"]);
    set("tests", "demo.figures", "land = 'BGR'").fails(21, &["does not fit it", "`land`"]);
    set("tests", "demo.figures", "(SELECT true)").fails(21, &["subquery"]);
    set("tests", "demo.figures", "CAST(country AS INT) = 1").fails(21, &["cannot be computed"]);
    run(&["set-policy", "anonymous", "demo.figures", "true", "--role", "reader"])
        .fails(2, &["have no role and no names"]);
    run(&["remove-policy", "tests", "demo.figures"])
        .fails(2, &["there is no policy for tests on the rows of `demo.figures`"]);
    run(&["add-org", "anonymous"]).fails(2, &["for people without a token"]);
    run(&["set-policy", "tests/nobody", "demo.figures", "true"]).fails(2, &["there is no token `tests/nobody`"]);
    run(&["remove-policy", "tests/all", "demo.figures"]).fails(2, &["there is no policy for tests/all on the rows"]);
    let hide = |whom: &str, table: &str, columns: &str| run(&["hide-columns", whom, table, columns]);
    hide("tests", "demo.figures", "note,gone").fails(21, &["hides the column `gone`, which it does not have"]);
    hide("tests", "demo.figures", "_recorded_at").fails(2, &["`_recorded_at` cannot be hidden"]);
    hide("tests", "demo.nothing", "note").fails(20, &["table `demo.nothing` does not exist"]);
    hide("anonymous/x", "demo.figures", "note").fails(2, &["have no role and no names"]);
    run(&["show-columns", "tests", "demo.figures"]).fails(2, &["there is no policy for tests on the columns"]);
    run(&["set-quota", "nobody", "--rows", "1"]).fails(2, &["there is no organisation `nobody`"]);
    run(&["set-quota", "tests", "--rows", "0"]).fails(2, &["0"]);
    assert_eq!(members(&served, &["policies", "--format", "csv"]).lines().count(), 1, "none was set");
}

fn token_of(workshop: &Workshop, organisation: &str, name: &str) -> String {
    workshop.hambar(&["members", "add-token", organisation, name, "--scope", "*"]).ok().trim().to_owned()
}

#[test]
fn an_organisation_has_its_quota_of_a_day_on_all_servers() {
    let mut served = Served::start("");
    members(&served, &["add-org", "sofia"]);
    members(&served, &["set-quota", "sofia", "--queries", "5", "--rows", "100000"]);
    let (ana, boris) = (token_of(&served.workshop, "sofia", "ana"), token_of(&served.workshop, "sofia", "boris"));
    let cached = "/api/sql?q=SELECT max(id) FROM demo.figures";
    for _ in 0..2 {
        look(&served, Some(&ana), cached).ok();
    }
    for token in [&ana, &boris, &ana] {
        served.sql_as(Some(token), "SELECT count(*) FROM demo.figures").ok();
    }
    for token in [&ana, &boris] {
        let refused = served.sql_as(Some(token), "SELECT 1");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=24 * 60 * 60 + 1).contains(&wait), "{wait}");
        let said = refused.fails(429, "quota");
        assert!(said.contains("`sofia` has used its 5 queries of the day") && said.contains("T00:00:00Z"), "{said}");
    }
    // What is held for those who ask again is output like any other.
    look(&served, Some(&ana), cached).fails(429, "quota");
    look(&served, Some(&ana), "/api/tables/demo.figures").fails(429, "quota");
    assert!(look(&served, Some(&ana), "/tables/demo.figures").ok().text().contains("5 queries of the day"));
    served.sql("SELECT 1").ok();
    let metrics = served.get("/metrics").ok().text();
    assert!(metrics.contains("hambar_quota_refused_total{measure=\"queries\"}"), "{metrics}");
    let operations = look(&served, Some(&served.token), "/operations").ok().text();
    assert!(operations.contains("sofia · Queries") && operations.contains("5 / 5"), "{operations}");
    assert!(served.stop().success());
    let listed = members(&served, &["quotas", "--format", "csv"]);
    assert!(listed.contains("sofia,queries,5,5\n") && listed.contains(",100000\n"), "{listed}");
    // Another server over the same store counts on from there.
    let other = Served::over_again(served);
    until("the other server knows", || other.sql_as(Some(&ana), "SELECT 1").status == 429);
    members(&other, &["set-quota", "sofia", "--rows", "10000"]);
    until("the quota is another one", || other.sql_as(Some(&ana), "SELECT 1").status == 200);
    other.sql_as(Some(&boris), "SELECT value FROM generate_series(1, 20000)").ok();
    let said = other.sql_as(Some(&ana), "SELECT 1").fails(429, "quota");
    assert!(said.contains("its 10000 rows of the day"), "{said}");
    members(&other, &["set-quota", "sofia"]);
    until("the quota is lifted", || other.sql_as(Some(&ana), "SELECT 1").status == 200);
}

#[test]
fn people_without_a_token_share_a_quota() {
    let served = Served::prepared("", &["--anonymous"], |workshop| {
        workshop.hambar(&["members", "set-quota", "anonymous", "--queries", "3"]).ok();
    });
    for _ in 0..3 {
        served.sql_as(None, "SELECT count(*) FROM demo.figures").ok();
    }
    let said = served.sql_as(None, "SELECT 1").fails(429, "quota");
    assert!(said.contains("people without a token have together used their 3 queries of the day"), "{said}");
    served.sql("SELECT 1").ok();
    let listed = members(&served, &["quotas", "--format", "csv"]);
    assert!(listed.contains("anonymous,queries,") && listed.contains(",3\n"), "{listed}");
}
