//! The tables of a statement: where each name stands for a table of the catalogue, and where time travel
//! (`FOR SYSTEM_TIME AS OF`, `VERSION AS OF`, `as_of`, `history`, `revisions`) is rewritten to names that the
//! session's catalogue resolves. Anything else in `FROM` is refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias, TableFactor,
    TableFunctionArgs, TableVersion, Value, VisitMut, VisitorMut,
};
use hambar_core::TableName;
use jiff::Timestamp;

use crate::error::{Position, QueryError};
use crate::functions::{CATALOG, TABLE_FUNCTIONS};
use crate::gate::complexity::folded;
use crate::postgres;

/// What a statement reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The table as it is now.
    Current(TableName),
    /// The table as one version of it stood.
    Version(TableName, u64),
    /// The table as it was known at an instant.
    AsOf(TableName, Timestamp),
    /// The rows of the table that were superseded.
    History(TableName),
    /// The cells of the table that changed.
    Revisions(TableName),
}

impl Relation {
    /// Returns the table that it is about.
    pub fn table(&self) -> &TableName {
        match self {
            Self::Current(table)
            | Self::Version(table, _)
            | Self::AsOf(table, _)
            | Self::History(table)
            | Self::Revisions(table) => table,
        }
    }

    /// Returns the name under which the session's catalogue holds it. `@` is in no table's name.
    pub(crate) fn catalog_name(&self) -> String {
        match self {
            Self::Current(name) => name.table.to_string(),
            Self::Version(name, version) => format!("{}@v{version}", name.table),
            Self::AsOf(name, instant) => format!("{}@{instant}", name.table),
            Self::History(name) => format!("{}__history", name.table),
            Self::Revisions(name) => format!("{}@revisions", name.table),
        }
    }
}

/// The ending of a history table's name.
pub(crate) const HISTORY: &str = "__history";
/// The parts of `information_schema` that are offered. `df_settings` would show limits and paths.
const INFORMATION_SCHEMA: [&str; 6] = ["tables", "views", "columns", "schemata", "routines", "parameters"];

/// What a walk over the tables found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) relations: Vec<Relation>,
    pub(crate) lists_tables: bool,
    /// The tables of `pg_catalog`.
    pub(crate) catalogue: BTreeSet<String>,
}

/// Finds the tables of a statement and rewrites time travel.
pub(crate) fn resolve(statement: &mut Statement) -> Result<Found, QueryError> {
    let mut walk = Walk::default();
    match statement {
        Statement::ShowTables { .. } => walk.lists_tables = true,
        Statement::ExplainTable { table_name, .. } => {
            if let Some((relation, _)) = walk.relation(table_name, None)? {
                *table_name = walk.take(relation);
            }
        }
        _ => {
            if let ControlFlow::Break(error) = statement.visit(&mut walk) {
                return Err(error);
            }
        }
    }
    let relations = walk.relations.into_iter().collect();
    Ok(Found { relations, lists_tables: walk.lists_tables, catalogue: walk.catalogue })
}

#[derive(Default)]
struct Walk {
    ctes: Vec<String>,
    relations: BTreeSet<Relation>,
    lists_tables: bool,
    catalogue: BTreeSet<String>,
}

impl Walk {
    /// Notes the relation and returns the name that stands for it in the plan.
    fn take(&mut self, relation: Relation) -> ObjectName {
        let namespace = relation.table().namespace.as_str();
        let name =
            ObjectName::from(vec![Ident::with_quote('"', namespace), Ident::with_quote('"', relation.catalog_name())]);
        self.relations.insert(relation);
        name
    }

    /// Returns the relation that a name stands for, and the name to know it by; nothing for a common table
    /// expression and for `information_schema`.
    fn relation(
        &mut self,
        name: &ObjectName,
        version: Option<&TableVersion>,
    ) -> Result<Option<(Relation, Ident)>, QueryError> {
        let mut parts = Vec::new();
        for part in &name.0 {
            let Some(ident) = part.as_ident() else {
                return Err(QueryError::Source { text: shortened(&name.to_string()), position: None });
            };
            parts.push(ident);
        }
        let position = position(parts.first().copied());
        if parts.iter().any(|part| is_address(part)) {
            return Err(QueryError::Source { text: shortened(&name.to_string()), position });
        }
        if parts.len() == 3 && parts.first().is_some_and(|first| folded(first) == CATALOG) {
            parts.remove(0);
        }
        let written = parts.iter().map(|part| folded(part)).collect::<Vec<_>>().join(".");
        let (namespace, table) = match parts.as_slice() {
            [table] if self.ctes.contains(&folded(table)) => {
                return match version {
                    None => Ok(None),
                    Some(_) => Err(travel(format!("`{written}` is part of the query and has no versions"))),
                };
            }
            [_] => return Err(QueryError::Unqualified { name: shortened(&written), position }),
            [namespace, table] => (folded(namespace), *table),
            _ => return Err(QueryError::UnknownTable { name: shortened(&written), similar: Vec::new() }),
        };
        if namespace == postgres::NAMESPACE && version.is_none() {
            let found = folded(table);
            if !postgres::is_table(&found) {
                return Err(QueryError::UnknownTable { name: shortened(&written), similar: Vec::new() });
            }
            self.catalogue.insert(found);
            return Ok(None);
        }
        if namespace == "information_schema" {
            if version.is_some() || !INFORMATION_SCHEMA.contains(&folded(table).as_str()) {
                return Err(QueryError::UnknownTable { name: shortened(&written), similar: Vec::new() });
            }
            self.lists_tables = true;
            return Ok(None);
        }
        let name = parse_name(&written)?;
        let relation = match version {
            None => plain(name),
            Some(version) => versioned(name, version)?,
        };
        Ok(Some((relation, Ident::with_quote('"', folded(table)))))
    }

    fn table(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        version: Option<&TableVersion>,
    ) -> Result<(), QueryError> {
        if let [part] = name.0.as_slice()
            && let Some(written) = part.as_ident().map(folded)
            && written.starts_with("pg_")
            && !self.ctes.contains(&written)
        {
            // Postgres looks there first, whatever else there is.
            *name = ObjectName::from(vec![Ident::new(postgres::NAMESPACE), Ident::with_quote('"', written)]);
        }
        if version.is_none()
            && let Some((table, plain)) = postgres::information(name)
        {
            *name = ObjectName::from(vec![Ident::new(postgres::NAMESPACE), Ident::with_quote('"', table)]);
            if alias.is_none() {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', plain),
                    columns: Vec::new(),
                    at: None,
                });
            }
        }
        if let Some((relation, known_as)) = self.relation(name, version)? {
            let is_renamed = matches!(relation, Relation::Version(..) | Relation::AsOf(..));
            *name = self.take(relation);
            if is_renamed {
                alias.get_or_insert_with(|| plain_alias(known_as));
            }
        }
        Ok(())
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<(), QueryError> {
        match factor {
            TableFactor::Table { name, alias, args, version, .. } => {
                let Some(arguments) = args.as_ref() else {
                    return self.table(name, alias, version.take().as_ref());
                };
                if version.is_some() {
                    return Err(travel("a table function has no versions".to_owned()));
                }
                if let Some((relation, known_as)) = function(name, arguments)? {
                    *name = self.take(relation);
                    alias.get_or_insert_with(|| plain_alias(known_as));
                    *args = None;
                }
                Ok(())
            }
            TableFactor::Derived { .. } | TableFactor::UNNEST { .. } | TableFactor::NestedJoin { .. } => Ok(()),
            TableFactor::Function { .. } => Err(refused("`LATERAL` with a function")),
            TableFactor::TableFunction { .. } => Err(refused("`TABLE(…)`")),
            TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => Err(refused("`JSON_TABLE`")),
            TableFactor::XmlTable { .. } => Err(refused("`XMLTABLE`")),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => Err(refused("`PIVOT`")),
            TableFactor::MatchRecognize { .. } => Err(refused("`MATCH_RECOGNIZE`")),
            TableFactor::SemanticView { .. } => Err(refused("`SEMANTIC_VIEW`")),
        }
    }
}

impl VisitorMut for Walk {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        // A name without a namespace can only be one of these, so it does no harm that they are in scope a little
        // earlier than in SQL: DataFusion then says that it does not know the name.
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| folded(&cte.alias.name));
        self.ctes.extend(names);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        let count = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.ctes.truncate(self.ctes.len().saturating_sub(count));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        if let Expr::Function(function) = expr
            && let [part] = function.name.0.as_slice()
            && part.as_ident().is_some_and(|name| postgres::is_function(&folded(name)))
        {
            // It needs the names of the tables, whether or not the statement reads any.
            self.catalogue.insert(postgres::CLASSES.to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<QueryError> {
        match self.factor(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Returns what one of our own table functions stands for; nothing for the others that are offered.
fn function(name: &ObjectName, args: &TableFunctionArgs) -> Result<Option<(Relation, Ident)>, QueryError> {
    let [part] = name.0.as_slice() else {
        return Err(QueryError::Function { name: shortened(&name.to_string()), position: None });
    };
    let called = part.as_ident().map(folded).unwrap_or_default();
    if !TABLE_FUNCTIONS.contains(&called.as_str()) {
        return Err(QueryError::Function { name: shortened(&called), position: position(part.as_ident()) });
    }
    let texts = || args.args.iter().map(|argument| literal(argument, &called)).collect::<Result<Vec<_>, _>>();
    let relation = match called.as_str() {
        "as_of" => match texts()?.as_slice() {
            [table, instant] => Relation::AsOf(parse_name(table)?, parse_instant(instant)?),
            _ => return Err(usage("as_of('namespace.table', '2024-01-31')")),
        },
        "history" => match texts()?.as_slice() {
            [table] => Relation::History(parse_name(table)?),
            _ => return Err(usage("history('namespace.table')")),
        },
        "revisions" => match texts()?.as_slice() {
            [table] => Relation::Revisions(parse_name(table)?),
            _ => return Err(usage("revisions('namespace.table')")),
        },
        _ => return Ok(None),
    };
    let known_as = match relation {
        Relation::AsOf(ref table, _) => table.table.to_string(),
        _ => called,
    };
    Ok(Some((relation, Ident::with_quote('"', known_as))))
}

/// The text of a literal argument; a bare `namespace.table` is as good as a quoted one.
fn literal(argument: &FunctionArg, function: &str) -> Result<String, QueryError> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
        return Err(travel(format!("`{function}` takes texts, in order")));
    };
    match expr {
        Expr::CompoundIdentifier(parts) => Ok(parts.iter().map(folded).collect::<Vec<_>>().join(".")),
        _ => literal_text(expr).ok_or_else(|| travel(format!("`{function}` takes texts, not expressions"))),
    }
}

fn literal_text(expr: &Expr) -> Option<String> {
    let value = match expr {
        Expr::Value(value) => &value.value,
        Expr::TypedString(typed) => &typed.value.value,
        _ => return None,
    };
    match value {
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
        Value::Number(digits, _) => Some(digits.clone()),
        _ => None,
    }
}

/// A history table read by its own name hides what no commit has finished yet, like `history(…)` does.
fn plain(name: TableName) -> Relation {
    let base = name.table.as_str().strip_suffix(HISTORY).and_then(|base| base.parse().ok());
    match base {
        Some(table) => Relation::History(TableName { namespace: name.namespace, table }),
        None => Relation::Current(name),
    }
}

fn versioned(name: TableName, version: &TableVersion) -> Result<Relation, QueryError> {
    match version {
        TableVersion::ForSystemTimeAsOf(expr) | TableVersion::TimestampAsOf(expr) => match literal_text(expr) {
            Some(text) => Ok(Relation::AsOf(name, parse_instant(&text)?)),
            None => Err(travel(format!("`{name}`: AS OF takes an instant as text, not an expression"))),
        },
        TableVersion::VersionAsOf(expr) => match literal_text(expr).and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Relation::Version(name, number)),
            None => Err(travel(format!("`{name}`: VERSION AS OF takes a whole number"))),
        },
        TableVersion::Function(_) | TableVersion::Changes { .. } => {
            Err(travel(format!("`{name}`: use FOR SYSTEM_TIME AS OF or VERSION AS OF")))
        }
    }
}

/// Reads an instant: with a time zone, without one (UTC), or a date (its first moment in UTC).
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, QueryError> {
    let text = text.trim();
    let civil = || text.parse::<jiff::civil::DateTime>().ok();
    let instant = text.parse::<Timestamp>().ok().or_else(|| {
        civil().and_then(|instant| instant.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|at| at.timestamp())
    });
    instant.ok_or_else(|| {
        travel(format!("`{}` is not an instant: write `2024-01-31` or `2024-01-31T12:00:00Z`", shortened(text)))
    })
}

fn parse_name(written: &str) -> Result<TableName, QueryError> {
    let address = written.contains(['/', '\\', ':']);
    written.parse().map_err(|_| match address {
        true => QueryError::Source { text: shortened(written), position: None },
        false if written.contains('.') => QueryError::UnknownTable { name: shortened(written), similar: Vec::new() },
        false => QueryError::Unqualified { name: shortened(written), position: None },
    })
}

fn is_address(part: &Ident) -> bool {
    part.quote_style == Some('\'') || part.value.contains(['/', '\\', ':'])
}

fn plain_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

fn position(ident: Option<&Ident>) -> Option<Position> {
    let start = ident?.span.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

fn travel(what: String) -> QueryError {
    QueryError::Travel { what }
}

fn usage(form: &str) -> QueryError {
    travel(format!("write `{form}`"))
}

fn refused(what: &str) -> QueryError {
    QueryError::Statement { what: what.to_owned() }
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
