//! From one real answer to a pipeline file for a person to review. What the bytes show is filled in; what only the
//! provider's pages say (licence, citation) is left open, and `hambar check` asks for it.

mod outline;
mod paging;
mod portal;
mod sdmx;
mod survey;

use std::fmt::Write;

use hambar_core::{Ident, NameError, Redistribution, TableName};
use hambar_decode::spec::{ColumnRule, FormatKind, FormatSpec, Ragged};
use url::Url;

pub use outline::Outline;
pub use portal::{CkanAddress, ckan_address, ckan_listing, dataset_file, datastore, is_readable};
pub use sdmx::{SdmxQuery, query_of};
pub use survey::{Survey, SurveyRequest, survey, survey_in_child, survey_worker_main};

/// What a person has said about a dataset that is to be added.
#[derive(Debug, Clone)]
pub struct AddRequest {
    /// Where the data is.
    pub url: Url,
    /// The licence, if it was given.
    pub licence: Option<String>,
    /// Whether values may be passed on; forbidden until somebody has read the terms.
    pub redistribution: Option<Redistribution>,
    /// The publishing institution; the host until somebody says better.
    pub provider: Option<String>,
    /// The dataset's title; the address's last part until somebody says better.
    pub title: Option<String>,
}

/// How a dataset is to be asked for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conclusion {
    /// The lines of `[source]`, its sub-sections included.
    pub source: Vec<String>,
    /// What the provider says about the licence, for the person who fills it in.
    pub comment: Option<String>,
    /// What was concluded and from what, sentence by sentence.
    pub reasons: Vec<String>,
    /// What a person must know before trusting the file.
    pub warnings: Vec<String>,
}

/// Concludes from one answer what its address speaks: paged JSON or CSV, else a file. SDMX and CKAN are recognised
/// by their addresses before: see [`query_of`] and [`ckan_address`].
pub fn conclude(url: &Url, headers: &[(String, String)], survey: &Survey) -> Conclusion {
    let is_packed = survey.format.compression.is_some() || survey.format.archive.is_some();
    let kind = word(&survey.format.kind);
    let is_csv = matches!(survey.format.kind, FormatKind::Csv | FormatKind::Tsv);
    if let Some(outline) = survey.outline.as_ref().filter(|_| !is_packed) {
        let paging = paging::conclude(paging::Seen { url, headers, outline });
        if !paging.pagination.is_empty() || !paging.complete.is_empty() {
            let place = if outline.record_path.is_empty() { "at the top" } else { outline.record_path.as_str() };
            let mut reasons = vec![format!("the answer is JSON with {} records at `{place}`", outline.records)];
            reasons.extend(paging.reasons.clone());
            let source = paging::source_lines(&paging);
            return Conclusion { source, comment: None, reasons, warnings: paging.warnings };
        }
    } else if is_csv && !is_packed && paging::has_next_link(headers) {
        let pagination = vec!["style = \"link_header\"".to_owned()];
        let paging = paging::Paging { url: url.to_string(), pagination, ..paging::Paging::default() };
        let reasons = vec!["the answer is CSV, and the header `Link` names the next page (`rel=next`)".to_owned()];
        return Conclusion { source: paging::source_lines(&paging), reasons, ..Conclusion::default() };
    }
    Conclusion {
        source: vec!["kind = \"http_file\"".to_owned(), format!("url = {}", quoted(url.as_str()))],
        reasons: vec![format!(
            "the answer is one file of kind {kind}: nothing in it or its headers speaks of further pages"
        )],
        ..Conclusion::default()
    }
}

/// Makes a table name from an address: the host without `www.` and its last part, and the file's name without endings.
///
/// # Errors
/// Never for an address with a host; the error is that of a name that cannot be made.
pub fn table_name(url: &Url) -> Result<TableName, NameError> {
    let file = file_name(url);
    table_named(url, file.split('.').next().unwrap_or_default())
}

/// Makes a table name from an address's host and what the data is called there.
///
/// # Errors
/// As [`table_name`].
pub fn table_named(url: &Url, stem: &str) -> Result<TableName, NameError> {
    let host = url.host_str().unwrap_or("local");
    let labels: Vec<&str> = host.trim_start_matches("www.").split('.').collect();
    let namespace = match labels.as_slice() {
        [.., name, _] => *name,
        _ => host,
    };
    let stem = if stem.is_empty() { "data" } else { stem };
    let named = |text: &str| Ident::from_source(text).as_str().trim_start_matches('_').to_owned();
    let (namespace, table) = (named(namespace), named(stem));
    let led = |text: String, letter: &str| match text.chars().next() {
        Some(first) if !first.is_ascii_digit() => text,
        _ => format!("{letter}{text}"),
    };
    Ok(TableName { namespace: led(namespace, "n").parse()?, table: led(table, "t").parse()? })
}

/// Returns the last part of an address's path.
pub fn file_name(url: &Url) -> String {
    url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty())).unwrap_or_default().to_owned()
}

/// Writes the pipeline file.
pub fn pipeline_text(request: &AddRequest, survey: &Survey, conclusion: &Conclusion) -> String {
    let host = request.url.host_str().unwrap_or_default();
    let provider = request.provider.clone().unwrap_or_else(|| host.to_owned());
    let title = request.title.clone().unwrap_or_else(|| file_name(&request.url));
    let mut text = String::new();
    let mut line = |content: String| {
        let _ = writeln!(text, "{content}");
    };
    line(format!("# Made from one answer of {} with {} rows. Please review it:", request.url, survey.rows));
    line("#   - the licence, the citation and the title, which only the provider's pages say".to_owned());
    line("#   - the key: these columns were unique in this answer, which is no proof for the next".to_owned());
    line("#   - the types, which were inferred from every row of this answer".to_owned());
    if survey.faults > 0 {
        line(format!("#   - {} records could not be read and would be rejected", survey.faults));
    }
    line("version = 1\n".to_owned());
    for reason in &conclusion.reasons {
        line(format!("# {}", one_line(reason)));
    }
    for warning in &conclusion.warnings {
        line(format!("# Beware: {}", one_line(warning)));
    }
    line(format!("[source]\n{}\n", conclusion.source.join("\n")));
    line(format_section(&survey.format));
    for column in &survey.columns {
        line(column_section(column));
    }
    if !survey.nulls.values.is_empty() || survey.nulls.empty_text {
        line(format!("[nulls]\nvalues = {}\nempty_text = {}\n", list(&survey.nulls.values), survey.nulls.empty_text));
    }
    if let Some(unpivot) = &survey.unpivot {
        let (columns, name, value) = (quoted(&unpivot.columns), quoted(&unpivot.name), quoted(&unpivot.value));
        line(format!(
            "[unpivot]\ncolumns = {columns}\nname = {name}\nvalue = {value}\nskip_empty = {}\n",
            unpivot.skip_empty
        ));
    }
    line(key_comment(survey));
    line("# The address brings everything there is: rows that disappear from it were withdrawn.".to_owned());
    line(format!(
        "[write]\nmode = \"snapshot\"\nkey = {}\n",
        list(&survey.key.iter().map(free_name).collect::<Vec<_>>())
    ));
    line(format!("[origin]\nprovider = {}\ntitle = {}", quoted(&provider), quoted(&title)));
    line(format!("citation = {}", quoted(&format!("{provider}, {title}, {}", request.url))));
    if let Some(comment) = &conclusion.comment {
        line(format!("# {}", one_line(comment)));
    }
    match &request.licence {
        Some(licence) => line(format!("licence = {}", quoted(licence))),
        None => line(
            "# Read the provider's terms; `hambar check` fails until this is filled in.\nlicence = \"\"".to_owned(),
        ),
    }
    let redistribution = match request.redistribution {
        Some(Redistribution::Allowed) => "allowed",
        Some(Redistribution::Forbidden) | None => "forbidden",
    };
    line(format!("redistribution = \"{redistribution}\""));
    text
}

/// Says what was seen of the key.
fn key_comment(survey: &Survey) -> String {
    if survey.key.is_empty() {
        return format!(
            "# No first columns were unique together in {} rows: without a key, whole rows are compared.",
            survey.rows
        );
    }
    let key: Vec<String> = survey.key.iter().map(free_name).collect();
    format!(
        "# Unique together in all {} rows, and never missing where `required` says so: {}.",
        survey.rows,
        key.join(", ")
    )
}

/// A comment stays one line, whatever a provider wrote.
fn one_line(text: &str) -> String {
    text.split(char::is_control).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Declared names do not start with `_`, which is what made names of years do.
fn free_name(name: &Ident) -> String {
    let rest = name.as_str().trim_start_matches('_');
    match rest.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("y{rest}"),
        Some(_) => rest.to_owned(),
        None => "column".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// The word of an enum value, as it stands in the file.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(quoted)).unwrap_or_default()
}

fn format_section(format: &FormatSpec) -> String {
    let mut lines = vec!["[format]".to_owned(), format!("kind = {}", word(&format.kind))];
    let mut key = |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name} = {value}")));
    key("compression", format.compression.as_ref().map(word));
    key("archive", format.archive.as_ref().map(word));
    for (name, text) in [
        ("members", &format.members),
        ("encoding", &format.encoding),
        ("delimiter", &format.delimiter),
        ("quote", &format.quote),
        ("escape", &format.escape),
        ("comment", &format.comment),
        ("footer_pattern", &format.footer_pattern),
        ("thousands", &format.thousands),
        ("record_path", &format.record_path),
        ("sheet", &format.sheet),
    ] {
        key(name, text.as_deref().map(quoted));
    }
    key("decimal", format.decimal.map(|decimal| quoted(&decimal.to_string())));
    key("preamble_lines", (format.preamble_lines > 0).then(|| format.preamble_lines.to_string()));
    let is_text = matches!(format.kind, FormatKind::Csv | FormatKind::Tsv);
    key("header_lines", (is_text && format.header_lines != 1).then(|| format.header_lines.to_string()));
    key("footer_lines", (format.footer_lines > 0).then(|| format.footer_lines.to_string()));
    key("ragged", (format.ragged != Ragged::Reject).then(|| word(&format.ragged)));
    lines.push(String::new());
    lines.join("\n")
}

fn column_section(column: &ColumnRule) -> String {
    let name = free_name(&column.name);
    let mut lines = vec!["[[columns]]".to_owned(), format!("name = {}", quoted(&name))];
    let source = column.source.clone().or_else(|| (name != column.name.as_str()).then(|| column.name.to_string()));
    let mut key = |key: &str, value: Option<String>| lines.extend(value.map(|value| format!("{key} = {value}")));
    key("source", source.filter(|source| *source != name).as_deref().map(quoted));
    key("type", Some(quoted(&String::from(column.kind.clone()))));
    key("required", column.required.then(|| "true".to_owned()));
    key("format", column.format.as_deref().map(quoted));
    key("nulls", (!column.nulls.is_empty()).then(|| list(&column.nulls)));
    key("status", column.status.as_ref().map(|status| quoted(status.as_str())));
    lines.push(String::new());
    lines.join("\n")
}
