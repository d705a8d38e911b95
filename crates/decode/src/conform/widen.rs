//! Reads a column in a wider type than declared where its values need one: under `on_drift = "widen"`.
//!
//! The narrowest type is taken in which the fewest cells fail; where no type helps, the declared one stays, and the
//! rows are rejected as usual. A type is only tried where every value of the declared one keeps its value in it, so
//! batches of both kinds can be brought together.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use hambar_core::ColumnType;

use super::cast::{Cast, CellRule};
use crate::error::DecodeError;
use crate::spec::RuleType;

/// Digits of the widest decimal, and how many of them stand after the point in those that are tried.
const DECIMAL_DIGITS: u8 = 38;
const DECIMAL_SCALES: [i8; 2] = [6, 18];

/// Returns `cast`, or the column in a wider type in which fewer cells fail.
pub(super) fn widened(rule: &CellRule, source: &ArrayRef, cast: Cast) -> Result<Cast, DecodeError> {
    let RuleType::Plain(declared) = &rule.kind else {
        return Ok(cast);
    };
    if *declared == ColumnType::Int32 && has_fractions(source) {
        // Arrow's cast would cut the fractions off.
        let wide = CellRule { kind: RuleType::Plain(ColumnType::Float64), ..rule.clone() };
        return wide.cast(Some(source), source.len());
    }
    let mut best = cast;
    for kind in wider(declared) {
        if best.failures.is_empty() {
            break;
        }
        let wide = CellRule { kind: RuleType::Plain(kind), ..rule.clone() };
        // A type that the source's cannot become helps nobody.
        let Ok(tried) = wide.cast(Some(source), source.len()) else { continue };
        if tried.failures.len() < best.failures.len() {
            best = tried;
        }
    }
    Ok(best)
}

/// The types that values of `declared` may need, narrowest first.
fn wider(declared: &ColumnType) -> Vec<ColumnType> {
    let decimals = |scale: i8| DECIMAL_SCALES.map(|more| ColumnType::Decimal(DECIMAL_DIGITS, scale.max(more)));
    let tried = match declared {
        ColumnType::Int32 => vec![ColumnType::Int64, ColumnType::Float64],
        ColumnType::Int64 => [ColumnType::Decimal(20, 0), ColumnType::Decimal(DECIMAL_DIGITS, 0)]
            .into_iter()
            .chain(decimals(0))
            .collect(),
        ColumnType::Decimal(_, scale) => {
            std::iter::once(ColumnType::Decimal(DECIMAL_DIGITS, *scale)).chain(decimals(*scale)).collect()
        }
        ColumnType::Date => vec![ColumnType::Timestamp],
        _ => Vec::new(),
    };
    tried.into_iter().filter(|kind| declared.widens_to(kind)).collect()
}

fn has_fractions(source: &ArrayRef) -> bool {
    *source.data_type() == DataType::Float64
        && source.as_primitive::<Float64Type>().iter().flatten().any(|value| value.fract() != 0.0)
}
