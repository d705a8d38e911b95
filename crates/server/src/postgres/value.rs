//! Rows as Postgres writes them down: each type in its text and its binary form.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use bytes::{BufMut, BytesMut};

use super::kind::{Format, Kind, Scalar};
use super::message::{Column, format_of};
use super::numeric;
use super::temporal;
use super::wire::{put, with_length};

/// Rows that were brought into the types in which they are written.
pub(super) struct Rows {
    columns: Vec<ArrayRef>,
    formats: Vec<Format>,
    count: usize,
}

/// Returns the columns that a schema's rows have for clients.
pub(super) fn columns_of(schema: &arrow::datatypes::Schema) -> Vec<Column> {
    let column = |field: &FieldRef| Column {
        name: field.name().clone(),
        kind: Kind::of(field.data_type()),
        modifier: Kind::modifier(field.data_type()),
    };
    schema.fields().iter().map(column).collect()
}

impl Rows {
    /// Takes a batch whose columns clients were told to be `columns`, each in its format.
    ///
    /// # Errors
    /// Where a value does not fit the type that was told.
    pub(super) fn new(batch: &RecordBatch, columns: &[Column], formats: &[Format]) -> Result<Self, ArrowError> {
        let arrays: Result<Vec<ArrayRef>, ArrowError> =
            batch.columns().iter().zip(columns).map(|(array, column)| written(array, column.kind)).collect();
        let formats = (0..columns.len()).map(|place| format_of(formats, place)).collect();
        Ok(Self { columns: arrays?, formats, count: batch.num_rows() })
    }

    /// Writes what follows in other formats.
    pub(super) fn write_as(&mut self, formats: &[Format]) {
        self.formats = (0..self.columns.len()).map(|place| format_of(formats, place)).collect();
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Writes one row as a message.
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) {
        put(out, b'D', |out| self.put_fields(row, out));
    }

    /// Writes how many values a row has, and the values.
    pub(super) fn put_fields(&self, row: usize, out: &mut BytesMut) {
        out.put_u16(u16::try_from(self.columns.len()).unwrap_or(u16::MAX));
        for (array, format) in self.columns.iter().zip(&self.formats) {
            put_value(array.as_ref(), row, *format, out);
        }
    }

    /// Writes a value as text; says whether it is there.
    pub(super) fn text(&self, row: usize, column: usize, out: &mut String) -> bool {
        let Some(array) = self.columns.get(column).filter(|array| array.is_valid(row)) else { return false };
        put_text(array.as_ref(), row, out);
        true
    }
}

/// Brings an array into the type in which its values are written.
fn written(array: &ArrayRef, kind: Kind) -> Result<ArrayRef, ArrowError> {
    let own = Kind::of(array.data_type());
    if own == Kind::One(Scalar::Json) && matches!(kind, Kind::One(Scalar::Json | Scalar::Text)) {
        return as_json(array);
    }
    let wanted = kind.canonical(array.data_type());
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    // Texts of lists, bytes, intervals and numbers are those of Postgres, not of Arrow.
    if kind == Kind::One(Scalar::Text) && own != Kind::One(Scalar::Text) {
        return as_text(array, own);
    }
    cast_with_options(array, &wanted, &CastOptions { safe: false, ..CastOptions::default() })
}

fn as_text(array: &ArrayRef, own: Kind) -> Result<ArrayRef, ArrowError> {
    let array = written(array, own)?;
    let mut texts = StringBuilder::new();
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        put_text(array.as_ref(), row, &mut text);
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

fn as_json(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field: FieldRef = Arc::new(Field::new("value", array.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    let mut texts = StringBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..array.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        let text = std::str::from_utf8(&bytes).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        texts.append_value(text);
    }
    Ok(Arc::new(texts.finish()))
}

/// Writes a value with its length before it; -1 for none.
fn put_value(array: &dyn Array, row: usize, format: Format, out: &mut BytesMut) {
    if array.is_null(row) {
        return out.put_i32(-1);
    }
    with_length(out, |out| {
        match (format, array.data_type()) {
            // Texts and JSON are the same in both, and by far the most of what is written.
            (_, DataType::Utf8) => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
            (Format::Binary, _) => put_binary(array, row, out),
            (Format::Text, _) => {
                let mut text = String::new();
                put_text(array, row, &mut text);
                out.put_slice(text.as_bytes());
            }
        }
        0
    });
}

fn put_text(array: &dyn Array, row: usize, out: &mut String) {
    // Writing into a text does not fail.
    let _ = match array.data_type() {
        DataType::Boolean => out.write_str(if array.as_boolean().value(row) { "t" } else { "f" }),
        DataType::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            put_float(f64::from(value), &value.to_string(), &format!("{value:e}"), out)
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            put_float(value, &value.to_string(), &format!("{value:e}"), out)
        }
        DataType::Decimal128(..) => out.write_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => out.write_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => out.write_str(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            out.push_str("\\x");
            array.as_binary::<i32>().value(row).iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        DataType::Date32 => temporal::put_date(i64::from(array.as_primitive::<Date32Type>().value(row)), out),
        DataType::Time64(_) => temporal::put_time(array.as_primitive::<Time64MicrosecondType>().value(row), out),
        DataType::Timestamp(_, zone) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            temporal::put_instant(value, zone.is_some(), out)
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            temporal::put_interval(value.months, value.days, value.nanoseconds, out)
        }
        DataType::List(_) => {
            put_list(array.as_list::<i32>().value(row).as_ref(), out);
            Ok(())
        }
        _ => Ok(()),
    };
}

/// Writes a float so that reading it gives the same: plainly, or where that would be long, with an exponent.
fn put_float(value: f64, plain: &str, scientific: &str, out: &mut String) -> std::fmt::Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_infinite() {
        return out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e15).contains(&size) {
        return out.write_str(plain);
    }
    match scientific.split_once('e') {
        Some((digits, exponent)) if exponent.starts_with('-') => write!(out, "{digits}e{exponent}"),
        Some((digits, exponent)) => write!(out, "{digits}e+{exponent}"),
        None => out.write_str(plain),
    }
}

fn put_list(items: &dyn Array, out: &mut String) {
    out.push('{');
    let mut text = String::new();
    for place in 0..items.len() {
        if place > 0 {
            out.push(',');
        }
        if items.is_null(place) {
            out.push_str("NULL");
            continue;
        }
        text.clear();
        put_text(items, place, &mut text);
        let is_plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && !text.contains(|character: char| character.is_whitespace() || "{}\",\\".contains(character));
        if is_plain {
            out.push_str(&text);
            continue;
        }
        out.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                out.push('\\');
            }
            out.push(character);
        }
        out.push('"');
    }
    out.push('}');
}

fn put_binary(array: &dyn Array, row: usize, out: &mut BytesMut) {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            numeric::put(&array.as_primitive::<Decimal128Type>().value_as_string(row), out);
        }
        DataType::Decimal256(..) => {
            numeric::put(&array.as_primitive::<Decimal256Type>().value_as_string(row), out);
        }
        DataType::Utf8 => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        DataType::Date32 => out.put_i32(temporal::days_of_postgres(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time64(_) => out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(..) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(temporal::microseconds_of_postgres(value));
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        DataType::List(_) => put_binary_list(array.as_list::<i32>().value(row).as_ref(), out),
        _ => {}
    }
}

fn put_binary_list(items: &dyn Array, out: &mut BytesMut) {
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(Kind::of(items.data_type()).oid());
    if items.is_empty() {
        return;
    }
    out.put_u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
    out.put_i32(1);
    for place in 0..items.len() {
        put_value(items, place, Format::Binary, out);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationSecondArray, Float64Array, Int32Array,
        ListArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::Schema;

    use super::*;

    fn check(array: ArrayRef, texts: &[Option<&str>]) {
        let schema = Schema::new(vec![Field::new("v", array.data_type().clone(), true)]);
        let columns = columns_of(&schema);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        let rows = Rows::new(&batch, &columns, &[]).unwrap();
        for (row, wanted) in texts.iter().enumerate() {
            let mut text = String::new();
            let found = rows.text(row, 0, &mut text).then_some(text.as_str());
            assert_eq!(found, *wanted);
        }
    }

    fn binary(array: ArrayRef) -> Vec<u8> {
        let schema = Schema::new(vec![Field::new("v", array.data_type().clone(), true)]);
        let columns = columns_of(&schema);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        let mut out = BytesMut::new();
        Rows::new(&batch, &columns, &[Format::Binary]).unwrap().put(0, &mut out);
        // Kind, length, count of columns, length of the value.
        out[11..].to_vec()
    }

    #[test]
    fn texts_are_those_of_postgres() {
        check(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), &[Some("t"), Some("f"), None]);
        let floats = [1.5, 1e300, -1e-7, f64::NAN, f64::NEG_INFINITY, 100_000.0, 0.0];
        let wanted = ["1.5", "1e+300", "-1e-7", "NaN", "-Infinity", "100000", "0"].map(Some);
        check(Arc::new(Float64Array::from(floats.to_vec())), &wanted);
        check(Arc::new(UInt64Array::from(vec![u64::MAX])), &[Some("18446744073709551615")]);
        let decimals = Decimal128Array::from(vec![-1_005, 0]).with_precision_and_scale(10, 2).unwrap();
        check(Arc::new(decimals), &[Some("-10.05"), Some("0.00")]);
        check(Arc::new(BinaryArray::from(vec![b"a\xff".as_slice()])), &[Some("\\x61ff")]);
        check(Arc::new(Date32Array::from(vec![0, -719_163])), &[Some("1970-01-01"), Some("0001-12-31 BC")]);
        let instants = TimestampMicrosecondArray::from(vec![1_706_659_200_000_001]);
        check(Arc::new(instants.clone()), &[Some("2024-01-31 00:00:00.000001")]);
        check(Arc::new(instants.with_timezone("UTC")), &[Some("2024-01-31 00:00:00.000001+00")]);
        check(Arc::new(TimestampNanosecondArray::from(vec![1_000_000_500])), &[Some("1970-01-01 00:00:01")]);
        check(Arc::new(DurationSecondArray::from(vec![3_661])), &[Some("01:01:01")]);
    }

    #[test]
    fn lists_are_arrays_and_structs_are_json() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
        check(Arc::new(list), &[Some("{1,NULL}"), None]);
        let field: FieldRef = Arc::new(Field::new("item", DataType::Utf8, true));
        let mut texts = arrow::array::ListBuilder::new(StringBuilder::new()).with_field(field);
        ["a", "", "null", "b c", "\"\\"].into_iter().for_each(|text| texts.values().append_value(text));
        texts.append(true);
        check(Arc::new(texts.finish()), &[Some(r#"{a,"","null","b c","\"\\"}"#)]);
        let a: (FieldRef, ArrayRef) =
            (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), None])));
        check(Arc::new(StructArray::from(vec![a])), &[Some(r#"{"a":1}"#), Some(r#"{"a":null}"#)]);
    }

    #[test]
    fn binary_forms_are_those_of_postgres() {
        assert_eq!(binary(Arc::new(Int32Array::from(vec![-2]))), (-2_i32).to_be_bytes());
        // 2000-01-01 is nothing, and so is its first microsecond.
        assert_eq!(binary(Arc::new(Date32Array::from(vec![10_957]))), 0_i32.to_be_bytes());
        let instant = TimestampMicrosecondArray::from(vec![946_684_800_000_000]);
        assert_eq!(binary(Arc::new(instant)), 0_i64.to_be_bytes());
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(7), None])]);
        let wanted = [1, 1, 23, 2, 1, 4, 7, -1].map(i32::to_be_bytes).concat();
        assert_eq!(binary(Arc::new(list)), wanted);
    }

    #[test]
    fn what_was_told_is_what_is_sent() {
        let array: ArrayRef = Arc::new(Int32Array::from(vec![5]));
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int32, true)]));
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        let told = |kind| [Column { name: "v".to_owned(), kind, modifier: -1 }];
        let mut out = BytesMut::new();
        let rows = Rows::new(&batch, &told(Kind::One(Scalar::Text)), &[Format::Binary]).unwrap();
        rows.put(0, &mut out);
        assert_eq!(&out[11..], b"5");
        out.clear();
        Rows::new(&batch, &told(Kind::One(Scalar::Int8)), &[Format::Binary]).unwrap().put(0, &mut out);
        assert_eq!(&out[11..], 5_i64.to_be_bytes());
    }
}
