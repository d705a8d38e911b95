//! Tries again what may succeed later: exponential back-off with full jitter, `Retry-After`, and a budget of waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::{Classified, Clock, ErrorClass};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::exchange::{ExchangeSink, FetchMeta};
use crate::request::{Fetched, Request, Transport};

/// How often and how long to try.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryLimits {
    /// Attempts at one request, the first included.
    pub attempts_max: u32,
    /// Attempts at one resumable request whose body keeps breaking off.
    pub resume_attempts_max: u32,
    /// The first back-off.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_max: Duration,
    /// The longest wait that a provider may ask for.
    pub retry_after_max: Duration,
    /// All waiting of one run.
    pub waiting_budget: Duration,
}

impl From<&FetchConfig> for RetryLimits {
    fn from(config: &FetchConfig) -> Self {
        Self {
            attempts_max: config.attempts_max,
            resume_attempts_max: config.resume_attempts_max,
            backoff: config.backoff,
            backoff_max: config.backoff_max,
            retry_after_max: config.retry_after_max,
            waiting_budget: config.waiting_budget,
        }
    }
}

/// Wraps a transport and sends a request again when its error may pass. One value serves one run: its budget is spent
/// by all requests together.
#[derive(Debug)]
pub struct Retry<T> {
    inner: T,
    limits: RetryLimits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: StdRng,
    waited: Duration,
}

/// What to do about a failed attempt.
enum Verdict {
    Wait(Duration),
    GiveUp(FetchError),
}

impl<T> Retry<T> {
    /// Wraps `inner`. Equal seeds give equal back-offs.
    pub fn new(inner: T, limits: RetryLimits, clock: Arc<dyn Clock>, seed: u64) -> Self {
        let state = State { random: StdRng::seed_from_u64(seed), waited: Duration::ZERO };
        Self { inner, limits, clock, state: Mutex::new(state) }
    }

    /// Decides about a failed attempt. Reads no clock but the one it is given, and does not wait.
    fn judge(&self, error: FetchError, attempt: u32, resumable: bool) -> Verdict {
        let is_broken_off = matches!(error.class(), ErrorClass::Incomplete);
        let may_pass = is_broken_off || matches!(error.class(), ErrorClass::Transient | ErrorClass::Quota);
        if !may_pass || matches!(error, FetchError::Quota { .. } | FetchError::Down { .. }) {
            return Verdict::GiveUp(error);
        }
        let asked = match &error {
            FetchError::Status { retry_after, .. } => retry_after.filter(|wait| !wait.is_zero()),
            _ => None,
        };
        if let Some(wait) = asked.filter(|wait| *wait > self.limits.retry_after_max) {
            return Verdict::GiveUp(self.quota(&error, wait));
        }
        let attempts_max =
            if is_broken_off && resumable { self.limits.resume_attempts_max } else { self.limits.attempts_max };
        if attempt >= attempts_max {
            return Verdict::GiveUp(error);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match asked {
            // A little later than asked, so that clients that were sent away together do not return together.
            Some(asked) => asked + state.random.random_range(Duration::ZERO..=self.limits.backoff),
            None => {
                let doubled = self.limits.backoff.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
                state.random.random_range(Duration::ZERO..=doubled.min(self.limits.backoff_max))
            }
        };
        if state.waited + wait > self.limits.waiting_budget {
            return Verdict::GiveUp(error);
        }
        state.waited += wait;
        Verdict::Wait(wait)
    }

    fn quota(&self, error: &FetchError, wait: Duration) -> FetchError {
        let FetchError::Status { url, status, .. } = error else {
            return FetchError::Unexpected { url: String::new(), what: error.to_string() };
        };
        let until = jiff::SignedDuration::try_from(wait)
            .ok()
            .and_then(|wait| self.clock.now().checked_add(wait).ok())
            .unwrap_or(Timestamp::MAX);
        FetchError::Quota {
            url: url.clone(),
            what: format!("{status} with `Retry-After` of {} s", wait.as_secs()),
            until,
        }
    }
}

#[async_trait]
impl<T: Transport> Transport for Retry<T> {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let mut attempt = 1;
        loop {
            let error = match self.inner.send(request.clone(), &Attempt { sink, attempt }).await {
                Ok(fetched) => return Ok(numbered(fetched, attempt)),
                Err(error) => error,
            };
            let reason = error.to_string();
            match self.judge(error, attempt, request.resumable) {
                Verdict::GiveUp(error) => return Err(error),
                Verdict::Wait(wait) => {
                    tracing::debug!(
                        attempt,
                        wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                        reason,
                        "retry"
                    );
                    sink.waiting(Some(&format!("retry in {:.1} s: {reason}", wait.as_secs_f64())));
                    tokio::time::sleep(wait).await;
                    sink.waiting(None);
                }
            }
            attempt += 1;
        }
    }
}

fn numbered(fetched: Fetched, attempt: u32) -> Fetched {
    match fetched {
        Fetched::Fresh(mut landed) => {
            landed.meta.attempt = attempt;
            Fetched::Fresh(landed)
        }
        Fetched::NotModified(meta) => Fetched::NotModified(FetchMeta { attempt, ..meta }),
    }
}

/// Numbers the exchanges that the inner transport reports.
#[derive(Debug)]
struct Attempt<'a> {
    sink: &'a dyn ExchangeSink,
    attempt: u32,
}

impl ExchangeSink for Attempt<'_> {
    fn record(&self, exchange: FetchMeta) {
        self.sink.record(FetchMeta { attempt: self.attempt, ..exchange });
    }

    fn progress(&self, bytes: u64) {
        self.sink.progress(bytes);
    }

    fn waiting(&self, reason: Option<&str>) {
        self.sink.waiting(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            "2026-09-01T08:00:00Z".parse().unwrap()
        }
    }

    fn retry(budget_seconds: u64) -> Retry<()> {
        let limits = RetryLimits {
            waiting_budget: Duration::from_secs(budget_seconds),
            ..RetryLimits::from(&FetchConfig::default())
        };
        Retry::new((), limits, Arc::new(Fixed), 7)
    }

    fn status(status: u16, retry_after: Option<u64>) -> FetchError {
        let retry_after = retry_after.map(Duration::from_secs);
        FetchError::Status { url: "https://a.org/".to_owned(), status, retry_after, body: String::new() }
    }

    fn broken_off() -> FetchError {
        let (announced, received) = ("9 bytes".to_owned(), "1 bytes".to_owned());
        FetchError::Incomplete { url: "https://a.org/".to_owned(), announced, received }
    }

    /// Says for each attempt what is done: the range of the wait in milliseconds, or the error.
    fn check(error: impl Fn() -> FetchError, resumable: bool, attempts: u32, expected: &[(u64, u64)]) -> String {
        let retry = retry(100_000);
        for attempt in 1..=attempts {
            match (retry.judge(error(), attempt, resumable), expected.get(attempt as usize - 1)) {
                (Verdict::Wait(wait), Some((least, most))) => {
                    let milliseconds = wait.as_millis() as u64;
                    assert!((*least..=*most).contains(&milliseconds), "attempt {attempt}: {wait:?}");
                }
                (Verdict::GiveUp(error), None) => return error.to_string(),
                (Verdict::Wait(wait), None) => panic!("attempt {attempt} waits {wait:?}"),
                (Verdict::GiveUp(error), Some(_)) => panic!("attempt {attempt} gives up: {error}"),
            }
        }
        String::new()
    }

    #[test]
    fn back_off_grows_with_full_jitter_and_ends() {
        let end = check(|| status(503, None), false, 4, &[(0, 1_000), (0, 2_000), (0, 4_000)]);
        assert_eq!(end, "`https://a.org/` answered 503");
        assert_eq!(check(|| status(404, None), false, 1, &[]), "`https://a.org/` answered 404");
        assert_eq!(check(|| status(503, Some(0)), false, 1, &[(0, 1_000)]), "");
    }

    #[test]
    fn providers_are_obeyed_up_to_an_hour() {
        assert_eq!(check(|| status(429, Some(5)), false, 2, &[(5_000, 6_000), (5_000, 6_000)]), "");
        let end = check(|| status(429, Some(99_999_999)), false, 1, &[]);
        assert_eq!(
            end,
            "`https://a.org/`: quota used up until 2029-11-01T17:46:39Z (429 with `Retry-After` of 99999999 s)"
        );
        let end = check(|| status(503, Some(u64::MAX)), false, 1, &[]);
        assert!(end.contains("quota used up until"), "{end}");
    }

    #[test]
    fn broken_bodies_get_more_attempts_when_they_can_be_resumed() {
        let waits = [(0, 60_000); 19];
        let end = check(broken_off, true, 20, &waits);
        assert_eq!(end, "`https://a.org/` is incomplete: announced 9 bytes, received 1 bytes");
        let end = check(broken_off, false, 4, &waits[..3]);
        assert_eq!(end, "`https://a.org/` is incomplete: announced 9 bytes, received 1 bytes");
    }

    #[test]
    fn the_budget_of_a_run_is_spent_by_all_requests_together() {
        let retry = retry(12);
        assert!(matches!(retry.judge(status(429, Some(5)), 1, false), Verdict::Wait(_)));
        assert!(matches!(retry.judge(status(429, Some(5)), 1, false), Verdict::Wait(_)));
        assert!(matches!(retry.judge(status(429, Some(5)), 1, false), Verdict::GiveUp(_)));
    }
}
