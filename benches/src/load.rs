//! Loads the tables that the scan queries read: two Parquet files as they are, and the second one once more in two
//! releases, so that there is a past to ask for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::kernels::numeric::{add_wrapping, rem};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::Schema;
use hambar_core::{
    Checkpoint, ColumnSpec, ColumnType, CommitOutcome, CommitRequest, Ident, Licence, OnDrift, Origin, Redistribution,
    RunId, RunStamp, TableSpec, TableStore, WriteMode,
};
use hambar_lake::{Access, Lake};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const BATCH_ROWS: usize = 65_536;
/// The column that numbers the rows of the table with a past.
const ID: &str = "id";
/// The column that the second release changes.
const CHANGED: &str = "delay";
/// One row in so many is changed by the second release.
const CHANGED_EVERY: i64 = 1000;
/// When the two releases were recorded.
const RELEASES: [&str; 2] = ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"];

/// Loads `bench.observations`, `bench.flights` and `bench.delays`.
pub(crate) async fn load(observations: &Path, flights: &Path, store: &Path) -> Result<()> {
    let lake = Lake::open(&store.display().to_string(), &BTreeMap::new(), Access::ReadWrite, crate::clock()).await?;
    for (name, file) in [("observations", observations), ("flights", flights)] {
        release(&lake, &spec(name, file, WriteMode::Append)?, file, RELEASES[0], 0).await?;
    }
    let spec = spec("delays", flights, WriteMode::Snapshot)?;
    for (later, instant) in (0..).zip(RELEASES) {
        release(&lake, &spec, flights, instant, later).await?;
    }
    Ok(())
}

/// Prints the files of each table's newest version, so that others read the same.
pub(crate) async fn files(store: &Path) -> Result<()> {
    let lake = Lake::open(&store.display().to_string(), &BTreeMap::new(), Access::ReadOnly, crate::clock()).await?;
    let mut files = BTreeMap::new();
    for table in ["observations", "flights", "delays", "delays__history"] {
        let snapshot = lake.snapshot(&format!("bench.{table}").parse()?, None).await?;
        let paths: Vec<String> =
            snapshot.files.iter().map(|file| store.join(file.path.as_ref()).display().to_string()).collect();
        files.insert(format!("bench.{table}"), paths);
    }
    println!("{}", serde_json::to_string(&files)?);
    Ok(())
}

async fn release(lake: &Lake, spec: &TableSpec, file: &Path, instant: &str, later: i64) -> Result<()> {
    let state = lake.open(spec).await?;
    let stamp = RunStamp { run: RunId(format!("load-{later}")), recorded_at: instant.parse()? };
    let mut writer = lake.writer(spec, &state, stamp).await?;
    let target = spec.declared_schema();
    let mut rows: u64 = 0;
    for batch in reader(file)?.with_batch_size(BATCH_ROWS).build()? {
        let batch = batch?;
        let mut columns = BTreeMap::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            columns.insert(field.name().clone(), Arc::clone(column));
        }
        let first = i64::try_from(rows)?;
        rows += batch.num_rows() as u64;
        let ids = Int64Array::from_iter_values(first..i64::try_from(rows)?);
        if let (WriteMode::Snapshot, Some(delays)) = (spec.write, columns.get(CHANGED)) {
            columns.insert(CHANGED.to_owned(), changed(&ids, delays, later)?);
        }
        columns.insert(ID.to_owned(), Arc::new(ids));
        writer.write(conformed(&columns, &target)?, "bench").await?;
    }
    match writer.commit(CommitRequest { checkpoint: Checkpoint::default(), rows_expected: rows }).await? {
        CommitOutcome::Committed { .. } => Ok(()),
        other => bail!("the load of `{}` ended as {other:?}", spec.name),
    }
}

fn reader(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let opened = File::open(file).with_context(|| format!("read `{}`", file.display()))?;
    Ok(ParquetRecordBatchReaderBuilder::try_new(opened)?)
}

/// The column with `later` added to one value in a thousand.
fn changed(ids: &Int64Array, delays: &ArrayRef, later: i64) -> Result<ArrayRef> {
    let delays = arrow::compute::cast(delays, &arrow::datatypes::DataType::Int64)?;
    let is_changed = eq(&rem(ids, &Int64Array::new_scalar(CHANGED_EVERY))?, &Int64Array::new_scalar(7))?;
    let more = add_wrapping(&delays, &Int64Array::new_scalar(later))?;
    Ok(zip(&is_changed, &more, &delays)?)
}

fn conformed(columns: &BTreeMap<String, ArrayRef>, target: &Arc<Schema>) -> Result<RecordBatch> {
    let mut chosen = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        let column = columns.get(field.name()).with_context(|| format!("no column `{}`", field.name()))?;
        chosen.push(arrow::compute::cast(column, field.data_type())?);
    }
    Ok(RecordBatch::try_new(Arc::clone(target), chosen)?)
}

fn spec(table: &str, file: &Path, write: WriteMode) -> Result<TableSpec> {
    let mut columns = Vec::new();
    let mut key: Vec<Ident> = Vec::new();
    if write == WriteMode::Snapshot {
        key.push(ID.parse()?);
        columns.push(ColumnSpec::new(&ID.parse()?, ColumnType::Int64));
    }
    for field in reader(file)?.schema().fields() {
        let kind = match field.data_type() {
            kind if kind.is_integer() => ColumnType::Int64,
            kind if kind.is_floating() => ColumnType::Float64,
            kind if kind.is_temporal() => ColumnType::Timestamp,
            _ => ColumnType::String,
        };
        columns.push(ColumnSpec::new(&Ident::from_source(field.name()), kind));
    }
    Ok(TableSpec {
        name: format!("bench.{table}").parse()?,
        columns,
        key,
        partition_by: Vec::new(),
        write,
        on_drift: OnDrift::Fail,
        origin: Origin {
            provider: "this machine".to_owned(),
            title: table.to_owned(),
            citation: file.display().to_string(),
            landing_page: None,
            licence: Licence { spdx: "LicenseRef-unknown".to_owned(), redistribution: Redistribution::Forbidden },
        },
        description: None,
    })
}
