//! Groups by codes of texts without a search: codes are small and dense ([`super::codes`]), so a code is the place of its
//! group. Takes the place of the first of two aggregates, whose rows the second one puts together.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use futures::StreamExt;

use super::codes::Encode;

/// The rule.
#[derive(Debug)]
pub(super) struct DenseGroups;

impl PhysicalOptimizerRule for DenseGroups {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let made = plan.transform_up(|node| {
            Ok(match DenseGroupsExec::over(&node) {
                Some(dense) => Transformed::yes(Arc::new(dense) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        });
        made.data()
    }

    fn name(&self) -> &'static str {
        "DenseGroups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The step of the plan.
#[derive(Debug)]
struct DenseGroupsExec {
    /// What it does, as DataFusion's own step.
    same: Arc<dyn ExecutionPlan>,
    parts: Parts,
    metrics: ExecutionPlanMetricsSet,
}

/// What is evaluated for each batch.
#[derive(Debug, Clone)]
struct Parts {
    schema: SchemaRef,
    code: Arc<dyn PhysicalExpr>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

impl DenseGroupsExec {
    /// Returns the step in place of an aggregate; nothing where it does not apply.
    fn over(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let aggregate = plan.downcast_ref::<AggregateExec>()?;
        let group = aggregate.group_expr();
        let [(code, _)] = group.expr() else { return None };
        let is_known = |function: &Arc<AggregateFunctionExpr>| {
            function.groups_accumulator_supported() && function.order_bys().is_empty()
        };
        let applies = *aggregate.mode() == AggregateMode::Partial
            && code.is::<Encode>()
            && !group.has_grouping_set()
            && aggregate.limit_options().is_none()
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && aggregate.aggr_expr().iter().all(is_known);
        applies.then(|| Self {
            parts: Parts {
                schema: aggregate.schema(),
                code: Arc::clone(code),
                functions: aggregate.aggr_expr().to_vec(),
                filters: aggregate.filter_expr().to_vec(),
            },
            same: Arc::clone(plan),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for DenseGroupsExec {
    fn fmt_as(&self, kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DenseGroupsExec: ")?;
        self.same.fmt_as(kind, out)
    }
}

impl ExecutionPlan for DenseGroupsExec {
    fn name(&self) -> &'static str {
        "DenseGroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.same.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.same.children()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.same.apply_expressions(visit)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let same = replace_children_if_necessary(Arc::clone(&self.same), children)?;
        Ok(Self::over(&same).map_or(same, |made| Arc::new(made) as _))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let children = self.same.children();
        let [input] = children[..] else {
            return datafusion::common::internal_err!("DenseGroupsExec has one input");
        };
        let input = input.execute(partition, Arc::clone(&context))?;
        let reservation = MemoryConsumer::new(format!("DenseGroups[{partition}]")).register(context.memory_pool());
        let groups = Groups::new(self.parts.clone(), reservation)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = futures::stream::try_unfold(
            (Some(input), groups, metrics),
            |(mut input, mut groups, metrics)| async move {
                let elapsed = metrics.elapsed_compute().clone();
                while let Some(rows) = &mut input {
                    let made = match rows.next().await {
                        Some(batch) => {
                            let _timer = elapsed.timer();
                            groups.add(&batch?)?
                        }
                        None => {
                            input = None;
                            groups.take()?
                        }
                    };
                    if let Some(made) = made {
                        metrics.record_output(made.num_rows());
                        return Ok(Some((made, (input, groups, metrics))));
                    }
                }
                Ok(None)
            },
        );
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The groups of one stream.
struct Groups {
    parts: Parts,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Which codes have occurred.
    has_rows: Vec<bool>,
    /// The group of each row of a batch.
    places: Vec<usize>,
    reservation: MemoryReservation,
}

impl Groups {
    fn new(parts: Parts, reservation: MemoryReservation) -> Result<Self> {
        let accumulators = parts.functions.iter().map(|function| function.create_groups_accumulator());
        Ok(Self {
            accumulators: accumulators.collect::<Result<_>>()?,
            parts,
            has_rows: Vec::new(),
            places: Vec::new(),
            reservation,
        })
    }

    /// Adds rows. Returns what there is so far where there is no memory for more: the step above adds up several parts.
    fn add(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = batch.num_rows();
        let codes = self.parts.code.evaluate(batch)?.into_array(rows)?;
        self.find(&codes)?;
        let groups_total = self.has_rows.len();
        for (place, function) in self.parts.functions.iter().enumerate() {
            let evaluated = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
            let values: Vec<ArrayRef> = function.expressions().iter().map(evaluated).collect::<Result<_>>()?;
            let filter = self.parts.filters.get(place).and_then(Option::as_ref).map(evaluated).transpose()?;
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            self.accumulators[place].update_batch(&values, &self.places, filter, groups_total)?;
        }
        let bytes: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        match self.reservation.try_resize(bytes + self.has_rows.capacity()) {
            Ok(()) => Ok(None),
            Err(_) => self.take(),
        }
    }

    fn find(&mut self, codes: &ArrayRef) -> Result<()> {
        let codes = match codes.as_primitive_opt::<UInt32Type>() {
            Some(codes) if codes.null_count() == 0 => codes,
            _ => return datafusion::common::internal_err!("a row without a code"),
        };
        let most = codes.values().iter().max().map_or(0, |code| *code as usize + 1);
        if most > self.has_rows.len() {
            self.has_rows.resize(most, false);
        }
        self.places.clear();
        self.places.extend(codes.values().iter().map(|code| *code as usize));
        for place in &self.places {
            self.has_rows[*place] = true;
        }
        Ok(())
    }

    /// Returns the groups, and forgets them; nothing where there are none.
    fn take(&mut self) -> Result<Option<RecordBatch>> {
        let has_rows = BooleanArray::from(std::mem::take(&mut self.has_rows));
        if has_rows.is_empty() {
            return Ok(None);
        }
        let codes = (0_u32..).take(has_rows.len());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from_iter_values(codes))];
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let all = RecordBatch::try_new(Arc::clone(&self.parts.schema), columns)?;
        self.reservation.free();
        Ok(Some(filter_record_batch(&all, &has_rows)?))
    }
}
