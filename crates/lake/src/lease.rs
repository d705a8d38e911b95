//! Leases: who may write to a table. An object per epoch, created only if absent; a heartbeat beside it.
//!
//! A holder is replaced when its process is known to have ended, or when its heartbeat has not changed for
//! [`SILENCE_MAX`] by the observer's own monotonic clock: clocks of two machines are never compared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use hambar_core::{Lease, LeaseOutcome, StoreError, TableName};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{damaged, storage};
use crate::host::HostInfo;
use crate::lake::Lake;
use crate::place;

/// A heartbeat is written this often.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// A holder whose heartbeat stands still for so long is replaced.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A holder that could not write a heartbeat for so long no longer counts on its lease.
const OWN_SILENCE_MAX: Duration = Duration::from_secs(25);

/// The leases of this process, and what it saw of others'.
#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    held: Mutex<HashMap<TableName, Weak<Core>>>,
    seen: Mutex<HashMap<Path, (Bytes, Instant)>>,
}

impl LeaseBook {
    /// The lease on `table` that this process holds.
    pub(crate) fn held(&self, table: &TableName) -> Option<Arc<Core>> {
        let core = lock(&self.held).get(table).and_then(Weak::upgrade);
        // A lease that was let go lives on until its last message is out.
        core.filter(|core| !core.released.load(Ordering::Acquire))
    }

    /// Returns how long the heartbeat at `path` has had this content, as far as this process has watched it.
    fn silence(&self, path: Path, content: Bytes, now: Instant) -> Duration {
        let mut seen = lock(&self.seen);
        let (known, since) = seen.entry(path).or_insert_with(|| (content.clone(), now));
        if *known != content {
            (*known, *since) = (content, now);
        }
        now.duration_since(*since)
    }
}

/// The content of an epoch's object.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    nonce: String,
    holder: String,
    process: HostInfo,
    since: Timestamp,
}

/// The content of a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Beat {
    count: u64,
    released: bool,
}

/// A held lease, shared by its handle, its heartbeat and the writers that rely on it.
#[derive(Debug)]
pub(crate) struct Core {
    store: Arc<dyn ObjectStore>,
    root: Path,
    table: TableName,
    epoch: u64,
    nonce: String,
    /// Whether the holder before did not let go itself: it may live on, and a write of its be on the way.
    took_over: bool,
    released: AtomicBool,
    beaten_at: Mutex<Instant>,
}

impl Core {
    /// The fencing token.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Says whether the holder before may still have a write on the way.
    pub(crate) fn took_over(&self) -> bool {
        self.took_over
    }

    /// Fails once the lease is no longer ours.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let lost = |epoch| StoreError::LeaseLost { table: self.table.to_string(), epoch };
        let next = claim_path(&self.root, self.epoch + 1);
        match self.store.head(&next).await {
            Ok(_) => return Err(lost(self.epoch + 1)),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(storage("read", &next, error)),
        }
        let own = read(self.store.as_ref(), &claim_path(&self.root, self.epoch)).await?;
        let is_ours = own
            .is_some_and(|bytes| serde_json::from_slice::<Claim>(&bytes).is_ok_and(|claim| claim.nonce == self.nonce));
        let is_silent = lock(&self.beaten_at).elapsed() > OWN_SILENCE_MAX;
        if !is_ours || is_silent || self.released.load(Ordering::Acquire) {
            return Err(lost(self.epoch));
        }
        Ok(())
    }

    async fn beat(&self, count: u64) {
        let body = serde_json::json!({ "count": count, "released": self.released.load(Ordering::Acquire) });
        let path = beat_path(&self.root, self.epoch);
        match self.store.put(&path, PutPayload::from(body.to_string())).await {
            Ok(_) => *lock(&self.beaten_at) = Instant::now(),
            Err(error) => tracing::warn!(%error, %path, "heartbeat of a lease not written"),
        }
    }

    async fn let_go(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            self.beat(u64::MAX).await;
        }
    }
}

/// The handle that [`hambar_core::TableStore::lease`] gives out.
#[derive(Debug)]
struct Held {
    core: Arc<Core>,
}

#[async_trait]
impl Lease for Held {
    fn epoch(&self) -> u64 {
        self.core.epoch
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.core.check().await
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.core.let_go().await;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let core = Arc::clone(&self.core);
        // Outside a runtime nothing can be sent; the lease then ends with its heartbeat or its process.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { core.let_go().await });
        }
    }
}

/// Takes the lease on `table`, or says who has it.
pub(crate) async fn take(lake: &Lake, table: &TableName, holder: &str) -> Result<LeaseOutcome, StoreError> {
    let root = place::leases_root(table);
    let store = lake.object_store();
    let newest = newest_epoch(store.as_ref(), &root).await?;
    let mut took_over = false;
    if newest > 0 {
        let claim = read_claim(store.as_ref(), &root, newest, table).await?;
        // A claim that vanished was swept by a newer holder: the next attempt sees that one.
        if let Some(claim) = claim {
            match ending(lake, &root, newest, &claim).await? {
                Ending::None => return Ok(busy(&claim)),
                Ending::LetGo => {}
                Ending::Silence => took_over = true,
            }
        }
    }
    let claim = Claim {
        nonce: uuid::Uuid::new_v4().to_string(),
        holder: holder.to_owned(),
        process: lake.inner.host.clone(),
        since: lake.inner.clock.now(),
    };
    let epoch = newest + 1;
    if let Some(winner) = claim_epoch(store.as_ref(), &root, epoch, &claim, table).await? {
        return Ok(busy(&winner));
    }
    let core = Arc::new(Core {
        store,
        root: root.clone(),
        table: table.clone(),
        epoch,
        nonce: claim.nonce,
        took_over,
        released: AtomicBool::new(false),
        beaten_at: Mutex::new(Instant::now()),
    });
    core.beat(0).await;
    tokio::spawn(keep_beating(Arc::downgrade(&core)));
    lock(&lake.inner.leases.held).insert(table.clone(), Arc::downgrade(&core));
    sweep(&core).await;
    Ok(LeaseOutcome::Held(Box::new(Held { core })))
}

fn busy(claim: &Claim) -> LeaseOutcome {
    let holder = format!("{} (process {} on {})", claim.holder, claim.process.pid, claim.process.host);
    LeaseOutcome::Busy { holder, since: claim.since }
}

async fn newest_epoch(store: &dyn ObjectStore, root: &Path) -> Result<u64, StoreError> {
    let mut objects = store.list(Some(root));
    let mut newest = 0;
    while let Some(object) = objects.try_next().await.map_err(|error| storage("list", root, error))? {
        let name = object.location.filename().and_then(|name| name.strip_suffix(".json"));
        newest = newest.max(name.and_then(|digits| digits.parse().ok()).unwrap_or(0));
    }
    Ok(newest)
}

async fn read_claim(
    store: &dyn ObjectStore,
    root: &Path,
    epoch: u64,
    table: &TableName,
) -> Result<Option<Claim>, StoreError> {
    let path = claim_path(root, epoch);
    let Some(bytes) = read(store, &path).await? else {
        return Ok(None);
    };
    let claim = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(&table.to_string(), format!("lease `{path}`: {error}")))?;
    Ok(Some(claim))
}

/// How the lease of an epoch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is held.
    None,
    /// Its holder has let go.
    LetGo,
    /// Its holder died, or has been silent for too long.
    Silence,
}

async fn ending(lake: &Lake, root: &Path, epoch: u64, claim: &Claim) -> Result<Ending, StoreError> {
    let path = beat_path(root, epoch);
    let content = read(lake.inner.store.as_ref(), &path).await?.unwrap_or_default();
    if serde_json::from_slice::<Beat>(&content).is_ok_and(|beat| beat.released) {
        return Ok(Ending::LetGo);
    }
    let is_over = lake.inner.host.knows_dead(&claim.process)
        || lake.inner.leases.silence(path, content, Instant::now()) >= SILENCE_MAX;
    Ok(if is_over { Ending::Silence } else { Ending::None })
}

/// Creates an epoch's object; returns the winner's claim if that is another one.
async fn claim_epoch(
    store: &dyn ObjectStore,
    root: &Path,
    epoch: u64,
    claim: &Claim,
    table: &TableName,
) -> Result<Option<Claim>, StoreError> {
    let path = claim_path(root, epoch);
    let body = serde_json::to_vec(claim).map_err(|error| storage("write", &path, error))?;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let written = store.put_opts(&path, PutPayload::from(body), options).await;
    let Err(error) = written else {
        return Ok(None);
    };
    // The reply may have been lost, or "exists already" may mean our own write: the nonce tells.
    match read_claim(store, root, epoch, table).await? {
        Some(found) if found.nonce == claim.nonce => Ok(None),
        Some(found) => Ok(Some(found)),
        None => Err(storage("write", &path, error)),
    }
}

async fn keep_beating(core: Weak<Core>) {
    for count in 1.. {
        tokio::time::sleep(BEAT_EVERY).await;
        let Some(core) = core.upgrade().filter(|core| !core.released.load(Ordering::Acquire)) else {
            return;
        };
        core.beat(count).await;
    }
}

/// Deletes the objects of earlier epochs; what stays behind does no harm.
async fn sweep(core: &Core) {
    let Ok(objects) = core.store.list(Some(&core.root)).try_collect::<Vec<_>>().await else {
        return;
    };
    for object in objects {
        let digits = object.location.filename().and_then(|name| name.split_once('.')).map(|(digits, _)| digits);
        if digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|epoch| epoch < core.epoch) {
            let _ = core.store.delete(&object.location).await;
        }
    }
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>, StoreError> {
    match store.get(path).await {
        Ok(found) => found.bytes().await.map(Some).map_err(|error| storage("read", path, error)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(storage("read", path, error)),
    }
}

fn claim_path(root: &Path, epoch: u64) -> Path {
    root.clone().join(format!("{epoch:020}.json"))
}

fn beat_path(root: &Path, epoch: u64) -> Path {
    root.clone().join(format!("{epoch:020}.beat"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Guarded values are replaced whole, so a panic elsewhere cannot leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_change_seen() {
        let book = LeaseBook::default();
        let start = Instant::now();
        let watch = |seconds: u64, content: &'static str| {
            let now = start + Duration::from_secs(seconds);
            book.silence(Path::from("beat"), Bytes::from_static(content.as_bytes()), now).as_secs()
        };
        let seen =
            [(0, "1"), (29, "1"), (30, "1"), (35, "2"), (64, "2"), (65, "2")].map(|(at, content)| watch(at, content));
        assert_eq!(seen, [0, 29, 30, 0, 29, 30]);
    }
}
