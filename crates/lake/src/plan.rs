//! Puts a table's sorted files in order and says which of them a run can leave alone.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use hambar_core::StoreError;

use crate::actions::Add;
use crate::bounds::{self, KeyText};
use crate::error::{damaged, rows};
use crate::external::KeyRange;
use crate::log::LogState;
use crate::sortkey::SortKey;
use crate::spill::Run;

/// A file in the order of its rows. Bounds are comparable bytes, as [`SortKey::rows`] makes them.
#[derive(Debug, Clone)]
pub(crate) struct PlannedFile {
    pub(crate) add: Arc<Add>,
    /// The partition's values; a prefix of every row's bytes.
    pub(crate) partition: Vec<u8>,
    /// The first key.
    pub(crate) first: Vec<u8>,
    /// The last key.
    pub(crate) last: Vec<u8>,
    /// The first key of each row group; empty where they are not known.
    pub(crate) groups: Vec<Vec<u8>>,
    /// Whether the next file belongs to another partition, or there is none.
    pub(crate) ends_partition: bool,
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
    let mut groups: Vec<KeyText> = Vec::new();
    let mut group_counts = Vec::with_capacity(adds.len());
    for add in &adds {
        let Some((low, high)) = bounds::read(add, &own) else {
            return Ok(None);
        };
        let partition: KeyText =
            partition_columns.iter().map(|column| add.partition_value(column).map(str::to_owned)).collect();
        let keys = bounds::read_groups(add, &own);
        group_counts.push(keys.len());
        groups.extend(keys.into_iter().map(|key| [partition.clone(), key].concat()));
        first.push([partition.clone(), low].concat());
        last.push([partition, high].concat());
    }
    let partitions = partition_rows(label, content, partition_columns, &first)?;
    let columns: Vec<&String> = partition_columns.iter().chain(&own).collect();
    let (Some(first), Some(last)) = (key_rows(key, content, &columns, first)?, key_rows(key, content, &columns, last)?)
    else {
        return Ok(None);
    };
    let mut groups = key_rows(key, content, &columns, groups)?.unwrap_or_default().into_iter();
    let mut files: Vec<PlannedFile> = Vec::with_capacity(adds.len());
    let facts = adds.into_iter().zip(partitions).zip(first.into_iter().zip(last)).zip(group_counts);
    for (((add, partition), (first, last)), count) in facts {
        let groups = groups.by_ref().take(count).collect();
        files.push(PlannedFile { add, partition, first, last, groups, ends_partition: true });
    }
    files.sort_by(|left, right| left.first.cmp(&right.first).then_with(|| left.last.cmp(&right.last)));
    let overlap = files
        .windows(2)
        .any(|pair| if key.unique { pair[0].last >= pair[1].first } else { pair[0].last > pair[1].first });
    for number in 1..files.len() {
        files[number - 1].ends_partition = files[number - 1].partition != files[number].partition;
    }
    Ok((!overlap).then_some(files))
}

/// Consecutive files that can be merged without looking at the others, and the keys that belong to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) files: Range<usize>,
    pub(crate) keys: KeyRange,
}

/// Cuts `files` into at most `count` sections of about the same number of rows. Rows of one key stay together.
pub(crate) fn sections(files: &[PlannedFile], count: usize) -> Vec<Section> {
    let rows = |file: &PlannedFile| file.add.rows().unwrap_or(1).max(1);
    let total: u64 = files.iter().map(rows).sum();
    let share = (total / count.max(1) as u64).max(1);
    let mut sections = vec![Section { files: 0..files.len(), keys: KeyRange::default() }];
    let mut taken = 0;
    for number in 1..files.len() {
        let (before, file) = (&files[number - 1], &files[number]);
        taken += rows(before);
        let start = if before.ends_partition {
            file.partition.clone()
        } else {
            // The lowest bytes above the last key.
            [before.last.as_slice(), &[0]].concat()
        };
        if taken < share || before.last >= file.first || sections.len() >= count {
            continue;
        }
        if let Some(last) = sections.last_mut() {
            last.files.end = number;
            last.keys.until = Some(start.clone());
        }
        sections.push(Section { files: number..files.len(), keys: KeyRange { from: start, until: None } });
        taken = 0;
    }
    sections
}

/// Cuts the rows of a run for an empty table into sections of at least `rows` rows.
pub(crate) fn sections_of_runs(runs: &[Run], rows: usize) -> Vec<Section> {
    let mut batches: Vec<&(Vec<u8>, usize)> = runs.iter().flat_map(Run::index).collect();
    batches.sort();
    let mut sections = vec![Section { files: 0..0, keys: KeyRange::default() }];
    let (mut taken, mut before): (usize, &[u8]) = (0, &[]);
    for (first, count) in batches {
        if taken >= rows && first.as_slice() > before {
            if let Some(last) = sections.last_mut() {
                last.keys.until = Some(first.clone());
            }
            sections.push(Section { files: 0..0, keys: KeyRange { from: first.clone(), until: None } });
            taken = 0;
        }
        taken += count;
        before = first;
    }
    sections
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
