//! The accept loop: refuses plaintext on addresses that others reach, counts connections, and survives a lack of
//! descriptors.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hambar_core::{Classified, ErrorClass};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address cannot be had.
    #[error("listen on `{address}`")]
    Bind {
        /// The address as configured.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others would reach the address, and what is sent there could be read on the way.
    #[error("`{address}` is not a loopback address, and there is no TLS")]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate or the key cannot be used.
    #[error("TLS from `{}`: {what}", .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl Classified for NetError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Plaintext { .. } => Some(
                "set `server.tls.certificate` and `server.tls.key`; or, behind a proxy that speaks TLS, \
                 `server.allow_plaintext = true`"
                    .to_owned(),
            ),
            Self::Bind { .. } => Some("another server may be using it: choose another address".to_owned()),
            Self::Tls { .. } => Some("a chain of certificates and its key, both as PEM".to_owned()),
        }
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub connections_max: usize,
    /// From one address.
    pub connections_per_address_max: usize,
}

/// A socket that listens, and its connections.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: ConnectionLimits,
    open: Arc<Semaphore>,
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that was let in. Dropping it makes room for another.
#[derive(Debug)]
pub struct Accepted {
    /// Whom it comes from.
    pub peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Listener {
    /// Listens on `address`. Without TLS that must be a loopback address, or plaintext allowed.
    ///
    /// # Errors
    /// Where the address cannot be had, or would be served in plaintext.
    pub async fn bind(address: &str, security: Security, limits: ConnectionLimits) -> Result<Self, NetError> {
        let bind = |source| NetError::Bind { address: address.to_owned(), source };
        // Looked at before anything listens: not one connection is answered in plaintext by mistake.
        let wanted: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(bind)?.collect();
        if let (Security::Plaintext, Some(open)) = (security, wanted.iter().find(|address| !address.ip().is_loopback()))
        {
            return Err(NetError::Plaintext { address: *open });
        }
        let socket = TcpListener::bind(wanted.as_slice()).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        let open = Arc::new(Semaphore::new(limits.connections_max));
        Ok(Self { socket, address, limits, open, of_address: Arc::default() })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands every connection to `serve`, in a task of its own, until `stop`; then waits for the tasks. `refuse` gets
    /// the connections that are too many, to say so in the protocol's own words, and must be quick.
    pub async fn run<S, R>(
        self,
        stop: CancellationToken,
        serve: impl Fn(TcpStream, Accepted) -> S,
        refuse: impl Fn(TcpStream) -> R,
    ) where
        S: Future<Output = ()> + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Ended tasks are taken out as they end.
                Some(_) = tasks.join_next() => continue,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are written whole; waiting for more would only delay them.
                    let _ = stream.set_nodelay(true);
                    match self.admit(peer) {
                        Some(accepted) => tasks.spawn(serve(stream, accepted)),
                        None => tasks.spawn(refuse(stream)),
                    };
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(self.socket);
        while tasks.join_next().await.is_some() {}
    }

    fn admit(&self, peer: SocketAddr) -> Option<Accepted> {
        let permit = Arc::clone(&self.open).try_acquire_owned().ok()?;
        let address = peer.ip();
        let mut counts = lock(&self.of_address);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.limits.connections_per_address_max {
            return None;
        }
        *count += 1;
        let place = Place { address, of_address: Arc::clone(&self.of_address) };
        Some(Accepted { peer, _permit: permit, _place: place })
    }
}

/// Whether what is sent can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS is spoken.
    Tls,
    /// It is not, so only this machine may be served.
    Plaintext,
    /// It is not, and the configuration says that somebody else takes care of it.
    PlaintextAllowed,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.of_address);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn lock(counts: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Every change is whole before anything could panic.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
