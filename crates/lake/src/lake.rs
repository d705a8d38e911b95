//! The lake: tables in an object store. Reading lives here; writing in [`crate::writer`] and its neighbours.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hambar_core::{Clock, Ident, StoreError, TableName};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::access::{self, Access, Opened};
use crate::durable::{FlushObserver, Flusher};
use crate::error::storage;
use crate::host::HostInfo;
use crate::lease::LeaseBook;
use crate::log::{LogState, TableLog};
use crate::output::SortedLimits;
use crate::place;
use crate::snapshot::TableSnapshot;
use crate::versions::{self, VersionInfo};

/// Earlier versions kept in memory per table, besides the newest.
const PAST_VERSIONS_CACHED: usize = 8;

/// Tables with their history in an object store. Cheap to clone; clones share caches and leases.
#[derive(Debug, Clone)]
pub struct Lake {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) url: Url,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) local_root: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host: HostInfo,
    pub(crate) leases: LeaseBook,
    pub(crate) sorted: SortedLimits,
    pub(crate) flusher: Flusher,
    states: Mutex<HashMap<Path, Cached>>,
}

#[derive(Debug, Default)]
struct Cached {
    newest: Option<Arc<LogState>>,
    past: Vec<Arc<LogState>>,
}

impl Lake {
    /// Opens the store at `url`: a folder's path, `file://`, `s3://bucket/prefix`, or `memory://` for tests.
    ///
    /// `options` are the settings of `object_store` (credentials, region, endpoint). For [`Access::ReadWrite`] the
    /// store must prove that conditional creates work, otherwise it is [`StoreError::Unfit`].
    pub async fn open(
        url: &str,
        options: &BTreeMap<String, String>,
        access: Access,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        Self::open_with(url, options, access, clock, Flusher::default()).await
    }

    /// Opens the folder `url` as [`Lake::open`] does and tells `observer` of every flush; for tests that cut the power.
    pub async fn open_observed(
        url: &str,
        access: Access,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn FlushObserver>,
    ) -> Result<Self, StoreError> {
        Self::open_with(url, &BTreeMap::new(), access, clock, Flusher::observed(observer)).await
    }

    async fn open_with(
        url: &str,
        options: &BTreeMap<String, String>,
        access: Access,
        clock: Arc<dyn Clock>,
        flusher: Flusher,
    ) -> Result<Self, StoreError> {
        let opened = access::open_store(url, options, access, flusher.clone())?;
        if access == Access::ReadWrite {
            access::prove_conditional_create(opened.store.as_ref(), &opened.url).await?;
        }
        let Opened { url, store, local_root } = opened;
        Ok(Self::assemble(url, store, local_root, clock, HostInfo::this_process(), flusher))
    }

    /// Uses `store` as it is; for wrappers (faults, metrics) and for other processes' identities in tests.
    pub fn from_store(url: Url, store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, host: HostInfo) -> Self {
        Self::assemble(url, store, None, clock, host, Flusher::default())
    }

    /// Returns a lake over the same store that writes sorted files of these sizes. It shares nothing in memory.
    #[must_use]
    pub fn with_sorted_limits(&self, sorted: SortedLimits) -> Self {
        let inner = Inner {
            url: self.inner.url.clone(),
            store: self.object_store(),
            local_root: self.inner.local_root.clone(),
            clock: Arc::clone(&self.inner.clock),
            host: self.inner.host.clone(),
            leases: LeaseBook::default(),
            sorted,
            flusher: self.inner.flusher.clone(),
            states: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn assemble(
        url: Url,
        store: Arc<dyn ObjectStore>,
        local_root: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        host: HostInfo,
        flusher: Flusher,
    ) -> Self {
        let leases = LeaseBook::default();
        let states = Mutex::new(HashMap::new());
        let sorted = SortedLimits::default();
        Self { inner: Arc::new(Inner { url, store, local_root, clock, host, leases, sorted, flusher, states }) }
    }

    /// Proves that the store's conditional creates work, as [`Lake::open`] does; for [`Lake::from_store`].
    pub async fn prove_fit(&self) -> Result<(), StoreError> {
        access::prove_conditional_create(self.inner.store.as_ref(), &self.inner.url).await
    }

    /// Returns the store's URL.
    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    /// Returns the object store, rooted at the lake.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.store)
    }

    /// Returns the folder of a local lake.
    pub fn local_root(&self) -> Option<&FilePath> {
        self.inner.local_root.as_deref()
    }

    /// Lists the current tables, those of `system` included, without histories and rejects.
    pub async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        let mut found = Vec::new();
        for namespace in self.folders(&Path::from("tables")).await? {
            let tables = self.folders(&Path::from("tables").join(namespace.as_str())).await?;
            found.extend(tables.into_iter().map(|table| (namespace.clone(), table)));
        }
        let system = self.folders(&Path::from(place::SYSTEM)).await?;
        found.extend(system.into_iter().map(|table| (place::SYSTEM.to_owned(), table)));
        let named = found.into_iter().filter(|(_, table)| place::is_current(table)).filter_map(|(namespace, table)| {
            Some(TableName { namespace: namespace.parse::<Ident>().ok()?, table: table.parse::<Ident>().ok()? })
        });
        let mut tables = Vec::new();
        for name in named {
            if self.exists(&name).await? {
                tables.push(name);
            }
        }
        tables.sort();
        Ok(tables)
    }

    async fn folders(&self, parent: &Path) -> Result<Vec<String>, StoreError> {
        let listed = self.inner.store.list_with_delimiter(Some(parent)).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(storage("list", parent, error)),
        };
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Says whether the table is there.
    pub async fn exists(&self, table: &TableName) -> Result<bool, StoreError> {
        let root = place::table_root(table);
        if self.cached(&root).is_some() {
            return Ok(true);
        }
        let log = self.log(&root, &table.to_string());
        let first = log.commit_path(0);
        match self.inner.store.head(&first).await {
            Ok(_) => Ok(true),
            // Version 0 may have been cleaned up behind a checkpoint.
            Err(object_store::Error::NotFound { .. }) => Ok(log.load(None).await?.is_some()),
            Err(error) => Err(storage("read", &first, error)),
        }
    }

    /// Returns the table at `version`, the newest for `None`. [`StoreError::Missing`] names what is not there.
    pub async fn snapshot(&self, table: &TableName, version: Option<u64>) -> Result<TableSnapshot, StoreError> {
        let log = self.log(&place::table_root(table), &table.to_string());
        let state = self.state(&log, version).await?;
        TableSnapshot::new(table, &log, &state)
    }

    /// Returns the newest version of `table`, of which `known` is one: asks only whether there is a newer commit, and
    /// reads none.
    pub async fn newest_version(&self, table: &TableName, known: u64) -> Result<u64, StoreError> {
        let log = self.log(&place::table_root(table), &table.to_string());
        let mut newest = known;
        loop {
            let next = log.commit_path(newest + 1);
            match self.inner.store.head(&next).await {
                Ok(_) => newest += 1,
                Err(object_store::Error::NotFound { .. }) => return Ok(newest),
                Err(error) => return Err(storage("read", &next, error)),
            }
        }
    }

    /// Returns the state that the log of `table` gives; for maintenance.
    pub async fn log_state(&self, table: &TableName, version: Option<u64>) -> Result<Arc<LogState>, StoreError> {
        let log = self.log(&place::table_root(table), &table.to_string());
        self.state(&log, version).await
    }

    /// Lists the commits whose log files are still there, oldest first.
    pub async fn versions(&self, table: &TableName) -> Result<Vec<VersionInfo>, StoreError> {
        let log = self.log(&place::table_root(table), &table.to_string());
        let found = versions::list(&log).await?;
        if found.is_empty() { Err(missing(table.to_string())) } else { Ok(found) }
    }

    pub(crate) fn log(&self, root: &Path, label: &str) -> TableLog {
        TableLog { store: self.object_store(), root: root.clone(), label: label.to_owned() }
    }

    /// Reads the state of a log: from memory as far as possible, and on from there.
    pub(crate) async fn state(&self, log: &TableLog, version: Option<u64>) -> Result<Arc<LogState>, StoreError> {
        let found = match version {
            None => self.newest(log).await?,
            Some(version) => self.past(log, version).await?,
        };
        found.ok_or_else(|| {
            missing(version.map_or_else(
                || format!("table `{}`", log.label),
                |version| format!("version {version} of table `{}`", log.label),
            ))
        })
    }

    /// Reads the newest state of a log, `None` where there is no table.
    pub(crate) async fn newest(&self, log: &TableLog) -> Result<Option<Arc<LogState>>, StoreError> {
        if let Some(known) = self.cached(&log.root) {
            if log.read_commit(known.version + 1).await?.is_none() {
                return Ok(Some(known));
            }
            let advanced = Arc::new(log.advance(LogState::clone(&known)).await?);
            self.remember(&log.root, &advanced);
            return Ok(Some(advanced));
        }
        let loaded = log.load(None).await?.map(Arc::new);
        if let Some(state) = &loaded {
            self.remember(&log.root, state);
        }
        Ok(loaded)
    }

    async fn past(&self, log: &TableLog, version: u64) -> Result<Option<Arc<LogState>>, StoreError> {
        let known = {
            let states = self.states();
            states.get(&log.root).and_then(|cached| {
                cached.newest.iter().chain(&cached.past).find(|state| state.version == version).cloned()
            })
        };
        if known.is_some() {
            return Ok(known);
        }
        let Some(state) = log.load(Some(version)).await?.map(Arc::new) else {
            return Ok(None);
        };
        let mut states = self.states();
        let cached = states.entry(log.root.clone()).or_default();
        if cached.past.len() >= PAST_VERSIONS_CACHED {
            cached.past.remove(0);
        }
        cached.past.push(Arc::clone(&state));
        Ok(Some(state))
    }

    fn cached(&self, root: &Path) -> Option<Arc<LogState>> {
        self.states().get(root).and_then(|cached| cached.newest.clone())
    }

    fn remember(&self, root: &Path, state: &Arc<LogState>) {
        let mut states = self.states();
        let cached = states.entry(root.clone()).or_default();
        if cached.newest.as_ref().is_none_or(|known| known.version < state.version) {
            cached.newest = Some(Arc::clone(state));
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Path, Cached>> {
        // The map holds whole values only, so that a panic elsewhere cannot leave it half changed.
        self.inner.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn missing(what: String) -> StoreError {
    StoreError::Missing { what }
}
