//! What is asked of a query worker: a statement, the values of its parameters, what it may see and use; and what a
//! worker says about a statement without running it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use hambar_core::TableName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::QueryLimits;
use crate::visibility::Visibility;

/// Parameters of one statement.
pub const PARAMETERS_MAX: usize = 1_000;

/// One statement and everything that it may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The statement.
    pub sql: String,
    /// The values of `$1`, `$2` …
    pub parameters: Parameters,
    /// The tables and rows that exist for it.
    pub visibility: Visibility,
    /// What it may use; never more than the worker was started with.
    pub limits: QueryLimits,
    /// The versions of tables, histories included, of which the statement names none. Others are read in their newest.
    #[serde(default)]
    pub standing: BTreeMap<TableName, u64>,
}

impl Question {
    /// Makes a question without parameters that may see everything; for the owner of the store.
    pub fn new(sql: impl Into<String>, limits: QueryLimits) -> Self {
        Self {
            sql: sql.into(),
            parameters: Parameters::none(),
            visibility: Visibility::all(),
            limits,
            standing: BTreeMap::new(),
        }
    }
}

/// The values of a statement's parameters, in order. They are bound as values and never become part of the text.
#[derive(Clone, PartialEq)]
pub struct Parameters {
    row: RecordBatch,
}

impl Parameters {
    /// No parameters.
    pub fn none() -> Self {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options);
        Self { row: row.expect("a batch of one row and no columns is whole") }
    }

    /// Takes arrays of one value each.
    ///
    /// # Errors
    /// Where an array has not exactly one value, or there are more than [`PARAMETERS_MAX`].
    pub fn new(values: Vec<ArrayRef>) -> Result<Self, ArrowError> {
        let fields: Vec<Field> = values
            .iter()
            .enumerate()
            .map(|(index, value)| Field::new(format!("${}", index + 1), value.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options)?;
        Self::from_row(row)
    }

    /// Takes the only row of a batch, column by column, whatever the columns are called.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_row(row: RecordBatch) -> Result<Self, ArrowError> {
        let wrong = |what: String| Err(ArrowError::InvalidArgumentError(what));
        if row.num_rows() != 1 {
            return wrong(format!("parameters come as one row, not {}", row.num_rows()));
        }
        if row.num_columns() > PARAMETERS_MAX {
            return wrong(format!("{} parameters were sent, at most {PARAMETERS_MAX} are taken", row.num_columns()));
        }
        Ok(Self { row })
    }

    /// Returns the values, each an array of one.
    pub fn values(&self) -> &[ArrayRef] {
        self.row.columns()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.row.num_columns() == 0
    }

    /// Returns the row as an Arrow IPC stream: the form in which it crosses processes, and a part of cache keys.
    ///
    /// # Errors
    /// Where a type cannot be written.
    pub fn to_ipc(&self) -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.row.schema())?;
        writer.write(&self.row)?;
        writer.into_inner()
    }

    /// Reads what [`Self::to_ipc`] wrote.
    ///
    /// # Errors
    /// Where the bytes are no such stream.
    pub fn from_ipc(bytes: &[u8]) -> Result<Self, ArrowError> {
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
        match reader.next() {
            Some(row) => Self::from_row(row?),
            None => Ok(Self::none()),
        }
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::none()
    }
}

// Values are users' data and are not printed.
impl std::fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Parameters").field("count", &self.row.num_columns()).finish()
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.to_ipc().map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&base64::display::Base64Display::new(&bytes, &base64::prelude::BASE64_STANDARD))
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        let bytes = base64::prelude::BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Self::from_ipc(&bytes).map_err(serde::de::Error::custom)
    }
}

/// Which version of a table a query reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionRead {
    /// The table.
    pub table: TableName,
    /// The version.
    pub version: u64,
    /// Whether the statement names the version (`VERSION AS OF`), or the question does, so that a newer one changes nothing.
    #[serde(default)]
    pub is_pinned: bool,
}

/// What is known about an answer before its first row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Which version of each table is read.
    pub versions: Vec<VersionRead>,
    /// Whether the same statement over the same versions gives the same rows: it asks neither for the time, nor for
    /// chance, nor for the list of tables.
    pub is_repeatable: bool,
}

impl Facts {
    /// Says whether the answer can never change: every version is named in the statement.
    pub fn is_immutable(&self) -> bool {
        self.is_repeatable && self.versions.iter().all(|read| read.is_pinned)
    }
}

/// A parameter of a statement that was planned without values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterType {
    /// `$1`, `$2` …
    pub name: String,
    /// The type that its place in the statement asks for, where that is known.
    pub data_type: Option<DataType>,
}

/// What a statement would give, without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The columns of the answer. A column whose type depends on a parameter of unknown type has the type Null.
    pub schema: SchemaRef,
    /// The parameters in order.
    pub parameters: Vec<ParameterType>,
    /// What it reads.
    pub facts: Facts,
}

impl Description {
    /// The parameters as a schema, in which a type that is not known is Null.
    pub fn parameter_schema(&self) -> Schema {
        Schema::new(
            self.parameters
                .iter()
                .map(|parameter| {
                    Field::new(&parameter.name, parameter.data_type.clone().unwrap_or(DataType::Null), true)
                })
                .collect::<Vec<_>>(),
        )
    }
}

/// The parameters that [`Description::parameter_schema`] stands for.
pub(crate) fn parameters_of(schema: &Schema) -> Vec<ParameterType> {
    let parameter = |field: &Arc<Field>| ParameterType {
        name: field.name().clone(),
        data_type: Some(field.data_type().clone()).filter(|kind| *kind != DataType::Null),
    };
    schema.fields().iter().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn parameters_cross_processes_unharmed() {
        let values: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["'; DROP"])), Arc::new(Float64Array::from(vec![None]))];
        let question = Question {
            parameters: Parameters::new(values).unwrap(),
            ..Question::new("SELECT $1, $2", QueryLimits::default())
        };
        let text = serde_json::to_string(&question).unwrap();
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), question);
        let none = Question::new("SELECT 1", QueryLimits::default());
        let text = serde_json::to_string(&none).unwrap();
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), none);
        assert!(Parameters::new(vec![Arc::new(StringArray::from(vec!["a", "b"]))]).is_err());
    }
}
