//! What the log of a table tells of one version: who made it, how it came to be, and how it is cited.

use std::sync::Arc;

use hambar_core::citation::Citation;
use hambar_core::{Chain, Licence, Origin, Redistribution, TableName};
use hambar_lake::{Lake, VersionInfo};
use jiff::Timestamp;
use quick_cache::sync::Cache;

use crate::catalogue::Dataset;

/// Tables whose facts are kept.
const KEPT_MAX: usize = 1_000;
/// Versions that a page lists.
pub(super) const VERSIONS_MAX: usize = 20;
/// Beyond so many versions the log is too long to be read for a page.
const LOG_MAX: u64 = 1_000;
/// The property of a table that holds the fingerprint of its content.
const FINGERPRINT: &str = "hambar.fingerprint";

/// What is known of a version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The newest versions, the newest first.
    pub(super) versions: Vec<VersionInfo>,
    /// How many there are.
    pub(super) versions_all: usize,
    pub(super) rows: Option<u64>,
    pub(super) bytes: Option<u64>,
    sequence: u64,
    run: Option<String>,
    recorded_at: Option<Timestamp>,
    fingerprint: Option<String>,
}

impl Facts {
    /// What may be told to whoever sees only a part of the table.
    pub(super) fn without_counts(&self) -> Self {
        let (versions, versions_all) = (Vec::new(), 0);
        Self { versions, versions_all, rows: None, bytes: None, fingerprint: None, ..self.clone() }
    }
}

/// The facts of the tables that were looked at.
#[derive(Debug)]
pub(crate) struct FactsCache {
    kept: Cache<(TableName, u64), Arc<Facts>>,
}

impl Default for FactsCache {
    fn default() -> Self {
        Self { kept: Cache::new(KEPT_MAX) }
    }
}

impl FactsCache {
    /// Returns what the log tells; nothing of a history, which has no versions of its own for readers.
    pub(super) async fn get(&self, lake: &Lake, table: &TableName, version: u64) -> Arc<Facts> {
        let place = (table.clone(), version);
        if let Some(known) = self.kept.get(&place) {
            return known;
        }
        let mut facts = Facts::default();
        let snapshot = match lake.snapshot(table, Some(version)).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::debug!(%table, version, error = %Chain(&error), "log not read");
                return Arc::new(facts);
            }
        };
        facts.rows = Some(snapshot.files.iter().map(|file| file.rows).sum());
        facts.bytes = Some(snapshot.files.iter().map(|file| file.size).sum());
        facts.sequence = snapshot.sequence;
        facts.run = snapshot.run.as_ref().map(ToString::to_string);
        facts.recorded_at = snapshot.recorded_at;
        facts.fingerprint = snapshot.properties.get(FINGERPRINT).cloned();
        if version <= LOG_MAX {
            match lake.versions(table).await {
                Ok(versions) => {
                    facts.versions_all = versions.len();
                    facts.versions = versions.into_iter().rev().take(VERSIONS_MAX).collect();
                }
                Err(error) => tracing::debug!(%table, error = %Chain(&error), "versions not listed"),
            }
        }
        let facts = Arc::new(facts);
        self.kept.insert(place, Arc::clone(&facts));
        facts
    }
}

/// Returns the citation of a version, as `hambar cite` would print it: nothing is pinned by looking.
pub(super) fn citation(
    table: &TableName,
    version: u64,
    dataset: Option<&Dataset>,
    facts: &Facts,
    now: Timestamp,
) -> Option<Citation> {
    let dataset = dataset?;
    let redistribution = match dataset.may_be_passed_on {
        true => Redistribution::Allowed,
        false => Redistribution::Forbidden,
    };
    let title = dataset.title.clone()?;
    Some(Citation {
        table: table.clone(),
        version,
        sequence: facts.sequence,
        run: facts.run.clone(),
        recorded_at: facts.recorded_at?,
        cited_at: now,
        fingerprint: facts.fingerprint.clone(),
        origin: Origin {
            provider: dataset.provider.clone()?,
            citation: dataset.citation.clone().unwrap_or_else(|| title.clone()),
            title,
            landing_page: dataset.landing_page.clone(),
            licence: Licence { spdx: dataset.licence.clone()?, redistribution },
        },
    })
}
