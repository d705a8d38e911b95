//! The citation of one version of a table or of a query, and the forms in which people and tools want it. Pure: where
//! citations are kept, and that vacuum spares what they name, is the store's part.

mod query;
mod reference;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use query::{CitedColumn, CitedRead, QueryCitation};
pub use reference::{CitationForm, Reference};

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

impl Citation {
    /// The name under which it is known: the same for every citation of this content.
    pub fn id(&self) -> String {
        let mut digest = Sha256::new();
        let fingerprint = self.fingerprint.as_deref().unwrap_or_default();
        digest.update(format!("{}@{}#{fingerprint}", self.table, self.version));
        hex(&digest.finalize())[..ID_DIGITS].to_owned()
    }

    /// The citation in `form`, ending with a line end, where it has no address of its own.
    pub fn render(&self, form: CitationForm) -> String {
        self.reference(None).render(form)
    }

    /// Returns it ready for a form. `address` is where it is found; without one, the provider's page stands for it.
    pub fn reference(&self, address: Option<&str>) -> Reference {
        let Origin { provider, title, citation, landing_page, licence } = &self.origin;
        Reference {
            id: self.id(),
            creators: vec![provider.clone()],
            title: title.clone(),
            publisher: provider.clone(),
            what: format!("{}, version {}", self.table, self.version),
            version: Some(self.version.to_string()),
            recorded_at: self.recorded_at,
            cited_at: self.cited_at,
            fingerprint: self.fingerprint.clone(),
            licences: vec![licence.spdx.clone()],
            terms: None,
            notes: vec![citation.clone()],
            url: address.map(str::to_owned).or_else(|| landing_page.clone()),
            made_from: address.and(landing_page.clone()).into_iter().collect(),
            reading: self.reading(),
        }
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
            ("text", self.reference(None).sentence().into()),
        ];
        system_batch(SystemTable::Citations, &[row])
    }

    /// How to get the very rows that are cited.
    fn reading(&self) -> String {
        format!("Read it with: SELECT * FROM {} VERSION AS OF {}", self.table, self.version)
    }
}

fn redistribution(licence: &Licence) -> &'static str {
    match licence.redistribution {
        Redistribution::Allowed => "allowed",
        Redistribution::Forbidden => "forbidden",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        assert_eq!(datacite["publicationYear"], json!("2026"));
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
