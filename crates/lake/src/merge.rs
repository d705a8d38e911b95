//! Merges the sorted rows of a run with the sorted rows of the table, file by file.
//!
//! A file in which nothing changed is read and kept. The first change makes a file dirty: what was passed over is
//! copied, and the rest is written along. Memory holds a batch of each side, never a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use hambar_core::{Fingerprint, StoreError};
use jiff::Timestamp;

use crate::actions::Add;
use crate::compare::rows_differ;
use crate::encode::{Encoded, Folder};
use crate::error::rows;
use crate::external::{MergedRuns, SortedBatch};
use crate::incoming::Incoming;
use crate::lake::Lake;
use crate::log::{LogState, TableLog};
use crate::output::{HistoryOutput, SortedFile, SortedOutput};
use crate::partition::Partitioning;
use crate::plan::{self, PlannedFile};
use crate::reader::{FileReader, local_copy};
use crate::sortkey::SortKey;
use crate::spill::{Run, Sorter};

/// What happens to rows of the table that the run does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// They were withdrawn.
    Withdrawn,
    /// They stay.
    Kept,
}

/// Everything a merge needs.
#[derive(Debug)]
pub(crate) struct MergeTask {
    pub(crate) lake: Lake,
    pub(crate) log: TableLog,
    pub(crate) label: String,
    pub(crate) key: SortKey,
    /// The columns of the table without provenance.
    pub(crate) content: SchemaRef,
    /// The content columns, then the provenance columns.
    pub(crate) full: SchemaRef,
    /// The full columns, then those of the history.
    pub(crate) history: SchemaRef,
    pub(crate) partitioning: Partitioning,
    pub(crate) absent: Absent,
    pub(crate) runs: Vec<Run>,
    /// The raw bodies that rows refer to by number.
    pub(crate) sources: Vec<String>,
    pub(crate) recorded_at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) folder: Folder,
    pub(crate) history_folder: Folder,
    pub(crate) spool: PathBuf,
}

/// What a merge found.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    pub(crate) files: Vec<SortedFile>,
    pub(crate) removed: Vec<Arc<Add>>,
    pub(crate) history: Vec<Encoded>,
    /// Rows that are new or replaced others.
    pub(crate) fresh: u64,
    pub(crate) revised: u64,
    pub(crate) withdrawn: u64,
    pub(crate) plus: Fingerprint,
    pub(crate) minus: Fingerprint,
}

impl Diff {
    /// Says whether the table stays as it is.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh == 0 && self.withdrawn == 0
    }
}

impl MergeTask {
    /// Merges the run with the table at `state`. Blocks; belongs on a blocking thread of a runtime.
    pub(crate) fn run(&self, state: &LogState) -> Result<Diff, StoreError> {
        let mut walk = Walk {
            task: self,
            incoming: Incoming::open(&self.label, &self.key, self.content.fields().len(), &self.runs)?,
            output: SortedOutput::new(&self.label, self.folder.clone(), self.partitioning.clone(), &self.key)
                .with_limits(self.lake.inner.sorted),
            history: HistoryOutput::new(self.history_folder.clone()),
            diff: Diff::default(),
        };
        match plan::in_order(&self.label, state, &self.key, &self.content)? {
            Some(files) => walk.sorted_files(&files)?,
            None => walk.unsorted_files(state)?,
        }
        walk.rest()?;
        let Walk { output, history, mut diff, .. } = walk;
        diff.files = output.finish()?;
        diff.history = history.finish()?;
        Ok(diff)
    }

    fn wrong(&self, error: ArrowError) -> StoreError {
        rows(&self.label, error.to_string())
    }

    fn local(&self, add: &Add) -> Result<PathBuf, StoreError> {
        tokio::runtime::Handle::current().block_on(local_copy(&self.lake, &self.log, add, &self.spool))
    }

    fn forget_copy(&self, path: &Path) {
        if self.lake.local_root().is_none() {
            // Scratch space; it goes with the spool at the latest.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Gives rows of the run their provenance.
    fn fresh(&self, batch: &RecordBatch, picked: &[u32]) -> Result<RecordBatch, StoreError> {
        let taken = take_record_batch(batch, &UInt32Array::from(picked.to_vec())).map_err(|error| self.wrong(error))?;
        let (numbers, content) = taken.columns().split_last().ok_or_else(|| rows(&self.label, "no columns"))?;
        let sources: StringArray = numbers
            .as_primitive::<UInt32Type>()
            .iter()
            .map(|number| number.and_then(|number| self.sources.get(number as usize)).map(String::as_str))
            .collect();
        let mut columns: Vec<ArrayRef> = content.to_vec();
        columns.push(self.instants(picked.len()));
        columns.push(Arc::new(sources));
        RecordBatch::try_new(self.full.clone(), columns).map_err(|error| self.wrong(error))
    }

    /// Gives superseded rows the columns of the history.
    fn superseded(&self, batch: &RecordBatch, picked: &[(u32, &str)]) -> Result<RecordBatch, StoreError> {
        let indices: UInt32Array = picked.iter().map(|(row, _)| Some(*row)).collect();
        let taken = take_record_batch(batch, &indices).map_err(|error| self.wrong(error))?;
        let changes: StringArray = picked.iter().map(|(_, change)| Some(*change)).collect();
        let mut columns: Vec<ArrayRef> = taken.columns().to_vec();
        columns.push(self.instants(picked.len()));
        columns.push(Arc::new(changes));
        columns.push(Arc::new(Int64Array::from(vec![self.sequence.cast_signed(); picked.len()])));
        RecordBatch::try_new(self.history.clone(), columns).map_err(|error| self.wrong(error))
    }

    fn instants(&self, count: usize) -> ArrayRef {
        let instant = self.recorded_at.as_microsecond();
        Arc::new(TimestampMicrosecondArray::from(vec![instant; count]).with_timezone("UTC"))
    }
}

/// The file that current rows come from.
enum Passing<'a> {
    /// Nothing changed in its first `rows` rows.
    Clean { path: PathBuf, add: &'a Arc<Add>, rows: usize },
    /// Its rows are being written anew.
    Dirty,
}

/// One step through the rows of both sides, in order.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A row of the table that the run does not have.
    Absent(u32),
    /// A row of the run that the table does not have.
    New(u32),
    /// A row of both; the number of the pair.
    Both(u32),
}

/// Steps through part of a batch of the table and part of a batch of the run.
#[derive(Debug, Default)]
struct Segment {
    steps: Vec<Step>,
    current: Vec<u32>,
    incoming: Vec<u32>,
    current_end: usize,
    incoming_count: usize,
}

struct Walk<'a> {
    task: &'a MergeTask,
    incoming: Incoming,
    output: SortedOutput,
    history: HistoryOutput,
    diff: Diff,
}

impl Walk<'_> {
    fn sorted_files(&mut self, files: &[PlannedFile]) -> Result<(), StoreError> {
        for (number, file) in files.iter().enumerate() {
            self.new_rows_while(|row| row < file.partition.as_slice() && !row.starts_with(&file.partition))?;
            let is_last_of_partition = files.get(number + 1).is_none_or(|next| next.partition != file.partition);
            let takes_tail = is_last_of_partition && file.add.size < self.task.lake.inner.sorted.small_bytes;
            if !self.is_touched(file, takes_tail) {
                self.output.close()?;
                continue;
            }
            let path = self.task.local(&file.add)?;
            let mut passing = Passing::Clean { path: path.clone(), add: &file.add, rows: 0 };
            let reader = FileReader::open(&self.task.label, &path, &file.add, &self.task.full, None)?;
            for batch in reader {
                let batch = batch?;
                let keys = self.task.key.rows(&batch)?;
                self.merge_batch(&SortedBatch { batch, rows: keys }, &mut passing)?;
            }
            if takes_tail && self.head_starts_with(&file.partition) {
                self.make_dirty(&mut passing)?;
            }
            match passing {
                Passing::Clean { .. } => self.output.close()?,
                Passing::Dirty => self.diff.removed.push(Arc::clone(&file.add)),
            }
            self.task.forget_copy(&path);
        }
        Ok(())
    }

    /// Says whether the run may change something in `file`.
    fn is_touched(&self, file: &PlannedFile, takes_tail: bool) -> bool {
        if self.task.absent == Absent::Withdrawn {
            return true;
        }
        let Some((batch, row)) = self.incoming.head() else {
            return false;
        };
        let head = batch.rows.row(row).data();
        head <= file.last.as_slice() || (takes_tail && head.starts_with(&file.partition))
    }

    fn head_starts_with(&self, prefix: &[u8]) -> bool {
        self.incoming.head().is_some_and(|(batch, row)| batch.rows.row(row).data().starts_with(prefix))
    }

    /// Files that are not in order are sorted anew, all of them.
    fn unsorted_files(&mut self, state: &LogState) -> Result<(), StoreError> {
        let task = self.task;
        let mut sorter = Sorter::new(&task.label, task.key.clone(), &task.spool);
        for add in state.files.values() {
            let path = task.local(add)?;
            for batch in FileReader::open(&task.label, &path, add, &task.full, None)? {
                sorter.push_blocking(batch?)?;
            }
            task.forget_copy(&path);
        }
        let runs = sorter.finish_blocking()?;
        let mut merged = MergedRuns::open(&task.label, &task.key, &runs)?;
        let mut passing = Passing::Dirty;
        let mut last: Option<RecordBatch> = None;
        while let Some(batch) = merged.next()? {
            if task.key.unique && task.absent == Absent::Kept {
                self.refuse_repeated(&batch, &mut last)?;
            }
            self.merge_batch(&batch, &mut passing)?;
        }
        self.diff.removed.extend(state.files.values().cloned());
        Ok(())
    }

    fn refuse_repeated(&self, batch: &SortedBatch, last: &mut Option<RecordBatch>) -> Result<(), StoreError> {
        let count = batch.batch.num_rows();
        let before = last.replace(batch.batch.slice(count - 1, 1));
        let follows = match before {
            Some(before) => self.task.key.rows(&before)?.row(0) == batch.rows.row(0),
            None => false,
        };
        let repeated =
            if follows { Some(0) } else { (1..count).find(|row| batch.rows.row(*row) == batch.rows.row(row - 1)) };
        let Some(row) = repeated else {
            return Ok(());
        };
        let shown = self.task.key.show(&batch.batch, row);
        Err(rows(&self.task.label, format!("the table already has several rows with the key {shown}")))
    }

    fn merge_batch(&mut self, current: &SortedBatch, passing: &mut Passing<'_>) -> Result<(), StoreError> {
        let mut start = 0;
        while start < current.batch.num_rows() {
            let segment = self.next_segment(current, start);
            self.apply(current, start, &segment, passing)?;
            start = segment.current_end;
            self.incoming.advance(segment.incoming_count)?;
        }
        Ok(())
    }

    /// Walks both sides from their places until one of the batches ends.
    fn next_segment(&self, current: &SortedBatch, start: usize) -> Segment {
        let count = current.batch.num_rows();
        let mut segment = Segment { current_end: count, ..Segment::default() };
        let index = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
        let Some((incoming, first)) = self.incoming.head() else {
            segment.steps.extend((start..count).map(|row| Step::Absent(index(row))));
            return segment;
        };
        let (mut left, mut right) = (start, first);
        let incoming_end = incoming.batch.num_rows();
        while left < count && right < incoming_end {
            match current.rows.row(left).cmp(&incoming.rows.row(right)) {
                std::cmp::Ordering::Less => {
                    segment.steps.push(Step::Absent(index(left)));
                    left += 1;
                }
                std::cmp::Ordering::Greater => {
                    segment.steps.push(Step::New(index(right)));
                    right += 1;
                }
                std::cmp::Ordering::Equal => {
                    segment.steps.push(Step::Both(index(segment.current.len())));
                    segment.current.push(index(left));
                    segment.incoming.push(index(right));
                    left += 1;
                    right += 1;
                }
            }
        }
        segment.current_end = left;
        segment.incoming_count = right - first;
        segment
    }

    fn apply(
        &mut self,
        current: &SortedBatch,
        start: usize,
        segment: &Segment,
        passing: &mut Passing<'_>,
    ) -> Result<(), StoreError> {
        let Some((incoming, _)) = self.incoming.head().or_else(|| segment.incoming.is_empty().then_some((current, 0)))
        else {
            return Ok(());
        };
        let task = self.task;
        let differ = rows_differ(
            &current.batch,
            &segment.current,
            &incoming.batch,
            &segment.incoming,
            task.content.fields().len(),
        )
        .map_err(|error| task.wrong(error))?;
        let absent_goes = task.absent == Absent::Withdrawn;
        let is_change = |step: &Step| match step {
            Step::Absent(_) => absent_goes,
            Step::New(_) => true,
            Step::Both(pair) => differ[*pair as usize],
        };
        if !segment.steps.iter().any(is_change) {
            return self.pass(&current.batch.slice(start, segment.current_end - start), passing);
        }
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(segment.steps.len());
        let mut fresh: Vec<u32> = Vec::new();
        let mut old: Vec<(u32, &str)> = Vec::new();
        for step in &segment.steps {
            match *step {
                Step::Absent(row) if absent_goes => old.push((row, "withdrawn")),
                Step::Absent(row) => order.push((0, row as usize)),
                Step::New(row) => {
                    order.push((1, fresh.len()));
                    fresh.push(row);
                }
                Step::Both(pair) => {
                    let (left, right) = (segment.current[pair as usize], segment.incoming[pair as usize]);
                    if differ[pair as usize] {
                        order.push((1, fresh.len()));
                        fresh.push(right);
                        old.push((left, "revised"));
                    } else {
                        order.push((0, left as usize));
                    }
                }
            }
        }
        let fresh = task.fresh_or_empty(incoming, &fresh)?;
        self.make_dirty(passing)?;
        let merged = interleave_record_batch(&[&current.batch, &fresh], &order).map_err(|error| task.wrong(error))?;
        self.output.write(&merged)?;
        self.count_fresh(&fresh)?;
        self.supersede(&current.batch, &old)
    }

    fn count_fresh(&mut self, fresh: &RecordBatch) -> Result<(), StoreError> {
        self.diff.fresh += fresh.num_rows() as u64;
        self.diff.plus.add(fresh, |name| !name.starts_with('_')).map_err(|error| self.task.wrong(error))
    }

    fn supersede(&mut self, batch: &RecordBatch, old: &[(u32, &str)]) -> Result<(), StoreError> {
        if old.is_empty() {
            return Ok(());
        }
        let withdrawn = old.iter().filter(|(_, change)| *change == "withdrawn").count() as u64;
        self.diff.withdrawn += withdrawn;
        self.diff.revised += old.len() as u64 - withdrawn;
        let superseded = self.task.superseded(batch, old)?;
        self.diff.minus.add(&superseded, |name| !name.starts_with('_')).map_err(|error| self.task.wrong(error))?;
        self.history.write(&superseded)
    }

    /// Rows of the table that stay as they are.
    fn pass(&mut self, batch: &RecordBatch, passing: &mut Passing<'_>) -> Result<(), StoreError> {
        match passing {
            Passing::Clean { rows, .. } => {
                *rows += batch.num_rows();
                Ok(())
            }
            Passing::Dirty => self.output.write(batch),
        }
    }

    /// Copies what was passed over, so that the file can be written anew from here on.
    fn make_dirty(&mut self, passing: &mut Passing<'_>) -> Result<(), StoreError> {
        let Passing::Clean { path, add, rows } = std::mem::replace(passing, Passing::Dirty) else {
            return Ok(());
        };
        if rows == 0 {
            return Ok(());
        }
        for batch in FileReader::open(&self.task.label, &path, add, &self.task.full, Some(rows))? {
            self.output.write(&batch?)?;
        }
        Ok(())
    }

    /// Rows of the run beyond the last row of the table.
    fn rest(&mut self) -> Result<(), StoreError> {
        self.new_rows_while(|_| true)
    }

    fn new_rows_while(&mut self, belongs: impl Fn(&[u8]) -> bool) -> Result<(), StoreError> {
        while let Some((head, first)) = self.incoming.head() {
            let end = (first..head.batch.num_rows()).find(|row| !belongs(head.rows.row(*row).data()));
            let count = end.unwrap_or(head.batch.num_rows()) - first;
            if count == 0 {
                return Ok(());
            }
            let picked: Vec<u32> = (first..first + count).filter_map(|row| u32::try_from(row).ok()).collect();
            let fresh = self.task.fresh(&head.batch, &picked)?;
            self.output.write(&fresh)?;
            self.count_fresh(&fresh)?;
            self.incoming.advance(count)?;
        }
        Ok(())
    }
}

impl MergeTask {
    fn fresh_or_empty(&self, incoming: &SortedBatch, picked: &[u32]) -> Result<RecordBatch, StoreError> {
        if picked.is_empty() {
            return Ok(RecordBatch::new_empty(self.full.clone()));
        }
        self.fresh(&incoming.batch, picked)
    }
}
