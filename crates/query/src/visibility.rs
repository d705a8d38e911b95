//! Which tables a query may see. What it may not see does not exist for it: not in `FROM`, not in time travel, not in
//! `information_schema`, not in the advice of an error.

use std::collections::BTreeSet;

use hambar_core::{Ident, TableName};
use serde::{Deserialize, Serialize};

/// The namespace of the system tables.
const SYSTEM: &str = "system";
/// The ending of a history's name.
const HISTORY: &str = "__history";

/// The tables that a query may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Visibility {
    /// Every table, the system tables included.
    All,
    /// Every table outside `system`.
    Data,
    /// These and no others.
    Only {
        /// Namespaces with everything in them, histories and rejected rows included.
        namespaces: BTreeSet<Ident>,
        /// Single tables with their histories, without their rejected rows.
        tables: BTreeSet<TableName>,
    },
}

impl Visibility {
    /// Says whether the table may be seen.
    pub fn sees(&self, table: &TableName) -> bool {
        match self {
            Self::All => true,
            Self::Data => table.namespace.as_str() != SYSTEM,
            Self::Only { namespaces, tables } => {
                namespaces.contains(&table.namespace) || tables.contains(&current_of(table))
            }
        }
    }
}

/// The table that a history belongs to; any other table as it is.
fn current_of(table: &TableName) -> TableName {
    let current = table.table.as_str().strip_suffix(HISTORY).and_then(|name| name.parse().ok());
    let current = current.unwrap_or_else(|| table.table.clone());
    TableName { namespace: table.namespace.clone(), table: current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_does_not_exist() {
        let only = Visibility::Only {
            namespaces: BTreeSet::from(["eurostat".parse().unwrap()]),
            tables: BTreeSet::from(["demo.gdp".parse().unwrap()]),
        };
        let sees = |name: &str| {
            let name = name.parse().unwrap();
            (Visibility::All.sees(&name), Visibility::Data.sees(&name), only.sees(&name))
        };
        assert_eq!(sees("demo.gdp"), (true, true, true));
        assert_eq!(sees("demo.gdp__history"), (true, true, true));
        assert_eq!(sees("demo.gdp__rejects"), (true, true, false));
        assert_eq!(sees("demo.other"), (true, true, false));
        assert_eq!(sees("eurostat.gdp__rejects"), (true, true, true));
        assert_eq!(sees("system.runs"), (true, false, false));
    }
}
