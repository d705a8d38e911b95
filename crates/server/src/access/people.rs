//! People who log in elsewhere: members whose proof is what a provider of logins says of them. Each is a record beside
//! the tokens, with a secret that nobody knows, so that everything that holds for tokens holds for them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::members::{check_name, record};
use super::{AccessError, Members, MembersState, NewToken, Role, Scope, TokenRecord};

/// How somebody who logs in elsewhere became a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Person {
    /// An administrator added them, and says what they may do.
    Added,
    /// The provider of logins said what they may do, the last time they logged in.
    Granted,
}

/// What somebody gets by what the provider of logins says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Their organisation.
    pub organisation: String,
    /// What they may do.
    pub role: Role,
    /// What they reach.
    pub scopes: BTreeSet<Scope>,
}

impl Grant {
    fn is_of(&self, record: &TokenRecord) -> bool {
        (&self.organisation, self.role, &self.scopes) == (&record.organisation, record.role, &record.scopes)
    }
}

/// Returns the name of a person: mail addresses are the same in capitals.
pub(crate) fn person_name(name: &str) -> String {
    if name.contains('@') { name.to_ascii_lowercase() } else { name.to_owned() }
}

impl MembersState {
    /// Returns the person with this name: the one who is a member at `now`, else the last one who was.
    fn person(&self, name: &str, now: Timestamp) -> Option<&TokenRecord> {
        let named = || self.tokens.iter().rev().filter(|record| record.person.is_some() && record.name == name);
        named().find(|record| record.is_valid(now)).or_else(|| named().next())
    }
}

impl Members {
    /// Adds a person who logs in elsewhere. Their name is what the provider of logins calls them.
    ///
    /// # Errors
    /// Where the organisation is unknown, the name is taken, also in another organisation, or the store fails.
    pub async fn add_person(&self, wanted: &NewToken) -> Result<TokenRecord, AccessError> {
        let wanted = NewToken { name: person_name(&wanted.name), ..wanted.clone() };
        let (record, _) = record(&wanted, Some(Person::Added), self.now())?;
        self.change(|state, now| {
            if state.person(&record.name, now).is_some_and(|known| known.is_valid(now)) {
                return Err(AccessError::Taken { what: format!("person `{}`", record.name) });
            }
            state.add(&record, now)
        })
        .await?;
        Ok(record)
    }

    /// Returns the member that the provider of logins calls `name`, with what it grants them now; nobody where they are
    /// no member and nothing is granted. Whom an administrator added keeps what they were given; whom one removed
    /// stays out until one adds them again.
    ///
    /// # Errors
    /// Where the organisation is unknown, or the store fails.
    pub(crate) async fn admit(&self, name: &str, grant: Option<&Grant>) -> Result<Option<TokenRecord>, AccessError> {
        let state = self.state_just_now().await?;
        let known = state.person(name, self.now());
        let (known, grant) = match (known, grant) {
            (Some(known), _) if !known.is_valid(self.now()) => return Ok(None),
            (Some(known), _) if known.person == Some(Person::Added) => return Ok(Some(known.clone())),
            (Some(known), Some(grant)) if grant.is_of(known) => return Ok(Some(known.clone())),
            (_, None) => return Ok(None),
            (known, Some(grant)) => (known, grant),
        };
        match known {
            Some(known) => self.regrant(&known.id, grant).await?,
            None => self.add_granted(name, grant).await?,
        }
        let state = self.state_just_now().await?;
        let found = state.person(name, self.now()).filter(|record| record.is_valid(self.now()));
        // Somebody else may have changed them in between: what holds is what the store says.
        Ok(found.cloned())
    }

    async fn add_granted(&self, name: &str, grant: &Grant) -> Result<(), AccessError> {
        let Grant { organisation, role, scopes } = grant.clone();
        let wanted = NewToken { organisation, name: name.to_owned(), role, scopes, expires_at: None };
        let (record, _) = record(&wanted, Some(Person::Granted), self.now())?;
        self.change(|state, now| match state.person(name, now) {
            // Another server was faster.
            Some(_) => Ok(()),
            None => state.add(&record, now),
        })
        .await
    }

    async fn regrant(&self, id: &str, grant: &Grant) -> Result<(), AccessError> {
        self.change(|state, now| {
            state.has_organisation(&grant.organisation)?;
            let found = state.tokens.iter_mut().find(|record| record.id == id && record.is_valid(now));
            if let Some(found) = found {
                found.organisation.clone_from(&grant.organisation);
                found.role = grant.role;
                found.scopes.clone_from(&grant.scopes);
            }
            Ok(())
        })
        .await
    }
}

/// Says whether the provider's word for somebody can be a member's name.
pub(crate) fn is_name(text: &str) -> bool {
    check_name(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use hambar_core::Clock;
    use hambar_lake::{Access, Lake};

    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            "2026-01-01T00:00:00Z".parse().unwrap()
        }
    }

    fn grant(organisation: &str, role: Role) -> Grant {
        Grant { organisation: organisation.to_owned(), role, scopes: BTreeSet::from([Scope::Everything]) }
    }

    fn wanted(organisation: &str, name: &str, role: Role) -> NewToken {
        let Grant { organisation, role, scopes } = grant(organisation, role);
        NewToken { organisation, name: name.to_owned(), role, scopes, expires_at: None }
    }

    async fn members() -> Members {
        let lake = Lake::open("memory://", &BTreeMap::new(), Access::ReadWrite, Arc::new(Fixed)).await.unwrap();
        let members = Members::new(&lake, Arc::new(Fixed));
        members.add_organisation("sofia", "Sofia").await.unwrap();
        members.add_organisation("varna", "Varna").await.unwrap();
        members
    }

    #[tokio::test]
    async fn whom_an_administrator_added_is_what_he_said_and_whom_he_removed_stays_out() {
        let members = members().await;
        let added = members.add_person(&wanted("sofia", "Ana@Uni.BG", Role::Curator)).await.unwrap();
        assert_eq!((added.name.as_str(), added.person), ("ana@uni.bg", Some(Person::Added)));
        let taken = members.add_person(&wanted("varna", "ana@uni.bg", Role::Reader)).await.unwrap_err();
        assert!(taken.to_string().contains("person `ana@uni.bg` is there already"), "{taken}");
        let unknown = members.add_person(&wanted("plovdiv", "eva", Role::Reader)).await.unwrap_err();
        assert!(unknown.to_string().contains("organisation `plovdiv`"), "{unknown}");
        let more = grant("varna", Role::Administrator);
        assert_eq!(members.admit("ana@uni.bg", Some(&more)).await.unwrap(), Some(added.clone()));
        assert_eq!(members.admit("ana@uni.bg", None).await.unwrap(), Some(added));
        assert_eq!(members.admit("ivan@uni.bg", None).await.unwrap(), None);
        members.revoke("sofia/ana@uni.bg").await.unwrap();
        assert_eq!(members.admit("ana@uni.bg", Some(&more)).await.unwrap(), None);
        let again = members.add_person(&wanted("varna", "ana@uni.bg", Role::Reader)).await.unwrap();
        assert_eq!(members.admit("ana@uni.bg", None).await.unwrap(), Some(again));
    }

    #[tokio::test]
    async fn what_the_provider_grants_holds_as_it_is_at_the_last_login() {
        let members = members().await;
        let one = members.admit("ivan", Some(&grant("sofia", Role::Reader))).await.unwrap().unwrap();
        assert_eq!((one.person, one.role), (Some(Person::Granted), Role::Reader));
        let same = members.admit("ivan", Some(&grant("sofia", Role::Reader))).await.unwrap().unwrap();
        assert_eq!(same, one);
        let more = members.admit("ivan", Some(&grant("varna", Role::Operator))).await.unwrap().unwrap();
        // The same person: sessions that go on have the new role at once.
        assert_eq!((&more.id, more.role, more.organisation.as_str()), (&one.id, Role::Operator, "varna"));
        assert_eq!(members.admit("ivan", None).await.unwrap(), None);
        let wrong = members.admit("eva", Some(&grant("plovdiv", Role::Reader))).await.unwrap_err();
        assert!(wrong.to_string().contains("organisation `plovdiv`"), "{wrong}");
        assert_eq!(members.state_just_now().await.unwrap().tokens.len(), 1);
        members.revoke(&more.id).await.unwrap();
        assert_eq!(members.admit("ivan", Some(&grant("sofia", Role::Reader))).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_token_is_nobody_who_logs_in_elsewhere() {
        let members = members().await;
        members.add_token(&wanted("sofia", "ana", Role::Administrator)).await.unwrap();
        assert_eq!(members.admit("ana", None).await.unwrap(), None);
        let taken = members.admit("ana", Some(&grant("sofia", Role::Reader))).await.unwrap_err();
        assert!(taken.to_string().contains("`sofia/ana` is there already"), "{taken}");
        assert_eq!(
            members.admit("ana", Some(&grant("varna", Role::Reader))).await.unwrap().unwrap().role,
            Role::Reader
        );
    }

    #[tokio::test]
    async fn servers_that_admit_somebody_at_once_make_one_record() {
        let members = members().await;
        let other = members.clone();
        let reader = grant("sofia", Role::Reader);
        let (one, two) = tokio::join!(members.admit("ivan", Some(&reader)), other.admit("ivan", Some(&reader)));
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(members.state_just_now().await.unwrap().tokens.len(), 1);
    }
}
