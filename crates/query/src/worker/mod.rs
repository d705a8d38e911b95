//! The query worker: a child process of the same binary that plans and runs one statement under limits of the
//! operating system. The parent never plans. What SQL can do to its own process, it does to a process nobody misses.

mod child;
mod frame;
mod parent;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use child::child_main;
pub use parent::{QueryWorker, QueryWorkers};

use crate::limits::QueryLimits;

/// What the parent asks of a worker, sent as JSON over its standard input.
#[derive(Clone, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The store's URL or folder.
    pub store: String,
    /// The store's options; may hold secrets, and therefore is never printed.
    pub options: BTreeMap<String, String>,
    /// The statement.
    pub sql: String,
    /// The limits.
    pub limits: QueryLimits,
    /// The folder for spilled rows. [`QueryWorkers::run`] fills it in.
    #[serde(default)]
    pub spill: PathBuf,
}

impl fmt::Debug for QueryRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QueryRequest")
            .field("store", &self.store)
            .field("sql", &self.sql)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Says whether the store is reached over the network.
pub(crate) fn is_remote(store: &str) -> bool {
    store.contains("://") && !store.starts_with("file://")
}
