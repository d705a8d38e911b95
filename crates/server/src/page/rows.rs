//! Rows as a table.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use maud::{Markup, html};

use super::cells::{Rows, is_number};

/// Returns a table that people can scroll, under a name.
pub(super) fn table(name: &str, schema: &SchemaRef, batches: &[RecordBatch]) -> Markup {
    let titles: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    titled(name, &titles, schema, batches)
}

/// As [`table`], with titles instead of the columns' names.
pub(super) fn titled(name: &str, titles: &[String], schema: &SchemaRef, batches: &[RecordBatch]) -> Markup {
    let classes: Vec<Option<&str>> =
        schema.fields().iter().map(|field| is_number(field.data_type()).then_some("num")).collect();
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table {
                thead { tr {
                    @for (title, class) in titles.iter().zip(&classes) {
                        th scope="col" class=[class] { (title) }
                    }
                } }
                tbody { @for batch in batches { (body(batch, &classes)) } }
            }
        }
    }
}

fn body(batch: &RecordBatch, classes: &[Option<&str>]) -> Markup {
    let rows = Rows::of(batch);
    html! {
        @for row in 0..batch.num_rows() {
            tr {
                @for (column, class) in classes.iter().enumerate() {
                    td class=[class] { @if let Some(text) = rows.shown(column, row) { (text) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn what_looks_like_html_is_text() {
        let batch = RecordBatch::try_from_iter([
            ("<i>&\"", Arc::new(StringArray::from(vec![Some("<script>alert(1)</script>"), None])) as _),
            ("n", Arc::new(Int64Array::from(vec![1, -2])) as _),
        ])
        .unwrap();
        let page = table("\"><b>", &batch.schema(), &[batch]).0;
        assert!(!page.contains("<script") && !page.contains("<i>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td class=\"num\">1</td>"), "{page}");
        assert!(page.contains("<td></td><td class=\"num\">-2</td>"), "{page}");
    }
}
