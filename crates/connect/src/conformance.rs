//! What every source promises, as a check that tests of every source run.

use std::collections::BTreeSet;

use futures::StreamExt;
use hambar_core::{Checkpoint, SliceState};
use hambar_fetch::Fetcher;

use crate::source::{Slice, SliceEvent, Source};

/// What a conforming source brought.
#[derive(Debug, Clone, Default)]
pub struct Conformance {
    /// Slices of the first plan.
    pub slices: usize,
    /// SHA-256 of the pages of the first read, slice by slice.
    pub pages: Vec<String>,
    /// Records that the pages announce.
    pub records: u64,
    /// The proofs, slice by slice.
    pub evidence: Vec<String>,
    /// What a second run proved, slice by slice; `None` where it read the slice again.
    pub unchanged: Vec<Option<String>>,
}

/// One slice, read whole.
struct ReadSlice {
    pages: Vec<String>,
    records: u64,
    outcome: Outcome,
}

enum Outcome {
    Unchanged(String),
    End(String, SliceState),
}

/// Plans and reads twice from the start, then once more from what was reached, and compares.
///
/// # Errors
/// The promise that was broken, or the source's own error.
pub async fn check(source: &dyn Source, fetch: &Fetcher) -> Result<Conformance, String> {
    let empty = Checkpoint::default();
    let plan = source.plan(&empty, fetch).await.map_err(|error| error.to_string())?;
    let again = source.plan(&empty, fetch).await.map_err(|error| error.to_string())?;
    require(plan.slices == again.slices, "two plans from one checkpoint differ")?;
    let ids: BTreeSet<_> = plan.slices.iter().map(|slice| &slice.id).collect();
    require(ids.len() == plan.slices.len(), "two slices have one name")?;
    let mut found = Conformance { slices: plan.slices.len(), ..Conformance::default() };
    let mut done = Checkpoint::default();
    for slice in plan.slices {
        require(slice.from == SliceState::default(), "a slice of an empty checkpoint does not start at the start")?;
        let first = read(source, slice.clone(), fetch).await?;
        let second = read(source, slice.clone(), fetch).await?;
        require(first.pages == second.pages, "two reads of one slice bring different pages")?;
        let Outcome::End(evidence, state) = first.outcome else {
            return Err(format!("slice `{}` is unchanged, but nothing was read before", slice.id));
        };
        require(!evidence.is_empty(), "an end has no evidence")?;
        found.pages.extend(first.pages);
        found.records += first.records;
        found.evidence.push(evidence);
        done.slices.insert(slice.id, state);
    }
    for slice in source.plan(&done, fetch).await.map_err(|error| error.to_string())?.slices {
        require(slice.from == done.slice(&slice.id), "a slice does not start where the checkpoint ended")?;
        found.unchanged.push(match read(source, slice, fetch).await?.outcome {
            Outcome::Unchanged(evidence) => Some(evidence),
            Outcome::End(..) => None,
        });
    }
    Ok(found)
}

async fn read(source: &dyn Source, slice: Slice, fetch: &Fetcher) -> Result<ReadSlice, String> {
    let id = slice.id.clone();
    let mut events = source.read(slice, fetch.clone());
    let (mut pages, mut records, mut outcome) = (Vec::new(), 0, None);
    while let Some(event) = events.next().await {
        require(outcome.is_none(), "something comes after the end")?;
        match event.map_err(|error| format!("slice `{id}`: {error}"))? {
            SliceEvent::Page(page) => {
                require(page.landed.path.exists(), "a page's file is not there")?;
                records += page.records_announced.unwrap_or(0);
                pages.push(page.landed.sha256.clone());
            }
            SliceEvent::Unchanged { evidence } => {
                require(pages.is_empty(), "`Unchanged` comes after pages")?;
                require(!evidence.is_empty(), "`Unchanged` has no evidence")?;
                outcome = Some(Outcome::Unchanged(evidence));
            }
            SliceEvent::End { proof, reached, seen } => {
                if let Some(announced) = proof.records_announced {
                    require(announced == records || pages.is_empty(), "the pages do not add up to the proof")?;
                }
                outcome = Some(Outcome::End(proof.evidence, SliceState { position: reached, seen: Some(seen) }));
            }
        }
    }
    let outcome = outcome.ok_or_else(|| format!("slice `{id}` has no end"))?;
    Ok(ReadSlice { pages, records, outcome })
}

fn require(holds: bool, promise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(promise.to_owned()) }
}
