//! The kinds of statement that pass. Every kind that the parser knows is named here, so that a new one in a new
//! version of the parser breaks the build instead of passing (`reliability.md` R-15).

use datafusion::sql::sqlparser::ast::{DescribeAlias, Query, Select, SetExpr, ShowStatementOptions, Statement};

use crate::error::QueryError;

/// Checks that the statement only reads, and returns it in the form that the planner knows.
pub(crate) fn allow(statement: Statement, first_word: &str) -> Result<Statement, QueryError> {
    match statement {
        Statement::Query(query) => Ok(Statement::Query(query)),
        Statement::Explain { describe_alias, analyze, verbose, query_plan, estimate, statement, format, options } => {
            if options.is_some() || estimate || query_plan {
                return Err(refused("EXPLAIN with options in brackets, ESTIMATE or QUERY PLAN"));
            }
            let Statement::Query(query) = *statement else {
                return Err(refused("EXPLAIN of anything but a query"));
            };
            let statement = Box::new(Statement::Query(query));
            Ok(Statement::Explain {
                describe_alias,
                analyze,
                verbose,
                query_plan,
                estimate,
                statement,
                format,
                options: None,
            })
        }
        Statement::ExplainTable { hive_format, has_table_keyword, table_name, describe_alias: _ } => {
            Ok(Statement::ExplainTable {
                describe_alias: DescribeAlias::Describe,
                hive_format,
                has_table_keyword,
                table_name,
            })
        }
        Statement::ShowTables { terse, history, extended, full, external, show_options } => {
            if terse || history || extended || full || external || has_options(&show_options) {
                return Err(refused("SHOW TABLES with anything after it"));
            }
            Ok(Statement::ShowTables { terse, history, extended, full, external, show_options })
        }
        Statement::ShowColumns { extended: _, full: _, show_options } => show_columns(show_options),
        // Everything that parses and is not read-only.
        Statement::Analyze(_)
        | Statement::Set(_)
        | Statement::Truncate(_)
        | Statement::Msck(_)
        | Statement::Insert(_)
        | Statement::Install { .. }
        | Statement::Load { .. }
        | Statement::Directory { .. }
        | Statement::Case(_)
        | Statement::If(_)
        | Statement::While(_)
        | Statement::Raise(_)
        | Statement::Call(_)
        | Statement::Copy { .. }
        | Statement::CopyIntoSnowflake { .. }
        | Statement::Open(_)
        | Statement::Close { .. }
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::CreateView(_)
        | Statement::CreateTable(_)
        | Statement::CreateVirtualTable { .. }
        | Statement::CreateIndex(_)
        | Statement::CreateRole(_)
        | Statement::CreateSecret { .. }
        | Statement::CreateServer(_)
        | Statement::CreatePolicy(_)
        | Statement::CreateConnector(_)
        | Statement::CreateOperator(_)
        | Statement::CreateOperatorFamily(_)
        | Statement::CreateOperatorClass(_)
        | Statement::AlterTable(_)
        | Statement::AlterSchema(_)
        | Statement::AlterIndex { .. }
        | Statement::AlterView { .. }
        | Statement::AlterFunction(_)
        | Statement::AlterType(_)
        | Statement::AlterCollation(_)
        | Statement::AlterOperator(_)
        | Statement::AlterOperatorFamily(_)
        | Statement::AlterOperatorClass(_)
        | Statement::AlterRole { .. }
        | Statement::AlterPolicy(_)
        | Statement::AlterConnector { .. }
        | Statement::AlterSession { .. }
        | Statement::AttachDatabase { .. }
        | Statement::AttachDuckDBDatabase { .. }
        | Statement::DetachDuckDBDatabase { .. }
        | Statement::Drop { .. }
        | Statement::DropFunction(_)
        | Statement::DropDomain(_)
        | Statement::DropProcedure { .. }
        | Statement::DropSecret { .. }
        | Statement::DropPolicy(_)
        | Statement::DropConnector { .. }
        | Statement::Declare { .. }
        | Statement::CreateExtension(_)
        | Statement::CreateCollation(_)
        | Statement::DropExtension(_)
        | Statement::DropOperator(_)
        | Statement::DropOperatorFamily(_)
        | Statement::DropOperatorClass(_)
        | Statement::Fetch { .. }
        | Statement::Flush { .. }
        | Statement::Discard { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowStatus { .. }
        | Statement::ShowVariables { .. }
        | Statement::ShowCreate { .. }
        | Statement::ShowCatalogs { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ShowProcessList { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowCharset(_)
        | Statement::ShowObjects(_)
        | Statement::ShowViews { .. }
        | Statement::ShowCollation { .. }
        | Statement::Use(_)
        | Statement::StartTransaction { .. }
        | Statement::Comment { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::CreateFunction(_)
        | Statement::CreateTrigger(_)
        | Statement::DropTrigger(_)
        | Statement::CreateProcedure { .. }
        | Statement::CreateMacro { .. }
        | Statement::CreateStage { .. }
        | Statement::Assert { .. }
        | Statement::Grant(_)
        | Statement::Deny(_)
        | Statement::Revoke(_)
        | Statement::Deallocate { .. }
        | Statement::Execute { .. }
        | Statement::Prepare { .. }
        | Statement::Kill { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. }
        | Statement::Merge(_)
        | Statement::Cache { .. }
        | Statement::UNCache { .. }
        | Statement::CreateSequence { .. }
        | Statement::CreateDomain(_)
        | Statement::CreateType { .. }
        | Statement::Pragma { .. }
        | Statement::Lock(_)
        | Statement::LockTables { .. }
        | Statement::UnlockTables
        | Statement::Unload { .. }
        | Statement::OptimizeTable { .. }
        | Statement::LISTEN { .. }
        | Statement::UNLISTEN { .. }
        | Statement::NOTIFY { .. }
        | Statement::LoadData { .. }
        | Statement::RenameTable(_)
        | Statement::List(_)
        | Statement::Remove(_)
        | Statement::RaisError { .. }
        | Statement::Throw(_)
        | Statement::Print(_)
        | Statement::WaitFor(_)
        | Statement::Return(_)
        | Statement::ExportData(_)
        | Statement::CreateUser(_)
        | Statement::AlterUser(_)
        | Statement::Vacuum(_)
        | Statement::Reset(_) => Err(refused(&format!("`{first_word}`"))),
    }
}

/// `SHOW COLUMNS FROM t` is `DESCRIBE t`.
fn show_columns(options: ShowStatementOptions) -> Result<Statement, QueryError> {
    let plain = options.starts_with.is_none()
        && options.limit.is_none()
        && options.limit_from.is_none()
        && options.filter_position.is_none();
    let table = options.show_in.and_then(|place| place.parent_name);
    match table {
        Some(table_name) if plain => Ok(Statement::ExplainTable {
            describe_alias: DescribeAlias::Describe,
            hive_format: None,
            has_table_keyword: false,
            table_name,
        }),
        _ => Err(refused("SHOW COLUMNS in any form but `SHOW COLUMNS FROM namespace.table`")),
    }
}

fn has_options(options: &ShowStatementOptions) -> bool {
    options.show_in.is_some()
        || options.starts_with.is_some()
        || options.limit.is_some()
        || options.limit_from.is_some()
        || options.filter_position.is_some()
}

/// Checks the clauses of one query that would do more than read.
pub(crate) fn allow_query(query: &Query) -> Result<(), QueryError> {
    if !query.locks.is_empty() {
        return Err(refused("FOR UPDATE or FOR SHARE"));
    }
    if query.settings.is_some() || query.format_clause.is_some() || query.for_clause.is_some() {
        return Err(refused("SETTINGS, FORMAT, FOR XML or FOR JSON"));
    }
    Ok(())
}

/// Checks one operand of a set operation, or the body of a query.
pub(crate) fn allow_body(body: &SetExpr) -> Result<(), QueryError> {
    match body {
        SetExpr::Select(select) => allow_select(select),
        SetExpr::Query(_) | SetExpr::SetOperation { .. } | SetExpr::Values(_) => Ok(()),
        SetExpr::Insert(_) => Err(refused("`INSERT`")),
        SetExpr::Update(_) => Err(refused("`UPDATE`")),
        SetExpr::Delete(_) => Err(refused("`DELETE`")),
        SetExpr::Merge(_) => Err(refused("`MERGE`")),
        SetExpr::Table(_) => Err(refused("`TABLE name`")),
    }
}

fn allow_select(select: &Select) -> Result<(), QueryError> {
    if select.into.is_some() {
        return Err(refused("`SELECT … INTO`"));
    }
    Ok(())
}

fn refused(what: &str) -> QueryError {
    QueryError::Statement { what: what.to_owned() }
}
