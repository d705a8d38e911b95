//! The values of a prepared statement's parameters: one row, sent as Arrow. What a stranger sends is read with care: few
//! bytes, plain types, nothing compressed, on a thread of its own whose panic is an answer like any other.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_arrow_batch;
use hambar_query::{PARAMETERS_MAX, Parameters};
use tonic::{Status, Streaming};

/// Bytes of the values of one statement.
const VALUES_BYTES_MAX: usize = 1024 * 1024;
/// Messages of one row of values: its columns, the row, and what clients send around them.
const MESSAGES_MAX: usize = 16;

/// Reads the values that follow a command. `first` is its message, which may hold the columns.
pub(super) async fn values(first: FlightData, rest: &mut Streaming<FlightData>) -> Result<Parameters, Status> {
    let mut bytes = first.data_header.len() + first.data_body.len();
    let mut messages = vec![first];
    while let Some(message) = rest.message().await? {
        bytes += message.data_header.len() + message.data_body.len();
        if bytes > VALUES_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "the values of the parameters have more than {VALUES_BYTES_MAX} bytes"
            )));
        }
        messages.push(message);
        if messages.len() > MESSAGES_MAX {
            return Err(Status::invalid_argument(ONE_ROW));
        }
    }
    let read = tokio::task::spawn_blocking(move || read(&messages)).await;
    let read = read.unwrap_or_else(|_| Err("they are no Arrow data".to_owned()));
    read.map_err(|what| Status::invalid_argument(format!("the values of the parameters cannot be read: {what}")))
}

/// What is said where there are several rows.
const ONE_ROW: &str = "the values of the parameters come as one row; run the statement once for each row";

fn read(messages: &[FlightData]) -> Result<Parameters, String> {
    let mut filled = messages.iter().filter(|message| !message.data_header.is_empty());
    let Some(columns) = filled.next() else { return Ok(Parameters::none()) };
    let schema = Arc::new(schema(columns)?);
    let mut found = None;
    for message in filled {
        let header = root_as_message(&message.data_header).map_err(|error| error.to_string())?;
        let Some(rows) = header.header_as_record_batch() else {
            return Err("there is something else than rows in them".to_owned());
        };
        if rows.compression().is_some() {
            return Err("they are compressed".to_owned());
        }
        match (rows.length(), found.is_some()) {
            (0, _) => {}
            (1, false) => {
                let row = flight_data_to_arrow_batch(message, Arc::clone(&schema), &HashMap::new());
                found = Some(row.map_err(|error| error.to_string())?);
            }
            _ => return Err(ONE_ROW.to_owned()),
        }
    }
    let Some(row) = found else { return Ok(Parameters::none()) };
    // Written anew, so that nothing else of what was sent is kept.
    let sent = Parameters::from_row(row).map_err(|error| error.to_string())?;
    let own = sent.to_ipc().and_then(|bytes| Parameters::from_ipc(&bytes));
    own.map_err(|error| error.to_string())
}

fn schema(columns: &FlightData) -> Result<Schema, String> {
    let schema = Schema::try_from(columns).map_err(|error| error.to_string())?;
    if schema.fields().len() > PARAMETERS_MAX {
        return Err(format!("there are {} of them, at most {PARAMETERS_MAX} are taken", schema.fields().len()));
    }
    match schema.fields().iter().position(|field| !is_plain(field.data_type())) {
        None => Ok(schema),
        Some(place) => {
            let kind: String = schema.field(place).data_type().to_string().chars().take(100).collect();
            Err(format!(
                "parameter ${} has the type {kind}; numbers, texts, bytes, dates and times are taken",
                place + 1
            ))
        }
    }
}

fn is_plain(kind: &DataType) -> bool {
    use DataType::*;
    match kind {
        Null | Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Float32
        | Float64 | Timestamp(..) | Date32 | Date64 | Time32(_) | Time64(_) | Duration(_) | Interval(_) | Binary
        | FixedSizeBinary(_) | LargeBinary | BinaryView | Utf8 | LargeUtf8 | Utf8View | Decimal32(..)
        | Decimal64(..) | Decimal128(..) | Decimal256(..) => true,
        List(_) | ListView(_) | FixedSizeList(..) | LargeList(_) | LargeListView(_) | Struct(_) | Union(..)
        | Dictionary(..) | Map(..) | RunEndEncoded(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::IpcWriteOptions;
    use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
    use futures::TryStreamExt;

    use super::*;

    async fn messages(columns: Vec<ArrayRef>, options: IpcWriteOptions) -> Vec<FlightData> {
        let named = columns.into_iter().enumerate().map(|(place, column)| (format!("p{place}"), column));
        let batch = RecordBatch::try_from_iter(named).unwrap();
        let encoder =
            FlightDataEncoderBuilder::new().with_options(options).with_dictionary_handling(DictionaryHandling::Resend);
        encoder.build(futures::stream::iter([Ok(batch)])).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn one_plain_row_is_taken_and_nothing_else() {
        let plain = IpcWriteOptions::default;
        let row = || -> Vec<ArrayRef> {
            vec![
                Arc::new(Int64Array::from(vec![Some(7)])),
                Arc::new(StringArray::from(vec![None::<&str>])),
                Arc::new(StringViewArray::from(vec!["a text that is longer than a view holds"])),
            ]
        };
        let sent = messages(row(), plain()).await;
        assert_eq!(read(&sent).unwrap().values(), Parameters::new(row()).unwrap().values());
        assert_eq!(read(&sent[..1]).unwrap(), Parameters::none());
        assert_eq!(read(&[FlightData::default()]).unwrap(), Parameters::none());
        let twice: Vec<FlightData> = sent.iter().chain(&sent[1..]).cloned().collect();
        assert_eq!(read(&twice).unwrap_err(), ONE_ROW);
        let two = messages(vec![Arc::new(Int64Array::from(vec![1, 2]))], plain()).await;
        assert_eq!(read(&two).unwrap_err(), ONE_ROW);
        let keys: DictionaryArray<Int32Type> = ["a"].into_iter().collect();
        let coded = messages(vec![Arc::new(keys)], plain()).await;
        assert!(read(&coded).unwrap_err().contains("parameter $1 has the type Dictionary"));
        let long: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["x".repeat(10_000)]))];
        let squeezed = plain().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
        assert_eq!(read(&messages(long, squeezed).await).unwrap_err(), "they are compressed");
    }

    #[tokio::test]
    async fn damaged_values_are_refused_and_nothing_else_happens() {
        let row: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![Some(7)])), Arc::new(StringArray::from(vec!["abc"]))];
        let sent = messages(row, IpcWriteOptions::default()).await;
        let mut outcomes = [0; 3];
        for message in 0..sent.len() {
            for place in 0..sent[message].data_header.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut damaged = sent.clone();
                    let mut header = damaged[message].data_header.to_vec();
                    header[place] ^= flip;
                    damaged[message].data_header = header.into();
                    let read = tokio::task::spawn_blocking(move || read(&damaged)).await;
                    outcomes[match read {
                        Ok(Ok(_)) => 0,
                        Ok(Err(_)) => 1,
                        Err(_) => 2,
                    }] += 1;
                }
            }
        }
        assert!(outcomes[0] > 0 && outcomes[1] > 100, "{outcomes:?}");
    }
}
