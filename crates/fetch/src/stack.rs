//! Puts the wrappers together: `Retry(Breaker(Rate(Http)))`.

use std::sync::Arc;

use async_trait::async_trait;
use hambar_core::Clock;

use crate::breaker::Breaker;
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::exchange::ExchangeSink;
use crate::http_transport::Http;
use crate::landing::Landing;
use crate::rate::Rate;
use crate::request::{Fetched, Request, Transport};
use crate::retry::{Retry, RetryLimits};

/// What all runs of a process share: connections, the quotas of hosts, and which of them are down. Each run gets a transport of its own with a
/// fresh budget of waiting.
#[derive(Debug, Clone)]
pub struct Stack {
    shared: Arc<dyn Transport>,
    limits: RetryLimits,
    clock: Arc<dyn Clock>,
}

impl Stack {
    /// Builds client and quotas.
    ///
    /// # Errors
    /// [`FetchError::Config`] for a setting that cannot be used.
    pub fn new(config: &FetchConfig, landing: Landing, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        let http = Http::new(config.clone(), landing, Arc::clone(&clock))?;
        let rate = Rate::new(http, config, Arc::clone(&clock));
        let shared: Arc<dyn Transport> = Arc::new(Breaker::new(rate, config, Arc::clone(&clock)));
        Ok(Self { shared, limits: RetryLimits::from(config), clock })
    }

    /// Returns the transport of one run. The seed decides about the random part of its back-offs.
    pub fn transport(&self, seed: u64) -> Arc<dyn Transport> {
        let shared = Shared(Arc::clone(&self.shared));
        Arc::new(Retry::new(shared, self.limits.clone(), Arc::clone(&self.clock), seed))
    }
}

/// Builds the whole stack for one run; see [`Stack`] for several.
///
/// # Errors
/// [`FetchError::Config`] for a setting that cannot be used.
pub fn stack(config: &FetchConfig, landing: Landing, clock: Arc<dyn Clock>) -> Result<Arc<dyn Transport>, FetchError> {
    // Runs that start at different instants back off differently, which is all that the seed is for.
    let seed = clock.now().as_nanosecond().unsigned_abs() as u64;
    Ok(Stack::new(config, landing, clock)?.transport(seed))
}

/// A shared transport as a transport.
#[derive(Debug)]
struct Shared(Arc<dyn Transport>);

#[async_trait]
impl Transport for Shared {
    async fn send(&self, request: Request, sink: &dyn ExchangeSink) -> Result<Fetched, FetchError> {
        self.0.send(request, sink).await
    }
}
