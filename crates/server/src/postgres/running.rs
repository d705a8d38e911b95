//! A query while it runs: watched for a wish to stop it, and for a client that has gone.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use hambar_query::Description;
use tokio_util::sync::CancellationToken;

use super::kind::Format;
use super::message::Column;
use super::refusal::{Fault, Refusal};
use super::serve::Shared;
use super::value::{Rows, columns_of};
use super::wire::Wire;
use crate::access::Principal;
use crate::front::{Answer, Ask, FrontError};

/// Where a statement stands in what its client sent, for the places of errors.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) sql: Arc<str>,
    /// Characters before it.
    pub(super) before: usize,
}

impl Text {
    fn refusal(&self, error: &FrontError) -> Fault {
        Refusal::of(error, &self.sql, self.before).into()
    }
}

/// An answer on its way to a client.
pub(super) struct Streaming {
    text: Text,
    answer: Answer,
    principal: Arc<Principal>,
    pub(super) columns: Vec<Column>,
    pub(super) formats: Vec<Format>,
    /// Rows that are not sent yet, and how many of them are.
    rows: Option<(Rows, usize)>,
}

/// What may end a query early.
pub(super) struct Watch<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) stop: &'a CancellationToken,
}

impl Watch<'_> {
    /// Waits for `work`, unless it is to stop or nobody waits for it.
    async fn over<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(stopped().into()),
            done = work => Ok(done),
            error = self.wire.gone() => Err(error.into()),
        }
    }
}

fn stopped() -> Refusal {
    Refusal::new("57014", "the query was cancelled")
}

/// Asks what a statement gives and takes.
pub(super) async fn describe(
    shared: &Shared,
    mut watch: Watch<'_>,
    ask: Ask,
    text: &Text,
) -> Result<Description, Fault> {
    watch.over(shared.front.describe(&ask)).await?.map_err(|error| text.refusal(&error))
}

/// Starts a query. `told` are the columns that the client was told before, if it was.
pub(super) async fn start(
    shared: &Shared,
    mut watch: Watch<'_>,
    ask: Ask,
    text: Text,
    told: Option<Vec<Column>>,
    formats: Vec<Format>,
) -> Result<Streaming, Fault> {
    let principal = Arc::clone(&ask.principal);
    let answer = watch.over(shared.front.query(ask)).await?.map_err(|error| text.refusal(&error))?;
    let own = columns_of(&answer.schema());
    let columns = match told {
        Some(told) if told.len() != own.len() => {
            let message = "the statement gives other columns than when it was prepared";
            return Err(Refusal::new("0A000", message).hint("prepare it again").into());
        }
        Some(told) => told,
        None => own,
    };
    if formats.len() > 1 && formats.len() != columns.len() {
        return Err(Refusal::protocol(format!("{} formats for {} columns", formats.len(), columns.len())).into());
    }
    Ok(Streaming { text, answer, principal, columns, formats, rows: None })
}

impl Streaming {
    /// Returns the tables that are read, and whom to name for them.
    pub(super) fn sources(&self) -> Vec<crate::front::Source> {
        self.answer.sources().to_vec()
    }

    /// Takes the next rows that are not sent yet, with the number of the first one; nothing at the end.
    pub(super) async fn rows(&mut self, shared: &Shared, mut watch: Watch<'_>) -> Result<Option<(Rows, usize)>, Fault> {
        if let Some(rows) = self.rows.take() {
            return Ok(Some(rows));
        }
        loop {
            let Some(batch) = self.batch(shared, &mut watch).await? else { return self.ended().map(|()| None) };
            if batch.num_rows() == 0 {
                continue;
            }
            let rows = Rows::new(&batch, &self.columns, &self.formats);
            return match rows {
                Ok(rows) => Ok(Some((rows, 0))),
                Err(error) => Err(Refusal::new("22000", error.to_string()).into()),
            };
        }
    }

    /// Sends what follows in other formats.
    pub(super) fn write_as(&mut self, formats: &[Format]) {
        self.formats = formats.to_vec();
        if let Some((rows, _)) = &mut self.rows {
            rows.write_as(formats);
        }
    }

    /// Keeps rows for later.
    pub(super) fn keep(&mut self, rows: Rows, sent: usize) {
        self.rows = (sent < rows.count()).then_some((rows, sent));
    }

    async fn batch(&mut self, shared: &Shared, watch: &mut Watch<'_>) -> Result<Option<RecordBatch>, Fault> {
        let id = self.answer.id();
        tokio::select! {
            biased;
            () = watch.stop.cancelled() => {
                // The query itself is stopped, and written down as stopped; what it still says is not waited for.
                shared.front.cancel(&self.principal, id);
                while let Some(Ok(_)) = self.answer.next().await {}
                Err(stopped().into())
            }
            batch = self.answer.next() => batch.transpose().map_err(|error| self.text.refusal(&error)),
            error = watch.wire.gone() => Err(error.into()),
        }
    }

    /// A result that a limit cut off ends in an error: nobody is to take it for the whole.
    fn ended(&self) -> Result<(), Fault> {
        if !self.answer.is_truncated() {
            return Ok(());
        }
        let message =
            format!("the result was cut off after {} rows, at the limit of rows or bytes", self.answer.rows());
        Err(Refusal::new("54000", message).hint("ask for less, or page through it by its key").into())
    }
}
