//! Small looks at JSON text that serde_json has already checked.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

/// Returns a scalar's text: strings without quotes and escapes, numbers and booleans as written, `None` for null; nested
/// values as written.
pub(super) fn text(raw: &str) -> Result<Option<Cow<'_, str>>, String> {
    match raw.as_bytes().first() {
        None | Some(b'n') => Ok(None),
        Some(b'"') => {
            let inside = raw.get(1..raw.len() - 1).unwrap_or_default();
            if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
                return Ok(Some(Cow::Borrowed(inside)));
            }
            let decoded: Result<String, _> = serde_json::from_str(raw);
            decoded.map(|text| Some(Cow::Owned(text))).map_err(|error| format!("a text is broken: {error}"))
        }
        Some(_) => Ok(Some(Cow::Borrowed(raw))),
    }
}

/// Returns how many containers are inside each other in `raw`.
pub(super) fn depth(raw: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// Reads an object's key, borrowed where it has no escapes.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
