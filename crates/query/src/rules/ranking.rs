//! `row_number() OVER (PARTITION BY k ORDER BY x) <= n` (and `rank()`): puts a [`LeadersExec`] under the window, so that
//! not all rows of the table are sorted to keep a few of each partition.
//!
//! The window and the filter above it stay as they are. The rule fires only where a row that the leaders leave out can
//! change nothing: all functions of the window are rankings over the same partitions and order.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};

use super::leaders::{Leaders, LeadersExec, Ties};

/// Rows per partition beyond which the leaders are not kept in memory.
const PLACES_MAX: usize = 1000;

/// The rule.
#[derive(Debug)]
pub(super) struct Ranking;

impl PhysicalOptimizerRule for Ranking {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            Ok(match rewritten(&node)? {
                Some(new) => Transformed::yes(new),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "Ranking"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn rewritten(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else {
        return Ok(None);
    };
    for condition in split_conjunction(filter.predicate()) {
        let Some((column, places)) = upper_bound(condition) else {
            continue;
        };
        if let Some(below) = under_window(filter.input(), column, places)? {
            return Ok(Some(replace_children_if_necessary(Arc::clone(node), vec![below])?));
        }
    }
    Ok(None)
}

/// Reads `column <= n` in any of its forms; gives the column's index and n.
fn upper_bound(condition: &Arc<dyn PhysicalExpr>) -> Option<(usize, usize)> {
    let binary = condition.downcast_ref::<BinaryExpr>()?;
    let (column, operator, literal) =
        match (binary.left().downcast_ref::<Column>(), binary.right().downcast_ref::<Column>()) {
            (Some(column), None) => (column, *binary.op(), binary.right()),
            (None, Some(column)) => (column, binary.op().swap()?, binary.left()),
            _ => return None,
        };
    let ScalarValue::UInt64(Some(number)) = literal.downcast_ref::<Literal>()?.value() else {
        return None;
    };
    let places = match operator {
        Operator::LtEq | Operator::Eq => *number,
        Operator::Lt => number.checked_sub(1)?,
        _ => return None,
    };
    let places = usize::try_from(places).ok()?;
    (1..=PLACES_MAX).contains(&places).then_some((column.index(), places))
}

/// Follows the column down to the window that makes it, and puts the leaders under that window.
fn under_window(plan: &Arc<dyn ExecutionPlan>, column: usize, places: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let source = projection.expr().get(column).and_then(|made| made.expr.downcast_ref::<Column>());
        let Some(source) = source else {
            return Ok(None);
        };
        let Some(below) = under_window(projection.input(), source.index(), places)? else {
            return Ok(None);
        };
        return Ok(Some(replace_children_if_necessary(Arc::clone(plan), vec![below])?));
    }
    let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() else {
        return Ok(None);
    };
    let Some(leaders) = leaders(window, column, places) else {
        return Ok(None);
    };
    let below = LeadersExec::new(Arc::clone(window.input()), leaders);
    Ok(Some(replace_children_if_necessary(Arc::clone(plan), vec![Arc::new(below)])?))
}

fn leaders(window: &BoundedWindowAggExec, column: usize, places: usize) -> Option<Leaders> {
    let schema = window.input().schema();
    let place = column.checked_sub(schema.fields().len())?;
    let ranked = window.window_expr().get(place)?;
    let ties = match ranking(ranked)? {
        "row_number" => Ties::Dropped,
        "rank" => Ties::Kept,
        _ => return None,
    };
    let same = |other: &Arc<dyn WindowExpr>| {
        ranking(other).is_some()
            && other.partition_by() == ranked.partition_by()
            && other.order_by() == ranked.order_by()
    };
    if !window.window_expr().iter().all(same) {
        return None;
    }
    let keys = ranked.partition_by().to_vec();
    // Zero has two signs and NaN many; what is equal to a hash table need not be equal to a window.
    let is_plain = |key: &Arc<dyn PhysicalExpr>| {
        key.data_type(&schema).is_ok_and(|kind| !kind.is_floating() && !kind.is_nested() && kind != DataType::Null)
    };
    if keys.is_empty() || !keys.iter().all(is_plain) {
        return None;
    }
    let order = LexOrdering::new(ranked.order_by().iter().cloned())?;
    Some(Leaders { keys, order, places, ties })
}

/// Returns the name of the ranking function; nothing for any other function.
fn ranking(expr: &Arc<dyn WindowExpr>) -> Option<&str> {
    let standard = expr.as_any().downcast_ref::<StandardWindowExpr>()?;
    let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
    let name = function.fun().name();
    ["row_number", "rank", "dense_rank"].contains(&name).then_some(name)
}
