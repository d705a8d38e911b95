//! Where the time of a question went, as its worker tells. The worker only measures how long things took since it was
//! asked; when that was, its parent knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Collects what is told of one question. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    told: Arc<Mutex<Told>>,
}

/// What is known of a question so far. Times without an instant count from the moment it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// When a worker was asked.
    pub asked_at: Option<Instant>,
    /// How long planning took, opening the store included.
    pub planned: Option<Duration>,
    /// How long everything took, until the worker had no more to say.
    pub ended: Option<Duration>,
    /// Of the time after planning, how long the worker was at work, and not waiting for its rows to be taken.
    pub worked: Option<Duration>,
}

impl Progress {
    /// Returns what is known so far.
    pub fn told(&self) -> Told {
        *self.now()
    }

    /// A worker is asked now.
    pub(super) fn asked(&self) {
        self.now().asked_at = Some(Instant::now());
    }

    /// A worker tells.
    pub(super) fn tell(&self, times: Times) {
        let mut told = self.now();
        told.planned = times.planned_us.map(Duration::from_micros).or(told.planned);
        told.ended = times.ended_us.map(Duration::from_micros).or(told.ended);
        told.worked = times.worked_us.map(Duration::from_micros).or(told.worked);
    }

    fn now(&self) -> MutexGuard<'_, Told> {
        // It holds plain numbers.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker tells, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) planned_us: Option<u64>,
    pub(super) ended_us: Option<u64>,
    pub(super) worked_us: Option<u64>,
}

/// Measures one question, in its worker.
#[derive(Debug)]
pub(super) struct Measure {
    since: Instant,
    planned: Option<Duration>,
    /// How long it was worked on since it was planned.
    pub(super) worked: Duration,
}

impl Measure {
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), planned: None, worked: Duration::ZERO }
    }

    /// Planning is over; what is worked from now on is counted.
    pub(super) fn planned(&mut self) {
        self.planned = Some(self.since.elapsed());
        self.worked = Duration::ZERO;
    }

    /// What can be told before the rows.
    pub(super) fn so_far(&self) -> Times {
        Times { planned_us: self.planned.map(microseconds), ..Times::default() }
    }

    /// What can be told after them.
    pub(super) fn ended(&self) -> Times {
        let ended_us = Some(microseconds(self.since.elapsed()));
        Times { ended_us, worked_us: Some(microseconds(self.worked)), ..self.so_far() }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_stays_told() {
        let progress = Progress::default();
        assert_eq!(progress.told(), Told::default());
        progress.asked();
        let mut measure = Measure::begin();
        progress.tell(measure.so_far());
        assert_eq!((progress.told().planned, progress.told().ended), (None, None));
        measure.planned();
        progress.tell(measure.so_far());
        measure.worked = Duration::from_micros(7);
        let planned = progress.told().planned;
        assert!(planned.is_some() && progress.told().asked_at.is_some());
        progress.tell(Times { planned_us: None, ..measure.ended() });
        let told = progress.told();
        assert_eq!((told.planned, told.worked), (planned, Some(Duration::from_micros(7))));
        assert!(told.ended >= planned, "{told:?}");
    }
}
