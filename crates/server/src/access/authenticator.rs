//! From what a client shows to a principal. Every failure to prove a token is the same failure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hambar_core::{Classified, Clock, ErrorClass, StoreError, TableName};
use hambar_query::QueryError;
use jiff::Timestamp;
use tokio::time::Instant;

use super::attempts::Attempts;
use super::pending::Pending;
use super::session::{self, NewSession, SessionKey};
use super::steady::Steady;
use super::{Grant, Members, MembersState, Principal, Quota, TokenRecord};
use crate::catalogue::Catalogue;

/// Bytes of a token that are looked at.
const TOKEN_BYTES_MAX: usize = 256;

/// Why somebody did not get in, or members could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no token and nobody without one is let in.
    #[error("a token is needed")]
    Needed,
    /// The token is unknown, expired or revoked.
    #[error("the token is not valid")]
    Token,
    /// The token is not valid either, after many others from the same address.
    #[error("the token is not valid, like many before it from this address")]
    Tried,
    /// The store did not tell about members.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store took too long to tell about members.
    #[error("the members could not be read within {} s", .limit.as_secs())]
    Slow {
        /// The limit.
        limit: Duration,
    },
    /// It is not known which tables may be passed on.
    #[error("read which tables may be passed on")]
    Catalogue(#[source] QueryError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The secret of the sessions can be guessed.
    #[error("the secret of `server.session_key` needs at least {least} characters")]
    SessionKey {
        /// The limit.
        least: usize,
    },
    /// A name has the wrong form.
    #[error("`{text}` is not a name: use letters, digits, `-`, `_`, `.` and `@`, at most 64 of them")]
    Name {
        /// The text as given, shortened.
        text: String,
    },
    /// There is one already.
    #[error("{what} is there already")]
    Taken {
        /// The thing.
        what: String,
    },
    /// There is none.
    #[error("there is no {what}")]
    Unknown {
        /// The thing.
        what: String,
    },
    /// A row policy cannot be set as it is.
    #[error("{what}")]
    Policy {
        /// What is wrong with it.
        what: String,
    },
    /// Other administrators kept winning.
    #[error("gave up after {attempts} attempts, others kept changing the members")]
    Contended {
        /// Attempts made.
        attempts: u32,
    },
    /// The members no longer fit their object.
    #[error("the members need more than {limit} bytes")]
    TooMany {
        /// The limit.
        limit: u64,
    },
}

impl Classified for AccessError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Needed | Self::Token => ErrorClass::Denied,
            Self::Tried => ErrorClass::Quota,
            Self::Store(error) => error.class(),
            Self::Slow { .. } => ErrorClass::Store,
            Self::Catalogue(error) => error.class(),
            Self::Random => ErrorClass::Internal,
            Self::SessionKey { .. }
            | Self::Name { .. }
            | Self::Taken { .. }
            | Self::Unknown { .. }
            | Self::Policy { .. } => ErrorClass::Config,
            Self::Contended { .. } => ErrorClass::Conflict,
            Self::TooMany { .. } => ErrorClass::Limit,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Needed | Self::Token | Self::Tried => Some("ask whoever runs this centre for a token".to_owned()),
            Self::Unknown { .. } => Some("`hambar members list` shows what there is".to_owned()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// Who is let in without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    Refused,
    /// Everybody, to the tables of these namespaces or names (`*` is every one) that may be passed on.
    Reads(Vec<String>),
}

/// Turns what a client shows into a principal.
#[derive(Debug, Clone)]
pub struct Authenticator {
    members: Members,
    catalogue: Catalogue,
    anonymous: Anonymous,
    sessions: SessionKey,
    clock: Steady,
    attempts: Arc<Attempts>,
}

impl Authenticator {
    /// Makes one over the members and the licences of a store. `sessions` is what sessions of the web page are proven with.
    pub fn new(
        members: Members,
        catalogue: Catalogue,
        anonymous: Anonymous,
        sessions: SessionKey,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { members, catalogue, anonymous, sessions, clock: Steady::new(clock), attempts: Arc::default() }
    }

    /// Now, as far as tokens are concerned.
    fn now(&self, state: &MembersState) -> Timestamp {
        self.clock.now(state.newest_instant())
    }

    /// Says whether the members can be read, and so the store.
    ///
    /// # Errors
    /// Where they cannot.
    pub async fn is_ready(&self) -> Result<(), AccessError> {
        self.members.state().await.map(|_| ())
    }

    /// Returns whoever shows no token.
    ///
    /// # Errors
    /// [`AccessError::Needed`] where nobody is let in without one.
    pub async fn anonymous(&self, address: Option<IpAddr>) -> Result<Principal, AccessError> {
        let Anonymous::Reads(patterns) = &self.anonymous else {
            return Err(AccessError::Needed);
        };
        let datasets = self.catalogue.datasets().await.map_err(AccessError::Catalogue)?;
        let may_read = |table: &TableName| patterns.iter().any(|pattern| matches(pattern, table));
        let tables: BTreeSet<TableName> = datasets
            .iter()
            .filter(|(table, dataset)| dataset.may_be_passed_on && may_read(table))
            .map(|(table, _)| table.clone())
            .collect();
        Ok(Principal::anonymous(address, tables, self.members.state().await?.as_ref()))
    }

    /// Returns the holder of a token. `address` is where it was shown.
    ///
    /// # Errors
    /// [`AccessError::Token`] for every token that is not valid, whatever is wrong with it, and [`AccessError::Tried`]
    /// after many of them. A valid token is let in all the same: an address may be that of many people.
    pub async fn token(&self, secret: &str, address: Option<IpAddr>) -> Result<Principal, AccessError> {
        if secret.len() <= TOKEN_BYTES_MAX {
            let mut state = self.members.state().await?;
            // It may have been made a moment ago; who only guesses does not make the store be read.
            if state.token_of(secret).is_none() && !self.attempts.is_over(address, Instant::now()) {
                state = self.members.state_just_now().await?;
            }
            let now = self.now(&state);
            if let Some(record) = state.token_of(secret).filter(|record| record.is_valid(now)) {
                return Ok(Principal::member(record, &state));
            }
        }
        Err(self.refused(address))
    }

    /// Begins a session of the holder of a token, who shows it in a form.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub(crate) async fn log_in(
        &self,
        secret: &str,
        address: Option<IpAddr>,
    ) -> Result<(Principal, NewSession), AccessError> {
        let principal = self.token(secret, address).await?;
        let state = self.members.state().await?;
        let record = principal.token().and_then(|id| state.token(id)).ok_or(AccessError::Token)?;
        Ok((principal, session::begin(record, self.now(&state), &self.sessions)))
    }

    /// Returns whoever's session a cookie proves; nobody where it has ended, or never was one.
    ///
    /// # Errors
    /// Where the store does not tell about members.
    pub(crate) async fn session(&self, cookie: &str) -> Result<Option<Principal>, AccessError> {
        let Some(claim) = session::claim(cookie) else { return Ok(None) };
        let state = self.members.state().await?;
        let now = self.now(&state);
        let record = state.token(claim.token).filter(|record| claim.is_proven(record, now, &self.sessions));
        Ok(record.map(|record| Principal::member(record, &state)))
    }

    /// Begins a login elsewhere, after which `next` is gone on to; returns it with the cookie of the browser.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(crate) fn begin_login(&self, next: &str) -> Result<(Pending, String), AccessError> {
        Pending::begin(&self.sessions, next, self.clock.now(None))
    }

    /// Returns the login that a browser began; nothing where it began none, or too long ago.
    pub(crate) fn resume_login(&self, cookie: &str) -> Option<Pending> {
        Pending::resume(&self.sessions, cookie, self.clock.now(None))
    }

    /// Begins a session of whoever has logged in elsewhere as `name` and is granted so much there; nothing where they are
    /// no member.
    ///
    /// # Errors
    /// Where the store does not tell about members, or does not take the new one.
    pub(crate) async fn admit(
        &self,
        name: &str,
        grant: Option<&Grant>,
    ) -> Result<Option<(Principal, NewSession)>, AccessError> {
        let Some(record) = self.members.admit(name, grant).await? else { return Ok(None) };
        let state = self.members.state().await?;
        let now = self.now(&state);
        Ok(Some((Principal::member(&record, &state), session::begin(&record, now, &self.sessions))))
    }

    /// Says whether a principal is somebody who logs in elsewhere.
    ///
    /// # Errors
    /// Where the store does not tell.
    pub(crate) async fn is_person(&self, principal: &Principal) -> Result<bool, AccessError> {
        let Some(id) = principal.token() else { return Ok(false) };
        let state = self.members.state().await?;
        Ok(state.token(id).is_some_and(|record| record.person.is_some()))
    }

    /// Counts a proof that failed, and says which failure it is.
    pub fn refused(&self, address: Option<IpAddr>) -> AccessError {
        if self.attempts.add(address, Instant::now()) { AccessError::Token } else { AccessError::Tried }
    }

    /// Returns the valid token with this id or called `organisation/name`, for protocols in which the secret is proven
    /// and not sent (SCRAM); [`Self::proven`] makes the principal once it was.
    ///
    /// # Errors
    /// [`AccessError::Token`] where there is none.
    pub async fn record(&self, name: &str, address: Option<IpAddr>) -> Result<TokenRecord, AccessError> {
        let state = self.members.state().await?;
        let mut found = self.named(&state, name);
        // It may have been made a moment ago; who only guesses does not make the store be read.
        if found.is_none() && !self.attempts.is_over(address, Instant::now()) {
            let state = self.members.state_just_now().await?;
            found = self.named(&state, name);
        }
        found.ok_or(AccessError::Token)
    }

    fn named(&self, state: &MembersState, name: &str) -> Option<TokenRecord> {
        let now = self.now(state);
        let is_called = |record: &TokenRecord| {
            record.id == name || name.split_once('/') == Some((&record.organisation, &record.name))
        };
        state.tokens.iter().find(|record| record.is_valid(now) && is_called(record)).cloned()
    }

    /// Returns the holder of a token whose secret was proven.
    ///
    /// # Errors
    /// Where the store does not tell about members.
    pub async fn proven(&self, record: &TokenRecord) -> Result<Principal, AccessError> {
        Ok(Principal::member(record, self.members.state().await?.as_ref()))
    }

    /// Returns who may use only so much in a day.
    ///
    /// # Errors
    /// Where the store does not tell about members.
    pub(crate) async fn quotas(&self) -> Result<BTreeMap<String, Quota>, AccessError> {
        let state = self.members.state().await?;
        Ok(state.quotas().map(|(name, quota)| (name.to_owned(), quota)).collect())
    }

    /// Returns a principal with what is set for them now, where they may still go on: their token is neither revoked nor
    /// expired, and shows what it showed.
    ///
    /// # Errors
    /// Where the store does not tell.
    pub async fn renewed(&self, principal: &Principal) -> Result<Option<Principal>, AccessError> {
        if principal.token().is_none() && self.anonymous == Anonymous::Refused {
            return Ok(None);
        }
        let state = self.members.state().await?;
        Ok(principal.renewed(&state, self.now(&state)))
    }

    /// Says whether a principal may still go on.
    ///
    /// # Errors
    /// As [`Self::renewed`].
    pub async fn is_current(&self, principal: &Principal) -> Result<bool, AccessError> {
        Ok(self.renewed(principal).await?.is_some())
    }
}

/// `*`, a namespace, or a table.
fn matches(pattern: &str, table: &TableName) -> bool {
    pattern == "*" || pattern == table.namespace.as_str() || pattern == table.to_string()
}
