//! Bodies that take memory or a query's turn for as long as they are sent: in pieces, and given up where the client takes
//! nothing any more. A client of HTTP/2 can do that on a connection that is otherwise alive, which no socket shows.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// Bodies are sent in pieces of so many bytes; one that is not longer costs too little to be watched.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// Returns a body of bytes that are there already. `guard` is dropped with the last piece.
pub(crate) fn pieces(bytes: Bytes, guard: impl Send + Unpin + 'static) -> Body {
    if bytes.len() <= PIECE_BYTES {
        return Body::from(bytes);
    }
    Body::new(Pieces { left: bytes, _guard: guard })
}

struct Pieces<G> {
    left: Bytes,
    _guard: G,
}

impl<G: Unpin> hyper::body::Body for Pieces<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(PIECE_BYTES);
        // A copy: a piece that waits for its client must not keep the whole.
        let piece = Bytes::copy_from_slice(&self.left.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// Returns a body that is dropped, with the query behind it, where nobody takes its next piece for `limit`. While the
/// piece is being made, the time stands still.
pub(crate) fn watched(body: Body, limit: Duration) -> Body {
    if body.size_hint().exact().is_some_and(|bytes| bytes <= PIECE_BYTES as u64) {
        return body;
    }
    let watch = Watch { body: Some(body), handed_at: Some(Instant::now()) };
    let shared = Arc::new(Mutex::new(watch));
    tokio::spawn(give_up(Arc::downgrade(&shared), limit));
    Body::new(Watched { shared })
}

struct Watch {
    /// Nothing once it was given up.
    body: Option<Body>,
    /// Since when the next piece is the client's to take.
    handed_at: Option<Instant>,
}

struct Watched {
    shared: Arc<Mutex<Watch>>,
}

async fn give_up(watched: Weak<Mutex<Watch>>, limit: Duration) {
    loop {
        tokio::time::sleep(limit / 2).await;
        let Some(shared) = watched.upgrade() else { return };
        let given_up = {
            let mut watch = lock(&shared);
            let is_left = watch.handed_at.is_some_and(|at| at.elapsed() >= limit);
            if is_left { watch.body.take() } else { None }
        };
        if given_up.is_some() {
            tracing::debug!("an answer was given up: its client takes nothing any more");
            return;
        }
    }
}

fn lock(shared: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    // After a panic the body only ends.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut watch = lock(&self.shared);
        let Some(body) = watch.body.as_mut() else {
            return Poll::Ready(Some(Err("the client took nothing for too long".into())));
        };
        let polled = Pin::new(body).poll_frame(context);
        watch.handed_at = polled.is_ready().then(Instant::now);
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).body.as_ref().is_some_and(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).body.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_long_body_comes_in_pieces_and_frees_its_guard_with_the_last() {
        let guard = Arc::new(());
        let bytes = Bytes::from(vec![7; 2 * PIECE_BYTES + 1]);
        let body = pieces(bytes.clone(), Arc::clone(&guard));
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut stream = body.into_data_stream();
        let mut sizes = Vec::new();
        while let Some(piece) = stream.next().await {
            sizes.push(piece.unwrap().len());
        }
        drop(stream);
        assert_eq!((sizes, Arc::strong_count(&guard)), (vec![PIECE_BYTES, PIECE_BYTES, 1], 1));
    }

    #[tokio::test]
    async fn who_takes_nothing_loses_the_answer_and_who_waits_for_it_does_not() {
        let limit = Duration::from_millis(300);
        let guard = Arc::new(());
        let long = Bytes::from(vec![7; 3 * PIECE_BYTES]);
        let mut taken = watched(pieces(long, Arc::clone(&guard)), limit).into_data_stream();
        assert!(taken.next().await.unwrap().is_ok());
        tokio::time::sleep(limit * 3).await;
        assert_eq!(Arc::strong_count(&guard), 1);
        assert!(taken.next().await.unwrap().is_err());

        let late = futures::stream::once(async move {
            tokio::time::sleep(limit * 3).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"late"))
        });
        let mut waited = watched(Body::from_stream(late), limit).into_data_stream();
        assert_eq!(waited.next().await.unwrap().unwrap(), "late");
    }
}
