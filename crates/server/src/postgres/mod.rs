//! The Postgres protocol: simple and extended queries, `COPY … TO STDOUT`, cancellation. Reading only.
//!
//! Messages are read and written here, not by a library: the one that there is (pgwire 0.42) ends in a panic where a
//! length inside a message is wrong, replaces bytes that are no text, takes messages of a gigabyte from strangers, and
//! needs the salted password where we keep a verifier.

mod commands;
mod copy;
mod cursors;
mod extended;
mod kind;
mod lexer;
mod lists;
mod message;
mod numeric;
mod parameters;
mod refusal;
mod running;
mod scram;
mod serve;
mod session;
mod settings;
mod startup;
mod temporal;
mod traced;
mod value;
mod wire;

use std::time::Duration;

pub use serve::serve_postgres;

/// The name under which TLS clients choose this protocol (ALPN).
pub const POSTGRES_ALPN: &[u8] = b"postgresql";

/// The limits of the Postgres protocol.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Time for everything that a client sends before it is known: TLS, names, proofs.
    pub start_time_max: Duration,
    /// Time for a message whose first byte has arrived.
    pub message_time_max: Duration,
    /// Time between messages.
    pub idle_time_max: Duration,
    /// Time in which a client must take something of what is sent.
    pub write_time_max: Duration,
}
