//! Wide to long: columns whose names are values (years) become rows. Cells are moved, not read.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, StringArray, UInt64Array};
use arrow::compute::{cast, filter_record_batch, interleave, take};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use regex::Regex;

use crate::error::DecodeError;
use crate::spec::UnpivotSpec;

/// A compiled `[unpivot]` section.
#[derive(Debug, Clone)]
pub(super) struct Unpivot {
    pattern: Regex,
    spec: UnpivotSpec,
}

impl Unpivot {
    pub(super) fn new(spec: &UnpivotSpec) -> Result<Self, DecodeError> {
        let pattern = Regex::new(&spec.columns)
            .map_err(|error| DecodeError::Setting { setting: "unpivot.columns", what: error.to_string() })?;
        Ok(Self { pattern, spec: spec.clone() })
    }

    /// Returns the cells that a wide row of `schema` becomes, columns that are repeated included.
    pub(super) fn cells_of_a_row(&self, schema: &Schema) -> usize {
        let turned = schema.fields().iter().filter(|field| self.pattern.is_match(field.name())).count();
        turned * (schema.fields().len() - turned + 2)
    }

    /// Returns the long batch and, for each of its rows, the index of the wide row it comes from.
    pub(super) fn apply(&self, wide: &RecordBatch) -> Result<(RecordBatch, Vec<usize>), DecodeError> {
        let (mut kept, mut turned) = (Vec::new(), Vec::new());
        for (index, field) in wide.schema_ref().fields().iter().enumerate() {
            match self.pattern.captures(field.name()) {
                Some(captures) => {
                    let name = captures.get(1).map_or(field.name().as_str(), |group| group.as_str());
                    turned.push((index, name.to_owned()));
                }
                None => kept.push(index),
            }
        }
        if turned.is_empty() {
            return Err(DecodeError::Drift {
                file: "body".to_owned(),
                what: format!("no column matches `unpivot.columns` = `{}`", self.spec.columns),
            });
        }
        self.turn(wide, &kept, &turned)
            .map_err(|error| DecodeError::Setting { setting: "unpivot", what: error.to_string() })
    }

    fn turn(
        &self,
        wide: &RecordBatch,
        kept: &[usize],
        turned: &[(usize, String)],
    ) -> Result<(RecordBatch, Vec<usize>), ArrowError> {
        let (rows, width) = (wide.num_rows(), turned.len());
        let origin: Vec<usize> = (0..rows).flat_map(|row| std::iter::repeat_n(row, width)).collect();
        let indices = UInt64Array::from_iter_values(origin.iter().map(|row| *row as u64));
        let schema = wide.schema();
        let mut fields: Vec<Field> = kept.iter().map(|index| schema.field(*index).clone()).collect();
        let mut columns: Vec<ArrayRef> =
            kept.iter().map(|index| take(wide.column(*index), &indices, None)).collect::<Result<_, _>>()?;

        let names = StringArray::from_iter_values(turned.iter().map(|(_, name)| name));
        let keys = Int32Array::from_iter_values((0..rows).flat_map(|_| 0..i32::try_from(width).unwrap_or(i32::MAX)));
        let names = DictionaryArray::try_new(keys, Arc::new(names))?;
        fields.push(Field::new(&self.spec.name, arrow::array::Array::data_type(&names).clone(), true));
        columns.push(Arc::new(names));

        let cells: Vec<ArrayRef> =
            turned.iter().map(|(index, _)| cast(wide.column(*index), &DataType::Utf8)).collect::<Result<_, _>>()?;
        let cells: Vec<&dyn arrow::array::Array> = cells.iter().map(AsRef::as_ref).collect();
        let order: Vec<(usize, usize)> =
            (0..rows).flat_map(|row| (0..width).map(move |column| (column, row))).collect();
        let values = interleave(&cells, &order)?;
        fields.push(Field::new(&self.spec.value, DataType::Utf8, true));
        columns.push(Arc::clone(&values));

        let long = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        if !self.spec.skip_empty {
            return Ok((long, origin));
        }
        let is_full: BooleanArray = values
            .as_string::<i32>()
            .iter()
            .map(|cell| Some(cell.is_some_and(|text| !text.trim().is_empty())))
            .collect();
        let kept_rows =
            origin.into_iter().zip(is_full.values().iter()).filter(|(_, full)| *full).map(|(row, _)| row).collect();
        Ok((filter_record_batch(&long, &is_full)?, kept_rows))
    }
}
