//! `TableStore` for the lake: opens tables, and collects the rows of one run until they are committed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use hambar_core::{
    Checkpoint, CommitOutcome, CommitRequest, LeaseOutcome, Retype, RunStamp, StoreError, SystemTable, TableName,
    TableSpec, TableState, TableStore, TableWriter, WriteMode, provenance,
};
use jiff::Timestamp;

use crate::append::Appender;
use crate::create::{Wanted, check_spec, ensure};
use crate::encode::Folder;
use crate::error::{damaged, rows};
use crate::lake::{Lake, missing};
use crate::lease::{self, Core};
use crate::log::{LogState, TableLog};
use crate::partition::{Partitioning, repeated_text};
use crate::place;
use crate::publish::{Spool, data_folder};
use crate::snapshot::{PROPERTY_CHECKPOINT, recorded_at, run_of, schema_of};
use crate::sortkey::SortKey;
use crate::spill::Sorter;
use crate::system;
use crate::widen::content_of;

/// The column of sorted rows that numbers their raw body; never stored.
const SOURCE_NUMBER: &str = "_source_number";

#[async_trait]
impl TableStore for Lake {
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError> {
        check_spec(spec)?;
        let label = spec.name.to_string();
        let history = self.log(&place::history_root(&spec.name), &format!("{label}{}", place::HISTORY_SUFFIX));
        let rejects = self.log(&place::rejects_root(&spec.name), &format!("{label}{}", place::REJECTS_SUFFIX));
        // The current table comes last: where it is, the other two are.
        ensure(self, &history, &Wanted::history(spec)).await?;
        ensure(self, &rejects, &Wanted::rejects()).await?;
        let log = self.log(&place::table_root(&spec.name), &label);
        let state = ensure(self, &log, &Wanted::current(spec)).await?;
        table_state(&log, &state, spec)
    }

    async fn writer(
        &self,
        spec: &TableSpec,
        state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError> {
        Ok(Box::new(LakeWriter::open(self, spec, state, stamp).await?))
    }

    async fn lease(&self, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError> {
        lease::take(self, table, holder).await
    }

    async fn append_system(&self, table: SystemTable, batch: RecordBatch) -> Result<(), StoreError> {
        system::append(self, table, batch).await
    }
}

/// Reads where a table stands.
pub(crate) fn table_state(log: &TableLog, state: &LogState, spec: &TableSpec) -> Result<TableState, StoreError> {
    let mut total = 0;
    for file in state.files.values() {
        total +=
            file.rows().ok_or_else(|| damaged(&log.label, format!("data file `{}` has no row count", file.path)))?;
    }
    Ok(TableState {
        sequence: state.sequence(),
        run: run_of(state),
        checkpoint: stored_checkpoint(log, state)?,
        rows: total,
        version: state.version,
        wider: spec.wider_in(schema_of(log, state)?.as_ref()),
    })
}

/// Reads the checkpoint that was committed with the newest rows.
pub(crate) fn stored_checkpoint(log: &TableLog, state: &LogState) -> Result<Checkpoint, StoreError> {
    let Some(text) = state.property(PROPERTY_CHECKPOINT) else {
        return Ok(Checkpoint::default());
    };
    serde_json::from_str(text)
        .map_err(|error| damaged(&log.label, format!("checkpoint in version {}: {error}", state.version)))
}

/// Collects the rows of one commit.
#[derive(Debug)]
pub(crate) struct LakeWriter {
    pub(crate) frame: Frame,
    pub(crate) body: Body,
    pub(crate) rejects: Option<(Appender, Folder)>,
}

/// What a writer knows besides its rows.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) lake: Lake,
    pub(crate) spec: TableSpec,
    pub(crate) log: TableLog,
    pub(crate) stamp: RunStamp,
    /// The instant that this run's rows carry: the stamp's, or just after the newest commit's.
    pub(crate) recorded_at: Timestamp,
    /// Sequence number of the newest commit when the run began.
    pub(crate) base: u64,
    /// The columns of the table without provenance.
    pub(crate) content: SchemaRef,
    /// The content columns, then the provenance columns.
    pub(crate) full: SchemaRef,
    pub(crate) folder: Folder,
    pub(crate) partitioning: Partitioning,
    pub(crate) lease: Option<Arc<Core>>,
    pub(crate) rows: u64,
    pub(crate) spool: Spool,
}

/// Where rows wait for the commit.
#[derive(Debug)]
pub(crate) enum Body {
    /// In data files, as they came.
    Append(Appender),
    /// In sorted runs.
    Sort { sorter: Box<Sorter>, key: SortKey, sources: Vec<String> },
}

impl LakeWriter {
    async fn open(lake: &Lake, spec: &TableSpec, state: &TableState, stamp: RunStamp) -> Result<Self, StoreError> {
        let label = spec.name.to_string();
        let log = lake.log(&place::table_root(&spec.name), &label);
        let current = lake.newest(&log).await?.ok_or_else(|| missing(format!("table `{label}`")))?;
        let stored = schema_of(&log, &current)?;
        let content = content_of(&stored);
        let mut full: Vec<Field> = content.fields().iter().map(|field| field.as_ref().clone()).collect();
        full.extend(provenance::current_fields());
        let spool = Spool::new(lake)?;
        let folder = data_folder(lake, &log, &spool)?;
        let partitioning = Partitioning::new(&current.metadata.partition_columns);
        let body = match spec.write {
            WriteMode::Append => Body::Append(Appender::new(&label, folder.clone(), partitioning.clone())),
            WriteMode::Snapshot | WriteMode::Upsert => {
                let key = SortKey::of(spec, &content)?;
                let sorter = Box::new(Sorter::new(&label, key.clone(), spool.path()));
                Body::Sort { sorter, key, sources: Vec::new() }
            }
        };
        let frame = Frame {
            lake: lake.clone(),
            spec: spec.clone(),
            recorded_at: rising(stamp.recorded_at, recorded_at(&current)),
            base: state.sequence,
            content,
            full: Arc::new(Schema::new(full)),
            folder,
            partitioning,
            lease: lake.inner.leases.held(&spec.name),
            rows: 0,
            spool,
            log,
            stamp,
        };
        Ok(Self { frame, body, rejects: None })
    }

    fn label(&self) -> &str {
        &self.frame.log.label
    }

    /// Brings rows to the columns of the table: by name, missing ones as NULL.
    fn conform(&self, batch: &RecordBatch, keeps_dictionaries: bool) -> Result<RecordBatch, StoreError> {
        let wrong = |what: String| rows(self.label(), what);
        for field in batch.schema_ref().fields() {
            let declared = self
                .frame
                .content
                .field_with_name(field.name())
                .map_err(|_| wrong(format!("rows have a column `{}` that the table has not", field.name())))?;
            let given = plain(field.data_type());
            let retype = self.frame.spec.on_drift.retype(declared.data_type(), given);
            if !given.equals_datatype(declared.data_type()) && retype != Some(Retype::Keep) {
                return Err(wrong(format!(
                    "column `{}` arrives as {}, the table has {}",
                    field.name(),
                    field.data_type(),
                    declared.data_type()
                )));
            }
        }
        let mut fields = Vec::with_capacity(self.frame.content.fields().len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.capacity());
        for field in self.frame.content.fields() {
            let column = match batch.column_by_name(field.name()) {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(column) if column.data_type() == field.data_type() => column.clone(),
                Some(column) if keeps_dictionaries && matches!(column.data_type(), DataType::Dictionary(_, _)) => {
                    column.clone()
                }
                Some(column) => cast(column, field.data_type()).map_err(|error| wrong(error.to_string()))?,
            };
            fields.push(Field::new(field.name(), column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| wrong(error.to_string()))
    }

    fn instants(&self, count: usize) -> ArrayRef {
        let instant = self.frame.recorded_at.as_microsecond();
        Arc::new(TimestampMicrosecondArray::from(vec![instant; count]).with_timezone("UTC"))
    }
}

/// The type of a column's values.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// Instants of commits rise strictly, in steps of at least a microsecond, whatever the clock does.
fn rising(wanted: Timestamp, newest: Option<Timestamp>) -> Timestamp {
    let whole = Timestamp::from_microsecond(wanted.as_microsecond()).unwrap_or(wanted);
    let Some(newest) = newest.filter(|newest| *newest >= whole) else {
        return whole;
    };
    Timestamp::from_microsecond(newest.as_microsecond() + 1).unwrap_or(whole)
}

fn with_column(batch: RecordBatch, extra: Vec<(Field, ArrayRef)>) -> Result<RecordBatch, arrow::error::ArrowError> {
    let (schema, mut columns, _) = batch.into_parts();
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    for (field, column) in extra {
        fields.push(field);
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[async_trait]
impl TableWriter for LakeWriter {
    async fn write(&mut self, batch: RecordBatch, source: &str) -> Result<(), StoreError> {
        let count = batch.num_rows();
        let content = self.conform(&batch, matches!(self.body, Body::Append(_)))?;
        self.frame.rows += count as u64;
        if count == 0 {
            return Ok(());
        }
        let instants = self.instants(count);
        let label = self.label().to_owned();
        let wrong = |error: arrow::error::ArrowError| rows(&label, error.to_string());
        match &mut self.body {
            Body::Append(appender) => {
                let texts = repeated_text(source, count);
                let extra = vec![
                    (Field::new(provenance::RECORDED_AT, instants.data_type().clone(), true), instants),
                    (Field::new(provenance::SOURCE, texts.data_type().clone(), true), texts),
                ];
                appender.write(with_column(content, extra).map_err(wrong)?).await
            }
            Body::Sort { sorter, sources, .. } => {
                if sources.last().is_none_or(|last| last != source) {
                    sources.push(source.to_owned());
                }
                let number = u32::try_from(sources.len() - 1).unwrap_or(u32::MAX);
                let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![number; count]));
                let extra = vec![(Field::new(SOURCE_NUMBER, DataType::UInt32, true), numbers)];
                sorter.push(with_column(content, extra).map_err(wrong)?).await
            }
        }
    }

    async fn reject(&mut self, rejected: RecordBatch) -> Result<(), StoreError> {
        let expected = Schema::new(provenance::reject_fields());
        let fits = rejected.num_columns() == expected.fields().len()
            && rejected
                .schema_ref()
                .fields()
                .iter()
                .zip(expected.fields())
                .all(|(given, wanted)| given.name() == wanted.name() && given.data_type() == wanted.data_type());
        if !fits {
            return Err(rows(self.label(), "rejected rows do not have the columns of the rejects table"));
        }
        if rejected.num_rows() == 0 {
            return Ok(());
        }
        let (appender, _) = match &mut self.rejects {
            Some(open) => open,
            None => {
                let log = self.frame.lake.log(&place::rejects_root(&self.frame.spec.name), &self.frame.log.label);
                let folder = data_folder(&self.frame.lake, &log, &self.frame.spool)?;
                let appender = Appender::new(&self.frame.log.label, folder.clone(), Partitioning::new(&[]));
                self.rejects.insert((appender, folder))
            }
        };
        appender.write(rejected).await
    }

    async fn commit(self: Box<Self>, request: CommitRequest) -> Result<CommitOutcome, StoreError> {
        crate::transaction::commit(*self, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_rise_whatever_the_clock_says() {
        let at = |micros: i64| Timestamp::from_microsecond(micros).unwrap();
        for (wanted, newest, expected) in [(5, None, 5), (5, Some(3), 5), (5, Some(5), 6), (5, Some(9), 10)] {
            assert_eq!(rising(at(wanted), newest.map(at)), at(expected));
        }
    }
}
