//! Checks that the columns, the key and the partitioning fit together.

use std::collections::BTreeMap;

use hambar_core::{ColumnSpec, ColumnType, Ident};
use hambar_decode::spec::{ColumnRule, RuleType};
use hambar_decode::table_columns;
use serde::Deserialize;

use super::problem::{Problems, nearest};
use super::tree::{Node, NodeValue};

/// Reads every `[[columns]]` entry on its own, so that one wrong entry does not hide the others.
pub(super) fn read_columns(root: &Node, problems: &mut Problems<'_>) -> Vec<ColumnRule> {
    let Some(list) = root.find("columns") else { return Vec::new() };
    if list.items().is_empty() {
        problems.add(&list.span, "a table needs at least one column", Some("add a `[[columns]]` entry".to_owned()));
    }
    let mut rules = Vec::new();
    for item in list.items() {
        let before = problems.len();
        check_name(item, "name", problems);
        check_name(item, "status", problems);
        check_type(item, problems);
        match ColumnRule::deserialize(item.to_toml()) {
            Ok(rule) => rules.push(rule),
            // The shape check has reported keys and types already; anything else is said here.
            Err(error) if problems.len() == before && problems.is_empty() => {
                problems.add(&item.span, error.message().to_owned(), None);
            }
            Err(_) => {}
        }
    }
    check_duplicates(list, problems);
    rules
}

fn text_of<'a>(item: &'a Node, key: &str) -> Option<(&'a str, &'a Node)> {
    let node = &item.entry(key)?.node;
    match &node.value {
        NodeValue::Text(text) => Some((text, node)),
        _ => None,
    }
}

fn check_name(item: &Node, key: &str, problems: &mut Problems<'_>) {
    let Some((name, node)) = text_of(item, key) else { return };
    match name.parse::<Ident>() {
        Err(error) => {
            let help = format!("for instance `{}`; the source's own name goes into `source`", Ident::from_source(name));
            problems.add(&node.span, error.to_string(), Some(help));
        }
        Ok(_) if name.starts_with('_') => {
            let what = format!("`{name}` starts with `_`, which is reserved for Hambar's own columns");
            problems.add(&node.span, what, Some(format!("call it `{}`", renamed(name))));
        }
        Ok(_) => {}
    }
}

/// A name without leading `_`; one that would start with a digit gets a letter.
fn renamed(name: &str) -> String {
    let rest = name.trim_start_matches('_');
    match rest.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("y{rest}"),
        Some(_) => rest.to_owned(),
        None => "column_1".to_owned(),
    }
}

fn check_type(item: &Node, problems: &mut Problems<'_>) {
    const TYPES: [&str; 12] = [
        "string",
        "bool",
        "int32",
        "int64",
        "float64",
        "decimal(18,2)",
        "date",
        "timestamp",
        "binary",
        "period",
        "list<string>",
        "struct<name: string>",
    ];
    let Some((text, node)) = text_of(item, "type") else { return };
    if let Err(error) = RuleType::try_from(text.to_owned()) {
        let usual = match text.to_ascii_lowercase().as_str() {
            "int" | "integer" | "long" | "bigint" | "i64" => Some("int64"),
            "float" | "double" | "real" | "number" | "f64" => Some("float64"),
            "str" | "text" | "varchar" | "utf8" => Some("string"),
            "boolean" => Some("bool"),
            "datetime" => Some("timestamp"),
            "decimal" | "numeric" => Some("decimal(18,2)"),
            _ => nearest(text, TYPES.into_iter()),
        };
        problems.add(&node.span, error.to_string(), usual.map(|usual| format!("did you mean `{usual}`?")));
    }
}

/// Names must differ after expansion, `period` and `status` columns included.
fn check_duplicates(list: &Node, problems: &mut Problems<'_>) {
    let mut makers: BTreeMap<String, String> = BTreeMap::new();
    for item in list.items() {
        let Ok(rule) = ColumnRule::deserialize(item.to_toml()) else { continue };
        for column in table_columns(std::slice::from_ref(&rule)) {
            let name = column.name.to_string();
            let maker = rule.name.to_string();
            if let Some(other) = makers.insert(name.clone(), maker.clone()) {
                let span = item.span_at("name");
                let (what, help) = if name == maker && name == other {
                    (format!("column `{name}` is declared twice"), "remove or rename one of them".to_owned())
                } else {
                    let what = format!("column `{name}` is made twice, by `{other}` and by `{maker}`");
                    (what, "a `period` adds `_start`, `_end` and `_freq`; rename one of the columns".to_owned())
                };
                problems.add(&span, what, Some(help));
            }
        }
    }
}

/// Which list of column names is checked.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    Key,
    Partition,
}

/// Checks that the names of `write.key` or `write.partition_by` are columns, once each, of a type that can do it.
pub(super) fn check_references(root: &Node, role: Role, columns: &[ColumnSpec], problems: &mut Problems<'_>) {
    let path = match role {
        Role::Key => "write.key",
        Role::Partition => "write.partition_by",
    };
    let Some(list) = root.find(path) else { return };
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items() {
        let NodeValue::Text(name) = &item.value else { continue };
        if seen.contains(&name.as_str()) {
            problems.add(&item.span, format!("`{path}` names `{name}` twice"), None);
        }
        seen.push(name);
        let Some(column) = columns.iter().find(|column| column.name.as_str() == name) else {
            let names = || columns.iter().map(|column| column.name.as_str());
            let help = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the columns are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            problems.add(&item.span, format!("`{path}` names `{name}`, which is no column"), Some(help));
            continue;
        };
        if let Some(reason) = unfit(role, &column.kind) {
            problems.add(&item.span, format!("`{path}` names `{name}`, but {reason}"), None);
        }
    }
    if role == Role::Partition
        && !columns.is_empty()
        && columns.iter().all(|column| seen.contains(&column.name.as_str()))
    {
        problems.add(&list.span, "`write.partition_by` names every column", Some("leave at least one out".to_owned()));
    }
}

fn unfit(role: Role, kind: &ColumnType) -> Option<String> {
    match (role, kind) {
        (_, ColumnType::List(_) | ColumnType::Struct(_)) => Some(format!("{kind} values cannot be compared")),
        (Role::Key, ColumnType::Float64) => {
            Some("float64 values do not identify a row; use decimal or string".to_owned())
        }
        (Role::Key, _) => None,
        (
            Role::Partition,
            ColumnType::Float64 | ColumnType::Binary | ColumnType::Timestamp | ColumnType::Decimal(_, _),
        ) => Some(format!("a table is not split by {kind}; use string, bool, int32, int64 or date")),
        (
            Role::Partition,
            ColumnType::String | ColumnType::Bool | ColumnType::Int32 | ColumnType::Int64 | ColumnType::Date,
        ) => None,
    }
}
