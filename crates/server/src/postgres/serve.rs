//! Connections of the Postgres protocol, from the first byte to the last, and the requests that stop what others ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::PostgresSettings;
use super::refusal::{Fault, Refusal};
use super::scram::Disguise;
use super::session::Session;
use super::startup::{First, Patience, Start, first, prove, too_many};
use super::traced::{begin, refused};
use super::wire::WireError;
use crate::access::{AccessError, Authenticator, Principal};
use crate::front::{FrontError, QueryFront};
use crate::net::{Accepted, Listener};
use crate::trace;

/// Attempts to find a name for a connection that no other has.
const KEYS_TRIED_MAX: usize = 16;

/// What all connections share.
pub(super) struct Shared {
    pub(super) front: QueryFront,
    pub(super) authenticator: Authenticator,
    pub(super) settings: PostgresSettings,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) disguise: Disguise,
    pub(super) stop: CancellationToken,
    running: Mutex<HashMap<(i32, i32), Arc<Running>>>,
}

/// Returns what serves the Postgres protocol on `listener` until `stop`; it then lets what runs end.
///
/// # Errors
/// Where the system has no random numbers.
pub fn serve_postgres(
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    front: QueryFront,
    authenticator: Authenticator,
    settings: PostgresSettings,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static, FrontError> {
    let disguise = Disguise::random().ok_or(AccessError::Random)?;
    let (tls, running) = (tls.map(TlsAcceptor::from), Mutex::default());
    let shared = Arc::new(Shared { front, authenticator, settings, tls, disguise, stop: stop.clone(), running });
    let is_plain = shared.tls.is_none();
    let serve = move |stream: TcpStream, accepted: Accepted| {
        let shared = Arc::clone(&shared);
        async move {
            let connections = shared.front.metrics().connections.clone();
            connections.inc();
            if let Err(error) = connection(&shared, stream, accepted.peer).await {
                tracing::debug!(error = %hambar_core::Chain(&error), "connection ended");
            }
            connections.dec();
            drop(accepted);
        }
    };
    let refuse = move |mut stream: TcpStream| async move {
        // On a port that speaks TLS, nothing is said in the clear.
        if is_plain {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&too_many())).await;
        }
    };
    Ok(listener.run(stop, serve, refuse))
}

async fn connection(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Result<(), WireError> {
    let address = peer.ip().to_canonical();
    let patience = Patience::new(shared.settings.start_time_max);
    let started = async {
        match patience.over(first(shared, stream)).await?? {
            First::Nothing => Ok(None),
            First::Cancel { process, secret } => {
                shared.cancel(process, secret);
                Ok(None)
            }
            First::Start(mut start) => match proven(shared, &mut start, address, patience).await {
                Ok(principal) => Ok(Some((start, principal))),
                Err(fault) => ended(*start, fault).await.map(|()| None),
            },
        }
    };
    let started = tokio::select! {
        started = started => started?,
        () = shared.stop.cancelled() => return Ok(()),
    };
    match started {
        None => Ok(()),
        Some((start, principal)) => session(shared, *start, principal, peer).await,
    }
}

/// Finds out who it is, in a trace of its own.
async fn proven(shared: &Shared, start: &mut Start, address: IpAddr, patience: Patience) -> Result<Principal, Fault> {
    let mut span = begin(shared.front.tracer(), "postgres startup");
    let place = span.place();
    let class = |fault: &Fault| match fault {
        Fault::Refused(refusal) => refusal.code,
        Fault::Wire(_) => "connection",
    };
    let proof = trace::authenticate(class, prove(shared, start, address, patience));
    let found = trace::within(place.clone(), proof).await;
    match &found {
        Ok(principal) => place.proven(principal),
        Err(Fault::Refused(refusal)) => refused(&mut span, refusal.code),
        Err(Fault::Wire(_)) => {}
    }
    span.end();
    found
}

/// Tells why somebody is not let in.
async fn ended(start: Start, fault: Fault) -> Result<(), WireError> {
    let mut wire = start.wire;
    let refusal = match fault {
        Fault::Refused(refusal) => refusal,
        Fault::Wire(error) => match Refusal::of_wire(&error) {
            Some(refusal) => refusal,
            None => return Err(error),
        },
    };
    wire.refuse(&refusal);
    wire.close().await
}

async fn session(shared: &Arc<Shared>, start: Start, who: Principal, peer: SocketAddr) -> Result<(), WireError> {
    let Some(key) = shared.register() else {
        return ended(start, Refusal::new("58000", "the system gives no random numbers").fatal().into()).await;
    };
    Session::new(Arc::clone(shared), start, who, peer.ip().to_canonical(), key).run().await
}

/// What runs on a connection, if anything does.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Option<CancellationToken>>);

impl Running {
    fn now(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        // It is only ever replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins; the token says when it is to stop.
    pub(super) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.now() = Some(token.clone());
        token
    }

    /// Nothing runs any more, and whoever stops it is too late.
    pub(super) fn end(&self) {
        *self.now() = None;
    }
}

/// The two numbers by which a connection is named when it is to be stopped. Both are secret.
pub(super) struct Key {
    pub(super) process: i32,
    pub(super) secret: i32,
    pub(super) running: Arc<Running>,
    shared: Arc<Shared>,
}

impl Drop for Key {
    fn drop(&mut self) {
        self.shared.running().remove(&(self.process, self.secret));
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<(i32, i32), Arc<Running>>> {
        // The map holds whole entries only.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(self: &Arc<Self>) -> Option<Key> {
        for _ in 0..KEYS_TRIED_MAX {
            let mut bytes = [0; 8];
            SystemRandom::new().fill(&mut bytes).ok()?;
            let [a, b, c, d, e, f, g, h] = bytes;
            // Clients show the first one as the number of a process.
            let process = i32::from_be_bytes([a, b, c, d]) & i32::MAX;
            let secret = i32::from_be_bytes([e, f, g, h]);
            let mut all = self.running();
            if let Entry::Vacant(free) = all.entry((process, secret)) {
                let running = Arc::clone(free.insert(Arc::default()));
                return Some(Key { process, secret, running, shared: Arc::clone(self) });
            }
        }
        None
    }

    fn cancel(&self, process: i32, secret: i32) {
        let running = self.running().get(&(process, secret)).cloned();
        let token = running.and_then(|running| running.now().clone());
        if let Some(token) = token {
            token.cancel();
        }
    }
}
