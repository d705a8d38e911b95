//! Merges sorted runs into one sorted stream of batches.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::Rows;
use hambar_core::StoreError;

use crate::error::rows;
use crate::sortkey::SortKey;
use crate::spill::{Run, RunReader};

/// Rows of a merged batch.
const MERGED_ROWS: usize = 16 * 1024;

/// Sorted rows with their comparable form.
#[derive(Debug)]
pub(crate) struct SortedBatch {
    pub(crate) batch: RecordBatch,
    pub(crate) rows: Rows,
}

/// The merged stream.
pub(crate) struct MergedRuns {
    key: SortKey,
    label: String,
    cursors: Vec<Cursor>,
    range: KeyRange,
}

/// Part of the keys: from `from` on, and below `until` where there is an end. Bytes as [`SortKey::rows`] makes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) from: Vec<u8>,
    pub(crate) until: Option<Vec<u8>>,
}

impl KeyRange {
    /// Keeps those rows of a sorted batch that are in the range.
    fn cut(&self, sorted: SortedBatch, key: &SortKey) -> Result<SortedBatch, StoreError> {
        let SortedBatch { batch, rows } = sorted;
        let end = self.until.as_ref().map_or(rows.num_rows(), |until| first_from(&rows, 0, until));
        let start = first_from(&rows, 0, &self.from).min(end);
        if end - start == rows.num_rows() {
            return Ok(SortedBatch { batch, rows });
        }
        let batch = batch.slice(start, end - start);
        let rows = key.rows(&batch)?;
        Ok(SortedBatch { batch, rows })
    }
}

/// The first row from `start` on whose bytes are not below `bytes`.
pub(crate) fn first_from(rows: &Rows, start: usize, bytes: &[u8]) -> usize {
    let (mut low, mut high) = (start, rows.num_rows());
    while low < high {
        let middle = low + (high - low) / 2;
        if rows.row(middle).data() < bytes { low = middle + 1 } else { high = middle }
    }
    low
}

struct Cursor {
    reader: RunReader,
    current: SortedBatch,
    position: usize,
}

impl Cursor {
    fn head(&self) -> arrow::row::Row<'_> {
        self.current.rows.row(self.position)
    }

    fn left(&self) -> usize {
        self.current.batch.num_rows() - self.position
    }
}

impl MergedRuns {
    /// Opens the part `range` of `runs`, which are sorted by `key`.
    pub(crate) fn open(label: &str, key: &SortKey, runs: &[Run], range: &KeyRange) -> Result<Self, StoreError> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            let mut reader = run.open(&range.from)?;
            if let Some(current) = next_batch(key, &mut reader, range)? {
                cursors.push(Cursor { reader, current, position: 0 });
            }
        }
        Ok(Self { key: key.clone(), label: label.to_owned(), cursors, range: range.clone() })
    }

    /// Returns the next rows in order.
    pub(crate) fn next(&mut self) -> Result<Option<SortedBatch>, StoreError> {
        let mut pieces: Vec<RecordBatch> = Vec::new();
        let mut total = 0;
        while total < MERGED_ROWS {
            let Some((lowest, count)) = self.next_piece() else {
                break;
            };
            let cursor = &mut self.cursors[lowest];
            let start = cursor.position;
            let is_whole = start == 0 && count == cursor.current.batch.num_rows();
            cursor.position += count;
            if is_whole && pieces.is_empty() {
                return self.replace(lowest).map(Some);
            }
            pieces.push(cursor.current.batch.slice(start, count));
            total += count;
            if cursor.left() == 0 {
                self.replace_exhausted(lowest)?;
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let batch = self.join(&pieces)?;
        let rows = self.key.rows(&batch)?;
        Ok(Some(SortedBatch { batch, rows }))
    }

    /// Finds the run with the lowest head, and how many of its rows come before every other run's head.
    fn next_piece(&self) -> Option<(usize, usize)> {
        let lowest = (0..self.cursors.len())
            .min_by(|left, right| self.cursors[*left].head().cmp(&self.cursors[*right].head()))?;
        let cursor = &self.cursors[lowest];
        let rival =
            (0..self.cursors.len()).filter(|other| *other != lowest).map(|other| self.cursors[other].head()).min();
        let Some(rival) = rival else {
            return Some((lowest, cursor.left()));
        };
        let rows = &cursor.current.rows;
        let end = cursor.current.batch.num_rows();
        if rows.row(end - 1) <= rival {
            return Some((lowest, cursor.left()));
        }
        let (mut low, mut high) = (cursor.position + 1, end - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if rows.row(middle) <= rival { low = middle + 1 } else { high = middle }
        }
        Some((lowest, low - cursor.position))
    }

    /// Takes the whole batch out of a cursor and loads its next one.
    fn replace(&mut self, index: usize) -> Result<SortedBatch, StoreError> {
        let cursor = &mut self.cursors[index];
        match next_batch(&self.key, &mut cursor.reader, &self.range)? {
            Some(next) => {
                cursor.position = 0;
                Ok(std::mem::replace(&mut cursor.current, next))
            }
            None => Ok(self.cursors.swap_remove(index).current),
        }
    }

    fn replace_exhausted(&mut self, index: usize) -> Result<(), StoreError> {
        self.replace(index).map(drop)
    }

    fn join(&self, pieces: &[RecordBatch]) -> Result<RecordBatch, StoreError> {
        let sources: Vec<&RecordBatch> = pieces.iter().collect();
        if let [only] = sources[..] {
            return Ok(only.clone());
        }
        let indices: Vec<(usize, usize)> = pieces
            .iter()
            .enumerate()
            .flat_map(|(number, piece)| (0..piece.num_rows()).map(move |row| (number, row)))
            .collect();
        interleave_record_batch(&sources, &indices).map_err(|error| rows(&self.label, error.to_string()))
    }
}

/// Reads the next batch that has rows in the range; `None` where the range or the run ends.
fn next_batch(key: &SortKey, reader: &mut RunReader, range: &KeyRange) -> Result<Option<SortedBatch>, StoreError> {
    for batch in reader {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let rows = key.rows(&batch)?;
        if range.until.as_ref().is_some_and(|until| rows.row(0).data() >= until.as_slice()) {
            return Ok(None);
        }
        let cut = range.cut(SortedBatch { batch, rows }, key)?;
        if cut.batch.num_rows() > 0 {
            return Ok(Some(cut));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use hambar_core::WriteMode;
    use hambar_core::conformance::spec;

    use super::*;
    use crate::spill::Sorter;

    fn numbers(values: Vec<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("year", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
    }

    fn check(batches: Vec<Vec<i64>>, run_bytes: usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut expected: Vec<i64> = batches.concat();
        expected.sort_unstable();
        let schema = numbers(Vec::new()).schema();
        let key = SortKey::of(&spec("t", WriteMode::Upsert, &["year"], &[]), &schema).unwrap();
        let mut sorter = Sorter::new("t", key.clone(), folder.path()).with_run_bytes(run_bytes);
        for batch in batches {
            sorter.push_blocking(numbers(batch)).unwrap();
        }
        let runs = sorter.finish_blocking().unwrap();
        for parts in [vec![], vec![0], vec![2_500, 2_501, 39_000]] {
            let mut found = Vec::new();
            let bounds: Vec<Vec<u8>> =
                parts.iter().map(|part| key.rows(&numbers(vec![*part])).unwrap().row(0).data().to_vec()).collect();
            let starts = std::iter::once(Vec::new()).chain(bounds.iter().cloned());
            let ends = bounds.iter().cloned().map(Some).chain([None]);
            for (from, until) in starts.zip(ends) {
                let mut merged = MergedRuns::open("t", &key, &runs, &KeyRange { from, until }).unwrap();
                while let Some(next) = merged.next().unwrap() {
                    assert_eq!(next.batch.num_rows(), next.rows.num_rows());
                    found.extend_from_slice(next.batch.column(0).as_primitive::<Int64Type>().values());
                }
            }
            assert_eq!(found, expected, "{parts:?}");
        }
    }

    #[test]
    fn runs_of_any_order_become_one() {
        let scattered: Vec<Vec<i64>> =
            (0..40).map(|batch| (0..1000).map(|row| (batch * 7919 + row * 104_729) % 5_003).collect()).collect();
        let ordered: Vec<Vec<i64>> = (0..40).map(|batch| (0..1000).map(|row| batch * 1000 + row).collect()).collect();
        for batches in [scattered, ordered, vec![], vec![vec![]], vec![vec![3, 1, 2]]] {
            for run_bytes in [1, 20_000, usize::MAX] {
                check(batches.clone(), run_bytes);
            }
        }
    }
}
