//! What administrators set besides tokens: which rows and columns of a table somebody sees. It is kept with the members and
//! changed like them.

use std::collections::BTreeSet;
use std::fmt;

use hambar_core::TableName;
use hambar_query::Policies;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccessError, Members, MembersState, Role};

/// Stands in place of an organisation for people without a token.
pub const ANONYMOUS: &str = "anonymous";
/// What separates a table's name from the ending of a history's or of rejected rows'.
const BESIDE: &str = "__";
/// Stands before the names of columns that Hambar adds: without them there is no history.
const OWN: char = '_';

/// Whom a policy is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// Whose members; [`ANONYMOUS`] for people without a token.
    pub organisation: String,
    /// Only the holder of the token of this name; all members without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Only members with this role; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl Whom {
    /// Reads `organisation` or `organisation/member`.
    pub fn of(text: &str, role: Option<Role>) -> Self {
        let (organisation, member) = match text.split_once('/') {
            Some((organisation, member)) => (organisation, Some(member.to_owned())),
            None => (text, None),
        };
        Self { organisation: organisation.to_owned(), member, role }
    }

    /// Returns what [`Self::of`] read, without the role.
    pub fn whose(&self) -> String {
        match &self.member {
            Some(member) => format!("{}/{member}", self.organisation),
            None => self.organisation.clone(),
        }
    }

    /// People without a token.
    pub(crate) fn anonymous() -> Self {
        Self::of(ANONYMOUS, None)
    }

    /// Says whether it means somebody, who is said with name and role.
    fn means(&self, somebody: &Self) -> bool {
        self.organisation == somebody.organisation
            && (self.member.is_none() || self.member == somebody.member)
            && (self.role.is_none() || self.role == somebody.role)
    }

    fn check(&self, state: &MembersState) -> Result<(), AccessError> {
        let Self { organisation, member, role } = self;
        if organisation == ANONYMOUS {
            let is_plain = member.is_none() && role.is_none();
            let what = "people without a token have no role and no names".to_owned();
            return if is_plain { Ok(()) } else { Err(AccessError::Policy { what }) };
        }
        if !state.organisations.iter().any(|known| known.name == *organisation) {
            return Err(AccessError::Unknown { what: format!("organisation `{organisation}`") });
        }
        let is_theirs =
            |name: &String| state.tokens.iter().any(|token| token.organisation == *organisation && token.name == *name);
        match member.as_ref().filter(|name| !is_theirs(name)) {
            Some(name) => Err(AccessError::Unknown { what: format!("token `{organisation}/{name}`") }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.whose())?;
        match self.role {
            Some(role) => write!(formatter, " ({role})"),
            None => Ok(()),
        }
    }
}

/// Which rows of a table somebody sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPolicy {
    /// Whom it is for.
    #[serde(flatten)]
    pub whom: Whom,
    /// The table; it holds for its history and its rejected rows as well.
    pub table: TableName,
    /// What a row meets, as SQL over the columns of the table.
    pub condition: String,
    /// When it was set.
    pub set_at: Timestamp,
}

/// Which columns of a table somebody does not see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPolicy {
    /// Whom it is for.
    #[serde(flatten)]
    pub whom: Whom,
    /// The table; it holds for its history and its rejected rows as well.
    pub table: TableName,
    /// The columns that do not exist for them.
    pub hidden: BTreeSet<String>,
    /// When it was set.
    pub set_at: Timestamp,
}

impl MembersState {
    /// Returns the policies that hold for somebody, who is said with name and role.
    pub fn policies_of(&self, somebody: &Whom) -> Policies {
        let mut found = Policies::new();
        for policy in self.policies.iter().filter(|policy| policy.whom.means(somebody)) {
            found.entry(policy.table.clone()).or_default().conditions.insert(policy.condition.clone());
        }
        for policy in self.column_policies.iter().filter(|policy| policy.whom.means(somebody)) {
            found.entry(policy.table.clone()).or_default().hidden.extend(policy.hidden.iter().cloned());
        }
        found
    }
}

impl Members {
    /// Sets a row policy, in place of the one that there is for the same people and table. Whether the condition fits the
    /// table is for the caller to find out before.
    ///
    /// # Errors
    /// Where there are no such people, the table is a history or rejected rows, or the store fails.
    pub async fn set_policy(&self, whom: &Whom, table: &TableName, condition: &str) -> Result<(), AccessError> {
        check_table(table)?;
        self.change(|state, now| {
            whom.check(state)?;
            state.policies.retain(|policy| policy.whom != *whom || policy.table != *table);
            let (table, condition) = (table.clone(), condition.to_owned());
            state.policies.push(RowPolicy { whom: whom.clone(), table, condition, set_at: now });
            Ok(())
        })
        .await
    }

    /// Takes a row policy away.
    ///
    /// # Errors
    /// Where there is none for these people and this table, or the store fails.
    pub async fn remove_policy(&self, whom: &Whom, table: &TableName) -> Result<(), AccessError> {
        self.change(|state, _| {
            let before = state.policies.len();
            state.policies.retain(|policy| policy.whom != *whom || policy.table != *table);
            if state.policies.len() < before {
                return Ok(());
            }
            Err(AccessError::Unknown { what: format!("policy for {whom} on the rows of `{table}`") })
        })
        .await
    }

    /// Hides columns, in place of those that are hidden from the same people in the same table. Whether the table has them
    /// is for the caller to find out before.
    ///
    /// # Errors
    /// Where there are no such people, the table is a history or rejected rows, a column is Hambar's own, or the store fails.
    pub async fn hide_columns(
        &self,
        whom: &Whom,
        table: &TableName,
        hidden: &BTreeSet<String>,
    ) -> Result<(), AccessError> {
        check_table(table)?;
        if let Some(own) = hidden.iter().find(|name| name.starts_with(OWN)) {
            let what = format!("`{own}` cannot be hidden: the history of `{table}` is made of it");
            return Err(AccessError::Policy { what });
        }
        self.change(|state, now| {
            whom.check(state)?;
            state.column_policies.retain(|policy| policy.whom != *whom || policy.table != *table);
            let (table, hidden) = (table.clone(), hidden.clone());
            state.column_policies.push(ColumnPolicy { whom: whom.clone(), table, hidden, set_at: now });
            Ok(())
        })
        .await
    }

    /// Shows the columns again that are hidden from these people in this table.
    ///
    /// # Errors
    /// Where none are, or the store fails.
    pub async fn show_columns(&self, whom: &Whom, table: &TableName) -> Result<(), AccessError> {
        self.change(|state, _| {
            let before = state.column_policies.len();
            state.column_policies.retain(|policy| policy.whom != *whom || policy.table != *table);
            if state.column_policies.len() < before {
                return Ok(());
            }
            Err(AccessError::Unknown { what: format!("policy for {whom} on the columns of `{table}`") })
        })
        .await
    }
}

fn check_table(table: &TableName) -> Result<(), AccessError> {
    match table.table.as_str().split_once(BESIDE) {
        None => Ok(()),
        Some((current, _)) => {
            let what =
                format!("`{table}` follows the policy of `{}.{current}`: set it for that table", table.namespace);
            Err(AccessError::Policy { what })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET_AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn rows(whom: &str, role: Option<Role>, condition: &str) -> RowPolicy {
        let (table, condition) = ("demo.gdp".parse().unwrap(), condition.to_owned());
        RowPolicy { whom: Whom::of(whom, role), table, condition, set_at: SET_AT }
    }

    fn columns(whom: &str, role: Option<Role>, table: &str, hidden: &str) -> ColumnPolicy {
        let hidden = [hidden.to_owned()].into();
        ColumnPolicy { whom: Whom::of(whom, role), table: table.parse().unwrap(), hidden, set_at: SET_AT }
    }

    #[test]
    fn all_policies_that_mean_somebody_hold_for_him() {
        let state = MembersState {
            policies: vec![
                rows("sofia", None, "a"),
                rows("sofia", Some(Role::Reader), "b"),
                rows("varna", None, "c"),
                rows(ANONYMOUS, None, "d"),
                rows("sofia/ana", None, "e"),
                rows("sofia/ana", Some(Role::Curator), "f"),
            ],
            column_policies: vec![
                columns("sofia/boris", None, "demo.gdp", "x"),
                columns("sofia", Some(Role::Reader), "demo.gdp", "y"),
                columns("sofia", None, "demo.other", "z"),
            ],
            ..MembersState::default()
        };
        let of = |whom: &str, role: Option<Role>| {
            let found = state.policies_of(&Whom::of(whom, role)).into_iter().map(|(table, policy)| {
                let joined = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(" ");
                format!("{table}: {} | {}", joined(policy.conditions), joined(policy.hidden))
            });
            found.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(of("sofia/ana", Some(Role::Reader)), "demo.gdp: a b e | y, demo.other:  | z");
        assert_eq!(of("sofia/boris", Some(Role::Reader)), "demo.gdp: a b | x y, demo.other:  | z");
        assert_eq!(of("sofia/boris", Some(Role::Administrator)), "demo.gdp: a | x, demo.other:  | z");
        assert_eq!(of("varna/ana", Some(Role::Reader)), "demo.gdp: c | ");
        assert_eq!(of(ANONYMOUS, None), "demo.gdp: d | ");
        assert_eq!(of("plovdiv/ana", Some(Role::Reader)), "");
    }

    #[test]
    fn what_earlier_servers_wrote_has_no_policies_and_no_quotas() {
        let text = r#"{"number":1,"organisations":[{"name":"a","title":"A","created_at":"2026-01-01T00:00:00Z"}],"tokens":[]}"#;
        let state: MembersState = serde_json::from_str(text).unwrap();
        assert!(state.policies.is_empty() && state.column_policies.is_empty() && state.quotas().next().is_none());
        let written = serde_json::to_string(&state).unwrap();
        assert!(!written.contains("quota") && !written.contains("policies"), "nor is one written down: {written}");
    }

    #[test]
    fn whom_it_is_for_is_written_as_it_is_read() {
        for whom in [Whom::anonymous(), Whom::of("sofia", Some(Role::Reader)), Whom::of("sofia/ana", None)] {
            let text = serde_json::to_string(&RowPolicy { whom: whom.clone(), ..rows("x", None, "true") }).unwrap();
            assert_eq!(serde_json::from_str::<RowPolicy>(&text).unwrap().whom, whom, "{text}");
        }
        assert_eq!(Whom::of("sofia/ana", Some(Role::Reader)).to_string(), "sofia/ana (reader)");
    }
}
