//! The values of parameters as JSON has them, and the limits that a request asks for.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, StringArray, UInt64Array};
use hambar_query::Parameters;
use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;
use crate::front::AskedLimits;

/// Limits that a request asks for; they only tighten those of the server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsRequest {
    /// Seconds for everything.
    pub(crate) seconds: Option<f64>,
    /// Rows of the answer.
    pub(crate) rows: Option<u64>,
    /// Bytes of the answer as Arrow holds it.
    pub(crate) bytes: Option<u64>,
    /// Bytes of memory.
    pub(crate) memory_bytes: Option<u64>,
    /// Bytes of the files that may be opened.
    pub(crate) scan_bytes: Option<u64>,
}

impl LimitsRequest {
    pub(crate) fn asked(&self) -> Result<AskedLimits, Problem> {
        let run_time_max = match self.seconds {
            None => None,
            Some(seconds) => Some(
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|time| !time.is_zero())
                    .ok_or_else(|| Problem::bad_request(format!("`limits.seconds` is {seconds}, not a time")))?,
            ),
        };
        Ok(AskedLimits {
            run_time_max,
            result_rows_max: self.rows,
            result_bytes_max: self.bytes,
            memory_bytes_max: self.memory_bytes,
            scan_bytes_max: self.scan_bytes,
        })
    }
}

/// Takes JSON values as the values of `$1`, `$2` …
pub(crate) fn parameters(values: &[Value]) -> Result<Parameters, Problem> {
    let arrays: Result<Vec<ArrayRef>, Problem> =
        values.iter().enumerate().map(|(index, value)| array(index + 1, value)).collect();
    Parameters::new(arrays?).map_err(|error| Problem::bad_request(error.to_string()))
}

fn array(number: usize, value: &Value) -> Result<ArrayRef, Problem> {
    Ok(match value {
        Value::Null => Arc::new(NullArray::new(1)),
        Value::Bool(flag) => Arc::new(BooleanArray::from(vec![*flag])),
        Value::String(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        Value::Number(digits) => {
            if let Some(whole) = digits.as_i64() {
                Arc::new(Int64Array::from(vec![whole]))
            } else if let Some(whole) = digits.as_u64() {
                Arc::new(UInt64Array::from(vec![whole]))
            } else if let Some(float) = digits.as_f64().filter(|float| float.is_finite()) {
                Arc::new(Float64Array::from(vec![float]))
            } else {
                return Err(Problem::bad_request(format!("parameter ${number} is no number that can be held")));
            }
        }
        Value::Array(_) | Value::Object(_) => {
            let problem = Problem::bad_request(format!("parameter ${number} is an array or object"));
            return Err(problem.hint("values are texts, numbers, true, false and null"));
        }
    })
}
