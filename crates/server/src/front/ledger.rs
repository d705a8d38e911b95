//! What organisations have used today (UTC). Each server counts for itself and writes its sums every few seconds into an
//! object of its own in the bucket, `usage/<day>/<server>.json`, where the others read them: no query waits for the bucket,
//! and no two servers write the same object. A quota is therefore reached a little late where several servers answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hambar_core::{Chain, Clock, StoreError};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::FrontError;
use crate::access::{Principal, Used};

/// The folder of the sums.
const FOLDER: &str = "usage";
/// Sums are written, and those of other servers read, after so long.
const SHARE_AFTER: Duration = Duration::from_secs(5);
/// Bytes of the sums of one server.
const SUMS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Days before today whose sums stay.
const DAYS_KEPT: i32 = 7;

/// What each organisation has used.
type Sums = BTreeMap<String, Used>;

/// Counts what organisations use. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    counts: Arc<Mutex<Counts>>,
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    /// The name of this server's objects; none where it may not write.
    name: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    day: Date,
    own: Sums,
    others: Sums,
    /// Whether somebody with a quota has asked since the process was started.
    is_needed: bool,
}

impl Counts {
    /// Begins anew with a new day. A clock that is turned back does not bring a day back.
    fn today(&mut self, now: Timestamp) {
        let day = day_of(now);
        if day > self.day {
            *self = Self { day, is_needed: self.is_needed, ..Self::default() };
        }
    }

    fn used(&self, organisation: &str) -> Used {
        let mut used = self.own.get(organisation).copied().unwrap_or_default();
        used.add(&self.others.get(organisation).copied().unwrap_or_default());
        used
    }
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

impl Ledger {
    /// Counts, and shares its sums through the bucket until `stop`; where it may not write, it only reads. Call it within a
    /// runtime.
    pub(crate) fn start(
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        may_write: bool,
        stop: CancellationToken,
    ) -> Self {
        let name = may_write.then(|| format!("{}.json", Uuid::new_v4()));
        let ledger = Self { counts: Arc::default(), store, clock, name };
        tokio::spawn(ledger.clone().keep(stop));
        ledger
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change is whole before anything could panic.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.today(self.clock.now());
        counts
    }

    /// Says whether whoever asks may have another answer, and counts `more` as used where they may.
    pub(crate) fn admit(&self, principal: &Principal, more: &Used) -> Result<(), FrontError> {
        let account = principal.shares_with();
        let mut counts = self.counts();
        counts.is_needed |= !principal.quota().is_open();
        let used = counts.used(account);
        let spent = principal.quota().limits(&used).find(|(_, limit, used)| used >= limit);
        if let Some((measure, limit, _)) = spent {
            let opens_at = counts.day.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|at| at.timestamp());
            let opens_at = opens_at.unwrap_or(Timestamp::MAX);
            let wait = Duration::try_from(opens_at.duration_since(self.clock.now())).unwrap_or_default();
            let whose = match principal.organisation() {
                Some(organisation) => format!("organisation `{organisation}` has used its"),
                None => "people without a token have together used their".to_owned(),
            };
            return Err(FrontError::Spent { whose, measure, limit, opens_at, wait });
        }
        counts.own.entry(account.to_owned()).or_default().add(more);
        Ok(())
    }

    /// Counts what whoever asks was sent.
    pub(crate) fn count(&self, principal: &Principal, more: &Used) {
        self.counts().own.entry(principal.shares_with().to_owned()).or_default().add(more);
    }

    /// Returns what an organisation, or `anonymous`, has used today, as far as this server knows.
    pub(crate) fn used(&self, organisation: &str) -> Used {
        self.counts().used(organisation)
    }

    /// Shares the sums until `stop`.
    async fn keep(self, stop: CancellationToken) {
        let mut known = Known::default();
        let mut is_first = true;
        while !stop.is_cancelled() {
            // The first look tells what was used before this process was started.
            if is_first || self.counts().is_needed {
                if let Err(error) = self.share(&mut known).await {
                    tracing::warn!(error = %Chain(&error), "what organisations use was not shared with other servers");
                }
                is_first = false;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(SHARE_AFTER) => {}
            }
        }
    }

    /// Writes what was counted since the last time; for whoever stops the process.
    pub(crate) async fn flush(&self) {
        let (day, own, is_needed) = self.own();
        if is_needed && let Err(error) = self.write(day, &own).await {
            tracing::warn!(error = %Chain(&error), "what organisations used last was not written");
        }
    }

    fn own(&self) -> (Date, Sums, bool) {
        let counts = self.counts();
        (counts.day, counts.own.clone(), counts.is_needed)
    }

    async fn share(&self, known: &mut Known) -> Result<(), StoreError> {
        let (day, own, is_needed) = self.own();
        if known.day != day {
            *known = Known { day, ..Known::default() };
            self.forget(day).await;
        }
        if is_needed && known.written != own {
            self.write(day, &own).await?;
            known.written = own;
        }
        let others = known.read(self.store.as_ref(), self.name.as_deref()).await?;
        let mut counts = self.counts();
        if counts.day == day {
            counts.others = others;
        }
        Ok(())
    }

    async fn write(&self, day: Date, own: &Sums) -> Result<(), StoreError> {
        let Some(name) = &self.name else { return Ok(()) };
        let path = folder(day).join(name.as_str());
        let content = serde_json::to_vec(own).map_err(|error| damaged(&path, &error))?;
        self.store.put(&path, PutPayload::from(content)).await.map_err(|error| storage("write", &path, error))?;
        Ok(())
    }

    /// Removes the sums of days long past.
    async fn forget(&self, today: Date) {
        if self.name.is_none() {
            return;
        }
        let forgotten = async {
            let folders = self.store.list_with_delimiter(Some(&Path::from(FOLDER))).await?.common_prefixes;
            let is_past = |folder: &&Path| {
                let day = folder.filename().and_then(|name| name.parse::<Date>().ok());
                day.is_some_and(|day| (today - day).get_days() > DAYS_KEPT)
            };
            for folder in folders.iter().filter(is_past) {
                for object in self.store.list_with_delimiter(Some(folder)).await?.objects {
                    self.store.delete(&object.location).await?;
                }
            }
            Ok::<_, object_store::Error>(())
        };
        if let Err(error) = forgotten.await {
            // It does no harm where it stays.
            tracing::debug!(%error, "what organisations used long ago was not removed");
        }
    }
}

/// Returns what each organisation has used on the day of `now`, as its servers have written it down.
///
/// # Errors
/// Where the store fails.
pub async fn used_today(store: &dyn ObjectStore, now: Timestamp) -> Result<BTreeMap<String, Used>, StoreError> {
    Known { day: day_of(now), ..Known::default() }.read(store, None).await
}

/// What is known of the objects of a day.
#[derive(Debug, Default)]
struct Known {
    day: Date,
    written: Sums,
    /// The sums of each object as it was when it was read.
    read: BTreeMap<Path, (ObjectMeta, Sums)>,
}

impl Known {
    /// Returns the sums of all servers but the one whose objects are called `own`.
    async fn read(&mut self, store: &dyn ObjectStore, own: Option<&str>) -> Result<Sums, StoreError> {
        let folder = folder(self.day);
        let listed = match store.list_with_delimiter(Some(&folder)).await {
            Ok(listed) => listed.objects,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(storage("list", &folder, error)),
        };
        let mut all = Sums::new();
        for object in listed {
            if object.location.filename() == own {
                continue;
            }
            let is_same = self.read.get(&object.location).is_some_and(|(meta, _)| *meta == object);
            if !is_same {
                let sums = sums(store, &object).await?;
                self.read.insert(object.location.clone(), (object.clone(), sums));
            }
            if let Some((_, sums)) = self.read.get(&object.location) {
                sums.iter().for_each(|(organisation, used)| all.entry(organisation.clone()).or_default().add(used));
            }
        }
        Ok(all)
    }
}

async fn sums(store: &dyn ObjectStore, object: &ObjectMeta) -> Result<Sums, StoreError> {
    let path = &object.location;
    if object.size > SUMS_BYTES_MAX {
        return Err(damaged(path, &format!("it has {} bytes, at most {SUMS_BYTES_MAX} are read", object.size)));
    }
    let found = store.get(path).await.map_err(|error| storage("read", path, error))?;
    let bytes = found.bytes().await.map_err(|error| storage("read", path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(path, &error))
}

fn folder(day: Date) -> Path {
    Path::from(FOLDER).join(day.to_string())
}

fn damaged(path: &Path, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { table: FOLDER.to_owned(), what: format!("`{path}`: {cause}") }
}

fn storage(action: &'static str, path: &Path, error: object_store::Error) -> StoreError {
    StoreError::Storage { action, path: path.to_string(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hambar_core::Classified;
    use object_store::memory::InMemory;

    use super::*;
    use crate::access::{MembersState, Organisation, Quota, Role, TokenRecord};

    #[derive(Debug)]
    struct At(Mutex<Timestamp>);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    const ONE: Used = Used { queries: 1, rows: 0, bytes: 0 };

    fn member(quota: Quota) -> Principal {
        let created_at = "2026-01-01T00:00:00Z".parse().unwrap();
        let (name, title) = ("sofia".to_owned(), "Sofia".to_owned());
        let state = MembersState {
            organisations: vec![Organisation { name, title, created_at, quota }],
            ..MembersState::default()
        };
        let record = TokenRecord {
            id: "t".to_owned(),
            organisation: "sofia".to_owned(),
            name: "ana".to_owned(),
            role: Role::Reader,
            scopes: BTreeSet::new(),
            sha256: String::new(),
            scram: crate::access::ScramVerifier::of(&crate::access::TokenSecret::random().unwrap()).unwrap(),
            created_at,
            expires_at: None,
            revoked_at: None,
            person: None,
        };
        Principal::member(&record, &state)
    }

    fn ledger(store: &Arc<InMemory>, clock: &Arc<At>) -> Ledger {
        let name = Some(format!("{}.json", Uuid::new_v4()));
        Ledger { counts: Arc::default(), store: Arc::clone(store) as _, clock: Arc::clone(clock) as _, name }
    }

    #[tokio::test]
    async fn servers_that_share_a_bucket_share_a_quota_and_the_next_day_opens_it() {
        let store = Arc::new(InMemory::new());
        let clock = Arc::new(At(Mutex::new("2026-01-31T23:00:00Z".parse().unwrap())));
        let (one, other) = (ledger(&store, &clock), ledger(&store, &clock));
        let (mut of_one, mut of_other) = (Known::default(), Known::default());
        let ana = member(Quota { queries: Some(5), rows: Some(1_000), bytes: None });
        for _ in 0..3 {
            one.admit(&ana, &ONE).unwrap();
            other.admit(&ana, &ONE).unwrap();
        }
        // Neither knows of the other yet: together they are one query over.
        one.share(&mut of_one).await.unwrap();
        other.share(&mut of_other).await.unwrap();
        let refused = other.admit(&ana, &ONE).unwrap_err();
        assert_eq!(refused.class(), hambar_core::ErrorClass::Quota);
        let said = refused.to_string();
        assert!(
            said.contains("`sofia`") && said.contains("5 queries") && said.contains("2026-02-01T00:00:00Z"),
            "{said}"
        );
        assert!(matches!(refused, FrontError::Spent { wait, .. } if wait == Duration::from_secs(3_600)));
        one.share(&mut of_one).await.unwrap();
        assert!(one.admit(&ana, &ONE).is_err());
        assert_eq!(used_today(store.as_ref(), clock.now()).await.unwrap()["sofia"].queries, 6);
        // A server that is started now knows it after its first look.
        let third = ledger(&store, &clock);
        third.share(&mut Known::default()).await.unwrap();
        assert!(third.admit(&ana, &ONE).is_err());
        // People without a token are one account, wherever they come from, and another one than everybody's.
        let address = |text: &str| Some(text.parse().unwrap());
        let state =
            MembersState { anonymous_quota: Quota { queries: Some(1), ..Quota::default() }, ..MembersState::default() };
        let nobody = |from: &str| Principal::anonymous(address(from), BTreeSet::new(), &state);
        third.admit(&nobody("203.0.113.1"), &ONE).unwrap();
        let said = third.admit(&nobody("203.0.113.2"), &ONE).unwrap_err().to_string();
        assert!(said.starts_with("people without a token have together used their 1 queries of the day"), "{said}");
        assert_eq!(third.used(crate::access::ANONYMOUS).queries, 1);
        *clock.0.lock().unwrap() = "2026-02-01T00:00:00Z".parse().unwrap();
        one.admit(&ana, &ONE).unwrap();
        // A clock that is turned back opens nothing, and brings nothing back.
        one.count(&ana, &Used { rows: 1_000, ..Used::default() });
        *clock.0.lock().unwrap() = "2026-01-31T23:00:00Z".parse().unwrap();
        assert!(one.admit(&ana, &ONE).unwrap_err().to_string().contains("1000 rows"));
        assert_eq!(one.used("sofia"), Used { queries: 1, rows: 1_000, bytes: 0 });
    }

    #[tokio::test]
    async fn nothing_is_written_for_who_has_no_quota_and_old_days_go() {
        let store = Arc::new(InMemory::new());
        let clock = Arc::new(At(Mutex::new("2026-01-31T12:00:00Z".parse().unwrap())));
        let ledger = ledger(&store, &clock);
        ledger.admit(&member(Quota::default()), &ONE).unwrap();
        ledger.share(&mut Known::default()).await.unwrap();
        ledger.flush().await;
        let listed = || async { store.list_with_delimiter(Some(&Path::from(FOLDER))).await.unwrap().common_prefixes };
        assert!(listed().await.is_empty());
        ledger.admit(&member(Quota { bytes: Some(1), ..Quota::default() }), &ONE).unwrap();
        ledger.flush().await;
        *clock.0.lock().unwrap() = "2026-02-08T00:00:00Z".parse().unwrap();
        ledger.share(&mut Known::default()).await.unwrap();
        assert!(listed().await.is_empty());
    }
}
