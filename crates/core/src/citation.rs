//! The citation of one version of a table, and the forms in which people and tools want it. Pure: where citations are kept,
//! and that vacuum spares what they name, is the store's part.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::name::TableName;
use crate::origin::{Licence, Origin, Redistribution};
use crate::system::{Cell, SystemTable, system_batch};

/// Hex digits of a citation's id.
const ID_DIGITS: usize = 16;

/// One version of a table as it is cited: everything that the forms show is frozen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// The table.
    pub table: TableName,
    /// The version, which vacuum keeps readable from now on.
    pub version: u64,
    /// Number of commits by runs up to it.
    pub sequence: u64,
    /// The run that made the newest of them.
    pub run: Option<String>,
    /// When its newest rows were recorded; that of the citation for a table without rows.
    pub recorded_at: Timestamp,
    /// When it was cited.
    pub cited_at: Timestamp,
    /// The fingerprint of its content; `None` where another program wrote to the table.
    pub fingerprint: Option<String>,
    /// Who published it, under which name and licence, as declared at the time.
    pub origin: Origin,
}

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
    /// DataCite metadata, schema 4, as JSON: <https://datacite-metadata-schema.readthedocs.io/>.
    Datacite,
}

impl Citation {
    /// The name under which it is known: the same for every citation of this content.
    pub fn id(&self) -> String {
        let mut digest = Sha256::new();
        let fingerprint = self.fingerprint.as_deref().unwrap_or_default();
        digest.update(format!("{}@{}#{fingerprint}", self.table, self.version));
        let hex = digest.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        hex[..ID_DIGITS].to_owned()
    }

    /// The citation in `form`, ending with a line end.
    pub fn render(&self, form: CitationForm) -> String {
        let text = match form {
            CitationForm::Text => format!("{}\n{}", self.sentence(), self.reading()),
            CitationForm::Bibtex => self.bibtex(),
            CitationForm::CslJson => pretty(&json!([self.csl()])),
            CitationForm::Ris => self.ris(),
            CitationForm::Datacite => pretty(&self.datacite()),
        };
        format!("{}\n", text.trim_end())
    }

    /// The citation as a sentence.
    pub fn sentence(&self) -> String {
        let Origin { provider, title, citation, landing_page, licence } = &self.origin;
        let mut text = format!(
            "{provider} ({}). {title} [data set]. {}, version {}, as recorded at {}.",
            self.year(),
            self.table,
            self.version,
            self.recorded_at
        );
        if let Some(fingerprint) = &self.fingerprint {
            let _ = write!(text, " Content {fingerprint}.");
        }
        let _ = write!(text, " Licence: {}.", licence.spdx);
        if citation != title && citation != provider {
            let _ = write!(text, " Provider's citation: {}.", citation.trim_end_matches('.'));
        }
        if let Some(page) = landing_page {
            let _ = write!(text, " {page}");
        }
        text
    }

    /// The row of `system.citations`.
    pub fn row(&self) -> arrow::record_batch::RecordBatch {
        let row: Vec<(&'static str, Cell)> = vec![
            ("id", self.id().into()),
            ("table", self.table.to_string().into()),
            ("version", self.version.into()),
            ("sequence", self.sequence.into()),
            ("run", self.run.clone().into()),
            ("cited_at", self.cited_at.into()),
            ("recorded_at", self.recorded_at.into()),
            ("fingerprint", self.fingerprint.clone().into()),
            ("title", self.origin.title.clone().into()),
            ("provider", self.origin.provider.clone().into()),
            ("citation", self.origin.citation.clone().into()),
            ("landing_page", self.origin.landing_page.clone().into()),
            ("licence", self.origin.licence.spdx.clone().into()),
            ("redistribution", redistribution(&self.origin.licence).into()),
            ("text", self.sentence().into()),
        ];
        system_batch(SystemTable::Citations, &[row])
    }

    /// How to get the very rows that are cited.
    fn reading(&self) -> String {
        format!("Read it with: SELECT * FROM {} VERSION AS OF {}", self.table, self.version)
    }

    fn date(&self) -> jiff::civil::Date {
        self.recorded_at.to_zoned(TimeZone::UTC).date()
    }

    fn year(&self) -> i16 {
        self.date().year()
    }

    fn bibtex(&self) -> String {
        let Origin { provider, title, citation, landing_page, licence } = &self.origin;
        let mut fields = vec![
            ("author", format!("{{{}}}", bibtex_text(provider))),
            ("title", format!("{{{}}}", bibtex_text(title))),
            ("year", self.year().to_string()),
            ("date", self.date().to_string()),
            ("version", self.version.to_string()),
            ("howpublished", "Data set".to_owned()),
            ("publisher", bibtex_text(provider)),
        ];
        if let Some(page) = landing_page {
            // Braces would end the entry; an address has them percent-encoded.
            fields.push(("url", page.replace('{', "%7B").replace('}', "%7D")));
        }
        let fingerprint = self.fingerprint.as_deref().map_or(String::new(), |text| format!(", content {text}"));
        let note = format!(
            "{}, version {}, recorded at {}{fingerprint}. Licence {}. {citation}",
            self.table, self.version, self.recorded_at, licence.spdx
        );
        fields.push(("note", bibtex_text(&note)));
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("  {name} = {{{value}}}")).collect();
        format!("@misc{{hambar:{},\n{}\n}}", self.id(), lines.join(",\n"))
    }

    fn csl(&self) -> Value {
        let date = self.date();
        let mut item = json!({
            "id": self.id(),
            "type": "dataset",
            "title": self.origin.title,
            "author": [{"literal": self.origin.provider}],
            "publisher": self.origin.provider,
            "issued": {"date-parts": [[date.year(), date.month(), date.day()]]},
            "version": self.version.to_string(),
            "note": format!(
                "{}, recorded at {}, content {}, licence {}. {}",
                self.table,
                self.recorded_at,
                self.fingerprint.as_deref().unwrap_or("unknown"),
                self.origin.licence.spdx,
                self.origin.citation
            ),
        });
        if let Some(page) = &self.origin.landing_page {
            item["URL"] = page.as_str().into();
        }
        item
    }

    fn ris(&self) -> String {
        let Origin { provider, title, citation, landing_page, licence } = &self.origin;
        let date = self.date();
        let mut lines = vec![
            ("TY", "DATA".to_owned()),
            ("ID", self.id()),
            ("AU", provider.clone()),
            ("TI", title.clone()),
            ("PB", provider.clone()),
            ("PY", self.year().to_string()),
            ("DA", format!("{:04}/{:02}/{:02}", date.year(), date.month(), date.day())),
            ("ET", self.version.to_string()),
        ];
        lines.extend(landing_page.iter().map(|page| ("UR", page.clone())));
        lines.push(("N1", format!("{}, recorded at {}", self.table, self.recorded_at)));
        lines.extend(self.fingerprint.iter().map(|fingerprint| ("N1", format!("Content {fingerprint}"))));
        lines.push(("N1", format!("Licence {}", licence.spdx)));
        lines.push(("N1", citation.clone()));
        lines.push(("ER", String::new()));
        // A line is a field: texts that came with line ends lose them.
        let line = |(tag, value): &(&str, String)| format!("{tag}  - {}", one_line(value));
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn datacite(&self) -> Value {
        let Origin { provider, title, citation, landing_page, licence } = &self.origin;
        let mut rights = json!({"rights": licence.spdx});
        if !licence.spdx.starts_with("LicenseRef-") {
            rights = json!({
                "rights": licence.spdx,
                "rightsIdentifier": licence.spdx,
                "rightsIdentifierScheme": "SPDX",
                "schemeUri": "https://spdx.org/licenses/",
            });
        }
        let mut identifiers =
            vec![json!({"alternateIdentifier": self.id(), "alternateIdentifierType": "hambar citation"})];
        identifiers.extend(
            self.fingerprint.iter().map(
                |text| json!({"alternateIdentifier": text, "alternateIdentifierType": "hambar content fingerprint"}),
            ),
        );
        let mut item = json!({
            "schemaVersion": "http://datacite.org/schema/kernel-4",
            "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Table"},
            "creators": [{"name": provider, "nameType": "Organizational"}],
            "titles": [{"title": title}],
            "publisher": {"name": provider},
            "publicationYear": self.year(),
            "version": self.version.to_string(),
            "dates": [
                {"date": self.recorded_at.to_string(), "dateType": "Collected"},
                {"date": self.cited_at.to_string(), "dateType": "Other", "dateInformation": "cited"},
            ],
            "rightsList": [rights],
            "alternateIdentifiers": identifiers,
            "descriptions": [{"description": citation, "descriptionType": "Other"}],
            "formats": ["application/vnd.apache.parquet"],
        });
        if let Some(page) = landing_page {
            item["url"] = page.as_str().into();
        }
        item
    }
}

fn redistribution(licence: &Licence) -> &'static str {
    match licence.redistribution {
        Redistribution::Allowed => "allowed",
        Redistribution::Forbidden => "forbidden",
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

    fn citation() -> Citation {
        Citation {
            table: "eurostat.gdp".parse().unwrap(),
            version: 7,
            sequence: 5,
            run: Some("r5".to_owned()),
            recorded_at: "2026-03-04T05:06:07Z".parse().unwrap(),
            cited_at: "2026-03-05T00:00:00Z".parse().unwrap(),
            fingerprint: Some("3:00ff".to_owned()),
            origin: Origin {
                provider: "Eurostat".to_owned(),
                title: "GDP & main\naggregates {100%}".to_owned(),
                citation: "Eurostat, nama_10_gdp.".to_owned(),
                landing_page: Some("https://example.org/gdp".to_owned()),
                licence: Licence { spdx: "CC-BY-4.0".to_owned(), redistribution: Redistribution::Allowed },
            },
        }
    }

    #[test]
    fn a_sentence_names_everything_that_pins_the_data() {
        let text = citation().render(CitationForm::Text);
        for part in
            ["Eurostat (2026). ", "eurostat.gdp, version 7", "2026-03-04T05:06:07Z", "Content 3:00ff", "CC-BY-4.0"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.ends_with("SELECT * FROM eurostat.gdp VERSION AS OF 7\n"), "{text}");
    }

    #[test]
    fn bibtex_is_escaped() {
        let text = citation().render(CitationForm::Bibtex);
        assert!(text.contains("title = {{GDP \\& main aggregates \\{100\\%\\}}}"), "{text}");
        assert!(text.contains("nama\\_10\\_gdp"), "{text}");
        let (opened, closed) = (text.matches('{').count(), text.matches('}').count());
        assert_eq!(opened, closed, "{text}");
    }

    #[test]
    fn ris_is_one_field_a_line() {
        let text = citation().render(CitationForm::Ris);
        assert!(text.starts_with("TY  - DATA\nID  - "), "{text}");
        assert!(
            text.contains("\nTI  - GDP & main aggregates {100%}\n") && text.contains("\nDA  - 2026/03/04\n"),
            "{text}"
        );
        assert!(text.ends_with("\nER  -\n"), "{text}");
    }

    #[test]
    fn json_forms_can_be_read_back() {
        let csl: Value = serde_json::from_str(&citation().render(CitationForm::CslJson)).unwrap();
        assert_eq!(csl[0]["issued"]["date-parts"], json!([[2026, 3, 4]]));
        assert_eq!((&csl[0]["type"], &csl[0]["version"]), (&json!("dataset"), &json!("7")));
        let datacite: Value = serde_json::from_str(&citation().render(CitationForm::Datacite)).unwrap();
        assert_eq!(datacite["rightsList"][0]["rightsIdentifier"], json!("CC-BY-4.0"));
        assert_eq!(datacite["publicationYear"], json!(2026));
    }

    #[test]
    fn the_id_stands_for_the_content_not_for_the_day() {
        let later = Citation { cited_at: Timestamp::MAX, ..citation() };
        assert_eq!(citation().id(), later.id());
        assert_ne!(citation().id(), Citation { version: 8, ..citation() }.id());
        assert_ne!(citation().id(), Citation { fingerprint: None, ..citation() }.id());
        assert_eq!(citation().id().len(), ID_DIGITS);
    }

    #[test]
    fn the_row_has_a_cell_for_every_column() {
        let row = citation().row();
        assert!(row.columns().iter().all(|column| column.null_count() == 0), "{row:?}");
    }
}
