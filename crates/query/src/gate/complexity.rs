//! Limits on the syntax tree, so that nothing later overflows the stack, plans for minutes or multiplies a query
//! by naming it twice. Also refuses functions and clauses that are not offered.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Query, Select,
    SetExpr, TableFactor, Value, Visit, Visitor,
};

use crate::error::{Position, QueryError};
use crate::functions;
use crate::gate::statements;
use crate::limits::GateLimits;

/// Functions whose planning multiplies with their nesting, besides `CASE`.
const CONDITIONAL: [&str; 5] = ["coalesce", "nullif", "nvl", "nvl2", "ifnull"];

/// Checks a statement, or a part of one, against the limits. Says whether all its functions give the same whenever they are
/// called.
pub(crate) fn check(statement: &impl Visit, limits: &GateLimits) -> Result<bool, QueryError> {
    let mut walk = Walk::new(limits);
    match statement.visit(&mut walk) {
        ControlFlow::Continue(()) => Ok(walk.is_repeatable),
        ControlFlow::Break(error) => Err(error),
    }
}

pub(crate) fn too_complex(what: &'static str, found: usize, limit: usize) -> QueryError {
    QueryError::TooComplex { what, found: found as u64, limit: limit as u64 }
}

struct Walk<'a> {
    limits: &'a GateLimits,
    depth: usize,
    conditional_depth: usize,
    binary_operators: usize,
    joins: usize,
    ctes: usize,
    cte_nesting: usize,
    set_operations: usize,
    is_repeatable: bool,
    expressions: Vec<Step>,
    queries: Vec<Scope>,
}

/// What entering an expression added, so that leaving it can take it away.
struct Step {
    depth: usize,
    conditional: usize,
    is_chain: bool,
}

/// One query on the way down: what its common table expressions cost when written out.
struct Scope {
    pending_ctes: Vec<String>,
    costs: HashMap<String, u64>,
    cost: u64,
    has_ctes: usize,
}

impl<'a> Walk<'a> {
    fn new(limits: &'a GateLimits) -> Self {
        Self {
            limits,
            depth: 0,
            conditional_depth: 0,
            binary_operators: 0,
            joins: 0,
            ctes: 0,
            cte_nesting: 0,
            set_operations: 0,
            is_repeatable: true,
            expressions: Vec::new(),
            queries: Vec::new(),
        }
    }

    fn within(what: &'static str, found: usize, limit: usize) -> Result<(), QueryError> {
        if found > limit { Err(too_complex(what, found, limit)) } else { Ok(()) }
    }

    fn enter_query(&mut self, query: &Query) -> Result<(), QueryError> {
        statements::allow_query(query)?;
        self.depth += 1;
        Self::within("levels of nesting", self.depth, self.limits.depth_max)?;
        let mut pending_ctes: Vec<String> = match &query.with {
            Some(with) => with.cte_tables.iter().map(|cte| folded(&cte.alias.name)).collect(),
            None => Vec::new(),
        };
        self.ctes += pending_ctes.len();
        Self::within("common table expressions", self.ctes, self.limits.ctes_max)?;
        let has_ctes = usize::from(!pending_ctes.is_empty());
        self.cte_nesting += has_ctes;
        Self::within("WITH inside WITH", self.cte_nesting, self.limits.cte_nesting_max)?;
        pending_ctes.reverse();
        self.queries.push(Scope { pending_ctes, costs: HashMap::new(), cost: 1, has_ctes });
        self.enter_body(&query.body)
    }

    /// Counts set operations without recursion: three thousand `UNION`s are as deep as they are many.
    fn enter_body(&mut self, body: &SetExpr) -> Result<(), QueryError> {
        let mut open = vec![body];
        while let Some(part) = open.pop() {
            statements::allow_body(part)?;
            if let SetExpr::SetOperation { left, right, .. } = part {
                self.set_operations += 1;
                Self::within("set operations", self.set_operations, self.limits.set_operations_max)?;
                open.push(left);
                open.push(right);
            }
        }
        Ok(())
    }

    fn leave_query(&mut self) -> Result<(), QueryError> {
        self.depth = self.depth.saturating_sub(1);
        let Some(done) = self.queries.pop() else { return Ok(()) };
        self.cte_nesting = self.cte_nesting.saturating_sub(done.has_ctes);
        // The parser visits WITH before the body, so the first children of a query are its CTEs in order.
        match self.queries.last_mut() {
            Some(outer) => match outer.pending_ctes.pop() {
                Some(name) => {
                    outer.costs.insert(name, done.cost);
                    Ok(())
                }
                None => self.add_cost(done.cost),
            },
            None => Ok(()),
        }
    }

    fn add_cost(&mut self, cost: u64) -> Result<(), QueryError> {
        let limit = self.limits.expanded_relations_max;
        let Some(scope) = self.queries.last_mut() else { return Ok(()) };
        scope.cost = scope.cost.saturating_add(cost);
        if scope.cost > limit {
            let what = "tables once every common table expression is written out";
            return Err(QueryError::TooComplex { what, found: scope.cost, limit });
        }
        Ok(())
    }

    fn enter_relation(&mut self, name: &ObjectName) -> Result<(), QueryError> {
        let cost = match name.0.as_slice() {
            [part] => part.as_ident().and_then(|name| {
                let name = folded(name);
                self.queries.iter().rev().find_map(|scope| scope.costs.get(&name).copied())
            }),
            _ => None,
        };
        self.add_cost(cost.unwrap_or(1))
    }

    fn enter_expression(&mut self, expr: &Expr) -> Result<(), QueryError> {
        let is_chain = matches!(expr, Expr::BinaryOp { .. });
        if is_chain {
            self.binary_operators += 1;
            Self::within("operators", self.binary_operators, self.limits.binary_operators_max)?;
        }
        let continues = is_chain && self.expressions.last().is_some_and(|outer| outer.is_chain);
        let is_leaf = matches!(
            expr,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) | Expr::Nested(_)
        );
        let step = Step {
            depth: usize::from(!continues && !is_leaf),
            conditional: usize::from(is_conditional(expr)),
            is_chain,
        };
        self.depth += step.depth;
        self.conditional_depth += step.conditional;
        self.expressions.push(step);
        Self::within("levels of nesting", self.depth, self.limits.depth_max)?;
        Self::within(
            "levels of COALESCE, CASE, NULLIF and NVL",
            self.conditional_depth,
            self.limits.conditional_nesting_max,
        )?;
        self.check_expression(expr)
    }

    fn check_expression(&mut self, expr: &Expr) -> Result<(), QueryError> {
        match expr {
            Expr::InList { list, .. } => Self::within("values in IN", list.len(), self.limits.in_list_max),
            Expr::Case { conditions, .. } => {
                Self::within("branches of CASE", conditions.len(), self.limits.case_branches_max)
            }
            Expr::Function(function) => self.check_function(function),
            Expr::BinaryOp { right, op, .. } if is_regex(op) => self.check_pattern(right),
            Expr::SimilarTo { pattern, .. } | Expr::RLike { pattern, .. } => self.check_pattern(pattern),
            _ => Ok(()),
        }
    }

    fn check_function(&mut self, function: &Function) -> Result<(), QueryError> {
        let Some(ident) = function.name.0.last().and_then(|part| part.as_ident()) else { return Ok(()) };
        let name = folded(ident);
        if functions::is_refused(&name) {
            let start = ident.span.start;
            let position = (start.line > 0).then_some(Position { line: start.line, column: start.column });
            return Err(QueryError::Function { name, position });
        }
        self.is_repeatable &= !functions::is_changeable(&name);
        if let (true, FunctionArguments::List(list)) = (name.starts_with("regexp_"), &function.args) {
            for argument in &list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                    self.check_pattern(expr)?;
                }
            }
        }
        Ok(())
    }

    fn check_pattern(&self, pattern: &Expr) -> Result<(), QueryError> {
        match pattern {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text)
                | Value::EscapedStringLiteral(text)
                | Value::UnicodeStringLiteral(text) => {
                    Self::within("bytes in a regular expression", text.len(), self.limits.regex_bytes_max)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn is_conditional(expr: &Expr) -> bool {
    match expr {
        Expr::Case { .. } => true,
        Expr::Function(function) => function
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .is_some_and(|name| CONDITIONAL.contains(&folded(name).as_str())),
        _ => false,
    }
}

fn is_regex(operator: &BinaryOperator) -> bool {
    matches!(
        operator,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::Regexp
    )
}

/// A name as DataFusion compares it: lower case, unless it is quoted.
pub(crate) fn folded(name: &datafusion::sql::sqlparser::ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn flow(result: Result<(), QueryError>) -> ControlFlow<QueryError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Visitor for Walk<'_> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        flow(self.enter_query(query))
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<QueryError> {
        flow(self.leave_query())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        self.joins += select.from.len().saturating_sub(1);
        self.joins += select.from.iter().map(|table| table.joins.len()).sum::<usize>();
        flow(Self::within("joins", self.joins, self.limits.joins_max))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.joins += table_with_joins.joins.len();
            self.depth += 1;
        }
        let depth = Self::within("levels of nesting", self.depth, self.limits.depth_max);
        flow(depth.and_then(|()| Self::within("joins", self.joins, self.limits.joins_max)))
    }

    fn post_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        if let TableFactor::NestedJoin { .. } = factor {
            self.depth = self.depth.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<QueryError> {
        flow(self.enter_relation(relation))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        flow(self.enter_expression(expr))
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<QueryError> {
        if let Some(step) = self.expressions.pop() {
            self.depth = self.depth.saturating_sub(step.depth);
            self.conditional_depth = self.conditional_depth.saturating_sub(step.conditional);
        }
        ControlFlow::Continue(())
    }
}
