//! Addresses: what is asked for → a URL and an `Accept` header, by version and dialect. No I/O.

use std::collections::BTreeMap;

use url::Url;

use super::dialect::{DataFormat, Dialect, FlowPath, RestVersion};
use super::spec::{ArtefactSpec, SdmxSpec};
use crate::body::web_url;

/// The part of a dataflow that one query asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    /// The key as the pipeline gives it; `None` once it was taken apart.
    pub(super) key: Option<String>,
    /// Codes by dimension.
    pub(super) filters: BTreeMap<String, Vec<String>>,
    /// First and last period.
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    /// Only what changed since.
    pub(super) updated_after: Option<String>,
}

impl Part {
    /// Names it in an error: the dataflow, the codes, the periods.
    pub(super) fn text(&self, flow: &str) -> String {
        let codes = self.filters.iter().map(|(dimension, codes)| format!(", {dimension} {}", codes.join("+")));
        let period = |bound: &Option<String>| bound.clone().unwrap_or_default();
        format!("`{flow}{}, {}..{}`", codes.collect::<String>(), period(&self.start), period(&self.end))
    }
}

/// Where a source's queries go.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) endpoint: String,
    pub(super) rest: RestVersion,
    pub(super) dialect: Dialect,
    pub(super) flow: ArtefactSpec,
}

impl Service {
    /// Takes the settings together; the spec has been validated.
    pub(super) fn new(spec: &SdmxSpec, dialect: &Dialect) -> Result<Self, String> {
        let endpoint = spec.endpoint.as_ref().or(dialect.endpoint.as_ref()).ok_or("no endpoint")?;
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            rest: spec.version.unwrap_or(dialect.rest),
            dialect: dialect.clone(),
            flow: spec.flow.clone(),
        })
    }

    /// Names the dataflow in an error, as far as the pipeline names it: `AGENCY:ID(VERSION)`.
    pub(super) fn flow_name(&self) -> String {
        let agency = self.flow.agency.as_ref().or(self.dialect.agency.as_ref());
        let agency = agency.map_or_else(String::new, |agency| format!("{agency}:"));
        let version = self.flow.version.as_ref().map_or_else(String::new, |version| format!("({version})"));
        format!("{agency}{}{version}", self.flow.id)
    }

    /// Returns the address of data. `dimensions` gives the order of the key's parts; without it, `filters` must be
    /// empty in 2.1.
    pub(super) fn data_url(&self, part: &Part, format: DataFormat, dimensions: &[String]) -> Result<Url, String> {
        let key = self.key(part, dimensions)?;
        let mut path = match self.rest {
            RestVersion::V21 => format!("{}/data/{}/{key}", self.endpoint, self.flow_21()),
            RestVersion::V30 => format!("{}/data/dataflow/{}/{key}", self.endpoint, self.flow_30()),
        };
        if key.is_empty() {
            path.pop();
        }
        let mut parameters: Vec<String> = self.dialect.data_parameters.clone();
        self.add_selection(part, &mut parameters);
        if let Some(instant) = &part.updated_after {
            parameters.push(format!("updatedAfter={}", encode(instant)));
        }
        if let Some(name) = self.dialect.format_parameters.get(&format) {
            parameters.push(format!("format={}", encode(name)));
        }
        self.url(&path, &parameters)
    }

    /// Returns the address of the codes that there are data for.
    pub(super) fn availability_url(&self, part: &Part, dimensions: &[String]) -> Result<Url, String> {
        let key = match self.key(part, dimensions)? {
            empty if empty.is_empty() => self.dialect.all_keyword.clone(),
            key => key,
        };
        let path = match self.rest {
            RestVersion::V21 => format!("{}/availableconstraint/{}/{key}/all/all", self.endpoint, self.flow_21()),
            RestVersion::V30 => format!("{}/availability/dataflow/{}/{key}/*", self.endpoint, self.flow_30()),
        };
        let mut parameters = Vec::new();
        self.add_selection(part, &mut parameters);
        parameters.push("mode=available".to_owned());
        self.url(&path, &parameters)
    }

    /// Returns the address of a structure.
    pub(super) fn structure_url(
        &self,
        resource: &str,
        artefact: &ArtefactSpec,
        references: Option<&str>,
    ) -> Result<Url, String> {
        let agency = artefact.agency.as_ref().or(self.dialect.agency.as_ref()).unwrap_or(&self.dialect.agency_all);
        let (latest, prefix) = match self.rest {
            RestVersion::V21 => ("latest", ""),
            RestVersion::V30 => ("+", "structure/"),
        };
        let version = artefact.version.as_deref().unwrap_or(latest);
        let path = format!("{}/{prefix}{resource}/{agency}/{}/{version}", self.endpoint, artefact.id);
        let parameters: Vec<String> = references.map(|value| format!("references={value}")).into_iter().collect();
        self.url(&path, &parameters)
    }

    /// Takes a key apart into codes by dimension.
    pub(super) fn take_apart(&self, part: &Part, dimensions: &[String]) -> Result<Part, String> {
        let Some(key) = &part.key else { return Ok(part.clone()) };
        let mut whole = Part { key: None, ..part.clone() };
        if *key == self.dialect.all_keyword || key == "*" {
            return Ok(whole);
        }
        let parts: Vec<&str> = key.split('.').collect();
        if parts.len() != dimensions.len() {
            let names = dimensions.join(".");
            return Err(format!("the key `{key}` has {} parts, the dataflow has {names}", parts.len()));
        }
        for (dimension, codes) in dimensions.iter().zip(parts).filter(|(_, codes)| !matches!(*codes, "" | "*")) {
            whole.filters.insert(dimension.clone(), codes.split('+').map(str::to_owned).collect());
        }
        Ok(whole)
    }

    fn key(&self, part: &Part, dimensions: &[String]) -> Result<String, String> {
        if let Some(key) = &part.key {
            return Ok(key.clone());
        }
        if self.rest == RestVersion::V30 {
            return Ok("*".to_owned());
        }
        if part.filters.is_empty() {
            return Ok(self.dialect.all_keyword.clone());
        }
        if let Some(unknown) = part.filters.keys().find(|name| !dimensions.contains(name)) {
            return Err(format!("`{unknown}` is not a dimension; they are {}", dimensions.join(", ")));
        }
        let each = dimensions.iter().map(|dimension| {
            let codes = part.filters.get(dimension).into_iter().flatten();
            codes.map(|code| encode(code)).collect::<Vec<_>>().join("+")
        });
        Ok(each.collect::<Vec<_>>().join("."))
    }

    fn add_selection(&self, part: &Part, parameters: &mut Vec<String>) {
        match self.rest {
            RestVersion::V21 => {
                parameters.extend(part.start.iter().map(|period| format!("startPeriod={}", encode(period))));
                parameters.extend(part.end.iter().map(|period| format!("endPeriod={}", encode(period))));
            }
            RestVersion::V30 => {
                for (dimension, codes) in &part.filters {
                    let codes: Vec<String> = codes.iter().map(|code| encode(code)).collect();
                    parameters.push(format!("c%5B{}%5D={}", encode(dimension), codes.join(",")));
                }
                let start = part.start.iter().map(|period| format!("ge%3A{}", encode(period)));
                let bounds = start.chain(part.end.iter().map(|period| format!("le%3A{}", encode(period))));
                let bounds: Vec<String> = bounds.collect();
                if !bounds.is_empty() {
                    parameters.push(format!("c%5BTIME_PERIOD%5D={}", bounds.join("%2B")));
                }
            }
        }
    }

    fn flow_21(&self) -> String {
        let agency = self.flow.agency.as_ref().or(self.dialect.agency.as_ref());
        match (self.dialect.flow_path, agency, &self.flow.version) {
            (FlowPath::Id, _, _) | (FlowPath::Full, None, None) => self.flow.id.clone(),
            (FlowPath::Full, Some(agency), None) => format!("{agency},{}", self.flow.id),
            (FlowPath::Full, agency, Some(version)) => {
                format!("{},{},{version}", agency.map_or("all", String::as_str), self.flow.id)
            }
        }
    }

    fn flow_30(&self) -> String {
        let agency = self.flow.agency.as_ref().or(self.dialect.agency.as_ref()).map_or("*", String::as_str);
        format!("{agency}/{}/{}", self.flow.id, self.flow.version.as_deref().unwrap_or("+"))
    }

    fn url(&self, path: &str, parameters: &[String]) -> Result<Url, String> {
        let slash = if self.dialect.trailing_slash { "/" } else { "" };
        let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
        web_url(&format!("{path}{slash}{query}"))
    }
}

/// Writes a text into a path or query: everything but letters, digits and `-_.~@$*` is escaped.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~@$*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
