//! An answer on its way: batches, what was read, whom to name for it, and how it ended.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use hambar_core::licence::{DerivedTerms, LicensedInput, derive};
use hambar_core::{Redistribution, TableName};
use hambar_query::{Facts, RowStream, VersionRead};
use serde::{Deserialize, Serialize};

use super::admission::Turn;
use super::running::{Outcome, Record};
use super::{FrontError, QueryId};
use crate::access::Used;
use crate::catalogue::Dataset;
use crate::trace::Span;

/// The ending of a history's name.
const HISTORY: &str = "__history";

/// A table that an answer is made from, and whom to name for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Source {
    /// The table.
    pub table: String,
    /// The version that was read.
    pub version: u64,
    /// The sentence to cite it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
    /// Its licence, an SPDX identifier or `LicenseRef-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The page that describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landing_page: Option<String>,
    /// Whether its values may be given to people outside the cluster.
    #[serde(default)]
    pub may_be_passed_on: bool,
}

/// Returns the terms of what is made from these sources: their duties together, and where they contradict each other.
pub fn terms(sources: &[Source]) -> DerivedTerms {
    let inputs: Vec<LicensedInput<'_>> = sources
        .iter()
        .map(|source| LicensedInput {
            name: &source.table,
            licence: source.licence.as_deref(),
            redistribution: match source.may_be_passed_on {
                true => Redistribution::Allowed,
                false => Redistribution::Forbidden,
            },
        })
        .collect();
    derive(&inputs)
}

/// The answer to a query. Dropping it before its end stops the query.
#[derive(Debug)]
pub struct Answer {
    rows: Option<RowStream>,
    turn: Option<Turn>,
    /// From the first row to the last byte that left; ends before the query's own.
    _deliver: Span,
    record: Record,
    schema: SchemaRef,
    facts: Facts,
    sources: Vec<Source>,
    is_truncated: bool,
    /// Whether the turn lasts until the answer is dropped, not only until its last row.
    is_held: bool,
}

impl Answer {
    pub(super) fn new(rows: RowStream, turn: Turn, record: Record, sources: Vec<Source>) -> Self {
        Self {
            schema: rows.schema(),
            facts: rows.facts().clone(),
            rows: Some(rows),
            turn: Some(turn),
            _deliver: record.span.place().span("deliver"),
            record,
            sources,
            is_truncated: false,
            is_held: false,
        }
    }

    /// Keeps the turn until the answer is dropped: what was made of its rows still takes memory.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Returns how many rows there were so far.
    pub(crate) fn rows(&self) -> u64 {
        self.record.rows
    }

    /// Returns what the same answer counts when it is sent again.
    pub(crate) fn used(&self) -> Used {
        Used { queries: 1, rows: self.record.rows, bytes: self.record.bytes }
    }

    /// Returns the query's id.
    pub fn id(&self) -> QueryId {
        self.record.id
    }

    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// Returns which versions are read, and whether the same question would be answered the same.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns whom to name.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Says, once the stream has ended, whether a limit cut off the result.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    fn end(&mut self, outcome: Outcome) {
        // In this order: the worker is free before somebody else is let in.
        self.rows = None;
        if !self.is_held {
            self.turn = None;
        }
        self.record.end(outcome);
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch, FrontError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(rows) = this.rows.as_mut() else {
            return Poll::Ready(None);
        };
        match rows.poll_next_unpin(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => {
                this.record.sent(batch.num_rows() as u64, batch.get_array_memory_size() as u64);
                Poll::Ready(Some(Ok(batch)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = FrontError::Query(error);
                this.end(Outcome::of(&error));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.is_truncated = rows.is_truncated();
                this.end(if this.is_truncated { Outcome::Truncated } else { Outcome::Answered });
                Poll::Ready(None)
            }
        }
    }
}

/// Returns whom to name for these tables. A history is the work of those who made its table.
pub(super) fn sources(versions: &[VersionRead], datasets: &BTreeMap<TableName, Dataset>) -> Vec<Source> {
    let mut sources = Vec::new();
    for read in versions {
        let base = read.table.table.as_str().strip_suffix(HISTORY).and_then(|name| name.parse().ok());
        let table = match base {
            Some(table) => TableName { namespace: read.table.namespace.clone(), table },
            None => read.table.clone(),
        };
        let dataset = datasets.get(&table);
        let text = |field: fn(&Dataset) -> Option<&String>| dataset.and_then(field).cloned();
        sources.push(Source {
            table: read.table.to_string(),
            version: read.version,
            citation: text(|dataset| dataset.citation.as_ref()),
            licence: text(|dataset| dataset.licence.as_ref()),
            landing_page: text(|dataset| dataset.landing_page.as_ref()),
            may_be_passed_on: dataset.is_some_and(|dataset| dataset.may_be_passed_on),
        });
    }
    sources
}
