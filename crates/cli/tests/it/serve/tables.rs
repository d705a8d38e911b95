//! Tables without SQL: filters, order, pages, the past; and the description of the interface.

use std::collections::BTreeSet;

use super::{ROWS, Served, csv};

#[test]
fn filters_columns_and_order() {
    let served = Served::start("");
    let rows = |query: &str| {
        let answer = served.get(&format!("/api/tables/demo.figures?{query}")).ok().json();
        answer["rows"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(rows("id=7"), [7]);
    assert_eq!(rows("id=in.(3,1,2)"), [1, 2, 3]);
    assert_eq!(rows("country=BGR&id=lt.10&_sort=-id"), [9, 6, 3, 0]);
    assert_eq!(rows("note=is.null&id=lte.10"), [0, 5, 10]);
    assert_eq!(rows("note=like.n1,%25&_limit=5"), [1]);
    assert_eq!(rows("value=gte.1998.5&_columns=id"), [1998, 1999]);
    assert_eq!(rows("country=BGR' OR '1'='1"), [0_u64; 0]);
    let narrow = served.get("/api/tables/demo.figures.csv?_columns=country,value&id=1").ok().text();
    assert_eq!(narrow, "country,value\nGRC,1.5\n");
    for wrong in ["id=x", "nothing=1", "_limit=100000", "_sort=nothing", "_unknown=1", "_after=AAAA"] {
        let problem = served.get(&format!("/api/tables/demo.figures?{wrong}")).fails(400, "query");
        assert!(!problem.contains("position"), "{problem}");
    }
    let schema = served.get("/api/tables/demo.figures/schema").ok().json();
    assert_eq!((schema["key"][0].as_str(), schema["licence"].as_str()), (Some("id"), Some("CC0-1.0")));
    assert_eq!(schema["columns"][1]["name"], "country");
    served.get("/api/tables/demo.nothing/schema").fails(404, "query");
    served.get("/api/tables/x").fails(404, "query");
}

#[test]
fn pages_of_one_walk_read_one_version_and_every_row_once() {
    let served = Served::start("");
    for query in ["_limit=300", "_limit=300&_sort=-country,year", "_limit=300&_columns=id&_sort=note"] {
        let mut target = format!("/api/tables/demo.figures?{query}");
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let answer = served.get(&target).ok();
            let body = answer.json();
            seen.extend(body["rows"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()));
            pages += 1;
            if pages == 2 && query == "_limit=300" {
                // What comes in between changes nothing for who is on his way.
                served.provider.publish("/open.csv", &csv(10, 1));
                served.workshop.run("demo.figures");
            }
            let Some(next) = body["next"].as_str() else { break };
            assert!(answer.header("link").is_some());
            target = next.to_owned();
        }
        if query == "_limit=300" {
            served.provider.publish("/open.csv", &csv(ROWS, 1));
            served.workshop.run("demo.figures");
        }
        assert_eq!(seen.len() as u64, ROWS, "{query}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len() as u64, ROWS, "{query}");
        assert_eq!(pages, 7, "{query}");
    }
    // Without a key, too.
    let mut target = "/api/tables/demo.figures__history?_limit=500".to_owned();
    let mut rows = 0;
    loop {
        let body = served.get(&target).ok().json();
        rows += body["rows"].as_array().unwrap().len();
        let Some(next) = body["next"].as_str() else { break };
        target = next.to_owned();
    }
    assert_eq!(rows as u64, ROWS - 10);
}

#[test]
fn the_interface_describes_itself() {
    let served = Served::start("");
    let document = served.get_as(None, "/api/openapi.json", &[]).ok().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for path in [
        "/api/sql",
        "/api/tables",
        "/api/tables/{table}",
        "/api/queries/{id}",
        "/api/search",
        "/api/saved",
        "/metrics",
        "/healthz",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let page = served.get_as(None, "/docs", &[]).ok();
    let text = page.text();
    assert!(text.contains("GET /api/sql") && !text.contains("http://") && !text.contains("<script"), "{text}");
    for header in ["content-security-policy", "x-content-type-options", "referrer-policy"] {
        assert!(page.header(header).is_some(), "{header}");
    }
    served.get("/nowhere").fails(404, "query");
    served.get("/../../etc/passwd").fails(404, "query");
    served.get("/api/sql/../tables").fails(404, "query");
}

#[test]
fn schedules_run_beside_serving_and_freshness_is_a_metric_and_on_the_page() {
    let upkeep = "[schedule]\nlook_seconds = 1\n[schedule.upkeep]\noptimize = \"\"\nvacuum = \"\"\n";
    let mut served = Served::prepared(upkeep, &[], |workshop| {
        let file = workshop.path().join("pipelines/demo/figures.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("[origin]", "[schedule]\nadaptive = {}\n[origin]", 1)).unwrap();
    });
    let since = std::time::Instant::now();
    loop {
        let metrics = served.get("/metrics").ok().text();
        let has = |line: &str| metrics.lines().any(|found| found.starts_with(line));
        if has("hambar_table_verified_timestamp_seconds{table=\"demo.figures\"} 1") && has("hambar_schedule_leads 1") {
            assert!(has("hambar_table_changed_timestamp_seconds{table=\"demo.figures\"} 1"), "{metrics}");
            assert!(has("hambar_table_due_timestamp_seconds{table=\"demo.figures\"} 1"), "{metrics}");
            assert!(has("hambar_table_overdue_seconds{table=\"demo.figures\"} 0"), "{metrics}");
            assert!(has("hambar_schedule_failing 0"), "{metrics}");
            let page =
                served.get_as(Some(&served.token), "/tables/demo.figures", &[("accept", "text/html")]).ok().text();
            for said in ["Last changed", "Last verified", "Next run due"] {
                assert!(page.contains(&format!("<dt>{said}</dt>")), "{said}: {page}");
            }
            assert!(!page.contains("Overdue since"), "{page}");
            break;
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(30), "{metrics}\n{}", served.log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(served.stop().code(), Some(0));
}
