//! The gate that every statement passes, whatever protocol it came by: bytes → tokens → one statement → limits on
//! the syntax tree → allowed statements, functions and tables. Pure: it reads no catalogue and plans nothing.

mod complexity;
pub(crate) mod condition;
mod dialect;
mod parameters;
mod relations;
mod statements;
mod tokens;

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

pub(crate) use complexity::folded;
pub(crate) use dialect::HambarDialect;
use relations::Found;
pub(crate) use relations::HISTORY;
pub use relations::Relation;

use crate::advice;
use crate::error::{Position, QueryError};
use crate::limits::GateLimits;
use crate::postgres;

/// Stack of the thread that parses and plans: a chain of as many operators as there can be tokens fits.
pub(crate) const STACK_BYTES: usize = 64 * 1024 * 1024;

/// A statement that passed the gate.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The statement; time travel is rewritten to the names in `relations`.
    pub(crate) statement: Statement,
    /// The tables it reads.
    pub(crate) relations: Vec<Relation>,
    /// Whether it reads `information_schema`, and so needs the list of tables.
    pub(crate) lists_tables: bool,
    /// The tables of `pg_catalog` that it reads.
    pub(crate) catalogue: BTreeSet<String>,
    /// The numbers of its parameters, as it was written.
    pub(crate) parameters: BTreeSet<usize>,
    /// Whether it gives the same rows as long as its tables stay the same, as far as its text tells.
    pub(crate) is_repeatable: bool,
}

impl Checked {
    /// Returns the tables that the statement reads, each once.
    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }
}

/// Checks a statement's text. Any text is fine: this neither overflows the stack nor panics.
///
/// # Errors
/// Where the text is too long or complex, is not SQL, or asks for something that is not offered.
pub fn check(sql: &str, limits: &GateLimits) -> Result<Checked, QueryError> {
    if sql.len() > limits.text_bytes_max {
        return Err(QueryError::TooLong { bytes: sql.len(), limit: limits.text_bytes_max });
    }
    on_large_stack(|| check_here(sql, limits))?.map_err(|error| advice::placed(error, sql))
}

/// Runs `work` on a thread with [`STACK_BYTES`] of stack.
pub(crate) fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, QueryError> {
    let failed = |cause: String| QueryError::Worker { step: "start a thread in", cause };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("gate".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| failed(error.to_string()))?;
        thread.join().map_err(|_| failed("it panicked".to_owned()))
    })
}

fn check_here(sql: &str, limits: &GateLimits) -> Result<Checked, QueryError> {
    let tokens = tokens::tokens(sql, limits)?;
    let first_word = tokens::allowed_start(&tokens)?;
    let mut parser =
        Parser::new(&dialect::HambarDialect).with_recursion_limit(limits.depth_max).with_tokens_with_locations(tokens);
    let mut parsed = parser.parse_statements().map_err(|error| syntax(&error, limits))?;
    let (Some(mut statement), true) = (parsed.pop(), parsed.is_empty()) else {
        return Err(QueryError::Count { count: parsed.len() });
    };
    // What rewriting takes out of the statement may have parameters; its asker counts on them.
    let parameters = parameters::numbers(&statement);
    postgres::rewrite(&mut statement);
    let is_repeatable = complexity::check(&statement, limits)?;
    let mut statement = statements::allow(statement, &first_word)?;
    let found = relations::resolve(&mut statement)?;
    let is_repeatable = is_repeatable && !found.lists_tables && found.catalogue.is_empty();
    let Found { relations, lists_tables, catalogue } = found;
    Ok(Checked { statement, relations, lists_tables, catalogue, parameters, is_repeatable })
}

fn syntax(error: &ParserError, limits: &GateLimits) -> QueryError {
    match error {
        ParserError::RecursionLimitExceeded => {
            complexity::too_complex("levels of nesting", limits.depth_max.saturating_add(1), limits.depth_max)
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            let (message, position) = split_position(text);
            QueryError::Syntax { message, similar: Vec::new(), position }
        }
    }
}

/// The parser writes the place at the end of its message: ` at Line: 1, Column: 8`.
fn split_position(text: &str) -> (String, Option<Position>) {
    let parse = || {
        let (message, place) = text.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((message.to_owned(), Position { line: line.parse().ok()?, column: column.trim().parse().ok()? }))
    };
    match parse() {
        Some((message, position)) => (message, Some(position)),
        None => (text.to_owned(), None),
    }
}
