//! The statements that concern the session and not the data: transactions, settings, prepared statements, `COPY`. All
//! others go to a query worker as they are.

use std::ops::Range;

use super::cursors::{self, Declare, Fetch};
use super::lexer::{Lexer, Piece, Placed};
use super::refusal::Refusal;

/// Pieces of a command that are looked at; the query inside a `COPY` may have more.
const PIECES_MAX: usize = 64;

/// A statement that concerns the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Begin,
    Commit,
    Rollback,
    /// Back to a savepoint.
    RollbackTo,
    /// `SAVEPOINT` and `RELEASE`: nothing here is written, so there is nothing to remember.
    Savepoint(&'static str),
    Set {
        name: String,
        value: Option<String>,
        is_local: bool,
    },
    ResetAll,
    Show(String),
    /// Forgets one prepared statement, or all of them.
    Deallocate(Option<String>),
    DiscardAll,
    /// Something that is so already.
    Done(&'static str),
    Copy(Copy),
    Declare(Declare),
    Fetch(Fetch),
    /// One cursor, or all of them.
    CloseCursor(Option<String>),
}

/// `COPY … TO STDOUT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// The query, and for one in brackets where it stands.
    pub(super) query: Query,
    pub(super) form: Form,
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    /// The query in brackets stands there.
    At(Range<usize>),
    /// All rows of a table.
    Table(String),
}

/// The form in which rows are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Text { delimiter: char, null: String },
    Csv { delimiter: char, null: String, quote: char, has_header: bool },
    Binary,
}

/// Returns the command that a statement is; nothing where it is for a query worker.
pub(super) fn command(sql: &str) -> Result<Option<Command>, Refusal> {
    let first = Lexer::new(sql).next();
    let Some(Piece::Word(first)) = first.map(|placed| placed.piece) else { return Ok(None) };
    if first == "copy" {
        return copy(sql).map(|copy| Some(Command::Copy(copy)));
    }
    let pieces: Vec<Placed> = Lexer::new(sql).skip(1).take(PIECES_MAX).collect();
    let has = |word: &str| pieces.iter().any(|piece| piece.is(word));
    Ok(Some(match first.as_str() {
        "begin" | "start" => {
            modes(&pieces)?;
            Command::Begin
        }
        "commit" | "end" | "rollback" | "abort" if has("prepared") || has("chain") && !has("no") => {
            return Err(not_offered("transactions in two steps or in chains"));
        }
        "commit" | "end" => Command::Commit,
        "rollback" if has("to") => Command::RollbackTo,
        "rollback" | "abort" => Command::Rollback,
        "savepoint" => Command::Savepoint("SAVEPOINT"),
        "release" => Command::Savepoint("RELEASE"),
        "set" => set(&pieces)?,
        "reset" if pieces.first().is_some_and(|piece| piece.is("all")) => Command::ResetAll,
        "reset" if has("role") || has("authorization") => Command::Done("RESET"),
        "reset" => Command::Set { name: name(&pieces)?.0, value: None, is_local: false },
        "show" => match shown(&pieces)? {
            Some(name) => Command::Show(name),
            None => return Ok(None),
        },
        "deallocate" => {
            let named = pieces.iter().find(|piece| !piece.is("prepare"));
            match named.map(|piece| &piece.piece) {
                Some(Piece::Word(all)) if all == "all" => Command::Deallocate(None),
                Some(Piece::Word(name) | Piece::Name(name)) => Command::Deallocate(Some(name.clone())),
                _ => return Err(Refusal::new("42601", "the name of a prepared statement is missing")),
            }
        }
        "discard" => Command::DiscardAll,
        "declare" => Command::Declare(cursors::declare(sql)?),
        "fetch" => Command::Fetch(cursors::fetch(&pieces)?),
        "close" => Command::CloseCursor(cursors::close(&pieces)?),
        "unlisten" => Command::Done("UNLISTEN"),
        "prepare" | "execute" => return Err(not_offered("PREPARE and EXECUTE as statements; drivers prepare theirs")),
        "move" => return Err(not_offered("cursors that go over rows without giving them")),
        "listen" | "notify" => return Err(not_offered("notifications")),
        _ => return Ok(None),
    }))
}

pub(super) fn not_offered(what: &str) -> Refusal {
    Refusal::new("0A000", format!("not offered: {what}"))
}

/// What is asked of a transaction: it reads, and each of its statements sees what is newest.
fn modes(pieces: &[Placed]) -> Result<(), Refusal> {
    let follows = |one: &str, other: &str| pieces.windows(2).any(|pair| pair[0].is(one) && pair[1].is(other));
    if follows("read", "write") {
        return Err(Refusal::new("25006", "the store is read with queries, and with nothing else"));
    }
    if follows("repeatable", "read") || pieces.iter().any(|piece| piece.is("serializable")) {
        let refusal = not_offered("one state of all tables over several statements");
        return Err(refusal.hint("name the state in each: `table VERSION AS OF 3`, `table FOR SYSTEM_TIME AS OF '…'`"));
    }
    Ok(())
}

fn set(pieces: &[Placed]) -> Result<Command, Refusal> {
    let mut rest = pieces;
    let is_local = rest.first().is_some_and(|piece| piece.is("local"));
    if rest.first().is_some_and(|piece| piece.is("session") || piece.is("local")) {
        rest = &rest[1..];
    }
    let starts = |word: &str| rest.first().is_some_and(|piece| piece.is(word));
    if starts("role") || starts("authorization") {
        return Err(Refusal::new("42501", "nobody becomes somebody else"));
    }
    if starts("transaction") || starts("characteristics") {
        modes(rest)?;
        return Ok(Command::Done("SET"));
    }
    if starts("names") {
        return Ok(Command::Set { name: "client_encoding".to_owned(), value: value(&rest[1..]), is_local });
    }
    if starts("time") && rest.get(1).is_some_and(|piece| piece.is("zone")) {
        return Ok(Command::Set { name: "timezone".to_owned(), value: value(&rest[2..]), is_local });
    }
    let (name, rest) = name(rest)?;
    match rest.split_first() {
        Some((sign, values)) if (sign.is_sign('=') || sign.is("to")) && !values.is_empty() => {
            Ok(Command::Set { name, value: value(values), is_local })
        }
        _ => Err(Refusal::new("42601", "write `SET name = value`")),
    }
}

/// A name, of which parts may be joined by points.
fn name(pieces: &[Placed]) -> Result<(String, &[Placed]), Refusal> {
    let mut text = String::new();
    let mut rest = pieces;
    while let Some((first, others)) = rest.split_first() {
        match &first.piece {
            Piece::Word(word) | Piece::Name(word) if text.is_empty() || text.ends_with('.') => text.push_str(word),
            Piece::Sign('.') if !text.is_empty() => text.push('.'),
            _ => break,
        }
        rest = others;
    }
    if text.is_empty() { Err(Refusal::new("42601", "the name of a setting is missing")) } else { Ok((text, rest)) }
}

/// The values of a setting as one text; nothing for `DEFAULT`.
fn value(pieces: &[Placed]) -> Option<String> {
    if let [only] = pieces
        && (only.is("default") || only.is("local"))
    {
        return None;
    }
    let mut text = String::new();
    for piece in pieces {
        match &piece.piece {
            Piece::Word(part) | Piece::Name(part) | Piece::Text(part) => text.push_str(part),
            Piece::Sign(',') => text.push_str(", "),
            Piece::Sign(sign) => text.push(*sign),
        }
    }
    Some(text)
}

fn shown(pieces: &[Placed]) -> Result<Option<String>, Refusal> {
    let starts =
        |words: &[&str]| words.len() <= pieces.len() && words.iter().zip(pieces).all(|(word, piece)| piece.is(word));
    if starts(&["tables"]) || starts(&["columns"]) {
        return Ok(None);
    }
    if starts(&["transaction", "isolation", "level"]) {
        return Ok(Some("transaction_isolation".to_owned()));
    }
    if starts(&["time", "zone"]) {
        return Ok(Some("timezone".to_owned()));
    }
    name(pieces).map(|(name, _)| Some(name))
}

fn copy(sql: &str) -> Result<Copy, Refusal> {
    let mut pieces = Lexer::new(sql).skip(1).peekable();
    let wrong = || Refusal::new("42601", "write `COPY (query) TO STDOUT` or `COPY namespace.table TO STDOUT`");
    let first = pieces.peek().ok_or_else(wrong)?.place.start;
    let is_query = pieces.next_if(|piece| piece.is_sign('(')).is_some();
    let mut depth = 1_usize;
    let mut end = first;
    let mut columns = None;
    for piece in pieces.by_ref() {
        if piece.is_sign('(') {
            columns.get_or_insert(piece.place.start);
            depth += 1;
        } else if piece.is_sign(')') {
            depth = depth.checked_sub(1).ok_or_else(wrong)?;
        }
        if is_query && depth == 0 {
            end = piece.place.start;
            break;
        }
        if !is_query && depth == 1 && (piece.is("to") || piece.is("from")) {
            end = piece.place.start;
            return copy_to(table(sql, first..end, columns), &piece, pieces.collect());
        }
    }
    let direction = pieces.next().ok_or_else(wrong)?;
    if !is_query || !(direction.is("to") || direction.is("from")) {
        return Err(wrong());
    }
    copy_to(Query::At(first + 1..end), &direction, pieces.collect())
}

/// `SELECT` of a table as it is written, with its columns in brackets if there are any.
fn table(sql: &str, place: Range<usize>, columns: Option<usize>) -> Query {
    let text = |range: Range<usize>| sql.get(range).unwrap_or_default().trim();
    Query::Table(match columns {
        Some(open) => {
            let list = text(open..place.end).trim_start_matches('(').trim_end_matches(')');
            format!("SELECT {list} FROM {}", text(place.start..open))
        }
        None => format!("SELECT * FROM {}", text(place)),
    })
}

fn copy_to(query: Query, direction: &Placed, rest: Vec<Placed>) -> Result<Copy, Refusal> {
    if direction.is("from") {
        return Err(Refusal::new("25006", "`COPY … FROM` is not allowed: the store is read, and nothing else"));
    }
    match rest.split_first() {
        Some((target, options)) if target.is("stdout") => Ok(Copy { query, form: form(options)? }),
        _ => Err(Refusal::new("42501", "`COPY` to files and programs is not allowed").hint("write `TO STDOUT`")),
    }
}

/// The options in both of their ways: `WITH (FORMAT csv, HEADER)` and `WITH CSV HEADER`.
fn form(pieces: &[Placed]) -> Result<Form, Refusal> {
    let mut format = "text".to_owned();
    let (mut delimiter, mut null, mut quote) = (None, None, '"');
    let mut has_header = false;
    let mut rest = pieces.iter().filter(|piece| !piece.is("with") && !piece.is("as")).peekable();
    while let Some(piece) = rest.next() {
        let Piece::Word(option) = &piece.piece else {
            if matches!(piece.piece, Piece::Sign('(' | ')' | ',')) {
                continue;
            }
            return Err(Refusal::new("42601", "the options of `COPY` are not as they should be"));
        };
        match option.as_str() {
            "csv" | "binary" | "text" => format.clone_from(option),
            "header" => {
                let off = rest.next_if(|next| ["true", "false", "on", "off"].iter().any(|word| next.is(word)));
                has_header = off.is_none_or(|word| word.is("true") || word.is("on"));
            }
            "format" | "delimiter" | "null" | "quote" | "escape" | "encoding" => {
                let Some(Piece::Word(value) | Piece::Text(value) | Piece::Name(value)) =
                    rest.next().map(|next| &next.piece)
                else {
                    return Err(Refusal::new("42601", format!("the option `{option}` has no value")));
                };
                match option.as_str() {
                    "format" => format = value.to_lowercase(),
                    "delimiter" => delimiter = Some(one(option, value)?),
                    "null" => null = Some(value.clone()),
                    "quote" => quote = one(option, value)?,
                    "escape" if one(option, value)? != quote => return Err(not_offered("an ESCAPE that is not QUOTE")),
                    "encoding" if !value.eq_ignore_ascii_case("utf8") && !value.eq_ignore_ascii_case("utf-8") => {
                        return Err(not_offered("other encodings than UTF8"));
                    }
                    _ => {}
                }
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(Refusal::new("0A000", format!("`COPY` has no option `{shown}` here")));
            }
        }
    }
    match format.as_str() {
        "text" if has_header => Err(not_offered("HEADER with the text format")),
        "text" => Ok(Form::Text { delimiter: delimiter.unwrap_or('\t'), null: null.unwrap_or("\\N".to_owned()) }),
        "csv" => {
            let (delimiter, null) = (delimiter.unwrap_or(','), null.unwrap_or_default());
            Ok(Form::Csv { delimiter, null, quote, has_header })
        }
        "binary" => Ok(Form::Binary),
        _ => Err(not_offered("other formats than text, csv and binary")),
    }
}

/// One character that can part fields.
fn one(option: &str, value: &str) -> Result<char, Refusal> {
    let mut characters = value.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) if only.is_ascii() && !matches!(only, '\n' | '\r' | '\0' | '\\') => Ok(only),
        _ => Err(Refusal::new("22023", format!("`{option}` takes one character of ASCII"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(sql: &str) -> Command {
        command(sql).unwrap().unwrap()
    }

    fn code(sql: &str) -> &'static str {
        command(sql).unwrap_err().code
    }

    #[test]
    fn commands_are_told_from_queries() {
        assert_eq!(is("/* x */ BEGIN READ ONLY"), Command::Begin);
        assert_eq!(is("start transaction isolation level read committed"), Command::Begin);
        assert_eq!((code("BEGIN READ WRITE"), code("BEGIN ISOLATION LEVEL SERIALIZABLE")), ("25006", "0A000"));
        assert_eq!((is("END"), is("ROLLBACK TO SAVEPOINT a")), (Command::Commit, Command::RollbackTo));
        for query in ["SELECT 1", "SHOW TABLES", "show columns from a.b", "INSERT INTO x VALUES (1)", "", "(SELECT 1)"]
        {
            assert_eq!(command(query).unwrap(), None, "{query}");
        }
        assert_eq!(is("SHOW transaction isolation level"), Command::Show("transaction_isolation".to_owned()));
        assert_eq!(is("DEALLOCATE ALL"), Command::Deallocate(None));
        assert_eq!(
            (code("SET ROLE x"), code("SET SESSION AUTHORIZATION x"), code("EXECUTE x")),
            ("42501", "42501", "0A000")
        );
    }

    #[test]
    fn settings_are_understood_in_every_form() {
        let set = |name: &str, value: Option<&str>, is_local| Command::Set {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            is_local,
        };
        assert_eq!(is("SET DateStyle = ISO, DMY"), set("datestyle", Some("iso, dmy"), false));
        assert_eq!(is("set local statement_timeout to '2s'"), set("statement_timeout", Some("2s"), true));
        assert_eq!(is("SET TIME ZONE 'UTC'"), set("timezone", Some("UTC"), false));
        assert_eq!(is("SET SESSION a.b = DEFAULT"), set("a.b", None, false));
        assert_eq!(is("RESET application_name"), set("application_name", None, false));
        assert_eq!(code("SET x"), "42601");
    }

    #[test]
    fn copies_go_to_standard_output_and_nowhere_else() {
        let text = Form::Text { delimiter: '\t', null: "\\N".to_owned() };
        let copied = |sql: &str| match is(sql) {
            Command::Copy(Copy { query: Query::At(place), form }) => (sql[place].to_owned(), form),
            Command::Copy(Copy { query: Query::Table(query), form }) => (query, form),
            other => panic!("{other:?}"),
        };
        assert_eq!(copied("COPY (SELECT (1), ')') TO STDOUT"), ("SELECT (1), ')'".to_owned(), text.clone()));
        assert_eq!(copied("copy a.b to stdout"), ("SELECT * FROM a.b".to_owned(), text.clone()));
        assert_eq!(copied("COPY a.\"to\" (x, y) TO STDOUT").0, "SELECT x, y FROM a.\"to\"");
        let csv = Form::Csv { delimiter: ';', null: "-".to_owned(), quote: '"', has_header: true };
        let options = "COPY (SELECT 1) TO STDOUT WITH (FORMAT CSV, HEADER true, DELIMITER ';', NULL '-')";
        assert_eq!(copied(options).1, csv);
        assert_eq!(copied("COPY (SELECT 1) TO STDOUT WITH CSV HEADER DELIMITER AS ';' NULL '-'").1, csv);
        assert_eq!(copied("COPY (SELECT 1) TO STDOUT (FORMAT binary)").1, Form::Binary);
        assert_eq!(code("COPY (SELECT 1) TO '/tmp/x'"), "42501");
        assert_eq!(code("COPY (SELECT 1) TO PROGRAM 'rm'"), "42501");
        assert_eq!(code("COPY a.b FROM STDIN"), "25006");
        for broken in ["COPY", "COPY (SELECT 1", "COPY a.b", "COPY a.b) TO STDOUT", "COPY a.b)))) TO STDOUT"] {
            assert_eq!(code(broken), "42601", "{broken}");
        }
    }
}
