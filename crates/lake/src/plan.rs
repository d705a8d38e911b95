//! Puts a table's sorted files in order and says which of them a run can leave alone.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use hambar_core::StoreError;

use crate::actions::Add;
use crate::bounds::{self, KeyText};
use crate::error::{damaged, rows};
use crate::log::LogState;
use crate::sortkey::SortKey;

/// A file in the order of its rows. Bounds are comparable bytes, as [`SortKey::rows`] makes them.
#[derive(Debug, Clone)]
pub(crate) struct PlannedFile {
    pub(crate) add: Arc<Add>,
    /// The partition's values; a prefix of every row's bytes.
    pub(crate) partition: Vec<u8>,
    first: Vec<u8>,
    /// The last key.
    pub(crate) last: Vec<u8>,
}

/// Returns the files in order, or `None` where some are not sorted by `key` or overlap.
pub(crate) fn in_order(
    label: &str,
    state: &LogState,
    key: &SortKey,
    content: &SchemaRef,
) -> Result<Option<Vec<PlannedFile>>, StoreError> {
    let partition_columns = &state.metadata.partition_columns;
    let own: Vec<String> = key.columns().iter().filter(|column| !partition_columns.contains(column)).cloned().collect();
    let adds: Vec<Arc<Add>> = state.files.values().cloned().collect();
    let (mut first, mut last) = (Vec::with_capacity(adds.len()), Vec::with_capacity(adds.len()));
    for add in &adds {
        let Some((low, high)) = bounds::read(add, &own) else {
            return Ok(None);
        };
        let partition: KeyText =
            partition_columns.iter().map(|column| add.partition_value(column).map(str::to_owned)).collect();
        first.push([partition.clone(), low].concat());
        last.push([partition, high].concat());
    }
    let partitions = partition_rows(label, content, partition_columns, &first)?;
    let columns: Vec<&String> = partition_columns.iter().chain(&own).collect();
    let (Some(first), Some(last)) = (key_rows(key, content, &columns, first)?, key_rows(key, content, &columns, last)?)
    else {
        return Ok(None);
    };
    let mut files: Vec<PlannedFile> = adds
        .into_iter()
        .zip(partitions)
        .zip(first.into_iter().zip(last))
        .map(|((add, partition), (first, last))| PlannedFile { add, partition, first, last })
        .collect();
    files.sort_by(|left, right| left.first.cmp(&right.first).then_with(|| left.last.cmp(&right.last)));
    let overlap = files
        .windows(2)
        .any(|pair| if key.unique { pair[0].last >= pair[1].first } else { pair[0].last > pair[1].first });
    Ok((!overlap).then_some(files))
}

/// Makes comparable rows of the keys of all files; `None` where a text is not of its column's type.
fn key_rows(
    key: &SortKey,
    content: &SchemaRef,
    columns: &[&String],
    texts: Vec<KeyText>,
) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
    let Some(batch) = key_batch(content, columns, texts) else {
        return Ok(None);
    };
    let rows = key.rows(&batch)?;
    Ok(Some(rows.iter().map(|row| row.data().to_vec()).collect()))
}

fn key_batch(content: &SchemaRef, columns: &[&String], texts: Vec<KeyText>) -> Option<RecordBatch> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let field = content.field_with_name(column).ok()?.clone();
        let cells = texts.iter().map(|key| key.get(index).cloned().flatten()).collect();
        arrays.push(bounds::column(cells, field.data_type())?);
        fields.push(field);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).ok()
}

fn partition_rows(
    label: &str,
    content: &SchemaRef,
    columns: &[String],
    keys: &[KeyText],
) -> Result<Vec<Vec<u8>>, StoreError> {
    if columns.is_empty() || keys.is_empty() {
        return Ok(vec![Vec::new(); keys.len()]);
    }
    let names: Vec<&String> = columns.iter().collect();
    let values = keys.iter().map(|key| key[..columns.len()].to_vec()).collect();
    let batch = key_batch(content, &names, values)
        .ok_or_else(|| damaged(label, "a partition value in the log is not of its column's type"))?;
    let fields = batch.columns().iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(batch.columns()));
    let converted = converted.map_err(|error| rows(label, error.to_string()))?;
    Ok(converted.iter().map(|row| row.data().to_vec()).collect())
}
