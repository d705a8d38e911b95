//! The fetch stack against servers that misbehave, and against real recordings.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests unwrap in helpers too, say what they skip, and ask whether they run in CI"
)]

mod breaker;
mod conditional;
mod direct;
mod faults;
mod redirects;
mod replay;
mod resume;
mod retries;
mod secrets;
mod small;
mod support;
mod tls;
