//! The tables of `pg_catalog`, made for one query of what its asker may see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, new_empty_array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::datasource::{MemTable, TableProvider};
use hambar_core::TableName;

use super::empty::{EMPTY, is_empty};
use super::information;
use super::{POSTGRES_SETTINGS, POSTGRES_TYPES, PostgresType, postgres_type};

/// The first number of tables and namespaces; smaller ones are Postgres' own.
const FIRST: i64 = 16_384;
/// How many numbers there are from there on.
const NUMBERS: u64 = 1 << 30;
/// The owner of everything.
const OWNER: (i64, &str) = (10, "hambar");
/// The numbers of the namespaces that everybody has.
const OWN_NAMESPACES: [(i64, &str); 2] = [(11, "pg_catalog"), (13_000, "information_schema")];
/// The number of the only database.
const DATABASE: i64 = 16_000;
/// The number of the way in which tables are kept.
const ACCESS_METHOD: i64 = 2;

/// The table of tables.
pub(crate) const CLASSES: &str = "pg_class";
/// The tables that have rows.
const FILLED: [&str; 12] = [
    CLASSES,
    "pg_am",
    "pg_attribute",
    "pg_authid",
    "pg_database",
    "pg_namespace",
    "pg_roles",
    "pg_settings",
    "pg_tables",
    "pg_tablespace",
    "pg_type",
    "pg_user",
];

/// Says whether there is a table of this name.
pub(crate) fn is_table(name: &str) -> bool {
    FILLED.contains(&name) || information::TABLES.contains(&name) || is_empty(name)
}

/// The numbers of tables and namespaces. They are made of the names, so that the next query finds the same.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tables: BTreeMap<TableName, i64>,
    namespaces: BTreeMap<String, i64>,
}

impl Names {
    pub(crate) fn new(tables: &[TableName]) -> Self {
        let mut taken = BTreeSet::new();
        let namespaces: BTreeSet<String> = tables.iter().map(|table| table.namespace.to_string()).collect();
        let namespaces = namespaces.into_iter().map(|name| (number(&name, &mut taken), name));
        let namespaces = namespaces.map(|(number, name)| (name, number)).collect();
        let sorted: BTreeSet<&TableName> = tables.iter().collect();
        let tables = sorted.into_iter().map(|table| (table.clone(), number(&table.to_string(), &mut taken)));
        Self { tables: tables.collect(), namespaces }
    }

    /// The number of a table, written as a name or as its number.
    pub(super) fn number(&self, text: &str) -> Option<i64> {
        let plain = text.replace('"', "");
        plain.parse().ok().or_else(|| self.tables.get(&plain.parse::<TableName>().ok()?).copied())
    }

    pub(super) fn name(&self, number: i64) -> Option<String> {
        self.tables.iter().find(|(_, own)| **own == number).map(|(table, _)| table.to_string())
    }

    fn namespace(&self, table: &TableName) -> i64 {
        self.namespaces.get(table.namespace.as_str()).copied().unwrap_or(0)
    }
}

/// A number made of a text; the next one where it is taken.
fn number(text: &str, taken: &mut BTreeSet<i64>) -> i64 {
    // FNV-1a: the same in every process and version.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut number = FIRST + i64::try_from(hash % NUMBERS).unwrap_or(0);
    while !taken.insert(number) {
        number += 1;
    }
    number
}

/// Makes the tables. `schemas` has the columns of the tables, where they are needed.
pub(crate) fn tables(
    names: &Names,
    schemas: &BTreeMap<TableName, SchemaRef>,
) -> Result<Vec<(String, Arc<dyn TableProvider>)>> {
    let mut made = vec![
        classes(names, schemas),
        attributes(names, schemas),
        namespaces(names),
        types(),
        databases(),
        roles("pg_roles"),
        roles("pg_authid"),
        users(),
        access_methods(),
        tablespaces(),
        plain_tables(names),
        settings(),
    ];
    made.extend(information::tables(&names.tables.keys().collect::<Vec<_>>(), schemas));
    made.extend(EMPTY.iter().map(|(name, columns)| Made { name, columns: empty_columns(columns) }));
    made.into_iter().map(Made::table).collect()
}

/// A table as it is made: columns of one length.
pub(super) struct Made {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(&'static str, ArrayRef)>,
}

impl Made {
    fn table(self) -> Result<(String, Arc<dyn TableProvider>)> {
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()));
        let arrays = self.columns.into_iter().map(|(_, array)| array).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok((self.name.to_owned(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?)))
    }
}

pub(super) fn numbers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(super) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// The same value in every row.
fn all(count: usize, value: i64) -> ArrayRef {
    numbers(std::iter::repeat_n(value, count))
}

pub(super) fn all_text(count: usize, value: &str) -> ArrayRef {
    texts(std::iter::repeat_n(value, count))
}

fn flags(count: usize, value: bool) -> ArrayRef {
    Arc::new(BooleanArray::from(vec![value; count]))
}

pub(super) fn none(count: usize, code: &str) -> ArrayRef {
    new_null_array(&type_of(code), count)
}

fn type_of(code: &str) -> DataType {
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    match code {
        "i" => DataType::Int64,
        "b" => DataType::Boolean,
        "l" => list(DataType::Utf8),
        "n" => list(DataType::Int64),
        _ => DataType::Utf8,
    }
}

fn empty_columns(columns: &'static str) -> Vec<(&'static str, ArrayRef)> {
    let pairs = columns.split_whitespace().filter_map(|column| column.split_once(':'));
    pairs.map(|(name, code)| (name, new_empty_array(&type_of(code)))).collect()
}

fn classes(names: &Names, schemas: &BTreeMap<TableName, SchemaRef>) -> Made {
    let count = names.tables.len();
    let width = |table: &TableName| schemas.get(table).map(|schema| schema.fields().len() as i64);
    let widths: Int64Array = names.tables.keys().map(width).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", numbers(names.tables.values().copied())),
        ("relname", texts(names.tables.keys().map(|table| table.table.as_str()))),
        ("relnamespace", numbers(names.tables.keys().map(|table| names.namespace(table)))),
        ("reltype", all(count, 0)),
        ("reloftype", all(count, 0)),
        ("relowner", all(count, OWNER.0)),
        ("relam", all(count, ACCESS_METHOD)),
        ("relfilenode", all(count, 0)),
        ("reltablespace", all(count, 0)),
        ("relpages", all(count, 0)),
        // Not known without asking, as of a table in Postgres that was never analysed.
        ("reltuples", all(count, -1)),
        ("relallvisible", all(count, 0)),
        ("reltoastrelid", all(count, 0)),
        ("relhasindex", flags(count, false)),
        ("relisshared", flags(count, false)),
        ("relpersistence", all_text(count, "p")),
        ("relkind", all_text(count, "r")),
        ("relnatts", Arc::new(widths)),
        ("relchecks", all(count, 0)),
        ("relhasrules", flags(count, false)),
        ("relhastriggers", flags(count, false)),
        ("relhassubclass", flags(count, false)),
        ("relrowsecurity", flags(count, false)),
        ("relforcerowsecurity", flags(count, false)),
        ("relispopulated", flags(count, true)),
        ("relreplident", all_text(count, "n")),
        ("relispartition", flags(count, false)),
        ("relacl", none(count, "l")),
        ("reloptions", none(count, "l")),
        ("relpartbound", none(count, "t")),
    ];
    Made { name: CLASSES, columns }
}

fn attributes(names: &Names, schemas: &BTreeMap<TableName, SchemaRef>) -> Made {
    let (mut owners, mut named, mut kinds, mut modifiers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut places, mut is_needed, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for (table, schema) in schemas {
        let Some(owner) = names.tables.get(table) else { continue };
        for (place, field) in schema.fields().iter().enumerate() {
            let (oid, modifier) = postgres_type(field.data_type());
            owners.push(*owner);
            named.push(field.name().clone());
            kinds.push(i64::from(oid));
            modifiers.push(i64::from(modifier));
            places.push(place as i64 + 1);
            is_needed.push(!field.is_nullable());
            let size = POSTGRES_TYPES.iter().find(|kind| kind.oid == oid).map_or(-1, |kind| kind.size);
            sizes.push(i64::from(size));
        }
    }
    let count = owners.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("attrelid", numbers(owners)),
        ("attname", texts(named)),
        ("atttypid", numbers(kinds)),
        ("attstattarget", all(count, -1)),
        ("attlen", numbers(sizes)),
        ("attnum", numbers(places)),
        ("attndims", all(count, 0)),
        ("atttypmod", numbers(modifiers)),
        ("attnotnull", Arc::new(BooleanArray::from(is_needed))),
        ("atthasdef", flags(count, false)),
        ("atthasmissing", flags(count, false)),
        ("attidentity", all_text(count, "")),
        ("attgenerated", all_text(count, "")),
        ("attstorage", all_text(count, "p")),
        ("attcompression", all_text(count, "")),
        ("attisdropped", flags(count, false)),
        ("attislocal", flags(count, true)),
        ("attinhcount", all(count, 0)),
        ("attcollation", all(count, 0)),
        ("attacl", none(count, "l")),
        ("attoptions", none(count, "l")),
        ("attfdwoptions", none(count, "l")),
    ];
    Made { name: "pg_attribute", columns }
}

fn namespaces(names: &Names) -> Made {
    let own = OWN_NAMESPACES.iter().map(|(number, name)| (*number, (*name).to_owned()));
    let others = names.namespaces.iter().map(|(name, number)| (*number, name.clone()));
    let (ids, called): (Vec<i64>, Vec<String>) = own.chain(others).unzip();
    let count = ids.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", numbers(ids)),
        ("nspname", texts(called)),
        ("nspowner", all(count, OWNER.0)),
        ("nspacl", none(count, "l")),
    ];
    Made { name: "pg_namespace", columns }
}

fn types() -> Made {
    let each = POSTGRES_TYPES.iter();
    let one = each.clone().map(|kind| {
        let functions = in_and_out(kind);
        (kind.oid, kind.name.to_owned(), i64::from(kind.size), kind.array, 0, kind.category(), functions)
    });
    let many = each.map(|kind| {
        let functions = ["in", "out", "recv", "send"].map(|way| format!("array_{way}"));
        (kind.array, format!("_{}", kind.name), -1, 0, kind.oid, "A", functions)
    });
    let rows: Vec<_> = one.chain(many).collect();
    let count = rows.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", numbers(rows.iter().map(|row| i64::from(row.0)))),
        ("typname", texts(rows.iter().map(|row| row.1.as_str()))),
        ("typnamespace", all(count, OWN_NAMESPACES[0].0)),
        ("typowner", all(count, OWNER.0)),
        ("typlen", numbers(rows.iter().map(|row| row.2))),
        ("typbyval", flags(count, false)),
        ("typtype", all_text(count, "b")),
        ("typcategory", texts(rows.iter().map(|row| row.5))),
        ("typispreferred", flags(count, false)),
        ("typisdefined", flags(count, true)),
        ("typdelim", all_text(count, ",")),
        ("typrelid", all(count, 0)),
        ("typelem", numbers(rows.iter().map(|row| i64::from(row.4)))),
        ("typarray", numbers(rows.iter().map(|row| i64::from(row.3)))),
        ("typinput", texts(rows.iter().map(|row| row.6[0].as_str()))),
        ("typoutput", texts(rows.iter().map(|row| row.6[1].as_str()))),
        ("typreceive", texts(rows.iter().map(|row| row.6[2].as_str()))),
        ("typsend", texts(rows.iter().map(|row| row.6[3].as_str()))),
        ("typmodin", all_text(count, "-")),
        ("typmodout", all_text(count, "-")),
        ("typanalyze", all_text(count, "-")),
        ("typsubscript", all_text(count, "-")),
        ("typalign", all_text(count, "i")),
        ("typstorage", all_text(count, "p")),
        ("typacl", none(count, "l")),
        ("typdefaultbin", none(count, "t")),
        ("typnotnull", flags(count, false)),
        ("typbasetype", all(count, 0)),
        ("typtypmod", all(count, -1)),
        ("typndims", all(count, 0)),
        ("typcollation", all(count, 0)),
        ("typdefault", none(count, "t")),
    ];
    Made { name: "pg_type", columns }
}

/// The names of the functions that read and write a type; some types have an underscore before the ending.
fn in_and_out(kind: &PostgresType) -> [String; 4] {
    let between = if ["date", "time", "timestamp", "timestamptz", "interval", "numeric", "json"].contains(&kind.name) {
        "_"
    } else {
        ""
    };
    ["in", "out", "recv", "send"].map(|way| format!("{}{between}{way}", kind.name))
}

fn settings() -> Made {
    let count = POSTGRES_SETTINGS.len();
    let values = || texts(POSTGRES_SETTINGS.iter().map(|(_, value)| *value));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", texts(POSTGRES_SETTINGS.iter().map(|(name, _)| *name))),
        ("setting", values()),
        ("unit", none(count, "t")),
        ("category", all_text(count, "Hambar")),
        ("short_desc", all_text(count, "")),
        ("extra_desc", none(count, "t")),
        ("context", all_text(count, "internal")),
        ("vartype", all_text(count, "string")),
        ("source", all_text(count, "default")),
        ("min_val", none(count, "t")),
        ("max_val", none(count, "t")),
        ("enumvals", none(count, "l")),
        ("boot_val", values()),
        ("reset_val", values()),
        ("sourcefile", none(count, "t")),
        ("sourceline", none(count, "i")),
        ("pending_restart", flags(count, false)),
    ];
    Made { name: "pg_settings", columns }
}

fn databases() -> Made {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", all(1, DATABASE)),
        ("datname", all_text(1, OWNER.1)),
        ("datdba", all(1, OWNER.0)),
        ("encoding", all(1, 6)),
        ("datlocprovider", all_text(1, "c")),
        ("datistemplate", flags(1, false)),
        ("datallowconn", flags(1, true)),
        ("datconnlimit", all(1, -1)),
        ("dattablespace", all(1, 1663)),
        ("datcollate", all_text(1, "C")),
        ("datctype", all_text(1, "C")),
        ("daticulocale", none(1, "t")),
        ("datacl", none(1, "l")),
    ];
    Made { name: "pg_database", columns }
}

fn roles(name: &'static str) -> Made {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", all(1, OWNER.0)),
        ("rolname", all_text(1, OWNER.1)),
        ("rolsuper", flags(1, false)),
        ("rolinherit", flags(1, true)),
        ("rolcreaterole", flags(1, false)),
        ("rolcreatedb", flags(1, false)),
        ("rolcanlogin", flags(1, false)),
        ("rolreplication", flags(1, false)),
        ("rolbypassrls", flags(1, false)),
        ("rolconnlimit", all(1, -1)),
        ("rolvaliduntil", none(1, "t")),
    ];
    Made { name, columns }
}

fn users() -> Made {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("usename", all_text(1, OWNER.1)),
        ("usesysid", all(1, OWNER.0)),
        ("usecreatedb", flags(1, false)),
        ("usesuper", flags(1, false)),
    ];
    Made { name: "pg_user", columns }
}

fn access_methods() -> Made {
    let columns: Vec<(&str, ArrayRef)> =
        vec![("oid", all(1, ACCESS_METHOD)), ("amname", all_text(1, "delta")), ("amtype", all_text(1, "t"))];
    Made { name: "pg_am", columns }
}

fn tablespaces() -> Made {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", all(1, 1663)),
        ("spcname", all_text(1, "pg_default")),
        ("spcowner", all(1, OWNER.0)),
        ("spcacl", none(1, "l")),
        ("spcoptions", none(1, "l")),
    ];
    Made { name: "pg_tablespace", columns }
}

fn plain_tables(names: &Names) -> Made {
    let count = names.tables.len();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("schemaname", texts(names.tables.keys().map(|table| table.namespace.as_str()))),
        ("tablename", texts(names.tables.keys().map(|table| table.table.as_str()))),
        ("tableowner", all_text(count, OWNER.1)),
        ("tablespace", none(count, "t")),
        ("hasindexes", flags(count, false)),
        ("hasrules", flags(count, false)),
        ("hastriggers", flags(count, false)),
        ("rowsecurity", flags(count, false)),
    ];
    Made { name: "pg_tables", columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_every_query_and_lead_back() {
        let names = |texts: &[&str]| Names::new(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        let (one, more) = (names(&["demo.a"]), names(&["demo.b", "demo.a", "other.a"]));
        let number = one.number("demo.a").unwrap();
        assert_eq!(more.number("demo.a"), Some(number));
        assert_eq!(more.name(number).as_deref(), Some("demo.a"));
        assert_eq!(more.number("\"demo\".\"a\""), Some(number));
        assert_eq!((more.number("demo.c"), more.number("16400")), (None, Some(16_400)));
        let taken = &mut BTreeSet::from([super::number("x", &mut BTreeSet::new())]);
        assert_eq!(super::number("x", taken), super::number("x", &mut BTreeSet::new()) + 1);
    }

    #[test]
    fn every_table_can_be_made() {
        let table: TableName = "demo.a".parse().unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let made = tables(&Names::new(std::slice::from_ref(&table)), &BTreeMap::from([(table, schema)])).unwrap();
        let names: BTreeSet<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), made.len());
        assert!(names.iter().all(|name| is_table(name)), "{names:?}");
        assert_eq!(names.len(), FILLED.len() + information::TABLES.len() + EMPTY.len());
    }
}
