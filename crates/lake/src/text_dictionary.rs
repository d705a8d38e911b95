//! The distinct texts of a column chunk, and the bounds of its pages.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// No number.
const NONE: u32 = u32::MAX;
/// Bytes of a bound in the footer.
const BOUND_BYTES: usize = 64;

/// The lowest and the highest text.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Vec<u8>,
}

impl Bounds {
    pub(crate) fn of(low: &[u8], high: &[u8]) -> Self {
        Self { low: low.to_vec(), high: high.to_vec() }
    }

    /// Widens them to hold `text`.
    pub(crate) fn take(&mut self, text: &[u8]) {
        if text < self.low.as_slice() {
            self.low = text.to_vec();
        } else if text > self.high.as_slice() {
            self.high = text.to_vec();
        }
    }

    /// Widens them to hold `other`.
    pub(crate) fn take_in(&mut self, other: &Self) {
        self.take(&other.low);
        self.take(&other.high);
    }
}

/// The distinct texts of a chunk, as its dictionary page holds them.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// The texts, each behind its length.
    pub(crate) texts: Vec<u8>,
    /// Where each text begins in `texts`, behind its length.
    starts: Vec<u32>,
    /// For each text, the page in which it was seen last.
    pages: Vec<u32>,
    hashes: Vec<u64>,
    /// Numbers of the texts, at the places of their hashes.
    numbers: HashTable<u32>,
    page: u32,
}

impl Dictionary {
    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    fn text(&self, number: u32) -> &[u8] {
        let start = self.starts.get(number as usize).map_or(0, |start| *start as usize);
        let length = self.texts.get(start.wrapping_sub(4)..).and_then(|rest| rest.first_chunk::<4>());
        let length = length.map_or(0, |length| u32::from_le_bytes(*length) as usize);
        self.texts.get(start..start + length).unwrap_or_default()
    }

    /// The number of `text`, which it gets if it is new.
    pub(crate) fn number(&mut self, text: &[u8]) -> u32 {
        let hash = xxh3_64(text);
        let is_same = |number: &u32| self.hashes.get(*number as usize) == Some(&hash) && self.text(*number) == text;
        if let Some(number) = self.numbers.find(hash, is_same) {
            return *number;
        }
        let number = self.starts.len() as u32;
        self.texts.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.starts.push(self.texts.len() as u32);
        self.texts.extend_from_slice(text);
        self.pages.push(0);
        self.hashes.push(hash);
        let hashes = &self.hashes;
        self.numbers.insert_unique(hash, number, |number| hashes.get(*number as usize).copied().unwrap_or(0));
        number
    }

    /// The lowest and the highest of the texts of a page.
    pub(crate) fn bounds(&mut self, numbers: &[u32]) -> Option<Bounds> {
        self.page += 1;
        let first = *numbers.first()?;
        let (mut low, mut high) = (first, first);
        let mut last = NONE;
        for number in numbers {
            if *number == last {
                continue;
            }
            last = *number;
            match self.pages.get_mut(last as usize) {
                Some(page) if *page != self.page => *page = self.page,
                _ => continue,
            }
            if self.text(last) < self.text(low) {
                low = last;
            } else if self.text(last) > self.text(high) {
                high = last;
            }
        }
        Some(Bounds::of(self.text(low), self.text(high)))
    }
}

/// Cuts a lower bound to [`BOUND_BYTES`] and says whether it is still exact.
pub(crate) fn cut_low(text: &[u8]) -> (Vec<u8>, bool) {
    if text.len() <= BOUND_BYTES { (text.to_vec(), true) } else { (beginning(text).as_bytes().to_vec(), false) }
}

/// Cuts an upper bound: its last character that has a higher one is raised, so that it stays above what was cut off.
pub(crate) fn cut_high(text: &[u8]) -> (Vec<u8>, bool) {
    if text.len() <= BOUND_BYTES {
        return (text.to_vec(), true);
    }
    let kept = beginning(text);
    for (at, character) in kept.char_indices().rev() {
        // Between U+D7FF and U+E000 there are no characters.
        let higher = [1, 0x801].iter().find_map(|step| char::from_u32(u32::from(character) + step));
        if let Some(higher) = higher {
            return (format!("{}{higher}", &kept[..at]).into_bytes(), false);
        }
    }
    (text.to_vec(), true)
}

/// The whole characters among the first [`BOUND_BYTES`].
fn beginning(text: &[u8]) -> &str {
    let text = text.get(..BOUND_BYTES).unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => text.get(..error.valid_up_to()).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or(""),
    }
}
