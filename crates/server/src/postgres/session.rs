//! A session: messages one after the other, statements of the simple protocol, transactions in which nothing is written.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BufMut;
use hambar_core::Classified as _;
use hambar_query::Parameters;
use tokio_util::sync::CancellationToken;

use super::commands::{Command, Copy, Query, command};
use super::extended::Held;
use super::kind::{Kind, Scalar};
use super::lexer::statements;
use super::message::{Column, Message, Status, understand};
use super::refusal::{Fault, Refusal};
use super::running::{self, Streaming, Text, Watch};
use super::serve::{Key, Shared};
use super::settings::Settings;
use super::startup::Start;
use super::traced::Group;
use super::wire::{Wire, WireError};
use crate::access::{AccessError, Principal};
use crate::front::{Ask, AskedLimits, Protocol};
use crate::trace;

/// `SHOW hambar.sources` tells whom to name for the last answer.
const SOURCES: &str = "hambar.sources";
/// Statements of one message.
const STATEMENTS_MAX: usize = 100;

/// One client's session.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Wire,
    principal: Arc<Principal>,
    address: IpAddr,
    key: Key,
    settings: Settings,
    /// The settings from before the transaction, where it changed some for itself only.
    before: Option<Settings>,
    pub(super) status: Status,
    pub(super) held: Held,
    /// Tells what is at work that it is to stop.
    stop: CancellationToken,
    /// The tables of the last answer and whom to name for them, as JSON.
    sources: String,
    /// What is being answered, in a trace.
    group: Group,
}

/// How a session goes on after a message.
enum Next {
    GoOn,
    /// Everything up to the end of the group is left out.
    Skip,
    End,
}

/// How far rows were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of them; so many this time.
    All(u64),
    /// As many as were wanted, and there may be more.
    Some,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, start: Start, who: Principal, address: IpAddr, key: Key) -> Self {
        let settings = Settings::new(who.name(), &start.settings);
        let mut wire = start.wire;
        wire.trust();
        wire.put(b'R', |out| out.put_i32(0));
        for (name, value) in settings.told() {
            wire.setting(name, &value);
        }
        wire.put(b'K', |out| {
            out.put_i32(key.process);
            out.put_i32(key.secret);
        });
        wire.ready(Status::Idle);
        Self {
            shared,
            wire,
            principal: Arc::new(who),
            address,
            key,
            settings,
            before: None,
            status: Status::Idle,
            held: Held::default(),
            stop: CancellationToken::new(),
            sources: "[]".to_owned(),
            group: Group::default(),
        }
    }

    /// Answers messages until the client goes, or is sent away.
    pub(super) async fn run(mut self) -> Result<(), WireError> {
        self.wire.send().await?;
        let mut is_skipping = false;
        loop {
            let message = match self.next().await {
                Ok(Some(Message::Terminate)) => return Ok(()),
                Ok(Some(message)) => message,
                Ok(None) => return self.farewell(&Refusal::new("57P01", "the server is going down").fatal()).await,
                Err(error) => {
                    return match Refusal::of_wire(&error) {
                        Some(refusal) => self.farewell(&refusal).await,
                        None => Err(error),
                    };
                }
            };
            // After an error, everything up to the end of the group is left out.
            if is_skipping && message != Message::Sync {
                continue;
            }
            let is_simple = matches!(message, Message::Query(_));
            is_skipping = false;
            self.stop = self.key.running.begin();
            let place = self.group.enter(self.shared.front.tracer(), &message, &self.principal);
            let is_end = is_simple || message == Message::Sync;
            let outcome = trace::within(place.clone(), self.answer(message)).await;
            self.key.running.end();
            if let Err(Fault::Refused(refusal)) = &outcome {
                self.group.refused(refusal.code);
            }
            let told = trace::within(place, self.told(outcome, is_simple)).await;
            if is_end {
                self.group.end();
            }
            match told? {
                Next::End => return Ok(()),
                Next::Skip => is_skipping = true,
                Next::GoOn => {}
            }
        }
    }

    /// Tells the client what came of a message, and says how to go on.
    async fn told(&mut self, outcome: Result<(), Fault>, is_simple: bool) -> Result<Next, WireError> {
        let refusal = match outcome {
            Ok(()) => return Ok(Next::GoOn),
            Err(Fault::Wire(error)) => return Err(error),
            Err(Fault::Refused(refusal)) => refusal,
        };
        if refusal.is_fatal {
            return self.farewell(&refusal).await.map(|()| Next::End);
        }
        self.wire.refuse(&refusal);
        if self.status == Status::Open {
            self.status = Status::Failed;
        }
        if is_simple {
            self.wire.ready(self.status);
        }
        self.wire.send().await?;
        Ok(if is_simple { Next::GoOn } else { Next::Skip })
    }

    async fn farewell(&mut self, refusal: &Refusal) -> Result<(), WireError> {
        self.wire.refuse(refusal);
        self.wire.close().await
    }

    /// Waits for the next message; none comes where the server is going down.
    async fn next(&mut self) -> Result<Option<Message>, WireError> {
        let (idle, message) = (self.shared.settings.idle_time_max, self.shared.settings.message_time_max);
        tokio::select! {
            biased;
            stirred = tokio::time::timeout(idle, self.wire.stirs()) => {
                stirred.map_err(|_| WireError::Time { what: "a message", limit: idle })??;
            }
            () = self.shared.stop.cancelled() => return Ok(None),
        }
        let frame = tokio::time::timeout(message, self.wire.frame()).await;
        let frame = frame.map_err(|_| WireError::Time { what: "the rest of a message", limit: message })??;
        understand(frame).map(Some)
    }

    async fn answer(&mut self, message: Message) -> Result<(), Fault> {
        match message {
            Message::Query(text) => self.query(&text).await,
            Message::Parse { name, sql, types } => self.parse(name, sql, types),
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(target) => self.describe(target).await,
            Message::Execute { portal, rows } => self.execute(&portal, rows).await,
            Message::Close(target) => {
                self.held.close(&target);
                self.wire.bare(b'3');
                Ok(())
            }
            Message::Sync => {
                if self.status == Status::Idle {
                    self.held.end_portals();
                }
                self.wire.ready(self.status);
                Ok(self.wire.send().await?)
            }
            Message::Flush => Ok(self.wire.send().await?),
            Message::Terminate => Ok(()),
            Message::Proof(_) => Err(Refusal::protocol("nobody asked for a proof").fatal().into()),
            Message::Other => {
                let refusal = Refusal::protocol("data and calls of functions are not taken");
                Err(refusal.into())
            }
        }
    }

    /// Runs the statements of one message, up to the first that fails.
    async fn query(&mut self, text: &str) -> Result<(), Fault> {
        let places = statements(text);
        if places.len() > STATEMENTS_MAX {
            let message = format!("{} statements in one message; {STATEMENTS_MAX} are the limit", places.len());
            return Err(Refusal::new("54000", message).into());
        }
        // As in Postgres, statements of the simple protocol end what was prepared without a name.
        self.held.end_unnamed();
        if places.is_empty() {
            self.wire.bare(b'I');
        }
        for place in places {
            let sql = text.get(place.clone()).unwrap_or_default();
            let before = text.get(..place.start).unwrap_or_default().chars().count();
            self.statement(Text { sql: sql.into(), before }).await?;
        }
        self.wire.ready(self.status);
        Ok(self.wire.send().await?)
    }

    async fn statement(&mut self, text: Text) -> Result<(), Fault> {
        match command(&text.sql)? {
            Some(Command::Show(name)) => {
                let (column, value) = self.shown(&name)?;
                self.wire.columns(&[column], &[]);
                self.row_of(&value);
                self.wire.complete("SHOW");
                Ok(())
            }
            Some(Command::Fetch(fetch)) => {
                let columns = self.columns_of_cursor(&fetch.name).await?;
                let formats = self.held.formats(&fetch.name);
                self.wire.columns(&columns, &formats);
                self.fetch(&fetch, None).await
            }
            Some(command) => self.command(command, &text).await,
            None => {
                let mut streaming = self.start(text, Parameters::none(), None, Vec::new()).await?;
                self.wire.columns(&streaming.columns, &[]);
                if let Sent::All(count) = self.rows(&mut streaming, 0).await? {
                    self.wire.complete(&format!("SELECT {count}"));
                }
                Ok(())
            }
        }
    }

    /// Carries out a command that gives no rows, or those of a copy.
    pub(super) async fn command(&mut self, command: Command, text: &Text) -> Result<(), Fault> {
        let ends = matches!(command, Command::Commit | Command::Rollback | Command::RollbackTo);
        if !ends {
            self.is_usable()?;
        }
        let tag = match command {
            Command::Begin => {
                self.status = Status::Open;
                "BEGIN"
            }
            Command::Commit | Command::Rollback => {
                let is_whole = command == Command::Commit && self.status != Status::Failed;
                self.end_transaction();
                if is_whole { "COMMIT" } else { "ROLLBACK" }
            }
            Command::RollbackTo | Command::Savepoint(_) if self.status == Status::Idle => {
                return Err(Refusal::new("25P01", "there is no transaction").into());
            }
            Command::RollbackTo => {
                self.status = Status::Open;
                "ROLLBACK"
            }
            Command::Savepoint(tag) | Command::Done(tag) => tag,
            Command::Set { name, value, is_local } => {
                self.set(&name, value.as_deref(), is_local)?;
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::ResetAll => {
                self.settings.reset();
                "RESET"
            }
            Command::Deallocate(None) => {
                self.held.forget();
                "DEALLOCATE ALL"
            }
            Command::Deallocate(Some(name)) => {
                if !self.held.forget_one(&name) {
                    return Err(Refusal::new("26000", "there is no prepared statement of this name").into());
                }
                "DEALLOCATE"
            }
            Command::DiscardAll => {
                self.held.forget();
                self.settings.reset();
                "DISCARD ALL"
            }
            Command::Declare(declare) => return Ok(self.declare(&declare, &text.sql, Parameters::none())?),
            Command::CloseCursor(name) => {
                self.held.end_cursor(name.as_deref())?;
                "CLOSE CURSOR"
            }
            Command::Show(_) | Command::Fetch(_) => {
                return Err(Refusal::new("XX000", "what gives rows is answered elsewhere").into());
            }
            Command::Copy(copy) => return self.copy(copy, text).await,
        };
        self.wire.complete(tag);
        Ok(())
    }

    fn end_transaction(&mut self) {
        self.status = Status::Idle;
        self.held.end_portals();
        if let Some(before) = self.before.take() {
            self.settings = before;
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>, is_local: bool) -> Result<(), Refusal> {
        if is_local && self.status == Status::Idle {
            return Err(Refusal::new("25P01", "SET LOCAL holds for a transaction, and there is none"));
        }
        if is_local && self.before.is_none() {
            self.before = Some(self.settings.clone());
        }
        let name = self.settings.set(name, value)?;
        if Settings::is_told(name) {
            let value = self.settings.get(name)?;
            self.wire.setting(name, &value);
        }
        Ok(())
    }

    /// The column and the value of a setting.
    pub(super) fn shown(&self, name: &str) -> Result<(Column, String), Refusal> {
        self.is_usable()?;
        let value = if name == SOURCES { self.sources.clone() } else { self.settings.get(name)? };
        Ok((Column { name: name.to_owned(), kind: Kind::One(Scalar::Text), modifier: -1 }, value))
    }

    /// Writes a row of one text.
    pub(super) fn row_of(&mut self, value: &str) {
        self.wire.put(b'D', |out| {
            out.put_u16(1);
            out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
            out.put_slice(value.as_bytes());
        });
    }

    async fn copy(&mut self, copy: Copy, text: &Text) -> Result<(), Fault> {
        let inner = match &copy.query {
            Query::At(place) => {
                let before = text.sql.get(..place.start).unwrap_or_default().chars().count();
                let sql = text.sql.get(place.clone()).unwrap_or_default();
                Text { sql: sql.into(), before: text.before + before }
            }
            Query::Table(sql) => Text { sql: sql.as_str().into(), before: text.before },
        };
        let formats = match copy.form {
            super::commands::Form::Binary => vec![super::kind::Format::Binary],
            _ => Vec::new(),
        };
        let mut streaming = self.start(inner, Parameters::none(), None, formats).await?;
        copy.form.begin(&streaming.columns, &mut self.wire.out);
        let columns = streaming.columns.len();
        let mut count = 0_u64;
        while let Some((rows, first)) = streaming.rows(&self.shared, watch(&mut self.wire, &self.stop)).await? {
            for row in first..rows.count() {
                copy.form.row(&rows, row, columns, count, &mut self.wire.out);
                count += 1;
                self.wire.send_some().await?;
            }
        }
        copy.form.end(count, &mut self.wire.out);
        self.wire.complete(&format!("COPY {count}"));
        Ok(())
    }

    /// Says whether statements are taken: not in a transaction in which one failed.
    pub(super) fn is_usable(&self) -> Result<(), Refusal> {
        if self.status != Status::Failed {
            return Ok(());
        }
        Err(Refusal::new("25P02", "a statement of this transaction failed; the others are left out up to its end"))
    }

    /// Says whether whoever opened the session may still ask.
    async fn is_current(&mut self) -> Result<(), Fault> {
        let look = self.shared.authenticator.renewed(&self.principal);
        match trace::authenticate(|error: &AccessError| error.class().name(), look).await {
            Ok(Some(principal)) => {
                self.principal = Arc::new(principal);
                Ok(())
            }
            Ok(None) => {
                let message = "the token is not valid any more, or another part of the data is for it now";
                Err(Refusal::new("28000", message).hint("connect again").fatal().into())
            }
            Err(error) => Err(Refusal::of_access(error).into()),
        }
    }

    fn ask(&self, text: &Text, parameters: Parameters) -> Ask {
        Ask {
            principal: Arc::clone(&self.principal),
            protocol: Protocol::Postgres,
            address: Some(self.address),
            sql: text.sql.to_string(),
            parameters,
            limits: AskedLimits { run_time_max: self.settings.statement_time_max(), ..AskedLimits::default() },
        }
    }

    /// Starts a query for this session.
    pub(super) async fn start(
        &mut self,
        text: Text,
        parameters: Parameters,
        told: Option<Vec<Column>>,
        formats: Vec<super::kind::Format>,
    ) -> Result<Streaming, Fault> {
        self.is_usable()?;
        self.is_current().await?;
        let ask = self.ask(&text, parameters);
        let watch = watch(&mut self.wire, &self.stop);
        let streaming = running::start(&self.shared, watch, ask, text, told, formats).await?;
        let sources = serde_json::to_string(&streaming.sources());
        self.sources = sources.map_err(|error| Refusal::new("XX000", error.to_string()))?;
        Ok(streaming)
    }

    /// Asks what a statement gives and takes.
    pub(super) async fn description(&mut self, text: &Text) -> Result<hambar_query::Description, Fault> {
        self.is_usable()?;
        self.is_current().await?;
        let ask = self.ask(text, Parameters::none());
        running::describe(&self.shared, watch(&mut self.wire, &self.stop), ask, text).await
    }

    /// Sends rows: all of them, or `limit` where that is not 0.
    pub(super) async fn rows(&mut self, streaming: &mut Streaming, limit: usize) -> Result<Sent, Fault> {
        let mut count = 0_usize;
        while let Some((rows, first)) = streaming.rows(&self.shared, watch(&mut self.wire, &self.stop)).await? {
            let end = if limit == 0 { rows.count() } else { rows.count().min(first + (limit - count)) };
            for row in first..end {
                rows.put(row, &mut self.wire.out);
                self.wire.send_some().await?;
            }
            count += end - first;
            streaming.keep(rows, end);
            if count == limit && limit > 0 {
                return Ok(Sent::Some);
            }
        }
        Ok(Sent::All(count as u64))
    }
}

fn watch<'a>(wire: &'a mut Wire, stop: &'a CancellationToken) -> Watch<'a> {
    Watch { wire, stop }
}
