//! Workers that wait for questions. Each answers one at a time; one that may still be busy, ran into a limit, or has
//! answered often enough is replaced. All of them die with the pool, and with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::process::{Worker, failed};
use super::progress::Progress;
use super::{WorkerSettings, answer};
use crate::error::QueryError;
use crate::question::{Description, Question};
use crate::session::RowStream;

/// After so many questions a worker is replaced, whatever it has gathered by then.
const QUESTIONS_MAX: u32 = 1_000;

/// Workers that were started ahead.
#[derive(Debug, Clone)]
pub struct QueryPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    size: usize,
    idle: Mutex<Vec<Worker>>,
    turns: Arc<Semaphore>,
    starter: Starter,
}

impl QueryPool {
    /// Starts `size` workers. Call it within a runtime; it goes on starting workers as they are used up.
    ///
    /// # Errors
    /// Where the thread that starts them cannot be started.
    pub fn start(settings: WorkerSettings, size: usize) -> Result<Self, QueryError> {
        let size = size.max(1);
        let inner = Inner {
            size,
            idle: Mutex::new(Vec::new()),
            turns: Arc::new(Semaphore::new(size)),
            starter: Starter::start(settings)?,
        };
        let pool = Self { inner: Arc::new(inner) };
        for _ in 0..size {
            pool.inner.clone().refill();
        }
        Ok(pool)
    }

    /// Returns how many questions can be answered at once.
    pub fn size(&self) -> usize {
        self.inner.size
    }

    /// Answers a question. Waits without limit for a worker where all are at work: who may wait, and for how long, is
    /// decided before. `stop`, and dropping the answer before its end, kills the worker. `progress` is told where the
    /// time goes.
    ///
    /// # Errors
    /// What the worker reported before the first row, or why it could not be started or died.
    pub async fn run(
        &self,
        question: &Question,
        stop: CancellationToken,
        progress: Progress,
    ) -> Result<RowStream, QueryError> {
        let (worker, turn) = self.take().await?;
        answer::run(worker, question, stop, progress, move |worker| turn.end(worker)).await
    }

    /// Says what a statement would give, without running it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn describe(&self, question: &Question, progress: Progress) -> Result<Description, QueryError> {
        let (worker, turn) = self.take().await?;
        answer::describe(worker, question, progress, move |worker| turn.end(worker)).await
    }

    async fn take(&self) -> Result<(Worker, Turn), QueryError> {
        let permit = Arc::clone(&self.inner.turns).acquire_owned().await;
        let permit = permit.map_err(|error| failed("wait for", &error))?;
        let turn = Turn { inner: Arc::clone(&self.inner), permit: Some(permit) };
        loop {
            let waiting = self.inner.idle().pop();
            let Some(mut worker) = waiting else {
                return Ok((self.inner.starter.worker().await?, turn));
            };
            if worker.is_alive() {
                return Ok((worker, turn));
            }
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        // The list holds whole workers only, so that a panic elsewhere cannot leave it half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker in the background, where there is room for one.
    fn refill(self: Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let worker = match self.starter.worker().await {
                Ok(worker) => worker,
                Err(error) => {
                    // The next question tries again, and its asker is told.
                    tracing::warn!(error = %hambar_core::Chain(&error), "query worker not started ahead");
                    return;
                }
            };
            self.keep(worker);
        });
    }

    fn keep(&self, worker: Worker) {
        let busy = self.size.saturating_sub(self.turns.available_permits());
        let mut idle = self.idle();
        if idle.len() + busy < self.size {
            idle.push(worker);
        }
    }
}

/// The right to have one worker at work.
struct Turn {
    inner: Arc<Inner>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Ends the turn with a worker that may be asked again.
    fn end(mut self, worker: Worker) {
        self.permit = None;
        if worker.asked < QUESTIONS_MAX {
            self.inner.keep(worker);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        if self.inner.idle().len() < self.inner.turns.available_permits() {
            Arc::clone(&self.inner).refill();
        }
    }
}

type Started = oneshot::Sender<Result<Worker, QueryError>>;

/// A thread that starts workers. They die with the thread that started them, so it lives as long as the pool.
#[derive(Debug)]
struct Starter {
    orders: mpsc::Sender<Started>,
}

impl Starter {
    fn start(settings: WorkerSettings) -> Result<Self, QueryError> {
        let (orders, received) = mpsc::channel::<Started>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("workers".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                for order in received {
                    // Whoever ordered it may have gone; the worker is then dropped, and so killed.
                    let _ = order.send(Worker::start(&settings));
                }
            })
            .map_err(|error| failed("start", &error))?;
        Ok(Self { orders })
    }

    async fn worker(&self) -> Result<Worker, QueryError> {
        let gone = |_| failed("start", &"the thread that starts workers has ended");
        let (send, receive) = oneshot::channel();
        self.orders.send(send).map_err(|_| failed("start", &"the thread that starts workers has ended"))?;
        let mut worker = receive.await.map_err(gone)??;
        worker.prepare().await?;
        Ok(worker)
    }
}
