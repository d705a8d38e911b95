//! Several distinct counts over a whole table: `count(DISTINCT a), count(DISTINCT b)` becomes one aggregate for each,
//! joined into one row. DataFusion gathers the values of all of them on one thread; each alone it groups on all
//! threads, and spills. Each branch reads only its own columns of the same files.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Distinct counts of one aggregate that are taken apart; each reads its columns anew.
const BRANCHES_MAX: usize = 8;

/// The rule.
#[derive(Debug)]
pub(super) struct DistinctCounts;

impl OptimizerRule for DistinctCounts {
    fn name(&self) -> &'static str {
        "distinct_counts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        if !aggregate.group_expr.is_empty() || !is_plain_scan(&aggregate.input)? {
            return Ok(Transformed::no(plan));
        }
        let (distinct, rest): (Vec<&Expr>, Vec<&Expr>) =
            aggregate.aggr_expr.iter().partition(|expr| is_distinct_count(expr));
        let branches = distinct.len() + usize::from(!rest.is_empty());
        if distinct.is_empty() || !(2..=BRANCHES_MAX).contains(&branches) {
            return Ok(Transformed::no(plan));
        }
        Ok(Transformed::yes(apart(aggregate, distinct, rest)?))
    }
}

fn apart(aggregate: &Aggregate, distinct: Vec<&Expr>, rest: Vec<&Expr>) -> Result<LogicalPlan> {
    let mut groups: Vec<Vec<Expr>> = distinct.into_iter().map(|expr| vec![expr.clone()]).collect();
    if !rest.is_empty() {
        groups.push(rest.into_iter().cloned().collect());
    }
    let mut joined: Option<LogicalPlan> = None;
    for exprs in groups {
        let branch = LogicalPlan::Aggregate(Aggregate::try_new(Arc::clone(&aggregate.input), Vec::new(), exprs)?);
        joined = Some(match joined {
            None => branch,
            Some(left) => LogicalPlanBuilder::from(left).cross_join(branch)?.build()?,
        });
    }
    let in_order = aggregate.schema.columns().into_iter().map(|column: Column| Expr::Column(column));
    match joined {
        Some(joined) => LogicalPlanBuilder::from(joined).project(in_order.collect::<Vec<_>>())?.build(),
        None => datafusion::common::internal_err!("an aggregate without branches"),
    }
}

fn is_distinct_count(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(call) => {
            let params = &call.params;
            call.func.name() == "count"
                && params.distinct
                && params.args.len() == 1
                && params.filter.is_none()
                && params.order_by.is_empty()
        }
        _ => false,
    }
}

/// Says whether the input only reads columns: then reading it once more costs what the other columns cost.
fn is_plain_scan(input: &LogicalPlan) -> Result<bool> {
    let mut is_plain = true;
    input.apply(|node| {
        is_plain &= match node {
            LogicalPlan::TableScan(scan) => scan.filters.is_empty() && scan.fetch.is_none(),
            LogicalPlan::Projection(projection) => projection.expr.iter().all(|expr| !expr.is_volatile()),
            LogicalPlan::SubqueryAlias(_) => true,
            _ => false,
        };
        Ok(if is_plain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_plain)
}
