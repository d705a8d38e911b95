//! Merging the layers of the configuration, leaf by leaf, with the origin of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::DEFAULTS;
use super::standard::Standard;

/// The prefix of environment variables that are settings.
const PREFIX: &str = "HAMBAR_";

/// Variables with the prefix that are no settings: read by the command line itself, or by the build.
const NOT_SETTINGS: [&str; 3] = ["HAMBAR_CONFIG", "HAMBAR_FAULT_POINT", "HAMBAR_PAGE"];

/// The prefix of variables that steer the tests of the binary.
const TEST_PREFIX: &str = "HAMBAR_TEST_";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    CommandLine(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Environment(name) => formatter.write_str(name),
            Self::CommandLine(option) => write!(formatter, "command line, {option}"),
        }
    }
}

/// One setting in force.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The merged settings.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    entries: BTreeMap<String, Entry>,
    /// What was left out of the environment, in words.
    problems: Vec<String>,
}

/// Tables whose keys are free, so that they need not be in the defaults.
const OPEN_TABLES: [&str; 3] = ["store.options.", "fetch.hosts.", "server.centre.themes."];

/// Optional settings without a default.
const OPTIONAL: [&str; 7] = [
    "fetch.proxy",
    "fetch.proxy_exceptions",
    "fetch.ca_file",
    "store.ca_file",
    "server.session_key",
    "telemetry.headers",
    "server.oidc.client_secret",
];

impl Layers {
    /// Merges defaults, the file (path and text) and the environment.
    pub(crate) fn merge(file: Option<(PathBuf, String)>, environment: &BTreeMap<String, String>) -> Result<Self> {
        let mut layers = Self { entries: BTreeMap::new(), problems: Vec::new() };
        let defaults: Table = DEFAULTS.parse().context("read the embedded defaults")?;
        layers.add(&defaults, "", &Origin::Default);
        let known: Vec<String> = layers.entries.keys().cloned().collect();
        let is_known = |key: &str| {
            known.iter().any(|known| known == key)
                || OPTIONAL.contains(&key)
                || OPEN_TABLES.iter().any(|table| key.starts_with(table))
        };
        if let Some((path, text)) = file {
            let table: Table = text.parse().with_context(|| format!("read `{}`", path.display()))?;
            let mut own = Self { entries: BTreeMap::new(), problems: Vec::new() };
            own.add(&table, "", &Origin::File(path.clone()));
            let unknown: Vec<String> =
                own.entries.keys().filter(|key| !is_known(key)).map(|key| format!("`{key}`")).collect();
            if !unknown.is_empty() {
                bail!(
                    "`{}` has unknown settings: {}; `hambar config` lists those there are",
                    path.display(),
                    unknown.join(", ")
                );
            }
            layers.entries.extend(own.entries);
        }
        let standard = Standard::of(environment);
        for (key, value, variable) in standard.settings {
            layers.set(key, value, Origin::Environment(variable.to_owned()));
        }
        layers.problems = standard.problems;
        for (name, text) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with(TEST_PREFIX) {
                continue;
            }
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            if !is_known(&key) {
                bail!(
                    "the environment variable `{name}` names no setting: `{key}` is unknown; `hambar config` lists those there are"
                );
            }
            let value = layers.typed(&key, text);
            layers.set(&key, value, Origin::Environment(name.clone()));
        }
        Ok(layers)
    }

    /// Overrides one setting from the command line.
    pub(crate) fn set_from_command_line(&mut self, key: &str, value: Value, option: &'static str) {
        self.set(key, value, Origin::CommandLine(option));
    }

    /// Says whether nobody has set `key`.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.origin == Origin::Default)
    }

    /// Returns what was left out of the environment, in words.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns all settings in the order of their keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Turns the settings into a checked type.
    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        let mut root = Table::new();
        for section in DEFAULTS.parse::<Table>().context("read the embedded defaults")?.keys() {
            root.insert(section.clone(), Value::Table(Table::new()));
        }
        for entry in self.entries.values() {
            insert(&mut root, &entry.key, entry.value.clone());
        }
        Value::Table(root).try_into::<T>().map_err(|error| {
            let message = error.to_string();
            let culprits: Vec<String> = self
                .entries
                .values()
                .filter(|entry| entry.origin != Origin::Default)
                .map(|entry| format!("`{}` from {}", entry.key, entry.origin))
                .collect();
            anyhow::anyhow!("the configuration is wrong: {}; set were {}", message.trim(), culprits.join(", "))
        })
    }

    fn add(&mut self, table: &Table, prefix: &str, origin: &Origin) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                // `{ env = "NAME" }` is a value: a reference to a secret.
                Value::Table(inner) if !is_reference(inner) => self.add(inner, &format!("{key}."), origin),
                _ => self.set(&key, value.clone(), origin.clone()),
            }
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        self.entries.insert(key.to_owned(), Entry { key: key.to_owned(), value, origin });
    }

    /// Reads a text from the environment as the type that the setting has now.
    fn typed(&self, key: &str, text: &str) -> Value {
        let is_text = self.entries.get(key).is_none_or(|entry| entry.value.is_str());
        let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        match parsed {
            Some(value) if !is_text || matches!(&value, Value::Table(inner) if is_reference(inner)) => value,
            _ => Value::String(text.to_owned()),
        }
    }
}

fn is_reference(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

fn insert(root: &mut Table, key: &str, value: Value) {
    // Host names hold dots: everything between `fetch.hosts.` and the last dot is one name.
    let mut path: Vec<String> = match key.strip_prefix("fetch.hosts.").and_then(|rest| rest.rsplit_once('.')) {
        Some((host, setting)) => vec!["fetch".into(), "hosts".into(), host.into(), setting.into()],
        None => key.split('.').map(str::to_owned).collect(),
    };
    let Some(last) = path.pop() else { return };
    let mut table = root;
    for name in path {
        let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = inner else { return };
        table = inner;
    }
    table.insert(last, value);
}
