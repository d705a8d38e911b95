//! Reads slices ahead of the consumer: a task of its own fetches while earlier pages are decoded and written.

use std::sync::Arc;

use futures::StreamExt;
use hambar_connect::{ConnectError, Slice, SliceEvent, Source};
use hambar_fetch::Fetcher;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that wait for the consumer; pages among them are landed already and cost no memory.
const EVENTS_AHEAD_MAX: usize = 2;

/// What the feed brings, with the slice's place in the list.
#[derive(Debug)]
pub(super) enum FeedItem {
    /// An event of a slice.
    Event(usize, SliceEvent),
    /// A slice failed; nothing follows.
    Failed(usize, ConnectError),
    /// The stream of a slice ended.
    SliceEnded(usize),
    /// All slices were read.
    Finished,
}

/// Slices being read. Dropping it stops the reading.
#[derive(Debug)]
pub(super) struct Feed {
    receiver: mpsc::Receiver<FeedItem>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts reading `slices`, one after the other.
    pub(super) fn start(source: Arc<dyn Source>, slices: Vec<Slice>, fetcher: Fetcher) -> Self {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD_MAX);
        let task = tokio::spawn(async move {
            for (index, slice) in slices.into_iter().enumerate() {
                let mut events = source.read(slice, fetcher.clone());
                while let Some(event) = events.next().await {
                    let (item, is_last) = match event {
                        Ok(event) => (FeedItem::Event(index, event), false),
                        Err(error) => (FeedItem::Failed(index, error), true),
                    };
                    if sender.send(item).await.is_err() || is_last {
                        return;
                    }
                }
                if sender.send(FeedItem::SliceEnded(index)).await.is_err() {
                    return;
                }
            }
            // Where nobody listens any more, nobody misses the end.
            let _ = sender.send(FeedItem::Finished).await;
        });
        Self { receiver, task }
    }

    /// Returns the next item; `None` where the task died. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<FeedItem> {
        self.receiver.recv().await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
