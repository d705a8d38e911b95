//! The citation of a query: its text, the versions that it read, and the fingerprint of its rows, so that running it again
//! proves that it still gives the same.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ID_DIGITS, Reference, hex};
use crate::licence::{DerivedTerms, LicensedInput, derive};
use crate::name::TableName;
use crate::origin::Origin;
use crate::system::{Cell, SystemTable, system_batch};

/// A table that a cited query read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitedRead {
    /// The table.
    pub table: TableName,
    /// The version.
    pub version: u64,
    /// Whether the statement names the version itself.
    #[serde(default)]
    pub is_in_text: bool,
    /// Whose work it is, as declared at the time.
    pub origin: Origin,
}

/// A column of a cited result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitedColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Arrow names it.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A query as it is cited. Everything that is shown is frozen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryCitation {
    /// What whoever cited it called it.
    pub title: Option<String>,
    /// The statement as it was asked.
    pub statement: String,
    /// The values of `$1`, `$2` … as a JSON array.
    pub parameters: String,
    /// What it read.
    pub reads: Vec<CitedRead>,
    /// The columns of its result.
    pub columns: Vec<CitedColumn>,
    /// The fingerprint of its rows; their number is in it.
    pub fingerprint: String,
    /// When the newest of the rows that it read were recorded.
    pub recorded_at: Timestamp,
    /// When it was cited.
    pub cited_at: Timestamp,
}

impl QueryCitation {
    /// The name under which it is known: the same for every citation of this statement over these versions.
    pub fn id(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        add(&self.statement);
        add(&self.parameters);
        let mut reads: Vec<String> = self.reads.iter().map(|read| format!("{}@{}", read.table, read.version)).collect();
        reads.sort();
        add(&reads.join(" "));
        add(&self.fingerprint);
        hex(&digest.finalize())[..ID_DIGITS].to_owned()
    }

    /// Returns the terms of its result.
    pub fn terms(&self) -> DerivedTerms {
        let names: Vec<String> = self.reads.iter().map(|read| read.table.to_string()).collect();
        let inputs: Vec<LicensedInput<'_>> = self
            .reads
            .iter()
            .zip(&names)
            .map(|(read, name)| LicensedInput {
                name,
                licence: Some(&read.origin.licence.spdx),
                redistribution: read.origin.licence.redistribution,
            })
            .collect();
        derive(&inputs)
    }

    /// Returns it ready for a form. `address` is where it is found, `publisher` the centre that answers it.
    pub fn reference(&self, address: &str, publisher: &str) -> Reference {
        let tables: Vec<String> =
            self.reads.iter().map(|read| format!("{} version {}", read.table, read.version)).collect();
        let what = match tables.is_empty() {
            true => "Query that reads no table".to_owned(),
            false => format!("Query over {}", tables.join(", ")),
        };
        let creators = each_once(self.reads.iter().map(|read| read.origin.provider.clone()));
        let licences: BTreeSet<String> = self.reads.iter().map(|read| read.origin.licence.spdx.clone()).collect();
        let pages = self.reads.iter().filter_map(|read| read.origin.landing_page.clone());
        Reference {
            id: self.id(),
            creators: if creators.is_empty() { vec![publisher.to_owned()] } else { creators },
            title: self.title(),
            publisher: publisher.to_owned(),
            what,
            version: None,
            recorded_at: self.recorded_at,
            cited_at: self.cited_at,
            fingerprint: Some(self.fingerprint.clone()),
            licences: licences.into_iter().collect(),
            terms: Some(self.terms().sentence()),
            notes: each_once(self.reads.iter().map(|read| read.origin.citation.clone())),
            url: Some(address.to_owned()),
            made_from: each_once(pages),
            reading: format!("Statement:\n{}", self.statement),
        }
    }

    /// Its title: as given, or made from what it reads.
    pub fn title(&self) -> String {
        let made = || {
            let titles = each_once(self.reads.iter().map(|read| read.origin.title.clone()));
            if titles.is_empty() { "Query".to_owned() } else { format!("Query over {}", titles.join("; ")) }
        };
        self.title.clone().unwrap_or_else(made)
    }

    /// The row of `system.query_citations`.
    ///
    /// # Errors
    /// What it reads, its columns or its terms cannot be written as JSON.
    pub fn row(&self) -> serde_json::Result<arrow::record_batch::RecordBatch> {
        let row: Vec<(&'static str, Cell)> = vec![
            ("id", self.id().into()),
            ("cited_at", self.cited_at.into()),
            ("title", self.title.clone().into()),
            ("statement", self.statement.clone().into()),
            ("parameters", self.parameters.clone().into()),
            ("reads", serde_json::to_string(&self.reads)?.into()),
            ("columns", serde_json::to_string(&self.columns)?.into()),
            ("fingerprint", self.fingerprint.clone().into()),
            ("recorded_at", self.recorded_at.into()),
            ("terms", serde_json::to_string(&self.terms())?.into()),
        ];
        Ok(system_batch(SystemTable::QueryCitations, &[row]))
    }
}

fn each_once(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::CitationForm;
    use super::*;
    use crate::origin::{Licence, Redistribution};

    fn read(table: &str, version: u64, provider: &str, licence: &str) -> CitedRead {
        CitedRead {
            table: table.parse().unwrap(),
            version,
            is_in_text: false,
            origin: Origin {
                provider: provider.to_owned(),
                title: format!("Title of {table}"),
                citation: format!("{provider}, {table}"),
                landing_page: Some(format!("https://example.org/{table}")),
                licence: Licence { spdx: licence.to_owned(), redistribution: Redistribution::Allowed },
            },
        }
    }

    fn citation() -> QueryCitation {
        QueryCitation {
            title: None,
            statement: "SELECT 1 FROM a.b, c.d".to_owned(),
            parameters: "[]".to_owned(),
            reads: vec![read("a.b", 3, "One", "ODbL-1.0"), read("c.d", 4, "Two", "CC-BY-SA-4.0")],
            columns: vec![CitedColumn { name: "n".to_owned(), kind: "Int64".to_owned() }],
            fingerprint: "1:00ff".to_owned(),
            recorded_at: "2026-03-04T05:06:07Z".parse().unwrap(),
            cited_at: "2026-03-05T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn all_providers_and_the_conflict_of_their_licences_are_named() {
        let reference = citation().reference("https://hambar.example/cite/q/1", "Centre");
        assert_eq!(reference.creators, ["One", "Two"]);
        let text = reference.render(CitationForm::Text);
        for part in ["One; Two (2026)", "a.b version 3, c.d version 4", "passing on: forbidden", "SELECT 1 FROM"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_id_stands_for_statement_versions_and_rows() {
        let one = citation();
        let mut turned = citation();
        turned.reads.reverse();
        assert_eq!(one.id(), turned.id());
        assert_eq!(
            one.id(),
            QueryCitation { cited_at: Timestamp::MAX, title: Some("x".to_owned()), ..citation() }.id()
        );
        let mut newer = citation();
        newer.reads[0].version = 9;
        assert_ne!(one.id(), newer.id());
        assert_ne!(one.id(), QueryCitation { parameters: "[1]".to_owned(), ..citation() }.id());
        assert_ne!(one.id(), QueryCitation { fingerprint: "1:00".to_owned(), ..citation() }.id());
    }

    #[test]
    fn the_row_holds_everything() {
        let row = QueryCitation { title: Some("x".to_owned()), ..citation() }.row().unwrap();
        assert!(row.columns().iter().all(|column| column.null_count() == 0), "{row:?}");
    }
}
