//! A graph of RDF, and the three forms in which it is written. Addresses from outside that are none are left out: the
//! library would write whatever it is given.

use std::io;

use oxjsonld::JsonLdSerializer;
use oxrdf::vocab::rdf;
use oxrdf::{GraphNameRef, Literal, NamedNode, NamedNodeRef, Triple};
use oxrdfxml::RdfXmlSerializer;
use oxttl::TurtleSerializer;

use super::vocabulary::PREFIXES;

/// A form of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// Turtle.
    Turtle,
    /// JSON-LD.
    JsonLd,
    /// RDF/XML.
    RdfXml,
}

/// Statements, in order.
#[derive(Debug, Default)]
pub(super) struct Graph {
    triples: Vec<Triple>,
}

/// One thing that statements are made about.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    graph: &'a mut Graph,
    node: NamedNode,
}

/// Expands `dcat:Dataset`. Every word is one of ours, so that one without a known prefix is a defect, which a test finds.
fn word(text: &str) -> NamedNode {
    let expanded = text.split_once(':').and_then(|(prefix, rest)| {
        let (_, namespace) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
        Some(format!("{namespace}{rest}"))
    });
    debug_assert!(expanded.is_some(), "`{text}` has no known prefix");
    NamedNode::new_unchecked(expanded.unwrap_or_else(|| text.to_owned()))
}

impl Graph {
    /// Begins to speak about `address`, which is of these kinds; nothing where it is no address.
    pub(super) fn about(&mut self, address: &str, kinds: &[&str]) -> Option<Subject<'_>> {
        let node = NamedNode::new(address).ok()?;
        for kind in kinds {
            self.add(Triple::new(node.clone(), rdf::TYPE, word(kind)));
        }
        Some(Subject { graph: self, node })
    }

    fn add(&mut self, triple: Triple) {
        self.triples.push(triple);
    }

    /// Writes the graph.
    pub(super) fn write(&self, notation: Notation) -> io::Result<Vec<u8>> {
        match notation {
            Notation::Turtle => {
                let mut serializer = TurtleSerializer::new();
                for (prefix, namespace) in PREFIXES {
                    serializer = serializer.with_prefix(prefix, namespace).map_err(io::Error::other)?;
                }
                let mut writer = serializer.for_writer(Vec::new());
                for triple in &self.triples {
                    writer.serialize_triple(triple)?;
                }
                writer.finish()
            }
            Notation::RdfXml => {
                let mut serializer = RdfXmlSerializer::new();
                for (prefix, namespace) in PREFIXES.iter().filter(|(prefix, _)| *prefix != "rdf") {
                    serializer = serializer.with_prefix(*prefix, *namespace).map_err(io::Error::other)?;
                }
                let mut writer = serializer.for_writer(Vec::new());
                for triple in &self.triples {
                    writer.serialize_triple(triple)?;
                }
                writer.finish()
            }
            Notation::JsonLd => {
                let mut serializer = JsonLdSerializer::new();
                for (prefix, namespace) in PREFIXES {
                    serializer = serializer.with_prefix(prefix, namespace).map_err(io::Error::other)?;
                }
                let mut writer = serializer.for_writer(Vec::new());
                for triple in &self.triples {
                    writer.serialize_quad(triple.as_ref().in_graph(GraphNameRef::DefaultGraph))?;
                }
                writer.finish()
            }
        }
    }
}

impl Subject<'_> {
    /// Says something in a text, without the characters that XML cannot hold.
    pub(super) fn text(&mut self, property: &str, text: &str) -> &mut Self {
        self.literal(property, Literal::new_simple_literal(plain(text)))
    }

    /// Says something in a text of this language.
    pub(super) fn said(&mut self, property: &str, text: &str, language: &str) -> &mut Self {
        self.literal(property, Literal::new_language_tagged_literal_unchecked(plain(text), language))
    }

    /// Says something in a value of this type.
    pub(super) fn typed(&mut self, property: &str, value: &str, kind: &str) -> &mut Self {
        self.literal(property, Literal::new_typed_literal(value, word(kind)))
    }

    /// Says an instant.
    pub(super) fn instant(&mut self, property: &str, instant: Option<jiff::Timestamp>) -> &mut Self {
        if let Some(instant) = instant {
            self.typed(property, &instant.to_string(), "xsd:dateTime");
        }
        self
    }

    /// Points to something else; to nothing where `address` is none.
    pub(super) fn link(&mut self, property: &str, address: &str) -> &mut Self {
        if let Ok(object) = NamedNode::new(address) {
            self.graph.add(Triple::new(self.node.clone(), word(property), object));
        }
        self
    }

    fn literal(&mut self, property: &str, literal: Literal) -> &mut Self {
        self.graph.add(Triple::new(self.node.clone(), word(property), literal));
        self
    }
}

/// A text without control characters, which XML 1.0 has no way to write.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            control if control.is_control() => ' ',
            '\u{FFFE}' | '\u{FFFF}' => ' ',
            other => other,
        })
        .collect()
}

/// Says whether something is an address that can be pointed to.
pub(super) fn is_address(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://")) && NamedNodeRef::new(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_holds_any_text_and_reads_back_the_same() {
        let evil = "a \"\"\" ]]> <b>&amp;\\ \u{0001}\u{202e} 'я'\n\ttab";
        let mut graph = Graph::default();
        graph
            .about("https://h.example/a#b", &["dcat:Dataset"])
            .unwrap()
            .text("dct:title", evil)
            .said("dct:description", evil, "en")
            .typed("dct:issued", "2024-01-31", "xsd:date")
            .link("dcat:landingPage", "not an address <>")
            .link("foaf:page", "https://h.example/c");
        assert!(graph.about("no address", &["dcat:Dataset"]).is_none());
        let turtle = graph.write(Notation::Turtle).unwrap();
        let mut read: Vec<Triple> = oxttl::TurtleParser::new().for_slice(&turtle).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 5);
        let xml = graph.write(Notation::RdfXml).unwrap();
        let mut from_xml: Vec<Triple> =
            oxrdfxml::RdfXmlParser::new().for_slice(&xml).collect::<Result<_, _>>().unwrap();
        let json = graph.write(Notation::JsonLd).unwrap();
        let quads = oxjsonld::JsonLdParser::new().for_slice(&json).collect::<Result<Vec<_>, _>>().unwrap();
        let mut from_json: Vec<Triple> = quads.into_iter().map(Triple::from).collect();
        for triples in [&mut read, &mut from_xml, &mut from_json] {
            triples.sort_by_key(ToString::to_string);
        }
        assert_eq!(read, from_xml);
        assert_eq!(read, from_json);
    }

    #[test]
    fn prefixes_are_addresses() {
        assert!(PREFIXES.iter().all(|(_, namespace)| NamedNode::new(*namespace).is_ok()));
        assert!(is_address("https://a.example/b") && !is_address("javascript:x") && !is_address("https://a b"));
    }
}
