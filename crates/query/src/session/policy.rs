//! Policies of rows and columns: from the texts that administrators wrote to one condition on the columns of a table, and
//! the columns that remain. A policy that does not fit its table closes the table; it is never read without.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::ExprWithAlias;
use hambar_core::{Chain, TableName};

use super::plan_walk;
use crate::error::QueryError;
use crate::functions;
use crate::gate::{self, HISTORY};
use crate::limits::GateLimits;
use crate::visibility::{Policy, Visibility};

/// The ending of the name of rejected rows, which are texts and no rows of the table yet.
const REJECTS: &str = "__rejects";
/// Stands before the names of columns that Hambar adds.
const OWN: char = '_';

/// What a table means that lacks a column that is to be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacking {
    /// The column may have another name by now: the table is closed.
    Closes,
    /// The column never had a value there.
    IsFine,
}

/// Lets nothing through of a table of which it is not certain which columns are hidden.
pub(super) fn check_columns(
    table: &TableName,
    policy: &Policy,
    columns: &SchemaRef,
    lacking: Lacking,
) -> Result<(), QueryError> {
    let unfit = |what: String| QueryError::Policy { table: table.clone(), what };
    if table.table.as_str().ends_with(REJECTS) {
        return Err(unfit("cannot be checked for rows that were rejected".to_owned()));
    }
    if lacking == Lacking::IsFine {
        return Ok(());
    }
    match policy.hidden.iter().find(|name| columns.index_of(name).is_err()) {
        Some(name) => Err(unfit(format!("hides the column `{name}`, which it does not have"))),
        None => Ok(()),
    }
}

/// Returns the columns that are not hidden.
pub(super) fn shown(columns: &SchemaRef, policy: &Policy) -> SchemaRef {
    let kept = columns.fields().iter().filter(|field| !policy.hidden.contains(field.name())).cloned();
    Arc::new(Schema::new_with_metadata(kept.collect::<Vec<_>>(), columns.metadata().clone()))
}

/// Returns the columns of a history that its table does not have, or does not show; what Hambar adds is not among them.
pub(super) fn gone(current: &SchemaRef, history: &SchemaRef) -> BTreeSet<String> {
    let names = history.fields().iter().map(|field| field.name());
    names.filter(|name| !name.starts_with(OWN) && current.index_of(name).is_err()).cloned().collect()
}

/// Returns the columns that a list of tables shows; none of a table that is closed.
pub(super) fn listed(table: &TableName, columns: &SchemaRef, visibility: &Visibility) -> SchemaRef {
    let Some(policy) = visibility.policy(table) else { return Arc::clone(columns) };
    let is_history = table.table.as_str().ends_with(HISTORY);
    let lacking = if is_history { Lacking::IsFine } else { Lacking::Closes };
    match check_columns(table, policy, columns, lacking) {
        Ok(()) => shown(columns, policy),
        Err(_) => Arc::new(Schema::empty()),
    }
}

/// Returns what rows of `table`, which has these columns, meet.
pub(super) fn filter(
    table: &TableName,
    conditions: &BTreeSet<String>,
    columns: &SchemaRef,
    state: &SessionState,
    limits: &GateLimits,
) -> Result<Expr, QueryError> {
    let unfit = |what: String| QueryError::Policy { table: table.clone(), what };
    let compiled: Result<Vec<Expr>, QueryError> =
        conditions.iter().map(|text| compile(text, columns, state, limits)).collect();
    let compiled = compiled.map_err(|error| unfit(format!("does not fit it ({})", Chain(&error))))?;
    Ok(conjunction(compiled).unwrap_or_else(|| lit(false)))
}

fn compile(text: &str, columns: &SchemaRef, state: &SessionState, limits: &GateLimits) -> Result<Expr, QueryError> {
    let parsed = gate::condition::check(text, limits)?;
    let failed = |error: DataFusionError| QueryError::from_plan(&error);
    let names = DFSchema::try_from(Arc::clone(columns)).map_err(failed)?;
    gate::on_large_stack(|| {
        let sql = ExprWithAlias { expr: parsed, alias: None };
        let expr = state.create_logical_expr_from_sql_expr(sql, &names).map_err(failed)?;
        check(&expr, limits)?;
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(names.clone()))
            .with_config_options(Arc::clone(state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.coerce(expr, &names).and_then(|expr| functions::check_arithmetic(expr, &names));
        let expr = expr.and_then(|expr| simplifier.simplify(expr)).map_err(failed)?;
        let kind = expr.get_type(&names).map_err(failed)?;
        if kind != DataType::Boolean {
            return Err(wrong(format!("it is not true or false, but {kind}")));
        }
        state.create_physical_expr(expr.clone(), &names).map_err(failed)?;
        Ok(expr)
    })?
}

/// Lets nothing through but columns, values and functions that give the same for the same row at any time.
fn check(expr: &Expr, limits: &GateLimits) -> Result<(), QueryError> {
    let mut found = Ok(());
    let walked = expr.apply(|part| {
        found = check_part(part, limits);
        Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.map_err(|error| QueryError::from_plan(&error))?;
    found
}

fn check_part(part: &Expr, limits: &GateLimits) -> Result<(), QueryError> {
    plan_walk::check_function(part)?;
    plan_walk::check_pattern(part, limits.regex_bytes_max)?;
    match part {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_) => Ok(()),
        Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Immutable => Ok(()),
        other => Err(wrong(format!("`{other}` may not stand in a condition"))),
    }
}

fn wrong(message: String) -> QueryError {
    QueryError::Plan { message, similar: Vec::new(), position: None }
}
