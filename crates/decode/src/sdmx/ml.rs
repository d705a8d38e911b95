//! SDMX-ML data messages: 2.1 generic and structure-specific, 3.0 structure-specific, 2.0 generic and compact, as time
//! series, cross-sections or flat. Read as a stream: memory holds one batch, the groups of one data set and one series'
//! attributes, whatever the size of the message.
//!
//! * A row is an observation. A series without observations gives no row.
//! * Columns are named by concept id. A structure-specific message does not tell dimensions from attributes, so its
//!   columns come in the order in which they are met.
//! * `ACTION` (`D`) is a column only once a data set says that it deletes.
//! * A footer (or an `Error` message) that reports a failure is [`DecodeError::Message`].

use super::footer::Footer;
use super::ml_header::{DATA_SET_PROPERTIES, HeaderStructure, attribute_names, declare};
use super::rows::{Level, Role, Rows};
use super::values::{join_languages, join_values};
use super::xml::{Tag, Token, Xml, attribute, attributes};
use crate::error::DecodeError;
use crate::record::{RecordSource, SourceBatch};

/// Bytes of text gathered for one element.
const TEXT_BYTES_MAX: usize = hambar_core::limits::CELL_BYTES_MAX;

/// The elements that the reader tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Root,
    Header,
    DataSet,
    Group,
    Series,
    Observation,
    Key(Level),
    Attributes(Level),
    /// An attribute with several values or languages (3.0).
    Component(Level),
    ComponentValue,
    ComponentText,
    /// The time of an observation (2.0 generic).
    Time,
    Footer,
    FooterMessage,
    FooterText,
    Other,
}

/// How cells are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `<Value id="FREQ" value="A"/>`.
    Generic,
    /// `FREQ="A"`.
    Specific,
    /// As `Specific`, and groups are named by their kind (2.0).
    Compact,
}

/// The reader of one message.
pub(super) struct MlSource {
    xml: Xml,
    message: Message,
    finished: bool,
}

/// All that is known of the message at the current place.
struct Message {
    rows: Rows,
    style: Style,
    stack: Vec<Element>,
    structures: Vec<HeaderStructure>,
    /// The structure of the current data set, if the header declares it.
    current: Option<usize>,
    action_delete: bool,
    group_kind: String,
    group_keys: Vec<usize>,
    group_has_series: bool,
    footer: Footer,
    text: String,
    component: String,
    component_bytes: usize,
    values: Vec<String>,
    languages: Vec<(String, String)>,
    has_rows: bool,
}

impl MlSource {
    /// Goes on after the root element `root` (its local name) was read.
    pub(super) fn new(xml: Xml, root: &str, rows: Rows) -> Result<Self, DecodeError> {
        let style = match root {
            "GenericData" | "GenericTimeSeriesData" => Style::Generic,
            "StructureSpecificData" | "StructureSpecificTimeSeriesData" => Style::Specific,
            "CompactData" => Style::Compact,
            "Error" => Style::Generic,
            other => {
                return Err(xml.wrong(format!(
                    "`{other}` is not a data or structure message; ask for generic or structure-specific data"
                )));
            }
        };
        let mut stack = Vec::with_capacity(16);
        stack.push(if root == "Error" { Element::Footer } else { Element::Root });
        let message = Message {
            rows,
            style,
            stack,
            structures: Vec::new(),
            current: None,
            action_delete: false,
            group_kind: String::new(),
            group_keys: Vec::new(),
            group_has_series: false,
            footer: Footer::default(),
            text: String::new(),
            component: String::new(),
            component_bytes: 0,
            values: Vec::new(),
            languages: Vec::new(),
            has_rows: false,
        };
        Ok(Self { xml, message, finished: false })
    }
}

impl RecordSource for MlSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        if self.finished {
            return Ok(None);
        }
        let message = &mut self.message;
        loop {
            let step = match self.xml.next()? {
                Token::Open { tag, empty } => message.open(&tag, empty),
                Token::Close => message.close_top(),
                Token::Text(text) => message.gather(&text),
                Token::Other => Ok(()),
                Token::End => {
                    self.finished = true;
                    message.footer.check(message.has_rows)?;
                    return Ok(message.rows.take());
                }
            };
            if let Err(what) = step {
                self.finished = true;
                return Err(self.xml.wrong(format!("record {}: {what}", message.rows.record())));
            }
            if message.rows.is_full() {
                return Ok(message.rows.take());
            }
        }
    }
}

impl Message {
    fn open(&mut self, tag: &Tag<'_>, empty: bool) -> Result<(), String> {
        let parent = self.stack.last().copied().unwrap_or(Element::Root);
        let element = self.enter(parent, tag)?;
        if empty { self.close(element) } else { self.push(element) }
    }

    fn push(&mut self, element: Element) -> Result<(), String> {
        self.stack.push(element);
        Ok(())
    }

    /// Says what the tag is inside `parent` and takes its attributes.
    fn enter(&mut self, parent: Element, tag: &Tag<'_>) -> Result<Element, String> {
        let name = tag.local_name();
        match parent {
            // The four places where nearly all elements of a message are come first.
            Element::Key(level) => self.generic_value(name, tag, level, Role::Dimension),
            Element::Attributes(level) => self.generic_value(name, tag, level, Role::Attribute),
            Element::Observation => self.enter_in_observation(name, tag),
            Element::Series => self.enter_in_series(name, tag),
            Element::Group => self.enter_in_group(name, tag),
            Element::DataSet => self.enter_in_data_set(name, tag),
            Element::Component(_) if name == "Value" => {
                self.text.clear();
                self.languages.clear();
                Ok(Element::ComponentValue)
            }
            Element::ComponentValue if name == "Text" => {
                self.text.clear();
                let language = attribute(tag, "lang")?.unwrap_or_else(|| "en".to_owned());
                self.languages.push((language, String::new()));
                Ok(Element::ComponentText)
            }
            Element::Root => self.enter_in_root(name, tag),
            Element::Header if name == "Structure" => {
                declare(&mut self.structures, tag)?;
                Ok(Element::Other)
            }
            Element::Footer if matches!(name, "Message" | "ErrorMessage") => {
                self.footer.open(attribute(tag, "code")?, attribute(tag, "severity")?)?;
                Ok(Element::FooterMessage)
            }
            Element::FooterMessage if name == "Text" => {
                self.text.clear();
                Ok(Element::FooterText)
            }
            _ => Ok(Element::Other),
        }
    }

    fn enter_in_root(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, String> {
        match name {
            "Header" => Ok(Element::Header),
            "Footer" => Ok(Element::Footer),
            "DataSet" => {
                self.rows.forget(Level::DataSet);
                self.data_set(tag)?;
                Ok(Element::DataSet)
            }
            _ => Ok(Element::Other),
        }
    }

    fn enter_in_data_set(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, String> {
        match name {
            "Series" => self.series(tag),
            "Obs" => self.observation(tag),
            "Group" => {
                let kind = attribute(tag, "type")?.unwrap_or_default();
                self.group(kind, tag)
            }
            "Attributes" if self.style == Style::Generic => Ok(Element::Attributes(Level::DataSet)),
            "Atts" => self.group(attribute_names(tag)?, tag),
            "Comp" => self.component(tag, Level::DataSet),
            other if self.style == Style::Compact && other != "Annotations" => self.group(other.to_owned(), tag),
            _ => Ok(Element::Other),
        }
    }

    fn enter_in_group(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, String> {
        match name {
            "GroupKey" => Ok(Element::Key(Level::Group)),
            "Attributes" => Ok(Element::Attributes(Level::Group)),
            "Comp" => self.component(tag, Level::Group),
            "Series" => {
                self.group_has_series = true;
                self.series(tag)
            }
            _ => Ok(Element::Other),
        }
    }

    fn enter_in_series(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, String> {
        match name {
            "Obs" => self.observation(tag),
            "SeriesKey" => Ok(Element::Key(Level::Series)),
            "Attributes" => Ok(Element::Attributes(Level::Series)),
            "Comp" => self.component(tag, Level::Series),
            _ => Ok(Element::Other),
        }
    }

    fn enter_in_observation(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, String> {
        match name {
            "ObsValue" => {
                let index = self.rows.column("OBS_VALUE", Role::Measure)?;
                let rows = &mut self.rows;
                attributes(tag, |key, value| match key {
                    "value" => rows.set_at(Level::Observation, index, value),
                    _ => Ok(()),
                })?;
            }
            "ObsDimension" => self.observation_dimension(tag)?,
            "Attributes" => return Ok(Element::Attributes(Level::Observation)),
            "ObsKey" => return Ok(Element::Key(Level::Observation)),
            "Comp" => return self.component(tag, Level::Observation),
            "Time" => {
                self.text.clear();
                return Ok(Element::Time);
            }
            _ => {}
        }
        Ok(Element::Other)
    }

    /// `<Value id="FREQ" value="A"/>`, in 2.0 `concept` instead of `id`; the two come in any order.
    fn generic_value(&mut self, name: &str, tag: &Tag<'_>, level: Level, role: Role) -> Result<Element, String> {
        if name != "Value" {
            return Ok(Element::Other);
        }
        let mut column = None;
        let mut is_set = false;
        self.text.clear();
        let (rows, text, keys) = (&mut self.rows, &mut self.text, &mut self.group_keys);
        attributes(tag, |key, value| {
            match key {
                "id" | "concept" => {
                    let index = rows.column(value, role)?;
                    if level == Level::Group && role == Role::Dimension {
                        keys.push(index);
                    }
                    column = Some(index);
                    if is_set {
                        rows.set_at(level, index, text)?;
                    }
                }
                "value" => {
                    is_set = true;
                    match column {
                        Some(index) => rows.set_at(level, index, value)?,
                        None => text.push_str(value),
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        match column {
            Some(_) => Ok(Element::Other),
            None => Err("a `Value` without `id`".to_owned()),
        }
    }

    /// Takes the cells that stand as attributes of the element itself.
    fn specific_values(&mut self, tag: &Tag<'_>, level: Level) -> Result<(), String> {
        if self.style == Style::Generic {
            return Ok(());
        }
        let rows = &mut self.rows;
        attributes(tag, |key, value| {
            let name = key;
            // What has a prefix is XML's or SDMX's own (`xsi:type`, `ss:dataScope`), never a concept.
            if name.contains(':') || name == "xmlns" {
                return Ok(());
            }
            let role = if name == "OBS_VALUE" { Role::Measure } else { Role::Dimension };
            rows.set(level, name, role, value)
        })
    }

    fn series(&mut self, tag: &Tag<'_>) -> Result<Element, String> {
        self.rows.forget(Level::Series);
        self.specific_values(tag, Level::Series)?;
        Ok(Element::Series)
    }

    fn observation(&mut self, tag: &Tag<'_>) -> Result<Element, String> {
        self.specific_values(tag, Level::Observation)?;
        let explicit = self.current.and_then(|index| self.structures.get(index));
        if let Some(structure) = explicit.filter(|structure| structure.has_explicit_measures) {
            let kind = attribute(tag, "type")?.unwrap_or_default();
            let measure = kind.rsplit(':').next().unwrap_or_default();
            if !measure.is_empty() {
                let name = structure.dimension_at_observation.clone();
                self.rows.set(Level::Observation, &name, Role::Dimension, measure)?;
            }
        }
        if self.action_delete {
            self.rows.set(Level::Observation, "ACTION", Role::Attribute, "D")?;
        }
        Ok(Element::Observation)
    }

    fn observation_dimension(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let mut named = None;
        self.text.clear();
        let text = &mut self.text;
        attributes(tag, |key, value| {
            match key {
                "id" => named = Some(value.to_owned()),
                "value" => text.push_str(value),
                _ => {}
            }
            Ok(())
        })?;
        let declared = self.current.and_then(|index| self.structures.get(index));
        let name = match (&named, declared) {
            (Some(name), _) => name.as_str(),
            (None, Some(structure)) if structure.dimension_at_observation != "AllDimensions" => {
                &structure.dimension_at_observation
            }
            (None, _) => "TIME_PERIOD",
        };
        self.rows.set(Level::Observation, name, Role::Dimension, &self.text)
    }

    fn group(&mut self, kind: String, tag: &Tag<'_>) -> Result<Element, String> {
        self.group_kind = kind;
        self.group_keys.clear();
        self.group_has_series = false;
        self.rows.forget(Level::Group);
        self.specific_values(tag, Level::Group)?;
        Ok(Element::Group)
    }

    fn component(&mut self, tag: &Tag<'_>, level: Level) -> Result<Element, String> {
        self.component = attribute(tag, "id")?.ok_or("a `Comp` without `id`")?;
        self.component_bytes = 0;
        self.values.clear();
        Ok(Element::Component(level))
    }

    fn data_set(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let id = attribute(tag, "structureRef")?;
        self.current = match &id {
            Some(id) => self.structures.iter().position(|structure| structure.id == *id),
            None => (self.structures.len() == 1).then_some(0),
        };
        if let (Some(id), None) = (&id, self.current) {
            return Err(format!("the data set refers to the structure `{id}`, which the header does not declare"));
        }
        self.action_delete = attribute(tag, "action")?.as_deref() == Some("Delete");
        if self.style == Style::Generic {
            return Ok(());
        }
        let rows = &mut self.rows;
        attributes(tag, |key, value| {
            let name = key;
            if name.contains(':') || DATA_SET_PROPERTIES.contains(&name) {
                return Ok(());
            }
            rows.set(Level::DataSet, name, Role::Attribute, value)
        })
    }

    fn gather(&mut self, text: &str) -> Result<(), String> {
        match self.stack.last() {
            Some(Element::Time | Element::FooterText | Element::ComponentText | Element::ComponentValue) => {
                if self.text.len() + text.len() > TEXT_BYTES_MAX {
                    return Err(format!("a text of more than {TEXT_BYTES_MAX} bytes"));
                }
                self.text.push_str(text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_top(&mut self) -> Result<(), String> {
        match self.stack.pop() {
            Some(element) => self.close(element),
            None => Ok(()),
        }
    }

    fn close(&mut self, element: Element) -> Result<(), String> {
        match element {
            Element::Observation => {
                self.rows.end_row();
                self.has_rows = true;
            }
            Element::Series => self.rows.forget(Level::Series),
            Element::Group if self.group_has_series => self.rows.forget(Level::Group),
            Element::Group => {
                let keys = (self.style == Style::Generic).then_some(self.group_keys.as_slice());
                self.rows.keep_group(&self.group_kind, keys)?;
            }
            Element::Time => {
                self.rows.set(Level::Observation, "TIME_PERIOD", Role::Dimension, self.text.trim())?;
            }
            Element::ComponentText => {
                if let Some(last) = self.languages.last_mut() {
                    last.1.push_str(self.text.trim());
                    self.component_bytes += last.0.len() + last.1.len() + 1;
                }
                if self.component_bytes > TEXT_BYTES_MAX {
                    return Err(format!("`{}` has texts of more than {TEXT_BYTES_MAX} bytes", self.component));
                }
            }
            Element::ComponentValue => {
                let is_plain = self.languages.is_empty();
                let value = if is_plain { self.text.trim().to_owned() } else { join_languages(&self.languages) };
                // Each value takes at least its separator in the cell.
                self.component_bytes += if is_plain { value.len() + 1 } else { 1 };
                if self.component_bytes > TEXT_BYTES_MAX {
                    return Err(format!("`{}` has values of more than {TEXT_BYTES_MAX} bytes", self.component));
                }
                self.values.push(value);
            }
            Element::Component(level) if !self.values.is_empty() => {
                let joined = join_values(&self.values);
                self.rows.set(level, &self.component, Role::Attribute, &joined)?;
            }
            Element::FooterText => self.footer.text(&self.text),
            Element::DataSet => self.rows.forget(Level::DataSet),
            _ => {}
        }
        Ok(())
    }
}
