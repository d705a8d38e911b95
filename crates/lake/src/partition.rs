//! Splits rows by the values of the partition columns, and writes those values as Delta does.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::layout;

/// Values of the partition columns as text, in the order of the columns; `None` is NULL.
pub(crate) type PartitionValues = Vec<Option<String>>;

/// The partition columns of a table.
#[derive(Debug, Clone)]
pub(crate) struct Partitioning {
    columns: Vec<String>,
}

/// Why rows cannot be split.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartitionError {
    #[error("partition column `{column}` holds the text `{text}`, which readers cannot tell from NULL")]
    LikeNull { column: String, text: String },
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl Partitioning {
    pub(crate) fn new(columns: &[String]) -> Self {
        Self { columns: columns.to_vec() }
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The schema of data files: without the partition columns.
    pub(crate) fn file_schema(&self, schema: &Schema) -> SchemaRef {
        let kept: Vec<_> =
            schema.fields().iter().filter(|field| !self.columns.contains(field.name())).cloned().collect();
        Arc::new(Schema::new(kept))
    }

    /// Splits `batch` into the rows of each partition, without the partition columns.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<(PartitionValues, RecordBatch)>, PartitionError> {
        let bare = self.without_partition_columns(batch)?;
        if self.columns.is_empty() {
            return Ok(vec![(Vec::new(), bare)]);
        }
        let mut groups = vec![0_u32; batch.num_rows()];
        let mut values: Vec<PartitionValues> = vec![Vec::new()];
        for column in &self.columns {
            let cells = Cells::of(column, batch)?;
            values = refine(&mut groups, values, &cells);
            for text in values.iter().filter_map(|value| value.last()) {
                refuse_like_null(column, text.as_deref())?;
            }
        }
        if values.len() == 1 {
            return Ok(values.into_iter().map(|value| (value, bare.clone())).collect());
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); values.len()];
        for (row, group) in (0_u32..).zip(&groups) {
            rows[*group as usize].push(row);
        }
        let parts = values.into_iter().zip(rows).map(|(value, rows)| {
            // A copy: a slice would keep the whole batch alive for as long as its slowest partition.
            Ok((value, take_record_batch(&bare, &UInt32Array::from(rows))?))
        });
        parts.collect()
    }

    /// The partition that all rows of `batch` belong to.
    pub(crate) fn values_at(&self, batch: &RecordBatch, row: usize) -> Result<PartitionValues, PartitionError> {
        let one = batch.slice(row, 1);
        let mut values = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let text = texts(column, &one)?;
            let text = text.as_string::<i32>();
            let value = text.is_valid(0).then(|| text.value(0).to_owned());
            refuse_like_null(column, value.as_deref())?;
            values.push(value);
        }
        Ok(values)
    }

    fn without_partition_columns(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let kept: Vec<usize> = (0..batch.num_columns())
            .filter(|index| !self.columns.contains(batch.schema_ref().field(*index).name()))
            .collect();
        batch.project(&kept)
    }
}

/// Delta writes NULL as an empty text, and folders say it with a word of their own.
fn refuse_like_null(column: &str, text: Option<&str>) -> Result<(), PartitionError> {
    match text {
        Some(text) if text.is_empty() || text == layout::NULL => {
            Err(PartitionError::LikeNull { column: column.to_owned(), text: text.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Says whether a column of this type can split a table.
pub(crate) fn can_partition(data_type: &DataType) -> bool {
    !data_type.is_nested() && !matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Makes a column of `rows` times the value that the log gives as text.
pub(crate) fn constant(text: Option<&str>, field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    let Some(text) = text else {
        return Ok(new_null_array(field.data_type(), rows));
    };
    let single = cast(&StringArray::from(vec![text]), field.data_type())?;
    if single.is_null(0) {
        return Err(ArrowError::CastError(format!("partition value `{text}` is not a {}", field.data_type())));
    }
    arrow::compute::take(&single, &UInt32Array::from(vec![0; rows]), None)
}

fn texts(column: &str, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let index = batch.schema_ref().index_of(column)?;
    let values = batch.column(index);
    if values.data_type() == &DataType::Utf8 { Ok(values.clone()) } else { cast(values, &DataType::Utf8) }
}

/// A partition column as text: the texts that occur, and which of them each row has.
struct Cells {
    texts: ArrayRef,
    /// The place of a row's text, if that is not the row's own number.
    keys: Option<ArrayRef>,
}

impl Cells {
    /// Dictionaries are kept: there are far fewer texts than rows.
    fn of(column: &str, batch: &RecordBatch) -> Result<Self, ArrowError> {
        let values = batch.column(batch.schema_ref().index_of(column)?);
        let Some(encoded) = values.as_dictionary_opt::<Int32Type>() else {
            return Ok(Self { texts: texts(column, batch)?, keys: None });
        };
        let keys: ArrayRef = Arc::new(encoded.keys().clone());
        Ok(Self { texts: cast(encoded.values(), &DataType::Utf8)?, keys: Some(keys) })
    }

    /// The place of each row's text; `None` for NULL.
    fn places(&self) -> Vec<Option<u32>> {
        let place = |row: usize| u32::try_from(row).ok().filter(|_| self.texts.is_valid(row));
        match self.keys.as_ref().map(|keys| keys.as_primitive::<Int32Type>()) {
            None => (0..self.texts.len()).map(place).collect(),
            Some(keys) => keys.iter().map(|key| key.and_then(|key| place(key as usize))).collect(),
        }
    }
}

/// Splits each group by the texts of `cells`; rows keep the number of their group in `groups`.
fn refine(groups: &mut [u32], values: Vec<PartitionValues>, cells: &Cells) -> Vec<PartitionValues> {
    let texts = cells.texts.as_string::<i32>();
    let mut refined: Vec<PartitionValues> = Vec::new();
    let mut known: HashMap<(u32, Option<&str>), u32> = HashMap::new();
    let mut last: Option<((u32, Option<u32>), u32)> = None;
    for (group, place) in groups.iter_mut().zip(cells.places()) {
        let cell = (*group, place);
        let number = match last {
            Some((last_cell, number)) if last_cell == cell => number,
            _ => {
                let text = place.map(|place| texts.value(place as usize));
                *known.entry((*group, text)).or_insert_with(|| {
                    let mut value = values[*group as usize].clone();
                    value.push(text.map(str::to_owned));
                    refined.push(value);
                    u32::try_from(refined.len() - 1).unwrap_or(u32::MAX)
                })
            }
        };
        last = Some((cell, number));
        *group = number;
    }
    refined
}

/// Estimates the memory of a batch whose dictionaries are shared with `siblings` rows in all.
pub(crate) fn batch_bytes(batch: &RecordBatch, siblings: usize) -> usize {
    let rows = batch.num_rows();
    let share = |bytes: usize| bytes * rows / siblings.max(1);
    batch
        .columns()
        .iter()
        .map(|column| match column.as_any_dictionary_opt() {
            // Not the size of the buffers: after transport, all columns of a batch lie in one.
            Some(dictionary) => rows * 4 + share(dictionary.values().to_data().get_slice_memory_size().unwrap_or(0)),
            None => column.to_data().get_slice_memory_size().unwrap_or(0),
        })
        .sum()
}

/// A column of one text for all rows, as a dictionary.
pub(crate) fn repeated_text(text: &str, rows: usize) -> ArrayRef {
    let keys = arrow::array::Int32Array::from(vec![0; rows]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![text]));
    Arc::new(arrow::array::DictionaryArray::<Int32Type>::new(keys, values))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("geo", Arc::new(StringArray::from(vec![Some("BG"), Some("RO"), None, Some("BG")])) as ArrayRef),
            ("year", Arc::new(Int64Array::from(vec![2020, 2020, 2021, 2021])) as ArrayRef),
            ("value", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn rows_are_split_by_every_partition_column() {
        let columns = ["geo".to_owned(), "year".to_owned()];
        let parts = Partitioning::new(&columns).split(&batch()).unwrap();
        let shown: Vec<String> = parts
            .iter()
            .map(|(values, rows)| {
                format!(
                    "{values:?} {:?}",
                    rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"[Some("BG"), Some("2020")] [1]"#,
                r#"[Some("RO"), Some("2020")] [2]"#,
                r#"[None, Some("2021")] [3]"#,
                r#"[Some("BG"), Some("2021")] [4]"#,
            ]
        );
    }

    #[test]
    fn texts_that_look_like_null_are_refused() {
        for text in ["", layout::NULL] {
            let like =
                RecordBatch::try_from_iter([("geo", Arc::new(StringArray::from(vec![text])) as ArrayRef)]).unwrap();
            let refused = Partitioning::new(&["geo".to_owned()]).split(&like);
            assert!(matches!(refused, Err(PartitionError::LikeNull { .. })));
        }
    }
}
