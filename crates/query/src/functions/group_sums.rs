//! The sums of many groups at once, for the `sum` of [`super::sums`].
//!
//! Rows are added in the type of their values, which is half as wide as that of the totals and so twice as fast to read and
//! write at random. What no longer fits goes over into a total of the wide type.

use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DecimalType;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::sums::Total;

/// The sums of groups of values of type `I`, with totals of type `S`.
pub(super) struct GroupSums<I: ArrowPrimitiveType, S: ArrowPrimitiveType> {
    total: Total,
    /// What was added of each group since its last carry; empty where only totals of other parts were.
    narrow: Vec<I::Native>,
    /// What was carried, and totals of other parts; empty while there is neither.
    wide: Vec<S::Native>,
    /// Whether a group has a value; without any its sum is null.
    has_value: Vec<bool>,
}

impl<I: ArrowPrimitiveType, S: ArrowPrimitiveType> fmt::Debug for GroupSums<I, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GroupSums").field("total", &self.total).finish_non_exhaustive()
    }
}

impl<I, S> GroupSums<I, S>
where
    I: ArrowPrimitiveType,
    I::Native: Into<S::Native>,
    S: ArrowPrimitiveType,
{
    pub(super) fn new(total: Total) -> Self {
        Self { total, narrow: Vec::new(), wide: Vec::new(), has_value: Vec::new() }
    }

    fn add(&mut self, group: usize, value: I::Native) -> Result<()> {
        match self.narrow[group].add_checked(value) {
            Ok(sum) => self.narrow[group] = sum,
            Err(_) => {
                let carried = std::mem::replace(&mut self.narrow[group], value);
                self.wide.resize(self.narrow.len(), S::Native::ZERO);
                self.add_wide(group, carried.into())?;
            }
        }
        self.has_value[group] = true;
        Ok(())
    }

    fn add_wide(&mut self, group: usize, value: S::Native) -> Result<()> {
        self.wide[group] = self.wide[group].add_checked(value).map_err(|_| self.total.overflow())?;
        self.has_value[group] = true;
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Result<PrimitiveArray<S>> {
        let groups = self.has_value.len();
        let has_value = emit_to.take_needed(&mut self.has_value);
        let mut sums = vec![S::Native::ZERO; has_value.len()];
        if !self.narrow.is_empty() {
            self.narrow.resize(groups, I::Native::ZERO);
            sums = emit_to.take_needed(&mut self.narrow).into_iter().map(Into::into).collect();
        }
        if !self.wide.is_empty() {
            self.wide.resize(groups, S::Native::ZERO);
            for (sum, carried) in sums.iter_mut().zip(emit_to.take_needed(&mut self.wide)) {
                *sum = sum.add_checked(carried).map_err(|_| self.total.overflow())?;
            }
        }
        Ok(self.total.array(sums, Some(NullBuffer::from(has_value))))
    }
}

/// Returns which rows count: those with a value that pass the filter; nothing where all do.
fn counted<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let passes = filter.map(|filter| {
        let yes = NullBuffer::new(filter.values().clone());
        NullBuffer::union(Some(&yes), filter.nulls()).unwrap_or(yes)
    });
    NullBuffer::union(values.nulls(), passes.as_ref())
}

impl<I, S> GroupsAccumulator for GroupSums<I, S>
where
    I: ArrowPrimitiveType,
    I::Native: Into<S::Native>,
    S: DecimalType + ArrowPrimitiveType,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        let values = values[0].as_primitive::<I>();
        self.narrow.resize(groups_total, I::Native::ZERO);
        self.has_value.resize(groups_total, false);
        let rows = groups.iter().copied().zip(values.values().iter().copied());
        match counted(values, filter) {
            None => {
                for (group, value) in rows {
                    self.add(group, value)?;
                }
            }
            Some(counted) => {
                for (_, (group, value)) in counted.iter().zip(rows).filter(|(is_counted, _)| *is_counted) {
                    self.add(group, value)?;
                }
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], groups_total: usize) -> Result<()> {
        let values = values[0].as_primitive::<S>();
        self.wide.resize(groups_total, S::Native::ZERO);
        self.has_value.resize(groups_total, false);
        for (group, value) in groups.iter().copied().zip(values) {
            if let Some(value) = value {
                self.add_wide(group, value)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.take(emit_to)?;
        self.total.give(&totals)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.take(emit_to)?)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<I>();
        let wide = values.values().iter().map(|value| (*value).into()).collect();
        Ok(vec![Arc::new(self.total.array::<S>(wide, counted(values, filter)))])
    }

    fn size(&self) -> usize {
        self.narrow.capacity() * size_of::<I::Native>()
            + self.wide.capacity() * size_of::<S::Native>()
            + self.has_value.capacity()
    }
}
