//! From a pipeline file's text to a [`Pipeline`]: shape first, then what the shape cannot say. Every check reports and
//! goes on, so that one look shows everything that is wrong.

use std::path::Path;
use std::sync::LazyLock;

use hambar_connect::SourceSpec;
use hambar_core::{Licence, Origin, TableName, TableSpec, WriteMode};
use hambar_decode::spec::{ColumnRule, DecodeJob, DecodeLimits, FormatKind, FormatSpec, NullSpec, UnpivotSpec};
use hambar_decode::table_columns;
use serde::de::DeserializeOwned;

use super::columns::{Role, check_references, read_columns};
use super::licence::licence_problem;
use super::problem::{Problem, Problems};
use super::shape::check_shape;
use super::tree::{Node, NodeValue};
use super::{OriginSpec, Retention, ScheduleSpec, WriteSpec, json_schema, schedule};
use crate::pipeline::Pipeline;
use crate::retention::RETENTION_DAYS_MIN;
use crate::schedule::Schedule;

/// The version of the spec that this program reads.
const VERSION: i64 = 1;

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(json_schema);

/// Checks the text of a pipeline file; `file` is only named in problems.
///
/// # Errors
/// Everything that is wrong, in the order of the places.
pub fn parse(file: &Path, name: TableName, text: &str) -> Result<Pipeline, Vec<Problem>> {
    let mut problems = Problems::new(file, text);
    let root = match Node::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            problems.add(&span, format!("not TOML: {}", error.message().trim()), None);
            return Err(problems.into_sorted());
        }
    };
    check_version(&root, &mut problems);
    check_shape(&root, &SCHEMA, &mut problems);
    let sections = Sections::read(&root, &mut problems);
    sections.check(&root, &mut problems);
    let schedule = sections.schedule.as_ref().and_then(|spec| match schedule::check(spec) {
        Ok(schedule) => Some(schedule),
        Err(found) => {
            for (path, what, help) in found {
                problems.add(&root.span_at(path), what, help);
            }
            None
        }
    });
    if problems.is_empty()
        && let Some(pipeline) = sections.into_pipeline(file, name, schedule)
    {
        return Ok(pipeline);
    }
    if problems.is_empty() {
        problems.add(&root.span, "a section is missing", None);
    }
    Err(problems.into_sorted())
}

fn check_version(root: &Node, problems: &mut Problems<'_>) {
    if let Some(Node { value: NodeValue::Integer(version), span }) = root.find("version")
        && *version != VERSION
    {
        let help = format!("this program reads version {VERSION}");
        problems.add(span, format!("version {version} of the pipeline file is not known"), Some(help));
    }
}

/// The sections that could be read; those that could not have been reported.
struct Sections {
    description: Option<String>,
    contact: Option<String>,
    ignore: Vec<String>,
    source: Option<SourceSpec>,
    format: Option<FormatSpec>,
    columns: Vec<ColumnRule>,
    nulls: NullSpec,
    unpivot: Option<UnpivotSpec>,
    write: Option<WriteSpec>,
    schedule: Option<ScheduleSpec>,
    retention: Retention,
    origin: Option<OriginSpec>,
}

impl Sections {
    fn read(root: &Node, problems: &mut Problems<'_>) -> Self {
        let columns = read_columns(root, problems);
        Self {
            description: section(root, "description", problems),
            contact: section(root, "contact", problems),
            ignore: section(root, "ignore", problems).unwrap_or_default(),
            source: section(root, "source", problems),
            format: section(root, "format", problems),
            columns,
            nulls: section(root, "nulls", problems).unwrap_or_default(),
            unpivot: section(root, "unpivot", problems),
            write: section(root, "write", problems),
            schedule: section(root, "schedule", problems),
            retention: section(root, "retention", problems).unwrap_or_default(),
            origin: section(root, "origin", problems),
        }
    }

    fn check(&self, root: &Node, problems: &mut Problems<'_>) {
        let columns = table_columns(&self.columns);
        check_references(root, Role::Key, &columns, problems);
        check_references(root, Role::Partition, &columns, problems);
        for (path, what) in self.source.iter().flat_map(SourceSpec::validate) {
            problems.add(&root.span_at(&path), what, None);
        }
        if let Some(write) = &self.write
            && write.mode == WriteMode::Upsert
            && write.key.is_empty()
        {
            let help = "name the columns that identify a row in `write.key`, or use mode `snapshot` or `append`";
            problems.add(&root.span_at("write.mode"), "mode `upsert` needs a key", Some(help.to_owned()));
        }
        if let Some(format) = &self.format {
            check_format(format, root, problems);
        }
        if let Some(unpivot) = &self.unpivot {
            check_pattern(&unpivot.columns, "unpivot.columns", root, problems);
            self.check_taken(&unpivot.name, "unpivot.name", root, problems);
            self.check_taken(&unpivot.value, "unpivot.value", root, problems);
        }
        if let Some(origin) = &self.origin {
            check_origin(origin, root, problems);
        }
        check_retention(&self.retention, root, problems);
        if let Some(contact) = &self.contact
            && !is_contact(contact)
        {
            let what = format!("`{contact}` is neither an e-mail address nor a web page");
            problems.add(&root.span_at("contact"), what, Some("for instance `data@example.org`".to_owned()));
        }
    }

    /// What `[unpivot]` makes must feed a column.
    fn check_taken(&self, made: &str, path: &str, root: &Node, problems: &mut Problems<'_>) {
        let is_taken = self.columns.iter().any(|rule| match &rule.source {
            Some(source) => source == made,
            None => rule.name == hambar_core::Ident::from_source(made),
        });
        if !is_taken && !self.columns.is_empty() {
            let what = format!("no column takes `{made}`, which `{path}` makes");
            problems.add(&root.span_at(path), what, Some(format!("add a column with `source = \"{made}\"`")));
        }
    }

    fn into_pipeline(self, file: &Path, name: TableName, schedule: Option<Schedule>) -> Option<Pipeline> {
        let (write, origin) = (self.write?, self.origin?);
        let table = TableSpec {
            name: name.clone(),
            columns: table_columns(&self.columns),
            key: write.key,
            partition_by: write.partition_by,
            write: write.mode,
            on_drift: write.on_drift,
            origin: Origin {
                provider: origin.provider,
                title: origin.title,
                citation: origin.citation,
                landing_page: origin.landing_page,
                licence: Licence { spdx: origin.licence, redistribution: origin.redistribution },
            },
            description: self.description,
        };
        let job = DecodeJob {
            format: self.format?,
            columns: self.columns,
            nulls: self.nulls,
            unpivot: self.unpivot,
            on_drift: write.on_drift,
            ignore: self.ignore,
            constants: std::collections::BTreeMap::new(),
            limits: DecodeLimits { rejects_max: write.rejects_max, ..DecodeLimits::default() },
        };
        Some(Pipeline {
            name,
            file: file.to_owned(),
            table,
            job,
            source: self.source?,
            allow_empty: write.allow_empty,
            schedule,
            retention: self.retention,
            contact: self.contact,
        })
    }
}

fn check_retention(retention: &Retention, root: &Node, problems: &mut Problems<'_>) {
    for (key, days) in [
        ("version_days", retention.version_days),
        ("history_days", retention.history_days),
        ("raw_days", retention.raw_days),
    ] {
        if let Some(days) = days.filter(|days| *days < RETENTION_DAYS_MIN) {
            let what = format!(
                "`{key}` of {days} is too short: readers may hold what is removed for {RETENTION_DAYS_MIN} days"
            );
            problems.add(
                &root.span_at(&format!("retention.{key}")),
                what,
                Some(format!("at least {RETENTION_DAYS_MIN}")),
            );
        }
    }
}

/// Reads one section. A section that the shape check has reported is passed over in silence.
fn section<T: DeserializeOwned>(root: &Node, key: &str, problems: &mut Problems<'_>) -> Option<T> {
    let node = root.find(key)?;
    match T::deserialize(node.to_toml()) {
        Ok(value) => Some(value),
        Err(error) => {
            let span = name_at_fault(node).map_or_else(|| node.span.clone(), |wrong| wrong.span.clone());
            if problems.is_empty() {
                problems.add(&span, format!("`{key}`: {}", error.message().trim()), None);
            }
            None
        }
    }
}

/// The names in `write.key` and `write.partition_by` are the only texts with a form that the schema does not say.
fn name_at_fault(section: &Node) -> Option<&Node> {
    let names = ["key", "partition_by"].into_iter().filter_map(|key| section.find(key)).flat_map(Node::items);
    names.into_iter().find(|item| match &item.value {
        NodeValue::Text(name) => name.parse::<hambar_core::Ident>().is_err(),
        _ => false,
    })
}

fn check_format(format: &FormatSpec, root: &Node, problems: &mut Problems<'_>) {
    if let Some(label) = &format.encoding
        && encoding_rs::Encoding::for_label(label.as_bytes()).is_none()
    {
        let help = "use a WHATWG label: utf-8, utf-16le, windows-1252, iso-8859-1, windows-1251, gb18030 …";
        let what = format!("`{label}` is not a character encoding");
        problems.add(&root.span_at("format.encoding"), what, Some(help.to_owned()));
    }
    if format.delimiter.as_deref() == Some("") {
        problems.add(&root.span_at("format.delimiter"), "`format.delimiter` is empty", None);
    }
    for (path, text) in [("format.quote", &format.quote), ("format.escape", &format.escape)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > 1) {
            problems.add(&root.span_at(path), format!("`{path}` must be one character"), None);
        }
    }
    if let Some(pattern) = &format.footer_pattern {
        check_pattern(pattern, "format.footer_pattern", root, problems);
    }
    if format.kind == FormatKind::FixedWidth && format.fixed.is_empty() {
        let help = "list them: `fixed = [{ name = \"year\", start = 1, width = 4 }]`".to_owned();
        problems.add(&root.span_at("format.kind"), "a fixed-width file needs the places of its columns", Some(help));
    }
    let names = format.decimal.filter(|decimal| format.thousands.as_ref().is_some_and(|all| all.contains(*decimal)));
    if let Some(decimal) = names {
        let what = format!("`{decimal}` is both the decimal sign and a thousands separator");
        problems.add(&root.span_at("format.thousands"), what, None);
    }
    if let Some(path) = &format.record_path
        && !path.is_empty()
        && !path.starts_with('/')
    {
        let help = Some(format!("write `/{}`", path.replace('.', "/")));
        problems.add(&root.span_at("format.record_path"), "a JSON Pointer starts with `/`", help);
    }
}

fn check_pattern(pattern: &str, path: &str, root: &Node, problems: &mut Problems<'_>) {
    if let Err(error) = regex::Regex::new(pattern) {
        let reason = error.to_string();
        let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        problems.add(&root.span_at(path), format!("`{path}` is not a regular expression: {last}"), None);
    }
}

fn check_origin(origin: &OriginSpec, root: &Node, problems: &mut Problems<'_>) {
    if let Some((what, help)) = licence_problem(&origin.licence) {
        problems.add(&root.span_at("origin.licence"), what, Some(help));
    }
    for (path, text) in
        [("origin.provider", &origin.provider), ("origin.title", &origin.title), ("origin.citation", &origin.citation)]
    {
        if text.trim().is_empty() {
            problems.add(&root.span_at(path), format!("`{path}` is empty"), None);
        }
    }
    if let Some(page) = &origin.landing_page
        && !is_web_page(page)
    {
        let what = format!("`{page}` is not the address of a web page");
        let help = "for instance `https://data.example.org/gdp`".to_owned();
        problems.add(&root.span_at("origin.landing_page"), what, Some(help));
    }
}

fn is_web_page(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_contact(text: &str) -> bool {
    let is_mail = text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !text.contains(char::is_whitespace) && !host.contains('@')
    });
    is_mail || is_web_page(text)
}
