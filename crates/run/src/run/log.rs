//! What a run notes down on its way, for the report.

use std::collections::BTreeMap;

use super::report::Drift;

/// Pieces of evidence that are kept in full; the rest is counted.
const EVIDENCE_MAX: usize = 20;

/// The notes of one run.
#[derive(Debug, Default)]
pub(crate) struct RunLog {
    evidence: BTreeMap<String, u64>,
    more: u64,
    pub(crate) rows_received: u64,
    pub(crate) rows_rejected: u64,
    pub(crate) drift: Drift,
    pub(crate) warnings: Vec<String>,
}

impl RunLog {
    /// Forgets what an attempt counted before it had to start again.
    pub(crate) fn start_again(&mut self) {
        self.evidence.clear();
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

    pub(crate) fn evidence(&self) -> Vec<String> {
        let counted = self.evidence.iter().map(|(evidence, count)| match count {
            1 => evidence.clone(),
            _ => format!("{evidence} ({count} slices)"),
        });
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        counted.chain(more).collect()
    }
}
