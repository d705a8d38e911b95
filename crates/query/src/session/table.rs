//! One version of a table as DataFusion reads it: a plain Parquet scan over the snapshot's files, with partition
//! values, statistics from the log, and files left out that cannot hold a wanted row.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, lit};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use hambar_lake::{DataFile, TableSnapshot};
use object_store::ObjectMeta;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::file::metadata::PageIndexPolicy;

use super::policy_exec::RowPolicyExec;
use super::settings::Texts;
use super::statistics::{FileBounds, file_statistics, partition_value};
use crate::rules::{FileDictionaries, dictionary_columns};

/// Bytes read from the end of a file at first: most footers fit, and save a second request.
const FOOTER_BYTES: usize = 64 * 1024;

/// Columns of a scan up to which all rows are read before they are filtered, where the filter is over a dictionary and no other
/// column holds texts: numbers are read faster than rows are picked, texts are not.
const NARROW_COLUMNS_MAX: usize = 4;

/// One version of a table.
#[derive(Debug)]
pub(crate) struct LakeTable {
    snapshot: TableSnapshot,
    store: ObjectStoreUrl,
    /// The columns as users see them, without hidden ones.
    schema: SchemaRef,
    /// The columns in the files, then the partition columns.
    layout: TableSchema,
    /// For each column of `schema`, its place in `layout`.
    places: Vec<usize>,
    files: OnceLock<Vec<PartitionedFile>>,
    /// What its rows meet, where not all of them may be read.
    policy: Option<Expr>,
}

impl LakeTable {
    pub(crate) fn new(snapshot: TableSnapshot, store: ObjectStoreUrl, texts: Texts) -> Self {
        let is_partition = |field: &Field| snapshot.partition_by.iter().any(|name| name == field.name());
        let read = |field: &FieldRef| match texts {
            Texts::Views => Arc::new(viewed(field)),
            Texts::Plain => Arc::clone(field),
        };
        let fields: Vec<FieldRef> = snapshot.schema.fields().iter().map(read).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields.clone(), snapshot.schema.metadata().clone()));
        let (partition, in_file): (Vec<FieldRef>, Vec<FieldRef>) =
            fields.iter().cloned().partition(|field| is_partition(field));
        let order = in_file.iter().chain(&partition);
        let places = fields
            .iter()
            .map(|field| order.clone().position(|other| other.name() == field.name()).unwrap_or(0))
            .collect();
        let layout = TableSchema::builder(Arc::new(Schema::new(in_file))).with_table_partition_cols(partition).build();
        Self { snapshot, store, schema, layout, places, files: OnceLock::new(), policy: None }
    }

    /// The same table without these columns: nothing but a policy of its rows knows them.
    pub(crate) fn without(self, hidden: &BTreeSet<String>) -> Self {
        let shown = |field: &FieldRef| !hidden.contains(field.name());
        let kept = self.schema.fields().iter().zip(&self.places).filter(|(field, _)| shown(field));
        let (fields, places): (Vec<FieldRef>, Vec<usize>) =
            kept.map(|(field, place)| (Arc::clone(field), *place)).unzip();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        // An explanation names files, and the folders of partitions are named after values.
        let is_told = self.snapshot.partition_by.iter().any(|name| hidden.contains(name));
        let policy = self.policy.or_else(|| is_told.then(|| lit(true)));
        Self { schema, places, policy, ..self }
    }

    /// The same table, of which rows are read that meet `policy`, which is about [`Self::all_columns`].
    pub(crate) fn with_policy(self, policy: Expr) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// The columns of the table, hidden ones included.
    pub(crate) fn all_columns(&self) -> &SchemaRef {
        self.layout.table_schema()
    }

    fn files(&self) -> &[PartitionedFile] {
        self.files.get_or_init(|| self.snapshot.files.iter().map(|file| self.partitioned_file(file)).collect())
    }

    fn partitioned_file(&self, file: &DataFile) -> PartitionedFile {
        let values: Vec<ScalarValue> = self
            .layout
            .table_partition_cols()
            .iter()
            .map(|field| {
                let text = file.partition_values.get(field.name()).and_then(|text| text.as_deref());
                partition_value(field, text)
            })
            .collect();
        let statistics = file_statistics(file, self.layout.table_schema(), &values);
        let meta = ObjectMeta {
            location: file.path.clone(),
            // Files never change, so their age says nothing; a constant keeps cached footers valid.
            last_modified: Default::default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        let mut part = PartitionedFile::new_from_meta(meta).with_partition_values(values);
        // Not `with_statistics`: it takes NULL partition values for values.
        part.statistics = Some(Arc::new(statistics));
        part
    }

    /// Returns the files that may hold a row that passes `filters`.
    fn wanted(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let files = self.files();
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(files.to_vec());
        };
        let schema = self.layout.table_schema();
        let names = DFSchema::try_from(Arc::clone(schema))?;
        let unqualified = unqualified(filter)?;
        let predicate = state.create_physical_expr(unqualified, &names)?;
        let pruning = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(predicate);
        let Ok(pruning) = pruning else {
            return Ok(files.to_vec());
        };
        let statistics: Vec<Arc<Statistics>> = files.iter().filter_map(|file| file.statistics.clone()).collect();
        let bounds = FileBounds { schema, files: &statistics };
        match pruning.prune(&bounds) {
            Ok(keep) if keep.len() == files.len() => {
                Ok(files.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file.clone()).collect())
            }
            _ => Ok(files.to_vec()),
        }
    }

    /// Returns the places in `layout` of the columns that a query wants.
    fn in_layout(&self, projection: Option<&Vec<usize>>) -> Vec<usize> {
        match projection {
            Some(projection) => projection.iter().filter_map(|index| self.places.get(*index).copied()).collect(),
            None => self.places.clone(),
        }
    }

    /// Reads the rows that meet the policy.
    fn restricted(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        policy: &Expr,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut columns = self.in_layout(projection);
        let handed_on = (0..columns.len()).collect();
        let layout = self.layout.table_schema();
        for column in policy.column_refs() {
            let index = layout.index_of(column.name())?;
            if !columns.contains(&index) {
                columns.push(index);
            }
        }
        let condition = |columns: SchemaRef| state.create_physical_expr(policy.clone(), &DFSchema::try_from(columns)?);
        let files = self.wanted(state, std::slice::from_ref(policy))?;
        let scan: Arc<dyn ExecutionPlan> = if files.is_empty() {
            Arc::new(EmptyExec::new(Arc::new(layout.project(&columns)?)))
        } else {
            // The files use it to leave out what cannot hold such a row, and nothing else: it is computed above them.
            let source = self.source(state, self.reader(state)?).with_pushdown_filters(false);
            self.read(state, files, source.with_predicate(condition(Arc::clone(layout))?), columns, None)?
        };
        let config = state.config();
        let scan = scan.repartitioned(config.target_partitions(), config.options())?.unwrap_or(scan);
        let condition = condition(scan.schema())?;
        Ok(Arc::new(RowPolicyExec::new(self.snapshot.table.clone(), scan, condition, handed_on)?))
    }

    fn reader(&self, state: &dyn Session) -> Result<Arc<dyn ParquetFileReaderFactory>> {
        let runtime = state.runtime_env();
        let store = runtime.object_store(&self.store)?;
        let cache = runtime.cache_manager.get_file_metadata_cache();
        Ok(Arc::new(CachedParquetFileReaderFactory::new(store, cache)))
    }

    fn source(&self, state: &dyn Session, reader: Arc<dyn ParquetFileReaderFactory>) -> ParquetSource {
        ParquetSource::new(self.layout.clone())
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_parquet_file_reader_factory(reader)
    }

    /// Reads columns, by their places in `layout`, of files.
    fn read(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        source: ParquetSource,
        columns: Vec<usize>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let statistics = Statistics::try_merge_iter(
            files.iter().filter_map(|file| file.statistics.as_deref()),
            self.layout.table_schema(),
        )?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(columns))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Texts and bytes are read as views, which group and compare faster; the result is cast back at the end.
fn viewed(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    };
    field.clone().with_data_type(kind)
}

/// Returns a column whose value the filter fixes, so that few rows pass: then the other columns are read for those rows only.
/// Filters that keep much of a table are cheaper on whole batches.
fn selected_by(filter: &Expr) -> Option<&str> {
    let is_value = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if !value.is_null());
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Eq if is_value(&binary.right) => column_name(&binary.left),
            Operator::Eq if is_value(&binary.left) => column_name(&binary.right),
            Operator::And => selected_by(&binary.left).or_else(|| selected_by(&binary.right)),
            _ => None,
        },
        Expr::InList(list) if !list.negated && list.list.iter().all(is_value) => column_name(&list.expr),
        _ => None,
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn reads_texts(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| field.data_type() == &DataType::Utf8View)
}

/// Says whether the columns of a scan are few, and its texts numbers into dictionaries: that is read faster whole than row by
/// row.
fn is_narrow(schema: &Schema, dictionaries: &BTreeSet<String>) -> bool {
    let is_text = |field: &FieldRef| field.data_type() == &DataType::Utf8View;
    schema.fields().len() <= NARROW_COLUMNS_MAX
        && !schema.fields().iter().any(|field| is_text(field) && !dictionaries.contains(field.name()))
}

/// Notes which columns of the largest file are stored with dictionaries. Files of a table are mostly alike in that; where one
/// is not, reading it takes longer. Its footer is remembered for the scan.
async fn look_for_dictionaries(
    readers: &dyn ParquetFileReaderFactory,
    files: &mut [PartitionedFile],
) -> BTreeSet<String> {
    let Some(file) = files.iter_mut().max_by_key(|file| file.object_meta.size) else { return BTreeSet::new() };
    let metrics = ExecutionPlanMetricsSet::new();
    // A file that cannot be read is reported by the scan.
    let Ok(mut reader) = readers.create_reader(0, file.clone(), Some(FOOTER_BYTES), &metrics) else {
        return BTreeSet::new();
    };
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    let Ok(footer) = reader.get_metadata(Some(&options)).await else { return BTreeSet::new() };
    let columns = dictionary_columns(&footer);
    *file = file.clone().with_extension(FileDictionaries(columns.clone()));
    columns
}

/// Filters come with the table's alias; the files know only column names.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let renamed = filter.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    })?;
    Ok(renamed.data)
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(policy) = &self.policy {
            // What a query filters by is for rows that it may see: it does not even choose the files.
            return self.restricted(state, projection, policy);
        }
        let mut wanted = self.wanted(state, filters)?;
        let read = project_schema(&self.schema, projection)?;
        if wanted.is_empty() {
            return Ok(Arc::new(EmptyExec::new(read)));
        }
        let reader = self.reader(state)?;
        let dictionaries = match reads_texts(&read) {
            true => look_for_dictionaries(reader.as_ref(), &mut wanted).await,
            false => BTreeSet::new(),
        };
        let filters_rows = filters.iter().any(|filter| match selected_by(filter) {
            Some(column) => !(dictionaries.contains(column) && is_narrow(&read, &dictionaries)),
            None => false,
        });
        let source = self.source(state, reader).with_pushdown_filters(filters_rows);
        self.read(state, wanted, source, self.in_layout(projection), limit)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by every filter; the rows that remain are filtered by the plan.
        let kind = match self.policy {
            None => TableProviderFilterPushDown::Inexact,
            Some(_) => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![kind; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        if self.policy.is_some() {
            return None;
        }
        let rows = self.snapshot.files.iter().map(|file| usize::try_from(file.rows).unwrap_or(usize::MAX));
        let rows = rows.fold(0_usize, usize::saturating_add);
        let known = Statistics::new_unknown(&self.schema);
        Some(known.with_num_rows(datafusion::common::stats::Precision::Exact(rows)))
    }
}
