//! Rows of a row group that get other values while all others stay where they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, concat_batches, interleave, take};
use arrow::datatypes::{Field, SchemaRef};
use hambar_core::StoreError;

use super::{REVISED, Shared, is_content};
use crate::grouped::Patch;
use crate::partition::batch_bytes;
use crate::source::SourceFile;

/// Bytes of new values that are held for a row group; with more it is written anew as it is walked through.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What changes in a row group.
#[derive(Debug)]
pub(super) struct Patches {
    /// Numbers of the changed rows in the row group, rising.
    pub(super) rows: Vec<u32>,
    fresh: Vec<RecordBatch>,
    bytes: usize,
    /// For each content column whether it changes in any row.
    pub(super) columns: Vec<bool>,
}

impl Patches {
    pub(super) fn new(columns: usize) -> Self {
        Self { rows: Vec::new(), fresh: Vec::new(), bytes: 0, columns: vec![false; columns] }
    }

    /// Adds rows, which come after those that are there.
    pub(super) fn add(&mut self, rows: impl Iterator<Item = u32>, fresh: RecordBatch) {
        self.rows.extend(rows);
        self.bytes += batch_bytes(&fresh, fresh.num_rows());
        self.fresh.push(fresh);
    }

    /// Says whether they are too many to be held.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    /// The new rows as one batch.
    pub(super) fn joined(&self, shared: &Shared<'_>) -> Result<RecordBatch, StoreError> {
        concat_batches(&shared.stored, &self.fresh).map_err(|error| shared.task.wrong(error))
    }

    /// The patches among rows `start..end` of the row group, as positions in the list.
    pub(super) fn within(&self, start: usize, end: usize) -> std::ops::Range<usize> {
        let place = |row: usize| self.rows.partition_point(|patched| (*patched as usize) < row);
        place(start)..place(end)
    }
}

/// Encodes the columns of a row group in which something changes, and returns the old rows.
pub(super) fn encode(
    shared: &Shared<'_>,
    source: &SourceFile,
    group: usize,
    patches: &Patches,
    file_schema: &SchemaRef,
    patch: &mut Patch<'_>,
) -> Result<RecordBatch, StoreError> {
    let fresh = patches.joined(shared)?;
    let mut old: Vec<ArrayRef> = Vec::with_capacity(fresh.num_columns());
    for (place, field) in shared.stored.fields().iter().enumerate() {
        let stays = is_content(field.name()) && !patches.columns.get(place).copied().unwrap_or(true);
        let target = super::place_of(file_schema, field).filter(|_| !stays);
        old.push(match target {
            // Nothing differs in this column, so the new values are the old ones.
            None => Arc::clone(fresh.column(place)),
            Some(target) => column(shared, source, group, patches, fresh.column(place), (target, field), patch)?,
        });
    }
    RecordBatch::try_new(shared.stored.clone(), old).map_err(|error| shared.task.wrong(error))
}

/// Encodes one column; returns its old values in the patched rows.
fn column(
    shared: &Shared<'_>,
    source: &SourceFile,
    group: usize,
    patches: &Patches,
    fresh: &ArrayRef,
    (place, field): (usize, &Arc<Field>),
    patch: &mut Patch<'_>,
) -> Result<ArrayRef, StoreError> {
    let wanted = Arc::new(arrow::datatypes::Schema::new(vec![Arc::clone(field)]));
    let mut old: Vec<ArrayRef> = Vec::new();
    let mut base = 0;
    let pieces = source.read(group, &wanted, None)?.map(|batch| {
        let batch = batch?;
        let values = batch.column(0);
        let start = base;
        base += values.len();
        let changed = patches.within(start, base);
        if changed.is_empty() {
            return Ok(Arc::clone(values));
        }
        let rows: Vec<usize> = patches.rows[changed.clone()].iter().map(|row| *row as usize - start).collect();
        let wrong = |error| shared.task.wrong(error);
        let picked: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
        old.push(take(values, &picked, None).map_err(wrong)?);
        patched(values, &rows, fresh, changed.start).map_err(wrong)
    });
    patch.encode(place, field, pieces)?;
    let pieces: Vec<&dyn Array> = old.iter().map(AsRef::as_ref).collect();
    concat(&pieces).map_err(|error| shared.task.wrong(error))
}

/// `values` with other ones in `rows`: those of `fresh` from place `first` on.
fn patched(
    values: &ArrayRef,
    rows: &[usize],
    fresh: &ArrayRef,
    first: usize,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let mut indices: Vec<(usize, usize)> = (0..values.len()).map(|row| (0, row)).collect();
    for (number, row) in rows.iter().enumerate() {
        indices[*row] = (1, first + number);
    }
    interleave(&[values.as_ref(), fresh.as_ref()], &indices)
}

/// Rows `start..` of the row group, `batch`, with the patches applied, whose new rows are `fresh`; what they supersede
/// goes to the history.
pub(super) fn replay(
    shared: &Shared<'_>,
    patches: &Patches,
    fresh: &RecordBatch,
    (batch, start): (&RecordBatch, usize),
    diff: &mut super::Diff,
) -> Result<RecordBatch, StoreError> {
    let changed = patches.within(start, start + batch.num_rows());
    if changed.is_empty() {
        return Ok(batch.clone());
    }
    let wrong = |error| shared.task.wrong(error);
    let rows: Vec<usize> = patches.rows[changed.clone()].iter().map(|row| *row as usize - start).collect();
    let picked: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
    let old = arrow::compute::take_record_batch(batch, &picked).map_err(wrong)?;
    shared.supersede(&old, &vec![REVISED; rows.len()], diff)?;
    let columns = batch.columns().iter().zip(fresh.columns());
    let columns = columns.map(|(values, fresh)| patched(values, &rows, fresh, changed.start));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    RecordBatch::try_new(batch.schema(), columns).map_err(wrong)
}
