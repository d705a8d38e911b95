//! Checks a table from the log down to every value, and the landing zone down to every byte. Reads only.

use std::io::Read;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use hambar_core::{Fingerprint, StoreError, TableName};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::checkpoint::is_same;
use super::log_of;
use crate::checkpoint::{self, Listing};
use crate::error::{damaged, job, rows, storage};
use crate::lake::Lake;
use crate::log::{LogState, TableLog, parse};
use crate::publish::Spool;
use crate::reader::{FileReader, check_bytes, local_copy};
use crate::snapshot::{PROPERTY_FINGERPRINT, schema_of};

/// What was found about one table.
#[derive(Debug, Clone, Default)]
pub struct TableReport {
    /// Newest version.
    pub version: u64,
    /// Log files read.
    pub log_files: u64,
    /// Data files read.
    pub files: u64,
    /// Rows read.
    pub rows: u64,
    /// Fingerprint of the content.
    pub fingerprint: Option<Fingerprint>,
    /// Everything that is wrong; empty for a sound table.
    pub problems: Vec<String>,
}

/// What was found in the landing zone.
#[derive(Debug, Clone, Default)]
pub struct RawReport {
    /// Bodies read.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl Lake {
    /// Checks `table`: every log file can be read and none is missing, each checkpoint gives the same state as the
    /// commits, every data file has the size and the rows that the log says, and the content has the recorded
    /// fingerprint.
    ///
    /// # Errors
    /// Only where the storage cannot be asked; what is wrong with the table is in the report.
    pub async fn check(&self, table: &TableName) -> Result<TableReport, StoreError> {
        let log = log_of(self, table);
        let mut report = TableReport::default();
        self.check_log(&log, &mut report).await?;
        let state = match log.load(None).await {
            Ok(Some(state)) => state,
            Ok(None) => {
                report.problems.push("the log is empty".to_owned());
                return Ok(report);
            }
            Err(error) => {
                report.problems.push(hambar_core::Chain(&error).to_string());
                return Ok(report);
            }
        };
        report.version = state.version;
        self.check_files(&log, &state, &mut report).await?;
        let known = state.property(PROPERTY_FINGERPRINT).and_then(|text| text.parse::<Fingerprint>().ok());
        if let (Some(known), Some(found)) = (known, report.fingerprint)
            && known != found
            && report.problems.is_empty()
        {
            report.problems.push(format!("the content is {found}, the log says {known}"));
        }
        Ok(report)
    }

    async fn check_log(&self, log: &TableLog, report: &mut TableReport) -> Result<(), StoreError> {
        let listing = match checkpoint::list(log).await {
            Ok(listing) => listing,
            Err(error @ StoreError::Storage { .. }) => return Err(error),
            Err(error) => {
                report.problems.push(error.to_string());
                return Ok(());
            }
        };
        for version in 0..=listing.newest.unwrap_or(0) {
            match log.read_commit(version).await {
                Ok(Some(bytes)) => {
                    report.log_files += 1;
                    if let Err(error) = parse(&log.label, &log.commit_path(version), &bytes) {
                        report.problems.push(error.to_string());
                    }
                }
                Ok(None) => report.problems.push(format!("log file `{}` is missing", log.commit_path(version))),
                Err(error) => report.problems.push(hambar_core::Chain(&error).to_string()),
            }
        }
        for version in listing.checkpoints.keys() {
            if let Err(error) = self.check_checkpoint(log, &listing, *version).await {
                report.problems.push(format!("checkpoint of version {version}: {}", hambar_core::Chain(&error)));
            }
        }
        Ok(())
    }

    /// Compares the state that a checkpoint gives with the one that the commits give, where those are still there.
    async fn check_checkpoint(&self, log: &TableLog, listing: &Listing, version: u64) -> Result<(), StoreError> {
        let through = log.replay(listing, Some(version), Some(version)).await?;
        let Ok(without) = log.replay(listing, None, Some(version)).await else {
            // What is wrong with the commits is reported for them.
            return Ok(());
        };
        if let (Some(through), Some(without)) = (through, without)
            && !is_same(&through, &without)
        {
            return Err(damaged(&log.label, "it differs from what the commits say"));
        }
        Ok(())
    }

    async fn check_files(&self, log: &TableLog, state: &LogState, report: &mut TableReport) -> Result<(), StoreError> {
        let schema = match schema_of(log, state) {
            Ok(schema) => schema,
            Err(error) => {
                report.problems.push(hambar_core::Chain(&error).to_string());
                return Ok(());
            }
        };
        let spool = Spool::new(self)?;
        let mut content = Fingerprint::default();
        for add in state.files.values() {
            let path = match local_copy(self, log, add, spool.path()).await {
                Ok(path) => path,
                Err(error) => {
                    report.problems.push(hambar_core::Chain(&error).to_string());
                    continue;
                }
            };
            let (label, schema, file) = (log.label.clone(), Arc::clone(&schema), Arc::clone(add));
            let read = tokio::task::spawn_blocking(move || {
                check_bytes(&label, &path, &file)?;
                let mut fingerprint = Fingerprint::default();
                for batch in FileReader::open(&label, &path, &file, &schema, None)? {
                    let added = fingerprint.add(&batch?, |name| !name.starts_with('_'));
                    added.map_err(|error| rows(&label, error.to_string()))?;
                }
                Ok::<_, StoreError>(fingerprint)
            });
            report.files += 1;
            match read.await.map_err(|error| job(&log.label, &error))? {
                Ok(fingerprint) if add.rows().is_some_and(|announced| announced != fingerprint.rows) => {
                    let announced = add.rows().unwrap_or(0);
                    report.problems.push(format!(
                        "data file `{}` has {} rows, the log says {announced}",
                        add.path, fingerprint.rows
                    ));
                }
                Ok(fingerprint) => content = content.plus(fingerprint),
                Err(error) => report.problems.push(hambar_core::Chain(&error).to_string()),
            }
        }
        report.rows = content.rows;
        report.fingerprint = Some(content);
        Ok(())
    }

    /// Hashes every body of the landing zone and compares it with its name.
    ///
    /// # Errors
    /// Only where the storage cannot be listed.
    pub async fn check_raw(&self) -> Result<RawReport, StoreError> {
        let root = Path::from("raw/sha256");
        let mut report = RawReport::default();
        let objects: Vec<_> =
            self.inner.store.list(Some(&root)).try_collect().await.map_err(|error| storage("list", &root, error))?;
        for object in objects {
            let name = object.location.filename().unwrap_or_default().to_owned();
            if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                continue;
            }
            report.bodies += 1;
            report.bytes += object.size;
            match hash(self, &object.location).await {
                Ok(found) if found == name => {}
                Ok(found) => report.problems.push(format!("raw body `{name}` has the SHA-256 {found}")),
                Err(error) => report.problems.push(hambar_core::Chain(&error).to_string()),
            }
        }
        Ok(report)
    }
}

async fn hash(lake: &Lake, path: &Path) -> Result<String, StoreError> {
    let mut digest = Sha256::new();
    if let Some(root) = lake.local_root() {
        let file = path.parts().fold(root.to_owned(), |place, part| place.join(part.as_ref()));
        let place = file.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let mut reader = std::fs::File::open(&file)?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = reader.read(&mut buffer)?;
                if read == 0 {
                    return Ok::<_, std::io::Error>(digest);
                }
                digest.update(&buffer[..read]);
            }
        });
        let hashed = hashed.await.map_err(|error| job("raw", &error))?;
        digest = hashed.map_err(|error| crate::error::file("read", &place, error))?;
    } else {
        let found = lake.inner.store.get(path).await.map_err(|error| storage("read", path, error))?;
        let mut body = found.into_stream();
        while let Some(chunk) = body.next().await {
            digest.update(chunk.map_err(|error| storage("read", path, error))?);
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
