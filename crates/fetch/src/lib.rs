//! Polite, conditional, resumable, bounded reads over HTTP; the landing zone; recording and replay of exchanges.
//! The only crate that opens a socket outward.
//!
//! A request goes through `Retry(Breaker(Rate(Http)))`: see [`Stack`]. Tests and `hambar replay` put [`Replay`] in place of
//! [`Http`], or ask a [`ReplayServer`] on loopback.

mod address;
mod answer;
mod body;
mod breaker;
mod config;
mod digest;
mod direct;
mod error;
mod exchange;
mod http_transport;
mod landing;
mod quota;
mod rate;
mod record;
mod recording;
mod redact;
mod redirect;
mod replay;
mod replay_server;
mod request;
mod resume;
mod retry;
mod retry_after;
mod small;
mod stack;

pub use address::{AddressRule, AllowHosts, not_public};
pub use breaker::Breaker;
pub use config::{FetchConfig, HostLimits};
pub use direct::{Direct, Told};
pub use error::FetchError;
pub use exchange::{ExchangeSink, FetchMeta};
pub use http_transport::Http;
pub use landing::Landing;
pub use rate::Rate;
pub use record::Record;
pub use recording::{RecordedExchange, Recordings};
pub use replay::Replay;
pub use replay_server::ReplayServer;
pub use request::{Fetched, Fetcher, Landed, Request, Secret, Transport};
pub use retry::{Retry, RetryLimits};
pub use small::{Small, SmallLimits};
pub use stack::{Stack, stack};
