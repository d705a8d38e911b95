//! `/api/permalink`: a statement with the versions that it reads now written into it, so that its link gives the same
//! rows for good. The text is changed by its tokens only; the worker then says whether what came out is a statement that
//! reads exactly these versions, and nothing else is handed out as pinned.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use hambar_query::{Parameters, VersionRead};
use serde::Deserialize;
use serde_json::json;

use super::looks::address;
use crate::front::{Ask, AskedLimits, Protocol};
use crate::rest::State;
use crate::rest::auth::Asker;
use crate::rest::problem::Problem;

/// A statement to be linked to.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "PermalinkRequest")]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The statement.
    sql: String,
}

/// Pins a statement to the versions that it reads now.
pub(super) async fn make(Shared(state): Shared<State>, asker: Asker, body: Bytes) -> Result<Response, Problem> {
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not `{{\"sql\": …}}`: {error}")))?;
    let ask = Ask {
        principal: asker.principal,
        protocol: Protocol::Web,
        address: asker.address,
        sql: wanted.sql,
        parameters: Parameters::none(),
        limits: AskedLimits::default(),
    };
    let read = state.front.describe(&ask).await?.facts.versions;
    let candidate = Ask { sql: pinned(&ask.sql, &read), ..ask.clone() };
    let is_pinned = match state.front.describe(&candidate).await {
        Ok(described) => is_same(&read, &described.facts.versions),
        Err(_) => false,
    };
    let sql = if is_pinned { candidate.sql } else { ask.sql };
    let versions: Vec<String> = read.iter().map(|read| format!("{}@{}", read.table, read.version)).collect();
    let at = versions.join(",");
    let url = address("/sql", &[("q", &sql), ("at", &at), ("view", "table")]);
    let answer = json!({ "sql": sql, "url": url, "versions": versions, "is_pinned": is_pinned });
    Ok(Json(answer).into_response())
}

/// Says whether a pinned statement reads the versions that the other one reads now, all of them by their numbers.
fn is_same(read: &[VersionRead], pinned: &[VersionRead]) -> bool {
    let by_table = |reads: &[VersionRead]| -> BTreeMap<String, u64> {
        reads.iter().map(|read| (read.table.to_string(), read.version)).collect()
    };
    pinned.iter().all(|read| read.is_pinned) && by_table(read) == by_table(pinned)
}

/// Writes `VERSION AS OF` after the names of tables that are read without it.
fn pinned(sql: &str, read: &[VersionRead]) -> String {
    let versions: BTreeMap<String, u64> =
        read.iter().filter(|read| !read.is_pinned).map(|read| (read.table.to_string(), read.version)).collect();
    let tokens = tokens(sql);
    let mut out = String::with_capacity(sql.len() + 32 * versions.len());
    let mut copied = 0;
    for (place, window) in tokens.windows(3).enumerate() {
        let [Token::Name(namespace, _), Token::Sign('.', _), Token::Name(table, end)] = window else { continue };
        let before = place.checked_sub(1).and_then(|before| tokens.get(before));
        let after = tokens.get(place + 3);
        let is_part = matches!(before, Some(Token::Sign('.', _))) || matches!(after, Some(Token::Sign('.' | '(', _)));
        let is_timed = matches!(after, Some(Token::Name(word, _)) if matches!(word.as_str(), "version" | "for"));
        if is_part || is_timed {
            continue;
        }
        if let Some(version) = versions.get(&format!("{namespace}.{table}")) {
            out.push_str(sql.get(copied..*end).unwrap_or_default());
            out.push_str(&format!(" VERSION AS OF {version}"));
            copied = *end;
        }
    }
    out.push_str(sql.get(copied..).unwrap_or_default());
    out
}

/// A piece of a statement with the place of its end. Texts and comments are none.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A name or a word; in small letters where it stood without quotation marks.
    Name(String, usize),
    Sign(char, usize),
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = sql.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        let rest = sql.get(start..).unwrap_or_default();
        let end = match letter {
            '\'' => start + quoted_bytes(rest, '\''),
            '"' => {
                let length = quoted_bytes(rest, '"');
                let name = rest.get(1..length.saturating_sub(1)).unwrap_or_default().replace("\"\"", "\"");
                tokens.push(Token::Name(name, start + length));
                start + length
            }
            '-' if rest.starts_with("--") => start + rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => start + comment_bytes(rest),
            letter if letter.is_alphabetic() || letter == '_' => {
                let is_inside = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
                let length = rest.find(|letter| !is_inside(letter)).unwrap_or(rest.len());
                let name = rest.get(..length).unwrap_or_default().to_lowercase();
                tokens.push(Token::Name(name, start + length));
                start + length
            }
            letter if letter.is_whitespace() => continue,
            letter => {
                tokens.push(Token::Sign(letter, start + letter.len_utf8()));
                continue;
            }
        };
        while letters.next_if(|(place, _)| *place < end).is_some() {}
    }
    tokens
}

/// The length of a text in quotation marks, which stand twice where they are meant.
fn quoted_bytes(rest: &str, mark: char) -> usize {
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((place, letter)) = letters.next() {
        if letter == mark && letters.next_if(|(_, next)| *next == mark).is_none() {
            return place + 1;
        }
    }
    rest.len()
}

/// The length of a comment, in which others may stand.
fn comment_bytes(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while let Some(left) = rest.get(place..) {
        if left.starts_with("/*") {
            depth += 1;
            place += 2;
        } else if left.starts_with("*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            match left.chars().next() {
                Some(letter) => place += letter.len_utf8(),
                None => break,
            }
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let read = [("demo.gdp", 3, false), ("demo.old", 1, true)].map(|(table, version, is_pinned)| VersionRead {
            table: table.parse().unwrap(),
            version,
            is_pinned,
        });
        assert_eq!(pinned(sql, &read), expected);
    }

    #[test]
    fn tables_get_their_versions_and_nothing_else_does() {
        check("SELECT * FROM demo.gdp", "SELECT * FROM demo.gdp VERSION AS OF 3");
        check(
            "SELECT g.a FROM Demo . \"gdp\" g, demo.old VERSION AS OF 1 WHERE x = 'demo.gdp' -- demo.gdp",
            "SELECT g.a FROM Demo . \"gdp\" VERSION AS OF 3 g, demo.old VERSION AS OF 1 WHERE x = 'demo.gdp' -- demo.gdp",
        );
        check(
            "SELECT 1 /* demo.gdp /* */ */ FROM demo.gdp\n;",
            "SELECT 1 /* demo.gdp /* */ */ FROM demo.gdp VERSION AS OF 3\n;",
        );
        check("SELECT demo.gdp.a FROM demo.gdp", "SELECT demo.gdp.a FROM demo.gdp VERSION AS OF 3");
        for same in [
            "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF '2026-01-01'",
            "SELECT * FROM history('demo.gdp')",
            "SELECT 'it''s demo.gdp",
            "SELECT \"demo.gdp",
            "/* demo.gdp",
            "SELECT * FROM demo.\"GDP\"",
            "Ж.demo.gdp",
        ] {
            check(same, same);
        }
    }
}
