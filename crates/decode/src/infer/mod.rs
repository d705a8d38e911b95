//! Proposals for a pipeline file: what a body is, how its text is written, and which types its columns have. People
//! review them; nothing here runs during collection. Types are inferred from all rows, never from a sample.

mod columns;
mod dialect;
mod key;
mod kind;
mod sniff;

pub use columns::{Inferred, columns};
pub use dialect::dialect;
pub use sniff::{Sniffed, sniff};
