//! SDMX-ML structure messages (2.0, 2.1, 3.0) → the rows of [`super::structure`]. Read as a stream: memory holds one
//! batch and the item being read.

use std::sync::Arc;

use hambar_core::limits::{CELL_BYTES_MAX, ROW_BYTES_MAX};

use super::footer::Footer;
use super::structure::{Artefact, Item, StructureRows, item_of_urn, short_reference};
use super::xml::{Tag, Token, Xml, attribute};
use crate::error::DecodeError;
use crate::record::{RecordSource, SourceBatch};

/// Bytes of text gathered for one element.
const TEXT_BYTES_MAX: usize = CELL_BYTES_MAX;
/// Names (languages) of one item.
const NAMES_MAX: usize = 1_000;

/// Elements that are artefacts with rows of their own.
const ARTEFACTS: &[&str] = &[
    "Codelist",
    "CodeList",
    "ValueList",
    "GeographicCodelist",
    "GeoGridCodelist",
    "ConceptScheme",
    "CategoryScheme",
    "AgencyScheme",
    "DataProviderScheme",
    "DataConsumerScheme",
    "OrganisationUnitScheme",
    "Dataflow",
    "DataStructure",
    "KeyFamily",
    "ContentConstraint",
    "DataConstraint",
];

/// Elements that are items when they stand directly in an artefact or in another item.
const ITEMS: &[&str] = &[
    "Code",
    "ValueItem",
    "GeoFeatureSetCode",
    "GeoGridCode",
    "Concept",
    "Category",
    "Agency",
    "DataProvider",
    "DataConsumer",
    "OrganisationUnit",
];

/// Lists whose children are components.
const COMPONENT_LISTS: &[&str] = &["DimensionList", "AttributeList", "MeasureList", "Components"];

struct Open {
    item: Item,
    depth: usize,
    descriptions: Vec<(String, String)>,
    concept: String,
}

/// The reader of one structure message, after its root element was read.
pub(super) struct StructureMl {
    xml: Xml,
    state: State,
    finished: bool,
}

struct State {
    rows: StructureRows,
    stack: Vec<String>,
    artefact: Option<Artefact>,
    /// The artefact itself first, then the items around the current place.
    open: Vec<Open>,
    positions: [(&'static str, u64); 6],
    language: String,
    /// The component that a constraint's values belong to.
    constrained: String,
    annotation: String,
    text: String,
    footer: Footer,
    has_rows: bool,
}

impl StructureMl {
    pub(super) fn new(xml: Xml, member: Option<Arc<str>>) -> Self {
        let state = State {
            rows: StructureRows::new(member),
            stack: vec!["Structure".to_owned()],
            artefact: None,
            open: Vec::new(),
            positions: no_positions(),
            language: String::new(),
            constrained: String::new(),
            annotation: String::new(),
            text: String::new(),
            footer: Footer::default(),
            has_rows: false,
        };
        Self { xml, state, finished: false }
    }
}

fn no_positions() -> [(&'static str, u64); 6] {
    [("code", 0), ("dimension", 0), ("attribute", 0), ("measure", 0), ("value", 0), ("annotation", 0)]
}

impl RecordSource for StructureMl {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        if self.finished {
            return Ok(None);
        }
        let state = &mut self.state;
        loop {
            let step = match self.xml.next()? {
                Token::Open { tag, empty } => {
                    state.enter(&tag).and_then(|()| if empty { state.leave() } else { Ok(()) })
                }
                Token::Close => state.leave(),
                Token::Text(text) => state.gather(&text),
                Token::Other => Ok(()),
                Token::End => {
                    self.finished = true;
                    state.footer.check(state.has_rows)?;
                    return Ok(state.rows.take());
                }
            };
            if let Err(what) = step {
                self.finished = true;
                return Err(self.xml.wrong(what));
            }
            if state.rows.is_full() {
                return Ok(state.rows.take());
            }
        }
    }
}

impl State {
    fn enter(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let name = tag.local_name();
        let depth = self.stack.len();
        let parent = self.stack.last().map_or("", String::as_str);
        self.text.clear();
        if self.artefact.is_none() {
            // In a message, artefacts stand in lists (`Codelists`); references to them stand deeper.
            if ARTEFACTS.contains(&name) && attribute(tag, "id")?.is_some() {
                self.enter_artefact(name, tag, depth)?;
            } else if matches!(name, "Message" | "ErrorMessage") && parent == "Footer" {
                self.footer.open(attribute(tag, "code")?, attribute(tag, "severity")?)?;
            }
        } else {
            self.enter_inside(name, tag, depth)?;
        }
        self.stack.push(name.to_owned());
        Ok(())
    }

    fn enter_artefact(&mut self, name: &str, tag: &Tag<'_>, depth: usize) -> Result<(), String> {
        let kind = match name {
            "KeyFamily" => "datastructure".to_owned(),
            "DataConstraint" => "contentconstraint".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let artefact = Artefact {
            kind,
            agency: attribute(tag, "agencyID")?.or(attribute(tag, "agency")?).unwrap_or_default(),
            id: attribute(tag, "id")?.unwrap_or_default(),
            version: attribute(tag, "version")?.unwrap_or_default(),
        };
        self.positions = no_positions();
        if let Some(instant) = attribute(tag, "validFrom")?.filter(|_| artefact.kind == "contentconstraint") {
            let names = vec![(String::new(), instant)];
            self.push(&artefact, &Item { role: "valid_from", names, ..Item::default() });
        }
        self.artefact = Some(artefact);
        self.open.push(Open::new("self", String::new(), depth));
        Ok(())
    }

    fn enter_inside(&mut self, name: &str, tag: &Tag<'_>, depth: usize) -> Result<(), String> {
        let parent = self.stack.last().map_or("", String::as_str);
        let is_child = self.open.last().is_some_and(|open| open.depth + 1 == depth);
        if ITEMS.contains(&name) && is_child {
            let id = attribute(tag, "id")?.or(attribute(tag, "value")?).unwrap_or_default();
            let mut open = Open::new("code", id, depth);
            let outer = self.open.last().filter(|outer| outer.item.role == "code");
            open.item.parent = match outer {
                Some(outer) => outer.item.code.clone(),
                None => attribute(tag, "parentCode")?.unwrap_or_default(),
            };
            open.item.position = self.position("code");
            self.open.push(open);
        } else if COMPONENT_LISTS.contains(&parent) {
            self.enter_component(name, tag, depth)?;
        } else {
            match name {
                "Name" | "Description" | "AnnotationTitle" | "AnnotationText" => {
                    self.language = attribute(tag, "lang")?.unwrap_or_else(|| "en".to_owned());
                }
                "Ref" => self.reference(tag)?,
                "KeyValue" | "Attribute" => self.constrained = attribute(tag, "id")?.unwrap_or_default(),
                "Annotation" => self.annotation = attribute(tag, "id")?.unwrap_or_default(),
                _ => {}
            }
        }
        Ok(())
    }

    fn enter_component(&mut self, name: &str, tag: &Tag<'_>, depth: usize) -> Result<(), String> {
        let (role, list) = match name {
            "Dimension" => ("dimension", "dimension"),
            "TimeDimension" => ("time_dimension", "dimension"),
            "MeasureDimension" => ("measure_dimension", "dimension"),
            "Attribute" => ("attribute", "attribute"),
            "PrimaryMeasure" | "Measure" => ("measure", "measure"),
            _ => return Ok(()),
        };
        let id = attribute(tag, "id")?.or(attribute(tag, "conceptRef")?).unwrap_or_default();
        let mut open = Open::new(role, id, depth);
        open.item.position = self.position(list);
        if let Some(list) = attribute(tag, "codelist")? {
            let agency = attribute(tag, "codelistAgency")?.unwrap_or_default();
            let version = attribute(tag, "codelistVersion")?.unwrap_or_default();
            open.item.reference = format!("{agency}:{list}({version})");
        }
        self.open.push(open);
        Ok(())
    }

    fn position(&mut self, list: &'static str) -> u64 {
        let entry = self.positions.iter_mut().find(|(name, _)| *name == list);
        entry.map_or(0, |(_, position)| {
            *position += 1;
            *position
        })
    }

    /// `<Ref agencyID="ECB" id="CL_FREQ" version="1.0"/>` in the element that says what is referred to.
    fn reference(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let id = attribute(tag, "id")?.unwrap_or_default();
        let within = self.stack.last().map_or("", String::as_str);
        let whole = match within {
            "Enumeration" | "Structure" => {
                let agency = attribute(tag, "agencyID")?.unwrap_or_default();
                let version = attribute(tag, "version")?.unwrap_or_else(|| "1.0".to_owned());
                format!("{agency}:{id}({version})")
            }
            _ => id,
        };
        let within = within.to_owned();
        self.refer(&within, &whole);
        Ok(())
    }

    /// Takes what the element `within` refers to, as an id or a URN.
    fn refer(&mut self, within: &str, target: &str) {
        let Some(open) = self.open.last_mut() else { return };
        match within {
            "Parent" => open.item.parent = item_of_urn(target).to_owned(),
            "ConceptIdentity" => open.concept = item_of_urn(target).to_owned(),
            "Enumeration" if open.item.reference.is_empty() => {
                open.item.reference = short_reference(target).to_owned();
            }
            "Structure" if open.item.role == "self" => open.item.reference = short_reference(target).to_owned(),
            _ => {}
        }
    }

    fn gather(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > TEXT_BYTES_MAX {
            return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), String> {
        let Some(name) = self.stack.pop() else { return Ok(()) };
        let depth = self.stack.len();
        let text = std::mem::take(&mut self.text);
        let parent = self.stack.last().cloned().unwrap_or_default();
        if self.artefact.is_none() {
            if name == "Text" && matches!(parent.as_str(), "Message" | "ErrorMessage") {
                self.footer.text(&text);
            }
            return Ok(());
        }
        if self.open.last().is_some_and(|open| open.depth == depth) {
            self.leave_item();
            return Ok(());
        }
        let is_child = self.open.last().is_some_and(|open| open.depth + 1 == depth);
        let is_constraint = self.artefact.as_ref().is_some_and(|artefact| artefact.kind == "contentconstraint");
        let text = text.trim();
        match name.as_str() {
            "Name" if is_child => self.name(text, false)?,
            "Description" if is_child => self.name(text, true)?,
            "URN" => self.refer(&parent, text),
            "Parent" | "ConceptIdentity" | "Enumeration" | "Structure" if !text.is_empty() => self.refer(&name, text),
            "Value" if is_constraint && matches!(parent.as_str(), "KeyValue" | "Attribute") => {
                let position = self.position("value");
                let parent = self.constrained.clone();
                self.push_current(Item { role: "value", code: text.to_owned(), parent, position, ..Item::default() });
            }
            "AnnotationTitle" | "AnnotationText" if is_constraint && self.open.len() == 1 => {
                let names = vec![(self.language.clone(), text.to_owned())];
                let position = self.position("annotation");
                let code = self.annotation.clone();
                self.push_current(Item { role: "annotation", code, names, position, ..Item::default() });
            }
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, text: &str, is_description: bool) -> Result<(), String> {
        let language = self.language.clone();
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let list = if is_description { &mut open.descriptions } else { &mut open.item.names };
        if list.len() >= NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} names of one item"));
        }
        // The code stands in the row of every name.
        let code_bytes = open.item.code.len();
        let bytes = list.iter().map(|(_, name)| name.len() + code_bytes).sum::<usize>() + text.len() + code_bytes;
        if bytes > ROW_BYTES_MAX {
            return Err(format!("one item with names of more than {ROW_BYTES_MAX} bytes"));
        }
        list.push((language, text.to_owned()));
        Ok(())
    }

    fn leave_item(&mut self) {
        let Some(mut open) = self.open.pop() else { return };
        if open.item.code.is_empty() && open.item.role != "self" {
            open.item.code = std::mem::take(&mut open.concept);
        }
        // Codes of SDMX-ML 2.0 have descriptions and no names.
        if open.item.names.is_empty() && open.item.role == "code" {
            open.item.names = open.descriptions;
        }
        self.push_current(open.item);
        if self.open.is_empty() {
            self.artefact = None;
        }
    }

    fn push_current(&mut self, item: Item) {
        if let Some(artefact) = self.artefact.take() {
            self.push(&artefact, &item);
            self.artefact = Some(artefact);
        }
    }

    fn push(&mut self, artefact: &Artefact, item: &Item) {
        self.rows.push(artefact, item);
        self.has_rows = true;
    }
}

impl Open {
    fn new(role: &'static str, code: String, depth: usize) -> Self {
        let item = Item { role, code, ..Item::default() };
        Self { item, depth, descriptions: Vec::new(), concept: String::new() }
    }
}
