//! Ends the worker's process when a query overruns its time, from a thread that the query's own runtime cannot starve.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::QueryError;

/// A thread that kills its process at a deadline, where there is one.
#[derive(Debug)]
pub(super) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    deadline: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Watchdog {
    /// Starts the thread, without a deadline.
    pub(super) fn start() -> Result<Self, QueryError> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(&watched))
            .map_err(|error| QueryError::Worker { step: "start", cause: error.to_string() })?;
        Ok(Self { shared })
    }

    /// The process ends after `time`, unless this is called again.
    pub(super) fn arm(&self, time: Duration) {
        self.set(Instant::now().checked_add(time));
    }

    /// The process may take as long as it likes.
    pub(super) fn disarm(&self) {
        self.set(None);
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
        self.shared.changed.notify_one();
    }
}

fn watch(shared: &Shared) {
    let mut deadline = shared.deadline.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        deadline = match *deadline {
            None => shared.changed.wait(deadline).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    // Cannot fail for the process itself.
                    let _ = kill(Pid::this(), Signal::SIGKILL);
                }
                shared.changed.wait_timeout(deadline, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}
