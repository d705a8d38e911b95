//! What is taken out of a record: the declared columns as a tree of member names, made once per file.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Field};
use hambar_core::{ColumnType, Ident};

use crate::error::DecodeError;
use crate::spec::{ColumnRule, DecodeJob, RuleType};

/// The declared columns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The declared columns that name their source.
    pub(super) columns: Vec<PlannedColumn>,
    /// The top of the tree.
    pub(super) root: Branch,
    /// Nested columns that are found by their made name.
    nested: Vec<(Ident, ColumnType)>,
    /// Top-level members that are left out.
    ignored: HashSet<String>,
}

/// A column that is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedColumn {
    /// The source's name: a member or a pointer.
    pub(super) name: String,
    /// The list or struct it is built as; text if `None`.
    pub(super) nested: Option<ColumnType>,
}

/// The members of an object (or items of an array, by index) that are wanted.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// In the order of the declaration.
    pub(super) members: Vec<(String, Target)>,
}

/// What happens to a member.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// It fills this column.
    pub(super) column: Option<usize>,
    /// Its own members are looked at.
    pub(super) branch: Branch,
}

impl Plan {
    /// Reads the rules of `job`.
    pub(super) fn new(job: &DecodeJob) -> Result<Self, DecodeError> {
        let mut plan = Self::default();
        for rule in &job.columns {
            plan.add(rule)?;
        }
        // With `unpivot`, an ignored name could still be one of the wide columns: conform decides then.
        if job.unpivot.is_none() {
            plan.ignored = job.ignore.iter().cloned().collect();
        }
        Ok(plan)
    }

    /// Returns the fields of the declared columns.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(PlannedColumn::field).collect()
    }

    /// Returns how a top-level member that the tree does not have is delivered, or `None` if it is left out.
    pub(super) fn undeclared(&self, name: &str) -> Option<PlannedColumn> {
        if self.ignored.contains(name) {
            return None;
        }
        let nested = if self.nested.is_empty() {
            None
        } else {
            let made = Ident::from_source(name);
            self.nested.iter().find(|(ident, _)| *ident == made).map(|(_, kind)| kind.clone())
        };
        Some(PlannedColumn { name: name.to_owned(), nested })
    }

    fn add(&mut self, rule: &ColumnRule) -> Result<(), DecodeError> {
        let nested = match &rule.kind {
            RuleType::Plain(kind @ (ColumnType::List(_) | ColumnType::Struct(_))) => Some(kind.clone()),
            RuleType::Plain(_) | RuleType::Period => None,
        };
        let Some(source) = &rule.source else {
            self.nested.extend(nested.map(|kind| (rule.name.clone(), kind)));
            return Ok(());
        };
        let path = if source.starts_with('/') { pointer(source) } else { vec![source.clone()] };
        let (last, above) = path.split_last().expect("a pointer with a slash and a name have at least one segment");
        let mut branch = &mut self.root;
        for segment in above {
            branch = &mut branch.member(segment).branch;
        }
        let target = branch.member(last);
        let column = PlannedColumn { name: source.clone(), nested };
        match target.column {
            None => {
                target.column = Some(self.columns.len());
                self.columns.push(column);
                Ok(())
            }
            Some(index) if self.columns[index] == column => Ok(()),
            Some(_) => Err(DecodeError::Setting {
                setting: "columns.source",
                what: format!("`{source}` is declared twice, with types that do not go together"),
            }),
        }
    }
}

impl PlannedColumn {
    /// Returns its Arrow field.
    pub(super) fn field(&self) -> Field {
        let data_type = self.nested.as_ref().map_or(DataType::Utf8, ColumnType::to_arrow);
        Field::new(&self.name, data_type, true)
    }
}

impl Branch {
    fn member(&mut self, name: &str) -> &mut Target {
        let index = self.members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.members.push((name.to_owned(), Target::default()));
            self.members.len() - 1
        });
        &mut self.members[index].1
    }
}

/// Splits a JSON Pointer (RFC 6901) that starts with `/`.
pub(super) fn pointer(text: &str) -> Vec<String> {
    text.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}
