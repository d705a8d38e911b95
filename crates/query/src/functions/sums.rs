//! `sum` of whole numbers and decimals that never wraps around: it adds in a wider type and refuses a total that the
//! result's type cannot hold. DataFusion's own wraps silently (its issue 3520).
//!
//! Whole numbers are added in 128 bits (of groups only where 64 do not do, [`super::group_sums`]), which 2⁶⁴ rows cannot fill, so the order of the rows and the number of parts never
//! decide whether there is an answer. Decimals of 38 digits leave room for a total 1.7 times as large as the largest of them.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::{size_of, size_of_val};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Field, FieldRef, Int64Type, UInt64Type,
};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature,
};
use datafusion::scalar::ScalarValue;

use super::group_sums::GroupSums;

/// Returns the function that stands for DataFusion's `sum`.
pub(super) fn checked_sum() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(CheckedSum::default()))
}

/// DataFusion's `sum` where it cannot wrap around (floating point, durations, intervals), and our own elsewhere.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

/// Returns the type in which values of a type are added, or nothing where DataFusion's own sum is right.
fn wide_type(summed: &DataType) -> Option<DataType> {
    match summed {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale))
        }
        DataType::Decimal256(_, scale) => Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)),
        _ => None,
    }
}

/// Makes `$accumulator` for the type of the values and the type in which they are added; nothing for other types.
macro_rules! wide {
    ($accumulator:ident, $args:ident) => {{
        let total = Total::new($args.return_field.data_type());
        match (total, $args.expr_fields.first().map(|field| field.data_type())) {
            (Some(total), Some(DataType::Int64)) => {
                Some(Box::new($accumulator::<Int64Type, Decimal128Type>::new(total)) as _)
            }
            (Some(total), Some(DataType::UInt64)) => {
                Some(Box::new($accumulator::<UInt64Type, Decimal128Type>::new(total)) as _)
            }
            (Some(total), Some(DataType::Decimal32(..))) => {
                Some(Box::new($accumulator::<Decimal32Type, Decimal128Type>::new(total)) as _)
            }
            (Some(total), Some(DataType::Decimal64(..))) => {
                Some(Box::new($accumulator::<Decimal64Type, Decimal128Type>::new(total)) as _)
            }
            (Some(total), Some(DataType::Decimal128(..))) => {
                Some(Box::new($accumulator::<Decimal128Type, Decimal128Type>::new(total)) as _)
            }
            (Some(total), Some(DataType::Decimal256(..))) => {
                Some(Box::new($accumulator::<Decimal256Type, Decimal256Type>::new(total)) as _)
            }
            _ => None,
        }
    }};
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(wide) = wide_type(args.return_type()) else { return self.inner.state_fields(args) };
        let field = match args.is_distinct {
            true => {
                let item = Field::new_list_field(wide, true);
                Field::new_list(format_state_name(args.name, "sum distinct"), item, false)
            }
            false => Field::new(format_state_name(args.name, "sum"), wide, true),
        };
        Ok(vec![Arc::new(field)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let own: Option<Box<dyn Accumulator>> = match args.is_distinct {
            true => wide!(DistinctSum, args),
            false => wide!(RunningSum, args),
        };
        own.map_or_else(|| self.inner.accumulator(args), Ok)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let own: Option<Box<dyn Accumulator>> = match args.is_distinct {
            true => wide!(DistinctSum, args),
            false => wide!(RunningSum, args),
        };
        own.map_or_else(|| self.inner.create_sliding_accumulator(args), Ok)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let own: Option<Box<dyn GroupsAccumulator>> = wide!(GroupSums, args);
        own.map_or_else(|| self.inner.create_groups_accumulator(args), Ok)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The types of a sum: in which it is added, and in which it is given.
#[derive(Debug, Clone)]
pub(super) struct Total {
    wide: DataType,
    given: DataType,
}

impl Total {
    fn new(given: &DataType) -> Option<Self> {
        wide_type(given).map(|wide| Self { wide, given: given.clone() })
    }

    /// Makes an array of totals, which are refused where they have more digits than the type says.
    pub(super) fn give<S: DecimalType>(&self, totals: &PrimitiveArray<S>) -> Result<ArrayRef> {
        let digits = match &self.given {
            DataType::Decimal32(digits, _)
            | DataType::Decimal64(digits, _)
            | DataType::Decimal128(digits, _)
            | DataType::Decimal256(digits, _) => *digits,
            // 128 bits hold 38 digits and some numbers of 39; the conversion below refuses what is more than 64 bits.
            _ => S::MAX_PRECISION,
        };
        totals.validate_decimal_precision(digits).map_err(|_| self.overflow())?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(totals, &self.given, &options).map_err(|_| self.overflow())
    }

    pub(super) fn array<S: ArrowPrimitiveType>(
        &self,
        values: Vec<S::Native>,
        nulls: Option<NullBuffer>,
    ) -> PrimitiveArray<S> {
        PrimitiveArray::<S>::new(values.into(), nulls).with_data_type(self.wide.clone())
    }

    pub(super) fn overflow(&self) -> DataFusionError {
        let given = match &self.given {
            DataType::Int64 => "BIGINT".to_owned(),
            DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
            DataType::Decimal128(digits, scale) => format!("DECIMAL({digits}, {scale})"),
            other => other.to_string(),
        };
        let way_out = match self.given {
            DataType::Int64 | DataType::UInt64 => "sum(CAST(… AS DECIMAL(38, 0))) or sum(CAST(… AS DOUBLE))",
            _ => "sum(CAST(… AS DOUBLE))",
        };
        DataFusionError::Execution(format!("a sum is larger than its type {given} holds; write {way_out}"))
    }
}

/// Says whether the type in which values are added is so much wider than theirs that no number of rows can fill it.
const fn never_fills<T: ArrowPrimitiveType, S: ArrowPrimitiveType>() -> bool {
    size_of::<T::Native>() * 2 <= size_of::<S::Native>()
}

/// Adds the values that are not null, where [`never_fills`] says that nothing need be checked.
fn add_all<T, S>(values: &PrimitiveArray<T>) -> std::result::Result<S, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: Into<S>,
    S: ArrowNativeTypeOp,
{
    let add = |sum: S, value: T::Native| sum.add_wrapping(value.into());
    Ok(match values.null_count() {
        0 => values.values().iter().copied().fold(S::ZERO, add),
        _ => values.iter().flatten().fold(S::ZERO, add),
    })
}

/// The sum of one group, which rows may also leave again.
struct RunningSum<I, S: ArrowPrimitiveType> {
    total: Total,
    sum: S::Native,
    /// Values that were added; without any the sum is null.
    count: u64,
    input: PhantomData<fn(I)>,
}

impl<I, S: ArrowPrimitiveType> fmt::Debug for RunningSum<I, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RunningSum").field("total", &self.total).finish_non_exhaustive()
    }
}

impl<I, S: ArrowPrimitiveType> RunningSum<I, S> {
    fn new(total: Total) -> Self {
        Self { total, sum: S::Native::ZERO, count: 0, input: PhantomData }
    }

    fn add<T>(&mut self, values: &PrimitiveArray<T>) -> Result<()>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<S::Native>,
    {
        let sum = match never_fills::<T, S>() {
            true => add_all::<T, S::Native>(values),
            false => values.iter().flatten().try_fold(S::Native::ZERO, |sum, value| sum.add_checked(value.into())),
        };
        self.sum = sum.and_then(|sum| self.sum.add_checked(sum)).map_err(|_| self.total.overflow())?;
        self.count += (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn wide(&self) -> PrimitiveArray<S> {
        self.total.array(vec![self.sum], Some(NullBuffer::from(vec![self.count > 0])))
    }
}

impl<I, S> Accumulator for RunningSum<I, S>
where
    I: ArrowPrimitiveType,
    I::Native: Into<S::Native>,
    S: DecimalType + ArrowPrimitiveType,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].as_primitive::<I>())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(states[0].as_primitive::<S>())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<I>();
        for value in values.iter().flatten() {
            self.sum = self.sum.sub_checked(value.into()).map_err(|_| self.total.overflow())?;
        }
        self.count -= (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&self.wide(), 0)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.total.give(&self.wide())?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of one group's different values, which rows may also leave again.
struct DistinctSum<I, S: ArrowPrimitiveType> {
    total: Total,
    /// Each value, and how many rows have it.
    values: HashMap<S::Native, u64>,
    input: PhantomData<fn(I)>,
}

impl<I, S: ArrowPrimitiveType> fmt::Debug for DistinctSum<I, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DistinctSum").field("total", &self.total).finish_non_exhaustive()
    }
}

impl<I, S: ArrowPrimitiveType> DistinctSum<I, S> {
    fn new(total: Total) -> Self {
        Self { total, values: HashMap::new(), input: PhantomData }
    }
}

impl<I, S> Accumulator for DistinctSum<I, S>
where
    I: ArrowPrimitiveType,
    I::Native: Into<S::Native>,
    S: DecimalType + ArrowPrimitiveType,
    S::Native: Eq + Hash,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<I>().iter().flatten() {
            *self.values.entry(value.into()).or_default() += 1;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            for value in list.as_primitive::<S>().iter().flatten() {
                *self.values.entry(value).or_default() += 1;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<I>().iter().flatten() {
            let value = value.into();
            match self.values.get_mut(&value) {
                Some(rows) if *rows > 1 => *rows -= 1,
                _ => drop(self.values.remove(&value)),
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: PrimitiveArray<S> = self.total.array(self.values.keys().copied().collect(), None);
        let field = Arc::new(Field::new_list_field(self.total.wide.clone(), true));
        let list = ListArray::try_new(field, OffsetBuffer::from_lengths([values.len()]), Arc::new(values), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = RunningSum::<S, S>::new(self.total.clone());
        sum.add(&self.total.array::<S>(self.values.keys().copied().collect(), None))?;
        sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<(S::Native, u64)>()
    }
}
