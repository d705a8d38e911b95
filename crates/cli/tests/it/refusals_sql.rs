//! Statements that are refused, and statements that are too much: the exit code, the reason, and nothing else harmed.

use std::time::{Duration, Instant};

use crate::support::{Provider, Workshop, snapshot_of};

/// A store with one small table.
fn workshop() -> (Workshop, Provider) {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    provider.publish("/a.csv", "id,name\n1,one\n2,two\n");
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &[("id", "int32"), ("name", "string")], 1));
    workshop.run("test.a");
    (workshop, provider)
}

#[test]
fn only_queries_over_the_catalogue_are_answered() {
    let (workshop, _provider) = workshop();
    let before = workshop.files("store").len();
    let outside = workshop.path().join("out.csv").display().to_string();
    let copy = format!("COPY test.a TO '{outside}'");
    for (sql, code, texts) in [
        ("SELECT * FORM test.a", 20, ["Expected: end of statement", "FORM"]),
        ("SELECT id,\n  nmae FROM test.a", 20, ["nmae", "at line 2, column 3"]),
        ("SELECT * FROM test.b", 20, ["table `test.b` does not exist", "did you mean `test.a`?"]),
        ("SELECT * FROM a", 20, ["table `a` has no namespace", "namespace.a"]),
        (&copy, 21, ["`COPY` is not allowed", "the store is read with queries"]),
        ("CREATE TABLE test.c AS SELECT 1", 21, ["`CREATE` is not allowed", ""]),
        ("CREATE EXTERNAL TABLE c STORED AS CSV LOCATION '/etc/passwd'", 21, ["is not allowed", ""]),
        ("INSERT INTO test.a VALUES (3, 'three')", 21, ["`INSERT` is not allowed", ""]),
        ("SET datafusion.execution.batch_size = 1", 21, ["`SET` is not allowed", ""]),
        ("SELECT 1; SELECT 2", 21, ["2 statements were sent", ""]),
        ("SELECT 1; DROP TABLE test.a", 21, ["2 statements were sent", ""]),
        ("SELECT * FROM '/etc/passwd'", 21, ["/etc/passwd", "only tables of the catalogue"]),
        ("SELECT * FROM read_csv('/etc/passwd')", 21, ["read_csv", "is not allowed"]),
        ("SELECT * FROM 'http://169.254.169.254/latest'", 21, ["is not allowed", "no files and no addresses"]),
        ("EXPLAIN ANALYZE COPY test.a TO '/tmp/x.csv'", 21, ["is not allowed", ""]),
    ] {
        let ran = workshop.hambar(&["sql", sql]);
        assert_eq!(ran.stdout, "", "{sql}");
        ran.fails(code, &texts);
    }
    assert_eq!(workshop.files("store").len(), before);
    assert!(!workshop.path().join("out.csv").exists());
    assert_eq!(workshop.rows("SELECT id, name FROM test.a"), ["1,one", "2,two"]);
}

#[test]
fn a_statement_of_twenty_thousand_terms_is_refused_at_once() {
    let (workshop, _provider) = workshop();
    for sql in [
        format!("SELECT 1{}", "+1".repeat(20_000)),
        format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(3_000)),
    ] {
        let started = Instant::now();
        workshop.hambar(&["sql", &sql]).fails(16, &["the statement", "at most"]);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
fn a_hungry_statement_ends_nothing_but_its_worker() {
    let (workshop, _provider) = workshop();
    for sql in [
        "SELECT length(string_agg(repeat('x', 100000), '')) FROM generate_series(1, 100000)",
        "SELECT array_length(array_agg(x)) FROM \
         (SELECT a.value AS x FROM generate_series(1, 20000) a, generate_series(1, 20000) b)",
    ] {
        let started = Instant::now();
        let ran = workshop.hambar(&["sql", "--memory", "64", "--timeout", "40", sql]);
        let code = ran.code();
        assert!(matches!(code, Some(16 | 20)), "{code:?} {}", ran.stderr);
        assert!(["memory", "limit", "bytes"].iter().any(|word| ran.stderr.contains(word)), "{}", ran.stderr);
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }
    assert_eq!(workshop.rows("SELECT count(*) FROM test.a"), ["2"]);
    assert!(workshop.files("tmp").is_empty(), "spill files stay: {:?}", workshop.files("tmp"));
}

#[test]
fn an_endless_statement_ends_at_its_deadline() {
    let (workshop, _provider) = workshop();
    let sql = "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";
    let started = Instant::now();
    workshop.hambar(&["sql", "--timeout", "3", sql]).fails(16, &["stopped after 3 s"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn formulas_in_data_are_disarmed_where_a_spreadsheet_opens_it_and_nowhere_else() {
    let (workshop, _provider) = workshop();
    let cells = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "plain", ""];
    let row = |(id, cell): (usize, &&str)| {
        let text = cell.replace('\'', "''").replace('\t', "' || chr(9) || '").replace('\r', "' || chr(13) || '");
        format!("({id}, '{text}', -{})", id + 1)
    };
    let values: Vec<String> = cells.iter().enumerate().map(row).collect();
    let sql = format!(
        "SELECT id, cell, number AS \"=n\" FROM (VALUES {}) v(id, cell, number) ORDER BY id",
        values.join(", ")
    );
    let put_out = |format: &str| {
        let text = workshop.hambar(&["sql", "--format", format, &sql]).ok();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let rows: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        rows
    };
    let (plain, disarmed) = (put_out("csv"), put_out("spreadsheet"));
    assert_eq!((plain[0][2].as_str(), disarmed[0][2].as_str()), ("=n", "'=n"));
    for (id, cell) in cells.iter().enumerate() {
        let expected = if id < 6 { format!("'{cell}") } else { (*cell).to_owned() };
        assert_eq!((&plain[id + 1][1], &disarmed[id + 1][1]), (&(*cell).to_owned(), &expected));
        let number = format!("-{}", id + 1);
        assert_eq!((&plain[id + 1][2], &disarmed[id + 1][2]), (&number, &number));
    }
}
