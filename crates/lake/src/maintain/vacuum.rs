//! Removes data files that nobody can need: no version within retention, no pinned version, no run that is still writing.
//! The history of values is a table of its own, so that vacuum never touches it; only superseded *files* go.

use std::collections::BTreeSet;
use std::path::Path as FilePath;

use futures::TryStreamExt;
use hambar_core::{StoreError, SystemTable, TableName};
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::record::Action;
use super::{leased, leftovers, log_of};
use crate::error::{file, job, storage};
use crate::lake::Lake;
use crate::log::TableLog;
use crate::snapshot::data_path;
use crate::system::name_of;
use crate::versions;

/// The shortest retention: readers may hold a version this long (`reliability.md` R-7).
pub const RETENTION_DAYS_MIN: u32 = 7;
/// How far the clock may be behind the newest commit.
const CLOCK_BEHIND_MAX: SignedDuration = SignedDuration::from_mins(5);

/// What vacuum did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vacuumed {
    /// Files removed, or to be removed.
    pub files: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that stay.
    pub kept: u64,
}

/// From when on the ages of files and rows are counted: a clock that jumped ahead makes nothing old. It may be used for as long
/// as a command takes: commits that come later only make things older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// Now, or the newest commit of the store, where that is before now.
    from: Timestamp,
}

impl Ages {
    /// The instant that was `days` before.
    pub fn before(&self, days: u32) -> Timestamp {
        self.from.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MIN)
    }
}

impl Lake {
    /// Removes files of `table` that no version younger than `retention_days`, no cited one and none of `pinned` needs.
    ///
    /// Files that no log entry names (left behind by a run that died) go by their own age, under the same retention, so that
    /// a run that is still writing keeps its files. A clock that jumped ahead removes nothing early: ages are counted
    /// from the newest commit of the store, where that is before now.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a retention below [`RETENTION_DAYS_MIN`], [`StoreError::Unfit`] where the clock is behind the
    /// newest commit, [`StoreError::Busy`] while a run writes to the table.
    pub async fn vacuum(
        &self,
        table: &TableName,
        retention_days: u32,
        pinned: &[u64],
        is_dry_run: bool,
    ) -> Result<Vacuumed, StoreError> {
        let ages = self.ages().await?;
        self.vacuum_by(&ages, table, retention_days, pinned, is_dry_run).await
    }

    /// As [`Lake::vacuum`], with ages that were counted before, for several tables.
    ///
    /// # Errors
    /// Those of [`Lake::vacuum`].
    pub async fn vacuum_by(
        &self,
        ages: &Ages,
        table: &TableName,
        retention_days: u32,
        pinned: &[u64],
        is_dry_run: bool,
    ) -> Result<Vacuumed, StoreError> {
        if retention_days < RETENTION_DAYS_MIN {
            return Err(StoreError::Limit {
                table: table.to_string(),
                limit: "shortest retention",
                value: u64::from(RETENTION_DAYS_MIN),
                unit: "days",
            });
        }
        let lease = leased(self, table, "vacuum").await?;
        let started_at = self.inner.clock.now();
        let outcome = self.vacuum_leased(table, ages.before(retention_days), pinned, is_dry_run).await;
        lease.release().await?;
        if let Ok(done) = &outcome
            && !done.files.is_empty()
            && !is_dry_run
        {
            let action = Action {
                files_removed: done.files.len() as u64,
                bytes_removed: done.bytes,
                ..Action::new(table, "vacuum", started_at)
            };
            self.record(action).await;
        }
        outcome
    }

    async fn vacuum_leased(
        &self,
        table: &TableName,
        cutoff: Timestamp,
        pinned: &[u64],
        is_dry_run: bool,
    ) -> Result<Vacuumed, StoreError> {
        let log = log_of(self, table);
        let state = self.state(&log, None).await?;
        let mut needed: BTreeSet<Path> = BTreeSet::new();
        for add in state.files.values() {
            needed.insert(data_path(&log, add)?);
        }
        let cited = self.pinned(table).await?;
        for version in cited.union(&pinned.iter().copied().collect()) {
            for add in self.state(&log, Some(*version)).await?.files.values() {
                needed.insert(data_path(&log, add)?);
            }
        }
        let mut removed_late: BTreeSet<Path> = BTreeSet::new();
        let mut known: BTreeSet<Path> = needed.clone();
        for (name, instant) in &state.tombstones {
            let path = crate::snapshot::file_path(&log, name)?;
            if *instant >= cutoff.as_millisecond() {
                removed_late.insert(path.clone());
            }
            known.insert(path);
        }
        let mut done = Vacuumed::default();
        let mut objects = self.inner.store.list(Some(&log.root));
        let log_folder = log.folder();
        while let Some(object) = objects.try_next().await.map_err(|error| storage("list", &log.root, error))? {
            let path = object.location;
            if path.prefix_matches(&log_folder) || needed.contains(&path) || removed_late.contains(&path) {
                done.kept += u64::from(!path.prefix_matches(&log_folder));
                continue;
            }
            let written =
                Timestamp::from_millisecond(object.last_modified.timestamp_millis()).unwrap_or(Timestamp::MAX);
            if !known.contains(&path) && written >= cutoff {
                done.kept += 1;
                continue;
            }
            if !is_dry_run {
                self.inner.store.delete(&path).await.map_err(|error| storage("delete", &path, error))?;
            }
            done.bytes += object.size;
            done.files.push(path.to_string());
        }
        self.vacuum_leftovers(&log, cutoff, is_dry_run, &mut done).await?;
        done.files.sort();
        Ok(done)
    }

    /// Removes what dead processes left in a local lake besides data files.
    async fn vacuum_leftovers(
        &self,
        log: &TableLog,
        cutoff: Timestamp,
        is_dry_run: bool,
        done: &mut Vacuumed,
    ) -> Result<(), StoreError> {
        let Some(root) = self.local_root().map(FilePath::to_owned) else {
            return Ok(());
        };
        let folders = [&log.root, &log.folder()]
            .map(|folder| folder.parts().fold(root.clone(), |place, part| place.join(part.as_ref())));
        let swept = tokio::task::spawn_blocking(move || {
            let found = leftovers::find(&root, &folders, cutoff).map_err(|error| file("list", &root, error))?;
            let mut named = Vec::with_capacity(found.len());
            for leftover in found {
                if !is_dry_run {
                    leftover.remove().map_err(|error| file("delete", &leftover.path, error))?;
                }
                let name = leftover.path.strip_prefix(&root).unwrap_or(&leftover.path).display().to_string();
                named.push((name, leftover.bytes));
            }
            if !is_dry_run {
                leftovers::remove_empty(&folders[0]).map_err(|error| file("delete", &folders[0], error))?;
            }
            Ok::<_, StoreError>(named)
        });
        for (name, bytes) in swept.await.map_err(|error| job(&log.label, &error))?? {
            done.files.push(name);
            done.bytes += bytes;
        }
        Ok(())
    }

    /// Looks at the clock and at the newest commit of the store, from which ages are counted. Lists the log of every table
    /// and reads the newest file of each.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where the clock is behind the newest commit.
    pub async fn ages(&self) -> Result<Ages, StoreError> {
        let now = self.inner.clock.now();
        let mut newest = Timestamp::MIN;
        // What a vacuum records of itself must not make anything old for the next one.
        let own = name_of(SystemTable::Maintenance)?;
        for table in self.tables().await?.into_iter().filter(|table| *table != own) {
            let last = versions::newest(&log_of(self, &table)).await?.and_then(|version| version.committed_at);
            newest = newest.max(last.unwrap_or(Timestamp::MIN));
        }
        if newest > now + CLOCK_BEHIND_MAX {
            return Err(StoreError::Unfit {
                url: self.url().to_string(),
                what: format!(
                    "the clock says {now}, but the newest commit was made at {newest}; set the clock before vacuum"
                ),
            });
        }
        Ok(Ages { from: newest.min(now) })
    }
}
