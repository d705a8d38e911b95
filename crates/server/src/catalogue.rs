//! What the store says about its tables: titles, licences, whom to name. Read through a query worker like everything
//! else, and again when `system.datasets` has a newer version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;
use hambar_core::{ErrorClass, TableName};
use hambar_lake::Lake;
use hambar_query::{Progress, QueryError, QueryLimits, QueryPool, Question, RowStream, Visibility};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The newest declaration of every dataset.
const STATEMENT: &str = "SELECT dataset, title, description, provider, citation, landing_page, licence, redistribution, spec, issued \
    FROM (SELECT *, min(recorded_at) OVER (PARTITION BY dataset) AS issued, row_number() OVER (PARTITION BY dataset ORDER BY recorded_at DESC) AS place \
    FROM system.datasets) WHERE place = 1 AND dataset IS NOT NULL";
/// A newer version is looked for again after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What is declared about a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Dataset {
    /// The title that its provider gives it.
    pub title: Option<String>,
    /// What it holds.
    pub description: Option<String>,
    /// The institution that publishes it.
    pub provider: Option<String>,
    /// The sentence to cite it by.
    pub citation: Option<String>,
    /// The page that describes it.
    pub landing_page: Option<String>,
    /// Its licence, an SPDX identifier or `LicenseRef-…`.
    pub licence: Option<String>,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// Whether its values may be given to people outside the cluster.
    pub may_be_passed_on: bool,
    /// When it was first declared here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub issued: Option<Timestamp>,
    /// Its columns as they were declared.
    #[serde(skip)]
    #[schemars(skip)]
    pub columns: Vec<Column>,
}

impl Dataset {
    /// Returns what is declared about what of `table` is seen.
    pub(crate) fn shown(&self, table: &TableName, visibility: &Visibility) -> Self {
        let mut shown = self.clone();
        if shown.key.iter().any(|name| visibility.hides(table, name)) {
            // A part of a key identifies nothing.
            shown.key.clear();
        }
        shown.columns.retain(|column| !visibility.hides(table, &column.name));
        shown
    }
}

/// A column as it was declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as pipeline files write it.
    pub kind: String,
    /// What the provider calls it.
    #[serde(default)]
    pub source_name: String,
    /// What it holds.
    #[serde(default)]
    pub description: Option<String>,
    /// What its values are measured in.
    #[serde(default)]
    pub unit: Option<String>,
}

/// The declarations of all tables.
#[derive(Debug, Clone)]
pub struct Catalogue {
    lake: Lake,
    pool: QueryPool,
    limits: QueryLimits,
    known: Arc<Mutex<Option<Known>>>,
    listed: Arc<Mutex<Option<Listed>>>,
}

#[derive(Debug, Clone)]
struct Listed {
    looked_at: Instant,
    tables: Arc<Vec<TableName>>,
}

#[derive(Debug, Clone)]
struct Known {
    version: u64,
    looked_at: Instant,
    datasets: Arc<BTreeMap<TableName, Dataset>>,
}

impl Catalogue {
    /// Makes one that asks `pool` over the store of `lake`.
    pub fn new(lake: Lake, pool: QueryPool, limits: QueryLimits) -> Self {
        Self { lake, pool, limits, known: Arc::default(), listed: Arc::default() }
    }

    /// Returns the lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Returns the tables of the store, as they were a few seconds ago at most.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn tables(&self) -> Result<Arc<Vec<TableName>>, QueryError> {
        let mut listed = self.listed.lock().await;
        if let Some(listed) = listed.as_ref()
            && listed.looked_at.elapsed() < LOOK_AGAIN_AFTER
        {
            return Ok(Arc::clone(&listed.tables));
        }
        let tables = Arc::new(self.lake.tables().await?);
        *listed = Some(Listed { looked_at: Instant::now(), tables: Arc::clone(&tables) });
        Ok(tables)
    }

    /// Returns what is declared about each table, as it was a few seconds ago at most.
    ///
    /// # Errors
    /// Where the store or the worker fails.
    pub async fn datasets(&self) -> Result<Arc<BTreeMap<TableName, Dataset>>, QueryError> {
        let mut known = self.known.lock().await;
        let table: TableName = match "system.datasets".parse() {
            Ok(table) => table,
            Err(_) => return Ok(Arc::default()),
        };
        if let Some(known) = known.as_mut() {
            if known.looked_at.elapsed() < LOOK_AGAIN_AFTER {
                return Ok(Arc::clone(&known.datasets));
            }
            let newest = self.lake.newest_version(&table, known.version).await?;
            if newest == known.version {
                known.looked_at = Instant::now();
                return Ok(Arc::clone(&known.datasets));
            }
        }
        if !self.lake.exists(&table).await? {
            return Ok(Arc::default());
        }
        let question = Question::new(STATEMENT, self.limits.clone());
        let rows = self.pool.run(&question, CancellationToken::new(), Progress::default()).await?;
        let version = rows.versions().first().map_or(0, |read| read.version);
        let mut datasets = BTreeMap::new();
        // Tables without their terms would be served as if there were none.
        for batch in all(rows, "the list of declarations").await? {
            datasets.extend((0..batch.num_rows()).filter_map(|row| dataset(&batch, row)));
        }
        let datasets = Arc::new(datasets);
        *known = Some(Known { version, looked_at: Instant::now(), datasets: Arc::clone(&datasets) });
        Ok(datasets)
    }

    /// Answers a question of the server itself, which may see everything. `limits` only tighten those of the server.
    ///
    /// # Errors
    /// Where it fails or is stopped, or its answer does not fit.
    pub(crate) async fn ask(
        &self,
        sql: &str,
        limits: &QueryLimits,
        stop: &CancellationToken,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let question = Question::new(sql, limits.at_most(&self.limits));
        let rows = self.pool.run(&question, stop.child_token(), Progress::default()).await?;
        all(rows, "the answer").await
    }
}

/// Returns all rows, or says that `what` is too much.
async fn all(mut rows: RowStream, what: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        batches.push(batch);
    }
    if rows.is_truncated() {
        let message = format!("{what} does not fit the limits of a query's result");
        return Err(QueryError::Execute { class: ErrorClass::Limit, message });
    }
    Ok(batches)
}

fn dataset(batch: &RecordBatch, row: usize) -> Option<(TableName, Dataset)> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let name = text("dataset")?.parse().ok()?;
    let spec: Spec = text("spec").and_then(|spec| serde_json::from_str(&spec).ok()).unwrap_or_default();
    let dataset = Dataset {
        title: text("title"),
        description: text("description"),
        provider: text("provider"),
        citation: text("citation"),
        landing_page: text("landing_page"),
        licence: text("licence"),
        key: spec.key,
        columns: spec.columns,
        may_be_passed_on: text("redistribution").as_deref() == Some("allowed"),
        issued: instant(batch, "issued", row),
    };
    Some((name, dataset))
}

fn instant(batch: &RecordBatch, name: &str, row: usize) -> Option<Timestamp> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    column.is_valid(row).then(|| column.value(row)).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

/// What is read of a declaration.
#[derive(Debug, Default, serde::Deserialize)]
struct Spec {
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    columns: Vec<Column>,
}
