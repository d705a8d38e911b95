//! What kind of answer landed: data, a refusal, "come back later", nothing. Providers put these into statuses, footers,
//! SOAP faults and small XML documents; big bodies are looked at only at both ends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use hambar_decode::spec::FormatKind;
use hambar_fetch::Landed;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::body::blocking;
use crate::error::ConnectError;

/// An answer up to this size is read whole to find out what it says.
const NOTE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes at the end of a large answer in which a footer is looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// What landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A message to decode.
    Data { kind: FormatKind, is_zip: bool },
    /// There is nothing that matches the query.
    Empty(String),
    /// The query asks for too much at once.
    TooLarge(String),
    /// The answer will be at this address.
    Later(String),
    /// The answer is being made under this key.
    Queued(String),
    /// An asynchronous answer is ready.
    Ready,
    /// The provider reports an error.
    Refused { code: String, text: String },
    /// A web page or nothing.
    Strange(&'static str),
}

/// Finds out what landed.
pub(super) async fn answer(landed: &Landed) -> Result<Answer, ConnectError> {
    let (path, length) = (landed.path.clone(), landed.bytes);
    let (head, tail) = blocking(landed, move || ends(&mut File::open(path)?, length)).await?;
    Ok(classify(landed.meta.status.unwrap_or(200), length, &head, &tail))
}

fn ends(file: &mut File, length: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    file.by_ref().take(NOTE_BYTES_MAX).read_to_end(&mut head)?;
    if length > NOTE_BYTES_MAX {
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    }
    Ok((head, tail))
}

pub(super) fn classify(status: u16, length: u64, head: &[u8], tail: &[u8]) -> Answer {
    let body = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if status == 204 {
        return Answer::Empty("204".to_owned());
    }
    let text = String::from_utf8_lossy(body);
    let notes = if body.starts_with(b"<") && length <= NOTE_BYTES_MAX { notes(&text) } else { Notes::default() };
    if status != 200 {
        return refusal(status, &text, &notes);
    }
    if body.starts_with(b"PK\x03\x04") {
        return Answer::Data { kind: FormatKind::SdmxMl, is_zip: true };
    }
    let lower = body.iter().take(16).map(u8::to_ascii_lowercase).collect::<Vec<u8>>();
    if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        return Answer::Strange("a web page");
    }
    match body.first() {
        None => Answer::Strange("nothing"),
        Some(b'<') => of_notes(&notes, tail).unwrap_or(Answer::Data { kind: FormatKind::SdmxMl, is_zip: false }),
        Some(b'{') => Answer::Data { kind: FormatKind::SdmxJson, is_zip: false },
        Some(_) => Answer::Data { kind: FormatKind::SdmxCsv, is_zip: false },
    }
}

fn refusal(status: u16, body: &str, notes: &Notes) -> Answer {
    let text = if notes.text.is_empty() { body.chars().take(300).collect() } else { notes.text.clone() };
    let says = |word: &str| text.to_ascii_lowercase().contains(word);
    match status {
        413 | 414 => Answer::TooLarge(text),
        // An unknown dataflow is a 404 as well: only what says "no results" is an empty answer.
        404 if notes.code == "100" || says("no results") || says("norecordsfound") || says("no data") => {
            Answer::Empty(text)
        }
        _ if notes.is_too_large() => Answer::TooLarge(text),
        _ => {
            let code = if notes.code.is_empty() { status.to_string() } else { notes.code.clone() };
            Answer::Refused { code, text }
        }
    }
}

fn of_notes(notes: &Notes, tail: &[u8]) -> Option<Answer> {
    if notes.has_rows || !tail.is_empty() {
        let is_cut = notes.is_too_large() || footer_is_too_large(&String::from_utf8_lossy(tail));
        return is_cut.then(|| Answer::TooLarge("the footer says that rows are missing".to_owned()));
    }
    if let Some(state) = notes.state.as_deref() {
        return Some(match (state, &notes.key) {
            ("AVAILABLE", _) => Answer::Ready,
            ("SUBMITTED" | "PROCESSING", Some(key)) => Answer::Queued(key.clone()),
            _ => Answer::Refused { code: "async".to_owned(), text: state.to_owned() },
        });
    }
    if !notes.has_note {
        return None;
    }
    let text = notes.text.clone();
    Some(match (&notes.address, notes.code.as_str()) {
        (Some(address), _) => Answer::Later(address.clone()),
        (None, "100") => Answer::Empty(text),
        (None, _) if notes.is_too_large() => Answer::TooLarge(text),
        (None, code) => Answer::Refused { code: code.to_owned(), text },
    })
}

/// What a small XML answer says.
#[derive(Debug, Default)]
struct Notes {
    has_rows: bool,
    has_note: bool,
    code: String,
    text: String,
    /// An address that stands alone in a text.
    address: Option<String>,
    key: Option<String>,
    state: Option<String>,
}

impl Notes {
    fn is_too_large(&self) -> bool {
        matches!(self.code.as_str(), "130" | "413" | "510") || self.text.contains("EXTRACTION_TOO_BIG")
    }
}

/// Collects them. A malformed document says nothing: the decoder will complain about it.
fn notes(document: &str) -> Notes {
    let mut reader = Reader::from_str(document);
    let mut notes = Notes::default();
    let mut within: Vec<String> = Vec::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                let name = tag.local_name().into_inner().to_owned();
                open(&mut notes, &name, &tag);
                within.push(name);
            }
            Ok(Event::Empty(tag)) => open(&mut notes, tag.local_name().into_inner(), &tag),
            Ok(Event::End(_)) => drop(within.pop()),
            Ok(Event::Text(text)) => {
                take_text(&mut notes, within.last().map_or("", String::as_str), text.into_inner().trim());
            }
            Ok(Event::Eof) | Err(_) => return notes,
            Ok(_) => {}
        }
    }
}

fn open(notes: &mut Notes, name: &str, tag: &quick_xml::events::BytesStart<'_>) {
    match name {
        "Obs" | "Series" => notes.has_rows = true,
        "Message" | "ErrorMessage" | "Fault" => {
            notes.has_note = true;
            if let Ok(Some(code)) = tag.try_get_attribute("code")
                && notes.code.is_empty()
            {
                notes.code = code.value.into_owned();
            }
        }
        _ => {}
    }
}

fn take_text(notes: &mut Notes, name: &str, text: &str) {
    match name {
        _ if text.is_empty() => {}
        "Text" | "faultstring" => {
            let is_address = text.starts_with("http://") || text.starts_with("https://");
            if is_address && !text.contains(char::is_whitespace) {
                notes.address = Some(text.to_owned());
            }
            if !notes.text.is_empty() {
                notes.text.push(' ');
            }
            notes.text.push_str(text);
        }
        "faultcode" => notes.code = text.to_owned(),
        "id" | "key" => notes.key = Some(text.to_owned()),
        "status" => notes.state = Some(text.to_owned()),
        _ => {}
    }
}

fn footer_is_too_large(tail: &str) -> bool {
    let Some((_, footer)) =
        tail.rsplit_once("Footer>").map(|(before, _)| before).and_then(|before| before.split_once("Footer"))
    else {
        return false;
    };
    ["code=\"130\"", "code=\"413\"", "code=\"510\""].iter().any(|code| footer.contains(code))
}
