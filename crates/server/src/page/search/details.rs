//! What the declarations do not tell of tables: when they changed and were last looked at, how large they are, and which
//! codes they hold. Read in the background, only for tables of which a run has made a new version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use hambar_core::{Chain, TableName};
use hambar_query::{QueryError, QueryLimits};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalogue::{Catalogue, Column, Dataset};
use crate::page::cells;

/// The runs are looked at again after so long, or after ten times as long as that took.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Part of the time that looking may take: one tenth.
const SHARE: u32 = 10;
/// Columns of one table whose codes are read.
const COLUMNS_MAX: usize = 8;
/// Codes of one column; where there are more, it is no list of codes but a name.
pub(crate) const CODES_MAX: usize = 2_000;
/// Codes of all tables.
const CODES_IN_ALL_MAX: usize = 500_000;
/// Time for the codes of one column.
const RUN_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the files that are opened for the codes of one column. Larger tables have no codes in the search.
const SCAN_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Characters of a code and of its label.
const TEXT_CHARS_MAX: usize = 120;

/// The newest outcomes of each pipeline.
const RUNS: &str = "SELECT pipeline, \
    max(finished_at) FILTER (WHERE outcome = 'committed') AS changed_at, \
    max(finished_at) FILTER (WHERE outcome IN ('committed', 'unchanged', 'already_applied')) AS verified_at, \
    max(finished_at) FILTER (WHERE outcome = 'failed') AS failed_at, \
    max(version) AS version \
    FROM system.runs GROUP BY pipeline";

/// What the runs tell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    pub(crate) changed_at: Option<Timestamp>,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) failed_at: Option<Timestamp>,
    /// The newest version that a run made.
    pub(super) version: Option<u64>,
}

impl Freshness {
    /// Says whether the newest run failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed_at.is_some_and(|at| self.verified_at.is_none_or(|good| at > good))
    }
}

/// The codes of a column, with their labels where the table has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeList {
    pub(crate) column: String,
    pub(crate) codes: Vec<(String, Option<String>)>,
}

/// What one version of a table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The version that the runs named when this was read.
    pub(super) version: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) code_lists: Vec<CodeList>,
}

/// Everything that is known besides the declarations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    pub(crate) freshness: BTreeMap<TableName, Freshness>,
    pub(crate) figures: BTreeMap<TableName, Arc<Figures>>,
}

/// Shares the details with whoever needs them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    details: Arc<RwLock<Arc<Details>>>,
}

impl Shared {
    /// Returns the details as they are now.
    pub(crate) fn get(&self) -> Arc<Details> {
        // It is replaced as a whole.
        Arc::clone(&self.details.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, details: Details) {
        *self.details.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(details);
    }

    /// Keeps the details as new as the runs, until `stop`.
    pub(crate) async fn keep(self, catalogue: Catalogue, stop: CancellationToken) {
        let mut runs_version = None;
        loop {
            let began = Instant::now();
            if let Err(error) = self.look(&catalogue, &mut runs_version, &stop).await
                && !stop.is_cancelled()
            {
                tracing::warn!(error = %Chain(&error), "what the page knows of tables was not brought up to date");
            }
            let pause = LOOK_AGAIN_AFTER.max(began.elapsed().saturating_mul(SHARE));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(
        &self,
        catalogue: &Catalogue,
        runs_version: &mut Option<u64>,
        stop: &CancellationToken,
    ) -> Result<(), QueryError> {
        let mut details = Details::clone(&self.get());
        let newest = runs_newest(catalogue, *runs_version).await?;
        let tables: BTreeSet<TableName> =
            catalogue.tables().await?.iter().filter(|table| is_dataset(table)).cloned().collect();
        if newest == *runs_version && tables.iter().all(|table| details.figures.contains_key(table)) {
            return Ok(());
        }
        if newest.is_some() {
            details.freshness = freshness(&catalogue.ask(RUNS, &QueryLimits::default(), stop).await?);
        }
        details.figures.retain(|table, _| tables.contains(table));
        // What can be said at once is said before the codes are read.
        self.set(details.clone());
        let datasets = catalogue.datasets().await?;
        for table in &tables {
            let version = details.freshness.get(table).and_then(|fresh| fresh.version);
            if details.figures.get(table).is_some_and(|known| known.version == version) {
                continue;
            }
            let room = CODES_IN_ALL_MAX.saturating_sub(details.codes());
            let figures = figures(catalogue, table, version, datasets.get(table), room, stop).await?;
            details.figures.insert(table.clone(), Arc::new(figures));
            self.set(details.clone());
        }
        *runs_version = newest;
        Ok(())
    }
}

impl Details {
    fn codes(&self) -> usize {
        self.figures.values().flat_map(|figures| &figures.code_lists).map(|list| list.codes.len()).sum()
    }
}

/// Says whether a table holds data, and not what the centre says about itself.
pub(crate) fn is_dataset(table: &TableName) -> bool {
    table.namespace.as_str() != "system"
}

async fn runs_newest(catalogue: &Catalogue, known: Option<u64>) -> Result<Option<u64>, QueryError> {
    let Ok(runs) = "system.runs".parse() else { return Ok(None) };
    let lake = catalogue.lake();
    match known {
        Some(known) => Ok(Some(lake.newest_version(&runs, known).await?)),
        None if lake.exists(&runs).await? => Ok(Some(lake.snapshot(&runs, None).await?.version)),
        None => Ok(None),
    }
}

fn freshness(batches: &[RecordBatch]) -> BTreeMap<TableName, Freshness> {
    let mut found = BTreeMap::new();
    for batch in batches {
        let rows = cells::Rows::of(batch);
        for row in 0..batch.num_rows() {
            let instant = |name: &str| rows.text(name, row)?.parse::<Timestamp>().ok();
            let Some(table) = rows.text("pipeline", row).and_then(|name| name.parse().ok()) else { continue };
            let fresh = Freshness {
                changed_at: instant("changed_at"),
                verified_at: instant("verified_at"),
                failed_at: instant("failed_at"),
                version: rows.text("version", row).and_then(|text| text.parse().ok()),
            };
            found.insert(table, fresh);
        }
    }
    found
}

async fn figures(
    catalogue: &Catalogue,
    table: &TableName,
    version: Option<u64>,
    dataset: Option<&Dataset>,
    mut room: usize,
    stop: &CancellationToken,
) -> Result<Figures, QueryError> {
    let mut figures = Figures { version, ..Figures::default() };
    match catalogue.lake().snapshot(table, None).await {
        Ok(snapshot) => {
            figures.rows = Some(snapshot.files.iter().map(|file| file.rows).sum());
            figures.bytes = Some(snapshot.files.iter().map(|file| file.size).sum());
        }
        Err(error) => tracing::debug!(%table, error = %Chain(&error), "size not read"),
    }
    let columns = dataset.map(|dataset| dataset.columns.as_slice()).unwrap_or_default();
    let key = dataset.map(|dataset| dataset.key.as_slice()).unwrap_or_default();
    for (column, label) in code_columns(columns, key) {
        let limits =
            QueryLimits { run_time_max: RUN_TIME_MAX, scan_bytes_max: Some(SCAN_BYTES_MAX), ..QueryLimits::default() };
        let rows = match catalogue.ask(&statement(table, column, label), &limits, stop).await {
            Ok(rows) => rows,
            // The table is too large for it, or no longer what its declaration says.
            Err(error) if stop.is_cancelled() => return Err(error),
            Err(error) => {
                tracing::debug!(%table, column = %column.name, error = %Chain(&error), "codes not read");
                continue;
            }
        };
        let codes = codes(&rows);
        if codes.is_empty() || codes.len() > CODES_MAX.min(room) {
            continue;
        }
        room -= codes.len();
        figures.code_lists.push(CodeList { column: column.name.clone(), codes });
    }
    Ok(figures)
}

/// The columns that hold codes: texts of the key, and texts whose name says so; each with the column of their labels.
fn code_columns<'a>(columns: &'a [Column], key: &[String]) -> Vec<(&'a Column, Option<&'a Column>)> {
    let is_text = |column: &&Column| column.kind == "string";
    let find = |name: &str| columns.iter().filter(is_text).find(|column| column.name == name);
    let is_named_so = |name: &str| {
        ["code", "geo", "country", "indicator", "series", "unit", "freq"].contains(&name)
            || name.ends_with("_code")
            || name.ends_with("_id")
    };
    let chosen = columns.iter().filter(is_text).filter(|column| {
        let is_time = super::super::dataset::charts::is_time_name(&column.name);
        !is_time && (key.contains(&column.name) || is_named_so(&column.name))
    });
    let with_label = chosen.map(|column| {
        let name = column.name.as_str();
        let stem = name.strip_suffix("_code").or_else(|| name.strip_suffix("_id")).unwrap_or(name);
        let mut names = vec![format!("{stem}_name"), format!("{stem}_label"), format!("{stem}_title")];
        if stem != name {
            names.push(stem.to_owned());
        }
        if ["code", "id"].contains(&name) {
            names.extend(["name", "label", "title"].map(str::to_owned));
        }
        (column, names.iter().find_map(|name| find(name)))
    });
    with_label.take(COLUMNS_MAX).collect()
}

fn statement(table: &TableName, column: &Column, label: Option<&Column>) -> String {
    let code = cells::quoted(&column.name);
    let label = label.map_or_else(|| "NULL".to_owned(), |label| format!("min({})", cells::quoted(&label.name)));
    let rows = CODES_MAX + 1;
    format!(
        "SELECT {code} AS code, {label} AS label FROM {table} WHERE {code} IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT {rows}"
    )
}

fn codes(batches: &[RecordBatch]) -> Vec<(String, Option<String>)> {
    let shortened = |text: String| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let mut codes = Vec::new();
    for batch in batches {
        let rows = cells::Rows::of(batch);
        for row in 0..batch.num_rows() {
            if let Some(code) = rows.text("code", row) {
                codes.push((shortened(code), rows.text("label", row).map(shortened)));
            }
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.to_owned(), kind: kind.to_owned(), ..Column::default() }
    }

    #[test]
    fn codes_are_in_the_key_or_in_columns_that_say_so() {
        let columns = [
            column("geo", "string"),
            column("geo_name", "string"),
            column("year", "int32"),
            column("period", "string"),
            column("unit_code", "string"),
            column("unit", "string"),
            column("note", "string"),
        ];
        let key = ["geo".to_owned(), "year".to_owned(), "period".to_owned()];
        let found: Vec<(&str, Option<&str>)> = code_columns(&columns, &key)
            .into_iter()
            .map(|(column, label)| (column.name.as_str(), label.map(|label| label.name.as_str())))
            .collect();
        assert_eq!(found, [("geo", Some("geo_name")), ("unit_code", Some("unit")), ("unit", None)]);
    }

    #[test]
    fn a_failure_after_the_last_look_is_one() {
        let at = |text: &str| Some(text.parse().unwrap());
        let mut fresh = Freshness { failed_at: at("2026-01-02T00:00:00Z"), ..Freshness::default() };
        assert!(fresh.has_failed());
        fresh.verified_at = at("2026-01-01T00:00:00Z");
        assert!(fresh.has_failed());
        fresh.verified_at = at("2026-01-03T00:00:00Z");
        assert!(!fresh.has_failed());
    }
}
