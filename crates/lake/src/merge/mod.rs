//! Merges the sorted rows of a run with the sorted rows of the table: section by section, on several threads.
//!
//! A section is a range of keys with the files that hold them; sections do not overlap. Within one, only row groups
//! that the run can touch are read, and only the files in which something changed are written anew (see
//! [`section`]). Memory holds a batch of each side and an encoded row group per thread, never a file.

mod patches;
mod section;
mod steps;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use hambar_core::{Fingerprint, StoreError, provenance};
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::actions::Add;
use crate::encode::{Encoded, Folder};
use crate::error::rows;
use crate::lake::Lake;
use crate::log::{LogState, TableLog};
use crate::output::{HistoryOutput, SortedFile, SortedOutput};
use crate::partition::Partitioning;
use crate::plan::{self, PlannedFile, Section};
use crate::reader::local_copy;
use crate::sortkey::SortKey;
use crate::spill::Run;

/// Sections that are merged at the same time, where the machine has as many processors. Each takes some tens of MiB.
const THREADS_MAX: usize = 4;
/// Sections made per thread, so that threads that are done early find more work.
const SECTIONS_PER_THREAD: usize = 8;

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

    fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.removed.extend(other.removed);
        self.history.extend(other.history);
        self.fresh += other.fresh;
        self.revised += other.revised;
        self.withdrawn += other.withdrawn;
        self.plus = self.plus.plus(other.plus);
        self.minus = self.minus.plus(other.minus);
    }
}

impl MergeTask {
    /// Merges the run with the table at `state`. Blocks; belongs on a blocking thread of a runtime.
    pub(crate) fn run(&self, state: &LogState) -> Result<Diff, StoreError> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let shared =
            Shared { task: self, stored: self.stored(), history: Mutex::default(), runtime: Handle::current() };
        let mut diff = match plan::in_order(&self.label, state, &self.key, &self.content)? {
            Some(files) => {
                let sections = if files.is_empty() {
                    plan::sections_of_runs(&self.runs, self.lake.inner.sorted.file_rows)
                } else {
                    plan::sections(&files, threads * SECTIONS_PER_THREAD)
                };
                shared.sections(&files, &sections, threads)?
            }
            None => section::unsorted(&shared, state)?,
        };
        let history = shared.history.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = history {
            diff.history = history.finish()?;
        }
        Ok(diff)
    }

    /// The full columns as current files are read: the text that repeats in every row as a dictionary.
    fn stored(&self) -> SchemaRef {
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let fields = self.full.fields().iter().map(|field| match field.name().as_str() {
            provenance::SOURCE => Arc::new(field.as_ref().clone().with_data_type(kind.clone())),
            _ => Arc::clone(field),
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn wrong(&self, error: ArrowError) -> StoreError {
        rows(&self.label, error.to_string())
    }

    fn instants(&self, count: usize) -> ArrayRef {
        let instant = self.recorded_at.as_microsecond();
        Arc::new(TimestampMicrosecondArray::from(vec![instant; count]).with_timezone("UTC"))
    }
}

/// What the threads of a merge share.
struct Shared<'a> {
    task: &'a MergeTask,
    stored: SchemaRef,
    /// Begun with the first superseded row.
    history: Mutex<Option<HistoryOutput>>,
    runtime: Handle,
}

impl Shared<'_> {
    fn sections(&self, files: &[PlannedFile], sections: &[Section], threads: usize) -> Result<Diff, StoreError> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Diff)>, StoreError> {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(section) = sections.get(number) else {
                    return Ok(done);
                };
                let merged = section::merge(self, &files[section.files.clone()], &section.keys);
                if merged.is_err() {
                    // The others need not begin another one.
                    next.store(sections.len(), Ordering::Relaxed);
                }
                done.push((number, merged?));
            }
        };
        let results: Vec<Result<Vec<(usize, Diff)>, StoreError>> = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads.min(sections.len())).map(|_| scope.spawn(work)).collect();
            let own = work();
            let lost = |_| Err(rows(&self.task.label, "a merging thread ended abnormally"));
            std::iter::once(own).chain(helpers.into_iter().map(|helper| helper.join().unwrap_or_else(lost))).collect()
        });
        let mut done = Vec::with_capacity(sections.len());
        for result in results {
            done.extend(result?);
        }
        done.sort_by_key(|(number, _)| *number);
        let mut whole = Diff::default();
        for (_, diff) in done {
            whole.join(diff);
        }
        Ok(whole)
    }

    fn output(&self) -> SortedOutput {
        let task = self.task;
        let (folder, partitioning) = (task.folder.clone(), task.partitioning.clone());
        SortedOutput::new(&task.label, folder, partitioning, &task.key, &self.stored)
            .with_limits(task.lake.inner.sorted)
    }

    /// Brings a data file to this machine.
    fn local(&self, add: &Add) -> Result<PathBuf, StoreError> {
        self.runtime.block_on(local_copy(&self.task.lake, &self.task.log, add, &self.task.spool))
    }

    fn forget_copy(&self, path: &Path) {
        if self.task.lake.local_root().is_none() {
            // Scratch space; it goes with the spool at the latest.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Gives rows of the run their provenance.
    fn fresh(&self, batch: &RecordBatch, picked: &[u32]) -> Result<RecordBatch, StoreError> {
        let task = self.task;
        if picked.is_empty() {
            return Ok(RecordBatch::new_empty(self.stored.clone()));
        }
        let consecutive = picked.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let taken = if consecutive {
            batch.slice(picked[0] as usize, picked.len())
        } else {
            take_record_batch(batch, &UInt32Array::from(picked.to_vec())).map_err(|error| task.wrong(error))?
        };
        let (numbers, content) = taken.columns().split_last().ok_or_else(|| rows(&task.label, "no columns"))?;
        let mut columns: Vec<ArrayRef> = content.to_vec();
        columns.push(task.instants(picked.len()));
        columns.push(self.sources(numbers.as_primitive::<UInt32Type>())?);
        RecordBatch::try_new(self.stored.clone(), columns).map_err(|error| task.wrong(error))
    }

    /// The raw bodies of rows, as a dictionary of those that occur.
    fn sources(&self, numbers: &UInt32Array) -> Result<ArrayRef, StoreError> {
        let mut used: Vec<u32> = Vec::new();
        let mut places: HashMap<u32, i32> = HashMap::new();
        let mut keys: Vec<i32> = Vec::with_capacity(numbers.len());
        for number in numbers.values() {
            let place = places.entry(*number).or_insert_with(|| {
                used.push(*number);
                i32::try_from(used.len() - 1).unwrap_or(i32::MAX)
            });
            keys.push(*place);
        }
        let texts: StringArray =
            used.iter().map(|number| self.task.sources.get(*number as usize).map(String::as_str)).collect();
        let dictionary = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(texts));
        Ok(Arc::new(dictionary.map_err(|error| self.task.wrong(error))?))
    }

    /// Moves superseded rows, with the full columns, to the history.
    fn supersede(&self, old: &RecordBatch, changes: &[&str], diff: &mut Diff) -> Result<(), StoreError> {
        let task = self.task;
        let withdrawn = changes.iter().filter(|change| **change == WITHDRAWN).count() as u64;
        diff.withdrawn += withdrawn;
        diff.revised += changes.len() as u64 - withdrawn;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(task.history.fields().len());
        for (column, field) in old.columns().iter().zip(task.history.fields()) {
            let is_same = column.data_type() == field.data_type();
            let plain = if is_same { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) };
            columns.push(plain.map_err(|error| task.wrong(error))?);
        }
        columns.push(task.instants(changes.len()));
        columns.push(Arc::new(changes.iter().map(|change| Some(*change)).collect::<StringArray>()));
        columns.push(Arc::new(Int64Array::from(vec![task.sequence.cast_signed(); changes.len()])));
        let superseded = RecordBatch::try_new(task.history.clone(), columns).map_err(|error| task.wrong(error))?;
        diff.minus.add(&superseded, is_content).map_err(|error| task.wrong(error))?;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.get_or_insert_with(|| HistoryOutput::new(task.history_folder.clone())).write(&superseded)
    }
}

/// The change of rows that the run does not have.
const WITHDRAWN: &str = "withdrawn";
/// The change of rows that the run has with other values.
const REVISED: &str = "revised";

/// Says whether a column is content, not provenance.
fn is_content(name: &str) -> bool {
    !name.starts_with('_')
}

/// The place of the column of `field` among the full columns.
fn place_of(schema: &Schema, field: &Field) -> Option<usize> {
    schema.index_of(field.name()).ok()
}
