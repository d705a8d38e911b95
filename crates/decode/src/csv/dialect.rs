//! The settings of `[format]` that concern delimited text, checked once and turned into bytes.

use hambar_core::limits::COLUMNS_MAX;
use regex::bytes::Regex;

use crate::error::DecodeError;
use crate::spec::{FormatKind, FormatSpec, Ragged};

/// Records that may be cut off at the end by `footer_lines`.
pub const FOOTER_LINES_MAX: usize = 10_000;
/// Bytes of a compiled `footer_pattern`.
const FOOTER_PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a delimiter or comment mark.
const MARK_BYTES_MAX: usize = 16;

/// How cells and records are told apart.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    /// Cell separator, never empty.
    pub(crate) delimiter: Vec<u8>,
    /// Quote character.
    pub(crate) quote: Option<u8>,
    /// Escape character inside quotes.
    pub(crate) escape: Option<u8>,
    /// Start of lines to skip.
    pub(crate) comment: Option<Vec<u8>>,
    /// Physical lines before the header.
    pub(crate) preamble_lines: usize,
    /// Records that make up the header.
    pub(crate) header_lines: usize,
    /// Records to cut off at the end.
    pub(crate) footer_lines: usize,
    /// First cell of the record that ends the data.
    pub(crate) footer_pattern: Option<Regex>,
    /// What to do with records of the wrong length.
    pub(crate) ragged: Ragged,
    /// Cut white space around cells off.
    pub(crate) trim: bool,
}

impl Dialect {
    /// Checks the settings.
    pub(crate) fn new(spec: &FormatSpec) -> Result<Self, DecodeError> {
        let delimiter = match (&spec.delimiter, spec.kind) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, FormatKind::Tsv) => b"\t".to_vec(),
            (None, _) => b",".to_vec(),
        };
        if delimiter.is_empty() || delimiter.len() > MARK_BYTES_MAX {
            return Err(setting("format.delimiter", format!("use 1 to {MARK_BYTES_MAX} bytes")));
        }
        let quote = match spec.quote.as_deref() {
            None => Some(b'"'),
            Some("") => None,
            Some(text) => Some(one_byte("format.quote", text)?),
        };
        // An escape that is the quote itself is the doubled quote, which always counts.
        let escape = match spec.escape.as_deref() {
            None | Some("") => None,
            Some(text) => Some(one_byte("format.escape", text)?).filter(|escape| Some(*escape) != quote),
        };
        for byte in [b'\n', b'\r', 0].into_iter().chain(quote).chain(escape) {
            if delimiter.contains(&byte) {
                return Err(setting("format.delimiter", "it contains a line end, NUL, the quote or the escape".into()));
            }
        }
        let comment = spec.comment.clone().filter(|text| !text.is_empty()).map(String::into_bytes);
        if comment.as_ref().is_some_and(|mark| mark.len() > MARK_BYTES_MAX || mark.contains(&b'\n')) {
            return Err(setting("format.comment", format!("use at most {MARK_BYTES_MAX} bytes on one line")));
        }
        if spec.footer_lines > FOOTER_LINES_MAX {
            return Err(setting("format.footer_lines", format!("use at most {FOOTER_LINES_MAX}")));
        }
        if spec.header_lines > COLUMNS_MAX {
            return Err(setting("format.header_lines", format!("use at most {COLUMNS_MAX}")));
        }
        Ok(Self {
            delimiter,
            quote,
            escape,
            comment,
            preamble_lines: spec.preamble_lines,
            header_lines: spec.header_lines,
            footer_lines: spec.footer_lines,
            footer_pattern: footer_pattern(spec)?,
            ragged: spec.ragged,
            trim: spec.trim,
        })
    }

    /// Says whether an escape in front of `byte` counts.
    pub(crate) fn is_escapable(&self, byte: u8) -> bool {
        Some(byte) == self.quote || Some(byte) == self.escape
    }

    /// Says whether `byte` is white space that may stand between a delimiter and a cell.
    pub(crate) fn is_blank(&self, byte: u8) -> bool {
        (byte == b' ' || byte == b'\t') && self.delimiter.first() != Some(&byte)
    }
}

/// Compiles `format.footer_pattern`.
fn footer_pattern(spec: &FormatSpec) -> Result<Option<Regex>, DecodeError> {
    let Some(pattern) = &spec.footer_pattern else {
        return Ok(None);
    };
    let built = regex::bytes::RegexBuilder::new(pattern).size_limit(FOOTER_PATTERN_BYTES_MAX).build();
    built.map(Some).map_err(|error| setting("format.footer_pattern", error.to_string()))
}

fn one_byte(name: &'static str, text: &str) -> Result<u8, DecodeError> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err(setting(name, format!("`{text}` is not one ASCII character"))),
    }
}

fn setting(setting: &'static str, what: String) -> DecodeError {
    DecodeError::Setting { setting, what }
}
