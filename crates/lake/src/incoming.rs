//! The rows of a run, sorted, with repeated rows folded and contradicting ones refused.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use hambar_core::StoreError;

use crate::compare::rows_differ;
use crate::error::rows;
use crate::external::{KeyRange, MergedRuns, SortedBatch};
use crate::sortkey::SortKey;
use crate::spill::Run;

/// A place in the sorted rows of a run.
pub(crate) struct Incoming {
    label: String,
    key: SortKey,
    /// Number of leading columns that are content; the one after them is the number of the source.
    content: usize,
    merged: MergedRuns,
    current: Option<SortedBatch>,
    position: usize,
    /// The last row of the batch before, to find keys that repeat across batches.
    last: Option<RecordBatch>,
}

impl Incoming {
    /// Opens the part `range` of the sorted runs.
    pub(crate) fn open(
        label: &str,
        key: &SortKey,
        content: usize,
        runs: &[Run],
        range: &KeyRange,
    ) -> Result<Self, StoreError> {
        let merged = MergedRuns::open(label, key, runs, range)?;
        let mut incoming =
            Self { label: label.to_owned(), key: key.clone(), content, merged, current: None, position: 0, last: None };
        incoming.load()?;
        Ok(incoming)
    }

    /// The batch at the current place and the place in it; `None` at the end.
    pub(crate) fn head(&self) -> Option<(&SortedBatch, usize)> {
        self.current.as_ref().map(|current| (current, self.position))
    }

    /// Moves on by `count` rows of the current batch.
    pub(crate) fn advance(&mut self, count: usize) -> Result<(), StoreError> {
        self.position += count;
        if self.current.as_ref().is_some_and(|current| self.position >= current.batch.num_rows()) {
            self.load()?;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), StoreError> {
        self.position = 0;
        self.current = None;
        while let Some(next) = self.merged.next()? {
            let next = if self.key.unique { self.fold(next)? } else { next };
            if next.batch.num_rows() > 0 {
                self.current = Some(next);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Drops rows that repeat the row before them; the same key with other content is an error.
    fn fold(&mut self, next: SortedBatch) -> Result<SortedBatch, StoreError> {
        let SortedBatch { batch, rows: keys } = next;
        let count = batch.num_rows();
        let mut repeated: Vec<usize> = (1..count).filter(|row| keys.row(*row) == keys.row(row - 1)).collect();
        let first_repeats = match &self.last {
            Some(last) => self.key.rows(last)?.row(0) == keys.row(0),
            None => false,
        };
        for row in &repeated {
            self.refuse_contradiction(&batch.slice(row - 1, 1), &batch.slice(*row, 1))?;
        }
        if let Some(last) = self.last.as_ref().filter(|_| first_repeats) {
            self.refuse_contradiction(last, &batch.slice(0, 1))?;
            repeated.push(0);
        }
        self.last = Some(batch.slice(count - 1, 1));
        if repeated.is_empty() {
            return Ok(SortedBatch { batch, rows: keys });
        }
        let mut kept = vec![true; count];
        for row in repeated {
            kept[row] = false;
        }
        let batch = filter_record_batch(&batch, &BooleanArray::from(kept))
            .map_err(|error| rows(&self.label, error.to_string()))?;
        let keys = self.key.rows(&batch)?;
        Ok(SortedBatch { batch, rows: keys })
    }

    fn refuse_contradiction(&self, first: &RecordBatch, second: &RecordBatch) -> Result<(), StoreError> {
        let differ = rows_differ(first, &[0], second, &[0], &mut vec![false; self.content])
            .map_err(|error| rows(&self.label, error.to_string()))?;
        if differ.first() == Some(&true) {
            let shown = self.key.show(first, 0);
            return Err(rows(&self.label, format!("two rows of one run have the key {shown}, but differ otherwise")));
        }
        Ok(())
    }
}
