//! An expression over one text column that is evaluated once for each different value.
//!
//! Where the column keeps the dictionary of its file, that is once for a row group. Elsewhere it is once for a batch:
//! rows with the same value have the same view into the dictionary (length, buffer and offset), so that finding them
//! compares 16 bytes and reads no text. Two views of equal texts may differ; then the expression is evaluated twice, and
//! nothing else. Where a batch has many values, all rows are evaluated as usual.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use hambar_core::views::DifferentViews;

use super::recent::Recent;
use super::texts::{Numbers, viewed, with_null};

/// Rows below which a batch is not looked through.
const ROWS_MIN: usize = 256;

/// The expression.
#[derive(Debug)]
pub(super) struct Memo {
    /// As planned, over the whole input.
    original: Arc<dyn PhysicalExpr>,
    /// The one column that it reads.
    column: Arc<dyn PhysicalExpr>,
    /// The same expression over a batch of that column alone.
    inner: Arc<dyn PhysicalExpr>,
    /// Its values over the dictionaries that are being read.
    of_dictionaries: Recent,
}

impl Memo {
    /// Makes the expression out of one that reads only `column`.
    pub(super) fn new(original: Arc<dyn PhysicalExpr>, column: &Column) -> Result<Self> {
        let inner = with_column(&original, &Column::new(column.name(), 0))?;
        Ok(Self { original, column: Arc::new(column.clone()), inner, of_dictionaries: Recent::default() })
    }

    /// The column that it reads.
    pub(super) fn column(&self) -> Option<&Column> {
        self.column.downcast_ref::<Column>()
    }

    /// Returns the rows of a column that keeps its dictionary as numbers, and the values by number; nothing for other columns,
    /// for dictionaries too large for their rows, and for those with a text for which the expression fails.
    pub(super) fn numbered(&self, batch: &RecordBatch) -> Result<Option<(Numbers, ArrayRef)>> {
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(numbers) = Numbers::of(&column) else { return Ok(None) };
        let values = self.of_dictionaries.get(numbers.texts(), numbers.len(), |texts| {
            let texts = with_null(texts)?;
            // What fails for a text of the dictionary need not fail for these rows, which may be without it.
            Ok(self.of_texts(&texts).and_then(|values| values.into_array(texts.len())).ok())
        })?;
        Ok(values.map(|values| (numbers, values)))
    }

    /// Evaluates the expression over a column of texts.
    fn of_texts(&self, texts: &ArrayRef) -> Result<ColumnarValue> {
        let field = Field::new("value", DataType::Utf8View, true);
        let rows = RecordBatchOptions::new().with_row_count(Some(texts.len()));
        let schema = Arc::new(Schema::new(vec![field]));
        self.inner.evaluate(&RecordBatch::try_new_with_options(schema, vec![Arc::clone(texts)], &rows)?)
    }
}

fn with_column(expr: &Arc<dyn PhysicalExpr>, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
    let replaced = Arc::clone(expr).transform(|node| {
        Ok(match node.downcast_ref::<Column>() {
            Some(_) => Transformed::yes(Arc::new(column.clone()) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    });
    replaced.data()
}

// The inner expression is the original one, and what was made before is not part of what it means.
impl Eq for Memo {}

impl PartialEq for Memo {
    fn eq(&self, other: &Self) -> bool {
        self.original.eq(&other.original)
    }
}

impl Hash for Memo {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.original.hash(state);
    }
}

impl fmt::Display for Memo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "memo({})", self.original)
    }
}

impl PhysicalExpr for Memo {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.original.return_field(&viewed(schema))
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.original.data_type(&viewed(schema))
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.original.nullable(&viewed(schema))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if let Some((numbers, values)) = self.numbered(batch)? {
            return Ok(ColumnarValue::Array(numbers.spread(&values)?));
        }
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let texts = cast(&column, &DataType::Utf8View)?;
        let values = match texts.len() < ROWS_MIN {
            true => None,
            false => texts.as_string_view_opt().and_then(DifferentViews::find),
        };
        let Some(values) = values else { return self.of_texts(&texts) };
        match self.of_texts(&take(&texts, &values.first_rows, None)?)? {
            ColumnarValue::Array(made) => Ok(ColumnarValue::Array(take(&made, &values.of_rows, None)?)),
            scalar => Ok(scalar),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(child) = children.pop() else {
            return datafusion::common::internal_err!("a memo has one child");
        };
        match child.downcast_ref::<Column>() {
            Some(column) => Ok(Arc::new(Self::new(with_column(&self.original, column)?, column)?)),
            // The column was replaced by an expression: what is memorised then is no longer a column's value.
            None => Arc::clone(&self.original)
                .transform(|node| {
                    Ok(match node.is::<Column>() {
                        true => Transformed::yes(Arc::clone(&child)),
                        false => Transformed::no(node),
                    })
                })
                .data(),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt_sql(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, StringViewArray, UInt32Array};
    use arrow::datatypes::Int64Type;
    use datafusion::physical_expr::expressions::{CastExpr, LikeExpr, lit};

    fn like() -> Arc<dyn PhysicalExpr> {
        let column = Arc::new(Column::new("t", 1));
        Arc::new(LikeExpr::new(
            false,
            false,
            column,
            lit(datafusion::scalar::ScalarValue::Utf8View(Some("%7%".into()))),
        ))
    }

    fn check(texts: Vec<Option<String>>) {
        let column: ArrayRef = Arc::new(StringViewArray::from_iter(texts.clone()));
        let other: ArrayRef = Arc::new(UInt32Array::from(vec![0; texts.len()]));
        let expected: BooleanArray = texts.iter().map(|text| text.as_ref().map(|text| text.contains('7'))).collect();
        let kept = cast(&column, &super::super::dictionary_reader::dictionary_type()).unwrap();
        let memo = Memo::new(like(), &Column::new("t", 1)).unwrap();
        // The third one finds what was made for the second one.
        for column in [column, kept.clone(), kept.slice(0, kept.len())] {
            let columns = [("n", Arc::clone(&other), true), ("t", column, true)];
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let made = memo.evaluate(&batch).unwrap().into_array(texts.len()).unwrap();
            assert_eq!(made.as_boolean(), &expected);
        }
    }

    #[test]
    fn a_large_dictionary_is_evaluated_for_the_rows_that_are_there() {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..5000).map(|n| format!("{n}"))));
        let kept = cast(&texts, &super::super::dictionary_reader::dictionary_type()).unwrap();
        let number: Arc<dyn PhysicalExpr> =
            Arc::new(CastExpr::new(Arc::new(Column::new("t", 0)), DataType::Int64, None));
        let memo = Memo::new(number, &Column::new("t", 0)).unwrap();
        for start in [4990, 0, 1000, 2000] {
            let rows = (5000 - start).min(1000);
            let batch = RecordBatch::try_from_iter([("t", kept.slice(start, rows))]).unwrap();
            let made = memo.evaluate(&batch).unwrap().into_array(rows).unwrap();
            let expected: Vec<i64> = (start as i64..(start + rows) as i64).collect();
            assert_eq!(made.as_primitive::<Int64Type>().values().to_vec(), expected);
        }
    }

    #[test]
    fn what_fails_for_other_texts_of_a_dictionary_is_no_failure() {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..600).map(|n| match n % 2 {
            0 => "12",
            _ => "none",
        })));
        let kept = cast(&texts, &super::super::dictionary_reader::dictionary_type()).unwrap();
        let number: Arc<dyn PhysicalExpr> =
            Arc::new(CastExpr::new(Arc::new(Column::new("t", 0)), DataType::Int64, None));
        let memo = Memo::new(number, &Column::new("t", 0)).unwrap();
        let good = arrow::array::BooleanArray::from_iter((0..600).map(|n| Some(n % 2 == 0)));
        let picked = arrow::compute::filter(&kept, &good).unwrap();
        let made = memo.evaluate(&RecordBatch::try_from_iter([("t", picked)]).unwrap()).unwrap();
        assert_eq!(made.into_array(300).unwrap().as_primitive::<Int64Type>().values().to_vec(), vec![12; 300]);
        assert!(memo.evaluate(&RecordBatch::try_from_iter([("t", kept)]).unwrap()).is_err());
    }

    #[test]
    fn the_answer_is_that_of_every_row() {
        check((0..5000).map(|n| (n % 5 != 0).then(|| format!("a text longer than a view holds {}", n % 83))).collect());
        check((0..5000).map(|n| Some(format!("{}", n % 10))).collect());
        check((0..5000).map(|n| Some(format!("every value is its own {n}"))).collect());
        check((0..5000).map(|n| Some(format!("{}", if n < 4000 { n % 3 } else { n }))).collect());
        check(vec![None; 1000]);
        check(vec![Some("7".to_owned()); 3]);
    }

    #[test]
    fn a_moved_column_is_followed() {
        let memo = Arc::new(Memo::new(like(), &Column::new("t", 1)).unwrap());
        let moved = memo.with_new_children(vec![Arc::new(Column::new("t", 0))]).unwrap();
        let column: ArrayRef = Arc::new(StringViewArray::from(vec!["17"; 600]));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let made = moved.evaluate(&batch).unwrap().into_array(600).unwrap();
        assert_eq!(made.as_boolean().true_count(), 600);
    }
}
