//! Turns the errors of storage, Arrow and Parquet into [`StoreError`]s that name the object.

use std::path::Path as FilePath;

use hambar_core::StoreError;
use object_store::path::Path;

/// The storage failed at `path`.
pub(crate) fn storage(
    action: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Storage { action, path: path.to_string(), source: source.into() }
}

/// The local file system failed at `path`.
pub(crate) fn file(
    action: &'static str,
    path: &FilePath,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Storage { action, path: path.display().to_string(), source: source.into() }
}

/// A file of `table` does not hold what it should.
pub(crate) fn damaged(table: &str, what: impl Into<String>) -> StoreError {
    StoreError::Damaged { table: table.to_owned(), what: what.into() }
}

/// The rows break a rule of `table`.
pub(crate) fn rows(table: &str, what: impl Into<String>) -> StoreError {
    StoreError::Rows { table: table.to_owned(), what: what.into() }
}

/// A background job of this crate ended abnormally.
pub(crate) fn job(table: &str, error: &tokio::task::JoinError) -> StoreError {
    rows(table, format!("a writing job ended abnormally: {error}"))
}
