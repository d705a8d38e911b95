//! Runs checked statements with DataFusion: loads one snapshot per table, plans within a deadline on a large stack,
//! walks over the plan, and streams the rows. In production this happens in the worker process only.

mod catalog;
mod plan_walk;
mod rows;
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
use datafusion::datasource::ViewTable;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, SessionStateDefaults};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as PlannedStatement;
use futures::StreamExt;
use hambar_core::TableName;
use hambar_lake::{Lake, TableSnapshot};
use tokio::sync::oneshot::Receiver;

pub(crate) use rows::Cut;
pub use rows::{RowStream, VersionRead};

use crate::advice;
use crate::error::QueryError;
use crate::functions::{self, CATALOG};
use crate::gate::{self, Checked, Relation, STACK_BYTES};
use crate::limits::QueryLimits;
use crate::rules;
use catalog::QueryCatalog;
use table::LakeTable;

/// Consumers of memory that the error names when the pool is used up.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");
/// The address under which plans know the lake's store. Plans hold no other address, and no store but this one exists.
const STORE_URL: &str = "lake://store";

/// Answers queries over one lake.
#[derive(Debug, Clone)]
pub struct QueryEngine {
    lake: Lake,
    limits: QueryLimits,
    runtime: Arc<RuntimeEnv>,
    store: ObjectStoreUrl,
}

/// A query that was planned and may run.
#[derive(Debug)]
pub struct Prepared {
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
    versions: Vec<VersionRead>,
}

impl QueryEngine {
    /// Makes an engine over `lake` that spills into the folder `spill`.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn new(lake: Lake, limits: QueryLimits, spill: &Path) -> Result<Self, QueryError> {
        let store = ObjectStoreUrl::parse(STORE_URL).map_err(|error| QueryError::from_plan(&error))?;
        let bytes = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![PathBuf::from(spill)]))
            .with_max_temp_directory_size(limits.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), CONSUMERS_NAMED)))
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

    /// Passes the statement through the gate, loads the snapshots of its tables, and plans it.
    ///
    /// # Errors
    /// Where the gate refuses it, a table does not exist, or it cannot be planned in time.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, QueryError> {
        self.prepare_unplaced(sql).await.map_err(|error| advice::placed(error, sql))
    }

    async fn prepare_unplaced(&self, sql: &str) -> Result<Prepared, QueryError> {
        let checked = gate::check(sql, &self.limits.gate)?;
        let (state, versions) = self.resolve(&checked).await?;
        let limit = self.limits.plan_time_max;
        let regex_bytes_max = self.limits.gate.regex_bytes_max;
        let planned = plan_on_large_stack(checked, state.clone(), regex_bytes_max)?;
        match tokio::time::timeout(limit, planned).await {
            Ok(Ok(plan)) => Ok(Prepared { plan: plan?, state, versions }),
            Ok(Err(_)) => Err(QueryError::Worker { step: "plan in", cause: "the planning thread panicked".to_owned() }),
            Err(_) => Err(QueryError::PlanTime { limit }),
        }
    }

    /// Starts a planned query.
    ///
    /// # Errors
    /// Where the plan cannot be started.
    pub fn execute(&self, prepared: Prepared) -> Result<RowStream, QueryError> {
        let Prepared { plan, state, versions } = prepared;
        let schema = rows::plain_schema(&plan.schema());
        let batches = execute_stream(plan, state.task_ctx()).map_err(|error| QueryError::from_run(&error))?;
        let is_truncated = Arc::new(AtomicBool::new(false));
        let mut cut = Cut {
            rows_left: self.limits.result_rows_max,
            bytes_left: self.limits.result_bytes_max,
            is_truncated: Arc::clone(&is_truncated),
        };
        let shape = Arc::clone(&schema);
        let rows = batches
            .map(move |batch| {
                let batch = batch.map_err(|error| QueryError::from_run(&error))?;
                rows::plain_batch(&batch, &shape).map_err(|error| QueryError::from_run(&error.into()))
            })
            .scan(false, move |has_failed, batch| {
                let next = match batch {
                    _ if *has_failed => None,
                    Ok(batch) => cut.take(batch).map(Ok),
                    Err(error) => {
                        *has_failed = true;
                        Some(Err(error))
                    }
                };
                futures::future::ready(next)
            });
        Ok(RowStream::new(schema, versions, is_truncated, rows.boxed()))
    }

    /// Prepares and starts a query.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`Self::execute`].
    pub async fn query(&self, sql: &str) -> Result<RowStream, QueryError> {
        let prepared = self.prepare(sql).await?;
        let text = sql.to_owned();
        let rows = self.execute(prepared).map_err(|error| advice::placed(error, sql))?;
        Ok(rows.map_error(move |error| advice::placed(error, &text)))
    }

    /// Loads what the statement reads into a catalogue of its own.
    async fn resolve(&self, checked: &Checked) -> Result<(SessionState, Vec<VersionRead>), QueryError> {
        let catalog = Arc::new(QueryCatalog::new(self.lake.clone(), self.store.clone(), settings::texts(&self.limits)));
        let state = self.state(&catalog);
        if checked.lists_tables {
            catalog.list(&self.lake.tables().await?);
        }
        let mut loaded = Loaded { engine: self, catalog: &catalog, current: BTreeMap::new(), versions: Vec::new() };
        for relation in &checked.relations {
            loaded.relation(relation, &state).await?;
        }
        Ok((state, loaded.versions))
    }

    fn state(&self, catalog: &Arc<QueryCatalog>) -> SessionState {
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(catalog) as _);
        let config = SessionConfig::from(settings::options(&self.limits))
            .with_default_catalog_and_schema(CATALOG, CATALOG)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_catalog_list(Arc::new(catalogs))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(functions::scalar_functions())
            .with_aggregate_functions(functions::aggregate_functions())
            .with_window_functions(functions::window_functions())
            .with_optimizer_rules(rules::logical())
            .with_physical_optimizer_rules(rules::physical())
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            .build();
        // One instant for the whole statement: `now()` and its kin are made constants of it.
        state.mark_start_execution();
        state
    }
}

/// The snapshots of one query: each table is read in one version, however often it is named.
struct Loaded<'a> {
    engine: &'a QueryEngine,
    catalog: &'a QueryCatalog,
    current: BTreeMap<TableName, TableSnapshot>,
    versions: Vec<VersionRead>,
}

impl Loaded<'_> {
    async fn relation(&mut self, relation: &Relation, state: &SessionState) -> Result<(), QueryError> {
        let table = relation.table();
        if let Relation::Version(_, version) = relation {
            let snapshot = self.snapshot(table, Some(*version)).await?;
            self.insert(table, relation.catalog_name(), snapshot);
            return Ok(());
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
        let plan = state.create_logical_plan(&sql).await.map_err(|error| QueryError::from_plan(&error))?;
        let view = ViewTable::new(plan, None);
        self.catalog.insert(table.namespace.as_str(), relation.catalog_name(), Arc::new(view));
        Ok(())
    }

    /// Loads the current version of a table, before its history: rows that a commit in between superseded are then
    /// newer than the current table's sequence, and ignored.
    async fn current(&mut self, table: &TableName) -> Result<TableSnapshot, QueryError> {
        if let Some(snapshot) = self.current.get(table) {
            return Ok(snapshot.clone());
        }
        let snapshot = self.snapshot(table, None).await?;
        self.insert(table, table.table.to_string(), snapshot.clone());
        self.current.insert(table.clone(), snapshot.clone());
        Ok(snapshot)
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
        let snapshot = self.engine.lake.snapshot(&name, None).await?;
        let provider =
            LakeTable::new(snapshot.clone(), self.engine.store.clone(), settings::texts(&self.engine.limits));
        self.catalog.insert(table.namespace.as_str(), travel::raw_history(table), Arc::new(provider));
        self.current.insert(name, snapshot.clone());
        Ok(Some(snapshot))
    }

    async fn snapshot(&self, table: &TableName, version: Option<u64>) -> Result<TableSnapshot, QueryError> {
        if !self.engine.lake.exists(table).await? {
            let names = self.engine.lake.tables().await?.into_iter().map(|table| table.to_string());
            let similar = advice::nearest(&table.to_string(), names);
            return Err(QueryError::UnknownTable { name: table.to_string(), similar });
        }
        Ok(self.engine.lake.snapshot(table, version).await?)
    }

    fn insert(&mut self, table: &TableName, name: String, snapshot: TableSnapshot) {
        self.versions.push(VersionRead { table: table.clone(), version: snapshot.version });
        let provider = LakeTable::new(snapshot, self.engine.store.clone(), settings::texts(&self.engine.limits));
        self.catalog.insert(table.namespace.as_str(), name, Arc::new(provider));
    }
}

fn no_history(table: &TableName) -> QueryError {
    QueryError::Travel { what: format!("table `{table}` has no history") }
}

/// What planning gives.
type Planned = Result<Arc<dyn ExecutionPlan>, QueryError>;

/// Plans on a thread of its own: expressions as deep as the gate lets through need more stack than a runtime's
/// threads have, and a plan that takes too long cannot be stopped, only left behind.
fn plan_on_large_stack(
    checked: Checked,
    state: SessionState,
    regex_bytes_max: usize,
) -> Result<Receiver<Planned>, QueryError> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("plan".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody listens any more where the deadline has passed.
            let _ = send.send(runtime.block_on(plan(checked, &state, regex_bytes_max)));
        })
        .map_err(|error| QueryError::Worker { step: "plan in", cause: error.to_string() })?;
    Ok(receive)
}

async fn plan(
    checked: Checked,
    state: &SessionState,
    regex_bytes_max: usize,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    let failed = |error| QueryError::from_plan(&error);
    let statement = PlannedStatement::Statement(Box::new(checked.statement));
    let logical = state.statement_to_plan(statement).await.map_err(failed)?;
    plan_walk::check(&logical)?;
    let optimized = state.optimize(&logical).map_err(failed)?;
    plan_walk::check_optimized(&optimized, regex_bytes_max)?;
    let physical = state.query_planner().create_physical_plan(&optimized, state).await.map_err(failed)?;
    if physical.boundedness().is_unbounded() {
        return Err(QueryError::Node { node: "endless scan".to_owned() });
    }
    Ok(physical)
}
