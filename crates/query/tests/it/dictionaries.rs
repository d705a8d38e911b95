//! Text columns that keep the dictionaries of their files: answers are those of plain texts, whatever the files are like.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use hambar_query::{QueryEngine, QueryLimits};

use crate::fixture::{Fixture, fixture, limits, load_as, text};

const ROWS: u32 = 60_000;

type Text = fn(u32) -> Option<String>;

fn scattered(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761) >> 7
}

/// A table of texts and the number of each row, loaded file by file: in the first ones texts repeat, in the last none does, so
/// that it has no dictionary.
async fn engines(fixture: &Fixture) -> [QueryEngine; 2] {
    let few: Text = |n| (n % 41 != 7).then(|| format!("one of few long texts {}", scattered(n) % 41));
    let mixed: Text = |n| Some(if n % 2 == 0 { (scattered(n) % 10).to_string() } else { "none".to_owned() });
    let own: Text = |n| Some(format!("a text of its own, {n}"));
    let null: Text = |_| None;
    // The last file is the smallest: what the scan expects is what the largest one has.
    let files = [(few, mixed, ROWS), (mixed, few, ROWS), (null, mixed, ROWS), (own, mixed, ROWS / 20)];
    for (run, (first, second, rows)) in files.into_iter().enumerate() {
        let start = u32::try_from(run).unwrap() * ROWS;
        let column = |make: Text| Arc::new(StringArray::from_iter((start..start + rows).map(make))) as ArrayRef;
        let numbers = Int64Array::from_iter_values((start..start + rows).map(i64::from));
        let columns = [("a", column(first)), ("b", column(second)), ("n", Arc::new(numbers) as ArrayRef)];
        load_as(&fixture.lake, "demo.kept", &columns, &format!("run-{run}")).await;
    }
    let with_memory = |memory_bytes_max| {
        let limits = QueryLimits { memory_bytes_max, ..limits() };
        QueryEngine::new(fixture.lake.clone(), limits, &fixture.spill()).unwrap()
    };
    // With little memory texts are plain, and nothing of this applies.
    [with_memory(512 << 20), with_memory(100 << 20)]
}

#[tokio::test]
async fn answers_are_those_of_plain_texts() {
    let fixture = fixture().await;
    let [kept, plain] = engines(&fixture).await;
    for sql in [
        "SELECT a, count(*), sum(n) FROM demo.kept WHERE n < 180000 GROUP BY a ORDER BY a",
        "SELECT b, a, count(*), min(n) FROM demo.kept WHERE n < 120000 GROUP BY a, b ORDER BY 1, 2",
        "SELECT a, b, n % 3 AS r, count(*) FROM demo.kept WHERE a LIKE '%texts 3%' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        "SELECT count(*), min(n), max(b) FROM demo.kept WHERE a = 'one of few long texts 3'",
        "SELECT count(*), min(a), max(b) FROM demo.kept WHERE a IN ('one of few long texts 3', '4') OR b = '6'",
        "SELECT count(*) FROM demo.kept WHERE a IS NULL AND b <> 'none'",
        "SELECT count(*) FROM demo.kept WHERE coalesce(a, 'x') = 'x'",
        "SELECT n, a, b FROM demo.kept WHERE a >= 'one of few long texts 39' AND n % 100 = 39 ORDER BY n",
        "SELECT upper(substr(a, 1, 4)) AS start, count(*) FROM demo.kept GROUP BY 1 ORDER BY 2, 1",
        "SELECT sum(CAST(b AS BIGINT)) FROM demo.kept WHERE n % 2 = 0 AND n < 60000",
        "SELECT sum(TRY_CAST(b AS BIGINT)), sum(TRY_CAST(a AS BIGINT)) FROM demo.kept",
        "SELECT a, b, n FROM demo.kept WHERE a LIKE '%own, 1800%' ORDER BY n LIMIT 5",
        "SELECT count(DISTINCT a), count(DISTINCT b), count(*) FROM demo.kept",
        "SELECT c, count(*) FROM (SELECT a AS c FROM demo.kept UNION ALL SELECT b FROM demo.kept WHERE n < 9) u \
         WHERE c LIKE '%texts 1%' OR c = 'none' GROUP BY c ORDER BY c",
        "SELECT l.label, count(*) FROM demo.kept k JOIN (VALUES ('one of few long texts 1', 'one'), \
         ('one of few long texts 2', 'two'), ('8', 'eight'), (NULL, 'null')) AS l(a, label) ON k.a = l.a \
         GROUP BY l.label ORDER BY 1",
        "SELECT k.n FROM demo.kept k JOIN (VALUES (5), (181000), (-1)) AS l(n) ON k.n = l.n ORDER BY 1",
    ] {
        let answer = text(kept.query(sql).await).await;
        assert!(!answer.is_empty() && !answer.contains("error"), "{sql}\n{answer}");
        assert_eq!(answer, text(plain.query(sql).await).await, "{sql}");
    }
}

#[tokio::test]
async fn plans_keep_dictionaries_where_they_help() {
    let fixture = fixture().await;
    let [kept, plain] = engines(&fixture).await;
    let few = "demo.few";
    let column = StringArray::from_iter_values((0..ROWS).map(|n| format!("one of few long texts {}", n % 41)));
    let numbers = Int64Array::from_iter_values((0..ROWS).map(i64::from));
    let columns: [(&str, ArrayRef); 2] = [("a", Arc::new(column)), ("n", Arc::new(numbers))];
    load_as(&fixture.lake, few, &columns, "few").await;
    for (sql, is_kept) in [
        ("SELECT a, count(*) FROM demo.few GROUP BY a", true),
        ("SELECT count(*) FROM demo.few WHERE a LIKE '%3%'", true),
        ("SELECT max(n) FROM demo.few WHERE a = 'one of few long texts 3'", true),
        (
            "SELECT k.n FROM demo.few k JOIN (VALUES ('one of few long texts 3'), ('one of few long texts 30')) AS l(a) ON k.a = l.a",
            true,
        ),
        ("SELECT a FROM demo.few", false),
        ("SELECT a FROM demo.few WHERE n = 3", false),
        ("SELECT a FROM demo.few ORDER BY a LIMIT 3", false),
    ] {
        let explain = format!("EXPLAIN {sql}");
        let shown = text(kept.query(&explain).await).await;
        assert_eq!(shown.contains("dictionary("), is_kept, "{sql}\n{shown}");
        assert!(!text(plain.query(&explain).await).await.contains("dictionary("), "{sql}");
    }
}

#[tokio::test]
async fn pages_of_columns_with_dictionaries_are_left_out_by_their_bounds() {
    let fixture = fixture().await;
    let [kept, _] = engines(&fixture).await;
    let column = StringArray::from_iter_values((0..ROWS).map(|n| format!("one of few rising texts {:04}", n / 100)));
    let numbers = Int64Array::from_iter_values((0..ROWS).map(i64::from));
    let columns: [(&str, ArrayRef); 2] = [("a", Arc::new(column)), ("n", Arc::new(numbers))];
    load_as(&fixture.lake, "demo.rising", &columns, "rising").await;
    for (condition, rows) in [
        ("a = 'one of few rising texts 0300'", 100),
        ("a IN ('one of few rising texts 0300', 'one of few rising texts 0301', 'x')", 200),
        ("a > 'one of few rising texts 0501'", 9800),
    ] {
        let sql = format!("SELECT count(*), min(n) FROM demo.rising WHERE {condition}");
        assert!(text(kept.query(&sql).await).await.starts_with(&format!("{rows} |")), "{sql}");
        let shown = text(kept.query(&format!("EXPLAIN ANALYZE {sql}")).await).await;
        assert!(shown.contains("dictionary("), "{sql}\n{shown}");
        // A page has 20,000 rows, and the whole table three of them.
        assert!(shown.contains("page_index_pages_pruned=3 total → 1 matched"), "{sql}\n{shown}");
    }
}
