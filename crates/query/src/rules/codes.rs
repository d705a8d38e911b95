//! Texts as numbers: while an aggregate runs, each different text of a key column gets a code, the same in all
//! partitions, and the aggregate groups by codes. Afterwards the codes become texts again.
//!
//! This pays where few texts stand for many rows, which the columns of a key mostly do. Where there turn out to be many
//! texts it gives up with [`too_many`], and the plan goes back to grouping by texts.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, Schema, UInt32Type};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::binary_map::OutputType;
use datafusion::physical_expr_common::binary_view_map::ArrowBytesViewMap;
use hambar_core::views::DifferentViews;

use super::memo::Memo;
use super::packed::unpacked;
use super::recent::Recent;
use super::texts::{Numbers, with_null};

/// Different texts of one column that get codes.
const TEXTS_MAX: usize = 1 << 16;
/// Bytes of them.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Why there are no codes.
#[derive(Debug, thiserror::Error)]
#[error("a key column has too many texts for codes")]
pub(super) struct TooMany;

/// Says whether the error only means that texts must be grouped as texts.
pub(super) fn is_too_many(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<TooMany>() {
            return true;
        }
        if let Some(DataFusionError::Shared(shared)) = current.downcast_ref::<DataFusionError>() {
            return is_too_many(shared);
        }
        cause = current.source();
    }
    false
}

/// The codes of one column.
#[derive(Debug, Default)]
pub(super) struct Codes {
    known: Mutex<Option<Known>>,
    texts: OnceLock<ArrayRef>,
}

struct Known {
    map: ArrowBytesViewMap<u32>,
    count: u32,
}

impl Known {
    fn new() -> Self {
        Self { map: ArrowBytesViewMap::new(OutputType::Utf8View), count: 0 }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} texts", self.count)
    }
}

impl Codes {
    /// Returns the codes of the texts.
    fn encode(&self, texts: &StringViewArray) -> Result<UInt32Array> {
        let (different, of_rows) = match DifferentViews::find(texts) {
            Some(values) => (take(texts, &values.first_rows, None)?, Some(values.of_rows)),
            None => (Arc::new(texts.clone()) as ArrayRef, None),
        };
        let codes = self.intern(&different)?;
        match of_rows {
            Some(of_rows) => Ok(take(&codes, &of_rows, None)?.as_primitive::<UInt32Type>().clone()),
            None => Ok(codes),
        }
    }

    fn intern(&self, texts: &ArrayRef) -> Result<UInt32Array> {
        if self.texts.get().is_some() {
            return datafusion::common::internal_err!("a text came after the codes were read");
        }
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = guard.get_or_insert_with(Known::new);
        let mut codes = Vec::with_capacity(texts.len());
        let count = &mut known.count;
        // NULL is one of the texts here: the map keeps a place for it.
        let new = |_text: Option<&[u8]>| {
            let code = *count;
            *count = count.saturating_add(1);
            code
        };
        known.map.insert_if_new(texts, new, |code| codes.push(code));
        if known.count as usize > TEXTS_MAX || known.map.size() > TEXT_BYTES_MAX {
            return Err(DataFusionError::External(Box::new(TooMany)));
        }
        Ok(UInt32Array::from(codes))
    }

    /// Returns the texts of codes. No text gets a code after the first call: the aggregate has read all its rows.
    fn decode(&self, codes: &UInt32Array) -> Result<ArrayRef> {
        Ok(take(self.texts.get_or_init(|| self.all()), codes, None)?)
    }

    fn all(&self) -> ArrayRef {
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = guard.take().unwrap_or_else(Known::new);
        known.map.into_state()
    }
}

/// The code of a text.
#[derive(Debug)]
pub(super) struct Encode {
    text: Arc<dyn PhysicalExpr>,
    codes: Arc<Codes>,
    /// The codes of the texts of the dictionaries that are being read.
    of_dictionaries: Recent,
}

/// The text of a code.
#[derive(Debug)]
pub(super) struct Decode {
    code: Arc<dyn PhysicalExpr>,
    /// Its place among the codes of a number, where several are packed.
    place: Option<usize>,
    codes: Arc<Codes>,
    field: FieldRef,
}

impl Encode {
    pub(super) fn new(text: Arc<dyn PhysicalExpr>, codes: Arc<Codes>) -> Self {
        Self { text, codes, of_dictionaries: Recent::default() }
    }

    /// What is encoded.
    pub(super) fn text(&self) -> &Arc<dyn PhysicalExpr> {
        &self.text
    }

    /// Returns the codes of an expression over a text whose rows are numbers into a dictionary.
    fn of_memo(&self, memo: &Memo, batch: &RecordBatch) -> Result<Option<ArrayRef>> {
        let Some((numbers, texts)) = memo.numbered(batch)? else { return Ok(None) };
        let codes = self.of_dictionaries.get(&texts, texts.len(), |texts| self.interned(texts))?;
        codes.map(|codes| numbers.spread(&codes)).transpose()
    }

    /// Returns the codes of a text whose rows are numbers into a dictionary.
    fn of_column(&self, column: &ArrayRef) -> Result<Option<ArrayRef>> {
        let Some(numbers) = Numbers::of(column) else { return Ok(None) };
        let codes =
            self.of_dictionaries.get(numbers.texts(), numbers.len(), |texts| self.interned(&with_null(texts)?))?;
        codes.map(|codes| numbers.spread(&codes)).transpose()
    }

    fn interned(&self, texts: &ArrayRef) -> Result<Option<ArrayRef>> {
        Ok(Some(Arc::new(self.codes.intern(&cast(texts, &DataType::Utf8View)?)?)))
    }
}

impl Decode {
    /// Makes the expression; `field` is what the text was before it was encoded.
    pub(super) fn new(code: Arc<dyn PhysicalExpr>, place: Option<usize>, codes: Arc<Codes>, field: FieldRef) -> Self {
        Self { code, place, codes, field }
    }
}

fn codes_of(array: &ArrayRef) -> Result<&UInt32Array> {
    match array.as_primitive_opt::<UInt32Type>() {
        Some(codes) => Ok(codes),
        None => datafusion::common::internal_err!("codes are whole numbers, not {}", array.data_type()),
    }
}

impl PhysicalExpr for Encode {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::UInt32)
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if let Some(memo) = self.text.downcast_ref::<Memo>()
            && let Some(codes) = self.of_memo(memo, batch)?
        {
            return Ok(ColumnarValue::Array(codes));
        }
        let texts = self.text.evaluate(batch)?.into_array(batch.num_rows())?;
        if let Some(codes) = self.of_column(&texts)? {
            return Ok(ColumnarValue::Array(codes));
        }
        let texts = cast(&texts, &DataType::Utf8View)?;
        match texts.as_string_view_opt() {
            Some(texts) => Ok(ColumnarValue::Array(Arc::new(self.codes.encode(texts)?))),
            None => datafusion::common::internal_err!("texts are read as views, not as {}", texts.data_type()),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.text]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(text) => Ok(Arc::new(Self::new(text, Arc::clone(&self.codes)))),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl PhysicalExpr for Decode {
    fn return_field(&self, _schema: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let codes = self.code.evaluate(batch)?.into_array(batch.num_rows())?;
        let codes = self.place.map_or(Ok(Arc::clone(&codes)), |place| unpacked(&codes, place))?;
        let texts = self.codes.decode(codes_of(&codes)?)?;
        Ok(ColumnarValue::Array(cast(&texts, self.field.data_type())?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.code]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(code) => Ok(Arc::new(Self::new(code, self.place, Arc::clone(&self.codes), Arc::clone(&self.field)))),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Encode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "code({})", self.text)
    }
}

impl fmt::Display for Decode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "text({})", self.code)
    }
}

// Codes of different columns are different, however alike the expressions are.
impl PartialEq for Encode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.codes, &other.codes) && self.text.eq(&other.text)
    }
}

impl Eq for Encode {}

impl Hash for Encode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialEq for Decode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.codes, &other.codes) && self.place == other.place && self.code.eq(&other.code)
    }
}

impl Eq for Decode {}

impl Hash for Decode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code.hash(state);
    }
}
