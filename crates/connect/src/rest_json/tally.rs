//! Adds up what a slice's pages announce and hold, and says at the end whether nothing is missing.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::body;
use crate::error::ConnectError;
use crate::json::Scalar;

/// The sums of one slice.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    pub(crate) total: Option<u64>,
    pub(crate) pages_announced: Option<u64>,
    pub(crate) greatest: Option<Scalar>,
    records_hash: Sha256,
    known_pages: HashSet<String>,
}

impl Tally {
    /// Takes what a page announces for the whole slice; it must not change from page to page.
    pub(crate) fn announce(&mut self, url: &str, total: Option<u64>, pages: Option<u64>) -> Result<(), ConnectError> {
        let changed = |unit: &str, first: u64, later: u64| ConnectError::Incomplete {
            url: url.to_owned(),
            announced: format!("{first} {unit} on the first page"),
            received: format!("{later} {unit} on a later one: the data changed while it was read"),
        };
        match (self.total, total) {
            (Some(first), Some(later)) if first != later => return Err(changed("records in all", first, later)),
            (None, Some(total)) => self.total = Some(total),
            _ => {}
        }
        match (self.pages_announced, pages) {
            (Some(first), Some(later)) if first != later => return Err(changed("pages in all", first, later)),
            (None, Some(pages)) => self.pages_announced = Some(pages),
            _ => {}
        }
        Ok(())
    }

    /// Adds a page; one whose records were there before is a loop.
    pub(crate) fn add(&mut self, url: &str, records: u64, records_sha256: &str) -> Result<(), ConnectError> {
        self.pages += 1;
        self.records += records;
        self.records_hash.update(records_sha256.as_bytes());
        if records > 0 && !self.known_pages.insert(records_sha256.to_owned()) {
            let what = format!("its {records} records are those of an earlier page");
            return Err(ConnectError::Loop { url: url.to_owned(), page: self.pages, what });
        }
        Ok(())
    }

    /// Keeps the greatest position.
    pub(crate) fn reach(&mut self, position: Option<Scalar>) {
        if let Some(position) = position
            && self.greatest.as_ref().is_none_or(|known| position.is_after(known))
        {
            self.greatest = Some(position);
        }
    }

    /// Returns the hash of all records, page by page.
    pub(crate) fn records_sha256(&self) -> String {
        body::hex(&self.records_hash.clone().finalize())
    }

    /// Compares what was announced with what came, and says in words why nothing is missing.
    pub(crate) fn prove(&self, url: &str, end: &str) -> Result<String, ConnectError> {
        let incomplete =
            |announced, received| Err(ConnectError::Incomplete { url: url.to_owned(), announced, received });
        if let Some(total) = self.total
            && total != self.records
        {
            return incomplete(format!("{total} records"), format!("{} records in {} pages", self.records, self.pages));
        }
        // Providers count no page or one page where there are no records.
        if let Some(pages) = self.pages_announced
            && pages.max(1) != self.pages
        {
            return incomplete(format!("{pages} pages"), format!("{} pages", self.pages));
        }
        Ok(match (self.total, self.pages_announced) {
            (Some(total), _) => format!("total {} of {total} in {} pages", self.records, self.pages),
            (None, Some(pages)) => format!("page {} of {pages}", self.pages),
            (None, None) => format!("{end}, {} records in {} pages", self.records, self.pages),
        })
    }
}
