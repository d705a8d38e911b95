//! Results that their type cannot hold are refused, never wrapped around; what fits is exact, whatever the order of the rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use hambar_query::QueryEngine;

use crate::fixture::{Fixture, fixture, limits, load_as, text};

const MAX: &str = "9223372036854775807";
/// The largest decimal of 38 digits.
const MAX_DECIMAL: &str = "CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0))";

async fn answer(fixture: &Fixture, sql: &str) -> String {
    text(fixture.engine().query(sql).await).await
}

async fn refused(fixture: &Fixture, sql: &str, says: &str) {
    let told = answer(fixture, sql).await;
    assert!(told.starts_with("query: "), "{sql}: {told}");
    assert!(told.contains(says) && told.contains("CAST("), "{sql}: {told}");
}

#[tokio::test]
async fn sums_that_do_not_fit_are_refused() {
    let fixture = fixture().await;
    let rows = format!("(VALUES (1, {MAX}), (1, 1), (2, {MAX})) t(k, x)");
    for sql in [
        format!("SELECT sum(x) FROM {rows}"),
        format!("SELECT k, sum(x) FROM {rows} GROUP BY k"),
        format!("SELECT sum(DISTINCT x) FROM {rows}"),
        format!("SELECT sum(x) OVER (ORDER BY k, x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {rows}"),
        format!("SELECT sum(x) OVER () FROM {rows}"),
        format!("SELECT sum(-x - 1) FROM {rows}"),
    ] {
        refused(&fixture, &sql, "a sum is larger than its type BIGINT holds").await;
    }
    let decimals = format!("(VALUES ({MAX_DECIMAL}), ({MAX_DECIMAL})) t(x)");
    for sql in [format!("SELECT sum(x) FROM {decimals}"), format!("SELECT sum(x) FROM {decimals} GROUP BY x")] {
        refused(&fixture, &sql, "a sum is larger than its type DECIMAL(38, 0) holds").await;
    }
    // 39 digits that 128 bits still hold.
    refused(&fixture, &format!("SELECT sum(x) FROM (VALUES ({MAX_DECIMAL}), (1)) t(x)"), "larger than its type").await;
}

#[tokio::test]
async fn sums_of_groups_are_carried_in_both_directions() {
    let fixture = fixture().await;
    // 300 rows of each group leave 64 bits many times, and come back.
    let rows = format!(
        "(SELECT g.value % 3 AS k, CASE WHEN g.value < 300 THEN {MAX} WHEN g.value < 600 THEN -{MAX} - 1 ELSE 1 END AS x \
         FROM generate_series(0, 899) AS g(value)) t"
    );
    let sql =
        format!("SELECT k, sum(x) AS s, sum(x) FILTER (WHERE x < 9) IS NULL AS n FROM {rows} GROUP BY k ORDER BY k");
    refused(&fixture, &sql, "a sum is larger than its type BIGINT holds").await;
    let sql = format!("SELECT sum(x) FROM {rows} GROUP BY k ORDER BY k");
    assert_eq!(answer(&fixture, &sql).await, "0\n0\n0");
    // Each decimal of 30 digits; their sum has 31.
    let nines = "CAST('999999999999999999999999999999' AS DECIMAL(30, 0))";
    let sql = format!("SELECT avg(x) FROM (VALUES ({nines}), ({nines}), ({nines})) t(x)");
    assert_eq!(answer(&fixture, &sql).await, "999999999999999999999999999999.0000");
}

#[tokio::test]
async fn sums_that_fit_are_exact_in_every_order_and_form() {
    let fixture = fixture().await;
    let rows = format!("(VALUES (1, {MAX}), (1, {MAX}), (1, -{MAX}), (2, NULL), (3, 5)) t(k, x)");
    for (sql, expected) in [
        (format!("SELECT sum(x) FROM {rows} WHERE k = 1"), MAX),
        (format!("SELECT sum(x) FROM (SELECT * FROM {rows} ORDER BY x) WHERE k = 1"), MAX),
        (format!("SELECT sum(x) FROM {rows} WHERE k = 2"), ""),
        (format!("SELECT sum(x) FROM {rows} WHERE k > 9"), ""),
        (format!("SELECT sum(x) FROM {rows} GROUP BY k HAVING k >= 2 ORDER BY k"), "\n5"),
        (format!("SELECT sum(x) FILTER (WHERE x < 9) FROM {rows} GROUP BY k ORDER BY k"), "-9223372036854775807\n\n5"),
        (format!("SELECT sum(DISTINCT x) FROM {rows} WHERE k <> 3"), "0"),
        (format!("SELECT sum(CAST(x AS DECIMAL(38, 0))) FROM {rows} WHERE x > 9"), "18446744073709551614"),
        ("SELECT sum(CAST(x AS DECIMAL(10, 2))) FROM (VALUES (1.25), (-0.5)) t(x)".to_owned(), "0.75"),
        ("SELECT sum(x) FROM (VALUES (1.5), (2.0)) t(x)".to_owned(), "3.5"),
        (
            "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM generate_series(1, 4) t(x)"
                .to_owned(),
            "1\n3\n5\n7",
        ),
        (
            "SELECT sum(DISTINCT x % 2) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) \
             FROM generate_series(1, 3) t(x)"
                .to_owned(),
            "1\n1\n1",
        ),
    ] {
        assert_eq!(answer(&fixture, &sql).await, expected, "{sql}");
    }
    for (value, kind) in [("x", "Int64"), ("CAST(x AS DECIMAL(10, 2))", "Decimal128(20, 2)"), ("x + 0.5", "Float64")] {
        let sql = format!("SELECT arrow_typeof(sum({value})) FROM (VALUES (1)) t(x)");
        assert_eq!(answer(&fixture, &sql).await, kind, "{sql}");
    }
}

#[tokio::test]
async fn sums_over_several_files_and_groups_are_those_of_plain_addition() {
    let fixture = fixture().await;
    for part in 0..4_i64 {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..5_000).map(|row| format!("k{}", row % 701))));
        let values: ArrayRef =
            Arc::new(Int64Array::from_iter((0..5_000).map(|row| (row % 13 != 0).then_some(row * 7 - part * 9_000))));
        load_as(&fixture.lake, "demo.parts", &[("k", keys), ("x", values)], &format!("part-{part}")).await;
    }
    let mut expected = vec![None; 701];
    for (part, row) in (0..4_i64).flat_map(|part| (0..5_000_i64).map(move |row| (part, row))) {
        if row % 13 != 0 {
            *expected[usize::try_from(row % 701).unwrap()].get_or_insert(0) += row * 7 - part * 9_000;
        }
    }
    let mut lines: Vec<String> = expected
        .iter()
        .enumerate()
        .map(|(key, sum)| format!("k{key} | {}", sum.map(|sum: i64| sum.to_string()).unwrap_or_default()))
        .map(|line| line.trim_end_matches(" | ").to_owned())
        .collect();
    lines.sort();
    let engine = QueryEngine::new(fixture.lake.clone(), limits(), &fixture.spill()).unwrap();
    let found = text(engine.query("SELECT k, sum(x) FROM demo.parts GROUP BY k ORDER BY k").await).await;
    assert_eq!(found.lines().map(str::to_owned).collect::<Vec<_>>(), lines);
}

#[tokio::test]
async fn arithmetic_that_does_not_fit_is_refused() {
    let fixture = fixture().await;
    for sql in [
        format!("SELECT {MAX} + 1"),
        format!("SELECT x + 1 FROM (VALUES ({MAX}), (1)) t(x)"),
        format!("SELECT -2 - x FROM (VALUES ({MAX}), (1)) t(x)"),
        format!("SELECT x * x FROM (VALUES ({MAX}), (1)) t(x)"),
        format!("SELECT 1 FROM (VALUES ({MAX}), (1)) t(x) WHERE x * 2 < 0"),
        format!("SELECT count(*) FROM (VALUES ({MAX}), (1)) t(x) GROUP BY x + 1"),
        format!("SELECT -(-x - 1) FROM (VALUES ({MAX}), (1)) t(x)"),
        "SELECT CAST(2147483647 AS INT) * CAST(2 AS INT)".to_owned(),
        format!("SELECT {MAX_DECIMAL} + {MAX_DECIMAL}"),
        format!("SELECT {MAX_DECIMAL} + CAST(1 AS DECIMAL(38, 0))"),
        format!("SELECT {MAX_DECIMAL} * CAST(2 AS DECIMAL(38, 0))"),
    ] {
        refused(&fixture, &sql, "").await;
    }
}

#[tokio::test]
async fn arithmetic_keeps_its_names_types_and_nulls() {
    let fixture = fixture().await;
    for (sql, expected) in [
        ("SELECT x + 1, x - 1, x * 2, -x FROM (VALUES (1), (NULL)) t(x)", "2 | 0 | 2 | -1\n"),
        ("SELECT 1.25 * 4 + 1, 0.5 + 0.25", "6.0 | 0.75"),
        ("SELECT 3 - 5, -7 % 4, 7 / 2, 2 * 3.5", "-2 | -3 | 3 | 7.0"),
        ("SELECT DATE '2024-01-31' + INTERVAL '1 month'", "2024-02-29"),
        ("SELECT a * 2 FROM (VALUES (4), (3)) t(a) GROUP BY a * 2 ORDER BY a * 2", "6\n8"),
        (
            "SELECT a FROM (VALUES (4), (3)) t(a) WHERE EXISTS (SELECT 1 FROM generate_series(1, 9) s(v) WHERE v = a * 2)",
            "4\n3",
        ),
        ("SELECT arrow_typeof(CAST(1 AS INT) + CAST(2 AS INT)) AS a, arrow_typeof(1 + 2.5) AS b", "Int32 | Float64"),
    ] {
        assert_eq!(answer(&fixture, sql).await, expected, "{sql}");
    }
    let named = "SELECT a + 1 FROM (VALUES (4)) t(a)";
    let stream = fixture.engine().query(named).await.unwrap();
    assert_eq!(stream.schema().field(0).name(), "t.a + Int64(1)");
}
