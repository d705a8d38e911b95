//! The sections `[format]`, `[[columns]]`, `[nulls]` and `[unpivot]` of a pipeline file: how bytes become rows.
//! They mirror the file; everything is optional that can be found out from the bytes.

use std::collections::BTreeMap;

use hambar_core::{ColumnType, Ident, OnDrift};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// Comma-separated values (RFC 4180 and its many deviations).
    Csv,
    /// Tab-separated values.
    Tsv,
    /// Columns at fixed character positions.
    FixedWidth,
    /// One JSON document; rows at `record_path`.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
    /// Office Open XML workbook.
    Xlsx,
    /// Excel 97–2003 workbook.
    Xls,
    /// OpenDocument spreadsheet.
    Ods,
    /// SDMX-CSV 1.0 or 2.0.
    SdmxCsv,
    /// SDMX-ML 2.1 or 3.0, generic or structure-specific.
    SdmxMl,
    /// SDMX-JSON 1.0 or 2.0.
    SdmxJson,
}

impl FormatKind {
    /// Says whether a body names only the columns that have a value somewhere in it, as an SDMX message does: a column that
    /// is absent is empty then, not gone.
    pub fn is_sparse(&self) -> bool {
        matches!(self, Self::SdmxMl | Self::SdmxJson)
    }
}

/// Compression around the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Found out from the first bytes.
    Auto,
    /// None, whatever the first bytes look like.
    None,
    /// RFC 1952, several members allowed.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// An archive around the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Archive {
    /// Zip, zip64 included.
    Zip,
    /// Tar, compressed or not.
    Tar,
}

/// What to do with a record that has more or fewer cells than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// It goes to `__rejects`.
    #[default]
    Reject,
    /// Missing cells at the end are NULL; additional empty cells are dropped, others rejected.
    Pad,
}

/// One column of a fixed-width file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedColumn {
    /// The source name, for `[[columns]] source`.
    pub name: String,
    /// First character, counted from 1.
    pub start: usize,
    /// Number of characters.
    pub width: usize,
}

/// The section `[format]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormatSpec {
    /// The file format.
    pub kind: FormatKind,
    /// Compression around the file; found out when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Archive around the file; found out when absent and `members` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// Glob of the archive members to read, in the archive's order. All must have the same columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
    /// Character encoding by its WHATWG label (`utf-8`, `windows-1252`, `utf-16le` …); found out when absent: BOM, then
    /// UTF-8 if the whole file is, else windows-1252.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Cell separator, one or more characters; `,` for csv, tab for tsv.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Quote character; `"` when absent; the empty text for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Escape character inside quotes, besides the doubled quote. It counts in front of a quote and of itself; in front
    /// of anything else it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<String>,
    /// Lines that start with this text are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Physical lines before the header (titles, notes).
    #[serde(default)]
    pub preamble_lines: usize,
    /// Header lines; several are joined with a space, column by column. 0: columns are `column_1`, `column_2` …
    #[serde(default = "one")]
    pub header_lines: usize,
    /// Records at the end that are no data (totals, notes).
    #[serde(default)]
    pub footer_lines: usize,
    /// Records whose first cell matches this regular expression end the data (a footer of unknown length).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer_pattern: Option<String>,
    /// What to do with records of another length than the header.
    #[serde(default)]
    pub ragged: Ragged,
    /// Decimal sign, `.` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// Thousands separators that may stand in numbers, for instance `"., "`; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<String>,
    /// White space around cells is cut off.
    #[serde(default = "yes")]
    pub trim: bool,
    /// JSON: where the array of records is, as a JSON Pointer (RFC 6901); empty for the document itself. `*` stands for
    /// every item of an array or member of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_path: Option<String>,
    /// Workbooks: the sheet's name; the first sheet when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// Fixed width: the columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<FixedColumn>,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// What a declared column holds: a stored type, or a form that is taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RuleType {
    /// Stored as it is.
    Plain(ColumnType),
    /// A period of time: the column keeps the raw text, and `<name>_start` (date), `<name>_end` (date, inclusive) and
    /// `<name>_freq` (SDMX code: A, S, Q, M, W, D, B two-monthly, H hourly …) are added.
    Period,
}

impl TryFrom<String> for RuleType {
    type Error = hambar_core::column::TypeError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "period" { Ok(Self::Period) } else { text.parse().map(Self::Plain) }
    }
}

impl From<RuleType> for String {
    fn from(kind: RuleType) -> Self {
        match kind {
            RuleType::Plain(kind) => kind.to_string(),
            RuleType::Period => "period".to_owned(),
        }
    }
}

/// One `[[columns]]` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// The column's name in the table.
    #[schemars(with = "String")]
    pub name: Ident,
    /// The source's name for it: a header cell, a JSON Pointer into the record, an SDMX concept. When absent, the
    /// source column whose made name (`Ident::from_source`) equals `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `string`, `bool`, `int32`, `int64`, `float64`, `decimal(p,s)`, `date`, `timestamp`, `binary`, `list<T>`,
    /// `struct<name: T>`, or `period`.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub kind: RuleType,
    /// A missing value rejects the row.
    #[serde(default)]
    pub required: bool,
    /// The unit of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What the column means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The date or timestamp format (strptime, as in jiff `fmt::strtime`); ISO 8601 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Texts that mean "missing" in this column, besides those of `[nulls]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nulls: Vec<String>,
    /// A text column to be added that takes what makes a value missing or special: the missing-value text itself
    /// (`:c`), and flags that follow a number (`12.3 bp` gives 12.3 and `bp`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub status: Option<Ident>,
}

/// The section `[nulls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NullSpec {
    /// Texts that mean "missing" in every column; the empty cell always does, except in text columns when
    /// `empty_text` is set.
    #[serde(default)]
    pub values: Vec<String>,
    /// Keep empty cells of text columns as empty text.
    #[serde(default)]
    pub empty_text: bool,
}

/// The section `[unpivot]`: wide columns (years) become rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpivotSpec {
    /// Source columns whose name matches this regular expression are turned into rows; the first capture group, if
    /// there is one, is the name that the row gets.
    pub columns: String,
    /// Source name of the new column that holds the old columns' names (for `[[columns]] source`).
    pub name: String,
    /// Source name of the new column that holds their cells.
    pub value: String,
    /// Leave out rows whose cell is empty.
    #[serde(default)]
    pub skip_empty: bool,
}

/// Everything that turns one landed body into rows; sent to the decode worker as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeJob {
    /// The format.
    pub format: FormatSpec,
    /// The declared columns.
    pub columns: Vec<ColumnRule>,
    /// Missing values.
    pub nulls: NullSpec,
    /// Wide to long.
    pub unpivot: Option<UnpivotSpec>,
    /// What to do about columns that are not declared or not there.
    pub on_drift: OnDrift,
    /// Source columns that are left out on purpose: no drift.
    pub ignore: Vec<String>,
    /// Text cells that the connector knows and the body lacks (`{"indicator": "NY.GDP.MKTP.CD"}`), by source name.
    pub constants: BTreeMap<String, String>,
    /// The limits.
    pub limits: DecodeLimits,
}

impl DecodeJob {
    /// Reads `format` into `columns` by no other rules: an undeclared column fails.
    pub fn new(format: FormatSpec, columns: Vec<ColumnRule>) -> Self {
        Self {
            format,
            columns,
            nulls: NullSpec::default(),
            unpivot: None,
            on_drift: OnDrift::Fail,
            ignore: Vec::new(),
            constants: BTreeMap::new(),
            limits: DecodeLimits::default(),
        }
    }
}

/// Limits of one decode job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeLimits {
    /// Bytes after decompression, all members together.
    pub decoded_bytes_max: u64,
    /// Rejected records after which the job fails.
    pub rejects_max: u64,
    /// Threads that may be used.
    pub threads: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { decoded_bytes_max: hambar_core::limits::DECODED_BYTES_MAX, rejects_max: 10_000, threads: 2 }
    }
}
