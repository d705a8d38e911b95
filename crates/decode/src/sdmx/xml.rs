//! A guarded pull reader of XML for the SDMX readers: every element, text, depth and total has a limit, `<!DOCTYPE` is
//! refused, and a message that ends inside an element is an error. It knows nothing of SDMX.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::encoding::DecodingReader;
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::QName;

use crate::error::DecodeError;

/// Bytes of one tag with its attributes, or of one run of text. A cell may have 1 MiB, so that this is far off real data.
pub(super) const XML_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Elements inside each other. SDMX needs about ten; category schemes may nest deeper.
pub(super) const XML_DEPTH_MAX: usize = 256;
/// Attributes of one element; as many as a table may have columns.
pub(super) const XML_ATTRIBUTES_MAX: usize = hambar_core::limits::COLUMNS_MAX;
/// Bytes that are looked at to find the declared encoding.
const DECLARATION_BYTES: usize = 256;
/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// What comes next in a document. Comments and processing instructions are `Other`.
pub(super) enum Token<'a> {
    /// A start tag; `empty` when it is its own end.
    Open { tag: BytesStart<'a>, empty: bool },
    /// An end tag.
    Close,
    /// Text with its references resolved; one text may come in several pieces.
    Text(Cow<'a, str>),
    /// Nothing that carries data.
    Other,
    /// The document's end, after its root element was closed.
    End,
}

/// The reader.
pub(super) struct Xml {
    reader: Reader<Meter>,
    buffer: Vec<u8>,
    depth: usize,
    root_seen: bool,
    file: String,
    format: &'static str,
}

impl Xml {
    /// Wraps `source`; `file` and `format` go into errors.
    pub(super) fn new(
        source: Box<dyn Read + Send>,
        file: &str,
        format: &'static str,
        bytes_max: u64,
    ) -> Result<Self, DecodeError> {
        let inner = decoded(source).map_err(|source| DecodeError::Read { file: file.to_owned(), source })?.ok_or_else(
            || DecodeError::Format {
                file: file.to_owned(),
                format,
                place: "the XML declaration".to_owned(),
                what: "its encoding is not known".to_owned(),
            },
        )?;
        let meter = Meter { inner, event_left: XML_EVENT_BYTES_MAX, total: 0, total_max: bytes_max, hit: None };
        Ok(Self {
            reader: Reader::from_reader(meter),
            buffer: Vec::with_capacity(1024),
            depth: 0,
            root_seen: false,
            file: file.to_owned(),
            format,
        })
    }

    /// Returns the next token.
    pub(super) fn next(&mut self) -> Result<Token<'_>, DecodeError> {
        self.buffer.clear();
        self.reader.get_mut().event_left = XML_EVENT_BYTES_MAX;
        let event = match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => event,
            Err(error) => {
                let offset = self.reader.buffer_position();
                return Err(failure(&self.file, self.format, offset, self.reader.get_mut().hit, error));
            }
        };
        let offset = self.reader.buffer_position();
        let wrong = |what: String| DecodeError::Format {
            file: self.file.clone(),
            format: self.format,
            place: format!("byte {offset}"),
            what,
        };
        match event {
            Event::Start(tag) => {
                if self.depth == 0 && self.root_seen {
                    return Err(wrong("a second root element".to_owned()));
                }
                self.root_seen = true;
                self.depth += 1;
                if self.depth > XML_DEPTH_MAX {
                    return Err(limit(&self.file, "XML depth limit", XML_DEPTH_MAX as u64, "elements", offset));
                }
                check_attributes(&tag, &self.file, offset)?;
                Ok(Token::Open { tag, empty: false })
            }
            Event::Empty(tag) => {
                if self.depth == 0 && self.root_seen {
                    return Err(wrong("a second root element".to_owned()));
                }
                self.root_seen = true;
                check_attributes(&tag, &self.file, offset)?;
                Ok(Token::Open { tag, empty: true })
            }
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(Token::Close)
            }
            Event::Text(text) => Ok(Token::Text(text.into_inner())),
            Event::CData(text) => Ok(Token::Text(text.into_inner())),
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character),
                    Ok(None) => predefined(&reference.into_inner()),
                    Err(error) => return Err(wrong(error.to_string())),
                };
                let character = resolved.ok_or_else(|| wrong("an entity that is not predefined".to_owned()))?;
                Ok(Token::Text(Cow::Owned(character.to_string())))
            }
            Event::DocType(_) => {
                Err(wrong("`<!DOCTYPE` is refused: entities and external definitions are never read".to_owned()))
            }
            Event::Eof if !self.root_seen => Err(wrong("there is no element".to_owned())),
            Event::Eof if self.depth > 0 => {
                Err(wrong(format!("it ends inside {} open elements: the message is cut off", self.depth)))
            }
            Event::Eof => Ok(Token::End),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Ok(Token::Other),
        }
    }

    /// Makes the error "not in this format" at the current place.
    pub(super) fn wrong(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Format {
            file: self.file.clone(),
            format: self.format,
            place: format!("byte {}", self.reader.buffer_position()),
            what: what.into(),
        }
    }
}

/// Calls `each` with the name and the unescaped value of every attribute of `tag`. An error of `each` ends the walk.
pub(super) fn attributes<F>(tag: &BytesStart<'_>, mut each: F) -> Result<(), String>
where
    F: FnMut(QName<'_>, &str) -> Result<(), String>,
{
    let mut all: Attributes<'_> = tag.attributes();
    all.with_checks(false);
    for attribute in all {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let raw: &str = &attribute.value;
        // Few values hold references or line ends; the others are passed on as they stand in the buffer.
        if raw.bytes().all(|byte| byte != b'&' && byte >= b' ') {
            each(attribute.key, raw)?;
        } else {
            let value =
                attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            each(attribute.key, &value)?;
        }
    }
    Ok(())
}

/// Returns the value of the attribute `name` (without prefix), if `tag` has it.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let mut found = None;
    attributes(tag, |key, value| {
        if key.local_name().into_inner() == name && !key.into_inner().starts_with("xmlns") {
            found.get_or_insert_with(|| value.to_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

fn check_attributes(tag: &BytesStart<'_>, file: &str, offset: u64) -> Result<(), DecodeError> {
    // The shortest attribute takes five bytes (` a=""`): a short tag cannot have too many.
    let raw = tag.attributes_raw();
    if raw.len() < XML_ATTRIBUTES_MAX * 5 {
        return Ok(());
    }
    let mut all = tag.attributes();
    all.with_checks(false);
    if all.count() > XML_ATTRIBUTES_MAX {
        return Err(limit(file, "XML attribute limit", XML_ATTRIBUTES_MAX as u64, "attributes of one element", offset));
    }
    Ok(())
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

fn limit(file: &str, name: &'static str, value: u64, unit: &'static str, offset: u64) -> DecodeError {
    DecodeError::Limit { file: file.to_owned(), limit: name, value, unit, place: format!("byte {offset}") }
}

fn failure(file: &str, format: &'static str, offset: u64, hit: Option<Hit>, error: quick_xml::Error) -> DecodeError {
    match hit {
        Some(Hit::Event) => return limit(file, "XML element limit", XML_EVENT_BYTES_MAX as u64, "bytes", offset),
        Some(Hit::Total(value)) => return limit(file, "decoded size limit", value, "bytes", offset),
        None => {}
    }
    match error {
        quick_xml::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            DecodeError::Read { file: file.to_owned(), source: io::Error::new(source.kind(), source.to_string()) }
        }
        other => DecodeError::Format {
            file: file.to_owned(),
            format,
            place: format!("byte {offset}"),
            what: other.to_string(),
        },
    }
}

/// Returns `source` as UTF-8, by its byte order mark or its declaration; `None` for an encoding nobody knows.
fn decoded(mut source: Box<dyn Read + Send>) -> io::Result<Option<Box<dyn BufRead + Send>>> {
    let mut head = Vec::with_capacity(DECLARATION_BYTES);
    source.by_ref().take(DECLARATION_BYTES as u64).read_to_end(&mut head)?;
    let is_wide = matches!(head.get(..2), Some([0xFE, 0xFF] | [0xFF, 0xFE] | [0, b'<'] | [b'<', 0]));
    let declared = declared_encoding(&head);
    let whole = io::Cursor::new(head).chain(source);
    let label = match declared {
        None if is_wide => None,
        None => return Ok(Some(Box::new(BufReader::with_capacity(READ_BYTES, whole)))),
        Some(label) => match encoding_rs::Encoding::for_label(label.as_bytes()) {
            Some(encoding) if encoding == encoding_rs::UTF_8 => {
                return Ok(Some(Box::new(BufReader::with_capacity(READ_BYTES, whole))));
            }
            Some(encoding) => Some(encoding),
            None => return Ok(None),
        },
    };
    let mut decoder = DecodingReader::new(BufReader::with_capacity(READ_BYTES, whole));
    if let Some(encoding) = label {
        decoder.set_encoding(encoding);
    }
    Ok(Some(Box::new(decoder)))
}

fn declared_encoding(head: &[u8]) -> Option<String> {
    let text: String = head.iter().take_while(|byte| **byte != b'>').map(|byte| char::from(*byte)).collect();
    let text = text.trim_start_matches(['\u{ef}', '\u{bb}', '\u{bf}']);
    let rest = text.strip_prefix("<?xml")?.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let label = rest.get(1..)?.split(quote).next()?;
    // US-ASCII is UTF-8 already; encoding_rs would read it as windows-1252, which costs time for nothing.
    (!label.eq_ignore_ascii_case("us-ascii")).then(|| label.to_owned())
}

#[derive(Debug, Clone, Copy)]
enum Hit {
    Event,
    Total(u64),
}

/// Counts the bytes of one event and of the whole, because quick-xml gathers an event in memory whatever its size.
struct Meter {
    inner: Box<dyn BufRead + Send>,
    event_left: usize,
    total: u64,
    total_max: u64,
    hit: Option<Hit>,
}

impl Read for Meter {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Meter {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.event_left == 0 {
            self.hit = Some(Hit::Event);
        } else if self.total >= self.total_max {
            self.hit = Some(Hit::Total(self.total_max));
        }
        if self.hit.is_some() {
            return Err(io::Error::other("limit reached"));
        }
        let available = self.inner.fill_buf()?;
        Ok(&available[..available.len().min(self.event_left)])
    }

    fn consume(&mut self, length: usize) {
        self.event_left = self.event_left.saturating_sub(length);
        self.total += length as u64;
        self.inner.consume(length);
    }
}
