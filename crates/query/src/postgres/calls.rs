//! Functions that clients of Postgres call and whose answer here is the same for everybody.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, DataType, Expr, Function, Ident, ObjectName, Value,
};

use super::expressions::{
    arguments, binary, cast_to, first, flag, function as make, last, nothing, number, text, unwrapped,
};
use super::{NAMESPACE, POSTGRES_SETTINGS, POSTGRES_VERSION};
use crate::functions::CATALOG;

/// Functions that tell about things that the store does not have.
const MISSING: [&str; 22] = [
    "col_description",
    "obj_description",
    "inet_server_addr",
    "pg_advisory_unlock_all",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_partkeydef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef_columns",
    "pg_get_triggerdef",
    "pg_get_viewdef",
    "pg_size_pretty",
    "pg_tablespace_location",
    "pg_tablespace_databases",
    "shobj_description",
    "to_regproc",
];

/// Functions that have one answer for everybody, and the others without their schema.
pub(super) fn call(function: &mut Function) -> Option<Expr> {
    let is_qualified = function.name.0.len() == 2 && first(&function.name).is_some_and(|schema| schema == NAMESPACE);
    if function.name.0.len() != 1 && !is_qualified {
        return None;
    }
    let name = last(&function.name)?;
    if is_qualified {
        function.name = ObjectName::from(vec![Ident::new(name.clone())]);
    }
    Some(match name.as_str() {
        "version" => text(&format!("PostgreSQL {POSTGRES_VERSION}, of Hambar {}", env!("CARGO_PKG_VERSION"))),
        "current_database" | "current_catalog" => text(CATALOG),
        // Tables are named with their namespace; there is none to look in first.
        "current_schema" | "set_config" => nothing(),
        "current_schemas" => Expr::Array(Array { elem: vec![text(NAMESPACE)], named: true }),
        "current_setting" => setting(function),
        "quote_ident" => quoted(arguments(function).into_iter().next()?),
        "parse_ident" => parsed(function)?,
        "format" => formatted(function)?,
        "array_lower" => number(1),
        "array_upper" => upper(function)?,
        "array_to_string" if arguments(function).first().is_some_and(|list| *list == nothing()) => nothing(),
        "current_user" | "session_user" | "user" | "current_role" | "pg_get_userbyid" => text(CATALOG),
        "pg_encoding_to_char" => text("UTF8"),
        visible if visible.starts_with("pg_") && visible.ends_with("_is_visible") => flag(true),
        "pg_is_in_recovery" | "pg_relation_is_publishable" | "pg_is_other_temp_schema" => flag(false),
        "has_table_privilege"
        | "has_schema_privilege"
        | "has_any_column_privilege"
        | "has_column_privilege"
        | "has_database_privilege" => flag(may_be_done(function)),
        "has_function_privilege" | "has_sequence_privilege" | "has_type_privilege" | "pg_has_role" => flag(false),
        "pg_backend_pid" | "pg_my_temp_schema" | "pg_relation_is_updatable" | "inet_server_port" => number(0),
        "pg_relation_size" | "pg_table_size" | "pg_total_relation_size" | "pg_indexes_size" => {
            cast_to(Expr::Value(Value::Null.into()), DataType::BigInt(None))
        }
        counted if counted.starts_with("pg_stat_get_") => number(0),
        missing if MISSING.contains(&missing) => nothing(),
        _ => return None,
    })
}

/// Only settings that are the same for every session are known here; `SHOW` tells those of one's own.
fn setting(function: &Function) -> Expr {
    let asked = arguments(function);
    let Some(Expr::Value(value)) = asked.first().map(unwrapped) else { return nothing() };
    let Value::SingleQuotedString(name) = &value.value else { return nothing() };
    let found = POSTGRES_SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or_else(nothing, |(_, value)| text(value))
}

/// A name as it is written in SQL: in quotes where it would be read as another without them.
fn quoted(name: Expr) -> Expr {
    let join = |left: Expr, right: Expr| binary(left, BinaryOperator::StringConcat, right);
    let doubled = make("replace", vec![name.clone(), text("\""), text("\"\"")]);
    let condition = binary(name.clone(), BinaryOperator::PGRegexMatch, text("^[a-z_][a-z0-9_$]*$"));
    let otherwise = join(join(text("\""), doubled), text("\""));
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: name }],
        else_result: Some(Box::new(otherwise)),
    }
}

/// The parts of a name that is written down; of one that is not known yet, nothing is known.
fn parsed(function: &Function) -> Option<Expr> {
    let asked = arguments(function);
    let Some(Expr::Value(value)) = asked.first().map(unwrapped) else { return None };
    let Value::SingleQuotedString(name) = &value.value else { return None };
    let (mut parts, mut part, mut is_inside) = (Vec::new(), String::new(), false);
    for character in name.chars() {
        match character {
            '"' => is_inside = !is_inside,
            '.' if !is_inside => parts.push(text(&std::mem::take(&mut part))),
            other if is_inside => part.push(other),
            other => part.extend(other.to_lowercase()),
        }
    }
    parts.push(text(&part));
    Some(Expr::Array(Array { elem: parts, named: true }))
}

/// `format` with `%s`, `%I` and `%%` in a text that is written down.
fn formatted(function: &Function) -> Option<Expr> {
    let mut values = arguments(function).into_iter();
    let Some(Expr::Value(value)) = values.next() else { return None };
    let Value::SingleQuotedString(pattern) = value.value else { return None };
    let (mut parts, mut plain) = (Vec::new(), String::new());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            plain.push(character);
            continue;
        }
        let part = match characters.next()? {
            '%' => {
                plain.push('%');
                continue;
            }
            's' => cast_to(values.next()?, DataType::Text),
            'I' => quoted(cast_to(values.next()?, DataType::Text)),
            _ => return None,
        };
        parts.extend([text(&std::mem::take(&mut plain)), part]);
    }
    parts.push(text(&plain));
    Some(make("concat", parts))
}

/// The last number of a list: how many it has.
fn upper(function: &Function) -> Option<Expr> {
    let list = arguments(function).into_iter().next()?;
    Some(match unwrapped(&list) {
        Expr::Array(array) => number(array.elem.len()),
        _ => make("array_length", vec![list]),
    })
}

/// Reading is what can be done with what can be seen.
fn may_be_done(function: &Function) -> bool {
    let asked = arguments(function).pop();
    let Some(Expr::Value(value)) = asked.as_ref().map(unwrapped) else { return false };
    let Value::SingleQuotedString(privileges) = &value.value else { return false };
    let mut each = privileges.split(',').map(|privilege| privilege.trim().to_uppercase());
    each.any(|privilege| ["SELECT", "USAGE", "CONNECT"].contains(&privilege.as_str()))
}
