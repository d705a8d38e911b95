//! The way out, for the few requests that a server sends: whoever starts it hands a client over, which knows where it may
//! go.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::BoxFuture;

/// A request outward.
pub type OutboundRequest = http::Request<Vec<u8>>;
/// What is answered to it.
pub type OutboundAnswer = http::Response<Vec<u8>>;

/// What an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Bytes of the answer's body.
    pub body_bytes_max: usize,
    /// Time for the whole of it.
    pub time_max: Duration,
}

/// Why nothing was answered, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OutboundError(pub String);

/// Sends requests outward.
pub trait Outbound: Debug + Send + Sync {
    /// Sends a request once, and returns whatever is answered. No redirect is followed.
    fn send(
        &self,
        request: OutboundRequest,
        limits: OutboundLimits,
    ) -> BoxFuture<'_, Result<OutboundAnswer, OutboundError>>;
}
