//! Arrow schemas as Delta's schema JSON and back, field metadata included.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value, json};

/// Types nest at most this deep.
const NESTING_MAX: usize = 32;

/// Returns the schema as Delta's JSON text; `Err` names the type that Delta has no form for.
pub(crate) fn to_delta(schema: &Schema) -> Result<String, String> {
    Ok(struct_to_json(schema.fields())?.to_string())
}

/// Reads Delta's JSON text; `Err` says what is wrong with it.
pub(crate) fn from_delta(text: &str) -> Result<SchemaRef, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("schema is not JSON: {error}"))?;
    match type_from_json(&value, 0)? {
        DataType::Struct(fields) => Ok(Arc::new(Schema::new(fields))),
        other => Err(format!("schema is a {other}, not a struct")),
    }
}

fn struct_to_json(fields: &Fields) -> Result<Value, String> {
    let mut members = Vec::with_capacity(fields.len());
    for field in fields {
        let metadata: Map<String, Value> =
            field.metadata().iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        members.push(json!({
            "name": field.name(),
            "type": type_to_json(field.data_type())?,
            "nullable": field.is_nullable(),
            "metadata": metadata,
        }));
    }
    Ok(json!({ "type": "struct", "fields": members }))
}

fn type_to_json(data_type: &DataType) -> Result<Value, String> {
    Ok(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamp"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => json!("timestamp_ntz"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => json!("binary"),
        DataType::List(item) | DataType::LargeList(item) => json!({
            "type": "array",
            "elementType": type_to_json(item.data_type())?,
            "containsNull": item.is_nullable(),
        }),
        DataType::Struct(fields) => struct_to_json(fields)?,
        other => return Err(format!("type {other} has no form in Delta")),
    })
}

fn type_from_json(value: &Value, depth: usize) -> Result<DataType, String> {
    if depth > NESTING_MAX {
        return Err(format!("schema nests deeper than {NESTING_MAX}"));
    }
    if let Value::String(name) = value {
        return primitive(name);
    }
    let nullable = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(true);
    match value.get("type").and_then(Value::as_str) {
        Some("struct") => {
            let fields = value.get("fields").and_then(Value::as_array).ok_or("struct without fields")?;
            let fields: Result<Vec<_>, _> = fields.iter().map(|field| field_from_json(field, depth)).collect();
            Ok(DataType::Struct(fields?.into()))
        }
        Some("array") => {
            let item = type_from_json(value.get("elementType").ok_or("array without elementType")?, depth + 1)?;
            Ok(DataType::List(Arc::new(Field::new("element", item, nullable("containsNull")))))
        }
        Some("map") => {
            let key = type_from_json(value.get("keyType").ok_or("map without keyType")?, depth + 1)?;
            let item = type_from_json(value.get("valueType").ok_or("map without valueType")?, depth + 1)?;
            let entries = vec![Field::new("key", key, false), Field::new("value", item, nullable("valueContainsNull"))];
            Ok(DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries.into()), false)), false))
        }
        other => Err(format!("unknown type {other:?}")),
    }
}

fn field_from_json(field: &Value, depth: usize) -> Result<Field, String> {
    let name = field.get("name").and_then(Value::as_str).ok_or("field without name")?;
    let kind = type_from_json(field.get("type").ok_or("field without type")?, depth + 1)?;
    let nullable = field.get("nullable").and_then(Value::as_bool).unwrap_or(true);
    let metadata: HashMap<String, String> = field
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    Ok(Field::new(name, kind, nullable).with_metadata(metadata))
}

fn primitive(name: &str) -> Result<DataType, String> {
    Ok(match name {
        "string" => DataType::Utf8,
        "boolean" => DataType::Boolean,
        "byte" => DataType::Int8,
        "short" => DataType::Int16,
        "integer" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "binary" => DataType::Binary,
        "decimal" => DataType::Decimal128(10, 0),
        _ => {
            let inside = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
            let (precision, scale) =
                inside.and_then(|inside| inside.split_once(',')).ok_or_else(|| format!("unknown type `{name}`"))?;
            let precision = precision.trim().parse().map_err(|_| format!("unknown type `{name}`"))?;
            let scale = scale.trim().parse().map_err(|_| format!("unknown type `{name}`"))?;
            DataType::Decimal128(precision, scale)
        }
    })
}

#[cfg(test)]
mod tests {
    use hambar_core::ColumnType;

    use super::*;

    #[test]
    fn every_column_type_survives_the_log() {
        let text = "struct<a: int32, b: int64, c: float64, d: decimal(38,9), e: date, f: timestamp, g: binary, \
                    h: list<struct<x: string, y: list<bool>>>>";
        let kind: ColumnType = text.parse().unwrap();
        let metadata = HashMap::from([("unit".to_owned(), "current US$".to_owned())]);
        let schema = Schema::new(vec![Field::new("all", kind.to_arrow(), true).with_metadata(metadata)]);
        assert_eq!(from_delta(&to_delta(&schema).unwrap()).unwrap().as_ref(), &schema);
    }

    #[test]
    fn broken_schemas_are_refused() {
        for text in ["", "3", r#"{"type":"struct"}"#, r#"{"type":"struct","fields":[{"name":"a","type":"variant"}]}"#] {
            assert!(from_delta(text).is_err(), "{text}");
        }
    }
}
