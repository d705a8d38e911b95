//! What is known of a slice while it is being read.

use hambar_connect::{Page, Slice};
use hambar_decode::DecodeReport;

/// Why slices are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// For what is new.
    Collect,
    /// Although they are unchanged.
    Again,
    /// Likewise, but from the landing zone.
    FromRaw,
}

/// A slice that is being read.
#[derive(Debug)]
pub(super) struct SliceWork {
    pub(super) slice: Slice,
    pub(super) purpose: Purpose,
    /// Pages that wait until it is clear that they are news.
    pub(super) held: Vec<Page>,
    /// Pages that were given to a decoder.
    pub(super) pages: u64,
    /// Records decoded, rejects included.
    pub(super) records: u64,
    pub(super) has_ended: bool,
    rejected: u64,
    first_reject: String,
}

impl SliceWork {
    /// Nothing of `slice` was read yet.
    pub(super) fn new(slice: Slice, purpose: Purpose) -> Self {
        Self {
            slice,
            purpose,
            held: Vec::new(),
            pages: 0,
            records: 0,
            has_ended: false,
            rejected: 0,
            first_reject: String::new(),
        }
    }

    /// Adds a decoded page.
    pub(super) fn count(&mut self, report: &DecodeReport) {
        if self.rejected == 0 {
            self.first_reject = report.first_reject.clone().unwrap_or_default();
        }
        self.records += report.records;
        self.rejected += report.rejected;
    }

    /// Place and reason of the first reject, where there were records and none of them could be published.
    pub(super) fn only_rejects(&self) -> Option<&str> {
        (self.records > 0 && self.rejected == self.records).then_some(self.first_reject.as_str())
    }
}
