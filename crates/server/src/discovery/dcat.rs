//! The catalogue as DCAT-AP 3 has it: who runs the centre, what it holds, in which forms, under which licences, and the
//! service that answers SQL. Pure: from cards to a graph.

use std::collections::{BTreeMap, BTreeSet};

use hambar_core::licence::known;
use jiff::Timestamp;

use super::card::Card;
use super::coverage::Period;
use super::graph::{Graph, is_address};
use super::vocabulary::{ACCESS_RIGHTS, AVAILABILITY, FILE_TYPES, FORMS, MEDIA_TYPES, THEME_NAMES, THEMES};
use crate::cite::{Base, Centre};

/// Returns the graph of the catalogue.
pub(super) fn graph(base: &Base, centre: &Centre, cards: &[Card]) -> Graph {
    let mut graph = Graph::default();
    let names = Names::new(base, centre);
    catalogue(&mut graph, &names, cards);
    service(&mut graph, &names, cards);
    shared(&mut graph, &names, cards);
    for card in cards {
        dataset(&mut graph, &names, card);
        for form in FORMS {
            distribution(&mut graph, &names, card, form);
        }
        by_service(&mut graph, &names, card);
        files(&mut graph, &names, card);
    }
    graph
}

/// The names of things.
struct Names<'a> {
    base: &'a Base,
    centre: &'a Centre,
    catalogue: String,
    service: String,
    publisher: String,
    contact: Option<String>,
}

impl<'a> Names<'a> {
    fn new(base: &'a Base, centre: &'a Centre) -> Self {
        let part = |name: &str| base.at(&format!("/catalog#{name}"));
        Self {
            base,
            centre,
            catalogue: part("catalog"),
            service: part("sql"),
            publisher: part("publisher"),
            contact: centre.contact.as_ref().map(|_| part("contact")),
        }
    }

    fn dataset(&self, card: &Card) -> String {
        format!("{}#dataset", self.base.table(&card.table))
    }

    fn part(&self, card: &Card, part: &str) -> String {
        format!("{}#{part}", self.base.table(&card.table))
    }

    /// Names something by what it is called, whatever that is.
    fn called(&self, kind: &str, text: &str) -> String {
        let digest = crate::access::fingerprint(text);
        self.base.at(&format!("/catalog#{kind}-{}", digest.get(..16).unwrap_or(&digest)))
    }

    fn licence(&self, card: &Card) -> Option<String> {
        let spdx = card.dataset.licence.as_deref()?;
        Some(known(spdx).map_or_else(|| self.called("licence", spdx), |licence| licence.page.to_owned()))
    }

    fn provider(&self, card: &Card) -> Option<String> {
        card.dataset.provider.as_deref().map(|provider| self.called("provider", provider))
    }
}

fn catalogue(graph: &mut Graph, names: &Names<'_>, cards: &[Card]) {
    let Some(mut subject) = graph.about(&names.catalogue, &["dcat:Catalog"]) else { return };
    subject
        .text("dct:title", &names.centre.title)
        .text("dct:description", &names.centre.description)
        .link("dct:publisher", &names.publisher)
        .link("foaf:homepage", &names.base.at("/"))
        .link("dcat:service", &names.service)
        .instant("dct:issued", cards.iter().filter_map(|card| card.dataset.issued).min())
        .instant("dct:modified", cards.iter().filter_map(|card| card.modified).max());
    if !names.centre.themes.is_empty() {
        subject.link("dcat:themeTaxonomy", THEMES);
    }
    for card in cards {
        subject.link("dcat:dataset", &names.dataset(card));
    }
}

fn service(graph: &mut Graph, names: &Names<'_>, cards: &[Card]) {
    let Some(mut subject) = graph.about(&names.service, &["dcat:DataService"]) else { return };
    subject
        .said("dct:title", "SQL over all tables", "en")
        .said("dct:description", "Answers SQL over HTTP in JSON, CSV, Arrow, Parquet and as workbooks.", "en")
        .link("dcat:endpointURL", &names.base.at("/api/sql"))
        .link("dcat:endpointDescription", &names.base.at("/api/openapi.json"))
        .link("dct:publisher", &names.publisher);
    if let Some(contact) = &names.contact {
        subject.link("dcat:contactPoint", contact);
    }
    for card in cards {
        subject.link("dcat:servesDataset", &names.dataset(card));
    }
}

/// What several things point to: each is described once.
fn shared(graph: &mut Graph, names: &Names<'_>, cards: &[Card]) {
    if let Some(mut publisher) = graph.about(&names.publisher, &["foaf:Agent"]) {
        publisher.text("foaf:name", &names.centre.publisher).link("foaf:homepage", &names.base.at("/"));
    }
    document(graph, &names.base.at("/"));
    if let (Some(contact), Some(address)) = (&names.contact, &names.centre.contact)
        && let Some(mut subject) = graph.about(contact, &["vcard:Kind", "vcard:Organization"])
    {
        let property = if address.starts_with("mailto:") { "vcard:hasEmail" } else { "vcard:hasURL" };
        subject.text("vcard:fn", &names.centre.publisher).link(property, address);
    }
    let (mut providers, mut licences) = (BTreeMap::new(), BTreeMap::new());
    let mut themes = BTreeSet::new();
    for card in cards {
        providers.extend(names.provider(card).zip(card.dataset.provider.clone()));
        licences.extend(names.licence(card).zip(card.dataset.licence.clone()));
        themes.extend(theme(names, card));
    }
    for (address, name) in &providers {
        if let Some(mut provider) = graph.about(address, &["foaf:Agent"]) {
            provider.text("foaf:name", name);
        }
    }
    for (address, spdx) in &licences {
        if let Some(mut licence) = graph.about(address, &["dct:LicenseDocument"]) {
            licence
                .text("dct:title", known(spdx).map_or(spdx.as_str(), |licence| licence.title))
                .text("dct:identifier", spdx);
        }
    }
    if !names.centre.themes.is_empty()
        && let Some(mut list) = graph.about(THEMES, &["skos:ConceptScheme"])
    {
        list.said("dct:title", "Data theme", "en");
    }
    for code in themes {
        let name = THEME_NAMES.iter().find(|(known, _)| *known == code).map_or(code, |(_, name)| *name);
        if let Some(mut concept) = graph.about(&format!("{THEMES}/{code}"), &["skos:Concept"]) {
            concept.said("skos:prefLabel", name, "en").link("skos:inScheme", THEMES);
        }
    }
    for (list, code, kind) in [
        (ACCESS_RIGHTS, "PUBLIC", "dct:RightsStatement"),
        (ACCESS_RIGHTS, "RESTRICTED", "dct:RightsStatement"),
        (AVAILABILITY, "STABLE", "skos:Concept"),
    ] {
        if let Some(mut concept) = graph.about(&format!("{list}{code}"), &[kind]) {
            concept
                .said("skos:prefLabel", &code.to_lowercase(), "en")
                .link("skos:inScheme", list.trim_end_matches('/'));
        }
    }
    for (_, media_type, kind, _) in FORMS {
        graph.about(&format!("{MEDIA_TYPES}{media_type}"), &["dct:MediaType"]);
        if let Some(mut file) = graph.about(&format!("{FILE_TYPES}{kind}"), &["dct:MediaTypeOrExtent"]) {
            file.link("skos:inScheme", FILE_TYPES.trim_end_matches('/'));
        }
    }
}

fn document(graph: &mut Graph, address: &str) {
    graph.about(address, &["foaf:Document"]);
}

fn theme<'a>(names: &'a Names<'_>, card: &Card) -> Option<&'a str> {
    names.centre.themes.get(card.table.namespace.as_str()).map(String::as_str)
}

fn dataset(graph: &mut Graph, names: &Names<'_>, card: &Card) {
    let page = names.base.table(&card.table);
    let (period, origin) = (names.part(card, "period"), names.part(card, "provenance"));
    let run = names.part(card, "run");
    let Some(mut subject) = graph.about(&names.dataset(card), &["dcat:Dataset"]) else { return };
    subject
        .text("dct:title", &card.title())
        .text("dct:description", &card.description())
        .text("dct:identifier", &card.table.to_string())
        .text("dcat:version", &card.version.to_string())
        .text("dcat:keyword", card.table.namespace.as_str())
        .link("dcat:landingPage", &page)
        .link("dct:provenance", &origin)
        .instant("dct:issued", card.dataset.issued)
        .instant("dct:modified", card.modified);
    if let Some(provider) = names.provider(card) {
        subject.link("dct:publisher", &provider);
    }
    if let Some(contact) = &names.contact {
        subject.link("dcat:contactPoint", contact);
    }
    if let Some(citation) = &card.dataset.citation {
        subject.text("dct:bibliographicCitation", citation);
    }
    if let Some(theme) = theme(names, card) {
        subject.link("dcat:theme", &format!("{THEMES}/{theme}"));
    }
    if card.period.is_some() {
        subject.link("dct:temporal", &period);
    }
    if card.run.is_some() {
        subject.link("prov:wasGeneratedBy", &run);
    }
    let rights = if card.dataset.may_be_passed_on { "PUBLIC" } else { "RESTRICTED" };
    subject.link("dct:accessRights", &format!("{ACCESS_RIGHTS}{rights}"));
    let origin_page = card.dataset.landing_page.as_deref().filter(|page| is_address(page));
    if let Some(page) = origin_page {
        subject.link("foaf:page", page).link("prov:wasDerivedFrom", page);
    }
    for (form, ..) in FORMS {
        subject.link("dcat:distribution", &names.part(card, form));
    }
    subject.link("dcat:distribution", &names.part(card, "sql"));
    if names.centre.store.is_some() {
        subject.link("dcat:distribution", &names.part(card, "delta"));
    }
    document(graph, &page);
    if let Some(page) = origin_page {
        document(graph, page);
    }
    around(graph, card, (&period, &origin, &run));
}

/// What only one dataset points to: its period, where it comes from, and the run that made it.
fn around(graph: &mut Graph, card: &Card, (period, origin, run): (&str, &str, &str)) {
    if let Some(Period { from, to }) = &card.period
        && let Some(mut subject) = graph.about(period, &["dct:PeriodOfTime"])
    {
        let kind = |text: &str| if text.len() == 4 { "xsd:gYear" } else { "xsd:date" };
        subject.typed("dcat:startDate", from, kind(from)).typed("dcat:endDate", to, kind(to));
    }
    if let Some(mut subject) = graph.about(origin, &["dct:ProvenanceStatement"]) {
        let provider = card.dataset.provider.as_deref().unwrap_or("an unnamed provider");
        let rows = card.rows.map_or(String::new(), |rows| format!(" with {rows} rows"));
        let fingerprint = card.fingerprint.as_deref().map_or(String::new(), |text| format!(", content {text}"));
        let text = format!("Collected from {provider}; version {}{rows}{fingerprint}.", card.version);
        subject.said("rdfs:label", &text, "en");
    }
    if let Some(id) = &card.run
        && let Some(mut subject) = graph.about(run, &["prov:Activity"])
    {
        subject.text("dct:identifier", id).instant("prov:startedAtTime", card.modified);
    }
}

/// What all forms of a table have in common.
fn offered(graph: &mut Graph, names: &Names<'_>, card: &Card, part: &str, title: &str, said: &str, access: &str) {
    let rights = names.part(card, "rights");
    let Some(mut subject) = graph.about(&names.part(card, part), &["dcat:Distribution"]) else { return };
    subject
        .said("dct:title", title, "en")
        .said("dct:description", said, "en")
        .link("dcat:accessURL", access)
        .link("dcatap:availability", &format!("{AVAILABILITY}STABLE"))
        .link("dct:rights", &rights)
        .instant("dct:issued", card.dataset.issued)
        .instant("dct:modified", card.modified);
    if let Some(licence) = names.licence(card) {
        subject.link("dct:license", &licence);
    }
}

fn distribution(graph: &mut Graph, names: &Names<'_>, card: &Card, form: (&str, &str, &str, &str)) {
    let (ending, media_type, kind, title) = form;
    let address = names.base.at(&format!("/tables/{}/data.{ending}", card.table));
    offered(graph, names, card, ending, title, &format!("All rows of the newest version as {title}."), &address);
    let Some(mut subject) = graph.about(&names.part(card, ending), &[]) else { return };
    subject
        .link("dcat:downloadURL", &address)
        .link("dcat:mediaType", &format!("{MEDIA_TYPES}{media_type}"))
        .link("dct:format", &format!("{FILE_TYPES}{kind}"));
}

fn by_service(graph: &mut Graph, names: &Names<'_>, card: &Card) {
    let statement: String =
        url::form_urlencoded::byte_serialize(format!("SELECT * FROM {} LIMIT 100", card.table).as_bytes()).collect();
    let access = names.base.at(&format!("/api/sql?q={statement}"));
    offered(graph, names, card, "sql", "SQL", "Any part of the table, by a statement of SQL.", &access);
    if let Some(mut subject) = graph.about(&names.part(card, "sql"), &[]) {
        subject.link("dcat:accessService", &names.service);
    }
    let terms = card.terms();
    if let Some(mut rights) = graph.about(&names.part(card, "rights"), &["dct:RightsStatement"]) {
        rights.said("rdfs:label", &terms.sentence(), "en");
    }
}

/// The files themselves, where the configuration says under which address others can read the store.
fn files(graph: &mut Graph, names: &Names<'_>, card: &Card) {
    let Some(store) = &names.centre.store else { return };
    let store = store.as_str().trim_end_matches('/');
    let access = format!("{store}/tables/{}/{}/", card.table.namespace, card.table.table);
    let said = "The table itself in the format of Delta Lake, with all versions that are kept.";
    offered(graph, names, card, "delta", "Delta Lake", said, &access);
    let Some(mut subject) = graph.about(&names.part(card, "delta"), &[]) else { return };
    if let Some(bytes) = card.bytes {
        subject.typed("dcat:byteSize", &bytes.to_string(), "xsd:nonNegativeInteger");
    }
    subject.link("dcat:mediaType", &format!("{MEDIA_TYPES}application/vnd.apache.parquet"));
}

/// Returns the newest instant at which any of these changed.
pub(super) fn newest(cards: &[Card]) -> Option<Timestamp> {
    cards.iter().filter_map(|card| card.modified).max()
}

#[cfg(test)]
mod tests {
    use super::super::graph::Notation;
    use super::*;

    #[test]
    fn hostile_texts_are_written_in_every_form_and_bad_addresses_left_out() {
        let base = Base::known("https://h.example");
        let centre = Centre { contact: Some("mailto:a@h.example".to_owned()), ..Centre::named("Centre \"<&>\"") };
        let graph = graph(&base, &centre, &[Card::hostile()]);
        for notation in [Notation::Turtle, Notation::JsonLd, Notation::RdfXml] {
            let text = String::from_utf8(graph.write(notation).unwrap()).unwrap();
            assert!(text.contains("/tables/demo.figures#dataset") && !text.contains("example.org/a b"), "{text}");
        }
        let turtle = graph.write(Notation::Turtle).unwrap();
        assert!(oxttl::TurtleParser::new().for_slice(&turtle).all(|triple| triple.is_ok()));
    }

    #[test]
    fn themes_and_files_are_said_where_they_are_configured() {
        let base = Base::known("https://h.example");
        let mut centre = Centre::named("C");
        let text = |centre: &Centre| {
            String::from_utf8(graph(&base, centre, &[Card::hostile()]).write(Notation::Turtle).unwrap()).unwrap()
        };
        assert!(!text(&centre).contains("data-theme") && !text(&centre).contains("#delta"));
        centre.themes.insert("demo".to_owned(), "ECON".to_owned());
        centre.store = "https://bucket.example/hambar".parse().ok();
        let said = text(&centre);
        assert!(said.contains("data-theme/ECON") && said.contains("hambar/tables/demo/figures/"), "{said}");
    }
}
