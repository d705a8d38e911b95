//! What the gate lets through and what it refuses, from texts alone.

use hambar_core::Classified;
use hambar_query::{GateLimits, Relation, check};

fn verdict(sql: &str) -> String {
    match check(sql, &GateLimits::default()) {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{}: {error}", error.class()),
    }
}

/// Where the nesting ends the parser's patience it sometimes reports what it then expected instead.
#[track_caller]
fn refused_somehow(sql: &str) {
    let found = verdict(sql);
    assert!(found.starts_with("limit: ") || found.starts_with("query: "), "{found}");
}

#[track_caller]
fn refused(sql: &str, class: &str) {
    let found = verdict(sql);
    let shown: String = sql.chars().take(80).collect();
    assert!(found.starts_with(&format!("{class}: ")), "`{shown}` gave `{found}`, not {class}");
}

#[test]
fn queries_pass() {
    for sql in [
        "SELECT 1",
        "select * from demo.gdp where year > 2000 order by gdp desc limit 10;",
        "WITH a AS (SELECT * FROM demo.gdp) SELECT count(*) FROM a",
        "VALUES (1, 'a'), (2, 'b')",
        "FROM demo.gdp",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "EXPLAIN SELECT * FROM demo.gdp",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM demo.gdp",
        "DESCRIBE demo.gdp",
        "SHOW TABLES",
        "SHOW COLUMNS FROM demo.gdp",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM hambar.demo.gdp",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT x FROM UNNEST([1, 2]) AS t(x)",
        "SELECT ';' -- ; DROP TABLE demo.gdp",
    ] {
        assert_eq!(verdict(sql), "ok", "{sql}");
    }
}

#[test]
fn what_the_parser_would_try_again_and_again_is_refused_at_once() {
    // Each level doubles the work where the text inside is wrong.
    for (open, close) in
        [("(NOT ", ")"), ("NOT (", ")"), ("CAST(", " AS INT)"), ("trim(", ")"), ("CASE ", " END"), ("extract(", ")")]
    {
        for inside in ["true", "1 +", "SELECT"] {
            for levels in [40, 400] {
                refused(&format!("SELECT {}{inside}{}", open.repeat(levels), close.repeat(levels)), "limit");
            }
            // What is written by people passes quickly, or is wrong quickly.
            let _ = verdict(&format!("SELECT {}{inside}{}", open.repeat(12), close.repeat(12)));
        }
    }
    assert_eq!(verdict(&format!("SELECT {}x{} FROM demo.gdp", "(NOT ".repeat(10), ")".repeat(10))), "ok");
}

#[test]
fn statements_that_do_more_than_read_are_denied() {
    for sql in [
        "COPY demo.gdp TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.parquet' STORED AS PARQUET",
        "COPY demo.gdp FROM '/etc/passwd'",
        "EXPLAIN ANALYZE COPY demo.gdp TO '/tmp/x.csv'",
        "EXPLAIN INSERT INTO demo.gdp VALUES (1)",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION 's3://bucket/key'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE OR REPLACE VIEW x AS SELECT 1",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "DROP TABLE demo.gdp",
        "ALTER TABLE demo.gdp ADD COLUMN x INT",
        "ALTER SYSTEM SET memory = 1",
        "INSERT INTO demo.gdp VALUES (1)",
        "UPDATE demo.gdp SET gdp = 0",
        "DELETE FROM demo.gdp",
        "TRUNCATE demo.gdp",
        "MERGE INTO demo.gdp USING x ON true WHEN MATCHED THEN DELETE",
        "SET datafusion.runtime.memory_limit = '1K'",
        "RESET datafusion.runtime.memory_limit",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "PREPARE p AS COPY demo.gdp TO '/tmp/x'",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "GRANT SELECT ON demo.gdp TO x",
        "LOAD 'evil.so'",
        "INSTALL httpfs",
        "ATTACH DATABASE 'x' AS y",
        "CALL evil()",
        "VACUUM",
        "SHOW ALL",
        "SHOW FUNCTIONS",
        "SHOW CREATE TABLE demo.gdp",
        "SELECT 1; DROP TABLE demo.gdp",
        "SELECT 1; SELECT 2",
        "SELECT 1 /* ; */ ; COPY demo.gdp TO '/tmp/x'",
        "SELECT * INTO x FROM demo.gdp",
        "SELECT * FROM demo.gdp FOR UPDATE",
        "WITH x AS (INSERT INTO demo.gdp VALUES (1) RETURNING *) SELECT * FROM x",
    ] {
        refused(sql, "denied");
    }
}

#[test]
fn only_the_catalogue_is_read() {
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM 'data.parquet'",
        "SELECT * FROM 's3://bucket/key.parquet'",
        "SELECT * FROM \"http://169.254.169.254\".\"latest\"",
        "SELECT * FROM \"file:///etc/passwd\"",
        "SELECT * FROM '\\\\server\\share'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM parquet_scan('x.parquet')",
        "SELECT * FROM (SELECT * FROM read_parquet('x'))",
        "SELECT 1 WHERE EXISTS (SELECT * FROM '/etc/passwd')",
        "DESCRIBE '/etc/passwd'",
    ] {
        refused(sql, "denied");
    }
    for sql in ["SELECT * FROM gdp", "SELECT * FROM information_schema.df_settings", "SELECT * FROM a.b.c.d"] {
        refused(sql, "query");
    }
}

#[test]
fn functions_without_bound_are_denied() {
    for sql in [
        "SELECT array_repeat(1, 200000000)",
        "SELECT range(1, 300000000)",
        "SELECT generate_series(1, 300000000)",
        "SELECT array_resize([1], 300000000)",
    ] {
        refused(sql, "denied");
    }
}

#[test]
fn complex_statements_are_refused_and_nothing_overflows() {
    let chain = |start: &str, link: &str, count: usize| format!("{start}{}", link.repeat(count));
    let mut hostile = vec!["x".repeat(70_000)];
    for count in [1_000, 20_000] {
        hostile.push(format!("SELECT {}", chain("1", "+1", count)));
        hostile.push(format!("SELECT {}", chain("'x'", "||'x'", count)));
        hostile.push(format!("SELECT {}", chain("1", "::int", count)));
        hostile.push(format!("SELECT 1 WHERE {}", chain("true", " OR true", count)));
        hostile.push(format!("SELECT 1 WHERE {}", chain("true", " AND true", count)));
    }
    let mut nested = Vec::new();
    for count in [60, 10_000] {
        nested.push(format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count)));
        nested.push(format!("SELECT {} true", "NOT ".repeat(count)));
        nested.push(format!("SELECT {}1", "- ".repeat(count)));
        nested.push(format!("SELECT {}1{}", "[".repeat(count), "]".repeat(count)));
        nested.push(format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(count), " END".repeat(count)));
        nested.push(format!("{}SELECT 1{}", "SELECT * FROM (".repeat(count), ")".repeat(count)));
        nested.push(format!("{}SELECT 1{}", "(".repeat(count), ")".repeat(count)));
    }
    nested.iter().for_each(|sql| refused_somehow(sql));
    hostile.push(chain("SELECT 1", " UNION ALL SELECT 1", 3_000));
    hostile.push(chain("SELECT 1", " UNION ALL SELECT 1", 100));
    hostile.push(format!("SELECT * FROM {}", vec!["demo.gdp"; 200].join(", ")));
    hostile.push(chain("SELECT * FROM demo.gdp", " CROSS JOIN demo.gdp", 200));
    let ctes: Vec<String> = (1..200).map(|n| format!("c{n} AS (SELECT * FROM c{})", n - 1)).collect();
    hostile.push(format!("WITH c0 AS (SELECT 1), {} SELECT * FROM c199", ctes.join(", ")));
    let doubling: Vec<String> =
        (1..20).map(|n| format!("c{n} AS (SELECT * FROM c{0} UNION ALL SELECT * FROM c{0})", n - 1)).collect();
    hostile.push(format!("WITH c0 AS (SELECT 1), {} SELECT * FROM c19", doubling.join(", ")));
    let withs = (0..30).fold("SELECT 1".to_owned(), |inner, n| format!("WITH a{n} AS ({inner}) SELECT * FROM a{n}"));
    hostile.push(withs);
    hostile.push(format!("SELECT {}1{}", "coalesce(NULL, ".repeat(20), ")".repeat(20)));
    hostile.push(format!("SELECT CASE {} END", "WHEN true THEN 1 ".repeat(1_500)));
    hostile.push(format!("SELECT regexp_like('x', '{}')", "\\p{L}".repeat(2_000)));
    hostile.push(format!("SELECT 'x' ~ '{}'", "(a+)+".repeat(1_000)));
    hostile.push(format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 10_001].join(",")));
    for sql in hostile {
        refused(&sql, "limit");
    }
    let doubled = (1..6).map(|n| format!("c{n} AS (SELECT * FROM c{0} UNION ALL SELECT * FROM c{0})", n - 1));
    let modest = format!("WITH c0 AS (SELECT 1), {} SELECT * FROM c5", doubled.collect::<Vec<_>>().join(", "));
    assert_eq!(verdict(&modest), "ok");
    assert_eq!(verdict(&format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 4_000].join(","))), "ok");
    assert_eq!(verdict(&format!("SELECT {}", chain("1", "+1", 150))), "ok");
}

#[test]
fn syntax_errors_say_where() {
    let error = check("SELECT *\nFROM demo.gdp WHERE year >", &GateLimits::default()).unwrap_err();
    assert_eq!(error.class().name(), "query");
    let error = check("SELECT a b c FROM demo.gdp", &GateLimits::default()).unwrap_err();
    assert_eq!(error.position().map(|at| (at.line, at.column)), Some((1, 12)), "{error}");
    let error = check("SELECT 'open", &GateLimits::default()).unwrap_err();
    assert!(error.position().is_some(), "{error}");
    for text in ["", ";", "  -- nothing", "42", "\0", "SELECT \u{1F980} FROM"] {
        assert_ne!(verdict(text), "ok", "{text}");
    }
}

#[test]
fn time_travel_names_relations() {
    let relations = |sql: &str| match check(sql, &GateLimits::default()) {
        Ok(checked) => checked.relations().to_vec(),
        Err(error) => panic!("{sql}: {error}"),
    };
    let gdp = || "demo.gdp".parse().unwrap();
    let new_year = "2024-01-01T00:00:00Z".parse().unwrap();
    for sql in [
        "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-01'",
        "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00' AS g",
        "SELECT * FROM demo.gdp TIMESTAMP AS OF '2024-01-01T00:00:00Z'",
        "SELECT * FROM demo.gdp FOR TIMESTAMP AS OF '2024-01-01T01:00:00+01:00'",
        "SELECT * FROM as_of('demo.gdp', '2024-01-01')",
        "SELECT * FROM as_of(demo.gdp, DATE '2024-01-01') g",
    ] {
        assert_eq!(relations(sql), [Relation::AsOf(gdp(), new_year)], "{sql}");
    }
    for sql in ["SELECT * FROM demo.gdp VERSION AS OF 3", "SELECT * FROM demo.gdp FOR VERSION AS OF 3 g"] {
        assert_eq!(relations(sql), [Relation::Version(gdp(), 3)], "{sql}");
    }
    assert_eq!(relations("SELECT * FROM revisions('demo.gdp')"), [Relation::Revisions(gdp())]);
    assert_eq!(relations("SELECT * FROM history('demo.gdp')"), [Relation::History(gdp())]);
    assert_eq!(relations("SELECT * FROM demo.gdp__history"), [Relation::History(gdp())]);
    for sql in [
        "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF 'yesterday'",
        "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF now()",
        "SELECT * FROM demo.gdp VERSION AS OF 1.5",
        "SELECT * FROM as_of('demo.gdp')",
        "SELECT * FROM as_of('gdp', '2024-01-01')",
        "SELECT * FROM revisions(year)",
    ] {
        refused(sql, "query");
    }
    refused("SELECT * FROM as_of('/etc/passwd', '2024-01-01')", "denied");
}
