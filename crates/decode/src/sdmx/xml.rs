//! A guarded pull reader of XML for the SDMX readers: every tag, text, depth and total has a limit, `<!DOCTYPE` is
//! refused, and a message that ends inside an element is an error. It knows nothing of SDMX.
//!
//! Tags are found in a window over the input and handed out as slices of it. quick-xml's own pull reader copies every
//! event; SDMX-ML has an event every 18 bytes, and with it the whole way to Arrow ran at 57 MB/s, with this at 163
//! (`examples/sdmx_speed.rs`). quick-xml unescapes, and decodes other encodings than UTF-8.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memmem};
use quick_xml::encoding::DecodingReader;
use quick_xml::escape::unescape;

use crate::error::DecodeError;

/// Bytes of one tag with its attributes, or of one run of text. A cell may have 1 MiB, so that this is far off real data.
pub(super) const XML_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Elements inside each other. SDMX needs about ten; category schemes may nest deeper.
pub(super) const XML_DEPTH_MAX: usize = 256;
/// Bytes of an element's name.
const XML_NAME_BYTES_MAX: usize = 1024;
/// Attributes of one element; as many as a table may have columns.
pub(super) const XML_ATTRIBUTES_MAX: usize = hambar_core::limits::COLUMNS_MAX;
/// Bytes that are looked at to find the declared encoding.
const DECLARATION_BYTES: usize = 256;
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// A start tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
}

impl<'a> Tag<'a> {
    /// Returns the name without its prefix.
    pub(super) fn local_name(&self) -> &'a str {
        local_name(self.name)
    }
}

fn local_name(name: &str) -> &str {
    find(name.as_bytes(), b':').map_or(name, |colon| &name[colon + 1..])
}

/// As `memchr`, faster where the byte is among the next ten or twenty, as it is in tags.
fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// What comes next in a document. Comments and processing instructions are `Other`.
pub(super) enum Token<'a> {
    /// A start tag; `empty` when it is its own end.
    Open { tag: Tag<'a>, empty: bool },
    /// An end tag.
    Close,
    /// Text with its references resolved; one text may come in several pieces.
    Text(Cow<'a, str>),
    /// Nothing that carries data.
    Other,
    /// The document's end, after its root element was closed.
    End,
}

/// Where a token is in the window, found before it is borrowed.
enum Found {
    Text(usize, usize),
    Data(usize, usize),
    Open { name_end: usize, start: usize, end: usize, empty: bool },
    Close,
    Other,
    End,
}

/// The reader.
pub(super) struct Xml {
    input: Box<dyn Read + Send>,
    /// The part of the document that is looked at; all of it is UTF-8.
    window: String,
    /// What of the window was handed out.
    taken: usize,
    /// Bytes of the document before the window.
    before: u64,
    /// Bytes read that do not make a whole character yet are at its beginning.
    chunk: Vec<u8>,
    is_input_over: bool,
    read: u64,
    read_max: u64,
    /// The names of the open elements, one after the other, and where each begins.
    names: String,
    starts: Vec<usize>,
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
        let input = decoded(source).map_err(|source| DecodeError::Read { file: file.to_owned(), source })?.ok_or_else(
            || DecodeError::Format {
                file: file.to_owned(),
                format,
                place: "the XML declaration".to_owned(),
                what: "its encoding is not known".to_owned(),
            },
        )?;
        let mut xml = Self {
            input,
            window: String::with_capacity(2 * READ_BYTES),
            taken: 0,
            before: 0,
            chunk: Vec::with_capacity(READ_BYTES),
            is_input_over: false,
            read: 0,
            read_max: bytes_max,
            names: String::new(),
            starts: Vec::new(),
            root_seen: false,
            file: file.to_owned(),
            format,
        };
        xml.fill()?;
        if xml.window.starts_with('\u{feff}') {
            xml.taken = '\u{feff}'.len_utf8();
        }
        Ok(xml)
    }

    /// Returns the next token.
    pub(super) fn next(&mut self) -> Result<Token<'_>, DecodeError> {
        let found = loop {
            match self.find_token()? {
                Some(found) => break found,
                None if self.is_input_over => return Err(self.wrong("it ends inside a tag: the message is cut off")),
                None => self.fill()?,
            }
        };
        match found {
            Found::Text(start, end) => {
                let raw = &self.window[start..end];
                if memchr(b'&', raw.as_bytes()).is_none() {
                    return Ok(Token::Text(Cow::Borrowed(raw)));
                }
                unescape(raw).map(Token::Text).map_err(|error| self.wrong(error.to_string()))
            }
            Found::Data(start, end) => Ok(Token::Text(Cow::Borrowed(&self.window[start..end]))),
            Found::Open { name_end, start, end, empty } => {
                self.open(start, name_end, end, empty)?;
                let tag = Tag { name: &self.window[start..name_end], attributes: &self.window[name_end..end] };
                Ok(Token::Open { tag, empty })
            }
            Found::Close => Ok(Token::Close),
            Found::Other => Ok(Token::Other),
            Found::End => Ok(Token::End),
        }
    }

    /// Makes the error "not in this format" at the current place.
    pub(super) fn wrong(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Format {
            file: self.file.clone(),
            format: self.format,
            place: format!("byte {}", self.offset()),
            what: what.into(),
        }
    }

    fn offset(&self) -> u64 {
        self.before + self.taken as u64
    }

    fn limit(&self, limit: &'static str, value: u64, unit: &'static str) -> DecodeError {
        DecodeError::Limit { file: self.file.clone(), limit, value, unit, place: format!("byte {}", self.offset()) }
    }

    /// Finds the next token in the window and takes it; `None` if its end is not there yet.
    fn find_token(&mut self) -> Result<Option<Found>, DecodeError> {
        let mut start = self.taken;
        let mut rest = &self.window.as_bytes()[start..];
        // White space between tags is not worth a token: half of all texts are indentation.
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if rest.get(blanks) == Some(&b'<') {
            start += blanks;
            self.taken = start;
            rest = &rest[blanks..];
        }
        let Some(first) = rest.first() else {
            return if self.is_input_over { self.end().map(Some) } else { Ok(None) };
        };
        if *first != b'<' {
            let Some(length) = memchr(b'<', rest).or(self.is_input_over.then_some(rest.len())) else { return Ok(None) };
            if self.starts.is_empty() && !rest[..length].iter().all(u8::is_ascii_whitespace) {
                return Err(self.wrong(if self.root_seen {
                    "text after the end"
                } else {
                    "it does not begin with `<`"
                }));
            }
            self.taken += length;
            return Ok(Some(Found::Text(start, self.taken)));
        }
        match rest.get(1) {
            None => Ok(None),
            Some(b'/') => {
                // Nearly always it is the tag that must come.
                let begin = self.starts.last().copied().unwrap_or(self.names.len());
                let expected = &self.names.as_bytes()[begin..];
                let length = match rest[2..].strip_prefix(expected) {
                    Some([b'>', ..]) => expected.len() + 2,
                    _ => match find(rest, b'>') {
                        Some(length) => length,
                        None => return Ok(None),
                    },
                };
                self.taken += length + 1;
                self.close(start + 2, start + length)?;
                Ok(Some(Found::Close))
            }
            Some(b'?') => Ok(self.skip(start, 2, b"?>").map(|_| Found::Other)),
            Some(b'!') => self.find_declaration(start),
            Some(_) => self.find_tag(start),
        }
    }

    fn find_declaration(&mut self, start: usize) -> Result<Option<Found>, DecodeError> {
        let rest = &self.window[start..];
        if rest.starts_with("<!--") {
            return Ok(self.skip(start, 4, b"-->").map(|_| Found::Other));
        }
        if rest.starts_with("<![CDATA[") {
            return Ok(self.skip(start, 9, b"]]>").map(|end| Found::Data(start + 9, end)));
        }
        if rest.len() < "<!DOCTYPE".len() {
            return Ok(None);
        }
        Err(self.wrong("`<!DOCTYPE` is refused: entities and external definitions are never read"))
    }

    /// Takes everything up to and with `mark`, which is looked for behind the first `head` bytes; returns its place.
    fn skip(&mut self, start: usize, head: usize, mark: &[u8]) -> Option<usize> {
        let place = start + head + memmem::find(self.window.as_bytes().get(start + head..)?, mark)?;
        self.taken = place + mark.len();
        Some(place)
    }

    fn find_tag(&mut self, start: usize) -> Result<Option<Found>, DecodeError> {
        let bytes = self.window.as_bytes();
        let name_start = start + 1;
        let mut at = name_start;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'>' | b'/' | b' ' | b'\n' | b'\t' | b'\r' => break,
                b'<' | b'"' | b'\'' | b'=' => return Err(self.wrong("a tag with a malformed name")),
                _ => at += 1,
            }
        }
        let name_end = at;
        loop {
            match bytes.get(at) {
                None => return Ok(None),
                Some(b'>') => break,
                Some(b'<') => return Err(self.wrong("a `<` inside a tag")),
                // A `<` in a value must be written `&lt;`: one that is not means that a quote is missing.
                Some(quote @ (b'"' | b'\'')) => {
                    let value = &bytes[at + 1..];
                    match value.iter().position(|byte| byte == quote || *byte == b'<') {
                        Some(length) if value[length] == b'<' => return Err(self.wrong("a `<` inside a tag")),
                        Some(length) => at += length + 2,
                        None => return Ok(None),
                    }
                }
                Some(_) => at += 1,
            }
        }
        if name_end == name_start {
            return Err(self.wrong("a tag without a name"));
        }
        let empty = bytes[at - 1] == b'/';
        let end = if empty { (at - 1).max(name_end) } else { at };
        self.taken = at + 1;
        Ok(Some(Found::Open { start: name_start, name_end, end, empty }))
    }

    fn open(&mut self, start: usize, name_end: usize, end: usize, empty: bool) -> Result<(), DecodeError> {
        if self.starts.is_empty() && self.root_seen {
            return Err(self.wrong("a second root element"));
        }
        self.root_seen = true;
        // The shortest attribute takes five bytes (` a=""`): a short tag cannot have too many.
        if end - name_end >= XML_ATTRIBUTES_MAX * 5 {
            let tag = Tag { name: "", attributes: &self.window[name_end..end] };
            let mut count = 0;
            attributes(&tag, |_, _| {
                count += 1;
                Ok(())
            })
            .map_err(|what| self.wrong(what))?;
            if count > XML_ATTRIBUTES_MAX {
                let value = XML_ATTRIBUTES_MAX as u64;
                return Err(self.limit("XML attribute limit", value, "attributes of one element"));
            }
        }
        if empty {
            return Ok(());
        }
        if name_end - start > XML_NAME_BYTES_MAX {
            return Err(self.limit("XML name limit", XML_NAME_BYTES_MAX as u64, "bytes"));
        }
        if self.starts.len() >= XML_DEPTH_MAX {
            return Err(self.limit("XML depth limit", XML_DEPTH_MAX as u64, "elements"));
        }
        self.starts.push(self.names.len());
        self.names.push_str(&self.window[start..name_end]);
        Ok(())
    }

    fn close(&mut self, start: usize, end: usize) -> Result<(), DecodeError> {
        let name = self.window[start..end].trim_ascii_end();
        match self.starts.pop() {
            Some(begin) if self.names[begin..] == *name => {
                self.names.truncate(begin);
                Ok(())
            }
            Some(begin) => Err(self.wrong(format!("`</{name}>` where `</{}>` should be", &self.names[begin..]))),
            None => Err(self.wrong(format!("`</{name}>` closes nothing"))),
        }
    }

    fn end(&self) -> Result<Found, DecodeError> {
        if !self.root_seen {
            return Err(self.wrong("there is no element"));
        }
        match self.starts.len() {
            0 => Ok(Found::End),
            open => Err(self.wrong(format!("it ends inside {open} open elements: the message is cut off"))),
        }
    }

    /// Lets go of what was handed out and reads on.
    fn fill(&mut self) -> Result<(), DecodeError> {
        if self.window.len() - self.taken > XML_EVENT_BYTES_MAX {
            return Err(self.limit("XML element limit", XML_EVENT_BYTES_MAX as u64, "bytes"));
        }
        self.before += self.taken as u64;
        self.window.drain(..self.taken);
        self.taken = 0;
        let kept = self.chunk.len();
        let wanted = (READ_BYTES - kept) as u64;
        let read = self.input.by_ref().take(wanted).read_to_end(&mut self.chunk);
        let read = read.map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => self.wrong(source.to_string()),
            _ => DecodeError::Read { file: self.file.clone(), source },
        })?;
        self.is_input_over = (read as u64) < wanted;
        self.read += read as u64;
        if self.read > self.read_max {
            return Err(self.limit("decoded size limit", self.read_max, "bytes"));
        }
        let valid = match simdutf8::compat::from_utf8(&self.chunk) {
            Ok(text) => {
                self.window.push_str(text);
                text.len()
            }
            Err(error) if error.error_len().is_none() && !self.is_input_over => {
                let valid = error.valid_up_to();
                self.window.push_str(&String::from_utf8_lossy(&self.chunk[..valid]));
                valid
            }
            Err(_) => return Err(self.wrong("it is not UTF-8")),
        };
        self.chunk.drain(..valid);
        Ok(())
    }
}

/// Calls `each` with the name and the unescaped value of every attribute of `tag`. An error of `each` ends the walk.
pub(super) fn attributes<F>(tag: &Tag<'_>, mut each: F) -> Result<(), String>
where
    F: FnMut(&str, &str) -> Result<(), String>,
{
    let malformed = || "a malformed attribute".to_owned();
    let mut rest = tag.attributes;
    loop {
        let trimmed = rest.trim_ascii_start();
        if trimmed.is_empty() {
            return Ok(());
        }
        if trimmed.len() == rest.len() {
            return Err(malformed());
        }
        let equals = find(trimmed.as_bytes(), b'=').ok_or_else(malformed)?;
        let name = trimmed[..equals].trim_ascii_end();
        let value = trimmed[equals + 1..].trim_ascii_start();
        let quote = *value.as_bytes().first().filter(|quote| matches!(quote, b'"' | b'\'')).ok_or_else(malformed)?;
        let end = find(&value.as_bytes()[1..], quote).ok_or_else(malformed)?;
        if name.is_empty() || name.contains([' ', '"', '\'']) {
            return Err(malformed());
        }
        let raw = &value[1..=end];
        rest = &value[end + 2..];
        // Few values hold references or line ends; the others are passed on as they stand.
        if raw.bytes().all(|byte| byte != b'&' && byte >= b' ') {
            each(name, raw)?;
        } else {
            let normal = raw.replace("\r\n", " ").replace(['\n', '\r', '\t'], " ");
            each(name, &unescape(&normal).map_err(|error| error.to_string())?)?;
        }
    }
}

/// Returns the value of the attribute `name` (without prefix), if `tag` has it.
pub(super) fn attribute(tag: &Tag<'_>, name: &str) -> Result<Option<String>, String> {
    let mut found = None;
    attributes(tag, |key, value| {
        if local_name(key) == name && !key.starts_with("xmlns") {
            found.get_or_insert_with(|| value.to_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns `source` as UTF-8, by its byte order mark or its declaration; `None` for an encoding nobody knows.
fn decoded(mut source: Box<dyn Read + Send>) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut head = Vec::with_capacity(DECLARATION_BYTES);
    source.by_ref().take(DECLARATION_BYTES as u64).read_to_end(&mut head)?;
    let is_wide = matches!(head.get(..2), Some([0xFE, 0xFF] | [0xFF, 0xFE] | [0, b'<'] | [b'<', 0]));
    let declared = declared_encoding(&head);
    let whole = io::Cursor::new(head).chain(source);
    let encoding = match declared.as_deref().map(|label| encoding_rs::Encoding::for_label(label.as_bytes())) {
        None if is_wide => None,
        None => return Ok(Some(Box::new(whole))),
        Some(None) => return Ok(None),
        Some(Some(encoding)) if encoding == encoding_rs::UTF_8 => return Ok(Some(Box::new(whole))),
        Some(found) => found,
    };
    let mut decoder = DecodingReader::new(io::BufReader::with_capacity(READ_BYTES, whole));
    if let Some(encoding) = encoding {
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
