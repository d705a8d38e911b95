//! The last wall before a plan runs: every node is of a listed kind, every table is one of ours, every function is
//! offered, and no regular expression outgrew its limit while constants were folded.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{TableProvider, ViewTable, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::functions_table::generate_series::GenerateSeriesTable;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Operator, TableScan, Volatility, WindowFunctionDefinition,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;

use super::policy_exec::RowPolicyExec;
use super::table::LakeTable;
use crate::error::QueryError;
use crate::functions;
use crate::postgres;

/// Checks a plan before it is optimised: nodes, tables and functions as the statement names them.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    walk(plan, check_function)
}

/// Checks a plan after it is optimised, when constants are folded.
pub(crate) fn check_optimized(plan: &LogicalPlan, regex_bytes_max: usize) -> Result<(), QueryError> {
    walk(plan, |expr| check_pattern(expr, regex_bytes_max))
}

/// Says whether no function of the plan asks for the time or for chance, and no step shows how long something took.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> Result<bool, QueryError> {
    let mut is_repeatable = true;
    let walked = plan.apply_with_subqueries(|node| {
        is_repeatable &= !matches!(node, LogicalPlan::Analyze(_));
        node.apply_expressions(|root| {
            root.apply(|expr| {
                is_repeatable &= volatility(expr).is_none_or(|volatility| volatility == Volatility::Immutable);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|error| QueryError::from_plan(&error))?;
    Ok(is_repeatable)
}

/// Returns the types of parameters that stand where only one type can: in a cast, and as the list of `= ANY($1)`.
pub(crate) fn types_of_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>, DataFusionError> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|root| {
            root.apply(|expr| {
                found.extend(type_of_parameter(node, expr));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn type_of_parameter(node: &LogicalPlan, expr: &Expr) -> Option<(String, DataType)> {
    match expr {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Placeholder(parameter) => Some((parameter.id.clone(), cast.field.data_type().clone())),
            _ => None,
        },
        Expr::ScalarFunction(function) if function.name() == "array_has" => match function.args.as_slice() {
            [Expr::Placeholder(parameter), item] => {
                let mut inputs = node.inputs().into_iter();
                let schema = inputs
                    .next()
                    .map_or_else(|| node.schema().as_ref().clone(), |input| input.schema().as_ref().clone());
                let item = item.get_type(&schema).ok()?;
                Some((parameter.id.clone(), DataType::new_list(item, true)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn volatility(expr: &Expr) -> Option<Volatility> {
    match expr {
        Expr::ScalarFunction(function) => Some(function.func.signature().volatility),
        Expr::AggregateFunction(function) => Some(function.func.signature().volatility),
        _ => None,
    }
}

/// Checks how much of the store a plan reads: the sizes of the files that it opens.
pub(crate) fn check_scanned(plan: &dyn ExecutionPlan, limit: u64) -> Result<(), QueryError> {
    let bytes = scanned(plan);
    if bytes <= limit { Ok(()) } else { Err(QueryError::Scan { bytes, limit }) }
}

fn scanned(plan: &dyn ExecutionPlan) -> u64 {
    if let Some(restricted) = plan.downcast_ref::<RowPolicyExec>() {
        return scanned(restricted.scan());
    }
    let own = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        .map_or(0, |config| config.file_groups.iter().flat_map(|group| group.files()).map(bytes_of).sum());
    plan.children().iter().fold(own, |sum: u64, child| sum.saturating_add(scanned(child.as_ref())))
}

/// A file may be split between parts of the plan; each part counts for itself.
fn bytes_of(file: &PartitionedFile) -> u64 {
    match &file.range {
        Some(range) => u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(0),
        None => file.object_meta.size,
    }
}

fn walk(plan: &LogicalPlan, check_expr: impl Fn(&Expr) -> Result<(), QueryError>) -> Result<(), QueryError> {
    let external = |error: QueryError| DataFusionError::External(Box::new(error));
    let walked = plan.apply_with_subqueries(|node| {
        check_node(node).map_err(external)?;
        node.apply_expressions(|root| {
            root.apply(|expr| {
                check_expr(expr).map_err(external)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map(|_| ()).map_err(|error| QueryError::from_plan(&error))
}

fn check_node(node: &LogicalPlan) -> Result<(), QueryError> {
    let refused = |kind: &str| Err(QueryError::Node { node: kind.to_owned() });
    match node {
        LogicalPlan::TableScan(scan) => check_scan(scan),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => Ok(()),
        LogicalPlan::Statement(_) => refused("statement"),
        LogicalPlan::Extension(_) => refused("extension"),
        LogicalPlan::Dml(_) => refused("write"),
        LogicalPlan::Ddl(_) => refused("definition"),
        LogicalPlan::Copy(_) => refused("copy"),
    }
}

fn check_scan(scan: &TableScan) -> Result<(), QueryError> {
    if scan.table_name.schema().is_some_and(|name| ["information_schema", postgres::NAMESPACE].contains(&name)) {
        return Ok(());
    }
    let provider = source_as_provider(&scan.source).map_err(|error| QueryError::from_plan(&error))?;
    let provider: &dyn TableProvider = provider.as_ref();
    let is_ours = provider.is::<LakeTable>()
        || provider.is::<ViewTable>()
        || provider.is::<GenerateSeriesTable>()
        || provider.is::<CteWorkTable>();
    if is_ours { Ok(()) } else { Err(QueryError::Node { node: format!("scan of {}", scan.table_name) }) }
}

pub(super) fn check_function(expr: &Expr) -> Result<(), QueryError> {
    let name = match expr {
        Expr::ScalarFunction(function) => function.func.name(),
        Expr::AggregateFunction(function) => function.func.name(),
        Expr::WindowFunction(function) => match &function.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function.name(),
            WindowFunctionDefinition::WindowUDF(function) => function.name(),
        },
        _ => return Ok(()),
    };
    if functions::is_offered(name) || postgres::is_function(name) {
        Ok(())
    } else {
        Err(QueryError::Function { name: name.to_owned(), position: None })
    }
}

pub(super) fn check_pattern(expr: &Expr, bytes_max: usize) -> Result<(), QueryError> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name().starts_with("regexp_") => {
            call.args.iter().skip(1).try_for_each(|argument| within(argument, bytes_max))
        }
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                constant(&binary.right).and_then(|()| within(&binary.right, bytes_max))
            }
            _ => Ok(()),
        },
        Expr::SimilarTo(like) => constant(&like.pattern).and_then(|()| within(&like.pattern, bytes_max)),
        _ => Ok(()),
    }
}

/// Operators, unlike functions, cannot look at a pattern before they compile it.
fn constant(pattern: &Expr) -> Result<(), QueryError> {
    match pattern {
        Expr::Literal(..) => Ok(()),
        other => Err(QueryError::Pattern { pattern: other.to_string() }),
    }
}

fn within(pattern: &Expr, bytes_max: usize) -> Result<(), QueryError> {
    let Expr::Literal(value, _) = pattern else {
        return Ok(());
    };
    let text = match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => text,
        _ => return Ok(()),
    };
    if text.len() <= bytes_max {
        return Ok(());
    }
    let what = "bytes in a regular expression";
    Err(QueryError::TooComplex { what, found: text.len() as u64, limit: bytes_max as u64 })
}
