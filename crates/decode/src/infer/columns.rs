//! Proposes columns, missing values, a key and an unpivot from all rows of a source.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type};
use hambar_core::{ColumnType, Ident};
use regex::Regex;

use crate::error::DecodeError;
use crate::infer::key::Keys;
use crate::infer::kind::{Evidence, Found};
use crate::record::{RecordSource, SourceBatch};
use crate::spec::{ColumnRule, FormatSpec, NullSpec, RuleType, UnpivotSpec};

/// Year columns from which an unpivot is proposed.
const YEAR_COLUMNS_MIN: usize = 3;
/// How year columns are called: World Bank, FAOSTAT, SDG database.
const YEAR_PATTERNS: [&str; 2] = [r"^((?:18|19|20)\d{2})(?: \[YR\d{4}\])?$", r"^Y((?:19|20)\d{2})$"];
/// Source names of the columns that an unpivot makes.
const YEAR: &str = "year";
const VALUE: &str = "value";

/// A proposal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inferred {
    /// The columns.
    pub columns: Vec<ColumnRule>,
    /// Texts that mean "missing" wherever they occur; those that are values elsewhere are in the columns' rules.
    pub nulls: NullSpec,
    /// Names of the first columns whose values never repeat together, if there are any.
    pub key: Vec<Ident>,
    /// Year columns to rows.
    pub unpivot: Option<UnpivotSpec>,
    /// Rows read.
    pub rows: u64,
    /// Records that could not be read.
    pub faults: u64,
}

/// Reads all rows of `source`, which `format` describes, and proposes their types.
pub fn columns(source: &mut dyn RecordSource, format: &FormatSpec) -> Result<Inferred, DecodeError> {
    let mut survey = Survey::default();
    while let Some(batch) = source.next_batch()? {
        survey.add(&batch, format);
    }
    Ok(survey.propose(format))
}

#[derive(Debug, Default)]
struct Survey {
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    /// Types that the source itself gives (JSON, Parquet), if it is no text.
    typed: Vec<Option<ColumnType>>,
    evidence: Vec<Evidence>,
    /// Whether a cell was missing or empty.
    has_gap: Vec<bool>,
    keys: Option<Keys>,
    rows: u64,
    faults: u64,
}

impl Survey {
    fn add(&mut self, batch: &SourceBatch, format: &FormatSpec) {
        // JSON and SDMX bring columns up as they are met, and not always at the end: a column that is not in every batch
        // has gaps.
        let mut is_here = vec![false; self.names.len()];
        for (field, column) in batch.batch.schema_ref().fields().iter().zip(batch.batch.columns()) {
            let index = match self.by_name.get(field.name()) {
                Some(index) => *index,
                None => self.add_name(field, format),
            };
            add_column(column, &mut self.evidence[index]);
            self.has_gap[index] |= lacks_a_cell(column);
            if let Some(is_here) = is_here.get_mut(index) {
                *is_here = true;
            }
        }
        for (has_gap, is_here) in self.has_gap.iter_mut().zip(is_here) {
            *has_gap |= !is_here;
        }
        self.rows += batch.batch.num_rows() as u64;
        self.faults += batch.faults.len() as u64;
        self.add_keys(batch);
    }

    fn add_name(&mut self, field: &Field, format: &FormatSpec) -> usize {
        let index = self.names.len();
        self.names.push(field.name().clone());
        self.by_name.insert(field.name().clone(), index);
        self.typed.push(given_type(field.data_type()));
        self.has_gap.push(self.rows > 0);
        self.evidence.push(Evidence::new(format.decimal, format.thousands.as_deref()));
        index
    }

    fn add_keys(&mut self, batch: &SourceBatch) {
        let columns = self.names.len();
        let keys = self.keys.get_or_insert_with(|| Keys::new(columns));
        if !keys.is_open() {
            return;
        }
        let named = self.names.iter().map_while(|name| batch.batch.column_by_name(name));
        let texts: Vec<ArrayRef> =
            named.take(keys.columns()).map_while(|column| cast(column, &DataType::Utf8).ok()).collect();
        for row in 0..batch.batch.num_rows() {
            let cells = texts.iter().map(|text| {
                let text = text.as_string::<i32>();
                if text.is_null(row) { "" } else { text.value(row) }
            });
            keys.add(cells);
        }
    }

    fn propose(self, format: &FormatSpec) -> Inferred {
        let years = self.year_columns();
        let mut proposed: Vec<(String, Found)> = Vec::new();
        let mut values = Evidence::new(format.decimal, format.thousands.as_deref());
        for (index, (name, evidence)) in self.names.iter().zip(&self.evidence).enumerate() {
            if years.as_ref().is_some_and(|years| years.columns.contains(&index)) {
                values.join(evidence);
                continue;
            }
            let mut found = evidence.decide();
            if let Some(kind) = self.typed.get(index).cloned().flatten() {
                found = Found { kind: RuleType::Plain(kind), format: None, missing: Vec::new(), flagged: false };
            }
            proposed.push((name.clone(), found));
        }
        let mut key_columns = self.keys.as_ref().and_then(Keys::shortest).unwrap_or_default();
        let ids = proposed.len();
        if years.is_some() {
            let year =
                Found { kind: RuleType::Plain(ColumnType::Int64), format: None, missing: Vec::new(), flagged: false };
            proposed.push((YEAR.to_owned(), year));
            proposed.push((VALUE.to_owned(), values.decide()));
        }
        let nulls = shared_missing(&proposed);
        let is_whole: Vec<bool> = proposed
            .iter()
            .map(|(name, found)| {
                let index = self.names.iter().position(|known| known == name);
                found.missing.is_empty() && index.is_some_and(|index| !self.has_gap[index])
            })
            .collect();
        let mut columns = rules(proposed, &nulls);
        // A key of a wide table that reaches into the year columns is no key of its rows.
        if years.is_some() && key_columns > ids {
            key_columns = 0;
        }
        let mut key: Vec<Ident> = columns.iter().take(key_columns).map(|rule| rule.name.clone()).collect();
        if years.is_some() && !key.is_empty() {
            key.extend(columns.get(ids).map(|rule| rule.name.clone()));
        }
        // What identifies a row and was never missing is required: a row without it would be another row, or none.
        // What else is never missing may be missing next year: a person decides about it.
        for (rule, is_whole) in columns.iter_mut().zip(is_whole) {
            rule.required = is_whole && key.contains(&rule.name);
        }
        Inferred {
            columns,
            nulls: NullSpec { values: nulls, empty_text: false },
            key,
            unpivot: years.map(|years| years.spec),
            rows: self.rows,
            faults: self.faults,
        }
    }

    fn year_columns(&self) -> Option<Years> {
        YEAR_PATTERNS.iter().find_map(|pattern| {
            let matcher = Regex::new(pattern).ok()?;
            let matching = self.names.iter().enumerate().filter(|(_, name)| matcher.is_match(name));
            let columns: BTreeSet<usize> = matching.map(|(index, _)| index).collect();
            let spec = UnpivotSpec {
                columns: (*pattern).to_owned(),
                name: YEAR.to_owned(),
                value: VALUE.to_owned(),
                skip_empty: true,
            };
            (columns.len() >= YEAR_COLUMNS_MIN).then_some(Years { columns, spec })
        })
    }
}

struct Years {
    columns: BTreeSet<usize>,
    spec: UnpivotSpec,
}

/// Returns the type of a source column that is no text.
fn given_type(data_type: &DataType) -> Option<ColumnType> {
    ColumnType::from_arrow(data_type).filter(|kind| *kind != ColumnType::String)
}

/// Distinct values are enough to know a type, so a dictionary's are looked at once each.
fn add_column(column: &ArrayRef, evidence: &mut Evidence) {
    let texts = match column.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) => dictionary.values(),
        None => column,
    };
    let Some(texts) = texts.as_string_opt::<i32>() else {
        return;
    };
    let mut previous = None;
    for text in texts.iter().flatten() {
        if previous != Some(text) {
            evidence.add(text);
            previous = Some(text);
        }
    }
}

/// Says whether a cell is NULL or an empty text.
fn lacks_a_cell(column: &ArrayRef) -> bool {
    if column.logical_null_count() > 0 {
        return true;
    }
    let texts = column.as_dictionary_opt::<Int32Type>().map_or(column, |dictionary| dictionary.values());
    texts.as_string_opt::<i32>().is_some_and(|texts| texts.iter().flatten().any(str::is_empty))
}

/// Returns the texts for "missing" that no text column could mean as a value.
fn shared_missing(proposed: &[(String, Found)]) -> Vec<String> {
    let has_text = proposed.iter().any(|(_, found)| found.kind == RuleType::Plain(ColumnType::String));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in proposed.iter().flat_map(|(_, found)| &found.missing) {
        *counts.entry(text).or_default() += 1;
    }
    // Letters may be a value in a text column (NA is Namibia), signs hardly are.
    let is_safe = |text: &str| !has_text || !text.chars().any(char::is_alphanumeric);
    counts.into_keys().filter(|text| is_safe(text)).map(str::to_owned).collect()
}

fn rules(proposed: Vec<(String, Found)>, shared: &[String]) -> Vec<ColumnRule> {
    let mut taken = BTreeSet::new();
    let mut rules = Vec::with_capacity(proposed.len());
    for (source, found) in proposed {
        let name = free_name(&source, &taken);
        taken.insert(name.clone());
        let status = found.flagged.then(|| free_name(&format!("{name}_status"), &taken));
        taken.extend(status.clone());
        let own: Vec<String> = found.missing.into_iter().filter(|text| !shared.contains(text)).collect();
        rules.push(ColumnRule {
            source: (name.as_str() != source).then_some(source),
            name,
            kind: found.kind,
            required: false,
            unit: None,
            description: None,
            format: found.format.map(str::to_owned),
            nulls: own,
            status,
        });
    }
    rules
}

fn free_name(source: &str, taken: &BTreeSet<Ident>) -> Ident {
    let name = Ident::from_source(source);
    if !taken.contains(&name) {
        return name;
    }
    let numbered = (2..).map(|number| {
        let kept: String = name.as_str().chars().take(hambar_core::name::IDENT_BYTES_MAX - 6).collect();
        Ident::from_source(&format!("{kept}_{number}"))
    });
    let mut free = numbered.filter(|candidate| !taken.contains(candidate));
    free.next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::record_batch::RecordBatch;

    use super::*;

    struct Batches(Vec<RecordBatch>);

    impl RecordSource for Batches {
        fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
            Ok(self.0.pop().map(|batch| SourceBatch::consecutive(batch, 1, None)))
        }
    }

    #[test]
    fn columns_that_come_up_later_are_proposed_too() {
        let text = |cells: [&str; 2]| Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
        let first = RecordBatch::try_from_iter([("geo", text(["BG", "RO"])), ("value", text(["1", "2"]))]).unwrap();
        // An SDMX message puts a new dimension in front of the measures.
        let columns =
            [("geo", text(["BG", "RO"])), ("day", text(["2024-01-01", "2024-01-02"])), ("value", text(["3", "4"]))];
        let second = RecordBatch::try_from_iter(columns).unwrap();
        let format: FormatSpec = serde_json::from_value(serde_json::json!({"kind": "sdmx_ml"})).unwrap();
        let found = super::columns(&mut Batches(vec![second, first]), &format).unwrap();
        let shown = found.columns.iter().map(|rule| format!("{} {}", rule.name, String::from(rule.kind.clone())));
        assert_eq!(shown.collect::<Vec<_>>(), ["geo string", "value int64", "day date"]);
        assert_eq!(found.key.iter().map(ToString::to_string).collect::<Vec<_>>(), ["geo", "value"]);
    }
}
