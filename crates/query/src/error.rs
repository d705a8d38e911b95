//! Why a query was refused or failed, and how that crosses from the worker process to its parent.

use std::fmt;
use std::time::Duration;

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use hambar_core::{Classified, ErrorClass, StoreError, TableName};
use serde::{Deserialize, Serialize};

use crate::advice;

/// A place in the statement's text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is longer than the gate reads.
    #[error("the statement has {bytes} bytes; at most {limit} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The statement is more complex than can be planned safely.
    #[error("the statement is too complex: {found} {what}, at most {limit} are allowed")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The text is not SQL.
    #[error("{message}")]
    Syntax {
        /// What was expected and found.
        message: String,
        /// Words that may have been meant.
        similar: Vec<String>,
        /// Where.
        position: Option<Position>,
    },
    /// The statement is of a kind that is not offered.
    #[error("{what} is not allowed: the store is read with queries, and with nothing else")]
    Statement {
        /// The kind of statement or clause.
        what: String,
    },
    /// There is not exactly one statement.
    #[error("{count} statements were sent; one at a time is allowed")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// The function is not offered.
    #[error("function `{name}` is not allowed")]
    Function {
        /// Its name.
        name: String,
        /// Where.
        position: Option<Position>,
    },
    /// The statement names a file or an address instead of a table.
    #[error("`{text}` is not allowed: only tables of the catalogue are read, no files and no addresses")]
    Source {
        /// The text as given, shortened.
        text: String,
        /// Where.
        position: Option<Position>,
    },
    /// A table's name lacks its namespace.
    #[error("table `{name}` has no namespace: write `namespace.{name}`")]
    Unqualified {
        /// The name as given.
        name: String,
        /// Where.
        position: Option<Position>,
    },
    /// There is no such table that the asker may see.
    #[error("table `{name}` does not exist")]
    UnknownTable {
        /// The name as given.
        name: String,
        /// Tables whose names are close.
        similar: Vec<String>,
    },
    /// There is no such column in the tables at hand.
    #[error("column `{name}` does not exist")]
    UnknownColumn {
        /// The name as given.
        name: String,
        /// Columns whose names are close.
        similar: Vec<String>,
        /// The columns that there are.
        known: Vec<String>,
        /// Where.
        position: Option<Position>,
    },
    /// A time travel clause or function cannot be used as written.
    #[error("{what}")]
    Travel {
        /// The clause and what is wrong with it.
        what: String,
    },
    /// The policy of a table cannot be applied to it, and without it nobody reads the table.
    #[error("table `{table}` cannot be read: its policy {what}")]
    Policy {
        /// The table.
        table: TableName,
        /// What is wrong with it.
        what: String,
    },
    /// An operator's regular expression is not known before the query runs.
    #[error("the pattern `{pattern}` is not a constant")]
    Pattern {
        /// The expression that makes it.
        pattern: String,
    },
    /// The statement cannot be planned: unknown column, types that do not fit …
    #[error("{message}")]
    Plan {
        /// What DataFusion said.
        message: String,
        /// Names that may have been meant.
        similar: Vec<String>,
        /// Where, if known.
        position: Option<Position>,
    },
    /// The values of the parameters do not fit the statement.
    #[error("{what}")]
    Parameters {
        /// The parameter and what is wrong with it.
        what: String,
    },
    /// The query would read too much.
    #[error("the query would read files of {bytes} bytes; at most {limit} are read")]
    Scan {
        /// The files' sizes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Whoever reads the answer stopped reading.
    #[error("the answer was given up: nobody took the next piece of it within {} s", .limit.as_secs_f64())]
    Unread {
        /// The limit.
        limit: Duration,
    },
    /// Somebody stopped the query.
    #[error("the query was cancelled")]
    Stopped,
    /// The plan has a node that is not offered.
    #[error("the plan has a step of the kind `{node}`, which is not allowed")]
    Node {
        /// The kind of node.
        node: String,
    },
    /// A step failed while the query ran.
    #[error("{message}")]
    Execute {
        /// What to do about it.
        class: ErrorClass,
        /// What failed.
        message: String,
    },
    /// Planning took too long.
    #[error("the statement was not planned within {} s", .limit.as_secs_f64())]
    PlanTime {
        /// The limit.
        limit: Duration,
    },
    /// The query took too long.
    #[error("the query was stopped after {} s", .limit.as_secs_f64())]
    RunTime {
        /// The limit.
        limit: Duration,
    },
    /// The worker process ended without an answer.
    #[error("the query ended its worker process ({how}); the worker's memory limit is {memory_bytes} bytes")]
    WorkerDied {
        /// The signal or exit code.
        how: String,
        /// The limit that is the usual reason.
        memory_bytes: u64,
    },
    /// The worker process could not be started, or its answer could not be read.
    #[error("{step} the query worker: {cause}")]
    Worker {
        /// What failed: `start`, `confine`, `ask`, `read`.
        step: &'static str,
        /// Why.
        cause: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the worker process reported.
    #[error("{}", .0.message)]
    Reported(ErrorReport),
}

/// What of a statement is wrong, for protocols that tell more than the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is not SQL.
    Syntax,
    /// It is of a kind that is not offered, or not one statement.
    Statement,
    /// A table does not exist.
    Table,
    /// A column does not exist.
    Column,
    /// The values of its parameters do not fit.
    Parameters,
    /// A value could not be computed.
    Data,
    /// It took too long.
    Time,
    /// It needed too much memory or disk.
    Memory,
    /// Anything else: the class tells.
    #[default]
    Other,
}

/// An error as the worker process sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The class's name.
    pub class: String,
    /// What of the statement is wrong.
    #[serde(default)]
    pub cause: Cause,
    /// The message, causes included.
    pub message: String,
    /// Advice.
    pub hint: Option<String>,
    /// The place in the statement.
    pub position: Option<Position>,
}

impl QueryError {
    /// Returns the place in the statement, where it is known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { position, .. }
            | Self::Function { position, .. }
            | Self::Source { position, .. }
            | Self::Unqualified { position, .. }
            | Self::UnknownColumn { position, .. }
            | Self::Plan { position, .. } => *position,
            Self::Reported(report) => report.position,
            _ => None,
        }
    }

    /// Returns what of the statement is wrong.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Syntax { .. } => Cause::Syntax,
            Self::Statement { .. } | Self::Count { .. } => Cause::Statement,
            Self::Unqualified { .. } | Self::UnknownTable { .. } => Cause::Table,
            Self::UnknownColumn { .. } => Cause::Column,
            Self::Parameters { .. } => Cause::Parameters,
            Self::Execute { class: ErrorClass::Query, .. } => Cause::Data,
            Self::Execute { class: ErrorClass::Limit, .. } | Self::WorkerDied { .. } => Cause::Memory,
            Self::PlanTime { .. } | Self::RunTime { .. } => Cause::Time,
            Self::Reported(report) => report.cause,
            _ => Cause::Other,
        }
    }

    /// Returns the error in the form that crosses processes.
    pub fn report(&self) -> ErrorReport {
        ErrorReport {
            class: self.class().name().to_owned(),
            cause: self.cause(),
            message: hambar_core::Chain(self).to_string(),
            hint: self.hint(),
            position: self.position(),
        }
    }

    /// Translates an error of planning.
    pub(crate) fn from_plan(error: &DataFusionError) -> Self {
        if let Some(own) = own_error(error) {
            return own;
        }
        let position = error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .map(|span| Position { line: span.start.line, column: span.start.column });
        if let DataFusionError::SchemaError(cause, _) = error.find_root()
            && let SchemaError::FieldNotFound { field, valid_fields } = cause.as_ref()
        {
            return unknown_column(field, valid_fields, position);
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(message) => {
                Self::Execute { class: ErrorClass::Limit, message: plain(message) }
            }
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
                Self::Execute { class: ErrorClass::Store, message: plain(&error.strip_backtrace()) }
            }
            _ => {
                let (message, similar) = without_question(&error.strip_backtrace());
                Self::Plan { message: plain(&message), similar, position }
            }
        }
    }

    /// Translates an error of running.
    pub(crate) fn from_run(error: &DataFusionError) -> Self {
        if let Some(own) = own_error(error) {
            return own;
        }
        let class = match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => ErrorClass::Limit,
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
                ErrorClass::Store
            }
            DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => ErrorClass::Internal,
            _ => ErrorClass::Query,
        };
        Self::Execute { class, message: plain(&error.strip_backtrace()) }
    }
}

/// Our own errors travel through DataFusion as external ones; this takes them out again.
fn own_error(error: &DataFusionError) -> Option<QueryError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<QueryError>() {
            return Some(QueryError::Reported(own.report()));
        }
        cause = current.source();
    }
    None
}

/// Columns that are listed for one that does not exist.
const COLUMNS_LISTED: usize = 20;

fn unknown_column(wanted: &Column, valid: &[Column], position: Option<Position>) -> QueryError {
    let names: Vec<String> = valid.iter().map(|column| column.name().to_owned()).collect();
    let similar = advice::nearest(wanted.name(), names.iter().cloned());
    let known = names.into_iter().take(COLUMNS_LISTED).collect();
    QueryError::UnknownColumn { name: wanted.flat_name(), similar, known, position }
}

/// Takes DataFusion's own question after a close name out of its message.
fn without_question(message: &str) -> (String, Vec<String>) {
    let Some((before, after)) = message.split_once("Did you mean '") else {
        return (message.to_owned(), Vec::new());
    };
    let Some((name, rest)) = after.split_once("'?") else {
        return (message.to_owned(), Vec::new());
    };
    (format!("{} {}", before.trim_end(), rest.trim_start()).trim().to_owned(), vec![name.to_owned()])
}

/// DataFusion's advice for its own administrators.
const POOL_ADVICE: &str = " Consider increasing the memory limit config: 'datafusion.runtime.memory_limit', or \
    decreasing the config: 'datafusion.execution.sort_spill_reservation_bytes'.";

/// DataFusion's prefixes and its invitation to file a bug are not for users.
fn plain(message: &str) -> String {
    let message = message.split(".\nThis issue was likely caused by a bug in DataFusion").next().unwrap_or(message);
    let mut rest = message;
    for prefix in
        ["Error during planning: ", "Schema error: ", "Execution error: ", "Arrow error: ", "External error: "]
    {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    rest.trim_end_matches('.').replace('\n', " ").replace(POOL_ADVICE, "")
}

impl Classified for QueryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::TooLong { .. }
            | Self::TooComplex { .. }
            | Self::PlanTime { .. }
            | Self::RunTime { .. }
            | Self::Scan { .. }
            | Self::Unread { .. }
            | Self::WorkerDied { .. } => ErrorClass::Limit,
            Self::Syntax { .. }
            | Self::Unqualified { .. }
            | Self::UnknownTable { .. }
            | Self::UnknownColumn { .. }
            | Self::Travel { .. }
            | Self::Parameters { .. }
            | Self::Pattern { .. }
            | Self::Plan { .. } => ErrorClass::Query,
            Self::Statement { .. }
            | Self::Count { .. }
            | Self::Function { .. }
            | Self::Source { .. }
            | Self::Policy { .. }
            | Self::Node { .. } => ErrorClass::Denied,
            Self::Stopped => ErrorClass::Cancelled,
            Self::Execute { class, .. } => *class,
            Self::Worker { .. } => ErrorClass::Internal,
            Self::Store(error) => error.class(),
            Self::Reported(report) => ErrorClass::from_name(&report.class).unwrap_or(ErrorClass::Internal),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::TooLong { .. } | Self::TooComplex { .. } => {
                "split the query, or put long lists of values into a table"
            }
            Self::Statement { .. } => "allowed are SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW TABLES, SHOW COLUMNS",
            Self::Function { .. } => "`SELECT routine_name FROM information_schema.routines` lists what there is",
            Self::UnknownColumn { similar, known, .. } => {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                let known = format!("there are {}", known.join(", "));
                return Some(
                    advice::did_you_mean(similar).map_or(known.clone(), |question| format!("{question} {known}")),
                );
            }
            Self::UnknownTable { similar, .. } | Self::Syntax { similar, .. } | Self::Plan { similar, .. }
                if !similar.is_empty() =>
            {
                return advice::did_you_mean(similar);
            }
            Self::UnknownTable { .. } | Self::Unqualified { .. } | Self::Source { .. } => {
                "`SHOW TABLES` lists what there is"
            }
            Self::Pattern { .. } => "write `regexp_like(text, pattern)`: it looks at each pattern before it uses it",
            Self::PlanTime { .. } => "simplify nested expressions and repeated subqueries",
            Self::Policy { .. } => "ask whoever runs this centre: `hambar members policies` lists it",
            Self::RunTime { .. } => "filter more rows, or raise the time limit",
            Self::Scan { .. } => "filter by the columns that the table is partitioned or sorted by",
            Self::WorkerDied { .. } => "filter earlier, make fewer or shorter values, or raise the memory limit",
            Self::Execute { class: ErrorClass::Limit, .. } => {
                "filter earlier, group by fewer keys, or raise the memory limit"
            }
            Self::Store(error) => return error.hint(),
            Self::Reported(report) => return report.hint.clone(),
            Self::Syntax { .. }
            | Self::Count { .. }
            | Self::Travel { .. }
            | Self::Parameters { .. }
            | Self::Unread { .. }
            | Self::Stopped
            | Self::Plan { .. }
            | Self::Node { .. }
            | Self::Execute { .. }
            | Self::Worker { .. } => return None,
        };
        Some(text.to_owned())
    }
}
