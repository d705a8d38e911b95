//! Conditions of row policies: one expression that passes the same limits as a statement, without subqueries and without
//! values that are bound later.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Value, Visit, Visitor};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{complexity, dialect, on_large_stack, syntax, tokens};
use crate::error::QueryError;
use crate::limits::GateLimits;

/// Checks the text of a condition. Any text is fine: this neither overflows the stack nor panics.
pub(crate) fn check(text: &str, limits: &GateLimits) -> Result<Expr, QueryError> {
    if text.len() > limits.text_bytes_max {
        return Err(QueryError::TooLong { bytes: text.len(), limit: limits.text_bytes_max });
    }
    on_large_stack(|| check_here(text, limits))?
}

fn check_here(text: &str, limits: &GateLimits) -> Result<Expr, QueryError> {
    let tokens = tokens::tokens(text, limits)?;
    let mut parser =
        Parser::new(&dialect::HambarDialect).with_recursion_limit(limits.depth_max).with_tokens_with_locations(tokens);
    let condition = parser.parse_expr().map_err(|error| syntax(&error, limits))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(wrong(format!("expected one condition, found `{}` after it", rest.token)));
    }
    complexity::check(&condition, limits)?;
    match condition.visit(&mut Walk) {
        ControlFlow::Continue(()) => Ok(condition),
        ControlFlow::Break(what) => Err(wrong(format!("{what} may not stand in a condition"))),
    }
}

fn wrong(message: String) -> QueryError {
    QueryError::Syntax { message, similar: Vec::new(), position: None }
}

struct Walk;

impl Visitor for Walk {
    type Break = &'static str;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Self::Break> {
        ControlFlow::Break("a subquery")
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => ControlFlow::Break("a parameter"),
            _ => ControlFlow::Continue(()),
        }
    }
}
