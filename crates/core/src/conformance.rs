//! What every store must do, as functions that its tests call. They know no runtime: any executor can run them.
//!
//! Each function takes a fresh, empty store and panics, with the scenario in the message, where it breaks the
//! contract of [`crate::store`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use jiff::Timestamp;

use crate::checkpoint::{Checkpoint, Position, SliceId, SliceState};
use crate::column::{ColumnSpec, ColumnType};
use crate::name::{Ident, RunId, TableName};
use crate::origin::{Licence, Origin, Redistribution};
use crate::store::{CommitOutcome, CommitRequest, LeaseOutcome, RunStamp, StoreError, TableStore};
use crate::system::{SystemTable, system_batch};
use crate::table::{OnDrift, TableSpec, WriteMode};

/// Reads a store's tables back, for the assertions.
#[async_trait]
pub trait ReadRows: Send + Sync {
    /// Returns all rows of `table`; names that end with `__history` and `__rejects` stand for those tables.
    async fn read_rows(&self, table: &TableName) -> Result<Vec<RecordBatch>, StoreError>;
}

#[async_trait]
impl ReadRows for crate::memory::MemoryStore {
    async fn read_rows(&self, table: &TableName) -> Result<Vec<RecordBatch>, StoreError> {
        self.rows(table)
    }
}

/// A row of the tables in this suite: `geo`, `year`, `value`.
pub type Row = (&'static str, i64, Option<i64>);

/// Makes the spec of a table `suite.<name>` with the columns `geo`, `year` and `value`.
///
/// # Panics
/// Where `name`, a key or a partition column is not a name.
pub fn spec(name: &str, write: WriteMode, key: &[&str], partition_by: &[&str]) -> TableSpec {
    let idents = |names: &[&str]| names.iter().map(|name| ident(name)).collect::<Vec<_>>();
    TableSpec {
        name: TableName { namespace: ident("suite"), table: ident(name) },
        columns: vec![
            ColumnSpec::new(&ident("geo"), ColumnType::String),
            ColumnSpec::new(&ident("year"), ColumnType::Int64),
            ColumnSpec::new(&ident("value"), ColumnType::Int64),
        ],
        key: idents(key),
        partition_by: idents(partition_by),
        write,
        on_drift: OnDrift::Fail,
        origin: Origin {
            provider: "the suite".to_owned(),
            title: "the suite".to_owned(),
            citation: "the suite".to_owned(),
            landing_page: None,
            licence: Licence { spdx: "CC0-1.0".to_owned(), redistribution: Redistribution::Allowed },
        },
        description: None,
    }
}

/// Makes a batch of rows for [`spec`].
pub fn batch(rows: &[Row]) -> RecordBatch {
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("geo", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))), true),
        ("year", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))), true),
        ("value", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are of one length")
}

/// Runs `run` once: opens the table, writes `rows`, and commits with the position `at`.
///
/// # Errors
/// Those of the store.
pub async fn load(
    store: &dyn TableStore,
    spec: &TableSpec,
    run: &str,
    at: &str,
    rows: &[Row],
) -> Result<CommitOutcome, StoreError> {
    let state = store.open(spec).await?;
    let mut writer = store.writer(spec, &state, stamp(run)).await?;
    for chunk in rows.chunks(2) {
        writer.write(batch(chunk), &format!("sha-{run}")).await?;
    }
    writer.commit(request(at, rows.len())).await
}

/// The stamp of a run; all runs of the suite look at the same clock, which stands still.
pub fn stamp(run: &str) -> RunStamp {
    // An instant whose text form has all six digits, so that texts of instants sort as the instants do.
    let standing = Timestamp::from_microsecond(1_000_001).unwrap_or_default();
    RunStamp { run: RunId(run.to_owned()), recorded_at: standing }
}

/// The request of a run that read slice `all` up to `at`.
pub fn request(at: &str, rows: usize) -> CommitRequest {
    let state = SliceState { position: Position::At(at.into()), seen: None };
    let checkpoint = Checkpoint { slices: [(SliceId("all".to_owned()), state)].into() };
    CommitRequest { checkpoint, rows_expected: rows as u64 }
}

/// Shows the rows of a table, sorted; each as its cells in the order of `columns`.
///
/// # Panics
/// Where the table cannot be read or lacks a column.
pub async fn show(reader: &dyn ReadRows, table: &TableName, columns: &[&str]) -> Vec<String> {
    let batches = reader.read_rows(table).await.expect("the table can be read");
    let mut lines = Vec::new();
    for batch in batches {
        let texts: Vec<ArrayRef> = columns
            .iter()
            .map(|name| {
                let column = batch.column_by_name(name).unwrap_or_else(|| panic!("`{table}` has no column `{name}`"));
                cast(column, &DataType::Utf8).expect("every column has a text form")
            })
            .collect();
        for row in 0..batch.num_rows() {
            let cells = texts.iter().map(|column| {
                let texts = column.as_any().downcast_ref::<StringArray>().expect("it was cast to text");
                if texts.is_null(row) { "-" } else { texts.value(row) }
            });
            lines.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    lines.sort();
    lines
}

/// The name of the table beside `table` that ends with `suffix`.
pub fn beside(table: &TableName, suffix: &str) -> TableName {
    TableName { namespace: table.namespace.clone(), table: ident(&format!("{}{suffix}", table.table)) }
}

fn ident(text: &str) -> Ident {
    text.parse().expect("the suite's names are names")
}

fn committed(rows: u64, revised: u64, withdrawn: u64, outcome: &CommitOutcome, scenario: &str) {
    let CommitOutcome::Committed { rows: new, revised: changed, withdrawn: gone, .. } = outcome else {
        panic!("{scenario}: expected a commit, got {outcome:?}");
    };
    assert_eq!((*new, *changed, *gone), (rows, revised, withdrawn), "{scenario}");
}

/// Appended rows add up, with partitions and without, and the checkpoint is that of the newest commit.
pub async fn appends_add_up(store: &dyn TableStore, reader: &dyn ReadRows) {
    for (name, partitions) in [("plain", &[][..]), ("split", &["geo", "year"][..])] {
        let spec = spec(name, WriteMode::Append, &[], partitions);
        let first = load(store, &spec, "r1", "a", &[("BG", 2020, Some(1)), ("RO", 2020, None)]).await;
        committed(2, 0, 0, &first.expect("the first load commits"), name);
        let second = load(store, &spec, "r2", "b", &[("BG", 2020, Some(1))]).await;
        committed(1, 0, 0, &second.expect("the second load commits"), name);
        let shown = show(reader, &spec.name, &["geo", "year", "value", "_source"]).await;
        assert_eq!(shown, ["BG 2020 1 sha-r1", "BG 2020 1 sha-r2", "RO 2020 - sha-r1"], "{name}");
        let state = store.open(&spec).await.expect("the table opens");
        assert_eq!((state.sequence, state.rows), (2, 3), "{name}");
        assert_eq!(state.run, Some(RunId("r2".to_owned())), "{name}");
        assert_eq!(state.checkpoint, request("b", 0).checkpoint, "{name}");
    }
}

/// A repeated run is recognised, whatever it brings.
pub async fn a_repeated_run_is_applied_once(store: &dyn TableStore, reader: &dyn ReadRows) {
    for (name, write, key) in
        [("again_append", WriteMode::Append, &[][..]), ("again_upsert", WriteMode::Upsert, &["geo"][..])]
    {
        let spec = spec(name, write, key, &[]);
        let rows: &[Row] = &[("BG", 2020, Some(1))];
        let outcome = load(store, &spec, "r1", "a", rows).await.expect("the load commits");
        let CommitOutcome::Committed { version, .. } = outcome else { panic!("{name}: {outcome:?}") };
        let again = load(store, &spec, "r1", "a", rows).await.expect("the repeat ends");
        assert_eq!(again, CommitOutcome::AlreadyApplied { version }, "{name}");
        assert_eq!(show(reader, &spec.name, &["geo"]).await, ["BG"], "{name}");
    }
}

/// Of two runs that started from the same state, the second to commit loses.
pub async fn the_second_of_two_runs_conflicts(store: &dyn TableStore, reader: &dyn ReadRows) {
    let spec = spec("race", WriteMode::Append, &[], &[]);
    let state = store.open(&spec).await.expect("the table opens");
    let mut first = store.writer(&spec, &state, stamp("r1")).await.expect("a writer opens");
    let mut second = store.writer(&spec, &state, stamp("r2")).await.expect("a writer opens");
    first.write(batch(&[("BG", 1, None)]), "s").await.expect("rows are taken");
    second.write(batch(&[("RO", 1, None)]), "s").await.expect("rows are taken");
    committed(1, 0, 0, &second.commit(request("x", 1)).await.expect("one run commits"), "race");
    let lost = first.commit(request("y", 1)).await.expect("the other run ends");
    assert_eq!(lost, CommitOutcome::Conflict { winner: RunId("r2".to_owned()) });
    assert_eq!(show(reader, &spec.name, &["geo"]).await, ["RO"]);
}

/// Upsert adds and replaces, keeps what is absent, and moves replaced rows to the history.
pub async fn upsert_replaces_by_key(store: &dyn TableStore, reader: &dyn ReadRows) {
    for (name, partitions) in [("upsert", &[][..]), ("upsert_split", &["geo"][..])] {
        let spec = spec(name, WriteMode::Upsert, &["geo", "year"], partitions);
        let rows: &[Row] = &[("RO", 2021, Some(4)), ("BG", 2020, Some(1)), ("BG", 2021, Some(2)), ("RO", 2020, None)];
        committed(4, 0, 0, &load(store, &spec, "r1", "a", rows).await.expect("commits"), name);
        let rows: &[Row] = &[("BG", 2021, Some(20)), ("MK", 2020, Some(7)), ("BG", 2020, Some(1))];
        committed(2, 1, 0, &load(store, &spec, "r2", "b", rows).await.expect("commits"), name);
        let shown = show(reader, &spec.name, &["geo", "year", "value", "_source"]).await;
        let expected =
            ["BG 2020 1 sha-r1", "BG 2021 20 sha-r2", "MK 2020 7 sha-r2", "RO 2020 - sha-r1", "RO 2021 4 sha-r1"];
        assert_eq!(shown, expected, "{name}");
        let history = beside(&spec.name, "__history");
        let shown = show(reader, &history, &["geo", "year", "value", "_change", "_sequence", "_source"]).await;
        assert_eq!(shown, ["BG 2021 2 revised 2 sha-r1"], "{name}");
        let same = load(store, &spec, "r3", "b", &[("BG", 2021, Some(20))]).await.expect("the load ends");
        assert_eq!(same, CommitOutcome::Unchanged, "{name}");
    }
}

/// A snapshot withdraws what is absent from it, by key or by content.
pub async fn a_snapshot_withdraws_what_is_absent(store: &dyn TableStore, reader: &dyn ReadRows) {
    for (name, key) in [("full", &["geo", "year"][..]), ("full_keyless", &[][..])] {
        let spec = spec(name, WriteMode::Snapshot, key, &[]);
        let rows: &[Row] = &[("BG", 2020, Some(1)), ("BG", 2021, Some(2)), ("RO", 2020, Some(3))];
        committed(3, 0, 0, &load(store, &spec, "r1", "a", rows).await.expect("commits"), name);
        let same = load(store, &spec, "r2", "a", rows).await.expect("the load ends");
        assert_eq!(same, CommitOutcome::Unchanged, "{name}");
        let rows: &[Row] = &[("RO", 2020, Some(30)), ("BG", 2020, Some(1))];
        let outcome = load(store, &spec, "r3", "b", rows).await.expect("commits");
        let (revised, withdrawn, change) = if key.is_empty() { (0, 2, "withdrawn") } else { (1, 1, "revised") };
        committed(1, revised, withdrawn, &outcome, name);
        assert_eq!(show(reader, &spec.name, &["geo", "year", "value"]).await, ["BG 2020 1", "RO 2020 30"], "{name}");
        let history = show(reader, &beside(&spec.name, "__history"), &["geo", "year", "value", "_change"]).await;
        assert_eq!(history, ["BG 2021 2 withdrawn".to_owned(), format!("RO 2020 3 {change}")], "{name}");
    }
}

/// Equal rows of a table without a key are counted, not folded.
pub async fn equal_rows_without_a_key_are_counted(store: &dyn TableStore, reader: &dyn ReadRows) {
    let spec = spec("bag", WriteMode::Snapshot, &[], &[]);
    let twice: &[Row] = &[("BG", 1, None), ("BG", 1, None), ("RO", 1, None)];
    committed(3, 0, 0, &load(store, &spec, "r1", "a", twice).await.expect("commits"), "bag");
    let once: &[Row] = &[("RO", 1, None), ("BG", 1, None), ("RO", 1, None)];
    committed(1, 0, 1, &load(store, &spec, "r2", "b", once).await.expect("commits"), "bag");
    assert_eq!(show(reader, &spec.name, &["geo", "_source"]).await, ["BG sha-r1", "RO sha-r1", "RO sha-r2"]);
}

/// A key that comes twice is folded where the rows are equal, and refused where they differ.
pub async fn a_contradiction_within_a_run_is_refused(store: &dyn TableStore, reader: &dyn ReadRows) {
    let spec = spec("twice", WriteMode::Upsert, &["geo", "year"], &[]);
    let equal: &[Row] = &[("BG", 1, Some(1)), ("RO", 1, None), ("BG", 1, Some(1))];
    committed(2, 0, 0, &load(store, &spec, "r1", "a", equal).await.expect("commits"), "equal");
    let differing: &[Row] = &[("BG", 1, Some(1)), ("RO", 1, None), ("BG", 1, Some(2))];
    let refused = load(store, &spec, "r2", "b", differing).await;
    assert!(matches!(refused, Err(StoreError::Rows { .. })), "{refused:?}");
    assert_eq!(show(reader, &spec.name, &["geo", "value"]).await, ["BG 1", "RO -"]);
}

/// A run that wrote another number of rows than it announced publishes nothing.
pub async fn a_wrong_row_count_is_refused(store: &dyn TableStore, reader: &dyn ReadRows) {
    let spec = spec("count", WriteMode::Append, &[], &[]);
    let state = store.open(&spec).await.expect("the table opens");
    let mut writer = store.writer(&spec, &state, stamp("r1")).await.expect("a writer opens");
    writer.write(batch(&[("BG", 1, None)]), "s").await.expect("rows are taken");
    let refused = writer.commit(request("a", 2)).await;
    assert!(matches!(refused, Err(StoreError::Rows { .. })), "{refused:?}");
    assert!(show(reader, &spec.name, &["geo"]).await.is_empty());
}

/// Instants of commits rise although the clock stands still; unchanged rows keep theirs.
pub async fn recorded_instants_rise(store: &dyn TableStore, reader: &dyn ReadRows) {
    let spec = spec("instants", WriteMode::Upsert, &["geo"], &[]);
    for (run, geo) in [("r1", "A"), ("r2", "B"), ("r3", "C")] {
        let outcome = load(store, &spec, run, run, &[(geo, 1, None)]).await.expect("commits");
        committed(1, 0, 0, &outcome, run);
    }
    let shown = show(reader, &spec.name, &["_recorded_at", "geo"]).await;
    let order: Vec<&str> = shown.iter().filter_map(|line| line.split_once(' ')).map(|(_, geo)| geo).collect();
    assert_eq!(order, ["A", "B", "C"]);
    let instants: std::collections::BTreeSet<&str> =
        shown.iter().filter_map(|line| line.split_once(' ')).map(|(instant, _)| instant).collect();
    assert_eq!(instants.len(), 3, "{shown:?}");
}

/// New columns appear with NULL in old rows; another type is refused.
pub async fn columns_are_added_but_never_retyped(store: &dyn TableStore, reader: &dyn ReadRows) {
    let mut spec = spec("columns", WriteMode::Upsert, &["geo"], &[]);
    let flag = spec.columns.remove(1);
    let state = store.open(&spec).await.expect("the table opens");
    let mut writer = store.writer(&spec, &state, stamp("r1")).await.expect("a writer opens");
    let narrow = batch(&[("BG", 1, Some(1))]).project(&[0, 2]).expect("the columns are there");
    writer.write(narrow, "s").await.expect("rows are taken");
    committed(1, 0, 0, &writer.commit(request("a", 1)).await.expect("commits"), "columns");
    spec.columns.push(flag);
    committed(1, 0, 0, &load(store, &spec, "r2", "b", &[("RO", 5, None)]).await.expect("commits"), "columns");
    assert_eq!(show(reader, &spec.name, &["geo", "year", "value"]).await, ["BG - 1", "RO 5 -"]);
    spec.columns[1].kind = ColumnType::Bool;
    let refused = store.open(&spec).await;
    assert!(matches!(refused, Err(StoreError::Schema { .. })), "{refused:?}");
}

/// Columns become wider with all their rows, in the table and its history; a stored type that is wider than the declared
/// one stays; nothing becomes narrower.
pub async fn columns_widen_but_never_narrow(store: &dyn TableStore, reader: &dyn ReadRows) {
    for (name, write, partitions) in [
        ("wide", WriteMode::Upsert, &[][..]),
        ("wide_split", WriteMode::Snapshot, &["year"][..]),
        ("wide_append", WriteMode::Append, &["geo"][..]),
    ] {
        let key: &[&str] = if write == WriteMode::Append { &[] } else { &["geo", "year"] };
        let wide = TableSpec { on_drift: OnDrift::Widen, ..spec(name, write, key, partitions) };
        let mut narrow = wide.clone();
        narrow.columns[1].kind = ColumnType::Int32;
        narrow.columns[2].kind = ColumnType::Int32;
        let rows: &[Row] = &[("BG", 2020, Some(1)), ("BG", 2021, None), ("RO", 2020, Some(3))];
        let _ = load_narrow(store, &narrow, "r1", "a", rows).await;
        let rows: &[Row] = &[("BG", 2020, Some(2)), ("BG", 2021, None), ("RO", 2020, Some(3))];
        let _ = load_narrow(store, &narrow, "r2", "b", rows).await;
        let columns = ["geo", "year", "value", "_source"];
        let before = show(reader, &wide.name, &columns).await;
        let past = show(reader, &beside(&wide.name, "__history"), &columns).await;
        let strict = TableSpec { on_drift: OnDrift::AddColumns, ..wide.clone() };
        assert!(matches!(store.open(&strict).await, Err(StoreError::Schema { .. })), "{name}: only where it may widen");
        let state = store.open(&wide).await.expect("the columns widen");
        assert_eq!((state.sequence, state.rows), (2, before.len() as u64), "{name}");
        assert_eq!(show(reader, &wide.name, &columns).await, before, "{name}: the rows stay");
        assert_eq!(show(reader, &beside(&wide.name, "__history"), &columns).await, past, "{name}: the history stays");
        for table in [wide.name.clone(), beside(&wide.name, "__history")] {
            for batch in reader.read_rows(&table).await.expect("the table can be read") {
                let kind = batch.schema().field_with_name("value").expect("the column is there").data_type().clone();
                assert_eq!(kind, DataType::Int64, "{table}");
            }
        }
        assert_eq!(state.wider, [], "{name}");
        let wider = store.open(&narrow).await.expect("the table opens").wider;
        assert_eq!(wider, [(ident("year"), ColumnType::Int64), (ident("value"), ColumnType::Int64)], "{name}");
        let again = store.open(&wide).await.expect("the table opens");
        assert_eq!(again.version, state.version, "{name}: it widens once");
        // The declaration is still the narrow one: the stored type stays, and takes narrow rows.
        let same = load_narrow(store, &narrow, "r3", "c", &[("BG", 2020, Some(9_000))]).await;
        committed_some(&same, name);
        let shown = show(reader, &wide.name, &["value"]).await;
        assert!(shown.contains(&"9000".to_owned()), "{name}: {shown:?}");
        let large = load(store, &wide, "r4", "d", &[("BG", 2020, Some(5_000_000_000))]).await.expect("wide rows fit");
        committed_some(&large, name);
        assert!(show(reader, &wide.name, &["value"]).await.contains(&"5000000000".to_owned()), "{name}");
        let strict = TableSpec { on_drift: OnDrift::Fail, ..narrow.clone() };
        assert!(matches!(store.open(&strict).await, Err(StoreError::Schema { .. })), "{name}: it never narrows");
        let mut text = wide.clone();
        text.columns[2].kind = ColumnType::String;
        assert!(matches!(store.open(&text).await, Err(StoreError::Schema { .. })), "{name}: text is not wider");
    }
}

fn committed_some(outcome: &CommitOutcome, scenario: &str) {
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{scenario}: {outcome:?}");
}

async fn load_narrow(store: &dyn TableStore, spec: &TableSpec, run: &str, at: &str, rows: &[Row]) -> CommitOutcome {
    let state = store.open(spec).await.expect("the table opens");
    let mut writer = store.writer(spec, &state, stamp(run)).await.expect("a writer opens");
    let wide = batch(rows);
    let columns = wide.columns().iter().zip(wide.schema_ref().fields()).map(|(column, field)| {
        let kind = if field.name() == "geo" { DataType::Utf8 } else { DataType::Int32 };
        (field.name().clone(), cast(column, &kind).expect("the values are small"), true)
    });
    let narrow = RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are of one length");
    writer.write(narrow, &format!("sha-{run}")).await.expect("rows are taken");
    writer.commit(request(at, rows.len())).await.expect("the run commits")
}

/// A checkpoint that moved on is committed even where no row changed.
pub async fn progress_without_rows_is_kept(store: &dyn TableStore, _reader: &dyn ReadRows) {
    let spec = spec("progress", WriteMode::Append, &[], &[]);
    committed(0, 0, 0, &load(store, &spec, "r1", "a", &[]).await.expect("commits"), "progress");
    let state = store.open(&spec).await.expect("the table opens");
    assert_eq!(state.checkpoint, request("a", 0).checkpoint);
    let same = load(store, &spec, "r2", "a", &[]).await.expect("the load ends");
    assert_eq!(same, CommitOutcome::Unchanged);
}

/// A dropped writer publishes nothing, and one lease is held at a time.
pub async fn leases_exclude_and_end(store: &dyn TableStore, _reader: &dyn ReadRows) {
    let name = spec("leased", WriteMode::Append, &[], &[]).name;
    let LeaseOutcome::Held(first) = store.lease(&name, "first").await.expect("the store answers") else {
        panic!("a free lease is given");
    };
    let LeaseOutcome::Busy { holder, .. } = store.lease(&name, "second").await.expect("the store answers") else {
        panic!("a held lease is not given");
    };
    assert!(holder.contains("first"), "{holder}");
    first.check().await.expect("the lease is ours");
    let epoch = first.epoch();
    first.release().await.expect("the lease is let go");
    let LeaseOutcome::Held(second) = store.lease(&name, "second").await.expect("the store answers") else {
        panic!("a released lease is given");
    };
    assert!(second.epoch() > epoch, "epochs rise");
}

/// Rows of system tables add up.
pub async fn system_rows_add_up(store: &dyn TableStore, reader: &dyn ReadRows) {
    for run in ["r1", "r2"] {
        let rows = system_batch(SystemTable::Runs, &[vec![("run", run.into())], vec![("run", run.into())]]);
        store.append_system(SystemTable::Runs, rows).await.expect("the rows are appended");
    }
    let table = TableName { namespace: ident("system"), table: ident("runs") };
    assert_eq!(show(reader, &table, &["run"]).await, ["r1", "r1", "r2", "r2"]);
}

/// Runs the whole suite; `fresh` makes an empty store and its reader.
pub async fn all<S: TableStore + ReadRows>(mut fresh: impl AsyncFnMut() -> S) {
    let mut store = fresh().await;
    appends_add_up(&store, &store).await;
    a_repeated_run_is_applied_once(&store, &store).await;
    the_second_of_two_runs_conflicts(&store, &store).await;
    store = fresh().await;
    upsert_replaces_by_key(&store, &store).await;
    a_snapshot_withdraws_what_is_absent(&store, &store).await;
    equal_rows_without_a_key_are_counted(&store, &store).await;
    a_contradiction_within_a_run_is_refused(&store, &store).await;
    store = fresh().await;
    a_wrong_row_count_is_refused(&store, &store).await;
    recorded_instants_rise(&store, &store).await;
    columns_are_added_but_never_retyped(&store, &store).await;
    columns_widen_but_never_narrow(&store, &store).await;
    progress_without_rows_is_kept(&store, &store).await;
    leases_exclude_and_end(&store, &store).await;
    system_rows_add_up(&store, &store).await;
}
