//! What must be known of a dataflow before its query can be split: the order of its dimensions and their codes. Read
//! from the provider's structure and availability messages, by the decoder's own structure reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use arrow::array::{Array, AsArray, StringArray};
use hambar_decode::spec::{DecodeJob, FormatKind};
use hambar_decode::{DecodeError, Input, sdmx};
use hambar_fetch::Landed;

use super::query::Part;
use crate::body::blocking;
use crate::error::ConnectError;

/// Bytes of a structure message that is read for planning.
pub(super) const STRUCTURE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Codes that are kept for planning.
const CODES_MAX: usize = 5_000_000;

/// One row of a structure message.
#[derive(Debug, Clone, Default)]
pub(super) struct StructureRow {
    artefact: String,
    owner: String,
    pub(super) role: String,
    pub(super) code: String,
    pub(super) label: String,
    parent: String,
    reference: String,
    position: u64,
}

/// Dimensions in key order, and the codes of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) dimensions: Vec<String>,
    pub(super) codes: BTreeMap<String, Vec<String>>,
}

/// Reads a landed structure message.
pub(super) async fn structure_rows(landed: &Landed, job: &DecodeJob) -> Result<Vec<StructureRow>, ConnectError> {
    let url = landed.meta.url.clone();
    if landed.bytes > STRUCTURE_BYTES_MAX {
        return Err(ConnectError::Limit { url, limit: "bytes of a structure message", value: STRUCTURE_BYTES_MAX });
    }
    let path = landed.path.clone();
    let mut job = job.clone();
    let rows = blocking(landed, move || {
        let mut head = [0; 1];
        io::Read::read(&mut File::open(&path)?, &mut head)?;
        job.format.kind = if head == *b"{" { FormatKind::SdmxJson } else { FormatKind::SdmxMl };
        Ok(decode(File::open(path)?, &job))
    })
    .await?;
    rows.map_err(|error| ConnectError::Protocol { url, what: hambar_core::Chain(&error).to_string() })
}

fn decode(file: File, job: &DecodeJob) -> Result<Vec<StructureRow>, DecodeError> {
    let mut source = sdmx::open(Input::File(file), job, None)?;
    let mut rows = Vec::new();
    while let Some(batch) = source.next_batch()? {
        let batch = batch.batch;
        let column = |name: &str| batch.column_by_name(name).and_then(|array| array.as_string_opt::<i32>());
        let cell = |column: Option<&StringArray>, row: usize| {
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned()).unwrap_or_default()
        };
        for row in 0..batch.num_rows() {
            if rows.len() >= CODES_MAX {
                return Ok(rows);
            }
            rows.push(StructureRow {
                artefact: cell(column("artefact"), row),
                owner: format!("{}:{}", cell(column("agency"), row), cell(column("id"), row)),
                role: cell(column("role"), row),
                code: cell(column("code"), row),
                label: cell(column("label"), row),
                parent: cell(column("parent"), row),
                reference: cell(column("reference"), row),
                position: cell(column("position"), row).parse().unwrap_or_default(),
            });
        }
    }
    Ok(rows)
}

impl Shape {
    /// Takes dimensions and code lists out of a structure message.
    pub(super) fn of_structure(rows: &[StructureRow]) -> Self {
        let mut found: Vec<&StructureRow> = rows
            .iter()
            .filter(|row| {
                row.artefact == "datastructure" && matches!(row.role.as_str(), "dimension" | "measure_dimension")
            })
            .collect();
        // A message may bring several structures; the first one's dimensions are the dataflow's.
        let owner = found.first().map(|row| row.owner.clone()).unwrap_or_default();
        found.retain(|row| row.owner == owner);
        found.sort_by_key(|row| row.position);
        let mut shape = Self::default();
        for row in found {
            // `AGENCY:ID(VERSION)`; the version may be a pattern (`1.0+.0`), so that it is not compared.
            let reference = if row.reference.is_empty() { concept_list(rows, &row.code) } else { &row.reference };
            let list = reference.split('(').next().unwrap_or_default();
            let mut codes: Vec<String> = Vec::new();
            for code in rows.iter().filter(|code| code.role == "code" && code.owner == list && !list.is_empty()) {
                // A code with several languages has several rows, one after the other.
                if codes.last() != Some(&code.code) {
                    codes.push(code.code.clone());
                }
            }
            shape.dimensions.push(row.code.clone());
            shape.codes.insert(row.code.clone(), codes);
        }
        shape
    }

    /// Narrows the codes to those that an availability message names.
    pub(super) fn narrow(&mut self, rows: &[StructureRow]) {
        for dimension in &self.dimensions {
            let values = rows.iter().filter(|row| row.role == "value" && row.parent == *dimension);
            let codes: Vec<String> = values.map(|row| row.code.clone()).collect();
            if !codes.is_empty() {
                self.codes.insert(dimension.clone(), codes);
            }
        }
    }

    /// Cuts a part in two along a dimension, or along time when every dimension has one code left. `None`: it cannot
    /// be cut. The halves together are the whole.
    pub(super) fn halve(&self, part: &Part, first: Option<&str>) -> Option<(Part, Part)> {
        let choices = self.dimensions.iter().filter_map(|dimension| {
            let codes = part.filters.get(dimension).or_else(|| self.codes.get(dimension))?;
            (codes.len() > 1).then_some((dimension, codes))
        });
        let wanted = choices.max_by_key(|(dimension, codes)| (first == Some(dimension.as_str()), codes.len()));
        let Some((dimension, codes)) = wanted else { return halve_time(part) };
        let (left, right) = codes.split_at(codes.len() / 2);
        let with = |codes: &[String]| {
            let mut half = part.clone();
            half.filters.insert(dimension.clone(), codes.to_vec());
            half
        };
        Some((with(left), with(right)))
    }
}

/// A dimension without a code list of its own has that of its concept, which mostly has the dimension's name.
fn concept_list<'a>(rows: &'a [StructureRow], dimension: &str) -> &'a str {
    let concept =
        rows.iter().find(|row| row.artefact == "conceptscheme" && row.role == "code" && row.code == dimension);
    concept.map_or("", |row| row.reference.as_str())
}

fn year(period: &str) -> Option<i32> {
    period.get(..4)?.parse().ok()
}

/// Cuts at the turn of a year: `2000`–`2009` gives `2000`–`2004` and `2005`–`2009`.
fn halve_time(part: &Part) -> Option<(Part, Part)> {
    let (first, last) = (year(part.start.as_deref()?)?, year(part.end.as_deref()?)?);
    if last <= first {
        return None;
    }
    let middle = first + (last - first) / 2;
    let left = Part { end: Some(format!("{middle:04}")), ..part.clone() };
    let right = Part { start: Some(format!("{:04}", middle + 1)), ..part.clone() };
    Some((left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(filters: &[(&str, &[&str])], start: &str, end: &str) -> Part {
        let filters = filters
            .iter()
            .map(|(name, codes)| ((*name).to_owned(), codes.iter().map(|code| (*code).to_owned()).collect()));
        let period = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Part { filters: filters.collect(), start: period(start), end: period(end), ..Part::default() }
    }

    #[test]
    fn halves_cover_the_whole_and_do_not_overlap() {
        let codes = |list: &[&str]| list.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let shape = Shape {
            dimensions: codes(&["FREQ", "GEO"]),
            codes: [("FREQ".to_owned(), codes(&["A", "M"])), ("GEO".to_owned(), codes(&["BG", "DE", "FR"]))].into(),
        };
        let whole = part(&[], "2000", "2003");
        let (left, right) = shape.halve(&whole, None).unwrap();
        assert_eq!(left, part(&[("GEO", &["BG"])], "2000", "2003"));
        assert_eq!(right, part(&[("GEO", &["DE", "FR"])], "2000", "2003"));
        let (by_frequency, _) = shape.halve(&whole, Some("FREQ")).unwrap();
        assert_eq!(by_frequency, part(&[("FREQ", &["A"])], "2000", "2003"));
        let single = part(&[("FREQ", &["A"]), ("GEO", &["BG"])], "2000-03", "2003");
        let (left, right) = shape.halve(&single, None).unwrap();
        assert_eq!((left.start.as_deref(), left.end.as_deref()), (Some("2000-03"), Some("2001")));
        assert_eq!((right.start.as_deref(), right.end.as_deref()), (Some("2002"), Some("2003")));
        assert_eq!(shape.halve(&part(&[("FREQ", &["A"]), ("GEO", &["BG"])], "2000", "2000"), None), None);
        assert_eq!(shape.halve(&part(&[("FREQ", &["A"]), ("GEO", &["BG"])], "", ""), None), None);
    }
}
