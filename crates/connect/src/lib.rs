//! Protocol connectors: they plan slices, read pages and prove that nothing is missing. They know protocols, never
//! datasets: what is particular to a dataset is in its pipeline file, what is particular to a provider in a dialect.

mod error;
mod source;

pub use error::ConnectError;
pub use source::{Estimate, Page, Proof, Slice, SliceEvent, Source, SourcePlan};
