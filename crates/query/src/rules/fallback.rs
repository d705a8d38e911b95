//! A part of a plan that may find out, before its first row, that its way does not fit the data, and another plan of the
//! same rows for that case.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};

use super::codes::is_too_many;

/// Runs `first`; where it fails with [`super::codes::TooMany`], `second` instead.
///
/// `first` must fail so in all partitions or in none, and before its first row: an aggregate reads all its rows before it
/// gives one.
#[derive(Debug)]
pub(super) struct FallbackExec {
    first: Arc<dyn ExecutionPlan>,
    second: Arc<dyn ExecutionPlan>,
    /// `second` with fresh state: both plans share the steps below, which have run once.
    again: Arc<Mutex<Option<Arc<dyn ExecutionPlan>>>>,
}

impl FallbackExec {
    pub(super) fn new(first: Arc<dyn ExecutionPlan>, second: Arc<dyn ExecutionPlan>) -> Self {
        Self { first, second, again: Arc::default() }
    }
}

fn fresh(
    again: &Mutex<Option<Arc<dyn ExecutionPlan>>>,
    second: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut made = again.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plan) = made.as_ref() {
        return Ok(Arc::clone(plan));
    }
    let plan = reset_plan_states(Arc::clone(second))?;
    *made = Some(Arc::clone(&plan));
    Ok(plan)
}

impl DisplayAs for FallbackExec {
    fn fmt_as(&self, _kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FallbackExec: to texts where there are too many for codes")
    }
}

impl ExecutionPlan for FallbackExec {
    fn name(&self) -> &'static str {
        "FallbackExec"
    }

    fn schema(&self) -> SchemaRef {
        self.first.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.first.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.first]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(first), true) => Ok(Arc::new(Self::new(first, Arc::clone(&self.second)))),
            _ => datafusion::common::internal_err!("FallbackExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let mut rows = self.first.execute(partition, Arc::clone(&context))?;
        let (second, again) = (Arc::clone(&self.second), Arc::clone(&self.again));
        let start = async move {
            match rows.next().await {
                Some(Err(error)) if is_too_many(&error) => {
                    drop(rows);
                    fresh(&again, &second)?.execute(partition, context).map(StreamExt::boxed)
                }
                first => Ok(futures::stream::iter(first).chain(rows).boxed()),
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(start).try_flatten())))
    }
}
