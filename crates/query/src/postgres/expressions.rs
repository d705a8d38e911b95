//! Expressions as rewriting makes them, and what it asks of those that it finds.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByExpr, Value,
};

pub(super) fn first(name: &ObjectName) -> Option<String> {
    name.0.first()?.as_ident().map(crate::gate::folded)
}

pub(super) fn last(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(crate::gate::folded)
}

pub(super) fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

pub(super) fn flag(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).into())
}

/// A missing text.
pub(super) fn nothing() -> Expr {
    cast_to(Expr::Value(Value::Null.into()), DataType::Text)
}

pub(super) fn cast_to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// A call of a function.
pub(super) fn function(name: &str, args: Vec<Expr>) -> Expr {
    function_with(name, args, Vec::new())
}

/// A call of an aggregate over what comes in this order.
pub(super) fn function_with(name: &str, args: Vec<Expr>, order: Vec<OrderByExpr>) -> Expr {
    let args = args.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    let clauses = if order.is_empty() { Vec::new() } else { vec![FunctionArgumentClause::OrderBy(order)] };
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A number.
pub(super) fn number(value: usize) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

pub(super) fn called(expr: &Expr) -> Option<&str> {
    let Expr::Function(function) = unwrapped(expr) else { return None };
    let name = function.name.0.last()?.as_ident()?;
    Some(name.value.as_str())
}

pub(super) fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(plain).collect()
}

pub(super) fn argument(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = unwrapped(expr) else { return None };
    arguments(function).into_iter().next()
}

pub(super) fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unwrapped(inner),
        other => other,
    }
}

/// Two expressions with a sign between them.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}
