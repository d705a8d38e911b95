//! Words as they are compared: without capitals and without marks on letters, in every script. `Население` and `население`
//! are one word, and so are `Łódź` and `lodz`.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Letters of a word that are kept; longer ones are codes and hashes, of which the beginning is enough.
const WORD_CHARS_MAX: usize = 40;

/// Returns the words of a text in their order, folded.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = 0;
    for letter in text.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase) {
        if !letter.is_alphanumeric() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            letters = 0;
        } else if letters < WORD_CHARS_MAX {
            push(&mut word, letter);
            letters += 1;
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Letters that have a plain form which Unicode does not know as theirs.
fn push(word: &mut String, letter: char) {
    match letter {
        'ß' => word.push_str("ss"),
        'æ' => word.push_str("ae"),
        'œ' => word.push_str("oe"),
        'ø' => word.push('o'),
        'ł' => word.push('l'),
        'đ' | 'ð' => word.push('d'),
        'ı' => word.push('i'),
        'þ' => word.push_str("th"),
        // Bulgarian writes ѝ for и where it is a word; with its mark gone they are one letter already.
        letter => word.push(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_and_marks_make_no_difference() {
        assert_eq!(words("GDP per head (2015 US$)"), ["gdp", "per", "head", "2015", "us"]);
        assert_eq!(words("gdp_per_capita"), ["gdp", "per", "capita"]);
        assert_eq!(words("НАСЕЛЕНИЕ към"), words("население КЪМ"));
        assert_eq!(words("Търговия"), ["търговия"]);
        assert_eq!(words("България"), words("БЪЛГАРИЯ"));
        assert_eq!(words("Łódź Straße Åland café"), ["lodz", "strasse", "aland", "cafe"]);
        assert_eq!(words("майка"), words("маика"));
        assert!(words("  …!").is_empty());
        assert_eq!(words(&"x".repeat(100)), ["x".repeat(40)]);
    }
}
