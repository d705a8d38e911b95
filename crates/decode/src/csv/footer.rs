//! Holds the last batches back, so that a footer of known length can be cut off when the end is met.

use std::collections::VecDeque;

use crate::csv::FOOTER_BYTES_MAX;
use crate::error::DecodeError;
use crate::record::SourceBatch;

/// Batches that may still lose their last records.
#[derive(Debug)]
pub(crate) struct Footer {
    lines: u64,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    batch: SourceBatch,
    records: u64,
    bytes: usize,
}

impl Footer {
    /// Cuts so many records off.
    pub(crate) fn new(lines: usize) -> Self {
        Self { lines: lines as u64, held: VecDeque::new() }
    }

    /// Takes a batch in.
    pub(crate) fn push(&mut self, batch: SourceBatch, file: &str) -> Result<(), DecodeError> {
        let records = batch.batch.num_rows() as u64 + batch.faults.len() as u64;
        let bytes = if self.lines == 0 { 0 } else { batch.batch.get_array_memory_size() };
        self.held.push_back(Held { batch, records, bytes });
        // The batch in front leaves once enough records follow it, so only those behind it can pile up.
        if self.held.iter().skip(1).map(|held| held.bytes).sum::<usize>() > FOOTER_BYTES_MAX {
            return Err(DecodeError::Limit {
                file: file.to_owned(),
                limit: "footer_bytes_max",
                value: FOOTER_BYTES_MAX as u64,
                unit: "bytes",
                place: format!("the last {} records", self.lines),
            });
        }
        Ok(())
    }

    /// Returns a batch that is certainly no footer.
    pub(crate) fn pop(&mut self) -> Option<SourceBatch> {
        let behind: u64 = self.held.iter().skip(1).map(|held| held.records).sum();
        if behind < self.lines {
            return None;
        }
        self.held.pop_front().map(|held| held.batch)
    }

    /// Cuts the footer off at the end of the input; the batches left are then returned by [`Footer::pop_last`].
    pub(crate) fn cut(&mut self) {
        while self.lines > 0 {
            let Some(last) = self.held.back_mut() else {
                return;
            };
            if last.records <= self.lines {
                self.lines -= last.records;
                self.held.pop_back();
                continue;
            }
            let kept = last.records - self.lines;
            truncate(&mut last.batch, kept);
            self.lines = 0;
        }
    }

    /// Returns the next batch after [`Footer::cut`].
    pub(crate) fn pop_last(&mut self) -> Option<SourceBatch> {
        self.held.pop_front().map(|held| held.batch)
    }
}

/// Keeps the first `records` records, rows and faults together.
fn truncate(batch: &mut SourceBatch, records: u64) {
    let end = batch.first_record_of_all() + records;
    batch.faults.retain(|fault| fault.record < end);
    let rows = (records as usize).saturating_sub(batch.faults.len());
    batch.batch = batch.batch.slice(0, rows.min(batch.batch.num_rows()));
    if let Some(numbers) = &mut batch.records {
        numbers.truncate(rows);
    }
}

impl SourceBatch {
    /// Number of the batch's first record, be it a row or a fault.
    fn first_record_of_all(&self) -> u64 {
        let row = (self.batch.num_rows() > 0).then(|| match &self.records {
            Some(numbers) => numbers.first().copied().unwrap_or(self.first_record),
            None => self.first_record,
        });
        let fault = self.faults.first().map(|fault| fault.record);
        match (row, fault) {
            (Some(row), Some(fault)) => row.min(fault),
            (Some(first), None) | (None, Some(first)) => first,
            (None, None) => self.first_record,
        }
    }
}
