//! The parts of `information_schema` that clients of Postgres read, with the columns and the names of types that they
//! expect there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::ObjectName;
use hambar_core::TableName;

use super::catalog::{Made, all_text, is_table, none, numbers, texts};
use super::{POSTGRES_TYPES, postgres_type, written};
use crate::functions::CATALOG;
use crate::gate::folded;

/// The namespace.
pub(crate) const INFORMATION: &str = "information_schema";
/// Its tables that are made here, as they are called in the catalogue.
pub(super) const TABLES: [&str; 3] =
    ["information_schema.columns", "information_schema.schemata", "information_schema.tables"];

/// The tables that tell about columns, for which the tables of the store have to be looked at.
pub(crate) const NEED_COLUMNS: [&str; 2] = ["information_schema.columns", "pg_attribute"];

/// Returns how a table of `information_schema` is called in the catalogue, and its plain name, if it is made here.
pub(crate) fn information(name: &ObjectName) -> Option<(String, String)> {
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect();
    let (schema, table) = match parts.as_slice() {
        [schema, table] => (schema, table),
        [catalogue, schema, table] if catalogue == CATALOG => (schema, table),
        _ => return None,
    };
    let full = format!("{schema}.{table}");
    (schema == INFORMATION && is_table(&full)).then(|| (full, table.clone()))
}

/// Makes the tables. `schemas` has the columns of the tables, where they are needed.
pub(super) fn tables(listed: &[&TableName], schemas: &BTreeMap<TableName, SchemaRef>) -> [Made; 3] {
    [columns(schemas), namespaces(listed), relations(listed)]
}

fn relations(listed: &[&TableName]) -> Made {
    let count = listed.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_catalog", all_text(count, CATALOG)),
        ("table_schema", texts(listed.iter().map(|table| table.namespace.as_str()))),
        ("table_name", texts(listed.iter().map(|table| table.table.as_str()))),
        ("table_type", all_text(count, "BASE TABLE")),
        ("self_referencing_column_name", none(count, "t")),
        ("reference_generation", none(count, "t")),
        ("user_defined_type_catalog", none(count, "t")),
        ("user_defined_type_schema", none(count, "t")),
        ("user_defined_type_name", none(count, "t")),
        ("is_insertable_into", all_text(count, "NO")),
        ("is_typed", all_text(count, "NO")),
        ("commit_action", none(count, "t")),
    ];
    Made { name: "information_schema.tables", columns }
}

fn namespaces(listed: &[&TableName]) -> Made {
    let mut names: Vec<&str> = listed.iter().map(|table| table.namespace.as_str()).collect();
    names.extend([INFORMATION, super::NAMESPACE]);
    names.sort_unstable();
    names.dedup();
    let count = names.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("catalog_name", all_text(count, CATALOG)),
        ("schema_name", texts(names)),
        ("schema_owner", all_text(count, CATALOG)),
        ("default_character_set_catalog", none(count, "t")),
        ("default_character_set_schema", none(count, "t")),
        ("default_character_set_name", none(count, "t")),
        ("sql_path", none(count, "t")),
    ];
    Made { name: "information_schema.schemata", columns }
}

/// One column of a table, as far as it is not the same for all.
struct Column<'a> {
    table: &'a TableName,
    name: &'a str,
    place: i64,
    is_nullable: bool,
    oid: u32,
    modifier: i32,
}

fn columns(schemas: &BTreeMap<TableName, SchemaRef>) -> Made {
    let mut rows = Vec::new();
    for (table, schema) in schemas {
        for (field, place) in schema.fields().iter().zip(1..) {
            let (oid, modifier) = postgres_type(field.data_type());
            rows.push(Column { table, name: field.name(), place, is_nullable: field.is_nullable(), oid, modifier });
        }
    }
    let count = rows.len();
    let number = |of: fn(&Column<'_>) -> Option<i64>| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let text = |of: fn(&Column<'_>) -> String| texts(rows.iter().map(of));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_catalog", all_text(count, CATALOG)),
        ("table_schema", text(|row| row.table.namespace.to_string())),
        ("table_name", text(|row| row.table.table.to_string())),
        ("column_name", text(|row| row.name.to_owned())),
        ("ordinal_position", numbers(rows.iter().map(|row| row.place))),
        ("column_default", none(count, "t")),
        ("is_nullable", text(|row| if row.is_nullable { "YES" } else { "NO" }.to_owned())),
        ("data_type", text(|row| standard(row.oid))),
        ("character_maximum_length", none(count, "i")),
        ("character_octet_length", none(count, "i")),
        ("numeric_precision", number(|row| precision(row).map(|(digits, _, _)| digits))),
        ("numeric_precision_radix", number(|row| precision(row).map(|(_, radix, _)| radix))),
        ("numeric_scale", number(|row| precision(row).and_then(|(_, _, scale)| scale))),
        ("datetime_precision", number(|row| of_time(row.oid))),
        ("interval_type", none(count, "t")),
        ("interval_precision", none(count, "i")),
        ("collation_name", none(count, "t")),
        ("domain_catalog", none(count, "t")),
        ("domain_schema", none(count, "t")),
        ("domain_name", none(count, "t")),
        ("udt_catalog", all_text(count, CATALOG)),
        ("udt_schema", all_text(count, super::NAMESPACE)),
        ("udt_name", Arc::new(rows.iter().map(|row| udt(row.oid)).collect::<StringArray>())),
        ("dtd_identifier", text(|row| row.place.to_string())),
        ("is_self_referencing", all_text(count, "NO")),
        ("is_identity", all_text(count, "NO")),
        ("identity_generation", none(count, "t")),
        ("is_generated", all_text(count, "NEVER")),
        ("generation_expression", none(count, "t")),
        ("is_updatable", all_text(count, "NO")),
    ];
    Made { name: "information_schema.columns", columns }
}

/// The type's name in the standard, which has one for all lists.
fn standard(oid: u32) -> String {
    if POSTGRES_TYPES.iter().any(|kind| kind.array == oid) { "ARRAY".to_owned() } else { written(oid.into(), None) }
}

fn udt(oid: u32) -> Option<String> {
    POSTGRES_TYPES.iter().find_map(|kind| match oid {
        _ if kind.oid == oid => Some(kind.name.to_owned()),
        _ if kind.array == oid => Some(format!("_{}", kind.name)),
        _ => None,
    })
}

/// Digits, what they are to the base of, and how many are behind the point.
fn precision(row: &Column<'_>) -> Option<(i64, i64, Option<i64>)> {
    match row.oid {
        21 => Some((16, 2, Some(0))),
        23 => Some((32, 2, Some(0))),
        20 => Some((64, 2, Some(0))),
        700 => Some((24, 2, None)),
        701 => Some((53, 2, None)),
        1700 if row.modifier >= 4 => {
            let digits = row.modifier - 4;
            Some((i64::from(digits >> 16), 10, Some(i64::from(digits & 0xffff))))
        }
        _ => None,
    }
}

/// Digits of a second that a type keeps.
fn of_time(oid: u32) -> Option<i64> {
    match oid {
        1082 => Some(0),
        1083 | 1114 | 1184 | 1186 => Some(6),
        _ => None,
    }
}
