//! Functions of instants that DataFusion computes by the calendar of a time zone, row by row, also where the zone is UTC: there
//! they are the same as for instants without a zone, which it computes by arithmetic.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The zone of the store's instants.
const UTC: &str = "UTC";

/// `date_trunc` that knows UTC.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct InUtc {
    inner: Arc<ScalarUDF>,
}

impl InUtc {
    pub(crate) fn wrap(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { inner }))
    }
}

/// Returns instants of UTC without their zone; nothing for anything else.
fn without_zone(value: &ColumnarValue) -> Option<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) if is_utc(array.data_type()) => Some(ColumnarValue::Array(with_zone(array, None)?)),
        _ => None,
    }
}

fn is_utc(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC)
}

fn with_zone(array: &ArrayRef, zone: Option<Arc<str>>) -> Option<ArrayRef> {
    let instants = array.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some(Arc::new(instants.clone().with_timezone_opt(zone)))
}

impl ScalarUDFImpl for InUtc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(instants) = args.args.get(1).and_then(without_zone) else {
            return self.inner.invoke_with_args(args);
        };
        let unzoned = |field: &FieldRef| -> FieldRef {
            Arc::new(Field::clone(field).with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None)))
        };
        if let (Some(place), Some(field)) = (args.args.get_mut(1), args.arg_fields.get_mut(1)) {
            (*place, *field) = (instants, unzoned(field));
        }
        args.return_field = unzoned(&args.return_field);
        let zone = || Some(Arc::from(UTC));
        match self.inner.invoke_with_args(args)? {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(with_zone(&array, zone()).unwrap_or(array))),
            ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(value, _)) => {
                Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(value, zone())))
            }
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, TimestampMicrosecondArray};
    use datafusion::common::config::ConfigOptions;
    use datafusion::functions::datetime::date_trunc;

    use super::*;

    /// What a function makes of instants of UTC, some before 1970, one NULL.
    fn truncated(function: &ScalarUDF, to: &str) -> ArrayRef {
        let instants = [Some(0), Some(-1), None, Some(1_709_251_199_999_999), Some(-2_208_988_800_000_001)];
        let instants: ArrayRef = Arc::new(TimestampMicrosecondArray::from(instants.to_vec()).with_timezone(UTC));
        let kind = instants.data_type().clone();
        let args = ScalarFunctionArgs {
            number_rows: instants.len(),
            args: vec![ColumnarValue::Scalar(ScalarValue::from(to)), ColumnarValue::Array(instants)],
            arg_fields: vec![
                Arc::new(Field::new("to", DataType::Utf8, false)),
                Arc::new(Field::new("at", kind.clone(), true)),
            ],
            return_field: Arc::new(Field::new("made", kind, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(args).unwrap().into_array(5).unwrap()
    }

    #[test]
    fn instants_are_cut_as_by_the_calendar_of_utc() {
        let wrapped = InUtc::wrap(date_trunc());
        for to in ["microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"]
        {
            assert_eq!(truncated(&wrapped, to).as_ref(), truncated(&date_trunc(), to).as_ref(), "{to}");
        }
    }
}
