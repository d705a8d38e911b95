//! A real S3 server (`s3s` with a folder behind it) on a loopback port: signatures, listings, multipart uploads and
//! conditional writes go through the same bytes as in production.
//!
//! The server checks `If-None-Match` and then writes, with a gap in between where a second writer can slip in. Amazon's
//! S3 promises that there is none, so conditional writes are let through one at a time here; nothing else is changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::IF_NONE_MATCH;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The only bucket.
pub const BUCKET: &str = "lake";
/// The authority that signed the certificate of servers with TLS. Nobody keeps its key; that of the server is beside it and
/// of no use but for tests.
pub const CA_PEM: &str = include_str!("tls/ca.pem");
const SERVER_PEM: &[u8] = include_bytes!("tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("tls/server.key");
const ACCESS_KEY: &str = "AKIATESTKIT";
const SECRET_KEY: &str = "only-for-tests";

/// What the server does with `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// Keeps it, as Amazon's S3 does; requests must be signed.
    Kept,
    /// Drops it before it is looked at, as older servers do; requests must not be signed, since it would be part of the
    /// signature.
    Ignored,
}

/// A running server; stops when dropped, and its folder is gone with it.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    scheme: &'static str,
    conditions: Conditions,
    conditional: Arc<AtomicU64>,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl S3Server {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// Where there is no port or no temporary folder: a test cannot go on without them.
    pub async fn start(conditions: Conditions) -> Self {
        Self::listen(conditions, None).await
    }

    /// Listens as [`S3Server::start`] does, with TLS: its certificate is for `127.0.0.1` and signed by [`CA_PEM`].
    ///
    /// # Panics
    /// As [`S3Server::start`].
    pub async fn start_tls(conditions: Conditions) -> Self {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(SERVER_PEM).collect();
        let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).expect("the key is in the repository");
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.expect("the certificate is in the repository"), key)
            .expect("key and certificate belong together");
        Self::listen(conditions, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(conditions: Conditions, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a folder can be made in it");
        let files = FileSystem::new(folder.path()).expect("the server opens its folder");
        let mut builder = S3ServiceBuilder::new(files);
        if conditions == Conditions::Kept {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let gate = Gate { service: builder.build(), conditions, turn: Arc::default(), conditional: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let conditional = Arc::clone(&gate.conditional);
        let task = tokio::spawn(serve(listener, gate, tls));
        Self { address, scheme, conditions, conditional, task, folder }
    }

    /// The URL of a lake with this prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The settings of `object_store` that lead here.
    pub fn options(&self) -> BTreeMap<String, String> {
        let mut options = BTreeMap::from([
            ("endpoint".to_owned(), format!("{}://{}", self.scheme, self.address)),
            ("allow_http".to_owned(), (self.scheme == "http").to_string()),
            ("region".to_owned(), "us-east-1".to_owned()),
        ]);
        match self.conditions {
            Conditions::Kept => options.extend([
                ("access_key_id".to_owned(), ACCESS_KEY.to_owned()),
                ("secret_access_key".to_owned(), SECRET_KEY.to_owned()),
            ]),
            Conditions::Ignored => options.extend([("skip_signature".to_owned(), "true".to_owned())]),
        }
        options
    }

    /// Number of conditional writes that arrived.
    pub fn conditional_writes(&self) -> u64 {
        self.conditional.load(Ordering::Relaxed)
    }

    /// The folder that holds the bucket's objects as files.
    pub fn bucket_folder(&self) -> std::path::PathBuf {
        self.folder.path().join(BUCKET)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server behind its door.
#[derive(Debug, Clone)]
struct Gate {
    service: S3Service,
    conditions: Conditions,
    turn: Arc<Mutex<()>>,
    conditional: Arc<AtomicU64>,
}

impl Gate {
    async fn answer(self, request: http::Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let mut request = request.map(Body::from);
        if !request.headers().contains_key(IF_NONE_MATCH) {
            return self.service.call(request).await;
        }
        self.conditional.fetch_add(1, Ordering::Relaxed);
        if self.conditions == Conditions::Ignored {
            request.headers_mut().remove(IF_NONE_MATCH);
            return self.service.call(request).await;
        }
        let _turn = self.turn.lock().await;
        self.service.call(request).await
    }
}

async fn serve(listener: TcpListener, gate: Gate, tls: Option<TlsAcceptor>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let (gate, tls) = (gate.clone(), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| gate.clone().answer(request));
            let builder = Builder::new(TokioExecutor::new());
            // A client that goes away, or does not trust us, ends its connection; there is nobody to tell.
            match tls {
                None => drop(builder.serve_connection(TokioIo::new(socket), service).await),
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        drop(builder.serve_connection(TokioIo::new(socket), service).await);
                    }
                }
            }
        });
    }
}
