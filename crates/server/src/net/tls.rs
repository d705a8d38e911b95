//! TLS from files. A file that cannot be used ends the start: there is no way back to plaintext. Files that are renewed are
//! read again, so that a certificate of some weeks needs no restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use rustls::ServerConfig as ServerTls;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::NetError;

/// How often the files are looked at, at most; what has changed is used from the next connection after that.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates, the server's own first, as PEM.
    pub certificate: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// Loads certificate and key. `protocols` are those that clients may choose (ALPN), the preferred one first.
///
/// When the files change, connections from then on get what is in them. Files that cannot be used then are told in the log,
/// and the certificate before them stays in use.
///
/// # Errors
/// Where a file cannot be read, or the two do not fit each other.
pub fn load_tls(files: &TlsFiles, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, NetError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let renewed = Renewed::new(files.clone(), Arc::clone(&provider))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(renewed));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn wrong(path: &Path, what: String) -> NetError {
    NetError::Tls { path: path.to_path_buf(), what }
}

/// What the two files hold, as it is on disk.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, NetError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn parse(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, NetError> {
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| wrong(&files.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&files.certificate, "there is no certificate in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| wrong(&files.key, error.to_string()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| wrong(&files.key, error.to_string()))
    }
}

/// The certificate that is shown, and when its files were looked at last.
struct Shown {
    contents: Contents,
    certified: Arc<CertifiedKey>,
    looked: Instant,
}

/// Shows the certificate that is in the files.
struct Renewed {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Shown>,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewed").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Renewed {
    fn new(files: TlsFiles, provider: Arc<CryptoProvider>) -> Result<Self, NetError> {
        let contents = Contents::read(&files)?;
        let certified = Arc::new(contents.parse(&files, &provider)?);
        let shown = Mutex::new(Shown { contents, certified, looked: Instant::now() });
        Ok(Self { files, provider, shown })
    }

    /// Reads the files again, and uses them where they are others than before.
    fn look(&self, shown: &mut Shown) -> Result<(), NetError> {
        let contents = Contents::read(&self.files)?;
        if contents != shown.contents {
            shown.certified = Arc::new(contents.parse(&self.files, &self.provider)?);
            shown.contents = contents;
            tracing::info!(certificate = %self.files.certificate.display(), "the renewed certificate is in use");
        }
        Ok(())
    }
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.looked.elapsed() >= LOOK_EVERY {
            shown.looked = Instant::now();
            if let Err(error) = self.look(&mut shown) {
                // A renewal writes one file after the other: the next look may find both.
                tracing::warn!(%error, "the files for TLS have changed and cannot be used; the certificate before stays");
            }
        }
        Some(Arc::clone(&shown.certified))
    }
}
