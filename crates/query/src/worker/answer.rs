//! One answer of a worker: read as fast as its receiver takes it, watched from outside, and given up where the receiver
//! is gone or asleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use hambar_core::{Classified, ErrorClass};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::frame::{Done, Failed, Header, Kind};
use super::process::{GRACE, Worker, failed};
use super::progress::Progress;
use crate::error::QueryError;
use crate::question::{Description, Facts, Question, parameters_of};
use crate::session::RowStream;

/// Pieces that wait for the receiver. The worker waits with the next one.
const PIECES_WAITING: usize = 1;

/// Asks for rows. `give_back` gets the worker where it may be asked again. `stop` ends the query at any instant, whether
/// or not anybody reads its answer.
pub(super) async fn run(
    worker: Worker,
    question: &Question,
    stop: CancellationToken,
    progress: Progress,
    give_back: impl FnOnce(Worker) + Send + 'static,
) -> Result<RowStream, QueryError> {
    let mut reply = Reply::new(worker, question.limits.run_time_max, progress);
    let started = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(QueryError::Stopped),
        started = reply.start(question) => started,
    };
    let (facts, schema) = match started {
        Ok(started) => started,
        Err(error) => {
            if leaves_usable(&error) {
                give_back(reply.worker);
            }
            return Err(error);
        }
    };
    let is_truncated = Arc::clone(&reply.is_truncated);
    let given_up = Arc::new(OnceLock::new());
    let reason = Arc::clone(&given_up);
    let (send, receive) = mpsc::channel(PIECES_WAITING);
    let pump = Pump { reply, send, reader_time_max: question.limits.reader_time_max, given_up: Arc::clone(&given_up) };
    tokio::spawn(async move {
        // Whichever branch is left is dropped, and the worker with it.
        let worker = tokio::select! {
            biased;
            () = stop.cancelled() => {
                let _ = reason.set(GivenUp::Stopped);
                None
            }
            worker = pump.run() => worker,
        };
        if let Some(worker) = worker {
            give_back(worker);
        }
    });
    Ok(RowStream::new(schema, facts, is_truncated, received(receive, given_up)))
}

/// Asks for the columns and parameters of a statement.
pub(super) async fn describe(
    mut worker: Worker,
    question: &Question,
    progress: Progress,
    give_back: impl FnOnce(Worker),
) -> Result<Description, QueryError> {
    progress.asked();
    worker.ask(Kind::Describe, question).await?;
    let mut reply = Reply::new(worker, question.limits.run_time_max, progress);
    let outcome = reply.description().await;
    let is_usable = match &outcome {
        Ok(_) => reply.is_idle,
        Err(error) => leaves_usable(error),
    };
    if is_usable {
        give_back(reply.worker);
    }
    outcome
}

/// A worker that refused a statement is as good as before; one that ran into a limit may still be at it.
fn leaves_usable(error: &QueryError) -> bool {
    matches!(error, QueryError::Reported(_)) && matches!(error.class(), ErrorClass::Query | ErrorClass::Denied)
}

/// What the receiver sees of the pump.
fn received(
    receive: Receiver<Result<RecordBatch, QueryError>>,
    given_up: Arc<OnceLock<GivenUp>>,
) -> futures::stream::BoxStream<'static, Result<RecordBatch, QueryError>> {
    let state = (receive, Some(given_up));
    futures::stream::unfold(state, |(mut receive, given_up)| async move {
        if let Some(piece) = receive.recv().await {
            return Some((piece, (receive, given_up)));
        }
        let reason = match given_up?.get()? {
            GivenUp::Stopped => QueryError::Stopped,
            GivenUp::Unread(limit) => QueryError::Unread { limit: *limit },
        };
        Some((Err(reason), (receive, None)))
    })
    .boxed()
}

/// Why an answer ended that the worker had not finished.
#[derive(Debug)]
enum GivenUp {
    Stopped,
    Unread(Duration),
}

/// Passes the pieces of an answer on.
struct Pump {
    reply: Reply,
    send: Sender<Result<RecordBatch, QueryError>>,
    reader_time_max: Option<Duration>,
    given_up: Arc<OnceLock<GivenUp>>,
}

impl Pump {
    /// Runs to the end of the answer, or until nobody wants it; the worker is returned where it may be asked again.
    async fn run(mut self) -> Option<Worker> {
        loop {
            let next = tokio::select! {
                biased;
                () = self.send.closed() => return None,
                next = self.reply.piece() => next,
            };
            let is_usable = match &next {
                Ok(Some(_)) => None,
                Ok(None) => Some(self.reply.is_idle),
                Err(error) => Some(leaves_usable(error)),
            };
            if let Some(piece) = next.transpose()
                && !self.pass_on(piece).await
            {
                return None;
            }
            if let Some(is_usable) = is_usable {
                return is_usable.then_some(self.reply.worker);
            }
        }
    }

    async fn pass_on(&self, piece: Result<RecordBatch, QueryError>) -> bool {
        let Some(limit) = self.reader_time_max else {
            return self.send.send(piece).await.is_ok();
        };
        match tokio::time::timeout(limit, self.send.send(piece)).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                let _ = self.given_up.set(GivenUp::Unread(limit));
                false
            }
        }
    }
}

/// The frames of one answer. Dropping it kills the worker.
struct Reply {
    worker: Worker,
    decoder: StreamDecoder,
    pending: Buffer,
    first: Option<RecordBatch>,
    limit: Duration,
    /// How long its frames were waited for.
    waited: Duration,
    is_truncated: Arc<AtomicBool>,
    is_idle: bool,
    progress: Progress,
}

impl Reply {
    fn new(worker: Worker, limit: Duration, progress: Progress) -> Self {
        Self {
            worker,
            decoder: StreamDecoder::new(),
            pending: Buffer::from_vec(Vec::<u8>::new()),
            first: None,
            limit,
            waited: Duration::ZERO,
            is_truncated: Arc::new(AtomicBool::new(false)),
            is_idle: false,
            progress,
        }
    }

    /// Asks, and reads up to the columns.
    async fn start(&mut self, question: &Question) -> Result<(Facts, SchemaRef), QueryError> {
        self.progress.asked();
        self.worker.ask(Kind::Run, question).await?;
        let facts = self.facts().await?;
        while self.decoder.schema().is_none() {
            let content = self.expect(Kind::Rows).await?;
            self.pending = Buffer::from_vec(content);
            // The decoder looks at the columns only once there is something after them.
            self.first = self.decoder.decode(&mut self.pending).map_err(|error| failed("read", &error))?;
        }
        let schema = self.decoder.schema().ok_or_else(|| failed("read", &"the answer has no columns"))?;
        Ok((facts, schema))
    }

    async fn facts(&mut self) -> Result<Facts, QueryError> {
        let content = self.expect(Kind::Header).await?;
        let header: Header = serde_json::from_slice(&content).map_err(|error| failed("read", &error))?;
        self.progress.tell(header.times);
        Ok(header.facts)
    }

    async fn description(&mut self) -> Result<Description, QueryError> {
        let facts = self.facts().await?;
        let parameters = columns(self.expect(Kind::Parameters).await?)?;
        let schema = columns(self.expect(Kind::Rows).await?)?;
        let done = self.expect(Kind::Done).await?;
        self.done(&done)?;
        Ok(Description { schema, parameters: parameters_of(&parameters), facts })
    }

    /// Reads the next piece of the rows; nothing after the last one.
    async fn piece(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if !self.pending.is_empty() {
                let decoded = self.decoder.decode(&mut self.pending).map_err(|error| failed("read", &error))?;
                if decoded.is_some() {
                    return Ok(decoded);
                }
            }
            match self.frame().await? {
                (Kind::Rows, content) => self.pending = Buffer::from_vec(content),
                (Kind::Done, content) => {
                    self.done(&content)?;
                    return Ok(None);
                }
                (kind, content) => return Err(self.unexpected(kind, &content)),
            }
        }
    }

    fn done(&mut self, content: &[u8]) -> Result<(), QueryError> {
        let done: Done = serde_json::from_slice(content).map_err(|error| failed("read", &error))?;
        self.is_truncated.store(done.is_truncated, Ordering::Release);
        self.is_idle = done.is_idle;
        self.progress.tell(done.times);
        Ok(())
    }

    fn unexpected(&self, kind: Kind, content: &[u8]) -> QueryError {
        if kind != Kind::Error {
            return failed("read", &format!("the answer has a frame `{kind:?}` where none belongs"));
        }
        match serde_json::from_slice::<Failed>(content) {
            Ok(Failed { error, times }) => {
                self.progress.tell(times);
                QueryError::Reported(error)
            }
            Err(error) => failed("read", &error),
        }
    }

    async fn expect(&mut self, wanted: Kind) -> Result<Vec<u8>, QueryError> {
        let (kind, content) = self.frame().await?;
        if kind == wanted { Ok(content) } else { Err(self.unexpected(kind, &content)) }
    }

    /// Waits for the next frame. Only this time counts: while the receiver is slow, the worker waits, too.
    async fn frame(&mut self) -> Result<(Kind, Vec<u8>), QueryError> {
        let left = (self.limit + GRACE).saturating_sub(self.waited);
        let since = Instant::now();
        let found = tokio::time::timeout(left, self.worker.frame()).await;
        self.waited += since.elapsed();
        match found {
            Ok(Ok(Some(frame))) => Ok(frame),
            Ok(Ok(None)) => Err(self.worker.died(self.waited, self.limit).await),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.worker.kill();
                Err(QueryError::RunTime { limit: self.limit })
            }
        }
    }
}

fn columns(content: Vec<u8>) -> Result<SchemaRef, QueryError> {
    let reader = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(content), None);
    reader.map(|reader| reader.schema()).map_err(|error| failed("read", &error))
}
