//! The first and last key of a sorted data file, kept with the file in the log.
//!
//! Delta's statistics cut texts and know single columns only; to put files in order and to skip them, the whole key
//! is needed. A key that has no exact text form gets no bounds; its file then counts as unsorted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::actions::Add;

/// Tag: the columns that a file is sorted by, as a JSON list.
const TAG_SORT: &str = "hambar.sort";
/// Tag: the first key, as a JSON list of texts.
const TAG_FIRST: &str = "hambar.first";
/// Tag: the last key.
const TAG_LAST: &str = "hambar.last";
/// Tag: the first key of each row group, as a JSON list of keys, where there are several.
const TAG_GROUPS: &str = "hambar.groups";
/// Bytes of a key that is kept as text.
const KEY_BYTES_MAX: usize = 4 * 1024;
/// Bytes of all row groups' keys of a file that are kept as text.
const GROUPS_BYTES_MAX: usize = 16 * 1024;

/// One key as text, NULL as `None`.
pub(crate) type KeyText = Vec<Option<String>>;

/// Returns the tags of a file sorted by `columns`, of which the first row of each row group and the last row are given;
/// none if their keys have no text.
pub(crate) fn tags(columns: &[String], firsts: &[RecordBatch], last: &RecordBatch) -> BTreeMap<String, Option<String>> {
    let groups: Option<Vec<KeyText>> = firsts.iter().map(|first| key_text(columns, first)).collect();
    let (Some(groups), Some(last)) = (groups, key_text(columns, last)) else {
        return BTreeMap::new();
    };
    let Some(first) = groups.first() else {
        return BTreeMap::new();
    };
    let mut entries = vec![(TAG_SORT, json(&columns)), (TAG_FIRST, json(first)), (TAG_LAST, json(&last))];
    let all = json(&groups);
    if groups.len() > 1 && all.len() <= GROUPS_BYTES_MAX {
        entries.push((TAG_GROUPS, all));
    }
    entries.into_iter().map(|(tag, text)| (tag.to_owned(), Some(text))).collect()
}

/// Reads the first keys of a file's row groups; empty where they are not known.
pub(crate) fn read_groups(add: &Add, columns: &[String]) -> Vec<KeyText> {
    let groups: Option<Vec<KeyText>> = add.tag(TAG_GROUPS).and_then(|text| serde_json::from_str(text).ok());
    groups.filter(|groups| groups.iter().all(|key| key.len() == columns.len())).unwrap_or_default()
}

/// Reads the bounds of a file, if it is sorted by `columns`.
pub(crate) fn read(add: &Add, columns: &[String]) -> Option<(KeyText, KeyText)> {
    let sort: Vec<String> = serde_json::from_str(add.tag(TAG_SORT)?).ok()?;
    let first: KeyText = serde_json::from_str(add.tag(TAG_FIRST)?).ok()?;
    let last: KeyText = serde_json::from_str(add.tag(TAG_LAST)?).ok()?;
    (sort == columns && first.len() == columns.len() && last.len() == columns.len()).then_some((first, last))
}

/// Turns texts back into a column; `None` where one of them is not of that type.
pub(crate) fn column(texts: Vec<Option<String>>, data_type: &DataType) -> Option<ArrayRef> {
    let texts = StringArray::from(texts);
    let column = cast(&texts, data_type).ok()?;
    (column.null_count() == texts.null_count()).then_some(column)
}

fn json(value: &impl serde::Serialize) -> String {
    // Lists of texts have no keys that could fail to be text.
    serde_json::to_string(value).unwrap_or_default()
}

fn key_text(columns: &[String], row: &RecordBatch) -> Option<KeyText> {
    let mut texts = Vec::with_capacity(columns.len());
    for name in columns {
        texts.push(cell_text(row.column_by_name(name)?)?);
    }
    let bytes: usize = texts.iter().flatten().map(String::len).sum();
    (bytes <= KEY_BYTES_MAX).then_some(texts)
}

fn cell_text(cell: &ArrayRef) -> Option<Option<String>> {
    let kind = cell.data_type();
    if kind.is_nested() || matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) {
        return None;
    }
    if cell.is_null(0) {
        return Some(None);
    }
    let text: ArrayRef = if kind == &DataType::Utf8 { Arc::clone(cell) } else { cast(cell, &DataType::Utf8).ok()? };
    let text = text.as_string::<i32>().value(0).to_owned();
    // Only a text that leads back to the very value can stand for it.
    let back = column(vec![Some(text.clone())], kind)?;
    (back.to_data() == cell.to_data()).then_some(Some(text))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, Float64Array, Int64Array};

    use super::*;

    #[test]
    fn keys_survive_as_text() {
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(StringArray::from(vec![Some("Ж, \"x\"")])) as ArrayRef, true),
            ("b", Arc::new(Int64Array::from(vec![None])) as ArrayRef, true),
            ("c", Arc::new(Date32Array::from(vec![-5])) as ArrayRef, true),
            ("d", Arc::new(Float64Array::from(vec![0.1])) as ArrayRef, true),
            (
                "e",
                Arc::new(Decimal128Array::from(vec![-105]).with_precision_and_scale(10, 2).unwrap()) as ArrayRef,
                true,
            ),
        ])
        .unwrap();
        let columns: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let texts = key_text(&columns, &batch).unwrap();
        assert_eq!(format!("{texts:?}"), r#"[Some("Ж, \"x\""), None, Some("1969-12-27"), Some("0.1"), Some("-1.05")]"#);
        for (text, array) in texts.into_iter().zip(batch.columns()) {
            assert_eq!(&column(vec![text], array.data_type()).unwrap(), array);
        }
    }
}
