//! An expression over one text column that is evaluated once for each different value of a batch.
//!
//! Text columns are read from Parquet's dictionaries: rows with the same value have the same view (length, buffer and
//! offset), so that finding them compares 16 bytes and reads no text. Two views of equal texts may differ; then the
//! expression is evaluated twice, and nothing else. Where a batch has many values, all rows are evaluated as usual.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use hambar_core::views::DifferentViews;

/// Rows below which a batch is not looked through.
const ROWS_MIN: usize = 256;

/// The expression.
#[derive(Debug, Eq)]
pub(super) struct Memo {
    /// As planned, over the whole input.
    original: Arc<dyn PhysicalExpr>,
    /// The one column that it reads.
    column: Arc<dyn PhysicalExpr>,
    /// The same expression over a batch of that column alone.
    inner: Arc<dyn PhysicalExpr>,
}

impl Memo {
    /// Makes the expression out of one that reads only `column`.
    pub(super) fn new(original: Arc<dyn PhysicalExpr>, column: &Column) -> Result<Self> {
        let inner = with_column(&original, &Column::new(column.name(), 0))?;
        Ok(Self { original, column: Arc::new(column.clone()), inner })
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

// The inner expression is the original one.
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
        self.original.return_field(schema)
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.original.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.original.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if batch.num_rows() < ROWS_MIN {
            return self.original.evaluate(batch);
        }
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(values) = column.as_string_view_opt().and_then(DifferentViews::find) else {
            return self.original.evaluate(batch);
        };
        let different = take(&column, &values.first_rows, None)?;
        let field = Field::new("value", DataType::Utf8View, true);
        let rows = RecordBatchOptions::new().with_row_count(Some(different.len()));
        let small = RecordBatch::try_new_with_options(Arc::new(Schema::new(vec![field])), vec![different], &rows)?;
        match self.inner.evaluate(&small)? {
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
    use datafusion::physical_expr::expressions::{LikeExpr, lit};

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
        let batch = RecordBatch::try_from_iter_with_nullable([("n", other, true), ("t", column, true)]).unwrap();
        let memo = Memo::new(like(), &Column::new("t", 1)).unwrap();
        let made = memo.evaluate(&batch).unwrap().into_array(texts.len()).unwrap();
        let expected: BooleanArray = texts.iter().map(|text| text.as_ref().map(|text| text.contains('7'))).collect();
        assert_eq!(made.as_boolean(), &expected);
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
