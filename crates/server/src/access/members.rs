//! The members: organisations, their tokens and what is set for them, as one small object in the bucket that every server
//! reads again and again. A change writes the next number, created only if absent, so that of two administrators one has to
//! look again.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hambar_core::{Clock, StoreError};
use hambar_lake::Lake;
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::token::{self, ScramVerifier, TokenSecret};
use super::{ANONYMOUS, AccessError, ColumnPolicy, Person, Quota, Role, RowPolicy, Scope};

/// The folder of the states.
const FOLDER: &str = "members";
/// Bytes of a state.
const STATE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// States kept besides the newest, for people who want to see what was changed.
const PAST_KEPT: u64 = 100;
/// However many changes there are, a state stays for so long after it was replaced: servers read on from it.
const PAST_TIME_MIN: SignedDuration = SignedDuration::from_hours(24);
/// A server that knows only an older state lists the folder: the states between may be gone. Less than
/// [`PAST_TIME_MIN`].
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);
/// A state that was read so long ago is read again before it is used.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A state this old is read again where it does not know a token: it may have been made since.
const READ_AGAIN_SOON: Duration = Duration::from_millis(250);
/// A state that could not be read again for so long is no longer used: a revoked token would go on working.
const AGE_MAX: Duration = Duration::from_secs(5);
/// Attempts of one change against other administrators.
const ATTEMPTS_MAX: u32 = 20;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// An organisation of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its name in logs and commands.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// What its members may use in a day.
    #[serde(default, skip_serializing_if = "Quota::is_open")]
    pub quota: Quota,
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names the token; not a secret.
    pub id: String,
    /// Whose it is.
    pub organisation: String,
    /// Who or what uses it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it reaches.
    pub scopes: BTreeSet<Scope>,
    /// SHA-256 of the token.
    pub sha256: String,
    /// For protocols in which the token is proven and not sent.
    pub scram: ScramVerifier,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Where it is no token, but somebody who logs in elsewhere: how they became a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
}

impl TokenRecord {
    /// Says whether it may be used at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is.
    pub organisation: String,
    /// Who or what uses it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it reaches.
    pub scopes: BTreeSet<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// All members at one number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersState {
    /// Rises with every change.
    pub number: u64,
    /// The organisations.
    pub organisations: Vec<Organisation>,
    /// The tokens, revoked ones included.
    pub tokens: Vec<TokenRecord>,
    /// Which rows of tables members see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<RowPolicy>,
    /// Which columns of tables members do not see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_policies: Vec<ColumnPolicy>,
    /// What all people without a token may use in a day together.
    #[serde(default, skip_serializing_if = "Quota::is_open")]
    pub anonymous_quota: Quota,
}

impl MembersState {
    /// Returns the token of this secret, whether or not it is still valid.
    pub fn token_of(&self, secret: &str) -> Option<&TokenRecord> {
        let hash = token::hash(secret);
        self.tokens.iter().find(|record| record.sha256 == hash)
    }

    /// Returns the last instant that the state tells of. A clock that is behind it is wrong.
    pub fn newest_instant(&self) -> Option<Timestamp> {
        let made = self.organisations.iter().map(|organisation| organisation.created_at);
        let set = self.policies.iter().map(|policy| policy.set_at);
        let hidden = self.column_policies.iter().map(|policy| policy.set_at);
        let of_tokens = self.tokens.iter().flat_map(|token| [Some(token.created_at), token.revoked_at]);
        made.chain(set).chain(hidden).chain(of_tokens.flatten()).max()
    }

    /// Says that there is such an organisation.
    pub(super) fn has_organisation(&self, name: &str) -> Result<(), AccessError> {
        if self.organisations.iter().any(|known| known.name == name) {
            return Ok(());
        }
        Err(AccessError::Unknown { what: format!("organisation `{name}`") })
    }

    /// Adds a record, whose name no other valid one of its organisation may have.
    pub(super) fn add(&mut self, record: &TokenRecord, now: Timestamp) -> Result<(), AccessError> {
        self.has_organisation(&record.organisation)?;
        let (organisation, name) = (&record.organisation, &record.name);
        let is_same = |known: &TokenRecord| known.organisation == *organisation && known.name == *name;
        if self.tokens.iter().any(|known| known.is_valid(now) && is_same(known)) {
            return Err(AccessError::Taken { what: format!("token `{organisation}/{name}`") });
        }
        self.tokens.push(record.clone());
        Ok(())
    }

    /// Returns the token with this id.
    pub fn token(&self, id: &str) -> Option<&TokenRecord> {
        self.tokens.iter().find(|record| record.id == id)
    }
}

/// Reads and changes the members of a store.
#[derive(Debug, Clone)]
pub struct Members {
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    known: Arc<RwLock<Option<Known>>>,
    /// Held by whoever reads the store; whom a recent state is enough for does not wait for it.
    reading: Arc<Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Known {
    state: Arc<MembersState>,
    read_at: Instant,
}

impl Members {
    /// The members of `lake`.
    pub fn new(lake: &Lake, clock: Arc<dyn Clock>) -> Self {
        Self { store: lake.object_store(), clock, known: Arc::default(), reading: Arc::default() }
    }

    /// Returns the members as they were at most five seconds ago.
    ///
    /// # Errors
    /// Where the store does not tell in time: nobody gets in then, rather than somebody whose token was revoked.
    pub async fn state(&self) -> Result<Arc<MembersState>, AccessError> {
        self.state_within(READ_AGAIN_AFTER).await
    }

    /// Returns the members as they were a moment ago, for whoever shows what [`Self::state`] does not know.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub(crate) async fn state_just_now(&self) -> Result<Arc<MembersState>, AccessError> {
        self.state_within(READ_AGAIN_SOON).await
    }

    async fn state_within(&self, age_max: Duration) -> Result<Arc<MembersState>, AccessError> {
        let recent = |known: Known| (known.read_at.elapsed() < age_max).then_some(known.state);
        if let Some(state) = self.known().and_then(recent) {
            return Ok(state);
        }
        let _reading = self.reading.lock().await;
        // Whoever was before may just have read it.
        let old = self.known();
        if let Some(state) = old.clone().and_then(recent) {
            return Ok(state);
        }
        let asked_at = Instant::now();
        let read = tokio::time::timeout(AGE_MAX - READ_AGAIN_AFTER, self.newest(old.as_ref())).await;
        match (read, &old) {
            (Ok(Ok(state)), _) => {
                self.learn(Some(Known { state: Arc::clone(&state), read_at: asked_at }));
                Ok(state)
            }
            (Ok(Err(_)) | Err(_), Some(old)) if old.read_at.elapsed() < AGE_MAX => Ok(Arc::clone(&old.state)),
            (Ok(Err(error)), _) => Err(error),
            (Err(_), _) => Err(AccessError::Slow { limit: AGE_MAX }),
        }
    }

    fn known(&self) -> Option<Known> {
        // It is replaced as a whole, so that a panic elsewhere cannot leave it half changed.
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, known: Option<Known>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Adds an organisation.
    ///
    /// # Errors
    /// Where the name is not one or is taken, or the store fails.
    pub async fn add_organisation(&self, name: &str, title: &str) -> Result<(), AccessError> {
        check_name(name)?;
        if name == ANONYMOUS {
            return Err(AccessError::Taken { what: format!("`{ANONYMOUS}`, for people without a token,") });
        }
        self.change(|state, now| {
            if state.organisations.iter().any(|known| known.name == name) {
                return Err(AccessError::Taken { what: format!("organisation `{name}`") });
            }
            let (name, title) = (name.to_owned(), title.to_owned());
            state.organisations.push(Organisation { name, title, created_at: now, quota: Quota::default() });
            Ok(())
        })
        .await
    }

    /// Makes a token. Its secret is returned once and kept nowhere.
    ///
    /// # Errors
    /// Where the organisation is unknown or the name is taken by a valid token, or the store fails.
    pub async fn add_token(&self, wanted: &NewToken) -> Result<(TokenRecord, TokenSecret), AccessError> {
        let (record, secret) = record(wanted, None, self.now())?;
        self.change(|state, now| state.add(&record, now)).await?;
        Ok((record, secret))
    }

    /// Revokes the token with this id, or the valid one called `organisation/name`.
    ///
    /// # Errors
    /// Where there is no such token, or the store fails.
    pub async fn revoke(&self, token: &str) -> Result<(), AccessError> {
        self.change(|state, now| {
            let found = state.tokens.iter_mut().find(|known| {
                known.is_valid(now) && (known.id == token || format!("{}/{}", known.organisation, known.name) == token)
            });
            let Some(found) = found else {
                return Err(AccessError::Unknown { what: format!("valid token `{token}`") });
            };
            found.revoked_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Returns the instant, by the clock of the members.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn change(
        &self,
        change: impl Fn(&mut MembersState, Timestamp) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        for _ in 0..ATTEMPTS_MAX {
            let known = self.newest(None).await?;
            let mut state = MembersState::clone(&known);
            change(&mut state, self.clock.now())?;
            state.number += 1;
            let content = serde_json::to_vec_pretty(&state).map_err(|error| damaged(state.number, &error))?;
            if content.len() as u64 > STATE_BYTES_MAX {
                let limit = STATE_BYTES_MAX;
                return Err(AccessError::TooMany { limit });
            }
            let path = path_of(state.number);
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(&path, PutPayload::from(content), options).await {
                Ok(_) => {
                    self.forget(state.number).await;
                    self.learn(None);
                    return Ok(());
                }
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                Err(error) => return Err(storage("write", &path, error)),
            }
        }
        Err(AccessError::Contended { attempts: ATTEMPTS_MAX })
    }

    /// Removes the states that are old enough, by the store's own clock.
    async fn forget(&self, number: u64) {
        let listed = match self.store.list_with_delimiter(Some(&Path::from(FOLDER))).await {
            Ok(listed) => listed,
            Err(error) => return tracing::warn!(%error, "old states of the members not looked for"),
        };
        let Some(newest) = listed.objects.iter().map(|object| object.last_modified).max() else { return };
        for object in listed.objects {
            let age = (newest - object.last_modified).num_seconds();
            let is_past = number_of(&object.location).is_some_and(|old| old + PAST_KEPT < number);
            if is_past
                && age > PAST_TIME_MIN.as_secs()
                && let Err(error) = self.store.delete(&object.location).await
            {
                // It does no harm where it stays.
                tracing::debug!(%error, path = %object.location, "old state of the members not removed");
            }
        }
    }

    /// Reads the newest state: on from the one that is known, where it is recent enough for all later ones to be there.
    async fn newest(&self, known: Option<&Known>) -> Result<Arc<MembersState>, AccessError> {
        let recent = known.filter(|known| known.read_at.elapsed() < LIST_AGAIN_AFTER);
        let mut newest = match recent {
            Some(known) => Arc::clone(&known.state),
            None => Arc::new(match self.newest_number().await? {
                Some(number) => {
                    self.read(number).await?.ok_or_else(|| damaged(number, &"it was listed and is gone"))?
                }
                None => MembersState::default(),
            }),
        };
        while let Some(next) = self.read(newest.number + 1).await? {
            newest = Arc::new(next);
        }
        Ok(newest)
    }

    async fn newest_number(&self) -> Result<Option<u64>, AccessError> {
        let folder = Path::from(FOLDER);
        let listed = self.store.list_with_delimiter(Some(&folder)).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(storage("list", &folder, error)),
        };
        Ok(listed.objects.iter().filter_map(|object| number_of(&object.location)).max())
    }

    async fn read(&self, number: u64) -> Result<Option<MembersState>, AccessError> {
        let path = path_of(number);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(storage("read", &path, error)),
        };
        if found.meta.size > STATE_BYTES_MAX {
            return Err(AccessError::TooMany { limit: STATE_BYTES_MAX });
        }
        let bytes = found.bytes().await.map_err(|error| storage("read", &path, error))?;
        let state: MembersState = serde_json::from_slice(&bytes).map_err(|error| damaged(number, &error))?;
        if state.number == number { Ok(Some(state)) } else { Err(damaged(number, &"it has another number inside")) }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

fn path_of(number: u64) -> Path {
    Path::from(FOLDER).join(format!("{number:020}.json"))
}

/// Makes a record with a new secret.
pub(super) fn record(
    wanted: &NewToken,
    person: Option<Person>,
    now: Timestamp,
) -> Result<(TokenRecord, TokenSecret), AccessError> {
    check_name(&wanted.name)?;
    let secret = TokenSecret::random()?;
    let record = TokenRecord {
        id: token::random_id()?,
        organisation: wanted.organisation.clone(),
        name: wanted.name.clone(),
        role: wanted.role,
        scopes: wanted.scopes.clone(),
        sha256: token::hash(secret.reveal()),
        scram: ScramVerifier::of(&secret)?,
        created_at: now,
        expires_at: wanted.expires_at,
        revoked_at: None,
        person,
    };
    Ok((record, secret))
}

pub(super) fn check_name(name: &str) -> Result<(), AccessError> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '@');
    let is_name = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_plain);
    if is_name { Ok(()) } else { Err(AccessError::Name { text: name.chars().take(80).collect() }) }
}

fn damaged(number: u64, cause: &dyn std::fmt::Display) -> AccessError {
    let what = format!("members object {number}: {cause}");
    AccessError::Store(StoreError::Damaged { table: FOLDER.to_owned(), what })
}

fn storage(action: &'static str, path: &Path, error: object_store::Error) -> AccessError {
    AccessError::Store(StoreError::Storage { action, path: path.to_string(), source: Box::new(error) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hambar_lake::Access;

    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            "2026-01-01T00:00:00Z".parse().unwrap()
        }
    }

    fn token(name: &str, expires_at: Option<&str>) -> NewToken {
        NewToken {
            organisation: "sofia".to_owned(),
            name: name.to_owned(),
            role: Role::Reader,
            scopes: BTreeSet::from([Scope::Everything]),
            expires_at: expires_at.map(|at| at.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn administrators_at_the_same_time_lose_nothing() {
        let lake = Lake::open("memory://", &BTreeMap::new(), Access::ReadWrite, Arc::new(Fixed)).await.unwrap();
        let (one, other) = (Members::new(&lake, Arc::new(Fixed)), Members::new(&lake, Arc::new(Fixed)));
        one.add_organisation("sofia", "Sofia University").await.unwrap();
        let mut tasks = Vec::new();
        for number in 0..8 {
            let members = if number % 2 == 0 { one.clone() } else { other.clone() };
            let wanted = token(&format!("t{number}"), None);
            tasks.push(tokio::spawn(async move { members.add_token(&wanted).await.unwrap() }));
        }
        let mut made = Vec::new();
        for task in tasks {
            made.push(task.await.unwrap());
        }
        let fresh = Members::new(&lake, Arc::new(Fixed)).state().await.unwrap();
        assert_eq!((fresh.number, fresh.tokens.len()), (9, 8));
        for (record, secret) in &made {
            assert_eq!(fresh.token_of(secret.reveal()), Some(record));
            assert!(!serde_json::to_string(fresh.as_ref()).unwrap().contains(secret.reveal()));
        }
        one.revoke("sofia/t3").await.unwrap();
        assert!(other.revoke("sofia/t3").await.is_err());
        let state = one.state().await.unwrap();
        assert_eq!(state.tokens.iter().filter(|token| token.is_valid(Fixed.now())).count(), 7);
    }

    #[tokio::test]
    async fn a_token_ends_when_it_says_and_a_damaged_object_lets_nobody_in() {
        let lake = Lake::open("memory://", &BTreeMap::new(), Access::ReadWrite, Arc::new(Fixed)).await.unwrap();
        let members = Members::new(&lake, Arc::new(Fixed));
        members.add_organisation("sofia", "Sofia").await.unwrap();
        let (ended, _) = members.add_token(&token("ended", Some("2025-12-31T23:59:59Z"))).await.unwrap();
        let (lasting, _) = members.add_token(&token("lasting", Some("2026-01-01T00:00:01Z"))).await.unwrap();
        assert_eq!((ended.is_valid(Fixed.now()), lasting.is_valid(Fixed.now())), (false, true));
        assert_eq!(members.state().await.unwrap().newest_instant(), Some(Fixed.now()));
        lake.object_store().put(&path_of(4), PutPayload::from_static(b"{")).await.unwrap();
        assert!(Members::new(&lake, Arc::new(Fixed)).state().await.is_err());
    }
}
