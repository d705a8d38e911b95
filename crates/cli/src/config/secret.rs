//! Secrets: read at the moment of use, from the environment or a file, and never shown.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hambar_connect::{ConnectError, SecretRef, SecretResolver};
use hambar_fetch::Secret;

/// Reads references to secrets.
#[derive(Clone)]
pub(crate) struct SecretReader {
    environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for SecretReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretReader")
    }
}

impl SecretReader {
    pub(crate) fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment }
    }

    /// Returns the secret's text.
    pub(crate) fn read(&self, reference: &SecretRef) -> Result<String> {
        match reference {
            SecretRef::Env(name) => self
                .environment
                .get(name)
                .cloned()
                .with_context(|| format!("the environment variable `{name}`, a secret, is not set")),
            SecretRef::File(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("read the secret in `{}`", path.display()))?;
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }
}

impl SecretResolver for SecretReader {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, ConnectError> {
        self.read(reference)
            .map(Secret::new)
            .map_err(|error| ConnectError::Setting { setting: "auth".to_owned(), what: format!("{error:#}") })
    }
}
