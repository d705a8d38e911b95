//! The rows of an answer: plain Arrow types, cut off at the limits of the query.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringBuilder, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::error::QueryError;
use crate::question::{Facts, VersionRead};

/// The answer to a query. Dropping it stops the query.
pub struct RowStream {
    schema: SchemaRef,
    facts: Facts,
    is_truncated: Arc<AtomicBool>,
    batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

impl std::fmt::Debug for RowStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RowStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl RowStream {
    pub(crate) fn new(
        schema: SchemaRef,
        facts: Facts,
        is_truncated: Arc<AtomicBool>,
        batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
    ) -> Self {
        Self { schema, facts, is_truncated, batches }
    }

    /// Changes the errors of the answer.
    pub(crate) fn map_error(self, change: impl Fn(QueryError) -> QueryError + Send + 'static) -> Self {
        let batches = self.batches.map(move |batch| batch.map_err(&change)).boxed();
        Self { batches, ..self }
    }

    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns which version of each table is read.
    pub fn versions(&self) -> &[VersionRead] {
        &self.facts.versions
    }

    /// Returns what was known before the first row.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Says, once the stream has ended, whether a limit cut off the result.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated.load(Ordering::Acquire)
    }
}

impl Stream for RowStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(context)
    }
}

/// Counts rows and bytes, and cuts off what is beyond the limits.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) rows_left: Option<u64>,
    pub(crate) bytes_left: u64,
    pub(crate) is_truncated: Arc<AtomicBool>,
}

impl Cut {
    /// Returns what of `batch` still fits; nothing once a limit is reached.
    pub(crate) fn take(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        if batch.num_rows() == 0 {
            return Some(batch);
        }
        let bytes = batch.get_array_memory_size() as u64;
        if bytes > self.bytes_left || self.rows_left == Some(0) {
            self.is_truncated.store(true, Ordering::Release);
            return None;
        }
        self.bytes_left -= bytes;
        let Some(rows_left) = self.rows_left else {
            return Some(batch);
        };
        let rows = batch.num_rows() as u64;
        if rows <= rows_left {
            self.rows_left = Some(rows_left - rows);
            return Some(batch);
        }
        self.rows_left = Some(0);
        self.is_truncated.store(true, Ordering::Release);
        Some(batch.slice(0, usize::try_from(rows_left).unwrap_or(usize::MAX)))
    }
}

/// Returns the schema with plain texts and bytes where DataFusion works on views.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(plain(field.data_type()))).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Starts a plan whose rows are made plain by the tasks of its partitions, side by side with whoever reads them.
pub(crate) fn run(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    schema: &SchemaRef,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let partitions = execute_stream_partitioned(plan, context)?;
    let mut all = RecordBatchReceiverStream::builder(Arc::clone(schema), partitions.len().max(1));
    for mut rows in partitions {
        let (send, schema) = (all.tx(), Arc::clone(schema));
        all.spawn(async move {
            while let Some(batch) = rows.next().await {
                let batch = plain_batch(&batch?, &schema)?;
                if send.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
    }
    Ok(all.build())
}

/// A view keeps its whole buffer alive and sends it along; a plain array is only its rows.
fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| plain_column(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<Vec<ArrayRef>, _>>()?, &options)
}

fn plain_column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == kind {
        return Ok(Arc::clone(column));
    }
    match (column.as_string_view_opt(), kind) {
        (Some(texts), DataType::Utf8) => plain_texts(texts),
        _ => cast(column, kind),
    }
}

/// As `cast`, which lets its buffer grow text by text.
fn plain_texts(texts: &StringViewArray) -> Result<ArrayRef, ArrowError> {
    let bytes = texts.iter().flatten().map(str::len).sum::<usize>();
    if i32::try_from(bytes).is_err() {
        // It says what does not fit.
        return cast(texts, &DataType::Utf8);
    }
    let mut plain = StringBuilder::with_capacity(texts.len(), bytes);
    plain.extend(texts);
    Ok(Arc::new(plain.finish()))
}

/// The plain type where DataFusion works on views.
pub(crate) fn plain(kind: &DataType) -> DataType {
    let inside = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(inside(item)),
        DataType::LargeList(item) => DataType::LargeList(inside(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        other => other.clone(),
    }
}
