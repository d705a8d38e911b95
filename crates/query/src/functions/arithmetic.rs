//! `+`, `-` and `*` of whole numbers and decimals that refuse a result their type cannot hold, where DataFusion's wrap
//! around silently (its issues 3520 and 21318).
//!
//! The operators of a plan are replaced once its types are known and before anything is computed, constants included. What
//! is not a whole number or a decimal (floating point, dates, intervals) is left alone.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum;

/// Replaces arithmetic that could wrap around.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let inputs = plan.inputs();
            let schema = merge_schema(&inputs);
            plan.map_expressions(|expression| expression.transform_up(|expression| checked(expression, &schema)))
        })
        .map(|changed| changed.data)
    }
}

/// Lets the arithmetic of an expression that is in no plan fail where it does not fit.
pub(crate) fn check_arithmetic(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expression.transform_up(|expression| checked(expression, schema))?.data)
}

fn checked(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if operation(op).is_some() => {
            let is_exact = is_exact(&left.get_type(schema)?) && is_exact(&right.get_type(schema)?);
            match operation(op).filter(|_| is_exact) {
                Some(operation) => Ok(Transformed::yes(operation.call(vec![*left, *right]))),
                None => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(value) if is_signed(&value.get_type(schema)?) => {
            Ok(Transformed::yes(Operation::Negate.call(vec![*value])))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Says whether values of a type are exact, so that a result that does not fit is wrong rather than rounded.
fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_decimal()
}

fn is_signed(data_type: &DataType) -> bool {
    data_type.is_signed_integer() || data_type.is_decimal()
}

fn operation(operator: Operator) -> Option<Operation> {
    match operator {
        Operator::Plus => Some(Operation::Add),
        Operator::Minus => Some(Operation::Subtract),
        Operator::Multiply => Some(Operation::Multiply),
        _ => None,
    }
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

/// The functions of the four operations. Statements cannot call them: they are in no list of functions.
static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    [Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Negate].map(|operation| {
        let arguments = operation.symbols().1;
        let signature = Signature::any(arguments, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Checked { operation, signature }))
    })
});

impl Operation {
    fn call(self, arguments: Vec<Expr>) -> Expr {
        let [add, subtract, multiply, negate] = &*FUNCTIONS;
        let function = match self {
            Self::Add => add,
            Self::Subtract => subtract,
            Self::Multiply => multiply,
            Self::Negate => negate,
        };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), arguments))
    }

    /// Returns the operator and how many values it takes.
    fn symbols(self) -> (Operator, usize) {
        match self {
            Self::Add => (Operator::Plus, 2),
            Self::Subtract => (Operator::Minus, 2),
            Self::Multiply => (Operator::Multiply, 2),
            Self::Negate => (Operator::Minus, 1),
        }
    }

    fn compute(self, left: &dyn Datum, right: &dyn Datum) -> std::result::Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => numeric::add(left, right),
            Self::Subtract => numeric::sub(left, right),
            Self::Multiply => numeric::mul(left, right),
            Self::Negate => numeric::neg(left.get().0),
        }
    }
}

/// One operation as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negate => "checked_negate",
        }
    }

    /// The name that the operator would give to the column, which is what users see.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let (operator, _) = self.operation.symbols();
        match arguments {
            [value] => Ok(format!("({operator} {})", value.schema_name())),
            [left, right] => Ok(format!("{} {operator} {}", left.schema_name(), right.schema_name())),
            _ => plan_err!("{operator} takes one value or two"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [value] => Ok(value.clone()),
            [left, right] => BinaryTypeCoercer::new(left, &self.operation.symbols().0, right).get_result_type(),
            _ => plan_err!("{} takes one value or two", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let compute = |left: &dyn Datum, right: &dyn Datum| {
            let result = self.operation.compute(left, right)?;
            fits(&result)?;
            Ok(result)
        };
        let result = match args.args.as_slice() {
            [value] => datum::apply(value, value, compute),
            [left, right] => datum::apply(left, right, compute),
            _ => return plan_err!("{} takes one value or two", self.name()),
        };
        result.map_err(|error| overflow(&error))
    }
}

/// Refuses decimals of more than 38 digits: 128 bits hold some of them, their type does not.
fn fits(values: &ArrayRef) -> std::result::Result<(), ArrowError> {
    match values.data_type() {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => {
            values.as_primitive::<Decimal128Type>().validate_decimal_precision(DECIMAL128_MAX_PRECISION)
        }
        _ => Ok(()),
    }
}

fn overflow(error: &DataFusionError) -> DataFusionError {
    let cause = error.strip_backtrace();
    let cause = cause.strip_prefix("Arrow error: ").unwrap_or(&cause);
    DataFusionError::Execution(format!(
        "{cause}; with `CAST(… AS DECIMAL(38, 0))` or `CAST(… AS DOUBLE)` of a value there is more room"
    ))
}
