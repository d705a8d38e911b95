//! What must be known of a dataflow before its query can be split: the order of its dimensions and their codes. Read
//! from the provider's structure and availability messages, by the decoder's own structure reader.

use std::collections::{BTreeMap, BTreeSet};
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
/// Rows of a structure message (mostly codes) that are kept for planning.
const CODES_MAX: usize = 5_000_000;
/// The years between which an open range of periods is cut. Only the cuts are taken from here: the outer parts stay
/// open, so that nothing before or after is lost.
const OPEN_YEARS: (i32, i32) = (1_900, 2_050);

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

/// Why a structure message cannot be used for planning.
enum Unusable {
    Decode(DecodeError),
    /// This code list goes beyond the limit.
    Codes(TooManyCodes),
}

/// Where the limit on codes was reached.
#[derive(Debug, PartialEq, Eq)]
struct TooManyCodes {
    list: String,
    /// The dimension that takes its codes from there, where the message says so.
    dimension: Option<String>,
}

/// Reads a landed structure message of `flow`.
pub(super) async fn structure_rows(
    landed: &Landed,
    job: &DecodeJob,
    flow: &str,
) -> Result<Vec<StructureRow>, ConnectError> {
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
        Ok(decode(File::open(path)?, &job, CODES_MAX))
    })
    .await?;
    rows.map_err(|error| match error {
        Unusable::Decode(error) => ConnectError::Protocol { url, what: hambar_core::Chain(&error).to_string() },
        Unusable::Codes(TooManyCodes { list, dimension }) => ConnectError::TooManyCodes {
            url,
            flow: flow.to_owned(),
            list,
            dimension: dimension.unwrap_or_else(|| "unknown".to_owned()),
            value: CODES_MAX as u64,
        },
    })
}

fn decode(file: File, job: &DecodeJob, codes_max: usize) -> Result<Vec<StructureRow>, Unusable> {
    let mut source = sdmx::open(Input::File(file), job, None).map_err(Unusable::Decode)?;
    let mut rows = Vec::new();
    // The list in which the limit was reached. From then on only the dimension that uses it is looked for.
    let mut beyond: Option<String> = None;
    while let Some(batch) = source.next_batch().map_err(Unusable::Decode)? {
        let batch = batch.batch;
        let column = |name: &str| batch.column_by_name(name).and_then(|array| array.as_string_opt::<i32>());
        let cell = |column: Option<&StringArray>, row: usize| {
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned()).unwrap_or_default()
        };
        for row in 0..batch.num_rows() {
            let found = StructureRow {
                artefact: cell(column("artefact"), row),
                owner: format!("{}:{}", cell(column("agency"), row), cell(column("id"), row)),
                role: cell(column("role"), row),
                code: cell(column("code"), row),
                label: cell(column("label"), row),
                parent: cell(column("parent"), row),
                reference: cell(column("reference"), row),
                position: cell(column("position"), row).parse().unwrap_or_default(),
            };
            match &beyond {
                None if rows.len() < codes_max => rows.push(found),
                None => {
                    let list = found.owner.clone();
                    if let Some(dimension) = dimension_of(&rows, &list) {
                        return Err(Unusable::Codes(TooManyCodes { list, dimension: Some(dimension) }));
                    }
                    beyond = Some(list);
                }
                Some(list) => {
                    if let Some(dimension) = dimension_of(std::slice::from_ref(&found), list) {
                        let (list, dimension) = (list.clone(), Some(dimension));
                        return Err(Unusable::Codes(TooManyCodes { list, dimension }));
                    }
                }
            }
        }
    }
    match beyond {
        Some(list) => Err(Unusable::Codes(TooManyCodes { list, dimension: None })),
        None => Ok(rows),
    }
}

/// The dimension that takes its codes from `list`.
fn dimension_of(rows: &[StructureRow], list: &str) -> Option<String> {
    let uses = |row: &&StructureRow| row.role == "dimension" && list_of(&row.reference) == list;
    rows.iter().find(uses).map(|row| row.code.clone())
}

/// A reference without its version, which may be a pattern (`AGENCY:ID(1.0+.0)`) and is not compared.
fn list_of(reference: &str) -> &str {
    reference.split('(').next().unwrap_or_default()
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
            let reference = if row.reference.is_empty() { concept_list(rows, &row.code) } else { &row.reference };
            let list = list_of(reference);
            // Each once: a code has a row for each language, and a message may bring two versions of a list.
            let mut known = BTreeSet::new();
            let all = rows.iter().filter(|code| code.role == "code" && code.owner == list && !list.is_empty());
            let codes = all.filter(|code| known.insert(&code.code)).map(|code| code.code.clone()).collect();
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

/// Cuts at the turn of a year: `2000`–`2009` gives `2000`–`2004` and `2005`–`2009`; an open range gives two that are
/// open on one side.
fn halve_time(part: &Part) -> Option<(Part, Part)> {
    let bound = |period: Option<&str>, open: i32| period.map_or(Some(open), year);
    let first = bound(part.start.as_deref(), OPEN_YEARS.0)?;
    let last = bound(part.end.as_deref(), OPEN_YEARS.1)?;
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
    }

    #[test]
    fn an_open_range_of_periods_is_cut_and_stays_open_outside() {
        let shape = Shape::default();
        let text = |part: &Part| {
            let bound = |period: &Option<String>| period.clone().unwrap_or_default();
            format!("{}..{}", bound(&part.start), bound(&part.end))
        };
        let halves = |start: &str, end: &str| {
            shape.halve(&part(&[], start, end), None).map(|(left, right)| (text(&left), text(&right)))
        };
        let both = |left: &str, right: &str| Some((left.to_owned(), right.to_owned()));
        assert_eq!(halves("", ""), both("..1975", "1976.."));
        assert_eq!(halves("1976", ""), both("1976..2013", "2014.."));
        assert_eq!(halves("", "1901"), both("..1900", "1901..1901"));
        assert_eq!(halves("", "1900"), None);
        assert_eq!(halves("2050", ""), None);
        assert_eq!(halves("last", ""), None);
    }

    #[test]
    fn too_many_codes_are_an_error_that_names_list_and_dimension() {
        let list = "<CodeLists><Codelist agencyID=\"X\" id=\"CL_GEO\" version=\"1.0\"><Code id=\"BG\"/><Code id=\"DE\"/>\
            <Code id=\"FR\"/></Codelist></CodeLists>";
        let structure = "<DataStructures><DataStructure agencyID=\"X\" id=\"D\" version=\"1.0\"><DataStructureComponents>\
            <DimensionList><Dimension id=\"GEO\" position=\"1\"><LocalRepresentation><Enumeration>\
            <Ref agencyID=\"X\" id=\"CL_GEO\" version=\"1.0\"/></Enumeration></LocalRepresentation></Dimension>\
            </DimensionList></DataStructureComponents></DataStructure></DataStructures>";
        let job = || DecodeJob {
            format: serde_json::from_str("{\"kind\":\"sdmx_ml\"}").unwrap(),
            columns: Vec::new(),
            nulls: hambar_decode::spec::NullSpec::default(),
            unpivot: None,
            on_drift: hambar_core::OnDrift::Fail,
            ignore: Vec::new(),
            constants: BTreeMap::new(),
            limits: hambar_decode::spec::DecodeLimits::default(),
        };
        let read = |body: &str, codes_max: usize| {
            let mut file = tempfile::tempfile().unwrap();
            let text = format!("<m:Structure xmlns:m=\"m\"><m:Structures>{body}</m:Structures></m:Structure>");
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            match decode(file, &job(), codes_max) {
                Ok(rows) => Ok(rows.iter().filter(|row| row.role == "code").count()),
                Err(Unusable::Codes(found)) => Err(found),
                Err(Unusable::Decode(error)) => panic!("{error}"),
            }
        };
        let both = format!("{list}{structure}");
        assert_eq!(read(&both, 1_000), Ok(3));
        let beyond = |dimension: Option<&str>| {
            Err(TooManyCodes { list: "X:CL_GEO".to_owned(), dimension: dimension.map(str::to_owned) })
        };
        assert_eq!(read(&both, 3), beyond(Some("GEO")));
        assert_eq!(read(list, 3), beyond(None));
    }
}
