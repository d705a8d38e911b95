//! Runs checked statements with DataFusion: loads one snapshot per table, plans within a deadline on a large stack,
//! walks over the plan, and streams the rows. In production this happens in the worker process only.

mod catalog;
mod loaded;
mod plan_walk;
mod planning;
mod policy;
mod policy_exec;
mod pool;
mod rows;
#[cfg(test)]
mod same_rows;
mod settings;
mod statistics;
mod table;
mod travel;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, SessionStateDefaults};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use hambar_lake::Lake;

pub(crate) use rows::Cut;
pub use rows::RowStream;

use crate::advice;
use crate::error::QueryError;
use crate::functions::{self, CATALOG};
use crate::gate::{self, Checked};
use crate::limits::QueryLimits;
use crate::postgres;
use crate::question::{Description, Facts, Question, VersionRead};
use crate::rules;
use crate::visibility::Visibility;
use catalog::QueryCatalog;
use loaded::Loaded;
use pool::QueryPool;

/// Consumers of memory that the error names when the pool is used up.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");
/// The address under which plans know the lake's store. Plans hold no other address, and no store but this one exists.
const STORE_URL: &str = "lake://store";

/// Answers queries over one lake.
#[derive(Debug, Clone)]
pub struct QueryEngine {
    lake: Lake,
    limits: QueryLimits,
    /// Caches, spill folder and store; every query adds a memory pool of its own.
    runtime: Arc<RuntimeEnv>,
    store: ObjectStoreUrl,
}

/// A query that was planned and may run.
#[derive(Debug)]
pub struct Prepared {
    /// The statement, for the places of errors.
    sql: String,
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
    facts: Facts,
    limits: QueryLimits,
}

impl QueryEngine {
    /// Makes an engine over `lake` that spills into the folder `spill`.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn new(lake: Lake, limits: QueryLimits, spill: &Path) -> Result<Self, QueryError> {
        let store = ObjectStoreUrl::parse(STORE_URL).map_err(|error| QueryError::from_plan(&error))?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![PathBuf::from(spill)]))
            .with_max_temp_directory_size(limits.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .build()
            .map_err(|error| QueryError::from_run(&error))?;
        // DataFusion starts with the whole file system registered; a query may reach the lake and nothing else.
        if let Ok(files) = ObjectStoreUrl::parse("file://") {
            let _ = runtime.deregister_object_store(files.as_ref());
        }
        runtime.register_object_store(store.as_ref(), lake.object_store());
        Ok(Self { lake, limits, runtime: Arc::new(runtime), store })
    }

    /// Passes the statement through the gate, loads the snapshots of its tables, binds its parameters, and plans it.
    ///
    /// # Errors
    /// Where the gate refuses it, a table does not exist for the asker, or it cannot be planned in time.
    pub async fn prepare(&self, question: &Question) -> Result<Prepared, QueryError> {
        self.prepare_unplaced(question).await.map_err(|error| advice::placed(error, &question.sql))
    }

    async fn prepare_unplaced(&self, question: &Question) -> Result<Prepared, QueryError> {
        let limits = question.limits.at_most(&self.limits);
        let checked = gate::check(&question.sql, &limits.gate)?;
        let (state, versions) = self.resolve(&checked, question, &limits).await?;
        let is_repeatable = checked.is_repeatable;
        let planned = planning::runnable(checked, question.parameters.clone(), state.clone(), &limits).await?;
        let facts = Facts { versions, is_repeatable: is_repeatable && planned.is_repeatable };
        Ok(Prepared { sql: question.sql.clone(), plan: planned.plan, state, facts, limits })
    }

    /// Says which columns and parameters a statement has and what it reads, without running it.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn describe(&self, question: &Question) -> Result<Description, QueryError> {
        self.describe_unplaced(question).await.map_err(|error| advice::placed(error, &question.sql))
    }

    async fn describe_unplaced(&self, question: &Question) -> Result<Description, QueryError> {
        let limits = question.limits.at_most(&self.limits);
        let checked = gate::check(&question.sql, &limits.gate)?;
        let (state, versions) = self.resolve(&checked, question, &limits).await?;
        let is_repeatable = checked.is_repeatable;
        let planned = planning::described(checked, question.parameters.clone(), state, &limits).await?;
        let facts = Facts { versions, is_repeatable: is_repeatable && planned.is_repeatable };
        let mut parameters = planned.parameters;
        for parameter in &mut parameters {
            parameter.data_type = parameter.data_type.as_ref().map(rows::plain);
        }
        Ok(Description { schema: rows::plain_schema(&planned.schema), parameters, facts })
    }

    /// Starts a planned query.
    ///
    /// # Errors
    /// Where the plan cannot be started.
    pub fn execute(&self, prepared: Prepared) -> Result<RowStream, QueryError> {
        let Prepared { sql, plan, state, facts, limits } = prepared;
        let schema = rows::plain_schema(&plan.schema());
        let batches = rows::run(plan, state.task_ctx(), &schema);
        let batches = batches.map_err(|error| advice::placed(QueryError::from_run(&error), &sql))?;
        let is_truncated = Arc::new(AtomicBool::new(false));
        let mut cut = Cut {
            rows_left: limits.result_rows_max,
            bytes_left: limits.result_bytes_max,
            is_truncated: Arc::clone(&is_truncated),
        };
        let rows = batches.map(|batch| batch.map_err(|error| QueryError::from_run(&error))).scan(
            false,
            move |has_failed, batch| {
                let next = match batch {
                    _ if *has_failed => None,
                    Ok(batch) => cut.take(batch).map(Ok),
                    Err(error) => {
                        *has_failed = true;
                        Some(Err(error))
                    }
                };
                futures::future::ready(next)
            },
        );
        let rows = RowStream::new(schema, facts, is_truncated, rows.boxed());
        Ok(rows.map_error(move |error| advice::placed(error, &sql)))
    }

    /// Prepares and starts a statement without parameters that may read everything.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`Self::execute`].
    pub async fn query(&self, sql: &str) -> Result<RowStream, QueryError> {
        self.ask(&Question::new(sql, self.limits.clone())).await
    }

    /// Prepares and starts a query.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`Self::execute`].
    pub async fn ask(&self, question: &Question) -> Result<RowStream, QueryError> {
        let prepared = self.prepare(question).await?;
        self.execute(prepared)
    }

    /// Loads what the statement reads into a catalogue of its own.
    async fn resolve(
        &self,
        checked: &Checked,
        question: &Question,
        limits: &QueryLimits,
    ) -> Result<(SessionState, Vec<VersionRead>), QueryError> {
        let (texts, visibility) = (settings::texts(limits), question.visibility.clone());
        let catalog = Arc::new(QueryCatalog::new(self.lake.clone(), self.store.clone(), texts, visibility));
        let mut state = self.state(&catalog, limits)?;
        if !checked.catalogue.is_empty() {
            self.add_postgres(checked, &question.visibility, &catalog, &mut state).await?;
        }
        if checked.lists_tables {
            let mut tables = self.lake.tables().await?;
            tables.retain(|table| question.visibility.sees(table));
            catalog.list(&tables);
        }
        let mut loaded = Loaded::new(self, &catalog, question, &state, texts);
        for relation in &checked.relations {
            loaded.relation(relation).await?;
        }
        let versions = loaded.versions();
        Ok((state, versions))
    }

    /// Makes `pg_catalog` and its functions known.
    async fn add_postgres(
        &self,
        checked: &Checked,
        visibility: &Visibility,
        catalog: &QueryCatalog,
        state: &mut SessionState,
    ) -> Result<(), QueryError> {
        let mut listed = self.lake.tables().await?;
        listed.retain(|table| visibility.sees(table));
        let mut schemas = BTreeMap::new();
        if postgres::NEED_COLUMNS.iter().any(|table| checked.catalogue.contains(*table)) {
            for table in &listed {
                let columns = policy::listed(table, &self.lake.snapshot(table, None).await?.schema, visibility);
                schemas.insert(table.clone(), columns);
            }
        }
        let failed = |error| QueryError::from_plan(&error);
        let names = Arc::new(postgres::Names::new(&listed));
        for (name, table) in postgres::tables(&names, &schemas).map_err(failed)? {
            catalog.insert(postgres::NAMESPACE, name, table);
        }
        postgres::register(state, &names).map_err(failed)
    }

    /// The caches and the store of the engine with a memory pool for one query.
    fn runtime_for(&self, limits: &QueryLimits) -> Result<Arc<RuntimeEnv>, QueryError> {
        let bytes = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX);
        let pool = TrackConsumersPool::new(QueryPool::new(bytes), CONSUMERS_NAMED);
        let built = RuntimeEnvBuilder::from_runtime_env(&self.runtime).with_memory_pool(Arc::new(pool)).build();
        built.map(Arc::new).map_err(|error| QueryError::from_run(&error))
    }

    fn state(&self, catalog: &Arc<QueryCatalog>, limits: &QueryLimits) -> Result<SessionState, QueryError> {
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(catalog) as _);
        let config = SessionConfig::from(settings::options(limits))
            .with_default_catalog_and_schema(CATALOG, CATALOG)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime_for(limits)?)
            .with_catalog_list(Arc::new(catalogs))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(functions::scalar_functions())
            .with_aggregate_functions(functions::aggregate_functions())
            .with_window_functions(functions::window_functions())
            .with_analyzer_rule(Arc::new(functions::CheckedArithmetic))
            .with_optimizer_rules(rules::logical())
            .with_physical_optimizer_rules(rules::physical())
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            .build();
        // One instant for the whole statement: `now()` and its kin are made constants of it.
        state.mark_start_execution();
        Ok(state)
    }
}
