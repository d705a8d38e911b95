//! From batches to messages. Every message stays far below what clients take by default (4 MiB), except where a single
//! row is larger; what is held at a time is one batch, and the next one is asked for when the client has taken it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::running::Entry;
use super::status;
use crate::front::Answer;
use crate::rest::deliver::OwnLimits;
use crate::rest::encode::with_sources;

/// Bytes of the rows in one message.
const ROWS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Messages on their way to a client.
pub(super) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Returns the columns as they are sent: dictionaries are written out, since not every client knows them.
pub(super) fn sent(schema: &SchemaRef) -> SchemaRef {
    let nothing = futures::stream::empty();
    let encoder = FlightDataEncoderBuilder::new().with_schema(Arc::clone(schema)).build(nothing);
    encoder.known_schema().unwrap_or_else(|| Arc::clone(schema))
}

/// Sends an answer. Rows that a limit of the server cut off end it with an error.
pub(super) fn answer(answer: Answer, entry: Entry, own: OwnLimits) -> Messages {
    let schema = with_sources(&answer.schema(), answer.sources());
    let rows = futures::stream::try_unfold((answer, entry), move |(mut answer, entry)| async move {
        match answer.next().await {
            Some(Ok(batch)) => Ok(Some((batch, (answer, entry)))),
            Some(Err(error)) => Err(status::of(&error)),
            None if answer.is_truncated() && !own.explain(answer.rows()) => Err(cut_off(answer.rows())),
            None => Ok(None),
        }
    });
    batches(schema, rows)
}

fn cut_off(rows: u64) -> Status {
    Status::resource_exhausted(format!(
        "the answer was cut off after {rows} rows: the server's limit of rows or bytes was reached\nhint: ask for fewer \
         rows, or set the header `hambar-rows` to take the first ones"
    ))
}

/// Sends batches with these columns.
pub(super) fn batches(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Messages {
    let shape = sent(&schema);
    let wanted = Arc::clone(&shape);
    let pieces = batches
        .map(move |batch| {
            let written = batch.and_then(|batch| plain(&batch, &wanted).map_err(|error| status::not_encoded(&error)));
            match written {
                Ok(batch) => Pieces::of(batch).map(Ok).left_stream(),
                Err(status) => futures::stream::iter([Err(FlightError::from(status))]).right_stream(),
            }
        })
        .flatten();
    // The library's own cutting takes a part of a buffer for the whole of it.
    let encoder = FlightDataEncoderBuilder::new().with_max_flight_data_size(usize::MAX).with_schema(shape);
    encoder.build(pieces).map_err(Status::from).boxed()
}

/// Writes dictionaries out.
fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.num_columns() == 0 {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// The pieces of a batch, each of at most [`ROWS_BYTES_MAX`] or of one row.
struct Pieces {
    open: VecDeque<RecordBatch>,
}

impl Pieces {
    fn of(batch: RecordBatch) -> futures::stream::Iter<Self> {
        futures::stream::iter(Self { open: VecDeque::from([batch]) })
    }
}

impl Iterator for Pieces {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let mut piece = self.open.pop_front()?;
        while bytes(&piece) > ROWS_BYTES_MAX && piece.num_rows() > 1 {
            let half = piece.num_rows() / 2;
            self.open.push_front(piece.slice(half, piece.num_rows() - half));
            piece = piece.slice(0, half);
        }
        Some(piece)
    }
}

/// Bytes of a batch's own rows, whatever else its buffers hold.
fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

/// Returns columns in the form in which answers name them.
pub(super) fn named(schema: &Schema) -> Result<prost::bytes::Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let message: Result<arrow_flight::IpcMessage, ArrowError> =
        arrow_flight::SchemaAsIpc::new(schema, &options).try_into();
    message.map(|message| message.0).map_err(|error| status::not_encoded(&error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Int32Type};
    use arrow_flight::decode::FlightRecordBatchStream;

    use super::*;

    async fn round_trip(sent: Vec<RecordBatch>) -> (Vec<usize>, Vec<RecordBatch>) {
        let schema = sent[0].schema();
        let messages: Vec<FlightData> =
            batches(schema, futures::stream::iter(sent.into_iter().map(Ok))).try_collect().await.unwrap();
        let sizes = messages.iter().map(|message| message.data_body.len() + message.data_header.len()).collect();
        let stream = futures::stream::iter(messages.into_iter().map(Ok));
        (sizes, FlightRecordBatchStream::new_from_flight_data(stream).try_collect().await.unwrap())
    }

    #[tokio::test]
    async fn messages_are_small_and_dictionaries_written_out() {
        let text = "x".repeat(1000);
        let keys: DictionaryArray<Int32Type> = (0..10_000).map(|_| text.as_str()).collect();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("id", Arc::new(Int64Array::from_iter_values(0..10_000))), ("text", Arc::new(keys))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let (sizes, received) = round_trip(vec![batch]).await;
        assert!(sizes.len() > 4 && sizes.iter().all(|size| *size < 3 * 1024 * 1024), "{sizes:?}");
        assert_eq!(received.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
        assert_eq!(received[0].schema().field(1).data_type(), &DataType::Utf8);
    }

    #[tokio::test]
    async fn many_columns_of_one_buffer_are_not_cut_into_rows() {
        let rows = 4_000;
        let columns: Vec<(String, ArrayRef)> = (0..50)
            .map(|number| (format!("c{number}"), Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef))
            .collect();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut written = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        written.write(&batch).unwrap();
        let bytes = arrow::buffer::Buffer::from_vec(written.into_inner().unwrap());
        // As answers come from workers: all columns are parts of one buffer.
        let mut decoder = arrow::ipc::reader::StreamDecoder::new();
        let shared = decoder.decode(&mut bytes.clone()).unwrap().unwrap();
        let (sizes, received) = round_trip(vec![shared]).await;
        assert_eq!((sizes.len(), received.len()), (2, 1));
        assert_eq!(received[0], batch);
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_goes_alone_and_no_row_goes_too() {
        let large = "x".repeat(5 * 1024 * 1024);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", large.as_str(), "b"]));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let (sizes, received) = round_trip(vec![batch.clone()]).await;
        assert!(sizes.iter().filter(|size| **size > ROWS_BYTES_MAX).count() == 1, "{sizes:?}");
        assert_eq!(received.iter().map(RecordBatch::num_rows).collect::<Vec<_>>().iter().sum::<usize>(), 3);
        let (sizes, _) = round_trip(vec![batch.slice(0, 0)]).await;
        assert!(!sizes.is_empty());
    }
}
