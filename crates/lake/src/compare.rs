//! Compares rows cell by cell, column by column.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::SortOptions;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::take;
use arrow::error::ArrowError;

/// Says for each pair of rows whether any of the first columns differs, as many as `columns` has members; those that
/// do are marked there. NULL equals NULL.
pub(crate) fn rows_differ(
    left: &RecordBatch,
    left_rows: &[u32],
    right: &RecordBatch,
    right_rows: &[u32],
    columns: &mut [bool],
) -> Result<Vec<bool>, ArrowError> {
    let mut differ = vec![false; left_rows.len()];
    for (index, column_differs) in columns.iter_mut().enumerate() {
        let (left, right) = (left.column(index), right.column(index));
        if left.data_type().is_nested() {
            let compare = make_comparator(left.as_ref(), right.as_ref(), SortOptions::default())?;
            for ((differs, l), r) in differ.iter_mut().zip(left_rows).zip(right_rows) {
                let is_other = compare(*l as usize, *r as usize).is_ne();
                *differs |= is_other;
                *column_differs |= is_other;
            }
            continue;
        }
        let found = distinct(&pick(left, left_rows)?, &pick(right, right_rows)?)?;
        if found.true_count() == 0 {
            continue;
        }
        *column_differs = true;
        for row in found.values().set_indices() {
            differ[row] = true;
        }
    }
    Ok(differ)
}

/// Returns the rows of a column; a run of consecutive ones without copying.
fn pick(column: &ArrayRef, rows: &[u32]) -> Result<ArrayRef, ArrowError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(column.slice(0, 0));
    };
    if (last - first) as usize + 1 == rows.len() {
        return Ok(column.slice(*first as usize, rows.len()));
    }
    take(column, &UInt32Array::from(rows.to_vec()), None)
}
