//! Reads text columns with the dictionaries of their files where the plan evaluates expressions over them, groups by them, or
//! both: work on texts is then done once for each text of a row group, and no text is made for rows that are only counted.
//!
//! The rule walks down from those places to the scans, through steps that pass columns on. Elsewhere a column is made of
//! texts again, so that the rest of the plan, and its answer, are as before.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use super::codes::Encode;
use super::dictionary_reader::{DictionaryReaders, dictionary_type};
use super::memo::Memo;
use super::memoize;
use super::texts::{FromDictionary, ToDictionary};

/// The columns that keep their dictionaries in all of a file; known for one file of each scan.
#[derive(Debug)]
pub(crate) struct FileDictionaries(pub(crate) BTreeSet<String>);

/// The rule.
#[derive(Debug)]
pub(super) struct Dictionaries;

impl PhysicalOptimizerRule for Dictionaries {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(with(plan, &Columns::new())?.plan)
    }

    fn name(&self) -> &'static str {
        "Dictionaries"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Columns of a step by their places.
type Columns = BTreeSet<usize>;

/// A step and which of its columns keep their dictionaries: no others than were wanted.
struct Kept {
    plan: Arc<dyn ExecutionPlan>,
    columns: Columns,
}

/// Rewrites a step so that as many as possible of the wanted columns keep their dictionaries.
fn with(plan: Arc<dyn ExecutionPlan>, wanted: &Columns) -> Result<Kept> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let scanned = if wanted.is_empty() { None } else { scanned(scan, wanted)? };
        return Ok(scanned.unwrap_or_else(|| Kept { plan, columns: Columns::new() }));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return filtered(filter, wanted);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return projected(projection, wanted);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>()
        && let Some(plan) = aggregated(&plan, aggregate)?
    {
        return Ok(Kept { plan, columns: Columns::new() });
    }
    if plan.is::<UnionExec>() {
        return united(plan, wanted);
    }
    if plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() || plan.is::<CooperativeExec>() {
        return passed(plan, wanted);
    }
    let mut children = Vec::new();
    for child in plan.children() {
        children.push(with(Arc::clone(child), &Columns::new())?.plan);
    }
    Ok(Kept { plan: replace_children_if_necessary(plan, children)?, columns: Columns::new() })
}

fn passed(plan: Arc<dyn ExecutionPlan>, wanted: &Columns) -> Result<Kept> {
    let [child] = plan.children()[..] else {
        return datafusion::common::internal_err!("a step that passes rows on has one input");
    };
    // What rows are spread by must be the same in all inputs of the step above.
    let spread_by = match plan.downcast_ref::<RepartitionExec>().map(RepartitionExec::partitioning) {
        Some(Partitioning::Hash(exprs, _)) => columns_of(exprs)?,
        _ => Columns::new(),
    };
    let child = with(Arc::clone(child), &(wanted - &spread_by))?;
    Ok(Kept { plan: replace_children_if_necessary(plan, vec![child.plan])?, columns: child.columns })
}

fn united(plan: Arc<dyn ExecutionPlan>, wanted: &Columns) -> Result<Kept> {
    let all = |wanted: &Columns| -> Result<Vec<Kept>> {
        plan.children().into_iter().map(|child| with(Arc::clone(child), wanted)).collect()
    };
    let mut children = all(wanted)?;
    let common = children.iter().fold(wanted.clone(), |common, child| &common & &child.columns);
    if children.iter().any(|child| child.columns != common) {
        children = all(&common)?;
    }
    if children.iter().any(|child| child.columns != common) {
        return datafusion::common::internal_err!("the inputs of a union keep different dictionaries");
    }
    let inputs = children.into_iter().map(|child| child.plan).collect();
    Ok(Kept { plan: replace_children_if_necessary(plan, inputs)?, columns: common })
}

fn filtered(filter: &FilterExec, wanted: &Columns) -> Result<Kept> {
    let of_input = |column: usize| match filter.projection() {
        Some(kept) => kept.get(column).copied().unwrap_or(column),
        None => column,
    };
    let schema = filter.input().schema();
    let mut below = &evaluated([filter.predicate()])? | &memoize::lone_columns(filter.predicate(), &schema)?;
    below.extend(wanted.iter().map(|column| of_input(*column)));
    let child = with(Arc::clone(filter.input()), &below)?;
    let predicate = memoize::over_dictionaries(filter.predicate(), &schema, &child.columns)?;
    let predicate = over_texts(&predicate, &child.columns)?;
    let made = FilterExecBuilder::from(filter).with_input(child.plan).with_predicate(predicate).build()?;
    let kept = (0..made.schema().fields().len()).filter(|column| child.columns.contains(&of_input(*column)));
    let (columns, rest): (Columns, Columns) = kept.partition(|column| wanted.contains(column));
    Ok(Kept { plan: texts_again(Arc::new(made), &rest)?, columns })
}

/// Makes texts of some columns.
fn texts_again(plan: Arc<dyn ExecutionPlan>, columns: &Columns) -> Result<Arc<dyn ExecutionPlan>> {
    if columns.is_empty() {
        return Ok(plan);
    }
    let schema = plan.schema();
    let exprs = schema.fields().iter().enumerate().map(|(place, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
        let expr: Arc<dyn PhysicalExpr> =
            if columns.contains(&place) { Arc::new(FromDictionary::new(column)) } else { column };
        ProjectionExpr { expr, alias: field.name().clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), plan)?))
}

fn projected(projection: &ProjectionExec, wanted: &Columns) -> Result<Kept> {
    let exprs = projection.expr();
    let mut below = evaluated(exprs.iter().map(|made| &made.expr))?;
    let passed = |place: usize| {
        let column = exprs.get(place).and_then(|made| made.expr.downcast_ref::<Column>());
        column.map(Column::index).filter(|_| wanted.contains(&place))
    };
    below.extend((0..exprs.len()).filter_map(passed));
    let child = with(Arc::clone(projection.input()), &below)?;
    let mut columns = Columns::new();
    let mut made = Vec::with_capacity(exprs.len());
    for (place, old) in exprs.iter().enumerate() {
        let is_kept = passed(place).is_some_and(|column| child.columns.contains(&column));
        let expr = if is_kept { Arc::clone(&old.expr) } else { over_texts(&old.expr, &child.columns)? };
        columns.extend(is_kept.then_some(place));
        made.push(ProjectionExpr { expr, alias: old.alias.clone() });
    }
    Ok(Kept { plan: Arc::new(ProjectionExec::try_new(made, child.plan)?), columns })
}

/// Rewrites an aggregate over rows; nothing where it does not gain.
fn aggregated(plan: &Arc<dyn ExecutionPlan>, aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let group = aggregate.group_expr();
    let reads_rows =
        matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned);
    if !reads_rows || group.has_grouping_set() || aggregate.limit_options().is_some() {
        return Ok(None);
    }
    let functions: Vec<_> = aggregate.aggr_expr().iter().map(|function| function.all_expressions()).collect();
    let keys = group.expr().iter().map(|(key, _)| key);
    let used = evaluated(keys.chain(functions.iter().flat_map(|all| &all.args)))?;
    let child = with(Arc::clone(aggregate.input()), &used)?;
    if child.columns.is_empty() {
        return Ok(Some(replace_children_if_necessary(Arc::clone(plan), vec![child.plan])?));
    }
    let each = |exprs: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<_>> {
        exprs.iter().map(|expr| over_texts(expr, &child.columns)).collect()
    };
    let mut made = Vec::with_capacity(functions.len());
    for (function, all) in aggregate.aggr_expr().iter().zip(&functions) {
        let Some(new) = function.with_new_expressions(each(&all.args)?, each(&all.order_by_exprs)?) else {
            return Ok(None);
        };
        made.push(Arc::new(new));
    }
    let mut keys = Vec::with_capacity(group.expr().len());
    for (key, name) in group.expr() {
        keys.push((over_texts(key, &child.columns)?, name.clone()));
    }
    let mut filters = Vec::with_capacity(made.len());
    for filter in aggregate.filter_expr() {
        filters.push(filter.as_ref().map(|filter| over_texts(filter, &child.columns)).transpose()?);
    }
    let schema = child.plan.schema();
    let group = PhysicalGroupBy::new_single(keys);
    Ok(Some(Arc::new(AggregateExec::try_new(*aggregate.mode(), group, made, filters, child.plan, schema)?)))
}

/// Returns the columns over whose dictionaries an expression, or the code of a group, is evaluated.
fn evaluated<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Result<Columns> {
    let mut columns = Columns::new();
    for expr in exprs {
        expr.apply(|node| {
            let column = match node.downcast_ref::<Memo>() {
                Some(memo) => memo.column(),
                None => node.downcast_ref::<Encode>().and_then(|code| code.text().downcast_ref::<Column>()),
            };
            columns.extend(column.map(Column::index));
            Ok(if column.is_some() { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue })
        })?;
    }
    Ok(columns)
}

/// Makes texts of the columns that keep their dictionaries, except where those are what is read.
fn over_texts(expr: &Arc<dyn PhysicalExpr>, kept: &Columns) -> Result<Arc<dyn PhysicalExpr>> {
    let is_kept = |column: &Column| kept.contains(&column.index());
    let made = Arc::clone(expr).transform_down(|node| {
        let reads_dictionary =
            node.is::<Memo>() || node.downcast_ref::<Encode>().is_some_and(|code| code.text().is::<Column>());
        if reads_dictionary {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        Ok(match node.downcast_ref::<Column>() {
            Some(column) if is_kept(column) => {
                let texts: Arc<dyn PhysicalExpr> = Arc::new(FromDictionary::new(node));
                Transformed::new(texts, true, TreeNodeRecursion::Jump)
            }
            _ => Transformed::no(node),
        })
    });
    made.data()
}

fn columns_of(exprs: &[Arc<dyn PhysicalExpr>]) -> Result<Columns> {
    let mut columns = Columns::new();
    for expr in exprs {
        expr.apply(|node| {
            columns.extend(node.downcast_ref::<Column>().map(Column::index));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(columns)
}

/// Reads the wanted columns with their dictionaries; nothing where no file has them.
fn scanned(scan: &DataSourceExec, wanted: &Columns) -> Result<Option<Kept>> {
    let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>() else { return Ok(None) };
    let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else { return Ok(None) };
    let (Some(readers), Some(old)) = (source.parquet_file_reader_factory(), source.projection()) else {
        return Ok(None);
    };
    let mut files = config.file_groups.iter().flat_map(|group| group.files());
    let Some(known) = files.find_map(|file| file.extension::<FileDictionaries>()) else { return Ok(None) };
    let compared = compared(source)?;
    let name_of = |place: &usize| {
        let column = old.iter().nth(*place).and_then(|made| made.expr.downcast_ref::<Column>())?;
        let name = column.name();
        (known.0.contains(name) && !compared.contains(name)).then(|| (*place, name.to_owned()))
    };
    let (columns, names): (Columns, BTreeSet<String>) = wanted.iter().filter_map(name_of).unzip();
    if columns.is_empty() {
        return Ok(None);
    }
    let schema = scan.schema();
    let exprs = schema.fields().iter().enumerate().map(|(place, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), place));
        let expr: Arc<dyn PhysicalExpr> =
            if columns.contains(&place) { Arc::new(ToDictionary::new(column)) } else { column };
        ProjectionExpr { expr, alias: field.name().clone() }
    });
    let Some(made) = scan.data_source().try_swapping_with_projection(&ProjectionExprs::new(exprs))? else {
        return Ok(None);
    };
    let Some(config) = made.downcast_ref::<FileScanConfig>() else { return Ok(None) };
    let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else { return Ok(None) };
    let readers = DictionaryReaders::new(Arc::clone(readers), names);
    let source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    let plan = DataSourceExec::from_data_source(config);
    let is_kept = |place: &usize| plan.schema().field(*place).data_type() == &dictionary_type();
    match columns.iter().all(is_kept) {
        true => Ok(Some(Kept { plan, columns })),
        false => datafusion::common::internal_err!("a scan lost its dictionaries"),
    }
}

/// Returns the names of the columns that the scan itself compares, row by row: it does so with texts.
fn compared(source: &ParquetSource) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if !source.table_parquet_options().global.pushdown_filters {
        return Ok(names);
    }
    let Some(filter) = source.filter() else { return Ok(names) };
    filter.apply(|node| {
        names.extend(node.downcast_ref::<Column>().map(|column| column.name().to_owned()));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}
