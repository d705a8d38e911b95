//! An object store that fails on purpose: at the n-th call, for chosen paths, in ways that real stores do.
//!
//! Each rule counts the calls that it matches and fires at one of them, or at all. Tests must look at
//! [`FaultStore::fired`]: a fault that never fired proves nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Writes, multipart ones included.
    Put,
    /// Reads and heads.
    Get,
    /// Listings.
    List,
    /// Deletions.
    Delete,
    /// All of them.
    Any,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and nothing happened.
    FailBefore,
    /// The call fails although it was carried out: the reply was lost.
    FailAfter,
    /// The call was carried out, then repeated by some layer, and answers "exists already".
    ExistsAfter,
    /// The call takes its time.
    Delay(Duration),
    /// The answer to a read lacks its second half.
    ShortRead,
    /// The condition of a conditional write is ignored.
    IgnoreCondition,
}

/// When which fault happens.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The kind of call.
    pub call: Call,
    /// A text that the path contains; empty for every path.
    pub path: String,
    /// The matching call at which it happens, from 1; 0 for all of them.
    pub nth: u64,
    /// What happens.
    pub fault: Fault,
}

#[derive(Debug)]
struct Counted {
    rule: Rule,
    seen: u64,
}

/// The wrapper.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<Counted>>,
    fired: AtomicU64,
    calls: AtomicU64,
}

impl Shared {
    fn fault(&self, call: Call, path: &Path) -> Option<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for counted in rules.iter_mut() {
            let rule = &counted.rule;
            if (rule.call == Call::Any || rule.call == call) && path.as_ref().contains(&rule.path) {
                counted.seen += 1;
                if rule.nth == 0 || rule.nth == counted.seen {
                    found = found.or(Some(rule.fault));
                }
            }
        }
        if found.is_some() {
            self.fired.fetch_add(1, Ordering::Relaxed);
        }
        found
    }
}

impl FaultStore {
    /// Wraps `inner`; without rules nothing fails.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, shared: Arc::default() }
    }

    /// Adds a rule.
    pub fn add(&self, call: Call, path: &str, nth: u64, fault: Fault) {
        let rule = Rule { call, path: path.to_owned(), nth, fault };
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Counted { rule, seen: 0 });
    }

    /// Drops all rules.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Number of faults that happened.
    pub fn fired(&self) -> u64 {
        self.shared.fired.load(Ordering::Relaxed)
    }

    /// Number of calls so far.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for FaultStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FaultStore({})", self.inner)
    }
}

fn failure(what: &str) -> Error {
    Error::Generic { store: "FaultStore", source: what.to_owned().into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "answered on purpose".into() }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let fault = self.shared.fault(Call::Put, location);
        match fault {
            Some(Fault::FailBefore) => return Err(failure("refused on purpose")),
            Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::IgnoreCondition) => options.mode = PutMode::Overwrite,
            _ => {}
        }
        let result = self.inner.put_opts(location, payload, options).await;
        match fault {
            Some(Fault::FailAfter) => result.and(Err(failure("reply lost on purpose"))),
            Some(Fault::ExistsAfter) => result.and(Err(exists(location))),
            _ => result,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.shared.fault(Call::Put, location) {
            Some(Fault::FailBefore | Fault::FailAfter) => return Err(failure("refused on purpose")),
            Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
            _ => {}
        }
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.shared.fault(Call::Get, location);
        match fault {
            Some(Fault::FailBefore | Fault::FailAfter) => return Err(failure("not read on purpose")),
            Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
            _ => {}
        }
        let result = self.inner.get_opts(location, options).await?;
        if fault != Some(Fault::ShortRead) {
            return Ok(result);
        }
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = result.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let payload = GetResultPayload::Stream(futures::stream::once(async move { Ok(half) }).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(Fault::FailBefore | Fault::FailAfter) = self.shared.fault(Call::Get, location) {
            return Err(failure("not read on purpose"));
        }
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, shared) = (Arc::clone(&self.inner), Arc::clone(&self.shared));
        let deleted = locations.then(move |location| {
            let (inner, shared) = (Arc::clone(&inner), Arc::clone(&shared));
            async move {
                let location = location?;
                let fault = shared.fault(Call::Delete, &location);
                if fault == Some(Fault::FailBefore) {
                    return Err(failure("not deleted on purpose"));
                }
                inner.delete(&location).await?;
                if fault == Some(Fault::FailAfter) { Err(failure("reply lost on purpose")) } else { Ok(location) }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let root = Path::default();
        if let Some(Fault::FailBefore | Fault::FailAfter) = self.shared.fault(Call::List, prefix.unwrap_or(&root)) {
            return futures::stream::once(async { Err(failure("not listed on purpose")) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        if let Some(Fault::FailBefore | Fault::FailAfter) = self.shared.fault(Call::List, prefix.unwrap_or(&root)) {
            return Err(failure("not listed on purpose"));
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
