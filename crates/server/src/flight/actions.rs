//! Actions: statements are prepared and closed, queries cancelled. Every other action is refused.

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, ProstMessageExt,
};
use arrow_flight::{Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use hambar_query::Parameters;
use prost::Message;
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::Status;

use super::service::Service;
use super::{commands, encode};
use crate::front::Cancelled;
use crate::rest::auth::Asker;

const CREATE: &str = "CreatePreparedStatement";
const CLOSE: &str = "ClosePreparedStatement";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// What may be done.
pub(super) const OFFERED: [(&str, &str); 4] = [
    (CREATE, "Prepares a statement: ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult."),
    (CLOSE, "Forgets a prepared statement: ActionClosePreparedStatementRequest."),
    (CANCEL_QUERY, "Cancels a query: ActionCancelQueryRequest, ActionCancelQueryResult."),
    (CANCEL_FLIGHT_INFO, "Cancels a query: CancelFlightInfoRequest, CancelFlightInfoResult."),
];

/// Lists what may be done.
pub(super) fn list() -> Vec<ActionType> {
    let action =
        |(name, description): (&str, &str)| ActionType { r#type: name.to_owned(), description: description.to_owned() };
    OFFERED.into_iter().map(action).collect()
}

/// Does it; returns what there is to say.
pub(super) async fn run(service: &Service, asker: &Asker, action: Action) -> Result<Option<Bytes>, Status> {
    match action.r#type.as_str() {
        CREATE => {
            let request: ActionCreatePreparedStatementRequest = unpacked(&action.body)?;
            commands::no_transaction(request.transaction_id.as_ref())?;
            let result = create(service, asker, request.query).await?;
            Ok(Some(result.as_any().encode_to_vec().into()))
        }
        CLOSE => {
            let request: ActionClosePreparedStatementRequest = unpacked(&action.body)?;
            let member = asker.principal.counted_as();
            service.statements.close(&member, &request.prepared_statement_handle, Instant::now())?;
            Ok(None)
        }
        CANCEL_QUERY => {
            let request: ActionCancelQueryRequest = unpacked(&action.body)?;
            let info = FlightInfo::decode(request.info).map_err(|error| unreadable(&error))?;
            // The numbers of both kinds of results are the same.
            let result = ActionCancelQueryResult { result: cancel(service, asker, &info)? as i32 };
            Ok(Some(result.as_any().encode_to_vec().into()))
        }
        CANCEL_FLIGHT_INFO => {
            let request = CancelFlightInfoRequest::decode(action.body).map_err(|error| unreadable(&error))?;
            let status = cancel(service, asker, &request.info.unwrap_or_default())?;
            Ok(Some(CancelFlightInfoResult::new(status).encode_to_vec().into()))
        }
        other => {
            let names = OFFERED.map(|(name, _)| format!("`{name}`")).join(", ");
            let other: String = other.chars().take(100).collect();
            Err(Status::unimplemented(format!("the action `{other}` is not offered; there are {names}")))
        }
    }
}

async fn create(service: &Service, asker: &Asker, sql: String) -> Result<ActionCreatePreparedStatementResult, Status> {
    let (description, schema) = service.describe(asker, &sql, &Parameters::none()).await?;
    let parameters = encode::named(&description.parameter_schema())?;
    let handle = service.statements.open(&asker.principal.counted_as(), sql, Instant::now())?;
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: handle.into(),
        dataset_schema: encode::named(&schema)?,
        parameter_schema: parameters,
    })
}

/// Cancels what runs for the tickets of `info`.
fn cancel(service: &Service, asker: &Asker, info: &FlightInfo) -> Result<CancelStatus, Status> {
    let member = asker.principal.counted_as();
    let mut is_stopped = false;
    for shown in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
        let ticket = service.tickets.take(&shown.ticket, &member, Instant::now())?;
        for query in service.running.of(ticket.id) {
            is_stopped |= service.front.cancel(&asker.principal, query) == Cancelled::Stopped;
        }
    }
    if is_stopped {
        return Ok(CancelStatus::Cancelling);
    }
    Err(Status::not_found("no query runs for this: it has not begun, has ended, or runs on another server"))
}

fn unpacked<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any = Any::decode(body).map_err(|error| unreadable(&error))?;
    let found = any.unpack().map_err(|error| unreadable(&error))?;
    found.ok_or_else(|| unreadable(&"it is another message"))
}

fn unreadable(cause: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the body of the action cannot be read: {cause}"))
}
