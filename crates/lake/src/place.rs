//! Where a table lives in the store, and which kind of table a name stands for.

use hambar_core::TableName;
use object_store::path::Path;

/// The namespace of the system tables.
pub(crate) const SYSTEM: &str = "system";
/// Suffix of the table of superseded rows.
pub(crate) const HISTORY_SUFFIX: &str = "__history";
/// Suffix of the table of rejected rows.
pub(crate) const REJECTS_SUFFIX: &str = "__rejects";

/// The folder of a table: `tables/<namespace>/<table>`, or `system/<table>`.
pub(crate) fn table_root(table: &TableName) -> Path {
    folder(table.namespace.as_str(), table.table.as_str())
}

/// The folder of a table's history.
pub(crate) fn history_root(table: &TableName) -> Path {
    folder(table.namespace.as_str(), &format!("{}{HISTORY_SUFFIX}", table.table))
}

/// The folder of a table's rejects.
pub(crate) fn rejects_root(table: &TableName) -> Path {
    folder(table.namespace.as_str(), &format!("{}{REJECTS_SUFFIX}", table.table))
}

/// The folder of a table's leases.
pub(crate) fn leases_root(table: &TableName) -> Path {
    Path::from("leases").join(table.to_string())
}

/// Says whether a folder's name stands for a table of its own, not for the history or rejects of one.
pub(crate) fn is_current(name: &str) -> bool {
    !name.ends_with(HISTORY_SUFFIX) && !name.ends_with(REJECTS_SUFFIX)
}

fn folder(namespace: &str, table: &str) -> Path {
    if namespace == SYSTEM { Path::from(SYSTEM).join(table) } else { Path::from("tables").join(namespace).join(table) }
}
