//! What is said about a table to the outside: its declaration, and what its newest version shows without reading a row.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use futures::{StreamExt, TryStreamExt};
use hambar_core::licence::{DerivedTerms, LicensedInput, derive};
use hambar_core::{Redistribution, StoreError, TableName};
use hambar_lake::TableSnapshot;
use hambar_query::{QueryError, Visibility};
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::coverage::{self, Period};
use crate::catalogue::{Catalogue, Dataset};

/// Tables that are looked at at the same time.
const LOOKS_MAX: usize = 16;
/// Catalogues are made from what was known so long ago at most.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Stands before the names of columns that nobody published.
const OWN: char = '_';

/// A column as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CardColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: DataType,
    /// What it holds.
    pub(crate) description: Option<String>,
    /// What its values are measured in.
    pub(crate) unit: Option<String>,
    /// What its provider calls it.
    pub(crate) source_name: Option<String>,
}

/// A table as the outside sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    /// The table.
    pub(crate) table: TableName,
    /// What is declared about it.
    pub(crate) dataset: Dataset,
    /// The newest version.
    pub(crate) version: u64,
    /// The run that made it.
    pub(crate) run: Option<String>,
    /// When its newest rows were recorded.
    pub(crate) modified: Option<Timestamp>,
    /// Its rows, for whoever sees all of it.
    pub(crate) rows: Option<u64>,
    /// The bytes of its files, for whoever sees all of it.
    pub(crate) bytes: Option<u64>,
    /// The fingerprint of its content.
    pub(crate) fingerprint: Option<String>,
    /// The published columns, without those that Hambar adds.
    pub(crate) columns: Vec<CardColumn>,
    /// The time that its rows are about, where a column tells.
    pub(crate) period: Option<Period>,
}

impl Card {
    fn new(snapshot: &TableSnapshot, dataset: Dataset) -> Self {
        let fields = snapshot.schema.fields().iter().filter(|field| !field.name().starts_with(OWN));
        let columns = fields.map(|field| {
            let text = |key: &str| field.metadata().get(key).filter(|text| !text.is_empty()).cloned();
            CardColumn {
                name: field.name().clone(),
                kind: field.data_type().clone(),
                description: text("description"),
                unit: text("unit"),
                source_name: text("source_name"),
            }
        });
        let columns: Vec<CardColumn> = columns.collect();
        Self {
            table: snapshot.table.clone(),
            version: snapshot.version,
            run: snapshot.run.as_ref().map(ToString::to_string),
            modified: snapshot.recorded_at,
            rows: Some(snapshot.files.iter().map(|file| file.rows).sum()),
            bytes: Some(snapshot.files.iter().map(|file| file.size).sum()),
            fingerprint: snapshot.properties.get("hambar.fingerprint").cloned(),
            period: coverage::period(&columns, snapshot),
            columns,
            dataset,
        }
    }

    /// Returns what may be said to somebody: of a table that they see in part nothing that is made of all of it.
    fn shown(&self, visibility: &Visibility) -> Self {
        let mut shown = Self { dataset: self.dataset.shown(&self.table, visibility), ..self.clone() };
        if visibility.is_partial(&self.table) {
            shown.columns.retain(|column| !visibility.hides(&self.table, &column.name));
            (shown.rows, shown.bytes, shown.fingerprint, shown.period) = (None, None, None, None);
        }
        shown
    }

    /// Returns its title: the provider's, or its name.
    pub(crate) fn title(&self) -> String {
        self.dataset.title.clone().unwrap_or_else(|| self.table.to_string())
    }

    /// Returns what it holds: as declared, or its title and provider.
    pub(crate) fn description(&self) -> String {
        let made = || match &self.dataset.provider {
            Some(provider) => format!("{}, published by {provider}.", self.title()),
            None => self.title(),
        };
        self.dataset.description.clone().filter(|text| !text.trim().is_empty()).unwrap_or_else(made)
    }

    /// Returns what its licence asks for.
    pub(crate) fn terms(&self) -> DerivedTerms {
        let name = self.table.to_string();
        let redistribution =
            if self.dataset.may_be_passed_on { Redistribution::Allowed } else { Redistribution::Forbidden };
        derive(&[LicensedInput { name: &name, licence: self.dataset.licence.as_deref(), redistribution }])
    }

    /// Returns the columns that identify a row, as far as the table has them.
    pub(crate) fn key(&self) -> Vec<&str> {
        let has = |name: &&str| self.columns.iter().any(|column| column.name == *name);
        self.dataset.key.iter().map(String::as_str).filter(has).collect()
    }
}

/// The cards of all tables, as they were some seconds ago at most.
#[derive(Debug, Default)]
pub(crate) struct Cards {
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    looked_at: Instant,
    cards: Arc<Vec<Card>>,
}

impl Cards {
    /// Returns the cards of the declared tables that `visibility` shows, by name.
    pub(crate) async fn visible(
        &self,
        catalogue: &Catalogue,
        visibility: &Visibility,
    ) -> Result<Vec<Card>, QueryError> {
        let cards = self.all(catalogue).await?;
        let seen = cards.iter().filter(|card| visibility.sees(&card.table));
        Ok(seen.map(|card| card.shown(visibility)).collect())
    }

    async fn all(&self, catalogue: &Catalogue) -> Result<Arc<Vec<Card>>, QueryError> {
        // Whoever comes while others look waits for what they find.
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref()
            && known.looked_at.elapsed() < LOOK_AGAIN_AFTER
        {
            return Ok(Arc::clone(&known.cards));
        }
        let datasets = catalogue.datasets().await?;
        let declared: Vec<(TableName, Dataset)> =
            datasets.iter().map(|(table, dataset)| (table.clone(), dataset.clone())).collect();
        let looked = futures::stream::iter(declared)
            .map(|(table, dataset)| look(catalogue.clone(), table, dataset))
            .buffered(LOOKS_MAX);
        let cards: Vec<Option<Card>> = looked.try_collect().await?;
        let cards = Arc::new(cards.into_iter().flatten().collect::<Vec<_>>());
        *known = Some(Known { looked_at: Instant::now(), cards: Arc::clone(&cards) });
        Ok(cards)
    }
}

/// Returns the card of one table as it is now; nothing where it is not declared, not there, or not to be seen.
pub(crate) async fn card(
    catalogue: &Catalogue,
    table: &TableName,
    visibility: &Visibility,
) -> Result<Option<Card>, QueryError> {
    let Some(dataset) = catalogue.datasets().await?.get(table).cloned().filter(|_| visibility.sees(table)) else {
        return Ok(None);
    };
    let card = look(catalogue.clone(), table.clone(), dataset).await?;
    Ok(card.map(|card| card.shown(visibility)))
}

async fn look(catalogue: Catalogue, table: TableName, dataset: Dataset) -> Result<Option<Card>, QueryError> {
    match catalogue.lake().snapshot(&table, None).await {
        Ok(snapshot) => Ok(Some(Card::new(&snapshot, dataset))),
        // Declared, and no run has brought a row yet.
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(QueryError::Store(error)),
    }
}

#[cfg(test)]
impl Card {
    /// A table of which everything is said, in texts that mean harm.
    pub(crate) fn hostile() -> Self {
        let evil = "<script>\"'&]]>{}\\ \u{0001}\u{202e}Български\n";
        let column = |name: &str, kind: DataType| CardColumn {
            name: name.to_owned(),
            kind,
            description: Some(evil.to_owned()),
            unit: Some("EUR & <b>".to_owned()),
            source_name: Some("Стойност, \"x\"".to_owned()),
        };
        Self {
            table: "demo.figures".parse().expect("it is a name"),
            dataset: Dataset {
                title: Some(evil.to_owned()),
                description: Some(evil.to_owned()),
                provider: Some(evil.to_owned()),
                citation: Some(evil.to_owned()),
                landing_page: Some("https://example.org/a b<>\"{}|^`\\".to_owned()),
                licence: Some("LicenseRef-<own> \"terms\"".to_owned()),
                key: vec!["id".to_owned()],
                may_be_passed_on: true,
                issued: Some(Timestamp::UNIX_EPOCH),
                columns: Vec::new(),
            },
            version: 3,
            run: Some("r1".to_owned()),
            modified: Some(Timestamp::UNIX_EPOCH),
            rows: Some(2),
            bytes: Some(100),
            fingerprint: Some("2:00ff".to_owned()),
            columns: vec![
                column("id", DataType::Int64),
                column("value", DataType::Float64),
                column("day", DataType::Date32),
                column("note", DataType::Utf8),
            ],
            period: Some(Period { from: "2000".to_owned(), to: "2024".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use hambar_query::{Policies, Policy};

    use super::*;

    #[test]
    fn of_a_part_nothing_is_said_that_is_made_of_the_whole() {
        let card = Card::hostile();
        assert_eq!(card.shown(&Visibility::all()), card);
        let seen = |policy: Policy| {
            let policies = Policies::from([(card.table.clone(), policy)]);
            card.shown(&Visibility::all().with_policies(policies))
        };
        let rows = seen(Policy { conditions: ["id = 1".to_owned()].into(), ..Policy::default() });
        assert_eq!((rows.rows, rows.bytes, rows.fingerprint, rows.period), (None, None, None, None));
        assert_eq!(rows.columns, card.columns);
        let columns = seen(Policy { hidden: ["id".to_owned(), "day".to_owned()].into(), ..Policy::default() });
        let names: Vec<&str> = columns.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["value", "note"]);
        assert!(columns.dataset.key.is_empty() && columns.key().is_empty() && columns.period.is_none());
    }
}
