//! Builds Arrow lists and structs from JSON text, to a declared type. Every push adds exactly one value: what does not fit
//! becomes NULL and a reason, and the caller drops the whole record. Numbers and times are read as everywhere else: exact
//! or not at all.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder,
    Int64Builder, ListArray, NullBufferBuilder, StringBuilder, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use hambar_core::ColumnType;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scan::{Key, text};
use crate::conform::number::NumberStyle;
use crate::conform::temporal;

/// A builder of one type.
pub(super) struct Nested {
    kind: ColumnType,
    values: Values,
    style: NumberStyle,
    scratch: String,
}

enum Values {
    String(StringBuilder),
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Binary(BinaryBuilder),
    List { offsets: Vec<i32>, items: usize, valid: NullBufferBuilder, item: Box<Nested> },
    Struct { valid: NullBufferBuilder, fields: Vec<(String, Nested)> },
}

impl Nested {
    /// Starts an empty builder.
    pub(super) fn new(kind: &ColumnType) -> Self {
        let values = match kind {
            ColumnType::String => Values::String(StringBuilder::new()),
            ColumnType::Bool => Values::Bool(BooleanBuilder::new()),
            ColumnType::Int32 => Values::Int32(Int32Builder::new()),
            ColumnType::Int64 => Values::Int64(Int64Builder::new()),
            ColumnType::Float64 => Values::Float64(Float64Builder::new()),
            ColumnType::Decimal(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(DataType::Decimal128(*precision, *scale));
                Values::Decimal(builder, *precision, *scale)
            }
            ColumnType::Date => Values::Date(Date32Builder::new()),
            ColumnType::Timestamp => Values::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnType::Binary => Values::Binary(BinaryBuilder::new()),
            ColumnType::List(item) => Values::List {
                offsets: vec![0],
                items: 0,
                valid: NullBufferBuilder::new(0),
                item: Box::new(Self::new(item)),
            },
            ColumnType::Struct(fields) => Values::Struct {
                valid: NullBufferBuilder::new(0),
                fields: fields.iter().map(|(name, kind)| (name.clone(), Self::new(kind))).collect(),
            },
        };
        Self { kind: kind.clone(), values, style: NumberStyle::default(), scratch: String::new() }
    }

    /// Adds one value: `raw` is checked JSON text, `None` a missing member.
    pub(super) fn push(&mut self, raw: Option<&str>) -> Result<(), String> {
        let raw = raw.filter(|raw| *raw != "null");
        match &self.values {
            Values::List { .. } => self.push_list(raw),
            Values::Struct { .. } => self.push_struct(raw),
            _ => self.push_scalar(raw),
        }
    }

    fn push_scalar(&mut self, raw: Option<&str>) -> Result<(), String> {
        let is_container = raw.is_some_and(|raw| raw.starts_with(['{', '[']));
        if is_container && !matches!(self.values, Values::String(_)) {
            self.fits(None);
            return Err(expected(&self.kind, raw));
        }
        let text = match raw.map(text).transpose() {
            Ok(text) => text.flatten(),
            Err(reason) => {
                self.fits(None);
                return Err(reason);
            }
        };
        if self.fits(text.as_deref()) { Ok(()) } else { Err(expected(&self.kind, raw)) }
    }

    /// Adds a scalar; false if it does not fit and NULL was added.
    fn fits(&mut self, text: Option<&str>) -> bool {
        macro_rules! add {
            ($builder:expr, $parsed:expr) => {{
                let parsed = text.and_then($parsed);
                $builder.append_option(parsed);
                parsed.is_some() || text.is_none()
            }};
        }
        let (style, scratch) = (&self.style, &mut self.scratch);
        match &mut self.values {
            Values::String(builder) => add!(builder, Some),
            Values::Bool(builder) => add!(builder, |text: &str| text.parse::<bool>().ok()),
            Values::Int32(builder) => add!(builder, |text: &str| style.int64(text, scratch)?.try_into().ok()),
            Values::Int64(builder) => add!(builder, |text: &str| style.int64(text, scratch)),
            Values::Float64(builder) => add!(builder, |text: &str| style.float64(text, scratch)),
            Values::Decimal(builder, precision, scale) => {
                add!(builder, |text: &str| style.decimal128(text, *precision, *scale, scratch))
            }
            Values::Date(builder) => add!(builder, |text: &str| temporal::date(text, None).map(temporal::days)),
            Values::Timestamp(builder) => add!(builder, |text: &str| temporal::instant(text, None)),
            Values::Binary(builder) => add!(builder, |text: &'_ str| Some(text.as_bytes())),
            Values::List { .. } | Values::Struct { .. } => false,
        }
    }

    fn push_list(&mut self, raw: Option<&str>) -> Result<(), String> {
        let parsed =
            raw.map(|raw| if raw.starts_with('[') { items(raw) } else { Err(expected(&self.kind, Some(raw))) });
        let Values::List { offsets, items, valid, item } = &mut self.values else {
            return Err("internal: not a list".to_owned());
        };
        let (found, mut outcome) = match parsed.transpose() {
            Ok(found) => (found, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        valid.append(found.is_some());
        for (index, raw) in found.unwrap_or_default().into_iter().enumerate() {
            if let Err(reason) = item.push(Some(raw))
                && outcome.is_ok()
            {
                outcome = Err(format!("item {}: {reason}", index + 1));
            }
            *items += 1;
        }
        match i32::try_from(*items) {
            Ok(end) => offsets.push(end),
            Err(_) => return Err("more list items than a batch can hold".to_owned()),
        }
        outcome
    }

    fn push_struct(&mut self, raw: Option<&str>) -> Result<(), String> {
        let parsed =
            raw.map(|raw| if raw.starts_with('{') { members(raw) } else { Err(expected(&self.kind, Some(raw))) });
        let Values::Struct { valid, fields } = &mut self.values else {
            return Err("internal: not a struct".to_owned());
        };
        let (found, mut outcome) = match parsed.transpose() {
            Ok(found) => (found, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        valid.append(found.is_some());
        let found = found.unwrap_or_default();
        for (name, field) in fields {
            let mut values = found.iter().filter(|(key, _)| key == name).map(|(_, raw)| *raw);
            let pushed = field.push(values.next());
            if outcome.is_ok() {
                outcome = match (pushed, values.next()) {
                    (Err(reason), _) => Err(format!("`{name}`: {reason}")),
                    (Ok(()), Some(_)) => Err(format!("`{name}` appears twice")),
                    (Ok(()), None) => Ok(()),
                };
            }
        }
        outcome
    }

    /// Ends the building.
    pub(super) fn finish(self) -> Result<ArrayRef, arrow::error::ArrowError> {
        Ok(match self.values {
            Values::String(mut builder) => Arc::new(builder.finish()),
            Values::Bool(mut builder) => Arc::new(builder.finish()),
            Values::Int32(mut builder) => Arc::new(builder.finish()),
            Values::Int64(mut builder) => Arc::new(builder.finish()),
            Values::Float64(mut builder) => Arc::new(builder.finish()),
            Values::Decimal(mut builder, _, _) => Arc::new(builder.finish()),
            Values::Date(mut builder) => Arc::new(builder.finish()),
            Values::Timestamp(mut builder) => Arc::new(builder.finish()),
            Values::Binary(mut builder) => Arc::new(builder.finish()),
            Values::List { offsets, mut valid, item, .. } => {
                let field = Arc::new(Field::new("element", item.kind.to_arrow(), true));
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(field, offsets, item.finish()?, valid.finish())?)
            }
            Values::Struct { mut valid, fields } => {
                let names: Fields =
                    fields.iter().map(|(name, field)| Field::new(name, field.kind.to_arrow(), true)).collect();
                let rows = valid.len();
                let arrays: Result<Vec<ArrayRef>, _> = fields.into_iter().map(|(_, field)| field.finish()).collect();
                Arc::new(StructArray::try_new_with_length(names, arrays?, valid.finish(), rows)?)
            }
        })
    }
}

fn expected(kind: &ColumnType, raw: Option<&str>) -> String {
    const SHOWN_CHARS: usize = 60;
    let raw = raw.unwrap_or("null");
    let more = if raw.chars().count() > SHOWN_CHARS { "…" } else { "" };
    let shown: String = raw.chars().take(SHOWN_CHARS).collect();
    format!("expected {kind}, found `{shown}{more}`")
}

/// Returns the items of an array.
pub(super) fn items(raw: &str) -> Result<Vec<&str>, String> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de str>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(item) = seq.next_element::<&'de RawValue>()? {
                found.push(item.get());
            }
            Ok(found)
        }
    }
    (&mut serde_json::Deserializer::from_str(raw)).deserialize_seq(Items).map_err(|error| error.to_string())
}

/// Returns the members of an object.
fn members(raw: &str) -> Result<Vec<(Cow<'_, str>, &str)>, String> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(key) = map.next_key_seed(Key)? {
                found.push((key, map.next_value::<&'de RawValue>()?.get()));
            }
            Ok(found)
        }
    }
    (&mut serde_json::Deserializer::from_str(raw)).deserialize_map(Members).map_err(|error| error.to_string())
}
