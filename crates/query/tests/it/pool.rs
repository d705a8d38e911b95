//! Workers that answer one question after the other: values, visibility, descriptions, and what ends a query early.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use futures::StreamExt;
use hambar_core::Classified;
use hambar_query::{Parameters, Progress, QueryLimits, QueryPool, Question, Tables, Visibility};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, fixture, limits, text};
use crate::worker::settings;

fn pool(fixture: &Fixture, limits: QueryLimits, size: usize) -> QueryPool {
    QueryPool::start(settings(fixture, limits), size).unwrap()
}

async fn ask(pool: &QueryPool, question: &Question) -> String {
    text(pool.run(question, CancellationToken::new(), Progress::default()).await).await
}

fn question(sql: &str) -> Question {
    Question::new(sql, limits())
}

/// The spill folders, of which each worker has one.
fn workers(fixture: &Fixture) -> Vec<String> {
    let entries = std::fs::read_dir(fixture.spill()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The one worker that has answered a question. A pool asked while its first worker starts begins another, and keeps one.
async fn settled(pool: &QueryPool, fixture: &Fixture) -> Vec<String> {
    assert_eq!(ask(pool, &question("SELECT 1")).await, "1");
    until("one worker is left", || workers(fixture).len() == 1).await;
    workers(fixture)
}

#[tokio::test]
async fn one_worker_answers_many_questions_and_refusals_do_not_end_it() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let first = settled(&pool, &fixture).await;
    for number in 0..20 {
        assert_eq!(ask(&pool, &question(&format!("SELECT {number} + 1"))).await, format!("{}", number + 1));
        assert!(ask(&pool, &question("SELECT nothing FROM demo.gdp")).await.starts_with("query: "));
        assert!(ask(&pool, &question("DROP TABLE demo.gdp")).await.starts_with("denied: "));
    }
    assert_eq!(workers(&fixture), first);
}

#[tokio::test]
async fn a_worker_that_ran_into_a_limit_is_replaced() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let first = settled(&pool, &fixture).await;
    let mut endless = question(
        "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0",
    );
    endless.limits.run_time_max = Duration::from_secs(1);
    let since = Instant::now();
    assert!(ask(&pool, &endless).await.starts_with("limit: "));
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    assert_eq!(ask(&pool, &question("SELECT 1")).await, "1");
    assert_ne!(workers(&fixture), first);
}

#[tokio::test]
async fn stop_ends_a_query_whether_or_not_its_answer_is_read() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let many = question("SELECT a.value + b.value FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b");
    let stop = CancellationToken::new();
    let mut rows = pool.run(&many, stop.clone(), Progress::default()).await.unwrap();
    let busy = workers(&fixture);
    stop.cancel();
    until("the worker is gone", || !workers(&fixture).iter().any(|name| busy.contains(name))).await;
    let mut last = None;
    while let Some(next) = rows.next().await {
        last = Some(next);
    }
    assert_eq!(last.unwrap().unwrap_err().class().name(), "cancelled");
    // Before the first row, too.
    let stop = CancellationToken::new();
    let sleepy = question(
        "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0",
    );
    let running = tokio::spawn({
        let (pool, stop) = (pool.clone(), stop.clone());
        async move { text(pool.run(&sleepy, stop, Progress::default()).await).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    let found = tokio::time::timeout(Duration::from_secs(3), running).await.unwrap().unwrap();
    assert!(found.starts_with("cancelled: "), "{found}");
    assert_eq!(ask(&pool, &question("SELECT 1")).await, "1");
}

#[tokio::test]
async fn a_reader_who_sleeps_loses_the_answer_and_only_his_own_time_counts() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let sql = "SELECT value, repeat('x', 100) AS t FROM generate_series(1, 2000000)";
    let mut slow = question(sql);
    slow.limits.reader_time_max = Some(Duration::from_millis(300));
    let mut rows = pool.run(&slow, CancellationToken::new(), Progress::default()).await.unwrap();
    assert!(rows.next().await.unwrap().is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut last = None;
    while let Some(next) = rows.next().await {
        last = Some(next);
    }
    let error = last.unwrap().unwrap_err();
    assert!(error.to_string().contains("nobody took the next piece"), "{error}");
    // The query's time stands still while its reader is slow but awake.
    let mut short = question("SELECT value, repeat('x', 100) AS t FROM generate_series(1, 300000)");
    short.limits.run_time_max = Duration::from_secs(4);
    let mut rows = pool.run(&short, CancellationToken::new(), Progress::default()).await.unwrap();
    let mut count = 0;
    let mut pieces = 0;
    while let Some(next) = rows.next().await {
        count += next.unwrap().num_rows();
        pieces += 1;
        if pieces % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
    }
    assert_eq!(count, 300_000);
}

#[tokio::test]
async fn values_are_bound_and_never_become_text() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let with =
        |sql: &str, values: Vec<ArrayRef>| Question { parameters: Parameters::new(values).unwrap(), ..question(sql) };
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let number = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let float = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    for (sql, values, expected) in [
        ("SELECT gdp FROM demo.gdp WHERE country = $1 AND year = $2", vec![text("GR"), number(2021)], "214.7"),
        ("SELECT gdp FROM demo.gdp WHERE country = $2 AND year = $1", vec![text("2021"), text("GR")], "214.7"),
        ("SELECT count(*) FROM demo.gdp WHERE country = $1", vec![text("' OR '1'='1")], "0"),
        ("SELECT count(*) FROM demo.gdp WHERE year < $1", vec![float(2020.5)], "1"),
        ("SELECT country FROM demo.gdp ORDER BY country LIMIT $1", vec![number(1)], "BG"),
        ("SELECT $1 || 'b', $2 + 1", vec![text("a"), number(1)], "ab | 2"),
        ("SELECT count(*) FROM demo.gdp WHERE _recorded_at < $1", vec![text("2024-01-15T00:00:00Z")], "1"),
        ("SELECT 1", vec![], "1"),
    ] {
        assert_eq!(ask(&pool, &with(sql, values)).await, expected, "{sql}");
    }
    for (sql, values) in [
        ("SELECT $1", vec![]),
        ("SELECT 1", vec![number(1)]),
        ("SELECT $2", vec![number(1)]),
        ("SELECT $name", vec![number(1)]),
        ("SELECT count(*) FROM demo.gdp WHERE year = $1", vec![text("x")]),
    ] {
        let found = ask(&pool, &with(sql, values)).await;
        assert!(found.starts_with("query: "), "{sql}: {found}");
    }
}

#[tokio::test]
async fn a_worker_tells_where_the_time_went_also_where_it_fails() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let told = async |sql: &str| {
        let progress = Progress::default();
        let _ = text(pool.run(&question(sql), CancellationToken::new(), progress.clone()).await).await;
        progress.told()
    };
    let answered = told("SELECT count(*) FROM generate_series(1, 1000000)").await;
    let (planned, ended, worked) = (answered.planned.unwrap(), answered.ended.unwrap(), answered.worked.unwrap());
    assert!(
        answered.asked_at.unwrap().elapsed() >= ended && ended >= planned + worked && !worked.is_zero(),
        "{answered:?}"
    );
    let refused = told("SELECT no_such_column FROM demo.gdp").await;
    assert!(refused.asked_at.is_some() && refused.planned.is_none() && refused.ended.is_some(), "{refused:?}");
    let failed = told("SELECT 1 / (value - 5) FROM generate_series(1, 10)").await;
    assert!(failed.planned.is_some() && failed.ended > failed.planned, "{failed:?}");
}

#[tokio::test]
async fn a_description_tells_columns_parameters_and_versions_without_running() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let described = pool
        .describe(
            &question("SELECT country, sum(gdp) AS total FROM demo.gdp WHERE year > $1 AND country <> $2 GROUP BY 1"),
            Progress::default(),
        )
        .await
        .unwrap();
    let columns: Vec<_> =
        described.schema.fields().iter().map(|field| (field.name().as_str(), field.data_type().clone())).collect();
    assert_eq!(columns, [("country", DataType::Utf8), ("total", DataType::Float64)]);
    let parameters: Vec<_> =
        described.parameters.iter().map(|parameter| (parameter.name.as_str(), parameter.data_type.clone())).collect();
    assert_eq!(parameters[0], ("$1", Some(DataType::Int32)));
    assert_eq!(parameters[1].0, "$2");
    assert_eq!(described.facts.versions.len(), 1);
    assert!(described.facts.is_repeatable && !described.facts.is_immutable());
    for (sql, is_repeatable, is_immutable) in [
        ("SELECT count(*) FROM demo.gdp VERSION AS OF 1", true, true),
        ("SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15'", true, false),
        ("SELECT now()", false, false),
        ("SELECT current_timestamp", false, false),
        ("SELECT current_date", false, false),
        ("SELECT random() < 2", false, false),
        ("SELECT * FROM generate_series(1, CAST(random() * 10 AS BIGINT))", false, false),
        ("SELECT uuid()", false, false),
        ("SHOW TABLES", false, false),
        ("SELECT * FROM information_schema.tables", false, false),
        ("EXPLAIN ANALYZE SELECT 1", false, false),
        ("SELECT 1", true, true),
    ] {
        let described = pool.describe(&question(sql), Progress::default()).await;
        let facts = match described {
            Ok(described) => described.facts,
            // Not every place takes a function; what cannot be planned is never cached either.
            Err(_) if !is_repeatable => continue,
            Err(error) => panic!("{sql}: {error}"),
        };
        assert_eq!((facts.is_repeatable, facts.is_immutable()), (is_repeatable, is_immutable), "{sql}");
    }
}

#[tokio::test]
async fn what_may_not_be_seen_does_not_exist() {
    let fixture = fixture().await;
    let pool = pool(&fixture, limits(), 1);
    let as_stranger = |sql: &str| Question {
        visibility: Visibility::of(Tables::Only { namespaces: ["other".parse().unwrap()].into(), tables: [].into() }),
        ..question(sql)
    };
    for (sql, name) in [
        ("SELECT * FROM demo.{}", "gdp"),
        ("SELECT * FROM demo.{} VERSION AS OF 1", "gdp"),
        ("SELECT * FROM demo.{}__history", "gdp"),
        ("SELECT * FROM demo.{}__rejects", "gdp"),
        ("SELECT * FROM as_of('demo.{}', '2024-01-15')", "gdp"),
        ("SELECT * FROM history('demo.{}')", "gdp"),
        ("SELECT * FROM revisions('demo.{}')", "gdp"),
        ("WITH a AS (SELECT * FROM demo.{}) SELECT 1 FROM a", "gdp"),
        ("SELECT (SELECT count(*) FROM demo.{})", "gdp"),
        ("EXPLAIN SELECT * FROM demo.{}", "gdp"),
        ("DESCRIBE demo.{}", "gdp"),
        ("SHOW COLUMNS FROM demo.{}", "gdp"),
        ("SELECT * FROM system.{}", "datasets"),
    ] {
        let hidden = ask(&pool, &as_stranger(&sql.replace("{}", name))).await;
        let missing = ask(&pool, &as_stranger(&sql.replace("{}", "qqqq"))).await;
        assert_eq!(hidden, missing.replace("qqqq", name), "{sql}");
        assert!(!hidden.contains(" | "), "{sql}: {hidden}");
    }
    for sql in [
        "SHOW TABLES",
        "SELECT table_schema, table_name FROM information_schema.tables",
        "SELECT column_name FROM information_schema.columns",
    ] {
        let found = ask(&pool, &as_stranger(sql)).await;
        assert!(!found.contains("demo") && !found.contains("gdp") && !found.contains("country"), "{sql}: {found}");
    }
    // A single table brings its history, and nothing else of its namespace.
    let only = Tables::Only { namespaces: [].into(), tables: ["demo.gdp".parse().unwrap()].into() };
    let own = Question { visibility: Visibility::of(only), ..question("SELECT count(*) FROM revisions('demo.gdp')") };
    assert_eq!(ask(&pool, &own).await, "6");
}

#[tokio::test]
async fn limits_of_a_question_only_tighten() {
    let fixture = fixture().await;
    let ceiling = QueryLimits { result_rows_max: Some(10), scan_bytes_max: Some(1 << 20), ..limits() };
    let pool = pool(&fixture, ceiling, 1);
    let rows = |limit: Option<u64>| {
        let mut question = question("SELECT * FROM generate_series(1, 100)");
        question.limits.result_rows_max = limit;
        question
    };
    assert_eq!(ask(&pool, &rows(None)).await.lines().count(), 10);
    assert_eq!(ask(&pool, &rows(Some(1000))).await.lines().count(), 10);
    assert_eq!(ask(&pool, &rows(Some(3))).await.lines().count(), 3);
    let mut scan = question("SELECT * FROM demo.gdp");
    scan.limits.scan_bytes_max = Some(10);
    let found = ask(&pool, &scan).await;
    assert!(found.starts_with("limit: the query would read files of "), "{found}");
}
