//! Finds queries over catalogue tables that have no rows here. They give none and are not planned, which is what most of
//! the queries of drivers come to.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr,
    SetOperator, TableFactor, TableFunctionArgs, TableWithJoins, Value, Visit, Visitor,
};

use super::empty::is_empty;
use super::expressions::{first, flag, last, nothing};
use super::labels::named;
use super::{INFORMATION, NAMESPACE};

/// Functions that give one row even where there are none.
const AGGREGATES: [&str; 10] =
    ["array_agg", "avg", "bool_and", "bool_or", "count", "json_agg", "max", "min", "string_agg", "sum"];

/// Functions over what nothing has here, such as lists of privileges.
const NOTHING_IN: [&str; 2] = ["aclexplode", "pg_options_to_table"];
/// Columns of the catalogue in which no row has a value.
const NEVER_SET: [&str; 10] = [
    "attacl",
    "attfdwoptions",
    "attoptions",
    "datacl",
    "nspacl",
    "relacl",
    "reloptions",
    "spcacl",
    "spcoptions",
    "typacl",
];

/// Says whether a query gives no rows because a catalogue table has none.
pub(super) fn gives_nothing(query: &Query) -> bool {
    body_gives_nothing(&query.body)
}

fn body_gives_nothing(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => selects_nothing(select),
        SetExpr::Query(query) => gives_nothing(query),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            body_gives_nothing(left) && body_gives_nothing(right)
        }
        _ => false,
    }
}

fn selects_nothing(select: &Select) -> bool {
    if !select.from.iter().any(joins_nothing) {
        return false;
    }
    let is_grouped = matches!(&select.group_by, GroupByExpr::Expressions(list, _) if !list.is_empty());
    is_grouped || !has_aggregates(select)
}

pub(super) fn has_aggregates(select: &Select) -> bool {
    let mut walk = Aggregates { depth: 0 };
    select.having.is_some() || select.projection.visit(&mut walk).is_break()
}

/// Looks for aggregates; those of subqueries are theirs.
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function)
                if self.depth == 0
                    && function.over.is_none()
                    && last(&function.name).is_some_and(|name| AGGREGATES.contains(&name.as_str())) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn joins_nothing(table: &TableWithJoins) -> bool {
    let mut is_nothing = is_nothing_in(&table.relation);
    for join in &table.joins {
        let other = is_nothing_in(&join.relation);
        is_nothing = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => is_nothing || other,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => is_nothing,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => other,
            JoinOperator::FullOuter(_) => is_nothing && other,
            _ => return false,
        };
    }
    is_nothing
}

fn is_nothing_in(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: Some(args), .. } => is_nothing_called(&last(name).unwrap_or_default(), args),
        TableFactor::Table { name, args: None, .. } => {
            let Some(table) = last(name) else { return false };
            match first(name).filter(|_| name.0.len() > 1) {
                Some(schema) if schema == INFORMATION => is_empty(&format!("{schema}.{table}")),
                Some(schema) => schema == NAMESPACE && is_empty(&table),
                None => is_empty(&table),
            }
        }
        TableFactor::Derived { subquery, .. } => gives_nothing(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => joins_nothing(table_with_joins),
        _ => false,
    }
}

/// Functions over columns that have no value give no rows.
fn is_nothing_called(name: &str, args: &TableFunctionArgs) -> bool {
    let is_never_set = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match expr {
            Expr::Identifier(name) => NEVER_SET.contains(&name.value.as_str()),
            Expr::CompoundIdentifier(parts) => {
                parts.last().is_some_and(|name| NEVER_SET.contains(&name.value.as_str()))
            }
            _ => false,
        },
        _ => false,
    };
    // Nothing can be set there, and the parts of an empty text are none.
    let is_search_path = |argument: &FunctionArg| {
        matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function)))
            if last(&function.name).is_some_and(|name| name == "current_setting")
                && function.to_string().contains("'search_path'"))
    };
    NOTHING_IN.contains(&name)
        || name == "unnest" && args.args.iter().all(is_never_set)
        || name == "string_to_array" && args.args.first().is_some_and(is_search_path)
}

/// Takes what would be planned for nothing out of a query whose rows are none.
pub(super) fn clear(query: &mut Query) {
    let is_nothing = gives_nothing(query);
    clear_body(&mut query.body, &nothing());
    if is_nothing {
        (query.with, query.order_by, query.limit_clause, query.fetch) = (None, None, None, None);
    }
}

fn clear_body(body: &mut SetExpr, value: &Expr) {
    match body {
        SetExpr::Select(select) if selects_nothing(select) => clear_select(select, value),
        SetExpr::SetOperation { left, right, .. } => {
            // The types are those of the side that has rows.
            let open = Expr::Value(Value::Null.into());
            clear_body(left, &open);
            clear_body(right, &open);
        }
        _ => {}
    }
}

fn clear_select(select: &mut Select, value: &Expr) {
    let mut names = HashSet::new();
    let mut items = Vec::new();
    for (place, item) in select.projection.iter().enumerate() {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(expr) => named(expr).unwrap_or_else(|| "?column?".to_owned()),
            // What stands for many columns is left to the planner.
            _ => return,
        };
        let name = if names.contains(&name) { format!("{name}_{}", place + 1) } else { name };
        names.insert(name.clone());
        items.push(SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', name) });
    }
    select.projection = items;
    select.from = Vec::new();
    select.selection = Some(flag(false));
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    (select.distinct, select.having) = (None, None);
}
