//! One source column → one table column. A cell that does not fit becomes NULL plus a failure with its reason; the
//! caller rejects the row. Dictionary-encoded columns are converted once per distinct value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder,
    Int64Builder, StringArray, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{ArrowNativeType, DataType, Int32Type};
use hambar_core::ColumnType;

use super::number::{NumberStyle, split_flag};
use super::period;
use super::temporal;
use super::typed;
use crate::error::DecodeError;
use crate::spec::RuleType;

/// How the cells of one declared column are read.
#[derive(Debug, Clone)]
pub(super) struct CellRule {
    pub(super) name: String,
    pub(super) kind: RuleType,
    pub(super) format: Option<String>,
    /// Missing-value texts, sorted.
    pub(super) nulls: Vec<String>,
    pub(super) has_status: bool,
    pub(super) keep_empty: bool,
    pub(super) required: bool,
    pub(super) style: NumberStyle,
}

/// The table columns made of one source column, and the rows that do not fit.
#[derive(Debug)]
pub(super) struct Cast {
    /// The column, then its period columns, then its status column.
    pub(super) columns: Vec<ArrayRef>,
    /// Row index and reason.
    pub(super) failures: Vec<(usize, String)>,
}

impl CellRule {
    /// Converts `source` (any type), `rows` long.
    pub(super) fn cast(&self, source: Option<&ArrayRef>, rows: usize) -> Result<Cast, DecodeError> {
        let mut cast = match source {
            None => self.absent(rows),
            Some(array) => match array.data_type() {
                DataType::Utf8 => self.texts(array.as_string::<i32>()),
                DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                    self.dictionary(array)?
                }
                DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) if self.reads_text() => {
                    let text =
                        arrow::compute::cast(array, &DataType::Utf8).map_err(|error| self.wrong_type(array, &error))?;
                    self.texts(text.as_string::<i32>())
                }
                _ => self.typed(array)?,
            },
        };
        if self.required {
            let column = &cast.columns[0];
            let failed: std::collections::BTreeSet<usize> = cast.failures.iter().map(|(row, _)| *row).collect();
            let missing = (0..rows).filter(|row| column.is_null(*row) && !failed.contains(row));
            cast.failures.extend(missing.map(|row| (row, "a value is required".to_owned())));
        }
        Ok(cast)
    }

    fn reads_text(&self) -> bool {
        !matches!(self.kind, RuleType::Plain(ColumnType::List(_) | ColumnType::Struct(_)))
    }

    fn absent(&self, rows: usize) -> Cast {
        let mut columns = match &self.kind {
            RuleType::Plain(kind) => vec![new_null_array(&kind.to_arrow(), rows)],
            RuleType::Period => [DataType::Utf8, DataType::Date32, DataType::Date32, DataType::Utf8]
                .iter()
                .map(|data_type| new_null_array(data_type, rows))
                .collect(),
        };
        if self.has_status {
            columns.push(new_null_array(&DataType::Utf8, rows));
        }
        Cast { columns, failures: Vec::new() }
    }

    /// Typed sources (Parquet, Arrow, nested JSON): Arrow's cast, where a value that turned NULL or is no longer the same
    /// is a failure.
    fn typed(&self, array: &ArrayRef) -> Result<Cast, DecodeError> {
        let RuleType::Plain(kind) = &self.kind else {
            let text = arrow::compute::cast(array, &DataType::Utf8).map_err(|error| self.wrong_type(array, &error))?;
            return Ok(self.texts(text.as_string::<i32>()));
        };
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let column =
            cast_with_options(array, &kind.to_arrow(), &options).map_err(|error| self.wrong_type(array, &error))?;
        let failures = typed::changed_rows(array, &column)
            .map_err(|error| self.wrong_type(array, &error))?
            .into_iter()
            .map(|(row, value)| (row, format!("expected {kind}, found `{}`", shortened(&value))))
            .collect();
        let mut columns = vec![column];
        if self.has_status {
            columns.push(new_null_array(&DataType::Utf8, array.len()));
        }
        Ok(Cast { columns, failures })
    }

    fn wrong_type(&self, array: &ArrayRef, error: &arrow::error::ArrowError) -> DecodeError {
        DecodeError::Drift {
            file: "body".to_owned(),
            what: format!(
                "column `{}` has type {}, which cannot become {}: {error}",
                self.name,
                array.data_type(),
                String::from(self.kind.clone())
            ),
        }
    }

    fn dictionary(&self, array: &ArrayRef) -> Result<Cast, DecodeError> {
        let dictionary = array.as_dictionary::<Int32Type>();
        let values = self.texts(dictionary.values().as_string::<i32>());
        let is_text = self.kind == RuleType::Plain(ColumnType::String) && !self.has_status;
        if is_text && values.columns[0].null_count() == 0 && values.failures.is_empty() {
            // Nothing becomes NULL: the encoded column goes on as it is, cheap to send and to write.
            let encoded = dictionary.with_values(Arc::clone(&values.columns[0]));
            return Ok(Cast { columns: vec![Arc::new(encoded)], failures: Vec::new() });
        }
        let columns = values
            .columns
            .iter()
            .map(|column| take(column, dictionary.keys(), None))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.wrong_type(array, &error))?;
        let mut failures = Vec::new();
        if !values.failures.is_empty() {
            let reasons: std::collections::BTreeMap<usize, String> = values.failures.into_iter().collect();
            for (row, key) in dictionary.keys().iter().enumerate() {
                if let Some(reason) = key.and_then(|key| reasons.get(&key.as_usize())) {
                    failures.push((row, reason.clone()));
                }
            }
        }
        Ok(Cast { columns, failures })
    }

    fn texts(&self, source: &StringArray) -> Cast {
        if self.is_verbatim() && !has_empty(source) {
            return Cast { columns: vec![Arc::new(source.clone())], failures: Vec::new() };
        }
        let mut failures = Vec::new();
        let mut status = StatusColumn::new(self.has_status);
        let mut columns = match &self.kind {
            RuleType::Period => self.periods(source, &mut status, &mut failures),
            RuleType::Plain(kind) => vec![self.plain(kind, source, &mut status, &mut failures)],
        };
        columns.extend(status.finish());
        Cast { columns, failures }
    }

    /// True where texts pass through unless they are empty.
    fn is_verbatim(&self) -> bool {
        self.kind == RuleType::Plain(ColumnType::String) && self.nulls.is_empty() && !self.has_status
    }

    fn plain(
        &self,
        kind: &ColumnType,
        source: &StringArray,
        status: &mut StatusColumn,
        failures: &mut Vec<(usize, String)>,
    ) -> ArrayRef {
        let mut scratch = String::new();
        let mut reader = CellReader { rule: self, status, failures };
        // One builder per type; the closure says what a text means.
        macro_rules! build {
            ($builder:expr, $parse:expr) => {{
                let mut builder = $builder;
                reader.each(source, $parse, |value| builder.append_option(value));
                Arc::new(builder.finish()) as ArrayRef
            }};
        }
        let rows = source.len();
        let format = self.format.as_deref();
        match kind {
            ColumnType::String => self.strings(source, &mut reader),
            ColumnType::Bool => build!(BooleanBuilder::with_capacity(rows), |text| boolean(text, format)),
            ColumnType::Int32 => build!(Int32Builder::with_capacity(rows), |text| self
                .style
                .int64(text, &mut scratch)
                .and_then(|value| i32::try_from(value).ok())),
            ColumnType::Int64 => build!(Int64Builder::with_capacity(rows), |text| self.style.int64(text, &mut scratch)),
            ColumnType::Float64 => {
                build!(Float64Builder::with_capacity(rows), |text| self.style.float64(text, &mut scratch))
            }
            ColumnType::Decimal(precision, scale) => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(kind.to_arrow());
                build!(builder, |text| self.style.decimal128(text, *precision, *scale, &mut scratch))
            }
            ColumnType::Date => {
                build!(Date32Builder::with_capacity(rows), |text| temporal::date(text, format).map(temporal::days))
            }
            ColumnType::Timestamp => {
                let builder = TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(kind.to_arrow());
                build!(builder, |text| temporal::instant(text, format))
            }
            ColumnType::Binary => {
                let mut builder = arrow::array::BinaryBuilder::with_capacity(rows, source.value_data().len());
                reader.each(source, |text| Some(text.as_bytes().to_vec()), |value| builder.append_option(value));
                Arc::new(builder.finish())
            }
            ColumnType::List(_) | ColumnType::Struct(_) => {
                reader.each(source, |_| None::<()>, |_| {});
                new_null_array(&kind.to_arrow(), rows)
            }
        }
    }

    fn strings(&self, source: &StringArray, reader: &mut CellReader<'_, '_>) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(source.len(), source.value_data().len());
        for row in 0..source.len() {
            match reader.missing(source.is_valid(row).then(|| source.value(row))) {
                Cell::Missing => builder.append_null(),
                Cell::Text(text) => {
                    builder.append_value(text);
                    reader.status.push(None);
                }
            }
        }
        Arc::new(builder.finish())
    }

    fn periods(
        &self,
        source: &StringArray,
        status: &mut StatusColumn,
        failures: &mut Vec<(usize, String)>,
    ) -> Vec<ArrayRef> {
        let mut raw = StringBuilder::with_capacity(source.len(), source.value_data().len());
        let mut start = Date32Builder::with_capacity(source.len());
        let mut end = Date32Builder::with_capacity(source.len());
        let mut freq = StringBuilder::new();
        let mut last: Option<(String, Option<period::Period>)> = None;
        let mut reader = CellReader { rule: self, status, failures };
        for row in 0..source.len() {
            let parsed = match reader.missing(source.is_valid(row).then(|| source.value(row))) {
                Cell::Missing => {
                    raw.append_null();
                    None
                }
                Cell::Text(text) => {
                    raw.append_value(text);
                    reader.status.push(None);
                    // Long tables repeat periods row after row.
                    if last.as_ref().is_none_or(|(known, _)| known != text) {
                        last = Some((text.to_owned(), period::parse(text)));
                    }
                    let parsed = last.as_ref().and_then(|(_, parsed)| *parsed);
                    if parsed.is_none() {
                        reader.failures.push((row, format!("expected a period, found `{}`", shortened(text))));
                    }
                    parsed
                }
            };
            start.append_option(parsed.map(|period| temporal::days(period.start)));
            end.append_option(parsed.map(|period| temporal::days(period.end)));
            freq.append_option(parsed.map(|period| period.freq));
        }
        vec![Arc::new(raw.finish()), Arc::new(start.finish()), Arc::new(end.finish()), Arc::new(freq.finish())]
    }
}

enum Cell<'a> {
    Missing,
    Text(&'a str),
}

struct CellReader<'a, 'b> {
    rule: &'a CellRule,
    status: &'b mut StatusColumn,
    failures: &'b mut Vec<(usize, String)>,
}

impl CellReader<'_, '_> {
    /// Decides whether a cell is missing, and then keeps why.
    fn missing<'t>(&mut self, cell: Option<&'t str>) -> Cell<'t> {
        let Some(text) = cell else {
            self.status.push(None);
            return Cell::Missing;
        };
        if text.is_empty() {
            if self.rule.keep_empty && self.rule.kind == RuleType::Plain(ColumnType::String) {
                return Cell::Text(text);
            }
            self.status.push(None);
            return Cell::Missing;
        }
        if self.rule.nulls.is_empty() {
            return Cell::Text(text);
        }
        let trimmed = text.trim();
        if self.rule.is_null(trimmed) {
            self.status.push(Some(trimmed));
            return Cell::Missing;
        }
        // `: c` is the missing-value text `:` with the flag `c`.
        if self.rule.has_status
            && let Some((first, flag)) = trimmed.split_once(' ').filter(|(first, _)| self.rule.is_null(first))
        {
            self.status.push(Some(if flag.is_empty() { first } else { flag.trim() }));
            return Cell::Missing;
        }
        Cell::Text(text)
    }

    fn each<T>(
        &mut self,
        source: &StringArray,
        mut parse: impl FnMut(&str) -> Option<T>,
        mut append: impl FnMut(Option<T>),
    ) {
        for row in 0..source.len() {
            let cell = source.is_valid(row).then(|| source.value(row));
            let Cell::Text(text) = self.missing(cell) else {
                append(None);
                continue;
            };
            let trimmed = text.trim();
            let mut value = parse(trimmed);
            let mut flag = None;
            if value.is_none()
                && self.rule.has_status
                && let Some((number, rest)) = split_flag(trimmed)
            {
                value = parse(number);
                flag = value.is_some().then_some(rest);
            }
            if value.is_none() {
                let expected = String::from(self.rule.kind.clone());
                self.failures.push((row, format!("expected {expected}, found `{}`", shortened(trimmed))));
            }
            self.status.push(flag);
            append(value);
        }
    }
}

impl CellRule {
    fn is_null(&self, text: &str) -> bool {
        self.nulls.binary_search_by(|null| null.as_str().cmp(text)).is_ok()
    }
}

/// The status column, if the rule asks for one.
struct StatusColumn(Option<StringBuilder>);

impl StatusColumn {
    fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(StringBuilder::new))
    }

    fn push(&mut self, status: Option<&str>) {
        if let Some(builder) = &mut self.0 {
            builder.append_option(status);
        }
    }

    fn finish(self) -> Option<ArrayRef> {
        self.0.map(|mut builder| Arc::new(builder.finish()) as ArrayRef)
    }
}

/// `true`/`false`, `t`/`f`, `yes`/`no`, `y`/`n`, `1`/`0` in any case; or the two texts of `format = "oui|non"`.
fn boolean(text: &str, format: Option<&str>) -> Option<bool> {
    if let Some((yes, no)) = format.and_then(|format| format.split_once('|')) {
        return if text.eq_ignore_ascii_case(yes) {
            Some(true)
        } else if text.eq_ignore_ascii_case(no) {
            Some(false)
        } else {
            None
        };
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn has_empty(source: &StringArray) -> bool {
    source.offsets().windows(2).any(|pair| pair[0] == pair[1])
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(79).chain(['…']).collect() }
}
