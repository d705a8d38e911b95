//! The address of an SDMX data query, taken apart: service, dialect, dataflow, key and periods. Pure.

use hambar_connect::sdmx::{Dialects, RestVersion};
use hambar_decode::spec::FormatKind;
use url::Url;

use super::{Conclusion, list, quoted};

/// A data query as its address says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SdmxQuery {
    /// The dialect whose service this is.
    dialect: Option<String>,
    endpoint: String,
    is_v30: bool,
    agency: Option<String>,
    flow: String,
    version: Option<String>,
    key: Option<String>,
    filters: Vec<(String, Vec<String>)>,
    start: Option<String>,
    end: Option<String>,
    /// Parameters that the connector sets itself or that a pipeline has no key for.
    left_out: Vec<String>,
}

/// Takes an address apart. `None`: it is no SDMX data query.
pub fn query_of(url: &Url, dialects: &Dialects) -> Option<SdmxQuery> {
    let plain = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let known = dialects.ids().find_map(|id| {
        let dialect = dialects.get(Some(id))?;
        let endpoint = dialect.endpoint.as_deref()?;
        let rest = plain.strip_prefix(endpoint)?.strip_prefix("/data/")?;
        Some((Some(id.to_owned()), endpoint.to_owned(), rest.to_owned(), dialect.rest))
    });
    let (dialect, endpoint, rest, version) = known.or_else(|| {
        let (before, rest) = plain.rsplit_once("/data/")?;
        let is_v30 = rest.starts_with("dataflow/") && rest.matches('/').count() >= 3;
        let version = if is_v30 { RestVersion::V30 } else { RestVersion::V21 };
        Some((None, before.to_owned(), rest.to_owned(), version))
    })?;
    let decoded = |text: &str| percent_decoded(text);
    let mut query = SdmxQuery { dialect, endpoint, is_v30: version == RestVersion::V30, ..SdmxQuery::default() };
    let parts: Vec<String> = rest.trim_end_matches('/').split('/').map(decoded).collect();
    let given = |text: &str, words: &[&str]| Some(text.to_owned()).filter(|text| !words.contains(&text.as_str()));
    let key = match (query.is_v30, parts.as_slice()) {
        (true, [kind, agency, flow, version, key @ ..]) if kind == "dataflow" && key.len() <= 1 => {
            query.agency = given(agency, &["*", "all", ""]);
            query.flow.clone_from(flow);
            query.version = given(version, &["+", "*", "latest", ""]);
            key.first()
        }
        (false, [flow, key @ ..]) if key.len() <= 2 => {
            // `AGENCY,ID,VERSION`, `AGENCY,ID` or `ID`.
            let names: Vec<&str> = flow.split(',').collect();
            match names.as_slice() {
                [flow] => query.flow = (*flow).to_owned(),
                [agency, flow, version @ ..] => {
                    query.agency = given(agency, &["all", ""]);
                    query.flow = (*flow).to_owned();
                    query.version = version.first().and_then(|version| given(version, &["latest", ""]));
                }
                [] => return None,
            }
            key.first()
        }
        _ => return None,
    };
    query.key = key.and_then(|key| given(key, &["all", "*", "ALL", ""]));
    if query.flow.is_empty() {
        return None;
    }
    query.take_parameters(url);
    Some(query)
}

impl SdmxQuery {
    fn take_parameters(&mut self, url: &Url) {
        for (name, value) in url.query_pairs() {
            let dimension = name.strip_prefix("c[").and_then(|name| name.strip_suffix(']'));
            match (name.as_ref(), dimension) {
                ("startPeriod", _) => self.start = Some(value.into()),
                ("endPeriod", _) => self.end = Some(value.into()),
                (_, Some("TIME_PERIOD")) => {
                    for bound in value.split(['+', ' ']) {
                        match bound.split_once(':') {
                            Some(("ge", period)) => self.start = Some(period.to_owned()),
                            Some(("le", period)) => self.end = Some(period.to_owned()),
                            _ => self.left_out.push(format!("{name}={bound}")),
                        }
                    }
                }
                (_, Some(dimension)) => {
                    self.filters.push((dimension.to_owned(), value.split(',').map(str::to_owned).collect()));
                }
                ("format" | "compressed" | "compress", _) => {}
                ("dimensionAtObservation" | "attributes" | "measures" | "detail" | "lang", _) => {}
                _ => self.left_out.push(format!("{name}={value}")),
            }
        }
    }

    /// Writes it down as a source; `kind` is what the answer was.
    pub fn conclude(&self, kind: FormatKind) -> Conclusion {
        let mut lines = vec!["kind = \"sdmx\"".to_owned()];
        match &self.dialect {
            Some(dialect) => lines.push(format!("dialect = {}", quoted(dialect))),
            None => {
                lines.push(format!("endpoint = {}", quoted(&self.endpoint)));
                lines.extend(self.is_v30.then(|| "version = \"3.0\"".to_owned()));
                // A service that nobody described is asked for what it is known to give.
                let format = match kind {
                    FormatKind::SdmxJson => "json",
                    FormatKind::SdmxCsv => "csv",
                    _ => "ml",
                };
                lines.push(format!("format = \"{format}\""));
            }
        }
        let mut flow = Vec::new();
        flow.extend(self.agency.iter().map(|agency| format!("agency = {}", quoted(agency))));
        flow.push(format!("id = {}", quoted(&self.flow)));
        flow.extend(self.version.iter().map(|version| format!("version = {}", quoted(version))));
        lines.push(format!("flow = {{ {} }}", flow.join(", ")));
        lines.extend(self.key.iter().filter(|_| self.filters.is_empty()).map(|key| format!("key = {}", quoted(key))));
        lines.extend(self.start.iter().map(|period| format!("start_period = {}", quoted(period))));
        lines.extend(self.end.iter().map(|period| format!("end_period = {}", quoted(period))));
        if !self.filters.is_empty() {
            lines.push("\n[source.filters]".to_owned());
            lines.extend(self.filters.iter().map(|(name, codes)| format!("{} = {}", quoted(name), list(codes))));
        }
        let rest = if self.is_v30 { "3.0" } else { "2.1" };
        let service = match &self.dialect {
            Some(dialect) => format!("the service of the dialect `{dialect}`"),
            None => format!("the service at {}, which no dialect describes", self.endpoint),
        };
        let mut reasons = vec![
            format!("the answer is {}", super::word(&kind).trim_matches('"')),
            format!("the address is an SDMX {rest} data query to {service}, dataflow `{}`", self.flow),
        ];
        reasons.push(match &self.key {
            Some(key) => format!("its key is `{key}`"),
            None => "it asks for all series".to_owned(),
        });
        let warnings = match self.left_out.is_empty() {
            true => Vec::new(),
            false => vec![format!("these parameters are not taken over: {}", self.left_out.join(", "))],
        };
        Conclusion { source: lines, comment: None, reasons, warnings }
    }

    /// Returns a name for the table.
    pub fn table_stem(&self) -> &str {
        &self.flow
    }
}

fn percent_decoded(text: &str) -> String {
    // A form decoder would take `+` for a space, and keys are full of it.
    let escaped = text.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, kind: FormatKind, expected: Option<&[&str]>) {
        let found = query_of(&url.parse().unwrap(), &Dialects::embedded());
        let lines = found.map(|query| query.conclude(kind).source);
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(lines, expected, "{url}");
    }

    #[test]
    fn data_queries_are_taken_apart() {
        check(
            "https://data-api.ecb.europa.eu/service/data/EXR/M.USD+GBP.EUR.SP00.A?startPeriod=2020&detail=full",
            FormatKind::SdmxMl,
            Some(&[
                "kind = \"sdmx\"",
                "dialect = \"ecb\"",
                "flow = { id = \"EXR\" }",
                "key = \"M.USD+GBP.EUR.SP00.A\"",
                "start_period = \"2020\"",
            ]),
        );
        check(
            "https://sdmx.oecd.org/public/rest/data/OECD.SDD.NAD,DSD_NAAG@DF_NAAG,1.0/all?format=csvfile",
            FormatKind::SdmxCsv,
            Some(&[
                "kind = \"sdmx\"",
                "dialect = \"oecd\"",
                "flow = { agency = \"OECD.SDD.NAD\", id = \"DSD_NAAG@DF_NAAG\", version = \"1.0\" }",
            ]),
        );
        check(
            "https://api.imf.org/external/sdmx/3.0/data/dataflow/IMF.STA/GFS_SOO/+/*.S13?c%5BTIME_PERIOD%5D=ge:2000%2Ble:2010",
            FormatKind::SdmxJson,
            Some(&[
                "kind = \"sdmx\"",
                "dialect = \"imf\"",
                "flow = { agency = \"IMF.STA\", id = \"GFS_SOO\" }",
                "key = \"*.S13\"",
                "start_period = \"2000\"",
                "end_period = \"2010\"",
            ]),
        );
        check(
            "https://example.org/ws/rest/data/F1/A.B",
            FormatKind::SdmxJson,
            Some(&[
                "kind = \"sdmx\"",
                "endpoint = \"https://example.org/ws/rest\"",
                "format = \"json\"",
                "flow = { id = \"F1\" }",
                "key = \"A.B\"",
            ]),
        );
        check("https://example.org/files/x.csv", FormatKind::SdmxCsv, None);
        check("https://example.org/data/", FormatKind::SdmxCsv, None);
        check("https://example.org/data/a/b/c/d", FormatKind::SdmxCsv, None);
    }

    #[test]
    fn what_is_not_taken_over_is_told() {
        let url = "https://data-api.ecb.europa.eu/service/data/EXR/all?lastNObservations=1".parse().unwrap();
        let found = query_of(&url, &Dialects::embedded()).unwrap().conclude(FormatKind::SdmxCsv);
        assert_eq!(found.warnings, ["these parameters are not taken over: lastNObservations=1"]);
        assert!(found.reasons.contains(&"it asks for all series".to_owned()));
    }
}
