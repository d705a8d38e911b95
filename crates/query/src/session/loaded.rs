//! The snapshots of one query: which version of each table it reads, which of its rows and columns, and what time
//! travel makes of them. Every table that a query reads comes into its catalogue here, behind its policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::datasource::{TableProvider, ViewTable};
use datafusion::execution::SessionState;
use hambar_core::{Ident, TableName};
use hambar_lake::TableSnapshot;

use super::catalog::QueryCatalog;
use super::policy::{self, Lacking};
use super::settings::Texts;
use super::table::LakeTable;
use super::{QueryEngine, travel};
use crate::advice;
use crate::error::QueryError;
use crate::gate::{self, Relation};
use crate::question::{Question, VersionRead};
use crate::visibility::Visibility;

/// A name that no pipeline gives a table: looked for in place of a table that may not be seen, so that the two take
/// the same steps.
const NOWHERE: &str = "_8d1f6a54_no_such_table";

/// The snapshots of one query: each table is read in one version, however often it is named.
pub(super) struct Loaded<'a> {
    engine: &'a QueryEngine,
    catalog: &'a QueryCatalog,
    visibility: &'a Visibility,
    standing: &'a BTreeMap<TableName, u64>,
    state: &'a SessionState,
    texts: Texts,
    current: BTreeMap<TableName, TableSnapshot>,
    versions: Vec<VersionRead>,
}

impl<'a> Loaded<'a> {
    pub(super) fn new(
        engine: &'a QueryEngine,
        catalog: &'a QueryCatalog,
        question: &'a Question,
        state: &'a SessionState,
        texts: Texts,
    ) -> Self {
        Self {
            engine,
            catalog,
            visibility: &question.visibility,
            standing: &question.standing,
            state,
            texts,
            current: BTreeMap::new(),
            versions: Vec::new(),
        }
    }

    pub(super) fn versions(self) -> Vec<VersionRead> {
        self.versions
    }

    /// Loads what `relation` reads into the catalogue.
    pub(super) async fn relation(&mut self, relation: &Relation) -> Result<(), QueryError> {
        let table = relation.table();
        if let Relation::Version(_, version) = relation {
            let snapshot = self.snapshot(table, Some(*version)).await?;
            return self.insert(table, relation.catalog_name(), snapshot, true);
        }
        let current = self.current(table).await?;
        let sql = match relation {
            Relation::Current(_) | Relation::Version(..) => return Ok(()),
            Relation::AsOf(_, instant) => {
                let past = self.history(table).await?;
                travel::as_of(&current, past.as_ref(), *instant)?
            }
            Relation::History(_) => {
                self.history(table).await?.ok_or_else(|| no_history(table))?;
                travel::history(&current)
            }
            Relation::Revisions(_) => {
                let past = self.history(table).await?.ok_or_else(|| no_history(table))?;
                travel::revisions(&current, &past)?
            }
        };
        let plan = self.state.create_logical_plan(&sql).await.map_err(|error| QueryError::from_plan(&error))?;
        let view = ViewTable::new(plan, None);
        self.catalog.insert(table.namespace.as_str(), relation.catalog_name(), Arc::new(view));
        Ok(())
    }

    /// Loads the current version of a table, or the one that the question names, before its history: rows that a commit in
    /// between superseded are then newer than the current table's sequence, and ignored.
    async fn current(&mut self, table: &TableName) -> Result<TableSnapshot, QueryError> {
        if let Some(snapshot) = self.current.get(table) {
            return Ok(snapshot.clone());
        }
        let version = self.standing.get(table).copied();
        let snapshot = self.snapshot(table, version).await?;
        self.insert(table, table.table.to_string(), snapshot.clone(), version.is_some())?;
        let shown = self.shown(&snapshot);
        self.current.insert(table.clone(), shown.clone());
        Ok(shown)
    }

    async fn history(&mut self, table: &TableName) -> Result<Option<TableSnapshot>, QueryError> {
        let Ok(name) = format!("{table}{}", gate::HISTORY).parse::<TableName>() else {
            return Ok(None);
        };
        if let Some(snapshot) = self.current.get(&name) {
            return Ok(Some(snapshot.clone()));
        }
        if !self.engine.lake.exists(&name).await? {
            return Ok(None);
        }
        let version = self.standing.get(&name).copied();
        let snapshot = self.engine.lake.snapshot(&name, version).await?;
        let is_pinned = version.is_some();
        self.versions.push(VersionRead { table: name.clone(), version: snapshot.version, is_pinned });
        let shown = self.shown(&snapshot);
        // Its table was loaded before, and has the columns that are hidden: of a new one no row was superseded yet.
        let mut provider = self.provider(snapshot, Lacking::IsFine)?;
        if let Some(current) = self.current.get(table).filter(|_| self.hides_columns(table)) {
            // What a hidden column was called before is not known.
            let gone = policy::gone(&current.schema, &provider.schema());
            provider = provider.without(&gone);
        }
        self.catalog.insert(table.namespace.as_str(), travel::raw_history(table), Arc::new(provider));
        self.current.insert(name, shown.clone());
        Ok(Some(shown))
    }

    async fn snapshot(&self, table: &TableName, version: Option<u64>) -> Result<TableSnapshot, QueryError> {
        let is_visible = self.visibility.sees(table);
        let looked_for = if is_visible { table.clone() } else { nowhere(table)? };
        if !self.engine.lake.exists(&looked_for).await? || !is_visible {
            let mut tables = self.engine.lake.tables().await?;
            tables.retain(|table| self.visibility.sees(table));
            let names = tables.into_iter().map(|table| table.to_string());
            let similar = advice::nearest(&table.to_string(), names);
            return Err(QueryError::UnknownTable { name: table.to_string(), similar });
        }
        Ok(self.engine.lake.snapshot(table, version).await?)
    }

    fn insert(
        &mut self,
        table: &TableName,
        name: String,
        snapshot: TableSnapshot,
        is_pinned: bool,
    ) -> Result<(), QueryError> {
        self.versions.push(VersionRead { table: table.clone(), version: snapshot.version, is_pinned });
        let provider = self.provider(snapshot, Lacking::Closes)?;
        self.catalog.insert(table.namespace.as_str(), name, Arc::new(provider));
        Ok(())
    }

    /// What may be seen of a snapshot.
    fn provider(&self, snapshot: TableSnapshot, lacking: Lacking) -> Result<LakeTable, QueryError> {
        let name = snapshot.table.clone();
        let table = LakeTable::new(snapshot, self.engine.store.clone(), self.texts);
        let Some(policy) = self.visibility.policy(&name) else {
            return Ok(table);
        };
        policy::check_columns(&name, policy, table.all_columns(), lacking)?;
        let table = table.without(&policy.hidden);
        if policy.conditions.is_empty() {
            return Ok(table);
        }
        let limits = &self.engine.limits.gate;
        let filter = policy::filter(&name, &policy.conditions, table.all_columns(), self.state, limits)?;
        Ok(table.with_policy(filter))
    }

    fn hides_columns(&self, table: &TableName) -> bool {
        self.visibility.policy(table).is_some_and(|policy| !policy.hidden.is_empty())
    }

    /// A snapshot as the texts of time travel know it: without hidden columns.
    fn shown(&self, snapshot: &TableSnapshot) -> TableSnapshot {
        let Some(policy) = self.visibility.policy(&snapshot.table) else { return snapshot.clone() };
        TableSnapshot { schema: policy::shown(&snapshot.schema, policy), ..snapshot.clone() }
    }
}

fn nowhere(table: &TableName) -> Result<TableName, QueryError> {
    let name = NOWHERE.parse::<Ident>();
    let name = name.map_err(|error| QueryError::Worker { step: "look in", cause: error.to_string() })?;
    Ok(TableName { namespace: table.namespace.clone(), table: name })
}

fn no_history(table: &TableName) -> QueryError {
    QueryError::Travel { what: format!("table `{table}` has no history") }
}
