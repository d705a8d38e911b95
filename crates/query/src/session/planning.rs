//! From a checked statement to a plan: on a thread with a large stack, within a deadline, with the values of its
//! parameters bound, and walked over before and after it is optimised.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as PlannedStatement;

use super::plan_walk;
use crate::error::QueryError;
use crate::gate::{Checked, STACK_BYTES};
use crate::limits::QueryLimits;
use crate::question::{PARAMETERS_MAX, ParameterType, Parameters};

/// A plan that may run.
pub(super) struct Runnable {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) is_repeatable: bool,
}

/// What a plan would give.
pub(super) struct Described {
    pub(super) schema: SchemaRef,
    pub(super) parameters: Vec<ParameterType>,
    pub(super) is_repeatable: bool,
}

/// Plans a statement with the values of its parameters.
pub(super) async fn runnable(
    checked: Checked,
    parameters: Parameters,
    state: SessionState,
    limits: &QueryLimits,
) -> Result<Runnable, QueryError> {
    let (regex_bytes_max, scan_bytes_max) = (limits.gate.regex_bytes_max, limits.scan_bytes_max);
    let work = async move {
        let written = checked.parameters.clone();
        let logical = logical(checked, &state).await?;
        let is_repeatable = plan_walk::is_repeatable(&logical)?;
        let bound = bind(logical, &written, &parameters)?;
        let optimized = optimize(&bound, &state, regex_bytes_max)?;
        let planned = state.query_planner().create_physical_plan(&optimized, &state).await;
        let plan = planned.map_err(|error| QueryError::from_plan(&error))?;
        if plan.boundedness().is_unbounded() {
            return Err(QueryError::Node { node: "endless scan".to_owned() });
        }
        if let Some(limit) = scan_bytes_max {
            plan_walk::check_scanned(plan.as_ref(), limit)?;
        }
        Ok(Runnable { plan, is_repeatable })
    };
    within(limits.plan_time_max, work).await
}

/// Plans a statement as far as its columns and parameters are known; values, where there are any, are bound.
pub(super) async fn described(
    checked: Checked,
    parameters: Parameters,
    state: SessionState,
    limits: &QueryLimits,
) -> Result<Described, QueryError> {
    let regex_bytes_max = limits.gate.regex_bytes_max;
    let work = async move {
        let written = checked.parameters.clone();
        let logical = logical(checked, &state).await?;
        let is_repeatable = plan_walk::is_repeatable(&logical)?;
        let types = parameter_types(&logical, &written)?;
        let bound = if parameters.is_empty() { logical } else { bind(logical, &written, &parameters)? };
        let optimized = optimize(&bound, &state, regex_bytes_max)?;
        let schema = Arc::clone(optimized.schema().inner());
        Ok(Described { schema, parameters: types, is_repeatable })
    };
    within(limits.plan_time_max, work).await
}

/// Runs `work` on a thread of its own: expressions as deep as the gate lets through need more stack than a runtime's
/// threads have, and a plan that takes too long cannot be stopped, only left behind.
async fn within<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("plan".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody listens any more where the deadline has passed.
            let _ = send.send(runtime.block_on(work));
        })
        .map_err(|error| QueryError::Worker { step: "plan in", cause: error.to_string() })?;
    match tokio::time::timeout(limit, receive).await {
        Ok(Ok(planned)) => planned,
        Ok(Err(_)) => Err(QueryError::Worker { step: "plan in", cause: "the planning thread panicked".to_owned() }),
        Err(_) => Err(QueryError::PlanTime { limit }),
    }
}

async fn logical(checked: Checked, state: &SessionState) -> Result<LogicalPlan, QueryError> {
    let statement = PlannedStatement::Statement(Box::new(checked.statement));
    let logical = state.statement_to_plan(statement).await.map_err(|error| QueryError::from_plan(&error))?;
    plan_walk::check(&logical)?;
    Ok(logical)
}

fn optimize(logical: &LogicalPlan, state: &SessionState, regex_bytes_max: usize) -> Result<LogicalPlan, QueryError> {
    let optimized = state.optimize(logical).map_err(|error| QueryError::from_plan(&error))?;
    plan_walk::check_optimized(&optimized, regex_bytes_max)?;
    Ok(optimized)
}

/// Returns the parameters `$1` to `$n`, in order; `written` are those of the statement before anything was taken out. One
/// that is left out (`$1` and `$3`) has no type, and one that is cast where it stands (`$1::int`) has that of the cast.
fn parameter_types(logical: &LogicalPlan, written: &BTreeSet<usize>) -> Result<Vec<ParameterType>, QueryError> {
    let failed = |error| QueryError::from_plan(&error);
    let mut types = logical.get_parameter_types().map_err(failed)?;
    for (name, kind) in plan_walk::types_of_parameters(logical).map_err(failed)? {
        types.entry(name).or_insert(None).get_or_insert(kind);
    }
    let mut known: HashMap<usize, Option<DataType>> = written.iter().map(|number| (*number, None)).collect();
    for (name, data_type) in types {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        match number.filter(|number| (1..=PARAMETERS_MAX).contains(number)) {
            Some(number) => known.insert(number, data_type),
            None => {
                let what = format!("`{name}` is no parameter: write `$1` to `${PARAMETERS_MAX}`");
                return Err(QueryError::Parameters { what });
            }
        };
    }
    let count = known.keys().copied().max().unwrap_or(0);
    let parameter = |number: usize| ParameterType {
        name: format!("${number}"),
        data_type: known.remove(&number).flatten().filter(|kind| *kind != DataType::Null),
    };
    Ok((1..=count).map(parameter).collect())
}

fn bind(logical: LogicalPlan, written: &BTreeSet<usize>, parameters: &Parameters) -> Result<LogicalPlan, QueryError> {
    let types = parameter_types(&logical, written)?;
    let values = parameters.values();
    if types.len() != values.len() {
        let what = format!("the statement has {} parameters, and {} values were sent", types.len(), values.len());
        return Err(QueryError::Parameters { what });
    }
    if values.is_empty() {
        return Ok(logical);
    }
    let scalars: Result<Vec<ScalarAndMetadata>, QueryError> =
        types.iter().zip(values).map(|(wanted, value)| scalar(wanted, value).map(ScalarAndMetadata::from)).collect();
    logical.with_param_values(ParamValues::List(scalars?)).map_err(|error| QueryError::from_plan(&error))
}

/// A text becomes what its place asks for, since that is how dates and decimals are written down; numbers stay what
/// they are and are compared as SQL compares them.
fn scalar(wanted: &ParameterType, value: &ArrayRef) -> Result<ScalarValue, QueryError> {
    let failed = |error: &dyn std::fmt::Display| QueryError::Parameters { what: format!("{}: {error}", wanted.name) };
    let is_text = matches!(value.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_open = is_text || *value.data_type() == DataType::Null;
    let value = match &wanted.data_type {
        Some(kind) if is_open && kind != value.data_type() => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            &cast_with_options(value, kind, &options).map_err(|error| failed(&error))?
        }
        _ => value,
    };
    ScalarValue::try_from_array(value, 0).map_err(|error| failed(&error.strip_backtrace()))
}
