//! Metadata: the one catalog, its namespaces and tables as they exist for whoever asks, their keys, and what the server
//! says about itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    GetCatalogsBuilder, GetDbSchemasBuilder, GetTablesBuilder, SqlInfoData, XdbcTypeInfoData,
};
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use hambar_core::{Classified as _, ErrorClass, Ident, TableName};
use hambar_query::{Cause, QueryLimits};
use tonic::Status;

use super::commands::Metadata;
use super::{server_info, status};
use crate::front::{FrontError, Protocol, QueryFront};
use crate::rest::auth::Asker;
use crate::rest::tables::whole_table;

/// The name of the one catalog, as `information_schema` has it.
const CATALOG: &str = "hambar";
/// The namespace that tells about the centre itself.
const SYSTEM: &str = "system";
/// What kinds of tables there are.
const TABLE: &str = "TABLE";
const SYSTEM_TABLE: &str = "SYSTEM TABLE";
/// Tables whose columns are sent in one batch.
const TABLES_AT_ONCE: usize = 32;
/// Entries about the server that one request may name.
const INFOS_MAX: usize = 1_000;

/// Rows about tables or the server.
pub(super) type Rows = BoxStream<'static, Result<RecordBatch, Status>>;

/// Answers questions about the server and its tables.
pub(super) struct Catalog {
    front: QueryFront,
    infos: SqlInfoData,
    types: XdbcTypeInfoData,
}

impl Catalog {
    pub(super) fn new(front: QueryFront, limits: &QueryLimits) -> Result<Self, FlightError> {
        Ok(Self { front, infos: server_info::sql_info(limits)?, types: server_info::types()? })
    }

    /// Returns the columns of an answer.
    pub(super) fn schema(&self, asked: &Metadata) -> SchemaRef {
        match asked {
            Metadata::Catalogs => GetCatalogsBuilder::new().schema(),
            Metadata::Schemas(_) => CommandGetDbSchemas::default().into_builder().schema(),
            Metadata::Tables(command) => {
                let with = CommandGetTables { include_schema: command.include_schema, ..CommandGetTables::default() };
                with.into_builder().schema()
            }
            Metadata::TableTypes => CommandGetTableTypes::default().into_builder().schema(),
            Metadata::PrimaryKeys(_) => primary_key_columns(),
            Metadata::ForeignKeys => foreign_key_columns(),
            Metadata::SqlInfo(_) => self.infos.schema(),
            Metadata::XdbcTypes(_) => self.types.schema(),
        }
    }

    /// Answers.
    pub(super) async fn rows(&self, asker: &Asker, asked: Metadata) -> Result<Rows, Status> {
        match asked {
            Metadata::Catalogs => {
                let mut builder = GetCatalogsBuilder::new();
                builder.append(CATALOG);
                one(builder.build())
            }
            Metadata::Schemas(command) => self.schemas(asker, command).await,
            Metadata::Tables(command) => self.tables(asker, command).await,
            Metadata::TableTypes => {
                let mut builder = CommandGetTableTypes::default().into_builder();
                [TABLE, SYSTEM_TABLE].into_iter().for_each(|kind| builder.append(kind));
                one(builder.build())
            }
            Metadata::PrimaryKeys(command) => self.primary_keys(asker, &command).await,
            Metadata::ForeignKeys => one(Ok(RecordBatch::new_empty(foreign_key_columns()))),
            Metadata::SqlInfo(command) => self.sql_info(command),
            Metadata::XdbcTypes(CommandGetXdbcTypeInfo { data_type }) => one(self.types.record_batch(data_type)),
        }
    }

    fn sql_info(&self, command: CommandGetSqlInfo) -> Result<Rows, Status> {
        if command.info.len() > INFOS_MAX {
            return Err(Status::invalid_argument(format!(
                "{} entries are asked for; at most {INFOS_MAX} may be",
                command.info.len()
            )));
        }
        one(self.infos.record_batch(command.info))
    }

    /// Returns the tables that exist for whoever asks, in order.
    async fn visible(&self, asker: &Asker) -> Result<Vec<TableName>, Status> {
        let tables = self.front.catalogue().tables().await.map_err(|error| status::of(&FrontError::Query(error)))?;
        Ok(tables.iter().filter(|table| asker.principal.visibility().sees(table)).cloned().collect())
    }

    async fn schemas(&self, asker: &Asker, command: CommandGetDbSchemas) -> Result<Rows, Status> {
        let tables = self.visible(asker).await?;
        let mut namespaces: Vec<&Ident> = tables.iter().map(|table| &table.namespace).collect();
        namespaces.dedup();
        let mut builder: GetDbSchemasBuilder = command.into_builder();
        for namespace in namespaces {
            builder.append(CATALOG, namespace.as_str());
        }
        one(builder.build())
    }

    async fn tables(&self, asker: &Asker, command: CommandGetTables) -> Result<Rows, Status> {
        let include_schema = command.include_schema;
        let mut builder = CommandGetTables { include_schema: false, ..command }.into_builder();
        let tables = self.visible(asker).await?;
        for table in &tables {
            append(&mut builder, table, &Schema::empty())?;
        }
        let listed = builder.build().map_err(not_made)?;
        if !include_schema {
            return one(Ok(listed));
        }
        let chunks: Vec<Vec<TableName>> = names(&listed).chunks(TABLES_AT_ONCE).map(<[TableName]>::to_vec).collect();
        let (front, asker) = (self.front.clone(), asker.clone());
        let described = futures::stream::iter(chunks).then(move |chunk| {
            let (front, asker) = (front.clone(), asker.clone());
            async move { with_columns(&front, &asker, &chunk).await }
        });
        Ok(described.boxed())
    }

    async fn primary_keys(&self, asker: &Asker, command: &CommandGetPrimaryKeys) -> Result<Rows, Status> {
        let is_here = command.catalog.as_ref().is_none_or(|catalog| catalog == CATALOG);
        let wanted = |table: &TableName| {
            let in_namespace = command.db_schema.as_ref().is_none_or(|name| name == table.namespace.as_str());
            is_here && in_namespace && command.table == table.table.as_str()
        };
        let datasets =
            self.front.catalogue().datasets().await.map_err(|error| status::of(&FrontError::Query(error)))?;
        let mut rows: Vec<(TableName, String, i32)> = Vec::new();
        for table in self.visible(asker).await?.into_iter().filter(wanted) {
            let visibility = asker.principal.visibility();
            let key = datasets.get(&table).map(|dataset| dataset.shown(&table, visibility).key).unwrap_or_default();
            rows.extend(key.iter().zip(1..).map(|(column, place)| (table.clone(), column.clone(), place)));
        }
        let text = |of: fn(&(TableName, String, i32)) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
        };
        let columns = vec![
            text(|_| CATALOG),
            text(|(table, ..)| table.namespace.as_str()),
            text(|(table, ..)| table.table.as_str()),
            text(|(_, column, _)| column),
            Arc::new(StringArray::new_null(rows.len())),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|(.., place)| *place))),
        ];
        one(RecordBatch::try_new(primary_key_columns(), columns).map_err(FlightError::from))
    }
}

/// Lists tables with their columns, as a query of each would give them.
async fn with_columns(front: &QueryFront, asker: &Asker, tables: &[TableName]) -> Result<RecordBatch, Status> {
    let mut builder = CommandGetTables { include_schema: true, ..CommandGetTables::default() }.into_builder();
    for table in tables {
        match front.describe(&whole_table(asker, Protocol::Flight, table)).await {
            Ok(description) => append(&mut builder, table, &super::encode::sent(&description.schema))?,
            // It went in the meantime.
            Err(FrontError::Query(error)) if error.cause() == Cause::Table => {}
            // Its policy no longer fits it: it cannot be read.
            Err(FrontError::Query(error)) if error.class() == ErrorClass::Denied => {}
            Err(error) => return Err(status::of(&error)),
        }
    }
    builder.build().map_err(not_made)
}

fn append(builder: &mut GetTablesBuilder, table: &TableName, schema: &Schema) -> Result<(), Status> {
    let namespace = table.namespace.as_str();
    let kind = if namespace == SYSTEM { SYSTEM_TABLE } else { TABLE };
    builder.append(CATALOG, namespace, table.table.as_str(), kind, schema).map_err(not_made)
}

/// The tables of a list.
fn names(listed: &RecordBatch) -> Vec<TableName> {
    use arrow::array::AsArray;
    let text = |column: &str| listed.column_by_name(column).and_then(|column| column.as_string_opt::<i32>());
    let (Some(namespaces), Some(tables)) = (text("db_schema_name"), text("table_name")) else { return Vec::new() };
    let pairs = namespaces.iter().flatten().zip(tables.iter().flatten());
    pairs.filter_map(|(namespace, table)| format!("{namespace}.{table}").parse().ok()).collect()
}

fn one(batch: Result<RecordBatch, FlightError>) -> Result<Rows, Status> {
    let batch = batch.map_err(not_made)?;
    Ok(futures::stream::iter([Ok(batch)]).boxed())
}

fn not_made(error: FlightError) -> Status {
    match error {
        FlightError::Arrow(error) => of_filter(&error),
        other => of_filter(&ArrowError::ExternalError(Box::new(other))),
    }
}

/// The only thing of these lists that a client has a hand in is the pattern of a filter.
fn of_filter(error: &ArrowError) -> Status {
    Status::invalid_argument(format!("list what is asked for: {error}"))
}

fn primary_key_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_key_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}
