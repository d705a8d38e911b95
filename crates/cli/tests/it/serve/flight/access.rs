//! Access by Flight SQL beside the matrix of roles: every call without a valid token, tickets and handles in the wrong hands,
//! and everything that would change something.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest, Any, CommandPreparedStatementQuery,
    CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt,
};
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket};
use futures::stream;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{Client, ENDLESS, served, status, texts};

/// Refused proofs from one address that are told one by one.
const TOLD: usize = 20;
/// Every call of the service.
const CALLS: [&str; 10] = [
    "Handshake",
    "ListFlights",
    "GetFlightInfo",
    "PollFlightInfo",
    "GetSchema",
    "DoGet",
    "DoPut",
    "DoExchange",
    "DoAction",
    "ListActions",
];

/// Makes a call with these headers.
async fn call(client: &mut FlightServiceClient<Channel>, name: &str, headers: &MetadataMap) -> Result<(), Status> {
    fn with<T>(headers: &MetadataMap, message: T) -> Request<T> {
        Request::from_parts(headers.clone(), Default::default(), message)
    }
    let query = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
    let question = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let data = FlightData::new().with_descriptor(question.clone());
    match name {
        "Handshake" => client.handshake(with(headers, stream::iter([HandshakeRequest::default()]))).await.map(drop),
        "ListFlights" => client.list_flights(with(headers, Criteria::default())).await.map(drop),
        "GetFlightInfo" => client.get_flight_info(with(headers, question)).await.map(drop),
        "PollFlightInfo" => client.poll_flight_info(with(headers, question)).await.map(drop),
        "GetSchema" => client.get_schema(with(headers, question)).await.map(drop),
        "DoGet" => client.do_get(with(headers, Ticket::new("x"))).await.map(drop),
        "DoPut" => client.do_put(with(headers, stream::iter([data]))).await.map(drop),
        "DoExchange" => client.do_exchange(with(headers, stream::iter([data]))).await.map(drop),
        "DoAction" => client.do_action(with(headers, Action::new("x", ""))).await.map(drop),
        "ListActions" => client.list_actions(with(headers, Empty {})).await.map(drop),
        other => panic!("{other}"),
    }
}

#[test]
fn no_call_is_answered_without_a_token_that_is_valid() {
    let served = served("");
    let client = Client::new(&served, &served.token);
    let endpoint = Endpoint::from_shared(format!("http://{}", served.flight())).unwrap();
    let forged = format!("Bearer hbr_{}", "A".repeat(43));
    let wrong = ["Bearer x", "Bearer hbr_", forged.as_str(), "Basic eDp5", "Basic !", "Digest x", "Bearer", "hbr_x"];
    client.runtime.block_on(async {
        let mut raw = FlightServiceClient::new(endpoint.connect().await.unwrap());
        let mut refused = 0;
        for name in CALLS {
            let mut headers = MetadataMap::new();
            headers.insert("x-forwarded-user", "admin".parse().unwrap());
            let nobody = call(&mut raw, name, &headers).await.unwrap_err();
            assert_eq!((nobody.code(), nobody.message().contains("a token is needed")), (Code::Unauthenticated, true));
            for text in wrong {
                headers.insert("authorization", text.parse().unwrap());
                let error = call(&mut raw, name, &headers).await.unwrap_err();
                refused += 1;
                let code = if refused <= TOLD { Code::Unauthenticated } else { Code::ResourceExhausted };
                assert_eq!(error.code(), code, "{name} {text}: {error:?}");
            }
            let valid = format!("Bearer {}", served.token);
            headers.append("authorization", valid.parse().unwrap());
            let twice = call(&mut raw, name, &headers).await.unwrap_err();
            assert_eq!(
                (twice.code(), twice.message()),
                (Code::InvalidArgument, "there are two `authorization` headers")
            );
            headers.insert("authorization", valid.parse().unwrap());
            let code = call(&mut raw, name, &headers).await.map_or_else(|error| error.code(), |()| Code::Ok);
            let wanted = match name {
                "Handshake" | "GetFlightInfo" | "GetSchema" | "ListActions" => Code::Ok,
                "DoGet" => Code::PermissionDenied,
                "DoPut" => Code::InvalidArgument,
                _ => Code::Unimplemented,
            };
            assert_eq!(code, wanted, "{name}");
        }
    });
    assert!(!served.log().contains("hbr_"), "{}", served.log());
}

#[test]
fn a_hidden_table_and_a_missing_one_are_told_apart_by_nothing() {
    let served = served("");
    let mut narrow = Client::new(&served, &served.token("narrow", "reader", "demo"));
    let hidden = narrow.ask("SELECT * FROM closed.numbers").unwrap_err();
    let missing = narrow.ask("SELECT * FROM closed.nothing").unwrap_err();
    assert_eq!(hidden.message().replace("numbers", "nothing"), missing.message());
}

#[test]
fn tickets_and_handles_serve_nobody_else() {
    let served = served("");
    let mut ana = Client::new(&served, &served.token("ana", "reader", "*"));
    let mut boris = Client::new(&served, &served.token("boris", "administrator", "*"));
    let info = ana.info("SELECT secret FROM closed.numbers").unwrap();
    assert_eq!(texts(&ana.rows(&info).unwrap()[0], "secret"), ["hidden"]);
    // Shown again it is the same question.
    assert_eq!(texts(&ana.rows(&info).unwrap()[0], "secret"), ["hidden"]);
    let refused = boris.rows(&info).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket;
    let text = String::from_utf8_lossy(&ticket).replace("closed.numbers", "closed.another");
    let command = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
    for made_up in [
        text.into_bytes(),
        ticket[..ticket.len() - 1].to_vec(),
        [ticket.as_ref(), b" "].concat(),
        b"SELECT 1".to_vec(),
        Vec::new(),
        command.as_any().encode_to_vec(),
    ] {
        let mut forged = info.clone();
        forged.endpoint[0].ticket = Some(Ticket::new(made_up));
        let error = ana.rows(&forged).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::PermissionDenied, refused.message()));
    }
    // A prepared statement is its member's own, whoever else shows its handle.
    let create = ActionCreatePreparedStatementRequest { query: "SELECT 1".to_owned(), transaction_id: None };
    let made = ana.act("CreatePreparedStatement", create.as_any().encode_to_vec()).unwrap().unwrap();
    let made: ActionCreatePreparedStatementResult = Any::decode(made.body).unwrap().unpack().unwrap().unwrap();
    let handle = made.prepared_statement_handle;
    let query = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let question = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
    for (is_own, code) in [(false, Code::NotFound), (true, Code::Ok), (true, Code::NotFound)] {
        let client = if is_own { &mut ana } else { &mut boris };
        let mut request = Request::new(question.clone());
        let bearer = format!("Bearer {}", client.sql.token().unwrap());
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        let asked = client.runtime.block_on(client.sql.inner_mut().get_flight_info(request));
        assert_eq!(asked.map_or_else(|error| error.code(), |_| Code::Ok), code);
        let closed = client.act("ClosePreparedStatement", close.as_any().encode_to_vec());
        assert_eq!(closed.map_or_else(|error| error.code(), |_| Code::Ok), code);
    }
}

#[test]
fn nothing_is_written_planned_elsewhere_or_exchanged() {
    let served = served("");
    let token = served.token.clone();
    let mut client = Client::new(&served, &token);
    let Client { runtime, sql } = &mut client;
    runtime.block_on(async {
        let update = sql.execute_update("INSERT INTO demo.figures SELECT 1".to_owned(), None).await.unwrap_err();
        assert_eq!(status(update).code(), Code::PermissionDenied);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("id", values)]).unwrap();
        let ingest = CommandStatementIngest { table: "figures".to_owned(), ..CommandStatementIngest::default() };
        let ingest = sql.execute_ingest(ingest, stream::iter([Ok(batch)])).await.unwrap_err();
        assert_eq!(status(ingest).code(), Code::PermissionDenied);
        let mut prepared = sql.prepare("SELECT 1".to_owned(), None).await.unwrap();
        assert_eq!(status(prepared.execute_update().await.unwrap_err()).code(), Code::PermissionDenied);
        let begun = sql.begin_transaction().await.unwrap_err();
        assert!(begun.to_string().contains("not offered"), "{begun}");
        let within = sql.execute("SELECT 1".to_owned(), Some(b"t".as_slice().into())).await.unwrap_err();
        assert_eq!(status(within).code(), Code::InvalidArgument);
    });
    let plan = CommandStatementSubstraitPlan::default().as_any().encode_to_vec();
    let mut request = Request::new(FlightDescriptor::new_cmd(plan));
    let bearer = format!("Bearer {token}");
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let error = client.runtime.block_on(client.sql.inner_mut().get_flight_info(request)).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unimplemented, "Substrait is not taken: send SQL"));
    for (name, body) in [
        ("CreatePreparedSubstraitPlan", ActionCreatePreparedSubstraitPlanRequest::default().as_any().encode_to_vec()),
        ("BeginTransaction", ActionBeginTransactionRequest::default().as_any().encode_to_vec()),
        ("EndTransaction", Vec::new()),
        ("SetSessionOptions", Vec::new()),
        ("CloseSession", Vec::new()),
        ("anything", b"at all".to_vec()),
    ] {
        assert_eq!(client.act(name, body).unwrap_err().code(), Code::Unimplemented, "{name}");
    }
    assert_eq!(client.act("CreatePreparedStatement", b"\xff".to_vec()).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.number("SELECT count(*) FROM demo.figures"), super::ROWS as i64);
}

#[test]
fn a_revoked_token_ends_what_runs_for_it() {
    let served = served("");
    let token = served.token("leaver", "reader", "*");
    let mut client = Client::new(&served, &token);
    let info = client.info(ENDLESS).unwrap();
    let mut own = client.sql_again(&served);
    let running = client.runtime.spawn(async move { super::rows(&mut own, &info).await.map_err(status) });
    std::thread::sleep(Duration::from_secs(1));
    served.workshop.hambar(&["members", "revoke", "tests/leaver"]).ok();
    let since = Instant::now();
    let ended = client.runtime.block_on(running).unwrap().unwrap_err();
    assert!(ended.code() == Code::Cancelled && since.elapsed() < Duration::from_secs(20), "{ended:?}");
    assert_eq!(client.ask("SELECT 1").unwrap_err().code(), Code::Unauthenticated);
    served.becomes_idle();
}
