//! Parses chunks of records on several threads and delivers the batches in the input's order, whatever the number of
//! threads: the same bytes give the same batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hambar_core::limits::{BATCH_CELLS, COLUMNS_MAX};

use super::cut::{Chunk, Cutter};
use super::plan::Plan;
use super::table::{self, Parsed};
use crate::error::DecodeError;
use crate::record::{RecordSource, SourceBatch};

/// Chunks that a thread may be ahead of the consumer.
const CHUNKS_AHEAD_PER_THREAD: u64 = 2;

/// The record source of both JSON formats.
pub(super) struct Records {
    work: Work,
    plan: Arc<Plan>,
    file: String,
    merge: Merge,
    /// What is left of a chunk that did not fit a batch, or of one that has too many columns by now.
    rest: Option<Chunk>,
    slices: Option<Slices>,
    ended: bool,
}

enum Work {
    Here(Box<dyn Cutter>),
    Threads { shared: Arc<Shared>, threads: Vec<JoinHandle<()>> },
}

struct Shared {
    cutter: Mutex<Cutting>,
    state: Mutex<State>,
    changed: Condvar,
    plan: Arc<Plan>,
    file: String,
    ahead: u64,
}

struct Cutting {
    cutter: Box<dyn Cutter>,
    next: u64,
    ended: bool,
}

struct State {
    ready: BTreeMap<u64, Result<Parsed, DecodeError>>,
    /// The chunk that the consumer takes next.
    next: u64,
    /// The number of chunks, once known.
    chunks: Option<u64>,
    /// Threads that are still at work.
    alive: usize,
    /// The consumer has gone.
    stopped: bool,
}

impl Records {
    /// Starts `threads` threads, or none if one is enough.
    pub(super) fn start(
        cutter: Box<dyn Cutter>,
        plan: Plan,
        threads: usize,
        member: Option<Arc<str>>,
    ) -> Result<Self, DecodeError> {
        let file = super::file_name(member.as_ref());
        let merge = Merge::new(&plan, member);
        let plan = Arc::new(plan);
        let started =
            |work, plan| Self { work, plan, file: file.clone(), merge, rest: None, slices: None, ended: false };
        if threads <= 1 {
            return Ok(started(Work::Here(cutter), plan));
        }
        let state = State { ready: BTreeMap::new(), next: 0, chunks: None, alive: threads, stopped: false };
        let shared = Arc::new(Shared {
            cutter: Mutex::new(Cutting { cutter, next: 0, ended: false }),
            state: Mutex::new(state),
            changed: Condvar::new(),
            plan: Arc::clone(&plan),
            file: file.clone(),
            ahead: CHUNKS_AHEAD_PER_THREAD * threads as u64,
        });
        let (mut handles, mut failed) = (Vec::with_capacity(threads), None);
        for index in 0..threads {
            let worker = Arc::clone(&shared);
            let spawned = std::thread::Builder::new().name(format!("decode-json-{index}")).spawn(move || worker.work());
            match spawned {
                Ok(handle) => handles.push(handle),
                Err(source) => {
                    shared.state().alive -= threads - index;
                    failed = Some(source);
                    break;
                }
            }
        }
        let records = started(Work::Threads { shared, threads: handles }, plan);
        match failed {
            None => Ok(records),
            Some(source) => Err(DecodeError::Read { file, source }),
        }
    }

    fn next_parsed(&mut self) -> Result<Option<Parsed>, DecodeError> {
        let chunk = match (self.rest.take(), &mut self.work) {
            (Some(rest), _) => Some(rest),
            (None, Work::Here(cutter)) => cutter.next_chunk()?,
            (None, Work::Threads { shared, .. }) => return shared.take(),
        };
        chunk.map(|chunk| table::parse(&self.plan, chunk, &self.file)).transpose()
    }

    fn next_slice(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        loop {
            if let Some(batch) = self.slices.as_mut().and_then(|slices| slices.next(&self.merge)).transpose()? {
                return Ok(Some(batch));
            }
            let Some(mut parsed) = self.next_parsed()? else {
                return Ok(None);
            };
            self.rest = parsed.rest.take();
            self.merge.grow(&parsed)?;
            self.slices = Some(Slices { parsed, taken: 0 });
        }
    }
}

impl RecordSource for Records {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        let batch = self.next_slice();
        self.ended = !matches!(batch, Ok(Some(_)));
        batch
    }
}

/// Parsed records that leave in batches: with every column that was ever met, they could take far more memory than with
/// their own.
struct Slices {
    parsed: Parsed,
    taken: usize,
}

impl Slices {
    fn next(&mut self, merge: &Merge) -> Option<Result<SourceBatch, DecodeError>> {
        let left = self.parsed.rows - self.taken;
        if left == 0 && self.parsed.faults.is_empty() {
            return None;
        }
        let rows = left.min((BATCH_CELLS / merge.schema.fields().len().max(1)).max(1));
        let batch = merge.batch(&mut self.parsed, self.taken, rows);
        self.taken += rows;
        Some(batch)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if let Work::Threads { shared, threads } = &mut self.work {
            shared.state().stopped = true;
            shared.changed.notify_all();
            for thread in threads.drain(..) {
                // A panic was already reported by `take`, or nobody waits for it any more.
                drop(thread.join());
            }
        }
    }
}

/// Counts a thread out, even if it panics, so that the consumer never waits for it in vain.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.state().alive -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _leaving = Leaving(self);
        while let Some((number, chunk)) = self.next_chunk() {
            let parsed = chunk.and_then(|chunk| table::parse(&self.plan, chunk, &self.file));
            let mut state = self.state();
            while number >= state.next + self.ahead && !state.stopped {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            state.ready.insert(number, parsed);
            self.changed.notify_all();
        }
    }

    fn next_chunk(&self) -> Option<(u64, Result<Chunk, DecodeError>)> {
        let mut cutting = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        if cutting.ended || self.state().stopped {
            return None;
        }
        let chunk = cutting.cutter.next_chunk();
        let number = cutting.next;
        cutting.next += 1;
        cutting.ended = !matches!(chunk, Ok(Some(_)));
        if matches!(chunk, Ok(None)) {
            self.state().chunks = Some(number);
        }
        chunk.transpose().map(|chunk| (number, chunk))
    }

    fn take(&self) -> Result<Option<Parsed>, DecodeError> {
        let mut state = self.state();
        loop {
            let next = state.next;
            if let Some(parsed) = state.ready.remove(&next) {
                state.next += 1;
                self.changed.notify_all();
                return parsed.map(Some);
            }
            if state.chunks == Some(next) {
                return Ok(None);
            }
            if state.alive == 0 {
                return Err(DecodeError::Format {
                    file: self.file.clone(),
                    format: "JSON",
                    place: format!("chunk {}", next + 1),
                    what: "its reader stumbled over it".to_owned(),
                });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Brings the chunks' columns into one growing schema.
struct Merge {
    schema: SchemaRef,
    index: BTreeMap<String, usize>,
    member: Option<Arc<str>>,
}

impl Merge {
    fn new(plan: &Plan, member: Option<Arc<str>>) -> Self {
        let fields: Vec<Field> = plan.fields();
        let index = fields.iter().enumerate().map(|(index, field)| (field.name().clone(), index)).collect();
        Self { schema: Arc::new(Schema::new(fields)), index, member }
    }

    /// Makes the batch of `rows` rows from `from` on; the faults come with the first.
    fn batch(&self, parsed: &mut Parsed, from: usize, rows: usize) -> Result<SourceBatch, DecodeError> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for (field, column) in &parsed.columns {
            if let Some(index) = self.index.get(field.name()) {
                columns[*index] = Some(column.slice(from, rows));
            }
        }
        let columns: Vec<ArrayRef> = columns
            .into_iter()
            .zip(self.schema.fields())
            .map(|(column, field)| column.unwrap_or_else(|| new_null_array(field.data_type(), rows)))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| self.internal(&error))?;
        let records = &parsed.records[from..from + rows];
        let first = records.first().copied().unwrap_or(parsed.first_record);
        let is_dense = records.iter().zip(first..).all(|(record, expected)| *record == expected);
        Ok(SourceBatch {
            batch,
            records: (!is_dense).then(|| records.to_vec()),
            first_record: first,
            member: self.member.clone(),
            faults: std::mem::take(&mut parsed.faults),
        })
    }

    fn grow(&mut self, parsed: &Parsed) -> Result<(), DecodeError> {
        let mut fields: Vec<Arc<Field>> = Vec::new();
        for (field, _) in &parsed.columns {
            if !self.index.contains_key(field.name()) {
                self.index.insert(field.name().clone(), self.schema.fields().len() + fields.len());
                fields.push(Arc::clone(field));
            }
        }
        if self.index.len() > COLUMNS_MAX {
            return Err(table::too_many_columns(&super::file_name(self.member.as_ref()), parsed.first_record));
        }
        if !fields.is_empty() {
            let grown: Vec<Arc<Field>> = self.schema.fields().iter().cloned().chain(fields).collect();
            self.schema = Arc::new(Schema::new(grown));
        }
        Ok(())
    }

    fn internal(&self, error: &arrow::error::ArrowError) -> DecodeError {
        DecodeError::Format {
            file: super::file_name(self.member.as_ref()),
            format: "JSON",
            place: "a batch of rows".to_owned(),
            what: error.to_string(),
        }
    }
}
