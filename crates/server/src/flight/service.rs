//! The calls of Flight, each with what it does or why it does nothing.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::DoPutPreparedStatementResult;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_query::{Description, Parameters, QueryError};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::commands::Asked;
use super::metadata::Catalog;
use super::running::Running;
use super::statements::Statements;
use super::ticket::{Packed, Tickets, Wanted};
use super::{actions, commands, door, encode, put, status};
use crate::front::{Ask, AskedLimits, FrontError, Protocol, QueryFront, QueryId};
use crate::rest::auth::Asker;
use crate::rest::deliver::OwnLimits;
use crate::rest::encode::with_sources;

type Several<T> = BoxStream<'static, Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

/// Flight SQL over one front.
pub(super) struct Service {
    pub(super) front: QueryFront,
    pub(super) tickets: Tickets,
    pub(super) statements: Statements,
    pub(super) running: Running,
    catalog: Catalog,
}

/// Why a service cannot be made.
#[derive(Debug)]
pub(super) struct NotMade;

/// What is known of an answer before its rows are asked for.
struct Planned {
    schema: SchemaRef,
    wanted: Wanted,
}

impl Service {
    pub(super) fn new(front: QueryFront) -> Result<Self, NotMade> {
        let tickets = Tickets::new().map_err(|_| NotMade)?;
        let catalog = Catalog::new(front.clone(), front.ceiling()).map_err(|_| NotMade)?;
        Ok(Self { front, tickets, statements: Statements::default(), running: Running::default(), catalog })
    }

    /// Says which columns a statement gives, with whom to name for them.
    pub(super) async fn describe(
        &self,
        asker: &Asker,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<(Description, SchemaRef), Status> {
        let (bytes, limit) = (sql.len(), self.front.ceiling().gate.text_bytes_max);
        if bytes > limit {
            // No worker need look at it, and no ticket carry it.
            return Err(status::of(&FrontError::Query(QueryError::TooLong { bytes, limit })));
        }
        let question = ask(asker, sql.to_owned(), parameters.clone(), AskedLimits::default());
        let description = self.front.describe(&question).await.map_err(|error| status::of(&error))?;
        let sources = self.front.sources(&description.facts.versions).await.map_err(|error| status::of(&error))?;
        let schema = encode::sent(&with_sources(&description.schema, &sources));
        Ok((description, schema))
    }

    /// Finds out what is asked for. Whatever is wrong with a statement is said here, before anything runs.
    async fn plan(&self, asker: &Asker, command: &[u8]) -> Result<Planned, Status> {
        let (sql, parameters) = match commands::asked(command)? {
            Asked::Statement(sql) => (sql, Parameters::none()),
            Asked::Prepared(handle) => self.statements.get(&asker.principal.counted_as(), &handle, Instant::now())?,
            Asked::Metadata(metadata) => {
                let schema = self.catalog.schema(&metadata);
                return Ok(Planned { schema, wanted: Wanted::Metadata(Packed(command.to_vec())) });
            }
        };
        let (description, schema) = self.describe(asker, &sql, &parameters).await?;
        let (bound, wanted) = (parameters.values().len(), description.parameters.len());
        if bound == 0 && wanted > 0 {
            return Err(Status::invalid_argument(format!(
                "the statement has {wanted} parameters and no values for them\nhint: prepare it, and bind one row of values"
            )));
        }
        Ok(Planned { schema, wanted: Wanted::Rows { sql, parameters } })
    }

    async fn rows(&self, ticket: Uuid, question: Ask) -> Answer<encode::Messages> {
        let own = OwnLimits::of(&question.limits, self.front.ceiling());
        let query = QueryId::random();
        let entry = self.running.enter(ticket, query);
        let answer = self.front.query_as(query, question).await.map_err(|error| status::of(&error))?;
        let mut response = Response::new(encode::answer(answer, entry, own));
        if let Ok(id) = query.to_string().parse() {
            response.metadata_mut().insert("hambar-query", id);
        }
        Ok(response)
    }
}

fn ask(asker: &Asker, sql: String, parameters: Parameters, limits: AskedLimits) -> Ask {
    Ask {
        principal: Arc::clone(&asker.principal),
        protocol: Protocol::Flight,
        address: asker.address,
        sql,
        parameters,
        limits,
    }
}

fn several<T: Send + 'static>(items: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Several<T> {
    futures::stream::iter(items.into_iter().map(Ok)).boxed()
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Several<HandshakeResponse>;
    type ListFlightsStream = Several<FlightInfo>;
    type DoGetStream = Several<FlightData>;
    type DoPutStream = Several<PutResult>;
    type DoExchangeStream = Several<FlightData>;
    type DoActionStream = Several<arrow_flight::Result>;
    type ListActionsStream = Several<ActionType>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        door::asker(&request)?;
        let mut response = Response::new(several([]));
        if let Some(bearer) = door::bearer(request.metadata().as_ref()) {
            response.metadata_mut().insert("authorization", bearer);
        }
        Ok(response)
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let asker = door::asker(&request)?;
        let descriptor = request.into_inner();
        let planned = self.plan(&asker, &descriptor.cmd).await?;
        let ticket = self.tickets.sell(asker.principal.counted_as(), planned.wanted, Instant::now())?;
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
        let mut info = FlightInfo::new().with_descriptor(descriptor).with_endpoint(endpoint).with_ordered(true);
        info.schema = encode::named(&planned.schema)?;
        Ok(Response::new(info))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let asker = door::asker(&request)?;
        let planned = self.plan(&asker, &request.get_ref().cmd).await?;
        Ok(Response::new(SchemaResult { schema: encode::named(&planned.schema)? }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let asker = door::asker(&request)?;
        let member = asker.principal.counted_as();
        let ticket = self.tickets.take(&request.get_ref().ticket, &member, Instant::now())?;
        match ticket.wanted {
            Wanted::Rows { sql, parameters } => {
                let limits = door::limits(request.metadata().as_ref())?;
                self.rows(ticket.id, ask(&asker, sql, parameters, limits)).await
            }
            Wanted::Metadata(command) => {
                let Asked::Metadata(metadata) = commands::asked(&command.0)? else {
                    return Err(Status::invalid_argument("the ticket holds no question about metadata"));
                };
                let schema = self.catalog.schema(&metadata);
                let rows = self.catalog.rows(&asker, metadata).await?;
                Ok(Response::new(encode::batches(schema, rows)))
            }
        }
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let asker = door::asker(&request)?;
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let descriptor = first.as_ref().and_then(|message| message.flight_descriptor.as_ref());
        let (Some(first), Some(descriptor)) = (first.as_ref(), descriptor) else {
            return Err(Status::invalid_argument("the first message has no command"));
        };
        let handle = commands::bound(&descriptor.cmd)?;
        let member = asker.principal.counted_as();
        // Before anything is read for it.
        self.statements.get(&member, &handle, Instant::now())?;
        let parameters = put::values(first.clone(), &mut messages).await?;
        self.statements.bind(&member, &handle, parameters, Instant::now())?;
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
        Ok(Response::new(several([PutResult { app_metadata: result.encode_to_vec().into() }])))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let asker = door::asker(&request)?;
        let result = actions::run(self, &asker, request.into_inner()).await?;
        Ok(Response::new(several(result.map(|body| arrow_flight::Result { body }))))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        door::asker(&request)?;
        Ok(Response::new(several(actions::list())))
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        door::asker(&request)?;
        Err(Status::unimplemented("flights are not listed: ask for tables with the command `CommandGetTables`"))
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        door::asker(&request)?;
        Err(Status::unimplemented("queries are not polled: `GetFlightInfo` answers at once"))
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        door::asker(&request)?;
        Err(Status::unimplemented("nothing is exchanged: the store is read with queries, and with nothing else"))
    }
}
