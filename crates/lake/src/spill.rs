//! Sorts rows of any number within a memory budget: sorted runs go to scratch files and are merged when read.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::{BatchCoalescer, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::row::Rows;
use hambar_core::StoreError;
use tokio::task::JoinHandle;

use crate::error::{file as file_error, job, rows};
use crate::partition::batch_bytes;
use crate::sortkey::SortKey;

/// Bytes of rows that are sorted in memory at once. While one run is sorted the next one is collected.
const RUN_BYTES: usize = 64 * 1024 * 1024;
/// Rows of a batch in a sorted run.
const RUN_BATCH_ROWS: usize = 16 * 1024;

/// One sorted run, with the first key of each of its batches: readers can start in its middle.
#[derive(Debug)]
pub(crate) struct Run {
    batches: RunBatches,
    /// For each batch its first key, as comparable bytes, and its rows.
    index: Vec<(Vec<u8>, usize)>,
}

#[derive(Debug)]
enum RunBatches {
    /// Small enough to stay in memory.
    Memory(Vec<RecordBatch>),
    /// In a scratch file, in Arrow's file format.
    File(PathBuf),
}

impl Run {
    /// Reads the run from the batch on that may hold the first key not below `from`.
    pub(crate) fn open(&self, from: &[u8]) -> Result<RunReader, StoreError> {
        let start = self.index.partition_point(|(first, _)| first.as_slice() < from).saturating_sub(1);
        match &self.batches {
            RunBatches::Memory(batches) => {
                let rest = batches.get(start..).unwrap_or_default().to_vec();
                Ok(RunReader::Memory(rest.into_iter()))
            }
            RunBatches::File(path) => {
                let fail = |error: ArrowError| file_error("read", path, error);
                let file = File::open(path).map_err(|error| file_error("read", path, error))?;
                let mut reader = FileReader::try_new(BufReader::new(file), None).map_err(fail)?;
                reader.set_index(start).map_err(fail)?;
                Ok(RunReader::File(path.clone(), Box::new(reader)))
            }
        }
    }

    /// The first key of each batch, as comparable bytes, with the rows of the batch.
    pub(crate) fn index(&self) -> &[(Vec<u8>, usize)] {
        &self.index
    }
}

/// The batches of one run.
pub(crate) enum RunReader {
    Memory(std::vec::IntoIter<RecordBatch>),
    File(PathBuf, Box<FileReader<BufReader<File>>>),
}

impl Iterator for RunReader {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(batches) => batches.next().map(Ok),
            Self::File(path, reader) => {
                reader.next().map(|batch| batch.map_err(|error| file_error("read", path, error)))
            }
        }
    }
}

/// Collects rows and sorts them.
#[derive(Debug)]
pub(crate) struct Sorter {
    label: String,
    key: SortKey,
    folder: PathBuf,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    run_bytes: usize,
    running: Option<JoinHandle<Result<Run, StoreError>>>,
    runs: Vec<Run>,
}

impl Sorter {
    /// Makes a sorter whose scratch files go to `folder`.
    pub(crate) fn new(label: &str, key: SortKey, folder: &Path) -> Self {
        Self {
            label: label.to_owned(),
            key,
            folder: folder.to_owned(),
            pending: Vec::new(),
            pending_bytes: 0,
            run_bytes: RUN_BYTES,
            running: None,
            runs: Vec::new(),
        }
    }

    /// Takes rows; all batches have one schema.
    pub(crate) async fn push(&mut self, batch: RecordBatch) -> Result<(), StoreError> {
        self.take_in(batch);
        if self.pending_bytes >= self.run_bytes {
            self.settle().await?;
            let (key, path) = (self.key.clone(), self.next_path());
            let batches = self.take_pending();
            self.running = Some(tokio::task::spawn_blocking(move || sort_to_file(&key, batches, path)));
        }
        Ok(())
    }

    /// Takes rows on a thread that may block.
    pub(crate) fn push_blocking(&mut self, batch: RecordBatch) -> Result<(), StoreError> {
        self.take_in(batch);
        if self.pending_bytes >= self.run_bytes {
            let (path, batches) = (self.next_path(), self.take_pending());
            self.runs.push(sort_to_file(&self.key, batches, path)?);
        }
        Ok(())
    }

    /// Sorts what is left and returns the runs.
    pub(crate) async fn finish(mut self) -> Result<Vec<Run>, StoreError> {
        self.settle().await?;
        let label = self.label.clone();
        let last = tokio::task::spawn_blocking(move || self.finish_blocking());
        last.await.map_err(|error| job(&label, &error))?
    }

    /// As [`Sorter::finish`], on a thread that may block.
    pub(crate) fn finish_blocking(mut self) -> Result<Vec<Run>, StoreError> {
        let batches = self.take_pending();
        if !batches.is_empty() {
            let run = if self.runs.is_empty() {
                sort_in_memory(&self.key, batches).map_err(|error| rows(&self.label, error.to_string()))?
            } else {
                sort_to_file(&self.key, batches, self.next_path())?
            };
            self.runs.push(run);
        }
        Ok(std::mem::take(&mut self.runs))
    }

    fn take_in(&mut self, batch: RecordBatch) {
        self.pending_bytes += batch_bytes(&batch, batch.num_rows());
        self.pending.push(batch);
    }

    fn take_pending(&mut self) -> Vec<RecordBatch> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    fn next_path(&self) -> PathBuf {
        self.folder.join(format!("run-{}.arrows", uuid::Uuid::new_v4()))
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(running) = self.running.take() {
            self.runs.push(running.await.map_err(|error| job(&self.label, &error))??);
        }
        Ok(())
    }
}

fn sort_in_memory(key: &SortKey, batches: Vec<RecordBatch>) -> Result<Run, ArrowError> {
    let mut sorted = Vec::new();
    let index = sort(key, batches, |batch| {
        sorted.push(batch);
        Ok(())
    })?;
    Ok(Run { batches: RunBatches::Memory(sorted), index })
}

fn sort_to_file(key: &SortKey, batches: Vec<RecordBatch>, path: PathBuf) -> Result<Run, StoreError> {
    let fail = |error: ArrowError| file_error("write", &path, error);
    let Some(schema) = batches.first().map(|batch| -> SchemaRef { batch.schema() }) else {
        return Ok(Run { batches: RunBatches::Memory(Vec::new()), index: Vec::new() });
    };
    let file = File::create(&path).map_err(|error| file_error("write", &path, error))?;
    let mut writer = FileWriter::try_new(BufWriter::new(file), &schema).map_err(fail)?;
    let index = sort(key, batches, |batch| writer.write(&batch)).map_err(fail)?;
    writer.finish().map_err(fail)?;
    drop(writer);
    Ok(Run { batches: RunBatches::File(path), index })
}

/// Hands the rows of `batches` to `emit` in order; returns the first key and the rows of each batch that it made.
fn sort(
    key: &SortKey,
    batches: Vec<RecordBatch>,
    mut emit: impl FnMut(RecordBatch) -> Result<(), ArrowError>,
) -> Result<Vec<(Vec<u8>, usize)>, ArrowError> {
    let wrong = |error: StoreError| ArrowError::ComputeError(error.to_string());
    let mut index = Vec::new();
    let mut emit = |batch: RecordBatch| {
        let first = key.rows(&batch.slice(0, 1)).map_err(wrong)?;
        index.push((first.row(0).data().to_vec(), batch.num_rows()));
        emit(batch)
    };
    let keys: Result<Vec<Rows>, StoreError> = batches.iter().map(|batch| key.rows(batch)).collect();
    let keys = keys.map_err(wrong)?;
    if is_sorted(&keys) {
        // Providers' extracts mostly come in order; then nothing has to be moved.
        drop(keys);
        emit_in_turn(batches, &mut emit)?;
        return Ok(index);
    }
    let mut order: Vec<(u32, u32)> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in (0_u32..).zip(&batches) {
        order.extend((0_u32..).take(batch.num_rows()).map(|row| (number, row)));
    }
    order.sort_unstable_by(|left, right| {
        keys[left.0 as usize].row(left.1 as usize).cmp(&keys[right.0 as usize].row(right.1 as usize))
    });
    drop(keys);
    let sources: Vec<&RecordBatch> = batches.iter().collect();
    for chunk in order.chunks(RUN_BATCH_ROWS) {
        let indices: Vec<(usize, usize)> = chunk.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        emit(interleave_record_batch(&sources, &indices)?)?;
    }
    Ok(index)
}

/// Hands over batches of the usual size, whatever size they came in.
fn emit_in_turn(
    batches: Vec<RecordBatch>,
    emit: &mut impl FnMut(RecordBatch) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        return Ok(());
    };
    let mut coalescer = BatchCoalescer::new(schema, RUN_BATCH_ROWS);
    for batch in batches {
        coalescer.push_batch(batch)?;
        while let Some(full) = coalescer.next_completed_batch() {
            emit(full)?;
        }
    }
    coalescer.finish_buffered_batch()?;
    while let Some(last) = coalescer.next_completed_batch() {
        emit(last)?;
    }
    Ok(())
}

fn is_sorted(keys: &[Rows]) -> bool {
    let mut rows = keys.iter().flat_map(Rows::iter);
    let Some(mut last) = rows.next() else {
        return true;
    };
    for row in rows {
        if row < last {
            return false;
        }
        last = row;
    }
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Sorter {
        /// Sorts in runs of `bytes`, so that a test gets many of them from few rows.
        pub(crate) fn with_run_bytes(self, bytes: usize) -> Self {
            Self { run_bytes: bytes, ..self }
        }
    }
}
