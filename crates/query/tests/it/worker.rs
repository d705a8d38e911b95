//! The worker process: answers, limits of the operating system, and death without harm.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hambar_query::{QueryError, QueryLimits, QueryWorkers, Question, RowStream, StoreAddress, WorkerSettings};

use crate::fixture::{Fixture, fixture, limits, text};

pub(crate) fn settings(fixture: &Fixture, limits: QueryLimits) -> WorkerSettings {
    WorkerSettings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_hambar-query-worker")),
        arguments: Vec::new(),
        spill: fixture.spill(),
        store: StoreAddress { url: fixture.store(), options: BTreeMap::new() },
        limits,
    }
}

async fn ask(fixture: &Fixture, sql: &str, limits: QueryLimits) -> Result<RowStream, QueryError> {
    QueryWorkers::new(settings(fixture, limits.clone())).run(&Question::new(sql, limits)).await
}

async fn run(fixture: &Fixture, sql: &str, limits: QueryLimits) -> String {
    text(ask(fixture, sql, limits).await).await
}

#[tokio::test]
async fn a_worker_answers_and_leaves_nothing() {
    let fixture = fixture().await;
    assert_eq!(run(&fixture, "SELECT sum(year) FROM demo.gdp", limits()).await, "8083");
    assert_eq!(run(&fixture, "SELECT country FROM demo.gdp WHERE false", limits()).await, "");
    let answer = ask(&fixture, "SELECT * FROM demo.gdp", limits()).await.unwrap();
    assert_eq!(answer.versions().len(), 1);
    assert_eq!(answer.schema().fields().len(), 6);
    drop(answer);
    assert_eq!(run(&fixture, "SELECT count(*) FROM generate_series(1, 3000000)", limits()).await, "3000000");
    assert_eq!(std::fs::read_dir(fixture.spill()).unwrap().count(), 0);
}

#[tokio::test]
async fn many_rows_cross_the_pipe_unharmed() {
    let fixture = fixture().await;
    let sql = "SELECT value, repeat('x', value % 50) AS t FROM generate_series(1, 400000)";
    let mut answer = ask(&fixture, sql, limits()).await.unwrap();
    let mut rows = 0;
    while let Some(batch) = answer.next().await {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!((rows, answer.is_truncated()), (400_000, false));
}

#[tokio::test]
async fn refusals_and_errors_arrive_with_class_hint_and_place() {
    use hambar_core::Classified;
    let fixture = fixture().await;
    let sql = "SELECT year,\n  pgd FROM demo.gdp";
    let error = ask(&fixture, sql, limits()).await.unwrap_err();
    assert_eq!(error.position().map(|at| (at.line, at.column)), Some((2, 3)), "{error}");
    let error = ask(&fixture, "DROP TABLE demo.gdp", limits()).await.unwrap_err();
    assert_eq!(error.class().name(), "denied");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn deep_statements_do_not_even_end_the_worker() {
    let fixture = fixture().await;
    for sql in [
        format!("SELECT 1{}", "+1".repeat(20_000)),
        format!("SELECT 1{}", "+1".repeat(4_900)),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(2_400)),
    ] {
        let found = run(&fixture, &sql, limits()).await;
        assert!(found.starts_with("limit: the statement"), "{found}");
    }
    // As deep as the gate lets through.
    let deep = format!("SELECT {}", vec!["(year % 7)"; 100].join(" + "));
    let found = run(&fixture, &format!("{deep} FROM demo.gdp"), limits()).await;
    assert_eq!(found.lines().count(), 4, "{found}");
    let unions = vec!["SELECT year FROM demo.gdp"; 64].join(" UNION ALL ");
    assert_eq!(run(&fixture, &format!("SELECT count(*) FROM ({unions})"), limits()).await, "256");
}

#[tokio::test]
async fn endless_work_ends_at_the_deadline() {
    let fixture = fixture().await;
    let short = QueryLimits { run_time_max: Duration::from_secs(4), ..limits() };
    for sql in [
        "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    ] {
        let started = Instant::now();
        let found = run(&fixture, sql, short.clone()).await;
        assert!(found.starts_with("limit: "), "{sql}: {found}");
        assert!(started.elapsed() < Duration::from_secs(9), "{sql}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn hostile_memory_is_refused_or_kills_only_the_worker() {
    let fixture = fixture().await;
    for sql in [
        "SELECT length(string_agg(repeat('x', 100000), '')) FROM generate_series(1, 100000)",
        "SELECT array_length(array_agg(x)) FROM (SELECT a.value AS x FROM generate_series(1, 20000) a, generate_series(1, 20000) b)",
        "WITH RECURSIVE r AS (SELECT repeat('x', 1000) AS t UNION ALL SELECT t || t FROM r) SELECT max(length(t)) FROM r",
    ] {
        let started = Instant::now();
        let found = run(&fixture, sql, limits()).await;
        assert!(found.starts_with("limit: ") || found.starts_with("query: "), "{sql}: {found}");
        assert!(started.elapsed() < Duration::from_secs(64), "{sql}: {:?}", started.elapsed());
    }
    assert_eq!(run(&fixture, "SELECT 1", limits()).await, "1");
}

#[tokio::test]
async fn a_sort_beyond_the_pool_spills() {
    let fixture = fixture().await;
    let small = QueryLimits {
        memory_bytes_max: 48 * 1024 * 1024,
        partitions: 1,
        run_time_max: Duration::from_secs(240),
        ..limits()
    };
    let sql = "SELECT repeat(md5(value::varchar), 8) AS h FROM generate_series(1, 250000) ORDER BY h";
    let mut answer = ask(&fixture, sql, small).await.unwrap();
    let mut rows = 0;
    while let Some(batch) = answer.next().await {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!(rows, 250_000);
}

#[tokio::test]
async fn dropping_the_answer_kills_the_worker() {
    let fixture = fixture().await;
    let sql = "SELECT a.value + b.value FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let mut answer = ask(&fixture, sql, limits()).await.unwrap();
    assert!(answer.next().await.unwrap().is_ok());
    drop(answer);
    let started = Instant::now();
    while std::fs::read_dir(fixture.spill()).unwrap().count() > 0 {
        assert!(started.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
