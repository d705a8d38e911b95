//! Bytes → Arrow, and Arrow → the table's schema. Pure and synchronous: no clock, no network; files are only those
//! handed in. Meant to run in a child process under limits, because its input is untrusted.

pub mod columnar;
pub mod conform;
pub mod csv;
pub mod encoding;
pub mod excel;
pub mod fixed;
pub mod infer;
pub mod json;
pub mod sdmx;
pub mod spec;
pub mod worker;

mod archive;
mod compress;
mod decode;
mod dictionary;
mod error;
mod input;
mod open;
mod pump;
mod record;
mod text_column;

pub use conform::{Conformer, table_columns};
pub use decode::{decode, serve};
pub use error::DecodeError;
pub use input::Input;
pub use open::{EachMember, OpenReport, for_each_member};
pub use record::{Conformed, DecodeReport, Fault, RecordSource, SourceBatch};
