//! Joins with a list in the text of the query (`VALUES`): the other side only needs rows with keys of the list, which a filter
//! says before the join. It reaches the scan, where it leaves out files and is evaluated over dictionaries. Where each key is
//! in the list once, there is no join left: what the list says of a key is an expression over it, which is evaluated over
//! dictionaries as well.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Case, Cast, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Rows of a list; with more, the join's own table of hashes is as good.
const ROWS_MAX: usize = 256;

/// The rule.
#[derive(Debug)]
pub(super) struct ListedKeys;

impl OptimizerRule for ListedKeys {
    fn name(&self) -> &'static str {
        "listed_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
        // NULL is in no list.
        if join.join_type != JoinType::Inner || join.null_equality != NullEquality::NullEqualsNothing {
            return Ok(Transformed::no(plan));
        }
        if let Some(made) = looked_up(join)? {
            return Ok(Transformed::yes(made));
        }
        let mut new = join.clone();
        let mut is_changed = false;
        for (left, right) in &join.on {
            if let Some(filtered) = filtered((&join.right, right), (&new.left, left))? {
                new.left = filtered;
                is_changed = true;
            } else if let Some(filtered) = filtered((&join.left, left), (&new.right, right))? {
                new.right = filtered;
                is_changed = true;
            }
        }
        Ok(if is_changed { Transformed::yes(LogicalPlan::Join(new)) } else { Transformed::no(plan) })
    }
}

/// Returns the keys of `list`, in its order; nothing where that is no list, or where keys might be compared in another way than
/// by [`ScalarValue`]'s equality.
fn listed_keys(
    (list, its_key): (&Arc<LogicalPlan>, &Expr),
    (rows, key): (&Arc<LogicalPlan>, &Expr),
) -> Result<Option<Vec<ScalarValue>>> {
    let is_column = matches!(key, Expr::Column(_));
    if !is_column || listed(rows, key).is_some() {
        return Ok(None);
    }
    let Some(values) = listed(list, its_key) else { return Ok(None) };
    let kind = key.get_type(rows.schema())?;
    // Zeros of both signs and what is not a number are compared in more than one way.
    let is_same = |value: &ScalarValue| value.is_null() || value.data_type() == kind;
    Ok((!kind.is_floating() && values.iter().all(is_same)).then_some(values))
}

/// Returns a join with a list as a look at the list for each row; nothing where a key may be in the list twice, or where there
/// is no list.
fn looked_up(join: &Join) -> Result<Option<LogicalPlan>> {
    let [(left, right)] = &join.on[..] else { return Ok(None) };
    let made = match looked_up_in((&join.right, right), (&join.left, left), &join.schema)? {
        Some(made) => Some(made),
        None => looked_up_in((&join.left, left), (&join.right, right), &join.schema)?,
    };
    let (Some(made), Some(filter)) = (&made, &join.filter) else { return Ok(made) };
    LogicalPlanBuilder::from(made.clone()).filter(filter.clone())?.build().map(Some)
}

fn looked_up_in(
    (list, its_key): (&Arc<LogicalPlan>, &Expr),
    (rows, key): (&Arc<LogicalPlan>, &Expr),
    schema: &DFSchema,
) -> Result<Option<LogicalPlan>> {
    let Some(keys) = listed_keys((list, its_key), (rows, key))? else { return Ok(None) };
    let places: Vec<usize> = (0..keys.len()).filter(|place| !keys[*place].is_null()).collect();
    let different: HashSet<&ScalarValue> = places.iter().map(|place| &keys[*place]).collect();
    if places.is_empty() || different.len() < places.len() {
        return Ok(None);
    }
    let literals = |values: &[ScalarValue]| -> Vec<Expr> {
        places.iter().map(|place| Expr::Literal(values[*place].clone(), None)).collect()
    };
    let keys = literals(&keys);
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (relation, field) in schema.iter() {
        let column = Column::new(relation.cloned(), field.name());
        if rows.schema().has_column(&column) {
            columns.push(Expr::Column(column));
            continue;
        }
        let Some(values) = listed_column(list, &column) else { return Ok(None) };
        let Some(values) = cast_all(&values, field.data_type()) else { return Ok(None) };
        let pairs = keys.iter().cloned().zip(literals(&values)).map(|(key, value)| (Box::new(key), Box::new(value)));
        let case = Expr::Case(Case::new(Some(Box::new(key.clone())), pairs.collect(), None));
        columns.push(case.alias_qualified(relation.cloned(), field.name()));
    }
    let filter = Expr::InList(InList::new(Box::new(key.clone()), keys, false));
    LogicalPlanBuilder::from(Arc::clone(rows)).filter(filter)?.project(columns)?.build().map(Some)
}

fn cast_all(values: &[ScalarValue], kind: &DataType) -> Option<Vec<ScalarValue>> {
    values.iter().map(|value| value.cast_to(kind).ok()).collect()
}

/// Returns `rows` with a filter on the keys of `list`; nothing where that is no list, or where the filter is there already.
fn filtered(
    (list, its_key): (&Arc<LogicalPlan>, &Expr),
    (rows, key): (&Arc<LogicalPlan>, &Expr),
) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(values) = listed_keys((list, its_key), (rows, key))? else { return Ok(None) };
    let mut keys: Vec<Expr> = Vec::new();
    for value in values.into_iter().filter(|value| !value.is_null()) {
        let literal = Expr::Literal(value, None);
        if !keys.contains(&literal) {
            keys.push(literal);
        }
    }
    if keys.is_empty() || has_filter(rows, &keys)? {
        return Ok(None);
    }
    let filter = Expr::InList(InList::new(Box::new(key.clone()), keys, false));
    let made = LogicalPlanBuilder::from(Arc::clone(rows)).filter(filter)?.build()?;
    Ok(Some(Arc::new(made)))
}

/// Says whether the plan has a filter on these keys: it may have been pushed down and its column renamed.
fn has_filter(plan: &LogicalPlan, keys: &[Expr]) -> Result<bool> {
    let mut is_found = false;
    plan.apply(|node| {
        node.apply_expressions(|root| {
            root.apply(|expr| {
                is_found |= match expr {
                    Expr::InList(list) => list.list == keys,
                    // What short lists become.
                    Expr::BinaryExpr(pair) => keys.contains(&pair.right),
                    _ => false,
                };
                Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(is_found)
}

/// Returns the values of a column of a list.
fn listed(plan: &LogicalPlan, expr: &Expr) -> Option<Vec<ScalarValue>> {
    match expr {
        Expr::Column(column) => listed_column(plan, column),
        Expr::Alias(alias) => listed(plan, &alias.expr),
        Expr::Cast(Cast { expr, field }) => cast_all(&listed(plan, expr)?, field.data_type()),
        _ => None,
    }
}

fn listed_column(plan: &LogicalPlan, column: &Column) -> Option<Vec<ScalarValue>> {
    let place = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let below = Column::from(alias.input.schema().qualified_field(place));
            listed_column(&alias.input, &below)
        }
        LogicalPlan::Projection(projection) => listed(&projection.input, projection.expr.get(place)?),
        LogicalPlan::Values(values) if values.values.len() <= ROWS_MAX => {
            let value = |row: &Vec<Expr>| match row.get(place)? {
                Expr::Literal(value, _) => Some(value.clone()),
                _ => None,
            };
            values.values.iter().map(value).collect()
        }
        _ => None,
    }
}
