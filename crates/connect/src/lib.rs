//! Protocol connectors: they plan slices, read pages and prove that nothing is missing. They know protocols, never
//! datasets: what is particular to a dataset is in its pipeline file, what is particular to a provider in a dialect.

pub mod auth;
mod body;
pub mod ckan;
mod client;
pub mod conformance;
mod error;
pub mod http_file;
pub mod json;
pub mod rest_json;
pub mod sdmx;
mod source;
mod spec;
pub mod template;

pub use auth::{AuthSpec, SecretRef, SecretResolver};
pub use error::ConnectError;
pub use source::{Estimate, Page, Proof, Slice, SliceEvent, Source, SourcePlan};
pub use spec::SourceSpec;
