//! Finds expressions over one text column that cost more than looking for equal rows, and wraps them in a [`Memo`].

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
    TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::memo::Memo;

/// The rule.
#[derive(Debug)]
pub(super) struct Memoize;

impl PhysicalOptimizerRule for Memoize {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match rewritten(&node)? {
                Some(new) => Transformed::yes(new),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "Memoize"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn rewritten(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let predicate = wrapped(filter.predicate(), &filter.input().schema())?;
        let Some(predicate) = predicate else { return Ok(None) };
        return Ok(Some(Arc::new(FilterExecBuilder::from(filter).with_predicate(predicate).build()?)));
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let schema = projection.input().schema();
        let exprs = projection.expr().iter().map(|made| &made.expr);
        let Some(exprs) = wrapped_all(exprs, &schema)? else { return Ok(None) };
        let named = exprs.into_iter().zip(projection.expr());
        let named = named.map(|(expr, old)| ProjectionExpr { expr, alias: old.alias.clone() });
        return Ok(Some(Arc::new(ProjectionExec::try_new(named.collect::<Vec<_>>(), Arc::clone(projection.input()))?)));
    }
    match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) if aggregate.limit_options().is_none() => rewritten_aggregate(aggregate),
        _ => Ok(None),
    }
}

fn rewritten_aggregate(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = aggregate.input_schema();
    let mut is_changed = false;
    let mut functions = Vec::with_capacity(aggregate.aggr_expr().len());
    for function in aggregate.aggr_expr() {
        let new = rewritten_function(function, &schema)?;
        is_changed |= new.is_some();
        functions.push(new.unwrap_or_else(|| Arc::clone(function)));
    }
    let old = aggregate.group_expr();
    let reads_rows =
        matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned);
    let group = match wrapped_all(old.expr().iter().map(|(expr, _)| expr), &schema)? {
        Some(exprs) if reads_rows && !old.has_grouping_set() => {
            is_changed = true;
            let named = exprs.into_iter().zip(old.expr()).map(|(expr, (_, name))| (expr, name.clone()));
            PhysicalGroupBy::new(named.collect(), old.null_expr().to_vec(), old.groups().to_vec(), false)
        }
        _ => old.clone(),
    };
    if !is_changed {
        return Ok(None);
    }
    let new = AggregateExec::try_new(
        *aggregate.mode(),
        group,
        functions,
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        schema,
    )?;
    Ok(Some(Arc::new(new)))
}

fn rewritten_function(
    function: &Arc<AggregateFunctionExpr>,
    schema: &Schema,
) -> Result<Option<Arc<AggregateFunctionExpr>>> {
    let all = function.all_expressions();
    let Some(args) = wrapped_all(all.args.iter(), schema)? else {
        return Ok(None);
    };
    Ok(function.with_new_expressions(args, all.order_by_exprs).map(Arc::new))
}

/// Wraps what pays in any of the expressions; nothing where nothing does.
fn wrapped_all<'a>(
    exprs: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>,
    schema: &Schema,
) -> Result<Option<Vec<Arc<dyn PhysicalExpr>>>> {
    let mut is_changed = false;
    let mut all = Vec::new();
    for expr in exprs {
        let new = wrapped(expr, schema)?;
        is_changed |= new.is_some();
        all.push(new.unwrap_or_else(|| Arc::clone(expr)));
    }
    Ok(is_changed.then_some(all))
}

/// Returns the text columns that a part of the expression reads alone: with their dictionaries, any such part pays.
pub(super) fn lone_columns(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<BTreeSet<usize>> {
    let mut columns = BTreeSet::new();
    expr.apply(|node| {
        let column = lone_column(node, schema)?;
        columns.extend(column.as_ref().map(Column::index));
        Ok(if column.is_some() { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue })
    })?;
    Ok(columns)
}

/// Wraps the largest parts of an expression that read one of `columns` alone.
pub(super) fn over_dictionaries(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    columns: &BTreeSet<usize>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let made = Arc::clone(expr).transform_down(|node| {
        if node.is::<Memo>() {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match lone_column(&node, schema)?.filter(|column| columns.contains(&column.index())) {
            Some(column) => {
                let memo: Arc<dyn PhysicalExpr> = Arc::new(Memo::new(node, &column)?);
                Transformed::new(memo, true, TreeNodeRecursion::Jump)
            }
            None => Transformed::no(node),
        })
    });
    made.data()
}

/// Returns the one text column that a step over it reads, where it depends on nothing else.
fn lone_column(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Column>> {
    Ok(if expr.is::<Column>() { None } else { only_column(expr, schema)?.map(|(column, _)| column) })
}

/// Wraps the largest parts of an expression that pay.
fn wrapped(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let made = Arc::clone(expr).transform_down(|node| {
        if node.is::<Memo>() {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match only_column(&node, schema)? {
            Some((column, Cost::Dear)) => {
                let memo: Arc<dyn PhysicalExpr> = Arc::new(Memo::new(node, &column)?);
                Transformed::new(memo, true, TreeNodeRecursion::Jump)
            }
            _ => Transformed::no(node),
        })
    })?;
    Ok(made.transformed.then_some(made.data))
}

/// What an expression costs for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// About a look at a view.
    Small,
    /// More.
    Dear,
}

/// Returns the one text column that the expression reads, where it depends on nothing else, and what it costs.
fn only_column(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<(Column, Cost)>> {
    let mut column: Option<Column> = None;
    let mut is_dear = false;
    let mut is_known = true;
    expr.apply(|node| {
        if let Some(read) = node.downcast_ref::<Column>() {
            is_known &= column.as_ref().is_none_or(|other| other == read);
            column = Some(read.clone());
        }
        is_dear |= is_dear_node(node);
        is_known &= is_known_node(node);
        Ok(if is_known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    let is_text = |column: &Column| {
        schema.fields().get(column.index()).is_some_and(|field| field.data_type() == &DataType::Utf8View)
    };
    let cost = if is_dear { Cost::Dear } else { Cost::Small };
    Ok(column.filter(|column| is_known && is_text(column)).map(|column| (column, cost)))
}

/// Steps that cost more than a look at a view.
fn is_dear_node(node: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(like) = node.downcast_ref::<LikeExpr>() {
        return !is_prefix(like);
    }
    node.is::<CastExpr>() || node.is::<TryCastExpr>() || node.is::<ScalarFunctionExpr>() || node.is::<CaseExpr>()
}

/// A pattern that only fixes the start of the text also leaves out row groups, where it can be seen.
fn is_prefix(like: &LikeExpr) -> bool {
    let pattern = like.pattern().downcast_ref::<Literal>().map(Literal::value);
    match pattern {
        Some(ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text))) => {
            !text.starts_with(['%', '_']) && !like.case_insensitive()
        }
        _ => false,
    }
}

/// Steps whose result depends on their arguments only, row by row.
fn is_known_node(node: &Arc<dyn PhysicalExpr>) -> bool {
    !node.is_volatile_node()
        && (node.is::<Column>()
            || node.is::<Literal>()
            || node.is::<LikeExpr>()
            || node.is::<CaseExpr>()
            || node.is::<CastExpr>()
            || node.is::<TryCastExpr>()
            || node.is::<ScalarFunctionExpr>()
            || node.is::<BinaryExpr>()
            || node.is::<InListExpr>()
            || node.is::<NotExpr>()
            || node.is::<IsNullExpr>()
            || node.is::<IsNotNullExpr>())
}
