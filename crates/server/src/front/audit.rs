//! The audit log: rows that a background task writes to `system.audit` in batches. Whoever is audited never waits for
//! it; rows that cannot be kept are counted and said.

use std::sync::Arc;
use std::time::Duration;

use hambar_core::system::{Cell, system_batch};
use hambar_core::{Chain, SystemTable, TableStore};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use super::Metrics;

/// Rows that wait to be written.
const ROWS_WAITING_MAX: usize = 10_000;
/// So many waiting rows are written at once, before their time.
const ROWS_AT_ONCE: usize = 5_000;
/// Attempts at one batch.
const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// One row of `system.audit`; columns that are left out are NULL.
pub(crate) type AuditRow = Vec<(&'static str, Cell)>;

enum Message {
    Row(AuditRow),
    Flush(oneshot::Sender<()>),
}

/// Takes rows. Clones share one writer.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    rows: Option<Sender<Message>>,
    metrics: Metrics,
}

impl Audit {
    /// Starts the writer, which writes every `every`; without a store, rows are dropped as the configuration wants it.
    pub(crate) fn start(store: Option<Arc<dyn TableStore>>, every: Duration, metrics: Metrics) -> Self {
        let rows = store.map(|store| {
            let (send, receive) = mpsc::channel(ROWS_WAITING_MAX);
            tokio::spawn(write(receive, store, every, metrics.clone()));
            send
        });
        Self { rows, metrics }
    }

    /// Takes a row, or counts it as lost.
    pub(crate) fn add(&self, row: AuditRow) {
        if let Some(rows) = &self.rows
            && rows.try_send(Message::Row(row)).is_err()
            && self.metrics.audit_lost.inc() == 0
        {
            tracing::warn!("the audit log cannot keep up; rows are lost and counted from here on");
        }
    }

    /// Waits until everything that was taken is written.
    pub(crate) async fn flush(&self) {
        let Some(rows) = &self.rows else { return };
        let (send, receive) = oneshot::channel();
        if rows.send(Message::Flush(send)).await.is_ok() {
            let _ = receive.await;
        }
    }
}

async fn write(mut receive: Receiver<Message>, store: Arc<dyn TableStore>, every: Duration, metrics: Metrics) {
    let mut rows: Vec<AuditRow> = Vec::new();
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            message = receive.recv() => match message {
                Some(Message::Row(row)) => {
                    rows.push(row);
                    if rows.len() < ROWS_AT_ONCE {
                        continue;
                    }
                    None
                }
                Some(Message::Flush(done)) => Some(done),
                None => {
                    append(&store, std::mem::take(&mut rows), &metrics).await;
                    return;
                }
            },
            _ = ticks.tick() => None,
        };
        append(&store, std::mem::take(&mut rows), &metrics).await;
        if let Some(done) = done {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
    }
}

async fn append(store: &Arc<dyn TableStore>, rows: Vec<AuditRow>, metrics: &Metrics) {
    if rows.is_empty() {
        return;
    }
    let batch = system_batch(SystemTable::Audit, &rows);
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        match store.append_system(SystemTable::Audit, batch.clone()).await {
            Ok(()) => return,
            Err(error) if attempt == ATTEMPTS_MAX => {
                metrics.audit_lost.inc_by(rows.len() as u64);
                tracing::error!(error = %Chain(&error), rows = rows.len(), "audit rows lost");
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), attempt, "audit rows not written yet");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}
