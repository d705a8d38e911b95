//! Names for columns whose expression is about to be replaced: those that Postgres would give them.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
};

use super::calls::call;
use super::expressions::last;
use super::nothing::gives_nothing;
use crate::gate::folded;

/// Names the columns of a query whose expression will be replaced, so that they keep a name and no two are the same.
pub(super) fn label(query: &mut Query) {
    let mut open = vec![query.body.as_mut()];
    while let Some(body) = open.pop() {
        match body {
            SetExpr::Select(select) => label_select(select),
            SetExpr::SetOperation { left, right, .. } => open.extend([left.as_mut(), right.as_mut()]),
            _ => {}
        }
    }
}

fn label_select(select: &mut Select) {
    let whole: Vec<String> = select.projection.iter().filter_map(whole).collect();
    let mut names = HashSet::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        // `SELECT c.oid, c.*` has a column twice.
        if let Expr::CompoundIdentifier(parts) = expr
            && let [table, column] = parts.as_slice()
            && whole.contains(&folded(table))
        {
            let alias = Ident::with_quote('"', format!("{}_{}", folded(column), place + 1));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            continue;
        }
        if !is_replaced(expr) {
            continue;
        }
        let name = named(expr).unwrap_or_else(|| "?column?".to_owned());
        let name = if names.contains(&name) { format!("{name}_{}", place + 1) } else { name };
        names.insert(name.clone());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

/// The table of which an item stands for all columns.
fn whole(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => last(name),
        _ => None,
    }
}

fn is_replaced(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_replaced(inner),
        Expr::Cast { expr, .. } => is_replaced(expr),
        Expr::Subquery(query) => gives_nothing(query),
        Expr::Function(function) => {
            matches!(function.args, FunctionArguments::Subquery(_)) || call(&mut function.clone()).is_some()
        }
        _ => false,
    }
}

/// The name that Postgres gives an expression without one.
pub(super) fn named(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.clone()),
        Expr::Function(function) => last(&function.name),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => named(expr),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => named(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
