//! Finds queries over catalogue tables that have no rows here. They give none and are not planned, which is what most of
//! the queries of drivers come to.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr,
    SetOperator, TableFactor, TableFunctionArgs, TableWithJoins, Value, Visit, Visitor,
};

use super::empty::is_empty;
use super::expressions::{first, flag, last, nothing};
use super::labels::named;
use super::{INFORMATION, NAMESPACE};
use crate::gate::folded;

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

/// Parts of a query (`WITH part AS …`) that give no rows, by name.
type EmptyParts = BTreeSet<String>;

/// Says whether a query gives no rows because a catalogue table has none.
pub(super) fn gives_nothing(query: &Query) -> bool {
    gives_nothing_inside(query, &EmptyParts::new())
}

/// The same for a query that stands where `outer` are known.
fn gives_nothing_inside(query: &Query, outer: &EmptyParts) -> bool {
    let mut parts = outer.clone();
    for part in query.with.iter().flat_map(|with| &with.cte_tables) {
        let is_nothing = gives_nothing_inside(&part.query, &parts);
        note(&mut parts, part, is_nothing);
    }
    body_gives_nothing(&query.body, &parts)
}

/// Notes whether a part gives rows; it hides one of the same name further outside.
fn note(parts: &mut EmptyParts, part: &Cte, is_nothing: bool) {
    let name = folded(&part.alias.name);
    if is_nothing {
        parts.insert(name);
    } else {
        parts.remove(&name);
    }
}

fn body_gives_nothing(body: &SetExpr, parts: &EmptyParts) -> bool {
    match body {
        SetExpr::Select(select) => selects_nothing(select, parts),
        SetExpr::Query(query) => gives_nothing_inside(query, parts),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            body_gives_nothing(left, parts) && body_gives_nothing(right, parts)
        }
        _ => false,
    }
}

fn selects_nothing(select: &Select, parts: &EmptyParts) -> bool {
    if !select.from.iter().any(|table| joins_nothing(table, parts)) {
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

fn joins_nothing(table: &TableWithJoins, parts: &EmptyParts) -> bool {
    let mut is_nothing = is_nothing_in(&table.relation, parts);
    for join in &table.joins {
        let other = is_nothing_in(&join.relation, parts);
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

fn is_nothing_in(factor: &TableFactor, parts: &EmptyParts) -> bool {
    match factor {
        TableFactor::Table { name, args: Some(args), .. } => is_nothing_called(&last(name).unwrap_or_default(), args),
        TableFactor::Table { name, args: None, .. } => {
            let Some(table) = last(name) else { return false };
            match first(name).filter(|_| name.0.len() > 1) {
                Some(schema) if schema == INFORMATION => is_empty(&format!("{schema}.{table}")),
                Some(schema) => schema == NAMESPACE && is_empty(&table),
                None => parts.contains(&table) || is_empty(&table),
            }
        }
        TableFactor::Derived { subquery, .. } => gives_nothing_inside(subquery, parts),
        TableFactor::NestedJoin { table_with_joins, .. } => joins_nothing(table_with_joins, parts),
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
    clear_inside(query, &EmptyParts::new());
}

/// The same for a query that stands where `outer` are known. Says whether nothing is left to be planned.
fn clear_inside(query: &mut Query, outer: &EmptyParts) -> bool {
    let mut parts = outer.clone();
    for part in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        let is_nothing = gives_nothing_inside(&part.query, &parts);
        clear_inside(&mut part.query, &parts);
        note(&mut parts, part, is_nothing);
    }
    let is_cleared = clear_body(&mut query.body, &parts, &nothing());
    if is_cleared {
        (query.with, query.order_by, query.limit_clause, query.fetch) = (None, None, None, None);
    }
    is_cleared
}

fn clear_body(body: &mut SetExpr, parts: &EmptyParts, value: &Expr) -> bool {
    match body {
        SetExpr::Select(select) => selects_nothing(select, parts) && clear_select(select, value),
        SetExpr::Query(query) => clear_inside(query, parts),
        SetExpr::SetOperation { op, left, right, .. } => {
            // The types are those of the side that has rows.
            let open = Expr::Value(Value::Null.into());
            let sides = (clear_body(left, parts, &open), clear_body(right, parts, &open));
            *op == SetOperator::Union && sides == (true, true)
        }
        _ => false,
    }
}

/// Puts `value` in place of every column; says whether it could.
fn clear_select(select: &mut Select, value: &Expr) -> bool {
    let mut names = HashSet::new();
    let mut items = Vec::new();
    for (place, item) in select.projection.iter().enumerate() {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(expr) => named(expr).unwrap_or_else(|| "?column?".to_owned()),
            // What stands for many columns is left to the planner.
            _ => return false,
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
    true
}
