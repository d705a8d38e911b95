//! Reads a table and hands on the rows that its row policy lets through. To the rest of the plan it is a leaf without
//! statistics and figures: no filter, limit or aggregate of a query is moved below it, and no explanation shows what is.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::TryStreamExt;
use hambar_core::TableName;

use crate::error::QueryError;

/// The rows of a table that meet a condition.
#[derive(Debug)]
pub(crate) struct RowPolicyExec {
    table: TableName,
    scan: Arc<dyn ExecutionPlan>,
    condition: Arc<dyn PhysicalExpr>,
    /// The columns that are handed on, by their places in `scan`.
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl RowPolicyExec {
    /// Hands on `columns` of the rows of `scan` that meet `condition`, which is about the columns of `scan`.
    pub(crate) fn new(
        table: TableName,
        scan: Arc<dyn ExecutionPlan>,
        condition: Arc<dyn PhysicalExpr>,
        columns: Vec<usize>,
    ) -> Result<Self> {
        let schema = SchemaRef::new(scan.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(scan.output_partitioning().partition_count()),
            EmissionType::Incremental,
            scan.boundedness(),
        );
        Ok(Self { table, scan, condition, columns, properties: Arc::new(properties) })
    }

    /// What is read before the policy: for whoever counts, not for optimizers.
    pub(crate) fn scan(&self) -> &dyn ExecutionPlan {
        self.scan.as_ref()
    }
}

/// Returns `columns` of the rows that meet `condition`; rows for which it is neither true nor false do not.
fn passed(
    batch: &RecordBatch,
    condition: &dyn PhysicalExpr,
    columns: &[usize],
    table: &TableName,
) -> Result<RecordBatch> {
    // What went wrong may name values of rows that nobody is to see.
    let unknown = || {
        let what = "cannot be computed for some of its rows".to_owned();
        DataFusionError::External(Box::new(QueryError::Policy { table: table.clone(), what }))
    };
    let found = condition.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
    let found = found.map_err(|_| unknown())?;
    let mask = found.as_boolean_opt().ok_or_else(unknown)?;
    Ok(filter_record_batch(&batch.project(columns)?, mask)?)
}

impl DisplayAs for RowPolicyExec {
    fn fmt_as(&self, _kind: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RowPolicyExec")
    }
}

impl ExecutionPlan for RowPolicyExec {
    fn name(&self) -> &'static str {
        "RowPolicyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.scan.execute(partition, context)?;
        let (condition, columns, table) = (Arc::clone(&self.condition), self.columns.clone(), self.table.clone());
        let seen = rows
            .and_then(move |batch| futures::future::ready(passed(&batch, condition.as_ref(), &columns, &table)))
            .try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), seen)))
    }
}
