//! Stops asking a host that is down: after several failures in a row every request to it fails at once, until one trial
//! request gets through. So hundreds of sources of a dead host cost neither sockets nor waiting. Decides only by what
//! the inner transport answers; retries are around it, quotas inside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::Clock;
use tokio::time::Instant;
use url::Url;

use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::exchange::ExchangeSink;
use crate::redact::shown_url;
use crate::request::{Fetched, Request, Transport};

/// The pause doubles with each trial that fails, up to this many times the first one.
const PAUSE_FACTOR_MAX: u32 = 16;
/// Hosts that are remembered; beyond it, those in order are forgotten.
const HOSTS_MAX: usize = 10_000;

/// Wraps a transport and refuses requests to hosts that are down. One value serves the whole process.
#[derive(Debug)]
pub struct Breaker<T> {
    inner: T,
    failures_max: u32,
    pause: Duration,
    clock: Arc<dyn Clock>,
    hosts: Mutex<HashMap<String, Circuit>>,
}

/// What is known of one host.
#[derive(Debug, Clone, PartialEq)]
struct Circuit {
    /// Failures in a row.
    failures: u32,
    /// Length of the next pause, as a multiple of the first.
    factor: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Requests pass.
    Closed,
    /// None passes before this instant; then one does.
    Open(Instant),
    /// One request finds out whether the host is back; before this instant no other does.
    Trying(Instant),
}

impl Default for Circuit {
    fn default() -> Self {
        Self { failures: 0, factor: 1, state: State::Closed }
    }
}

impl Circuit {
    /// Lets a request pass, or says from when on it may be worth asking. True: this request is the trial.
    fn pass(&mut self, now: Instant, pause: Duration) -> Result<bool, Instant> {
        match self.state {
            State::Closed => Ok(false),
            State::Open(until) | State::Trying(until) if until > now => Err(until),
            // Also beside a trial that takes long: a large body may be on its way.
            State::Open(_) | State::Trying(_) => {
                self.state = State::Trying(now + pause);
                Ok(true)
            }
        }
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, is_trial: bool, failures_max: u32, now: Instant, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        let opens = is_trial || (self.state == State::Closed && self.failures >= failures_max);
        if opens {
            self.state = State::Open(now + pause * self.factor);
            self.factor = (self.factor * 2).min(PAUSE_FACTOR_MAX);
        }
    }

    /// A trial that was given up says nothing: the next request is one.
    fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::Trying(_)) {
            self.state = State::Open(now);
        }
    }
}

impl<T> Breaker<T> {
    /// Wraps `inner` with the limits of the configuration.
    pub fn new(inner: T, config: &FetchConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            failures_max: config.breaker_failures,
            pause: config.breaker_pause,
            clock,
            hosts: Mutex::new(HashMap::new()),
        }
    }

    fn with<R>(&self, host: &str, act: impl FnOnce(&mut Circuit) -> R) -> R {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() > HOSTS_MAX {
            hosts.retain(|_, circuit| circuit.state != State::Closed);
        }
        act(hosts.entry(host.to_owned()).or_default())
    }

    fn down(&self, request: &Request, host: &str, until: Instant) -> FetchError {
        let wait = until.saturating_duration_since(Instant::now());
        let until = jiff::SignedDuration::try_from(wait)
            .ok()
            .and_then(|wait| self.clock.now().checked_add(wait).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        let failures = self.with(host, |circuit| circuit.failures);
        FetchError::Down { url: shown_url(&request.url), host: host.to_owned(), failures, until }
    }
}

#[async_trait]
impl<T: Transport> Transport for Breaker<T> {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let host = origin(&request.url);
        let is_trial = match self.with(&host, |circuit| circuit.pass(Instant::now(), self.pause)) {
            Ok(is_trial) => is_trial,
            Err(until) => return Err(self.down(&request, &host, until)),
        };
        let mut trial = Trial { breaker: self, host: &host, is_open: is_trial };
        let outcome = self.inner.send(request, sink).await;
        trial.is_open = false;
        match &outcome {
            Err(error) if says_down(error) => {
                self.with(&host, |circuit| circuit.failed(is_trial, self.failures_max, Instant::now(), self.pause));
            }
            Ok(_) | Err(_) => self.with(&host, Circuit::succeeded),
        }
        outcome
    }
}

/// A trial whose future is dropped must not keep everybody else out.
struct Trial<'a, T> {
    breaker: &'a Breaker<T>,
    host: &'a str,
    is_open: bool,
}

impl<T> Drop for Trial<'_, T> {
    fn drop(&mut self) {
        if self.is_open {
            self.breaker.with(self.host, |circuit| circuit.abandoned(Instant::now()));
        }
    }
}

fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether an error means that the host as a whole does not serve. An error status of one address (500, 404, 429) does
/// not.
fn says_down(error: &FetchError) -> bool {
    match error {
        FetchError::Connection { .. } => true,
        FetchError::Timeout { limit, .. } => matches!(*limit, "connect" | "first byte"),
        FetchError::Status { status, .. } => matches!(status, 502..=504 | 520..=599),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    /// Lets events happen at seconds, and says after each what the next request would hear: `go`, `trial`, or how many
    /// seconds are left.
    fn check(events: &[(u64, &str, &str)]) {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        for (second, event, expected) in events {
            let now = start + Duration::from_secs(*second);
            match *event {
                "failed" => circuit.failed(false, 3, now, PAUSE),
                "trial failed" => circuit.failed(true, 3, now, PAUSE),
                "succeeded" => circuit.succeeded(),
                "abandoned" => circuit.abandoned(now),
                "asked" => {}
                other => panic!("{other}"),
            }
            let heard = match circuit.pass(now, PAUSE) {
                Ok(true) => "trial".to_owned(),
                Ok(false) => "go".to_owned(),
                Err(until) => (until - now).as_secs().to_string(),
            };
            assert_eq!(&heard, expected, "second {second}, {event}");
        }
    }

    #[test]
    fn a_host_that_is_down_is_tried_again_after_growing_pauses() {
        check(&[(0, "failed", "go"), (1, "succeeded", "go"), (2, "failed", "go"), (3, "failed", "go")]);
        check(&[
            (0, "failed", "go"),
            (0, "failed", "go"),
            (0, "failed", "60"),
            // Answers of requests that were under way do not lengthen the pause.
            (10, "failed", "50"),
            (60, "asked", "trial"),
            (61, "asked", "59"),
            (62, "trial failed", "120"),
            (182, "asked", "trial"),
            (183, "abandoned", "trial"),
            (184, "trial failed", "240"),
            (424, "asked", "trial"),
            (425, "succeeded", "go"),
            (426, "failed", "go"),
        ]);
    }

    #[test]
    fn pauses_stop_growing() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 0..10 {
            circuit.failed(true, 3, start, PAUSE);
        }
        assert_eq!(circuit.state, State::Open(start + PAUSE * PAUSE_FACTOR_MAX));
    }
}
