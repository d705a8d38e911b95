//! Numbers from text: exact, never rounded, never guessed. What does not fit is an error that says why.

/// How the source writes numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NumberStyle {
    /// The decimal sign.
    decimal: char,
    /// Characters that may separate groups of three digits.
    thousands: Vec<char>,
}

impl Default for NumberStyle {
    fn default() -> Self {
        Self { decimal: '.', thousands: Vec::new() }
    }
}

impl NumberStyle {
    /// Joins the settings of `[format]`; a plain space stands for no-break and thin spaces too.
    pub(super) fn new(decimal: Option<char>, thousands: Option<&str>) -> Self {
        let mut separators: Vec<char> = thousands.unwrap_or_default().chars().collect();
        if separators.contains(&' ') {
            separators.extend(['\u{a0}', '\u{202f}', '\u{2009}']);
        }
        Self { decimal: decimal.unwrap_or('.'), thousands: separators }
    }

    fn is_plain(&self) -> bool {
        self.decimal == '.' && self.thousands.is_empty()
    }

    /// Brings a number to the form `[-]digits[.digits][e[+-]digits]`; `None` where separators are misplaced or
    /// other characters occur.
    fn canonical(&self, text: &str, out: &mut String) -> Option<()> {
        out.clear();
        let mut group = None::<usize>;
        let mut after_point = false;
        for character in text.chars() {
            match character {
                '0'..='9' => {
                    out.push(character);
                    group = group.map(|digits| digits + 1);
                }
                '-' | '\u{2212}' => out.push('-'),
                '+' => out.push('+'),
                'e' | 'E' => {
                    if group.is_some_and(|digits| digits != 3) {
                        return None;
                    }
                    (group, after_point) = (None, true);
                    out.push('e');
                }
                _ if character == self.decimal => {
                    if after_point || group.is_some_and(|digits| digits != 3) {
                        return None;
                    }
                    (group, after_point) = (None, true);
                    out.push('.');
                }
                _ if self.thousands.contains(&character) => {
                    // Before the first separator stand one to three digits, after each exactly three.
                    let digits = out.trim_start_matches(['-', '+']).len();
                    let misplaced = match group {
                        None => !(1..=3).contains(&digits),
                        Some(since) => since != 3,
                    };
                    if after_point || misplaced {
                        return None;
                    }
                    group = Some(0);
                }
                _ => return None,
            }
        }
        if group.is_some_and(|digits| digits != 3) { None } else { Some(()) }
    }

    /// Parses an integer of at most 64 bits; `12.000` is one, `12.5` is not.
    pub(crate) fn int64(&self, text: &str, scratch: &mut String) -> Option<i64> {
        if let Ok(value) = text.parse::<i64>() {
            return Some(value);
        }
        let value = self.decimal128(text, 38, 0, scratch)?;
        i64::try_from(value).ok()
    }

    /// Parses a double. `inf`, `nan` and hexadecimal are no numbers here.
    pub(crate) fn float64(&self, text: &str, scratch: &mut String) -> Option<f64> {
        let canonical = if self.is_plain() && text.is_ascii() {
            text
        } else {
            self.canonical(text, scratch)?;
            scratch.as_str()
        };
        if !canonical.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
            return None;
        }
        canonical.parse::<f64>().ok().filter(|value| value.is_finite())
    }

    /// Parses an exact decimal and returns it scaled by 10^`scale`; `None` where digits would be lost or it needs more
    /// than `precision` digits.
    pub(crate) fn decimal128(&self, text: &str, precision: u8, scale: i8, scratch: &mut String) -> Option<i128> {
        let canonical = if self.is_plain() && text.is_ascii() {
            text
        } else {
            self.canonical(text, scratch)?;
            scratch.as_str()
        };
        let (mantissa, exponent) = match canonical.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (canonical, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first()? {
            b'-' => (true, &mantissa[1..]),
            b'+' => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        // Zeros at the end say nothing: a double printed with fifty places may still be exact with two.
        let fraction = fraction.trim_end_matches('0');
        let mut value: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let shift = i64::from(scale) + i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
        let value = shifted(value, shift)?;
        if value >= 10_i128.checked_pow(u32::from(precision))? {
            return None;
        }
        Some(if negative { -value } else { value })
    }
}

/// Multiplies by 10^`shift`; `None` where that overflows or cuts off digits that are not zero.
fn shifted(mut value: i128, shift: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    for _ in 0..shift.unsigned_abs() {
        if shift > 0 {
            value = value.checked_mul(10)?;
        } else if value % 10 == 0 {
            value /= 10;
        } else {
            return None;
        }
    }
    Some(value)
}

/// Splits `12.3 bp` or `12.3bp` into the number's text and the flag; `None` where there is no number in front or no
/// flag of at most 16 characters behind.
pub(super) fn split_flag(text: &str) -> Option<(&str, &str)> {
    let is_number = |character: char| {
        character.is_ascii_digit()
            || matches!(character, '.' | ',' | '-' | '+' | '\u{2212}' | '\u{a0}' | '\u{202f}' | '\'')
    };
    let end = text.find(|character: char| !is_number(character) && character != ' ')?;
    let (number, flag) = (text[..end].trim_end(), text[end..].trim());
    let has_digit = number.chars().any(|character| character.is_ascii_digit());
    (has_digit && !flag.is_empty() && flag.chars().count() <= 16).then_some((number, flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let style = NumberStyle::default();
        let check = |text: &str, expected: Option<i128>| {
            assert_eq!(style.decimal128(text, 38, 2, &mut String::new()), expected, "{text}");
        };
        check("12.3", Some(1230));
        check("-0.05", Some(-5));
        check(".5", Some(50));
        check("5.", Some(500));
        check("1e3", Some(100_000));
        check("1.5E-1", Some(15));
        check("0.001", None);
        check("1.50000000000000000000000000000000000000000000000000", Some(150));
        check("1.00000000000000000000000000000000000000000000000001", None);
        check("1e400", None);
        check("0e400", Some(0));
        check("", None);
        check("-", None);
        check("1.2.3", None);
        check("1,5", None);
        check("--1", None);
        check("123456789012345678901234567890123456", Some(12_345_678_901_234_567_890_123_456_789_012_345_600));
        check("1234567890123456789012345678901234567", None);
        check("1 000", None);
        check("12%", None);
    }

    #[test]
    fn separators_must_stand_where_they_belong() {
        let style = NumberStyle::new(Some(','), Some(". "));
        let check =
            |text: &str, expected: Option<f64>| assert_eq!(style.float64(text, &mut String::new()), expected, "{text}");
        check("1.234,56", Some(1234.56));
        check("1 234 567", Some(1_234_567.0));
        check("1\u{a0}234", Some(1234.0));
        check("\u{2212}3,5", Some(-3.5));
        check("12.34", None);
        check("1234.567", None);
        check("1,2,3", None);
        check("1.234.56", None);
        check(".123", None);
        check("nan", None);
        check("inf", None);
    }

    #[test]
    fn integers_keep_their_64_bits() {
        let style = NumberStyle::default();
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(style.int64(text, &mut String::new()), expected, "{text}");
        check("9223372036854775807", Some(i64::MAX));
        check("9223372036854775808", None);
        check("12.000", Some(12));
        check("12.5", None);
        check("1e3", Some(1000));
    }

    #[test]
    fn flags_are_split_from_numbers() {
        assert_eq!(split_flag("12.3 bp"), Some(("12.3", "bp")));
        assert_eq!(split_flag("12.3bp"), Some(("12.3", "bp")));
        assert_eq!(split_flag("12.3"), None);
        assert_eq!(split_flag("bp"), None);
        assert_eq!(split_flag("1 234 e"), Some(("1 234", "e")));
    }
}
