//! JSON: one object with everything, or one line a row. An answer that broke off has no end and cannot be mistaken for
//! a whole one.

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::{JsonArray, LineDelimited};
use serde_json::{Map, Value, json};

use super::{EncodeError, Head, Tail};
use crate::front::terms;

/// Puts rows into JSON.
pub(crate) struct JsonEncoder {
    head: Option<Head>,
    form: Form,
    rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Object,
    Lines,
}

impl JsonEncoder {
    /// `{"query": …, "columns": [ … ], "sources": [ … ], "terms": { … }, "rows": [ … ], "row_count": 2, "truncated": null}`
    pub(super) fn object(head: Head) -> Self {
        Self { head: Some(head), form: Form::Object, rows: 0 }
    }

    /// One object a row; a last line `{"_hambar": …}` only where rows are missing.
    pub(super) fn lines(head: Head) -> Self {
        Self { head: Some(head), form: Form::Lines, rows: 0 }
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
        let mut out = self.start()?;
        if batch.num_rows() == 0 {
            return Ok(out);
        }
        let options = WriterBuilder::new().with_explicit_nulls(true);
        match self.form {
            Form::Lines => {
                let mut writer = options.build::<_, LineDelimited>(&mut out);
                writer.write(batch)?;
                writer.finish()?;
            }
            Form::Object => {
                let mut rows = Vec::new();
                let mut writer = options.build::<_, JsonArray>(&mut rows);
                writer.write(batch)?;
                writer.finish()?;
                let inside = rows.strip_prefix(b"[").and_then(|rows| rows.strip_suffix(b"]")).unwrap_or(&rows);
                if self.rows > 0 {
                    out.push(b',');
                }
                out.push(b'\n');
                out.extend_from_slice(inside);
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(out)
    }

    pub(super) fn finish(mut self, tail: &Tail) -> Result<Vec<u8>, EncodeError> {
        let mut out = self.start()?;
        let mut end = Map::new();
        end.insert("row_count".to_owned(), self.rows.into());
        end.insert("truncated".to_owned(), tail.truncated.map_or(Value::Null, Value::from));
        if let Some(next) = &tail.next {
            end.insert("next".to_owned(), next.clone().into());
        }
        match self.form {
            Form::Object => {
                let end = serde_json::to_string(&end).map_err(std::io::Error::other)?;
                out.extend_from_slice(b"],");
                out.extend_from_slice(end.strip_prefix('{').unwrap_or(&end).as_bytes());
                out.push(b'\n');
            }
            Form::Lines if tail.truncated.is_some() => {
                let line = serde_json::to_vec(&json!({ "_hambar": end })).map_err(std::io::Error::other)?;
                out.extend_from_slice(&line);
                out.push(b'\n');
            }
            Form::Lines => {}
        }
        Ok(out)
    }

    /// What comes before the first row.
    fn start(&mut self) -> Result<Vec<u8>, EncodeError> {
        let Some(head) = self.head.take() else { return Ok(Vec::new()) };
        if self.form == Form::Lines {
            return Ok(Vec::new());
        }
        let columns: Vec<Value> = head
            .schema
            .fields()
            .iter()
            .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }))
            .collect();
        let start =
            json!({ "query": head.query, "columns": columns, "sources": head.sources, "terms": terms(&head.sources) });
        let text = serde_json::to_string(&start).map_err(std::io::Error::other)?;
        // Without the bracket that closes it: the rows follow inside.
        let mut out = text.strip_suffix('}').unwrap_or(&text).as_bytes().to_vec();
        out.extend_from_slice(b",\"rows\":[");
        Ok(out)
    }
}
