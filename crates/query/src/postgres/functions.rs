//! The functions of `pg_catalog` whose answers depend on their arguments: names of types, numbers of tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};

use super::{Names, POSTGRES_TYPES, written};

/// Their names.
const FUNCTIONS: [&str; 4] = ["format_type", "regclass_text", "to_regclass", "to_regtype"];

/// Says whether a function of this name is one of them.
pub(crate) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// Makes the functions known to a session in which tables have these names.
pub(crate) fn register(state: &mut SessionState, names: &Arc<Names>) -> Result<()> {
    let number = || DataType::Int64;
    let text = || DataType::Utf8;
    let (to, from) = (Arc::clone(names), Arc::clone(names));
    let format =
        create_udf("format_type", vec![number(), number()], text(), Volatility::Immutable, Arc::new(formatted));
    let class = create_udf(
        "to_regclass",
        vec![text()],
        number(),
        Volatility::Immutable,
        Arc::new(move |arguments| numbered(arguments, |name| to.number(name))),
    );
    let kind = create_udf(
        "to_regtype",
        vec![text()],
        number(),
        Volatility::Immutable,
        Arc::new(|arguments| numbered(arguments, type_number)),
    );
    let back = create_udf(
        "regclass_text",
        vec![number()],
        text(),
        Volatility::Immutable,
        Arc::new(move |arguments| named(arguments, &from)),
    );
    for function in [format, class, kind, back] {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

fn arrays(arguments: &[ColumnarValue]) -> Result<Vec<ArrayRef>> {
    ColumnarValue::values_to_arrays(arguments)
}

fn answer(array: ArrayRef) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Array(array))
}

fn formatted(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = arrays(arguments)?;
    let [types, modifiers] = arrays.as_slice() else { return answer(Arc::new(StringArray::new_null(1))) };
    let (types, modifiers) = (types.as_primitive::<Int64Type>(), modifiers.as_primitive::<Int64Type>());
    let texts = types.iter().zip(modifiers.iter()).map(|(oid, modifier)| oid.map(|oid| written(oid, modifier)));
    answer(Arc::new(texts.collect::<StringArray>()))
}

fn numbered(arguments: &[ColumnarValue], number: impl Fn(&str) -> Option<i64>) -> Result<ColumnarValue> {
    let arrays = arrays(arguments)?;
    let numbers: Int64Array =
        arrays.iter().flat_map(|names| names.as_string::<i32>().iter().map(|name| name.and_then(&number))).collect();
    answer(Arc::new(numbers))
}

fn named(arguments: &[ColumnarValue], names: &Names) -> Result<ColumnarValue> {
    let arrays = arrays(arguments)?;
    let numbers = arrays.iter().flat_map(|numbers| numbers.as_primitive::<Int64Type>().iter());
    let text = |number: i64| names.name(number).unwrap_or_else(|| number.to_string());
    answer(Arc::new(numbers.map(|number| number.map(text)).collect::<StringArray>()))
}

/// The number of a type by either of its names, or written as a number.
fn type_number(name: &str) -> Option<i64> {
    let name = name.trim().trim_start_matches("pg_catalog.").trim_matches('"').to_lowercase();
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    if let Some(item) = name.strip_suffix("[]") {
        return POSTGRES_TYPES
            .iter()
            .find(|kind| kind.name == item || kind.written == item)
            .map(|kind| kind.array.into());
    }
    POSTGRES_TYPES.iter().find(|kind| kind.name == name || kind.written == name).map(|kind| kind.oid.into())
}
