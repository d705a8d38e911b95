//! What a query may see. A table that it may not see does not exist for it: not in `FROM`, not in time travel, not in
//! `information_schema`, not in the advice of an error. Of a table with a policy it sees the rows and columns that this shows.

use std::collections::{BTreeMap, BTreeSet};

use hambar_core::{Ident, TableName};
use serde::{Deserialize, Serialize};

/// The namespace of the system tables.
const SYSTEM: &str = "system";
/// The ending of a history's name.
const HISTORY: &str = "__history";
/// The ending of the name of rejected rows.
const REJECTS: &str = "__rejects";

/// What is seen of a table of which not everything may be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// What rows meet that may be seen, as SQL over the columns of the table. All of it holds.
    pub conditions: BTreeSet<String>,
    /// The columns that do not exist for whoever asks.
    pub hidden: BTreeSet<String>,
}

/// What is seen of the tables of which not everything may be seen.
pub type Policies = BTreeMap<TableName, Policy>;

/// What a query may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Visibility {
    tables: Tables,
    policies: Policies,
}

/// The tables that a query may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tables {
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
    /// Everything in these tables.
    pub fn of(tables: Tables) -> Self {
        Self { tables, policies: Policies::new() }
    }

    /// Everything in all tables.
    pub fn all() -> Self {
        Self::of(Tables::All)
    }

    /// The same tables, of which is seen what these policies show.
    pub fn with_policies(self, policies: Policies) -> Self {
        Self { policies, ..self }
    }

    /// Says whether the table may be seen.
    pub fn sees(&self, table: &TableName) -> bool {
        match &self.tables {
            Tables::All => true,
            Tables::Data => table.namespace.as_str() != SYSTEM,
            Tables::Only { namespaces, tables } => {
                namespaces.contains(&table.namespace) || tables.contains(&without(table, &[HISTORY]))
            }
        }
    }

    /// Returns the policies of all tables.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Returns what the rows of a table meet; nothing where all of them may be seen. What holds for a table holds for its
    /// history and its rejected rows.
    pub fn conditions(&self, table: &TableName) -> Option<&BTreeSet<String>> {
        self.policy(table).map(|policy| &policy.conditions).filter(|conditions| !conditions.is_empty())
    }

    /// Says whether a column of a table is hidden, in its history and its rejected rows as well.
    pub fn hides(&self, table: &TableName, column: &str) -> bool {
        self.policy(table).is_some_and(|policy| policy.hidden.contains(column))
    }

    /// Returns what is seen of a table; nothing where everything is. Whatever is made of the whole table is not for those for
    /// whom there is a policy.
    pub fn policy(&self, table: &TableName) -> Option<&Policy> {
        let policy = self.policies.get(&without(table, &[HISTORY, REJECTS]))?;
        (!policy.conditions.is_empty() || !policy.hidden.is_empty()).then_some(policy)
    }

    /// Says whether only a part of a table is seen.
    pub fn is_partial(&self, table: &TableName) -> bool {
        self.policy(table).is_some()
    }
}

/// The table that a history, or what else the endings say, belongs to; any other table as it is.
fn without(table: &TableName, endings: &[&str]) -> TableName {
    let name = table.table.as_str();
    let current = endings.iter().find_map(|ending| name.strip_suffix(ending)?.parse().ok());
    TableName { namespace: table.namespace.clone(), table: current.unwrap_or_else(|| table.table.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_does_not_exist() {
        let only = Visibility::of(Tables::Only {
            namespaces: BTreeSet::from(["eurostat".parse().unwrap()]),
            tables: BTreeSet::from(["demo.gdp".parse().unwrap()]),
        });
        let sees = |name: &str| {
            let name = name.parse().unwrap();
            (Visibility::all().sees(&name), Visibility::of(Tables::Data).sees(&name), only.sees(&name))
        };
        assert_eq!(sees("demo.gdp"), (true, true, true));
        assert_eq!(sees("demo.gdp__history"), (true, true, true));
        assert_eq!(sees("demo.gdp__rejects"), (true, true, false));
        assert_eq!(sees("demo.other"), (true, true, false));
        assert_eq!(sees("eurostat.gdp__rejects"), (true, true, true));
        assert_eq!(sees("system.runs"), (true, false, false));
    }

    #[test]
    fn a_policy_holds_for_everything_that_belongs_to_its_table() {
        let policy = Policy { conditions: ["country = 'BG'".to_owned()].into(), hidden: ["gdp".to_owned()].into() };
        let empty = ("demo.open".parse().unwrap(), Policy::default());
        let policies = Policies::from([("demo.gdp".parse().unwrap(), policy.clone()), empty]);
        let some = Visibility::all().with_policies(policies);
        for name in ["demo.gdp", "demo.gdp__history", "demo.gdp__rejects"] {
            let name = name.parse().unwrap();
            assert_eq!(
                (some.policy(&name), some.conditions(&name)),
                (Some(&policy), Some(&policy.conditions)),
                "{name}"
            );
            assert!(some.is_partial(&name) && some.hides(&name, "gdp") && !some.hides(&name, "year"), "{name}");
        }
        for name in ["demo.gdp2", "other.gdp", "demo.open"] {
            let name = name.parse().unwrap();
            assert!(!some.is_partial(&name) && !some.hides(&name, "gdp") && some.conditions(&name).is_none(), "{name}");
        }
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<Visibility>(&text).unwrap(), some);
    }
}
