//! The forms of an answer, and which one a request asks for.

use http::{HeaderMap, header};

use super::problem::Problem;

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// One JSON object: columns, rows as objects, sources.
    Json,
    /// One JSON object a row, one line each.
    Ndjson,
    /// RFC 4180 with a header line; NULL is empty.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// Apache Parquet.
    Parquet,
    /// A workbook.
    Xlsx,
}

/// Each form with its ending and its media types; the first is the one that is sent.
const FORMS: [(Format, &str, &[&str]); 6] = [
    (Format::Json, "json", &["application/json", "text/json"]),
    (Format::Ndjson, "ndjson", &["application/x-ndjson", "application/ndjson", "application/jsonl"]),
    (Format::Csv, "csv", &["text/csv"]),
    (Format::Arrow, "arrow", &["application/vnd.apache.arrow.stream"]),
    (Format::Parquet, "parquet", &["application/vnd.apache.parquet", "application/x-parquet"]),
    (Format::Xlsx, "xlsx", &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"]),
];

impl Format {
    /// Returns the form's ending.
    pub(crate) fn ending(self) -> &'static str {
        FORMS.iter().find(|(format, _, _)| *format == self).map_or("", |(_, ending, _)| ending)
    }

    /// Returns the media type that is sent.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            _ => FORMS
                .iter()
                .find(|(format, _, _)| *format == self)
                .and_then(|(_, _, types)| types.first().copied())
                .unwrap_or_default(),
        }
    }

    /// Returns the form with this ending.
    pub(crate) fn from_ending(text: &str) -> Option<Self> {
        FORMS.iter().find(|(_, ending, _)| *ending == text).map(|(format, _, _)| *format)
    }

    /// Returns what a media type of an `Accept` header stands for.
    fn from_media_type(wanted: &str) -> Option<Self> {
        match wanted {
            "*/*" | "application/*" => Some(Self::Json),
            "text/*" => Some(Self::Csv),
            _ => FORMS.iter().find(|(_, _, types)| types.contains(&wanted)).map(|(format, _, _)| *format),
        }
    }

    /// Says whether browsers should save it instead of showing it.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::Csv | Self::Arrow | Self::Parquet | Self::Xlsx)
    }

    /// Chooses by name (`format=` or an ending), else by `Accept`, else JSON.
    pub(crate) fn choose(name: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(name) = name {
            return Self::from_ending(name).ok_or_else(|| {
                let known: Vec<&str> = FORMS.iter().map(|(_, ending, _)| *ending).collect();
                let name: String = name.chars().take(40).collect();
                Problem::bad_request(format!("there is no format `{name}`: use {}", known.join(", ")))
            });
        }
        let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::Json);
        };
        preferred(accept, Self::from_media_type).ok_or_else(|| {
            let types: Vec<&str> = FORMS.iter().filter_map(|(_, _, types)| types.first().copied()).collect();
            Problem::refused(http::StatusCode::NOT_ACCEPTABLE, "the answer has none of the forms that `Accept` names")
                .hint(format!("there are {}", types.join(", ")))
        })
    }
}

/// Returns the first of the best things that an `Accept` header names. `known` gives what a media type, in lower case,
/// stands for.
pub(crate) fn preferred<T>(accept: &str, known: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut best: Option<(f32, T)> = None;
    for part in accept.split(',') {
        let mut pieces = part.split(';').map(str::trim);
        let wanted = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let weight: f32 = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if weight > 0.0
            && best.as_ref().is_none_or(|(heaviest, _)| weight > *heaviest)
            && let Some(found) = known(&wanted)
        {
            best = Some((weight, found));
        }
    }
    best.map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_wins_then_accept_then_json() {
        let choose = |name: Option<&str>, accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            Format::choose(name, &headers).map(Format::ending).unwrap_or("none")
        };
        assert_eq!(choose(None, None), "json");
        assert_eq!(choose(Some("csv"), Some("application/json")), "csv");
        assert_eq!(choose(Some("exe"), None), "none");
        assert_eq!(choose(None, Some("*/*")), "json");
        assert_eq!(choose(None, Some("text/csv;q=0.5, application/vnd.apache.arrow.stream")), "arrow");
        assert_eq!(choose(None, Some("text/html, application/xhtml+xml")), "none");
        assert_eq!(choose(None, Some("text/html, */*;q=0.1")), "json");
        assert_eq!(choose(None, Some("application/json;q=0, text/csv;q=0.1")), "csv");
    }
}
