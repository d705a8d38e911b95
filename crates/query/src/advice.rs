//! Advice about statements that failed: where in the text the trouble is, and which names come close to one that does
//! not exist.

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use hambar_core::{Classified, ErrorClass};

use crate::error::{Position, QueryError};
use crate::gate::HambarDialect;

/// Names that are offered for one that does not exist.
const NAMES_MAX: usize = 3;

/// Returns the names that are closest to `wanted`, best first; none that shares less than half with it.
pub(crate) fn nearest(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let target = wanted.to_lowercase();
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut scored: Vec<(usize, String)> = Vec::new();
    for name in names {
        let candidate = name.to_lowercase();
        // A right name in the wrong namespace is close, too.
        let distance = match last(&candidate) == last(&target) {
            true => 1.min(levenshtein(&target, &candidate)),
            false => levenshtein(&target, &candidate),
        };
        let length = target.chars().count().max(candidate.chars().count());
        if distance * 2 <= length && distance > 0 || name.eq_ignore_ascii_case(wanted) {
            scored.push((distance, name));
        }
    }
    scored.sort();
    scored.dedup();
    scored.into_iter().take(NAMES_MAX).map(|(_, name)| name).collect()
}

/// Writes names as a question.
pub(crate) fn did_you_mean(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

/// Gives an error about the statement its place in the text, where it has none and the text shows it.
pub(crate) fn placed(error: QueryError, sql: &str) -> QueryError {
    if error.position().is_some() || !matches!(error.class(), ErrorClass::Query | ErrorClass::Denied) {
        return error;
    }
    let Some(position) = place(&error, sql) else {
        return error;
    };
    let mut report = error.report();
    report.position = Some(position);
    QueryError::Reported(report)
}

fn place(error: &QueryError, sql: &str) -> Option<Position> {
    let tokens = Tokenizer::new(&HambarDialect, sql).tokenize_with_location().ok()?;
    let tokens: Vec<TokenWithSpan> =
        tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect();
    if let QueryError::Syntax { .. } = error {
        // The parser names no place where the text ends too early.
        return tokens.last().map(|token| position(token.span.end));
    }
    let message = error.to_string();
    let named = mentioned(&message).into_iter().find_map(|name| find(&tokens, &name));
    if named.is_some() {
        return named;
    }
    if message.to_lowercase().contains("divide by zero") {
        let mut divisions = tokens.iter().filter(|token| matches!(token.token, Token::Div | Token::Mod));
        let only = divisions.next()?;
        return divisions.next().is_none().then(|| position(only.span.start));
    }
    if let QueryError::Count { .. } = error {
        let second = tokens.iter().skip_while(|token| token.token != Token::SemiColon).nth(1);
        return second.map(|token| position(token.span.start));
    }
    if let QueryError::Statement { .. } = error {
        return tokens.first().map(|token| position(token.span.start));
    }
    None
}

fn position(location: Location) -> Position {
    Position { line: location.line, column: location.column }
}

/// What a message quotes, and the names of functions in it.
fn mentioned(message: &str) -> Vec<String> {
    let mut names = Vec::new();
    for quote in ['`', '\'', '"'] {
        let quoted = message.split(quote).skip(1).step_by(2);
        names.extend(quoted.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    for (before, _) in message.match_indices('(').map(|(at, _)| message.split_at(at)) {
        let name: String = before.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            names.push(name.chars().rev().collect());
        }
    }
    names
}

/// Finds a name, dotted or not, a text or a number among the tokens.
fn find(tokens: &[TokenWithSpan], name: &str) -> Option<Position> {
    let name = name.split_once('(').map_or(name, |(called, _)| called);
    let parts: Vec<&str> = name.split('.').collect();
    let is_part = |token: &TokenWithSpan, part: &str| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(part),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text == part,
        Token::Number(digits, _) => digits == part,
        other => other.to_string() == part,
    };
    let whole = tokens.iter().find(|token| is_part(token, name));
    let start = whole.or_else(|| {
        let width = parts.len() * 2 - 1;
        let dotted = tokens.windows(width).find(|window| {
            window.iter().enumerate().all(|(place, token)| match place % 2 {
                0 => parts.get(place / 2).is_some_and(|part| is_part(token, part)),
                _ => token.token == Token::Period,
            })
        });
        dotted.and_then(|window| window.first())
    });
    start.map(|token| position(token.span.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_offered_and_far_ones_are_not() {
        let names = || ["demo.gdp", "demo.gdp_share", "eurostat.gdp", "who.measles"].map(str::to_owned);
        for (wanted, expected) in [
            ("demo.gpd", vec!["demo.gdp"]),
            ("worldbank.gdp", vec!["eurostat.gdp", "demo.gdp"]),
            ("who.measels", vec!["who.measles"]),
            ("x.completely_different", vec![]),
        ] {
            let found = nearest(wanted, names());
            assert!(expected.iter().all(|name| found.iter().any(|other| other == name)), "{wanted}: {found:?}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{wanted}: {found:?}");
        }
    }
}
