//! Text columns that keep the dictionary of their file inside a plan, and what is made of them.
//!
//! A batch holds numbers, and the texts that they stand for once for a whole row group. Expressions over texts are evaluated
//! over the dictionary ([`super::recent`]) and spread to the rows by number; whoever needs texts gets views into the dictionary.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;
use hambar_core::views::numbers_with_null;

use super::dictionary_reader::dictionary_type;
use super::recent::Recent;

/// The rows of a batch as numbers into the texts of a dictionary. Where there are NULLs among the rows, their number is the one
/// after the last text.
pub(super) struct Numbers {
    rows: Int32Array,
    texts: ArrayRef,
    has_null: bool,
}

impl Numbers {
    /// Returns the numbers of a column that keeps its dictionary.
    pub(super) fn of(column: &ArrayRef) -> Option<Self> {
        let column = column.as_dictionary_opt::<Int32Type>()?;
        let texts = Arc::clone(column.values());
        if texts.data_type() != &DataType::Utf8 {
            return None;
        }
        let has_null = column.keys().null_count() > 0;
        let rows = match has_null {
            true => numbers_with_null(column.keys(), texts.len())?,
            false => Int32Array::new(column.keys().values().clone(), None),
        };
        Some(Self { rows, texts, has_null })
    }

    /// The texts of the dictionary.
    pub(super) fn texts(&self) -> &ArrayRef {
        &self.texts
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Spreads to the rows what was made of each of the texts and of NULL after them.
    pub(super) fn spread(&self, made: &ArrayRef) -> Result<ArrayRef> {
        let made = match self.has_null {
            true => Arc::clone(made),
            // NULL may be the only value without a result, which costs a mask.
            false => made.slice(0, made.len().saturating_sub(1)),
        };
        if let Some(flags) = made.as_boolean_opt().filter(|flags| flags.null_count() == 0) {
            let rows = self.rows.len();
            match flags.true_count() {
                0 => return Ok(Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows), None))),
                all if all == flags.len() => {
                    return Ok(Arc::new(BooleanArray::new(BooleanBuffer::new_set(rows), None)));
                }
                _ => {}
            }
        }
        Ok(take(&made, &self.rows, None)?)
    }
}

/// Returns the texts of a dictionary as views into it, and NULL after them.
pub(super) fn with_null(texts: &ArrayRef) -> Result<ArrayRef> {
    let views = cast(texts, &DataType::Utf8View)?;
    Ok(concat(&[&views, &new_null_array(&DataType::Utf8View, 1)])?)
}

/// Returns the schema with texts as views where they keep their dictionaries.
pub(super) fn viewed(schema: &Schema) -> Schema {
    let kind = dictionary_type();
    let fields = schema.fields().iter().map(|field| match field.data_type() == &kind {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        false => Arc::clone(field),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// A column of texts that keeps the dictionary of its file; where the file has none, each row's text is one of the dictionary's.
#[derive(Debug, Eq)]
pub(super) struct ToDictionary {
    text: Arc<dyn PhysicalExpr>,
}

// Derived ones do not take what is behind a pointer.
impl PartialEq for ToDictionary {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq(&other.text)
    }
}

impl Hash for ToDictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl ToDictionary {
    pub(super) fn new(text: Arc<dyn PhysicalExpr>) -> Self {
        Self { text }
    }
}

impl PhysicalExpr for ToDictionary {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        let field = self.text.return_field(schema)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(dictionary_type())))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        // A file's column is cast to the table's type; the dictionary is below that.
        let source = self.text.downcast_ref::<CastExpr>().map_or(&self.text, CastExpr::expr);
        let column = source.evaluate(batch)?.into_array(batch.num_rows())?;
        if column.data_type() == &dictionary_type() {
            return Ok(ColumnarValue::Array(column));
        }
        let texts = self.text.evaluate(batch)?.into_array(batch.num_rows())?;
        let texts = cast(&texts, &DataType::Utf8)?;
        let rows = i32::try_from(texts.len());
        let rows = rows.map_err(|_| DataFusionError::Internal("a batch of too many rows".to_owned()))?;
        let numbers = Int32Array::new((0..rows).collect(), texts.nulls().cloned());
        Ok(ColumnarValue::Array(Arc::new(DictionaryArray::try_new(numbers, texts)?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.text]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(text) => Ok(Arc::new(Self::new(text))),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt_sql(out)
    }
}

impl fmt::Display for ToDictionary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "dictionary({})", self.text)
    }
}

/// The texts of a column that keeps its dictionary, as views into it.
#[derive(Debug)]
pub(super) struct FromDictionary {
    column: Arc<dyn PhysicalExpr>,
    views: Recent,
}

impl FromDictionary {
    pub(super) fn new(column: Arc<dyn PhysicalExpr>) -> Self {
        Self { column, views: Recent::default() }
    }
}

// What was made before is not part of what the expression means.
impl PartialEq for FromDictionary {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column)
    }
}

impl Eq for FromDictionary {}

impl Hash for FromDictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
    }
}

impl PhysicalExpr for FromDictionary {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        let field = self.column.return_field(schema)?;
        Ok(Arc::new(Field::clone(&field).with_data_type(DataType::Utf8View)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        if let Some(numbers) = Numbers::of(&column)
            && let Some(views) = self.views.get(numbers.texts(), numbers.len(), |texts| with_null(texts).map(Some))?
        {
            return Ok(ColumnarValue::Array(numbers.spread(&views)?));
        }
        Ok(ColumnarValue::Array(cast(&column, &DataType::Utf8View)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(column) => Ok(Arc::new(Self::new(column))),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(out)
    }
}

impl fmt::Display for FromDictionary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "texts({})", self.column)
    }
}
