//! Traces as a collector gets them: one tree for each request of each protocol, nothing secret in it, and no collector,
//! however bad, that a request notices.

mod bad;
mod collector;
mod settings;

use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::Endpoint;

use super::postgres::{has_psql, psql};
use super::{ROWS, Served};
use crate::support::{Ran, python};
use collector::{Collector, Manner, Seen};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// A statement with something in it that nobody else is to read.
const STATEMENT: &str = "SELECT count(*) AS n FROM demo.figures WHERE note <> 'confidential-literal'";

fn traced(settings: &str, arguments: &[&str]) -> (Collector, Served) {
    let collector = Collector::start(Manner::Takes);
    let served = Served::prepared(&format!("{}{settings}", collector.settings()), arguments, |workshop| {
        workshop.write("otlp-headers", "authorization=Bearer%20collector-secret\n");
    });
    (collector, served)
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

#[test]
fn a_query_over_http_is_one_tree() {
    let (collector, served) = traced("headers = { file = \"otlp-headers\" }\n", &[]);
    let sent = parent("01");
    let headers = [("content-type", "application/sql"), ("traceparent", sent.as_str()), ("tracestate", "vendor=value")];
    let answer = served.send("POST", "/api/sql", Some(&served.token), &headers, STATEMENT.as_bytes()).ok();
    let tree = collector.trace(|span| span.parent == SPAN);
    tree.is_whole();
    let root = &tree.root;
    assert_eq!(
        (root.name.as_str(), root.trace.as_str(), root.state.as_str()),
        ("POST /api/sql", TRACE, "vendor=value")
    );
    // A server's span, sampled, whose parent is known to be somewhere else.
    assert_eq!((root.kind, root.flags, root.has_failed), (2, 0x301, false));
    let length = answer.body.len().to_string();
    root.says(&[
        ("http.request.method", "POST"),
        ("http.route", "/api/sql"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", &length),
        ("url.path", "/api/sql"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("hambar.organisation", "tests"),
        ("hambar.cache", "miss"),
    ]);
    tree.child(root, "authenticate");
    let query = tree.ran(root);
    assert_eq!((query.kind, query.flags), (1, 0x101));
    query.says(&[
        ("db.system.name", "hambar"),
        ("db.operation.name", "SELECT"),
        ("db.response.returned_rows", "1"),
        ("hambar.query", answer.header("hambar-query").unwrap()),
        ("hambar.organisation", "tests"),
        ("hambar.protocol", "http"),
        ("hambar.outcome", "answered"),
    ]);
    assert_eq!(query.get("hambar.statement.sha256").unwrap().len(), 64);
    assert!(query.get("db.query.text").is_none() && query.get("hambar.bytes").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(tree.spans.len(), 7, "{tree:#?}");
    assert_eq!(root.process["service.name"], "hambar");
    assert_eq!(root.process["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(root.process["service.instance.id"].len(), 36);
    // Whoever asked, and whoever looks into the log, finds it.
    assert_eq!(answer.header("traceresponse"), Some(format!("00-{TRACE}-{}-01", root.id).as_str()));
    let (requests, queries) = (log_lines(&served, "POST"), log_lines(&served, "query ended"));
    assert!(requests.contains(TRACE) && queries.contains(TRACE), "{}", served.log());
    let came = &collector.came()[0];
    let head = came.head.to_lowercase();
    assert!(head.starts_with("post /v1/traces?key=hidden") && head.contains("content-type: application/x-protobuf"));
    assert!(head.contains("authorization: bearer collector-secret"), "{head}");
    assert!(!served.log().contains("collector-secret") && !served.log().contains("hidden"), "{}", served.log());
    let metrics = served.get("/metrics").ok().text();
    assert!(metrics.contains("hambar_trace_spans_lost_total 0\n"), "{metrics}");
    assert!(
        !metrics.contains("hambar_trace_spans_sent_total 0\n") && metrics.contains("hambar_trace_spans_sent_total")
    );
}

fn log_lines(served: &Served, part: &str) -> String {
    served.log().lines().filter(|line| line.contains(part)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_goes_wrong_is_found_by_its_trace() {
    let (collector, served) = traced("", &["--anonymous"]);
    let answer = served.sql("SELECT no_such_column FROM demo.figures WHERE note = 'confidential-literal'");
    let trace = answer.json()["trace"].as_str().unwrap().to_owned();
    answer.fails(400, "query");
    let tree = collector.trace(|span| span.trace == trace && span.kind == 2);
    tree.is_whole();
    tree.root.says(&[("http.response.status_code", "400")]);
    let query = tree.child(&tree.root, "query");
    query.says(&[("hambar.outcome", "failed"), ("error.type", "query")]);
    let plan = tree.child(query, "plan");
    plan.says(&[("error.type", "query")]);
    // The statement is wrong, and nothing of ours.
    assert!(!tree.spans.iter().any(|span| span.has_failed), "{tree:#?}");
    let refused = served.get_as(Some("hbr_not-a-token"), "/api/tables", &[]);
    let trace = refused.json()["trace"].as_str().unwrap().to_owned();
    refused.fails(401, "denied");
    let tree = collector.trace(|span| span.trace == trace && span.kind == 2);
    tree.child(&tree.root, "authenticate").says(&[("error.type", "denied")]);
    assert_eq!(tree.root.get("hambar.organisation"), None);
    // Pages and addresses that there are not have a span too, under no name of the client's.
    assert_eq!(served.get("/nothing/of-the-kind").status, 404);
    let tree = collector.trace(|span| span.get("url.path") == Some("/nothing/of-the-kind"));
    assert_eq!((tree.root.name.as_str(), tree.root.get("http.route")), ("GET", None));
}

#[test]
fn what_needs_no_run_says_so() {
    let (collector, served) = traced("", &[]);
    // Nobody takes the body of what is asked for without it.
    assert_eq!(served.send("HEAD", "/docs", Some(&served.token), &[], b"").status, 200);
    let head = collector.trace(|span| span.name == "HEAD /docs");
    assert!(head.root.get("hambar.outcome").is_none(), "{head:#?}");
    let target = "/api/sql?q=SELECT max(id) AS m FROM demo.figures";
    let first = served.get(target).ok();
    let tag = first.header("etag").unwrap().to_owned();
    served.get(target).ok();
    assert_eq!(served.get_as(Some(&served.token), target, &[("if-none-match", &tag)]).status, 304);
    for (outcome, status) in [("miss", "200"), ("cached", "200"), ("unchanged", "304")] {
        let tree = collector.trace(|span| span.get("hambar.cache") == Some(outcome));
        tree.is_whole();
        tree.root.says(&[("http.response.status_code", status), ("http.route", "/api/sql")]);
        let has_run = tree.spans.iter().any(|span| span.name == "query");
        assert_eq!(has_run, outcome == "miss", "{tree:#?}");
    }
}

#[test]
fn a_query_over_flight_is_one_tree_for_each_call() {
    let (collector, served) = traced("", &["--flight", "127.0.0.1:0"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let rows: usize = runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", served.flight())).unwrap().connect().await.unwrap();
        let mut sql = FlightSqlServiceClient::new(channel);
        sql.set_token(served.token.clone());
        sql.set_header("traceparent", parent("01"));
        let info = sql.execute(STATEMENT.to_owned(), None).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let batches: Vec<_> = sql.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        sql.execute("SELECT nothing".to_owned(), None).await.unwrap_err();
        batches.iter().map(|batch| batch.num_rows()).sum()
    });
    assert_eq!(rows, 1);
    let call = |method: &'static str, status: &'static str| {
        let is_it = move |span: &Seen| {
            span.get("rpc.method") == Some(method) && span.get("rpc.grpc.status_code") == Some(status)
        };
        let mut tree = collector.trace(is_it);
        // The caller's trace has several calls: the spans below this one.
        let mut ids = vec![tree.root.id.clone()];
        let mut below = vec![tree.root.clone()];
        while let Some(next) =
            tree.spans.iter().find(|span| ids.contains(&span.parent) && !ids.contains(&span.id)).cloned()
        {
            ids.push(next.id.clone());
            below.push(next);
        }
        tree.spans = below;
        tree.is_whole();
        assert_eq!((tree.root.parent.as_str(), tree.root.trace.as_str(), tree.root.kind), (SPAN, TRACE, 2));
        tree.root.says(&[("rpc.system", "grpc"), ("rpc.service", "arrow.flight.protocol.FlightService")]);
        tree.child(&tree.root, "authenticate");
        tree
    };
    let described = call("GetFlightInfo", "0");
    assert_eq!(described.root.name, "arrow.flight.protocol.FlightService/GetFlightInfo");
    let describe = described.child(&described.root, "describe");
    described.child(describe, "queue");
    described.child(describe, "plan");
    let got = call("DoGet", "0");
    got.ran(&got.root).says(&[("hambar.protocol", "flight"), ("hambar.outcome", "answered")]);
    let failed = call("GetFlightInfo", "3");
    failed.child(&failed.root, "describe").says(&[("error.type", "query")]);
}

#[test]
fn a_query_over_postgres_is_one_tree() {
    if !has_psql() {
        return;
    }
    let Some(python) = python("psycopg") else { return };
    let (collector, served) = traced("", &["--postgres", "127.0.0.1:0"]);
    let said = psql(&served, "tests/all", &served.token, &["-At", "-c", STATEMENT]).ok();
    assert!(said.trim().parse::<u64>().unwrap() > 0, "{said}");
    let startup = collector.trace(|span| span.name == "postgres startup");
    startup.child(&startup.root, "authenticate");
    startup.root.says(&[("hambar.organisation", "tests"), ("network.protocol.name", "postgresql")]);
    let simple = collector.trace(|span| span.name == "postgres query");
    simple.is_whole();
    assert_eq!((simple.root.kind, simple.root.parent.as_str()), (2, ""));
    simple.child(&simple.root, "authenticate");
    simple.ran(&simple.root).says(&[
        ("db.operation.name", "SELECT"),
        ("hambar.protocol", "postgres"),
        ("hambar.organisation", "tests"),
        ("db.response.returned_rows", "1"),
    ]);
    let script = format!(
        "import psycopg\nwith psycopg.connect(host='{}', port={}, user='tests/all', password='{}', dbname='h', \
         sslmode='disable', autocommit=True) as c:\n  print(c.execute('SELECT count(*) FROM demo.figures WHERE id \
         < %s', (7,)).fetchone()[0])\n",
        served.postgres().ip(),
        served.postgres().port(),
        served.token,
    );
    assert_eq!(Ran::of(std::process::Command::new(python).args(["-c", &script])).ok(), "7\n");
    let extended = collector.trace(|span| span.name == "postgres extended query");
    extended.is_whole();
    extended.ran(&extended.root).says(&[("hambar.outcome", "answered")]);
    // What is wrong is told with the trace.
    let wrong = psql(&served, "tests/all", &served.token, &["-v", "VERBOSITY=verbose", "-c", "SELECT nothing"]);
    let context = wrong.stderr.lines().find_map(|line| line.split_once("trace ")).unwrap().1.trim().to_owned();
    let failed = collector.trace(|span| span.trace == context && span.kind == 2);
    failed.root.says(&[("db.response.status_code", "42703"), ("error.type", "42703")]);
    assert!(!failed.root.has_failed);
    // A password that is wrong is no member's, and not told.
    psql(&served, "tests/all", "hbr_wrong-password", &["-w", "-c", "SELECT 1"]);
    let refused = collector.trace(|span| span.name == "postgres startup" && span.get("error.type").is_some());
    refused.root.says(&[("db.response.status_code", "28P01")]);
    let all: Vec<u8> = collector.came().into_iter().flat_map(|came| came.body).collect();
    for secret in ["hbr_", "confidential-literal", served.token.as_str()] {
        assert!(!all.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn tokens_statements_and_values_stay_here() {
    let (collector, served) = traced("", &["--anonymous", "--flight", "127.0.0.1:0"]);
    let token = served.token.clone();
    served.sql(STATEMENT).ok();
    served.get(&format!("/api/sql?q={STATEMENT}")).ok();
    served.json(&serde_json::json!({"sql": "SELECT $1 AS a", "params": ["confidential-literal"]})).ok();
    served.get(&format!("/api/tables?token={token}")).fails(400, "query");
    served.get(&format!("/{token}/x"));
    served.get_as(Some("hbr_wrong-secret"), "/api/tables", &[]).fails(401, "denied");
    served.get_as(None, "/api/tables/demo.figures?note=confidential-literal", &[("cookie", "hambar_session=abc.def")]);
    served.get_as(None, "/", &[("user-agent", "confidential-literal"), ("x-hbr_", "hbr_")]);
    served.send("POST", "/login", None, &[], format!("token={token}").as_bytes());
    // What probes ask is not traced.
    assert!(
        ["/healthz", "/readyz", "/metrics"].iter().all(|probe| served.get(probe).header("traceresponse").is_none())
    );
    let last = served.get("/api/tables").ok().header("traceresponse").unwrap()[3..35].to_owned();
    collector.trace(|span| span.trace == last && span.kind == 2);
    assert!(collector.seen().len() > 20);
    let all: Vec<u8> = collector.came().into_iter().flat_map(|came| came.body).collect();
    for secret in ["hbr_", "confidential-literal", "SELECT count", "abc.def", "127.0.0.1"] {
        assert!(!all.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn statements_are_shown_where_the_settings_want_it() {
    let (collector, served) = traced("statements = true\nservice_name = \"centre\"\nservice_instance = \"one\"\n", &[]);
    served.sql(STATEMENT).ok();
    let tree = collector.trace(|span| span.name == "POST /api/sql");
    tree.ran(&tree.root).says(&[("db.query.text", STATEMENT)]);
    assert_eq!(
        (tree.root.process["service.name"].as_str(), &*tree.root.process["service.instance.id"]),
        ("centre", "one")
    );
}

#[test]
fn a_client_that_goes_away_leaves_a_trace() {
    let (collector, served) = traced("", &[]);
    let endless = "SELECT a.value, b.value FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let bearer = format!("Bearer {}", served.token);
    let target = format!("/api/sql.csv?q={endless}");
    let stream = super::client::start(served.address, "GET", &target, &[("authorization", &bearer)], b"");
    let mut first = [0; 1024];
    std::io::Read::read_exact(&mut { &stream }, &mut first).unwrap();
    drop(stream);
    let tree = collector.trace(|span| span.name == "GET /api/{}");
    tree.is_whole();
    tree.root.says(&[("hambar.outcome", "abandoned")]);
    let query = tree.child(&tree.root, "query");
    query.says(&[("hambar.outcome", "abandoned")]);
    // The worker was ended and told nothing more: what is known is known from here.
    tree.child(query, "execute");
    served.becomes_idle();
}

#[test]
fn what_many_ask_at_once_is_one_query_in_all_their_traces() {
    let (collector, served) = traced("", &[]);
    let sql = "SELECT sum(a.value * b.value) AS s FROM generate_series(1, 4000) a, generate_series(1, 2000) b";
    let target = format!("/api/sql?q={sql}");
    std::thread::scope(|scope| {
        scope.spawn(|| served.get(&target).ok());
        let since = std::time::Instant::now();
        while served.get("/api/queries").ok().json().as_array().unwrap().is_empty() {
            assert!(since.elapsed() < std::time::Duration::from_secs(30), "the query does not start");
        }
        scope.spawn(|| served.get(&target).ok());
    });
    let waited = collector.trace(|span| span.get("hambar.shared") == Some("true"));
    waited.is_whole();
    waited.root.says(&[("hambar.cache", "cached")]);
    waited.child(&waited.root, "shared");
    assert_eq!(collector.seen().iter().filter(|span| span.name == "query").count(), 1);
}

#[test]
fn long_answers_are_whole_in_their_traces() {
    let (collector, served) = traced("", &[]);
    let answer = served.get("/api/sql.csv?q=SELECT a.value FROM generate_series(1, 400000) a").ok();
    let tree = collector.trace(|span| span.name == "GET /api/{}");
    tree.is_whole();
    let query = tree.ran(&tree.root);
    query.says(&[("db.response.returned_rows", "400000"), ("hambar.outcome", "answered")]);
    let length = answer.body.len().to_string();
    tree.root.says(&[("http.response.body.size", &length)]);
    assert!(tree.root.get("hambar.outcome").is_none());
    let rows = served.sql("SELECT * FROM demo.figures").ok().json()["rows"].as_array().unwrap().len();
    assert_eq!(rows as u64, ROWS);
}
