//! Which source column feeds which table column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use globset::{Glob, GlobSet, GlobSetBuilder};
use hambar_core::{ColumnSpec, ColumnType, Ident};

use super::cast::CellRule;
use super::number::NumberStyle;
use crate::error::DecodeError;
use crate::spec::{ColumnRule, DecodeJob, RuleType};

/// Returns the table columns that the rules make: each declared column, after a period its `_start`, `_end` and
/// `_freq`, after a column with `status` the status column.
pub fn table_columns(rules: &[ColumnRule]) -> Vec<ColumnSpec> {
    let mut columns = Vec::new();
    for rule in rules {
        let source_name = rule.source.clone().unwrap_or_else(|| rule.name.to_string());
        let kind = match &rule.kind {
            RuleType::Plain(kind) => kind.clone(),
            RuleType::Period => ColumnType::String,
        };
        columns.push(ColumnSpec {
            name: rule.name.clone(),
            kind,
            source_name: source_name.clone(),
            nullable: !rule.required,
            description: rule.description.clone(),
            unit: rule.unit.clone(),
        });
        let derived = |name: Ident, kind: ColumnType, what: &str| ColumnSpec {
            name,
            kind,
            source_name: source_name.clone(),
            nullable: true,
            description: Some(format!("{what} of `{}`", rule.name)),
            unit: None,
        };
        if rule.kind == RuleType::Period {
            columns.push(derived(suffixed(&rule.name, "_start"), ColumnType::Date, "first day"));
            columns.push(derived(suffixed(&rule.name, "_end"), ColumnType::Date, "last day"));
            columns.push(derived(suffixed(&rule.name, "_freq"), ColumnType::String, "frequency (SDMX code)"));
        }
        if let Some(status) = &rule.status {
            columns.push(derived(status.clone(), ColumnType::String, "status"));
        }
    }
    columns
}

/// The name of a column that a period adds; cut where it would be too long.
fn suffixed(name: &Ident, suffix: &str) -> Ident {
    let room = hambar_core::name::IDENT_BYTES_MAX - suffix.len();
    let stem: String = name.as_str().chars().take(room).collect();
    format!("{stem}{suffix}").parse().expect("a name cut to make room for an ASCII suffix is a name")
}

/// The column that an undeclared source column becomes.
pub(super) fn added_column(source_name: &str) -> ColumnSpec {
    let mut column = ColumnSpec::new(&Ident::from_source(source_name), ColumnType::String);
    source_name.clone_into(&mut column.source_name);
    column
}

pub(super) fn cell_rules(job: &DecodeJob) -> Vec<CellRule> {
    let style = NumberStyle::new(job.format.decimal, job.format.thousands.as_deref());
    job.columns
        .iter()
        .map(|rule| {
            let mut nulls: Vec<String> = job.nulls.values.iter().chain(&rule.nulls).cloned().collect();
            nulls.sort();
            nulls.dedup();
            CellRule {
                name: rule.name.to_string(),
                kind: rule.kind.clone(),
                format: rule.format.clone(),
                nulls,
                has_status: rule.status.is_some(),
                keep_empty: job.nulls.empty_text,
                required: rule.required,
                style: style.clone(),
            }
        })
        .collect()
}

/// The source column of each rule, for one source schema.
#[derive(Debug)]
pub(super) struct Mapping {
    schema: SchemaRef,
    sources: Vec<Option<usize>>,
    undeclared: Vec<(usize, String)>,
}

impl Mapping {
    pub(super) fn new(schema: &SchemaRef, job: &DecodeJob) -> Result<Self, DecodeError> {
        let by_source: HashMap<&str, usize> =
            schema.fields().iter().enumerate().map(|(index, field)| (field.name().as_str(), index)).collect();
        let mut by_name: HashMap<Ident, usize> = HashMap::new();
        for (index, field) in schema.fields().iter().enumerate() {
            by_name.entry(Ident::from_source(field.name())).or_insert(index);
        }
        let find = |rule: &ColumnRule| match &rule.source {
            Some(source) => by_source.get(source.as_str()).copied(),
            None => by_source.get(rule.name.as_str()).or_else(|| by_name.get(&rule.name)).copied(),
        };
        let sources: Vec<Option<usize>> = job.columns.iter().map(find).collect();
        let ignored = globs(&job.ignore)?;
        let undeclared = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(index, field)| !sources.contains(&Some(*index)) && !ignored.is_match(field.name()))
            .filter(|(_, field)| !job.constants.contains_key(field.name()))
            .map(|(index, field)| (index, field.name().clone()))
            .collect();
        Ok(Self { schema: Arc::clone(schema), sources, undeclared })
    }

    pub(super) fn fits(&self, schema: &SchemaRef) -> bool {
        Arc::ptr_eq(&self.schema, schema) || self.schema == *schema
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.sources.iter().copied()
    }

    pub(super) fn undeclared(&self) -> impl Iterator<Item = (usize, &str)> {
        self.undeclared.iter().map(|(index, name)| (*index, name.as_str()))
    }
}

/// `ignore` takes names and globs; a name that is no glob (a stray bracket) stands for itself.
fn globs(patterns: &[String]) -> Result<GlobSet, DecodeError> {
    let wrong = |error: globset::Error| DecodeError::Setting { setting: "ignore", what: error.to_string() };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(&globset::escape(pattern)).map_err(wrong)?);
        if let Ok(glob) = Glob::new(pattern) {
            set.add(glob);
        }
    }
    set.build().map_err(wrong)
}

/// Any column as text, for columns that nobody declared.
pub(super) fn as_text(column: &ArrayRef) -> Result<ArrayRef, DecodeError> {
    if let Ok(text) = cast(column, &DataType::Utf8) {
        return Ok(text);
    }
    let wrong =
        |error: arrow::error::ArrowError| DecodeError::Setting { setting: "write.on_drift", what: error.to_string() };
    let options = FormatOptions::default().with_null("");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(wrong)?;
    let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
    Ok(Arc::new(texts.collect::<arrow::array::StringArray>()))
}
