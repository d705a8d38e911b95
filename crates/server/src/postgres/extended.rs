//! Prepared statements and portals: so many, and of so many bytes, for each session.

use std::collections::HashMap;
use std::sync::Arc;

use hambar_query::Parameters;

use super::commands::{Command, command};
use super::cursors::Declare;
use super::kind::{Format, Kind};
use super::lexer::statements;
use super::message::{Bind, Column, Target, format_of};
use super::parameters::parameters;
use super::refusal::{Fault, Refusal};
use super::running::{Streaming, Text};
use super::session::{Sent, Session};
use super::value::columns_of;

/// Prepared statements of a session.
const STATEMENTS_MAX: usize = 1_000;
/// Portals of a session.
const PORTALS_MAX: usize = 100;
/// Bytes of the statements and values that a session keeps.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The type of a parameter of which nothing is known: a text.
const TEXT: u32 = 25;

/// What a session keeps between messages.
#[derive(Default)]
pub(super) struct Held {
    statements: HashMap<String, Statement>,
    portals: HashMap<String, Portal>,
}

#[derive(Clone)]
struct Statement {
    sql: Arc<str>,
    work: Work,
    /// The numbers of the parameters' types, as named by the client; 0 is none.
    types: Vec<u32>,
    described: Option<Described>,
}

#[derive(Clone)]
enum Work {
    Nothing,
    Command(Command),
    Query,
}

/// What the client was told of a statement.
#[derive(Clone)]
struct Described {
    columns: Vec<Column>,
    types: Vec<u32>,
}

pub(super) struct Portal {
    pub(super) sql: Arc<str>,
    pub(super) bytes: usize,
    pub(super) formats: Vec<Format>,
    /// Whether it stays when its transaction ends.
    pub(super) is_held: bool,
    pub(super) state: State,
}

pub(super) enum State {
    Nothing,
    Command(Command),
    /// A cursor that is to be made, with the values of its parameters.
    Declare(Declare, Parameters),
    Ready {
        parameters: Parameters,
        told: Option<Vec<Column>>,
    },
    Streaming(Box<Streaming>),
    /// All rows were sent; these were their columns.
    Ended(Vec<Column>),
}

impl Held {
    fn bytes(&self) -> usize {
        let statements: usize = self.statements.values().map(|statement| statement.sql.len()).sum();
        statements + self.portals.values().map(|portal| portal.bytes).sum::<usize>()
    }

    /// Says whether so many more bytes may be kept.
    fn has_room(&self, bytes: usize) -> Result<(), Refusal> {
        if self.bytes().saturating_add(bytes) <= HELD_BYTES_MAX {
            return Ok(());
        }
        let message = format!("the statements and values of the session have more than {HELD_BYTES_MAX} bytes");
        Err(Refusal::new("53200", message).hint("close those that are not needed any more"))
    }

    /// Forgets a statement or a portal, if there is one.
    pub(super) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.statements.remove(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
            }
        }
    }

    /// Ends the portals of a transaction.
    pub(super) fn end_portals(&mut self) {
        self.portals.retain(|_, portal| portal.is_held);
    }

    /// Ends a cursor, or all portals there are.
    pub(super) fn end_cursor(&mut self, name: Option<&str>) -> Result<(), Refusal> {
        match name {
            Some(name) => self.take_portal(name).map(|_| ()),
            None => {
                self.portals.clear();
                Ok(())
            }
        }
    }

    /// Keeps a new portal.
    pub(super) fn add_portal(&mut self, name: &str, portal: Portal) -> Result<(), Refusal> {
        if name.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(name) {
            let message = format!("there is a portal or cursor `{}` already", shortened(name));
            return Err(Refusal::new("42P03", message));
        }
        if self.portals.len() >= PORTALS_MAX {
            let message = format!("{PORTALS_MAX} portals are open already, and no more may be");
            return Err(Refusal::new("53400", message).hint("close those that are not needed any more"));
        }
        self.has_room(portal.bytes)?;
        self.put_portal(name, portal);
        Ok(())
    }

    /// Returns the formats in which a portal's rows are sent.
    pub(super) fn formats(&self, name: &str) -> Vec<Format> {
        self.portals.get(name).map(|portal| portal.formats.clone()).unwrap_or_default()
    }

    /// Puts a portal back that was taken.
    pub(super) fn put_portal(&mut self, name: &str, portal: Portal) {
        self.portals.insert(name.to_owned(), portal);
    }

    pub(super) fn end_unnamed(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
    }

    pub(super) fn forget_one(&mut self, name: &str) -> bool {
        self.statements.remove(name).is_some()
    }

    pub(super) fn forget(&mut self) {
        self.statements.clear();
        self.portals.clear();
    }

    fn statement(&self, name: &str) -> Result<&Statement, Refusal> {
        let found = self.statements.get(name);
        found.ok_or_else(|| Refusal::new("26000", format!("there is no prepared statement `{}`", shortened(name))))
    }

    pub(super) fn take_portal(&mut self, name: &str) -> Result<Portal, Refusal> {
        let found = self.portals.remove(name);
        found.ok_or_else(|| Refusal::new("34000", format!("there is no portal or cursor `{}`", shortened(name))))
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn text(sql: &Arc<str>) -> Text {
    Text { sql: Arc::clone(sql), before: 0 }
}

impl Session {
    /// Keeps a statement. It is looked at when somebody asks what it gives, or runs it.
    pub(super) fn parse(&mut self, name: String, sql: String, types: Vec<u32>) -> Result<(), Fault> {
        if name.is_empty() {
            self.held.statements.remove("");
        } else if self.held.statements.contains_key(&name) {
            let message = format!("there is a prepared statement `{}` already", shortened(&name));
            return Err(Refusal::new("42P05", message).into());
        }
        if self.held.statements.len() >= STATEMENTS_MAX {
            let message = format!("{STATEMENTS_MAX} statements are prepared already, and no more may be");
            return Err(Refusal::new("53400", message).hint("close those that are not needed any more").into());
        }
        if types.len() > hambar_query::PARAMETERS_MAX {
            let message = format!("{} parameters; {} are the limit", types.len(), hambar_query::PARAMETERS_MAX);
            return Err(Refusal::new("54023", message).into());
        }
        self.held.has_room(sql.len())?;
        let work = match statements(&sql).len() {
            0 => Work::Nothing,
            1 => command(&sql)?.map_or(Work::Query, Work::Command),
            _ => return Err(Refusal::new("42601", "a prepared statement is one statement").into()),
        };
        let is_end = matches!(work, Work::Command(Command::Commit | Command::Rollback | Command::RollbackTo));
        if !is_end {
            self.is_usable()?;
        }
        self.held.statements.insert(name, Statement { sql: sql.into(), work, types, described: None });
        self.wire.bare(b'1');
        Ok(())
    }

    /// Gives a statement the values of its parameters.
    pub(super) async fn bind(&mut self, bind: Bind) -> Result<(), Fault> {
        let mut statement = self.held.statement(&bind.statement)?.clone();
        let bytes: usize = bind.values.iter().flatten().map(bytes::Bytes::len).sum();
        // Before anything is asked of the query.
        self.held.has_room(bytes)?;
        let state = match &statement.work {
            Work::Nothing => State::Nothing,
            Work::Command(Command::Declare(declare)) => {
                let parameters = parameters(&bind.values, &bind.formats, &statement.types)?;
                State::Declare(declare.clone(), parameters)
            }
            Work::Command(command) => State::Command(command.clone()),
            Work::Query => {
                // Bytes are understood by their type only, and so is what looks like a list. Where the client names
                // none, the statement does.
                let is_open = |place: usize| {
                    let is_named = statement.types.get(place).is_some_and(|oid| *oid != 0);
                    let value = bind.values.get(place).and_then(Option::as_deref).unwrap_or_default();
                    let is_list = value.starts_with(b"{") && value.ends_with(b"}");
                    !is_named && (format_of(&bind.formats, place) == Format::Binary || is_list)
                };
                let is_unclear = (0..bind.values.len()).any(is_open);
                if is_unclear {
                    self.describe_statement(&bind.statement).await?;
                    statement = self.held.statement(&bind.statement)?.clone();
                }
                let described = statement.described.as_ref();
                let types = if is_unclear { described.map(|described| &described.types) } else { None };
                let parameters = parameters(&bind.values, &bind.formats, types.unwrap_or(&statement.types))?;
                State::Ready { parameters, told: described.map(|described| described.columns.clone()) }
            }
        };
        if !bind.values.is_empty() && !matches!(state, State::Ready { .. } | State::Declare(..)) {
            return Err(Refusal::protocol("the statement has no parameters").into());
        }
        let portal = Portal { sql: statement.sql, bytes, formats: bind.result_formats, is_held: false, state };
        self.held.add_portal(&bind.portal, portal)?;
        self.wire.bare(b'2');
        Ok(())
    }

    /// Says what a statement takes and gives, or what a portal gives.
    pub(super) async fn describe(&mut self, target: Target) -> Result<(), Fault> {
        match target {
            Target::Statement(name) => {
                let statement = self.held.statement(&name)?.clone();
                match &statement.work {
                    Work::Query => {
                        let described = self.describe_statement(&name).await?;
                        self.wire.parameters(&described.types);
                        self.tell(&described.columns, &[]);
                    }
                    Work::Command(Command::Show(setting)) => {
                        let (column, _) = self.shown(setting)?;
                        self.wire.parameters(&[]);
                        self.tell(&[column], &[]);
                    }
                    Work::Command(Command::Fetch(fetch)) => {
                        let columns = self.columns_of_cursor(&fetch.name).await?;
                        self.wire.parameters(&[]);
                        self.tell(&columns, &[]);
                    }
                    Work::Command(_) | Work::Nothing => {
                        self.wire.parameters(&[]);
                        self.wire.bare(b'n');
                    }
                }
                Ok(())
            }
            Target::Portal(name) => {
                let mut portal = self.held.take_portal(&name)?;
                self.begin(&mut portal).await?;
                match &portal.state {
                    State::Streaming(streaming) => self.wire.columns(&streaming.columns, &streaming.formats),
                    State::Command(Command::Show(setting)) => {
                        let (column, _) = self.shown(setting)?;
                        self.wire.columns(&[column], &portal.formats);
                    }
                    State::Command(Command::Fetch(fetch)) => {
                        let columns = self.columns_of_cursor(&fetch.name).await?;
                        self.tell(&columns, &portal.formats);
                    }
                    _ => self.wire.bare(b'n'),
                }
                self.held.portals.insert(name, portal);
                Ok(())
            }
        }
    }

    fn tell(&mut self, columns: &[Column], formats: &[Format]) {
        if columns.is_empty() {
            self.wire.bare(b'n');
        } else {
            self.wire.columns(columns, formats);
        }
    }

    /// Finds out what a statement takes and gives, once.
    async fn describe_statement(&mut self, name: &str) -> Result<Described, Fault> {
        let statement = self.held.statement(name)?.clone();
        if let Some(described) = statement.described {
            return Ok(described);
        }
        let description = self.description(&text(&statement.sql)).await?;
        let types = description.parameters.iter().enumerate().map(|(place, parameter)| {
            let named = statement.types.get(place).copied().filter(|oid| *oid != 0);
            let found = parameter.data_type.as_ref().map(|kind| Kind::of(kind).oid());
            named.or(found).unwrap_or(TEXT)
        });
        let described = Described { types: types.collect(), columns: columns_of(&description.schema) };
        if let Some(statement) = self.held.statements.get_mut(name) {
            statement.described = Some(described.clone());
        }
        Ok(described)
    }

    /// Starts the query of a portal, unless it has been.
    pub(super) async fn begin(&mut self, portal: &mut Portal) -> Result<(), Fault> {
        let State::Ready { parameters, told } = &mut portal.state else { return Ok(()) };
        let (parameters, told) = (std::mem::take(parameters), told.take());
        let streaming = self.start(text(&portal.sql), parameters, told, portal.formats.clone()).await?;
        portal.state = State::Streaming(Box::new(streaming));
        Ok(())
    }

    /// Sends rows of a portal: all that are left, or `limit` where that is not 0.
    pub(super) async fn execute(&mut self, name: &str, limit: usize) -> Result<(), Fault> {
        // A portal that fails is gone.
        let mut portal = self.held.take_portal(name)?;
        self.begin(&mut portal).await?;
        let state = std::mem::replace(&mut portal.state, State::Ended(Vec::new()));
        match state {
            State::Nothing => self.wire.bare(b'I'),
            State::Command(Command::Show(setting)) => {
                let (_, value) = self.shown(&setting)?;
                self.row_of(&value);
                self.wire.complete("SHOW");
            }
            State::Command(Command::Fetch(fetch)) => {
                let formats = (!portal.formats.is_empty()).then_some(portal.formats.as_slice());
                return self.fetch(&fetch, formats).await;
            }
            State::Command(command) => return self.command(command, &text(&portal.sql)).await,
            State::Declare(declare, parameters) => return Ok(self.declare(&declare, &portal.sql, parameters)?),
            State::Streaming(mut streaming) => match self.rows(&mut streaming, limit).await? {
                Sent::All(count) => self.wire.complete(&format!("SELECT {count}")),
                Sent::Some => {
                    self.wire.bare(b's');
                    portal.state = State::Streaming(streaming);
                }
            },
            State::Ended(_) => self.wire.complete("SELECT 0"),
            State::Ready { .. } => return Err(Refusal::new("XX000", "a query was not started").into()),
        }
        self.held.portals.insert(name.to_owned(), portal);
        Ok(())
    }
}
