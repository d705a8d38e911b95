//! Bytes → Arrow, and Arrow → the table's schema. Pure and synchronous: no clock, no network; files are only those
//! handed in. Meant to run in a child process under limits, because its input is untrusted.

pub mod conform;
pub mod spec;
pub mod worker;

mod error;
mod input;
mod record;

pub use conform::{Conformer, table_columns};
pub use error::DecodeError;
pub use input::Input;
pub use record::{Conformed, DecodeReport, Fault, RecordSource, SourceBatch};
