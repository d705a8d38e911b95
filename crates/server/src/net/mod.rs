//! Listening, for every protocol: sockets, TLS, how many connections there may be, and what a silent peer costs.

mod listen;
mod stall;
mod tls;

pub use listen::{Accepted, ConnectionLimits, Listener, NetError, Security};
pub use stall::Stalling;
pub use tls::{ServerTls, TlsFiles, load_tls};
