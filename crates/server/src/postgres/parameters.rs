//! The values of parameters as clients send them: text or bytes, of a type that the client named or the statement asks
//! for. A text without a type stays one, and the statement makes of it what its place needs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, NullArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use bytes::{Buf, Bytes};
use hambar_query::Parameters;

use super::kind::{Format, Kind, Scalar};
use super::lists;
use super::message::format_of;
use super::numeric;
use super::refusal::Refusal;
use super::temporal::{days_of_unix, microseconds_of_unix};

/// The number of UUIDs, which are texts here.
const UUID: u32 = 2950;
/// The number of JSON in Postgres' own form.
const JSONB: u32 = 3802;
/// Digits of an exact number.
const DIGITS_MAX: u8 = 38;

/// Takes the values of a portal; `types` are the numbers of the parameters' types, 0 where none is known.
pub(super) fn parameters(values: &[Option<Bytes>], formats: &[Format], types: &[u32]) -> Result<Parameters, Refusal> {
    if formats.len() > 1 && formats.len() != values.len() {
        return Err(Refusal::protocol(format!("{} formats for {} values", formats.len(), values.len())));
    }
    let array = |(place, value): (usize, &Option<Bytes>)| {
        let oid = types.get(place).copied().unwrap_or(0);
        let Some(value) = value else { return Ok(nothing(oid)) };
        let found = match format_of(formats, place) {
            Format::Text => from_text(value, oid),
            Format::Binary => from_bytes(value.clone(), oid),
        };
        found.map_err(|what| {
            let code = if what.is_offered { "22P02" } else { "0A000" };
            Refusal::new(code, format!("parameter ${}: {}", place + 1, what.text))
        })
    };
    let arrays: Result<Vec<ArrayRef>, Refusal> = values.iter().enumerate().map(array).collect();
    Parameters::new(arrays?).map_err(|error| Refusal::new("54023", error.to_string()))
}

/// Why a value is not taken.
#[derive(Debug)]
pub(super) struct Wrong {
    text: String,
    is_offered: bool,
}

pub(super) fn wrong(text: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), is_offered: true }
}

fn not_offered(oid: u32) -> Wrong {
    let text = format!("values of the type with number {oid} are not taken in this form; send them as text");
    Wrong { text, is_offered: false }
}

/// A missing value of a type.
fn nothing(oid: u32) -> ArrayRef {
    match Kind::with_oid(oid) {
        Some(Kind::One(Scalar::Numeric | Scalar::Text | Scalar::Json)) | None => Arc::new(NullArray::new(1)),
        Some(kind) => arrow::array::new_null_array(&kind.canonical(&DataType::Null), 1),
    }
}

fn from_text(bytes: &Bytes, oid: u32) -> Result<ArrayRef, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("the text is not UTF-8"))?;
    let as_it_is = || Arc::new(StringArray::from(vec![text])) as ArrayRef;
    if oid == 0 {
        return Ok(as_it_is());
    }
    let scalar = match Kind::with_oid(oid) {
        None => return Err(not_offered(oid)),
        Some(Kind::One(scalar)) => scalar,
        Some(Kind::Many(scalar)) => {
            let one = |item: Option<String>| {
                item.map(|item| from_text(&Bytes::from(item), Kind::One(scalar).oid())).transpose()
            };
            return lists::list(scalar, lists::texts(text)?.into_iter().map(one).collect::<Result<_, _>>()?);
        }
    };
    match scalar {
        Scalar::Text if oid == UUID => Ok(Arc::new(StringArray::from(vec![uuid(text)?]))),
        Scalar::Text | Scalar::Json => Ok(as_it_is()),
        Scalar::Bytea => {
            let bytes =
                hexadecimal(text).ok_or_else(|| wrong("the bytes are not written as `\\x` and pairs of digits"))?;
            Ok(Arc::new(BinaryArray::from(vec![bytes.as_slice()])))
        }
        Scalar::Numeric => decimal(text),
        Scalar::Interval => {
            let spelled: ArrayRef = Arc::new(StringArray::from(vec![spelled(text)]));
            let wanted = Kind::One(scalar).canonical(&DataType::Utf8);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(&spelled, &wanted, &options).map_err(|error| wrong(error.to_string()))
        }
        scalar => {
            let wanted = Kind::One(scalar).canonical(&DataType::Utf8);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(&as_it_is(), &wanted, &options).map_err(|error| wrong(error.to_string()))
        }
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

/// An interval with its hours, minutes and seconds in words: `1 day 02:03:04` has them between points.
fn spelled(text: &str) -> String {
    let clock = |word: &str| {
        let (sign, digits) = word.strip_prefix('-').map_or(("", word), |digits| ("-", digits));
        let mut parts = digits.split(':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
        parts.next().is_none().then(|| format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"))
    };
    let words = text.split_whitespace().map(|word| clock(word).unwrap_or_else(|| word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

/// A UUID as it is written everywhere, since here it is a text.
fn uuid(text: &str) -> Result<String, Wrong> {
    let digits: String = text.chars().filter(|character| !matches!(character, '-' | '{' | '}')).collect();
    if digits.len() != 32 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong("it is no UUID"));
    }
    let digits = digits.to_lowercase();
    let part = |place: std::ops::Range<usize>| digits.get(place).unwrap_or_default();
    Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

/// Writes a number with an exponent without one.
fn plain(text: &str) -> Option<String> {
    let Some((digits, exponent)) = text.split_once(['e', 'E']) else { return Some(text.to_owned()) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.unsigned_abs() <= DIGITS_MAX.into())?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let (before, after) = match usize::try_from(point) {
        Ok(point) if point >= all.len() => (format!("{all:0<point$}"), String::new()),
        Ok(point) => (all.get(..point)?.to_owned(), all.get(point..)?.to_owned()),
        Err(_) => ("0".to_owned(), format!("{}{all}", "0".repeat(point.unsigned_abs() as usize))),
    };
    let before = if before.is_empty() { "0" } else { before.as_str() };
    Some(if after.is_empty() { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") })
}

/// An exact number keeps the digits that it is written with.
fn decimal(text: &str) -> Result<ArrayRef, Wrong> {
    let text = plain(text.trim()).ok_or_else(|| wrong("it is no finite number, or one with too many digits"))?;
    let scale = text.split_once('.').map_or(0, |(_, part)| part.len());
    let scale = i8::try_from(scale).ok().filter(|scale| *scale <= DIGITS_MAX as i8);
    let scale = scale.ok_or_else(|| wrong(format!("more than {DIGITS_MAX} digits after the point")))?;
    let array: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(&array, &DataType::Decimal128(DIGITS_MAX, scale), &options);
    cast.map_err(|error| wrong(error.to_string()))
}

fn from_bytes(bytes: Bytes, oid: u32) -> Result<ArrayRef, Wrong> {
    match Kind::with_oid(oid) {
        None => Err(not_offered(oid)),
        Some(Kind::One(scalar)) => one_from_bytes(bytes, oid, scalar),
        Some(Kind::Many(scalar)) => {
            let (item, items) = lists::parts(bytes)?;
            let one = |bytes: Option<Bytes>| bytes.map(|bytes| one_from_bytes(bytes, item, scalar)).transpose();
            lists::list(scalar, items.into_iter().map(one).collect::<Result<_, _>>()?)
        }
    }
}

fn one_from_bytes(mut bytes: Bytes, oid: u32, scalar: Scalar) -> Result<ArrayRef, Wrong> {
    let has = |length: usize| {
        if bytes.len() == length { Ok(()) } else { Err(wrong(format!("{} bytes instead of {length}", bytes.len()))) }
    };
    let far = || wrong("the date or instant is out of range");
    Ok(match scalar {
        Scalar::Bool => {
            has(1)?;
            Arc::new(BooleanArray::from(vec![bytes.get_u8() != 0]))
        }
        Scalar::Int2 => {
            has(2)?;
            Arc::new(Int16Array::from(vec![bytes.get_i16()]))
        }
        Scalar::Int4 => {
            has(4)?;
            Arc::new(Int32Array::from(vec![bytes.get_i32()]))
        }
        // Numbers of objects have four bytes and no sign.
        Scalar::Int8 if bytes.len() == 4 => Arc::new(Int64Array::from(vec![i64::from(bytes.get_u32())])),
        Scalar::Int8 => {
            has(8)?;
            Arc::new(Int64Array::from(vec![bytes.get_i64()]))
        }
        Scalar::Float4 => {
            has(4)?;
            Arc::new(Float32Array::from(vec![bytes.get_f32()]))
        }
        Scalar::Float8 => {
            has(8)?;
            Arc::new(Float64Array::from(vec![bytes.get_f64()]))
        }
        Scalar::Numeric => decimal(&numeric::read(bytes).ok_or_else(|| wrong("the bytes are no finite number"))?)?,
        Scalar::Text if oid == UUID => {
            has(16)?;
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Arc::new(StringArray::from(vec![uuid(&digits)?]))
        }
        Scalar::Json if oid == JSONB => {
            // The number of the form comes before the text.
            let text = bytes.strip_prefix(b"\x01").and_then(|text| std::str::from_utf8(text).ok());
            Arc::new(StringArray::from(vec![text.ok_or_else(|| wrong("the bytes are no JSON"))?]))
        }
        Scalar::Text | Scalar::Json => {
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("the text is not UTF-8"))?;
            Arc::new(StringArray::from(vec![text]))
        }
        Scalar::Bytea => Arc::new(BinaryArray::from(vec![bytes.as_ref()])),
        Scalar::Date => {
            has(4)?;
            Arc::new(Date32Array::from(vec![days_of_unix(bytes.get_i32()).ok_or_else(far)?]))
        }
        Scalar::Time => {
            has(8)?;
            Arc::new(Time64MicrosecondArray::from(vec![bytes.get_i64()]))
        }
        Scalar::Timestamp | Scalar::TimestampTz => {
            has(8)?;
            let value = microseconds_of_unix(bytes.get_i64()).ok_or_else(far)?;
            let array = TimestampMicrosecondArray::from(vec![value]);
            Arc::new(if scalar == Scalar::TimestampTz { array.with_timezone("UTC") } else { array })
        }
        Scalar::Interval => {
            has(16)?;
            let (microseconds, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let nanoseconds = microseconds.checked_mul(1000).ok_or_else(far)?;
            let value = IntervalMonthDayNano::new(months, days, nanoseconds);
            Arc::new(IntervalMonthDayNanoArray::from(vec![value]))
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn shown(value: &[u8], format: Format, oid: u32) -> Result<String, String> {
        let taken = parameters(&[Some(Bytes::copy_from_slice(value))], &[format], &[oid]);
        let taken = taken.map_err(|refusal| refusal.code.to_owned())?;
        let array = &taken.values()[0];
        Ok(format!("{} {}", array.data_type(), array_value_to_string(array, 0).unwrap()))
    }

    #[test]
    fn texts_become_what_was_named() {
        let text = |value: &str, oid| shown(value.as_bytes(), Format::Text, oid);
        assert_eq!(text("5", 0).unwrap(), "Utf8 5");
        assert_eq!(text("5", 23).unwrap(), "Int32 5");
        assert_eq!(text("x", 23).unwrap_err(), "22P02");
        assert_eq!(text("2024-01-31", 1082).unwrap(), "Date32 2024-01-31");
        assert_eq!(text("-1.50", 1700).unwrap(), "Decimal128(38, 2) -1.50");
        assert_eq!(text("\\x61ff", 17).unwrap(), "Binary 61ff");
        assert_eq!(text("{1,NULL,2}", 1007).unwrap(), "List(Int32) [1, , 2]");
        assert_eq!(text("{1.5,20}", 1231).unwrap(), "List(Decimal128(38, 1)) [1.5, 20.0]");
        assert_eq!(text("{}", 1009).unwrap(), "List(Utf8) []");
        assert_eq!(text("{1,x}", 1007).unwrap_err(), "22P02");
        assert_eq!(text("5", 2950).unwrap_err(), "22P02");
        let uuid = "Utf8 00000000-0000-0000-0000-0000000000ab";
        assert_eq!(text("000000000000000000000000000000AB", 2950).unwrap(), uuid);
        assert_eq!(text("1 day 3 seconds", 1186).unwrap(), "Interval(MonthDayNano) 1 days 3.000000000 secs");
        for (written, wanted) in
            [("-1E+3", "0) -1000"), ("1.25e1", "1) 12.5"), ("5e-3", "3) 0.005"), ("12e-1", "1) 1.2")]
        {
            assert_eq!(text(written, 1700).unwrap(), format!("Decimal128(38, {wanted}"));
        }
        for wrong in ["NaN", "1e999999999999", "e5", "1e", "--1e2"] {
            assert_eq!(text(wrong, 1700).unwrap_err(), "22P02", "{wrong}");
        }
        assert_eq!(text("t", 16).unwrap(), "Boolean true");
    }

    #[test]
    fn bytes_of_the_wrong_length_are_errors() {
        let bytes = |value: &[u8], oid| shown(value, Format::Binary, oid);
        assert_eq!(bytes(&7_i64.to_be_bytes(), 20).unwrap(), "Int64 7");
        assert_eq!(bytes(&4_000_000_000_u32.to_be_bytes(), 26).unwrap(), "Int64 4000000000");
        assert_eq!(bytes(&0_i32.to_be_bytes(), 1082).unwrap(), "Date32 2000-01-01");
        for oid in [16, 21, 23, 20, 700, 701, 1700, 1082, 1083, 1114, 1184] {
            assert_eq!(bytes(b"abc", oid).unwrap_err(), "22P02", "{oid}");
        }
        assert_eq!(bytes(&i32::MAX.to_be_bytes(), 1082).unwrap_err(), "22P02");
        assert_eq!(bytes(b"x", 0).unwrap_err(), "0A000");
        assert_eq!(bytes(b"\xff", 25).unwrap_err(), "22P02");
    }
}
