//! What a table is: columns, key, partitioning and the rules of writing to it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::column::{ColumnSpec, ColumnType};
use crate::name::{Ident, TableName};
use crate::origin::Origin;
use crate::provenance;

/// How a run's rows meet the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Rows are added; nothing is compared.
    Append,
    /// The run brings the full extract: rows absent from it were withdrawn by the provider. With a key, rows are
    /// compared by key; without one, by their whole content (a changed row is one withdrawn and one new).
    Snapshot,
    /// Rows are new or replace the row with the same key; absent rows stay.
    Upsert,
}

/// What to do when the source's columns are no longer the declared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// The run fails and names the columns.
    Fail,
    /// New columns are added as text; missing ones become NULL.
    AddColumns,
    /// Types may widen, see [`crate::ColumnType::widens_to`]; new columns are added.
    Widen,
    /// Rows that do not fit go to `__rejects`; the rest is published.
    Quarantine,
}

/// What becomes of a stored column whose declared type is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retype {
    /// It is the same type.
    Same,
    /// The column gets the declared type, which is wider.
    Widen,
    /// The column keeps its type, which is wider; an earlier run needed that.
    Keep,
}

impl OnDrift {
    /// Decides about a column that is stored as `stored` and declared as `declared`; `None` where that is refused.
    pub fn retype(self, stored: &DataType, declared: &DataType) -> Option<Retype> {
        if stored.equals_datatype(declared) {
            return Some(Retype::Same);
        }
        if self != Self::Widen {
            return None;
        }
        let (stored, declared) = (ColumnType::from_arrow(stored)?, ColumnType::from_arrow(declared)?);
        if stored.widens_to(&declared) {
            return Some(Retype::Widen);
        }
        declared.widens_to(&stored).then_some(Retype::Keep)
    }
}

/// A table as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its name.
    pub name: TableName,
    /// The declared columns, without the provenance columns.
    pub columns: Vec<ColumnSpec>,
    /// The columns that identify a row; required for `upsert`.
    pub key: Vec<Ident>,
    /// The columns that split the table into folders.
    pub partition_by: Vec<Ident>,
    /// How rows meet rows.
    pub write: WriteMode,
    /// What to do about drift.
    pub on_drift: OnDrift,
    /// Where it comes from.
    pub origin: Origin,
    /// What the table holds, for people.
    pub description: Option<String>,
}

impl TableSpec {
    /// Returns the Arrow schema of the declared columns, as decoders deliver them.
    pub fn declared_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(ColumnSpec::to_field).collect::<Vec<_>>()))
    }

    /// Returns the columns whose type in `stored` is wider than the declared one, with that type.
    pub fn wider_in(&self, stored: &Schema) -> Vec<(Ident, ColumnType)> {
        let columns = self.columns.iter().filter_map(|column| {
            let kind = ColumnType::from_arrow(stored.field_with_name(column.name.as_str()).ok()?.data_type())?;
            column.kind.widens_to(&kind).then(|| (column.name.clone(), kind))
        });
        columns.collect()
    }

    /// Returns the Arrow schema of the stored table: the declared columns, then the provenance columns.
    pub fn stored_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.columns.iter().map(ColumnSpec::to_field).collect();
        fields.extend(provenance::current_fields());
        Arc::new(Schema::new(fields))
    }
}
