//! Several codes of texts as one number, so that a group of several texts is found like a group of one.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Schema, UInt32Type, UInt64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use hambar_core::views::{PACKED_BITS, packed};

/// Codes that fit into one number.
pub(super) const CODES_MAX: usize = (u64::BITS / PACKED_BITS) as usize;

/// The number of several codes.
#[derive(Debug)]
pub(super) struct Pack {
    codes: Vec<Arc<dyn PhysicalExpr>>,
}

impl Pack {
    pub(super) fn new(codes: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { codes }
    }
}

/// Returns the code at `place` of each number.
pub(super) fn unpacked(numbers: &ArrayRef, place: usize) -> Result<ArrayRef> {
    let Some(numbers) = numbers.as_primitive_opt::<UInt64Type>() else {
        return datafusion::common::internal_err!("packed codes are whole numbers, not {}", numbers.data_type());
    };
    let shift = u32::try_from(place).unwrap_or(u32::MAX).saturating_mul(PACKED_BITS);
    let mask = (1_u64 << PACKED_BITS) - 1;
    let code = |number: u64| number.checked_shr(shift).unwrap_or(0) & mask;
    Ok(Arc::new(numbers.unary::<_, UInt32Type>(|number| u32::try_from(code(number)).unwrap_or(u32::MAX))))
}

impl PhysicalExpr for Pack {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut arrays = Vec::with_capacity(self.codes.len());
        for code in &self.codes {
            arrays.push(code.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        let codes: Option<Vec<&UInt32Array>> = arrays.iter().map(|array| array.as_primitive_opt()).collect();
        match codes.and_then(|codes| packed(&codes)) {
            Some(numbers) => Ok(ColumnarValue::Array(Arc::new(numbers))),
            None => datafusion::common::internal_err!("codes that cannot be packed"),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.codes.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self::new(children)))
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self.codes.iter().map(ToString::to_string).collect();
        write!(out, "packed({})", codes.join(", "))
    }
}

impl PartialEq for Pack {
    fn eq(&self, other: &Self) -> bool {
        self.codes == other.codes
    }
}

impl Eq for Pack {}

impl Hash for Pack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.codes.hash(state);
    }
}
