//! What a provider says of its own answer: footers and error messages. A failure is never mistaken for a short table.

use crate::error::DecodeError;

/// Messages in one footer.
const FOOTER_MESSAGES_MAX: usize = 100;
/// Texts (languages) of a message, and bytes of each, that are kept for the error.
const TEXTS_KEPT: usize = 20;
const TEXT_BYTES_KEPT: usize = 4 * 1024;

#[derive(Debug, Default)]
struct Note {
    code: String,
    severity: String,
    texts: Vec<String>,
}

/// The notes of a message.
#[derive(Debug, Default)]
pub(super) struct Footer {
    notes: Vec<Note>,
}

impl Footer {
    /// Begins a note.
    pub(super) fn open(&mut self, code: Option<String>, severity: Option<String>) -> Result<(), String> {
        if self.notes.len() >= FOOTER_MESSAGES_MAX {
            return Err(format!("more than {FOOTER_MESSAGES_MAX} messages in the footer"));
        }
        self.notes.push(Note {
            code: beginning(&code.unwrap_or_default()),
            severity: beginning(&severity.unwrap_or_default()),
            texts: Vec::new(),
        });
        Ok(())
    }

    /// Adds a text to the last note.
    pub(super) fn text(&mut self, text: &str) {
        if let Some(note) = self.notes.last_mut().filter(|note| note.texts.len() < TEXTS_KEPT) {
            note.texts.push(beginning(text.trim()));
        }
    }

    /// Fails if a note reports a failure, or if there is a note instead of rows.
    pub(super) fn check(&self, has_rows: bool) -> Result<(), DecodeError> {
        let failed = self.notes.iter().find(|note| !has_rows || note.is_failure());
        match failed {
            Some(note) => Err(DecodeError::Message { code: note.code.clone(), text: note.texts.join(" ") }),
            None => Ok(()),
        }
    }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_KEPT)].to_owned()
}

impl Note {
    /// With rows beside it, a note is a failure if it says so, or if its code says that rows are missing: 130 and 413
    /// (too large), 500 to 599 (server errors; 510 is "response size exceeds service limit").
    fn is_failure(&self) -> bool {
        let is_code = matches!(self.code.parse::<u32>(), Ok(130 | 413 | 500..=599));
        is_code || self.severity.eq_ignore_ascii_case("error")
    }
}
