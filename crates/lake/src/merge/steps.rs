//! Walks through two sorted batches side by side and says which rows are on one side only, and which on both.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::row::Rows;

/// Consecutive rows of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Rows of the table that the run does not have.
    Absent { start: usize, len: usize },
    /// Rows of the run that the table does not have.
    New { start: usize, len: usize },
    /// Rows of both, pair by pair.
    Both { current: usize, incoming: usize, len: usize },
}

/// Part of a batch of the table and part of a batch of the run, up to where one of them ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) spans: Vec<Span>,
    /// The row of the table's batch at which it ends.
    pub(crate) current_end: usize,
    /// Rows of the run's batch that it covers.
    pub(crate) incoming_count: usize,
}

impl Segment {
    /// Walks from row `start` of `current` and row `first` of `incoming`.
    pub(crate) fn walk(current: &Rows, start: usize, incoming: &Rows, first: usize) -> Self {
        let (current_end, incoming_end) = (current.num_rows(), incoming.num_rows());
        let (mut left, mut right) = (start, first);
        let mut spans = Vec::new();
        while left < current_end && right < incoming_end {
            match current.row(left).cmp(&incoming.row(right)) {
                Ordering::Less => {
                    let end = leap(current, left, |row| row < incoming.row(right));
                    spans.push(Span::Absent { start: left, len: end - left });
                    left = end;
                }
                Ordering::Greater => {
                    let end = leap(incoming, right, |row| row < current.row(left));
                    spans.push(Span::New { start: right, len: end - right });
                    right = end;
                }
                Ordering::Equal => {
                    let rest = (current_end - left).min(incoming_end - right);
                    let len = (1..rest).find(|step| current.row(left + step) != incoming.row(right + step));
                    let len = len.unwrap_or(rest);
                    spans.push(Span::Both { current: left, incoming: right, len });
                    (left, right) = (left + len, right + len);
                }
            }
        }
        Self { spans, current_end: left, incoming_count: right - first }
    }

    /// The rest of a batch of the table, from row `start`, where the run has no more rows.
    pub(crate) fn absent(start: usize, end: usize) -> Self {
        Self { spans: vec![Span::Absent { start, len: end - start }], current_end: end, incoming_count: 0 }
    }

    /// The pairs of rows that are on both sides: rows of the table's batch, and rows of the run's.
    pub(crate) fn pairs(&self) -> (Vec<u32>, Vec<u32>) {
        let index = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for span in &self.spans {
            if let Span::Both { current, incoming, len } = *span {
                left.extend(index(current)..index(current + len));
                right.extend(index(incoming)..index(incoming + len));
            }
        }
        (left, right)
    }
}

/// The rows of a segment in their new order.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Rows of the table (0) and of the run (1), the latter by their place in `fresh`.
    pub(crate) order: Vec<(usize, usize)>,
    /// Rows of the run's batch.
    pub(crate) fresh: Vec<u32>,
    /// Rows of the table's batch that are superseded, and why.
    pub(crate) old: Vec<u32>,
    pub(crate) changes: Vec<&'static str>,
}

impl Merged {
    /// Rows of the table that stay.
    pub(crate) fn stay(&mut self, rows: Range<usize>) {
        self.order.extend(rows.map(|row| (0, row)));
    }

    /// Rows of the run that come in.
    pub(crate) fn come(&mut self, rows: Range<usize>) {
        for row in rows {
            self.order.push((1, self.fresh.len()));
            self.fresh.extend(u32::try_from(row).ok());
        }
    }

    /// Rows of the table that go to the history.
    pub(crate) fn go(&mut self, rows: Range<usize>, change: &'static str) {
        for row in rows {
            self.old.extend(u32::try_from(row).ok());
            self.changes.push(change);
        }
    }
}

/// The first row after `start` for which `is_before` no longer holds; it holds for `start`. Takes steps that double, so
/// that it is quick both for the next row and for one far away.
fn leap<'a>(rows: &'a Rows, start: usize, is_before: impl Fn(arrow::row::Row<'a>) -> bool) -> usize {
    let count = rows.num_rows();
    let mut step = 1;
    let mut low = start;
    while low + step < count && is_before(rows.row(low + step)) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(count);
    low += 1;
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(rows.row(middle)) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::DataType;
    use arrow::row::{RowConverter, SortField};
    use proptest::prelude::*;

    use super::*;

    fn rows(values: &[i64]) -> Rows {
        let converter = RowConverter::new(vec![SortField::new(DataType::Int64)]).unwrap();
        converter.convert_columns(&[Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
    }

    #[test]
    fn spans_say_what_is_where() {
        let segment = Segment::walk(&rows(&[1, 2, 3, 5, 6, 7, 8, 20]), 0, &rows(&[3, 4, 4, 5, 6, 9]), 0);
        let expected = [
            Span::Absent { start: 0, len: 2 },
            Span::Both { current: 2, incoming: 0, len: 1 },
            Span::New { start: 1, len: 2 },
            Span::Both { current: 3, incoming: 3, len: 2 },
            Span::Absent { start: 5, len: 2 },
            Span::New { start: 5, len: 1 },
        ];
        assert_eq!(segment, Segment { spans: expected.to_vec(), current_end: 7, incoming_count: 6 });
        assert_eq!(segment.pairs(), (vec![2, 3, 4], vec![0, 3, 4]));
    }

    proptest! {
        #[test]
        fn spans_cover_both_sides_in_order(
            mut left in prop::collection::vec(0..40_i64, 0..60),
            mut right in prop::collection::vec(0..40_i64, 0..60),
        ) {
            left.sort_unstable();
            right.sort_unstable();
            let segment = Segment::walk(&rows(&left), 0, &rows(&right), 0);
            let (mut at_left, mut at_right, mut merged) = (0, 0, Vec::new());
            for span in &segment.spans {
                match *span {
                    Span::Absent { start, len } => {
                        prop_assert_eq!(start, at_left);
                        merged.extend_from_slice(&left[start..start + len]);
                        at_left += len;
                    }
                    Span::New { start, len } => {
                        prop_assert_eq!(start, at_right);
                        merged.extend_from_slice(&right[start..start + len]);
                        at_right += len;
                    }
                    Span::Both { current, incoming, len } => {
                        prop_assert_eq!((current, incoming), (at_left, at_right));
                        prop_assert_eq!(&left[current..current + len], &right[incoming..incoming + len]);
                        merged.extend_from_slice(&left[current..current + len]);
                        (at_left, at_right) = (at_left + len, at_right + len);
                    }
                }
            }
            prop_assert!(merged.is_sorted());
            prop_assert_eq!((segment.current_end, segment.incoming_count), (at_left, at_right));
            prop_assert!(at_left == left.len() || at_right == right.len());
        }
    }
}
