//! Numbers and instants as the languages of the page write them.

use jiff::Timestamp;
use maud::{Markup, html};

use super::looks::Language;

/// Between groups of digits in Bulgarian: a space at which no line breaks.
const NARROW: char = '\u{a0}';
/// Multiples of bytes.
const SIZES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A whole number with its digits in groups.
pub(super) fn count(language: Language, number: u64) -> String {
    let digits = number.to_string();
    // Bulgarian leaves four digits together.
    let (between, least) = match language {
        Language::English => (',', 4),
        Language::Bulgarian => (NARROW, 5),
    };
    if digits.len() < least {
        return digits;
    }
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(between);
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, with three digits at least.
pub(super) fn bytes(language: Language, number: u64) -> String {
    let mut size = number as f64;
    let mut place = 0;
    while size >= 1024.0 && place + 1 < SIZES.len() {
        size /= 1024.0;
        place += 1;
    }
    let unit = SIZES.get(place).copied().unwrap_or_default();
    let text = if place == 0 || size >= 100.0 { format!("{size:.0}") } else { format!("{size:.1}") };
    let text = match language {
        Language::English => text,
        Language::Bulgarian => text.replace('.', ","),
    };
    format!("{text}{NARROW}{unit}")
}

/// An instant to the minute, in UTC.
pub(super) fn instant(at: Timestamp) -> Markup {
    let shown = at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (shown) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_own_numbers() {
        let (en, bg) = (Language::English, Language::Bulgarian);
        assert_eq!([999, 1_000, 1_234_567].map(|number| count(en, number)), ["999", "1,000", "1,234,567"]);
        assert_eq!([9_999, 12_345].map(|number| count(bg, number)), ["9999", "12\u{a0}345"]);
        assert_eq!([0, 1_536, 200 << 20].map(|number| bytes(en, number)), ["0\u{a0}B", "1.5\u{a0}KiB", "200\u{a0}MiB"]);
        assert_eq!(bytes(bg, 1_536), "1,5\u{a0}KiB");
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(instant(at).0, "<time datetime=\"2026-01-02T03:04:05Z\">2026-01-02 03:04 UTC</time>");
    }
}
