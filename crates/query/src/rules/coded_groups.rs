//! Groups by codes of texts instead of texts ([`super::codes`]): comparing numbers costs a fraction of hashing names.
//!
//! The rule looks for whole aggregates over plain scans whose partitions nobody above relies on, since rows are spread
//! by codes then, and keeps the old plan beside the new one for columns with too many texts.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode, Partitioning};

use super::codes::{Codes, Decode, Encode};
use super::fallback::FallbackExec;
use super::packed::{CODES_MAX, Pack};

/// The rule.
#[derive(Debug)]
pub(super) struct CodedGroups;

impl PhysicalOptimizerRule for CodedGroups {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        rewritten(plan, Above::Free)
    }

    fn name(&self) -> &'static str {
        "CodedGroups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What the steps above make of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Any row may come from any partition.
    Free,
    /// Something may rely on where a row is.
    Bound,
}

fn rewritten(plan: Arc<dyn ExecutionPlan>, above: Above) -> Result<Arc<dyn ExecutionPlan>> {
    let is_single = plan.output_partitioning().partition_count() == 1;
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>()
        && (above == Above::Free || is_single)
        && let Some(first) = coded(aggregate)?
    {
        return Ok(Arc::new(FallbackExec::new(first, plan)));
    }
    let below = below(&plan, above);
    let mut children = Vec::new();
    for child in plan.children() {
        children.push(rewritten(Arc::clone(child), below)?);
    }
    replace_children_if_necessary(plan, children)
}

/// What a step lets its input do with rows.
fn below(plan: &Arc<dyn ExecutionPlan>, above: Above) -> Above {
    let passes = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<SortExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>();
    let spreads = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| *aggregate.mode() == AggregateMode::Partial);
    match (passes, spreads) {
        (true, _) => above,
        (_, true) => Above::Free,
        _ => Above::Bound,
    }
}

/// Returns the aggregate over codes, with texts again at its end; nothing where it does not apply.
fn coded(last: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if !is_simple(last) {
        return Ok(None);
    }
    let is_whole = matches!(last.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned);
    let is_final = matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned);
    let Some((made, keys)) = (match (is_whole, is_final) {
        // Rows that are already spread by texts would have to be spread anew.
        (true, _) if *last.mode() == AggregateMode::Single => over_rows(last)?,
        (_, true) => {
            let Some((input, keys)) = over_partial(last.input())? else { return Ok(None) };
            let (functions, filters) = (last.aggr_expr().to_vec(), last.filter_expr().to_vec());
            let group = match is_packed(&keys) {
                true => PhysicalGroupBy::new_single(vec![(packed_column(), PACKED.to_owned())]),
                false => last.group_expr().clone(),
            };
            let made = AggregateExec::try_new(*last.mode(), group, functions, filters, input, last.input_schema())?;
            Some((Arc::new(made) as Arc<dyn ExecutionPlan>, keys))
        }
        _ => None,
    }) else {
        return Ok(None);
    };
    let is_packed = is_packed(&keys);
    let mut columns = Vec::with_capacity(last.schema().fields().len());
    for (place, field) in last.schema().fields().iter().enumerate() {
        // Where keys are packed, there is one column in place of them all.
        let made = if is_packed { (place + 1).saturating_sub(keys.len()) } else { place };
        let column: Arc<dyn PhysicalExpr> = match keys.get(place) {
            Some(_) if is_packed => packed_column(),
            _ => Arc::new(Column::new(field.name(), made)),
        };
        let expr: Arc<dyn PhysicalExpr> = match keys.get(place) {
            Some(Some(codes)) => {
                let among = is_packed.then_some(place);
                Arc::new(Decode::new(column, among, Arc::clone(codes), Arc::clone(field)))
            }
            _ => column,
        };
        columns.push(ProjectionExpr { expr, alias: field.name().clone() });
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, made)?)))
}

fn is_simple(aggregate: &AggregateExec) -> bool {
    let group = aggregate.group_expr();
    !group.has_grouping_set()
        && !group.expr().is_empty()
        && aggregate.limit_options().is_none()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
}

/// The codes of each key; nothing for a key that is no text.
type Keys = Vec<Option<Arc<Codes>>>;

/// The name of the column of packed codes.
const PACKED: &str = "codes";

/// Says whether the codes of all keys are packed into one number.
fn is_packed(keys: &Keys) -> bool {
    (2..=CODES_MAX).contains(&keys.len()) && keys.iter().all(Option::is_some)
}

fn packed_column() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(PACKED, 0))
}

/// Follows the input of the last aggregate down to the first one, over rows.
fn over_partial(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<(Arc<dyn ExecutionPlan>, Keys)>> {
    if let Some(partial) = plan.downcast_ref::<AggregateExec>() {
        let applies = *partial.mode() == AggregateMode::Partial && is_simple(partial);
        return if applies { over_rows(partial) } else { Ok(None) };
    }
    if !plan.is::<RepartitionExec>() && !plan.is::<CoalescePartitionsExec>() {
        return Ok(None);
    }
    let [child] = plan.children()[..] else { return Ok(None) };
    let Some((below, keys)) = over_partial(child)? else { return Ok(None) };
    if let Some(spread) = plan.downcast_ref::<RepartitionExec>()
        && let Partitioning::Hash(_, parts) = spread.partitioning()
        && is_packed(&keys)
    {
        let spread = RepartitionExec::try_new(below, Partitioning::Hash(vec![packed_column()], *parts))?;
        return Ok(Some((Arc::new(spread), keys)));
    }
    Ok(Some((replace_children_if_necessary(Arc::clone(plan), vec![below])?, keys)))
}

fn over_rows(aggregate: &AggregateExec) -> Result<Option<(Arc<dyn ExecutionPlan>, Keys)>> {
    if !is_plain(aggregate.input()) {
        return Ok(None);
    }
    let schema = aggregate.input_schema();
    let mut keys: Keys = Vec::new();
    let mut exprs = Vec::new();
    for (expr, name) in aggregate.group_expr().expr() {
        if matches!(expr.data_type(&schema)?, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8) {
            let codes = Arc::new(Codes::default());
            let code: Arc<dyn PhysicalExpr> = Arc::new(Encode::new(Arc::clone(expr), Arc::clone(&codes)));
            exprs.push((code, name.clone()));
            keys.push(Some(codes));
        } else {
            exprs.push((Arc::clone(expr), name.clone()));
            keys.push(None);
        }
    }
    if keys.iter().all(Option::is_none) {
        return Ok(None);
    }
    if is_packed(&keys) {
        let codes = exprs.into_iter().map(|(code, _)| code).collect();
        exprs = vec![(Arc::new(Pack::new(codes)) as Arc<dyn PhysicalExpr>, PACKED.to_owned())];
    }
    let made = AggregateExec::try_new(
        *aggregate.mode(),
        PhysicalGroupBy::new_single(exprs),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        schema,
    )?;
    Ok(Some((Arc::new(made), keys)))
}

/// Says whether the plan only reads files: it can run a second time, and its texts are views into dictionaries.
fn is_plain(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let passes = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnionExec>();
    plan.is::<DataSourceExec>() || (passes && plan.children().into_iter().all(is_plain))
}
