//! The catalogue of one query: the tables that it names, each in one version, and for `information_schema` the
//! names of all tables. Nothing else can be found through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use hambar_core::TableName;
use hambar_lake::Lake;

use super::policy;
use super::settings::Texts;
use super::table::LakeTable;
use crate::error::QueryError;
use crate::visibility::Visibility;

/// The tables of one query.
#[derive(Debug)]
pub(crate) struct QueryCatalog {
    lake: Lake,
    store: ObjectStoreUrl,
    texts: Texts,
    visibility: Visibility,
    schemas: RwLock<BTreeMap<String, Arc<QuerySchema>>>,
}

impl QueryCatalog {
    pub(crate) fn new(lake: Lake, store: ObjectStoreUrl, texts: Texts, visibility: Visibility) -> Self {
        Self { lake, store, texts, visibility, schemas: RwLock::default() }
    }

    /// Makes a table known under `name` in `namespace`.
    pub(crate) fn insert(&self, namespace: &str, name: String, table: Arc<dyn TableProvider>) {
        let schema = self.schema_of(namespace);
        let mut tables = schema.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(name, table);
    }

    /// Makes the names of tables known that are loaded only when somebody asks for their columns.
    pub(crate) fn list(&self, tables: &[TableName]) {
        for table in tables {
            let schema = self.schema_of(table.namespace.as_str());
            let mut listed = schema.listed.write().unwrap_or_else(PoisonError::into_inner);
            listed.insert(table.table.to_string(), table.clone());
        }
    }

    fn schema_of(&self, namespace: &str) -> Arc<QuerySchema> {
        let mut schemas = self.schemas.write().unwrap_or_else(PoisonError::into_inner);
        let made = schemas.entry(namespace.to_owned()).or_insert_with(|| {
            Arc::new(QuerySchema {
                lake: self.lake.clone(),
                store: self.store.clone(),
                texts: self.texts,
                visibility: self.visibility.clone(),
                tables: RwLock::default(),
                listed: RwLock::default(),
            })
        });
        Arc::clone(made)
    }
}

impl CatalogProvider for QueryCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schemas = self.schemas.read().unwrap_or_else(PoisonError::into_inner);
        schemas.get(name).map(|schema| Arc::clone(schema) as Arc<dyn SchemaProvider>)
    }
}

#[derive(Debug)]
struct QuerySchema {
    lake: Lake,
    store: ObjectStoreUrl,
    texts: Texts,
    visibility: Visibility,
    tables: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
    listed: RwLock<BTreeMap<String, TableName>>,
}

impl QuerySchema {
    fn loaded(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn listed(&self, name: &str) -> Option<TableName> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

#[async_trait]
impl SchemaProvider for QuerySchema {
    fn table_names(&self) -> Vec<String> {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<String> = listed.keys().cloned().collect();
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.loaded(name) {
            return Ok(Some(table));
        }
        let Some(table) = self.listed(name) else {
            return Ok(None);
        };
        let snapshot = self
            .lake
            .snapshot(&table, None)
            .await
            .map_err(|error| DataFusionError::External(Box::new(QueryError::Store(error))))?;
        // For its columns only: what a statement reads was loaded before, with the policies that hold for it.
        let columns = LakeTable::new(snapshot, self.store.clone(), self.texts).schema();
        Ok(Some(Arc::new(EmptyTable::new(policy::listed(&table, &columns, &self.visibility)))))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.loaded(name).is_some() || self.listed(name).is_some()
    }
}
