//! The first look at a statement: its tokens, how many there are, and the word it starts with.

use datafusion::sql::sqlparser::keywords::{ALL_KEYWORDS, Keyword};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::advice;
use crate::error::{Position, QueryError};
use crate::gate::complexity::too_complex;
use crate::gate::dialect::HambarDialect;
use crate::limits::GateLimits;

/// Words that an allowed statement may start with.
const STARTS: [&str; 8] = ["SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "DESCRIBE", "DESC", "SHOW"];
/// Words that may stand between `EXPLAIN` and the statement.
const EXPLAIN_WORDS: [&str; 7] = ["ANALYZE", "VERBOSE", "FORMAT", "TREE", "INDENT", "PGJSON", "GRAPHVIZ"];

/// Words with a form of their own before brackets, which the parser also tries as the names of functions.
const RETRIED: [Keyword; 15] = [
    Keyword::NOT,
    Keyword::CAST,
    Keyword::TRY_CAST,
    Keyword::SAFE_CAST,
    Keyword::CONVERT,
    Keyword::EXISTS,
    Keyword::EXTRACT,
    Keyword::CEIL,
    Keyword::FLOOR,
    Keyword::POSITION,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::OVERLAY,
    Keyword::TRIM,
    Keyword::INTERVAL,
];
/// How many of them may stand inside each other.
const RETRIED_MAX: usize = 12;

/// Characters of a word that an error repeats.
const WORD_CHARS_MAX: usize = 40;

/// Splits the text into tokens without white space and comments.
pub(crate) fn tokens(sql: &str, limits: &GateLimits) -> Result<Vec<TokenWithSpan>, QueryError> {
    let all = Tokenizer::new(&HambarDialect, sql).tokenize_with_location().map_err(|error| QueryError::Syntax {
        message: error.message,
        similar: Vec::new(),
        position: Some(Position { line: error.location.line, column: error.location.column }),
    })?;
    let mut tokens: Vec<TokenWithSpan> =
        all.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    while tokens.last().is_some_and(|token| matches!(token.token, Token::SemiColon | Token::EOF)) {
        tokens.pop();
    }
    if tokens.len() > limits.tokens_max {
        return Err(too_complex("tokens", tokens.len(), limits.tokens_max));
    }
    let statements = 1 + tokens.iter().filter(|token| token.token == Token::SemiColon).count();
    if statements > 1 {
        return Err(QueryError::Count { count: statements });
    }
    check_nesting(&tokens, limits)?;
    drop_for_before_version(&mut tokens);
    number_parameters(&mut tokens)?;
    Ok(tokens)
}

/// Refuses brackets inside brackets before they are parsed. Where a text is wrong, or too deep for it, the parser tries what
/// stands in the brackets after some words a second time in another reading, level by level: a deep text of such words would
/// keep it busy for hours.
fn check_nesting(tokens: &[TokenWithSpan], limits: &GateLimits) -> Result<(), QueryError> {
    let keyword_of = |token: &Token| match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let mut open: Vec<bool> = Vec::new();
    let mut retried = 0;
    let mut before = Keyword::NoKeyword;
    for TokenWithSpan { token, .. } in tokens {
        let keyword = keyword_of(token);
        let opens = matches!(token, Token::LParen | Token::LBracket | Token::LBrace);
        let closes = matches!(token, Token::RParen | Token::RBracket | Token::RBrace) || keyword == Keyword::END;
        if opens || keyword == Keyword::CASE {
            let is_retried = !opens || RETRIED.contains(&before);
            open.push(is_retried);
            retried += usize::from(is_retried);
        } else if closes && open.pop() == Some(true) {
            retried -= 1;
        }
        before = keyword;
        if open.len() > limits.depth_max {
            return Err(too_complex("levels of nesting", open.len(), limits.depth_max));
        }
        if retried > RETRIED_MAX {
            return Err(too_complex("levels of CASE, NOT (…) and the like inside each other", retried, RETRIED_MAX));
        }
    }
    Ok(())
}

/// Drivers write `?` for the next parameter; the planner knows `$1`, `$2` … only.
fn number_parameters(tokens: &mut [TokenWithSpan]) -> Result<(), QueryError> {
    let is_numbered = |text: &str| text != "?";
    let mixed = tokens.iter().any(|token| matches!(&token.token, Token::Placeholder(text) if is_numbered(text)));
    let mut number = 0;
    for token in tokens {
        let Token::Placeholder(text) = &mut token.token else { continue };
        if is_numbered(text) {
            continue;
        }
        if mixed {
            let what = "some parameters are written `?`, others with a number: use one of the two".to_owned();
            return Err(QueryError::Parameters { what });
        }
        number += 1;
        *text = format!("${number}");
    }
    Ok(())
}

/// The parser knows `t VERSION AS OF 3`; `t FOR VERSION AS OF 3` and `t FOR TIMESTAMP AS OF …` mean the same.
fn drop_for_before_version(tokens: &mut Vec<TokenWithSpan>) {
    let is_word = |token: Option<&TokenWithSpan>, words: &[&str]| {
        token.is_some_and(|token| match &token.token {
            Token::Word(word) => {
                word.quote_style.is_none() && words.iter().any(|text| word.value.eq_ignore_ascii_case(text))
            }
            _ => false,
        })
    };
    let mut place = 0;
    while place < tokens.len() {
        let found = is_word(tokens.get(place), &["FOR"])
            && is_word(tokens.get(place + 1), &["VERSION", "TIMESTAMP"])
            && is_word(tokens.get(place + 2), &["AS"])
            && is_word(tokens.get(place + 3), &["OF"]);
        if found {
            tokens.remove(place);
        }
        place += 1;
    }
}

/// Returns the word that the statement starts with, if it may. Many statements that are not offered do not even
/// parse; whoever sends one should read that it is not allowed, not that a comma is missing.
pub(crate) fn allowed_start(tokens: &[TokenWithSpan]) -> Result<String, QueryError> {
    let Some(first) = tokens.iter().find(|token| token.token != Token::LParen) else {
        return Err(syntax("the statement is empty".to_owned(), Vec::new(), None));
    };
    let position = Some(Position { line: first.span.start.line, column: first.span.start.column });
    let Token::Word(word) = &first.token else {
        return Err(syntax(format!("expected a query, found `{}`", first.token), Vec::new(), position));
    };
    let word: String = word.value.to_uppercase().chars().take(WORD_CHARS_MAX).collect();
    if !STARTS.contains(&word.as_str()) {
        // A word of SQL that starts something else is refused; any other word is a slip of the pen.
        if ALL_KEYWORDS.contains(&word.as_str()) {
            return Err(QueryError::Statement { what: format!("`{word}`") });
        }
        let similar = advice::nearest(&word, STARTS.map(str::to_owned));
        return Err(syntax(format!("expected a query, found `{word}`"), similar, position));
    }
    if word == "SHOW" {
        let what = tokens.get(1).map(|token| token.token.to_string().to_uppercase()).unwrap_or_default();
        if !matches!(what.as_str(), "TABLES" | "COLUMNS") {
            return Err(QueryError::Statement {
                what: format!("`SHOW {}`", what.chars().take(WORD_CHARS_MAX).collect::<String>()),
            });
        }
    }
    if word == "EXPLAIN" {
        let explained = tokens.iter().skip(1).find_map(|token| match &token.token {
            Token::Word(word) => Some(word.value.to_uppercase()).filter(|word| !EXPLAIN_WORDS.contains(&word.as_str())),
            _ => None,
        });
        if let Some(explained) = explained
            && !matches!(explained.as_str(), "SELECT" | "WITH" | "VALUES" | "FROM")
        {
            return Err(QueryError::Statement { what: format!("`EXPLAIN {explained}`") });
        }
    }
    Ok(word)
}

fn syntax(message: String, similar: Vec<String>, position: Option<Position>) -> QueryError {
    QueryError::Syntax { message, similar, position }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_without_numbers_get_them_in_order() {
        let placeholders = |sql: &str| {
            let found = tokens(sql, &GateLimits::default())?.into_iter().filter_map(|token| match token.token {
                Token::Placeholder(text) => Some(text),
                _ => None,
            });
            Ok::<_, QueryError>(found.collect::<Vec<String>>())
        };
        assert_eq!(placeholders("SELECT ?, '?', \"?\" /* ? */ FROM a.b WHERE x = ? -- ?").unwrap(), ["$1", "$2"]);
        assert_eq!(placeholders("SELECT $2, $1").unwrap(), ["$2", "$1"]);
        let mixed = placeholders("SELECT ?, $1").unwrap_err();
        assert!(matches!(mixed, QueryError::Parameters { .. }), "{mixed:?}");
    }
}
