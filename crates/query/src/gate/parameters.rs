//! The parameters of a statement as it is written: `$1`, `$2` …

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, Visit, Visitor};

use crate::question::PARAMETERS_MAX;

/// Returns the numbers of the parameters, as far as they are ones that can be given. Others are refused by the planner.
pub(crate) fn numbers(statement: &Statement) -> BTreeSet<usize> {
    let mut walk = Walk(BTreeSet::new());
    let ControlFlow::Continue(()) = statement.visit(&mut walk);
    walk.0
}

struct Walk(BTreeSet<usize>);

impl Visitor for Walk {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
            && let Some(number) = name.strip_prefix('$').and_then(|digits| digits.parse().ok())
            && (1..=PARAMETERS_MAX).contains(&number)
        {
            self.0.insert(number);
        }
        ControlFlow::Continue(())
    }
}
