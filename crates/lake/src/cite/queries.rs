//! Citations of queries: rows of `system.query_citations`. What they read is pinned by citations of its own.

use arrow::array::RecordBatch;
use hambar_core::citation::QueryCitation;
use hambar_core::{StoreError, SystemTable, TableStore};

use super::{instant_at, text};
use crate::error::{damaged, rows};
use crate::lake::Lake;

impl Lake {
    /// Keeps the citation of a query, whose reads were cited before. Returns the one that is there already where statement,
    /// versions and rows are the same; else it is cited at this instant.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn cite_query(&self, citation: QueryCitation) -> Result<QueryCitation, StoreError> {
        if let Some(known) = self.query_citation(&citation.id()).await? {
            return Ok(known);
        }
        let citation = QueryCitation { cited_at: self.inner.clock.now(), ..citation };
        let row = citation.row().map_err(|error| rows("system.query_citations", error.to_string()))?;
        self.append_system(SystemTable::QueryCitations, row).await?;
        Ok(citation)
    }

    /// Returns the citation of a query with this id; the first one made, where two were made at the same time.
    ///
    /// # Errors
    /// Those of the storage; [`StoreError::Damaged`] where a row cannot be read.
    pub async fn query_citation(&self, id: &str) -> Result<Option<QueryCitation>, StoreError> {
        let mut found: Option<QueryCitation> = None;
        for batch in self.system_rows(SystemTable::QueryCitations).await? {
            for row in (0..batch.num_rows()).filter(|row| text(&batch, "id", *row).as_deref() == Some(id)) {
                let broken = || damaged("system.query_citations", format!("citation `{id}` cannot be read"));
                let citation = query_citation_at(&batch, row).ok_or_else(broken)?;
                if found.as_ref().is_none_or(|found| citation.cited_at < found.cited_at) {
                    found = Some(citation);
                }
            }
        }
        Ok(found)
    }
}

fn query_citation_at(batch: &RecordBatch, row: usize) -> Option<QueryCitation> {
    Some(QueryCitation {
        title: text(batch, "title", row),
        statement: text(batch, "statement", row)?,
        parameters: text(batch, "parameters", row)?,
        reads: serde_json::from_str(&text(batch, "reads", row)?).ok()?,
        columns: serde_json::from_str(&text(batch, "columns", row)?).ok()?,
        fingerprint: text(batch, "fingerprint", row)?,
        recorded_at: instant_at(batch, "recorded_at", row)?,
        cited_at: instant_at(batch, "cited_at", row)?,
    })
}
