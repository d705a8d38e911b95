//! The vocabulary of Hambar: names, column types, table specs, checkpoints, error classes, origin and
//! licence, and the contracts of the store. No I/O, no runtime, and no clock is read here.

pub mod checkpoint;
pub mod citation;
pub mod column;
pub mod conformance;
pub mod error;
pub mod fingerprint;
pub mod licence;
pub mod limits;
pub mod memory;
pub mod name;
pub mod origin;
pub mod provenance;
pub mod store;
pub mod system;
pub mod table;
pub mod views;

pub use checkpoint::{Checkpoint, Position, Seen, SliceId, SliceState, Validators};
pub use column::{ColumnSpec, ColumnType};
pub use error::{Chain, Classified, ErrorClass};
pub use fingerprint::Fingerprint;
pub use name::{Ident, NameError, RunId, TableName};
pub use origin::{Licence, Origin, Redistribution};
pub use store::{
    CommitOutcome, CommitRequest, Lease, LeaseOutcome, RunStamp, StoreError, TableState, TableStore, TableWriter,
};
pub use system::SystemTable;
pub use table::{OnDrift, Retype, TableSpec, WriteMode};

/// Reads the time. Only the binary and tests implement it, so that everything else is reproducible.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Returns the current instant in UTC.
    fn now(&self) -> jiff::Timestamp;
}
