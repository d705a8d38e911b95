//! Creates tables and brings their columns up to date with the spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use hambar_core::{OnDrift, Retype, StoreError, TableSpec, WriteMode, provenance};

use crate::actions::{Format, Line, Metadata, Protocol};
use crate::commit::{self, info};
use crate::error::{damaged, rows};
use crate::lake::Lake;
use crate::log::{LogState, TableLog, writer_obstacle};
use crate::partition::can_partition;
use crate::publish::discard;
use crate::schema;
use crate::snapshot::{PROPERTY_KEY, PROPERTY_WRITE, schema_of};
use crate::widen;

/// Rounds of reading and writing before another writer is held responsible.
const ATTEMPTS_MAX: u32 = 20;

/// How a table is to look.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) description: Option<String>,
    pub(crate) schema: SchemaRef,
    pub(crate) partition_by: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
    /// What may become of columns.
    pub(crate) on_drift: OnDrift,
}

impl Wanted {
    /// The current table of a spec.
    pub(crate) fn current(spec: &TableSpec) -> Self {
        let key: Vec<&str> = spec.key.iter().map(hambar_core::Ident::as_str).collect();
        let write = match spec.write {
            WriteMode::Append => "append",
            WriteMode::Snapshot => "snapshot",
            WriteMode::Upsert => "upsert",
        };
        let properties =
            BTreeMap::from([(PROPERTY_KEY.to_owned(), key.join(",")), (PROPERTY_WRITE.to_owned(), write.to_owned())]);
        Self {
            description: spec.description.clone(),
            schema: spec.stored_schema(),
            partition_by: spec.partition_by.iter().map(ToString::to_string).collect(),
            properties,
            on_drift: spec.on_drift,
        }
    }

    /// Its history.
    pub(crate) fn history(spec: &TableSpec) -> Self {
        let mut fields: Vec<Field> = spec.stored_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.extend(provenance::history_fields());
        Self { on_drift: spec.on_drift, ..Self::plain(Schema::new(fields)) }
    }

    /// Its rejects.
    pub(crate) fn rejects() -> Self {
        Self::plain(Schema::new(provenance::reject_fields()))
    }

    /// An unpartitioned table of these columns.
    pub(crate) fn plain(schema: Schema) -> Self {
        Self {
            description: None,
            schema: Arc::new(schema),
            partition_by: Vec::new(),
            properties: BTreeMap::new(),
            on_drift: OnDrift::AddColumns,
        }
    }
}

/// Refuses specs that this store cannot keep.
pub(crate) fn check_spec(spec: &TableSpec) -> Result<(), StoreError> {
    let label = spec.name.to_string();
    let declared = spec.declared_schema();
    for column in &spec.partition_by {
        let Ok(field) = declared.field_with_name(column.as_str()) else {
            return Err(rows(&label, format!("partition column `{column}` is not declared")));
        };
        if !can_partition(field.data_type()) {
            return Err(rows(&label, format!("column `{column}` of type {} cannot be a partition", field.data_type())));
        }
    }
    if let Some(column) = spec.key.iter().find(|column| declared.field_with_name(column.as_str()).is_err()) {
        return Err(rows(&label, format!("key column `{column}` is not declared")));
    }
    if spec.write != WriteMode::Upsert {
        return Ok(());
    }
    if spec.key.is_empty() {
        return Err(rows(&label, "upsert needs a key"));
    }
    if let Some(column) = spec.partition_by.iter().find(|column| !spec.key.contains(column)) {
        let what = format!("upsert needs partition column `{column}` in the key: a row may not change its partition");
        return Err(rows(&label, what));
    }
    Ok(())
}

/// Creates the table if it is missing, adds columns that it lacks, widens those that may, and returns its state.
pub(crate) async fn ensure(lake: &Lake, log: &TableLog, wanted: &Wanted) -> Result<Arc<LogState>, StoreError> {
    for attempt in 1..=ATTEMPTS_MAX {
        let (version, lines) = match lake.newest(log).await? {
            None => (0, creation(lake, log, wanted)?),
            Some(state) => match evolution(lake, log, &state, wanted).await? {
                None => return Ok(state),
                Some(lines) => (state.version + 1, lines),
            },
        };
        // Whoever won: the next round reads what is there.
        if commit::put(log, version, &lines).await? == commit::Put::Lost {
            let written = lines.iter().filter_map(|line| line.add.as_ref()).map(|add| add.path.clone()).collect();
            discard(lake, log, written).await;
            commit::pause(attempt).await;
        }
    }
    Err(StoreError::Contended { table: log.label.clone(), attempts: ATTEMPTS_MAX })
}

fn creation(lake: &Lake, log: &TableLog, wanted: &Wanted) -> Result<Vec<Line>, StoreError> {
    let now = lake.inner.clock.now().as_millisecond();
    let protocol =
        Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
    let metadata = Metadata {
        id: uuid::Uuid::new_v4().to_string(),
        name: Some(log.label.clone()),
        description: wanted.description.clone(),
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: text_of(log, &wanted.schema)?,
        partition_columns: wanted.partition_by.clone(),
        configuration: wanted.properties.clone(),
        created_time: Some(now),
    };
    Ok(vec![
        info("CREATE TABLE", now, []),
        Line { protocol: Some(protocol), ..Line::default() },
        Line { meta_data: Some(metadata), ..Line::default() },
    ])
}

async fn evolution(
    lake: &Lake,
    log: &TableLog,
    state: &LogState,
    wanted: &Wanted,
) -> Result<Option<Vec<Line>>, StoreError> {
    refuse_foreign(log, state)?;
    if state.metadata.partition_columns != wanted.partition_by {
        return Err(StoreError::Schema {
            table: log.label.clone(),
            column: "partition_by".to_owned(),
            stored: format!("[{}]", state.metadata.partition_columns.join(", ")),
            declared: format!("[{}]", wanted.partition_by.join(", ")),
        });
    }
    let stored = schema_of(log, state)?;
    let merged = merge_schemas(log, &stored, wanted)?;
    let mut configuration = state.metadata.configuration.clone();
    configuration.extend(wanted.properties.clone());
    if merged == *stored && configuration == state.metadata.configuration {
        return Ok(None);
    }
    let metadata = Metadata { schema_string: text_of(log, &merged)?, configuration, ..state.metadata.clone() };
    let is_wider = stored.fields().iter().any(|field| {
        merged.field_with_name(field.name()).is_ok_and(|wide| !wide.data_type().equals_datatype(field.data_type()))
    });
    if is_wider {
        return widen::widen(lake, log, state, &Arc::new(merged), metadata).await.map(Some);
    }
    let operation = if merged.fields().len() > stored.fields().len() { "ADD COLUMNS" } else { "CHANGE METADATA" };
    let now = lake.inner.clock.now().as_millisecond();
    Ok(Some(vec![info(operation, now, []), Line { meta_data: Some(metadata), ..Line::default() }]))
}

/// Refuses to write to a table that needs features of its writers that we do not have.
pub(crate) fn refuse_foreign(log: &TableLog, state: &LogState) -> Result<(), StoreError> {
    match writer_obstacle(state) {
        None => Ok(()),
        Some(feature) => Err(StoreError::Unfit {
            url: log.root.to_string(),
            what: format!("writing to table `{}` needs the Delta feature `{feature}`", log.label),
        }),
    }
}

/// Stored columns keep their place, and their type unless it may widen; new ones come before the provenance columns.
fn merge_schemas(log: &TableLog, stored: &Schema, wanted: &Wanted) -> Result<Schema, StoreError> {
    let (on_drift, wanted) = (wanted.on_drift, &wanted.schema);
    let mut fields: Vec<Field> = Vec::with_capacity(stored.fields().len());
    for field in stored.fields() {
        let Ok(declared) = wanted.field_with_name(field.name()) else {
            fields.push(field.as_ref().clone());
            continue;
        };
        let kind = match on_drift.retype(field.data_type(), declared.data_type()) {
            Some(Retype::Same | Retype::Keep) => field.data_type(),
            Some(Retype::Widen) => declared.data_type(),
            None => {
                return Err(StoreError::Schema {
                    table: log.label.clone(),
                    column: field.name().clone(),
                    stored: field.data_type().to_string(),
                    declared: declared.data_type().to_string(),
                });
            }
        };
        let kept = field.as_ref().clone().with_data_type(kind.clone());
        fields.push(kept.with_metadata(declared.metadata().clone()));
    }
    let place = fields.iter().position(|field| field.name() == provenance::RECORDED_AT).unwrap_or(fields.len());
    let new: Vec<Field> = wanted
        .fields()
        .iter()
        .filter(|field| stored.field_with_name(field.name()).is_err())
        .map(|field| field.as_ref().clone())
        .collect();
    fields.splice(place..place, new);
    Ok(Schema::new(fields))
}

fn text_of(log: &TableLog, schema: &Schema) -> Result<String, StoreError> {
    schema::to_delta(schema).map_err(|what| damaged(&log.label, what))
}
