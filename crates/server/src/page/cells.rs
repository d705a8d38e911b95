//! Values as texts, and names as they stand in statements.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Characters of a cell that a page shows.
pub(super) const CELL_CHARS_MAX: usize = 200;

/// The rows of a batch as texts.
pub(super) struct Rows<'a> {
    batch: &'a RecordBatch,
    columns: Vec<Option<ArrayFormatter<'a>>>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
        // A column of a type without a form as text has none in any row.
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &OPTIONS).ok());
        Self { batch, columns: columns.collect() }
    }

    /// Returns a value by the name of its column; nothing where it is NULL.
    pub(super) fn text(&self, column: &str, row: usize) -> Option<String> {
        self.at(self.batch.schema_ref().index_of(column).ok()?, row)
    }

    /// Returns a value by the place of its column; nothing where it is NULL.
    pub(super) fn at(&self, column: usize, row: usize) -> Option<String> {
        let values = self.batch.columns().get(column)?;
        // A column that is NULL by its type has no list of which values are.
        if row >= values.len() || values.is_null(row) || values.data_type() == &DataType::Null {
            return None;
        }
        self.columns.get(column)?.as_ref().map(|formatter| formatter.value(row).to_string())
    }

    /// Returns a value as it is shown: at most [`CELL_CHARS_MAX`] characters.
    pub(super) fn shown(&self, column: usize, row: usize) -> Option<String> {
        self.at(column, row).map(|text| shortened(&text))
    }
}

/// Says whether values of this type are numbers, which are shown at the right.
pub(super) fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

/// Returns the beginning of a text that is too long to be shown.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Returns a name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn values_are_texts_and_null_is_nothing() {
        let numbers = Arc::new(Float64Array::from(vec![Some(1.5), None]));
        let texts = Arc::new(StringArray::from(vec!["<b>", &"я".repeat(300)]));
        let batch = RecordBatch::try_from_iter([("n", numbers as _), ("t", texts as _)]).unwrap();
        let rows = Rows::of(&batch);
        assert_eq!((rows.text("n", 0).as_deref(), rows.text("n", 1)), (Some("1.5"), None));
        assert_eq!((rows.at(1, 0).as_deref(), rows.text("x", 0), rows.at(1, 9)), (Some("<b>"), None, None));
        assert_eq!(rows.shown(1, 1).unwrap().chars().count(), CELL_CHARS_MAX + 1);
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
