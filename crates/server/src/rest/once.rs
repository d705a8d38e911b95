//! One run for the same question of many: whoever asks while it runs waits for its answer, which is then in the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::cache::Key;
use super::format::Format;

/// How a run went, for those who waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It goes on.
    NotYet,
    /// Its answer is held.
    Held,
    /// Its answer is not held: it failed, or is long, or may be another one next time.
    NotHeld,
    /// Whoever asked went away.
    Abandoned,
}

type Running = Arc<Mutex<HashMap<(Key, Format), watch::Receiver<Ended>>>>;

/// The questions that are run now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Once {
    running: Running,
}

/// What to do about a question.
pub(crate) enum Turn {
    /// Run it, and say how it ended.
    First(First),
    /// Somebody runs it already.
    Wait(watch::Receiver<Ended>),
}

/// The one who runs a question. Dropped, it lets the others go on.
#[derive(Debug)]
pub(crate) struct First {
    running: Running,
    question: (Key, Format),
    tell: watch::Sender<Ended>,
}

impl Once {
    /// Says who runs a question.
    pub(crate) fn turn(&self, key: Key, format: Format) -> Turn {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = running.get(&(key, format)) {
            return Turn::Wait(ended.clone());
        }
        let (tell, ended) = watch::channel(Ended::NotYet);
        running.insert((key, format), ended);
        Turn::First(First { running: Arc::clone(&self.running), question: (key, format), tell })
    }
}

impl First {
    /// Tells those who wait.
    pub(crate) fn ended(self, how: Ended) {
        self.tell.send_replace(how);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.question);
        self.tell.send_if_modified(|how| {
            let is_open = *how == Ended::NotYet;
            if is_open {
                *how = Ended::Abandoned;
            }
            is_open
        });
    }
}

/// Waits until a run has ended, and says how.
pub(crate) async fn ended(mut ended: watch::Receiver<Ended>) -> Ended {
    let how = ended.wait_for(|how| *how != Ended::NotYet).await;
    how.map_or(Ended::Abandoned, |how| *how)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(once: &Once, key: Key) -> First {
        match once.turn(key, Format::Json) {
            Turn::First(first) => first,
            Turn::Wait(_) => panic!("nobody runs it"),
        }
    }

    #[tokio::test]
    async fn one_runs_and_the_others_are_told_how_it_ended() {
        let once = Once::default();
        let (key, other) = (Key::of_bytes(b"one"), Key::of_bytes(b"other"));
        for how in [Ended::Held, Ended::NotHeld] {
            let runs = first(&once, key);
            let Turn::Wait(waits) = once.turn(key, Format::Json) else { panic!("it is run already") };
            assert!(matches!(once.turn(key, Format::Csv), Turn::First(_)), "another form is another answer");
            drop(first(&once, other));
            runs.ended(how);
            assert_eq!(ended(waits).await, how);
        }
        let runs = first(&once, key);
        let Turn::Wait(waits) = once.turn(key, Format::Json) else { panic!("it is run already") };
        drop(runs);
        assert_eq!(ended(waits).await, Ended::Abandoned);
        assert!(once.running.lock().unwrap().is_empty());
    }
}
