//! Citations: rows of `system.citations`, each of which pins a version of a table against vacuum for good.

mod queries;

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::{StreamExt, TryStreamExt};
use hambar_core::citation::Citation;
use hambar_core::{
    Lease, LeaseOutcome, Licence, Origin, Redistribution, StoreError, SystemTable, TableName, TableStore,
};
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::{damaged, storage};
use crate::lake::{Lake, missing};
use crate::place;
use crate::snapshot::{PROPERTY_FINGERPRINT, TableSnapshot};
use crate::system::name_of;

/// Files whose presence is looked up at the same time.
const HEADS_MAX: usize = 16;

impl Lake {
    /// Cites `table` at `version`, the newest for `None`: the version is pinned when this returns. Citing a version again
    /// returns the citation that is there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the version, its files or the table's declaration are not there;
    /// [`StoreError::Busy`] for an earlier version while somebody else works on the table, since that may be a vacuum.
    pub async fn cite(&self, table: &TableName, version: Option<u64>) -> Result<Citation, StoreError> {
        let newest = self.snapshot(table, None).await?;
        // The newest version's files are safe from every vacuum; those of an earlier one may go at this moment.
        let lease = match version {
            Some(version) if version < newest.version => Some(self.held(table).await?),
            _ => None,
        };
        let cited = self.cite_held(table, version, newest).await;
        if let Some(lease) = lease {
            lease.release().await?;
        }
        cited
    }

    async fn held(&self, table: &TableName) -> Result<Box<dyn Lease>, StoreError> {
        match self.lease(table, "hambar cite").await? {
            LeaseOutcome::Held(lease) => Ok(lease),
            LeaseOutcome::Busy { holder, since } => Err(StoreError::Busy { table: table.to_string(), holder, since }),
        }
    }

    async fn cite_held(
        &self,
        table: &TableName,
        version: Option<u64>,
        newest: TableSnapshot,
    ) -> Result<Citation, StoreError> {
        let found = self.citation_from(table, version, newest).await?;
        if !found.is_pinned {
            self.append_system(SystemTable::Citations, found.citation.row()).await?;
        }
        Ok(found.citation)
    }

    /// Returns the citation of `table` at `version`, the newest for `None`, without pinning it: the one that is there, or the
    /// one that [`Lake::cite`] would make now.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the version, its files or the table's declaration are not there.
    pub async fn citation(&self, table: &TableName, version: Option<u64>) -> Result<FoundCitation, StoreError> {
        let newest = self.snapshot(table, None).await?;
        self.citation_from(table, version, newest).await
    }

    async fn citation_from(
        &self,
        table: &TableName,
        version: Option<u64>,
        newest: TableSnapshot,
    ) -> Result<FoundCitation, StoreError> {
        let snapshot = match version {
            Some(version) if version != newest.version => self.snapshot(table, Some(version)).await?,
            _ => newest,
        };
        let known = self.citations().await?;
        if let Some(citation) =
            known.into_iter().find(|known| known.table == *table && known.version == snapshot.version)
        {
            return Ok(FoundCitation { citation, is_pinned: true });
        }
        self.files_are_there(&snapshot).await?;
        let now = self.inner.clock.now();
        let recorded_at = snapshot.recorded_at.unwrap_or(now);
        let origin = self.origin(table, recorded_at).await?;
        let citation = Citation {
            table: table.clone(),
            version: snapshot.version,
            sequence: snapshot.sequence,
            run: snapshot.run.as_ref().map(ToString::to_string),
            recorded_at,
            cited_at: now,
            fingerprint: snapshot.properties.get(PROPERTY_FINGERPRINT).cloned(),
            origin,
        };
        Ok(FoundCitation { citation, is_pinned: false })
    }

    async fn files_are_there(&self, snapshot: &TableSnapshot) -> Result<(), StoreError> {
        let paths: Vec<Path> = snapshot.files.iter().map(|file| file.path.clone()).collect();
        let looked = futures::stream::iter(paths)
            .map(|path| async move {
                match self.inner.store.head(&path).await {
                    Ok(_) => Ok(()),
                    Err(object_store::Error::NotFound { .. }) => {
                        let (version, table) = (snapshot.version, &snapshot.table);
                        Err(missing(format!("data file `{path}` of version {version} of table `{table}`")))
                    }
                    Err(error) => Err(storage("read", &path, error)),
                }
            })
            .buffer_unordered(HEADS_MAX);
        looked.try_collect().await
    }

    /// Lists all citations, oldest first.
    ///
    /// # Errors
    /// Those of the storage; [`StoreError::Damaged`] where a row cannot be read.
    pub async fn citations(&self) -> Result<Vec<Citation>, StoreError> {
        let mut found = Vec::new();
        for batch in self.system_rows(SystemTable::Citations).await? {
            for row in 0..batch.num_rows() {
                let citation = citation_at(&batch, row);
                let broken = || damaged("system.citations", format!("row {} cannot be read", found.len() + 1));
                found.push(citation.ok_or_else(broken)?);
            }
        }
        found.sort_by_key(|citation| (citation.cited_at, citation.table.clone(), citation.version));
        Ok(found)
    }

    /// The versions of `table` that citations pin.
    pub(crate) async fn pinned(&self, table: &TableName) -> Result<BTreeSet<u64>, StoreError> {
        let citations = self.citations().await?;
        Ok(citations.into_iter().filter(|citation| citation.table == *table).map(|citation| citation.version).collect())
    }

    /// What `system.datasets` says about `table` at `instant`, or first said where that is later.
    async fn origin(&self, table: &TableName, instant: Timestamp) -> Result<Origin, StoreError> {
        let mut declared: Vec<(Timestamp, Origin)> = Vec::new();
        let dataset = declared_name(table);
        for batch in self.system_rows(SystemTable::Datasets).await? {
            for row in 0..batch.num_rows() {
                if text(&batch, "dataset", row).as_deref() == Some(dataset.as_str())
                    && let (Some(at), Some(origin)) = (instant_at(&batch, "recorded_at", row), origin_at(&batch, row))
                {
                    declared.push((at, origin));
                }
            }
        }
        declared.sort_by_key(|(at, _)| *at);
        let known = declared.iter().rev().find(|(at, _)| *at <= instant).or(declared.first());
        known.map(|(_, origin)| origin.clone()).ok_or_else(|| {
            missing(format!(
                "a declaration of table `{table}` in `system.datasets`, which a citation takes its origin from,"
            ))
        })
    }

    /// All rows of a small system table; none where it does not exist yet.
    pub(crate) async fn system_rows(&self, table: SystemTable) -> Result<Vec<RecordBatch>, StoreError> {
        let snapshot = match self.snapshot(&name_of(table)?, None).await {
            Ok(snapshot) => snapshot,
            Err(StoreError::Missing { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut batches = Vec::new();
        for file in &snapshot.files {
            batches.extend(self.read_file(&snapshot, file).await?);
        }
        Ok(batches)
    }
}

/// A citation, and whether its version is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCitation {
    /// The citation.
    pub citation: Citation,
    /// Whether it was made, so that its version stays readable for good.
    pub is_pinned: bool,
}

/// The name under which the origin of a table is declared: a history and rejected rows have that of their table.
fn declared_name(table: &TableName) -> String {
    let name = table.to_string();
    let side = [place::HISTORY_SUFFIX, place::REJECTS_SUFFIX].into_iter().find_map(|side| name.strip_suffix(side));
    side.map_or(name.clone(), str::to_owned)
}

fn citation_at(batch: &RecordBatch, row: usize) -> Option<Citation> {
    Some(Citation {
        table: text(batch, "table", row)?.parse().ok()?,
        version: number(batch, "version", row)?,
        sequence: number(batch, "sequence", row)?,
        run: text(batch, "run", row),
        recorded_at: instant_at(batch, "recorded_at", row)?,
        cited_at: instant_at(batch, "cited_at", row)?,
        fingerprint: text(batch, "fingerprint", row),
        origin: origin_at(batch, row)?,
    })
}

fn origin_at(batch: &RecordBatch, row: usize) -> Option<Origin> {
    let redistribution = match text(batch, "redistribution", row)?.as_str() {
        "allowed" => Redistribution::Allowed,
        _ => Redistribution::Forbidden,
    };
    Some(Origin {
        provider: text(batch, "provider", row)?,
        title: text(batch, "title", row)?,
        citation: text(batch, "citation", row)?,
        landing_page: text(batch, "landing_page", row),
        licence: Licence { spdx: text(batch, "licence", row)?, redistribution },
    })
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let texts = batch.column_by_name(column)?.as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}

fn number(batch: &RecordBatch, column: &str, row: usize) -> Option<u64> {
    let numbers = batch.column_by_name(column)?.as_primitive_opt::<Int64Type>()?;
    numbers.is_valid(row).then(|| numbers.value(row)).and_then(|number| u64::try_from(number).ok())
}

fn instant_at(batch: &RecordBatch, column: &str, row: usize) -> Option<Timestamp> {
    let instants = batch.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    instants.is_valid(row).then(|| instants.value(row)).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}
