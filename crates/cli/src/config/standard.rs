//! The variables in which OpenTelemetry has its settings everywhere, as settings of ours. As OpenTelemetry asks for, one
//! that is empty counts as not set, and one that is wrong is left out with a warning: it may be meant for others.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The address of all signals, to which that of traces is appended.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const SERVICE: &str = "OTEL_SERVICE_NAME";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// The only protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// What the variables say.
#[derive(Debug, Default)]
pub(super) struct Standard {
    /// Settings, their values, and the variables that they are from.
    pub(super) settings: Vec<(&'static str, Value, &'static str)>,
    /// What is left out, in words.
    pub(super) problems: Vec<String>,
}

impl Standard {
    /// Reads the environment.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &'static str| {
            let text = environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())?;
            Some((name, text))
        };
        let mut read = Self::default();
        if let Some((name, text)) = get(TRACES_ENDPOINT) {
            read.set("telemetry.endpoint", Value::String(text.to_owned()), name);
        } else if let Some((name, text)) = get(ENDPOINT) {
            let address = format!("{}/v1/traces", text.trim_end_matches('/'));
            read.set("telemetry.endpoint", Value::String(address), name);
        }
        if let Some((name, _)) = HEADERS.into_iter().find_map(get) {
            // The text is a secret: the setting only says where it is.
            let reference = Table::from_iter([("env".to_owned(), Value::String(name.to_owned()))]);
            read.set("telemetry.headers", Value::Table(reference), name);
        }
        if let Some((name, text)) = PROTOCOLS.into_iter().find_map(get).filter(|(_, text)| *text != PROTOCOL) {
            read.wrong(name, text, "only `http/protobuf` is sent");
        }
        if let Some((name, text)) = TIMEOUTS.into_iter().find_map(get) {
            match text.parse::<u32>() {
                Ok(milliseconds) if milliseconds >= 50 => {
                    let seconds = f64::from(milliseconds) / 1_000.0;
                    read.set("telemetry.timeout_seconds", Value::Float(seconds), name);
                }
                _ => read.wrong(name, text, "it is not a time in milliseconds, at least 50"),
            }
        }
        if let Some((name, text)) = get(SERVICE) {
            read.set("telemetry.service_name", Value::String(text.to_owned()), name);
        }
        if let Some((name, text)) = get(SAMPLER) {
            read.sampler(name, text, get(SAMPLER_ARGUMENT).map(|(_, text)| text));
        }
        if get(DISABLED).is_some_and(|(_, text)| text.eq_ignore_ascii_case("true")) {
            read.set("telemetry.enabled", Value::Boolean(false), DISABLED);
        }
        read
    }

    fn sampler(&mut self, name: &'static str, text: &str, argument: Option<&str>) {
        let (sampler, parents) = match text.strip_prefix("parentbased_") {
            Some(sampler) => (sampler, "members"),
            None => (text, "nobody"),
        };
        let (ratio, from) = match sampler {
            "always_on" => (1.0, name),
            "always_off" => (0.0, name),
            "traceidratio" => {
                let given = argument.map(str::parse::<f64>);
                match given {
                    Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => (ratio, SAMPLER_ARGUMENT),
                    None => (1.0, name),
                    Some(_) => {
                        self.wrong(SAMPLER_ARGUMENT, argument.unwrap_or_default(), "it is not a part between 0 and 1");
                        (1.0, name)
                    }
                }
            }
            _ => return self.wrong(name, text, "there is no such sampler here"),
        };
        self.set("telemetry.sample_ratio", Value::Float(ratio), from);
        self.set("telemetry.parents", Value::String(parents.to_owned()), name);
    }

    fn set(&mut self, key: &'static str, value: Value, variable: &'static str) {
        self.settings.push((key, value, variable));
    }

    fn wrong(&mut self, variable: &str, text: &str, why: &str) {
        let text: String = text.chars().take(60).flat_map(char::escape_debug).collect();
        self.problems.push(format!("`{variable}` is `{text}` and is left out: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let environment = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let read = Standard::of(&environment);
        let settings = read.settings.iter().map(|(key, value, variable)| format!("{key} = {value} ({variable})"));
        (settings.collect(), read.problems)
    }

    #[test]
    fn the_variables_of_opentelemetry_are_settings() {
        let (settings, problems) = read(&[
            (ENDPOINT, "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            (SERVICE, "centre"),
            (SAMPLER, "parentbased_traceidratio"),
            (SAMPLER_ARGUMENT, "0.25"),
            (DISABLED, "TRUE"),
        ]);
        let expected = [
            "telemetry.endpoint = \"http://collector:4318/v1/traces\" (OTEL_EXPORTER_OTLP_ENDPOINT)",
            "telemetry.headers = { env = \"OTEL_EXPORTER_OTLP_HEADERS\" } (OTEL_EXPORTER_OTLP_HEADERS)",
            "telemetry.timeout_seconds = 2.5 (OTEL_EXPORTER_OTLP_TIMEOUT)",
            "telemetry.service_name = \"centre\" (OTEL_SERVICE_NAME)",
            "telemetry.sample_ratio = 0.25 (OTEL_TRACES_SAMPLER_ARG)",
            "telemetry.parents = \"members\" (OTEL_TRACES_SAMPLER)",
            "telemetry.enabled = false (OTEL_SDK_DISABLED)",
        ];
        assert_eq!((settings, problems), (expected.map(str::to_owned).to_vec(), Vec::new()));
    }

    #[test]
    fn those_of_traces_go_before_those_of_all_signals() {
        let (settings, _) = read(&[
            (ENDPOINT, "http://all"),
            (TRACES_ENDPOINT, "http://traces/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
        ]);
        assert!(settings[0].contains("\"http://traces/x\""), "{settings:?}");
        assert!(settings[1].contains("OTLP_TRACES_HEADERS"), "{settings:?}");
    }

    #[test]
    fn what_is_empty_or_wrong_is_left_out() {
        assert_eq!(read(&[(ENDPOINT, " "), (SAMPLER, ""), (DISABLED, "no")]), (Vec::new(), Vec::new()));
        for (name, text) in [(SAMPLER, "jaeger_remote"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), (TIMEOUTS[0], "soon")]
        {
            let (settings, problems) = read(&[(name, text)]);
            assert!(
                settings.is_empty() && problems.len() == 1 && problems[0].contains(name),
                "{settings:?} {problems:?}"
            );
        }
        let (settings, problems) = read(&[(SAMPLER, "traceidratio"), (SAMPLER_ARGUMENT, "7")]);
        assert!(settings[0].starts_with("telemetry.sample_ratio = 1.0") && problems.len() == 1, "{settings:?}");
        assert!(settings[1].starts_with("telemetry.parents = \"nobody\""), "{settings:?}");
    }
}
