//! Keeps what maintenance did in `system.maintenance`: one row for each action that changed something.

use hambar_core::system::{Cell, system_batch};
use hambar_core::{Chain, SystemTable, TableName, TableStore};
use jiff::Timestamp;

use crate::lake::Lake;

/// What was done to a table.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) table: TableName,
    /// `optimize`, `vacuum` or `expire`.
    pub(super) name: &'static str,
    pub(super) started_at: Timestamp,
    /// The version that it made.
    pub(super) version: Option<u64>,
    /// Rows that were rewritten, or let go.
    pub(super) rows: Option<u64>,
    pub(super) files_removed: u64,
    pub(super) files_added: u64,
    pub(super) bytes_removed: u64,
    pub(super) bytes_added: u64,
}

impl Action {
    /// An action that changed nothing yet.
    pub(super) fn new(table: &TableName, name: &'static str, started_at: Timestamp) -> Self {
        Self {
            table: table.clone(),
            name,
            started_at,
            version: None,
            rows: None,
            files_removed: 0,
            files_added: 0,
            bytes_removed: 0,
            bytes_added: 0,
        }
    }
}

impl Lake {
    /// Adds a row for `action`, which is done whatever becomes of the row.
    pub(super) async fn record(&self, action: Action) {
        let row: Vec<(&'static str, Cell)> = vec![
            ("table", action.table.to_string().into()),
            ("action", action.name.into()),
            ("started_at", action.started_at.into()),
            ("finished_at", self.inner.clock.now().into()),
            ("version", action.version.into()),
            ("rows", action.rows.into()),
            ("files_removed", action.files_removed.into()),
            ("files_added", action.files_added.into()),
            ("bytes_removed", action.bytes_removed.into()),
            ("bytes_added", action.bytes_added.into()),
        ];
        let batch = system_batch(SystemTable::Maintenance, &[row]);
        if let Err(error) = self.append_system(SystemTable::Maintenance, batch).await {
            tracing::warn!(table = %action.table, error = %Chain(&error), "`system.maintenance` was not written");
        }
    }
}
