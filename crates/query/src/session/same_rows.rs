//! Our rules against DataFusion's own: random tables and queries have the same rows with both, whatever the files are like.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use hambar_lake::{DataFile, TableSnapshot};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::settings::Texts;
use super::table::LakeTable;
use crate::{functions, rules};

/// Random tables.
const TABLES: u64 = 3;
/// Rows of a file, at most. With fewer than a third of them in a row group, a file has several.
const FILE_ROWS_MAX: i64 = 3000;
const GROUP_ROWS: usize = 900;

/// What the texts of a part of a column are like.
#[derive(Clone, Copy)]
enum Kind {
    Few,
    Own,
    Numbers,
    Null,
}

fn one_text(random: &mut StdRng, kind: Kind, row: i64) -> Option<String> {
    let number = random.random_range(0..23);
    match kind {
        _ if number == 7 => None,
        Kind::Few => Some(format!("one of the long texts {number}")),
        Kind::Own => Some(format!("a text of its own, {row}")),
        Kind::Numbers if number == 3 => Some(String::new()),
        Kind::Numbers => Some(number.to_string()),
        Kind::Null => None,
    }
}

/// Texts that change their nature from place to place, so that some row groups have dictionaries and others have not.
fn texts(random: &mut StdRng, rows: i64) -> ArrayRef {
    let kinds = [Kind::Few, Kind::Few, Kind::Numbers, Kind::Numbers, Kind::Own, Kind::Null];
    let mut kind = Kind::Few;
    let mut made = Vec::new();
    for row in 0..rows {
        if row % 700 == 0 {
            kind = *kinds.choose(random).unwrap();
        }
        made.push(one_text(random, kind, row));
    }
    Arc::new(StringArray::from(made))
}

fn rows(random: &mut StdRng, first: i64) -> RecordBatch {
    let count = random.random_range(1..FILE_ROWS_MAX);
    let instants = (0..count).map(|_| random.random_range(-9_000_000_000_000_000..9_000_000_000_000_000_i64));
    let instants: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(instants).with_timezone("UTC"));
    let floats = [Some(0.0), Some(-0.0), Some(f64::NAN), Some(1.5), None];
    let floats = Float64Array::from_iter((0..count).map(|_| *floats.choose(random).unwrap()));
    let numbers = Int64Array::from_iter_values(first..first + count);
    RecordBatch::try_from_iter_with_nullable([
        ("a", texts(random, count), true),
        ("b", texts(random, count), true),
        ("n", Arc::new(numbers) as ArrayRef, true),
        ("at", instants, true),
        ("f", Arc::new(floats) as ArrayRef, true),
    ])
    .unwrap()
}

/// A Parquet file of the rows: with dictionaries, without, or with such as fill up.
fn file(random: &mut StdRng, rows: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(250)
        .set_write_batch_size(50)
        .set_dictionary_enabled(random.random_ratio(4, 5))
        .set_dictionary_page_size_limit(*[300, 1 << 20, 1 << 20].choose(random).unwrap())
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

/// A table `t` in two sessions: one with our rules, one with DataFusion's.
struct World {
    ours: SessionContext,
    stock: SessionContext,
    /// Texts of the table, and one that is not in it.
    texts: Vec<String>,
}

async fn world(random: &mut StdRng) -> World {
    let store = Arc::new(InMemory::new());
    let (mut files, mut texts, mut schema, mut first) = (Vec::new(), vec!["nowhere".to_owned()], None, 0);
    for number in 0..random.random_range(1..4) {
        let rows = rows(random, first);
        first += FILE_ROWS_MAX;
        let bytes = file(random, &rows);
        let path = Path::from(format!("{number}.parquet"));
        let (size, count) = (bytes.len() as u64, rows.num_rows() as u64);
        files.push(DataFile { path: path.clone(), size, rows: count, partition_values: BTreeMap::new(), stats: None });
        store.put(&path, bytes.into()).await.unwrap();
        for _ in 0..10 {
            let (place, column) = (random.random_range(0..rows.num_rows()), random.random_range(0..2));
            let column = rows.column(column).as_any().downcast_ref::<StringArray>().unwrap();
            texts.push(column.value(place).to_owned());
        }
        schema = Some(rows.schema());
    }
    let snapshot = TableSnapshot {
        table: "demo.t".parse().unwrap(),
        version: 1,
        sequence: 1,
        run: None,
        recorded_at: None,
        schema: schema.unwrap(),
        partition_by: Vec::new(),
        files,
        properties: BTreeMap::new(),
    };
    let config = SessionConfig::new()
        .with_target_partitions(random.random_range(1..4))
        .with_batch_size(*[100, 1024, 8192].choose(random).unwrap());
    let stock = SessionStateBuilder::new_with_default_features().with_config(config.clone()).build();
    let ours = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_scalar_functions(functions::scalar_functions())
        .with_optimizer_rules(rules::logical())
        .with_physical_optimizer_rules(rules::physical())
        .build();
    let session = |state| {
        let session = SessionContext::new_with_state(state);
        let url = ObjectStoreUrl::parse("lake://store").unwrap();
        session.register_object_store(url.as_ref(), Arc::clone(&store) as Arc<dyn ObjectStore>);
        session.register_table("t", Arc::new(LakeTable::new(snapshot.clone(), url, Texts::Views))).unwrap();
        session
    };
    World { ours: session(ours), stock: session(stock), texts }
}

/// Queries; `$` is a text, mostly one of the table's.
const QUERIES: &[&str] = &[
    "SELECT a, count(*), sum(n), min(b) FROM t GROUP BY a",
    "SELECT a, b, count(*), max(at) FROM t GROUP BY a, b",
    "SELECT a, upper(a) AS u, b, substr(b, 1, 2) AS s, count(n) FROM t GROUP BY 1, 2, 3, 4",
    "SELECT a, b, upper(a), upper(b), lower(a), count(*) FROM t GROUP BY 1, 2, 3, 4, 5",
    "SELECT upper(a) AS u, substr(b, 1, 2) AS s, count(*) FROM t WHERE n % 3 <> 1 GROUP BY 1, 2",
    "SELECT a, length(b) AS l, count(*), sum(length(a)) FROM t GROUP BY 1, 2",
    "SELECT DISTINCT a, b FROM t WHERE b LIKE '%1%' OR a IS NULL",
    "SELECT n, a, b FROM t WHERE a = $",
    "SELECT count(*), min(n), sum(n) FROM t WHERE a = $",
    "SELECT count(*), min(b), max(b) FROM t WHERE a = $",
    "SELECT n, b FROM t WHERE a IN ($, $) AND b <> $",
    "SELECT n FROM t WHERE a NOT IN ($, $)",
    "SELECT n FROM t WHERE a NOT IN ($, NULL) OR b IN ($, NULL)",
    "SELECT n FROM t WHERE NOT (a = $ OR b > $)",
    "SELECT n, a = b AS same, a || b AS both, b FROM t WHERE a < b OR a > $",
    "SELECT n, a FROM t WHERE coalesce(a, b) = $ OR a IS NOT NULL AND b IS NULL",
    "SELECT CASE WHEN a = $ THEN b ELSE a END AS c, count(*) FROM t GROUP BY 1",
    "SELECT count(DISTINCT a), count(DISTINCT b), sum(TRY_CAST(b AS BIGINT)), max(upper(a)) FROM t",
    "SELECT count(*) FILTER (WHERE a LIKE '%1%'), count(b) FILTER (WHERE b = $) FROM t",
    "SELECT a, count(*) FILTER (WHERE b = $), min(upper(b)) FROM t GROUP BY a HAVING count(*) > 1",
    "SELECT c, count(*) FROM (SELECT a AS c FROM t WHERE n % 2 = 0 UNION ALL SELECT b FROM t WHERE b >= $) u GROUP BY c",
    "SELECT a, n FROM t WHERE a >= $ ORDER BY a, n LIMIT 7",
    "SELECT date_trunc('month', at) AS m, date_trunc('hour', at) AS h, a, n FROM t WHERE n % 7 = 0",
    "SELECT date_trunc('year', at) AS m, a, count(*) FROM t GROUP BY 1, 2",
    "SELECT a, n, p FROM (SELECT a, n, row_number() OVER (PARTITION BY a ORDER BY n DESC) AS p FROM t) r WHERE p <= 2",
    "SELECT l.v, k.n FROM t k JOIN (VALUES ($, 1), ($, 2), (NULL, 3), ('x', 4), ('x', 4)) AS l(a, v) ON k.a = l.a",
    "SELECT l.v, count(*), min(k.b) FROM t k JOIN (VALUES ($, 1), ($, 1)) AS l(a, v) ON k.a = l.a GROUP BY l.v",
    "SELECT k.n, l.b FROM t k JOIN (VALUES ($, $), ($, NULL), ('', '')) AS l(a, b) ON k.a = l.a AND k.b = l.b",
    "SELECT k.n, l.v FROM (VALUES ($, 1), (NULL, 2)) AS l(a, v) LEFT JOIN t k ON k.a = l.a",
    "SELECT k.n, l.v FROM t k LEFT JOIN (VALUES ($, 1), (NULL, 2)) AS l(a, v) ON k.a = l.a WHERE k.n % 5 = 0",
    "SELECT k.n FROM t k JOIN (VALUES ($), (NULL)) AS l(a) ON k.a IS NOT DISTINCT FROM l.a",
    "SELECT n FROM t WHERE a IN (SELECT column1 FROM (VALUES ($), (NULL), ($)) v)",
    "SELECT n FROM t WHERE a NOT IN (SELECT column1 FROM (VALUES ($), ($)) v)",
    "SELECT k.n FROM t k JOIN (VALUES (1), (1), (NULL), (3001), (-4), (7), (9)) AS l(n) ON k.n = l.n",
    "SELECT k.n FROM t k JOIN (VALUES (CAST(2 AS SMALLINT)), (5)) AS l(n) ON k.n = l.n + 1",
    "SELECT k.n FROM t k JOIN (VALUES (0.0), (CAST('NaN' AS DOUBLE)), (1.5), (NULL)) AS l(f) ON k.f = l.f",
    "SELECT k.n FROM t k JOIN (VALUES (-CAST(0 AS DOUBLE)), (1.5)) AS l(f) ON k.f = l.f",
    "SELECT k.n FROM t k JOIN (VALUES ('5'), ('7')) AS l(a) ON CAST(k.n AS VARCHAR) = l.a",
    "SELECT x.n, y.n AS m FROM t x JOIN t y ON x.a = y.b JOIN (VALUES ($), ($)) AS l(a) ON x.a = l.a \
     WHERE x.n % 40 = 0 AND y.n % 40 = 0",
    "SELECT k.b, l.v, count(*) FROM t k JOIN (VALUES ($, 1), ($, 2)) AS l(a, v) ON upper(k.a) = upper(l.a) GROUP BY 1, 2",
    "SELECT l.v, l.w, l.a, k.n, k.a AS b FROM t k JOIN (VALUES ('1', 'one', NULL), ('2', NULL, 2), (NULL, 'x', 3), ('', '', 4)) \
     AS l(a, v, w) ON k.a = l.a",
    "SELECT l.v, count(*), sum(k.n), avg(k.n) FROM t k JOIN (VALUES ('one of the long texts 2', 'x'), ('', 'y'), ('5', 'y'), \
     ('6', NULL)) AS l(a, v) ON k.a = l.a GROUP BY l.v",
    "SELECT l.v, k.n, k.b FROM (VALUES ('1', '2'), ('9', '4'), ('5', '')) AS l(a, v) JOIN t k ON k.a = l.a AND k.b > l.v",
    "SELECT k.n, l.v, l.n AS m FROM t k JOIN (VALUES (1, 'a'), (7, 'b'), (NULL, 'c'), (3001, 'd')) AS l(n, v) ON k.n = l.n",
    "SELECT l.v, m.w, count(*) FROM t k JOIN (VALUES ('1', 'a'), ('5', 'b')) AS l(a, v) ON k.a = l.a \
     JOIN (VALUES ('a', 1), ('b', 2)) AS m(v, w) ON l.v = m.v GROUP BY 1, 2",
    "SELECT a, count(*), count(b) FILTER (WHERE n % 3 = 0), sum(n) FILTER (WHERE f > 0), avg(n), min(b), max(at) FROM t GROUP BY a",
    "SELECT upper(a) AS u, count(DISTINCT b), sum(n) FROM t GROUP BY 1",
];

/// The rows, sorted, under their types.
async fn answer(session: &SessionContext, sql: &str) -> Vec<String> {
    let frame = session.sql(sql).await.unwrap();
    let kinds = frame.schema().fields().iter().map(|field| format!("{field:?}")).collect();
    let batches = frame.collect().await.unwrap();
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = shown.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect();
    lines.sort();
    lines.push(kinds);
    lines
}

async fn plan(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    displayable(plan.as_ref()).indent(false).to_string()
}

#[tokio::test]
async fn every_query_has_the_rows_that_it_has_without_our_rules() {
    let mut plans = String::new();
    for seed in 0..TABLES {
        let mut random = StdRng::seed_from_u64(seed);
        let world = world(&mut random).await;
        for query in QUERIES {
            let mut sql = (*query).to_owned();
            while sql.contains('$') {
                sql = sql.replacen('$', &format!("'{}'", world.texts.choose(&mut random).unwrap()), 1);
            }
            let expected = answer(&world.stock, &sql).await;
            assert_eq!(answer(&world.ours, &sql).await, expected, "table {seed}: {sql}");
            if seed == 0 {
                plans += &plan(&world.ours, &sql).await;
            }
        }
        let stock = plan(&world.stock, QUERIES[1]).await;
        assert!(!stock.contains("dictionary(") && !stock.contains("FallbackExec"), "{stock}");
    }
    for mark in ["dictionary(", "texts(", "memo(", "packed(", "code(", "FallbackExec", "LeadersExec"] {
        assert!(plans.contains(mark), "no plan with {mark}");
    }
}
