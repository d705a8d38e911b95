//! Policies: whatever a statement does, it is made of the rows and columns that its asker sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use hambar_query::{Policies, Policy, QueryEngine, QueryLimits, Question, Visibility};

use crate::fixture::{Fixture, fixture, limits, load, text};

/// The answer for somebody who sees of `demo.gdp` only the rows that meet the conditions.
async fn seen(fixture: &Fixture, conditions: &[&str], sql: &str, limits: QueryLimits) -> String {
    seen_by(fixture, policy(conditions, &[]), sql, limits).await
}

fn policy(conditions: &[&str], hidden: &[&str]) -> Policy {
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    Policy { conditions: all(conditions), hidden: all(hidden) }
}

/// The answer for somebody for whom `demo.gdp` has this policy.
async fn seen_by(fixture: &Fixture, policy: Policy, sql: &str, limits: QueryLimits) -> String {
    let policies = Policies::from([("demo.gdp".parse().unwrap(), policy)]);
    let visibility = Visibility::all().with_policies(policies);
    let question = Question { visibility, ..Question::new(sql, limits) };
    let engine = QueryEngine::new(fixture.lake.clone(), question.limits.clone(), &fixture.spill());
    text(engine.unwrap().ask(&question).await).await
}

/// Texts are read as views with much memory, and as they are with little.
fn both_limits() -> [QueryLimits; 2] {
    [limits(), QueryLimits { memory_bytes_max: 1 << 30, ..limits() }]
}

#[tokio::test]
async fn every_way_to_a_table_shows_the_same_rows() {
    let fixture = fixture().await;
    load(&fixture.lake, "demo.other", &[("code", Arc::new(Int64Array::from(vec![1, 2])))]).await;
    for limits in both_limits() {
        for (condition, sql, expected) in [
            ("country = 'BG'", "SELECT year, gdp FROM demo.gdp ORDER BY 1", "2020 | 70.2\n2021 | 84.9"),
            ("country = 'BG'", "SELECT * EXCLUDE (_recorded_at, _source) FROM demo.gdp WHERE country <> 'BG'", ""),
            ("country = 'BG'", "SELECT count(*) FROM demo.gdp", "2"),
            ("country = 'BG'", "SELECT count(*) FROM hambar.demo.gdp AS other", "2"),
            ("country = 'BG'", "SELECT min(country), max(country), max(gdp) FROM demo.gdp", "BG | BG | 84.9"),
            ("country = 'BG'", "SELECT count(DISTINCT country), count(DISTINCT year) FROM demo.gdp", "1 | 2"),
            ("country = 'BG'", "WITH a AS (SELECT * FROM demo.gdp) SELECT count(*) FROM a, a AS b", "4"),
            ("country = 'BG'", "SELECT (SELECT max(gdp) FROM demo.gdp) AS m", "84.9"),
            (
                "country = 'BG'",
                "SELECT 1 FROM demo.gdp WHERE EXISTS (SELECT 1 FROM demo.gdp WHERE year = 2021) LIMIT 1",
                "1",
            ),
            ("country = 'BG'", "SELECT count(*) FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15'", "2"),
            ("country = 'BG'", "SELECT max(gdp) FROM as_of('demo.gdp', '2024-01-15')", "84.1"),
            ("country = 'BG'", "SELECT country, gdp FROM history('demo.gdp')", "BG | 84.1"),
            ("country = 'BG'", "SELECT count(*) FROM demo.gdp__history", "1"),
            (
                "country = 'BG'",
                "SELECT country, \"column\", old_value, new_value FROM revisions('demo.gdp') ORDER BY 2",
                "BG | gdp | 84.1 | 84.9\nBG | status | provisional | final",
            ),
            // What decides is not among the columns that are asked for, and is neither true nor false for NULL.
            ("gdp < 100", "SELECT DISTINCT country FROM demo.gdp", "BG"),
            ("gdp > 100", "SELECT country FROM demo.gdp ORDER BY 1 LIMIT 1", "GR"),
            ("gdp > 100", "SELECT count(*) FROM demo.gdp__history", "1"),
            ("lower(status) LIKE 'fin%' AND year BETWEEN 2021 AND 2030", "SELECT count(*) FROM demo.gdp", "3"),
            ("CASE WHEN year = 2020 THEN false ELSE country IN ('GR', 'RO') END", "SELECT count(*) FROM demo.gdp", "2"),
            ("false", "SELECT count(*), max(gdp) FROM demo.gdp", "0"),
            ("true", "SELECT count(*) FROM demo.gdp", "4"),
            ("country = 'XX'", "SELECT country FROM demo.gdp", ""),
            // Somebody else's table is what it was.
            ("false", "SELECT count(*) FROM demo.other", "2"),
        ] {
            let found = seen(&fixture, &[condition], sql, limits.clone()).await;
            assert_eq!(found, expected, "{condition}: {sql}");
        }
        let two = seen(&fixture, &["country <> 'RO'", "year = 2021"], "SELECT count(*) FROM demo.gdp", limits).await;
        assert_eq!(two, "2", "all conditions hold");
    }
    for version in fixture.lake.versions(&"demo.gdp".parse().unwrap()).await.unwrap() {
        let sql = format!("SELECT DISTINCT country FROM demo.gdp VERSION AS OF {}", version.version);
        let found = seen(&fixture, &["country = 'BG'"], &sql, limits()).await;
        assert!(found == "BG" || found.is_empty(), "{sql}: {found}");
    }
}

#[tokio::test]
async fn nothing_tells_of_hidden_rows() {
    let fixture = fixture().await;
    let some = ["country = 'BG' AND gdp < 1234.5"];
    // Each would fail for a hidden row, and so tell that it is there.
    for probe in [
        "10 / (CASE country WHEN 'GR' THEN 0 ELSE 1 END) > 0",
        "CAST(CASE country WHEN 'GR' THEN 'x' ELSE '1' END AS INT) = 1",
        "1 / (gdp::int - 214) <> 7 AND 1 % (year - CASE country WHEN 'RO' THEN 2021 ELSE 0 END) >= 0",
    ] {
        let sql = format!("SELECT count(*) FROM demo.gdp WHERE {probe}");
        let whole = text(fixture.engine().query(&sql).await).await;
        assert!(whole.starts_with("query: "), "it fails where all rows are seen: {sql}: {whole}");
        assert_eq!(seen(&fixture, &some, &sql, limits()).await, "2", "{sql}");
        for sql in [
            format!(
                "SELECT count(*) FROM demo.gdp a JOIN demo.gdp b USING (country, year) WHERE {}",
                probe.replace("country", "a.country").replace("gdp:", "a.gdp:").replace("year", "a.year")
            ),
            format!("SELECT count(*) FILTER (WHERE {probe}) FROM demo.gdp"),
        ] {
            assert_eq!(seen(&fixture, &some, &sql, limits()).await, "2", "{sql}");
        }
    }
    // An explanation shows neither the files below the policy, nor how many rows they gave, nor the policy itself.
    for explain in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE", "EXPLAIN ANALYZE VERBOSE"] {
        let plans: Vec<String> = [
            seen(&fixture, &some, &format!("{explain} SELECT * FROM demo.gdp WHERE country = 'GR'"), limits()).await,
            seen(&fixture, &some, &format!("{explain} SELECT * FROM demo.gdp WHERE country = 'XX'"), limits()).await,
        ]
        .into();
        for plan in &plans {
            assert!(plan.contains("RowPolicyExec"), "{explain}: {plan}");
            for told in ["DataSourceExec", ".parquet", "files_opened", "bytes_scanned", "1234.5", "EmptyExec"] {
                assert!(!plan.contains(told), "{explain}: {told}: {plan}");
            }
        }
        if !explain.contains("ANALYZE") {
            assert_eq!(plans[0].replace("GR", "XX"), plans[1], "what is filtered by does not choose the files");
        }
    }
    // How much would be read does not depend on what is looked for.
    let small = QueryLimits { scan_bytes_max: Some(1), ..limits() };
    let of = |country: &'static str| {
        let sql = format!("SELECT * FROM demo.gdp WHERE country = '{country}'");
        let (fixture, limits) = (&fixture, small.clone());
        async move { seen(fixture, &["year > 0"], &sql, limits).await }
    };
    let (there, missing) = (of("GR").await, of("XX").await);
    assert!(there == missing && there.starts_with("limit: "), "{there} {missing}");
}

#[tokio::test]
async fn a_policy_that_does_not_fit_closes_its_table() {
    let fixture = fixture().await;
    let long = format!("year IN ({})", vec!["1"; 20_000].join(", "));
    let deep = format!("{}true", "NOT ".repeat(200));
    for (condition, said) in [
        ("gone = 1", "column `gone` does not exist"),
        ("demo.gdp.country = 'BG'", ""),
        ("gdp", "not true or false"),
        ("NULL", "not true or false"),
        ("country + 1", ""),
        ("", ""),
        ("country = ", ""),
        ("country = 'BG' ORDER BY 1", "expected one condition"),
        ("true) OR (true", "expected one condition"),
        ("true; SELECT 1", ""),
        ("true UNION SELECT true", "expected one condition"),
        ("year = (SELECT max(year) FROM demo.gdp)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("country IN (SELECT 'BG')", "subquery"),
        ("country = $1", "parameter"),
        ("country = ?", "parameter"),
        ("count(*) > 1", "in a condition"),
        ("row_number() OVER () = 1", "in a condition"),
        ("now() > _recorded_at", "in a condition"),
        ("_recorded_at < current_date", "in a condition"),
        ("random() < 0.5", "in a condition"),
        ("read_file('/etc/passwd') = ''", ""),
        ("country ~ status", "is not a constant"),
        (long.as_str(), "tokens"),
        (deep.as_str(), ""),
    ] {
        for sql in ["SELECT 1 FROM demo.gdp", "DESCRIBE demo.gdp", "SELECT count(*) FROM history('demo.gdp')"] {
            let found = seen(&fixture, &[condition], sql, limits()).await;
            let start = "denied: table `demo.gdp` cannot be read: its policy does not fit it";
            assert!(found.starts_with(start) && found.contains(said), "{condition}: {sql}: {found}");
        }
        // One that does not fit is not made up for by one that does.
        let both = seen(&fixture, &["true", condition], "SELECT 1 FROM demo.gdp", limits()).await;
        assert!(both.starts_with("denied: "), "{condition}: {both}");
    }
    // What goes wrong for a hidden row does not show its values, and does not wrap around.
    for condition in ["CAST(status AS INT) = 1", "year * 9223372036854775807 < 0"] {
        let failed = seen(&fixture, &[condition], "SELECT * FROM demo.gdp", limits()).await;
        let said = "denied: table `demo.gdp` cannot be read: its policy cannot be computed for some of its rows";
        assert_eq!(failed, said, "{condition}");
    }
}

#[tokio::test]
async fn rejected_rows_are_closed_with_their_table() {
    let fixture = fixture().await;
    load(&fixture.lake, "demo.gdp__rejects", &[("raw", Arc::new(StringArray::from(vec!["RO,2022,x"])))]).await;
    let found = seen(&fixture, &["true"], "SELECT * FROM demo.gdp__rejects", limits()).await;
    assert_eq!(
        found,
        "denied: table `demo.gdp__rejects` cannot be read: its policy cannot be checked for rows that were rejected"
    );
    let owner = text(fixture.engine().query("SELECT raw FROM demo.gdp__rejects").await).await;
    assert_eq!(owner, "RO,2022,x");
}

#[tokio::test]
async fn a_hidden_column_is_as_one_that_is_not_there() {
    let fixture = fixture().await;
    // `country` is a partition and a part of the key, `gdp` and `status` are neither; the rows go by what is hidden.
    for (conditions, hidden) in [
        (&[][..], &["gdp"][..]),
        (&["gdp < 1000 OR gdp IS NULL"], &["gdp"]),
        (&["country <> 'XX'"], &["country"]),
        (&[], &["country", "year", "gdp", "status"]),
        (&["status IS NOT NULL"], &["status", "gdp"]),
    ] {
        let ask = |sql: String| {
            let fixture = &fixture;
            async move { seen_by(fixture, policy(conditions, hidden), &sql, limits()).await }
        };
        assert_eq!(ask("SELECT count(*) FROM demo.gdp".to_owned()).await, "4", "{hidden:?}");
        for name in hidden {
            let asked = [
                "SELECT @ FROM demo.gdp",
                "SELECT count(@) FROM demo.gdp",
                "SELECT d.@ FROM demo.gdp d",
                "SELECT \"@\" FROM demo.gdp",
                "SELECT 1 FROM demo.gdp WHERE @ IS NULL",
                "SELECT 1 FROM demo.gdp ORDER BY @",
                "SELECT count(*) FROM demo.gdp GROUP BY @",
                "SELECT @ FROM demo.gdp VERSION AS OF 2",
                "SELECT @ FROM as_of('demo.gdp', '2024-01-15')",
                "SELECT @ FROM history('demo.gdp')",
                "SELECT @ FROM demo.gdp__history",
                "EXPLAIN SELECT @ FROM demo.gdp",
            ];
            for sql in asked {
                let (hiding, missing) = (sql.replace('@', name), sql.replace('@', "nothing"));
                let found = ask(hiding).await;
                // Word for word what is said of a column that nobody has.
                let said = found.replace(&format!("`{name}`"), "`nothing`").replace(&format!(".{name}`"), ".nothing`");
                assert_eq!(said, ask(missing).await, "{hidden:?}: {sql}");
                assert!(found.starts_with("query: ") && found.contains("does not exist"), "{hidden:?}: {sql}: {found}");
            }
            let told = [
                "SELECT * FROM demo.gdp LIMIT 0".to_owned(),
                "DESCRIBE demo.gdp".to_owned(),
                "SELECT column_name FROM information_schema.columns WHERE table_name LIKE 'gdp%'".to_owned(),
                "SELECT attname FROM pg_attribute WHERE attrelid = 'demo.gdp'::regclass".to_owned(),
                "EXPLAIN VERBOSE SELECT * FROM demo.gdp".to_owned(),
                "SELECT gdpp, countri, statu, yeer FROM demo.gdp".to_owned(),
            ];
            for sql in told {
                let found = ask(sql.clone()).await;
                let is_named = found.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == *name);
                // The table itself is called like one of its columns.
                assert!(!is_named || *name == "gdp" && !found.contains("| gdp"), "{hidden:?}: {sql}: {found}");
            }
        }
        let listed = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'gdp'".to_owned();
        let all: usize = text(fixture.engine().query(&listed).await).await.parse().unwrap();
        assert_eq!(ask(listed).await, (all - hidden.len()).to_string(), "{hidden:?}");
    }
    let ask = |hidden: &'static [&'static str], sql: &'static str| {
        let fixture = &fixture;
        async move { seen_by(fixture, policy(&[], hidden), sql, limits()).await }
    };
    let changed = "SELECT country, \"column\" FROM revisions('demo.gdp') WHERE change = 'revised' ORDER BY 1, 2";
    assert_eq!(ask(&["gdp"], changed).await, "BG | status\nRO | status");
    let found = ask(&["country"], changed).await;
    assert!(found.contains("not all columns of the key") && !found.contains("BG"), "{found}");
    assert_eq!(ask(&["gdp"], "SELECT year FROM demo.gdp WHERE country = 'GR'").await, "2021");
}

#[tokio::test]
async fn a_hidden_column_that_is_gone_closes_its_table() {
    let fixture = fixture().await;
    let ask = |sql: &'static str| {
        let fixture = &fixture;
        async move { seen_by(fixture, policy(&[], &["gdp_old_name"]), sql, limits()).await }
    };
    let said =
        "denied: table `demo.gdp` cannot be read: its policy hides the column `gdp_old_name`, which it does not have";
    for sql in [
        "SELECT 1 FROM demo.gdp",
        "DESCRIBE demo.gdp",
        "SELECT 1 FROM history('demo.gdp')",
        "SELECT 1 FROM revisions('demo.gdp')",
        "SELECT 1 FROM as_of('demo.gdp', '2024-01-15')",
        "SELECT 1 FROM demo.gdp VERSION AS OF 1",
    ] {
        assert_eq!(ask(sql).await, said, "{sql}");
    }
    let listed = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'demo' AND table_name = 'gdp'";
    assert_eq!(ask(listed).await, "0", "nor are its columns listed");
}
