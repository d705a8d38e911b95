//! Statements that nobody would write by hand (`reliability.md` Q13), regular expressions that blow up (Q14), and what
//! abuse costs a bystander. `HAMBAR_TEST_LONG` runs a hundred thousand of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hambar_core::Classified;
use hambar_query::{GateLimits, QueryLimits, QueryWorkers, Question, check, offered_functions};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::fixture::{Fixture, fixture, limits, text};
use crate::worker::settings;

/// Statements that run in workers.
const RUNS: usize = 250;
/// Statements that only pass the gate.
const CHECKS: usize = 5_000;
/// How much more the long run does.
const LONG: usize = 400;
/// Nesting of made-up expressions.
const DEPTH: usize = 5;

fn is_long() -> bool {
    std::env::var_os("HAMBAR_TEST_LONG").is_some()
}

fn times(count: usize) -> usize {
    if is_long() { count * LONG } else { count }
}

/// The seed: printed with every failure, set by `HAMBAR_TEST_SEED`.
#[expect(clippy::disallowed_methods, reason = "tests are set up by the environment")]
fn seed() -> u64 {
    std::env::var("HAMBAR_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_122)
}

/// Makes statements up.
struct Grammar {
    random: StdRng,
    functions: Vec<&'static str>,
}

impl Grammar {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), functions: offered_functions() }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_ratio(1, one_in)
    }

    fn column(&mut self) -> &'static str {
        self.pick(&["country", "year", "gdp", "status", "t.year", "t.gdp", "_recorded_at", "_source", "nothing"])
    }

    fn literal(&mut self) -> String {
        let fixed = [
            "0",
            "1",
            "-1",
            "NULL",
            "true",
            "''",
            "'BG'",
            "9223372036854775807",
            "-9223372036854775808",
            "1e308",
            "'NaN'::DOUBLE",
            "DATE '2020-02-29'",
            "TIMESTAMP '0001-01-01'",
            "INTERVAL '1 month'",
            "X'00ff'",
            "[1, NULL]",
            "['a']",
            "'%_\\'",
            "1.5",
            "0.0",
            "18446744073709551615",
            "'\u{1F33E}'",
        ];
        if self.chance(4) { self.random.random_range(-100..4000).to_string() } else { self.pick(&fixed).to_owned() }
    }

    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance(4) {
            return if self.chance(2) { self.column().to_owned() } else { self.literal() };
        }
        let inner = |made: &mut Self| made.expression(depth - 1);
        let (a, b, c) = (inner(self), inner(self), inner(self));
        match self.random.random_range(0..16) {
            0..4 => {
                let operator = self.pick(&[
                    "+",
                    "-",
                    "*",
                    "/",
                    "%",
                    "=",
                    "<>",
                    "<",
                    ">=",
                    "AND",
                    "OR",
                    "||",
                    "&",
                    "|",
                    "^",
                    "<<",
                    ">>",
                    "~",
                    "!~*",
                    "LIKE",
                    "NOT ILIKE",
                    "IS DISTINCT FROM",
                    "SIMILAR TO",
                ]);
                format!("({a} {operator} {b})")
            }
            4 => format!("CASE WHEN {a} THEN {b} ELSE {c} END"),
            5 => {
                let kind =
                    self.pick(&["INT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP", "BOOLEAN", "DECIMAL(38,10)", "BYTEA"]);
                let cast = self.pick(&["CAST", "TRY_CAST"]);
                format!("{cast}({a} AS {kind})")
            }
            6 => format!("({a} IN ({b}, {c}))"),
            7 => format!("({a} BETWEEN {b} AND {c})"),
            8 => format!("(NOT {a})"),
            9 => format!("({a} IS NULL)"),
            10 => format!("(SELECT max({a}) FROM demo.gdp t)"),
            11 => format!("EXISTS (SELECT 1 FROM demo.gdp t WHERE {a})"),
            12 => format!("extract({} FROM {a})", self.pick(&["year", "epoch", "doy", "nothing"])),
            _ => {
                let name = self.functions.choose(&mut self.random).copied().unwrap_or("abs");
                match self.random.random_range(0..4) {
                    0 => format!("{name}()"),
                    1 => format!("{name}({a})"),
                    2 => format!("{name}({a}, {b})"),
                    _ => format!("{name}({a}, {b}, {c})"),
                }
            }
        }
    }

    fn relation(&mut self, depth: usize) -> String {
        if depth == 0 || !self.chance(3) {
            return self
                .pick(&[
                    "demo.gdp t",
                    "demo.gdp t",
                    "demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15' t",
                    "demo.gdp__history t",
                    "revisions('demo.gdp') t",
                    "(VALUES (1, 'BG'), (NULL, 'RO')) t(year, country)",
                    "generate_series(1, 50) t(year)",
                    "information_schema.columns t",
                ])
                .to_owned();
        }
        let left = self.relation(depth - 1);
        let right = self.relation(depth - 1);
        match self.random.random_range(0..4) {
            0 => format!("({}) t", self.query(depth - 1)),
            1 => {
                let kind = self.pick(&["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"]);
                format!("{left} {kind} {} ON {}", right.replace(" t", " u"), self.expression(1))
            }
            2 => format!("{left} CROSS JOIN {}", right.replace(" t", " v")),
            _ => format!("{left}, LATERAL ({}) w", self.query(0)),
        }
    }

    fn query(&mut self, depth: usize) -> String {
        let mut columns: Vec<String> = (0..self.random.random_range(1..4)).map(|_| self.expression(depth)).collect();
        if self.chance(4) {
            columns.push(format!(
                "{}({}) OVER (PARTITION BY {} ORDER BY {})",
                self.pick(&["row_number", "rank", "sum", "lag", "ntile", "first_value"]),
                self.pick(&["", "gdp", "year"]),
                self.column(),
                self.column()
            ));
        }
        let mut sql =
            format!("SELECT {}{} FROM {}", self.pick(&["", "", "DISTINCT "]), columns.join(", "), self.relation(depth));
        if self.chance(2) {
            sql.push_str(&format!(" WHERE {}", self.expression(depth)));
        }
        if self.chance(4) {
            sql = format!(
                "SELECT {0}, count(*), sum(gdp) FROM demo.gdp t GROUP BY {0} HAVING {1}",
                self.column(),
                self.expression(1)
            );
        }
        if self.chance(5) {
            sql = format!(
                "{sql} {} SELECT {}",
                self.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]),
                self.literal()
            );
        }
        if self.chance(4) {
            sql.push_str(&format!(
                " ORDER BY {} LIMIT {}",
                self.random.random_range(1..3),
                self.random.random_range(0..20)
            ));
        }
        if self.chance(8) {
            sql = format!("WITH {}c AS ({sql}) SELECT * FROM c", self.pick(&["", "RECURSIVE "]));
        }
        sql
    }

    /// A statement with some of its words or bytes moved, doubled, or gone.
    fn mutated(&mut self) -> String {
        let sql = self.query(2);
        let mut words: Vec<&str> = sql.split(' ').collect();
        for _ in 0..self.random.random_range(1..4) {
            let place = self.random.random_range(0..words.len());
            match self.random.random_range(0..4) {
                0 => {
                    words.remove(place);
                }
                1 => words.insert(place, words.choose(&mut self.random).copied().unwrap_or("x")),
                2 => words.insert(
                    place,
                    self.pick(&["(", ")", "'", "\"", ";", "--", "/*", "\0", "$1", "COPY", "SET", "\\", "::"]),
                ),
                _ => words.shuffle(&mut self.random),
            }
            if words.is_empty() {
                words.push("SELECT");
            }
        }
        words.join(" ")
    }
}

fn workers(fixture: &Fixture, limits: QueryLimits) -> QueryWorkers {
    QueryWorkers::new(settings(fixture, limits))
}

async fn answer(workers: &QueryWorkers, sql: &str, limits: &QueryLimits) -> String {
    text(workers.run(&Question::new(sql, limits.clone())).await).await
}

/// The gate runs in the process that listens: whatever the text, it answers.
#[test]
fn the_gate_answers_every_text() {
    let mut grammar = Grammar::new(seed());
    let mut passed = 0;
    for _ in 0..times(CHECKS) {
        let sql = if grammar.chance(2) { grammar.query(3) } else { grammar.mutated() };
        match check(&sql, &GateLimits::default()) {
            Ok(_) => passed += 1,
            Err(error) => {
                let class = error.class().name();
                assert!(["query", "denied", "limit"].contains(&class), "{class}: {error}: {sql}");
            }
        }
    }
    assert!(passed > times(CHECKS) / 4, "only {passed} of the made-up statements pass: they test too little");
}

/// Whatever passes the gate ends at most its own worker, within its deadline.
#[tokio::test]
async fn made_up_statements_end_nothing_but_their_worker() {
    let fixture = fixture().await;
    let workers = workers(&fixture, limits());
    let mut grammar = Grammar::new(seed() + 1);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut died = BTreeSet::new();
    let short = QueryLimits { run_time_max: Duration::from_secs(10), ..limits() };
    for _ in 0..times(RUNS) {
        let sql = grammar.query(DEPTH - 2);
        let started = Instant::now();
        let found = answer(&workers, &sql, &short).await;
        assert!(started.elapsed() < Duration::from_secs(20), "seed {}: {:?}: {sql}", seed(), started.elapsed());
        let class = found.split(':').next().unwrap_or_default();
        let outcome = if ["query", "denied", "limit", "internal", "store"].contains(&class) { class } else { "ok" };
        if outcome == "internal" || found.contains("ended its worker process") {
            died.insert(format!("{found}\n  {sql}"));
        }
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    println!("{outcomes:?}");
    for case in &died {
        println!("the worker gave up: {case}");
    }
    assert!(outcomes.get("ok").copied().unwrap_or(0) * 100 > times(RUNS), "{outcomes:?}: hardly anything runs");
    assert_eq!(outcomes.get("store"), None, "{outcomes:?}");
    assert_eq!(answer(&workers, "SELECT 1", &limits()).await, "1");
    assert_eq!(std::fs::read_dir(fixture.spill()).unwrap().count(), 0);
}

#[tokio::test]
async fn regular_expressions_are_capped() {
    let fixture = fixture().await;
    let workers = workers(&fixture, limits());
    let long = "a".repeat(1_000_000);
    for (sql, expected) in [
        (format!("SELECT regexp_like('a', '{long}')"), "limit: "),
        (format!("SELECT 'a' ~ '{}'", "a".repeat(5_000)), "limit: "),
        ("SELECT regexp_like(status, repeat('\\p{L}', 2000)) FROM demo.gdp".to_owned(), "limit: "),
        ("SELECT regexp_count(status, repeat(status, 2000)) FROM demo.gdp".to_owned(), "query: "),
        ("SELECT regexp_replace(status, repeat(status, 2000), '') FROM demo.gdp".to_owned(), "query: "),
        ("SELECT count(*) FROM demo.gdp WHERE status ~ repeat(status, 2000)".to_owned(), "query: "),
        ("SELECT count(*) FROM demo.gdp WHERE status SIMILAR TO repeat(status, 2000)".to_owned(), "query: "),
        ("SELECT regexp_like(repeat('a', 1000000) || 'b', '(a+)+$')".to_owned(), "false"),
        ("SELECT regexp_like('a', '(((a{50}){50}){50}){50}')".to_owned(), "query: "),
        ("SELECT regexp_like('a', '[')".to_owned(), "query: "),
        ("SELECT count(*) FROM demo.gdp WHERE status ~ 'fin(al)?'".to_owned(), "4"),
    ] {
        let shown: String = sql.chars().take(100).collect();
        let started = Instant::now();
        let found = answer(&workers, &sql, &limits()).await;
        assert!(found.starts_with(expected), "{shown}: {found}");
        assert!(started.elapsed() < Duration::from_secs(30), "{shown}: {:?}", started.elapsed());
    }
}

/// Resident bytes of the workers of this process, by their command name.
fn resident_bytes(command: &str) -> u64 {
    let mut most = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
        if field("Name:") == command && field("PPid:") == std::process::id().to_string() {
            let kibibytes: u64 = field("VmRSS:").trim_end_matches(" kB").trim().parse().unwrap_or(0);
            most = most.max(kibibytes * 1024);
        }
    }
    most
}

/// a worker stays within 1.5 times its pool and 256 MiB, and others get their answers meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn abuse_stays_within_its_memory_and_a_bystander_is_served() {
    let fixture = fixture().await;
    let limits = QueryLimits { run_time_max: Duration::from_secs(20), ..limits() };
    let workers = workers(&fixture, limits.clone());
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    for sql in [
        "SELECT length(string_agg(repeat('x', 100000), '')) FROM generate_series(1, 100000)",
        "SELECT array_length(array_agg(a.value)) FROM generate_series(1, 20000) a, generate_series(1, 20000) b",
        "SELECT count(*) FROM (SELECT DISTINCT repeat(CAST(value AS VARCHAR), 20) FROM generate_series(1, 2000000)) t",
        "SELECT max(length(x)) FROM (SELECT rpad('x', 1000000, 'y') AS x, value FROM generate_series(1, 100000) ORDER BY x, value) t",
        "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value % 10 = b.value % 10",
    ] {
        let abuse = tokio::spawn({
            let (workers, limits) = (workers.clone(), limits.clone());
            async move { answer(&workers, sql, &limits).await }
        });
        while !abuse.is_finished() {
            most = most.max(resident_bytes("hambar-query-wo"));
            let started = Instant::now();
            assert_eq!(answer(&workers, "SELECT 1", &limits).await, "1", "{sql}");
            slowest = slowest.max(started.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = abuse.await.unwrap();
        assert!(
            found.starts_with("limit: ") || found.starts_with("query: ") || found.lines().count() == 1,
            "{sql}: {found}"
        );
    }
    println!("slowest bystander {slowest:?}, largest worker {} MiB", most >> 20);
    assert!(most > 32 << 20, "no worker was seen: {most}");
    // One second on an idle machine with optimised code; unoptimised tests share theirs with others.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
