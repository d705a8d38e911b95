//! Long answers that are taken page by page. Their rows are written to a file without a name as fast as the query makes
//! them, and every page is cut from it: nothing is run again, and nothing newer gets between two pages. Answers end with the
//! process, and when nobody has asked for a page for a while.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use http::StatusCode;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deliver::OwnLimits;
use super::encode::{EncodeError, Head};
use super::problem::Problem;
use crate::access::Principal;
use crate::front::{Answer, FrontError};

/// Rows and bytes that are gathered before they are written.
const PIECE_ROWS: usize = 4_096;
const PIECE_BYTES: usize = 1024 * 1024;
/// Bytes of a page, as Arrow holds it; a page that would have more ends earlier.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Pages that are in memory at once.
const PAGES_AT_ONCE: usize = 8;

/// How much is kept, and where.
#[derive(Debug, Clone)]
pub struct ResultSettings {
    /// The folder of the files.
    pub folder: PathBuf,
    /// Bytes of all answers.
    pub bytes_max: u64,
    /// Answers of one member.
    pub per_member_max: usize,
    /// An answer of which nobody has asked for a page for so long ends.
    pub idle_time_max: Duration,
}

/// The answers that are kept. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Spools {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ResultSettings,
    kept: Mutex<HashMap<String, Arc<Spool>>>,
    bytes: AtomicU64,
    pages: Arc<Semaphore>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Spool {
    /// What is known of it before its first row.
    pub(crate) head: Head,
    /// The tables that it was made from.
    pub(crate) facts: hambar_query::Facts,
    /// Which of their rows and columns.
    pub(crate) policies: hambar_query::Policies,
    member: String,
    file: Arc<File>,
    written: Mutex<Written>,
    changed: Notify,
    /// Ends the query where the answer is let go before it is whole.
    gone: CancellationToken,
    shared: Weak<Shared>,
}

#[derive(Debug)]
struct Written {
    pieces: Vec<Piece>,
    rows: u64,
    bytes: u64,
    end: Option<End>,
    used_at: Instant,
}

/// Rows in the file.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: u64,
    rows: u64,
    at: u64,
    bytes: u64,
}

/// How the query ended.
#[derive(Debug, Clone)]
enum End {
    Whole,
    CutOff,
    Failed(Problem),
}

/// Some rows of an answer.
#[derive(Debug)]
pub(crate) struct Page {
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<u64>,
    /// Whether a limit cut off rows after these.
    pub(crate) is_cut_off: bool,
    /// To be held for as long as the page takes memory.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Spools {
    pub(crate) fn new(settings: ResultSettings) -> Self {
        let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        Self { shared: Arc::new(Shared { settings, kept: Mutex::default(), bytes: AtomicU64::new(0), pages }) }
    }

    /// Keeps an answer for whoever asked, under its query's id.
    pub(crate) fn keep(&self, asker: &Principal, answer: Answer, own: OwnLimits) -> Result<Arc<Spool>, Problem> {
        let settings = &self.shared.settings;
        let head = Head { query: answer.id().to_string(), schema: answer.schema(), sources: answer.sources().to_vec() };
        let made = std::fs::create_dir_all(&settings.folder).and_then(|()| tempfile::tempfile_in(&settings.folder));
        let file = made.map_err(|error| failed(error.into()))?;
        let member = asker.counted_as();
        let mut kept = self.shared.kept();
        let own_count = kept.values().filter(|spool| spool.member == member).count();
        if own_count >= settings.per_member_max {
            let text = format!("{own_count} of your answers are kept; at most {} are", settings.per_member_max);
            let problem = Problem::refused(StatusCode::TOO_MANY_REQUESTS, text);
            return Err(problem.hint("take their pages to the end, or let one go: `DELETE /api/results/{id}`"));
        }
        let spool = Arc::new(Spool {
            facts: answer.facts().clone(),
            policies: asker.visibility().policies().clone(),
            member,
            file: Arc::new(file),
            written: Mutex::new(Written { pieces: Vec::new(), rows: 0, bytes: 0, end: None, used_at: Instant::now() }),
            changed: Notify::new(),
            gone: CancellationToken::new(),
            shared: Arc::downgrade(&self.shared),
            head,
        });
        kept.insert(spool.head.query.clone(), Arc::clone(&spool));
        drop(kept);
        tokio::spawn(forget(Arc::downgrade(&self.shared), spool.head.query.clone()));
        tokio::spawn(write(Arc::clone(&spool), answer, own));
        Ok(spool)
    }

    /// Returns an answer of `member`. One of somebody else does not exist for him.
    pub(crate) fn get(&self, member: &str, id: &str) -> Option<Arc<Spool>> {
        let spool = self.shared.kept().get(id).filter(|spool| spool.member == member).cloned()?;
        spool.written().used_at = Instant::now();
        Some(spool)
    }

    /// Lets an answer go, and stops its query.
    pub(crate) fn release(&self, spool: &Spool) {
        self.shared.release(&spool.head.query);
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, HashMap<String, Arc<Spool>>> {
        // The map holds whole entries only.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, id: &str) {
        if let Some(spool) = self.kept().remove(id) {
            spool.gone.cancel();
        }
    }
}

/// Waits until nobody has used an answer for too long.
async fn forget(shared: Weak<Shared>, id: String) {
    loop {
        let Some(limit) = shared.upgrade().map(|shared| shared.settings.idle_time_max) else { return };
        tokio::time::sleep(limit / 4).await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(spool) = shared.kept().get(&id).cloned() else { return };
        let is_idle = spool.written().used_at.elapsed() >= limit;
        if is_idle {
            shared.release(&id);
            return;
        }
    }
}

/// Writes the rows of an answer down until its end.
async fn write(spool: Arc<Spool>, mut answer: Answer, own: OwnLimits) {
    let mut gathered = Gathered::default();
    let end = loop {
        let next = tokio::select! {
            biased;
            () = spool.gone.cancelled() => return,
            next = answer.next() => next,
        };
        let batch = match next {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => break End::Failed(Problem::new(&error)),
            None if answer.is_truncated() && !own.explain(answer.rows()) => break End::CutOff,
            None => break End::Whole,
        };
        gathered.add(batch);
        if gathered.is_enough()
            && let Err(problem) = spool.append(std::mem::take(&mut gathered)).await
        {
            break End::Failed(problem);
        }
    };
    let end = match gathered.rows {
        0 => end,
        _ => spool.append(gathered).await.err().map_or(end, End::Failed),
    };
    if matches!(end, End::Failed(_)) {
        spool.empty();
    }
    spool.written().end = Some(end);
    spool.changed.notify_waiters();
}

/// Rows that are not written yet.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += size(&batch);
        self.batches.push(batch);
    }

    fn is_enough(&self) -> bool {
        self.rows >= PIECE_ROWS || self.bytes >= PIECE_BYTES
    }
}

fn size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

impl Spool {
    fn written(&self) -> MutexGuard<'_, Written> {
        // Every change is whole before anything could panic.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes rows behind those that are there.
    async fn append(&self, gathered: Gathered) -> Result<(), Problem> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let rows = gathered.rows as u64;
        let (file, at, schema) = (Arc::clone(&self.file), self.written().bytes, Arc::clone(&self.head.schema));
        let bytes = blocking(move || {
            let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
            for batch in &gathered.batches {
                writer.write(batch)?;
            }
            let bytes = writer.into_inner()?;
            file.write_all_at(&bytes, at)?;
            Ok(bytes.len() as u64)
        })
        .await?;
        let mut written = self.written();
        let first = written.rows;
        written.pieces.push(Piece { first, rows, at, bytes });
        written.rows += rows;
        written.bytes += bytes;
        drop(written);
        let all = shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > shared.settings.bytes_max {
            let limit = shared.settings.bytes_max;
            let text = format!("the answers that are kept need more than {limit} bytes");
            return Err(Problem::refused(StatusCode::SERVICE_UNAVAILABLE, text)
                .hint("ask again a little later, or ask for the whole answer at once, without `page_rows`"));
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Frees the room of an answer that nobody will get.
    fn empty(&self) {
        let bytes = {
            let mut written = self.written();
            written.pieces.clear();
            std::mem::take(&mut written.bytes)
        };
        if let Some(shared) = self.shared.upgrade() {
            shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Err(error) = self.file.set_len(0) {
            tracing::warn!(%error, "the room of an answer that failed is not free yet");
        }
    }

    /// Returns at most `rows` rows after the first `from`; waits for them where the query has not made them yet.
    pub(crate) async fn page(&self, from: u64, rows: u64) -> Result<Page, Problem> {
        let until = from.saturating_add(rows);
        let (pieces, all, end) = self.reached(until).await?;
        let shared = self.shared.upgrade().ok_or_else(|| Problem::not_found("this answer"))?;
        let permit = Arc::clone(&shared.pages).acquire_owned().await;
        let permit = permit.map_err(|error| failed(io::Error::other(error).into()))?;
        let wanted: Vec<Piece> =
            pieces.into_iter().filter(|piece| piece.first < until && piece.first + piece.rows > from).collect();
        let file = Arc::clone(&self.file);
        let (batches, reached) = blocking(move || read(&file, &wanted, from, until)).await?;
        self.written().used_at = Instant::now();
        let next = (reached < all).then_some(reached);
        Ok(Page { batches, next, is_cut_off: next.is_none() && matches!(end, Some(End::CutOff)), permit })
    }

    /// Waits until more than `until` rows are written, or all of them.
    async fn reached(&self, until: u64) -> Result<(Vec<Piece>, u64, Option<End>), Problem> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let written = self.written();
                match &written.end {
                    Some(End::Failed(problem)) => return Err(problem.clone()),
                    end if end.is_some() || written.rows > until => {
                        return Ok((written.pieces.clone(), written.rows, end.clone()));
                    }
                    _ => {}
                }
            }
            tokio::select! {
                () = self.gone.cancelled() => return Err(Problem::new(&FrontError::Query(hambar_query::QueryError::Stopped))),
                () = changed => {}
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.bytes.fetch_sub(self.written().bytes, Ordering::Relaxed);
        }
    }
}

/// Reads the rows from `from` up to `until`, or as many as a page takes; says which row is the next.
fn read(file: &File, pieces: &[Piece], from: u64, until: u64) -> Result<(Vec<RecordBatch>, u64), EncodeError> {
    let mut batches = Vec::new();
    let (mut bytes, mut reached) = (0, from);
    for piece in pieces {
        let mut content = vec![0; usize::try_from(piece.bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut content, piece.at)?;
        let mut first = piece.first;
        for batch in StreamReader::try_new(Cursor::new(content), None)? {
            let batch = batch?;
            let rows = batch.num_rows() as u64;
            let (start, end) = (reached.max(first), until.min(first + rows));
            if start < end {
                let length = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
                let part = batch.slice(length(start - first), length(end - start));
                bytes += size(&part);
                if bytes > PAGE_BYTES_MAX && !batches.is_empty() {
                    return Ok((batches, reached));
                }
                batches.push(part);
                reached = end;
            }
            first += rows;
        }
    }
    Ok((batches, reached))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EncodeError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error).into())).map_err(failed)
}

fn failed(error: EncodeError) -> Problem {
    let message = hambar_core::Chain(&error).to_string();
    Problem::new(&FrontError::Query(hambar_query::QueryError::Execute {
        class: hambar_core::ErrorClass::Internal,
        message: format!("keep the answer: {message}"),
    }))
}
