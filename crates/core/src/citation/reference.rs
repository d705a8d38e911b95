//! What is cited, reduced to what the forms of a citation show, and those forms. Texts come from providers and from
//! whoever asked a query: each form escapes them in its own way.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::licence::known;

/// Where licences that SPDX lists have their pages.
const SPDX_LICENCES: &str = "https://spdx.org/licenses/";

/// A form of a citation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CitationForm {
    /// A sentence, and how to read the data again.
    Text,
    /// A BibTeX entry.
    Bibtex,
    /// CSL-JSON, which citation managers read: <https://docs.citationstyles.org/en/stable/specification.html>.
    CslJson,
    /// RIS.
    Ris,
    /// DataCite metadata, schema 4.6, as JSON: <https://datacite-metadata-schema.readthedocs.io/>.
    Datacite,
}

/// Something cited, ready to be put into a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Under which it is known here.
    pub id: String,
    /// The institutions whose work it is, in order, each once.
    pub creators: Vec<String>,
    /// Its title.
    pub title: String,
    /// Who makes it available.
    pub publisher: String,
    /// What is cited exactly: `eurostat.gdp, version 7`.
    pub what: String,
    /// The version, of a table.
    pub version: Option<String>,
    /// When its newest rows were recorded.
    pub recorded_at: Timestamp,
    /// When it was cited.
    pub cited_at: Timestamp,
    /// The fingerprint of its content.
    pub fingerprint: Option<String>,
    /// The licences of what it is made from.
    pub licences: Vec<String>,
    /// The terms of the whole, as a sentence, where they say more than the licence.
    pub terms: Option<String>,
    /// The sentences by which the providers want to be cited.
    pub notes: Vec<String>,
    /// Its address.
    pub url: Option<String>,
    /// The addresses of what it is made from.
    pub made_from: Vec<String>,
    /// How to read it again.
    pub reading: String,
}

impl Reference {
    /// Puts it into `form`, ending with a line end.
    pub fn render(&self, form: CitationForm) -> String {
        let text = match form {
            CitationForm::Text => format!("{}\n{}", self.sentence(), self.reading),
            CitationForm::Bibtex => self.bibtex(),
            CitationForm::CslJson => pretty(&json!([self.csl()])),
            CitationForm::Ris => self.ris(),
            CitationForm::Datacite => pretty(&self.datacite()),
        };
        format!("{}\n", text.trim_end())
    }

    /// Returns it as a sentence.
    pub fn sentence(&self) -> String {
        let mut text = format!(
            "{} ({}). {} [data set]. {}, as recorded at {}.",
            self.creators.join("; "),
            self.year(),
            self.title,
            self.what,
            self.recorded_at
        );
        if let Some(fingerprint) = &self.fingerprint {
            let _ = write!(text, " Content {fingerprint}.");
        }
        let _ = write!(text, " Licence: {}.", self.rights());
        if let Some(terms) = &self.terms {
            let _ = write!(text, " Terms: {terms}.");
        }
        for note in self.own_notes() {
            let _ = write!(text, " Provider's citation: {}.", note.trim_end_matches('.'));
        }
        if let Some(url) = &self.url {
            let _ = write!(text, " {url}");
        }
        text
    }

    /// Providers' sentences that say more than their name or the title.
    fn own_notes(&self) -> impl Iterator<Item = &String> {
        self.notes.iter().filter(|note| **note != self.title && !self.creators.contains(note))
    }

    fn rights(&self) -> String {
        if self.licences.is_empty() { "none declared".to_owned() } else { self.licences.join(", ") }
    }

    fn date(&self) -> jiff::civil::Date {
        self.recorded_at.to_zoned(TimeZone::UTC).date()
    }

    fn year(&self) -> i16 {
        self.date().year()
    }

    /// Everything that has no field of its own, for forms that have a note.
    fn note(&self) -> String {
        let fingerprint = self.fingerprint.as_deref().map_or(String::new(), |text| format!(", content {text}"));
        let mut note =
            format!("{}, recorded at {}{fingerprint}. Licence {}.", self.what, self.recorded_at, self.rights());
        if let Some(terms) = &self.terms {
            let _ = write!(note, " Terms: {terms}.");
        }
        for text in &self.notes {
            let _ = write!(note, " {text}");
        }
        note
    }

    fn bibtex(&self) -> String {
        let authors: Vec<String> = self.creators.iter().map(|name| format!("{{{}}}", bibtex_text(name))).collect();
        let mut fields = vec![
            ("author", authors.join(" and ")),
            ("title", format!("{{{}}}", bibtex_text(&self.title))),
            ("year", self.year().to_string()),
            ("date", self.date().to_string()),
        ];
        fields.extend(self.version.iter().map(|version| ("version", bibtex_text(version))));
        fields.push(("howpublished", "Data set".to_owned()));
        fields.push(("publisher", format!("{{{}}}", bibtex_text(&self.publisher))));
        if let Some(url) = &self.url {
            fields.push(("url", bibtex_address(url)));
        }
        fields.push(("note", bibtex_text(&self.note())));
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("  {name} = {{{value}}}")).collect();
        format!("@misc{{hambar:{},\n{}\n}}", self.id, lines.join(",\n"))
    }

    fn csl(&self) -> Value {
        let date = self.date();
        let authors: Vec<Value> = self.creators.iter().map(|name| json!({ "literal": name })).collect();
        let mut item = json!({
            "id": self.id,
            "type": "dataset",
            "title": self.title,
            "author": authors,
            "publisher": self.publisher,
            "issued": {"date-parts": [[date.year(), date.month(), date.day()]]},
            "note": self.note(),
        });
        if let Some(version) = &self.version {
            item["version"] = version.as_str().into();
        }
        if let Some(url) = &self.url {
            item["URL"] = url.as_str().into();
        }
        item
    }

    fn ris(&self) -> String {
        let date = self.date();
        let mut lines = vec![("TY", "DATA".to_owned()), ("ID", self.id.clone())];
        lines.extend(self.creators.iter().map(|name| ("AU", name.clone())));
        lines.extend([
            ("TI", self.title.clone()),
            ("PB", self.publisher.clone()),
            ("PY", self.year().to_string()),
            ("DA", format!("{:04}/{:02}/{:02}", date.year(), date.month(), date.day())),
        ]);
        lines.extend(self.version.iter().map(|version| ("ET", version.clone())));
        lines.extend(self.url.iter().map(|url| ("UR", url.clone())));
        lines.push(("N1", format!("{}, recorded at {}", self.what, self.recorded_at)));
        lines.extend(self.fingerprint.iter().map(|fingerprint| ("N1", format!("Content {fingerprint}"))));
        lines.push(("N1", format!("Licence {}", self.rights())));
        lines.extend(self.terms.iter().map(|terms| ("N1", format!("Terms: {terms}"))));
        lines.extend(self.notes.iter().map(|note| ("N1", note.clone())));
        lines.push(("ER", String::new()));
        // A line is a field: texts that came with line ends lose them.
        let line = |(tag, value): &(&str, String)| format!("{tag}  - {}", one_line(value));
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn datacite(&self) -> Value {
        let creators: Vec<Value> =
            self.creators.iter().map(|name| json!({"name": name, "nameType": "Organizational"})).collect();
        let mut identifiers =
            vec![json!({"alternateIdentifier": self.id, "alternateIdentifierType": "hambar citation"})];
        identifiers.extend(
            self.fingerprint.iter().map(
                |text| json!({"alternateIdentifier": text, "alternateIdentifierType": "hambar content fingerprint"}),
            ),
        );
        let mut descriptions = vec![json!({"description": self.what, "descriptionType": "TechnicalInfo"})];
        let others = self.notes.iter().chain(&self.terms);
        descriptions.extend(others.map(|text| json!({"description": text, "descriptionType": "Other"})));
        descriptions.dedup();
        let related: Vec<Value> = self
            .made_from
            .iter()
            .map(|url| {
                json!({"relatedIdentifier": url, "relatedIdentifierType": "URL", "relationType": "IsDerivedFrom"})
            })
            .collect();
        let rights: Vec<Value> = self.licences.iter().map(|licence| datacite_rights(licence)).collect();
        let mut item = json!({
            "schemaVersion": "http://datacite.org/schema/kernel-4",
            "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Table"},
            "creators": creators,
            "titles": [{"title": self.title}],
            "publisher": {"name": self.publisher},
            "publicationYear": self.year().to_string(),
            "dates": [
                {"date": self.recorded_at.to_string(), "dateType": "Collected"},
                {"date": self.cited_at.to_string(), "dateType": "Other", "dateInformation": "cited"},
            ],
            "rightsList": rights,
            "alternateIdentifiers": identifiers,
            "relatedIdentifiers": related,
            "descriptions": descriptions,
            "formats": ["application/vnd.apache.parquet", "text/csv"],
        });
        if let Some(version) = &self.version {
            item["version"] = version.as_str().into();
        }
        if let Some(url) = &self.url {
            item["url"] = url.as_str().into();
        }
        item
    }
}

fn datacite_rights(licence: &str) -> Value {
    let mut rights = json!({ "rights": licence });
    if let Some(known) = known(licence) {
        rights["rights"] = known.title.into();
        rights["rightsUri"] = known.page.into();
    }
    if !licence.starts_with("LicenseRef-") {
        rights["rightsIdentifier"] = licence.into();
        rights["rightsIdentifierScheme"] = "SPDX".into();
        rights["schemeUri"] = SPDX_LICENCES.into();
    }
    rights
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn one_line(text: &str) -> String {
    text.split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// An address without what would end the entry, percent-encoded.
fn bibtex_address(url: &str) -> String {
    let mut address = String::new();
    for character in url.chars() {
        match character {
            '{' | '}' | '\\' | '"' => {
                let _ = write!(address, "%{:02X}", u32::from(character));
            }
            other if other.is_whitespace() || other.is_control() => address.push_str("%20"),
            other => address.push(other),
        }
    }
    address
}

/// Escapes what TeX would take for a command.
fn bibtex_text(text: &str) -> String {
    let mut escaped = String::new();
    for character in one_line(text).chars() {
        match character {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '{' | '}' | '%' | '&' | '#' | '_' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Reference {
        Reference {
            id: "00ff".to_owned(),
            creators: vec!["A & B\nER  - ".to_owned(), "Статистика {".to_owned()],
            title: "<script>alert('1')</script>\"}, }\\input{x}\r\nTY  - BOOK %".to_owned(),
            publisher: "A & B\u{0007}".to_owned(),
            what: "a.b, version 7".to_owned(),
            version: Some("7".to_owned()),
            recorded_at: "2026-03-04T05:06:07Z".parse().unwrap(),
            cited_at: "2026-03-05T00:00:00Z".parse().unwrap(),
            fingerprint: Some("3:00ff".to_owned()),
            licences: vec!["CC-BY-4.0".to_owned(), "LicenseRef-own".to_owned()],
            terms: Some("duties: attribution".to_owned()),
            notes: vec!["B_1, 50 %".to_owned()],
            url: Some("https://example.org/a b}\n".to_owned()),
            made_from: vec!["https://example.org/gdp".to_owned()],
            reading: "Read it".to_owned(),
        }
    }

    #[test]
    fn hostile_texts_stay_inside_their_fields() {
        let bibtex = hostile().render(CitationForm::Bibtex);
        assert_eq!(bibtex.matches('@').count(), 1, "{bibtex}");
        // Every brace of the texts is escaped, so those that are not balance.
        let bare = bibtex.replace("\\{", "").replace("\\}", "");
        assert_eq!(bare.matches('{').count(), bare.matches('}').count(), "{bibtex}");
        assert_eq!(bibtex.lines().count(), 11, "{bibtex}");
        let ris = hostile().render(CitationForm::Ris);
        assert!(ris.lines().all(|line| line.get(2..6) == Some("  - ") || line == "ER  -"), "{ris}");
        assert_eq!(ris.lines().filter(|line| line.starts_with("TY") || line.starts_with("ER")).count(), 2, "{ris}");
        for form in [CitationForm::CslJson, CitationForm::Datacite] {
            let _: Value = serde_json::from_str(&hostile().render(form)).unwrap();
        }
    }

    #[test]
    fn rights_that_spdx_does_not_list_are_not_said_to_be_in_it() {
        let value: Value = serde_json::from_str(&hostile().render(CitationForm::Datacite)).unwrap();
        assert_eq!(value["rightsList"][0]["rightsIdentifier"], json!("CC-BY-4.0"));
        assert_eq!(value["rightsList"][1], json!({"rights": "LicenseRef-own"}));
        assert_eq!(value["relatedIdentifiers"][0]["relationType"], json!("IsDerivedFrom"));
    }
}
