//! What a run notes down on its way, for the report.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Drift;

/// Pieces of evidence that are kept in full; the rest is counted.
const EVIDENCE_MAX: usize = 20;

/// Encodings that are named.
const ENCODINGS_MAX: usize = 10;

/// The notes of one run.
#[derive(Debug, Default)]
pub(crate) struct RunLog {
    evidence: BTreeMap<String, u64>,
    more: u64,
    pub(crate) rows_received: u64,
    pub(crate) rows_rejected: u64,
    pub(crate) drift: Drift,
    encodings: BTreeSet<String>,
    pub(crate) warnings: Vec<String>,
}

impl RunLog {
    /// Forgets what an attempt counted before it had to start again.
    pub(crate) fn start_again(&mut self) {
        self.evidence.clear();
        self.encodings.clear();
        (self.more, self.rows_received, self.rows_rejected) = (0, 0, 0);
    }

    /// Notes what proved a slice complete or unchanged.
    pub(crate) fn prove(&mut self, evidence: &str) {
        let has_room = self.evidence.len() < EVIDENCE_MAX;
        match self.evidence.get_mut(evidence) {
            Some(count) => *count += 1,
            None if has_room => {
                self.evidence.insert(evidence.to_owned(), 1);
            }
            None => self.more += 1,
        }
    }

    /// Notes something that went wrong without stopping the run, once.
    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Notes the encoding of a decoded body.
    pub(crate) fn encoded(&mut self, encoding: Option<&str>) {
        for name in encoding.into_iter().flat_map(|names| names.split(", ")) {
            if self.encodings.len() < ENCODINGS_MAX {
                self.encodings.insert(name.to_owned());
            }
        }
    }

    /// Returns the encodings that occurred, in order.
    pub(crate) fn encoding(&self) -> Option<String> {
        let names: Vec<&str> = self.encodings.iter().map(String::as_str).collect();
        Some(names.join(", ")).filter(|text| !text.is_empty())
    }

    pub(crate) fn evidence(&self) -> Vec<String> {
        let counted = self.evidence.iter().map(|(evidence, count)| match count {
            1 => evidence.clone(),
            _ => format!("{evidence} ({count} slices)"),
        });
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        counted.chain(more).collect()
    }
}
