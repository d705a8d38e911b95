//! Turns batches into data files, one or more per partition, on blocking threads and within a memory budget.
//!
//! Order between rows is not kept. Callers that need sorted files use [`crate::output`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use hambar_core::{Fingerprint, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::encode::{Encoded, FILE_BYTES_TARGET, FileWriter, Folder, ROW_GROUP_ROWS};
use crate::error::{job, rows};
use crate::layout;
use crate::partition::{PartitionValues, Partitioning, batch_bytes};

/// Rows wait in memory up to this many bytes, all partitions together.
const BUFFER_BYTES_MAX: usize = 192 * 1024 * 1024;
/// What stays buffered after the largest partitions were written.
const BUFFER_BYTES_KEPT: usize = 144 * 1024 * 1024;
/// Rows of one partition that are written as a row group, in bytes.
const ROW_GROUP_BYTES: usize = 48 * 1024 * 1024;
/// Batches worked on at the same time.
const JOBS_MAX: usize = 2;

/// Files and facts of everything that was appended.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// The files with the values of their partition.
    pub(crate) files: Vec<(PartitionValues, Encoded)>,
    /// Fingerprint of the content.
    pub(crate) fingerprint: Fingerprint,
}

/// Writes rows to the data files of one table.
#[derive(Debug)]
pub(crate) struct Appender {
    shared: Arc<Shared>,
    jobs: JoinSet<Result<(), StoreError>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    label: String,
    folder: Folder,
    partitioning: Partitioning,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<PartitionValues, Partition>,
    buffered: usize,
    done: Appended,
}

#[derive(Debug, Default)]
struct Partition {
    batches: Vec<RecordBatch>,
    bytes: usize,
    rows: usize,
    /// Files that are begun and that no job is writing to.
    idle: Vec<FileWriter>,
}

/// Rows of one partition on their way into a file.
struct Due {
    values: PartitionValues,
    batches: Vec<RecordBatch>,
    file: Option<FileWriter>,
}

impl Appender {
    /// Makes an appender for the table `label`, whose files go to `folder`.
    pub(crate) fn new(label: &str, folder: Folder, partitioning: Partitioning) -> Self {
        let shared = Shared { label: label.to_owned(), folder, partitioning, state: Mutex::default() };
        Self { shared: Arc::new(shared), jobs: JoinSet::new(), permits: Arc::new(Semaphore::new(JOBS_MAX)) }
    }

    /// Works on one batch at a time, so that each partition gets one file after the other, all full but the last.
    pub(crate) fn in_turn(self) -> Self {
        Self { permits: Arc::new(Semaphore::new(1)), ..self }
    }

    /// Takes rows with the columns of the stored table. Waits while enough batches are being worked on.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<(), StoreError> {
        while let Some(ended) = self.jobs.try_join_next() {
            ended.map_err(|error| job(&self.shared.label, &error))??;
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn_blocking(move || {
            let _permit = permit;
            shared.take(&batch)
        });
        Ok(())
    }

    /// Writes what is left and ends all files.
    pub(crate) async fn finish(mut self) -> Result<Appended, StoreError> {
        let label = self.shared.label.clone();
        while let Some(ended) = self.jobs.join_next().await {
            ended.map_err(|error| job(&label, &error))??;
        }
        for _ in 0..JOBS_MAX {
            let shared = Arc::clone(&self.shared);
            self.jobs.spawn_blocking(move || shared.drain());
        }
        while let Some(ended) = self.jobs.join_next().await {
            ended.map_err(|error| job(&label, &error))??;
        }
        Ok(std::mem::take(&mut self.shared.state().done))
    }
}

impl Shared {
    fn take(&self, batch: &RecordBatch) -> Result<(), StoreError> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(batch, |name| !name.starts_with('_')).map_err(|error| rows(&self.label, error.to_string()))?;
        let parts = self.partitioning.split(batch).map_err(|error| rows(&self.label, error.to_string()))?;
        let siblings = batch.num_rows();
        let sizes: Vec<usize> = parts.iter().map(|(_, part)| batch_bytes(part, siblings)).collect();
        let due = {
            let mut state = self.state();
            state.done.fingerprint = state.done.fingerprint.plus(fingerprint);
            for ((values, part), bytes) in parts.into_iter().zip(sizes) {
                state.buffered += bytes;
                let partition = state.partitions.entry(values).or_default();
                partition.bytes += bytes;
                partition.rows += part.num_rows();
                partition.batches.push(part);
            }
            state.due()
        };
        due.into_iter().try_for_each(|due| self.encode(due))
    }

    fn encode(&self, due: Due) -> Result<(), StoreError> {
        let Due { values, batches, file } = due;
        let mut file = file;
        for batch in &batches {
            let open = match &mut file {
                Some(open) => open,
                None => file.insert(FileWriter::create(&self.folder_of(&values), batch.schema_ref())?),
            };
            open.write(batch)?;
        }
        let Some(mut open) = file else {
            return Ok(());
        };
        open.end_row_group()?;
        if open.size() >= FILE_BYTES_TARGET {
            let encoded = open.finish()?;
            self.state().done.files.push((values, encoded));
        } else {
            self.state().partitions.entry(values).or_default().idle.push(open);
        }
        Ok(())
    }

    fn folder_of(&self, values: &PartitionValues) -> Folder {
        self.folder.within(layout::folder(self.partitioning.columns(), values))
    }

    /// Writes partition after partition until none is left; several threads may do so at once.
    fn drain(&self) -> Result<(), StoreError> {
        loop {
            let next = {
                let mut state = self.state();
                let Some(values) = state.partitions.keys().next().cloned() else {
                    return Ok(());
                };
                state.partitions.remove(&values).map(|partition| (values, partition))
            };
            let Some((values, mut partition)) = next else {
                return Ok(());
            };
            let mut open = partition.idle.pop();
            for batch in &partition.batches {
                let file = match &mut open {
                    Some(file) => file,
                    None => open.insert(FileWriter::create(&self.folder_of(&values), batch.schema_ref())?),
                };
                file.write(batch)?;
            }
            drop(std::mem::take(&mut partition.batches));
            for file in open.into_iter().chain(partition.idle) {
                let encoded = file.finish()?;
                self.state().done.files.push((values.clone(), encoded));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A job that panicked is reported by its join handle; the others may still finish their files.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out the partitions whose row group is full, and the largest ones while the budget is exceeded.
    fn due(&mut self) -> Vec<Due> {
        let full = |partition: &Partition| partition.rows >= ROW_GROUP_ROWS || partition.bytes >= ROW_GROUP_BYTES;
        let mut chosen: Vec<PartitionValues> =
            self.partitions.iter().filter(|(_, partition)| full(partition)).map(|(values, _)| values.clone()).collect();
        if self.buffered > BUFFER_BYTES_MAX {
            let mut by_size: Vec<(usize, &PartitionValues)> = self
                .partitions
                .iter()
                .filter(|(_, partition)| !full(partition))
                .map(|(values, partition)| (partition.bytes, values))
                .collect();
            by_size.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
            let mut excess = self.buffered - BUFFER_BYTES_KEPT;
            for (bytes, values) in by_size {
                if excess == 0 {
                    break;
                }
                excess = excess.saturating_sub(bytes);
                chosen.push(values.clone());
            }
        }
        chosen.into_iter().filter_map(|values| self.take_out(values)).collect()
    }

    fn take_out(&mut self, values: PartitionValues) -> Option<Due> {
        let partition = self.partitions.get_mut(&values)?;
        let batches = std::mem::take(&mut partition.batches);
        self.buffered -= std::mem::take(&mut partition.bytes);
        partition.rows = 0;
        let file = partition.idle.pop();
        Some(Due { values, batches, file })
    }
}
