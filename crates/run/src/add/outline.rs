//! What stands around the records of a JSON answer: the single values from which paging and completeness are concluded.
//! Runs in the confined worker; only small values leave it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Arrays nest at most this deep around records.
const RECORD_DEPTH_MAX: usize = 4;
/// Values that are kept.
const VALUES_MAX: usize = 200;
/// Characters of a text that is kept; a longer one is no counter, no cursor and no address.
const TEXT_CHARS_MAX: usize = 2_000;

/// One answer without its records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Where the records are, as a JSON Pointer; empty where the answer is the array.
    pub record_path: String,
    /// Records in the answer.
    pub records: u64,
    /// Single values outside the records: place and value, in the answer's order.
    pub values: Vec<(String, Value)>,
}

impl Outline {
    /// Looks at a whole document. `None`: it holds no array of objects.
    pub fn of(document: &Value) -> Option<Self> {
        let (mut best, mut path) = ((0, String::new()), String::new());
        largest_array(document, &mut path, 0, &mut best);
        let (records, record_path) = best;
        if records == 0 {
            return None;
        }
        let mut outline = Self { record_path, records, values: Vec::new() };
        outline.collect(document, &mut String::new(), 0);
        Some(outline)
    }

    /// Returns the value at a place.
    pub fn at(&self, place: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| known == place).map(|(_, value)| value)
    }

    fn collect(&mut self, value: &Value, path: &mut String, depth: usize) {
        let is_records = *path == self.record_path && value.is_array();
        if is_records || depth > RECORD_DEPTH_MAX + 1 || self.values.len() >= VALUES_MAX {
            return;
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate().take(8) {
                    within(path, &index.to_string(), |path| self.collect(item, path, depth + 1));
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    within(path, &escaped(name), |path| self.collect(member, path, depth + 1));
                }
            }
            Value::String(text) if text.chars().nth(TEXT_CHARS_MAX).is_some() => {}
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.values.push((path.clone(), value.clone()));
            }
        }
    }
}

/// The array with the most objects, and how many they are.
fn largest_array(value: &Value, path: &mut String, depth: usize, best: &mut (u64, String)) {
    if depth > RECORD_DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(items) => {
            let objects = items.iter().filter(|item| item.is_object()).count() as u64;
            if objects > best.0 {
                *best = (objects, path.clone());
            }
            // `[{page}, [{record}, …]]`: the World Bank's form.
            for (index, item) in items.iter().enumerate().take(8).filter(|(_, item)| item.is_array()) {
                within(path, &index.to_string(), |path| largest_array(item, path, depth + 1, best));
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                within(path, &escaped(name), |path| largest_array(member, path, depth + 1, best));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn within(path: &mut String, segment: &str, act: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(segment);
    act(path);
    path.truncate(length);
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_around_the_records_are_found() {
        let check = |document: &str, expected: Option<(&str, u64, &[&str])>| {
            let found = Outline::of(&serde_json::from_str(document).unwrap());
            let told = found.as_ref().map(|outline| {
                let values = outline.values.iter().map(|(place, value)| format!("{place}={value}"));
                (outline.record_path.as_str(), outline.records, values.collect::<Vec<_>>())
            });
            let expected = expected
                .map(|(path, records, values)| (path, records, values.iter().map(|text| (*text).to_owned()).collect()));
            assert_eq!(told, expected, "{document}");
        };
        check(r#"[{"page":1,"total":2},[{"a":1},{"a":2}]]"#, Some(("/1", 2, &["/0/page=1", "/0/total=2"])));
        check(r#"{"a/b":{"next":null},"items":[{"x":{"next":1}}]}"#, Some(("/items", 1, &["/a~1b/next=null"])));
        check(r#"[{"a":1}]"#, Some(("", 1, &[])));
        check(r#"{"a":[1,2]}"#, None);
        check("7", None);
    }
}
