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
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The only bucket.
pub const BUCKET: &str = "lake";
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
        let task = tokio::spawn(serve(listener, gate));
        Self { address, conditions, conditional, task, folder }
    }

    /// The URL of a lake with this prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The settings of `object_store` that lead here.
    pub fn options(&self) -> BTreeMap<String, String> {
        let mut options = BTreeMap::from([
            ("endpoint".to_owned(), format!("http://{}", self.address)),
            ("allow_http".to_owned(), "true".to_owned()),
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

async fn serve(listener: TcpListener, gate: Gate) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let gate = gate.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| gate.clone().answer(request));
            // A client that goes away ends its connection; there is nobody to tell.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
