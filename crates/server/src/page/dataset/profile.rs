//! The profile of a table: what its columns hold, computed once for each version and policy by queries like anybody's. A
//! page waits for it for a moment; after that it is shown to whoever looks next.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use hambar_core::{Classified as _, ErrorClass, TableName};
use hambar_query::Policy;
use quick_cache::sync::Cache;
use tokio::sync::OnceCell;

use super::ColumnInfo;
use crate::front::{Ask, AskedLimits, FrontError, QueryFront};
use crate::page::cells::{self, quoted};
use crate::page::visitor::Visitor;
use crate::rest::problem::Problem;

/// Profiles that are kept.
const KEPT_MAX: usize = 256;
/// Columns that are profiled.
pub(super) const COLUMNS_MAX: usize = 100;
/// Columns whose most frequent values are counted.
const FREQUENT_COLUMNS_MAX: usize = 16;
/// Of a column with more different values, none is frequent.
const FREQUENT_DISTINCT_MAX: u64 = 10_000;
/// Most frequent values of a column.
const FREQUENT_MAX: usize = 5;
/// Time for each of the two queries.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);
/// Characters of a value.
const VALUE_CHARS_MAX: usize = 60;

/// What a column holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ColumnProfile {
    pub(super) name: String,
    pub(super) nulls: u64,
    /// Different values, about.
    pub(super) distinct: Option<u64>,
    pub(super) least: Option<String>,
    pub(super) greatest: Option<String>,
    /// The most frequent values with how often they are there.
    pub(super) frequent: Vec<(String, u64)>,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(super) rows: u64,
    pub(super) columns: Vec<ColumnProfile>,
    /// Whether there are more columns than were looked at.
    pub(super) is_cut: bool,
}

/// How far a profile is.
#[derive(Debug, Clone)]
pub(super) enum State {
    Ready(Arc<Profile>),
    Waiting,
    Failed(String),
}

/// A profile, or why there cannot be one for this version.
type Computed = Result<Arc<Profile>, String>;

/// A version of a table, and what is seen of it.
type Place = (TableName, u64, Option<Policy>);

/// The profiles of a server.
#[derive(Debug)]
pub(crate) struct Profiles {
    kept: Cache<Place, Arc<OnceCell<Computed>>>,
}

impl Default for Profiles {
    fn default() -> Self {
        Self { kept: Cache::new(KEPT_MAX) }
    }
}

impl Profiles {
    /// Returns the profile of a version of a table as far as it is after `patience`. Whoever asks first pays for it with
    /// a turn of theirs; it goes on without them.
    pub(super) async fn get(&self, front: &QueryFront, visitor: &Visitor, wanted: Wanted, patience: Duration) -> State {
        // Whoever sees something else has another profile.
        let policy = visitor.principal.visibility().policy(&wanted.table).cloned();
        let place = (wanted.table.clone(), wanted.version, policy);
        let made: Result<_, std::convert::Infallible> = self.kept.get_or_insert_with(&place, || Ok(Arc::default()));
        let Ok(cell) = made;
        if let Some(known) = cell.get() {
            return state(known);
        }
        let limits = AskedLimits { run_time_max: Some(RUN_TIME_MAX), ..AskedLimits::default() };
        let ask = visitor.ask(String::new(), limits);
        let front = front.clone();
        let work = tokio::spawn(async move { cell.get_or_try_init(|| compute(&front, &ask, &wanted)).await.cloned() });
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(Ok(known))) => state(&known),
            Ok(Ok(Err(error))) => State::Failed(Problem::new(&error).detail().to_owned()),
            Ok(Err(error)) => State::Failed(error.to_string()),
            Err(_) => State::Waiting,
        }
    }
}

fn state(known: &Computed) -> State {
    match known {
        Ok(profile) => State::Ready(Arc::clone(profile)),
        Err(said) => State::Failed(said.clone()),
    }
}

/// What is to be profiled.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) table: TableName,
    pub(super) version: u64,
    /// What stands after `FROM`.
    pub(super) source: String,
    pub(super) columns: Vec<ColumnInfo>,
}

/// Computes a profile. What would fail again for this version is its result; what may go well in a moment is an error.
async fn compute(front: &QueryFront, ask: &Ask, wanted: &Wanted) -> Result<Computed, FrontError> {
    match both(front, ask, wanted).await {
        Ok(profile) => Ok(Ok(Arc::new(profile))),
        Err(error) => match error.class() {
            ErrorClass::Limit | ErrorClass::Query | ErrorClass::Data => {
                Ok(Err(Problem::new(&error).detail().to_owned()))
            }
            _ => Err(error),
        },
    }
}

async fn both(front: &QueryFront, ask: &Ask, wanted: &Wanted) -> Result<Profile, FrontError> {
    let columns: Vec<&ColumnInfo> = wanted.columns.iter().filter(|column| is_profiled(column)).collect();
    let is_cut = columns.len() > COLUMNS_MAX;
    let columns = columns.get(..COLUMNS_MAX.min(columns.len())).unwrap_or_default();
    let batches = rows(front, ask, figures_statement(&wanted.source, columns)).await?;
    let mut profile = figures(&batches, columns);
    profile.is_cut = is_cut;
    let counted: Vec<usize> =
        (0..profile.columns.len()).filter(|place| is_counted(profile.columns.get(*place))).collect();
    let counted = counted.get(..FREQUENT_COLUMNS_MAX.min(counted.len())).unwrap_or_default();
    if counted.is_empty() {
        return Ok(profile);
    }
    let batches = rows(front, ask, frequent_statement(&wanted.source, &profile, counted)).await?;
    for batch in &batches {
        let values = cells::Rows::of(batch);
        for row in 0..batch.num_rows() {
            let place = values.at(0, row).and_then(|text| text.parse::<usize>().ok());
            let column = place.and_then(|place| profile.columns.get_mut(place));
            let count = values.at(2, row).and_then(|text| text.parse().ok());
            if let (Some(column), Some(value), Some(count)) = (column, values.at(1, row), count) {
                column.frequent.push((shortened(&value), count));
            }
        }
    }
    for column in &mut profile.columns {
        column.frequent.sort_by(|(one, often), (other, more)| more.cmp(often).then_with(|| one.cmp(other)));
    }
    Ok(profile)
}

async fn rows(front: &QueryFront, ask: &Ask, sql: String) -> Result<Vec<RecordBatch>, FrontError> {
    front.query(Ask { sql, ..ask.clone() }).await?.try_collect().await
}

/// Columns that have least and greatest values, and that people would count.
fn is_profiled(column: &ColumnInfo) -> bool {
    use arrow::datatypes::DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    let is_binary = matches!(column.kind, Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
    !column.kind.is_nested() && !is_binary && column.name != "_source"
}

fn is_counted(column: Option<&ColumnProfile>) -> bool {
    let distinct = column.and_then(|column| column.distinct);
    distinct.is_some_and(|distinct| (1..=FREQUENT_DISTINCT_MAX).contains(&distinct))
}

fn figures_statement(source: &str, columns: &[&ColumnInfo]) -> String {
    let mut selected = vec!["count(*)".to_owned()];
    for column in columns {
        let name = quoted(&column.name);
        selected.push(format!(
            "count({name}), approx_distinct(CAST({name} AS VARCHAR)), CAST(min({name}) AS VARCHAR), CAST(max({name}) AS VARCHAR)"
        ));
    }
    // Names of their own: two columns of an answer may not be called the same.
    let names = (0..1 + 4 * columns.len()).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
    format!("SELECT * FROM (SELECT {} FROM {source}) AS figures({names})", selected.join(", "))
}

fn figures(batches: &[RecordBatch], columns: &[&ColumnInfo]) -> Profile {
    let mut profile = Profile { rows: 0, columns: Vec::new(), is_cut: false };
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return profile };
    let values = cells::Rows::of(batch);
    let number = |place: usize| values.at(place, 0).and_then(|text| text.parse::<u64>().ok());
    profile.rows = number(0).unwrap_or(0);
    for (column, first) in columns.iter().zip((1..).step_by(4)) {
        let there = number(first).unwrap_or(0);
        profile.columns.push(ColumnProfile {
            name: column.name.clone(),
            nulls: profile.rows.saturating_sub(there),
            distinct: number(first + 1),
            least: values.at(first + 2, 0).map(|text| shortened(&text)),
            greatest: values.at(first + 3, 0).map(|text| shortened(&text)),
            frequent: Vec::new(),
        });
    }
    profile
}

fn frequent_statement(source: &str, profile: &Profile, counted: &[usize]) -> String {
    let parts = counted.iter().filter_map(|place| {
        let name = quoted(&profile.columns.get(*place)?.name);
        Some(format!(
            "SELECT * FROM (SELECT {place} AS place, CAST({name} AS VARCHAR) AS value, count(*) AS often FROM {source} \
             WHERE {name} IS NOT NULL GROUP BY {name} ORDER BY often DESC, value LIMIT {FREQUENT_MAX}) AS p{place}"
        ))
    });
    parts.collect::<Vec<_>>().join(" UNION ALL ")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
