//! The outline of SQL text: words, names, texts and signs with their places. Enough to part statements from each other
//! and to know the few commands that concern the session; everything else is a query worker's business.

use std::ops::Range;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A word or number, in lower case.
    Word(String),
    /// A name in double quotes.
    Name(String),
    /// A text in single quotes.
    Text(String),
    /// Any other character.
    Sign(char),
}

/// A piece with the bytes that it takes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) piece: Piece,
    pub(super) place: Range<usize>,
}

impl Placed {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.piece, Piece::Word(found) if found == word)
    }

    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.piece == Piece::Sign(sign)
    }
}

/// Goes over the pieces of a text, without white space and comments.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes everything up to and with `end`; to the end of the text where there is none.
    fn past(&mut self, end: &str) {
        let length = self.rest().find(end).map_or(self.rest().len(), |found| found + end.len());
        self.at += length;
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            self.at += blanks;
            let rest = self.rest();
            if rest.starts_with("--") {
                self.past("\n");
            } else if rest.starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// Comments of this kind may hold others.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return;
            }
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    /// Reads up to the closing quote. A doubled quote stands for itself, and with `escapes` so does what follows `\`.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        let mut text = String::new();
        let rest = self.rest();
        let mut characters = rest.char_indices().skip(1).peekable();
        while let Some((place, character)) = characters.next() {
            if character == quote {
                if characters.next_if(|(_, next)| *next == quote).is_none() {
                    self.at += place + quote.len_utf8();
                    return text;
                }
            } else if escapes && character == '\\' {
                text.extend(characters.next().map(|(_, next)| next));
                continue;
            }
            text.push(character);
        }
        self.at = self.text.len();
        text
    }

    /// `$$ … $$` and `$tag$ … $tag$`; nothing where the sign starts neither.
    fn dollars(&mut self) -> Option<String> {
        let rest = self.rest();
        let length = rest.get(1..)?.find('$')?;
        let tag = rest.get(..length + 2)?;
        let name = tag.trim_matches('$');
        let is_tag = name.chars().all(is_part) && !name.starts_with(|character: char| character.is_ascii_digit());
        if !is_tag {
            return None;
        }
        let begin = self.at + tag.len();
        self.at = begin;
        self.past(tag);
        let end = self.at.saturating_sub(tag.len()).max(begin);
        Some(self.text.get(begin..end).unwrap_or_default().to_owned())
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|character| !is_part(character) && character != '$').unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default().to_lowercase()
    }
}

fn is_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl Iterator for Lexer<'_> {
    type Item = Placed;

    fn next(&mut self) -> Option<Placed> {
        self.skip_blanks();
        let begin = self.at;
        let first = self.rest().chars().next()?;
        let piece = match first {
            '\'' => Piece::Text(self.quoted('\'', false)),
            '"' | '`' => Piece::Name(self.quoted(first, false)),
            '$' => match self.dollars() {
                Some(text) => Piece::Text(text),
                None => {
                    self.at += 1;
                    Piece::Sign('$')
                }
            },
            _ if is_part(first) => {
                let word = self.word();
                match word == "e" && self.rest().starts_with('\'') {
                    true => Piece::Text(self.quoted('\'', true)),
                    false => Piece::Word(word),
                }
            }
            other => {
                self.at += other.len_utf8();
                Piece::Sign(other)
            }
        };
        Some(Placed { piece, place: begin..self.at })
    }
}

/// Parts the statements of a text; empty ones are left out.
pub(super) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for placed in Lexer::new(text) {
        if placed.is_sign(';') {
            found.extend(open.take());
            continue;
        }
        let begin = open.as_ref().map_or(placed.place.start, |open| open.start);
        open = Some(begin..placed.place.end);
    }
    found.extend(open);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|place| &text[place]).collect()
    }

    #[test]
    fn statements_are_parted_at_semicolons_that_are_none_of_theirs() {
        assert_eq!(parted(" SELECT 1 ; SELECT 2;; "), ["SELECT 1", "SELECT 2"]);
        assert_eq!(parted("SELECT ';' , \";\", E'\\';', $a$;$a$, $$;$$ -- ;\n /* ; /* ; */ ; */ ; x").len(), 2);
        assert_eq!(parted("SELECT 'it''s;'; SELECT $1;").len(), 2);
        assert!(parted("-- nothing").is_empty() && parted("").is_empty() && parted("/* never ends").is_empty());
        assert_eq!(parted("SELECT 'never ends; SELECT 1"), ["SELECT 'never ends; SELECT 1"]);
        assert_eq!(parted("SELECT 'ü;ß'; SELECT ß"), ["SELECT 'ü;ß'", "SELECT ß"]);
    }

    #[test]
    fn pieces_are_words_names_texts_and_signs() {
        let pieces: Vec<Piece> = Lexer::new("SET \"A b\" = 'it''s' -- no\n, 5").map(|placed| placed.piece).collect();
        let word = |text: &str| Piece::Word(text.to_owned());
        let wanted = [
            word("set"),
            Piece::Name("A b".to_owned()),
            Piece::Sign('='),
            Piece::Text("it's".to_owned()),
            Piece::Sign(','),
            word("5"),
        ];
        assert_eq!(pieces, wanted);
    }
}
