//! The contract between a run and the place where tables live. `hambar-lake` implements it on Delta,
//! [`crate::memory`] in memory; both pass [`crate::conformance`].

use std::fmt::Debug;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use jiff::Timestamp;

use crate::checkpoint::Checkpoint;
use crate::column::ColumnType;
use crate::error::{Classified, ErrorClass};
use crate::name::{Ident, RunId, TableName};
use crate::system::SystemTable;
use crate::table::TableSpec;

/// Where a table stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableState {
    /// Number of commits by runs so far; the next run commits `sequence + 1`.
    pub sequence: u64,
    /// The run that made the newest of them.
    pub run: Option<RunId>,
    /// The checkpoint that was committed with it.
    pub checkpoint: Checkpoint,
    /// Rows in the current table.
    pub rows: u64,
    /// Newest version of the current table; 0 right after creation.
    pub version: u64,
    /// Columns whose stored type is wider than the declared one, with that type.
    pub wider: Vec<(Ident, ColumnType)>,
}

/// Who writes, and when it saw the data.
#[derive(Debug, Clone)]
pub struct RunStamp {
    /// The run.
    pub run: RunId,
    /// The instant at which the run's rows count as recorded. The store moves it forward where needed, so that it
    /// rises strictly from commit to commit.
    pub recorded_at: Timestamp,
}

/// What a commit publishes besides the rows that were written.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The full checkpoint after this run.
    pub checkpoint: Checkpoint,
    /// Rows (without rejects) that the run has written; the store refuses to commit another number.
    pub rows_expected: u64,
}

/// How a commit ended.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Rows and checkpoint are visible.
    Committed {
        /// Version of the current table.
        version: u64,
        /// Rows that are new or replaced others.
        rows: u64,
        /// Rows whose earlier value went to the history.
        revised: u64,
        /// Rows that the provider withdrew; they went to the history.
        withdrawn: u64,
    },
    /// The rows equal those that are there; no version was written.
    Unchanged,
    /// This run had committed before (a lost reply, a repeated start).
    AlreadyApplied {
        /// The version that holds it.
        version: u64,
    },
    /// Another run committed since the writer was opened; nothing was published.
    Conflict {
        /// The run that won.
        winner: RunId,
    },
}

/// What asking for a lease gave.
#[derive(Debug)]
pub enum LeaseOutcome {
    /// It is ours until dropped or released.
    Held(Box<dyn Lease>),
    /// Somebody else has it.
    Busy {
        /// Host, process and run of the holder, for people.
        holder: String,
        /// Since when.
        since: Timestamp,
    },
}

/// Where datasets are kept.
#[async_trait]
pub trait TableStore: Debug + Send + Sync {
    /// Creates the table (and its history and rejects) if it is missing, adds columns that `spec` has and the table
    /// has not, and returns where it stands.
    ///
    /// Never drops or retypes a column, except that under [`crate::OnDrift::Widen`] it gets the declared type where that
    /// is wider ([`crate::ColumnType::widens_to`]), with all rows that are there, and the history's. A stored type that
    /// is wider than the declared one stays. Any other change is [`StoreError::Schema`].
    async fn open(&self, spec: &TableSpec) -> Result<TableState, StoreError>;

    /// Starts writing commit `state.sequence + 1`. Nothing is visible before [`TableWriter::commit`].
    ///
    /// `spec` and `state` are those of [`TableStore::open`]; the caller holds the table's lease.
    async fn writer(
        &self,
        spec: &TableSpec,
        state: &TableState,
        stamp: RunStamp,
    ) -> Result<Box<dyn TableWriter>, StoreError>;

    /// Takes the lease that covers every kind of write to `table`, without waiting.
    ///
    /// A holder that died is found out and replaced; a live one is never disturbed.
    async fn lease(&self, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError>;

    /// Adds rows to a system table in one commit; `rows` has the schema of [`SystemTable::schema`].
    async fn append_system(&self, table: SystemTable, rows: RecordBatch) -> Result<(), StoreError>;
}

/// Collects the rows of one commit. Dropping it publishes nothing.
#[async_trait]
pub trait TableWriter: Debug + Send {
    /// Takes rows in the declared schema of the table, or in narrower types that widen to the stored ones, decoded from the raw body `source` (SHA-256, hex).
    async fn write(&mut self, rows: RecordBatch, source: &str) -> Result<(), StoreError>;

    /// Takes rejected rows, in the schema of [`crate::provenance::reject_fields`].
    async fn reject(&mut self, rejected: RecordBatch) -> Result<(), StoreError>;

    /// Publishes rows, rejects, history and checkpoint as `sequence + 1`, exactly once.
    ///
    /// After any failed or unanswered write to the store the implementor reads back before it does anything else.
    /// An `Err` means that nothing was published.
    async fn commit(self: Box<Self>, request: CommitRequest) -> Result<CommitOutcome, StoreError>;
}

/// The right to write to a table, fenced by `epoch`. Dropping it lets it go as soon as possible.
#[async_trait]
pub trait Lease: Debug + Send + Sync {
    /// Returns the fencing token: rises with every holder.
    fn epoch(&self) -> u64;
    /// Fails with [`StoreError::LeaseLost`] once somebody else has taken over.
    async fn check(&self) -> Result<(), StoreError>;
    /// Lets the lease go at once.
    async fn release(self: Box<Self>) -> Result<(), StoreError>;
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage failed.
    #[error("{action} `{path}`")]
    Storage {
        /// What was attempted: `read`, `write`, `list`, `delete`, `sync`.
        action: &'static str,
        /// The object's path in the store.
        path: String,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A log file, data file or checkpoint is damaged.
    #[error("table `{table}` is damaged: {what}")]
    Damaged {
        /// The table.
        table: String,
        /// The file and what is wrong with it.
        what: String,
    },
    /// The table's columns cannot become those of the spec.
    #[error("table `{table}`, column `{column}`: stored as {stored}, declared as {declared}")]
    Schema {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type in the store.
        stored: String,
        /// Its type in the spec.
        declared: String,
    },
    /// The rows handed over break a rule of the table.
    #[error("table `{table}`: {what}")]
    Rows {
        /// The table.
        table: String,
        /// The rule and the place.
        what: String,
    },
    /// The lease was taken over by another process.
    #[error("lost the lease of table `{table}` to epoch {epoch}")]
    LeaseLost {
        /// The table.
        table: String,
        /// The new holder's epoch.
        epoch: u64,
    },
    /// Another writer kept winning.
    #[error("table `{table}`: gave up after {attempts} attempts, another writer kept committing")]
    Contended {
        /// The table.
        table: String,
        /// Attempts made.
        attempts: u32,
    },
    /// Somebody else holds the lease of the table.
    #[error("table `{table}` is held by {holder} since {since}")]
    Busy {
        /// The table.
        table: String,
        /// Host, process and step of the holder.
        holder: String,
        /// Since when.
        since: Timestamp,
    },
    /// The table, or the version asked for, is not there.
    #[error("{what} does not exist")]
    Missing {
        /// The table or version.
        what: String,
    },
    /// The store does not keep its promises (conditional put) and is not used.
    #[error("store `{url}` cannot be used: {what}")]
    Unfit {
        /// The store.
        url: String,
        /// The promise that failed.
        what: String,
    },
    /// A limit was reached.
    #[error("table `{table}`: {limit} of {value} {unit} reached")]
    Limit {
        /// The table.
        table: String,
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// Its unit.
        unit: &'static str,
    },
}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Storage { .. } | Self::Damaged { .. } | Self::Unfit { .. } => ErrorClass::Store,
            Self::Schema { .. } => ErrorClass::Drift,
            Self::Rows { .. } => ErrorClass::Data,
            Self::LeaseLost { .. } | Self::Contended { .. } | Self::Busy { .. } => ErrorClass::Conflict,
            Self::Missing { .. } => ErrorClass::Query,
            Self::Limit { .. } => ErrorClass::Limit,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => Some("run `hambar fsck` to see everything that is wrong".to_owned()),
            Self::Schema { .. } => {
                let may = "with `write.on_drift = \"widen\"` a column may become wider (int32 to int64, float64 or decimal, \
                           int64 to decimal, decimal to more digits, date to timestamp), never narrower";
                Some(format!("{may}; else give the new column another name, or the table"))
            }
            Self::Contended { .. } | Self::LeaseLost { .. } | Self::Busy { .. } => {
                Some("see `hambar runs` for who else writes to it".to_owned())
            }
            Self::Storage { .. }
            | Self::Rows { .. }
            | Self::Missing { .. }
            | Self::Unfit { .. }
            | Self::Limit { .. } => None,
        }
    }
}
