//! An index of the words of the catalogue: sorted, so that a word's beginning finds all words that begin so. It holds
//! everything; who sees what is decided by whoever asks it.

use std::collections::HashMap;

use super::fold::words;

/// Words of a question that are looked at.
const WORDS_MAX: usize = 12;
/// Bytes of words and texts that an index takes. Descriptions and codes beyond it are not found.
const BYTES_MAX: usize = 96 * 1024 * 1024;

/// Where a word stands, the better places first.
///
/// A table is ranked by the sum, over the words of the question, of the weight of the best place in which that word was
/// found; a whole word counts twice as much as a beginning. What a table is called says more about it than a column it
/// has, a column more than a code among its values, and all of them more than a passing mention in a description. Tables
/// of the same rank are in the order of their titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    Title,
    Table,
    Series,
    Column,
    Code,
    Provider,
    Description,
}

impl Found {
    fn weight(self) -> u32 {
        match self {
            Self::Title => 24,
            Self::Table => 20,
            Self::Series => 12,
            Self::Column => 10,
            Self::Code => 8,
            Self::Provider => 6,
            Self::Description => 3,
        }
    }
}

#[derive(Debug, Clone)]
struct Term {
    word: Box<str>,
    table: u32,
    found: Found,
    /// What to show of it.
    text: u32,
}

/// How well a table matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) rank: u32,
    /// The best place.
    pub(crate) found: Found,
    text: u32,
}

/// Words by their beginnings. Made by [`Builder`].
#[derive(Debug, Default)]
pub(crate) struct Index {
    terms: Vec<Term>,
    texts: Vec<Box<str>>,
}

/// Collects what an index is made of.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    terms: Vec<Term>,
    texts: Vec<Box<str>>,
    bytes: usize,
}

impl Builder {
    /// Takes a text of the table with this number, to be found by its words.
    pub(crate) fn add(&mut self, table: u32, found: Found, text: &str) {
        self.add_as(table, found, text, text);
    }

    /// Takes a text that is shown in another form than it is found by.
    pub(crate) fn add_as(&mut self, table: u32, found: Found, shown: &str, searched: &str) {
        if self.is_full() {
            return;
        }
        let mut words = words(searched);
        words.sort_unstable();
        words.dedup();
        let Ok(text) = u32::try_from(self.texts.len()) else { return };
        self.bytes += shown.len() + size_of::<Box<str>>();
        self.texts.push(shown.into());
        for word in words {
            self.bytes += word.len() + size_of::<Term>();
            self.terms.push(Term { word: word.into(), table, found, text });
        }
    }

    /// Says whether nothing more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    pub(crate) fn build(mut self) -> Index {
        self.terms.sort_unstable_by(|one, other| (&one.word, one.table).cmp(&(&other.word, other.table)));
        Index { terms: self.terms, texts: self.texts }
    }
}

impl Index {
    /// Returns the tables in which every word of `question` is found, in any place that is `shown`; nothing where it has no
    /// words.
    pub(crate) fn search(&self, question: &str, shown: impl Fn(u32, Found) -> bool) -> HashMap<u32, Match> {
        let mut words = words(question);
        words.truncate(WORDS_MAX);
        let mut matches: Option<HashMap<u32, Match>> = None;
        for word in &words {
            let best = self.best(word, &shown);
            matches = Some(match matches {
                None => best,
                Some(before) => before
                    .into_iter()
                    .filter_map(|(table, before)| Some((table, before.and(*best.get(&table)?))))
                    .collect(),
            });
        }
        matches.unwrap_or_default()
    }

    /// Returns the text that a match was found in.
    pub(crate) fn text(&self, found: &Match) -> &str {
        self.texts.get(found.text as usize).map_or("", |text| text)
    }

    /// The best place of a word, or of words that begin with it, in each table.
    fn best(&self, word: &str, shown: impl Fn(u32, Found) -> bool) -> HashMap<u32, Match> {
        let first = self.terms.partition_point(|term| term.word.as_ref() < word);
        let mut best: HashMap<u32, Match> = HashMap::new();
        let following = self.terms.get(first..).unwrap_or_default();
        for term in following.iter().take_while(|term| term.word.starts_with(word)) {
            if !shown(term.table, term.found) {
                continue;
            }
            let is_whole = term.word.len() == word.len();
            let rank = term.found.weight() * if is_whole { 2 } else { 1 };
            let this = Match { rank, found: term.found, text: term.text };
            let known = best.entry(term.table).or_insert(this);
            if (this.rank, known.text) > (known.rank, this.text) {
                *known = this;
            }
        }
        best
    }
}

impl Match {
    /// Both words were found: their ranks add up, and the more telling place is shown.
    fn and(self, other: Self) -> Self {
        let shown = if other.found < self.found { other } else { self };
        Self { rank: self.rank + other.rank, ..shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut builder = Builder::default();
        builder.add(0, Found::Title, "Gross domestic product");
        builder.add(0, Found::Column, "country");
        builder.add_as(0, Found::Code, "BGR Bulgaria", "BGR Bulgaria България");
        builder.add(1, Found::Title, "Products of forests");
        builder.add(1, Found::Description, "Gross weight by country");
        builder.build()
    }

    fn found(question: &str) -> Vec<(u32, Found, String)> {
        let index = index();
        let mut all: Vec<(u32, Match)> = index.search(question, |_, _| true).into_iter().collect();
        all.sort_by_key(|(table, found)| (std::cmp::Reverse(found.rank), *table));
        all.iter().map(|(table, found)| (*table, found.found, index.text(found).to_owned())).collect()
    }

    #[test]
    fn a_whole_word_in_a_title_is_best() {
        let names = |question: &str| found(question).into_iter().map(|(table, ..)| table).collect::<Vec<_>>();
        assert_eq!(names("product"), [0, 1]);
        assert_eq!(names("products"), [1]);
        assert_eq!(names("gross"), [0, 1]);
        assert_eq!(names("country"), [0, 1]);
        assert_eq!(names("gross forest"), [1], "every word is found");
        assert!(names("gross zebra").is_empty() && names("").is_empty() && names("…").is_empty());
    }

    #[test]
    fn what_was_found_is_said() {
        assert_eq!(found("бълг"), [(0, Found::Code, "BGR Bulgaria".to_owned())]);
        assert_eq!(found("bgr product"), [(0, Found::Title, "Gross domestic product".to_owned())]);
        assert_eq!(found("COUNTRY weight"), [(1, Found::Description, "Gross weight by country".to_owned())]);
    }

    #[test]
    fn a_place_that_is_not_shown_finds_nothing() {
        let found = |question: &str| {
            let found = index().search(question, |table, found| (table, found) != (0, Found::Code));
            found.into_iter().map(|(table, found)| (table, found.found)).collect::<Vec<_>>()
        };
        assert!(found("bgr").is_empty() && found("bgr product").is_empty());
        assert_eq!(found("domestic"), [(0, Found::Title)]);
    }

    #[test]
    fn an_index_takes_bounded_memory() {
        let mut builder = Builder::default();
        let text = "x".repeat(1024 * 1024);
        for table in 0..1_000 {
            builder.add_as(table, Found::Description, &text, "word");
        }
        assert!(builder.is_full() && builder.bytes < BYTES_MAX + 2 * text.len(), "{}", builder.bytes);
    }
}
