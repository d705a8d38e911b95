//! A store in memory: the simplest thing that keeps the contract of [`TableStore`]. For tests, and the model that
//! other stores are compared with. Rows are kept one by one; nothing is fast, nothing survives the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use jiff::Timestamp;

use crate::checkpoint::{Checkpoint, Position};
use crate::name::TableName;
use crate::provenance;
use crate::store::{
    CommitOutcome, CommitRequest, Lease, LeaseOutcome, RunStamp, StoreError, TableState, TableStore, TableWriter,
};
use crate::system::SystemTable;
use crate::table::{Retype, TableSpec, WriteMode};

/// Tables in memory. Cheap to clone; clones share everything.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<TableName, Table>,
    system: BTreeMap<SystemTable, Vec<RecordBatch>>,
    leases: BTreeMap<TableName, (u64, Weak<HeldBy>)>,
}

#[derive(Debug)]
struct Table {
    state: TableState,
    recorded_at: Option<Timestamp>,
    content: SchemaRef,
    rows: Vec<Stored>,
    history: Vec<Superseded>,
    rejects: Vec<RecordBatch>,
}

/// A row with its provenance; `content` has one row.
#[derive(Debug, Clone)]
struct Stored {
    content: RecordBatch,
    recorded_at: Timestamp,
    source: String,
}

#[derive(Debug)]
struct Superseded {
    row: Stored,
    at: Timestamp,
    change: &'static str,
    sequence: u64,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the rows of `table`; names that end with `__history` and `__rejects` stand for those tables.
    pub fn rows(&self, table: &TableName) -> Result<Vec<RecordBatch>, StoreError> {
        let inner = self.lock();
        if table.namespace.as_str() == "system" {
            let found = inner.system.iter().find(|(system, _)| system.name() == table.table.as_str());
            return Ok(found.map(|(_, batches)| batches.clone()).unwrap_or_default());
        }
        let (stem, part) = table.table.as_str().split_once("__").unwrap_or((table.table.as_str(), ""));
        let found =
            inner.tables.iter().find(|(name, _)| name.namespace == table.namespace && name.table.as_str() == stem);
        let (_, kept) = found.ok_or_else(|| missing(table))?;
        let batches = match part {
            "history" => kept.history.iter().map(|row| row.to_batch(&kept.content)).collect(),
            "rejects" => Ok(kept.rejects.clone()),
            _ => kept.rows.iter().map(|row| row.to_batch(&kept.content)).collect(),
        };
        batches.map_err(|error: ArrowError| broken(table, error.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked has already failed; the others may go on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(table: &TableName) -> StoreError {
    StoreError::Missing { what: format!("table `{table}`") }
}

fn broken(table: &TableName, what: String) -> StoreError {
    StoreError::Rows { table: table.to_string(), what }
}

impl Stored {
    fn to_batch(&self, content: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        with_columns(
            content,
            &self.content,
            provenance::current_fields(),
            vec![instants(self.recorded_at), Arc::new(StringArray::from(vec![self.source.as_str()]))],
        )
    }
}

impl Superseded {
    fn to_batch(&self, content: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let row = self.row.to_batch(content)?;
        with_columns(
            &row.schema(),
            &row,
            provenance::history_fields(),
            vec![
                instants(self.at),
                Arc::new(StringArray::from(vec![self.change])),
                Arc::new(Int64Array::from(vec![self.sequence.cast_signed()])),
            ],
        )
    }
}

fn instants(instant: Timestamp) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![instant.as_microsecond()]).with_timezone("UTC"))
}

/// Gives one row the columns of `content`, missing ones as NULL, and the extra columns after them.
fn with_columns(
    content: &SchemaRef,
    row: &RecordBatch,
    extra: Vec<Field>,
    values: Vec<ArrayRef>,
) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in content.fields() {
        columns.push(match row.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type())?,
            None => new_null_array(field.data_type(), 1),
        });
    }
    columns.extend(values);
    let fields: Vec<Field> = content.fields().iter().map(|field| field.as_ref().clone()).chain(extra).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[async_trait]
impl TableStore for MemoryStore {
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError> {
        if spec.write == WriteMode::Upsert && spec.key.is_empty() {
            return Err(broken(&spec.name, "upsert needs a key".to_owned()));
        }
        let mut inner = self.lock();
        let declared = spec.declared_schema();
        let Some(table) = inner.tables.get_mut(&spec.name) else {
            let table = Table {
                state: TableState::default(),
                recorded_at: None,
                content: declared,
                rows: Vec::new(),
                history: Vec::new(),
                rejects: Vec::new(),
            };
            inner.tables.insert(spec.name.clone(), table);
            return Ok(TableState::default());
        };
        let mut fields: Vec<Field> = table.content.fields().iter().map(|field| field.as_ref().clone()).collect();
        for field in declared.fields() {
            let Some(place) = fields.iter().position(|stored| stored.name() == field.name()) else {
                fields.push(field.as_ref().clone());
                continue;
            };
            let stored = &fields[place];
            match spec.on_drift.retype(stored.data_type(), field.data_type()) {
                Some(Retype::Same | Retype::Keep) => {}
                Some(Retype::Widen) => {
                    fields[place] = stored.clone().with_data_type(field.data_type().clone());
                }
                None => {
                    return Err(StoreError::Schema {
                        table: spec.name.to_string(),
                        column: field.name().clone(),
                        stored: stored.data_type().to_string(),
                        declared: field.data_type().to_string(),
                    });
                }
            }
        }
        let merged = Arc::new(Schema::new(fields));
        if merged != table.content {
            table.content = merged;
            table.state.version += 1;
        }
        let wider = spec.wider_in(&table.content);
        Ok(TableState { rows: table.rows.len() as u64, wider, ..table.state.clone() })
    }

    async fn writer(
        &self,
        spec: &TableSpec,
        state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError> {
        let lease = {
            let inner = self.lock();
            if !inner.tables.contains_key(&spec.name) {
                return Err(missing(&spec.name));
            }
            inner.leases.get(&spec.name).filter(|(_, holder)| holder.strong_count() > 0).map(|(epoch, _)| *epoch)
        };
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            spec: spec.clone(),
            base: state.sequence,
            stamp,
            rows: Vec::new(),
            rejects: Vec::new(),
            lease,
        }))
    }

    async fn lease(&self, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError> {
        let mut inner = self.lock();
        let (epoch, known) = inner.leases.get(table).map_or((0, None), |(epoch, held)| (*epoch, held.upgrade()));
        if let Some(known) = known {
            return Ok(LeaseOutcome::Busy { holder: known.holder.clone(), since: Timestamp::UNIX_EPOCH });
        }
        let held = Arc::new(HeldBy { holder: holder.to_owned() });
        inner.leases.insert(table.clone(), (epoch + 1, Arc::downgrade(&held)));
        let lease = MemoryLease { store: self.clone(), table: table.clone(), epoch: epoch + 1, _held: held };
        Ok(LeaseOutcome::Held(Box::new(lease)))
    }

    async fn append_system(&self, table: SystemTable, rows: RecordBatch) -> Result<(), StoreError> {
        if rows.schema() != table.schema() {
            let what = "rows do not have the columns of the table".to_owned();
            return Err(StoreError::Rows { table: format!("system.{}", table.name()), what });
        }
        self.lock().system.entry(table).or_default().push(rows);
        Ok(())
    }
}

#[derive(Debug)]
struct HeldBy {
    holder: String,
}

#[derive(Debug)]
struct MemoryLease {
    store: MemoryStore,
    table: TableName,
    epoch: u64,
    _held: Arc<HeldBy>,
}

#[async_trait]
impl Lease for MemoryLease {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    async fn check(&self) -> Result<(), StoreError> {
        let newest = self.store.lock().leases.get(&self.table).map_or(0, |(epoch, _)| *epoch);
        if newest == self.epoch {
            return Ok(());
        }
        Err(StoreError::LeaseLost { table: self.table.to_string(), epoch: newest })
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryWriter {
    store: MemoryStore,
    spec: TableSpec,
    base: u64,
    stamp: RunStamp,
    rows: Vec<Stored>,
    rejects: Vec<RecordBatch>,
    lease: Option<u64>,
}

#[async_trait]
impl TableWriter for MemoryWriter {
    async fn write(&mut self, rows: RecordBatch, source: &str) -> Result<(), StoreError> {
        let plain = plain_rows(&rows).map_err(|error| broken(&self.spec.name, error.to_string()))?;
        for row in 0..plain.num_rows() {
            let index = UInt32Array::from(vec![u32::try_from(row).unwrap_or(u32::MAX)]);
            let content =
                take_record_batch(&plain, &index).map_err(|error| broken(&self.spec.name, error.to_string()))?;
            self.rows.push(Stored { content, recorded_at: self.stamp.recorded_at, source: source.to_owned() });
        }
        Ok(())
    }

    async fn reject(&mut self, rejected: RecordBatch) -> Result<(), StoreError> {
        self.rejects.push(rejected);
        Ok(())
    }

    async fn commit(self: Box<Self>, request: CommitRequest) -> Result<CommitOutcome, StoreError> {
        let Self { store, spec, base, stamp, rows, rejects, lease } = *self;
        if rows.len() as u64 != request.rows_expected {
            let what = format!("the run announced {} rows, but wrote {}", request.rows_expected, rows.len());
            return Err(broken(&spec.name, what));
        }
        let mut inner = store.lock();
        let newest = inner.leases.get(&spec.name).map(|(epoch, _)| *epoch);
        if let Some((_, newest)) = lease.zip(newest).filter(|(held, newest)| held != newest) {
            return Err(StoreError::LeaseLost { table: spec.name.to_string(), epoch: newest });
        }
        let table = inner.tables.get_mut(&spec.name).ok_or_else(|| missing(&spec.name))?;
        if table.state.run.as_ref() == Some(&stamp.run) {
            return Ok(CommitOutcome::AlreadyApplied { version: table.state.version });
        }
        if table.state.sequence != base {
            let winner = table.state.run.clone().unwrap_or(stamp.run);
            return Ok(CommitOutcome::Conflict { winner });
        }
        table.commit(&spec, &stamp, rows, rejects, request.checkpoint)
    }
}

/// Dictionaries become plain columns.
fn plain_rows(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let kind = match field.data_type() {
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            other => other.clone(),
        };
        columns.push(cast(column, &kind)?);
        fields.push(Field::new(field.name(), kind, true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Says whether two checkpoints got equally far; what was merely seen does not count.
fn same_positions(left: &Checkpoint, right: &Checkpoint) -> bool {
    let positions = |checkpoint: &Checkpoint| -> BTreeMap<_, _> {
        let moved = checkpoint.slices.iter().filter(|(_, slice)| slice.position != Position::Start);
        moved.map(|(id, slice)| (id.clone(), slice.position.clone())).collect()
    };
    positions(left) == positions(right)
}

impl Table {
    fn commit(
        &mut self,
        spec: &TableSpec,
        stamp: &RunStamp,
        mut rows: Vec<Stored>,
        rejects: Vec<RecordBatch>,
        checkpoint: Checkpoint,
    ) -> Result<CommitOutcome, StoreError> {
        let whole = Timestamp::from_microsecond(stamp.recorded_at.as_microsecond()).unwrap_or(stamp.recorded_at);
        let at = match self.recorded_at {
            Some(newest) if newest >= whole => {
                Timestamp::from_microsecond(newest.as_microsecond() + 1).unwrap_or(whole)
            }
            _ => whole,
        };
        for row in &mut rows {
            row.recorded_at = at;
        }
        let change = match spec.write {
            WriteMode::Append => Change {
                rows: self.rows.iter().cloned().chain(rows.clone()).collect(),
                fresh: rows.len(),
                old: Vec::new(),
            },
            WriteMode::Snapshot | WriteMode::Upsert => {
                self.diff(spec, rows).map_err(|what| broken(&spec.name, what))?
            }
        };
        self.rejects.extend(rejects);
        let withdrawn = change.old.iter().filter(|(_, kind)| *kind == "withdrawn").count();
        if change.fresh == 0 && withdrawn == 0 && same_positions(&checkpoint, &self.state.checkpoint) {
            return Ok(CommitOutcome::Unchanged);
        }
        let revised = change.old.len() - withdrawn;
        let sequence = self.state.sequence + 1;
        self.history.extend(change.old.into_iter().map(|(row, kind)| Superseded { row, at, change: kind, sequence }));
        self.rows = change.rows;
        self.recorded_at = Some(at);
        let version = self.state.version + 1;
        let rows = self.rows.len() as u64;
        let run = Some(stamp.run.clone());
        self.state = TableState { sequence, run, checkpoint, rows, version, wider: Vec::new() };
        Ok(CommitOutcome::Committed {
            version,
            rows: change.fresh as u64,
            revised: revised as u64,
            withdrawn: withdrawn as u64,
        })
    }

    /// Pairs rows of the table and of the run by key (by content where there is none).
    fn diff(&self, spec: &TableSpec, rows: Vec<Stored>) -> Result<Change, String> {
        let all: Vec<String> = self.content.fields().iter().map(|field| field.name().clone()).collect();
        let key: Vec<String> =
            if spec.key.is_empty() { all.clone() } else { spec.key.iter().map(ToString::to_string).collect() };
        let (current_keys, current_cells) = (self.cells(&self.rows, &key)?, self.cells(&self.rows, &all)?);
        let (run_keys, run_cells) = (self.cells(&rows, &key)?, self.cells(&rows, &all)?);
        let mut incoming: BTreeMap<OwnedRow, Vec<usize>> = BTreeMap::new();
        for (row, (run_key, cells)) in run_keys.iter().zip(&run_cells).enumerate() {
            let same = incoming.entry(run_key.clone()).or_default();
            match same.first() {
                Some(first) if !spec.key.is_empty() && run_cells[*first] == *cells => {}
                Some(_) if !spec.key.is_empty() => {
                    return Err("two rows of one run have the same key, but differ otherwise".to_owned());
                }
                _ => same.push(row),
            }
        }
        let mut change = Change::default();
        for (row, stored) in self.rows.iter().enumerate() {
            let partner = incoming.get_mut(&current_keys[row]).and_then(Vec::pop);
            match partner {
                Some(new) if run_cells[new] != current_cells[row] => {
                    change.old.push((stored.clone(), "revised"));
                    change.rows.push(rows[new].clone());
                    change.fresh += 1;
                }
                None if spec.write == WriteMode::Snapshot => change.old.push((stored.clone(), "withdrawn")),
                Some(_) | None => change.rows.push(stored.clone()),
            }
        }
        let new: BTreeSet<usize> = incoming.into_values().flatten().collect();
        change.fresh += new.len();
        change.rows.extend(new.into_iter().map(|row| rows[row].clone()));
        Ok(change)
    }

    fn cells(&self, rows: &[Stored], columns: &[String]) -> Result<Vec<OwnedRow>, String> {
        let fields = columns.iter().map(|name| self.content.field_with_name(name).cloned());
        let schema = fields.collect::<Result<Vec<Field>, _>>().map(Schema::new).map_err(|error| error.to_string())?;
        let schema: SchemaRef = Arc::new(schema);
        let picked: Result<Vec<RecordBatch>, ArrowError> =
            rows.iter().map(|row| with_columns(&schema, &row.content, Vec::new(), Vec::new())).collect();
        let table = picked.and_then(|picked| concat_batches(&schema, &picked)).map_err(|error| error.to_string())?;
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(|error| error.to_string())?;
        let cells = converter.convert_columns(table.columns()).map_err(|error| error.to_string())?;
        Ok(cells.iter().map(|row| row.owned()).collect())
    }
}

/// What a run does to a table.
#[derive(Debug, Default)]
struct Change {
    rows: Vec<Stored>,
    fresh: usize,
    old: Vec<(Stored, &'static str)>,
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::conformance;

    /// Nothing in this store ever waits, so polling is enough.
    fn finish<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
        }
    }

    #[test]
    fn the_store_in_memory_keeps_the_contract() {
        finish(conformance::all(async || MemoryStore::new()));
    }
}
