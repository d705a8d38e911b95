//! A TOML document as a tree in which every key and value knows its place in the text.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: NodeValue,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum NodeValue {
    Table(Vec<Entry>),
    Array(Vec<Node>),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Datetime(String),
}

/// One key of a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Node {
    /// Parses a document.
    pub(super) fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        let document = toml_edit::Document::parse(text)?;
        Ok(of_table(document.as_table(), 0..0))
    }

    /// Returns the entry of a table by its key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            NodeValue::Table(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// Returns the value at a path such as `write.key.0`.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, step| match &node.value {
            NodeValue::Table(_) => node.entry(step).map(|entry| &entry.node),
            NodeValue::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Returns the place of the value at `path`, or of the nearest value around it.
    pub(super) fn span_at(&self, path: &str) -> Span {
        let mut path = path;
        loop {
            if let Some(node) = self.find(path) {
                return node.span.clone();
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return self.span.clone(),
            }
        }
    }

    /// Returns the items of an array, none for anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            NodeValue::Array(items) => items,
            _ => &[],
        }
    }

    /// Returns the kind of value in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Table(_) => "a table",
            NodeValue::Array(_) => "an array",
            NodeValue::Text(_) => "a text",
            NodeValue::Integer(_) => "an integer",
            NodeValue::Float(_) => "a float",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Datetime(_) => "a date or time",
        }
    }

    /// Returns the value without places, for deserializing.
    pub(super) fn to_toml(&self) -> toml::Value {
        match &self.value {
            NodeValue::Table(entries) => {
                toml::Value::Table(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_toml())).collect())
            }
            NodeValue::Array(items) => toml::Value::Array(items.iter().map(Self::to_toml).collect()),
            NodeValue::Text(text) | NodeValue::Datetime(text) => toml::Value::String(text.clone()),
            NodeValue::Integer(number) => toml::Value::Integer(*number),
            NodeValue::Float(number) => toml::Value::Float(*number),
            NodeValue::Bool(value) => toml::Value::Boolean(*value),
        }
    }
}

fn of_table(table: &dyn TableLike, span: Span) -> Node {
    let mut entries = Vec::new();
    for (key, item) in table.iter() {
        let key_span = table.get_key_value(key).and_then(|(key, _)| key.span()).unwrap_or_else(|| span.clone());
        if let Some(node) = of_item(item, &key_span) {
            entries.push(Entry { key: key.to_owned(), key_span, node });
        }
    }
    Node { span, value: NodeValue::Table(entries) }
}

fn of_item(item: &Item, key_span: &Span) -> Option<Node> {
    let span = item.span().unwrap_or_else(|| key_span.clone());
    match item {
        Item::None => None,
        Item::Value(value) => Some(of_value(value, span)),
        Item::Table(table) => Some(of_table(table, span)),
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().map(|table| of_table(table, table.span().unwrap_or_else(|| span.clone())));
            Some(Node { value: NodeValue::Array(items.collect()), span: span.clone() })
        }
    }
}

fn of_value(value: &Value, span: Span) -> Node {
    let node_value = match value {
        Value::String(text) => NodeValue::Text(text.value().clone()),
        Value::Integer(number) => NodeValue::Integer(*number.value()),
        Value::Float(number) => NodeValue::Float(*number.value()),
        Value::Boolean(truth) => NodeValue::Bool(*truth.value()),
        Value::Datetime(instant) => NodeValue::Datetime(instant.value().to_string()),
        Value::Array(items) => NodeValue::Array(
            items.iter().map(|item| of_value(item, item.span().unwrap_or_else(|| span.clone()))).collect(),
        ),
        Value::InlineTable(table) => return of_table(table, span),
    };
    Node { span, value: node_value }
}
