//! Queries over a real lake, inside this process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use hambar_lake::{Access, Lake};
use hambar_query::{QueryEngine, offered_functions};

use crate::fixture::{Fixture, fixture, text};

async fn check(fixture: &Fixture, sql: &str, expected: &str) {
    let found = text(fixture.engine().query(sql).await).await;
    assert_eq!(found, expected, "{sql}");
}

#[tokio::test]
async fn current_rows_and_their_past() {
    let fixture = fixture().await;
    for (sql, expected) in [
        (
            "SELECT country, year, gdp FROM demo.gdp ORDER BY 1, 2",
            "BG | 2020 | 70.2\nBG | 2021 | 84.9\nGR | 2021 | 214.7\nRO | 2021 | 285.4",
        ),
        ("SELECT count(*), min(year), max(year) FROM demo.gdp", "4 | 2020 | 2021"),
        ("SELECT country, count(*) AS n FROM demo.gdp GROUP BY country ORDER BY country", "BG | 2\nGR | 1\nRO | 1"),
        ("SELECT gdp FROM demo.gdp WHERE country = 'GR'", "214.7"),
        ("SELECT gdp FROM demo.gdp WHERE country = 'BG' AND year = 2021", "84.9"),
        ("SELECT year FROM demo.gdp WHERE country IN ('GR', 'RO') ORDER BY year", "2021\n2021"),
        ("SELECT count(*) FROM demo.gdp WHERE country IS NULL", "0"),
        ("SELECT gdp.country FROM demo.gdp WHERE status LIKE 'fin%' ORDER BY 1 LIMIT 1", "BG"),
        ("SELECT count(*) FROM demo.gdp FOR SYSTEM_TIME AS OF '2023-12-31'", "0"),
        (
            "SELECT country, year, gdp, status FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15' ORDER BY 1, 2",
            "BG | 2020 | 70.2 | final\nBG | 2021 | 84.1 | provisional\nRO | 2020 | 251.4 | final\nRO | 2021 | missing",
        ),
        ("SELECT count(*) FROM as_of('demo.gdp', '2024-02-01')", "3"),
        ("SELECT count(*) FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-05-01'", "4"),
        (
            "SELECT now.country FROM demo.gdp AS now LEFT JOIN as_of('demo.gdp', '2024-02-15') AS then \
             ON now.country = then.country AND now.year = then.year WHERE then.year IS NULL",
            "GR",
        ),
        (
            "SELECT country, year, \"column\", old_value, new_value, change FROM revisions('demo.gdp') ORDER BY 1, 2, 3",
            "BG | 2021 | gdp | 84.1 | 84.9 | revised\n\
             BG | 2021 | status | provisional | final | revised\n\
             RO | 2020 | gdp | 251.4 | withdrawn\n\
             RO | 2020 | status | final | withdrawn\n\
             RO | 2021 | gdp | 285.4 | revised\n\
             RO | 2021 | status | missing | final | revised",
        ),
        ("SELECT count(*) FROM history('demo.gdp')", "3"),
        ("SELECT _change, count(*) FROM demo.gdp__history GROUP BY 1 ORDER BY 1", "revised | 2\nwithdrawn | 1"),
    ] {
        check(&fixture, sql, expected).await;
    }
}

#[tokio::test]
async fn every_release_is_its_own_as_of() {
    let fixture = fixture().await;
    for (instant, rows) in crate::fixture::RELEASES {
        let mut expected: Vec<String> = rows
            .iter()
            .map(|(country, year, gdp, status)| {
                let gdp = gdp.map(|gdp| format!(" | {gdp}")).unwrap_or_default();
                format!("{country} | {year}{gdp} | {status}")
            })
            .collect();
        expected.sort();
        let sql =
            format!("SELECT country, year, gdp, status FROM demo.gdp FOR SYSTEM_TIME AS OF '{instant}' ORDER BY 1, 2");
        check(&fixture, &sql, &expected.join("\n")).await;
    }
}

#[tokio::test]
async fn versions_and_the_catalogue() {
    let fixture = fixture().await;
    let name = "demo.gdp".parse().unwrap();
    for version in fixture.lake.versions(&name).await.unwrap() {
        let snapshot = fixture.lake.snapshot(&name, Some(version.version)).await.unwrap();
        let rows: u64 = snapshot.files.iter().map(|file| file.rows).sum();
        let sql = format!("SELECT count(*) FROM demo.gdp VERSION AS OF {}", version.version);
        check(&fixture, &sql, &rows.to_string()).await;
    }
    check(
        &fixture,
        "SELECT count(*) FROM demo.gdp VERSION AS OF 99999",
        "query: version 99999 of table `demo.gdp` does not exist",
    )
    .await;
    check(&fixture, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'demo' ORDER BY 1", "gdp")
        .await;
    check(
        &fixture,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'gdp' AND column_name NOT LIKE '\\_%' ORDER BY ordinal_position",
        "country\nyear\ngdp\nstatus",
    )
    .await;
    check(&fixture, "SELECT table_name FROM demo.gpd", "query: table `demo.gpd` does not exist").await;
    let described = text(fixture.engine().query("DESCRIBE demo.gdp").await).await;
    assert!(described.starts_with("country | Utf8"), "{described}");
    let shown = text(fixture.engine().query("SHOW TABLES").await).await;
    assert!(shown.contains("hambar | demo | gdp | BASE TABLE"), "{shown}");
    let explained =
        text(fixture.engine().query("EXPLAIN ANALYZE SELECT * FROM demo.gdp WHERE country = 'BG'").await).await;
    // One file of three is opened.
    assert!(explained.contains("DataSourceExec") && explained.contains("files_opened=1,"), "{explained}");
    assert!(!explained.contains(&fixture.store()), "{explained}");
}

#[tokio::test]
async fn errors_name_the_thing_and_the_place() {
    let fixture = fixture().await;
    let error = fixture.engine().query("SELECT year,\n  pgd FROM demo.gdp").await.unwrap_err();
    assert_eq!(error.position().map(|at| (at.line, at.column)), Some((2, 3)), "{error}");
    for (sql, start) in [
        ("SELECT 1 / 0", "query: "),
        ("SELECT CAST('x' AS INT)", "query: "),
        ("SELECT rpad('x', 2147483647, 'y')", "query: "),
        ("SELECT repeat('x', 500000000)", "query: "),
        ("SELECT replace(repeat('a', 2000000), 'a', repeat('b', 1000))", "query: "),
        ("SELECT regexp_like(status, repeat('\\p{L}', 2000)) FROM demo.gdp", "limit: "),
        ("SELECT unknown_function(1)", "query: "),
    ] {
        let found = text(fixture.engine().query(sql).await).await;
        assert!(found.starts_with(start), "{sql}: {found}");
    }
}

#[tokio::test]
async fn errors_say_where_and_what_can_be_done() {
    use hambar_core::Classified;
    let fixture = fixture().await;
    for (sql, place, class, hint) in [
        ("SELEC 1", (1, 1), "query", "did you mean `SELECT`?"),
        ("SELECT\n  yaer FROM demo.gdp", (2, 3), "query", "did you mean `year`? there are `country`, `year`"),
        ("SELECT 1\nFROM demo.gpd", (2, 6), "query", "did you mean `demo.gdp`?"),
        ("SELECT 1 FROM gdp", (1, 15), "query", "`SHOW TABLES`"),
        ("SELECT lenght('x')", (1, 8), "query", ""),
        ("SELECT year FROM demo.gdp WHERE", (1, 32), "query", ""),
        ("SELECT CAST('abc' AS INT)", (1, 13), "query", ""),
        ("SELECT year,\n year / 0 FROM demo.gdp", (2, 7), "query", ""),
        ("SELECT date_trunc('day', 'x', 1)", (1, 8), "query", ""),
        ("SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF 'yesterday'", (1, 46), "query", ""),
        ("SELECT * FROM as_of('demo.gdp')", (1, 15), "query", ""),
        ("SELECT 1;\nCOPY demo.gdp TO 'x'", (2, 1), "denied", ""),
        ("SELECT * FROM\n read_csv('x')", (2, 2), "denied", ""),
        ("DROP TABLE demo.gdp", (1, 1), "denied", "allowed are SELECT"),
    ] {
        let error = match fixture.engine().query(sql).await {
            Err(error) => error,
            Ok(rows) => futures::TryStreamExt::try_collect::<Vec<_>>(rows).await.unwrap_err(),
        };
        let found = error.position().map(|at| (at.line, at.column));
        assert_eq!((error.class().name(), found), (class, Some(place)), "{sql}: {error}");
        let advice = error.hint().unwrap_or_default();
        assert!(advice.contains(hint), "{sql}: {error}: {advice}");
    }
}

#[tokio::test]
async fn a_result_beyond_its_limit_is_cut_and_says_so() {
    use futures::TryStreamExt;
    let fixture = fixture().await;
    let mut limits = crate::fixture::limits();
    limits.result_rows_max = Some(10);
    let engine = hambar_query::QueryEngine::new(fixture.lake.clone(), limits, &fixture.spill()).unwrap();
    for (rows, is_cut) in [(9, false), (10, false), (11, true), (100_000, true)] {
        let mut answer = engine.query(&format!("SELECT * FROM generate_series(1, {rows})")).await.unwrap();
        let mut total = 0;
        while let Some(batch) = answer.try_next().await.unwrap() {
            total += batch.num_rows();
        }
        assert_eq!((total, answer.is_truncated()), (rows.min(10), is_cut));
    }
}

#[tokio::test]
async fn the_offered_functions_are_the_committed_list() {
    let fixture = fixture().await;
    let sql = "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1";
    let found = text(fixture.engine().query(sql).await).await;
    let found: BTreeSet<&str> = found.lines().collect();
    let listed: BTreeSet<&str> = offered_functions().into_iter().collect();
    let unknown: Vec<_> = listed.difference(&found).collect();
    assert!(unknown.is_empty(), "listed but not in DataFusion: {unknown:?}");
}

#[tokio::test]
async fn an_instant_before_the_kept_history_is_refused() {
    let fixture = fixture().await;
    let done = fixture.lake.expire_history(&"demo.gdp".parse().unwrap(), 90, false).await.unwrap();
    assert_eq!((done.rows, done.kept), (3, 0));
    check(
        &fixture,
        "SELECT count(*) FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15'",
        "query: the history of table `demo.gdp` begins at 2024-03-03T00:00:00Z: what was superseded before was let go by \
         its `retention.history_days`",
    )
    .await;
    check(&fixture, "SELECT count(*) FROM as_of('demo.gdp', '2024-03-03')", "4").await;
    check(&fixture, "SELECT count(*) FROM demo.gdp VERSION AS OF 1", "4").await;
    check(&fixture, "SELECT count(*) FROM revisions('demo.gdp')", "0").await;
}

/// Moves every data file of the table into a folder whose name has escaped characters, as partition folders have.
fn move_into_escaped_folder(table: &Path) {
    let (on_disk, in_log) = ("country=B%20G%2F", "country=B%2520G%252F");
    std::fs::create_dir_all(table.join(on_disk)).unwrap();
    for entry in std::fs::read_dir(table.join("_delta_log")).unwrap() {
        let log = entry.unwrap().path();
        if log.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let mut moved = Vec::new();
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
            for kind in ["add", "remove"] {
                let Some(path) = action.pointer_mut(&format!("/{kind}/path")) else { continue };
                let old = table.join(path.as_str().unwrap());
                let name = old.file_name().unwrap().to_str().unwrap().to_owned();
                if old.exists() {
                    std::fs::rename(&old, table.join(on_disk).join(&name)).unwrap();
                }
                *path = serde_json::json!(format!("{in_log}/{name}"));
            }
            moved.push(action.to_string());
        }
        std::fs::write(&log, moved.join("\n") + "\n").unwrap();
    }
}

#[tokio::test]
async fn files_in_folders_with_escaped_names_are_read() {
    let fixture = fixture().await;
    move_into_escaped_folder(&Path::new(&fixture.store()).join("tables/demo/gdp"));
    let clock = Arc::new(crate::fixture::Fixed);
    let lake = Lake::open(&fixture.store(), &BTreeMap::new(), Access::ReadOnly, clock).await.unwrap();
    let engine = QueryEngine::new(lake, crate::fixture::limits(), &fixture.spill()).unwrap();
    let found =
        text(engine.query("SELECT country, count(*), max(year) FROM demo.gdp GROUP BY 1 ORDER BY 1").await).await;
    assert_eq!(found, "BG | 2 | 2021\nGR | 1 | 2021\nRO | 1 | 2021");
    let found = text(engine.query("SELECT gdp FROM demo.gdp WHERE country = 'GR'").await).await;
    assert_eq!(found, "214.7");
}

#[tokio::test]
async fn now_is_one_instant_of_the_statement() {
    let fixture = fixture().await;
    let sql = "SELECT count(*) FROM demo.gdp WHERE now() > TIMESTAMP '2020-01-01' AND current_date > DATE '2020-01-01' \
               AND now() = now()";
    check(&fixture, sql, "4").await;
}
