//! Compares a pipeline file with the JSON Schema of the spec and reports every difference, where deserializing would
//! stop at the first. Knows the part of JSON Schema that `schemars` makes for our types, and nothing of pipelines.

use std::collections::BTreeMap;

use serde_json::Value;

use super::problem::{Problems, nearest};
use super::tree::{Node, NodeValue};

/// Reports where `node` is not as `root` says: unknown and missing keys, wrong types, unknown words.
pub(super) fn check_shape(node: &Node, root: &Value, problems: &mut Problems<'_>) {
    Shape { root, problems }.check(node, root, "");
}

struct Shape<'a, 'b> {
    root: &'a Value,
    problems: &'a mut Problems<'b>,
}

/// What an object may hold, after following references and joining what is said about it in several places.
#[derive(Default)]
struct Object<'a> {
    properties: BTreeMap<&'a str, &'a Value>,
    required: Vec<&'a str>,
    is_closed: bool,
    additional: Option<&'a Value>,
}

impl<'a> Shape<'a, '_> {
    fn check(&mut self, node: &Node, schema: &'a Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            self.check_choices(node, schema, &choices, path);
            return;
        }
        let types = types_of(schema);
        if !types.is_empty() && !types.iter().any(|wanted| has_type(node, wanted)) {
            let wanted: Vec<&str> = types.iter().filter_map(|name| in_words(name)).collect();
            let what = format!("`{}` must be {}, not {}", shown(path), wanted.join(" or "), node.kind());
            self.problems.add(&node.span, what, None);
            return;
        }
        match &node.value {
            NodeValue::Table(_) => self.check_table(node, &[schema], path),
            NodeValue::Array(items) => {
                if let Some(wanted) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.check(item, wanted, &format!("{path}[{}]", index + 1));
                    }
                }
            }
            NodeValue::Integer(number) => {
                let minimum = schema.get("minimum").and_then(Value::as_i64);
                if minimum.is_some_and(|minimum| *number < minimum) {
                    let what = format!("`{}` must be at least {}", shown(path), minimum.unwrap_or_default());
                    self.problems.add(&node.span, what, None);
                }
            }
            NodeValue::Text(text) => self.check_text(node, text, schema, path),
            NodeValue::Float(_) | NodeValue::Bool(_) | NodeValue::Datetime(_) => {}
        }
    }

    fn check_text(&mut self, node: &Node, text: &str, schema: &'a Value, path: &str) {
        let words = words_of(schema);
        if !words.is_empty() && !words.contains(&text) {
            self.problems.add(
                &node.span,
                format!("`{text}` is not known to `{}`", shown(path)),
                Some(advice(text, &words)),
            );
        }
        let length = text.chars().count() as u64;
        let most = schema.get("maxLength").and_then(Value::as_u64);
        let least = schema.get("minLength").and_then(Value::as_u64);
        if most.is_some_and(|most| length > most) || least.is_some_and(|least| length < least) {
            let what = format!("`{}` must be one character, not `{text}`", shown(path));
            self.problems.add(&node.span, what, None);
        }
    }

    fn check_table(&mut self, node: &Node, schemas: &[&'a Value], path: &str) {
        let mut object = Object::default();
        for schema in schemas {
            self.gather(schema, &mut object);
        }
        let NodeValue::Table(entries) = &node.value else { return };
        for entry in entries {
            let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match (object.properties.get(entry.key.as_str()), object.additional) {
                (Some(wanted), _) => self.check(&entry.node, wanted, &below),
                (None, Some(wanted)) => self.check(&entry.node, wanted, &below),
                (None, None) if object.is_closed => {
                    let known: Vec<&str> = object.properties.keys().copied().collect();
                    self.problems.add(
                        &entry.key_span,
                        format!("unknown key `{below}`"),
                        Some(advice(&entry.key, &known)),
                    );
                }
                (None, None) => {}
            }
        }
        for key in &object.required {
            if node.entry(key).is_none() {
                let wanted = object.properties.get(key).and_then(|wanted| self.help_of(wanted));
                let full = if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
                self.problems.add(&node.span, format!("`{full}` is missing"), wanted);
            }
        }
    }

    /// `oneOf`/`anyOf`: words with descriptions, an optional value, or tables told apart by a key of one fixed word.
    fn check_choices(&mut self, node: &Node, schema: &'a Value, choices: &[&'a Value], path: &str) {
        let choices: Vec<&Value> = self.flattened(choices);
        if let [only] = choices.as_slice() {
            self.check(node, only, path);
            return;
        }
        let words: Vec<&str> = choices.iter().flat_map(|choice| words_of(choice)).collect();
        match &node.value {
            NodeValue::Text(text) if !words.is_empty() => {
                let is_free =
                    choices.iter().any(|choice| types_of(choice) == ["string"] && words_of(choice).is_empty());
                if !is_free && !words.contains(&text.as_str()) {
                    let what = format!("`{text}` is not known to `{}`", shown(path));
                    self.problems.add(&node.span, what, Some(advice(text, &words)));
                }
            }
            NodeValue::Table(_) => self.check_tagged(node, schema, &choices, path),
            _ => {
                let fitting: Vec<&&Value> = choices
                    .iter()
                    .filter(|choice| types_of(choice).iter().any(|wanted| has_type(node, wanted)))
                    .collect();
                match fitting.first() {
                    Some(choice) => self.check(node, choice, path),
                    None => {
                        let mut wanted: Vec<&str> =
                            choices.iter().flat_map(|choice| types_of(choice)).filter_map(in_words).collect();
                        wanted.dedup();
                        let what = format!("`{}` must be {}, not {}", shown(path), wanted.join(" or "), node.kind());
                        self.problems.add(&node.span, what, self.forms_of(&choices));
                    }
                }
            }
        }
    }

    /// Choices within choices become one list; what may be left out is none of them.
    fn flattened(&self, list: &[&'a Value]) -> Vec<&'a Value> {
        let mut flat = Vec::new();
        for choice in list.iter().map(|choice| self.resolve(choice)) {
            match choices(choice).filter(|_| choice.get("properties").is_none()) {
                Some(inner) => flat.extend(self.flattened(&inner)),
                None if types_of(choice) == ["null"] => {}
                None => flat.push(choice),
            }
        }
        flat
    }

    fn check_tagged(&mut self, node: &Node, schema: &'a Value, choices: &[&'a Value], path: &str) {
        let mut tags: Vec<(&str, &str, &Value)> = Vec::new();
        for choice in choices {
            let mut object = Object::default();
            self.gather(choice, &mut object);
            let tag = object.properties.iter().find_map(|(key, wanted)| Some((*key, wanted.get("const")?.as_str()?)));
            if let Some((key, word)) = tag {
                tags.push((key, word, choice));
            }
        }
        let Some((key, _, _)) = tags.first().copied() else {
            self.check_keyed(node, choices, path);
            return;
        };
        let words: Vec<&str> = tags.iter().map(|(_, word, _)| *word).collect();
        let full = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let Some(entry) = node.entry(key) else {
            self.problems.add(
                &node.span,
                format!("`{full}` is missing"),
                Some(format!("one of: {}", words.join(", "))),
            );
            return;
        };
        let NodeValue::Text(given) = &entry.node.value else {
            self.problems.add(&entry.node.span, format!("`{full}` must be a text, not {}", entry.node.kind()), None);
            return;
        };
        match tags.iter().find(|(_, word, _)| word == given) {
            None => {
                self.problems.add(
                    &entry.node.span,
                    format!("`{given}` is not known to `{full}`"),
                    Some(advice(given, &words)),
                );
            }
            // What all choices share stands beside them, in `schema`.
            Some((_, _, choice)) => self.check_table(node, &[schema, choice], path),
        }
    }

    /// Tables that are told apart by their keys: `{ env = "…" }` or `{ file = "…" }`.
    fn check_keyed(&mut self, node: &Node, choices: &[&'a Value], path: &str) {
        let tables: Vec<&Value> = choices.iter().copied().filter(|choice| types_of(choice) == ["object"]).collect();
        let keys = |choice: &'a Value| {
            let mut object = Object::default();
            self.gather(choice, &mut object);
            object.properties.into_keys().collect::<Vec<_>>()
        };
        let fitting = tables.iter().copied().find(|choice| keys(choice).iter().any(|key| node.entry(key).is_some()));
        match (fitting.or(tables.first().copied().filter(|_| tables.len() == 1)), tables.is_empty()) {
            (Some(choice), _) => self.check(node, choice, path),
            // Choices within choices: deserializing tells.
            (None, true) => {}
            (None, false) => {
                let known: Vec<&str> = tables.iter().flat_map(|choice| keys(choice)).collect();
                let what = format!("`{}` has none of the keys that it may have", shown(path));
                self.problems.add(&node.span, what, Some(format!("one of: {}", known.join(", "))));
            }
        }
    }

    /// The tables among the choices, each by the key that it cannot do without.
    fn forms_of(&self, choices: &[&'a Value]) -> Option<String> {
        let forms: Vec<String> = choices
            .iter()
            .filter_map(|choice| {
                let mut object = Object::default();
                self.gather(choice, &mut object);
                object.required.first().map(|key| format!("`{{ {key} = … }}`"))
            })
            .collect();
        (!forms.is_empty()).then(|| format!("write {}", forms.join(" or ")))
    }

    fn gather(&self, schema: &'a Value, object: &mut Object<'a>) {
        if let Some(target) = self.target(schema) {
            self.gather(target, object);
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            for part in parts {
                self.gather(part, object);
            }
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            object.properties.extend(properties.iter().map(|(key, wanted)| (key.as_str(), wanted)));
        }
        if let Some(required) = schema.get("required").and_then(Value::as_array) {
            object.required.extend(required.iter().filter_map(Value::as_str));
        }
        for key in ["additionalProperties", "unevaluatedProperties"] {
            match schema.get(key) {
                Some(Value::Bool(false)) => object.is_closed = true,
                Some(wanted @ Value::Object(_)) => object.additional = Some(wanted),
                _ => {}
            }
        }
    }

    /// Follows a bare reference; one with neighbours stays, [`Self::gather`] joins it.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let has_neighbours = schema.get("properties").is_some();
        match self.target(schema) {
            Some(target) if !has_neighbours => self.resolve(target),
            _ => schema,
        }
    }

    fn target(&self, schema: &'a Value) -> Option<&'a Value> {
        let reference = schema.get("$ref")?.as_str()?;
        self.root.pointer(reference.strip_prefix('#')?)
    }

    fn help_of(&self, schema: &'a Value) -> Option<String> {
        let text = schema.get("description").or_else(|| self.resolve(schema).get("description"))?.as_str()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

fn choices(schema: &Value) -> Option<Vec<&Value>> {
    let list = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(list.iter().collect())
}

fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn words_of(schema: &Value) -> Vec<&str> {
    match (schema.get("enum").and_then(Value::as_array), schema.get("const").and_then(Value::as_str)) {
        (Some(words), _) => words.iter().filter_map(Value::as_str).collect(),
        (None, Some(word)) => vec![word],
        (None, None) => Vec::new(),
    }
}

fn has_type(node: &Node, wanted: &str) -> bool {
    match &node.value {
        NodeValue::Table(_) => wanted == "object",
        NodeValue::Array(_) => wanted == "array",
        NodeValue::Text(_) => wanted == "string",
        NodeValue::Integer(_) => wanted == "integer" || wanted == "number",
        NodeValue::Float(_) => wanted == "number",
        NodeValue::Bool(_) => wanted == "boolean",
        NodeValue::Datetime(_) => false,
    }
}

fn in_words(name: &str) -> Option<&'static str> {
    match name {
        "object" => Some("a table"),
        "array" => Some("an array"),
        "string" => Some("a text"),
        "integer" => Some("an integer"),
        "number" => Some("a number"),
        "boolean" => Some("a boolean"),
        _ => None,
    }
}

fn advice(given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", known.join(", ")),
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "the file" } else { path }
}
