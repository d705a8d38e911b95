//! The pages of citations: what is cited, how to cite it, how to read it again. Complete without a script.

use axum::response::Response;
use hambar_core::citation::{CitationForm, QueryCitation, Reference};
use hambar_core::licence::known;
use hambar_lake::FoundCitation;
use maud::{Markup, html};

use super::form::forms;
use super::query::Verified;
use super::signposts::licence_page;
use super::{Base, data_block, json_ld, page};

/// The page of a version of a table.
pub(super) fn table(found: &FoundCitation, reference: &Reference, base: &Base, is_partial: bool) -> Response {
    let citation = &found.citation;
    let (table, version) = (&citation.table, citation.version);
    let facts = html! {
        dt { "Table" }
        dd { a href=(base.table(table)) { code { (table) } } ", version " (version) }
        @if let Some(run) = &citation.run { dt { "Run" } dd { code { (run) } } }
        dt { "Kept" }
        dd {
            @if found.is_pinned { "This version was cited at " (citation.cited_at) " and stays readable for good." }
            @else {
                strong { "This version is not kept yet." }
                " It may be removed once newer ones have replaced it. Whoever asks for this page with a token, or sends "
                code { "POST /api/cite" } ", has it kept for good."
            }
        }
        @if is_partial {
            dt { "Seen" }
            dd {
                "Of this table a part is for you. The citation is of all of it, and so is its fingerprint, which is left out \
                here; what you read below is your part."
            }
        }
    };
    let reading = html! {
        pre { code { "SELECT * FROM " (table) " VERSION AS OF " (version) } }
        ul {
            @for ending in ["csv", "parquet", "json"] {
                li { a href={ (base.rows(table, ending)) "?_version=" (version) } { (ending) } }
            }
        }
    };
    shown(reference, &facts, &reading)
}

/// The page of a query.
pub(super) fn query(citation: &QueryCitation, reference: &Reference, base: &Base) -> Response {
    let address = base.query(&reference.id);
    let facts = html! {
        dt { "Reads" }
        dd {
            ul {
                @for read in &citation.reads {
                    li {
                        a href=(base.citation(&read.table, read.version)) { code { (read.table) "@" (read.version) } }
                        " " (read.origin.title) ", " (read.origin.provider) " (" (licence(&read.origin.licence.spdx)) ")"
                    }
                }
            }
        }
        dt { "Columns" }
        dd { @for column in &citation.columns { code { (column.name) } " " (column.kind) "; " } }
        dt { "Terms" }
        dd { (citation.terms().sentence()) }
        dt { "Cited" }
        dd { (citation.cited_at) ". What it reads stays readable for good." }
    };
    let reading = html! {
        p { "The statement, over the versions above:" }
        pre { code { (citation.statement) } }
        @if citation.parameters != "[]" { p { "Values: " code { (citation.parameters) } } }
        ul {
            li { a href={ (address) "/verify" } { "Run it again and compare" } }
            @for ending in ["csv", "parquet", "json"] {
                li { a href={ (address) "/rows." (ending) } { "rows." (ending) } }
            }
        }
    };
    shown(reference, &facts, &reading)
}

/// The page of a comparison.
pub(super) fn verified(citation: &QueryCitation, verified: &Verified, base: &Base) -> Response {
    let content = html! {
        h1 { @if verified.is_same { "The same" } @else { "Not the same" } }
        p {
            @if verified.is_same {
                "The query was run again over the versions that it read, and gave the columns and rows that were cited."
            } @else {
                "The query was run again over the versions that it read, and gave something else than was cited."
            }
        }
        dl {
            dt { "Cited" } dd { code { (verified.cited) } }
            dt { "Now" } dd { code { (verified.found) } }
            dt { "Versions" } dd { @for version in &verified.versions { code { (version) } " " } }
        }
        p { a href=(base.query(&verified.id)) { (citation.title()) } }
    };
    page(&citation.title(), &html! {}, &content)
}

fn shown(reference: &Reference, facts: &Markup, reading: &Markup) -> Response {
    let address = reference.url.as_deref().unwrap_or_default();
    let head = html! {
        link rel="canonical" href=(address);
        @for (_, ending, media_type) in forms() {
            link rel="alternate" type=(media_type) href={ (address) "." (ending) };
        }
        (data_block(&json_ld::reference(reference)))
    };
    let content = html! {
        h1 { (reference.title) }
        p { (reference.creators.join("; ")) }
        h2 { "Cite it as" }
        blockquote { p { (reference.sentence()) } }
        ul {
            @for (form, ending, _) in forms() {
                li { a href={ (address) "." (ending) } { (name(form)) } }
            }
        }
        h2 { "What is cited" }
        dl {
            (facts)
            dt { "Recorded" } dd { (reference.recorded_at) }
            @if let Some(fingerprint) = &reference.fingerprint {
                dt { "Fingerprint" }
                dd { code { (fingerprint) } " (number of rows, and a hash of them that no order changes)" }
            }
            dt { "Licence" }
            dd { @for spdx in &reference.licences { (licence(spdx)) " " } }
            @for note in &reference.notes { dt { "Provider's citation" } dd { (note) } }
            @for page in &reference.made_from { dt { "Provider's page" } dd { (link(page)) } }
        }
        h2 { "Read it again" }
        (reading)
    };
    page(&reference.title, &head, &content)
}

fn name(form: CitationForm) -> &'static str {
    match form {
        CitationForm::Text => "Text",
        CitationForm::Bibtex => "BibTeX",
        CitationForm::CslJson => "CSL-JSON",
        CitationForm::Ris => "RIS",
        CitationForm::Datacite => "DataCite",
    }
}

/// A licence with its duties, where they are known.
fn licence(spdx: &str) -> Markup {
    let duties =
        known(spdx).map(|licence| licence.duties.iter().map(|duty| duty.name()).collect::<Vec<_>>().join(", "));
    html! {
        @match licence_page(spdx) {
            Some(page) => { a rel="license" href=(page) { (spdx) } }
            None => { (spdx) }
        }
        @match duties {
            Some(duties) if duties.is_empty() => {}
            Some(duties) => { " (" (duties) ")" }
            None => { " (its duties are not known here)" }
        }
    }
}

/// A provider's address; a link only where it leads to a page.
fn link(address: &str) -> Markup {
    let is_page = address.starts_with("https://") || address.starts_with("http://");
    html! { @if is_page { a href=(address) rel="noreferrer" { (address) } } @else { (address) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hostile_texts_stay_texts() {
        let evil = "<script>alert(1)</script>\"'><img src=x onerror=y>";
        let reference = Reference {
            id: "00".to_owned(),
            creators: vec![evil.to_owned()],
            title: evil.to_owned(),
            publisher: evil.to_owned(),
            what: evil.to_owned(),
            version: Some("1".to_owned()),
            recorded_at: jiff::Timestamp::UNIX_EPOCH,
            cited_at: jiff::Timestamp::UNIX_EPOCH,
            fingerprint: Some("1:00".to_owned()),
            licences: vec![evil.to_owned()],
            terms: Some(evil.to_owned()),
            notes: vec![evil.to_owned()],
            url: Some("https://h.example/cite/a.b@1".to_owned()),
            made_from: vec!["javascript:alert(1)".to_owned()],
            reading: evil.to_owned(),
        };
        let response = shown(&reference, &html! {}, &html! {});
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(text.matches("<script").count(), 1, "{text}");
        assert!(!text.contains("<img") && !text.contains("href=\"javascript"), "{text}");
    }
}
