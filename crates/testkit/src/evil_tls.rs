//! A loopback server that misbehaves below HTTP: its certificate is wrong, it cuts TLS without saying goodbye, or it
//! breaks the rules of HTTP/2 frame by frame. Frames are written by hand, so that no library mends them on the way.
//!
//! Certificates are made when a server starts, by an authority of its own; [`EvilTls::authority_pem`] is what a client
//! must trust for the good one to be good.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub mod frames;

/// What is wrong with the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: for `localhost`, from the server's authority.
    Good,
    /// It ended long ago.
    Expired,
    /// It begins in a far year.
    NotYetValid,
    /// It is for another host.
    OtherHost,
    /// It vouches for itself.
    SelfSigned,
    /// It comes from an authority that nobody trusts.
    UnknownAuthority,
}

/// What the server says after the handshake.
#[derive(Debug, Clone)]
pub enum Script {
    /// No handshake: these bytes to whatever came.
    Plain(Bytes),
    /// HTTP/1.1: these bytes to each request, then the end of the connection.
    Http1(Bytes, End),
    /// HTTP/2: these steps on each connection.
    Http2(Vec<Step>),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With TLS' goodbye (`close_notify`).
    Goodbye,
    /// Without it, as when an attacker or a broken proxy cuts it.
    Cut,
}

/// One step on an HTTP/2 connection.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits for a request.
    Request,
    /// Sends these frames.
    Send(Bytes),
    /// Sends these frames again and again, until the client has enough or so many bytes were sent.
    Flood(Bytes, u64),
    /// Keeps the connection open until the client ends it.
    Hold,
    /// Ends the connection.
    Close(End),
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct EvilTls {
    address: SocketAddr,
    authority_pem: String,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
    flooded: AtomicU64,
}

impl EvilTls {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// When no port can be had or no certificate can be made: a test cannot go on without one.
    pub async fn start(certificate: Certificate, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (chain, key, authority) = certificates(certificate);
        let protocol: &[u8] = if matches!(script, Script::Http2(_)) { b"h2" } else { b"http/1.1" };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![protocol.to_vec()];
        let counters = Arc::new(Counters::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, acceptor, script, Arc::clone(&counters)));
        let body = base64::engine::general_purpose::STANDARD.encode(authority);
        let authority_pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        Self { address, authority_pem, counters, task }
    }

    /// Returns the URL of a path on this server, by the name that a good certificate is for.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Returns the authority that signed the certificate, as PEM.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Returns how many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Returns how many requests arrived.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of floods the client took.
    pub fn flooded(&self) -> u64 {
        self.counters.flooded.load(Ordering::Relaxed)
    }
}

impl Drop for EvilTls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, CertificateDer<'static>);

/// Makes chain and key of the server, and the authority that the client is told to trust.
fn certificates(wrong: Certificate) -> Chain {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are well-formed names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        (certificate.der().clone(), Issuer::new(params, key))
    };
    let (trusted, issuer) = authority("Test authority");
    let (_, stranger) = authority("Another authority");
    let host = if wrong == Certificate::OtherHost { "other.example.org" } else { "localhost" };
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host name is well-formed");
    let (first, last) = match wrong {
        Certificate::Expired => (2001, 2002),
        Certificate::NotYetValid => (2090, 2099),
        _ => (2020, 2099),
    };
    (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = match wrong {
        Certificate::SelfSigned => params.self_signed(&key),
        Certificate::UnknownAuthority => params.signed_by(&key, &stranger),
        Certificate::Good | Certificate::Expired | Certificate::NotYetValid | Certificate::OtherHost => {
            params.signed_by(&key, &issuer)
        }
    };
    let certificate = certificate.expect("a certificate can be signed").der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a generated key is PKCS#8");
    (vec![certificate], key, trusted)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, script: Script, counters: Arc<Counters>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                counters.connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, script, counters) = (acceptor.clone(), script.clone(), Arc::clone(&counters));
                // A client that hangs up is what these tests are about.
                connections.spawn(async move { drop(serve(stream, acceptor, script, counters).await) });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    script: Script,
    counters: Arc<Counters>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (answer, end) = match script {
        Script::Plain(bytes) => {
            let mut scrap = [0_u8; 4096];
            let _ = stream.read(&mut scrap).await?;
            stream.write_all(&bytes).await?;
            return stream.shutdown().await;
        }
        Script::Http1(answer, end) => (answer, end),
        Script::Http2(steps) => return speak(acceptor.accept(stream).await?, steps, &counters).await,
    };
    let mut tls = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if tls.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    counters.requests.fetch_add(1, Ordering::Relaxed);
    tls.write_all(&answer).await?;
    tls.flush().await?;
    close(tls, end).await
}

async fn close(mut tls: tokio_rustls::server::TlsStream<TcpStream>, end: End) -> std::io::Result<()> {
    match end {
        End::Goodbye => tls.shutdown().await,
        End::Cut => {
            // Dropping the socket would do as well; in order, so that everything sent before arrives.
            let (mut socket, _) = tls.into_inner();
            socket.shutdown().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        }
    }
}

/// The bytes with which an HTTP/2 client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn speak(
    mut tls: tokio_rustls::server::TlsStream<TcpStream>,
    steps: Vec<Step>,
    counters: &Counters,
) -> std::io::Result<()> {
    let mut preface = [0_u8; PREFACE.len()];
    tls.read_exact(&mut preface).await?;
    for step in steps {
        match step {
            Step::Request => {
                await_request(&mut tls).await?;
                counters.requests.fetch_add(1, Ordering::Relaxed);
            }
            Step::Send(bytes) => {
                tls.write_all(&bytes).await?;
                tls.flush().await?;
            }
            Step::Flood(bytes, bytes_max) => flood(&mut tls, &bytes, bytes_max, counters).await?,
            Step::Hold => {
                let mut scrap = [0_u8; 16 * 1024];
                while tls.read(&mut scrap).await? > 0 {}
            }
            Step::Close(end) => return close(tls, end).await,
        }
    }
    tls.shutdown().await
}

async fn flood<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    bytes_max: u64,
    counters: &Counters,
) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < bytes_max {
        stream.write_all(bytes).await?;
        sent += bytes.len() as u64;
        counters.flooded.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    stream.flush().await
}

/// Reads frames until one begins a request.
async fn await_request<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<()> {
    loop {
        let mut head = [0_u8; 9];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0_u8; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut payload).await?;
        if kind == frames::HEADERS {
            return Ok(());
        }
    }
}
