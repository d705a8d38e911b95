//! The parts of an SDMX-JSON message that must be known before its observations can be read: the structure, the data
//! sets' own attributes, errors. Unknown members are skipped, and observations are not looked at here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::values::{join_languages, join_values};

/// A whole message of version 1.0 or 2.x, without its observations.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    // No `flatten` here: it would keep all observations in memory.
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    structure: Option<Structure>,
    #[serde(default)]
    structures: Option<Vec<Structure>>,
    #[serde(default, rename = "dataSets")]
    data_sets: Option<Vec<DataSet>>,
    #[serde(default)]
    errors: Option<Vec<Value>>,
}

/// What 2.x has in `data`, and early 1.0 at the top.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Data {
    #[serde(default)]
    structure: Option<Structure>,
    #[serde(default)]
    structures: Option<Vec<Structure>>,
    #[serde(default, rename = "dataSets")]
    data_sets: Option<Vec<DataSet>>,
}

/// How the indices of a data set are to be read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Structure {
    #[serde(default)]
    pub(super) dimensions: Levels,
    #[serde(default)]
    pub(super) measures: Levels,
    #[serde(default)]
    pub(super) attributes: Levels,
}

/// Components by where their values stand.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Levels {
    #[serde(default, rename = "dataSet")]
    pub(super) data_set: Vec<Component>,
    #[serde(default, rename = "dimensionGroup")]
    pub(super) dimension_group: Vec<Component>,
    #[serde(default)]
    pub(super) series: Vec<Component>,
    #[serde(default)]
    pub(super) observation: Vec<Component>,
}

/// A dimension, measure or attribute.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Component {
    pub(super) id: String,
    #[serde(default, rename = "keyPosition")]
    pub(super) key_position: Option<usize>,
    #[serde(default)]
    pub(super) values: Vec<Option<CodedValue>>,
}

/// A value that indices refer to: a code, or an uncoded text.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct CodedValue {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    name: Option<Value>,
}

/// A data set without its observations.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DataSet {
    #[serde(default)]
    pub(super) structure: Option<usize>,
    #[serde(default)]
    pub(super) action: Option<String>,
    #[serde(default)]
    pub(super) attributes: Option<Vec<Value>>,
    #[serde(default, rename = "dimensionGroupAttributes")]
    pub(super) dimension_group_attributes: Option<BTreeMap<String, Vec<Value>>>,
}

impl Message {
    /// Takes the structures and data sets, wherever the version puts them; `None` if it is no data message.
    pub(super) fn into_parts(self) -> Option<(Vec<Structure>, Vec<DataSet>)> {
        let (mut structures, mut data_sets) = (Vec::new(), None);
        let top = Data { structure: self.structure, structures: self.structures, data_sets: self.data_sets };
        for data in self.data.into_iter().chain([top]) {
            structures.extend(data.structures.into_iter().flatten());
            structures.extend(data.structure);
            data_sets = data_sets.or(data.data_sets);
        }
        match data_sets {
            None if structures.is_empty() => None,
            found => Some((structures, found.unwrap_or_default())),
        }
    }

    /// Returns code and text of the first error that the message reports.
    pub(super) fn error(&self) -> Option<(String, String)> {
        let first = self.errors.as_ref()?.first()?;
        let text = ["title", "detail", "details", "message"]
            .iter()
            .filter_map(|name| first.get(name).and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join(": ");
        let code = first.get("code").map(plain).unwrap_or_default();
        Some(if text.is_empty() { (code, plain(first)) } else { (code, text) })
    }
}

impl Component {
    /// Returns the text at `index`: `Ok(None)` for a value that is null.
    pub(super) fn text_at(&self, index: usize) -> Result<Option<String>, String> {
        let coded = self.values.get(index).ok_or_else(|| {
            format!("`{}` has {} values, the index {index} is beyond them", self.id, self.values.len())
        })?;
        Ok(coded.as_ref().and_then(CodedValue::text))
    }

    /// Returns the text of a cell: an index into the values where there are values, else the cell itself.
    pub(super) fn text_of(&self, cell: &Value) -> Result<Option<String>, String> {
        match cell {
            Value::Null => Ok(None),
            Value::Number(number) if !self.values.is_empty() => {
                let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                self.text_at(index.ok_or_else(|| format!("`{}`: {number} is not an index", self.id))?)
            }
            Value::Array(cells) => {
                let texts: Result<Vec<Option<String>>, String> = cells.iter().map(|cell| self.text_of(cell)).collect();
                let texts: Vec<String> = texts?.into_iter().flatten().collect();
                Ok((!texts.is_empty()).then(|| join_values(&texts)))
            }
            other => Ok(Some(plain(other))),
        }
    }
}

impl CodedValue {
    fn text(&self) -> Option<String> {
        [&self.id, &self.value, &self.name].into_iter().flatten().find(|value| !value.is_null()).map(plain)
    }
}

/// Returns a JSON value as a cell: numbers as they were written, texts in several languages joined.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => join_values(&values.iter().map(plain).collect::<Vec<_>>()),
        Value::Object(texts) => {
            join_languages(&texts.iter().map(|(language, text)| (language.clone(), plain(text))).collect::<Vec<_>>())
        }
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
