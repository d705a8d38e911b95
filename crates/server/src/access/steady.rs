//! Now, as far as tokens are concerned: a clock that is turned back does not let an expired one in again. One that runs
//! ahead keeps valid ones out until it is right again.

use std::sync::Arc;

use hambar_core::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that does not go back while the process lives, nor behind what is known to have happened.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    clock: Arc<dyn Clock>,
    /// One instant by both clocks, of which the second never goes back.
    begun: (Timestamp, Instant),
}

impl Steady {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let begun = (clock.now(), Instant::now());
        Self { clock, begun }
    }

    /// Returns the instant; `happened` is the last one that is written down.
    pub(super) fn now(&self, happened: Option<Timestamp>) -> Timestamp {
        self.at(Instant::now(), happened)
    }

    fn at(&self, now: Instant, happened: Option<Timestamp>) -> Timestamp {
        let (at, since) = self.begun;
        let elapsed = SignedDuration::try_from(now.saturating_duration_since(since)).unwrap_or(SignedDuration::MAX);
        let passed = at.checked_add(elapsed).unwrap_or(Timestamp::MAX);
        self.clock.now().max(passed).max(happened.unwrap_or(Timestamp::MIN))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Movable(Mutex<Timestamp>);

    impl Clock for Movable {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn a_clock_that_is_turned_back_brings_no_time_back() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let clock = Arc::new(Movable(Mutex::new(at("2026-06-01T00:00:00Z"))));
        let steady = Steady::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let later = steady.begun.1 + Duration::from_secs(60);
        *clock.0.lock().unwrap() = at("2025-06-01T00:00:00Z");
        assert_eq!(steady.at(later, None), at("2026-06-01T00:01:00Z"));
        assert_eq!(steady.at(later, Some(at("2026-07-01T00:00:00Z"))), at("2026-07-01T00:00:00Z"));
        *clock.0.lock().unwrap() = at("2027-06-01T00:00:00Z");
        assert_eq!(steady.at(later, None), at("2027-06-01T00:00:00Z"));
        // What ran ahead for a while is forgotten.
        *clock.0.lock().unwrap() = at("2026-06-01T00:01:00Z");
        assert_eq!(steady.at(later, None), at("2026-06-01T00:01:00Z"));
    }
}
