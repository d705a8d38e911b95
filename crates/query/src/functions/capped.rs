//! Functions whose result can be far longer than their arguments, with a cap: `repeat('x', 2000000000)` asks for the
//! bytes before it is run, and is refused (`reliability.md` LQ2; DataFusion's memory pool does not see them). Also
//! regular expressions that a query makes as it runs: compiling a long one takes seconds (Q14).

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use hambar_core::limits::MIB;

/// Bytes that one call may make for one batch of rows.
const CALL_BYTES_MAX: i64 = 32 * MIB as i64;

/// Bytes of a regular expression that is not known before the query runs.
const PATTERN_BYTES_MAX: i64 = 1024;

/// How the result grows with the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Growth {
    /// `repeat(text, times)`.
    Repeat,
    /// `lpad(text, characters)`, `rpad(text, characters)`.
    Pad,
    /// `replace(text, from, to)`.
    Replace,
    /// `regexp_like(text, pattern)` and its kin: what counts is the longest pattern.
    Pattern,
}

/// A function of DataFusion behind the cap.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Capped {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Capped {
    pub(crate) fn wrap(inner: Arc<ScalarUDF>, growth: Growth) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { inner, growth }))
    }

    fn estimate(&self, args: &ScalarFunctionArgs) -> Result<i64> {
        let column = |index: usize, read: fn(&ColumnarValue) -> Result<Vec<i64>>| match args.args.get(index) {
            Some(value) => read(value).map(Column),
            None => Ok(Column(vec![0])),
        };
        let rows = args.number_rows;
        let bytes = match self.growth {
            Growth::Repeat => sum(rows, column(0, byte_lengths)?, column(1, numbers)?, |text, times| {
                text.saturating_mul(times.max(0))
            }),
            Growth::Pad => sum(rows, column(1, numbers)?, Column(vec![0]), |characters, _| characters.max(0)),
            Growth::Pattern => {
                let patterns = column(1, byte_lengths)?;
                (0..rows).map(|row| patterns.at(row)).max().unwrap_or(0)
            }
            Growth::Replace => {
                let texts = column(0, byte_lengths)?;
                let from = column(1, byte_lengths)?;
                let to = column(2, byte_lengths)?;
                (0..rows).fold(0_i64, |total, row| {
                    let places = texts.at(row).checked_div(from.at(row)).unwrap_or(0);
                    total.saturating_add(places.saturating_mul(to.at(row)))
                })
            }
        };
        Ok(bytes)
    }
}

/// One argument's numbers: one per row, or one for all.
struct Column(Vec<i64>);

impl Column {
    fn at(&self, row: usize) -> i64 {
        let index = if self.0.len() == 1 { 0 } else { row };
        self.0.get(index).copied().unwrap_or(0)
    }
}

fn sum(rows: usize, left: Column, right: Column, bytes: fn(i64, i64) -> i64) -> i64 {
    (0..rows).fold(0_i64, |total, row| total.saturating_add(bytes(left.at(row), right.at(row))))
}

fn array_of(value: &ColumnarValue) -> Result<Arc<dyn Array>> {
    match value {
        ColumnarValue::Array(array) => Ok(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => scalar.to_array_of_size(1),
    }
}

fn numbers(value: &ColumnarValue) -> Result<Vec<i64>> {
    let array = cast(&array_of(value)?, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().iter().map(|number| number.unwrap_or(0)).collect())
}

fn byte_lengths(value: &ColumnarValue) -> Result<Vec<i64>> {
    let array = array_of(value)?;
    let plain = match array.data_type() {
        DataType::Dictionary(_, kind) => cast(&array, kind)?,
        DataType::Null => return Ok(vec![0]),
        _ => array,
    };
    let lengths = cast(&length(&plain)?, &DataType::Int64)?;
    Ok(lengths.as_primitive::<Int64Type>().iter().map(|number| number.unwrap_or(0)).collect())
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.estimate(&args)?;
        let name = self.name();
        if self.growth == Growth::Pattern && bytes > PATTERN_BYTES_MAX {
            return exec_err!("the pattern of `{name}` has {bytes} bytes, at most {PATTERN_BYTES_MAX} are allowed");
        }
        if self.growth != Growth::Pattern && bytes > CALL_BYTES_MAX {
            let rows = args.number_rows;
            return exec_err!(
                "`{name}` would make {bytes} bytes for {rows} rows, at most {CALL_BYTES_MAX} are allowed"
            );
        }
        self.inner.invoke_with_args(args)
    }
}
