//! Leaves out rows that cannot be among the first of their partition, as they stream by.
//!
//! For each partition the best rows so far are remembered by their sort keys; a row behind all of them is dropped. What
//! is left still has to be ranked. With little memory, or where hardly a row is dropped, it steps aside and lets
//! everything pass: the answer is the same, and so its memory does not depend on the number of partitions.

use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Field, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::execution_plan::apply_expression_roots;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use hambar_core::limits::MIB;
use hambar_core::views::DifferentViews;

/// Bytes that the leaders of one stream may take.
const BYTES_MAX: usize = 32 * MIB as usize;
/// After this many rows it is known whether it pays.
const TRIAL_ROWS: usize = 200_000;

/// Whether rows that are equal to the last leader are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ties {
    /// `row_number()`: any of them may be the one that counts.
    Dropped,
    /// `rank()`: all of them have the same rank.
    Kept,
}

/// Which rows lead.
#[derive(Debug, Clone)]
pub(super) struct Leaders {
    /// What partitions the rows.
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The order inside a partition.
    pub(super) order: LexOrdering,
    /// Leaders per partition.
    pub(super) places: usize,
    /// What about the rows after the last of them that are equal to it.
    pub(super) ties: Ties,
}

/// The step of the plan.
#[derive(Debug, Clone)]
pub(super) struct LeadersExec {
    input: Arc<dyn ExecutionPlan>,
    leaders: Leaders,
    metrics: ExecutionPlanMetricsSet,
}

impl LeadersExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, leaders: Leaders) -> Self {
        Self { input, leaders, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for LeadersExec {
    fn fmt_as(&self, _kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leaders { keys, order, places, .. } = &self.leaders;
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        write!(out, "LeadersExec: places={places}, partition=[{}], order=[{order}]", keys.join(", "))
    }
}

impl ExecutionPlan for LeadersExec {
    fn name(&self) -> &'static str {
        "LeadersExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let order = self.leaders.order.iter().map(|sort| &sort.expr);
        apply_expression_roots(self.leaders.keys.iter().chain(order), visit)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.leaders.clone()))),
            _ => datafusion::common::internal_err!("LeadersExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let schema = input.schema();
        let reservation = MemoryConsumer::new(format!("Leaders[{partition}]")).register(context.memory_pool());
        let mut sieve = Sieve::new(self.leaders.clone(), &schema, reservation)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let kept = input.filter_map(move |batch| {
            let elapsed = metrics.elapsed_compute().clone();
            let timer = elapsed.timer();
            let kept = batch.and_then(|batch| sieve.sift(batch));
            timer.done();
            if let Ok(batch) = &kept {
                metrics.record_output(batch.num_rows());
            }
            let is_empty = kept.as_ref().is_ok_and(|batch| batch.num_rows() == 0);
            futures::future::ready((!is_empty).then_some(kept))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, kept)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The leaders of one stream.
struct Sieve {
    leaders: Leaders,
    /// Nothing once it stepped aside.
    known: Option<Known>,
    reservation: MemoryReservation,
    rows_seen: usize,
    rows_dropped: usize,
}

struct Known {
    partitions: Box<dyn GroupValues>,
    converter: RowConverter,
    /// For each partition the sort keys of its leaders, the last of them on top.
    best: Vec<BinaryHeap<Box<[u8]>>>,
    best_bytes: usize,
    /// The partition of each row of a batch.
    places: Vec<usize>,
}

impl Sieve {
    fn new(leaders: Leaders, schema: &Schema, reservation: MemoryReservation) -> Result<Self> {
        let mut fields = Vec::with_capacity(leaders.keys.len());
        for (number, key) in leaders.keys.iter().enumerate() {
            fields.push(Field::new(number.to_string(), key.data_type(schema)?, true));
        }
        let mut sorted = Vec::with_capacity(leaders.order.len());
        for sort in &leaders.order {
            sorted.push(SortField::new_with_options(sort.expr.data_type(schema)?, sort.options));
        }
        let known = Known {
            partitions: new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?,
            converter: RowConverter::new(sorted)?,
            best: Vec::new(),
            best_bytes: 0,
            places: Vec::new(),
        };
        Ok(Self { leaders, known: Some(known), reservation, rows_seen: 0, rows_dropped: 0 })
    }

    /// Returns the rows of the batch that may lead.
    fn sift(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(known) = &mut self.known else {
            return Ok(batch);
        };
        let keep = known.keep(&self.leaders, &batch)?;
        self.rows_seen += batch.num_rows();
        self.rows_dropped += batch.num_rows() - keep.true_count();
        let pays = self.rows_seen < TRIAL_ROWS || self.rows_dropped >= self.rows_seen / 2;
        let bytes = known.bytes();
        if !pays || bytes > BYTES_MAX || self.reservation.try_resize(bytes).is_err() {
            self.known = None;
            self.reservation.free();
        }
        Ok(filter_record_batch(&batch, &keep)?)
    }
}

impl Known {
    fn keep(&mut self, leaders: &Leaders, batch: &RecordBatch) -> Result<BooleanArray> {
        let rows = batch.num_rows();
        let evaluated = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
        let keys: Vec<ArrayRef> = leaders.keys.iter().map(evaluated).collect::<Result<_>>()?;
        let order: Vec<ArrayRef> = leaders.order.iter().map(|sort| evaluated(&sort.expr)).collect::<Result<_>>()?;
        self.find_partitions(&keys)?;
        self.best.resize_with(self.partitions.len(), BinaryHeap::new);
        let sorted = self.converter.convert_columns(&order)?;
        let mut keep = Vec::with_capacity(rows);
        for (row, place) in sorted.iter().zip(&self.places) {
            let Some(best) = self.best.get_mut(*place) else {
                keep.push(true);
                continue;
            };
            let row: &[u8] = row.as_ref();
            if best.len() < leaders.places {
                self.best_bytes += row.len() + size_of::<Box<[u8]>>();
                best.push(row.into());
                keep.push(true);
                continue;
            }
            let Some(mut last) = best.peek_mut() else {
                keep.push(true);
                continue;
            };
            let is_better = row < &**last;
            keep.push(is_better || (leaders.ties == Ties::Kept && row == &**last));
            if is_better {
                self.best_bytes = (self.best_bytes + row.len()).saturating_sub(last.len());
                *last = row.into();
            }
        }
        Ok(BooleanArray::from(keep))
    }

    /// Finds the partition of each row; where the key is one text, of each different text only.
    fn find_partitions(&mut self, keys: &[ArrayRef]) -> Result<()> {
        let different = match keys {
            [key] => key.as_string_view_opt().and_then(DifferentViews::find).map(|values| (key, values)),
            _ => None,
        };
        let Some((key, values)) = different else {
            return self.partitions.intern(keys, &mut self.places);
        };
        let mut of_values = Vec::new();
        self.partitions.intern(&[take(key, &values.first_rows, None)?], &mut of_values)?;
        self.places.clear();
        let places = values.of_rows.values().iter().filter_map(|value| of_values.get(*value as usize));
        self.places.extend(places);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.partitions.size() + self.best_bytes + self.best.capacity() * size_of::<BinaryHeap<Box<[u8]>>>()
    }
}
