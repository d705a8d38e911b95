//! The configuration: defaults, then a file, then the environment. Read in two steps: a merged table in which every
//! value knows where it came from, then a checked [`Config`]. Secrets stay references until the moment of use.

mod layers;
mod oidc;
mod schedule;
mod secret;
mod server;
mod standard;
mod telemetry;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use hambar_fetch::FetchConfig;
use serde::Deserialize;

pub(crate) use layers::Layers;
pub(crate) use oidc::Store;
pub(crate) use schedule::ScheduleConfig;
pub(crate) use secret::SecretReader;
pub(crate) use server::ServerConfig;
pub(crate) use telemetry::{TelemetryConfig, headers};

/// The embedded defaults; also the documentation of every key.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// Everything that can be set, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) store: StoreConfig,
    pub(crate) pipelines: PipelinesConfig,
    pub(crate) fetch: FetchConfig,
    pub(crate) decode: DecodeConfig,
    pub(crate) query: QueryConfig,
    pub(crate) server: ServerConfig,
    pub(crate) schedule: ScheduleConfig,
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) log: LogConfig,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConfig {
    pub(crate) url: String,
    /// PEM file of certificate authorities that are trusted for the store besides the system's.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, OptionValue>,
}

/// An option of the object store: plain text, or a reference to a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OptionValue {
    Secret(hambar_connect::SecretRef),
    Text(String),
    Flag(bool),
    Number(i64),
}

/// `[pipelines]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelinesConfig {
    pub(crate) folder: PathBuf,
}

/// `[decode]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecodeConfig {
    pub(crate) workers: usize,
    pub(crate) threads: usize,
    pub(crate) memory_bytes_max: u64,
    pub(crate) cpu_seconds_max: u64,
    pub(crate) wall_seconds_max: u64,
}

/// `[query]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryConfig {
    pub(crate) memory_bytes_max: u64,
    pub(crate) spill_bytes_max: u64,
    pub(crate) plan_seconds_max: u64,
    pub(crate) run_seconds_max: u64,
    pub(crate) threads: usize,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Bytes of a file of certificate authorities; it goes to every query worker.
const CA_FILE_BYTES_MAX: u64 = 512 * 1024;

/// Option names of object stores that hold secrets; their values must be references.
const SECRET_OPTIONS: [&str; 6] =
    ["secret_access_key", "session_token", "account_key", "sas_key", "client_secret", "service_account_key"];

impl Config {
    /// Checks the merged layers.
    pub(crate) fn from_layers(layers: &Layers) -> Result<Self> {
        let config: Self = layers.deserialize()?;
        config.fetch.validate().context("the configuration is wrong")?;
        if config.decode.workers == 0 || config.decode.threads == 0 {
            anyhow::bail!("`decode.workers` and `decode.threads` must be at least 1");
        }
        if config.decode.memory_bytes_max < 64 << 20 || config.query.memory_bytes_max < 16 << 20 {
            anyhow::bail!(
                "`decode.memory_bytes_max` must be at least 64 MiB, `query.memory_bytes_max` at least 16 MiB"
            );
        }
        config.server.check()?;
        config.schedule.check()?;
        config.telemetry.check()?;
        for (name, value) in &config.store.options {
            let is_secret = SECRET_OPTIONS.iter().any(|secret| name.to_lowercase().ends_with(secret));
            if is_secret && !matches!(value, OptionValue::Secret(_)) {
                anyhow::bail!(
                    "`store.options.{name}` is a secret and must be a reference: \
                     `{name} = {{ env = \"NAME\" }}` or `{{ file = \"path\" }}`"
                );
            }
        }
        Ok(config)
    }

    /// Returns the store's options with secrets resolved; never logged.
    pub(crate) fn store_options(&self, secrets: &SecretReader) -> Result<BTreeMap<String, String>> {
        let mut options = self.named_options(secrets)?;
        if let Some(file) = &self.store.ca_file {
            options.insert(hambar_lake::OPTION_CA_CERTIFICATES.to_owned(), authorities(file)?);
        }
        Ok(options)
    }

    fn named_options(&self, secrets: &SecretReader) -> Result<BTreeMap<String, String>> {
        self.store
            .options
            .iter()
            .map(|(name, value)| {
                let text = match value {
                    OptionValue::Text(text) => text.clone(),
                    OptionValue::Flag(flag) => flag.to_string(),
                    OptionValue::Number(number) => number.to_string(),
                    OptionValue::Secret(reference) => secrets.read(reference)?,
                };
                Ok((name.clone(), text))
            })
            .collect()
    }
}

/// Reads a file of certificate authorities; workers get its text, so that they need not read it.
fn authorities(file: &std::path::Path) -> Result<String> {
    let what = || format!("read `store.ca_file`, `{}`", file.display());
    let bytes = std::fs::metadata(file).with_context(what)?.len();
    if bytes > CA_FILE_BYTES_MAX {
        anyhow::bail!("`store.ca_file`, `{}`, has {bytes} bytes; at most {CA_FILE_BYTES_MAX} are read", file.display());
    }
    std::fs::read_to_string(file).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<(Config, Layers), String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let file = (!file.is_empty()).then(|| (PathBuf::from("hambar.toml"), file.to_owned()));
        let layers = Layers::merge(file, &environment).map_err(|error| format!("{error:#}"))?;
        let config = Config::from_layers(&layers).map_err(|error| format!("{error:#}"))?;
        Ok((config, layers))
    }

    #[test]
    fn the_embedded_defaults_are_those_of_the_code() {
        let (config, _) = load("", &[]).unwrap();
        assert_eq!(config.fetch, FetchConfig::default());
    }

    #[test]
    fn layers_override_each_other_and_say_so() {
        let (config, layers) =
            load("[fetch]\ncontact = \"a@b.org\"\nattempts_max = 2\n", &[("HAMBAR_FETCH__ATTEMPTS_MAX", "7")]).unwrap();
        assert_eq!((config.fetch.contact.as_str(), config.fetch.attempts_max), ("a@b.org", 7));
        let origin = |key: &str| layers.entries().find(|entry| entry.key == key).unwrap().origin.to_string();
        assert_eq!(origin("fetch.contact"), "hambar.toml");
        assert_eq!(origin("fetch.attempts_max"), "HAMBAR_FETCH__ATTEMPTS_MAX");
        assert_eq!(origin("fetch.redirects_max"), "default");
    }

    #[test]
    fn wrong_settings_are_named() {
        let error = load("[fetch]\nconntact = \"x\"\n", &[]).unwrap_err();
        assert!(error.contains("`fetch.conntact`") && error.contains("hambar.toml"), "{error}");
        let error = load("", &[("HAMBAR_FETCH__ATTEMPTS_MAX", "many")]).unwrap_err();
        assert!(error.contains("attempts_max"), "{error}");
        let error = load("[store.options]\naws_secret_access_key = \"hunter2\"\n", &[]).unwrap_err();
        assert!(error.contains("must be a reference") && !error.contains("hunter2"), "{error}");
        let error = load("not toml", &[]).unwrap_err();
        assert!(error.contains("hambar.toml"), "{error}");
    }

    #[test]
    fn the_variables_of_opentelemetry_are_below_our_own() {
        let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://standard:4318");
        let file = "[telemetry]\nendpoint = \"http://file/\"\n";
        let of = |environment: &[(&str, &str)]| {
            let (config, layers) = load(file, environment).unwrap();
            let origin = layers.entries().find(|entry| entry.key == "telemetry.endpoint").unwrap().origin.to_string();
            (config.telemetry.address().unwrap().unwrap().to_string(), origin)
        };
        assert_eq!(of(&[]), ("http://file/".to_owned(), "hambar.toml".to_owned()));
        let standard = ("http://standard:4318/v1/traces".to_owned(), "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned());
        assert_eq!(of(&[address]), standard);
        let own = ("HAMBAR_TELEMETRY__ENDPOINT", "http://own/");
        assert_eq!(of(&[address, own]), ("http://own/".to_owned(), own.0.to_owned()));
    }

    #[test]
    fn settings_of_traces_are_checked() {
        let (config, layers) = load("", &[("OTEL_TRACES_SAMPLER", "x")]).unwrap();
        assert!(config.telemetry.address().unwrap().is_none() && layers.problems().len() == 1);
        for (wrong, part) in [
            ("endpoint = \"hunter2\"", "telemetry.endpoint"),
            ("endpoint = \"grpc://collector:4317\"", "over HTTP only"),
            ("endpoint = \"http://hunter2@collector\"", "telemetry.headers"),
            ("headers = \"a=hunter2\"", "headers"),
            ("sample_ratio = 1.5", "telemetry.sample_ratio"),
            ("sample_ratio = nan", "telemetry.sample_ratio"),
            ("every_seconds = 0", "telemetry.every_seconds"),
            ("timeout_seconds = inf", "telemetry.timeout_seconds"),
            ("queue_spans_max = 1", "telemetry.queue_spans_max"),
            ("parents = \"some\"", "parents"),
            ("service_name = \" \"", "telemetry.service_name"),
            ("enpoint = \"\"", "telemetry.enpoint"),
        ] {
            let error = load(&format!("[telemetry]\n{wrong}\n"), &[]).unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter2"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_the_centre_says_of_itself_is_checked() {
        let centre = |text: &str| {
            let loaded = load(&format!("[server.centre]\n{text}\n"), &[]);
            loaded.map(|(config, _)| config.server.centre.centre().unwrap())
        };
        let plain = centre("title = \"Our data\"").unwrap();
        assert_eq!((plain.publisher.as_str(), plain.url, plain.contact), ("Our data", None, None));
        let said = "url = \"https://data.example/h\"\ncontact = \"a@data.example\"\nthemes = { worldbank = \"ECON\" }";
        let known = centre(said).unwrap();
        assert_eq!(known.contact.as_deref(), Some("mailto:a@data.example"));
        assert_eq!(known.themes.get("worldbank").map(String::as_str), Some("ECON"));
        for (wrong, part) in [
            ("url = \"data.example\"", "server.centre.url"),
            ("url = \"https://data.example/?a\"", "without `?` and `#`"),
            ("store = \"s3://bucket\"", "server.centre.store"),
            ("contact = \"javascript:a\"", "server.centre.contact"),
            ("themes = { a = \"MONEY\" }", "server.centre.themes.a"),
            ("tilte = \"x\"", "server.centre.tilte"),
        ] {
            let error = centre(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
