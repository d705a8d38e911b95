//! The operations by Arrow Flight SQL.

use arrow_flight::sql::{CommandGetPrimaryKeys, CommandGetTables};
use arrow_flight::{CancelFlightInfoRequest, FlightInfo};
use prost::Message;
use tonic::{Code, Status};

use super::http::{WRITES, reading};
use super::{Asker, ENDLESS, MISSING, Operation, REFUSED, Stage, UNKNOWN, letters, same, told};
use crate::serve::flight::{Client, columns, rows, status, texts};

pub(super) fn try_all(stage: &Stage, asker: &Asker, operations: &[Operation]) -> Vec<String> {
    let mut client = client(stage, asker.token.as_deref());
    operations.iter().map(|operation| tried(stage, asker, &mut client, *operation)).collect()
}

fn client(stage: &Stage, token: Option<&str>) -> Client {
    let mut client = Client::new(&stage.served, token.unwrap_or_default());
    if token.is_none() {
        client.sql.clear_token();
    }
    client
}

fn end(error: &Status) -> String {
    let text = error.message();
    let end = match error.code() {
        Code::Unauthenticated => UNKNOWN,
        Code::ResourceExhausted if text.contains("not valid") => UNKNOWN,
        Code::PermissionDenied => REFUSED,
        Code::NotFound => MISSING,
        Code::InvalidArgument if text.contains("does not exist") => MISSING,
        code => return format!("{code:?} {text}"),
    };
    end.to_owned()
}

fn ok_or_end<T>(result: Result<T, Status>) -> String {
    result.map_or_else(|error| end(&error), |_| "ok".to_owned())
}

fn tried(stage: &Stage, asker: &Asker, client: &mut Client, operation: Operation) -> String {
    match operation {
        Operation::Ask(sql) => match client.ask(sql) {
            Ok(batches) => told(&texts(&batches[0], "found")[0]),
            Err(error) => end(&error),
        },
        Operation::Read(table) => {
            let mut ends = Vec::new();
            for sql in reading(table) {
                ends.push((sql.clone(), ok_or_end(client.ask(&sql))));
                let prepared = client.runtime.block_on(client.sql.prepare(sql.clone(), None));
                ends.push((format!("prepared {sql}"), ok_or_end(prepared.map(drop).map_err(status))));
            }
            same(ends)
        }
        Operation::Export(table) => match client.ask(&format!("SELECT * FROM {table}")) {
            Ok(batches) => batches.iter().map(|batch| batch.num_rows()).sum::<usize>().to_string(),
            Err(error) => end(&error),
        },
        Operation::List => match tables(client, CommandGetTables::default()) {
            Ok(listed) => letters(|table| listed.contains(&table.to_owned())),
            Err(error) => end(&error),
        },
        Operation::Columns(table) => described(client, table),
        Operation::Write => {
            let mut ends = Vec::new();
            for sql in WRITES {
                ends.push((sql.to_owned(), ok_or_end(client.ask(sql))));
                let updated = client.runtime.block_on(client.sql.execute_update(sql.to_owned(), None));
                ends.push((format!("update {sql}"), ok_or_end(updated.map_err(status))));
            }
            same(ends)
        }
        Operation::CancelOwn => cancel(stage, client, asker.token.as_deref()),
        Operation::CancelForeign => cancel(stage, client, Some(&stage.served.token)),
        other => panic!("Flight SQL does not offer {other:?}"),
    }
}

/// The tables that are listed, as `namespace.table`.
fn tables(client: &mut Client, command: CommandGetTables) -> Result<Vec<String>, Status> {
    let info = client.runtime.block_on(client.sql.get_tables(command)).map_err(status)?;
    let batches = client.rows(&info)?;
    let listed = batches.iter().flat_map(|batch| {
        let pairs = texts(batch, "db_schema_name").into_iter().zip(texts(batch, "table_name"));
        pairs.map(|(namespace, table)| format!("{namespace}.{table}")).collect::<Vec<_>>()
    });
    Ok(listed.collect())
}

/// The columns that an answer has, and that the list of tables has as well.
fn described(client: &mut Client, table: &str) -> String {
    let names = |schema: &arrow::datatypes::Schema| {
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.filter(|name| !name.starts_with('_')).collect::<Vec<_>>().join(",")
    };
    let info = match client.info(&format!("SELECT * FROM {table}")) {
        Ok(info) => info,
        Err(error) => return end(&error),
    };
    let announced = names(&columns(&info));
    let (namespace, name) = table.split_once('.').unwrap();
    let command = CommandGetTables {
        include_schema: true,
        db_schema_filter_pattern: Some(namespace.to_owned()),
        table_name_filter_pattern: Some(name.to_owned()),
        ..CommandGetTables::default()
    };
    let listed = client.runtime.block_on(client.sql.get_tables(command));
    let listed = client.told(listed);
    let place = texts(&listed, "table_name").iter().position(|found| found == name).unwrap();
    let schemas = listed.column_by_name("table_schema").unwrap();
    let bytes = arrow::array::AsArray::as_binary::<i32>(schemas).value(place);
    let reader = arrow::ipc::convert::try_schema_from_ipc_buffer(bytes).unwrap();
    let keys = CommandGetPrimaryKeys { table: name.to_owned(), ..CommandGetPrimaryKeys::default() };
    let keys = client.runtime.block_on(client.sql.get_primary_keys(keys));
    assert_eq!(texts(&client.told(keys), "column_name"), ["id"]);
    same(vec![("answer".to_owned(), announced), ("list".to_owned(), names(&reader))])
}

/// Starts a query with `token`, and lets `client` stop it.
fn cancel(stage: &Stage, client: &mut Client, token: Option<&str>) -> String {
    let mut owner = self::client(stage, token);
    let info = match owner.info(ENDLESS) {
        Ok(info) => info,
        Err(error) => return end(&error),
    };
    // Who is not let in does not come as far as to a ticket.
    if let Err(error) = client.info("SELECT 1") {
        return end(&error);
    }
    let running = {
        let (mut sql, info) = (owner.sql_again(&stage.served), info.clone());
        owner.runtime.spawn(async move { rows(&mut sql, &info).await.map_err(status) })
    };
    stage.running(|query| query["protocol"] == "flight");
    let body = |info: FlightInfo| CancelFlightInfoRequest::new(info).encode_to_vec();
    let stopped = ok_or_end(client.act("CancelFlightInfo", body(info.clone())));
    if stopped != "ok" {
        owner.act("CancelFlightInfo", body(info)).unwrap();
    }
    let ended = owner.runtime.block_on(running).unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Cancelled, "{ended:?}");
    stopped
}
