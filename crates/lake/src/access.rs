//! Opens the object store behind a URL and proves that it keeps its promises before anything is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hambar_core::{Chain, StoreError};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use crate::durable::{DurableLocal, Flusher};
use crate::s3;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing; the store must pass the conditional-create test.
    ReadWrite,
    /// Reading only; nothing is written, not even a probe.
    ReadOnly,
}

/// An opened object store, rooted at the lake's prefix.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) url: Url,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) local_root: Option<PathBuf>,
}

/// Opens the object store that `url` names.
pub(crate) fn open_store(
    url: &str,
    options: &BTreeMap<String, String>,
    access: Access,
    flusher: Flusher,
) -> Result<Opened, StoreError> {
    let unfit = |what: String| StoreError::Unfit { url: url.to_owned(), what };
    if let Some(key) = options.keys().find(|key| key.to_lowercase().contains("unsafe_rename")) {
        return Err(unfit(format!("option `{key}` switches off the safety of commits")));
    }
    if !url.contains("://") {
        return open_folder(PathBuf::from(url), url, access, flusher);
    }
    let parsed = Url::parse(url).map_err(|error| unfit(format!("the URL cannot be read: {error}")))?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| unfit("the URL is not a local folder".to_owned()))?;
            open_folder(folder, url, access, flusher)
        }
        "memory" => Ok(Opened { url: parsed, store: Arc::new(InMemory::new()), local_root: None }),
        "s3" | "s3a" => {
            let (store, prefix) = s3::open(&parsed, options)?;
            let store: Arc<dyn ObjectStore> =
                if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) };
            Ok(Opened { url: parsed, store, local_root: None })
        }
        other => {
            Err(unfit(format!("`{other}` is not a kind of store: use a folder, `file://` or `s3://bucket/prefix`")))
        }
    }
}

fn open_folder(folder: PathBuf, url: &str, access: Access, flusher: Flusher) -> Result<Opened, StoreError> {
    let unfit = |what: String| StoreError::Unfit { url: url.to_owned(), what };
    match access {
        Access::ReadWrite => {
            std::fs::create_dir_all(&folder).map_err(|error| unfit(format!("the folder cannot be created: {error}")))?
        }
        Access::ReadOnly if !folder.is_dir() => {
            return Err(StoreError::Missing { what: format!("store `{}`", folder.display()) });
        }
        Access::ReadOnly => {}
    }
    let root = folder.canonicalize().map_err(|error| unfit(format!("the folder cannot be resolved: {error}")))?;
    let store =
        DurableLocal::new(&root, flusher).map_err(|error| unfit(format!("the folder cannot be opened: {error}")))?;
    let url = Url::from_directory_path(&root).map_err(|()| unfit("the folder has no URL form".to_owned()))?;
    Ok(Opened { url, store: Arc::new(store), local_root: Some(root) })
}

/// Proves that of two conditional creates of one object exactly the first wins; without that, two writers could
/// both believe they made version n (`reliability.md` LD19).
pub(crate) async fn prove_conditional_create(store: &dyn ObjectStore, url: &Url) -> Result<(), StoreError> {
    let probe = Path::from(format!("selftest/{}", uuid::Uuid::new_v4()));
    let unfit = |what: String| StoreError::Unfit { url: url.to_string(), what };
    let create = |body: &'static str| {
        store.put_opts(
            &probe,
            PutPayload::from_static(body.as_bytes()),
            PutOptions { mode: PutMode::Create, ..PutOptions::default() },
        )
    };
    let first = create("first").await;
    let second = create("second").await;
    let found = match store.get(&probe).await {
        Ok(found) => found.bytes().await,
        Err(error) => Err(error),
    };
    let cleared = store.delete(&probe).await;
    if let Err(error) = first {
        return Err(unfit(format!("a probe object could not be written: {}", Chain(&error))));
    }
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(error) => return Err(unfit(format!("a conditional create ended with another error: {}", Chain(&error)))),
        Ok(_) => {
            return Err(unfit(
                "it ignores conditional creates (If-None-Match); two writers could overwrite each other".to_owned(),
            ));
        }
    }
    match found {
        Ok(bytes) if bytes.as_ref() == b"first" => {}
        Ok(_) => return Err(unfit("a refused conditional create replaced the object".to_owned())),
        Err(error) => return Err(unfit(format!("a probe object could not be read back: {}", Chain(&error)))),
    }
    if let Err(error) = cleared {
        tracing::warn!(%error, path = %probe, "probe object not deleted");
    }
    Ok(())
}
