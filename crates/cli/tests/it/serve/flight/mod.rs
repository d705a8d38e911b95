//! Arrow Flight SQL as its clients meet it: statements, prepared statements, metadata, cancellation, and how each thing
//! that goes wrong is said.

mod abuse;
mod access;
mod clients;
mod policies;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use futures::TryStreamExt;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{ROWS, Served};

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";
const MANY_ROWS: &str = "SELECT a.value, 'some text that takes room' AS text \
    FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

/// A server with Flight SQL.
fn served(settings: &str) -> Served {
    Served::with(settings, &["--flight", "127.0.0.1:0"])
}

/// A client with a token.
pub(super) struct Client {
    pub(super) runtime: Runtime,
    pub(super) sql: FlightSqlServiceClient<Channel>,
}

impl Client {
    pub(super) fn new(served: &Served, token: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", served.flight())).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        let mut sql = FlightSqlServiceClient::new(channel);
        sql.set_token(token.to_owned());
        Self { runtime, sql }
    }

    /// What a statement is answered.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<RecordBatch>, Status> {
        let info = self.info(sql)?;
        self.rows(&info)
    }

    pub(super) fn info(&mut self, sql: &str) -> Result<FlightInfo, Status> {
        self.runtime.block_on(self.sql.execute(sql.to_owned(), None)).map_err(status)
    }

    pub(super) fn rows(&mut self, info: &FlightInfo) -> Result<Vec<RecordBatch>, Status> {
        self.runtime.block_on(rows(&mut self.sql, info)).map_err(status)
    }

    /// The rows of an answer that must come.
    #[track_caller]
    pub(super) fn told(&mut self, info: Result<FlightInfo, FlightError>) -> RecordBatch {
        let info = info.unwrap();
        let schema = columns(&info);
        let batches = self.rows(&info).unwrap();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    }

    /// The only number of an answer.
    #[track_caller]
    fn number(&mut self, sql: &str) -> i64 {
        let batches = self.ask(sql).unwrap();
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    pub(super) fn act(&mut self, name: &str, body: Vec<u8>) -> Result<Option<arrow_flight::Result>, Status> {
        let action = Action { r#type: name.to_owned(), body: body.into() };
        self.runtime.block_on(async {
            let mut results = self.sql.do_action(action).await.map_err(status)?;
            results.message().await
        })
    }
}

pub(super) async fn rows(
    sql: &mut FlightSqlServiceClient<Channel>,
    info: &FlightInfo,
) -> Result<Vec<RecordBatch>, FlightError> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    sql.do_get(ticket).await?.try_collect().await
}

/// The columns that were announced.
pub(super) fn columns(info: &FlightInfo) -> SchemaRef {
    Arc::new(info.clone().try_decode_schema().unwrap())
}

#[track_caller]
pub(super) fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

/// The texts of a column.
pub(super) fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap_or_else(|| panic!("{column} in {:?}", batch.schema()));
    column.as_string::<i32>().iter().map(|text| text.unwrap_or("NULL").to_owned()).collect()
}

#[test]
fn statements_are_answered_with_their_sources() {
    let served = served("");
    let mut client = Client::new(&served, "");
    let token = served.token.clone();
    // A password becomes a bearer.
    client.sql.clear_token();
    client.runtime.block_on(client.sql.handshake("anybody", &token)).unwrap();
    assert_eq!(client.sql.token(), Some(&token));
    let info = client.info("SELECT id, country, value, note FROM demo.figures ORDER BY id").unwrap();
    assert!(info.endpoint.len() == 1 && info.endpoint[0].location.is_empty());
    let batches = client.rows(&info).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), ROWS);
    let announced = columns(&info);
    assert_eq!(batches[0].schema(), announced);
    let sources = &announced.metadata()["hambar.sources"];
    assert!(sources.contains("demo.figures") && sources.contains("citation"), "{sources}");
    assert_eq!(texts(&batches[0], "note")[..2], ["NULL", "n1, \"ü\""]);
    assert_eq!(client.number("SELECT sum(id) FROM demo.figures"), 1_999_000);
    // More than a message takes, and columns of many kinds.
    let long = client.ask("SELECT value, repeat('x', 200) AS text FROM generate_series(1, 100000)").unwrap();
    assert!(long.len() > 5 && long.iter().map(RecordBatch::num_rows).sum::<usize>() == 100_000);
    let kinds = client
        .ask(
            "SELECT true, 1::smallint, 1.50::decimal(10,2), DATE '2024-01-31', TIMESTAMP '2024-01-31 12:00:00', NULL, \
             make_array(1, NULL), arrow_cast('a', 'Dictionary(Int32, Utf8)'), interval '1 day'",
        )
        .unwrap();
    assert_eq!(kinds[0].num_rows(), 1);
    assert_eq!(kinds[0].column(7).data_type(), &DataType::Utf8);
    let none = client.ask("SELECT id FROM demo.figures WHERE id < 0").unwrap();
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    served.becomes_idle();
    let listed = served.get_as(Some(&served.token), "/metrics", &[]).ok().text();
    assert!(listed.contains("protocol=\"flight\""), "{listed}");
}

#[test]
fn prepared_statements_take_values_and_end() {
    let served = served("");
    let token = served.token.clone();
    let mut client = Client::new(&served, &token);
    let Client { runtime, sql } = &mut client;
    let row = |country: &str, id: i64| {
        let columns: [(&str, ArrayRef); 2] =
            [("a", Arc::new(StringArray::from(vec![country]))), ("b", Arc::new(Int64Array::from(vec![id])))];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    runtime.block_on(async {
        for statement in [
            "SELECT count(*) AS n FROM demo.figures WHERE country = ? AND id < ? AND note <> '?'",
            "SELECT count(*) AS n FROM demo.figures WHERE country = $1 AND id < $2 AND note <> '?'",
        ] {
            let mut prepared = sql.prepare(statement.to_owned(), None).await.unwrap();
            let wanted = prepared.parameter_schema().unwrap().clone();
            let kinds: Vec<&DataType> = wanted.fields().iter().map(|field| field.data_type()).collect();
            assert_eq!(kinds, [&DataType::Utf8, &DataType::Int64], "{statement}");
            assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
            let unbound = status(prepared.execute().await.unwrap_err());
            assert!(
                unbound.code() == Code::InvalidArgument && unbound.message().contains("2 parameters"),
                "{unbound:?}"
            );
            for (country, id, found) in [("BGR", 30, 8), ("GRC", 30, 8), ("BGR", 0, 0), ("'; DROP", 30, 0)] {
                prepared.set_parameters(row(country, id)).unwrap();
                let info = prepared.execute().await.unwrap();
                let batches = rows(sql, &info).await.unwrap();
                let count = batches[0].column(0).as_primitive::<Int64Type>().value(0);
                assert_eq!(count, found, "{country} {id}");
            }
            let two = arrow::compute::concat_batches(&row("a", 1).schema(), &[row("a", 1), row("b", 2)]).unwrap();
            prepared.set_parameters(two).unwrap();
            let refused = status(prepared.execute().await.unwrap_err());
            assert!(refused.code() == Code::InvalidArgument && refused.message().contains("one row"), "{refused:?}");
            prepared.set_parameters(RecordBatch::new_empty(Arc::new(wanted))).unwrap();
            prepared.close().await.unwrap();
        }
        let mixed = sql.prepare("SELECT ? + $1".to_owned(), None).await.map(drop);
        assert_eq!(status(mixed.unwrap_err()).code(), Code::InvalidArgument);
        let broken = sql.prepare("SELECT nothing FROM demo.figures".to_owned(), None).await.map(drop);
        let broken = status(broken.unwrap_err());
        assert!(broken.message().contains("`nothing` does not exist (line 1, column 8)"), "{broken:?}");
        // So many are open at once, and no more.
        let mut open = Vec::new();
        let refused = loop {
            match sql.prepare("SELECT 1".to_owned(), None).await {
                Ok(prepared) => open.push(prepared),
                Err(error) => break status(error),
            }
        };
        assert_eq!((open.len(), refused.code()), (100, Code::ResourceExhausted));
        open.pop().unwrap().close().await.unwrap();
        sql.prepare("SELECT 1".to_owned(), None).await.unwrap();
    });
    served.becomes_idle();
}

#[test]
fn metadata_tells_what_there_is() {
    let served = served("");
    let token = served.token.clone();
    let mut client = Client::new(&served, &token);
    macro_rules! told {
        ($call:ident $(, $argument:expr)?) => {{
            let info = client.runtime.block_on(client.sql.$call($($argument)?));
            client.told(info)
        }};
    }
    assert_eq!(texts(&told!(get_catalogs), "catalog_name"), ["hambar"]);
    let namespaces = told!(get_db_schemas, CommandGetDbSchemas::default());
    assert_eq!(texts(&namespaces, "db_schema_name"), ["closed", "demo", "system"]);
    let some = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("d%".to_owned()) };
    assert_eq!(texts(&told!(get_db_schemas, some), "db_schema_name"), ["demo"]);
    let all = told!(get_tables, CommandGetTables::default());
    let names = texts(&all, "table_name");
    assert!(names.contains(&"figures".to_owned()) && names.contains(&"runs".to_owned()), "{names:?}");
    let figures = CommandGetTables {
        catalog: Some("hambar".to_owned()),
        db_schema_filter_pattern: Some("demo".to_owned()),
        table_name_filter_pattern: Some("fig_res".to_owned()),
        table_types: vec!["TABLE".to_owned()],
        include_schema: true,
    };
    let found = told!(get_tables, figures.clone());
    assert_eq!(
        (texts(&found, "table_name"), texts(&found, "table_type")),
        (vec!["figures".into()], vec!["TABLE".into()])
    );
    let schema = found.column_by_name("table_schema").unwrap().as_binary::<i32>().value(0);
    let schema = arrow::datatypes::Schema::try_from(arrow_flight::IpcMessage(schema.to_vec().into())).unwrap();
    let info = client.info("SELECT * FROM demo.figures").unwrap();
    assert_eq!(schema.fields(), columns(&info).fields());
    let elsewhere = CommandGetTables { catalog: Some("other".to_owned()), ..figures };
    assert_eq!(told!(get_tables, elsewhere).num_rows(), 0);
    assert_eq!(texts(&told!(get_table_types), "table_type"), ["SYSTEM TABLE", "TABLE"]);
    let keys = CommandGetPrimaryKeys { table: "figures".to_owned(), ..CommandGetPrimaryKeys::default() };
    let keys = told!(get_primary_keys, keys);
    assert_eq!(texts(&keys, "column_name"), ["id"]);
    assert_eq!(keys.column_by_name("key_sequence").unwrap().as_primitive::<Int32Type>().value(0), 1);
    assert_eq!(told!(get_exported_keys, arrow_flight::sql::CommandGetExportedKeys::default()).num_rows(), 0);
    assert_eq!(told!(get_imported_keys, arrow_flight::sql::CommandGetImportedKeys::default()).num_rows(), 0);
    assert_eq!(told!(get_cross_reference, arrow_flight::sql::CommandGetCrossReference::default()).num_rows(), 0);
    let two = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly];
    assert_eq!(told!(get_sql_info, two).num_rows(), 2);
    assert!(told!(get_sql_info, Vec::new()).num_rows() > 70);
    let types = told!(get_xdbc_type_info, CommandGetXdbcTypeInfo { data_type: None });
    assert!(texts(&types, "type_name").contains(&"BIGINT".to_owned()));
    served.becomes_idle();
}

#[test]
fn limits_end_an_answer_with_their_own_code() {
    let served = served("[server.queries]\nresult_rows_max = 1000\n");
    let token = served.token.clone();
    let mut client = Client::new(&served, &token);
    let cut = client.ask("SELECT id FROM demo.figures").unwrap_err();
    assert!(cut.code() == Code::ResourceExhausted && cut.message().contains("after 1000 rows"), "{cut:?}");
    client.sql.set_header("hambar-rows", "10");
    let first = client.ask("SELECT id FROM demo.figures").unwrap();
    assert_eq!(first.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    client.sql.set_header("hambar-rows", "many");
    assert_eq!(client.ask("SELECT 1").unwrap_err().code(), Code::InvalidArgument);
    client.sql.set_header("hambar-rows", "10");
    client.sql.set_header("hambar-seconds", "1");
    let since = Instant::now();
    let late = client.ask(ENDLESS).unwrap_err();
    assert!(late.code() == Code::DeadlineExceeded && late.message().contains("after 1 s"), "{late:?}");
    assert!(since.elapsed() < Duration::from_secs(5));
    served.becomes_idle();
}

#[test]
fn a_query_is_cancelled_by_its_member_and_by_nobody_else() {
    let served = served("");
    let token = served.token.clone();
    let mut client = Client::new(&served, &token);
    let mut other = Client::new(&served, &served.token("other", "operator", "*"));
    let info = client.info(ENDLESS).unwrap();
    let request = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let early = client.act("CancelFlightInfo", request.clone()).unwrap_err();
    assert_eq!(early.code(), Code::NotFound);
    for old in [false, true] {
        let running = {
            let (mut sql, info) = (client.sql_again(&served), info.clone());
            client.runtime.spawn(async move { rows(&mut sql, &info).await.map_err(status) })
        };
        let since = Instant::now();
        while !served.get("/api/queries").text().contains("flight") {
            assert!(since.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
        }
        let foreign = other.act("CancelFlightInfo", request.clone()).unwrap_err();
        assert_eq!(foreign.code(), Code::PermissionDenied);
        let since = Instant::now();
        if old {
            use arrow_flight::sql::{ActionCancelQueryRequest, ProstMessageExt};
            let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
            client.act("CancelQuery", request.as_any().encode_to_vec()).unwrap().unwrap();
        } else {
            let result = client.act("CancelFlightInfo", request.clone()).unwrap().unwrap();
            let result = CancelFlightInfoResult::decode(result.body).unwrap();
            assert_eq!(result.status(), CancelStatus::Cancelling);
        }
        let ended = client.runtime.block_on(running).unwrap().unwrap_err();
        assert_eq!(ended.code(), Code::Cancelled, "{ended:?}");
        assert!(since.elapsed() < Duration::from_secs(3));
    }
    served.becomes_idle();
    // Whoever goes away stops his query, before its first row and after.
    for sql in [ENDLESS, MANY_ROWS] {
        let ticket = client.info(sql).unwrap().endpoint[0].ticket.clone().unwrap();
        let mut own = client.sql_again(&served);
        let asked = client.runtime.spawn(async move {
            let mut stream = own.do_get(ticket).await.map_err(status)?;
            stream.try_next().await.map_err(status)?;
            std::future::pending::<Result<(), Status>>().await
        });
        std::thread::sleep(Duration::from_secs(1));
        assert!(served.get("/api/queries").text().contains("flight"));
        asked.abort();
        served.becomes_idle();
    }
}

impl Client {
    /// Another connection of the same member.
    pub(super) fn sql_again(&self, served: &Served) -> FlightSqlServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", served.flight())).unwrap();
        let channel = self.runtime.block_on(endpoint.connect()).unwrap();
        let mut sql = FlightSqlServiceClient::new(channel);
        if let Some(token) = self.sql.token() {
            sql.set_token(token.clone());
        }
        sql
    }
}
