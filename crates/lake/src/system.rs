//! Appends to the system tables: many writers, no leases, no row lost or doubled.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use hambar_core::{Ident, StoreError, SystemTable, TableName};

use crate::actions::Line;
use crate::append::Appender;
use crate::commit::{self, Put, info};
use crate::create::{Wanted, ensure};
use crate::error::rows;
use crate::lake::Lake;
use crate::partition::Partitioning;
use crate::place;
use crate::publish::{Spool, data_folder, flush_entries, publish};

/// Versions tried before other writers are held responsible.
const ATTEMPTS_MAX: u32 = 1_000;

/// Adds `batch` to `table` in one commit. An append conflicts with nothing, so a lost race is simply repeated one
/// version further on; the same file is never added twice, since each version is read back.
pub(crate) async fn append(lake: &Lake, table: SystemTable, batch: RecordBatch) -> Result<(), StoreError> {
    let name = name_of(table)?;
    let label = name.to_string();
    let expected = table.schema();
    if batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| (field.name(), field.data_type()))
        .ne(expected.fields().iter().map(|field| (field.name(), field.data_type())))
    {
        return Err(rows(&label, "rows do not have the columns of the table"));
    }
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let count = batch.num_rows();
    let log = lake.log(&place::table_root(&name), &label);
    let mut state = ensure(lake, &log, &Wanted::plain(expected.as_ref().clone())).await?;
    let spool = Spool::new(lake)?;
    let folder = data_folder(lake, &log, &spool)?;
    let mut appender = Appender::new(&label, folder.clone(), Partitioning::new(&[]));
    appender.write(batch).await?;
    let appended = appender.finish().await?;
    let mut lines = vec![Line::default()];
    for (values, file) in &appended.files {
        let add = publish(lake, &log, &[], values, file, BTreeMap::new()).await?;
        lines.push(Line { add: Some(add), ..Line::default() });
    }
    flush_entries(lake, &folder, appended.files.iter().map(|(_, file)| file)).await?;
    let now = lake.inner.clock.now().as_millisecond();
    lines[0] = info("WRITE", now, [("hambar.rows", count.into())]);
    for attempt in 1..=ATTEMPTS_MAX {
        match commit::put(&log, state.version + 1, &lines).await? {
            Put::Won => {
                // Only warms the cache; the rows are durable whatever comes of it.
                let _ = lake.newest(&log).await;
                return Ok(());
            }
            Put::Lost => commit::pause(attempt.min(2)).await,
        }
        state = lake.state(&log, None).await?;
    }
    Err(StoreError::Contended { table: label, attempts: ATTEMPTS_MAX })
}

/// The name of a system table.
pub(crate) fn name_of(table: SystemTable) -> Result<TableName, StoreError> {
    let ident = |text: &str| text.parse::<Ident>().map_err(|error| rows(text, error.to_string()));
    Ok(TableName { namespace: ident(place::SYSTEM)?, table: ident(table.name())? })
}
