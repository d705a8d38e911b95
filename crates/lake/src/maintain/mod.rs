//! Looking after tables: log checkpoints, rewriting small files, removing what nobody needs, and checking everything.
//! Every change happens under the table's lease and is compared with what was there before it counts.

mod check;
mod checkpoint;
mod expire;
mod leftovers;
mod optimize;
mod vacuum;

pub use check::{RawReport, TableReport};
pub use expire::Expired;
pub use optimize::Optimized;
pub(crate) use optimize::sort_key;
pub use vacuum::{RETENTION_DAYS_MIN, Vacuumed};

use hambar_core::{Lease, LeaseOutcome, StoreError, TableName, TableStore};

use crate::lake::Lake;
use crate::log::TableLog;
use crate::place;

/// The log of any table: current, history, rejects or system.
fn log_of(lake: &Lake, table: &TableName) -> TableLog {
    lake.log(&place::table_root(table), &table.to_string())
}

/// The name under which the lease of `table` is taken: history and rejects share that of their current table.
fn lease_name(table: &TableName) -> TableName {
    let name = table.table.as_str();
    let stem = name.strip_suffix(place::HISTORY_SUFFIX).or_else(|| name.strip_suffix(place::REJECTS_SUFFIX));
    match stem.and_then(|stem| stem.parse().ok()) {
        Some(stem) => TableName { namespace: table.namespace.clone(), table: stem },
        None => table.clone(),
    }
}

/// Takes the lease for a maintenance step.
async fn leased(lake: &Lake, table: &TableName, step: &str) -> Result<Box<dyn Lease>, StoreError> {
    match lake.lease(&lease_name(table), &format!("hambar {step}")).await? {
        LeaseOutcome::Held(lease) => Ok(lease),
        LeaseOutcome::Busy { holder, since } => Err(StoreError::Busy { table: table.to_string(), holder, since }),
    }
}

impl Lake {
    /// Lists the names of a current table and of its history and rejects, where they exist.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn family(&self, table: &TableName) -> Result<Vec<TableName>, StoreError> {
        let mut found = vec![table.clone()];
        for suffix in [place::HISTORY_SUFFIX, place::REJECTS_SUFFIX] {
            if let Ok(side) = format!("{table}{suffix}").parse::<TableName>()
                && self.exists(&side).await?
            {
                found.push(side);
            }
        }
        Ok(found)
    }
}
