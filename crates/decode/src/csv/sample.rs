//! Splits a sample of text into records without knowing its columns, for those who propose settings.

use hambar_core::limits::COLUMNS_MAX;

use crate::csv::dialect::Dialect;
use crate::csv::split::{Skip, Splitter};
use crate::error::DecodeError;
use crate::spec::FormatSpec;

/// Some text and how it is written.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    text: &'a [u8],
    is_whole: bool,
    dialect: Dialect,
}

/// A record of a sample.
#[derive(Debug)]
pub(crate) struct Record {
    /// Position of its first byte.
    pub(crate) start: usize,
    pub(crate) cells: Vec<String>,
}

impl<'a> Sample<'a> {
    /// Makes a sample; `is_whole` says that the text ends with `text`.
    pub(crate) fn new(text: &'a [u8], is_whole: bool, spec: &FormatSpec) -> Result<Self, DecodeError> {
        Ok(Self { text, is_whole, dialect: Dialect::new(spec)? })
    }

    /// Returns at most `records_max` records; one that is cut off or has a broken quote is left out.
    pub(crate) fn records(&self, records_max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut spans = Vec::new();
        let mut scratch = Vec::new();
        let mut at = 0;
        while records.len() < records_max {
            let mut splitter = Splitter::new(self.text, at, self.is_whole, &self.dialect);
            match splitter.skip_blank(at) {
                Skip::Record => {}
                Skip::To(next) => {
                    at = next;
                    continue;
                }
                Skip::End | Skip::NeedMore => break,
            }
            spans.clear();
            let Some(record) = splitter.record(at, COLUMNS_MAX, &mut spans) else {
                break;
            };
            if record.breach.is_none() {
                let mut cells = Vec::with_capacity(spans.len());
                for span in &spans {
                    let value = span.value(self.text, &self.dialect, &mut scratch);
                    cells.push(String::from_utf8_lossy(value).into_owned());
                }
                records.push(Record { start: at, cells });
            }
            at = record.next;
        }
        records
    }
}
