//! Polite, conditional, resumable, bounded reads over HTTP; the landing zone; recording and replay of exchanges.
//! The only crate that opens a socket outward.

mod error;
mod exchange;
mod request;

pub use error::FetchError;
pub use exchange::{ExchangeSink, FetchMeta};
pub use request::{Fetched, Fetcher, Landed, Request, Secret, Transport};
