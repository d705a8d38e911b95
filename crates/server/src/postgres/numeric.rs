//! Postgres' binary form of exact numbers: digits to the base of ten thousand, around a point.

use std::iter::repeat_n;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Decimal digits of one of Postgres'.
const WIDTH: usize = 4;
/// The sign of numbers below zero.
const NEGATIVE: u16 = 0x4000;
/// Decimal digits of a number that is read, on each side of the point.
const DIGITS_MAX: usize = 76;

/// Writes a number that is given as text: `-12.50`.
pub(super) fn put(text: &str, out: &mut BytesMut) {
    let (sign, text) = text.strip_prefix('-').map_or((0, text), |rest| (NEGATIVE, rest));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let padding = (WIDTH - whole.len() % WIDTH) % WIDTH;
    let behind = (WIDTH - part.len() % WIDTH) % WIDTH;
    let digits: Vec<u8> =
        repeat_n(b'0', padding).chain(whole.bytes()).chain(part.bytes()).chain(repeat_n(b'0', behind)).collect();
    let value = |group: &[u8]| group.iter().fold(0_i16, |sum, digit| sum * 10 + i16::from(digit - b'0'));
    let mut groups: Vec<i16> = digits.chunks(WIDTH).map(value).collect();
    let mut weight = (whole.len() + padding) / WIDTH;
    // Zeros at either end are not written; the weight says where the first digit stands.
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    let kept = groups.iter().rposition(|group| *group != 0).map_or(0, |last| last + 1);
    groups.truncate(kept);
    weight = if groups.is_empty() { 1 + leading } else { weight };
    out.put_u16(u16::try_from(groups.len()).unwrap_or(u16::MAX));
    let weight = i16::try_from(weight).unwrap_or(i16::MAX) - i16::try_from(leading).unwrap_or(i16::MAX) - 1;
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(u16::try_from(part.len()).unwrap_or(u16::MAX));
    groups.into_iter().for_each(|group| out.put_i16(group));
}

/// Reads a number as text; nothing where the bytes are none, or one that is not finite or too long.
pub(super) fn read(mut bytes: Bytes) -> Option<String> {
    if bytes.len() < 8 {
        return None;
    }
    let (count, weight) = (usize::from(bytes.get_u16()), i64::from(bytes.get_i16()));
    let (sign, scale) = (bytes.get_u16(), usize::from(bytes.get_u16()));
    let is_far = weight.unsigned_abs() as usize > DIGITS_MAX / WIDTH || scale > DIGITS_MAX;
    if bytes.len() != 2 * count || ![0, NEGATIVE].contains(&sign) || is_far {
        return None;
    }
    let groups: Vec<i16> = (0..count).map(|_| bytes.get_i16()).collect();
    if groups.iter().any(|group| !(0..10_000).contains(group)) {
        return None;
    }
    let group = |place: i64| usize::try_from(weight - place).ok().and_then(|index| groups.get(index)).copied();
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    let whole: String = (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place).unwrap_or(0))).collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let places = scale.div_ceil(WIDTH) as i64;
        let part: String = (1..=places).map(|place| format!("{:04}", group(-place).unwrap_or(0))).collect();
        text.push('.');
        text.extend(part.chars().take(scale));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_written() {
        for text in ["0", "0.00", "1", "-1", "10000", "12345.6789", "-0.00012", "99999999.9", "100000000", "0.10"] {
            let mut out = BytesMut::new();
            put(text, &mut out);
            assert_eq!(read(out.freeze()).as_deref(), Some(text));
        }
    }

    #[test]
    fn digits_are_those_of_postgres() {
        let written = |text: &str| {
            let mut out = BytesMut::new();
            put(text, &mut out);
            let shorts = out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
            shorts.collect::<Vec<_>>()
        };
        // Count of digits, weight, sign, decimal digits after the point, digits.
        assert_eq!(written("12345.6789"), [3, 1, 0, 4, 1, 2345, 6789]);
        assert_eq!(written("-0.0001"), [1, -1, 0x4000, 4, 1]);
        assert_eq!(written("0.00000001"), [1, -2, 0, 8, 1]);
        assert_eq!(written("20000"), [1, 1, 0, 0, 2]);
        assert_eq!(written("0.00"), [0, 0, 0, 2]);
    }

    #[test]
    fn bytes_that_are_no_number_are_none() {
        let bytes =
            |shorts: &[i16]| Bytes::from(shorts.iter().flat_map(|short| short.to_be_bytes()).collect::<Vec<_>>());
        for wrong in [&[1, 0, 0, 0][..], &[1, 0, -16384, 0, 1], &[1, 0, 0, 0, 10_000], &[1, 32_767, 0, 0, 1], &[0]] {
            assert_eq!(read(bytes(wrong)), None, "{wrong:?}");
        }
    }
}
