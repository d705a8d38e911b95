//! Cursors as statements: `DECLARE`, `FETCH`, `CLOSE`. A cursor is a portal that was given a name by SQL; it goes forward
//! only, and like every query that is not read to its end it keeps its turn as long as the server's limits allow.

use std::ops::Range;

use super::commands::not_offered;
use super::extended::{Portal, State};
use super::kind::Format;
use super::lexer::{Lexer, Piece, Placed};
use super::message::{Column, Status};
use super::refusal::{Fault, Refusal};
use super::session::{Sent, Session};

/// `DECLARE name CURSOR FOR query`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declare {
    pub(super) name: String,
    /// Where the query stands.
    pub(super) query: Range<usize>,
    pub(super) is_binary: bool,
    /// Whether it stays when its transaction ends.
    pub(super) is_held: bool,
}

/// `FETCH count FROM name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) name: String,
    /// How many rows; all of them where there is no number.
    pub(super) count: Option<usize>,
}

/// Reads a declaration after its first word.
pub(super) fn declare(sql: &str) -> Result<Declare, Refusal> {
    let wrong = || Refusal::new("42601", "write `DECLARE name CURSOR FOR query`");
    let mut pieces = Lexer::new(sql).skip(1);
    let name = name_of(pieces.next()).ok_or_else(wrong)?;
    let (mut is_binary, mut is_held, mut negates) = (false, false, false);
    for piece in pieces {
        let Piece::Word(word) = &piece.piece else { return Err(wrong()) };
        match word.as_str() {
            "binary" => is_binary = true,
            "hold" => is_held = !negates,
            "scroll" if !negates => return Err(not_offered("cursors that go back")),
            "no" | "without" => {
                negates = true;
                continue;
            }
            "scroll" | "asensitive" | "insensitive" | "cursor" | "with" => {}
            "for" => {
                let query = piece.place.end..sql.len();
                return Ok(Declare { name, query, is_binary, is_held });
            }
            _ => return Err(wrong()),
        }
        negates = false;
    }
    Err(wrong())
}

/// Reads a wish for rows after its first word.
pub(super) fn fetch(pieces: &[Placed]) -> Result<Fetch, Refusal> {
    let wrong = || Refusal::new("42601", "write `FETCH count FROM name`");
    let mut rest = pieces.iter().filter(|piece| !piece.is("from") && !piece.is("in") && !piece.is("forward")).cloned();
    let first = rest.next().ok_or_else(wrong)?;
    let count = match &first.piece {
        Piece::Word(word) if word == "all" => None,
        Piece::Word(word) if word == "next" => Some(1),
        Piece::Word(word) if word.starts_with(|first: char| first.is_ascii_digit()) => {
            Some(word.parse().map_err(|_| wrong())?)
        }
        Piece::Word(word)
            if ["absolute", "backward", "first", "last", "prior", "relative"].contains(&word.as_str()) =>
        {
            return Err(not_offered("cursors that go back"));
        }
        Piece::Sign(_) => return Err(not_offered("cursors that go back")),
        _ => {
            let name = name_of(Some(first)).ok_or_else(wrong)?;
            return Ok(Fetch { name, count: Some(1) });
        }
    };
    let name = name_of(rest.next()).ok_or_else(wrong)?;
    Ok(Fetch { name, count })
}

/// Reads which cursor is closed: one, or all of them.
pub(super) fn close(pieces: &[Placed]) -> Result<Option<String>, Refusal> {
    match pieces.first() {
        Some(all) if all.is("all") => Ok(None),
        first => match name_of(first.cloned()) {
            Some(name) => Ok(Some(name)),
            None => Err(Refusal::new("42601", "the name of a cursor is missing")),
        },
    }
}

fn name_of(piece: Option<Placed>) -> Option<String> {
    match piece?.piece {
        Piece::Word(name) | Piece::Name(name) => Some(name),
        Piece::Text(_) | Piece::Sign(_) => None,
    }
}

impl Session {
    /// Makes a cursor. Its query starts when somebody asks for its columns or rows.
    pub(super) fn declare(
        &mut self,
        declare: &Declare,
        sql: &str,
        parameters: hambar_query::Parameters,
    ) -> Result<(), Refusal> {
        self.is_usable()?;
        if self.status == Status::Idle && !declare.is_held {
            let refusal = Refusal::new("25P01", "a cursor lives in a transaction, and there is none");
            return Err(refusal.hint("write `BEGIN` before it, or `WITH HOLD`"));
        }
        let query = sql.get(declare.query.clone()).unwrap_or_default();
        let formats = if declare.is_binary { vec![Format::Binary] } else { Vec::new() };
        let state = State::Ready { parameters, told: None };
        let portal = Portal { sql: query.into(), bytes: query.len(), formats, is_held: declare.is_held, state };
        self.held.add_portal(&declare.name, portal)?;
        self.wire.complete("DECLARE CURSOR");
        Ok(())
    }

    /// Returns the columns of a cursor.
    pub(super) async fn columns_of_cursor(&mut self, name: &str) -> Result<Vec<Column>, Fault> {
        self.is_usable()?;
        let mut portal = self.held.take_portal(name)?;
        self.begin(&mut portal).await?;
        let columns = match &portal.state {
            State::Streaming(streaming) => streaming.columns.clone(),
            State::Ended(columns) => columns.clone(),
            _ => Vec::new(),
        };
        self.held.put_portal(name, portal);
        Ok(columns)
    }

    /// Sends rows of a cursor whose columns the client knows, in its own formats or in those that are asked for.
    pub(super) async fn fetch(&mut self, fetch: &Fetch, formats: Option<&[Format]>) -> Result<(), Fault> {
        self.is_usable()?;
        // A cursor that fails is gone.
        let mut portal = self.held.take_portal(&fetch.name)?;
        self.begin(&mut portal).await?;
        let state = std::mem::replace(&mut portal.state, State::Ended(Vec::new()));
        let (state, count) = match state {
            State::Streaming(mut streaming) if fetch.count != Some(0) => {
                if let Some(formats) = formats {
                    streaming.write_as(formats);
                }
                let columns = streaming.columns.clone();
                match self.rows(&mut streaming, fetch.count.unwrap_or(0)).await? {
                    Sent::All(count) => (State::Ended(columns), count),
                    Sent::Some => (State::Streaming(streaming), fetch.count.unwrap_or(0) as u64),
                }
            }
            other => (other, 0),
        };
        portal.state = state;
        self.held.put_portal(&fetch.name, portal);
        self.wire.complete(&format!("FETCH {count}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(sql: &str) -> Result<(String, Option<usize>), &'static str> {
        let pieces: Vec<Placed> = Lexer::new(sql).skip(1).collect();
        fetch(&pieces).map(|fetch| (fetch.name, fetch.count)).map_err(|refusal| refusal.code)
    }

    #[test]
    fn cursors_go_forward() {
        let sql = "DECLARE \"x\" NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1";
        let made = declare(sql).unwrap();
        assert_eq!(
            (made.name.as_str(), made.is_binary, made.is_held, &sql[made.query]),
            ("x", false, false, " SELECT 1")
        );
        let made = declare("declare c binary cursor with hold for values (1)").unwrap();
        assert_eq!((made.is_binary, made.is_held), (true, true));
        assert_eq!(declare("DECLARE x SCROLL CURSOR FOR SELECT 1").unwrap_err().code, "0A000");
        for broken in ["DECLARE", "DECLARE x", "DECLARE x CURSOR", "DECLARE 'x' CURSOR FOR SELECT 1", "DECLARE x y FOR"]
        {
            assert_eq!(declare(broken).unwrap_err().code, "42601", "{broken}");
        }
        let x = |count| Ok(("x".to_owned(), count));
        assert_eq!(fetched("FETCH FORWARD 100 FROM x"), x(Some(100)));
        assert_eq!(fetched("FETCH FORWARD ALL FROM \"x\""), x(None));
        assert_eq!(
            (fetched("FETCH NEXT IN x"), fetched("FETCH x"), fetched("FETCH FORWARD x")),
            (x(Some(1)), x(Some(1)), x(Some(1)))
        );
        for back in ["FETCH -1 FROM x", "FETCH PRIOR FROM x", "FETCH ABSOLUTE 3 FROM x"] {
            assert_eq!(fetched(back), Err("0A000"), "{back}");
        }
        for broken in ["FETCH", "FETCH 5", "FETCH 99999999999999999999 FROM x"] {
            assert_eq!(fetched(broken), Err("42601"), "{broken}");
        }
    }
}
