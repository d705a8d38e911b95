//! Whoever asks, as the rest of the server sees them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use hambar_core::{Ident, TableName};
use hambar_query::{Tables, Visibility};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ANONYMOUS, MembersState, Quota, TokenRecord, Whom};

/// The namespace that tells about the centre itself.
const SYSTEM: &str = "system";

/// What a member may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads the tables of its scopes.
    Reader,
    /// Looks after tables; reads the same.
    Curator,
    /// Looks after the centre: reads `system.*`, sees and stops everybody's queries, reads the metrics.
    Operator,
    /// Administers members.
    Administrator,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Curator, Self::Operator, Self::Administrator];

    /// Returns the role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Curator => "curator",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("`{text}` is no role: use reader, curator, operator or administrator"))
    }
}

/// What a token reaches: everything, or one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Every namespace, `*`.
    Everything,
    /// One namespace.
    Namespace(Ident),
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        text.parse().map(Self::Namespace).map_err(|error| error.to_string())
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Everything => "*".to_owned(),
            Scope::Namespace(name) => name.as_str().to_owned(),
        }
    }
}

/// Whoever asks. Made by [`super::Authenticator`] and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    who: Who,
    visibility: Arc<Visibility>,
    quota: Quota,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Anonymous(Option<IpAddr>),
    Member { organisation: String, name: String, token: String, role: Role },
}

impl Principal {
    /// Somebody without a token, who sees `tables`, as far as `state` lets him.
    pub(crate) fn anonymous(address: Option<IpAddr>, tables: BTreeSet<TableName>, state: &MembersState) -> Self {
        let visibility = Visibility::of(Tables::Only { namespaces: BTreeSet::new(), tables });
        let visibility = visibility.with_policies(state.policies_of(&Whom::anonymous()));
        Self { who: Who::Anonymous(address), visibility: Arc::new(visibility), quota: state.quota(ANONYMOUS) }
    }

    /// The holder of a token of `state`.
    pub(crate) fn member(record: &TokenRecord, state: &MembersState) -> Self {
        let who = Who::Member {
            organisation: record.organisation.clone(),
            name: record.name.clone(),
            token: record.id.clone(),
            role: record.role,
        };
        let (organisation, member) = (record.organisation.clone(), Some(record.name.clone()));
        let policies = state.policies_of(&Whom { organisation, member, role: Some(record.role) });
        let visibility = visibility(record.role, &record.scopes).with_policies(policies);
        Self { who, visibility: Arc::new(visibility), quota: state.quota(&record.organisation) }
    }

    /// The same with what `state` says of them now; nothing where they are no longer the same, or see something else.
    pub(crate) fn renewed(&self, state: &MembersState, now: Timestamp) -> Option<Self> {
        let Some(token) = self.token() else {
            let sees_the_same = *self.visibility.policies() == state.policies_of(&Whom::anonymous());
            return sees_the_same.then(|| Self { quota: state.quota(ANONYMOUS), ..self.clone() });
        };
        let record = state.token(token).filter(|record| record.is_valid(now))?;
        let renewed = Self::member(record, state);
        (renewed.who == self.who && renewed.visibility == self.visibility).then_some(renewed)
    }

    /// Returns who shares a quota with them: the members of their organisation, or all people without a token.
    pub fn shares_with(&self) -> &str {
        self.organisation().unwrap_or(ANONYMOUS)
    }

    /// Returns what they may use in a day, together with whom they share it.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns what of which tables exists for them.
    pub fn visibility(&self) -> &Visibility {
        &self.visibility
    }

    /// Returns the name under which they appear in logs: `organisation/name`, or `anonymous`.
    pub fn name(&self) -> String {
        match &self.who {
            Who::Anonymous(_) => "anonymous".to_owned(),
            Who::Member { organisation, name, .. } => format!("{organisation}/{name}"),
        }
    }

    /// Returns whose queries count together: a token's, or those from one address (of IPv6, one /64 network).
    pub fn counted_as(&self) -> String {
        match &self.who {
            Who::Member { token, .. } => token.clone(),
            Who::Anonymous(None) => "anonymous".to_owned(),
            Who::Anonymous(Some(IpAddr::V4(address))) => format!("anonymous {address}"),
            Who::Anonymous(Some(IpAddr::V6(address))) => {
                let network = u128::from(*address) >> 64;
                format!("anonymous {network:x}")
            }
        }
    }

    /// Returns the organisation of a member.
    pub fn organisation(&self) -> Option<&str> {
        match &self.who {
            Who::Anonymous(_) => None,
            Who::Member { organisation, .. } => Some(organisation),
        }
    }

    /// Returns the id of a member's token; not a secret.
    pub fn token(&self) -> Option<&str> {
        match &self.who {
            Who::Anonymous(_) => None,
            Who::Member { token, .. } => Some(token),
        }
    }

    /// Returns the role of a member.
    pub fn role(&self) -> Option<Role> {
        match &self.who {
            Who::Anonymous(_) => None,
            Who::Member { role, .. } => Some(*role),
        }
    }

    /// Says whether they have at least this role.
    pub fn is_at_least(&self, role: Role) -> bool {
        self.role().is_some_and(|own| own >= role)
    }
}

fn visibility(role: Role, scopes: &BTreeSet<Scope>) -> Visibility {
    let is_operator = role >= Role::Operator;
    if scopes.contains(&Scope::Everything) {
        return Visibility::of(if is_operator { Tables::All } else { Tables::Data });
    }
    let namespaces = scopes.iter().filter_map(|scope| match scope {
        Scope::Everything => None,
        // What the centre says about itself is for those who look after it.
        Scope::Namespace(name) if name.as_str() == SYSTEM && !is_operator => None,
        Scope::Namespace(name) => Some(name.clone()),
    });
    Visibility::of(Tables::Only { namespaces: namespaces.collect(), tables: BTreeSet::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_scopes_say_what_is_seen() {
        let sees = |role: Role, scopes: &[&str], table: &str| {
            let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            visibility(role, &scopes).sees(&table.parse().unwrap())
        };
        for role in Role::ALL {
            let is_operator = role >= Role::Operator;
            assert!(sees(role, &["*"], "demo.gdp") && sees(role, &["demo"], "demo.gdp__rejects"), "{role}");
            assert!(!sees(role, &["demo"], "other.gdp") && !sees(role, &[], "demo.gdp"), "{role}");
            assert_eq!(sees(role, &["*"], "system.runs"), is_operator, "{role}");
            assert_eq!(sees(role, &["system"], "system.runs"), is_operator, "{role}");
            assert!(!sees(role, &["demo"], "system.runs"), "{role}");
        }
    }
}
