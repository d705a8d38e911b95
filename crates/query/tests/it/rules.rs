//! Our own optimizer rules: they fire where they should, and never change an answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use hambar_query::{QueryEngine, QueryLimits};

use crate::fixture::{Fixture, fixture, text};

/// Rows with few and many keys, ties, and NULLs.
const ROWS: &str = "(SELECT value AS id, value % 97 AS k, nullif(value * 7919 % 1009, 5) AS x, \
    CASE WHEN value % 3 = 0 THEN NULL ELSE 'p' || CAST(value % 11 AS VARCHAR) END AS p, \
    CAST(value % 13 AS DOUBLE) AS f FROM generate_series(1, 4000)) t";

async fn rows(fixture: &Fixture, sql: &str) -> Vec<String> {
    let mut lines: Vec<String> = text(fixture.engine().query(sql).await).await.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn plan(fixture: &Fixture, sql: &str) -> String {
    text(fixture.engine().query(&format!("EXPLAIN {sql}")).await).await
}

#[tokio::test]
async fn rankings_with_a_bound_keep_only_leaders_and_the_same_answer() {
    let fixture = fixture().await;
    let ranked = |function: &str, over: &str, columns: &str| {
        format!("SELECT {columns} FROM (SELECT *, {function} OVER ({over}) AS place FROM {ROWS}) r")
    };
    let over = "PARTITION BY k ORDER BY x DESC NULLS LAST, id";
    let ties = "PARTITION BY p ORDER BY x";
    for (sql, bound) in [
        (ranked("row_number()", over, "k, x, id, place"), "place <= 3"),
        (ranked("row_number()", over, "k, x, id, place"), "place < 2"),
        (ranked("row_number()", over, "k, x, id, place"), "4 >= place AND id > 100"),
        (ranked("row_number()", over, "place + 1 AS later, id, place"), "place = 2"),
        (ranked("row_number()", "PARTITION BY p, k ORDER BY x, id", "p, k, id"), "place <= 1"),
        (ranked("rank()", ties, "p, x, id, place"), "place <= 5"),
        (ranked("row_number()", "PARTITION BY id ORDER BY x", "id"), "place <= 2"),
    ] {
        let with_rule = format!("{sql} WHERE {bound}");
        // The same condition in a form that the rule does not see through.
        let without = format!("{sql} WHERE {}", bound.replace("place", "(place + 0)"));
        let shown = plan(&fixture, &with_rule).await;
        assert!(shown.contains("LeadersExec"), "{with_rule}\n{shown}");
        assert!(!plan(&fixture, &without).await.contains("LeadersExec"), "{without}");
        let expected = rows(&fixture, &without).await;
        assert!(!expected.is_empty(), "{without}");
        assert_eq!(rows(&fixture, &with_rule).await, expected, "{with_rule}");
    }
}

#[tokio::test]
async fn other_windows_are_left_alone() {
    let fixture = fixture().await;
    let over = "PARTITION BY k ORDER BY x, id";
    for (sql, why) in [
        (
            format!(
                "SELECT * FROM (SELECT id, row_number() OVER ({over}) AS place, sum(x) OVER ({over}) AS s FROM {ROWS}) r WHERE place <= 3"
            ),
            "a sum over the window",
        ),
        (
            format!(
                "SELECT * FROM (SELECT id, row_number() OVER ({over}) AS place, lead(x) OVER ({over}) AS s FROM {ROWS}) r WHERE place <= 3"
            ),
            "the row after the last leader",
        ),
        (
            format!("SELECT * FROM (SELECT dense_rank() OVER ({over}) AS place FROM {ROWS}) r WHERE place <= 3"),
            "dense ranks",
        ),
        (
            format!(
                "SELECT * FROM (SELECT row_number() OVER (PARTITION BY f ORDER BY id) AS place FROM {ROWS}) r WHERE place <= 3"
            ),
            "floats as keys",
        ),
        (
            format!("SELECT * FROM (SELECT row_number() OVER (ORDER BY id) AS place FROM {ROWS}) r WHERE place <= 3"),
            "one partition",
        ),
        (
            format!("SELECT * FROM (SELECT row_number() OVER ({over}) AS place FROM {ROWS}) r WHERE place >= 3"),
            "a lower bound",
        ),
        (
            format!(
                "SELECT * FROM (SELECT k AS place, row_number() OVER ({over}) AS n FROM {ROWS}) r WHERE place <= 3"
            ),
            "another column",
        ),
    ] {
        assert!(!plan(&fixture, &sql).await.contains("LeadersExec"), "{why}: {sql}");
    }
}

#[tokio::test]
async fn distinct_counts_are_taken_apart_and_stay_the_same() {
    let fixture = fixture().await;
    let together = format!(
        "SELECT count(DISTINCT p) AS a, count(*) AS n, count(DISTINCT x) AS b, max(id) AS m, count(DISTINCT f) AS c FROM {ROWS}"
    );
    let shown = plan(&fixture, &together).await;
    assert!(shown.contains("CrossJoin"), "{shown}");
    assert_eq!(rows(&fixture, &together).await, ["11 | 4000 | 1008 | 4000 | 13"]);
    for (sql, why) in [
        (format!("SELECT k, count(DISTINCT p), count(DISTINCT x) FROM {ROWS} GROUP BY k"), "groups"),
        (format!("SELECT count(DISTINCT p), count(DISTINCT x) FROM {ROWS} WHERE k > 3"), "a filter"),
    ] {
        let shown = plan(&fixture, &sql).await;
        assert!(!shown.contains("CrossJoin"), "{why}: {shown}");
    }
    assert_eq!(
        rows(&fixture, "SELECT count(DISTINCT country), count(DISTINCT year), count(gdp) FROM demo.gdp").await,
        ["3 | 2 | 4"]
    );
}

/// Rows of the table of texts.
const TEXT_ROWS: u32 = 150_000;

/// `demo.texts`: a column with 90 texts and NULLs, one with a text of its own in each row, and a number.
async fn texts(fixture: &Fixture) -> QueryEngine {
    let few = StringArray::from_iter(
        (0..TEXT_ROWS).map(|n| (n % 91 != 7).then(|| format!("one of few long texts {}", n % 91))),
    );
    let own = StringArray::from_iter_values((0..TEXT_ROWS).map(|n| format!("a text of its own {n}")));
    let number = Int64Array::from_iter_values((0..TEXT_ROWS).map(i64::from));
    let columns: [(&str, ArrayRef); 3] = [("few", Arc::new(few)), ("own", Arc::new(own)), ("n", Arc::new(number))];
    crate::fixture::load(&fixture.lake, "demo.texts", &columns).await;
    let limits = QueryLimits { memory_bytes_max: 512 << 20, ..crate::fixture::limits() };
    QueryEngine::new(fixture.lake.clone(), limits, &fixture.spill()).unwrap()
}

#[tokio::test]
async fn groups_by_texts_go_by_codes_and_give_the_same() {
    let fixture = fixture().await;
    let engine = texts(&fixture).await;
    let answer = async |sql: &str| text(engine.query(sql).await).await;
    for (sql, is_coded, expected) in [
        (
            "SELECT count(*), sum(c), sum(s) FROM (SELECT few, count(*) AS c, sum(n) AS s FROM demo.texts GROUP BY few) t",
            true,
            "91 | 150000 | 11249925000",
        ),
        (
            "SELECT few, count(*), min(n) FROM demo.texts GROUP BY few ORDER BY min(n) LIMIT 3 OFFSET 6",
            true,
            "one of few long texts 6 | 1649 | 6\n1649 | 7\none of few long texts 8 | 1649 | 8",
        ),
        (
            "SELECT count(*), min(few), max(few) FROM (SELECT DISTINCT few FROM demo.texts) t",
            true,
            "91 | one of few long texts 0 | one of few long texts 90",
        ),
        (
            "SELECT few, n % 2 AS odd, count(*) FROM demo.texts WHERE few LIKE '%texts 3' GROUP BY 1, 2 ORDER BY 2",
            true,
            "one of few long texts 3 | 0 | 824\none of few long texts 3 | 1 | 825",
        ),
        (
            "SELECT substr(few, 1, 3) AS start, count(*) FROM demo.texts GROUP BY 1 ORDER BY 2",
            true,
            "1649\none | 148351",
        ),
        // More texts than get codes: the plan falls back.
        (
            "SELECT count(*), sum(c), min(own) FROM (SELECT own, count(*) AS c FROM demo.texts GROUP BY own) t",
            true,
            "150000 | 150000 | a text of its own 0",
        ),
        (
            "SELECT own, few, count(*) FROM demo.texts GROUP BY own, few ORDER BY own LIMIT 1",
            true,
            "a text of its own 0 | one of few long texts 0 | 1",
        ),
        ("SELECT count(DISTINCT own), count(DISTINCT few) FROM demo.texts", true, "150000 | 90"),
        (
            "SELECT count(*) FROM (SELECT few, count(*) AS c FROM demo.texts GROUP BY few) a JOIN \
            (SELECT few, count(*) AS c FROM demo.texts GROUP BY few) b ON a.few = b.few AND a.c = b.c",
            false,
            "90",
        ),
        (
            "SELECT few, sum(c) FROM (SELECT few, own, count(*) AS c FROM demo.texts WHERE n < 100 GROUP BY few, own) t \
            GROUP BY few ORDER BY few LIMIT 1",
            false,
            "one of few long texts 0 | 2",
        ),
    ] {
        let plan = answer(&format!("EXPLAIN {sql}")).await;
        assert!(!is_coded || plan.contains("FallbackExec"), "{sql}\n{plan}");
        assert_eq!(answer(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn expressions_over_repeated_texts_are_memorised_and_give_the_same() {
    let fixture = fixture().await;
    let engine = texts(&fixture).await;
    let answer = async |sql: &str| text(engine.query(sql).await).await;
    for (condition, expected) in [
        ("few LIKE '%texts%9'", (0..TEXT_ROWS).filter(|n| n % 91 % 10 == 9).count()),
        ("few NOT LIKE '%9%'", (0..TEXT_ROWS).filter(|n| !(n % 91).to_string().contains('9') && n % 91 != 7).count()),
        ("length(few) = 23", (0..TEXT_ROWS).filter(|n| n % 91 < 10 && n % 91 != 7).count()),
        ("TRY_CAST(substr(few, 23) AS INT) >= 50 AND n < 1000", (0..1000_u32).filter(|n| n % 91 >= 50).count()),
        ("own LIKE '%77777%'", (0..TEXT_ROWS).filter(|n| n.to_string().contains("77777")).count()),
    ] {
        let sql = format!("SELECT count(*) FROM demo.texts WHERE {condition}");
        assert!(answer(&format!("EXPLAIN {sql}")).await.contains("memo("), "{sql}");
        assert_eq!(answer(&sql).await, expected.to_string(), "{sql}");
    }
}
