//! Lists as clients send them: `{1,2,NULL}`, or Postgres' binary form. One level, since no column here has more that
//! Postgres could name.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Field};
use bytes::{Buf, Bytes};

use super::kind::{Kind, Scalar};
use super::parameters::{Wrong, wrong};

/// Items of a list.
const ITEMS_MAX: usize = 100_000;

/// Makes a list of one value each, nothing for one that is missing.
pub(super) fn list(scalar: Scalar, items: Vec<Option<ArrayRef>>) -> Result<ArrayRef, Wrong> {
    let own = Kind::One(scalar).canonical(&DataType::Null);
    // Exact numbers come with as many digits as they are written with; a list has one type.
    let scale = items.iter().flatten().filter_map(|item| match item.data_type() {
        DataType::Decimal128(digits, scale) => Some((*scale, *digits)),
        _ => None,
    });
    let kind = scale.max().map_or(own, |(scale, digits)| DataType::Decimal128(digits, scale));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let item = |item: Option<ArrayRef>| match item {
        Some(item) => cast_with_options(&item, &kind, &options).map_err(|error| wrong(error.to_string())),
        None => Ok(arrow::array::new_null_array(&kind, 1)),
    };
    let count = items.len();
    let items: Vec<ArrayRef> = items.into_iter().map(item).collect::<Result<_, _>>()?;
    let parts: Vec<&dyn Array> = items.iter().map(AsRef::as_ref).collect();
    let values = match parts.as_slice() {
        [] => arrow::array::new_empty_array(&kind),
        parts => concat(parts).map_err(|error| wrong(error.to_string()))?,
    };
    let field = Arc::new(Field::new("item", kind, true));
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths([count]), values, None);
    Ok(Arc::new(list.map_err(|error| wrong(error.to_string()))?))
}

/// Takes a list apart that is written as text; nothing for an item that is missing.
pub(super) fn texts(text: &str) -> Result<Vec<Option<String>>, Wrong> {
    let broken = || wrong("it is not written as `{1,2}`");
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(broken)?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Ok(items);
    }
    let mut rest = inner.chars();
    loop {
        let (item, ended_by) = item(&mut rest)?;
        items.push(item);
        if items.len() > ITEMS_MAX {
            return Err(wrong(format!("more than {ITEMS_MAX} items")));
        }
        match ended_by {
            Some(',') => {}
            None => return Ok(items),
            Some(_) => return Err(broken()),
        }
    }
}

/// One item and what ended it: a comma, or the end of the list.
fn item(rest: &mut std::str::Chars<'_>) -> Result<(Option<String>, Option<char>), Wrong> {
    let (mut text, mut is_quoted, mut is_inside) = (String::new(), false, false);
    let ended_by = loop {
        match rest.next() {
            None if is_inside => return Err(wrong("a quote in it is not closed")),
            None => break None,
            Some('\\') => text.push(rest.next().ok_or_else(|| wrong("it ends in a `\\`"))?),
            Some('"') => {
                // Blanks around quotes are no part of the item.
                if !is_quoted && text.trim().is_empty() {
                    text.clear();
                }
                (is_quoted, is_inside) = (true, !is_inside);
            }
            Some(blank) if is_quoted && !is_inside && blank.is_whitespace() => {}
            Some(',') if !is_inside => break Some(','),
            Some('{' | '}') if !is_inside => return Err(wrong("lists in lists are not taken")),
            Some(character) => text.push(character),
        }
    };
    if is_quoted {
        return Ok((Some(text), ended_by));
    }
    let plain = text.trim();
    if plain.is_empty() {
        return Err(wrong("an item of it is empty; write `\"\"` or NULL"));
    }
    Ok(((!plain.eq_ignore_ascii_case("null")).then(|| plain.to_owned()), ended_by))
}

/// Takes a list apart that came in its binary form: the number of its items' type, and the items.
pub(super) fn parts(mut bytes: Bytes) -> Result<(u32, Vec<Option<Bytes>>), Wrong> {
    let short = || wrong("the bytes are no list");
    let dimensions = bytes.try_get_i32().map_err(|_| short())?;
    bytes.try_get_i32().map_err(|_| short())?;
    let oid = bytes.try_get_u32().map_err(|_| short())?;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = bytes.try_get_i32().map_err(|_| short())?;
            bytes.try_get_i32().map_err(|_| short())?;
            usize::try_from(count).map_err(|_| short())?
        }
        _ => return Err(wrong("lists in lists are not taken")),
    };
    // Each has a length of four bytes, so that nothing is held for what is not there.
    if count > ITEMS_MAX || count > bytes.len() / 4 {
        return Err(wrong(format!("{count} items; {ITEMS_MAX} are the limit, and all of them must be there")));
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(match bytes.try_get_i32().map_err(|_| short())? {
            -1 => None,
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len()).ok_or_else(short)?;
                Some(bytes.split_to(length))
            }
        });
    }
    if bytes.is_empty() { Ok((oid, items)) } else { Err(short()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let some = |items: &[&str]| items.iter().map(|item| Some((*item).to_owned())).collect::<Vec<_>>();
        let is = |text: &str| texts(text).ok().unwrap();
        assert_eq!(is("{}"), []);
        assert_eq!(is("{1, 2,3}"), some(&["1", "2", "3"]));
        assert_eq!(is(r#"{a,"b,\"}","",NULL,"NULL"}"#)[..3], some(&["a", "b,\"}", ""]));
        assert_eq!(is(r#"{ "p", "f" ,"t x"}"#), some(&["p", "f", "t x"]));
        assert_eq!(is(r#"{NULL,"NULL"}"#), [None, Some("NULL".to_owned())]);
        for broken in ["", "1,2", "{1", "{1,}", "{,1}", "{{1}}", "{\"a}", "{a\\", "[0:1]={1,2}"] {
            assert!(texts(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn bytes_are_taken_apart() {
        let numbers = |numbers: &[i32]| Bytes::from(numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
        let (oid, items) = parts(numbers(&[1, 1, 23, 2, 1, 4, 7, -1])).ok().unwrap();
        assert_eq!((oid, items), (23, vec![Some(numbers(&[7])), None]));
        assert_eq!(parts(numbers(&[0, 0, 25])).ok().unwrap(), (25, Vec::new()));
        for broken in [
            &[1, 0, 23][..],
            &[1, 0, 23, i32::MAX, 1],
            &[1, 0, 23, -1, 1],
            &[1, 0, 23, 1, 1, 9, 7],
            &[1, 0, 23, 1, 1, -2],
            &[1, 0, 23, 1, 1, 4, 7, 0],
            &[2, 0, 23, 1, 1, 1, 1],
        ] {
            assert!(parts(numbers(broken)).is_err(), "{broken:?}");
        }
    }
}
