//! Commands: what a client asks for, read once. Every command of Flight SQL is named here, so that a new one does not
//! build before somebody has decided about it.

use arrow_flight::sql::{
    Any, Command, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTables,
    CommandGetXdbcTypeInfo,
};
use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;

use super::status;

/// What a question is about.
#[derive(Debug)]
pub(super) enum Asked {
    /// The rows of a statement.
    Statement(String),
    /// The rows of a prepared statement, by its handle.
    Prepared(Bytes),
    /// The server or its tables.
    Metadata(Metadata),
}

/// What there is to know about the server and its tables.
#[derive(Debug)]
pub(super) enum Metadata {
    Catalogs,
    Schemas(CommandGetDbSchemas),
    Tables(CommandGetTables),
    TableTypes,
    PrimaryKeys(CommandGetPrimaryKeys),
    /// Exported, imported and between two tables: there are none.
    ForeignKeys,
    SqlInfo(CommandGetSqlInfo),
    XdbcTypes(CommandGetXdbcTypeInfo),
}

/// Reads what a client wants to know or to have.
pub(super) fn asked(bytes: &[u8]) -> Result<Asked, Status> {
    Ok(match command(bytes)? {
        Command::CommandStatementQuery(query) => {
            no_transaction(query.transaction_id.as_ref())?;
            Asked::Statement(query.query)
        }
        Command::CommandPreparedStatementQuery(query) => Asked::Prepared(query.prepared_statement_handle),
        Command::CommandGetCatalogs(_) => Asked::Metadata(Metadata::Catalogs),
        Command::CommandGetDbSchemas(command) => Asked::Metadata(Metadata::Schemas(command)),
        Command::CommandGetTables(command) => Asked::Metadata(Metadata::Tables(command)),
        Command::CommandGetTableTypes(_) => Asked::Metadata(Metadata::TableTypes),
        Command::CommandGetPrimaryKeys(command) => Asked::Metadata(Metadata::PrimaryKeys(command)),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Asked::Metadata(Metadata::ForeignKeys),
        Command::CommandGetSqlInfo(command) => Asked::Metadata(Metadata::SqlInfo(command)),
        Command::CommandGetXdbcTypeInfo(command) => Asked::Metadata(Metadata::XdbcTypes(command)),
        other => return Err(refusal(&other)),
    })
}

/// Reads which prepared statement values are sent for; everything else that could be sent would change something.
pub(super) fn bound(bytes: &[u8]) -> Result<Bytes, Status> {
    match command(bytes)? {
        Command::CommandPreparedStatementQuery(query) => Ok(query.prepared_statement_handle),
        other => Err(refusal(&other)),
    }
}

/// Refuses a transaction: there is none that a statement could be part of.
pub(super) fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    if id.is_none_or(|id| id.is_empty()) {
        return Ok(());
    }
    Err(Status::invalid_argument("there are no transactions: every statement reads one version of each table"))
}

fn command(bytes: &[u8]) -> Result<Command, Status> {
    let wrong =
        |cause: &dyn std::fmt::Display| Status::invalid_argument(format!("not a command of Flight SQL: {cause}"));
    let any = Any::decode(bytes).map_err(|error| wrong(&error))?;
    Command::try_from(any).map_err(|error| wrong(&error))
}

/// Why a command is not taken where it came.
fn refusal(command: &Command) -> Status {
    match command {
        Command::CommandStatementUpdate(_) | Command::CommandPreparedStatementUpdate(_) => {
            status::refused("updates are not allowed")
        }
        Command::CommandStatementIngest(_) => status::refused("ingestion is not allowed"),
        Command::CommandStatementSubstraitPlan(_) => Status::unimplemented("Substrait is not taken: send SQL"),
        Command::CommandStatementQuery(_)
        | Command::CommandPreparedStatementQuery(_)
        | Command::CommandGetCatalogs(_)
        | Command::CommandGetCrossReference(_)
        | Command::CommandGetDbSchemas(_)
        | Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetPrimaryKeys(_)
        | Command::CommandGetSqlInfo(_)
        | Command::CommandGetTableTypes(_)
        | Command::CommandGetTables(_)
        | Command::CommandGetXdbcTypeInfo(_)
        | Command::ActionBeginSavepointRequest(_)
        | Command::ActionBeginSavepointResult(_)
        | Command::ActionBeginTransactionRequest(_)
        | Command::ActionBeginTransactionResult(_)
        | Command::ActionCancelQueryRequest(_)
        | Command::ActionCancelQueryResult(_)
        | Command::ActionClosePreparedStatementRequest(_)
        | Command::ActionCreatePreparedStatementRequest(_)
        | Command::ActionCreatePreparedStatementResult(_)
        | Command::ActionCreatePreparedSubstraitPlanRequest(_)
        | Command::ActionEndSavepointRequest(_)
        | Command::ActionEndTransactionRequest(_)
        | Command::DoPutPreparedStatementResult(_)
        | Command::DoPutUpdateResult(_)
        | Command::TicketStatementQuery(_)
        | Command::Unknown(_) => {
            let url: String = command.type_url().chars().take(100).collect();
            Status::invalid_argument(format!("`{url}` is not a command that can be given here"))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::{CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, ProstMessageExt};
    use tonic::Code;

    use super::*;

    fn code(message: &impl ProstMessageExt) -> Code {
        asked(&message.as_any().encode_to_vec()).unwrap_err().code()
    }

    #[test]
    fn only_questions_are_taken() {
        let query = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
        let taken = asked(&query.as_any().encode_to_vec()).unwrap();
        assert!(matches!(taken, Asked::Statement(sql) if sql == "SELECT 1"));
        let within = CommandStatementQuery { transaction_id: Some(Bytes::from_static(b"t")), ..query };
        assert_eq!(code(&within), Code::InvalidArgument);
        let update = CommandStatementUpdate { query: "DROP TABLE a.b".to_owned(), transaction_id: None };
        assert_eq!(code(&update), Code::PermissionDenied);
        assert_eq!(code(&CommandStatementIngest::default()), Code::PermissionDenied);
        assert_eq!(code(&arrow_flight::sql::CommandStatementSubstraitPlan::default()), Code::Unimplemented);
        assert_eq!(code(&arrow_flight::sql::TicketStatementQuery::default()), Code::InvalidArgument);
        for garbage in [b"".as_slice(), b"\xff\xff", b"SELECT 1"] {
            assert_eq!(asked(garbage).unwrap_err().code(), Code::InvalidArgument);
        }
        let broken = Any { type_url: CommandStatementQuery::type_url().to_owned(), value: Bytes::from_static(b"\xff") };
        assert_eq!(asked(&broken.encode_to_vec()).unwrap_err().code(), Code::InvalidArgument);
    }
}
