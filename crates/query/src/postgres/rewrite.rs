//! Brings what clients of Postgres write into what DataFusion plans. Each change keeps the meaning: names without their
//! schema, casts to types that are numbers or texts here, functions whose answer is the same for everybody, and queries
//! over catalogue tables that have no rows, which give none.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArguments, OrderByKind, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};

use super::NAMESPACE;
use super::calls::call;
use super::expressions::{argument, called, first, flag, function, function_with, last, nothing, text, unwrapped};
use super::labels::label;
use super::nothing::{clear, gives_nothing, has_aggregates};
use crate::gate::folded;

/// Columns that name functions; Postgres compares them with numbers, too.
const NAMES_OF_FUNCTIONS: [&str; 8] =
    ["typanalyze", "typinput", "typmodin", "typmodout", "typoutput", "typreceive", "typsend", "typsubscript"];

/// Rewrites a statement.
pub(crate) fn rewrite(statement: &mut Statement) {
    let mut names = NamesOfParts { hides_catalogue: false };
    let ControlFlow::Continue(()) = Visit::visit(statement, &mut names);
    let ControlFlow::Continue(()) = statement.visit(&mut Rewrite { hides_catalogue: names.hides_catalogue });
}

/// Looks for parts of the query (`WITH pg_index AS …`) that are called like tables of the catalogue.
struct NamesOfParts {
    hides_catalogue: bool,
}

impl Visitor for NamesOfParts {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        self.hides_catalogue |= parts.into_iter().any(|part| folded(&part.alias.name).starts_with("pg_"));
        ControlFlow::Continue(())
    }
}

struct Rewrite {
    /// Whether a plain name may stand for something else than a table of the catalogue.
    hides_catalogue: bool,
}

impl VisitorMut for Rewrite {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        if !self.hides_catalogue {
            clear(query);
            label(query);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if self.hides_catalogue {
            return ControlFlow::Continue(());
        }
        let replacement = match expr {
            Expr::Subquery(query) if gives_nothing(query) => Some(nothing()),
            Expr::Exists { subquery, negated } if gives_nothing(subquery) => Some(flag(*negated)),
            Expr::InSubquery { subquery, negated, .. } if gives_nothing(subquery) => Some(flag(*negated)),
            Expr::Subquery(query) => {
                single(query);
                None
            }
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query) if last(&function.name).is_some_and(|name| name == "array") => {
                    Some(collected(query.as_ref().clone()))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Some(replacement) = changed(expr) {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

fn changed(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            named_function(left, right);
            named_function(right, left);
            if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                && let Some(known) = operator(parts)
            {
                *op = known;
            }
            None
        }
        Expr::Collate { expr, collation } => {
            let is_default = last(collation).is_some_and(|name| name == "default" || name == "C");
            is_default.then(|| expr.as_ref().clone())
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match unwrapped(right) {
            Expr::Array(array) => Some(Expr::InList { expr: left.clone(), list: array.elem.clone(), negated: false }),
            _ => None,
        },
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            escaped(pattern, escape_char);
            None
        }
        Expr::Cast { expr, data_type, .. } => cast(expr, data_type),
        Expr::Function(function) => call(function),
        _ => None,
    }
}

fn operator(parts: &[String]) -> Option<BinaryOperator> {
    let name = match parts {
        [schema, name] if schema == NAMESPACE => name,
        [name] => name,
        _ => return None,
    };
    Some(match name.as_str() {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// `typreceive <> 0` asks whether there is a function; here its name stands there, and nowhere is it a nought.
fn named_function(column: &Expr, number: &mut Expr) {
    let name = match column {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(name) => name,
            None => return,
        },
        _ => return,
    };
    if NAMES_OF_FUNCTIONS.contains(&name.value.as_str())
        && let Expr::Value(ValueWithSpan { value: value @ Value::Number(..), .. }) = number
    {
        *value = Value::SingleQuotedString(value.to_string());
    }
}

/// Brings a pattern with an `ESCAPE` of its own into the only way that is understood, with `\`.
fn escaped(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) {
    let Some(Value::SingleQuotedString(escape)) = escape_char.as_ref().map(|value| &value.value) else { return };
    let mut characters = escape.chars();
    let (Some(escape), None) = (characters.next(), characters.next()) else { return };
    if escape == '\\' {
        return;
    }
    *escape_char = None;
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) = pattern {
        *written = with_backslashes(written, escape);
        return;
    }
    // The same for a pattern that is known only when it runs: what stands for an escaped escape is in no text.
    let replace = |inner: Expr, from: &str, to: &str| function("replace", vec![inner, text(from), text(to)]);
    let twice: String = [escape, escape].iter().collect();
    let marked = replace(replace(pattern.clone(), "\\", "\\\\"), &twice, "\u{1}");
    let one = escape.to_string();
    *pattern = replace(replace(marked, &one, "\\"), "\u{1}", &one);
}

fn with_backslashes(pattern: &str, escape: char) -> String {
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            text.push_str("\\\\");
        } else if character == escape {
            match characters.next() {
                Some(next) if next == escape => text.push(next),
                Some(next) => text.extend(['\\', next]),
                None => text.push('\\'),
            }
        } else {
            text.push(character);
        }
    }
    text
}

/// A subquery over the catalogue that stands for one value gives at most one row, but only an aggregate proves it to the
/// planner.
fn single(query: &mut Query) {
    if query.limit_clause.is_some() || query.fetch.is_some() || query.order_by.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if select.distinct.is_some() || !is_of_catalogue(select) || has_aggregates(select) {
        return;
    }
    if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice() {
        *expr = function("max", vec![expr.clone()]);
    }
}

fn is_of_catalogue(select: &Select) -> bool {
    let is_table = |factor: &TableFactor| match factor {
        TableFactor::Table { name, args: None, .. } => {
            let schema = first(name).unwrap_or_default();
            schema == NAMESPACE || name.0.len() == 1 && schema.starts_with("pg_")
        }
        _ => false,
    };
    let mut factors = select
        .from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    !select.from.is_empty() && factors.all(is_table)
}

/// `ARRAY(SELECT x …)` is the list of all `x`.
fn collected(mut query: Query) -> Expr {
    if gives_nothing(&query) {
        return nothing();
    }
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(list)) => list,
        _ => Vec::new(),
    };
    if let SetExpr::Select(select) = query.body.as_mut()
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
    {
        *expr = function_with("array_agg", vec![expr.clone()], order);
    }
    Expr::Subquery(Box::new(query))
}

/// Casts to types that only Postgres has. The type itself is changed where the cast stays.
fn cast(expr: &Expr, data_type: &mut DataType) -> Option<Expr> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
        // The items of `oid[]`, `name[]` and the like.
        cast(&nothing(), item);
        return None;
    }
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let is_qualified = name.0.len() == 1 || first(name).is_some_and(|schema| schema == NAMESPACE);
            last(name).filter(|_| is_qualified)?
        }
        _ => return None,
    };
    let is_text = matches!(unwrapped(expr), Expr::Value(_));
    if name == "regproc"
        && let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) = unwrapped(expr)
    {
        return Some(text(written.trim_start_matches("pg_catalog.")));
    }
    match name.as_str() {
        "regclass" if is_text => Some(function("to_regclass", vec![expr.clone()])),
        "regclass" => Some(function("regclass_text", vec![expr.clone()])),
        "regtype" if is_text => Some(function("to_regtype", vec![expr.clone()])),
        "regtype" => Some(function("format_type", vec![expr.clone(), Expr::Value(Value::Null.into())])),
        // Back to the number that it was.
        "oid" if called(expr) == Some("regclass_text") => argument(expr),
        "oid" | "xid" | "int8" | "bigint" => {
            *data_type = DataType::BigInt(None);
            None
        }
        "_oid" | "_int8" => {
            *data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::BigInt(None)), None));
            None
        }
        "int4" | "integer" => {
            *data_type = DataType::Int(None);
            None
        }
        "int2" | "smallint" => {
            *data_type = DataType::SmallInt(None);
            None
        }
        "bool" => {
            *data_type = DataType::Boolean;
            None
        }
        "text" | "name" | "char" | "varchar" | "bpchar" | "regproc" | "regnamespace" | "regrole" => {
            *data_type = DataType::Text;
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::gate::HambarDialect;

    fn check(sql: &str, wanted: &str) {
        let mut statement = Parser::parse_sql(&HambarDialect, sql).unwrap().remove(0);
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), wanted);
    }

    #[test]
    fn what_only_postgres_knows_becomes_what_everybody_does() {
        check(
            "SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(a)$' COLLATE pg_catalog.default",
            "SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname ~ '^(a)$'",
        );
        check("SELECT pg_catalog.format_type(a, b)", "SELECT format_type(a, b)");
        check("SELECT 'a.b'::regclass::oid", "SELECT to_regclass('a.b')::BIGINT");
        check("SELECT x::pg_catalog.regclass", "SELECT regclass_text(x)");
        check("SELECT oid::regtype::text", "SELECT format_type(oid, NULL)::TEXT");
        check("SELECT a = ANY (ARRAY['x', 'y'])", "SELECT a IN ('x', 'y')");
        check(
            "SELECT has_table_privilege('a.b', 'INSERT'), has_table_privilege(1, 'SELECT')",
            "SELECT false AS \"has_table_privilege\", true AS \"has_table_privilege_2\"",
        );
    }

    #[test]
    fn patterns_keep_their_meaning() {
        check("SELECT a LIKE 'x/_%' ESCAPE '/'", r"SELECT a LIKE 'x\_%'");
        check("SELECT a NOT LIKE 'x//y\\z!' ESCAPE '/'", r"SELECT a NOT LIKE 'x/y\\z!'");
        check("SELECT a LIKE 'x' ESCAPE '\\'", r"SELECT a LIKE 'x' ESCAPE '\'");
        let sql = "SELECT a LIKE $1 || '%' ESCAPE '/'";
        let mut statement = Parser::parse_sql(&HambarDialect, sql).unwrap().remove(0);
        rewrite(&mut statement);
        assert!(!statement.to_string().contains("ESCAPE"), "{statement}");
    }

    #[test]
    fn one_value_is_asked_for_as_one() {
        check(
            "SELECT (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid) FROM pg_type t",
            "SELECT (SELECT max(c.relkind = 'c') FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid) FROM pg_type t",
        );
        check("SELECT (SELECT x FROM a.b)", "SELECT (SELECT x FROM a.b)");
        check(
            "SELECT ARRAY(SELECT relname FROM pg_class ORDER BY oid)",
            "SELECT (SELECT array_agg(relname ORDER BY oid) FROM pg_class) AS \"array\"",
        );
        check("SELECT ARRAY(SELECT x FROM pg_catalog.pg_index)", "SELECT CAST(NULL AS TEXT) AS \"array\"");
        check("SELECT c.oid, c.*, d.x FROM c, d", "SELECT c.oid AS \"oid_1\", c.*, d.x FROM c, d");
        check("SELECT t.typreceive <> 0", "SELECT t.typreceive <> '0'");
        check("SELECT 'pg_catalog.array_in'::regproc", "SELECT 'array_in'");
        check("SELECT 'pg_catalog' = ANY(current_schemas(true))", "SELECT 'pg_catalog' IN ('pg_catalog')");
        check("SELECT current_setting('server_version_num')::int", "SELECT '150000'::INT AS \"current_setting\"");
    }

    #[test]
    fn tables_without_rows_give_none() {
        check(
            "SELECT a.x, (SELECT d.adbin FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.y) AS z FROM t a",
            "SELECT a.x, CAST(NULL AS TEXT) AS z FROM t a",
        );
        check(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint r WHERE r.x = 1 ORDER BY 1",
            "SELECT CAST(NULL AS TEXT) AS \"conname\", CAST(NULL AS TEXT) AS \"pg_get_constraintdef\" WHERE false",
        );
        check(
            "SELECT 1 AS x UNION ALL SELECT indrelid FROM pg_catalog.pg_index",
            "SELECT 1 AS x UNION ALL SELECT NULL AS \"indrelid\" WHERE false",
        );
        check(
            "SELECT (SELECT string_agg(x, ',') FROM t) FROM pg_publication p JOIN pg_class c ON c.oid = p.oid",
            "SELECT CAST(NULL AS TEXT) AS \"string_agg\" WHERE false",
        );
        // So do parts that read them, and parts that read those; each until another of its name hides it.
        check(
            "WITH a AS (SELECT conname FROM pg_constraint), b AS (SELECT max(x) AS x FROM a GROUP BY y) \
             SELECT x FROM b UNION ALL SELECT conname FROM a ORDER BY 1",
            "SELECT NULL AS \"x\" WHERE false UNION ALL SELECT NULL AS \"conname\" WHERE false",
        );
        check(
            "WITH a AS (SELECT conname AS x FROM pg_constraint) SELECT x FROM (WITH a AS (SELECT 1 AS x) SELECT x FROM a)",
            "WITH a AS (SELECT CAST(NULL AS TEXT) AS \"x\" WHERE false) SELECT x FROM (WITH a AS (SELECT 1 AS x) SELECT x FROM a)",
        );
        // A star needs what it stands for.
        let star = "WITH a AS (SELECT 1 AS x) SELECT * FROM pg_index, a ORDER BY 1";
        check(star, star);
        // A join that keeps its other side has that side's rows, and counting gives a row of its own.
        for kept in [
            "SELECT c.x FROM c LEFT JOIN pg_catalog.pg_index AS i ON c.x = i.y",
            "SELECT count(*) FROM pg_index",
            "WITH pg_index AS (SELECT 1 AS x) SELECT x FROM pg_index",
            "SELECT * FROM pg_index",
        ] {
            check(kept, kept);
        }
    }
}
