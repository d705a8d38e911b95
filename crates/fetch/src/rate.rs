//! Keeps to the quotas of providers: requests per period and at once, by host, from the configuration and from what
//! answers say. Forgets nothing between requests, so one value serves the whole process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hambar_core::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::config::{FetchConfig, HostLimits};
use crate::error::FetchError;
use crate::exchange::{ExchangeSink, FetchMeta};
use crate::quota::{self, Quota};
use crate::redact::shown_url;
use crate::request::{Fetched, Request, Transport};

/// Wraps a transport and lets requests to one host pass only as fast as its quota allows.
#[derive(Debug)]
pub struct Rate<T> {
    inner: T,
    config: FetchConfig,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

/// One host's quota.
#[derive(Debug)]
struct Host {
    name: String,
    permits: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

/// A token bucket: tokens come back evenly over the period, and a request takes one.
#[derive(Debug)]
struct Bucket {
    configured: HostLimits,
    requests: u32,
    period: Duration,
    tokens: f64,
    filled_at: Instant,
    /// The provider said that nothing is left until then.
    closed_until: Option<Instant>,
    /// Permits that exist now, and that should exist.
    permits: u32,
    permits_wanted: u32,
}

/// Whether a request may go.
#[derive(Debug, PartialEq)]
enum Pass {
    Go,
    Wait(Duration),
}

impl Bucket {
    fn new(configured: HostLimits, now: Instant) -> Self {
        Self {
            configured,
            requests: configured.requests,
            period: configured.period,
            tokens: f64::from(configured.requests),
            filled_at: now,
            closed_until: None,
            permits: configured.concurrency,
            permits_wanted: configured.concurrency,
        }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.requests) / self.period.as_secs_f64()
    }

    /// Takes a token, or says how long to wait for one.
    fn take(&mut self, now: Instant) -> Pass {
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Pass::Wait(until - now);
        }
        self.closed_until = None;
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.per_second();
        self.tokens = (self.tokens + gained).min(f64::from(self.requests));
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Pass::Go;
        }
        // Never less than a millisecond, so that rounding cannot turn waiting into spinning.
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.per_second());
        Pass::Wait(wait.max(Duration::from_millis(1)))
    }

    /// Adapts to what an answer said. Providers can only slow us down: the configuration is the upper bound.
    fn adapt(&mut self, quota: &Quota, now: Instant) {
        if let Some((requests, period)) = quota.rate {
            let offered = f64::from(requests) / period.as_secs_f64();
            let configured = f64::from(self.configured.requests) / self.configured.period.as_secs_f64();
            (self.requests, self.period) = if offered < configured {
                (requests, period)
            } else {
                (self.configured.requests, self.configured.period)
            };
            self.tokens = self.tokens.min(f64::from(self.requests));
        }
        match (quota.remaining, quota.reset) {
            (Some(0), Some(reset)) => self.closed_until = now.checked_add(reset),
            // Never more than what is left before the reset; other clients behind our address may use it too.
            (Some(remaining), _) => self.tokens = self.tokens.min(remaining as f64),
            (None, _) => {}
        }
        if let Some(concurrency) = quota.concurrency {
            self.permits_wanted = concurrency.min(self.configured.concurrency);
        }
    }
}

impl<T> Rate<T> {
    /// Wraps `inner` with the limits of the configuration.
    pub fn new(inner: T, config: &FetchConfig, clock: Arc<dyn Clock>) -> Self {
        Self { inner, config: config.clone(), clock, known: Mutex::new(HashMap::new()) }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let host = known.entry(name.to_owned()).or_insert_with(|| {
            let limits = self.config.limits_of(name);
            let permits = usize::try_from(limits.concurrency).unwrap_or(1).min(Semaphore::MAX_PERMITS);
            Arc::new(Host {
                name: name.to_owned(),
                permits: Arc::new(Semaphore::new(permits)),
                bucket: Mutex::new(Bucket::new(limits, Instant::now())),
            })
        });
        Arc::clone(host)
    }

    async fn pass(&self, host: &Host, request: &Request, sink: &dyn ExchangeSink) -> Result<(), FetchError> {
        let mut told = false;
        loop {
            let pass = host.bucket().take(Instant::now());
            let Pass::Wait(wait) = pass else {
                break;
            };
            if wait > self.config.retry_after_max {
                let until = jiff::SignedDuration::try_from(wait)
                    .ok()
                    .and_then(|wait| self.clock.now().checked_add(wait).ok())
                    .unwrap_or(jiff::Timestamp::MAX);
                let what = format!("`{}` said so in its quota headers", host.name);
                return Err(FetchError::Quota { url: shown_url(&request.url), what, until });
            }
            sink.waiting(Some(&format!("quota of {}, {:.1} s", host.name, wait.as_secs_f64())));
            told = true;
            tokio::time::sleep(wait).await;
        }
        if told {
            sink.waiting(None);
        }
        Ok(())
    }
}

impl Host {
    fn bucket(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a permit back, or lets it vanish when the provider wants fewer of us at once.
    fn release(&self, permit: OwnedSemaphorePermit) {
        let mut bucket = self.bucket();
        if bucket.permits > bucket.permits_wanted {
            bucket.permits -= 1;
            permit.forget();
        } else if bucket.permits < bucket.permits_wanted {
            let more = bucket.permits_wanted - bucket.permits;
            bucket.permits = bucket.permits_wanted;
            self.permits.add_permits(usize::try_from(more).unwrap_or(0));
        }
        while bucket.permits > bucket.permits_wanted && self.permits.forget_permits(1) == 1 {
            bucket.permits -= 1;
        }
    }
}

#[async_trait]
impl<T: Transport> Transport for Rate<T> {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        let host = self.host(request.url.host_str().unwrap_or_default());
        if host.permits.available_permits() == 0 {
            sink.waiting(Some(&format!("other requests to {}", host.name)));
        }
        let Ok(permit) = Arc::clone(&host.permits).acquire_owned().await else {
            return Err(FetchError::Unexpected {
                url: shown_url(&request.url),
                what: "the host was closed".to_owned(),
            });
        };
        sink.waiting(None);
        // The permit returns also when this future is dropped; `held` only decides whether it vanishes.
        let held = Held { host: Arc::clone(&host), permit: Some(permit) };
        self.pass(&host, &request, sink).await?;
        let listening = Listening { sink, host: &host, clock: self.clock.as_ref() };
        let outcome = self.inner.send(request, &listening).await;
        drop(held);
        outcome
    }
}

#[derive(Debug)]
struct Held {
    host: Arc<Host>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.host.release(permit);
        }
    }
}

/// Hears every exchange and adapts the host's quota to it.
#[derive(Debug)]
struct Listening<'a> {
    sink: &'a dyn ExchangeSink,
    host: &'a Host,
    clock: &'a dyn Clock,
}

impl ExchangeSink for Listening<'_> {
    fn record(&self, exchange: FetchMeta) {
        let quota = quota::read(&exchange.headers, self.clock.now());
        // Redirects may lead elsewhere; another host's quota is not this one's.
        let answered_by = url::Url::parse(&exchange.final_url).ok();
        if answered_by.is_none_or(|url| url.host_str() == Some(self.host.name.as_str())) {
            self.host.bucket().adapt(&quota, Instant::now());
        }
        self.sink.record(exchange);
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

    fn limits(requests: u32, period: u64) -> HostLimits {
        HostLimits { requests, period: Duration::from_secs(period), concurrency: 4 }
    }

    /// Counts how many requests pass in `seconds`, asking again as soon as allowed.
    fn passed(bucket: &mut Bucket, start: Instant, seconds: u64) -> u32 {
        let mut now = start;
        let mut count = 0;
        while now < start + Duration::from_secs(seconds) {
            match bucket.take(now) {
                Pass::Go => count += 1,
                Pass::Wait(wait) => now += wait,
            }
        }
        count
    }

    fn check(configured: HostLimits, quota: Quota, seconds: u64, expected: std::ops::RangeInclusive<u32>) {
        let start = Instant::now();
        let mut bucket = Bucket::new(configured, start);
        bucket.adapt(&quota, start);
        let count = passed(&mut bucket, start, seconds);
        assert!(expected.contains(&count), "{count} of {expected:?} for {quota:?}");
    }

    #[test]
    fn requests_pass_at_the_rate_that_both_sides_allow() {
        let said =
            |requests, seconds| Quota { rate: Some((requests, Duration::from_secs(seconds))), ..Quota::default() };
        check(limits(5, 1), Quota::default(), 10, 54..=56);
        check(limits(60, 3600), Quota::default(), 3600, 118..=121);
        check(limits(5, 1), said(1, 1), 10, 10..=11);
        check(limits(5, 1), said(100, 1), 10, 54..=56);
    }

    #[test]
    fn an_empty_quota_closes_the_host_until_its_reset() {
        let said = |remaining, seconds| Quota {
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(seconds)),
            ..Quota::default()
        };
        check(limits(5, 1), said(0, 9), 9, 0..=0);
        check(limits(5, 1), said(0, 9), 10, 4..=11);
        check(limits(5, 1), said(2, 9), 1, 5..=8);
        check(limits(5, 1), said(0, u64::MAX), 1, 5..=10);
    }
}
