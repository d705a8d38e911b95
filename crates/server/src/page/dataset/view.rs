//! The page of a dataset, section by section.

use hambar_core::citation::CitationForm;
use jiff::Timestamp;
use maud::{Markup, html};

use super::facts::{VERSIONS_MAX, citation};
use super::profile::{self, ColumnProfile, State};
use super::snippets::{Proof, snippets};
use super::{ColumnInfo, Subject, picture};
use crate::catalogue::Dataset;
use crate::cite::Base;
use crate::front::TableFreshness;
use crate::page::cells;
use crate::page::looks::{Looks, address};
use crate::page::numbers;
use crate::page::search::details::CodeList;
use crate::page::shell::links;
use crate::page::texts::{Texts, filled};
use crate::page::visitor::Visitor;

/// Codes of one column that a page lists.
const CODES_SHOWN_MAX: usize = 200;
/// The forms in which all rows can be had.
const FORMATS: [&str; 5] = ["csv", "xlsx", "parquet", "ndjson", "arrow"];
/// The forms of a citation for reference managers, with their endings.
const CITATION_FILES: [(&str, &str); 4] =
    [("BibTeX", "bib"), ("RIS", "ris"), ("CSL-JSON", "csl.json"), ("DataCite", "datacite.json")];
/// What describes a dataset to programs.
const DESCRIPTIONS: [(&str, &str); 4] = [
    ("schema.org", "schema-org.json"),
    ("Croissant", "croissant.json"),
    ("CSV on the Web", "data.csv-metadata.json"),
    ("Frictionless", "datapackage.json"),
];

/// Returns what stands in the middle of the page.
pub(super) fn content(visitor: &Visitor, subject: &Subject<'_>, base: &Base, now: Timestamp) -> Markup {
    let (looks, t) = (&visitor.looks, visitor.looks.texts());
    let dataset = subject.dataset();
    let title = subject.entry.map_or_else(|| subject.table.to_string(), |entry| entry.title());
    html! {
        article.dataset {
            h1 { (title) }
            p.meta {
                code { (subject.table) }
                @if let Some(licence) = dataset.and_then(|dataset| dataset.licence.as_ref()) { " " span.chip { (licence) } }
            }
            @if let Some(description) = dataset.and_then(|dataset| dataset.description.as_ref()) {
                p.description { (description) }
            }
            @if subject.is_restricted { p.note { (t.restricted) } }
            (cards(looks, subject))
            p.actions {
                a href=(address("/sql", &[("q", &format!("SELECT * FROM {} LIMIT 100", subject.table))])) {
                    (t.open_in_sql)
                }
                @for format in FORMATS {
                    " · "
                    a href=(download(subject, format)) download { (t.download) " " (format.to_uppercase()) }
                }
                " · " a href=(format!("/tables/{}/vintages", subject.table)) { (t.vintages) }
            }
            (picture::pictures(looks, subject, &title))
            (columns(looks, subject))
            (profiled(looks, subject))
            (sample(looks, subject))
            (origin(looks, dataset))
            (versions(looks, subject))
            (cited(looks, subject, base, now))
            (used(visitor, subject))
        }
    }
}

impl Subject<'_> {
    pub(super) fn dataset(&self) -> Option<&Dataset> {
        self.dataset.as_ref()
    }
}

fn download(subject: &Subject<'_>, format: &str) -> String {
    address(&format!("/api/sql.{format}"), &[("q", &format!("SELECT * FROM {}", subject.source()))])
}

fn cards(looks: &Looks, subject: &Subject<'_>) -> Markup {
    let (t, language) = (looks.texts(), looks.language);
    let fresh = subject.entry.map(|entry| &entry.freshness);
    html! {
        dl.cards {
            @if let Some(changed_at) = fresh.and_then(|fresh| fresh.changed_at) {
                div.card { dt { (t.changed) } dd { (numbers::instant(changed_at)) } }
            }
            @if let Some(verified_at) = fresh.and_then(|fresh| fresh.verified_at) {
                div.card { dt { (t.verified) } dd { (numbers::instant(verified_at)) } }
            }
            @if let Some(failed_at) = fresh.filter(|fresh| fresh.has_failed()).and_then(|fresh| fresh.failed_at) {
                div.card.warning { dt { (t.failed) } dd { (numbers::instant(failed_at)) } }
            }
            (expected(t, &subject.expected))
            @if let Some(rows) = subject.facts.rows {
                div.card { dt { (t.rows) } dd { (numbers::count(language, rows)) } }
            }
            @if let Some(bytes) = subject.facts.bytes {
                div.card { dt { (t.size) } dd { (numbers::bytes(language, bytes)) } }
            }
            @if let Some(version) = subject.version {
                div.card { dt { (t.version) } dd { (version) } }
            }
        }
    }
}

/// What the schedule of a table promises, and whether it is kept.
fn expected(t: &Texts, fresh: &TableFreshness) -> Markup {
    html! {
        @if let Some(due_at) = fresh.due_at {
            div.card { dt { (t.due) } dd { (numbers::instant(due_at)) } }
        }
        @if let Some(since) = fresh.overdue_since {
            div.card.warning { dt { (t.overdue) } dd { (numbers::instant(since)) } }
        }
    }
}

fn columns(looks: &Looks, subject: &Subject<'_>) -> Markup {
    let t = looks.texts();
    let key = subject.dataset().map(|dataset| dataset.key.as_slice()).unwrap_or_default();
    html! {
        section #columns {
            h2 { (t.columns) }
            div.scroll tabindex="0" role="region" aria-label=(t.columns) {
                table {
                    thead { tr {
                        th scope="col" { (t.column) } th scope="col" { (t.kind) }
                        th scope="col" { (t.unit) } th scope="col" { (t.meaning) }
                    } }
                    tbody {
                        @for column in &subject.columns {
                            tr {
                                th scope="row" {
                                    code { (column.name) }
                                    @if key.contains(&column.name) { " " span.chip { (t.key) } }
                                }
                                td { code { (kind(column)) } }
                                td { @if let Some(unit) = &column.unit { (unit) } }
                                td { (meaning(looks, column, &subject.code_lists)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The type as pipeline files write it.
fn kind(column: &ColumnInfo) -> String {
    let named = hambar_core::ColumnType::from_arrow(&column.kind);
    named.map_or_else(|| column.kind.to_string(), |named| named.to_string())
}

fn meaning(looks: &Looks, column: &ColumnInfo, lists: &[CodeList]) -> Markup {
    let t = looks.texts();
    let list = lists.iter().find(|list| list.column == column.name);
    html! {
        @if let Some(description) = &column.description { p { (description) } }
        @if let Some(name) = &column.source_name {
            p.meta { (filled(t.source_name, &[("name", name)])) }
        }
        @if let Some(list) = list {
            @let all = list.codes.len();
            details {
                summary { (filled(t.code_list, &[("n", &numbers::count(looks.language, all as u64))])) }
                @if all > CODES_SHOWN_MAX {
                    p.note { (filled(t.codes_cut, &[("n", &CODES_SHOWN_MAX.to_string())])) }
                }
                dl.codes {
                    @for (code, label) in list.codes.iter().take(CODES_SHOWN_MAX) {
                        div { dt { code { (code) } } dd { (label_of(looks, code, label.as_deref())) } }
                    }
                }
            }
        }
    }
}

/// The label of a code; the name of the country that it is, where the table has no label.
fn label_of(looks: &Looks, code: &str, label: Option<&str>) -> String {
    let named = || crate::page::countries::country(code).map(|country| country.name(looks.language).to_owned());
    label.map(str::to_owned).or_else(named).unwrap_or_default()
}

fn profiled(looks: &Looks, subject: &Subject<'_>) -> Markup {
    let t = looks.texts();
    html! {
        @if let Some(state) = &subject.profile {
            section #profile {
                h2 { (t.profile) }
                @match state {
                    State::Ready(profile) => (profile_table(looks, subject, profile)),
                    State::Waiting => p.note {
                        (t.profile_waiting) " "
                        a href=(format!("{}#profile", looks.with(&[("profile", Some("wait"))]))) { (t.profile_link) }
                    },
                    State::Failed(said) => p.note { (t.profile_failed) " " span lang="en" { (said) } },
                }
            }
        }
    }
}

fn profile_table(looks: &Looks, subject: &Subject<'_>, profile: &profile::Profile) -> Markup {
    let t = looks.texts();
    html! {
        p.meta { (t.rows) ": " (numbers::count(looks.language, profile.rows)) }
        @if profile.is_cut {
            p.note { (filled(t.profile_cut, &[("n", &profile::COLUMNS_MAX.to_string())])) }
        }
        div.scroll tabindex="0" role="region" aria-label=(t.profile) {
            table {
                thead { tr {
                    th scope="col" { (t.column) } th.num scope="col" { (t.profile_nulls) }
                    th.num scope="col" { (t.profile_distinct) } th scope="col" { (t.profile_least) }
                    th scope="col" { (t.profile_greatest) } th scope="col" { (t.profile_frequent) }
                } }
                tbody { @for column in &profile.columns { (profile_row(looks, subject, column)) } }
            }
        }
    }
}

fn profile_row(looks: &Looks, subject: &Subject<'_>, column: &ColumnProfile) -> Markup {
    let number = |number: u64| numbers::count(looks.language, number);
    let is_number = subject.own_columns().any(|own| own.name == column.name && cells::is_number(&own.kind));
    let class = is_number.then_some("num");
    html! {
        tr {
            th scope="row" { code { (column.name) } }
            td.num { (number(column.nulls)) }
            td.num { @if let Some(distinct) = column.distinct { (number(distinct)) } }
            td class=[class] { @if let Some(least) = &column.least { (least) } }
            td class=[class] { @if let Some(greatest) = &column.greatest { (greatest) } }
            td {
                @for (place, (value, often)) in column.frequent.iter().enumerate() {
                    @if place > 0 { ", " }
                    (value) " " span.count { "(" (number(*often)) ")" }
                }
            }
        }
    }
}

fn sample(looks: &Looks, subject: &Subject<'_>) -> Markup {
    let t = looks.texts();
    html! {
        section #sample {
            h2 { (t.sample) }
            @match &subject.sample {
                Ok((schema, batches)) => {
                    @if batches.iter().all(|batch| batch.num_rows() == 0) {
                        p { (t.sample_empty) }
                    } @else {
                        (crate::page::rows::table(t.sample, schema, batches))
                    }
                }
                Err(problem) => p.note { (t.sample_failed) " " span lang="en" { (problem.detail()) } },
            }
        }
    }
}

fn origin(looks: &Looks, dataset: Option<&Dataset>) -> Markup {
    let t = looks.texts();
    let text = |text: Option<&String>| text.cloned().unwrap_or_else(|| t.unknown.to_owned());
    html! {
        @if let Some(dataset) = dataset {
            section #origin {
                h2 { (t.origin) }
                dl {
                    dt { (t.provider) } dd { (text(dataset.provider.as_ref())) }
                    dt { (t.landing_page) }
                    dd {
                        @match dataset.landing_page.as_deref().filter(|page| is_web(page)) {
                            Some(page) => a href=(page) rel="noreferrer external" { (page) },
                            None => (text(dataset.landing_page.as_ref())),
                        }
                    }
                    dt { (t.licence) }
                    dd { (licence(dataset).unwrap_or_else(|| html! { (t.unknown) })) }
                    dt { (t.redistribution) } dd { @if dataset.may_be_passed_on { (t.yes) } @else { (t.no) } }
                    dt { (t.provider_citation) } dd { (text(dataset.citation.as_ref())) }
                    @if !dataset.key.is_empty() { dt { (t.key) } dd { code { (dataset.key.join(", ")) } } }
                }
            }
        }
    }
}

/// Whoever wrote a declaration may write any text into it: only addresses of the web become links.
fn is_web(page: &str) -> bool {
    url::Url::parse(page).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn licence(dataset: &Dataset) -> Option<Markup> {
    let licence = dataset.licence.as_deref()?;
    let is_plain = licence.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'+'));
    Some(html! {
        @if is_plain && !licence.starts_with("LicenseRef-") {
            a href=(format!("https://spdx.org/licenses/{licence}.html")) rel="license noreferrer external" { (licence) }
        } @else { (licence) }
    })
}

fn versions(looks: &Looks, subject: &Subject<'_>) -> Markup {
    let (t, language) = (looks.texts(), looks.language);
    let facts = &subject.facts;
    html! {
        @if !facts.versions.is_empty() {
            section #versions {
                h2 { (t.versions) }
                @if facts.versions_all > VERSIONS_MAX {
                    @let all = numbers::count(language, facts.versions_all as u64);
                    p.note { (filled(t.versions_shown, &[("n", &VERSIONS_MAX.to_string()), ("all", &all)])) }
                }
                div.scroll tabindex="0" role="region" aria-label=(t.versions) {
                    table {
                        thead { tr {
                            th.num scope="col" { (t.version) } th scope="col" { (t.committed) }
                            th scope="col" { (t.operation) } th.num scope="col" { (t.rows_added) }
                            th.num scope="col" { (t.rows_revised) } th.num scope="col" { (t.rows_withdrawn) }
                        } }
                        tbody {
                            @for version in &facts.versions {
                                @let sql = format!("SELECT * FROM {} VERSION AS OF {} LIMIT 100", subject.table, version.version);
                                tr {
                                    th.num scope="row" { a href=(address("/sql", &[("q", &sql)])) { (version.version) } }
                                    td { @if let Some(at) = version.committed_at { (numbers::instant(at)) } }
                                    td { (version.operation) }
                                    td.num { (numbers::count(language, version.rows_added)) }
                                    td.num { (numbers::count(language, version.rows_revised)) }
                                    td.num { (numbers::count(language, version.rows_withdrawn)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cited(looks: &Looks, subject: &Subject<'_>, base: &Base, now: Timestamp) -> Markup {
    let t = looks.texts();
    let made =
        subject.version.and_then(|version| citation(&subject.table, version, subject.dataset(), &subject.facts, now));
    html! {
        @if let Some(citation) = made {
            @let reference = citation.reference(Some(&base.citation(&citation.table, citation.version)));
            @let page = format!("/cite/{}@{}", citation.table, citation.version);
            @let table = format!("/tables/{}", citation.table);
            section #cite {
                h2 { (t.cite) }
                p { a href=(page) { (t.cite_page) } }
                h3 { (t.cite_text) }
                hb-copy { pre { code { (reference.render(CitationForm::Text)) } } }
                h3 { "BibTeX" }
                hb-copy { pre { code { (reference.render(CitationForm::Bibtex)) } } }
                (links(t.cite_others, &CITATION_FILES.map(|(name, ending)| (name, format!("{page}.{ending}")))))
                (links(t.described, &DESCRIPTIONS.map(|(name, file)| (name, format!("{table}/{file}")))))
            }
        }
    }
}

fn used(visitor: &Visitor, subject: &Subject<'_>) -> Markup {
    let t = visitor.looks.texts();
    let proof = if visitor.principal.role().is_some() { Proof::Token } else { Proof::None };
    html! {
        section #use {
            h2 { (t.use_it) }
            @if proof == Proof::Token { p.note { (t.use_token) } }
            @for snippet in snippets(&visitor.looks.origin, &subject.table, subject.version, proof) {
                h3 { (snippet.name) }
                hb-copy { pre { code { (snippet.text) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::looks::Language;

    #[test]
    fn what_is_due_and_what_is_late_is_said_where_there_is_a_schedule() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let shown = |fresh: TableFreshness| Language::ALL.map(|language| expected(language.texts(), &fresh).0);
        let late = TableFreshness {
            due_at: at("2026-01-02T03:04:00Z"),
            overdue_since: at("2026-01-01T00:00:00Z"),
            ..TableFreshness::default()
        };
        let [english, bulgarian] = shown(late);
        assert!(english.contains("Next run due") && english.contains("2026-01-02 03:04 UTC"), "{english}");
        assert!(english.contains("class=\"card warning\"><dt>Overdue since"), "{english}");
        assert!(bulgarian.contains("Просрочено от") && bulgarian.contains("2026-01-01 00:00 UTC"), "{bulgarian}");
        let in_time = TableFreshness { overdue_since: None, ..late };
        assert!(!shown(in_time)[0].contains("warning"));
        assert_eq!(shown(TableFreshness::default()), ["", ""]);
    }
}
